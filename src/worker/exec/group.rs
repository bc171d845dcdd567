//! A program with all that it has started: a group of processes, which is asked to end, and then killed.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::time::sleep;

/// How often is looked whether a group has ended: 10 ms.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The group of a process that was started as the first of it. Its number is the system's to give again only when the last
/// of the group is gone, and was waited for. Between that and the signal another group might get it, if all
/// other numbers were given meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(i32);

impl Group {
    /// The group with this number, which is that of its first process.
    pub fn of(number: u32) -> Option<Group> {
        i32::try_from(number).ok().filter(|number| *number > 1).map(Group)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Asks it to end.
    pub fn terminate(self) {
        // One that is gone has ended.
        let _ = kill_process_group(self.process(), Signal::TERM);
    }

    /// Ends it.
    pub fn kill(self) {
        let _ = kill_process_group(self.process(), Signal::KILL);
    }

    /// Whether any process of it is there, one that has ended and was not waited for as well.
    pub fn is_there(self) -> bool {
        test_kill_process_group(self.process()).is_ok()
    }

    fn process(self) -> Pid {
        Pid::from_raw(self.0).expect("it is above 1")
    }

    /// Waits until nothing of it is there, and no longer than this. Whoever is its parent waits for the first process.
    pub async fn gone_within(self, grace: Duration) -> bool {
        let begun = Instant::now();
        while self.is_there() {
            if begun.elapsed() >= grace {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }
}
