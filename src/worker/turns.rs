//! Whose turn it is: what a worker was given, in the order in which it begins, and how much it wants to be given.
//! Without a clock or a task of its own.
//!
//! A worker that has nothing waiting stands still from the end of an attempt until the next one has come, which
//! is a commit and a way there and back. So it wants as many more as last for [`AHEAD`]. When what runs takes longer
//! than it did, nothing waits for it here: what has not begun is given back, for others to run.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::returns::Returns;
use crate::protocol::Stock;
use crate::protocol::equipment::{Grant, Resource};
use crate::protocol::limits::WINDOW_MAX;
use crate::protocol::message::Assignment;
use crate::protocol::session::HeldAttempt;

/// How long what waits here is to last: 20 ms, several commits and ways on a slow network, and not long for one that
/// waits here while a slot is free elsewhere.
const AHEAD: Duration = Duration::from_millis(20);

/// How much the newest of them counts in the time that attempts take: an eighth.
const NEWEST_PART: u32 = 8;

/// What a worker was given.
#[derive(Debug)]
pub(super) struct Turns {
    slots: u32,
    /// The worker's resources, and how much of them is taken.
    stock: Stock,
    /// What takes a slot.
    taking: HashMap<HeldAttempt, Taken>,
    waiting: VecDeque<Assignment>,
    /// How long an attempt takes, as far as is known.
    typical: Option<Duration>,
    /// How many the scheduler was told that it may give.
    window: u32,
    /// Whether anything has begun since this was last asked.
    has_begun: bool,
    /// Who has paused.
    returns: Returns,
    /// Whether one has returned since one began: then it is the turn of one that begins.
    has_returned: bool,
}

/// What an attempt takes beside its slot.
#[derive(Debug)]
struct Taken {
    grants: Vec<Grant>,
    /// Whether it has paused: then how long it took says nothing of others.
    has_paused: bool,
}

impl Turns {
    pub fn new(slots: u32, resources: &[Resource]) -> Self {
        let (taking, waiting, typical, has_begun, returns, has_returned) = Default::default();
        let stock = Stock::new(resources);
        Turns { slots, stock, taking, waiting, typical, window: slots, has_begun, returns, has_returned }
    }

    /// It was given one more: behind those that wait.
    pub fn add(&mut self, assignment: Assignment) {
        self.waiting.push_back(assignment);
    }

    /// The next to begin, if a slot is free for it, and what it was granted: one who returns comes first, and may have that
    /// still. From now on it takes both.
    pub fn next(&mut self) -> Option<Assignment> {
        self.next_if(|_| true)
    }

    /// As [`Self::next`], if the next one is such as is asked for. None overtakes it.
    pub fn next_if(&mut self, is_such: impl FnOnce(&Assignment) -> bool) -> Option<Assignment> {
        self.let_return();
        if self.taking.len() >= self.slots as usize {
            return None;
        }
        let is_free = |assignment: &mut Assignment| self.stock.has(&assignment.grants) && is_such(assignment);
        let assignment = self.waiting.pop_front_if(is_free)?;
        self.take(held(&assignment), assignment.grants.clone(), false);
        (self.has_begun, self.has_returned) = (true, false);
        Some(assignment)
    }

    /// One is over, after so long. Whatever it did, it takes no slot any more.
    pub fn end(&mut self, attempt: &HeldAttempt, took: Duration) {
        if self.take_back(attempt).is_some_and(|taken| !taken.has_paused) {
            self.typical = Some(match self.typical {
                Some(typical) => (typical * (NEWEST_PART - 1) + took) / NEWEST_PART,
                None => took,
            });
        }
    }

    /// One takes nothing any more, and says nothing about how long others take: it was aborted.
    pub fn release(&mut self, attempt: &HeldAttempt) {
        self.take_back(attempt);
    }

    fn take_back(&mut self, attempt: &HeldAttempt) -> Option<Taken> {
        self.returns.end(attempt);
        let taken = self.taking.remove(attempt)?;
        self.stock.give_back(&taken.grants);
        Some(taken)
    }

    /// One waits for others, and takes nothing until it returns.
    pub fn pause(&mut self, attempt: &HeldAttempt) {
        if let Some(taken) = self.take_back(attempt) {
            self.returns.pause(*attempt, taken.grants);
        }
    }

