//! The `headwater` command. All of it is in the library, so that a program with tasks of its own can
//! have it, too.

/// What is here and not in the library: a program chooses its own.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    headwater::cli::main()
}
