//! Arguments with futures inside them: a MessagePack value in which a hole stands for each future.
//!
//! ```text
//!   [1.0, future of a, {"rate": future of b}]      what a client passes
//!   93 cb…  d8 48 <a>  81 a4 "rate" d8 48 <b>      the template: a hole is `d8 48` and the 16 bytes of the task's id
//!   93 cb…  <result>   81 a4 "rate" <result>       filled: each hole is replaced by the bytes of that task's result
//! ```
//!
//! Values of MessagePack are self-contained, so that a result takes the place of its hole as it is. `d8` is its mark of an
//! extension of 16 bytes, `48` the type of ours: [`HOLE`].
//!
//! A template says nothing but that; which tasks it needs is read from it. What comes from a client may be anything:
//! [`Template::check`] is asked before one is taken.

use std::ops::Range;

use bytes::Bytes;
use rmp::Marker;
use serde::{Deserialize, Serialize};

use super::ids::TaskId;
use super::limits::NESTED_DEPTH_MAX;
use super::payload::{Codec, Payload, json_with};

/// The type of the MessagePack extension that is a hole: 72, `H`.
pub const HOLE: i8 = 0x48;

/// How deep a result may go: as deep as rmp-serde reads it.
const RESULT_DEPTH_MAX: usize = 1024;

/// A MessagePack value with holes in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Bytes);

/// Bytes that are not one MessagePack value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end within the value.
    #[error("it ends too early, after {0} bytes")]
    Short(usize),
    /// There is more behind the value.
    #[error("the value ends at byte {0}, and more follows")]
    Long(usize),
    /// A byte that begins no value.
    #[error("byte {0} begins no value")]
    Reserved(usize),
    /// Arrays and maps in each other.
    #[error("arrays and maps are in each other more than {max} deep at byte {at}: pass it in flatter pieces")]
    Deep {
        /// Where.
        at: usize,
        /// How deep they may be.
        max: usize,
    },
}

/// Why holes cannot be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// The template is none.
    #[error("it is no MessagePack: {0}")]
    Template(Malformed),
    /// The result of a task is none.
    #[error("the result of task {0} is no MessagePack: {1}")]
    Result(TaskId, Malformed),
    /// There is no result for a task.
    #[error("the result of task {0} is not there")]
    Missing(TaskId),
}

impl Template {
    /// Of these bytes, whatever they are.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Template(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Looks whether it is one MessagePack value.
    ///
    /// # Errors
    /// [`Malformed`], if it is not.
    pub fn check(&self) -> Result<(), Malformed> {
        self.parts().try_for_each(|part| part.map(drop))
    }

    /// Its parts in their order.
    pub fn parts(&self) -> Parts<'_> {
        Parts::new(&self.0, NESTED_DEPTH_MAX)
    }

    /// The task of each hole, in their order; of bytes that make no sense, of those before that shows.
    pub fn holes(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.parts().map_while(Result::ok).filter_map(|part| match part.kind {
            Kind::Hole(task) => Some(task),
            _ => None,
        })
    }

    /// The tasks of its holes, each once, in their order.
    pub fn tasks(&self) -> Vec<TaskId> {
        let mut tasks = Vec::new();
        for task in self.holes() {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// The value with a result in place of each hole: they are those of [`Self::tasks`], in that order. Raw bytes become
    /// MessagePack's.
    ///
    /// # Errors
    /// [`Unfilled`] when one of them is no MessagePack, or is not there.
    pub fn fill(&self, results: &[Payload]) -> Result<Payload, Unfilled> {
        let tasks = self.tasks();
        for (task, result) in tasks.iter().zip(results) {
            let mut parts = Parts::new(&result.bytes, RESULT_DEPTH_MAX);
            if result.codec == Codec::MessagePack {
                parts.try_for_each(|part| part.map(drop)).map_err(|why| Unfilled::Result(*task, why))?;
            }
        }
        let size = results.iter().map(|result| result.bytes.len()).sum::<usize>() + self.0.len();
        let (mut filled, mut copied) = (Vec::with_capacity(size), 0);
        for part in self.parts() {
            let Part { at, kind } = part.map_err(Unfilled::Template)?;
            let Kind::Hole(task) = kind else { continue };
            filled.extend_from_slice(&self.0[copied..at.start]);
            copied = at.end;
            let found = tasks.iter().position(|known| *known == task).and_then(|place| results.get(place));
            let result = found.ok_or(Unfilled::Missing(task))?;
            if result.codec == Codec::Raw {
                let bytes = u32::try_from(result.bytes.len()).expect("a result has less than 4 GiB");
                rmp::encode::write_bin_len(&mut filled, bytes).expect("memory takes all of it");
            }
            filled.extend_from_slice(&result.bytes);
        }
        filled.extend_from_slice(&self.0[copied..]);
        Ok(Payload { codec: Codec::MessagePack, bytes: filled.into() })
    }

    /// The value as JSON, for people, with what `future` gives for each future.
    pub fn to_json(&self, future: impl Fn(TaskId) -> serde_json::Value) -> serde_json::Value {
        json_with(&self.0, &|kind, bytes| {
            let id = <[u8; 16]>::try_from(bytes).ok().filter(|_| kind == HOLE)?;
            Some(future(TaskId(id)))
        })
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to_json(|task| format!("<{task}>").into()))
    }
}

