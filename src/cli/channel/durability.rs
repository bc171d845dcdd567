//! The options that say when appends are acknowledged.

use crate::protocol::channel::Durability;
use crate::rows::time;

/// When appends are acknowledged.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Acknowledged {
    /// Acknowledge appends once they are written; they are flushed to the disk at most so long after that, like 100ms, and a
    /// power failure before may take them away
    #[arg(long, value_name = "D", value_parser = buffered, conflicts_with = "fsynced")]
    buffered: Option<Durability>,

    /// Acknowledge appends once they are on the disk
    #[arg(long)]
    fsynced: bool,
}

fn buffered(text: &str) -> Result<Durability, String> {
    let durability = Durability::buffered(time::duration(text)?);
    durability.check().map_err(|refused| refused.to_string())?;
    Ok(durability)
}

impl Acknowledged {
    /// What is named, if anything.
    pub fn named(self) -> Option<Durability> {
        self.fsynced.then_some(Durability::Fsynced).or(self.buffered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_a_bad_one_says_what_to_do() {
        assert_eq!(buffered("100ms"), Ok(Durability::Buffered { flush_ms: 100 }));
        assert_eq!(buffered("1m"), Ok(Durability::Buffered { flush_ms: 60_000 }));
        assert!(buffered("0").unwrap_err().contains("give at least 1 ms, or say `fsynced`"));
        let over = buffered("61s").unwrap_err();
        assert!(
            over.starts_with("the time within which is flushed, in ms, is 61000, over the limit of 60000"),
            "{over}"
        );
        assert!(buffered("soon").unwrap_err().contains("200ms"));
    }
}
