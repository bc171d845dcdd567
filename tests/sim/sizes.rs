//! The largest of everything that ends up in a record: a batch takes it, or the scheduler would stop.

use headwater::protocol::command::Command;
use headwater::protocol::equipment::{Amount, Equipment, Need, Resource, ResourceName, Supply, Target};
use headwater::protocol::event::Receipt;
use headwater::protocol::group::{GroupName, GroupOptions, OfGroup};
use headwater::protocol::message::Hello;
use headwater::protocol::session::{FunctionOffer, Role, WorkerOffer};
use headwater::protocol::task::{Argument, ErrorKind, TaskOptions};
use headwater::protocol::terms::{Backoff, Tag, Term, Terms};
use headwater::protocol::{
    AttemptNumber, ChannelEvent, ChannelName, Element, Epoch, LogId, Payload, Seq, SessionId, Submission,
    TaskError, TaskId, TaskKey, Template, limits, template,
};
use headwater::scheduler::core::{Core, LogFacts, Settings, State};
use headwater::scheduler::{ConnectionId, Pipeline, Request};

const CLIENT: u64 = 1;
const WORKER: u64 = 2;
const LOG: LogId = LogId(1);
const FIRST: AttemptNumber = AttemptNumber(1);

/// A pipeline with a client, a worker and a channel, all with the longest names.
struct Largest {
    pipeline: Pipeline,
    /// Numbers of the most bytes.
    number: u64,
}

impl Largest {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let receipt = Receipt { damage: Some("d".repeat(limits::ERROR_BYTES_MAX)), ..Receipt::default() };
        let facts = LogFacts { receipt, ..LogFacts::default() };
        let core = Core::new(State::default(), settings, facts, 0);
        let mut largest = Largest { pipeline: Pipeline::new(core, Epoch(1), Seq(0)), number: u64::MAX / 2 };
        largest.pipeline.recovered();
        largest.connect(CLIENT, Role::Client);
        largest.connect_worker(WORKER);
        largest.ask(CLIENT, Command::OpenChannel { name: ChannelName::new(&name()).expect("a good name") });
        largest
    }

    fn connect(&mut self, connection: u64, role: Role) {
        let session = SessionId([connection as u8; 16]);
        let hello = Hello { token: None, session, resume: false, role, seen: None };
        self.pipeline.connect(ConnectionId(connection), &hello);
    }

    /// A worker; it takes the place of the one before.
    fn connect_worker(&mut self, connection: u64) {
        self.connect_worker_with(connection, equipment());
    }

    fn connect_worker_with(&mut self, connection: u64, equipment: Equipment) {
        let functions = vec![FunctionOffer { name: name(), version: u32::MAX }];
        let offer = WorkerOffer {
            name: name(),
            slots: 200,
            functions,
            held: vec![],
            results_at: "".into(),
            equipment,
        };
        self.connect(connection, Role::Worker(offer));
    }

    fn ask(&mut self, connection: u64, command: Command) {
        self.number += 1;
        self.pipeline.request(ConnectionId(connection), self.number, Request::Command(command));
    }

    fn submit(&mut self, n: u8, arguments: Vec<Argument>) {
        let options = TaskOptions { retries: u32::from(n == 0), priority: i32::MIN, detach: true };
        let (key, function) = (key(n), name());
        let submission = Submission { key, function, version: u32::MAX, arguments, options };
        self.ask(CLIENT, Command::SubmitUnder { submission, terms: terms() });
    }

    fn append(&mut self, elements: Vec<Element>) {
        self.ask(CLIENT, Command::append(LOG, elements.into()));
    }
}

fn name() -> Box<str> {
    "n".repeat(limits::NAME_BYTES_MAX).into()
}

/// The most and the largest that a task may have.
fn terms() -> Terms {
    let (first_ms, max_ms, factor) =
        (limits::TERM_MS_MAX, limits::TERM_MS_MAX, limits::BACKOFF_FACTOR_MAX as u32);
    let backoff = Term::Backoff(Backoff { first_ms, factor, max_ms, is_jittered: true });
    let (timeout, deadline) = (Term::Timeout { ms: max_ms }, Term::Deadline { ms: max_ms });
    let tag = |n: usize| format!("{n:0width$}", width = limits::TAGS_BYTES_MAX / limits::TAGS_MAX);
    let tags = (0..limits::TAGS_MAX).map(|n| Term::Tag(Tag::new(&tag(n)).expect("a good tag")));
    // As many needs and places as there may be, of names that are as long as they may be together.
    let (needs, places) = (limits::NEEDS_MAX, limits::TARGETS_MAX);
    let width = limits::DEMAND_BYTES_MAX / (needs + places);
    let need = |n: usize| {
        let resource = ResourceName::new(&format!("{n:0width$}")).expect("a good name");
        // A hundredth of it, so that all of them may run.
        Term::Needs(Need { resource, amount: Amount::whole(limits::AMOUNT_MAX / 100) })
    };
    let place = |n: usize| Term::Prefers(Target::Host(format!("{n:0width$}").into()));
    let demand = (0..needs).map(need).chain((0..places).map(place));
    Terms([backoff, timeout, deadline].into_iter().chain(tags).chain(demand).collect())
}

