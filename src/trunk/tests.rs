use std::future::pending;
use std::io::ErrorKind;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// Both ends of a trunk, each carried by a task of its own.
struct Ends {
    opener: Opener,
    strands: mpsc::UnboundedReceiver<Strand>,
    carrier: JoinHandle<std::io::Result<()>>,
    acceptor: JoinHandle<std::io::Result<()>>,
    /// What stops the client's end, and the server's: its socket stays open, and nobody looks at it.
    freeze: [oneshot::Sender<()>; 2],
}

async fn ends(strands_max: u32) -> Ends {
    let (here, there) = duplex(64 * 1024);
    let (opened, accepted) = tokio::join!(open(here), accept(there, strands_max));
    let ((opener, carrier), acceptor) = (opened.unwrap(), accepted.unwrap());
    let (taken, strands) = mpsc::unbounded_channel();
    let (freeze_client, client_frozen) = oneshot::channel();
    let (freeze_server, server_frozen) = oneshot::channel();
    Ends {
        opener,
        strands,
        carrier: tokio::spawn(until_frozen(carrier, client_frozen)),
        acceptor: tokio::spawn(until_frozen(take_all(acceptor, taken), server_frozen)),
        freeze: [freeze_client, freeze_server],
    }
}

async fn until_frozen<F: Future>(work: F, frozen: oneshot::Receiver<()>) -> F::Output {
    let mut work = pin!(work);
    tokio::select! {
        output = &mut work => output,
        Ok(()) = frozen => pending().await,
    }
}

async fn take_all(
    mut acceptor: Acceptor<DuplexStream>,
    taken: mpsc::UnboundedSender<Strand>,
) -> std::io::Result<()> {
    while let Some(wanted) = acceptor.next().await? {
        if let Ok(strand) = wanted.take() {
            let _ = taken.send(strand);
        }
    }
    Ok(())
}

impl Ends {
    /// A strand, the client's end first.
    async fn strand(&mut self) -> (Strand, Strand) {
        let opened = self.opener.strand().await.unwrap();
        (opened, self.strands.recv().await.unwrap())
    }
}

/// What comes of this within a minute, of a clock that stands still while anyone has something to do.
async fn soon<F: Future>(work: F) -> F::Output {
    timeout(Duration::from_secs(60), work).await.expect("it hangs")
}