    /// An attempt that has paused wants to return. It gets a slot that is free, as soon as what it was granted is free, too, in
    /// turn with those that have not begun: that is told on the channel. Nothing for one that has not paused.
    pub fn ask_to_return(&mut self, attempt: HeldAttempt) -> Option<oneshot::Receiver<()>> {
        let asked = self.returns.ask(attempt)?;
        self.let_return();
        Some(asked)
    }

    /// Which attempts take a slot again, or are about to, and which no longer, since this was last asked.
    pub fn new_occupations(&mut self) -> Vec<(HeldAttempt, bool)> {
        self.returns.news()
    }

    /// Those who return have the slots that are free, but that behind each of them one may begin. Else those that come and go
    /// all the time would leave no room for the others, for which they may wait.
    fn let_return(&mut self) {
        while self.taking.len() < self.slots as usize {
            let may_begin = |assignment: &Assignment| self.stock.has(&assignment.grants);
            if self.has_returned && self.waiting.front().is_some_and(may_begin) {
                return;
            }
            let Some((attempt, grants)) = self.returns.next(|grants| self.stock.has(grants)) else { return };
            self.take(attempt, grants, true);
            self.has_returned = true;
        }
    }

    fn take(&mut self, attempt: HeldAttempt, grants: Vec<Grant>, has_paused: bool) {
        self.stock.grant(&grants);
        self.taking.insert(attempt, Taken { grants, has_paused });
    }

    /// One that waits is not wanted any more.
    pub fn drop_waiting(&mut self, attempt: &HeldAttempt) {
        self.waiting.retain(|assignment| held(assignment) != *attempt);
    }

    /// All that have not begun, oldest first: they are not here any more, and no more are wanted until others have
    /// shown again how long they take.
    pub fn give_back(&mut self) -> Vec<HeldAttempt> {
        self.typical = None;
        self.waiting.drain(..).map(|assignment| held(&assignment)).collect()
    }

    /// What has waited since this was last asked while nothing began, if that is so.
    pub fn is_stuck(&mut self) -> bool {
        !std::mem::take(&mut self.has_begun) && !self.waiting.is_empty()
    }

    /// How many the scheduler is to be told that it may give, when that differs much from what it was told.
    pub fn new_window(&mut self) -> Option<u32> {
        let ahead = match self.typical {
            Some(typical) => AHEAD.as_nanos() / typical.as_nanos().max(1),
            None => 0,
        };
        let ahead = u32::try_from(ahead.saturating_mul(u128::from(self.slots))).unwrap_or(u32::MAX);
        let wanted = self.slots + ahead.min(WINDOW_MAX);
        let is_news =
            wanted > self.window * 2 || wanted * 2 < self.window || (ahead == 0 && self.window > wanted);
        is_news.then(|| {
            self.window = wanted;
            wanted
        })
    }

    /// The scheduler gives no more than there are slots until it is told again.
    pub fn begin_connection(&mut self) {
        self.window = self.slots;
        self.returns.forget_told();
    }

    /// Nothing is wanted here any more: whoever waits for a slot hears that.
    pub fn end_all(&mut self) {
        self.waiting.clear();
        self.taking.drain().for_each(|(_, taken)| self.stock.give_back(&taken.grants));
        self.returns = Returns::default();
    }
}

