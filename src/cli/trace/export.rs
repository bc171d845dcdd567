//! `headwater trace export`.

use anyhow::{anyhow, bail};
use tokio::time::sleep;

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::{Output, note};
use crate::cli::serve::SERVICE;
use crate::client::{Client, Item, Offset, Records, Until};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::{TaskEvent, TimeMs};
use crate::rows::{counted, range};
use crate::traces::collector::SendError;
use crate::traces::live::{LOOKBACK_RECORDS_MAX, SPANS_MAX};
use crate::traces::spans::Span;
use crate::traces::spans::fold::{Fold, Place};
use crate::traces::{Collector, Endpoint, otlp};

/// How often a collector is tried that does not answer.
const TRIES_MAX: u32 = 5;

/// Export traces of what is in the log: of last night, say.
///
/// Reads the task log ($tasks) and the channels, and makes spans of it: each task that has ended, its waits and
/// attempts, and what it has appended. They go to a collector for OTLP over HTTP, or to stdout: a request of
/// OTLP as JSON on each line, as collectors read it from files.
///
/// A span is exported if it has ended in the part of the task log that is read. Each span has the identity that it
/// always has, so to export it again does no harm where collectors tell spans by that. With `--otlp`, `headwater scheduler` and
/// `headwater up` export what ends while they run. docs/traces.md says what is in a span.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater trace export --from time:-12h --otlp http://127.0.0.1:4318
  headwater trace export --from 1000 --until 2000 > traces.jsonl")]
pub struct Export {
    /// Where to begin in the task log: `start`, an offset, `last:N` for the last N records, or `time:T` for the first record
    /// of that time or later
    #[arg(long, value_name = "POSITION", default_value = "start", value_parser = range::from)]
    from: Offset,

    /// Where to end: `now`, before an offset, or `time:T` before the first record of that time or later
    #[arg(long, value_name = "POSITION", default_value = "now", value_parser = range::until)]
    until: Until,

    /// A collector for OTLP over HTTP, like http://127.0.0.1:4318; stdout unless given
    #[arg(long, value_name = "URL")]
    otlp: Option<Endpoint>,

    /// The name of the service in traces
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME", default_value = SERVICE)]
    otlp_service: String,

    #[command(flatten)]
    connect: Connect,
}

impl Export {
    pub async fn run(self) -> anyhow::Result<()> {
        self.connect.with(async |client| self.export(client).await).await
    }

    async fn export(&self, client: &Client) -> anyhow::Result<()> {
        let mut sink = Sink::new(self.otlp.clone(), self.otlp_service.clone());
        let channels = ask::channels(client).await?;
        let mut fold = Fold::default();
        channels.iter().for_each(|info| fold.name_channel(info.log, info.name.clone()));
        if let Some(start) = first(client.task_log(self.from).until(self.until)).await? {
            let end_ms = self.tasks(client, start, &mut fold, &mut sink).await?;
            for info in &channels {
                append_spans(client, info, start, end_ms, &mut fold, &mut sink).await?;
            }
        }
        sink.end().await?;
        match fold.take_left_out() {
            0 => Ok(()),
            left_out => {
                note(format_args!(
                    "{left_out} tasks and appends were left out for want of room: export less"
                ));
                Ok(())
            }
        }
    }

    /// Exports what the task log says from there on. Answers when its last record was committed.
    async fn tasks(
        &self,
        client: &Client,
        start: Place,
        fold: &mut Fold,
        sink: &mut Sink,
    ) -> anyhow::Result<TimeMs> {
        // What ends there has begun before.
        let from = start.offset.saturating_sub(LOOKBACK_RECORDS_MAX);
        let mut records = client.task_log(Offset::At(from)).until(self.until);
        let mut end_ms = start.time_ms;
        while let Some(item) = records.next().await {
            let Item::Record(record) = item? else { continue };
            fold.task_record(Place { offset: record.offset, time_ms: record.time_ms }, &record.event);
            let spans = fold.take();
            if record.offset >= start.offset {
                sink.add(spans).await?;
            } else {
                fold.take_left_out();
            }
            end_ms = record.time_ms.max(end_ms);
        }
        Ok(end_ms)
    }
}

