//! What the code that `#[task]` writes calls, on the worker: arguments in, result or error out.
//!
//! Its public items are for that code alone, through `headwater::__private`. It decides nothing about
//! attempts and catches no panic, see [`super::run()`].

use std::any::TypeId;
use std::marker::PhantomData;

use super::context::Context;
use crate::client::blob::{Content, Room};
use crate::client::function::{Failure, Value};
use crate::protocol::limits::{RESULT_BYTES_MAX, TooLarge};
use crate::protocol::task::ErrorKind;
use crate::protocol::{Payload, TaskError, TaskKey};

/// The id of a function's own type, which has no name in Rust.
pub fn type_id_of<F: 'static>(_function: &F) -> TypeId {
    TypeId::of::<F>()
}

/// The arguments of one call, to be decoded in order.
#[derive(Debug)]
pub struct Decoder {
    function: &'static str,
    arguments: std::vec::IntoIter<Content>,
    position: usize,
}

impl Decoder {
    /// Takes the arguments of a call of `function`, which has `count` parameters.
    ///
    /// # Errors
    /// [`ErrorKind::BadArguments`] when there are more or fewer.
    pub fn new(function: &'static str, arguments: Vec<Content>, count: usize) -> Result<Self, TaskError> {
        if arguments.len() != count {
            let plural = if count == 1 { "" } else { "s" };
            let message = format!(
                "`{}` takes {count} argument{plural}, not {}: build client and worker from the same code, and \
                 count up its `#[task(version = …)]` when its parameters change",
                TaskKey::label_of(function),
                arguments.len(),
            );
            return Err(TaskError::new(ErrorKind::BadArguments, &message, Vec::new()));
        }
        Ok(Decoder { function, arguments: arguments.into_iter(), position: 0 })
    }

    /// Decodes the next argument.
    ///
    /// # Errors
    /// [`ErrorKind::BadArguments`] when it is of another type.
    pub fn argument<T: Value>(&mut self) -> Result<T, TaskError> {
        self.position += 1;
        let content = self.arguments.next().expect("the code of `#[task]` asks for as many as it said");
        content.decode().map_err(|why| {
            let message = format!(
                "argument {} of {}: {why}: pass a `{}`, and build client and worker from the same code",
                self.position,
                TaskKey::label_of(self.function),
                std::any::type_name::<T>(),
            );
            TaskError::new(ErrorKind::BadArguments, &message, Vec::new())
        })
    }
}

/// Arguments in memory, for functions that look at their bytes. Waits for the disk where one is in a file.
///
/// # Errors
/// [`ErrorKind::BadArguments`] when the disk does not give one back.
pub(super) fn in_memory(function: &str, arguments: Vec<Content>) -> Result<Vec<Payload>, TaskError> {
    let read = |(position, content): (usize, Content)| {
        content.into_payload().map_err(|error| {
            let message =
                format!("argument {position} of {function} cannot be read back from the disk: {error}");
            TaskError::new(ErrorKind::BadArguments, &message, Vec::new())
        })
    };
    (1..).zip(arguments).map(read).collect()
}

/// Finds out whether a function returned a `Result`, under whatever alias.
///
/// `(&Probe::of(&returned)).returned_kind()` is [`Fallible`] for a `Result` and [`Plain`] for all else: method
/// lookup tries `&Probe<_>` as it is before it takes a reference to it.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<R>);

impl<R> Probe<R> {
    /// A probe for the type of what was returned.
    pub fn of(_returned: &R) -> Self {
        Probe(PhantomData)
    }
}

/// For functions that return a `Result`.
#[derive(Debug, Clone, Copy)]
pub struct Fallible;

/// For functions that return anything else.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

/// See [`Probe`].
pub trait FallibleKind {
    /// A `Result` was returned.
    fn returned_kind(&self) -> Fallible {
        Fallible
    }
}
impl<T, E> FallibleKind for Probe<Result<T, E>> {}

/// See [`Probe`].
pub trait PlainKind {
    /// Something else was returned.
    fn returned_kind(&self) -> Plain {
        Plain
    }
}
impl<R> PlainKind for &Probe<R> {}

impl Fallible {
    /// Encodes what `function` returned.
    ///
    /// # Errors
    /// [`ErrorKind::Returned`] with the function's own error and its causes; else as [`Plain::outcome`].
    pub fn outcome<T: Value, E: Failure>(
        self,
        function: &str,
        returned: Result<T, E>,
    ) -> Result<Content, TaskError> {
        match returned {
            Ok(value) => Plain.outcome(function, value),
            Err(error) => Err(returned_error(&*error.into())),
        }
    }
}

