//! Secrets: the cluster's token, as those who are asked for something compare it.

/// Whether one who shows this token may come in: anyone may where none is wanted.
pub fn admits(wanted: Option<&str>, shown: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| equal(wanted.as_bytes(), shown.unwrap_or_default().as_bytes()))
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    differences == 0 && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_anyone_may_come_in_and_with_one_who_shows_it() {
        assert!(admits(None, None) && admits(None, Some("secret")) && admits(Some("secret"), Some("secret")));
        assert!(!admits(Some("secret"), None) && !admits(Some("secret"), Some("secre")));
    }

    #[test]
    fn secrets_are_equal_only_when_all_of_them_is() {
        assert!(equal(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secret2", b"Secret", b"secreT"] {
            assert!(!equal(b"secret", other) && !equal(other, b"secret"));
        }
    }
}
