//! Scenarios of futures inside arguments: they are waited for, given and kept as those that are arguments themselves.

use headwater::protocol::command::Command;
use headwater::protocol::limits;
use headwater::protocol::message::{Assignment, Filling, Given, ServerMessage};
use headwater::protocol::result::StoredResult;
use headwater::protocol::session::Role;
use headwater::protocol::task::Argument;
use headwater::protocol::{
    AttemptNumber, Codec, Digest, Payload, Submission, TaskId, TaskKey, Template, template,
};

use crate::scene::*;

/// `[first, [each, …]]`
fn nested_on(name: &str, needed: &[&str]) -> Command {
    let mut bytes = Vec::new();
    template::begin_array(&mut bytes, 2);
    template::add_hole(&mut bytes, id(needed[0]));
    template::begin_array(&mut bytes, needed.len() as u32);
    needed.iter().for_each(|name| template::add_hole(&mut bytes, id(name)));
    Command::Submit(submission(name, vec![Argument::Nested(Template::new(bytes))]))
}

fn store(name: &str, attempt: u32) -> Command {
    let result = StoredResult { codec: Codec::Raw, bytes: 100_000, digest: Digest(7) };
    Command::Store { task: id(name), attempt: AttemptNumber(attempt), result }
}

#[test]
fn futures_inside_are_waited_for_and_given_with_their_places() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 2));
    scene.ask(client, submit("a"));
    scene.ask(client, submit("b"));
    scene.ask(client, nested_on("c", &["a", "b"]));
    assert_eq!(
        scene.task(client, "c").waits_for.as_deref(),
        Some(&*format!("2 of its dependencies, {} among them", TaskKey::named("a")))
    );
    scene.told();
    scene.ask(one, finish("a", 1, 7));
    assert_eq!(scene.told()[0], "finished a attempt 1");
    scene.ask(one, store("b", 1));
    let told = scene.told();
    assert_eq!(told[1], "started c attempt 1 on 2");
    assert_eq!(told[3], r#"→ to 2: run c attempt 1 (["a",["a","b"]] of 7 and 100000 bytes of b at one)"#);
    // It keeps them, and nobody else does.
    for name in ["a", "b"] {
        scene.ask(client, release(name));
        assert_eq!(scene.task(client, name).kept_by, "tasks that need it: 1");
    }
    scene.told();
    scene.ask(one, finish("c", 1, 9));
    scene.then(&[
        "finished c attempt 1",
        "forgotten a",
        "forgotten b",
        "→ to 2: reported",
        "→ to 2: free b attempt 1",
    ]);
}

#[test]
fn what_fails_inside_fails_it_and_what_is_lost_is_computed_anew() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 2));
    scene.ask(client, submit("a"));
    scene.ask(client, submit("b"));
    scene.ask(client, nested_on("c", &["a", "b"]));
    scene.told();
    scene.ask(one, fail("b", 1));
    let told = scene.told();
    assert!(told[1].starts_with("failed c: dependency b-"), "{told:?}");
    // Tried again, it needs them as before.
    scene.ask(client, Command::Retry { task: id("c") });
    let told = scene.told();
    assert_eq!(told[0], "renewed b c");
    scene.ask(one, finish("b", 2, 1));
    scene.ask(one, store("a", 1));
    scene.told();
    scene.drop_connection(one);
    scene.pass(10_000);
    let told = scene.told();
    assert!(told.contains(&"reopened a".to_owned()), "{told:?}");
    let two = scene.worker(3, "two", 2);
    scene.ask(two, store("a", 2));
    let told = scene.told().join("\n");
    assert!(
        told.contains(r#"run c attempt 2 (["a",["a","b"]] of 100000 bytes of a at two and 1)"#),
        "{told}"
    );
    scene.restart();
    let client = scene.connect(1, true, Role::Client);
    assert_eq!(scene.task(client, "c").attempt, AttemptNumber(2));
}

#[test]
fn what_is_not_known_inside_is_refused_and_so_is_what_is_no_template() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, submit("a"));
    scene.ask(client, submit("gone"));
    scene.ask(client, release("gone"));
    scene.told();
    for name in ["gone", "c", "never"] {
        scene.ask(client, nested_on("c", &["a", name]));
        let hint = "is not known: nobody kept it, or it never was; submit it again";
        scene.then(&[&format!("→ to 1: refused: task {} {hint}", id(name))]);
    }
    let template = |bytes: &[u8]| {
        Command::Submit(submission("c", vec![Argument::Nested(Template::new(bytes.to_vec()))]))
    };
    let bad = "→ to 1: refused: argument 1 has futures inside, and is no MessagePack";
    for (bytes, why) in [
        (&[][..], "it ends too early, after 0 bytes"),
        (&[0xd8, template::HOLE as u8, 1], "it ends too early, after 3 bytes"),
        (&[0xc1], "byte 0 begins no value"),
        (&[1, 2], "the value ends at byte 1, and more follows"),
    ] {
        scene.ask(client, template(bytes));
        scene.then(&[&format!("{bad}: {why}")]);
    }
    let mut many = Vec::new();
    template::begin_array(&mut many, 65);
    (0..65).for_each(|_| template::add_hole(&mut many, id("a")));
    scene.ask(client, template(&many));
    let told = scene.told();
    assert!(
        told[0].contains("the number of futures in all arguments is 65, over the limit of 64: "),
        "{told:?}"
    );
}

#[test]
fn the_largest_attempt_fits_its_frame() {
    let mut bytes = Vec::new();
    template::begin_array(&mut bytes, limits::ARGUMENTS_MAX as u32 + 1);
    (0..limits::ARGUMENTS_MAX).for_each(|n| template::add_hole(&mut bytes, TaskId([n as u8; 16])));
    let rest =
        Payload::encode(&"x".repeat(limits::ARGUMENTS_BYTES_MAX - bytes.len() - 3)).expect("a text encodes");
    bytes.extend(rest.bytes);
    assert_eq!(bytes.len(), limits::ARGUMENTS_BYTES_MAX);
    let template = Template::new(bytes);
    let result = Payload::raw(vec![7; limits::PAYLOAD_BYTES_MAX]);
    let submission = Submission {
        arguments: vec![Argument::Nested(template.clone())],
        ..submission(&"n".repeat(limits::NAME_BYTES_MAX), vec![])
    };
    assert_eq!((submission.check(), submission.check_nested()), (Ok(()), Ok(())));
    let results = vec![Filling::Value(result); limits::ARGUMENTS_MAX];
    let assignment = Assignment {
        key: submission.key,
        attempt: AttemptNumber(u32::MAX),
        function: "f".repeat(limits::NAME_BYTES_MAX).into(),
        version: u32::MAX,
        arguments: vec![Given::Nested { template, results }],
        timeout_ms: Some(u64::MAX),
        grants: vec![],
    };
    let bytes = postcard::to_stdvec(&ServerMessage::Assign(assignment)).expect("it encodes");
    assert!(bytes.len() < limits::FRAME_BYTES_MAX, "{}", bytes.len());
}
