//! Terms: under what conditions a task is run, as far as its client has set any. Most tasks have none, so that they are
//! not among the [`TaskOptions`](super::task::TaskOptions) of every submission.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::equipment::{Need, Target, check_demand};
use super::ids::{AttemptNumber, TaskId};
use super::limits::{BACKOFF_FACTOR_MAX, TAGS_BYTES_MAX, TAGS_MAX, TERM_MS_MAX, TooLarge};
use super::name::name;
use super::rejection::Rejection;

name! {
    /// A word by which tasks are found: 1 to [`NAME_BYTES_MAX`](super::limits::NAME_BYTES_MAX) bytes of letters, digits,
    /// and `. _ - / :`.
    Tag, "tag", |name| name
}

/// One condition. Variants are appended, never reordered: they are stored with the submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Term {
    /// How long to wait before the next attempt, after one that failed. Without it, not at all.
    Backoff(Backoff),
    /// How long an attempt may take from when it begins on its worker, in ms: one that takes longer has failed.
    Timeout {
        /// At least 1, at most [`TERM_MS_MAX`].
        ms: u64,
    },
    /// How long the task may take in all from when it was submitted, in ms: then it has failed, wherever it stands.
    Deadline {
        /// At least 1, at most [`TERM_MS_MAX`].
        ms: u64,
    },
    /// A word by which it is found.
    Tag(Tag),
    /// A resource that an attempt at it has for itself.
    Needs(Need),
    /// Where it may run: on any of the workers and hosts that are given, and of them on those that carry all of the labels.
    On(Target),
    /// Where it runs rather than on others, where it can: where most of these hold.
    Prefers(Target),
}

/// How long a task waits after each attempt that failed.
///
/// ```
/// use std::time::Duration;
/// use headwater::Backoff;
///
/// // 1 s after each.
/// let fixed = Backoff::fixed(Duration::from_secs(1));
/// // 100 ms, 200 ms, 400 ms, …, and from the eighth on 10 s; each shortened by up to a half, at random.
/// let growing = Backoff::exponential(Duration::from_millis(100)).capped(Duration::from_secs(10)).jittered();
/// # let _ = (fixed, growing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// After the first, in ms.
    pub first_ms: u64,
    /// By how much each is longer than the one before: 1 to [`BACKOFF_FACTOR_MAX`].
    pub factor: u32,
    /// No longer than this, in ms.
    pub max_ms: u64,
    /// Whether each is shortened by up to a half, so that tasks which failed together do not come back together.
    pub is_jittered: bool,
}

impl Backoff {
    /// How long a task waits after this attempt, when so many have failed with it, in ms. The jitter follows from which
    /// task and attempt it is.
    pub fn wait_ms(&self, failures: u32, task: TaskId, attempt: AttemptNumber) -> u64 {
        let times = u64::from(self.factor).saturating_pow(failures.saturating_sub(1));
        let ms = self.first_ms.saturating_mul(times).min(self.max_ms);
        if !self.is_jittered {
            return ms;
        }
        let mut seed = [0; 20];
        seed[..16].copy_from_slice(&task.0);
        seed[16..].copy_from_slice(&attempt.0.to_le_bytes());
        ms - xxh3_64(&seed) % (ms / 2 + 1)
    }
}

/// The terms of a task: [`Term::Tag`], [`Term::Needs`], [`Term::On`] and [`Term::Prefers`] any number of times up to their
/// bounds, all others once at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms(pub Vec<Term>);

impl Terms {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a term in the place of the one before, or adds a tag, a worker, a host or a label if it is not there yet. What is
    /// needed is added as it is: [`Terms::check`] tells of what is needed twice.
    pub fn set(&mut self, term: Term) {
        match &term {
            Term::Tag(_) | Term::On(_) | Term::Prefers(_) => self.0.retain(|other| *other != term),
            Term::Needs(_) => {}
            _ => self.0.retain(|other| std::mem::discriminant(other) != std::mem::discriminant(&term)),
        }
        self.0.push(term);
    }

    /// How long to wait between attempts.
    pub fn backoff(&self) -> Option<&Backoff> {
        self.0.iter().find_map(|term| match term {
            Term::Backoff(backoff) => Some(backoff),
            _ => None,
        })
    }

