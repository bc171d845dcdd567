//! Futures inside arguments: how a value with futures in it is encoded.
//!
//! A future is written as a hole (see [`template`]), and only here: whoever encodes an argument
//! says so to this thread, and gets the futures that were written. Anywhere else to write one is an error, since what is
//! encoded there holds no task and nobody would fill the hole.

use std::any::Any;
use std::cell::RefCell;

use serde::ser::{Error as _, Serialize, Serializer};

use super::future::TaskFuture;
use crate::protocol::task::Argument;
use crate::protocol::template::{self, Template};
use crate::protocol::{Payload, TaskId};

/// What keeps the futures that were passed.
pub(super) type Kept = Vec<Box<dyn Any + Send>>;

thread_local! {
    /// The futures that were written since an argument is being encoded on this thread.
    static WRITTEN: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// A value with futures in it, as an argument: see [`nested`].
#[derive(Debug, Clone, Copy)]
pub struct Nested<'a, V: ?Sized>(pub(super) &'a V);

/// Passes a value with futures anywhere in it for a parameter of the type that it has with their results in their place.
///
/// Collections of futures need no more than to be passed: see [`IntoArgument`](super::function::IntoArgument). This is
/// for what is deeper, and for structs of one's own. That the value fits the parameter is not seen when it is compiled:
/// the task fails, and says what does not.
///
/// ```
/// # use headwater::{Client, Result, TaskFuture, nested, task};
/// use serde::{Deserialize, Serialize};
///
/// /// With `f64` it is what the task gets, with futures what is passed for it.
/// #[derive(Serialize, Deserialize)]
/// struct Loan<T> { name: String, sum: T, rates: Vec<T> }
///
/// #[task]
/// fn cost(loan: Loan<f64>) -> f64 { loan.rates.iter().map(|rate| loan.sum * rate).sum() }
///
/// #[task]
/// fn rate(year: u32) -> f64 { f64::from(year) / 100.0 }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let client = Client::local().await?;
/// let sum = client.scatter(&200.0).await?;
/// let rates: Vec<TaskFuture<f64>> = vec![client.submit(rate, (1,)).await?, client.submit(rate, (2,)).await?];
/// let loan = Loan { name: "house".to_owned(), sum, rates };
/// assert_eq!(client.submit(cost, (nested(&loan),)).await?.await?, 6.0);
/// # Ok(()) }
/// ```
pub fn nested<V: Serialize + ?Sized>(value: &V) -> Nested<'_, V> {
    Nested(value)
}

/// Encodes an argument, and the futures in it.
///
/// # Errors
/// What serde says.
pub(super) fn encode<V: Serialize + ?Sized>(value: &V) -> Result<(Argument, Kept), String> {
    let writing = Writing { before: WRITTEN.replace(Some(Kept::new())) };
    let payload = Payload::encode(value)?;
    let kept = WRITTEN.take().unwrap_or_default();
    drop(writing);
    if kept.is_empty() {
        return Ok((Argument::Value(payload), kept));
    }
    let template = Template::new(payload.bytes);
    template.check().map_err(|why| why.to_string())?;
    if template.holes().count() != kept.len() {
        return Err(format!(
            "it has MessagePack extensions of type {} in it, which stand for futures: give them another",
            template::HOLE
        ));
    }
    // A future alone is what it always was, so that the key of a pure call is the same.
    let argument = match template::hole(template.bytes()) {
        Some(task) => Argument::Future(task),
        None => Argument::Nested(template),
    };
    Ok((argument, kept))
}

/// While an argument is encoded on this thread; then it is as before, also behind a panic.
struct Writing {
    before: Option<Kept>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITTEN.set(self.before.take());
    }
}

/// A future in an argument. To write it anywhere else is an error.
impl<T> Serialize for TaskFuture<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_argument = WRITTEN.with_borrow_mut(|written| {
            let Some(written) = written else { return false };
            written.push(self.kept());
            true
        });
        if !is_argument {
            return Err(S::Error::custom(format!(
                "it has the future {} in it: pass it as an argument with `headwater::nested`, append futures to a \
                 channel, or await it and write its result",
                self.key()
            )));
        }
        serializer
            .serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(template::HOLE, Id(self.id())))
    }
}

/// An id as bytes.
struct Id(TaskId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::client::fixture;

    fn future(n: u8) -> TaskFuture<f64> {
        fixture::future(TaskId([n; 16]))
    }

    fn template(value: &impl Serialize) -> Template {
        match encode(value).unwrap().0 {
            Argument::Nested(template) => template,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_hole_is_where_a_future_is() {
        #[derive(serde::Serialize)]
        struct Order {
            name: &'static str,
            rates: BTreeMap<u8, Option<TaskFuture<f64>>>,
        }
        let rates = BTreeMap::from([(1, Some(future(4))), (2, None), (3, Some(future(5)))]);
        let (argument, kept) = encode(&Order { name: "x", rates }).unwrap();
        let Argument::Nested(template) = argument else { panic!("{argument:?}") };
        assert_eq!(template.tasks(), [TaskId([4; 16]), TaskId([5; 16])]);
        let json = template.to_json(|task| task.0[0].into());
        assert_eq!(json, serde_json::json!({ "name": "x", "rates": { "1": 4, "2": null, "3": 5 } }));
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn what_has_no_future_in_it_is_a_value_and_a_future_alone_is_one() {
        assert_eq!(encode(&vec![1.0]).unwrap().0, Argument::Value(Payload::encode(&[1.0]).unwrap()));
        assert_eq!(
            encode(&Vec::<TaskFuture<f64>>::new()).unwrap().0,
            Argument::Value(Payload::encode(&[0; 0]).unwrap())
        );
        assert_eq!(encode(&future(3)).unwrap().0, Argument::Future(TaskId([3; 16])));
        assert_eq!(encode(&Some(future(3))).unwrap().0, Argument::Future(TaskId([3; 16])));
        assert_eq!(template(&[future(1)]).holes().count(), 1);
    }

    #[test]
    fn a_future_is_written_nowhere_else() {
        let future = future(1);
        let error = Payload::encode(&[&future]).unwrap_err();
        assert!(error.contains(&format!("it has the future {} in it: pass it", future.key())), "{error}");
        assert!(serde_json::to_string(&future).is_err());
        // Also behind an encoding that panicked.
        struct Panics(TaskFuture<f64>);
        impl Serialize for Panics {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Payload::encode(&self.0).unwrap();
                panic!("ink is out");
            }
        }
        let panics = Panics(future.clone());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| encode(&panics).is_ok()));
        assert!(panicked.is_err() && Payload::encode(&future).is_err());
    }

    #[test]
    fn an_extension_of_the_users_own_is_not_taken_for_a_future() {
        let extension = |kind| rmpv::Value::Ext(kind, vec![0; 16]);
        let argument = encode(&(extension(template::HOLE), 1)).unwrap().0;
        assert!(matches!(argument, Argument::Value(_)), "{argument:?}");
        assert_eq!(template(&(extension(5), future(1))).holes().count(), 1);
        let error = encode(&(extension(template::HOLE), future(1))).unwrap_err();
        assert!(error.contains("extensions of type 72"), "{error}");
    }
}
