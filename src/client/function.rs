//! Functions as tasks: what types a call has, and what is known of a function that carries `#[task]`.
//!
//! `#[task]` leaves a function as it is; everything here goes by the function's own type. [`TaskFn`]
//! and [`TaskOutput`] say which arguments it takes and what comes out, [`Arguments`] and
//! [`IntoArgument`] what may be passed for them, and [`registered_of`] finds the name under which
//! workers know it. Running a task is not done here, see [`crate::worker`].
//!
//! A call is checked when it is compiled. An argument is a value or a future of the parameter's type:
//!
//! ```compile_fail,E0277
//! # use headwater::{task, client::function::*};
//! # fn call<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(_: F, _: A) {}
//! #[task]
//! fn add(a: f64, b: f64) -> f64 { a + b }
//! call(add, (1.0, "two"));
//! ```
//!
//! There are as many arguments as parameters, in a tuple:
//!
//! ```compile_fail,E0277
//! # use headwater::{task, client::function::*};
//! # fn call<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(_: F, _: A) {}
//! # #[task]
//! # fn add(a: f64, b: f64) -> f64 { a + b }
//! call(add, (1.0,));
//! ```
//!
//! A future is one of the parameter's type:
//!
//! ```compile_fail,E0277
//! # use headwater::{task, client::{function::*, future::TaskFuture}};
//! # fn call<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(_: F, _: A) {}
//! # #[task]
//! # fn add(a: f64, b: f64) -> f64 { a + b }
//! fn with(text: &TaskFuture<String>) { call(add, (1.0, text)); }
//! ```
//!
//! So is each in a collection:
//!
//! ```compile_fail,E0277
//! # use headwater::{task, client::{function::*, future::TaskFuture}};
//! # fn call<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(_: F, _: A) {}
//! #[task]
//! fn sum(all: Vec<f64>) -> f64 { all.iter().sum() }
//! fn with(texts: Vec<TaskFuture<String>>) { call(sum, (texts,)); }
//! ```
//!
//! And so the right ones compile:
//!
//! ```
//! # use headwater::{task, client::{function::*, future::TaskFuture}};
//! # fn call<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(_: F, _: A) {}
//! # #[task]
//! # fn add(a: f64, b: f64) -> f64 { a + b }
//! fn with(number: &TaskFuture<f64>) { call(add, (1.0, number)); }
//! ```

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blob::Content;
use super::future::TaskFuture;
use super::nested;
use crate::protocol::task::Argument;
use crate::protocol::{Payload, TaskError, TaskId, TaskKey};

/// What can travel as an argument or a result: any type of one's own that serde can write and read.
/// Implemented for all of them.
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

/// A function that takes the parameters `Params` (a tuple) and brings a `T`.
///
/// Implemented for functions of at most 12 parameters whose return type is a [`TaskOutput`]. That the
/// function also carries `#[task]` its type cannot tell: [`registered_of`] does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task function",
    label = "not a task function",
    note = "a task is a function with `#[task]`, of at most 12 parameters, none of them a reference, that \
            returns a value which serde can write and read, or a `Result` of one; pass it by its name"
)]
pub trait TaskFn<Params, T, Marker>: 'static {}

