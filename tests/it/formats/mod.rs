//! Golden bytes: every stored and sent format is pinned by a line in `migrations/`.
//!
//! A line that changes is a format that changed: that takes a new version (see
//! `headwater::protocol::version`), with goldens of its own. A new variant at the end of an enum does
//! not compile here until it has an example, and does not pass until its line is added:
//!
//! ```text
//! HEADWATER_PRINT_GOLDEN=1 cargo test --test it formats -- --nocapture
//! ```
//!
//! prints all lines as they are now.

mod envelopes;
mod facts;
mod messages;
mod snapshots;
mod store;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Adds one line for each variant of an enum. A variant that has no example does not compile.
macro_rules! variants {
    ($lines:expr, $type:ident { $($variant:ident = $example:expr,)* }) => {{
        fn variant_of(value: &$type) -> &'static str {
            match value { $($type::$variant { .. } => stringify!($variant)),* }
        }
        $(
            let example: $type = $example;
            assert_eq!(variant_of(&example), stringify!($variant));
            $lines.add(&format!("{}::{}", stringify!($type), stringify!($variant)), &example);
        )*
    }};
}
use variants;

/// The lines of a golden file: a name and bytes in hexadecimal.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// Adds a line for a value in postcard, which must read back equal.
    fn add<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let bytes = postcard::to_stdvec(value).unwrap();
        assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), value);
        self.add_bytes(name, &bytes);
    }

    fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push_str(&format!("{name} {hex}\n"));
    }

    /// Compares with a golden file, whose lines that begin with `#` do not count.
    fn check(&self, golden: &str) {
        if std::env::var_os("HEADWATER_PRINT_GOLDEN").is_some() {
            println!("\n{}", self.0);
        }
        let mut expected = golden.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in self.0.lines() {
            let hint = "a format has changed: see tests/it/formats/mod.rs";
            assert_eq!(Some(line), expected.next(), "{hint}");
        }
        assert_eq!(expected.next(), None, "a format is gone");
    }
}
