//! Names like one that is not known.

/// How like a name must be (Jaro-Winkler, 0 to 1) to be offered for one that is not known: as clap does.
const LIKENESS_MIN: f64 = 0.7;

/// Most names that are offered.
const NEAR_NAMES_MAX: usize = 3;

/// The question that an error asks, with a space behind it: ``did you mean `adds`? ``; nothing where no name is like it.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut near: Vec<(f64, &str)> = known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near.iter().take(NEAR_NAMES_MAX).map(|(_, other)| format!("`{other}`")).collect();
    if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_comes_first_and_others_are_not_offered() {
        let known = ["adds", "add-all", "builds"];
        assert_eq!(did_you_mean("add", known.into_iter()), "did you mean `adds` or `add-all`? ");
        assert_eq!(did_you_mean("x", known.into_iter()), "");
    }
}