/// What a task function may return so that its future brings a `T`: the value itself, a `Result` of
/// it, or a Rust future of one of these.
///
/// `Marker` tells the four apart and is always inferred. A `Result` whose error serde can read and
/// write is both a value and a result; then `T` must be given, see [`task`](crate::task).
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}` for a future of `{T}`",
    note = "a task returns a value that serde can write and read, or a `Result` of one"
)]
pub trait TaskOutput<T, Marker> {}

/// Markers for [`TaskOutput`]: how a function brings its value.
pub mod returns {
    /// It returns the value.
    #[derive(Debug)]
    pub enum Plain {}
    /// It returns a `Result` of the value.
    #[derive(Debug)]
    pub enum Fallible {}
    /// It is async and returns the value.
    #[derive(Debug)]
    pub enum AsyncPlain {}
    /// It is async and returns a `Result` of the value.
    #[derive(Debug)]
    pub enum AsyncFallible {}
}

/// What a task function may return as its error: all errors of the standard kind, `anyhow::Error`,
/// `String` and `&str`.
pub trait Failure: Into<Box<dyn std::error::Error + Send + Sync>> {}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Failure for E {}

impl<T: Value> TaskOutput<T, returns::Plain> for T {}
impl<T: Value, E: Failure> TaskOutput<T, returns::Fallible> for Result<T, E> {}
impl<T: Value, F: Future<Output = T>> TaskOutput<T, returns::AsyncPlain> for F {}
impl<T: Value, E: Failure, F: Future<Output = Result<T, E>>> TaskOutput<T, returns::AsyncFallible> for F {}

/// The arguments of a call for the parameters `Params`: a tuple with an [`IntoArgument`] for each,
/// `(a,)` for a single one and `()` for none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are not the arguments of a function that takes `{Params}`",
    note = "pass a tuple with one argument for each parameter: `(a, b)`, `(a,)` for one, `()` for none"
)]
pub trait Arguments<Params> {
    /// Encodes them in order. Bounds on their size are checked with the whole submission.
    ///
    /// # Errors
    /// [`EncodeError`] names the first that serde cannot write.
    fn encode(self) -> Result<Encoded, EncodeError>;
}

/// What may be passed for a parameter of type `T`: a `T`, a `&T`, a [`TaskFuture`] of `T` or a
/// reference to one, and a `&str` for a `String`.
///
/// Where `T` is a collection, it may be one of futures: a `Vec<TaskFuture<f64>>`, a slice or an array of them for a
/// `Vec<f64>`; an array for an array; an `&Option` for an `Option`; a `BTreeMap` or `HashMap` whose values are futures; a pair of which
/// either or both are, and three of them; a `Vec` of vectors, of options and of pairs with futures, and a `BTreeMap` of
/// vectors. Whatever else has futures in it, structs of one's own too, is passed with [`nested`](fn@nested::nested). The task
/// waits for all of them, and gets their results in their place.
///
/// All arguments of a task together have at most [64](crate::protocol::limits::ARGUMENTS_MAX) futures in them. Lists may be
/// longer: tasks of their own put them together, in pieces.
///
/// ```
/// # use headwater::{Client, Result, task};
/// #[task(pure)]
/// fn square(x: f64) -> f64 { x * x }
///
/// #[task(pure)]
/// fn sum(all: Vec<f64>) -> f64 { all.iter().sum() }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let client = Client::local().await?;
/// let mut squares = Vec::new();
/// for n in 1..=100 {
///     squares.push(client.submit(square, (f64::from(n),)).await?);
/// }
/// assert_eq!(client.submit(sum, (&squares,)).await?.await?, 338_350.0);
/// assert_eq!(client.submit(sum, (&squares[..2],)).await?.await?, 5.0);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument of type `{T}`",
    label = "not a `{T}`",
    note = "pass a value or a `TaskFuture` of that type, or a reference to one",
    note = "pass a struct, or what is deep, with futures in it as `headwater::nested(&value)`"
)]
pub trait IntoArgument<T> {
    /// Adds it to the arguments.
    ///
    /// # Errors
    /// [`EncodeError`] when serde cannot write it.
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError>;
}

impl<T: Value> IntoArgument<T> for T {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_value(&self)
    }
}

impl<T: Value> IntoArgument<T> for &T {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_value(self)
    }
}

impl IntoArgument<String> for &str {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_value(self)
    }
}

impl<T: Value> IntoArgument<T> for TaskFuture<T> {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_future(self.id(), self);
        Ok(())
    }
}

impl<T: Value> IntoArgument<T> for &TaskFuture<T> {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_future(self.id(), self.clone());
        Ok(())
    }
}

/// Encoded arguments, and the futures among them.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The arguments in order.
    pub arguments: Vec<Argument>,
    /// The futures that were passed. A future that is dropped releases its task, so these stay until
    /// the submission, which then keeps the tasks itself, is acknowledged.
    pub kept: Vec<Box<dyn Any + Send>>,
}

impl Encoded {
    fn add_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let payload = Payload::encode(value).map_err(|why| self.error::<T>(why))?;
        self.arguments.push(Argument::Value(payload));
        Ok(())
    }

    /// Adds a value with futures in it.
    pub(super) fn add_nested<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), EncodeError> {
        let (argument, kept) = nested::encode(value).map_err(|why| self.error::<V>(why))?;
        self.arguments.push(argument);
        self.kept.extend(kept);
        Ok(())
    }

    fn error<V: ?Sized>(&self, why: String) -> EncodeError {
        let (position, type_name) = (self.arguments.len() + 1, std::any::type_name::<V>());
        EncodeError { position, type_name, why }
    }

    fn add_future(&mut self, task: TaskId, future: impl Any + Send) {
        self.arguments.push(Argument::Future(task));
        self.kept.push(Box::new(future));
    }
}

