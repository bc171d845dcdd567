//! The threads that read from sled.
//!
//! A page that is read comes into sled's cache, in memory that the allocator takes for the thread that reads. glibc has
//! an arena for each thread, up to eight for each core, and gives hardly anything of one back as long as something in it
//! is used. So when many threads read in turn (those of a runtime for what may block do), each arena becomes as
//! large as its share of the cache ever was, and nearly all of that is free: with 10 readers beside 600,000 small batches
//! 585 MiB, of them 497 free. Here the same few threads read for everyone.
//!
//! A call costs two hand-overs between threads, some 20 µs; a read of history brings up to a MiB.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::trees::Trees;

type Call = Box<dyn FnOnce(&Trees) + Send>;

/// How many threads there are: for half of the cores, as many as read for subscriptions at one time (`server/feed.rs`);
/// at least 2, so that a snapshot or a recovery is not behind them; at most 16, since more would only make a disk seek.
fn threads_max() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (cores / 2).clamp(2, 16)
}

/// The threads of a store. Dropped, they end.
#[derive(Debug)]
pub(super) struct ReadThreads {
    /// `None` only while it is dropped.
    calls: Option<Sender<Call>>,
    threads: Vec<JoinHandle<()>>,
}

impl ReadThreads {
    /// Starts them.
    pub fn start(trees: &Arc<Trees>) -> ReadThreads {
        let (calls, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |number: usize| {
            let (trees, waiting) = (Arc::clone(trees), Arc::clone(&waiting));
            let thread = thread::Builder::new().name(format!("log-read-{number}"));
            thread.spawn(move || serve(&trees, &waiting)).expect("a thread can be started")
        };
        ReadThreads { calls: Some(calls), threads: (0..threads_max()).map(start).collect() }
    }

    /// Has one of them read, and waits for what it found. What is called must not panic.
    pub fn call<T: Send + 'static>(&self, read: impl FnOnce(&Trees) -> T + Send + 'static) -> T {
        let (answer, answered) = sync_channel(1);
        // The one who called waits for it.
        let call: Call = Box::new(move |trees| drop(answer.send(read(trees))));
        let calls = self.calls.as_ref().expect("it is not dropped yet");
        calls.send(call).expect("the threads last as long as this");
        answered.recv().expect("a call does not panic")
    }
}

impl Drop for ReadThreads {
    /// Waits for them: then none of them holds the trees.
    fn drop(&mut self) {
        self.calls = None;
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Does one call after the other, until there will be none any more.
fn serve(trees: &Trees, waiting: &Mutex<Receiver<Call>>) {
    loop {
        // One thread waits for the next call, the others for their turn to wait.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(call) = next else { return };
        call(trees);
    }
}
