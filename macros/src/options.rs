//! What stands in the parentheses of `#[task(…)]`.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::{LitInt, Result};

/// The options of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether the same call always brings the same result.
    pub pure: bool,
    /// The version.
    pub version: u32,
}

impl Options {
    /// Reads them.
    pub fn parse(tokens: TokenStream) -> Result<Self> {
        let mut pure = None;
        let mut version = None;
        let parser = syn::meta::parser(|option| {
            let given_before = if option.path.is_ident("pure") {
                if !option.input.is_empty() && !option.input.peek(syn::Token![,]) {
                    return Err(option.error("`pure` takes no value: write `#[task(pure)]`"));
                }
                pure.replace(true).is_some()
            } else if option.path.is_ident("version") {
                version.replace(parse_version(&option)?).is_some()
            } else {
                return Err(option.error("unknown option: `#[task]` takes `pure` and `version = 2`"));
            };
            if given_before { Err(option.error("this option is given twice: take one away")) } else { Ok(()) }
        });
        parser.parse2(tokens)?;
        Ok(Options { pure: pure.unwrap_or(false), version: version.unwrap_or(1) })
    }
}

fn parse_version(option: &syn::meta::ParseNestedMeta<'_>) -> Result<u32> {
    const EXPECTED: &str = "a version is a number from 1 to 4294967295: write `version = 2`";
    let number: LitInt = option
        .value()
        .and_then(|value| value.parse())
        .map_err(|error| syn::Error::new(error.span(), EXPECTED))?;
    match number.base10_parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(syn::Error::new(number.span(), EXPECTED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn options_are_read() {
        let of = |tokens| Options::parse(tokens).unwrap();
        assert_eq!(of(quote!()), Options { pure: false, version: 1 });
        assert_eq!(of(quote!(pure)), Options { pure: true, version: 1 });
        assert_eq!(of(quote!(version = 3)), Options { pure: false, version: 3 });
        assert_eq!(of(quote!(pure, version = 2,)), Options { pure: true, version: 2 });
        assert_eq!(of(quote!(version = 2, pure)), Options { pure: true, version: 2 });
    }

    #[test]
    fn wrong_options_say_what_is_right() {
        for (tokens, said) in [
            (quote!(prue), "unknown option: `#[task]` takes `pure` and `version = 2`"),
            (quote!(retries = 3), "unknown option"),
            (quote!(pure = true), "`pure` takes no value"),
            (quote!(pure, pure), "given twice"),
            (quote!(version = 1, version = 2), "given twice"),
            (quote!(version), "a version is a number from 1"),
            (quote!(version = 0), "a version is a number from 1"),
            (quote!(version = "2"), "a version is a number from 1"),
            (quote!(version = 4294967296), "a version is a number from 1"),
        ] {
            let error = Options::parse(tokens.clone()).unwrap_err().to_string();
            assert!(error.contains(said), "{tokens}: {error}");
        }
    }
}
