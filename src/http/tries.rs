//! How often a wrong token may be tried: so often from an address at once, then one more every few seconds.
//!
//! Who is over that is answered 429, and when to come again. No more of an address is remembered than when all of its tries
//! are there again, and which wrong tokens it has shown: one that is shown again is no new guess, so that a program or a page
//! that was not told of a new token takes no tries away.
//!
//! What of the right token from an address that is over it? Many may be behind one address: a proxy, a network's way out. A
//! token that is long enough cannot be guessed however often one tries, so that it is let in at once, whoever tries beside it.
//! A short one waits as the wrong ones do: who guesses would else be told of the right one all the same, and there were no limit.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many wrong tokens may be tried at once: 10, as somebody may who does not remember which it is.
const AT_ONCE: u32 = 10;

/// How long until one more may be tried: 6 s, so that there are 14,400 in a day.
const ONE_EVERY: Duration = Duration::from_secs(6);

/// From how many bytes on a token is too long to be guessed: 24. Random letters of base64 are 144 bits then. What
/// `docs/operations.md` makes has 44.
const LONG_BYTES: usize = 24;

/// Most addresses that are remembered: 4,096. Past them the one is forgotten that has the most tries left.
const ADDRESSES_MAX: usize = 4096;

/// Most wrong tokens of an address that are remembered, as hashes: the newest 16. All addresses take 1 MB at most.
const WRONG_MAX: usize = 16;

/// What becomes of whoever shows a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the right one.
    Right,
    /// It is not, or none is shown.
    Wrong,
    /// There were too many wrong ones: the next is looked at after this time.
    TooMany(Duration),
}

/// Where a request comes from, as far as tries are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct From(IpAddr);

/// The tries of all addresses.
pub struct Tries {
    is_long: bool,
    hasher: RandomState,
    of: Mutex<HashMap<From, Tried>>,
}

/// Those of an address.
struct Tried {
    /// When all tries are there again.
    all_at: Instant,
    /// The newest wrong tokens, as hashes that nobody can compute elsewhere.
    wrong: Vec<u64>,
}

