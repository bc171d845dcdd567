//! Names like one that is not known.

/// How like a name must be (Jaro-Winkler, 0 to 1) to be offered for one that is not known: as clap does.
const LIKENESS_MIN: f64 = 0.7;

/// Most names that are offered.
const NEAR_NAMES_MAX: usize = 3;

/// The question that an error asks, with a space behind it: ``did you mean `adds`? ``; nothing where no name is like it.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = near(name, known, LIKENESS_MIN).into_iter().take(NEAR_NAMES_MAX);
    let near: Vec<String> = near.map(|other| format!("`{other}`")).collect();
    if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) }
}

/// The name that is most like this one, if one is more like it than so much.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>, likeness_min: f64) -> Option<&'a str> {
    near(name, known, likeness_min).into_iter().next()
}

/// The names that are more like this one than so much, the most alike first.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>, likeness_min: f64) -> Vec<&'a str> {
    let likeness = known.map(|other| (strsim::jaro_winkler(name, other), other));
    let mut near: Vec<(f64, &str)> = likeness.filter(|(likeness, _)| *likeness > likeness_min).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, other)| other).collect()
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
