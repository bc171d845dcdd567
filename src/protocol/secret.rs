//! Secrets: the cluster's token, as both sides of a handshake compare it.

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    differences == 0 && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_only_when_all_of_them_is() {
        assert!(equal(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secret2", b"Secret", b"secreT"] {
            assert!(!equal(b"secret", other) && !equal(other, b"secret"));
        }
    }
}
