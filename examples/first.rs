//! Everything in one process: `cargo run --example first`.
//!
//! [`Client::local`] brings a scheduler, a log in memory and a worker. `Client::connect("host:8786")` in
//! its place, and the same lines use a cluster.

use headwater::{Client, Offset, Result, task};

/// The same call is the same task: it is run once.
#[task(pure)]
fn add(a: f64, b: f64) -> f64 {
    a + b
}

/// What it returns as an error reaches everyone who holds its future.
#[task]
fn parse(text: String) -> Result<f64, std::num::ParseFloatError> {
    text.parse()
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::local().await?;

    // Arguments are values or futures. A future is waited for where the task runs, not here.
    let three = client.submit(add, (1.0, 2.0)).await?;
    let parsed = client.submit(parse, ("39",)).await?;
    let sum = client.submit(add, (&three, &parsed)).retries(2).await?;
    println!("1 + 2 + 39 = {}", (&sum).await?);
    println!("called as an ordinary function: {}", add(3.0, 39.0));

    // A future that fails says why, and so does each that depends on it.
    let bad = client.submit(parse, ("forty",)).await?;
    let worse = client.submit(add, (1.0, &bad)).await?;
    for future in [bad, worse] {
        let name = future.key().label.clone();
        match future.await {
            Ok(number) => println!("{name}: {number}"),
            Err(error) => println!("{name}: {error}"),
        }
    }

    // A channel keeps what is appended to it, in one order for all. An offset is durable when it is here.
    let sums = client.channel::<f64>("sums").await?;
    for future in [&three, &parsed, &sum] {
        println!("{} is at offset {}", future.key().label, sums.append(future).await?.offset);
    }
    sums.stop().await?;

    // Anyone may read it, from anywhere. It was stopped, so this comes to an end.
    let mut futures = sums.from(Offset::Start).futures();
    while let Some(future) = futures.next().await {
        println!("on the channel: {}", future?.await?);
    }

    client.close().await;
    Ok(())
}
