//! Reading a channel, or the task log: a page, all there is as lines, or as it comes as events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::body::{JSON, LINES};
use super::channels::Name;
use super::door::Door;
use super::problem::Problem;
use crate::client::{Client, Item, Offset, Records, Result, Until};
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::{ChannelEvent, TaskEvent};
use crate::rows::range;
use crate::rows::record::{Marker, Row};
use crate::rows::task_record::Names;

/// Records of a page unless told, and most of them.
const PAGE_RECORDS: usize = 1_000;
const PAGE_RECORDS_MAX: usize = 10_000;

/// A page ends behind the record with which it has so many bytes: 4 MiB, since it is made whole before it is sent, and its
/// most records could have 600 MB.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How often something is said to those who follow, so that what lies between does not take them for gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// `start`, `end`, an offset, `last:N` or `time:T`.
    from: Option<String>,
    /// `now`, an offset, or `time:T`.
    until: Option<String>,
    limit: Option<usize>,
}

/// Which of the three it is, is by what is accepted.
pub(super) async fn read(
    State(door): State<Arc<Door>>,
    name: Name,
    query: std::result::Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> std::result::Result<Response, Problem> {
    let (Path(name), Query(Wanted { from, until, limit })) = (name?, query?);
    let from = from.as_deref().map_or(Ok(Offset::Start), range::from).map_err(|why| bad("from", &why))?;
    let until = until.as_deref().map(range::until).transpose().map_err(|why| bad("until", &why))?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let client = door.client().await?;
    let follows = accepts.contains("text/event-stream");
    if limit.is_some() && (follows || accepts.contains(LINES)) {
        return Err(bad("limit", "only a page has one: give `until` to what is followed"));
    }
    if follows {
        let from = headers.get("last-event-id").map_or(Ok(from), |last| behind(last.to_str().ok()))?;
        let reading = Reading::open(&client, &name, from, until).await?;
        let events = stream::unfold((reading, door.stop.clone(), false), next_event);
        return Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let reading = Reading::open(&client, &name, from, Some(until.unwrap_or(Until::Now))).await?;
    if accepts.contains(LINES) {
        let lines = Body::from_stream(lines(reading, door.stop.clone()));
        return Ok(([(header::CONTENT_TYPE, LINES)], lines).into_response());
    }
    let limit = limit.unwrap_or(PAGE_RECORDS);
    if !(1..=PAGE_RECORDS_MAX).contains(&limit) {
        return Err(bad("limit", &format!("give a number from 1 to {PAGE_RECORDS_MAX}")));
    }
    page(reading, limit).await
}

fn bad(what: &str, why: &str) -> Problem {
    Problem::bad_request(format!("`{what}`: {why}"))
}

/// Where to go on behind an event.
fn behind(last: Option<&str>) -> std::result::Result<Offset, Problem> {
    let next = |last: &str| match last.trim() {
        NOTHING => Some(0),
        offset => Some(offset.parse::<u64>().ok()?.saturating_add(1)),
    };
    let bad = || bad("Last-Event-ID", "give the id of the last event, as it came");
    Ok(Offset::At(last.and_then(next).ok_or_else(bad)?))
}

/// The id of an event behind which nothing before the first record has come.
const NOTHING: &str = "-1";

/// The id of an event behind which the record at this offset is next.
fn id_before(next: u64) -> String {
    next.checked_sub(1).map_or_else(|| NOTHING.to_owned(), |last| last.to_string())
}

/// So many records, or fewer large ones, and where the next page begins.
async fn page(mut reading: Reading, limit: usize) -> std::result::Result<Response, Problem> {
    let (mut records, mut count, mut next, mut is_end) = (String::new(), 0, None, false);
    while count < limit && records.len() < PAGE_BYTES {
        let entry = match reading.next().await.transpose()? {
            Some(Entry::Marker(Marker::CaughtUp { offset })) => {
                // What is still to come is not waited for, though `until` may lie behind it.
                next = Some(offset);
                is_end = true;
                break;
            }
            Some(entry) => entry,
            None => {
                is_end = true;
                break;
            }
        };
        if let Entry::Record(row) = &entry {
            next = Some(row.offset + 1);
        }
        if count > 0 {
            records.push(',');
        }
        records.push_str(&in_json(&entry));
        count += 1;
    }
    let next = serde_json::Value::from(next.or(reading.next_offset()));
    let page = format!(r#"{{"records":[{records}],"next":{next},"is_end":{is_end}}}"#);
    Ok(([(header::CONTENT_TYPE, JSON)], page).into_response())
}

fn in_json(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("rows have nothing that JSON cannot carry")
}

/// Each record as a line.
fn lines(
    reading: Reading,
    stop: watch::Receiver<bool>,
) -> impl Stream<Item = std::result::Result<String, Infallible>> {
    stream::unfold((reading, stop, false), async |(mut reading, mut stop, is_over)| {
        if is_over {
            return None;
        }
        let next = next_until(&mut reading, &mut stop).await?;
        let is_over = next.is_err();
        let line = match next {
            Ok(entry) => in_json(&entry),
            // It is too late for a status.
            Err(error) => Problem::from(error).to_json().to_string(),
        };
        Some((Ok(format!("{line}\n")), (reading, stop, is_over)))
    })
}

type Following = (Reading, watch::Receiver<bool>, bool);

/// What comes next, as an event: a record with its offset as its id, a marker with that of the last record that is done
/// with, so that who was cut off goes on behind it, though no record had come.
async fn next_event(
    (mut reading, mut stop, is_over): Following,
) -> Option<(std::result::Result<Event, Infallible>, Following)> {
    if is_over {
        return None;
    }
    let next = next_until(&mut reading, &mut stop).await?;
    let is_over = next.is_err();
    let event = match next {
        Ok(Entry::Record(row)) => Event::default().event("record").id(row.offset.to_string()).json_data(row),
        Ok(Entry::Marker(marker)) => {
            let (Marker::CaughtUp { offset: next }
            | Marker::Trimmed { first: next, .. }
            | Marker::Damaged { to: next, .. }) = marker;
            Event::default().event("marker").id(id_before(next)).json_data(marker)
        }
        Err(error) => Event::default().event("error").json_data(Problem::from(error).to_json()),
    };
    let event = event.expect("rows have nothing that JSON cannot carry");
    Some((Ok(event), (reading, stop, is_over)))
}

/// What comes next, and nothing once the door is to close.
async fn next_until(reading: &mut Reading, stop: &mut watch::Receiver<bool>) -> Option<Result<Entry>> {
    tokio::select! {
        next = reading.next() => next,
        () = async { drop(stop.wait_for(|stop| *stop).await) } => None,
    }
}

/// What is read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    Record(Box<Row>),
    Marker(Marker),
}

/// A log that is read row by row.
enum Reading {
    Channel(Records<ChannelEvent>),
    Tasks(Records<TaskEvent>, Names),
}

impl Reading {
    async fn open(client: &Client, name: &str, from: Offset, until: Option<Until>) -> Result<Reading> {
        if name == TASKS_CHANNEL {
            let records = client.task_log(from);
            let records = match until {
                Some(until) => records.until(until),
                None => records,
            };
            return Ok(Reading::Tasks(records, Names::default()));
        }
        let channel = client.existing_channel::<()>(name).await?;
        let reading = channel.from(from);
        let reading = match until {
            Some(until) => reading.until(until),
            None => reading,
        };
        Ok(Reading::Channel(reading.records()))
    }

    fn next_offset(&self) -> Option<u64> {
        match self {
            Reading::Channel(records) => records.next_offset(),
            Reading::Tasks(records, _) => records.next_offset(),
        }
    }

    async fn next(&mut self) -> Option<Result<Entry>> {
        match self {
            Reading::Channel(records) => Some(records.next().await?.map(|item| match item {
                Item::Record(record) => {
                    Entry::Record(Box::new(Row::of_channel(record.offset, record.time_ms, record.event)))
                }
                other => marker(other),
            })),
            Reading::Tasks(records, names) => Some(records.next().await?.map(|item| match item {
                Item::Record(record) => {
                    names.learn(&record.event);
                    let row = names.row(record.offset, record.time_ms, &record.event);
                    names.forget(&record.event);
                    Entry::Record(Box::new(row))
                }
                other => marker(other),
            })),
        }
    }
}

fn marker<E>(item: Item<E>) -> Entry {
    Entry::Marker(match item {
        Item::CaughtUp { head } => Marker::CaughtUp { offset: head },
        Item::Trimmed { from, first } => Marker::Trimmed { from, first },
        Item::Damaged { from, to, why } => Marker::Damaged { from, to, why: why.into() },
        Item::Record(_) => unreachable!("records are rows"),
    })
}
