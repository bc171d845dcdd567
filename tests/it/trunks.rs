//! Tasks that are clients: all of a worker go over one connection, however many they are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater::local::{Local, Options, Store};
use headwater::protocol::equipment::Equipment;
use headwater::{Client, Result, TaskFuture, local_client, server, task, worker};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long anything may take.
const HANG: Duration = Duration::from_secs(60);

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(HANG, work).await.expect("it hangs")
}

async fn until(done: impl Fn() -> bool) {
    soon(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What stands between a worker and its scheduler: counts connections, lets so many be at a time, and leaves further ones
/// in the kernel's line, as a scheduler with all its connections taken does.
struct Proxy {
    address: SocketAddr,
    scheduler: Arc<Mutex<SocketAddr>>,
    accepted: Arc<AtomicUsize>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    async fn before(scheduler: SocketAddr, connections_max: usize) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            scheduler: Arc::new(Mutex::new(scheduler)),
            accepted: Arc::default(),
            connections: Arc::default(),
            _accepting: JoinSet::new(),
        };
        let Proxy { scheduler, accepted, connections, .. } = &proxy;
        let (scheduler, accepted, connections) = (scheduler.clone(), accepted.clone(), connections.clone());
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let room = Arc::new(Semaphore::new(connections_max));
            loop {
                let place = room.clone().acquire_owned().await.unwrap();
                let (mut client, _) = listener.accept().await.unwrap();
                let address = *scheduler.lock().unwrap();
                let accepted = accepted.clone();
                connections.lock().unwrap().spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        [&client, &server].iter().for_each(|side| side.set_nodelay(true).unwrap());
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                    drop(place);
                });
            }
        });
        Proxy { _accepting: accepting, ..proxy }
    }

    /// How many connections there were so far, of those that reached the scheduler.
    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Cuts all connections.
    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

async fn scheduler(store: Store) -> Local {
    Local::start(Options { listen: "127.0.0.1:0".to_owned(), store, ..Options::default() }).await.unwrap()
}

/// A worker that reaches its scheduler through a proxy, until it is told to stop.
fn worker(proxy: &Proxy) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<()>>) {
    let options = worker::Options {
        address: proxy.address.to_string(),
        name: Some("one".to_owned()),
        slots: 2,
        token: None,
        results: worker::results::Options::default(),
        programs: None,
        equipment: Equipment::default(),
        connect_timeout: Duration::from_secs(10),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let run = worker::run(options, std::future::pending(), async { drop(stopped.await) });
    (stop, tokio::spawn(run))
}

#[task]
async fn sum_of(from: u64, to: u64) -> Result<u64> {
    if to - from == 1 {
        return Ok(from);
    }
    let (client, middle) = (local_client().await?, (from + to) / 2);
    let (low, high) =
        (client.submit(sum_of, (from, middle)).await?, client.submit(sum_of, (middle, to)).await?);
    Ok(low.await? + high.await?)
}

/// The worker's own session has one connection, and all that its tasks ask as clients goes over another: where no more than
/// two may be at a time, a tree of tasks that wait for each other comes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_wait_as_clients_share_a_connection_however_many_they_are() -> Result<()> {
    let local = scheduler(Store::Memory).await;
    let client = Client::connect(local.address().to_string()).await?;
    let proxy = Proxy::before(local.address(), 2).await;
    let (stop, working) = worker(&proxy);
    let leaves = 300;
    assert_eq!(soon(client.submit(sum_of, (0, leaves)).await?).await?, leaves * (leaves - 1) / 2);
    assert_eq!(proxy.accepted(), 2);
    drop(stop);
    soon(working).await.unwrap()?;
    local.stop().await;
    Ok(())
}

/// Closed until a test opens it.
static GATE: Semaphore = Semaphore::const_new(0);

/// How many tasks have become clients.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// One task for all who want its result: it takes one slot.
#[task(pure)]
async fn pass_the_gate() -> u64 {
    drop(GATE.acquire().await.expect("nobody closes it for ever"));
    1
}

#[task]
async fn wait_at_the_gate(number: u64) -> Result<u64> {
    let client = local_client().await?;
    let passed = client.submit(pass_the_gate, ()).await?;
    CLIENTS.fetch_add(1, Ordering::Relaxed);
    Ok(passed.await? + number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_and_a_restart_in_the_middle_are_noticed_by_no_task() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory(dir.path().join("data"));
    let local = scheduler(store.clone()).await;
    let proxy = Proxy::before(local.address(), 4).await;
    let client = Client::connect(&proxy.address.to_string()).await?;
    let (stop, working) = worker(&proxy);
    let count = 100;
    let mut waiting: Vec<TaskFuture<u64>> = Vec::new();
    for number in 0..count {
        waiting.push(client.submit(wait_at_the_gate, (number,)).await?);
    }
    until(|| CLIENTS.load(Ordering::Relaxed) == count as usize).await;
    assert_eq!(proxy.accepted(), 3, "the client's, the worker's, and one for all that wait");
    proxy.cut();
    until(|| proxy.accepted() >= 6).await;
    local.stop().await;
    let local = scheduler(store).await;
    *proxy.scheduler.lock().unwrap() = local.address();
    GATE.add_permits(1);
    for (number, waiting) in (0..).zip(waiting) {
        assert_eq!(soon(waiting).await?, number + 1);
    }
    // While a scheduler ends, someone may come to it once more.
    assert!(proxy.accepted() < 30, "{} connections", proxy.accepted());
    assert_eq!(CLIENTS.load(Ordering::Relaxed), count as usize, "no task was started anew");
    drop(stop);
    soon(working).await.unwrap()?;
    local.stop().await;
    Ok(())
}

/// Closed until the test opens it.
static FLOODGATE: Semaphore = Semaphore::const_new(0);

/// How many tasks wait at it.
static FLOOD: AtomicUsize = AtomicUsize::new(0);

#[task(pure)]
async fn pass_the_floodgate() {
    drop(FLOODGATE.acquire().await.expect("nobody closes it for ever"));
}

#[task]
async fn wait_with_thousands() -> Result<()> {
    let passed = local_client().await?.submit(pass_the_floodgate, ()).await?;
    FLOOD.fetch_add(1, Ordering::Relaxed);
    passed.await
}

/// As many as a scheduler has connections for, and a thousand more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_wait_at_once_and_others_still_come_in() -> Result<()> {
    let local = scheduler(Store::Memory).await;
    let client = Client::connect(local.address().to_string()).await?;
    let proxy = Proxy::before(local.address(), 2).await;
    let (stop, working) = worker(&proxy);
    let count = server::CONNECTIONS_MAX + 1000;
    let submitted = (0..count).map(|_| client.submit(wait_with_thousands, ()).into_future());
    let waiting = futures_util::future::try_join_all(submitted).await?;
    until(|| FLOOD.load(Ordering::Relaxed) == count).await;
    let other = soon(Client::connect(local.address().to_string())).await?;
    assert_eq!(soon(other.submit(sum_of, (0, 4)).await?).await?, 6);
    FLOODGATE.add_permits(1);
    for waiting in waiting {
        soon(waiting).await?;
    }
    assert_eq!(proxy.accepted(), 2);
    drop(stop);
    soon(working).await.unwrap()?;
    local.stop().await;
    Ok(())
}
