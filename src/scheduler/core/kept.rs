//! What a channel keeps of its elements: from where on, which futures are among them, and where a bound on them lies.
//!
//! ```text
//!            first                        unmarked   head
//!   trimmed ──▶│◀── mark ──▶│◀── mark ──▶│◀────────▶│
//! ```
//!
//! An index is turned into an offset by runs: stretches of elements without another record between, of which a channel of
//! values has one. Times and bytes are known at marks, each the end of a commit, or of several that were taken together: so
//! that they take bounded memory, however much is kept.

use std::collections::VecDeque;

use crate::protocol::channel::{Retention, TrimCause};
use crate::protocol::snapshot::{KeptFrom, Mark};
use crate::protocol::{TaskId, TimeMs};

/// Most marks of a channel with a bound that needs them, about 10 KB: then what is over a bound goes in parts of it of a twentieth at most, mostly of a hundredth.
const MARKS_MAX: usize = 256;

/// Most marks of a channel without: enough for a bound that is set later.
const MARKS_UNBOUNDED_MAX: usize = 32;

/// What a channel keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first record that is kept.
    pub first: KeptFrom,
    /// How many bytes of values were ever appended.
    pub bytes: u64,
    /// What it is to keep.
    pub retention: Retention,
    /// The index and the offset of the first element of each run, in order; the first run may begin before what is kept.
    pub(super) runs: VecDeque<(u64, u64)>,
    /// The ends of commits with elements that are kept, in order.
    pub(super) marks: VecDeque<Mark>,
    /// The futures that are kept, with their indexes, in order.
    pub(super) futures: VecDeque<(u64, TaskId)>,
}

impl Kept {
    /// Elements that follow each other came, of so many bytes: the first with this index, at this offset.
    pub(super) fn add(&mut self, index: u64, offset: u64, bytes: u64) {
        self.bytes += bytes;
        if self.runs.back().is_none_or(|(run, at)| index - run != offset - at) {
            self.runs.push_back((index, offset));
        }
    }

    /// One that came is a future.
    pub(super) fn add_future(&mut self, index: u64, task: TaskId) {
        self.futures.push_back((index, task));
    }

    /// A commit ends here, with so many elements ever.
    pub(super) fn mark(&mut self, offset: u64, elements: u64, time_ms: TimeMs) {
        let end = KeptFrom { offset, index: elements, bytes: self.bytes };
        if elements <= self.marks.back().map_or(self.first.index, |mark| mark.end.index) {
            return;
        }
        let marks_max = match self.retention {
            Retention { max_age_ms: None, max_bytes: None, .. } => MARKS_UNBOUNDED_MAX,
            _ => MARKS_MAX,
        };
        match self.marks.back_mut() {
            Some(mark) if mark.time_ms == time_ms => mark.end = end,
            _ => {
                while self.marks.len() >= marks_max {
                    self.join_marks();
                }
                // Of a clock that was set back: marks are looked for by time.
                let time_ms = self.marks.back().map_or(time_ms, |mark| mark.time_ms.max(time_ms));
                self.marks.push_back(Mark { end, time_ms });
            }
        }
    }

    /// Takes the two neighbours for one that together span the least of what the bounds are on.
    fn join_marks(&mut self) {
        let Retention { max_age_ms, max_bytes, .. } = self.retention;
        let by_bound = |span: u64, bound: Option<u64>, other: Option<u64>| match (bound, other) {
            (None, Some(_)) => 0,
            (_, other) => u128::from(span) * u128::from(other.unwrap_or(1)),
        };
        // The first is left as it is: when what is before it came is not known any more.
        let span = |at: usize| {
            let (from, to) = (self.marks[at - 1], self.marks[at + 1]);
            let bytes = (to.end.bytes - from.end.bytes).saturating_add(to.end.offset - from.end.offset);
            by_bound(bytes, max_bytes, max_age_ms)
                + by_bound(to.time_ms - from.time_ms, max_age_ms, max_bytes)
        };
        if let Some(at) = (1..self.marks.len().saturating_sub(1)).min_by_key(|at| span(*at)) {
            self.marks.remove(at);
        }
    }

    /// What is before a place is kept no longer; `elements` are all there ever were. Answers the futures that are not, each
    /// as often as it was there.
    pub(super) fn trim(&mut self, offset: u64, index: u64, elements: u64) -> Vec<TaskId> {
        self.first = KeptFrom { offset, index, bytes: self.bytes_before(index, elements) };
        if index >= elements {
            self.runs.clear();
        }
        while self.runs.get(1).is_some_and(|(run, _)| *run <= index) {
            self.runs.pop_front();
        }
        while self.marks.front().is_some_and(|mark| mark.end.index <= index) {
            self.marks.pop_front();
        }
        let gone = self.futures.partition_point(|(at, _)| *at < index);
        self.futures.drain(..gone).map(|(_, task)| task).collect()
    }

