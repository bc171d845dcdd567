//! What an attempt hears of what its client waits for.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Poll, Waker};

use super::*;
use crate::client::connection::Pausing;
use crate::client::fixture::soon;
use crate::protocol::command::AppendOptions;
use crate::protocol::group::GroupId;

/// An attempt that notes what it hears.
#[derive(Debug, Default)]
struct Hears(Mutex<Vec<&'static str>>);

impl Hears {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Pausing for Hears {
    fn wait(&self) {
        self.note("waits");
    }

    fn begin_wait(&self) {
        self.note("begins to wait");
    }

    fn end_wait(&self) {
        self.note("waits no longer");
    }

    fn ask(&self) {
        self.note("asks");
    }

    fn poll_resume(
        &self,
        _: &mut Context<'_>,
        _: &mut Option<tokio::sync::oneshot::Receiver<()>>,
    ) -> Poll<bool> {
        Poll::Ready(false)
    }

    fn suspend(&self) -> bool {
        false
    }

    fn lose_patience(&self) {}
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn answers_are_asked_for_and_what_others_do_is_waited_for() {
    let (server, attempt) = (FakeServer::new().await, Arc::new(Hears::default()));
    let trunks = Trunks::new(&server.options().address, None);
    let role = Role::Attempt { task: TaskId([1; 16]), attempt: AttemptNumber(1) };
    let hears: Arc<dyn Pausing> = attempt.clone();
    let opening = tokio::spawn(async move {
        Connection::open_shared(&trunks, role, Duration::from_secs(10), Some(hears)).await
    });
    let mut trunk = server.accept_trunk(100).await;
    let mut peer = trunk.welcome().await;
    let connection = opening.await.unwrap().unwrap();

    let mut command = pin!(connection.command(hold(1)));
    assert!(poll(command.as_mut()).is_pending());
    let value = Element::Value(Payload::raw("x"));
    let append = connection.append(LogId(1), &vec![value].into(), AppendOptions::default()).unwrap();
    assert!(poll(pin!(append)).is_pending());
    assert_eq!(attempt.take(), ["asks", "asks"]);

    let mut watch = Box::pin(connection.watch(TaskId([2; 16])));
    assert!(poll(watch.as_mut()).is_pending() && poll(watch.as_mut()).is_pending());
    assert_eq!(attempt.take(), ["begins to wait"], "once");
    drop(watch);
    assert_eq!(attempt.take(), ["waits no longer"]);

    let mut subscription = connection.subscribe(LogId(1), Position::Offset(0));
    let mut membership = connection.join(GroupId(1), 1);
    for _ in 0..2 {
        assert!(poll(pin!(subscription.next())).is_pending() && poll(pin!(membership.next())).is_pending());
        assert_eq!(attempt.take(), ["waits", "waits"], "each time");
    }
    let (number, _) = peer.command().await;
    peer.answer(number, held(1)).await;
    soon(command).await.unwrap();
}
