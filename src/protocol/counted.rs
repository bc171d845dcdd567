//! So many of something, in words.

/// `1 record`, `2 records`: of what gets an `s` where there is not one.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
