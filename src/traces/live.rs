//! Reads along beside a scheduler, and exports what has ended.
//!
//! It looks every half second whether anything was committed, and then reads the task log up to its head, and the channels up
//! to where they were before: so all that a channel's records have to do with is known. It holds the spans of a piece of a log at a time,
//! and reads no further until they are taken: a collector that is down costs nobody anything, and finds all of it when it is back, as far
//! as the log has not been trimmed meanwhile.
//!
//! It begins at the heads. What is still open then was begun before, so some way back is read, too, and not exported.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::collector::{Collector, Endpoint, SendError};
use super::otlp;
use super::spans::fold::{Fold, Place};
use super::spans::span::Span;
use crate::log::{Error, Reader};
use crate::protocol::{ChannelEvent, LogId, TaskEvent};
use crate::scheduler::Meters;
use crate::scheduler::names::{self, More};

/// How often it is looked for more: every half second, so that spans of one request are many.
const EVERY: Duration = Duration::from_millis(500);

/// How much of a log is read at a time: 256 KiB, some thousands of records.
const PIECE_BYTES: usize = 256 * 1024;

/// Most spans of a request: 512, as OpenTelemetry's own programs have it.
pub const SPANS_MAX: usize = 512;

/// How far back it is read for what is open, and for the names of workers: a million records, which takes some seconds.
pub const LOOKBACK_RECORDS_MAX: u64 = 1_000_000;

/// How long the last spans may take once it is to end.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// What is exported to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the collector is.
    pub endpoint: Endpoint,
    /// As which service: `service.name`.
    pub service: String,
}

/// An export that goes on. Dropping it ends it.
pub struct Live {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Live {
    /// Exports what ends from now on.
    pub fn start(options: Options, reader: Reader, meters: Meters) -> Live {
        // The heads are those of now, whenever the rest begins.
        let reading = Reading::at_heads(reader);
        let (stop, stopped) = watch::channel(false);
        let Options { endpoint, service } = options;
        let export = Export { collector: Collector::at(endpoint), service, meters, trouble: None };
        Live { stop, running: tokio::spawn(export.run(reading, stopped)) }
    }

    /// Exports what has ended by now, if that is taken soon, and ends.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        let _ = timeout(FAREWELL_TIME_MAX, &mut self.running).await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A place in each log, and what is known there.
struct Reading {
    reader: Reader,
    fold: Fold,
    /// The offset of the next record of each log; for others the first.
    next: HashMap<LogId, u64>,
    /// What is still to be read of this round, the last first, each up to an offset.
    round: Vec<(LogId, u64)>,
}

impl Reading {
    fn at_heads(reader: Reader) -> Reading {
        let heads = reader.logs().into_iter().map(|log| (log, reader.bounds(log).head));
        let next = heads.collect();
        Reading { reader, fold: Fold::default(), next, round: Vec::new() }
    }

    /// Learns what is open, and how channels are named.
    fn look_back(&mut self) -> Result<(), Error> {
        let fold = &mut self.fold;
        names::find(self.reader.log(), &mut |names| {
            names.into_iter().for_each(|(name, log)| fold.name_channel(log, name));
            More::Wanted
        });
        let head = self.next.get(&LogId::TASKS).copied().unwrap_or_default();
        let mut next = head.saturating_sub(LOOKBACK_RECORDS_MAX);
        while next < head {
            next = self.read(LogId::TASKS, next, head)?;
            self.fold.take();
        }
        self.fold.take_left_out();
        Ok(())
    }

    /// Begins a round: up to here all is read.
    fn begin_round(&mut self) {
        // The channels' heads first: what they have to do with lies before the task log's head then.
        let logs = self.reader.logs().into_iter().filter(|log| *log != LogId::TASKS);
        let heads = logs.map(|log| (log, self.reader.bounds(log).head));
        self.round = heads.filter(|(log, head)| self.next.get(log).is_none_or(|next| head > next)).collect();
        self.round.push((LogId::TASKS, self.reader.bounds(LogId::TASKS).head));
    }

    /// Reads on until there are many spans, or the round is over: then there are none.
    fn some(&mut self) -> Result<Vec<Span>, Error> {
        while let Some((log, head)) = self.round.last().copied() {
            let from = self.next.get(&log).copied().unwrap_or_default();
            if from < head {
                let next = self.read(log, from, head)?;
                self.next.insert(log, next);
            } else {
                self.fold.end_append();
                self.round.pop();
            }
            let spans = self.fold.take();
            if !spans.is_empty() {
                return Ok(spans);
            }
        }
        Ok(Vec::new())
    }