/// An argument that serde cannot write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "argument {position} cannot be encoded: {why}: change how serde writes `{type_name}`, or pass another type"
)]
pub struct EncodeError {
    /// Which argument, from 1.
    pub position: usize,
    /// Its type.
    pub type_name: &'static str,
    /// What serde says.
    pub why: String,
}

/// Implements [`TaskFn`] and [`Arguments`] for the given parameters, and for all but the first of
/// them, and so on down to none.
macro_rules! arities {
    () => { arities!(@one); };
    ($P:ident $X:ident $(, $Ps:ident $Xs:ident)*) => {
        arities!(@one $P $X $(, $Ps $Xs)*);
        arities!($($Ps $Xs),*);
    };
    (@one $($P:ident $X:ident),*) => {
        impl<Function, Returned, T, Marker, $($P),*> TaskFn<($($P,)*), T, Marker> for Function
        where
            Function: Fn($($P),*) -> Returned + 'static,
            Returned: TaskOutput<T, Marker>,
        {
        }

        impl<$($P, $X: IntoArgument<$P>),*> Arguments<($($P,)*)> for ($($X,)*) {
            #[allow(non_snake_case)]
            fn encode(self) -> Result<Encoded, EncodeError> {
                let ($($X,)*) = self;
                #[allow(unused_mut)]
                let mut encoded = Encoded::default();
                $($X.add_to(&mut encoded)?;)*
                Ok(encoded)
            }
        }
    };
}

arities!(P1 X1, P2 X2, P3 X3, P4 X4, P5 X5, P6 X6, P7 X7, P8 X8, P9 X9, P10 X10, P11 X11, P12 X12);

/// A function that carries `#[task]`, as it is known everywhere.
#[derive(Debug)]
pub struct Registered {
    /// The full name: `rust:my_crate::add`.
    pub name: &'static str,
    /// The version, as its author counts it.
    pub version: u32,
    /// Whether the same call is always the same task.
    pub pure: bool,
    /// Where it is written: file and line.
    pub place: &'static str,
    /// The id of the function's own type.
    pub type_id: fn() -> TypeId,
    /// How a worker runs it.
    pub run: Run,
}

inventory::collect!(Registered);

/// How a function is run: it decodes its arguments, calls, and encodes what is returned.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// It keeps its thread until it is done.
    Blocking(fn(Vec<Content>) -> Result<Content, TaskError>),
    /// It is async.
    Async(fn(Vec<Content>) -> Running),
}

/// A call of an async function.
pub type Running = Pin<Box<dyn Future<Output = Result<Content, TaskError>> + Send>>;

impl Registered {
    /// The function's short name.
    pub fn label(&self) -> &'static str {
        TaskKey::label_of(self.name)
    }

    /// All functions with `#[task]` that are linked into this program, in no order.
    pub fn all() -> impl Iterator<Item = &'static Registered> {
        inventory::iter::<Registered>()
    }
}