/// A part of a MessagePack value: one that has no others in it, or the beginning of one that has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where its bytes are; of an array or a map, those that say how many follow.
    pub at: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value without others in it.
    Plain,
    /// An array: so many values follow.
    Array(u32),
    /// A map: so many keys follow, and behind each its value.
    Map(u32),
    /// A hole.
    Hole(TaskId),
}

/// The parts of what is to be one MessagePack value. Nothing follows an error.
#[derive(Debug)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many values are still to come in each array and map that has begun, the outermost first.
    open: Vec<u64>,
    depth_max: usize,
    is_over: bool,
}

impl<'a> Parts<'a> {
    fn new(bytes: &'a [u8], depth_max: usize) -> Self {
        Parts { bytes, at: 0, open: vec![1], depth_max, is_over: false }
    }

    fn next_part(&mut self) -> Result<Part, Malformed> {
        let start = self.at;
        let marker = Marker::from_u8(self.number(start, 1)? as u8);
        let (head, kind, length) = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                (0, Kind::Plain, 0)
            }
            Marker::U8 | Marker::I8 => (0, Kind::Plain, 1),
            Marker::U16 | Marker::I16 => (0, Kind::Plain, 2),
            Marker::U32 | Marker::I32 | Marker::F32 => (0, Kind::Plain, 4),
            Marker::U64 | Marker::I64 | Marker::F64 => (0, Kind::Plain, 8),
            Marker::FixStr(length) => (0, Kind::Plain, usize::from(length)),
            Marker::Str8 | Marker::Bin8 => (1, Kind::Plain, self.length(1)?),
            Marker::Str16 | Marker::Bin16 => (2, Kind::Plain, self.length(2)?),
            Marker::Str32 | Marker::Bin32 => (4, Kind::Plain, self.length(4)?),
            Marker::FixExt1 => (1, Kind::Plain, 1),
            Marker::FixExt2 => (1, Kind::Plain, 2),
            Marker::FixExt4 => (1, Kind::Plain, 4),
            Marker::FixExt8 => (1, Kind::Plain, 8),
            Marker::FixExt16 => (1, self.hole()?, 16),
            Marker::Ext8 => (2, Kind::Plain, self.length(1)?),
            Marker::Ext16 => (3, Kind::Plain, self.length(2)?),
            Marker::Ext32 => (5, Kind::Plain, self.length(4)?),
            Marker::FixArray(count) => (0, Kind::Array(u32::from(count)), 0),
            Marker::Array16 => (2, Kind::Array(self.number(start + 1, 2)?), 0),
            Marker::Array32 => (4, Kind::Array(self.number(start + 1, 4)?), 0),
            Marker::FixMap(count) => (0, Kind::Map(u32::from(count)), 0),
            Marker::Map16 => (2, Kind::Map(self.number(start + 1, 2)?), 0),
            Marker::Map32 => (4, Kind::Map(self.number(start + 1, 4)?), 0),
            Marker::Reserved => return Err(Malformed::Reserved(start)),
        };
        let end = start.saturating_add(1 + head).saturating_add(length);
        if end > self.bytes.len() {
            return Err(Malformed::Short(self.bytes.len()));
        }
        self.at = end;
        self.count(start, kind)?;
        Ok(Part { at: start..end, kind })
    }

    /// Keeps account of how many values are still to come.
    fn count(&mut self, start: usize, kind: Kind) -> Result<(), Malformed> {
        if let Some(open) = self.open.last_mut() {
            *open -= 1;
        }
        match kind {
            Kind::Array(count) => self.open.push(u64::from(count)),
            Kind::Map(count) => self.open.push(2 * u64::from(count)),
            Kind::Plain | Kind::Hole(_) => {}
        }
        if self.open.len() > self.depth_max + 1 {
            return Err(Malformed::Deep { at: start, max: self.depth_max });
        }
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        Ok(())
    }

    fn hole(&self) -> Result<Kind, Malformed> {
        if self.number(self.at + 1, 1)? as u8 as i8 != HOLE {
            return Ok(Kind::Plain);
        }
        let id = self.bytes.get(self.at + 2..self.at + 18).and_then(|bytes| bytes.try_into().ok());
        id.map(|id| Kind::Hole(TaskId(id))).ok_or(Malformed::Short(self.bytes.len()))
    }

    fn length(&self, bytes: usize) -> Result<usize, Malformed> {
        Ok(self.number(self.at + 1, bytes)? as usize)
    }

    /// The big-endian number of so many bytes, at most 4.
    fn number(&self, at: usize, bytes: usize) -> Result<u32, Malformed> {
        let found = self.bytes.get(at..at + bytes).ok_or(Malformed::Short(self.bytes.len()))?;
        Ok(found.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let part = match self.open.is_empty() {
            false => self.next_part(),
            true if self.at < self.bytes.len() => Err(Malformed::Long(self.at)),
            true => {
                self.is_over = true;
                return None;
            }
        };
        self.is_over = part.is_err();
        Some(part)
    }
}

