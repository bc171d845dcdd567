//! Named producers from end to end: programs that are started anew, one after the other or at once, and a scheduler that is.

use headwater::local::Local;
use headwater::protocol::producer::ProducerInfo;
use headwater::{Channel, Client, NamedProducer, Produced, Result, StreamExt, task};

use crate::local::{start, values};

#[task]
fn square(number: u64) -> u64 {
    number * number
}

/// A program as it starts: a client of its own.
async fn program(local: &Local) -> Result<(Client, Channel<u64>, NamedProducer<u64>)> {
    let client = Client::connect(local.address().to_string()).await?;
    let numbers = client.channel::<u64>("numbers").await?;
    let importer = numbers.producer("importer")?;
    Ok((client, numbers, importer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_started_anew_appends_each_number_once() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut local = start(dir.path(), "127.0.0.1:0").await;
    // Each run breaks off somewhere, without asking what has arrived; the scheduler is started anew in between, too.
    for (from, to, restarts) in [(1, 400, false), (1, 250, true), (200, 700, true), (1, 1000, false)] {
        let (client, numbers, importer) = program(&local).await?;
        for number in from..=to {
            numbers.ready().await?;
            drop(importer.append_value(number, &number));
        }
        numbers.flush().await?;
        client.close().await;
        if restarts {
            local.stop().await;
            local = start(dir.path(), "127.0.0.1:0").await;
        }
    }
    let (client, numbers, importer) = program(&local).await?;
    assert_eq!(importer.last().await?, Some(1000));
    assert_eq!(values(&numbers).await?, (1..=1000).collect::<Vec<_>>());
    // What it brought is known as it was, after the start that followed it, too.
    assert_eq!(importer.append_value(999, &0).await?, Produced::Before { newest: 1000 });
    let again = importer.append_value(1000, &0).await?.ack().expect("the newest");
    assert_eq!((again.offset, again.count), (999, 1));
    let next = importer.append_value(2000, &2000).await?.ack().expect("a new one");
    assert_eq!(next.offset, 1000);
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_of_one_name_append_each_number_once() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let local = start(dir.path(), "127.0.0.1:0").await;
    let import = async || -> Result<()> {
        let (client, _, importer) = program(&local).await?;
        for number in importer.last().await?.unwrap_or(0) + 1..=300 {
            importer.append_value(number, &number).await?;
        }
        client.close().await;
        Ok(())
    };
    tokio::try_join!(import(), import())?;
    let (client, numbers, _) = program(&local).await?;
    assert_eq!(values(&numbers).await?, (1..=300).collect::<Vec<_>>());
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_futures_are_read_as_all_others_and_producers_are_listed_and_forgotten() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    let nine = client.submit(square, (3,)).await?;
    let (importer, other) = (numbers.producer("importer")?, numbers.producer("other")?);
    let batch = || numbers.batch().value(&1).header("by", "me").future(&nine).value(&2);
    let first = batch().produced_by(&importer, 30).append().await?.ack().expect("a new one");
    assert_eq!(first.offsets(), 0..3);
    assert_eq!(batch().produced_by(&importer, 30).append().await?, Produced::Appended(first));
    let appended = other.append(1, &nine).await?.ack().expect("a new one");
    assert_eq!(appended.count, 1);
    assert_eq!((numbers.len().await?, values(&numbers).await?), (4, vec![1, 2]));
    let results: Vec<_> = numbers.scan().results().collect().await;
    assert_eq!(results.into_iter().map(|ended| ended.unwrap().result.unwrap()).collect::<Vec<_>>(), [9, 9]);
    let listed = |all: Vec<ProducerInfo>| -> Vec<(String, u64, u64, u32)> {
        all.into_iter().map(|info| (info.name.to_string(), info.number, info.first, info.count)).collect()
    };
    let expected = [("importer".to_owned(), 30, 0, 3), ("other".to_owned(), 1, appended.offset, 1)];
    assert_eq!(listed(numbers.producers().await?), expected);
    importer.forget().await?;
    assert_eq!(listed(numbers.producers().await?), expected[1..]);
    let anew = importer.append_value(1, &7).await?.ack().expect("its numbers begin anew");
    assert_eq!(importer.append_value(1, &8).await?, Produced::Appended(anew));
    let view = numbers.view();
    let mut caught_up = view.clone();
    caught_up.caught_up().await?;
    assert_eq!((view.len(), view.values()?), (5, vec![1, 2, 7]));
    client.close().await;
    Ok(())
}
