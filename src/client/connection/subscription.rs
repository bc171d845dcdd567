//! The reader's end of a subscription.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::pausing::waits;
use super::{Call, Connection};
use crate::client::error::Result;
use crate::client::link::CREDIT_BYTES;
use crate::protocol::batch::Batch;

/// The actor is told of consumed bytes in steps of an eighth of the window.
const CONSUMED_STEP_BYTES: u64 = CREDIT_BYTES / 8;

/// What a subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadItem {
    /// It began; the first item.
    Subscribed {
        /// The offset of the first record that will come.
        from: u64,
    },
    /// Records.
    Records {
        /// They are in here.
        batch: Batch,
        /// The first offset in it that is wanted.
        from: u64,
    },
    /// Everything up to what was the head then has been read; comes once.
    CaughtUp {
        /// The head.
        head: u64,
    },
    /// Records are gone.
    Trimmed {
        /// The offset that was to come next.
        from: u64,
        /// The first that there is.
        first: u64,
    },
}

/// A log being read: every record from the position asked for, in order, once, through reconnects. An
/// error is its last item. It keeps its session open, and ends when it is dropped.
///
/// Taking an item says that the one before is done with; then as many bytes may follow.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
    id: u64,
    items: mpsc::UnboundedReceiver<Result<ReadItem>>,
    taken_bytes: u64,
    consumed_bytes: u64,
    is_over: bool,
}

impl Subscription {
    pub(super) fn new(
        connection: Connection,
        id: u64,
        items: mpsc::UnboundedReceiver<Result<ReadItem>>,
    ) -> Self {
        Subscription { connection, id, items, taken_bytes: 0, consumed_bytes: 0, is_over: false }
    }

    /// The session that it belongs to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The next item; `None` after an error. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<ReadItem>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<ReadItem>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.give_back();
        let received = self.items.poll_recv(context);
        let item = ready!(waits(self.connection.attempt(), received));
        match &item {
            Some(Ok(ReadItem::Records { batch, .. })) => self.taken_bytes = batch.bytes().len() as u64,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.is_over = true,
        }
        Poll::Ready(item.or_else(|| self.connection.ended().map(Err)))
    }

    fn give_back(&mut self) {
        self.consumed_bytes += std::mem::take(&mut self.taken_bytes);
        if self.consumed_bytes >= CONSUMED_STEP_BYTES {
            let bytes = std::mem::take(&mut self.consumed_bytes);
            self.connection.call(Call::Consumed { id: self.id, bytes });
        }
    }
}

impl Stream for Subscription {
    type Item = Result<ReadItem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.connection.call(Call::Unsubscribe { id: self.id });
    }
}
