//! What is known: a fold over what was seen of the scheduler, and which keys were pressed. Pure.

use std::collections::HashMap;

use serde::Serialize;

use super::json::Shown;
use super::table::{self, Table};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::Overview;
use crate::protocol::session::WorkerStatus;
use crate::protocol::task::TaskInfo;
use crate::protocol::{ChannelName, TaskId, TimeMs};
use crate::rows::{counted, time};

/// How many rows a page is when one scrolls.
const PAGE_ROWS: usize = 10;

/// What happens to the model.
#[derive(Debug)]
pub enum Input {
    /// The scheduler was looked at.
    Seen(Box<Seen>),
    /// It does not answer.
    Lost { why: String, at_ms: TimeMs },
    /// A key was pressed.
    Key(Key),
}

/// What a look at the scheduler has brought.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at_ms: TimeMs,
    pub overview: Overview,
    pub workers: Vec<WorkerStatus>,
    pub channels: Vec<ChannelInfo>,
    /// Those that were submitted last.
    pub tasks: Vec<TaskInfo>,
    /// Of those that run and were submitted before.
    pub functions: HashMap<TaskId, Box<str>>,
    pub counted: Counted,
}

/// What has happened to tasks since the watch began, by the records of `$tasks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    pub submitted: u64,
    pub started: u64,
    pub finished: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// How many of each come per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rates {
    pub submitted: f64,
    pub started: f64,
    pub finished: f64,
    pub failed: f64,
    pub cancelled: f64,
}

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Letter(char),
    Tab,
    BackTab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    Tasks,
    Workers,
    Channels,
}

impl Pane {
    pub const ALL: [Pane; 3] = [Pane::Tasks, Pane::Workers, Pane::Channels];

    pub fn name(self) -> &'static str {
        match self {
            Pane::Tasks => "Tasks",
            Pane::Workers => "Workers",
            Pane::Channels => "Channels",
        }
    }
}

/// Whether the scheduler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It was not heard yet.
    Waiting,
    Connected,
    Lost {
        why: String,
        since_ms: TimeMs,
    },
}

/// All that is shown follows from it.
#[derive(Debug)]
pub struct Model {
    address: String,
    standing: Standing,
    seen: Option<Box<Seen>>,
    rates: Option<Rates>,
    channel_rates: HashMap<ChannelName, f64>,
    pane: Pane,
    /// How many rows are passed over, in each pane.
    scrolled: [usize; Pane::ALL.len()],
    filter: String,
    is_filtering: bool,
    is_over: bool,
}

impl Model {
    /// Nothing is known yet of the scheduler at this address.
    pub fn new(address: &str) -> Model {
        Model {
            address: address.to_owned(),
            standing: Standing::Waiting,
            seen: None,
            rates: None,
            channel_rates: HashMap::new(),
            pane: Pane::Tasks,
            scrolled: [0; Pane::ALL.len()],
            filter: String::new(),
            is_filtering: false,
            is_over: false,
        }
    }

    /// Takes what has happened.
    pub fn fold(&mut self, input: Input) {
        match input {
            Input::Seen(seen) => self.see(seen),
            Input::Lost { why, at_ms } => {
                let since_ms = match self.standing {
                    Standing::Lost { since_ms, .. } => since_ms,
                    _ => at_ms,
                };
                self.standing = Standing::Lost { why, since_ms };
                // What comes when it is back says nothing of how fast it was.
                self.rates = None;
                self.channel_rates.clear();
            }
            Input::Key(key) => self.press(key),
        }
    }

    fn see(&mut self, seen: Box<Seen>) {
        if let (Some(before), Standing::Connected) = (&self.seen, &self.standing)
            && seen.at_ms > before.at_ms
        {
            let seconds = (seen.at_ms - before.at_ms) as f64 / 1_000.0;
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            let (now, then) = (&seen.counted, &before.counted);
            self.rates = Some(Rates {
                submitted: rate(now.submitted, then.submitted),
                started: rate(now.started, then.started),
                finished: rate(now.finished, then.finished),
                failed: rate(now.failed, then.failed),
                cancelled: rate(now.cancelled, then.cancelled),
            });
            let heads: HashMap<_, _> = before.channels.iter().map(|info| (&info.name, info.head)).collect();
            let of = |info: &ChannelInfo| {
                // One that is new had nothing before.
                let head = heads.get(&info.name).copied().unwrap_or_default();
                (info.name.clone(), rate(info.head, head))
            };
            self.channel_rates = seen.channels.iter().map(of).collect();
        }
        self.standing = Standing::Connected;
        self.seen = Some(seen);
    }