    /// How many bytes of values came before an element. Inside of what a mark ends all are taken to be of one size.
    pub(super) fn bytes_before(&self, index: u64, elements: u64) -> u64 {
        let at = self.marks.partition_point(|mark| mark.end.index <= index);
        let before = at.checked_sub(1).map_or(self.first, |at| self.marks[at].end);
        let (end, bytes) =
            self.marks.get(at).map_or((elements, self.bytes), |mark| (mark.end.index, mark.end.bytes));
        let elements = u128::from(end.saturating_sub(before.index).max(1));
        let part =
            u128::from(bytes - before.bytes) * u128::from(index.saturating_sub(before.index)) / elements;
        bytes.min(before.bytes.saturating_add(u64::try_from(part).unwrap_or(u64::MAX)))
    }

    /// How many elements are before an offset; `elements` are all.
    pub(super) fn index_at(&self, offset: u64, elements: u64) -> u64 {
        let next = self.runs.partition_point(|(_, at)| *at < offset);
        let end = self.runs.get(next).map_or(elements, |(index, _)| *index);
        let before = next.checked_sub(1).map_or(end, |run| {
            let (index, at) = self.runs[run];
            end.min(index + (offset - at))
        });
        before.max(self.first.index)
    }

    /// The offset of a kept element.
    pub(super) fn offset_of(&self, index: u64) -> Option<u64> {
        let next = self.runs.partition_point(|(run, _)| *run <= index);
        let (run, at) = self.runs[next.checked_sub(1)?];
        Some(at + (index - run))
    }

    /// From where on the channel is to keep its elements by its bounds, and by which of them, if that is behind what it
    /// keeps: the offset and the index. `elements` are all there ever were; by age only when it is said what time it is.
    pub(super) fn over(&self, elements: u64, now: Option<TimeMs>) -> Option<(TrimCause, u64, u64)> {
        let Retention { max_elements, max_age_ms, max_bytes } = self.retention;
        let by_elements = max_elements.and_then(|max| {
            let index = elements.checked_sub(max)?;
            Some((TrimCause::Elements, self.offset_of(index)?, index))
        });
        let mark = |cause, at: Option<usize>| {
            let end = self.marks[at?].end;
            Some((cause, end.offset, end.index))
        };
        let by_age = max_age_ms.zip(now).and_then(|(max, now)| {
            let old = self.marks.partition_point(|mark| mark.time_ms.saturating_add(max) <= now);
            mark(TrimCause::Age, old.checked_sub(1))
        });
        let by_bytes = max_bytes.filter(|max| self.bytes - self.first.bytes > *max).and_then(|max| {
            let over = self.marks.partition_point(|mark| self.bytes - mark.end.bytes > max);
            // What is behind the last one is the newest commit's.
            mark(TrimCause::Bytes, Some(over.min(self.marks.len().checked_sub(1)?)))
        });
        let all = [by_elements, by_age, by_bytes].into_iter().flatten();
        all.max_by_key(|(_, _, index)| *index).filter(|(_, _, index)| *index > self.first.index)
    }

    /// The offset behind the elements that go first by their age.
    pub(super) fn oldest_end(&self) -> Option<u64> {
        self.marks.front().map(|mark| mark.end.offset)
    }