/// Writes until nothing is taken for a second, and answers how much was.
async fn fill(writing: &mut Writing) -> usize {
    let mut written = 0;
    while let Ok(count) = timeout(Duration::from_secs(1), writing.write(&[7; 10_000])).await {
        written += count.unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_each_way_has_its_end() {
    let mut ends = ends(10).await;
    for _ in 0..20 {
        let (mut here, mut there) = ends.strand().await;
        let sent: Vec<u8> = (0..1_000_000).map(|at| (at / 3) as u8).collect();
        let asking = async {
            here.writing.write_all(&sent).await.unwrap();
            here.writing.shutdown().await.unwrap();
            let mut answer = Vec::new();
            here.reading.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let mut asked = Vec::new();
            there.reading.read_to_end(&mut asked).await.unwrap();
            there.writing.write_all(&asked).await.unwrap();
            there.writing.shutdown().await.unwrap();
        };
        let (answer, ()) = soon(async { tokio::join!(asking, answering) }).await;
        assert!(answer == sent);
    }
    drop(ends.opener);
    soon(ends.carrier).await.unwrap().unwrap();
    soon(ends.acceptor).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_holds_up_nobody_and_costs_so_much() {
    let mut ends = ends(100).await;
    let mut stuck = Vec::new();
    for _ in 0..30 {
        let (mut here, mut there) = ends.strand().await;
        let (client, server) = tokio::join!(fill(&mut here.writing), fill(&mut there.writing));
        for written in [client, server] {
            let window = STRAND_WINDOW_BYTES as usize;
            assert!((window..=2 * window).contains(&written), "{written} bytes were taken");
        }
        stuck.push((here, there));
    }
    let (mut here, mut there) = ends.strand().await;
    here.writing.write_all(b"x").await.unwrap();
    assert_eq!(soon(there.reading.read_u8()).await.unwrap(), b'x');
    // And it goes on where it stood.
    let (mut here, mut there) = stuck.pop().unwrap();
    here.writing.shutdown().await.unwrap();
    let mut rest = Vec::new();
    assert!(soon(there.reading.read_to_end(&mut rest)).await.unwrap() >= STRAND_WINDOW_BYTES as usize);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_breaks_and_no_other() {
    let mut ends = ends(100).await;
    let (mut here, mut there) = ends.strand().await;
    for _ in 0..3 {
        let (dropped, mut left) = ends.strand().await;
        drop(dropped);
        soon(left.reading.read_u8()).await.unwrap_err();
        let (mut left, dropped) = ends.strand().await;
        drop(dropped);
        soon(left.reading.read_u8()).await.unwrap_err();
        let broken = async { while left.writing.write(b"x").await.is_ok() {} };
        soon(broken).await;
    }
    there.writing.write_all(b"x").await.unwrap();
    assert_eq!(soon(here.reading.read_u8()).await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn strands_that_are_given_up_at_once_by_the_thousand_harm_no_other() {
    let (here, there) = duplex(1 << 20);
    let (opened, accepted) = tokio::join!(open(here), accept(there, 5_000));
    let ((opener, carrier), acceptor) = (opened.unwrap(), accepted.unwrap());
    let carrier = tokio::spawn(carrier);
    // Nobody takes them while they come.
    for _ in 0..2_000 {
        let given_up = timeout(Duration::from_millis(1), opener.strand()).await;
        assert!(given_up.is_err());
    }
    let (taken, mut strands) = mpsc::unbounded_channel();
    let acceptor = tokio::spawn(take_all(acceptor, taken));
    let mut here = soon(opener.strand()).await.unwrap();
    here.writing.write_all(b"x").await.unwrap();
    let arrived = async {
        loop {
            let mut strand = strands.recv().await.expect("the trunk is broken");
            if let Ok(byte) = strand.reading.read_u8().await {
                break byte;
            }
        }
    };
    assert_eq!(soon(arrived).await, b'x');
    assert!(!carrier.is_finished() && !acceptor.is_finished());
}

#[tokio::test(start_paused = true)]
async fn one_past_the_bound_waits_or_is_refused_and_the_others_go_on() {
    let mut ends = ends(2).await;
    let (first, mut there) = ends.strand().await;
    let (second, _there) = ends.strand().await;
    timeout(Duration::from_secs(5), ends.opener.strand()).await.expect_err("it waits");
    drop(second);
    let (_third, _there) = soon(ends.strand()).await;
    there.writing.write_all(b"x").await.unwrap();
    let Strand { mut reading, .. } = first;
    assert_eq!(soon(reading.read_u8()).await.unwrap(), b'x');
    // What the server itself has no room for.
    let (here, there) = duplex(64 * 1024);
    let (opened, accepted) = tokio::join!(open(here), accept(there, 2));
    let ((opener, carrier), mut acceptor) = (opened.unwrap(), accepted.unwrap());
    tokio::spawn(carrier);
    tokio::spawn(async move {
        while let Ok(Some(wanted)) = acceptor.next().await {
            wanted.refuse();
        }
    });
    assert_eq!(soon(opener.strand()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_without_a_word_is_noticed_by_both_sides() {
    for client_is_gone in [true, false] {
        let mut ends = ends(10).await;
        let (mut here, mut there) = ends.strand().await;
        // Much longer than anyone may be silent: the sides hear each other without a word of the strands'.
        tokio::time::sleep(20 * SILENT_MAX).await;
        here.writing.write_all(b"x").await.unwrap();
        assert_eq!(soon(there.reading.read_u8()).await.unwrap(), b'x');
        let since = Instant::now();
        // Its socket stays open; nobody reads it or writes to it.
        let [freeze_client, freeze_server] = ends.freeze;
        let (freeze, left, reading) = match client_is_gone {
            true => (freeze_client, ends.acceptor, &mut there.reading),
            false => (freeze_server, ends.carrier, &mut here.reading),
        };
        freeze.send(()).unwrap();
        assert_eq!(soon(left).await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(since.elapsed() <= SILENT_MAX * 5 / 4, "after {:?}", since.elapsed());
        soon(reading.read_u8()).await.unwrap_err();
    }
}
