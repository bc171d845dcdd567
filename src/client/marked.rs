//! What lies between the elements of a channel: the markers of a stream, for those who want to see them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};

use super::error::{Error, Result};
use crate::protocol::{ChannelName, Digest, TimeMs};

/// An element of a channel, or what is read of it, in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<T> {
    /// Its place among the elements.
    pub index: u64,
    /// The offset of the record that appended it.
    pub offset: u64,
    /// When it was appended, by the scheduler's clock.
    pub time_ms: TimeMs,
    /// The element.
    pub item: T,
}

/// What a stream brings with its markers: [`WithMarkers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked<T> {
    /// What it brings without them, in its place.
    Item(T),
    /// Here history ends: everything that was there when it was read has been read. Comes once.
    CaughtUp {
        /// The head then: the offset of the next record.
        head: u64,
    },
    /// Records are gone.
    Trimmed {
        /// The offset that was to come next.
        from: u64,
        /// The offset of the next record.
        first: u64,
    },
    /// Records were lost with a damaged store.
    Damaged {
        /// The first offset that is lost, or where reading began among them.
        from: u64,
        /// The offset of the next record.
        to: u64,
        /// Why, in words.
        why: Box<str>,
    },
    /// The channel was stopped: no element follows. Also told to who begins behind the record that says so.
    Stopped {
        /// How many elements it has.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
}

impl<T> Marked<T> {
    /// The same with another item, if there is one.
    pub(super) fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Marked<U>, E> {
        Ok(match self {
            Marked::Item(item) => Marked::Item(change(item)?),
            Marked::CaughtUp { head } => Marked::CaughtUp { head },
            Marked::Trimmed { from, first } => Marked::Trimmed { from, first },
            Marked::Damaged { from, to, why } => Marked::Damaged { from, to, why },
            Marked::Stopped { count, digest } => Marked::Stopped { count, digest },
        })
    }

    /// The item, or a range that is gone as an error; `None` for a marker that can be left out.
    pub(super) fn plain(self, channel: &ChannelName) -> Option<Result<T>> {
        let channel = || channel.clone();
        match self {
            Marked::Item(item) => Some(Ok(item)),
            Marked::CaughtUp { .. } | Marked::Stopped { .. } => None,
            Marked::Trimmed { from, first } => Some(Err(Error::Trimmed { channel: channel(), from, first })),
            Marked::Damaged { from, to, why } => {
                Some(Err(Error::Damaged { channel: channel(), from, to, why }))
            }
        }
    }
}

/// A stream of a channel that has markers.
pub trait Marking {
    /// What comes between them.
    type Item;

    /// The next item or marker. An error about one element is followed by more.
    #[doc(hidden)]
    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>>;

    /// The channel.
    #[doc(hidden)]
    fn channel_name(&self) -> &ChannelName;
}

/// A stream with its markers, each where it lies between the items: `with_markers()` of any stream of a channel's
/// elements.
#[derive(Debug)]
pub struct WithMarkers<S>(pub(super) S);

impl<S: Marking + Unpin> WithMarkers<S> {
    /// The next item or marker; `None` at the end. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<Marked<S::Item>>> {
        StreamExt::next(self).await
    }
}

impl<S: Marking + Unpin> Stream for WithMarkers<S> {
    type Item = Result<Marked<S::Item>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_marked(context)
    }
}

/// A stream with each item in its place, and without markers: `placed()` of any stream of a channel's elements. What is
/// gone is announced as without it.
#[derive(Debug)]
pub struct InPlace<S>(pub(super) S);

impl<S: Marking + Unpin> InPlace<S> {
    /// The next item; `None` at the end. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<S::Item>> {
        StreamExt::next(self).await
    }

    /// Pairs with another stream, one of each at a time, until either ends.
    pub fn zip<O: Stream + Unpin>(self, other: O) -> Zip<Self, O> {
        Zip::of(self, other)
    }
}

impl<S: Marking + Unpin> Stream for InPlace<S> {
    type Item = Result<S::Item>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let marked = match ready!(self.0.poll_marked(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(marked)) => marked,
            };
            if let Some(item) = marked.plain(self.0.channel_name()) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

/// Gives a stream what all streams of a channel's elements have. `$plain` takes out of the marked item what is brought
/// without markers; `$here` brings that at once, if it can.
macro_rules! plain_stream {
    ($stream:ident<$t:ident $(: $bound:path $(, $life:lifetime)?)?> => $item:ty, $plain:expr $(, $here:expr)?) => {
        impl<$t $(: $bound $(+ $life)?)?> $stream<$t> {
            /// The next item; `None` at the end. May be dropped without a loss.
            pub async fn next(&mut self) -> Option<Result<$item>> {
                StreamExt::next(self).await
            }

            /// The same with the markers between the items, and each item in its place.
            pub fn with_markers(self) -> WithMarkers<Self> {
                WithMarkers(self)
            }

            /// The same with each item in its place.
            pub fn placed(self) -> InPlace<Self> {
                InPlace(self)
            }

            /// Pairs with another stream, one of each at a time, until either ends.
            pub fn zip<S: Stream + Unpin>(self, other: S) -> Zip<Self, S> {
                Zip::of(self, other)
            }
        }

        impl<$t $(: $bound $(+ $life)?)?> Stream for $stream<$t> {
            type Item = Result<$item>;

            fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                $(
                    if let Some(item) = $here(&mut *self) {
                        return Poll::Ready(Some(item));
                    }
                )?
                loop {
                    let marked = match ready!(self.poll_marked(context)) {
                        None => return Poll::Ready(None),
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        Some(Ok(marked)) => marked,
                    };
                    if let Some(item) = marked.plain(self.channel_name()) {
                        return Poll::Ready(Some(item.map($plain)));
                    }
                }
            }
        }
    };
}
pub(super) use plain_stream;

/// Two streams side by side.
pub struct Zip<A: Stream, B: Stream>(futures_util::stream::Zip<A, B>);

impl<A: Stream, B: Stream> std::fmt::Debug for Zip<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zip")
    }
}

impl<A: Stream + Unpin, B: Stream + Unpin> Zip<A, B> {
    pub(super) fn of(one: A, other: B) -> Self {
        Zip(StreamExt::zip(one, other))
    }

    /// The next pair; `None` when either stream has ended. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<(A::Item, B::Item)> {
        self.0.next().await
    }
}

impl<A: Stream + Unpin, B: Stream + Unpin> Stream for Zip<A, B> {
    type Item = (A::Item, B::Item);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}
