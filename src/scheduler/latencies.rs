//! How long things take, as the driver sees it: from when a command or a question arrives until its answer leaves, and how
//! long tasks wait and attempts run.
//!
//! It costs a request an addition. What was read from a socket together came at the same moment, and is taken as answered when
//! the last answer to it has left: so there is one look at the clock for each time that answers leave, and one entry for what
//! came together. Effects leave in the order in which they came, so that their number says which have left. What becomes of a
//! task costs an entry in a table, as long as it waits or runs.

use std::collections::VecDeque;
use std::time::Instant;

use super::core::Move;
use super::handle::Request;
use super::meters::Meters;
use crate::protocol::TaskId;
use crate::protocol::command::Command;
use crate::protocol::task_map::TaskMap;

/// What is asked, as far as it is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values or futures for channels, in transactions, too.
    Append,
    /// A task, or a value that is to be a future.
    Submit,
    /// The end of a task that is not wanted any more.
    Cancel,
    /// What a worker says of an attempt, or of what it keeps.
    Report,
    /// What members of groups say, and cursors.
    Consume,
    /// Each other command.
    Other,
    /// A question.
    Query,
}

impl Kind {
    /// All of them, in the order of their numbers, with how they are called.
    pub const ALL: [(Kind, &'static str); 7] = [
        (Kind::Append, "append"),
        (Kind::Submit, "submit"),
        (Kind::Cancel, "cancel"),
        (Kind::Report, "report"),
        (Kind::Consume, "consume"),
        (Kind::Other, "other"),
        (Kind::Query, "query"),
    ];

    /// That of a request, if it is answered.
    fn of(request: &Request) -> Option<Kind> {
        match request {
            Request::Command(command) => Some(Kind::of_command(command)),
            Request::Query(_) => Some(Kind::Query),
            Request::Watch(_) => None,
        }
    }

    fn of_command(command: &Command) -> Kind {
        match command {
            Command::Append { .. } | Command::Transact(_) => Kind::Append,
            Command::Submit(_) | Command::SubmitUnder { .. } | Command::Scatter { .. } => Kind::Submit,
            Command::Cancel { .. } => Kind::Cancel,
            Command::Finish { .. }
            | Command::Fail { .. }
            | Command::Store { .. }
            | Command::Copied { .. }
            | Command::Lack { .. }
            | Command::Defer { .. }
            | Command::Window { .. }
            | Command::Return { .. }
            | Command::Advance { .. }
            | Command::Occupy { .. } => Kind::Report,
            Command::SetCursor(_)
            | Command::DeleteCursor { .. }
            | Command::Join { .. }
            | Command::Leave { .. }
            | Command::Try(_)
            | Command::Acknowledge(_)
            | Command::GiveBack(_)
            | Command::Extend(_) => Kind::Consume,
            _ => Kind::Other,
        }
    }
}

/// How many of each kind.
type Counts = [u32; Kind::ALL.len()];

/// Requests that came together, and have not all been answered.
#[derive(Debug)]
struct Asked {
    arrived: Instant,
    /// How many effects will have left once all of them are answered.
    answered_at: u64,
    counts: Counts,
}

/// Most tasks that are measured while they wait, and while they run: 57,344 each, as many as a table of 65,536 places takes, in
/// 2 MB. Further ones are not measured: where so many wait, those that are tell enough.
const TASKS_MAX: usize = 57_344;

/// What is under way.
#[derive(Debug)]
pub struct Latencies {
    meters: Meters,
    /// In the order in which they came. No more than there are effects that wait.
    asked: VecDeque<Asked>,
    ready: TaskMap<Instant>,
    running: TaskMap<Instant>,
}

impl Latencies {
    /// Nothing is.
    pub fn new(meters: Meters) -> Latencies {
        Latencies { meters, asked: VecDeque::new(), ready: TaskMap::default(), running: TaskMap::default() }
    }

    /// Counts what came together.
    pub fn count<'a>(requests: impl Iterator<Item = &'a Request>) -> Counts {
        let mut counts = Counts::default();
        requests.filter_map(Kind::of).for_each(|kind| counts[kind as usize] += 1);
        counts
    }

    /// These came together. Before them so many effects had come, and with them so many have.
    pub fn asked(&mut self, arrived: Instant, counts: Counts, before: u64, answered_at: u64) {
        if answered_at > before && counts != Counts::default() {
            self.asked.push_back(Asked { arrived, answered_at, counts });
        }
    }

