//! What was seen, as one JSON object. Pure.

use serde::Serialize;

use super::model::{Rates, Seen};
use crate::protocol::channel::ChannelInfo;
use crate::rows::task::Counts;
use crate::rows::{channel, worker};

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    address: &'a str,
    epoch: u64,
    records: u64,
    tasks: Counts,
    per_second: Rates,
    workers: Vec<worker::Listed<'a>>,
    channels: Vec<Busy<'a>>,
}

/// A channel, and how many records come to it.
#[derive(Debug, Serialize)]
struct Busy<'a> {
    #[serde(flatten)]
    channel: channel::Listed<'a>,
    records_per_second: f64,
}

impl<'a> Shown<'a> {
    /// Of what was seen of the scheduler at this address. `channels`: in their order, with their rates.
    pub fn of(
        address: &'a str,
        seen: &'a Seen,
        rates: Rates,
        channels: impl Iterator<Item = (&'a ChannelInfo, f64)>,
    ) -> Shown<'a> {
        let busy =
            |(info, records_per_second)| Busy { channel: channel::Listed::of(info), records_per_second };
        Shown {
            address,
            epoch: seen.overview.epoch.0,
            records: seen.overview.records,
            tasks: Counts::of(&seen.overview),
            per_second: rates,
            workers: seen.workers.iter().map(|info| worker::Listed::of(info, worker::state(info))).collect(),
            channels: channels.map(busy).collect(),
        }
    }
}