/// As much of all that tasks need as there may be.
fn equipment() -> Equipment {
    let needed = terms();
    let supply = Supply::Sum(Amount::whole(limits::AMOUNT_MAX));
    let resource = |need: &Need| Resource { name: need.resource.clone(), supply: supply.clone() };
    Equipment { resources: needed.needs().map(resource).collect(), ..Equipment::default() }
}

fn key(n: u8) -> TaskKey {
    TaskKey { id: TaskId([n; 16]), label: name().into() }
}

fn payload(bytes: usize) -> Payload {
    Payload::raw(vec![255; bytes])
}

fn future(n: u8) -> Argument {
    Argument::Future(TaskId([n; 16]))
}

#[test]
fn no_command_makes_a_record_that_does_not_fit() {
    let mut largest = Largest::new();
    (0..63).for_each(|n| largest.submit(n, vec![]));
    let mut arguments: Vec<Argument> = (0..63).map(future).collect();
    arguments.push(Argument::Value(payload(limits::ARGUMENTS_BYTES_MAX)));
    largest.submit(63, arguments);
    let piece = || Argument::Value(payload(limits::ARGUMENTS_BYTES_MAX / limits::ARGUMENTS_MAX));
    largest.submit(64, (0..limits::ARGUMENTS_MAX).map(|_| piece()).collect());
    let mut nested = Vec::new();
    template::begin_array(&mut nested, limits::ARGUMENTS_MAX as u32 + 1);
    (0..limits::ARGUMENTS_MAX).for_each(|_| template::add_hole(&mut nested, TaskId([2; 16])));
    let rest = "x".repeat(limits::ARGUMENTS_BYTES_MAX - nested.len() - 3);
    nested.extend(Payload::encode(&rest).expect("a text encodes").bytes);
    largest.submit(65, vec![Argument::Nested(Template::new(nested))]);
    let value = payload(limits::PAYLOAD_BYTES_MAX);
    largest.ask(CLIENT, Command::Scatter { key: key(66), value, detach: true });
    // A way of dependents longer than an error names.
    largest.submit(100, vec![]);
    (101..130).for_each(|n| largest.submit(n, vec![future(n - 1)]));

    largest.append(vec![Element::Value(payload(limits::PAYLOAD_BYTES_MAX))]);
    largest.append((0..67).chain(100..130).map(|n| Element::Future(key(n))).collect());

    let text = "t".repeat(10 * limits::ERROR_BYTES_MAX);
    let mut error = Box::new(TaskError::new(ErrorKind::Returned, "", vec![]));
    (error.message, error.causes) = (text.clone(), vec![text; 2 * limits::ERROR_CAUSES_MAX]);
    error.path = vec![key(0); 1000];
    let fail = |n| Command::Fail { task: TaskId([n; 16]), attempt: FIRST, error: error.clone() };
    largest.ask(WORKER, fail(0));
    largest.ask(WORKER, fail(100));
    let result = payload(limits::PAYLOAD_BYTES_MAX);
    largest.ask(WORKER, Command::Finish { task: TaskId([1; 16]), attempt: FIRST, result });
    let tasks = (0..limits::TASKS_PER_COMMAND_MAX as u128).map(|n| TaskId((!n).to_be_bytes())).collect();
    largest.ask(CLIENT, Command::Release { tasks });

    let counts = largest.pipeline.core().state().counts;
    assert_eq!((counts.failed, counts.finished, counts.running, counts.pending), (30, 2, 62, 3));
    assert!(largest.pipeline.next_commit(0).is_some());
}

