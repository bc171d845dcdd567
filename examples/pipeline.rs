//! A user's crate in one file: its own tasks, and with `headwater::cli::main()` every subcommand around
//! them. So one program is scheduler, worker and client.
//!
//! ```text
//! cargo run --example pipeline -- up                              a scheduler and a worker with these tasks
//! cargo run --example pipeline -- start                           in another terminal: start, and read along
//! cargo run --example pipeline -- channel tail celsius --from 0   at any later time
//! ```
//!
//! Kill the first one in the middle and start it again: the pipeline goes on where it was.

use std::process::ExitCode;

use headwater::{Result, blocking, local_client, task};

/// The same call always brings the same, so the same call is one task.
#[task(pure)]
fn to_celsius(fahrenheit: f64) -> f64 {
    (fahrenheit - 32.0) * 5.0 / 9.0
}

/// A line that is no number fails its own task, and those that depend on it; all others go on. What it says of itself comes
/// with its error.
#[task]
fn parse(line: String) -> Result<f64, std::num::ParseFloatError> {
    tracing::info!("reads {line:?}");
    line.trim().parse()
}

/// A task that is a client itself. While it waits it takes no slot of its worker, so those that it submits can run.
///
/// When its worker dies, another attempt begins. It asks the channel how far the last one got.
#[task]
async fn convert(lines: Vec<String>) -> Result<u64> {
    let client = local_client().await?;
    let readings = client.channel::<f64>("celsius").await?;
    let done = usize::try_from(readings.len().await?)?;
    for line in lines.into_iter().skip(done) {
        let fahrenheit = client.submit(parse, (line,)).await?;
        let celsius = client.submit(to_celsius, (&fahrenheit,)).await?;
        readings.append(&celsius).await?;
    }
    readings.stop().await
}

/// `start` is this program's own word; all others are Headwater's.
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("start") {
        return headwater::cli::main();
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the pipeline, once, and prints what comes out of it until it has ended. The pipeline does not
/// need us for that: started again, this prints the same.
fn start() -> Result<()> {
    let address = std::env::var("HEADWATER_CONNECT").unwrap_or_else(|_| "127.0.0.1:8786".to_owned());
    let client = blocking::Client::connect(address)?;
    let lines = ["68", "72.5", "n/a", "212"].map(str::to_owned).to_vec();
    client.submit(convert, (lines,)).key("convert").detach().send()?;
    for reading in client.channel::<f64>("celsius")?.futures() {
        match reading?.wait() {
            Ok(celsius) => println!("{celsius}"),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
