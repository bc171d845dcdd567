//! Attempts that have paused: while one waits as a client for what others do, it takes neither its slot nor what it was
//! granted of the worker's resources. Before it goes on it returns: it takes both again, the very same parts.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use crate::protocol::equipment::{Grant, ResourceName};
use crate::protocol::session::HeldAttempt;

/// Who has paused, and who of those wants to return.
#[derive(Debug, Default)]
pub(super) struct Returns {
    paused: HashMap<HeldAttempt, Paused>,
    /// Those that want to return, in the order in which they asked.
    asked: VecDeque<HeldAttempt>,
    /// Those that have paused and do not want to return, as the scheduler was told.
    told: HashSet<HeldAttempt>,
    /// Those of them of which it was told on another connection.
    anew: HashSet<HeldAttempt>,
    /// Of whom it may have to be told something else.
    changed: HashSet<HeldAttempt>,
}

#[derive(Debug)]
struct Paused {
    grants: Vec<Grant>,
    /// Whom to tell that it has returned; nobody as long as it does not want to.
    tell: Vec<oneshot::Sender<()>>,
}

impl Returns {
    /// An attempt has paused, and does not take this meanwhile.
    pub fn pause(&mut self, attempt: HeldAttempt, grants: Vec<Grant>) {
        self.paused.insert(attempt, Paused { grants, tell: Vec::new() });
        self.changed.insert(attempt);
    }

    /// An attempt that has paused wants to return: where it hears that it has. Nothing for one that has not paused.
    pub fn ask(&mut self, attempt: HeldAttempt) -> Option<oneshot::Receiver<()>> {
        let paused = self.paused.get_mut(&attempt)?;
        let (tell, told) = oneshot::channel();
        if paused.tell.is_empty() {
            self.asked.push_back(attempt);
            self.changed.insert(attempt);
        }
        paused.tell.push(tell);
        Some(told)
    }

    /// The next that returns, with what it takes: the first for whom that is free, and who needs nothing for which one before it
    /// waits. So whoever needs much is not passed over for ever by those that need little of the same.
    pub fn next(&mut self, is_free: impl Fn(&[Grant]) -> bool) -> Option<(HeldAttempt, Vec<Grant>)> {
        let mut awaited: Vec<&ResourceName> = Vec::new();
        let able = |attempt: &HeldAttempt| {
            let grants = &self.paused[attempt].grants;
            let mut names = grants.iter().map(|grant| &grant.resource);
            if names.all(|name| !awaited.contains(&name)) && is_free(grants) {
                return true;
            }
            awaited.extend(grants.iter().map(|grant| &grant.resource));
            false
        };
        let attempt = self.asked.remove(self.asked.iter().position(able)?)?;
        let Paused { grants, tell } = self.paused.remove(&attempt)?;
        // Whoever is gone gives it up when the attempt is over.
        tell.into_iter().for_each(|tell| _ = tell.send(()));
        Some((attempt, grants))
    }

    /// An attempt is over, or aborted. Whoever waits for its return hears that nobody will tell it.
    pub fn end(&mut self, attempt: &HeldAttempt) {
        if self.paused.remove(attempt).is_some_and(|paused| !paused.tell.is_empty()) {
            self.asked.retain(|asked| asked != attempt);
        }
        self.told.remove(attempt);
        self.anew.remove(attempt);
        self.changed.remove(attempt);
    }

    /// Which attempts take a slot and what they were granted again, or are about to, and which no longer, since this was
    /// last asked. The former first: else the scheduler would see room between the two, and fill it.
    pub fn news(&mut self) -> Vec<(HeldAttempt, bool)> {
        let changed = std::mem::take(&mut self.changed);
        let mut news = Vec::new();
        for attempt in changed {
            let is_anew = self.anew.remove(&attempt);
            match (self.is_away(&attempt), self.told.contains(&attempt)) {
                (true, false) => self.told.insert(attempt),
                (true, true) if is_anew => true,
                (false, true) => self.told.remove(&attempt),
                _ => continue,
            };
            news.push((attempt, !self.told.contains(&attempt)));
        }
        news.sort_by_key(|(_, takes)| !takes);
        news
    }

    /// Whether one has paused, and does not want to return.
    fn is_away(&self, attempt: &HeldAttempt) -> bool {
        self.paused.get(attempt).is_some_and(|paused| paused.tell.is_empty())
    }

    /// Who has paused is to be told anew; and of those that were told of, who has returned, or does so before that: what was
    /// told may come again behind the hello.
    pub fn forget_told(&mut self) {
        self.anew.clone_from(&self.told);
        self.changed.extend(&self.told);
    }
}
