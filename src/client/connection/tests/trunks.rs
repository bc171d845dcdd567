//! Sessions that share trunks.

use tokio::time::timeout;

use super::*;
use crate::client::fixture::soon;

/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(100);

fn attempt(n: u8) -> Role {
    Role::Attempt { task: TaskId([n; 16]), attempt: AttemptNumber(1) }
}

fn trunks(server: &FakeServer) -> Trunks {
    Trunks::new(&server.options().address, Some("secret".to_owned()))
}

async fn open(trunks: &Trunks, n: u8) -> Result<Connection> {
    Connection::open_shared(trunks, attempt(n), Duration::from_secs(10), None).await
}

/// So many sessions, asked for at once.
fn open_all(trunks: &Trunks, count: u8) -> tokio::task::JoinHandle<Vec<Connection>> {
    let trunks = trunks.clone();
    tokio::spawn(async move {
        let opened = (0..count).map(|n| open(&trunks, n));
        futures_util::future::try_join_all(opened).await.unwrap()
    })
}

async fn nobody_connects(server: &FakeServer) {
    assert!(timeout(A_WHILE, server.accept_raw()).await.is_err());
}

#[tokio::test]
async fn all_share_one_trunk_which_is_opened_with_the_first() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    nobody_connects(&server).await;
    let opening = open_all(&trunks, 20);
    let (mut peer, token) = server.accept_wish().await;
    assert_eq!(token.as_deref(), Some("secret"));
    // Those that wait while it is tried go on together when it is tried again.
    peer.send(0, ServerMessage::Closing(Closing::ShuttingDown)).await;
    drop(peer);
    let mut trunk = server.accept_trunk(100).await;
    let (mut peers, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (mut peer, hello) = trunk.accept().await;
        assert_eq!((hello.token.as_deref(), hello.resume), (Some("secret"), false));
        let Role::Attempt { task, .. } = hello.role else { panic!("{:?}", hello.role) };
        tasks.push(task.0[0]);
        peer.welcome().await;
        peers.push(peer);
    }
    tasks.sort();
    assert_eq!(tasks, (0..20).collect::<Vec<u8>>());
    let connections = opening.await.unwrap();
    assert!(connections.iter().all(|connection| connection.address() == server.options().address));
    nobody_connects(&server).await;
}

#[tokio::test]
async fn one_that_is_not_read_holds_up_no_other() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let opening = open_all(&trunks, 2);
    let mut trunk = server.accept_trunk(100).await;
    let (stuck_peer, mut peer) = (trunk.welcome().await, trunk.welcome().await);
    let [one, other] = <[Connection; 2]>::try_from(opening.await.unwrap()).unwrap();
    // Which of them is which.
    let first = [one.command(hold(1)), other.command(hold(1))];
    let (number, _) = peer.command().await;
    peer.answer(number, held(1)).await;
    let [mut of_one, mut of_other] = first;
    let (stuck, good) = tokio::select! {
        answered = &mut of_one => (other, answered.map(|_| one)),
        answered = &mut of_other => (one, answered.map(|_| other)),
    };
    let good = good.unwrap();
    let large = Element::Value(Payload::raw(vec![7; PAYLOAD_BYTES_MAX]));
    let shares: Vec<_> = (0..40)
        .map(|_| stuck.append(LOG, &vec![large.clone()].into(), AppendOptions::default()).unwrap())
        .collect();
    for n in 2..20 {
        let reply = good.command(hold(n));
        let (number, _) = peer.command().await;
        peer.answer(number, held(n)).await;
        assert_eq!(soon(reply).await.unwrap(), held(n));
    }
    drop((shares, stuck_peer));
}