    /// Takes in a piece of a log. Answers where the next one begins.
    fn read(&mut self, log: LogId, from: u64, head: u64) -> Result<u64, Error> {
        let from = self.not_trimmed(log, from).min(head);
        let batches = self.reader.read(log, from, PIECE_BYTES)?;
        // What is not there any more is passed over.
        let Some(end) = batches.last().map(|batch| batch.header().end_offset()) else { return Ok(head) };
        for batch in batches {
            let time_ms = batch.header().time_ms;
            let is_wanted = |offset: u64| (from..head).contains(&offset);
            if log == LogId::TASKS {
                let records = batch.records::<TaskEvent>().map_while(Result::ok);
                for (offset, event) in records.filter(|(offset, _)| is_wanted(*offset)) {
                    self.fold.task_record(Place { offset, time_ms }, &event);
                }
            } else {
                let records = batch.records::<ChannelEvent>().map_while(Result::ok);
                for (offset, event) in records.filter(|(offset, _)| is_wanted(*offset)) {
                    self.fold.channel_record(log, Place { offset, time_ms }, &event);
                }
            }
        }
        Ok(end.min(head))
    }

    /// The first record at this offset or behind it that is not trimmed.
    fn not_trimmed(&self, log: LogId, from: u64) -> u64 {
        let first = self.reader.bounds(log).first;
        if first > from && log == LogId::TASKS && self.next.get(&log) == Some(&from) {
            tracing::warn!(
                from,
                first,
                "records of the task log were trimmed before they were read for traces"
            );
        }
        from.max(first)
    }

    /// How many records of the task log are not read yet.
    fn lag(&self) -> u64 {
        let next = self.next.get(&LogId::TASKS).copied().unwrap_or_default();
        self.reader.bounds(LogId::TASKS).head.saturating_sub(next)
    }
}

struct Export {
    collector: Collector,
    service: String,
    meters: Meters,
    /// Why spans are not taken, as it was said.
    trouble: Option<String>,
}

impl Export {
    async fn run(mut self, reading: Reading, mut stop: watch::Receiver<bool>) {
        tracing::info!(collector = %self.collector.endpoint(), "traces are exported");
        let looked_back = spawn_blocking(move || {
            let mut reading = reading;
            let result = reading.look_back();
            (reading, result)
        });
        let Ok((mut reading, result)) = looked_back.await else { return };
        if let Err(error) = result {
            tracing::warn!(%error, "traces begin without what was open before");
        }
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            }
            let last = reading.reader.last().seq;
            if seen != Some(last) {
                let Some(read) = self.round(reading).await else { return };
                (reading, seen) = (read, Some(last));
            }
        }
        self.round(reading).await;
    }

    /// Exports all that has ended by now. Nothing comes of it when a thread breaks down.
    async fn round(&mut self, mut reading: Reading) -> Option<Reading> {
        reading.begin_round();
        loop {
            let (mut read, spans) = spawn_blocking(move || {
                let spans = reading.some();
                (reading, spans)
            })
            .await
            .ok()?;
            self.meters.spans("left_out", read.fold.take_left_out());
            let spans = match spans {
                Ok(spans) => spans,
                Err(error) => {
                    self.is_in_trouble("cannot be read off the log", error.to_string());
                    return Some(read);
                }
            };
            for spans in spans.chunks(SPANS_MAX) {
                self.deliver(spans, &read).await;
            }
            self.meters.lags(read.lag());
            if spans.is_empty() {
                return Some(read);
            }
            reading = read;
        }
    }

    /// Sends spans until they are taken, or refused for good.
    async fn deliver(&mut self, spans: &[Span], reading: &Reading) {
        let request = Bytes::from(otlp::request(&self.service, spans));
        let count = spans.len() as u64;
        loop {
            self.meters.lags(reading.lag());
            match self.collector.send(request.clone()).await {
                Ok(taken) => {
                    let refused = taken.refused.min(count);
                    self.meters.spans("exported", count - refused);
                    self.meters.spans("refused", refused);
                    return match refused {
                        0 => self.goes_well(),
                        _ => self.is_in_trouble("are refused in part", taken.why),
                    };
                }
                Err(SendError::Refused(why)) => {
                    self.meters.spans("refused", count);
                    return self.is_in_trouble("are refused", why);
                }
                Err(SendError::Again { why, after }) => {
                    self.is_in_trouble("wait in the log until they are taken", why);
                    sleep(self.collector.pause(after)).await;
                }
            }
        }
    }

    /// Says so once, until it goes well.
    fn is_in_trouble(&mut self, what: &str, why: String) {
        if self.trouble.is_none() {
            tracing::warn!(collector = %self.collector.endpoint(), why, "traces {what}");
            self.trouble = Some(why);
        }
    }

    fn goes_well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!(collector = %self.collector.endpoint(), "traces are taken again");
        }
    }
}
