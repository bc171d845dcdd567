//! The `#[task]` attribute of Headwater. Use it from there: `headwater::task`.

mod options;
mod signature;
mod task;

/// Makes a function a task: workers that have it linked into their program offer it to all clients.
///
/// The function stays exactly as it is written: it can be called, passed on, and shadowed as any
/// other. Beside it stands a registration of its name, `rust:` and its path, and of the code by which
/// a worker decodes arguments for it and encodes what it returns.
///
/// ```
/// use headwater::task;
///
/// #[task]
/// fn add(a: f64, b: f64) -> f64 {
///     a + b
/// }
///
/// assert_eq!(add(1.0, 2.0), 3.0);
/// ```
///
/// # Options
///
/// - `#[task(pure)]`: the same call always brings the same result. The key of such a task is made of
///   the function's name, version and arguments, so the same call is the same task, for every client
///   and after every restart, and is run once.
/// - `#[task(version = 2)]`: the version, 1 when it is not given. Count it up when the parameters or
///   the meaning of the function change: a worker refuses to run a call of another version, and a
///   pure function's older results are not taken for newer ones.
///
/// ```
/// # use headwater::task;
/// #[task(pure, version = 2)]
/// async fn length(text: String) -> usize {
///     text.len()
/// }
/// ```
///
/// # What can be a task
///
/// A free function, sync or async, of at most 12 parameters. Async ones run on the worker's runtime
/// and must not block; sync ones get a thread while they run. What an async function keeps across an
/// `await` must be `Send`.
///
/// Parameters and results are values of their own that serde can write and read. References, `impl`
/// types and generic parameters cannot travel:
///
/// ```compile_fail
/// # use headwater::task;
/// #[task]
/// fn length(text: &str) -> usize { text.len() }
/// ```
///
/// ```compile_fail
/// # use headwater::task;
/// #[task]
/// fn first<T>(list: Vec<T>) -> Option<T> { list.into_iter().next() }
/// ```
///
/// ```compile_fail
/// # use headwater::task;
/// #[task]
/// fn show(value: impl std::fmt::Display) -> String { value.to_string() }
/// ```
///
/// ```compile_fail
/// # use headwater::task;
/// #[task]
/// fn total(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8) {}
/// ```
///
/// ```compile_fail,E0277
/// # use headwater::task;
/// struct Unwritable;
/// #[task]
/// fn make() -> Unwritable { Unwritable }
/// ```
///
/// ```compile_fail
/// # use headwater::task;
/// #[task(prue)]
/// fn add(a: f64, b: f64) -> f64 { a + b }
/// ```
///
/// A task's path begins with its crate: one in a program's `main.rs` is known to that program alone,
/// so tasks that several programs submit or run belong into a library. Two tasks of one name cannot be
/// told apart, so a task inside of another function needs a name that is the only one in its module. A
/// library whose tasks are wanted but which is not otherwise used is
/// left out by the linker: `use my_tasks as _;` keeps it in.
///
/// # Errors
///
/// A function that returns a `Result` fails its task with the error: its message and those of all its
/// causes reach everyone who holds the future. Any error will do that turns into a
/// `Box<dyn Error + Send + Sync>`: those of the standard kind, `anyhow::Error`, `String`, `&str`. So
/// does a panic, with its message and place; the worker goes on. A future of a `Result<T, E>` brings
/// a `T`.
///
/// ```
/// # use headwater::task;
/// #[task]
/// fn parse(text: String) -> Result<f64, std::num::ParseFloatError> {
///     text.parse()
/// }
/// ```
///
/// An error that serde can read and write itself, such as `String`, leaves open for the compiler
/// whether the `Result` is the value. It never is; say so where the task is submitted, by the type of
/// the future:
///
/// ```
/// # use headwater::{task, client::{function::*, future::TaskFuture}};
/// # struct Client;
/// # impl Client {
/// #     async fn submit<F: TaskFn<P, T, M>, P, T, M, A: Arguments<P>>(
/// #         &self, _: F, _: A,
/// #     ) -> Result<TaskFuture<T>, EncodeError> {
/// #         std::future::pending().await
/// #     }
/// # }
/// #[task]
/// fn half(n: u64) -> Result<u64, String> {
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
///
/// # async fn example(client: Client) -> Result<(), EncodeError> {
/// let future: TaskFuture<u64> = client.submit(half, (8,)).await?;
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn task(options: proc_macro::TokenStream, function: proc_macro::TokenStream) -> proc_macro::TokenStream {
    task::expand(options.into(), function.into()).into()
}
