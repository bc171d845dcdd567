//! Which functions can be tasks, as far as their text tells. That their types can travel is left to
//! the compiler.

use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Signature, Type};

/// Most parameters: as many as `headwater::client::function::TaskFn` is implemented for.
const PARAMETERS_MAX: usize = 12;

/// The types of the function's parameters, in order.
///
/// Everything that keeps the function from being a task is in the error.
pub fn parameters(function: &ItemFn) -> Result<Vec<&Type>> {
    let signature = &function.sig;
    let mut errors = Vec::new();
    check_kind(signature, &mut errors);
    let mut types = Vec::new();
    for parameter in &signature.inputs {
        match parameter {
            FnArg::Receiver(receiver) => errors.push(Error::new(
                receiver.span(),
                "a task is a free function: write it outside of the `impl` and pass the value as an argument",
            )),
            FnArg::Typed(typed) => {
                check_parameter(&typed.ty, &mut errors);
                types.push(&*typed.ty);
            }
        }
    }
    if let Some(excess) = signature.inputs.iter().nth(PARAMETERS_MAX) {
        let message =
            format!("a task has at most {PARAMETERS_MAX} parameters: put some of them into a struct");
        errors.push(Error::new(excess.span(), message));
    }
    match errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    }) {
        Some(error) => Err(error),
        None => Ok(types),
    }
}

fn check_kind(signature: &Signature, errors: &mut Vec<Error>) {
    let mut refuse = |span, message: &str| errors.push(Error::new(span, message));
    if !signature.generics.params.is_empty() {
        refuse(
            signature.generics.span(),
            "a task has no generic parameters, because workers know it by its name alone: write one \
             function for each type, and call the generic one in it",
        );
    }
    if let Some(unsafety) = &signature.unsafety {
        refuse(unsafety.span(), "a task is safe to call: write a safe function around this one");
    }
    if let Some(abi) = &signature.abi {
        refuse(abi.span(), "a task is an ordinary Rust function: take `extern` away");
    }
    if let ReturnType::Type(_, returned) = &signature.output
        && let Type::ImplTrait(_) = **returned
    {
        refuse(
            returned.span(),
            "a task returns a type that it names; for `impl Future<Output = …>` write an `async fn`",
        );
    }
}

fn check_parameter(parameter: &Type, errors: &mut Vec<Error>) {
    match parameter {
        Type::Reference(reference) => {
            let owned = match &*reference.elem {
                Type::Path(path) if path.path.is_ident("str") => "take a `String`",
                Type::Slice(_) => "take a `Vec`",
                _ => "take the value itself",
            };
            let message =
                format!("an argument of a task comes from elsewhere, it cannot be borrowed: {owned}");
            errors.push(Error::new(parameter.span(), message));
        }
        Type::ImplTrait(_) => errors.push(Error::new(
            parameter.span(),
            "a parameter of a task has one type, which it names: write that instead of `impl …`",
        )),
        Type::Paren(inner) => check_parameter(&inner.elem, errors),
        Type::Group(inner) => check_parameter(&inner.elem, errors),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn what_cannot_be_a_task_is_told_what_to_do() {
        for (function, said) in [
            (
                quote!(
                    fn f<T>(x: T) {}
                ),
                "write one function for each type",
            ),
            (
                quote!(
                    fn f<'a>(x: Cow<'a, str>) {}
                ),
                "no generic parameters",
            ),
            (
                quote!(
                    fn f(&self) {}
                ),
                "write it outside of the `impl`",
            ),
            (
                quote!(
                    fn f(x: impl Display) {}
                ),
                "write that instead of `impl",
            ),
            (
                quote!(
                    fn f(x: &str) {}
                ),
                "take a `String`",
            ),
            (
                quote!(
                    fn f(x: &[u8]) {}
                ),
                "take a `Vec`",
            ),
            (
                quote!(
                    fn f(x: &mut Thing) {}
                ),
                "take the value itself",
            ),
            (
                quote!(
                    fn f() -> impl Future<Output = u8> {}
                ),
                "write an `async fn`",
            ),
            (
                quote!(
                    unsafe fn f() {}
                ),
                "write a safe function around",
            ),
            (
                quote!(
                    extern "C" fn f() {}
                ),
                "take `extern` away",
            ),
            (
                quote!(
                    fn f(
                        a: u8,
                        b: u8,
                        c: u8,
                        d: u8,
                        e: u8,
                        f: u8,
                        g: u8,
                        h: u8,
                        i: u8,
                        j: u8,
                        k: u8,
                        l: u8,
                        m: u8,
                    ) {
                    }
                ),
                "at most 12 parameters: put some of them into a struct",
            ),
        ] {
            let function: ItemFn = syn::parse2(function).unwrap();
            let error = parameters(&function).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let function: ItemFn = syn::parse2(quote!(
            fn f<T>(a: &str, b: impl Copy) {}
        ))
        .unwrap();
        assert_eq!(parameters(&function).unwrap_err().into_iter().count(), 3);
    }

    #[test]
    fn parameters_are_known_by_their_types() {
        let function: ItemFn = syn::parse2(quote!(
            async fn f(mut a: f64, (b, _): (u8, u8), _: Vec<String>) {}
        ))
        .unwrap();
        let types: Vec<_> = parameters(&function).unwrap().iter().map(|ty| quote!(#ty).to_string()).collect();
        assert_eq!(types, ["f64", "(u8 , u8)", "Vec < String >"]);
    }
}
