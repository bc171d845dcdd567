//! What `#[task]` writes: the function as it was, and beside it its registration.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, ItemFn, Result};

use crate::options::Options;
use crate::signature;

/// The function and its registration; the function and an error where it cannot be a task, so that
/// nobody else misses it.
pub fn expand(options: TokenStream, function: TokenStream) -> TokenStream {
    match registration(options, &function) {
        Ok(registration) => quote!(#function #registration),
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#function #error)
        }
    }
}

fn registration(options: TokenStream, function: &TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(function.clone())
        .map_err(|error| syn::Error::new(error.span(), format!("`#[task]` goes on a function: {error}")))?;
    let Options { pure, version } = Options::parse(options)?;
    let name = &function.sig.ident;
    let text = name.unraw().to_string();
    let full_name = quote!(::core::concat!("rust:", ::core::module_path!(), "::", #text));
    let run = run(&function, &full_name)?;
    let conditions = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    Ok(quote_spanned! {at(name.span())=>
        #(#conditions)*
        #[allow(deprecated)]
        const _: () = {
            ::headwater::__private::inventory::submit! {
                ::headwater::__private::Registered {
                    name: #full_name,
                    version: #version,
                    pure: #pure,
                    place: ::core::concat!(::core::file!(), ":", ::core::line!()),
                    type_id: || ::headwater::__private::type_id_of(&#name),
                    run: #run,
                }
            }
        };
    })
}

/// The code by which a worker runs the function: `Run::Blocking(…)` or `Run::Async(…)`.
///
/// Whether a `Result` is returned is not told by the text, which may name it by an alias, but by the
/// type: see `headwater::worker::call::Probe`.
fn run(function: &ItemFn, full_name: &TokenStream) -> Result<TokenStream> {
    let types = signature::parameters(function)?;
    let name = &function.sig.ident;
    let count = types.len();
    let arguments: Vec<Ident> =
        (1..=count).map(|position| format_ident!("argument_{position}", span = at(name.span()))).collect();
    // Each where its type is written, so that a type that cannot travel is shown there.
    let decoded = types.iter().zip(&arguments).map(|(ty, argument)| {
        quote_spanned! {at(ty.span())=>
            let #argument = decoder.argument::<#ty>()?;
        }
    });
    let is_async = function.sig.asyncness.is_some();
    let wait = is_async.then(|| quote!(.await));
    let returned_at = match &function.sig.output {
        syn::ReturnType::Default => name.span(),
        syn::ReturnType::Type(_, returned) => returned.span(),
    };
    let outcome = quote_spanned! {at(returned_at)=>
        (&::headwater::__private::Probe::of(&returned)).returned_kind().outcome(full_name, returned)
    };
    let call = quote_spanned! {at(name.span())=>
        #[allow(unused_imports)]
        use ::headwater::__private::{FallibleKind as _, PlainKind as _};
        let full_name = #full_name;
        #[allow(unused_mut)]
        let mut decoder = ::headwater::__private::Decoder::new(full_name, encoded, #count)?;
        #(#decoded)*
        let returned = #name(#(#arguments),*) #wait;
        #outcome
    };
    Ok(if is_async {
        quote_spanned! {at(name.span())=>
            ::headwater::__private::Run::Async(|encoded| ::std::boxed::Box::pin(async move { #call }))
        }
    } else {
        quote_spanned! {at(name.span())=> ::headwater::__private::Run::Blocking(|encoded| { #call }) }
    })
}

/// A place in the user's code for errors, under which our own local names cannot be mistaken for the
/// user's.
fn at(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_stays_as_it_is_written() {
        let function = quote! {
            /// Adds.
            #[must_use]
            pub(crate) fn add(mut a: f64, b: f64) -> f64 { a += b; a }
        };
        let expanded = expand(quote!(pure), function.clone()).to_string();
        assert!(expanded.starts_with(&function.to_string()), "{expanded}");
    }

    #[test]
    fn a_function_that_cannot_be_a_task_stays_beside_the_error() {
        for (options, function) in [
            (
                quote!(),
                quote!(
                    fn f(x: &str) {}
                ),
            ),
            (
                quote!(what),
                quote!(
                    fn f() {}
                ),
            ),
        ] {
            let expanded = expand(options, function.clone()).to_string();
            assert!(expanded.starts_with(&function.to_string()), "{expanded}");
            assert!(expanded.contains("compile_error"), "{expanded}");
        }
    }

    #[test]
    fn other_things_than_functions_are_refused() {
        let expanded = expand(
            quote!(),
            quote!(
                struct S;
            ),
        )
        .to_string();
        assert!(expanded.contains("`#[task]` goes on a function"), "{expanded}");
    }

    #[test]
    fn a_condition_holds_for_the_registration_too() {
        let expanded = expand(
            quote!(),
            quote!(
                #[cfg(unix)]
                fn f() {}
            ),
        )
        .to_string();
        assert_eq!(expanded.matches("# [cfg (unix)]").count(), 2, "{expanded}");
    }
}