/// The values of a MessagePack array: how many, and their bytes.
pub fn array(payload: &Payload) -> Option<(u32, Bytes)> {
    let first = Parts::new(&payload.bytes, RESULT_DEPTH_MAX).next()?.ok()?;
    match (payload.codec, first.kind) {
        (Codec::MessagePack, Kind::Array(count)) => Some((count, payload.bytes.slice(first.at.end..))),
        _ => None,
    }
}

/// Adds the beginning of a MessagePack array of so many values.
pub fn begin_array(bytes: &mut Vec<u8>, count: u32) {
    rmp::encode::write_array_len(bytes, count).expect("memory takes all of it");
}

/// The task of bytes that are a hole and nothing else.
pub fn hole(bytes: &[u8]) -> Option<TaskId> {
    let id = bytes.strip_prefix(&[Marker::FixExt16.to_u8(), HOLE as u8])?;
    id.try_into().ok().map(TaskId)
}

/// Adds a hole.
pub fn add_hole(bytes: &mut Vec<u8>, task: TaskId) {
    bytes.extend([Marker::FixExt16.to_u8(), HOLE as u8]);
    bytes.extend(task.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[1.5, a, {"rate": b, "again": a}]`
    fn template() -> Template {
        let (mut bytes, [a, b]) = (Vec::new(), [TaskId([1; 16]), TaskId([2; 16])]);
        begin_array(&mut bytes, 3);
        bytes.extend(rmp_serde::to_vec(&1.5).unwrap());
        add_hole(&mut bytes, a);
        bytes.push(0x82);
        bytes.extend(rmp_serde::to_vec("rate").unwrap());
        add_hole(&mut bytes, b);
        bytes.extend(rmp_serde::to_vec("again").unwrap());
        add_hole(&mut bytes, a);
        Template::new(bytes)
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    }

    #[test]
    fn each_hole_takes_the_result_of_its_task() {
        let template = template();
        assert_eq!(template.check(), Ok(()));
        assert_eq!(template.holes().count(), 3);
        assert_eq!(template.tasks(), [TaskId([1; 16]), TaskId([2; 16])]);
        let results = [Payload::encode(&["x", "y"]).unwrap(), Payload::raw(vec![7; 300])];
        let filled = template.fill(&results).unwrap();
        let expected = serde_json::json!([1.5, ["x", "y"], { "rate": vec![7; 300], "again": ["x", "y"] }]);
        assert_eq!(filled.to_json()[2]["again"], expected[2]["again"]);
        let value: (f64, Vec<String>, std::collections::BTreeMap<String, rmpv::Value>) =
            filled.decode().unwrap();
        assert_eq!((value.0, &value.1[..]), (1.5, &["x".to_owned(), "y".to_owned()][..]));
        assert_eq!(value.2["rate"], rmpv::Value::Binary(vec![7; 300]));
        assert_eq!(
            template.to_json(|task| task.0[0].into())[2],
            serde_json::json!({ "rate": 2, "again": 1 })
        );
    }

    #[test]
    fn what_cannot_be_filled_says_why() {
        let (template, good) = (template(), Payload::encode(&1).unwrap());
        let told = |results: &[Payload]| template.fill(results).unwrap_err().to_string();
        assert_eq!(
            told(std::slice::from_ref(&good)),
            format!("the result of task {} is not there", TaskId([2; 16]))
        );
        let two = Payload { codec: Codec::MessagePack, bytes: vec![1, 2].into() };
        let expected = "the value ends at byte 1, and more follows";
        assert_eq!(
            told(&[good, two]),
            format!("the result of task {} is no MessagePack: {expected}", TaskId([2; 16]))
        );
    }

    #[test]
    fn anything_may_come_and_what_is_no_value_is_told() {
        let whole = template().bytes().clone();
        for end in 0..whole.len() {
            let cut = Template::new(whole.slice(..end));
            assert_eq!(cut.check(), Err(Malformed::Short(end)), "{end}");
            assert!(cut.holes().count() <= 3);
        }
        let longer = Template::new([&whole[..], &[0xc0]].concat());
        assert_eq!(longer.check(), Err(Malformed::Long(whole.len())));
        assert_eq!(Template::new(vec![0x91, 0xc1]).check(), Err(Malformed::Reserved(1)));
        assert_eq!(Template::new(vec![0xdd, 255, 255, 255, 255]).check(), Err(Malformed::Short(5)));
        assert_eq!(Template::new(vec![0xdb, 255, 255, 255, 255]).check(), Err(Malformed::Short(5)));
        assert_eq!(Template::new(nested(NESTED_DEPTH_MAX)).check(), Ok(()));
        let too_deep = Template::new(nested(NESTED_DEPTH_MAX + 1)).check().unwrap_err();
        assert_eq!(too_deep, Malformed::Deep { at: NESTED_DEPTH_MAX, max: NESTED_DEPTH_MAX });
        let mut seed = 7_u64;
        let mut any = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..any() % 40).map(|_| any()).collect();
            let template = Template::new(bytes.clone());
            let (ours, mut rest) = (template.check(), &bytes[..]);
            let theirs = rmpv::decode::read_value(&mut rest).is_ok() && rest.is_empty();
            // rmpv takes the byte that is never used for a nil.
            assert!(ours.is_ok() == theirs || matches!(ours, Err(Malformed::Reserved(_))), "{bytes:?}");
            let _ = template.fill(&[]);
        }
    }

    #[test]
    fn every_kind_of_value_is_passed_over_whole() {
        use rmpv::Value;
        let long = "x".repeat(70_000);
        let kinds = [
            Value::Nil,
            true.into(),
            (-1).into(),
            200.into(),
            60_000.into(),
            5_000_000_000u64.into(),
            i64::MIN.into(),
            (-200).into(),
            (-40_000).into(),
            Value::F32(1.5),
            Value::F64(2.5),
            "short".into(),
            long[..100].into(),
            long[..300].into(),
            long.as_str().into(),
            Value::Binary(vec![1; 9]),
            Value::Binary(vec![1; 300]),
            Value::Binary(vec![1; 70_000]),
            Value::Ext(5, vec![1]),
            Value::Ext(5, vec![1; 2]),
            Value::Ext(5, vec![1; 4]),
            Value::Ext(5, vec![1; 8]),
            Value::Ext(5, vec![1; 16]),
            Value::Ext(5, vec![1; 17]),
            Value::Ext(5, vec![1; 300]),
            Value::Ext(5, vec![1; 70_000]),
            Value::Array(vec![1.into(); 20]),
            Value::Array(vec![1.into(); 70_000]),
            Value::Map(vec![(1.into(), 2.into()); 3]),
            Value::Map(vec![(1.into(), 2.into()); 20]),
            Value::Map(vec![(1.into(), 2.into()); 70_000]),
        ];
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &Value::Array(kinds.to_vec())).unwrap();
        add_hole(&mut bytes, TaskId([3; 16]));
        bytes.splice(..0, [0x92]);
        let template = Template::new(bytes);
        assert_eq!((template.check(), template.tasks()), (Ok(()), vec![TaskId([3; 16])]));
    }
}
