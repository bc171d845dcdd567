//! The `headwater` command. All of it is in the library, so that a program with tasks of its own can
//! have it, too.

fn main() -> std::process::ExitCode {
    headwater::cli::main()
}
