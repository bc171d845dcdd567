//! Collections of futures as arguments: where a function takes a list, a list of futures may be passed, and so on.
//!
//! Which go for which parameter is said here type by type, so that calls are checked when they are compiled. A rule for
//! all that may be in each other the compiler cannot tell from values: what is deeper is passed by
//! [`nested`](super::nested::nested).

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use serde::Serialize;

use super::function::{EncodeError, Encoded, IntoArgument, Value};
use super::nested::Nested;
use super::{blocking, future};

impl<T, V: Serialize + ?Sized> IntoArgument<T> for Nested<'_, V> {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        encoded.add_nested(self.0)
    }
}

/// `for <generics> passed => parameter;` each; also by reference.
macro_rules! passed_for {
    ($(for [$($generics:tt)*] $passed:ty => $parameter:ty;)*) => {$(
        impl<$($generics)*> IntoArgument<$parameter> for $passed {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(&self)
            }
        }

        impl<$($generics)*> IntoArgument<$parameter> for &$passed {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(self)
            }
        }
    )*};
}

macro_rules! collections {
    ($Future:ident in $module:ident) => {
        passed_for! {
            for [T: Value] Vec<$module::$Future<T>> => Vec<T>;
            for [K: Value + Ord, T: Value] BTreeMap<K, $module::$Future<T>> => BTreeMap<K, T>;
            for [K: Value + Eq + Hash, T: Value, S: BuildHasher + Default + Send + 'static]
                HashMap<K, $module::$Future<T>, S> => HashMap<K, T, S>;
            for [A: Value, B: Value] ($module::$Future<A>, $module::$Future<B>) => (A, B);
            for [A: Value, B: Value] (A, $module::$Future<B>) => (A, B);
            for [A: Value, B: Value] ($module::$Future<A>, B) => (A, B);
            for [A: Value, B: Value, C: Value]
                ($module::$Future<A>, $module::$Future<B>, $module::$Future<C>) => (A, B, C);
            // Two deep.
            for [T: Value] Vec<Vec<$module::$Future<T>>> => Vec<Vec<T>>;
            for [T: Value] Vec<Option<$module::$Future<T>>> => Vec<Option<T>>;
            for [A: Value, B: Value] Vec<(A, $module::$Future<B>)> => Vec<(A, B)>;
            for [K: Value + Ord, T: Value] BTreeMap<K, Vec<$module::$Future<T>>> => BTreeMap<K, Vec<T>>;
        }

        // By reference alone: else `None`, passed for an option, would be of no type.
        impl<T: Value> IntoArgument<Option<T>> for &Option<$module::$Future<T>> {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(self)
            }
        }

        impl<T: Value> IntoArgument<Vec<T>> for &[$module::$Future<T>] {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(self)
            }
        }

        impl<T: Value, const N: usize> IntoArgument<Vec<T>> for [$module::$Future<T>; N] {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(&self[..])
            }
        }

        impl<T: Value, const N: usize> IntoArgument<Vec<T>> for &[$module::$Future<T>; N] {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(&self[..])
            }
        }

        impl<T: Value, const N: usize> IntoArgument<[T; N]> for [$module::$Future<T>; N] {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(&self[..])
            }
        }

        impl<T: Value, const N: usize> IntoArgument<[T; N]> for &[$module::$Future<T>; N] {
            fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
                encoded.add_nested(&self[..])
            }
        }
    };
}

collections!(TaskFuture in future);
collections!(TaskFuture in blocking);
