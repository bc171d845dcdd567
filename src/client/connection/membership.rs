//! The groups whose elements are leased to this session: who takes them, and joining anew on each connection.

use std::collections::HashMap;
use std::mem;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pausing::waits;
use super::{Call, Connection};
use crate::client::error::{Error, Result};
use crate::client::link::Link;
use crate::protocol::command::{Answer, Command, Rejection};
use crate::protocol::group::{GroupEnd, GroupId, Leased, Stretch};

/// What a membership brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberItem {
    /// These elements are leased to this session since then, or a little longer. What was told before comes again after a
    /// reconnect.
    Leased(Leased, Instant),
    /// Nothing comes any more.
    Ended(GroupEnd),
}

/// The session as a member of a group. An error is its last item. Dropped, it leaves the group: what is leased to it is
/// leased to others.
#[derive(Debug)]
pub struct Membership {
    connection: Connection,
    group: GroupId,
    /// What it has not begun with.
    untried: Vec<Stretch>,
    items: mpsc::UnboundedReceiver<Result<MemberItem>>,
}

impl Connection {
    /// Takes elements of a group, so many at a time, from now on and through reconnects.
    pub fn join(&self, group: GroupId, window: u32) -> Membership {
        let (sender, items) = mpsc::unbounded_channel();
        self.call(Call::Join { group, window, items: sender });
        Membership { connection: self.clone(), group, untried: Vec::new(), items }
    }
}

impl Membership {
    /// The next item; `None` after an error or the end. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<MemberItem>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// As [`Self::next`].
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<MemberItem>>> {
        let received = self.items.poll_recv(context);
        let item = waits(self.connection.attempt(), received);
        item.map(|item| item.or_else(|| self.connection.ended().map(Err)))
    }

    /// Says with what it has not begun, when it leaves.
    pub fn leaves_untried(&mut self, elements: Vec<Stretch>) {
        self.untried = elements;
    }

    /// The next item that is here already.
    pub fn take_here(&mut self) -> Option<Result<MemberItem>> {
        self.items.try_recv().ok()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // So that it is seen whose end this is.
        self.items.close();
        let untried = mem::take(&mut self.untried);
        self.connection.call(Call::Leave { group: self.group, untried });
    }
}

/// All memberships of a session.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    members: HashMap<GroupId, Member>,
    /// The commands by which it joined, until they are answered.
    joining: HashMap<u64, GroupId>,
}

#[derive(Debug)]
struct Member {
    window: u32,
    items: mpsc::UnboundedSender<Result<MemberItem>>,
}

impl Memberships {
    pub fn join(
        &mut self,
        link: &mut Link,
        group: GroupId,
        window: u32,
        items: mpsc::UnboundedSender<Result<MemberItem>>,
    ) {
        // A receiver that was dropped is not interested any more.
        if self.members.contains_key(&group) {
            let why =
                "this client is a member of the group already: one client is one member, connect another";
            return drop(items.send(Err(Error::msg(why))));
        }
        self.members.insert(group, Member { window, items });
        self.ask(link, group, window);
    }

    /// A membership was dropped. It may be one that was refused beside another one of the same group, which goes on.
    pub fn leave(&mut self, link: &mut Link, group: GroupId, untried: Vec<Stretch>) {
        if self.members.get(&group).is_some_and(|member| member.items.is_closed()) {
            self.members.remove(&group);
            link.command(Command::Leave { group, untried });
        }
    }

    /// The session is open on a new connection, which nobody has joined on. That the first joins are still on their way
    /// does no harm: to join twice is to join once.
    pub fn welcomed(&mut self, link: &mut Link) {
        let again: Vec<(GroupId, u32)> =
            self.members.iter().map(|(group, member)| (*group, member.window)).collect();
        again.into_iter().for_each(|(group, window)| self.ask(link, group, window));
    }

    /// Takes the answer to a join, if it is one.
    pub fn answered(&mut self, number: u64, answer: &Result<Answer, Rejection>) {
        let Some(group) = self.joining.remove(&number) else { return };
        if let Err(rejection) = answer
            && let Some(member) = self.members.remove(&group)
        {
            let _ = member.items.send(Err(rejection.clone().into()));
        }
    }

    pub fn pass_on(&mut self, group: GroupId, item: MemberItem) {
        let is_over = matches!(item, MemberItem::Ended(_));
        if let Some(member) = self.members.get(&group) {
            let _ = member.items.send(Ok(item));
        }
        if is_over {
            self.members.remove(&group);
        }
    }

    fn ask(&mut self, link: &mut Link, group: GroupId, window: u32) {
        self.joining.insert(link.command(Command::Join { group, window }), group);
    }
}
