//! Whose turn it is with a worker, as `src/worker/turns.rs` has it: what it was given begins in its order, each attempt with a
//! slot and what it was granted. One that waits for others pauses, and takes neither; it has both again before it goes on.
//! The scheduler is told who has paused, and must give nothing for which there is no room beside the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater::protocol::Stock;
use headwater::protocol::equipment::Grant;
use headwater::protocol::limits::WINDOW_MAX;
use headwater::protocol::session::HeldAttempt;

use crate::grants;

/// How an attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// It has not begun.
    Waits,
    Computes,
    Paused,
    /// It has paused, and wants to go on: it is about to take its slot.
    Returns,
}

/// What a worker was given.
pub struct Turns {
    slots: u32,
    given: BTreeMap<HeldAttempt, (Vec<Grant>, Pace)>,
    /// Those that have not begun, and those that want to return: each in their order.
    waiting: VecDeque<HeldAttempt>,
    returning: VecDeque<HeldAttempt>,
    /// Whether one has returned since one began: then it is the turn of one that begins.
    has_returned: bool,
    /// Who has paused, as the scheduler was told, and what of that it has not answered.
    told: BTreeSet<HeldAttempt>,
    telling: BTreeMap<u64, (HeldAttempt, bool)>,
    /// Whom of them it was told of on another connection.
    anew: BTreeSet<HeldAttempt>,
    /// Who may take nothing, as far as the scheduler knows.
    away: BTreeSet<HeldAttempt>,
    /// How many the scheduler may give, once it has answered what this connection began with.
    window: Option<u32>,
    beginning: Option<(u64, u32)>,
}

impl Turns {
    /// Of a worker with so many slots.
    pub fn new(slots: u32) -> Self {
        Turns {
            slots,
            given: BTreeMap::new(),
            waiting: VecDeque::new(),
            returning: VecDeque::new(),
            has_returned: false,
            told: BTreeSet::new(),
            telling: BTreeMap::new(),
            anew: BTreeSet::new(),
            away: BTreeSet::new(),
            window: None,
            beginning: None,
        }
    }

    /// How an attempt stands that it was given.
    pub fn pace(&self, held: &HeldAttempt) -> Pace {
        self.given[held].1
    }

    /// It is given one more. Panics if there is no room for it beside those that take theirs.
    pub fn add(&mut self, held: HeldAttempt, granted: Vec<Grant>) {
        if let Some(window) = self.window {
            let taking = self.given.keys().filter(|other| !self.away.contains(other)).count();
            // Nothing is granted to one that waits for a slot.
            let most = if granted.is_empty() { window } else { self.slots };
            assert!(taking < most as usize, "{held:?} beside {:?}, with {most} places", self.given);
            let beside = self.given.iter().filter(|(other, _)| !self.away.contains(other));
            let stock = stock_without(beside.map(|(_, (grants, _))| grants));
            assert!(stock.has(&granted), "{held:?} with {granted:?} beside {:?}", self.given);
        }
        self.given.insert(held, (granted, Pace::Waits));
        self.waiting.push_back(held);
        self.begin();
    }

    /// One is over, given back or aborted.
    pub fn end(&mut self, held: &HeldAttempt) {
        self.given.remove(held);
        self.told.remove(held);
        self.away.remove(held);
        self.waiting.retain(|other| other != held);
        self.returning.retain(|other| other != held);
        self.begin();
    }

    /// All are.
    pub fn end_all(&mut self) {
        let all: Vec<HeldAttempt> = self.given.keys().copied().collect();
        all.iter().for_each(|held| self.end(held));
    }

    /// One that computes pauses.
    pub fn pause(&mut self, held: &HeldAttempt) {
        self.set(held, Pace::Paused);
        self.begin();
    }

    /// One that has paused wants to go on.
    pub fn ask_to_return(&mut self, held: &HeldAttempt) {
        self.set(held, Pace::Returns);
        self.returning.push_back(*held);
        self.begin();
    }

    fn set(&mut self, held: &HeldAttempt, pace: Pace) {
        self.given.get_mut(held).expect("it was given").1 = pace;
    }

    /// Those begin and go on whose turn it is: first who returns, but behind each of these one that begins.
    fn begin(&mut self) {
        loop {
            let taking = self.given.values().filter(|(_, pace)| *pace == Pace::Computes);
            let stock = stock_without(taking.clone().map(|(grants, _)| grants));
            if taking.count() >= self.slots as usize {
                return;
            }
            let fits = |held: &&HeldAttempt| stock.has(&self.given[held].0);
            let begins = self.waiting.front().filter(fits).copied();
            let returns = self.returning.front().filter(fits).copied();
            let next = if self.has_returned { begins.or(returns) } else { returns.or(begins) };
            let Some(held) = next else { return };
            self.has_returned = returns == next;
            let line = if self.has_returned { &mut self.returning } else { &mut self.waiting };
            line.pop_front();
            self.set(&held, Pace::Computes);
        }
    }

    /// Who has paused and who returns, since the scheduler was told last, these first: nothing before it has answered that.
    pub fn news(&mut self) -> Vec<(HeldAttempt, bool)> {
        if !self.telling.is_empty() {
            return Vec::new();
        }
        let paused = self.given.iter().filter(|(_, (_, pace))| *pace == Pace::Paused);
        let paused: BTreeSet<HeldAttempt> = paused.map(|(held, _)| *held).collect();
        let return_now = self.told.difference(&paused).map(|held| (*held, true));
        let is_new = |held: &&HeldAttempt| !self.told.contains(held) || self.anew.contains(held);
        let pause_now = paused.iter().filter(is_new).map(|held| (*held, false));
        let news = return_now.chain(pause_now).collect();
        self.anew.clear();
        self.told = paused;
        news
    }

    /// The scheduler is told with this command whether one takes its slot and what it was granted.
    pub fn tell(&mut self, number: u64, held: HeldAttempt, occupies: bool) {
        self.telling.insert(number, (held, occupies));
        if !occupies {
            self.away.insert(held);
        }
    }

    /// A connection begins: what the scheduler knows of this worker is not known before it was told with this command, among
    /// other things that it may give so many.
    pub fn begin_connection(&mut self, number: u64, window: u32) {
        self.beginning = Some((number, window.clamp(self.slots, self.slots + WINDOW_MAX)));
        // What has no answer may come again behind the hello: that one has returned is said even so.
        self.anew.clone_from(&self.told);
    }

    /// There is no connection, or a new one.
    pub fn end_connection(&mut self) {
        (self.window, self.beginning) = (None, None);
    }

    /// The scheduler has answered a command.
    pub fn answered(&mut self, number: u64) {
        if let Some((held, true)) = self.telling.remove(&number) {
            self.away.remove(&held);
        }
        if let Some((_, window)) = self.beginning.take_if(|(beginning, _)| *beginning == number) {
            self.window = Some(window);
        }
    }

    /// Those that it has, and whether the scheduler was told that they have paused; nothing while it has yet to be told.
    pub fn known(&self) -> impl Iterator<Item = (&HeldAttempt, bool)> {
        let is_known = self.window.is_some() && self.telling.is_empty() && self.anew.is_empty();
        self.given.keys().filter(move |_| is_known).map(|held| (held, self.told.contains(held)))
    }
}

/// What there is beside this.
fn stock_without<'a>(granted: impl Iterator<Item = &'a Vec<Grant>>) -> Stock {
    let mut stock = Stock::new(&grants::of_each().resources);
    granted.for_each(|grants| stock.grant(grants));
    stock
}
