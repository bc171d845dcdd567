//! What was told to the scheduler, and is not answered yet.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::client::connection::Reply;
use crate::client::{Error, Result};
use crate::protocol::command::Answer;

/// Replies in the order in which they were asked for. They come in that order, as good as always, so the oldest alone
/// is waited for.
#[derive(Debug, Default)]
pub(super) struct Told(VecDeque<Reply<Answer>>);

impl Told {
    pub fn push(&mut self, reply: Reply<Answer>) {
        self.0.push_back(reply);
    }

    pub fn extend(&mut self, replies: Vec<Reply<Answer>>) {
        self.0.extend(replies);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the next answer, and takes those that have come with it. For ever when nothing was told.
    pub async fn answered(&mut self) {
        std::future::poll_fn(|context| self.poll_answered(context)).await;
    }

    fn poll_answered(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut any = false;
        while let Some(reply) = self.0.front_mut()
            && let Poll::Ready(answer) = Pin::new(reply).poll(context)
        {
            warn_of_refusal(answer);
            self.0.pop_front();
            any = true;
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn warn_of_refusal(answer: Result<Answer>) {
    // A session that is over says so itself.
    if let Err(error @ Error::Rejected(_)) = answer {
        tracing::warn!(%error, "something that was told was refused");
    }
}