/// The attempt of an assignment.
pub(super) fn held(assignment: &Assignment) -> HeldAttempt {
    HeldAttempt { task: assignment.key.id, attempt: assignment.attempt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture;
    use crate::protocol::TaskKey;
    use crate::protocol::equipment::Amount;

    fn assignment(name: &str) -> Assignment {
        fixture::assignment(TaskKey::named(name))
    }

    fn attempt(name: &str) -> HeldAttempt {
        held(&assignment(name))
    }

    fn turns(names: &[&str]) -> Turns {
        let mut turns = Turns::new(2, &[]);
        names.iter().for_each(|name| turns.add(assignment(name)));
        turns
    }

    fn begun(turns: &mut Turns) -> Vec<HeldAttempt> {
        std::iter::from_fn(|| turns.next().map(|assignment| held(&assignment))).collect()
    }

    const SHORT: Duration = Duration::from_micros(100);

    #[test]
    fn as_many_run_as_there_are_slots_in_their_order() {
        let mut turns = turns(&["a", "b", "c", "d", "e"]);
        assert_eq!(begun(&mut turns), [attempt("a"), attempt("b")]);
        turns.end(&attempt("b"), SHORT);
        assert_eq!(begun(&mut turns), [attempt("c")]);
        turns.release(&attempt("a"));
        assert_eq!(begun(&mut turns), [attempt("d")]);
        // Its slot was free before.
        turns.end(&attempt("a"), SHORT);
        assert_eq!(begun(&mut turns), []);
        ["e", "c"].iter().for_each(|name| turns.drop_waiting(&attempt(name)));
        turns.end(&attempt("c"), SHORT);
        assert_eq!(begun(&mut turns), []);
    }

    #[test]
    fn more_is_wanted_the_less_time_it_takes() {
        let mut turns = turns(&["a", "b"]);
        assert_eq!(turns.new_window(), None, "nothing is known");
        begun(&mut turns);
        turns.end(&attempt("a"), Duration::from_millis(1));
        assert_eq!(turns.new_window(), Some(2 + 2 * 20));
        assert_eq!(turns.new_window(), None);
        turns.end(&attempt("b"), Duration::from_millis(2));
        assert_eq!(turns.new_window(), None, "that is not much");
        for _ in 0..100 {
            turns.add(assignment("short"));
            begun(&mut turns);
            turns.end(&attempt("short"), Duration::from_nanos(1));
        }
        assert_eq!(turns.new_window(), Some(2 + WINDOW_MAX));
        turns.begin_connection();
        assert_eq!(turns.new_window(), Some(2 + WINDOW_MAX));
        turns.add(assignment("long"));
        begun(&mut turns);
        turns.end(&attempt("long"), Duration::from_secs(1));
        assert_eq!(turns.new_window(), Some(2));
    }

    #[test]
    fn what_waits_behind_what_takes_long_is_given_back() {
        let mut turns = turns(&["a", "b"]);
        begun(&mut turns);
        turns.end(&attempt("a"), SHORT);
        assert_eq!(turns.new_window(), Some(2 + 2 * 200));
        ["c", "d", "e"].iter().for_each(|name| turns.add(assignment(name)));
        begun(&mut turns);
        assert!(!turns.is_stuck(), "one has begun");
        assert!(turns.is_stuck(), "none has since");
        assert_eq!(turns.give_back(), [attempt("d"), attempt("e")]);
        assert_eq!(turns.new_window(), Some(2));
        assert!(!turns.is_stuck(), "nothing waits");
        turns.end(&attempt("b"), SHORT);
        assert_eq!(begun(&mut turns), []);
    }

    #[test]
    fn who_has_paused_returns_in_turn_with_those_that_have_not_begun() {
        let mut turns = turns(&["a", "b", "c", "d"]);
        begun(&mut turns);
        assert!(turns.ask_to_return(attempt("a")).is_none(), "it has its own still");
        turns.pause(&attempt("a"));
        assert_eq!(turns.new_occupations(), [(attempt("a"), false)]);
        let mut told = turns.ask_to_return(attempt("a")).unwrap();
        assert_eq!((told.try_recv(), turns.new_occupations()), (Ok(()), vec![(attempt("a"), true)]));
        assert_eq!(begun(&mut turns), [], "it has the slot that it gave up");
        turns.pause(&attempt("a"));
        assert_eq!(begun(&mut turns), [attempt("c")]);
        // There is none free now: it waits, and goes first. The scheduler hears of it at once, so that it gives no more.
        let [mut told, mut told_too] = [(); 2].map(|()| turns.ask_to_return(attempt("a")).unwrap());
        assert_eq!(turns.new_occupations(), [], "it has heard nothing else meanwhile");
        assert!(told.try_recv().is_err());
        turns.end(&attempt("b"), SHORT);
        assert_eq!((begun(&mut turns), told.try_recv(), told_too.try_recv()), (vec![], Ok(()), Ok(())));
        // How long it took says nothing of others, and it is no news that it has no slot any more.
        turns.end(&attempt("a"), Duration::from_secs(9));
        assert_eq!(turns.new_window(), Some(2 + 2 * 200));
        assert_eq!((begun(&mut turns), turns.new_occupations()), (vec![attempt("d")], vec![]));
    }

    #[test]
    fn those_that_come_and_go_all_the_time_leave_room() {
        let mut turns = Turns::new(1, &[]);
        ["a", "b"].iter().for_each(|name| turns.add(assignment(name)));
        begun(&mut turns);
        turns.pause(&attempt("a"));
        assert_eq!(begun(&mut turns), [attempt("b")]);
        ["c", "d"].iter().for_each(|name| turns.add(assignment(name)));
        // Whenever one of them pauses the other waits already.
        let mut told_a = turns.ask_to_return(attempt("a")).unwrap();
        turns.pause(&attempt("b"));
        assert_eq!((begun(&mut turns), told_a.try_recv()), (vec![], Ok(())));
        let mut told_b = turns.ask_to_return(attempt("b")).unwrap();
        turns.pause(&attempt("a"));
        assert_eq!(begun(&mut turns), [attempt("c")]);
        let mut told_a = turns.ask_to_return(attempt("a")).unwrap();
        turns.end(&attempt("c"), SHORT);
        assert_eq!((begun(&mut turns), told_b.try_recv()), (vec![], Ok(())));
        turns.pause(&attempt("b"));
        assert_eq!((begun(&mut turns), told_a.try_recv().is_err()), (vec![attempt("d")], true));
        turns.end(&attempt("d"), SHORT);
        assert_eq!((begun(&mut turns), told_a.try_recv()), (vec![], Ok(())));
    }

    #[test]
    fn who_is_aborted_holds_nobody_up() {
        let mut turns = turns(&["a", "b", "c", "d", "e"]);
        begun(&mut turns);
        ["a", "b"].iter().for_each(|name| turns.pause(&attempt(name)));
        assert_eq!(begun(&mut turns), [attempt("c"), attempt("d")]);
        let [_, mut told] = ["a", "b"].map(|name| turns.ask_to_return(attempt(name)).unwrap());
        turns.release(&attempt("a"));
        turns.release(&attempt("c"));
        assert_eq!((begun(&mut turns), told.try_recv()), (vec![], Ok(())));
        turns.release(&attempt("b"));
        assert_eq!((begun(&mut turns), turns.new_occupations()), (vec![attempt("e")], vec![]));
    }

    #[test]
    fn who_has_paused_is_told_on_each_connection() {
        let mut turns = turns(&["a", "b"]);
        begun(&mut turns);
        ["a", "b"].iter().for_each(|name| turns.pause(&attempt(name)));
        // It is not answered, and comes again behind the hello.
        assert_eq!(turns.new_occupations().len(), 2);
        turns.ask_to_return(attempt("a")).unwrap();
        turns.begin_connection();
        assert_eq!(turns.new_occupations(), [(attempt("a"), true), (attempt("b"), false)]);
    }

    #[test]
    fn who_returns_while_its_pause_may_come_again_is_told_of() {
        let mut turns = turns(&["a", "b"]);
        begun(&mut turns);
        ["a", "b"].iter().for_each(|name| turns.pause(&attempt(name)));
        assert_eq!(turns.new_occupations().len(), 2);
        turns.begin_connection();
        // It returns before what came again is answered, and what has changed may be told.
        turns.ask_to_return(attempt("a")).unwrap();
        assert_eq!(turns.new_occupations(), [(attempt("a"), true), (attempt("b"), false)]);
        assert_eq!(turns.new_occupations(), [], "it was told");
        turns.ask_to_return(attempt("b")).unwrap();
        assert_eq!(turns.new_occupations(), [(attempt("b"), true)]);
    }

    #[test]
    fn who_returns_is_told_of_before_those_that_make_room() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut turns = Turns::new(8, &[]);
        names.iter().for_each(|name| turns.add(assignment(name)));
        begun(&mut turns);
        names[..4].iter().for_each(|name| turns.pause(&attempt(name)));
        turns.new_occupations();
        let _told = names[..4].iter().map(|name| turns.ask_to_return(attempt(name))).collect::<Vec<_>>();
        names[4..].iter().for_each(|name| turns.pause(&attempt(name)));
        let takes: Vec<bool> = turns.new_occupations().iter().map(|(_, takes)| *takes).collect();
        assert_eq!(takes, [[true; 4], [false; 4]].concat(), "else it is given what there is no room for");
    }

    #[test]
    fn what_is_over_gets_no_slot() {
        let mut turns = Turns::new(1, &[]);
        ["a", "b", "c"].iter().for_each(|name| turns.add(assignment(name)));
        begun(&mut turns);
        turns.pause(&attempt("a"));
        begun(&mut turns);
        // Somebody whom it has left behind asks.
        let _asked = turns.ask_to_return(attempt("a")).unwrap();
        turns.end(&attempt("a"), SHORT);
        turns.end(&attempt("b"), SHORT);
        assert_eq!(begun(&mut turns), [attempt("c")]);
    }

    #[test]
    fn what_was_granted_is_free_while_it_is_paused_and_is_had_again_before_it_goes_on() {
        let granted = |name: &str, grant: (&str, u64, &[&str])| {
            let (resource, amount) = (grant.0.parse().unwrap(), Amount::whole(grant.1));
            let parts = grant.2.iter().map(|part| ((*part).into(), Amount::ONE)).collect();
            Assignment { grants: vec![Grant { resource, amount, parts }], ..assignment(name) }
        };
        let resources = ["cpus=4", "gpus=[x,y]"].map(|text| text.parse().unwrap());
        let mut turns = Turns::new(4, &resources);
        turns.add(granted("a", ("gpus", 1, &["x"])));
        turns.add(granted("b", ("cpus", 3, &[])));
        assert_eq!(begun(&mut turns), [attempt("a"), attempt("b")]);
        ["a", "b"].iter().for_each(|name| turns.pause(&attempt(name)));
        turns.add(granted("c", ("gpus", 1, &["x"])));
        turns.add(granted("d", ("cpus", 2, &[])));
        assert_eq!(begun(&mut turns), [attempt("c"), attempt("d")]);
        let [mut a, mut b] = ["a", "b"].map(|name| turns.ask_to_return(attempt(name)).unwrap());
        // What was given before the scheduler knew waits, though a slot is free.
        turns.add(granted("e", ("cpus", 3, &[])));
        assert_eq!((begun(&mut turns), a.try_recv().is_err(), b.try_recv().is_err()), (vec![], true, true));
        turns.end(&attempt("d"), SHORT);
        assert_eq!((begun(&mut turns), a.try_recv().is_err(), b.try_recv()), (vec![], true, Ok(())));
        turns.end(&attempt("c"), SHORT);
        assert_eq!((begun(&mut turns), a.try_recv()), (vec![], Ok(())));
        turns.end(&attempt("b"), SHORT);
        assert_eq!(begun(&mut turns), [attempt("e")]);
    }

    #[test]
    fn who_returns_with_much_is_not_passed_over_for_those_with_little_of_the_same() {
        let granted = |name: &str, resource: &str, amount| {
            let (resource, amount) = (resource.parse().unwrap(), Amount::whole(amount));
            Assignment { grants: vec![Grant { resource, amount, parts: vec![] }], ..assignment(name) }
        };
        let mut turns = Turns::new(4, &["cpus=2", "disks=2"].map(|text| text.parse().unwrap()));
        turns.add(granted("much", "cpus", 2));
        begun(&mut turns);
        turns.pause(&attempt("much"));
        ["one", "two"].iter().for_each(|name| turns.add(granted(name, "cpus", 1)));
        turns.add(granted("other", "disks", 1));
        assert_eq!(begun(&mut turns).len(), 3);
        ["one", "other"].iter().for_each(|name| turns.pause(&attempt(name)));
        let mut told = ["much", "one", "other"].map(|name| turns.ask_to_return(attempt(name)).unwrap());
        assert_eq!(begun(&mut turns), []);
        assert_eq!(told.each_mut().map(|told| told.try_recv().is_ok()), [false, false, true]);
        turns.end(&attempt("two"), SHORT);
        assert_eq!(begun(&mut turns), []);
        assert_eq!((told[0].try_recv(), told[1].try_recv().is_err()), (Ok(()), true));
        turns.end(&attempt("much"), SHORT);
        assert!(begun(&mut turns).is_empty() && told[1].try_recv().is_ok());
    }
}