    /// So many effects have left.
    pub fn left(&mut self, effects: u64) {
        let mut now = None;
        while let Some(Asked { arrived, counts, .. }) =
            self.asked.pop_front_if(|asked| asked.answered_at <= effects)
        {
            let took = now.get_or_insert_with(Instant::now).saturating_duration_since(arrived);
            for (of, count) in self.meters.answer_seconds.iter().zip(counts).filter(|(_, count)| *count > 0) {
                of.observe(took, count.into());
            }
        }
    }

    /// This became of tasks, by now.
    pub fn moved(&mut self, moves: Vec<(TaskId, Move)>) {
        if moves.is_empty() {
            return;
        }
        let now = Instant::now();
        for (task, made) in moves {
            let (was_ready, was_running) = (self.ready.remove(&task), self.running.remove(&task));
            match made {
                Move::Ready => note(&mut self.ready, task, now),
                Move::Started => {
                    note(&mut self.running, task, now);
                    was_ready.iter().for_each(|since| self.meters.task_wait_seconds.observe(now - *since, 1));
                }
                Move::Ended => {
                    was_running.iter().for_each(|since| self.meters.attempt_seconds.observe(now - *since, 1));
                }
                Move::Left => {}
            }
        }
    }
}

fn note(of: &mut TaskMap<Instant>, task: TaskId, now: Instant) {
    if of.len() < TASKS_MAX {
        of.insert(task, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TaskKey;
    use crate::protocol::command::Query;

    fn latencies() -> (Latencies, Meters) {
        let meters = Meters::default();
        (Latencies::new(meters.clone()), meters)
    }

    fn task(n: usize) -> TaskId {
        TaskKey::named(&n.to_string()).id
    }

    /// How many answers of each kind were measured.
    fn answered(meters: &Meters) -> Vec<u64> {
        meters.answer_seconds.iter().map(|of| of.count()).collect()
    }

    #[test]
    fn what_came_together_is_answered_once_all_of_it_is_and_no_sooner() {
        let (mut latencies, meters) = latencies();
        let cancel = || Request::Command(Command::Cancel { task: task(1) });
        let requests = [Request::Query(Query::Overview), cancel(), Request::Watch(vec![task(1)]), cancel()];
        let counts = Latencies::count(requests.iter());
        latencies.asked(Instant::now(), counts, 4, 7);
        // What nobody answers, and what is not asked.
        latencies.asked(Instant::now(), counts, 7, 7);
        latencies.asked(Instant::now(), Counts::default(), 7, 9);
        latencies.asked(Instant::now(), Latencies::count(requests[..1].iter()), 9, 10);
        latencies.left(6);
        assert_eq!(answered(&meters), [0; 7]);
        latencies.left(7);
        assert_eq!(answered(&meters), [0, 0, 2, 0, 0, 0, 1]);
        latencies.left(10);
        assert_eq!(answered(&meters), [0, 0, 2, 0, 0, 0, 2]);
        assert!(latencies.asked.is_empty());
    }

    #[test]
    fn kinds_are_in_the_order_of_their_numbers() {
        for (at, (kind, _)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }

    #[test]
    fn a_task_waits_until_it_starts_and_its_attempt_runs_until_it_brings_something() {
        let (mut latencies, meters) = latencies();
        let measured = || (meters.task_wait_seconds.count(), meters.attempt_seconds.count());
        for (made, expected) in [
            (Move::Ready, (0, 0)),
            (Move::Started, (1, 0)),
            // It was given back, say: that was no run.
            (Move::Ready, (1, 0)),
            (Move::Started, (2, 0)),
            (Move::Ended, (2, 1)),
            // Tried again after a while, and cancelled before its turn.
            (Move::Ready, (2, 1)),
            (Move::Left, (2, 1)),
            (Move::Started, (2, 1)),
            (Move::Left, (2, 1)),
            (Move::Ended, (2, 1)),
        ] {
            latencies.moved(vec![(task(1), made)]);
            assert_eq!(measured(), expected, "{made:?}");
        }
        assert!(latencies.ready.is_empty() && latencies.running.is_empty());
    }

    #[test]
    fn so_many_tasks_are_measured_at_a_time_and_no_more() {
        let (mut latencies, meters) = latencies();
        let all = |made| (0..TASKS_MAX + 10).map(|n| (task(n), made)).collect();
        latencies.moved(all(Move::Ready));
        assert_eq!(latencies.ready.len(), TASKS_MAX);
        latencies.moved(all(Move::Started));
        assert_eq!((latencies.ready.len(), latencies.running.len()), (0, TASKS_MAX));
        latencies.moved(all(Move::Ended));
        let measured = TASKS_MAX as u64;
        assert_eq!((meters.task_wait_seconds.count(), meters.attempt_seconds.count()), (measured, measured));
    }
}
