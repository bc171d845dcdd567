//! Names that are checked once, where they come in.

use super::limits::NAME_BYTES_MAX;

/// A text that nothing of this kind can be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot name a {what}: {why}; use 1 to {NAME_BYTES_MAX} bytes of letters, digits and `. _ - / :`"
)]
pub struct BadName {
    what: &'static str,
    name: String,
    why: &'static str,
}

impl BadName {
    /// Refuses a name of something that is not made of 1 to [`NAME_BYTES_MAX`] bytes of letters, digits, and
    /// `. _ - / :`; `bare` is what is looked at.
    pub(super) fn check(what: &'static str, name: &str, bare: &str) -> Result<(), BadName> {
        let allowed = |c: char| c.is_alphanumeric() || ".-_/:".contains(c);
        let why = if bare.is_empty() {
            "it is empty"
        } else if name.len() > NAME_BYTES_MAX {
            "it is too long"
        } else if !bare.chars().all(allowed) {
            "it has other characters"
        } else {
            return Ok(());
        };
        Err(BadName { what, name: name.chars().take(80).collect(), why })
    }
}

/// Makes a type of names: `name!(Type, "what it names", bare)`, where `bare` is what of a name is looked at.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $bare:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            /// [`BadName`]($crate::protocol::name::BadName) says what is wrong with it.
            pub fn new(name: &str) -> Result<Self, $crate::protocol::name::BadName> {
                let bare: fn(&str) -> &str = $bare;
                $crate::protocol::name::BadName::check($what, name, bare(name))?;
                Ok($type(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::protocol::name::BadName;
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                $type::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::protocol::name::BadName;
            fn try_from(name: String) -> Result<Self, Self::Error> {
                $type::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.into()
            }
        }
    };
}

pub(super) use name;