    /// When the oldest elements are to go by their age.
    pub(super) fn due(&self) -> Option<TimeMs> {
        Some(self.marks.front()?.time_ms.saturating_add(self.retention.max_age_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel as it is kept, and what there is of it in truth.
    #[derive(Default)]
    struct Rig {
        kept: Kept,
        head: u64,
        elements: u64,
        now: TimeMs,
        /// The offset, the bytes and the time of each element.
        all: Vec<(u64, u64, TimeMs)>,
    }

    impl Rig {
        fn new(retention: Retention) -> Rig {
            Rig { kept: Kept { retention, ..Kept::default() }, ..Rig::default() }
        }

        /// A commit with so many elements of so many bytes each, and records between them and behind them.
        fn commit(&mut self, elements: u64, bytes: u64, records: u64) {
            for _ in 0..elements {
                self.kept.add(self.elements, self.head, bytes);
                self.all.push((self.head, bytes, self.now));
                self.elements += 1;
                self.head += 1 + records;
            }
            if let Some((_, offset, index)) = self.kept.over(self.elements, None) {
                self.kept.trim(offset, index, self.elements);
                self.head += 1;
            }
            self.kept.mark(self.head, self.elements, self.now);
            self.check();
        }

        fn check(&self) {
            let first = self.kept.first;
            for (index, (offset, ..)) in (0..).zip(&self.all) {
                if index >= first.index {
                    assert_eq!(self.kept.offset_of(index), Some(*offset), "of {index}");
                    assert_eq!(self.kept.index_at(*offset, self.elements), index, "at {offset}");
                    assert_eq!(self.kept.index_at(*offset + 1, self.elements), index + 1, "behind {offset}");
                }
            }
            assert!(self.kept.marks.len() <= MARKS_MAX);
        }

        fn kept_bytes(&self) -> u64 {
            self.kept.bytes - self.kept.first.bytes
        }
    }

    #[test]
    fn the_newest_elements_are_kept_to_the_one() {
        for records in [0, 1, 3] {
            let mut rig = Rig::new(Retention::ALL.with_elements(5));
            for elements in [1, 3, 1, 7, 0, 2, 40, 5] {
                rig.commit(elements, 10, records);
                assert_eq!(rig.elements - rig.kept.first.index, rig.elements.min(5));
                assert_eq!(rig.kept_bytes(), 10 * rig.elements.min(5));
                let first = rig.all[rig.kept.first.index as usize..].first().map(|(offset, ..)| *offset);
                if rig.elements > 5 {
                    assert_eq!(Some(rig.kept.first.offset), first, "no record before the first element");
                }
            }
        }
    }

    #[test]
    fn bytes_are_an_upper_bound_and_nearly_reached() {
        let mut rig = Rig::new(Retention::ALL.with_bytes(100_000));
        for commit in 0..2_500_u64 {
            rig.now += 1;
            rig.commit(1 + commit % 3, 50 + commit % 100, 0);
            let first = rig.kept.first.index as usize;
            let truth: u64 = rig.all[first..].iter().map(|(_, bytes, _)| bytes).sum();
            assert_eq!(rig.kept_bytes(), truth, "whole commits go");
            assert!(truth <= 100_000 && (commit < 1_000 || truth > 97_000), "{truth}");
        }
        // One that is over it alone stays, until the next comes.
        rig.now += 1;
        rig.commit(1, 300_000, 0);
        assert_eq!(rig.elements - rig.kept.first.index, 1);
        rig.now += 1;
        rig.commit(1, 10, 0);
        assert_eq!(rig.kept_bytes(), 10);
    }

    #[test]
    fn none_goes_by_age_before_its_time_and_all_soon_after() {
        let mut rig = Rig::new(Retention { max_age_ms: Some(10_000), ..Retention::ALL });
        for _ in 0..15_000 {
            rig.now += 1;
            rig.commit(1, 10, 0);
            if let Some((cause, offset, index)) = rig.kept.over(rig.elements, Some(rig.now)) {
                assert_eq!(cause, TrimCause::Age);
                assert!(rig.all[index as usize - 1].2 + 10_000 <= rig.now, "too early");
                rig.kept.trim(offset, index, rig.elements);
                rig.check_ends();
            }
            let oldest = rig.all[rig.kept.first.index as usize].2;
            assert!(oldest + 10_000 + 200 > rig.now, "kept for {}", rig.now - oldest);
        }
    }

    impl Rig {
        fn check_ends(&self) {
            let (first, last) = (self.kept.first.index, self.elements - 1);
            for index in [first, last] {
                assert_eq!(self.kept.offset_of(index), Some(self.all[index as usize].0));
            }
        }
    }

    #[test]
    fn a_bound_that_is_set_later_finds_where_it_lies() {
        let mut rig = Rig::default();
        for _ in 0..10_000 {
            rig.now += 10;
            rig.kept.add(rig.elements, rig.head, 100);
            (rig.elements, rig.head) = (rig.elements + 1, rig.head + 1);
            rig.kept.mark(rig.head, rig.elements, rig.now);
        }
        assert!(rig.kept.marks.len() <= MARKS_UNBOUNDED_MAX);
        rig.kept.retention = Retention::ALL.with_bytes(500_000);
        let (cause, _, index) = rig.kept.over(rig.elements, None).unwrap();
        assert_eq!(cause, TrimCause::Bytes);
        assert!((5_000..6_500).contains(&index), "{index}");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_marks_in_order() {
        let mut rig = Rig::new(Retention { max_age_ms: Some(100), ..Retention::ALL });
        for now in [1_000, 1_200, 500, 500, 1_250, 1_400] {
            rig.now = now;
            rig.commit(1, 10, 0);
        }
        assert!(rig.kept.marks.iter().is_sorted_by_key(|mark| mark.time_ms));
        assert_eq!(rig.kept.over(rig.elements, Some(1_299)).map(|(.., index)| index), Some(1));
        assert_eq!(rig.kept.over(rig.elements, Some(1_300)).map(|(.., index)| index), Some(4));
    }

    #[test]
    fn futures_go_with_their_elements_each_as_often_as_it_was_there() {
        let mut rig = Rig::default();
        let task = |n: u8| TaskId([n; 16]);
        for (index, n) in [1, 2, 1, 3].into_iter().enumerate() {
            rig.kept.add(index as u64, 2 * index as u64, 0);
            rig.kept.add_future(index as u64, task(n));
        }
        assert_eq!(rig.kept.index_at(5, 4), 3, "between two elements");
        assert_eq!(rig.kept.trim(5, 3, 4), [task(1), task(2), task(1)]);
        assert_eq!(rig.kept.trim(8, 4, 4), [task(3)]);
        assert_eq!(rig.kept.index_at(9, 4), 4);
    }
}