/// What is known of a function; `None` if it has no `#[task]`, or is passed not by its name but as a
/// closure or a `fn` pointer.
pub fn registered_of<F: 'static>(_function: &F) -> Option<&'static Registered> {
    static BY_TYPE: OnceLock<HashMap<TypeId, &'static Registered>> = OnceLock::new();
    let by_type = BY_TYPE.get_or_init(|| Registered::all().map(|known| ((known.type_id)(), known)).collect());
    by_type.get(&TypeId::of::<F>()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture;
    use crate::task;

    #[task]
    fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    #[task(pure, version = 7)]
    async fn shout(text: String) -> String {
        text.to_uppercase()
    }

    #[task]
    fn parse(text: String) -> Result<f64, std::num::ParseFloatError> {
        text.parse()
    }

    #[task(pure)]
    async fn read(path: String) -> std::io::Result<Vec<u8>> {
        Err(std::io::Error::other(path))
    }

    #[task(version = 2)]
    fn half(n: u64) -> Result<u64, String> {
        if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }

    #[task]
    fn r#match() {}

    #[task]
    #[allow(clippy::too_many_arguments)]
    fn most(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8) -> Vec<u8> {
        vec![a, b, c, d, e, f, g, h, i, j, k, l]
    }

    fn plain(a: f64) -> f64 {
        a
    }

    /// As `Client::submit` is typed.
    fn submit<F, P, T, M, A>(
        function: F,
        arguments: A,
    ) -> (Option<&'static Registered>, Encoded, TaskFuture<T>)
    where
        F: TaskFn<P, T, M>,
        A: Arguments<P>,
    {
        let future = fixture::future(TaskId([9; 16]));
        (registered_of(&function), arguments.encode().unwrap(), future)
    }

    fn value<T: Serialize>(value: T) -> Argument {
        Argument::Value(Payload::encode(&value).unwrap())
    }

    #[test]
    fn a_task_stays_an_ordinary_function() {
        let pointer: fn(f64, f64) -> f64 = add;
        assert_eq!((add(1.0, 2.0), pointer(1.0, 2.0)), (3.0, 3.0));
        let function = add;
        let add = submit(add, (1.0, 2.0)).2;
        let _: TaskFuture<f64> = add;
        assert_eq!(function(0.5, 0.5), 1.0);
    }

    #[test]
    fn functions_are_found_by_their_type_with_all_that_was_said_of_them() {
        let of = |known: Option<&'static Registered>| {
            let known = known.unwrap();
            (known.name, known.label(), known.version, known.pure, matches!(known.run, Run::Async(_)))
        };
        let path = "rust:headwater::client::function::tests::";
        assert_eq!(of(registered_of(&add)), (&*format!("{path}add"), "add", 1, false, false));
        assert_eq!(of(registered_of(&shout)), (&*format!("{path}shout"), "shout", 7, true, true));
        assert_eq!(of(registered_of(&parse)), (&*format!("{path}parse"), "parse", 1, false, false));
        assert_eq!(of(registered_of(&read)), (&*format!("{path}read"), "read", 1, true, true));
        assert_eq!(of(registered_of(&half)), (&*format!("{path}half"), "half", 2, false, false));
        assert_eq!(of(registered_of(&r#match)), (&*format!("{path}match"), "match", 1, false, false));
        let place = registered_of(&add).unwrap().place;
        assert!(place.starts_with("src/client/function.rs:"), "{place}");
    }

    #[test]
    fn what_is_not_passed_by_a_tasks_name_is_not_known() {
        assert!(registered_of(&plain).is_none());
        assert!(registered_of(&|a: f64, b: f64| add(a, b)).is_none());
        assert!(registered_of(&(add as fn(f64, f64) -> f64)).is_none());
    }

    #[test]
    fn the_future_brings_what_the_function_does() {
        let _: TaskFuture<f64> = submit(add, (1.0, 2.0)).2;
        let _: TaskFuture<String> = submit(shout, ("a".to_owned(),)).2;
        let (.., parsed) = submit(parse, ("1",));
        let _: TaskFuture<f64> = parsed;
        let (.., bytes) = submit(read, ("f",));
        let _: TaskFuture<Vec<u8>> = bytes;
        let (.., none) = submit(r#match, ());
        let _: TaskFuture<()> = none;
        // What is both a value and a result is told apart by the type that is asked for.
        let _: TaskFuture<u64> = submit(half, (8,)).2;
    }

    #[test]
    fn values_and_references_are_encoded_as_the_parameter_is() {
        let (b, text) = (2.0, String::from("x"));
        assert_eq!(submit(add, (1.0, &b)).1.arguments, [value(1.0), value(2.0)]);
        for encoded in [submit(shout, (&text,)).1, submit(shout, ("x",)).1, submit(shout, (text.clone(),)).1]
        {
            assert_eq!(encoded.arguments, [value("x")]);
        }
        let most = submit(most, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)).1.arguments;
        assert_eq!(most, (1..=12).map(value).collect::<Vec<_>>());
        assert!(submit(r#match, ()).1.arguments.is_empty());
    }

    #[test]
    fn futures_are_passed_by_their_task_and_kept() {
        let future: TaskFuture<f64> = fixture::future(TaskId([1; 16]));
        let encoded = submit(add, (&future, 2.0)).1;
        assert_eq!(encoded.arguments, [Argument::Future(future.id()), value(2.0)]);
        assert_eq!(encoded.kept.len(), 1);
        let encoded = submit(add, (future.clone(), &future)).1;
        assert_eq!(encoded.arguments, [Argument::Future(future.id()), Argument::Future(future.id())]);
        assert!(encoded.kept.iter().all(|kept| kept.is::<TaskFuture<f64>>()));
        assert_eq!(encoded.kept.len(), 2);
    }

    #[test]
    fn an_argument_that_cannot_be_encoded_is_named() {
        #[derive(serde::Deserialize)]
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("ink is out"))
            }
        }
        let error = Arguments::<(f64, Unwritable)>::encode((1.0, Unwritable)).unwrap_err().to_string();
        assert!(
            error.starts_with("argument 2 cannot be encoded: ink is out: change how serde writes `"),
            "{error}"
        );
    }
}
