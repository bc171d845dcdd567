//! Slots for attempts that have become clients: they take none, but while they have something to compute, if they ask.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::oneshot;

use crate::protocol::session::HeldAttempt;

/// Who asked for a slot, and who has one.
#[derive(Debug, Default)]
pub(super) struct Returns {
    count: u64,
    /// In the order in which they asked.
    asked: BTreeMap<u64, Asked>,
    /// Which attempts have one, as the scheduler was told.
    told: HashSet<HeldAttempt>,
}

#[derive(Debug)]
struct Asked {
    attempt: HeldAttempt,
    /// Whom to tell; nobody once it has its slot.
    waits: Option<oneshot::Sender<()>>,
}

impl Returns {
    /// An attempt asks for a slot.
    pub fn ask(&mut self, attempt: HeldAttempt) -> (u64, oneshot::Receiver<()>) {
        let (waits, told) = oneshot::channel();
        self.count += 1;
        self.asked.insert(self.count, Asked { attempt, waits: Some(waits) });
        (self.count, told)
    }

    /// Whether an attempt has a slot that it asked for.
    pub fn has_returned(&self, attempt: &HeldAttempt) -> bool {
        self.asked.values().any(|asked| asked.attempt == *attempt && asked.waits.is_none())
    }

    /// The next that gets a slot: the first if one is free, and whoever belongs to an attempt that has one already.
    pub fn next(&mut self, is_free: bool) -> Option<HeldAttempt> {
        let waiting = self.asked.iter().filter(|(_, asked)| asked.waits.is_some());
        let mut able = waiting.filter(|(_, asked)| is_free || self.has_returned(&asked.attempt));
        let number = *able.next()?.0;
        let asked = self.asked.get_mut(&number)?;
        // Whoever is gone gives it up by its number.
        asked.waits.take().into_iter().for_each(|waits| _ = waits.send(()));
        Some(asked.attempt)
    }

    /// What was asked for is wanted no longer. Answers the attempt, if it has no slot any more.
    pub fn give_up(&mut self, number: u64) -> Option<HeldAttempt> {
        let Asked { attempt, waits } = self.asked.remove(&number)?;
        (waits.is_none() && !self.has_returned(&attempt)).then_some(attempt)
    }

    /// An attempt is over, or aborted. Answers whether it had a slot that it asked for.
    pub fn end(&mut self, attempt: &HeldAttempt) -> bool {
        let had_one = self.has_returned(attempt);
        // Those that wait hear that nobody will tell them.
        self.asked.retain(|_, asked| asked.attempt != *attempt);
        self.told.remove(attempt);
        had_one
    }

    /// Which attempts have one, and which no longer, since this was last asked.
    pub fn news(&mut self) -> Vec<(HeldAttempt, bool)> {
        if self.asked.is_empty() && self.told.is_empty() {
            return Vec::new();
        }
        let having = self.asked.values().filter(|asked| asked.waits.is_none());
        let having: HashSet<HeldAttempt> = having.map(|asked| asked.attempt).collect();
        let mut news: Vec<(HeldAttempt, bool)> =
            self.told.difference(&having).map(|gone| (*gone, false)).collect();
        news.extend(having.difference(&self.told).map(|new| (*new, true)));
        self.told = having;
        news
    }

    /// Who has one is to be told anew; and of those that were told of, who has none any more: that may come again behind
    /// the hello.
    pub fn forget_told(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        told.retain(|attempt| !self.has_returned(attempt));
        self.told = told;
    }
}