    fn press(&mut self, key: Key) {
        match key {
            Key::Interrupt => self.is_over = true,
            Key::Letter(letter) if self.is_filtering => self.filter.push(letter),
            Key::Backspace if self.is_filtering => _ = self.filter.pop(),
            Key::Enter => self.is_filtering = false,
            Key::Escape => {
                self.is_filtering = false;
                self.filter.clear();
            }
            Key::Letter('q') => self.is_over = true,
            Key::Letter('/') => self.is_filtering = true,
            Key::Tab => self.turn(1),
            Key::BackTab => self.turn(Pane::ALL.len() - 1),
            Key::Up => self.scroll(|at, _| at.saturating_sub(1)),
            Key::Down => self.scroll(|at, _| at + 1),
            Key::PageUp => self.scroll(|at, _| at.saturating_sub(PAGE_ROWS)),
            Key::PageDown => self.scroll(|at, _| at + PAGE_ROWS),
            Key::Home => self.scroll(|_, _| 0),
            Key::End => self.scroll(|_, rows| rows),
            Key::Letter(_) | Key::Backspace => {}
        }
    }

    fn turn(&mut self, by: usize) {
        self.pane = Pane::ALL[(self.pane as usize + by) % Pane::ALL.len()];
    }

    /// The last row stays in sight.
    fn scroll(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.table(self.pane).rows.len();
        let at = &mut self.scrolled[self.pane as usize];
        *at = to(*at, rows).min(rows.saturating_sub(1));
    }

    /// Whether nobody wants to see more.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    pub fn pane(&self) -> Pane {
        self.pane
    }

    /// How many rows of what is listed are passed over.
    pub fn scrolled(&self) -> usize {
        self.scrolled[self.pane as usize]
    }

    pub fn rates(&self) -> Option<Rates> {
        self.rates
    }

    /// What is typed behind `/`; nothing where no filter is, or is being typed.
    pub fn filter(&self) -> Option<&str> {
        (self.is_filtering || !self.filter.is_empty()).then_some(self.filter.as_str())
    }

    pub fn is_filtering(&self) -> bool {
        self.is_filtering
    }

    /// The rows of a pane that the filter lets through.
    pub fn table(&self, pane: Pane) -> Table {
        let mut table = match (&self.seen, pane) {
            (None, _) => Table::default(),
            (Some(seen), Pane::Tasks) => table::of_tasks(seen),
            (Some(seen), Pane::Workers) => table::of_workers(seen),
            (Some(seen), Pane::Channels) => table::of_channels(seen, &self.channel_rates),
        };
        let wanted = self.filter.to_lowercase();
        let is_empty = table.rows.is_empty();
        table.rows.retain(|row| row.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
        if table.rows.is_empty() && !is_empty {
            table.none = format!("nothing here has `{}` in it: Escape ends the filter", self.filter);
        }
        table
    }

    /// What is known, once rates are.
    pub fn shown(&self) -> Option<Shown<'_>> {
        let (seen, rates) = (self.seen.as_deref()?, self.rates?);
        let channels = table::busiest(seen, &self.channel_rates);
        Some(Shown::of(&self.address, seen, rates, channels.into_iter()))
    }

    /// What is said above all panes: lines, each in parts that are worth less the later they come.
    pub fn head(&self) -> [Vec<String>; 3] {
        let Some(seen) = &self.seen else { return [vec![self.address.clone()], Vec::new(), Vec::new()] };
        let Overview { epoch, records, channels, pending, running, finished, failed, .. } = &seen.overview;
        let slots: u32 = seen.workers.iter().map(|worker| worker.slots).sum();
        let [records, channels] = [counted(*records, "record"), counted(*channels, "channel")];
        let workers = counted(seen.workers.len() as u64, "worker");
        let slots = counted(slots.into(), "slot");
        let address = format!("{}: epoch {epoch}", self.address);
        let first = vec![address, records, channels, format!("{workers} with {slots}")];
        let tasks = vec![
            format!("tasks: {pending} pending"),
            format!("{running} running"),
            format!("{finished} finished"),
            format!("{failed} failed or cancelled"),
        ];
        let rates = self.rates.map_or_else(
            || vec!["per second: …".to_owned()],
            |Rates { submitted, started, finished, failed, cancelled }| {
                vec![
                    format!("per second: {submitted:.1} submitted"),
                    format!("{started:.1} started"),
                    format!("{finished:.1} finished"),
                    format!("{failed:.1} failed"),
                    format!("{cancelled:.1} cancelled"),
                ]
            },
        );
        [first, tasks, rates]
    }

    /// That the scheduler is away, and since when; nothing where it is not.
    pub fn away(&self, now_ms: TimeMs) -> Option<String> {
        match &self.standing {
            Standing::Connected => None,
            Standing::Waiting => Some(format!("connecting to {}", self.address)),
            Standing::Lost { why, since_ms } => {
                let ago = time::ago(now_ms.saturating_sub(*since_ms));
                Some(format!("not connected ({ago}): {why}"))
            }
        }
    }
}
