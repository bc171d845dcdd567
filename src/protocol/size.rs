//! Numbers of bytes, as people write and read them.

use std::fmt;
use std::str::FromStr;

use super::counted::counted;

/// The units, largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes. It is shown in the largest unit of which there is one, rounded down to a tenth:
/// `1.5 GiB`, `256 MiB`, `17 bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, unit)) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit) else {
            return f.write_str(&counted(self.0, "byte"));
        };
        let (whole, tenths) = (self.0 / unit, self.0 % unit * 10 / unit);
        match tenths {
            0 => write!(f, "{whole} {name}"),
            tenths => write!(f, "{whole}.{tenths} {name}"),
        }
    }
}

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give a number of bytes with its unit, like 0, 64MiB or 1GiB")]
pub struct BadBytes;

impl FromStr for Bytes {
    type Err = BadBytes;

    /// Reads `0`, `512KiB`, `256 MiB`, `2GiB`: a whole number and its unit; only 0 needs none.
    fn from_str(text: &str) -> Result<Self, BadBytes> {
        let text = text.trim();
        if text == "0" {
            return Ok(Bytes(0));
        }
        let named = UNITS.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
        let (number, unit) = named.ok_or(BadBytes)?;
        let number: u64 = number.trim().parse().map_err(|_| BadBytes)?;
        number.checked_mul(unit).map(Bytes).ok_or(BadBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_rounded_down_and_read_back() {
        let shown = [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1_610_612_736, "1.5 GiB")];
        let shown = shown.into_iter().chain([(268_435_455, "255.9 MiB"), (5 << 40, "5 TiB")]);
        shown.for_each(|(bytes, words)| assert_eq!(Bytes(bytes).to_string(), words));
        for (words, bytes) in [("0", 0), ("256MiB", 256 << 20), ("2 GiB", 2 << 30), ("8KiB", 8192)] {
            assert_eq!(words.parse(), Ok(Bytes(bytes)));
        }
        for bad in ["", "MiB", "12", "-1MiB", "1.5GiB", "99999999999TiB", "much"] {
            assert_eq!(bad.parse::<Bytes>(), Err(BadBytes), "{bad}");
        }
    }
}