/// The first record that is read.
async fn first(mut records: Records<TaskEvent>) -> anyhow::Result<Option<Place>> {
    while let Some(item) = records.next().await {
        if let Item::Record(record) = item? {
            return Ok(Some(Place { offset: record.offset, time_ms: record.time_ms }));
        }
    }
    Ok(None)
}

/// Exports what was appended to a channel within a time.
async fn append_spans(
    client: &Client,
    info: &ChannelInfo,
    start: Place,
    end_ms: TimeMs,
    fold: &mut Fold,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let channel = client.existing_channel::<()>(info.name.as_str()).await?;
    let from = if start.offset == 0 { Offset::Start } else { Offset::Time(start.time_ms) };
    let mut records = channel.from(from).scan().records();
    while let Some(item) = records.next().await {
        let Item::Record(record) = item? else { continue };
        if record.time_ms > end_ms {
            break;
        }
        let at = Place { offset: record.offset, time_ms: record.time_ms };
        fold.channel_record(info.log, at, &record.event);
        sink.add(fold.take()).await?;
    }
    fold.end_append();
    sink.add(fold.take()).await
}

/// Where spans go.
struct Sink {
    to: To,
    service: String,
    gathered: Vec<Span>,
    count: u64,
}

enum To {
    Collector(Collector),
    Stdout(Output),
}

impl Sink {
    fn new(endpoint: Option<Endpoint>, service: String) -> Sink {
        let to = endpoint.map_or_else(|| To::Stdout(Output::new()), |at| To::Collector(Collector::at(at)));
        Sink { to, service, gathered: Vec::new(), count: 0 }
    }

    async fn add(&mut self, mut spans: Vec<Span>) -> anyhow::Result<()> {
        self.gathered.append(&mut spans);
        while self.gathered.len() >= SPANS_MAX {
            let behind = self.gathered.split_off(SPANS_MAX);
            let spans = std::mem::replace(&mut self.gathered, behind);
            self.hand_over(&spans).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> anyhow::Result<()> {
        let spans = std::mem::take(&mut self.gathered);
        if !spans.is_empty() {
            self.hand_over(&spans).await?;
        }
        if let To::Stdout(output) = &mut self.to {
            output.flush()?;
        }
        note(format_args!("exported {}", counted(self.count, "span")));
        Ok(())
    }

    async fn hand_over(&mut self, spans: &[Span]) -> anyhow::Result<()> {
        let request = otlp::request(&self.service, spans);
        match &mut self.to {
            To::Stdout(output) => output.line(request)?,
            To::Collector(collector) => deliver(collector, request, self.count).await?,
        }
        self.count += spans.len() as u64;
        Ok(())
    }
}

/// Sends a request, and tries again some times when it is not taken. `before`: so many spans were.
async fn deliver(collector: &mut Collector, request: String, before: u64) -> anyhow::Result<()> {
    let request = bytes::Bytes::from(request);
    loop {
        match collector.send(request.clone()).await {
            Ok(taken) if taken.refused == 0 => return Ok(()),
            Ok(taken) => bail!(
                "the collector at {} refuses {}: {}",
                collector.endpoint(),
                counted(taken.refused, "span"),
                taken.why
            ),
            Err(SendError::Refused(why)) => bail!(
                "the collector at {} refuses them: {why}: is it one for OTLP over HTTP?",
                collector.endpoint()
            ),
            Err(SendError::Again { why, after }) if collector.tries() < TRIES_MAX => {
                tracing::debug!(why, "the collector is tried again");
                sleep(collector.pause(after)).await;
            }
            Err(SendError::Again { why, .. }) => {
                return Err(anyhow!(
                    "the collector at {} does not take them ({why}); {} were exported: export again when it runs, each span \
                     has the same identity then",
                    collector.endpoint(),
                    counted(before, "span")
                ));
            }
        }
    }
}
