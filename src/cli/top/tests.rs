//! The model, folded; and what is drawn of it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::model::{Counted, Input, Key, Model, Pane, Seen};
use super::view;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::Overview;
use crate::protocol::event::Receipt;
use crate::protocol::session::{RunningAttempt, WorkerStatus};
use crate::protocol::task::{TaskInfo, TaskStatus};
use crate::protocol::{AttemptNumber, ChannelName, Epoch, LogId, Producer, Seq, TaskKey};

fn channel(name: &str, head: u64) -> ChannelInfo {
    ChannelInfo::of_records(ChannelName::new(name).unwrap(), LogId(1), 0, head)
}

fn task(name: &str, status: TaskStatus, submitted_at: u64) -> TaskInfo {
    TaskInfo {
        key: TaskKey::named(name),
        function: "rust:x::add".into(),
        status,
        attempt: AttemptNumber(1),
        worker: (status == TaskStatus::Running).then(|| "one".into()),
        submitted_at,
        waits_for: (status == TaskStatus::Pending).then(|| "a worker".to_owned()),
        next_attempt_at: None,
        deadline_at: None,
        tags: Vec::new(),
        advance: None,
        kept_by: String::new(),
        outcome: None,
    }
}

fn worker(runs: &[&str]) -> WorkerStatus {
    let run = |name: &&str| {
        let (key, attempt) = (TaskKey::named(name), AttemptNumber(1));
        RunningAttempt { key, attempt, is_client: false, has_paused: false }
    };
    WorkerStatus {
        session: Producer(1),
        name: "one".into(),
        slots: 4,
        running: runs.len() as u32,
        connected: true,
        retiring: false,
        results: 0,
        result_bytes: 0,
        runs: runs.iter().map(run).collect(),
        equipment: Default::default(),
        free: Vec::new(),
    }
}

/// What was seen at a time, when so many tasks had finished.
fn seen(at_ms: u64, finished: u64, channels: Vec<ChannelInfo>) -> Seen {
    let overview = Overview {
        epoch: Epoch(3),
        seq: Seq(9),
        receipt: Receipt::default(),
        store: String::new(),
        tasks_head: 40,
        records: 120,
        pending: 1,
        running: 2,
        finished,
        failed: 1,
        channels: channels.len() as u64,
        workers: Vec::new(),
    };
    let tasks = vec![
        task("done", TaskStatus::Finished, 9),
        task("waits", TaskStatus::Pending, 3),
        task("runs", TaskStatus::Running, 2),
        task("broke", TaskStatus::Error, 4),
    ];
    let counted = Counted { finished, ..Counted::default() };
    let functions = [(TaskKey::named("old").id, "rust:x::before".into())].into();
    let workers = vec![worker(&["old", "runs"])];
    Seen { at_ms, overview, workers, channels, tasks, functions, counted }
}

fn model(inputs: Vec<Seen>) -> Model {
    let mut model = Model::new("host:1");
    inputs.into_iter().for_each(|seen| model.fold(Input::Seen(Box::new(seen))));
    model
}

fn press(model: &mut Model, keys: &[Key]) {
    keys.iter().for_each(|key| model.fold(Input::Key(*key)));
}

fn lost(why: &str, at_ms: u64) -> Input {
    Input::Lost { why: why.to_owned(), at_ms }
}

/// What a terminal of 100 columns shows, line by line.
fn drawn(model: &Model, now_ms: u64) -> Vec<String> {
    drawn_on(100, model, now_ms)
}

fn drawn_on(columns: u16, model: &Model, now_ms: u64) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, 12)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, now_ms)).unwrap();
    let buffer = terminal.backend().buffer();
    let line =
        |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..12).map(line).collect()
}

fn first_cells(model: &Model, pane: Pane) -> Vec<String> {
    // A key begins with its task's name.
    let name = |row: &Vec<String>| row[0].split('-').next().unwrap_or_default().to_owned();
    model.table(pane).rows.iter().map(name).collect()
}