#[tokio::test]
async fn past_the_strands_of_a_trunk_another_one_is_opened() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let opening = open_all(&trunks, 5);
    let mut peers = Vec::new();
    let mut first = server.accept_trunk(2).await;
    let mut second = server.accept_trunk(2).await;
    let mut third = server.accept_trunk(2).await;
    for (trunk, strands) in [(&mut first, 2), (&mut second, 2), (&mut third, 1)] {
        for _ in 0..strands {
            peers.push(trunk.welcome().await);
        }
    }
    let connections = opening.await.unwrap();
    // Who comes later takes the places of those that have gone; what stays empty is closed.
    for peer in &mut peers {
        peer.send(
            0,
            ServerMessage::Closing(Closing::Rejected(Rejection::Fenced {
                task: TaskId([1; 16]),
                attempt: AttemptNumber(2),
            })),
        )
        .await;
    }
    for connection in &connections {
        soon(async {
            while connection.ended().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    drop(peers);
    let opening = open_all(&trunks, 1);
    let _peer = first.welcome().await;
    opening.await.unwrap();
    second.closed().await;
    third.closed().await;
    nobody_connects(&server).await;
}

#[tokio::test]
async fn a_trunk_that_is_lost_is_opened_again_once_and_all_resume() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let opening = open_all(&trunks, 10);
    let mut trunk = server.accept_trunk(100).await;
    let mut peers = Vec::new();
    for _ in 0..10 {
        peers.push(trunk.welcome().await);
    }
    let connections = opening.await.unwrap();
    let replies: Vec<_> = connections.iter().map(|connection| connection.command(hold(1))).collect();
    for peer in &mut peers {
        peer.command().await;
    }
    drop(trunk);
    let mut trunk = server.accept_trunk(100).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let (mut peer, hello) = trunk.accept().await;
        assert!(hello.resume);
        sessions.push(hello.session);
        peer.welcome().await;
        assert_eq!(peer.command().await, (1, hold(1)));
        peer.answer(1, held(1)).await;
        peers.push(peer);
    }
    for reply in replies {
        assert_eq!(soon(reply).await.unwrap(), held(1));
    }
    let mut expected: Vec<_> = connections.iter().map(Connection::session).collect();
    sessions.sort();
    expected.sort();
    assert_eq!(sessions, expected);
    nobody_connects(&server).await;
}

#[tokio::test]
async fn why_there_is_no_trunk_reaches_all_who_wait() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let opening = [1, 2].map(|n| {
        let trunks = trunks.clone();
        tokio::spawn(async move { open(&trunks, n).await })
    });
    let (mut peer, _) = server.accept_wish().await;
    peer.send(0, ServerMessage::Closing(Closing::BadToken)).await;
    for opened in opening {
        assert_matches!(soon(opened).await.unwrap(), Err(Error::Closed(Closing::BadToken)));
    }
    // It is tried anew by who comes later; and for as long as it was given.
    let role = attempt(1);
    let impatient = Connection::open_shared(&trunks, role, 5 * A_WHILE, None);
    let script = async {
        for _ in 0..3 {
            let (mut peer, _) = server.accept_wish().await;
            peer.send(0, ServerMessage::Closing(Closing::ShuttingDown)).await;
        }
        loop {
            drop(server.accept_raw().await);
        }
    };
    let error = tokio::select! {
        opened = impatient => opened.unwrap_err().to_string(),
        never = script => never,
    };
    assert!(error.contains("cannot connect to") && error.contains("headwater scheduler"), "{error}");
    // And one that is no scheduler of this version is named as ever.
    let opened = tokio::spawn({
        let trunks = trunks.clone();
        async move { open(&trunks, 1).await }
    });
    let mut preamble = frame::preamble();
    preamble[4] += 1;
    server.accept_raw().await.write_all(&preamble).await.unwrap();
    assert_matches!(soon(opened).await.unwrap(), Err(Error::Closed(Closing::WireVersion { .. })));
}

#[tokio::test]
async fn closing_waits_for_the_goodbyes_and_closes_the_trunk() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let opening = open_all(&trunks, 3);
    let mut trunk = server.accept_trunk(100).await;
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(trunk.welcome().await);
    }
    drop(opening.await.unwrap());
    let closing = tokio::spawn(async move { trunks.close().await });
    for mut peer in peers {
        assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
        assert!(!closing.is_finished(), "it is not read to its end");
        peer.close().await;
    }
    trunk.closed().await;
    soon(closing).await.unwrap();
}

#[tokio::test]
async fn a_trunk_outlives_the_runtime_of_the_session_that_had_it_opened() {
    let server = FakeServer::new().await;
    let trunks = trunks(&server);
    let (others, (end, ended)) = (trunks.clone(), tokio::sync::oneshot::channel::<()>());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _connection = open(&others, 1).await.unwrap();
            drop(ended.await);
        });
    });
    let mut trunk = server.accept_trunk(100).await;
    let _first = trunk.welcome().await;
    let opening = open_all(&trunks, 1);
    let mut peer = trunk.welcome().await;
    let connections = opening.await.unwrap();
    drop(end);
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    let reply = connections[0].command(hold(1));
    assert_eq!(peer.command().await, (1, hold(1)));
    peer.answer(1, held(1)).await;
    assert_eq!(soon(reply).await.unwrap(), held(1));
    nobody_connects(&server).await;
}