#[test]
fn the_history_of_a_poison_task_fits_a_record() {
    let deaths_max = 3 * limits::ERROR_CAUSES_MAX as u32;
    let mut largest = Largest::with(Settings { deaths_max, ..Settings::default() });
    largest.submit(0, vec![]);
    (1..30).for_each(|n| largest.submit(n, vec![future(n - 1)]));
    largest.append((0..30).map(|n| Element::Future(key(n))).collect());
    for n in 1..=u64::from(deaths_max) {
        assert_eq!(largest.pipeline.core().state().counts.failed, 0);
        largest.connect_worker(WORKER + n);
    }
    assert_eq!(largest.pipeline.core().state().counts.failed, 30);
    assert!(largest.pipeline.next_commit(0).is_some());
}

#[test]
fn a_future_is_appended_under_its_own_label() {
    let mut largest = Largest::new();
    largest.submit(7, vec![]);
    let called = TaskKey { id: TaskId([7; 16]), label: "l".repeat(100_000).into() };
    largest.append(vec![Element::Future(called)]);
    let commit = largest.pipeline.next_commit(0).expect("there is something to commit");
    let batch = commit.batches.iter().find(|batch| batch.header().log == LOG).expect("of the channel");
    let records: Vec<ChannelEvent> = batch.records().map(|record| record.expect("it decodes").1).collect();
    assert!(
        matches!(&records[..], [
            ChannelEvent::Appended { element: Element::Future(appended), .. },
            ChannelEvent::Progress { key: started, .. },
        ] if *appended == key(7) && *started == key(7)),
        "{records:?}"
    );
}

#[test]
fn leases_that_are_over_together_fit_records_however_they_lie() {
    const MEMBERS: u64 = 12;
    let mut largest = Largest::new();
    let elements = u64::from(limits::LEASED_PER_MEMBER_MAX);
    let value = |_| Element::Value(payload(1));
    (0..MEMBERS).for_each(|_| largest.append((0..elements).map(value).collect()));
    let name = GroupName::new("g").expect("a good name");
    largest.ask(CLIENT, Command::OpenGroup { log: LOG, name, options: None, from_end: false });
    let group = *largest.pipeline.core().state().groups.keys().next().expect("it was made");
    for connection in 100..100 + MEMBERS {
        largest.connect(connection, Role::Client);
        largest.ask(connection, Command::Join { group, window: limits::LEASED_PER_MEMBER_MAX });
    }
    // Every other one is done with.
    for connection in 100..100 + MEMBERS {
        let state = largest.pipeline.core().state();
        let member = state.producers[&SessionId([connection as u8; 16])];
        let leased = state.leased_to(group, member);
        let odd = leased.into_iter().filter(|index| index % 2 == 1).map(|index| (index, 1));
        largest.ask(connection, Command::Acknowledge(OfGroup { group, elements: odd.collect() }));
    }
    let leased = |largest: &Largest| largest.pipeline.core().state().groups[&group].leased.len() as u64;
    assert_eq!(leased(&largest), MEMBERS * elements / 2);
    largest.pipeline.tick(0);
    largest.pipeline.tick(GroupOptions::default().lease_ms);
    assert_eq!(leased(&largest), 0);
    assert!(largest.pipeline.next_commit(0).is_some());
}

#[test]
fn what_is_granted_fits_a_record() {
    let mut largest = Largest::new();
    let each = limits::GRANTED_PARTS_MAX / limits::NEEDS_MAX;
    let one = |n: usize| format!("{n:0width$}", width = limits::NAME_BYTES_MAX).into();
    let width = limits::DEMAND_BYTES_MAX / limits::NEEDS_MAX;
    let name = |n: usize| ResourceName::new(&format!("{n:0width$}")).expect("a good name");
    let resource = |n| Resource { name: name(n), supply: Supply::Each((0..each).map(one).collect()) };
    let resources = (0..limits::NEEDS_MAX).map(resource).collect();
    largest.connect_worker_with(WORKER + 1, Equipment { resources, ..Equipment::default() });
    let need = |n| Term::Needs(Need { resource: name(n), amount: Amount::whole(each as u64) });
    let submission = Submission {
        key: key(0),
        function: self::name(),
        version: u32::MAX,
        arguments: vec![],
        options: TaskOptions::default(),
    };
    let terms = Terms((0..limits::NEEDS_MAX).map(need).collect());
    largest.ask(CLIENT, Command::SubmitUnder { submission, terms });
    let state = largest.pipeline.core().state();
    let parts: usize = state.tasks[&TaskId([0; 16])].grants().iter().map(|grant| grant.parts.len()).sum();
    assert_eq!(parts, limits::GRANTED_PARTS_MAX);
    assert!(largest.pipeline.next_commit(0).is_some());
}