#[test]
fn rates_are_taken_between_two_looks_and_not_over_a_time_without() {
    let mut model = model(vec![seen(1_000, 10, vec![channel("a", 5)])]);
    assert_eq!(model.rates(), None);
    model.fold(Input::Seen(Box::new(seen(3_000, 40, vec![channel("a", 25), channel("b", 2)]))));
    assert_eq!(model.rates().map(|rates| (rates.finished, rates.failed)), Some((15.0, 0.0)));
    let rows = model.table(Pane::Channels).rows;
    let rates: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(rates, [("a", "10.0"), ("b", "1.0")], "and what is new counts from nothing");
    model.fold(lost("gone", 4_000));
    assert_eq!(model.rates(), None);
    // The counters of a new session begin anew.
    model.fold(Input::Seen(Box::new(seen(9_000, 0, Vec::new()))));
    assert_eq!((model.away(9_000), model.rates()), (None, None));
    model.fold(Input::Seen(Box::new(seen(10_000, 7, Vec::new()))));
    assert_eq!(model.rates().map(|rates| rates.finished), Some(7.0));
}

#[test]
fn the_busiest_channel_comes_first_and_what_runs_before_what_has_ended() {
    let channels = |a, b| vec![channel("a", a), channel("b", b), channel("c", 0)];
    let model = model(vec![seen(1_000, 0, channels(100, 0)), seen(2_000, 0, channels(101, 9))]);
    assert_eq!(first_cells(&model, Pane::Channels), ["b", "a", "c"]);
    // `old` was submitted before all that is looked back for, and is seen where it runs.
    assert_eq!(first_cells(&model, Pane::Tasks), ["old", "runs", "waits", "done", "broke"]);
}

#[test]
fn keys_turn_scroll_filter_and_quit() {
    let mut model = model(vec![seen(1_000, 0, vec![channel("a", 1)])]);
    press(&mut model, &[Key::Down, Key::Down]);
    assert_eq!((model.pane(), model.scrolled()), (Pane::Tasks, 2));
    press(&mut model, &[Key::PageDown]);
    assert_eq!(model.scrolled(), 4, "the last row stays in sight");
    press(&mut model, &[Key::Tab]);
    assert_eq!((model.pane(), model.scrolled()), (Pane::Workers, 0), "each has its own place");
    press(&mut model, &[Key::BackTab, Key::Home, Key::Up]);
    assert_eq!((model.pane(), model.scrolled()), (Pane::Tasks, 0));
    press(
        &mut model,
        &[Key::Letter('/'), Key::Letter('q'), Key::Backspace, Key::Letter('W'), Key::Letter('a')],
    );
    assert_eq!(
        (model.filter(), model.is_over()),
        (Some("Wa"), false),
        "a letter is a letter while one types"
    );
    assert_eq!(first_cells(&model, Pane::Tasks), ["waits"], "by what stands in any column, small or large");
    press(&mut model, &[Key::Enter, Key::Tab]);
    assert_eq!((model.filter(), model.pane()), (Some("Wa"), Pane::Workers));
    press(&mut model, &[Key::Escape]);
    assert_eq!(model.filter(), None);
    press(&mut model, &[Key::Letter('q')]);
    assert!(model.is_over());
    let mut other = self::model(Vec::new());
    press(&mut other, &[Key::Letter('/'), Key::Interrupt]);
    assert!(other.is_over(), "Ctrl-C always does");
}

#[test]
fn all_is_drawn_on_one_screen() {
    let mut model =
        model(vec![seen(1_000, 10, vec![channel("a", 5)]), seen(2_000, 12, vec![channel("a", 6)])]);
    let lines = drawn(&model, 2_000);
    assert_eq!(lines[0], "host:1: epoch 3, 120 records, 1 channel, 1 worker with 4 slots");
    assert_eq!(lines[1], "tasks: 1 pending, 2 running, 12 finished, 1 failed or cancelled");
    assert!(
        lines[2].starts_with("per second: 0.0 submitted, 0.0 started, 2.0 finished, 0.0 failed"),
        "{lines:?}"
    );
    assert_eq!(lines[3], " Tasks   Workers   Channels");
    assert!(
        lines[4].starts_with("TASK") && lines[4].contains("STATUS") && lines[5].starts_with("old-"),
        "{lines:?}"
    );
    assert!(lines[7].contains("pending") && lines[11].starts_with("q quit"), "{lines:?}");
    press(&mut model, &[Key::Down]);
    assert!(drawn(&model, 2_000)[5].starts_with("runs-"), "the first row is passed over");
    press(&mut model, &[Key::Tab, Key::Tab, Key::Letter('/'), Key::Letter('x')]);
    let lines = drawn(&model, 2_000);
    assert_eq!(lines[4], "CHANNEL  RECORDS/S  HEAD  ELEMENTS  BYTES  STATE");
    assert_eq!(lines[5], "nothing here has `x` in it: Escape ends the filter");
    assert!(lines[11].starts_with("/x"), "{lines:?}");
}