    /// How long an attempt may take, in ms.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.0.iter().find_map(|term| match term {
            Term::Timeout { ms } => Some(*ms),
            _ => None,
        })
    }

    /// How long the task may take in all, in ms.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.0.iter().find_map(|term| match term {
            Term::Deadline { ms } => Some(*ms),
            _ => None,
        })
    }

    /// Its tags, in the order in which they were given.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter().filter_map(|term| match term {
            Term::Tag(tag) => Some(tag),
            _ => None,
        })
    }

    /// The resources that an attempt has.
    pub fn needs(&self) -> impl Iterator<Item = &Need> {
        self.0.iter().filter_map(|term| match term {
            Term::Needs(need) => Some(need),
            _ => None,
        })
    }

    /// Where it may run.
    pub fn on(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().filter_map(|term| match term {
            Term::On(target) => Some(target),
            _ => None,
        })
    }

    /// Where it runs rather than on others.
    pub fn prefers(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().filter_map(|term| match term {
            Term::Prefers(target) => Some(target),
            _ => None,
        })
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Rejection::TooLarge`] names the first that is broken, [`Rejection::Invalid`] what makes no sense.
    pub fn check(&self) -> Result<(), Rejection> {
        TooLarge::check("the number of tags", self.tags().count(), TAGS_MAX, "give fewer")?;
        let bytes = self.tags().map(|tag| tag.as_str().len()).sum();
        TooLarge::check("all tags together", bytes, TAGS_BYTES_MAX, "give shorter ones")?;
        check_demand(self.needs(), self.on().chain(self.prefers()))?;
        for (at, term) in self.0.iter().enumerate() {
            let is_many = matches!(term, Term::Tag(_) | Term::Needs(_) | Term::On(_) | Term::Prefers(_));
            let is_such = |other: &Term| std::mem::discriminant(other) == std::mem::discriminant(term);
            if !is_many && self.0[..at].iter().any(is_such) {
                return Err(Rejection::Invalid("a term is given twice: give each once".to_owned()));
            }
            match term {
                Term::Backoff(backoff) => {
                    check_ms("the wait between attempts", backoff.first_ms, 0)?;
                    check_ms("the longest wait between attempts", backoff.max_ms, 0)?;
                    check_within("the factor of a backoff", backoff.factor.into(), 1, BACKOFF_FACTOR_MAX)?;
                }
                Term::Timeout { ms } => check_ms("the timeout of an attempt", *ms, 1)?,
                Term::Deadline { ms } => check_ms("the deadline of a task", *ms, 1)?,
                Term::Tag(_) | Term::Needs(_) | Term::On(_) | Term::Prefers(_) => {}
            }
        }
        Ok(())
    }
}

fn check_ms(what: &str, ms: u64, min: u64) -> Result<(), Rejection> {
    check_within(&format!("{what}, in ms,"), ms, min, TERM_MS_MAX)
}

fn check_within(what: &str, found: u64, min: u64, max: u64) -> Result<(), Rejection> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(Rejection::Invalid(format!("{what} is {found}: give one from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::{NEEDS_MAX, TARGETS_MAX};

    const TASK: TaskId = TaskId([7; 16]);

    #[test]
    fn jitter_takes_off_up_to_a_half_and_differs_by_task_and_attempt_and_by_nothing_else() {
        let jittered = |ms| Backoff { first_ms: ms, factor: 1, max_ms: ms, is_jittered: true };
        let backoff = jittered(1_000);
        let of = |task, attempt| backoff.wait_ms(1, TaskId([task; 16]), AttemptNumber(attempt));
        let all: Vec<u64> = (0..100).map(|n| of(n, 1)).chain((0..100).map(|n| of(1, n))).collect();
        assert!(all.iter().all(|ms| (500..=1_000).contains(ms)), "{all:?}");
        assert!(all.iter().min() < Some(&550) && all.iter().max() > Some(&950), "{all:?}");
        assert_eq!(of(3, 4), of(3, 4));
        assert_eq!([0, 1].map(|ms| jittered(ms).wait_ms(1, TASK, AttemptNumber(1))), [0, 1]);
    }

    #[test]
    fn each_bound_is_tried_at_its_last_and_its_first_too_many() {
        let check = |terms: &[Term]| Terms(terms.to_vec()).check().map_err(|error| error.to_string());
        let backoff = |first_ms, factor, max_ms| {
            Term::Backoff(Backoff { first_ms, factor, max_ms, is_jittered: false })
        };
        let good = [
            Term::Timeout { ms: 1 },
            Term::Deadline { ms: TERM_MS_MAX },
            backoff(TERM_MS_MAX, BACKOFF_FACTOR_MAX as u32, TERM_MS_MAX),
        ];
        assert_eq!(check(&good), Ok(()));
        for (term, why) in [
            (
                Term::Timeout { ms: 0 },
                "the timeout of an attempt, in ms, is 0: give one from 1 to 31536000000",
            ),
            (
                Term::Deadline { ms: TERM_MS_MAX + 1 },
                "the deadline of a task, in ms, is 31536000001: give one from 1 to 31536000000",
            ),
            (backoff(0, 0, 0), "the factor of a backoff is 0: give one from 1 to 100"),
            (backoff(0, 101, 0), "the factor of a backoff is 101: give one from 1 to 100"),
            (
                backoff(u64::MAX, 1, 0),
                "the wait between attempts, in ms, is 18446744073709551615: give one from 0 to 31536000000",
            ),
        ] {
            let error = check(&[term]).unwrap_err();
            assert!(error.ends_with(why), "{error}");
        }
        let twice = [Term::Timeout { ms: 1 }, Term::Timeout { ms: 2 }];
        assert!(check(&twice).unwrap_err().ends_with("a term is given twice: give each once"));
        let tags = |n| (0..n).map(|n| Term::Tag(Tag::new(&format!("t{n}")).unwrap())).collect::<Vec<_>>();
        assert_eq!(check(&tags(TAGS_MAX)), Ok(()));
        assert!(check(&tags(TAGS_MAX + 1)).unwrap_err().contains("the number of tags is 17"));
        let long = |n| [["x".repeat(n), "y".repeat(n)], ["z".repeat(n), "w".repeat(n)]].concat();
        let tags = |n| long(n).iter().map(|tag| Term::Tag(Tag::new(tag).unwrap())).collect::<Vec<_>>();
        let with = |tag: &str| [tags(200), tags(50), vec![Term::Tag(Tag::new(tag).unwrap())]].concat();
        assert_eq!(check(&with(&"v".repeat(24))), Ok(()));
        assert!(check(&with(&"v".repeat(25))).unwrap_err().contains("all tags together is 1025"));
    }

    #[test]
    fn what_a_task_needs_and_where_it_may_run_has_bounds() {
        let need = |n: usize, bytes: usize| Term::Needs(format!("{n:0bytes$}=1").parse().unwrap());
        let on = |n: usize, bytes: usize| Term::On(Target::Host(format!("{n:0bytes$}").into()));
        let check = |terms: Vec<Term>| Terms(terms).check().map_err(|error| error.to_string());
        let needs = |count: usize| (0..count).map(|n| need(n, 2)).collect::<Vec<_>>();
        let places = |count: usize| (0..count).map(|n| on(n, 2)).collect::<Vec<_>>();
        assert_eq!(check([needs(NEEDS_MAX), places(TARGETS_MAX)].concat()), Ok(()));
        assert!(check(needs(NEEDS_MAX + 1)).unwrap_err().contains("resources that a task needs is 9"));
        assert!(check(places(TARGETS_MAX + 1)).unwrap_err().contains("workers, hosts and labels is 9"));
        let names = |last| vec![need(1, 100), on(2, 100), on(3, last)];
        assert_eq!(check(names(56)), Ok(()));
        assert!(check(names(57)).unwrap_err().contains("where it may run together is 257"));
    }

    #[test]
    fn a_term_that_is_set_again_takes_the_place_of_the_one_before() {
        let mut terms = Terms::default();
        let tag = |name| Term::Tag(Tag::new(name).unwrap());
        for term in [Term::Timeout { ms: 1 }, tag("a"), tag("b"), tag("a"), Term::Timeout { ms: 2 }] {
            terms.set(term);
        }
        assert_eq!(terms.0, [tag("b"), tag("a"), Term::Timeout { ms: 2 }]);
        assert_eq!((terms.timeout_ms(), terms.deadline_ms(), terms.backoff()), (Some(2), None, None));
    }

    #[test]
    fn what_is_needed_twice_is_told_and_takes_the_place_of_nothing() {
        let mut terms = Terms::default();
        ["cpus=1", "gpus=1", "cpus=2"].iter().for_each(|need| terms.set(Term::Needs(need.parse().unwrap())));
        assert_eq!(
            terms.needs().map(ToString::to_string).collect::<Vec<_>>(),
            ["cpus=1", "gpus=1", "cpus=2"]
        );
        let told = "`cpus` is needed twice: say once how much";
        assert!(terms.check().unwrap_err().to_string().ends_with(told), "{terms:?}");
    }
}