impl Plain {
    /// Encodes what `function` returned.
    ///
    /// # Errors
    /// [`ErrorKind::BadResult`] when it cannot be encoded or is too large.
    pub fn outcome<T: Value>(self, function: &str, value: T) -> Result<Content, TaskError> {
        let bad = |message: String| TaskError::new(ErrorKind::BadResult, &message, Vec::new());
        let function = TaskKey::label_of(function);
        let room = Context::current().map_or(Room::MEMORY, |context| context.room());
        let content = Content::encode(&value, &room).map_err(|why| {
            bad(format!(
                "the result of `{function}` cannot be encoded: {why}: change how serde writes `{}`, or \
                 return another type",
                std::any::type_name::<T>()
            ))
        })?;
        let what = format!("the result of `{function}`");
        check_size(what, content.bytes()).map_err(|large| bad(large.to_string()))?;
        Ok(content)
    }
}

pub(super) fn check_size(what: String, size: u64) -> Result<(), TooLarge> {
    if size <= RESULT_BYTES_MAX {
        return Ok(());
    }
    let hint = "write the data to where others can read them and return a path or a key".to_owned();
    Err(TooLarge { what, size, max: RESULT_BYTES_MAX, hint })
}

fn returned_error(error: &(dyn std::error::Error + 'static)) -> TaskError {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    TaskError::new(ErrorKind::Returned, &error.to_string(), causes.map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::function::{Registered, Run, registered_of};

    type Alias = Result<u64, std::num::ParseIntError>;

    #[derive(Debug, thiserror::Error)]
    #[error("the load failed")]
    struct LoadFailed(#[source] std::io::Error);

    #[crate::task]
    fn parse(text: String) -> Alias {
        text.parse()
    }

    #[crate::task]
    fn joined(mut list: Vec<String>, (a, _): (char, char), _: Option<u8>) -> String {
        list.push(a.to_string());
        list.concat()
    }

    #[crate::task]
    fn nothing() {}

    #[crate::task]
    fn text_error() -> Result<u8, String> {
        Err("no luck".to_owned())
    }

    #[crate::task]
    fn boxed_error() -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
        Err(Box::new(LoadFailed(std::io::Error::other("disk on fire"))))
    }

    #[crate::task]
    fn large(bytes: usize) -> String {
        "x".repeat(bytes)
    }

    #[crate::task]
    fn unwritable() -> Unwritable {
        Unwritable
    }

    #[derive(serde::Deserialize)]
    struct Unwritable;

    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("ink is out"))
        }
    }

    fn call<F: 'static>(function: F, arguments: Vec<Payload>) -> Result<Payload, TaskError> {
        match registered_of(&function) {
            Some(Registered { run: Run::Blocking(run), .. }) => {
                let content = run(arguments.into_iter().map(Content::from).collect())?;
                Ok(content.into_payload().unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn encoded<T: serde::Serialize>(value: T) -> Payload {
        Payload::encode(&value).unwrap()
    }

    #[test]
    fn arguments_come_in_and_the_value_goes_out() {
        let arguments = vec![encoded(["a", "b"]), encoded(('c', 'd')), encoded(None::<u8>)];
        assert_eq!(call(joined, arguments), Ok(encoded("abc")));
        assert_eq!(call(nothing, vec![]), Ok(encoded(())));
    }

    #[test]
    fn a_result_is_taken_apart_under_any_alias() {
        assert_eq!(call(parse, vec![encoded("12")]), Ok(encoded(12)));
        let error = call(parse, vec![encoded("x")]).unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::Returned, "invalid digit found in string"));
    }

    #[test]
    fn an_error_that_serde_can_write_is_still_an_error() {
        let error = call(text_error, vec![]).unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::Returned, "no luck"));
    }

    #[test]
    fn an_error_comes_with_its_causes() {
        let error = call(boxed_error, vec![]).unwrap_err();
        assert_eq!(error.message, "the load failed");
        assert_eq!(error.causes, ["disk on fire"]);
    }

    #[test]
    fn a_wrong_argument_is_named_with_its_place_and_type() {
        let arguments = vec![encoded(["a", "b"]), encoded(7), encoded(None::<u8>)];
        let error = call(joined, arguments).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadArguments);
        assert!(error.message.starts_with("argument 2 of joined: 7 is not a (char, char): "), "{error}");
        assert!(error.message.contains(": pass a `(char, char)`, and build"), "{error}");
    }

    #[test]
    fn a_wrong_number_of_arguments_is_refused() {
        for arguments in [vec![], vec![encoded("1"), encoded("2")]] {
            let count = arguments.len();
            let error = call(parse, arguments).unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadArguments);
            assert!(
                error.message.starts_with(&format!("`parse` takes 1 argument, not {count}: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_result_that_cannot_be_kept_says_so() {
        assert!(call(large, vec![encoded(1_000_000)]).is_ok(), "it is kept outside the log");
        assert_eq!(check_size("it".to_owned(), RESULT_BYTES_MAX), Ok(()));
        let error = check_size("the result of `large`".to_owned(), RESULT_BYTES_MAX + 1).unwrap_err();
        let told = "the result of `large` is 4294967296, over the limit of 4294967295: ";
        assert!(error.to_string().starts_with(told), "{error}");
        let error = call(unwritable, vec![]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadResult);
        assert!(
            error.message.starts_with("the result of `unwritable` cannot be encoded: ink is out: "),
            "{error}"
        );
    }
}