#[test]
fn a_task_that_runs_and_is_not_listed_has_its_function() {
    let rows = model(vec![seen(1_000, 0, Vec::new())]).table(Pane::Tasks).rows;
    assert!(rows[0][0].starts_with("old-"), "{rows:?}");
    assert_eq!(rows[0][1..], ["running", "1", "rust:x::before", "one"]);
}

#[test]
fn what_is_empty_says_so_and_how_to_fill_it() {
    let mut empty = seen(1_000, 0, Vec::new());
    (empty.workers, empty.tasks) = (Vec::new(), Vec::new());
    let shown = |empty: &Seen, turned: usize| {
        let mut model = model(vec![empty.clone()]);
        press(&mut model, &vec![Key::Tab; turned]);
        drawn(&model, 1_000)[5].clone()
    };
    let long_ago = "the 4 tasks were submitted long ago: `headwater task list` shows them";
    assert_eq!(shown(&empty, 0), long_ago, "there are some that were not looked at");
    (empty.overview.pending, empty.overview.running, empty.overview.failed) = (0, 0, 0);
    assert_eq!(shown(&empty, 0), "no tasks: `headwater submit -- COMMAND` submits one");
    assert_eq!(shown(&empty, 1), "no workers: `headwater worker` starts one");
    assert_eq!(shown(&empty, 2), "no channels: `headwater channel append NAME VALUE` makes one");
}

#[test]
fn what_is_said_above_gives_way_in_whole_parts() {
    let mut many = seen(2_000, 123_456, Vec::new());
    many.overview.records = 1_234_567;
    let model = model(vec![seen(1_000, 0, Vec::new()), many]);
    let head = |columns: u16| drawn_on(columns, &model, 2_000)[..3].to_vec();
    let narrow = [
        "host:1: epoch 3, 1234567 records, …",
        "tasks: 1 pending, 2 running, …",
        "per second: 0.0 submitted, …",
    ];
    assert_eq!(head(39), narrow);
    let wider = [
        "host:1: epoch 3, 1234567 records, 0 channels, …",
        "tasks: 1 pending, 2 running, 123456 finished, …",
        "per second: 0.0 submitted, 0.0 started, …",
    ];
    assert_eq!(head(49), wider);
    assert_eq!(head(12), ["host:1: …", "tasks: …", "per …"]);
}

#[test]
fn where_there_is_not_room_for_all_what_is_long_gives_way_and_says_so() {
    let mut seen = seen(1_000, 10, Vec::new());
    seen.tasks = vec![task(&"long-".repeat(30), TaskStatus::Running, 2)];
    seen.tasks[0].function = "rust:a_crate_of_a_long_name::with_modules::that_are_deep::work".into();
    let lines = drawn(&model(vec![seen]), 1_000);
    let words: Vec<&str> = lines[7].split_whitespace().collect();
    assert!(words[0].ends_with('…') && words[3].ends_with('…'), "{lines:?}");
    assert_eq!([words[1], words[2], words[4]], ["running", "1", "one"], "what is short is whole");
    assert!(
        words[0].chars().count() > 30 && words[3].chars().count() > 30,
        "and there is no room left: {lines:?}"
    );
}

#[test]
fn that_it_is_away_is_said_in_place_of_where_it_is_and_what_was_seen_stays() {
    let mut model = model(Vec::new());
    assert_eq!(drawn(&model, 0)[0], "connecting to host:1");
    model.fold(Input::Seen(Box::new(seen(1_000, 10, Vec::new()))));
    model.fold(lost("no answer", 5_000));
    model.fold(lost("still none", 6_000));
    let lines = drawn(&model, 8_500);
    assert_eq!(lines[0], "not connected (-3.5s): still none", "since it was lost first");
    assert_eq!(lines[1], "tasks: 1 pending, 2 running, 10 finished, 1 failed or cancelled");
    model.fold(Input::Seen(Box::new(seen(9_000, 10, Vec::new()))));
    assert!(drawn(&model, 9_000)[0].starts_with("host:1: epoch 3"));
}