impl From {
    /// Of a peer. A machine has 2^64 addresses of IPv6, which count as one.
    pub fn new(peer: IpAddr) -> From {
        From(match peer.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

impl Tries {
    /// None yet. `token`: the right one.
    pub fn new(token: Option<&str>) -> Tries {
        let is_long = token.is_none_or(|token| token.len() >= LONG_BYTES);
        Tries { is_long, hasher: RandomState::new(), of: Mutex::default() }
    }

    /// Counts what is shown, and says what becomes of whoever shows it. `is_right`: whether the right token is among it.
    pub fn judge(&self, from: From, is_right: bool, shown: &[&str]) -> Verdict {
        if is_right && self.is_long {
            return Verdict::Right;
        }
        let now = Instant::now();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if is_right {
            let wait = of.get(&from).and_then(|tried| tried.wait(now));
            return wait.map_or(Verdict::Right, Verdict::TooMany);
        }
        for shown in shown {
            let hash = self.hasher.hash_one(shown);
            if !of.contains_key(&from) && of.len() >= ADDRESSES_MAX {
                forget_one(&mut of);
            }
            let tried = of.entry(from).or_insert_with(|| Tried { all_at: now, wrong: Vec::new() });
            if tried.wrong.contains(&hash) {
                continue;
            }
            if let Some(wait) = tried.wait(now) {
                return Verdict::TooMany(wait);
            }
            tried.all_at = tried.all_at.max(now) + ONE_EVERY;
            if tried.wrong.len() == WRONG_MAX {
                tried.wrong.remove(0);
            }
            tried.wrong.push(hash);
        }
        Verdict::Wrong
    }
}

impl Tried {
    /// How long it is until a token is looked at, unless it is at once.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let next_at = self.all_at.max(now) + ONE_EVERY - AT_ONCE * ONE_EVERY;
        next_at.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }
}

/// Forgets the one that has the most tries left: as a rule all of them.
fn forget_one(of: &mut HashMap<From, Tried>) {
    let first = of.iter().min_by_key(|(_, tried)| tried.all_at).map(|(from, _)| *from);
    first.and_then(|first| of.remove(&first));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> From {
        From::new(address.parse().unwrap())
    }

    fn tries(token: &str) -> Tries {
        Tries::new(Some(token))
    }

    const LONG: &str = "a token of 24 letters, L";

    /// Tries so many wrong ones, each another.
    fn guess(tries: &Tries, address: &str, guesses: std::ops::Range<u32>) -> Vec<Verdict> {
        guesses.map(|guess| tries.judge(from(address), false, &[&format!("guess {guess}")])).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_tried_at_once_and_then_one_after_each_pause() {
        let tries = tries("short");
        assert_eq!(guess(&tries, "10.0.0.1", 0..10), [Verdict::Wrong; 10]);
        assert_eq!(guess(&tries, "10.0.0.1", 10..12), [Verdict::TooMany(ONE_EVERY); 2]);
        tokio::time::advance(ONE_EVERY - Duration::from_secs(1)).await;
        assert_eq!(guess(&tries, "10.0.0.1", 12..13), [Verdict::TooMany(Duration::from_secs(1))]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(guess(&tries, "10.0.0.1", 13..15), [Verdict::Wrong, Verdict::TooMany(ONE_EVERY)]);
        tokio::time::advance(20 * ONE_EVERY).await;
        assert_eq!(guess(&tries, "10.0.0.1", 20..31)[9..], [Verdict::Wrong, Verdict::TooMany(ONE_EVERY)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_one_is_let_in_from_elsewhere_and_if_it_is_long_from_there_too() {
        for (token, from_there) in [(LONG, Verdict::Right), (&LONG[1..], Verdict::TooMany(ONE_EVERY))] {
            let tries = tries(token);
            assert_eq!(tries.judge(from("10.0.0.1"), true, &[token]), Verdict::Right, "before any guess");
            guess(&tries, "10.0.0.1", 0..20);
            assert_eq!(tries.judge(from("10.0.0.2"), true, &[token]), Verdict::Right);
            assert_eq!(tries.judge(from("10.0.0.1"), true, &[token]), from_there, "{token}");
            tokio::time::advance(ONE_EVERY).await;
            assert_eq!(tries.judge(from("10.0.0.1"), true, &[token]), Verdict::Right);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_wrong_before_is_no_new_guess() {
        let tries = tries("short");
        for _ in 0..100 {
            assert_eq!(tries.judge(from("10.0.0.1"), false, &["an old one"]), Verdict::Wrong);
            assert_eq!(tries.judge(from("10.0.0.1"), false, &[]), Verdict::Wrong, "none is no guess either");
        }
        assert_eq!(guess(&tries, "10.0.0.1", 0..9), [Verdict::Wrong; 9]);
        assert_eq!(guess(&tries, "10.0.0.1", 9..10), [Verdict::TooMany(ONE_EVERY)]);
        assert_eq!(tries.judge(from("10.0.0.1"), false, &["an old one"]), Verdict::Wrong);
        // Two in one request are two.
        let both = tries.judge(from("10.0.0.1"), false, &["an old one", "another"]);
        assert_eq!(both, Verdict::TooMany(ONE_EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_those_of_machines_and_there_are_so_many_at_most() {
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:1:2"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
        assert_eq!(from("::ffff:10.0.0.1"), from("10.0.0.1"));
        assert_ne!(from("10.0.0.1"), from("10.0.0.2"));
        let tries = tries("short");
        guess(&tries, "10.0.0.1", 0..9);
        for n in 0..2 * ADDRESSES_MAX {
            guess(&tries, &format!("2001:db8:{:x}:{:x}::1", n >> 16, n & 0xffff), 0..10);
            assert!(tries.of.lock().unwrap().len() <= ADDRESSES_MAX);
        }
        let of = tries.of.lock().unwrap();
        assert!(of.len() == ADDRESSES_MAX && of.values().all(|tried| tried.wrong.len() <= WRONG_MAX));
        assert!(of.values().all(|tried| tried.wait(Instant::now()).is_some()));
        drop(of);
        // The one that had tries left was forgotten first.
        assert!(!tries.of.lock().unwrap().contains_key(&from("10.0.0.1")));
    }
}
