//! The door itself: binds an address, and serves each connection until it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::metrics::Figures;
use super::opening;
use super::routes::router;
use super::tries::{From, Tries};
use crate::client::{Client, Result};
use crate::protocol::start::RecoveryProgress;
use crate::scheduler::{Handle, Hindsight, Opening, Receipts};
use crate::server::{self, BindError};

/// Where it listens unless told otherwise: loopback, and the port behind the scheduler's.
pub const LISTEN: &str = "127.0.0.1:8787";

/// Most connections at a time: 1,024, as many browsers' tabs and scripts. Further ones wait in the kernel's line.
pub(super) const CONNECTIONS_MAX: usize = 1024;

/// How long a request's head may take: 10 s, as a hello.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long responses may go on once it is to end.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// How long no connection is accepted after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Options {
    /// At [`LISTEN`], or if that is taken at a port that is free.
    Usual,
    /// There, and nowhere else.
    At(String),
}

/// What those who answer have of it.
pub(super) struct Door {
    /// The scheduler, as far as it need not be asked over its port.
    pub(super) scheduler: Handle,
    address: SocketAddr,
    pub(super) token: Option<String>,
    pub(super) insecure: bool,
    pub(super) tries: Tries,
    client: Mutex<Option<Asker>>,
    pub(super) figures: Figures,
    pub(super) hindsight: Arc<Hindsight>,
    pub(super) receipts: Arc<Receipts>,
    /// Whose turn it is to look back: one at a time.
    pub(super) looks_back: Arc<Semaphore>,
    /// Whether it is to end.
    pub(super) stop: watch::Receiver<bool>,
}

/// The client by which it asks.
struct Asker {
    client: Client,
    /// That somebody has this keeps the recovery out of the client's log lines: the scheduler, whose lines they would be
    /// among, says it itself.
    _recovery: watch::Receiver<Option<RecoveryProgress>>,
}

/// A door that has its port, and lets nobody in before it runs.
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
    guard: server::Options,
}

/// A door that serves. Dropping it closes it without waiting.
pub struct Open {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Http {
    /// Binds its address. What holds for the scheduler's port holds for it: without a token it is reached from this
    /// machine only, unless that is wanted.
    ///
    /// # Errors
    /// [`BindError`] says what to do.
    pub async fn bind(options: &Options, guard: server::Options) -> std::result::Result<Http, BindError> {
        let listener = match options {
            Options::At(address) => server::listen(address, &guard, "--http").await?,
            Options::Usual => match server::listen(LISTEN, &guard, "--http").await {
                Err(BindError::InUse { .. }) => server::listen("127.0.0.1:0", &guard, "--http").await?,
                bound => bound?,
            },
        };
        let address = listener
            .local_addr()
            .map_err(|source| BindError::Refused { address: LISTEN.to_owned(), source })?;
        Ok(Http { listener, address, guard })
    }

    /// Where it listens, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves from now on, beside whoever calls this. The scheduler's port is at `scheduler_at`; how it was is read from
    /// its logs. Until its store is open only that is told, and how far it is.
    pub fn open(self, opening: Opening, scheduler_at: SocketAddr) -> Open {
        let address = self.address;
        let (stop, stopped) = watch::channel(false);
        Open { address, stop, running: tokio::spawn(self.run(opening, scheduler_at, stopped)) }
    }

    /// Serves until `stop` is true: then it accepts no more, ends what is followed, and waits a little for the rest.
    async fn run(self, opening: Opening, scheduler_at: SocketAddr, mut stop: watch::Receiver<bool>) {
        let (scheduler, reader) = tokio::select! {
            opened = opening.opened() => opened,
            never = opening::answer(&self.listener, &opening, stop.clone()) => match never {},
            // A sender that is dropped stops it, too.
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
        };
        let (hindsight, receipts) = (Hindsight::new(reader.clone()), Receipts::new(reader));
        let server::Options { token, insecure } = self.guard;
        let (address, client) = (server::reachable(scheduler_at), Mutex::default());
        let figures = Figures::new(scheduler.meters());
        let meters = scheduler.meters().clone();
        let tries = Tries::new(token.as_deref());
        let door = Arc::new(Door {
            scheduler,
            address,
            token,
            insecure,
            tries,
            client,
            figures,
            hindsight: Arc::new(hindsight),
            receipts: Arc::new(receipts),
            looks_back: Arc::new(Semaphore::new(1)),
            stop: stop.clone(),
        });
        let router = router(door.clone());
        let mut connections = JoinSet::new();
        let mut lets_go = std::pin::pin!(door.hindsight.let_go_of_old());
        loop {
            meters.uses("http_connections", connections.len(), CONNECTIONS_MAX);
            tokio::select! {
                // A sender that is dropped stops it, too.
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                Some(ended) = connections.join_next() => note_panic(ended),
                never = lets_go.as_mut() => never,
                (socket, from) = accept(&self.listener), if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(serve(socket, from, router.clone(), stop.clone()));
                }
            }
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL_TIME_MAX, all).await;
        // One of them may be about to connect the client, and nobody else gets at it before that.
        connections.shutdown().await;
        if let Some(asker) = door.client.lock().await.take() {
            let _ = timeout(FAREWELL_TIME_MAX, asker.client.close()).await;
        }
    }
}

impl Open {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes it: what is followed ends, and who waits for an answer has a little while.
    pub async fn close(self) {
        self.stop.send_replace(true);
        let _ = self.running.await;
    }
}

/// The next connection.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, From) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => return (socket, From::new(peer.ip())),
            Err(error) => {
                tracing::error!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection, to its end or until `stop` is true.
pub(super) async fn serve(
    socket: TcpStream,
    from: From,
    router: axum::Router,
    mut stop: watch::Receiver<bool>,
) {
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(from);
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(stop.wait_for(|stop| *stop).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection has ended");
    }
}

impl Door {
    /// The client by which it asks: the same for all, and a new one when its session is over.
    pub(super) async fn client(&self) -> Result<Client> {
        let mut asker = self.client.lock().await;
        if let Some(Asker { client, .. }) =
            asker.as_ref().filter(|asker| asker.client.connection().ended().is_none())
        {
            return Ok(client.clone());
        }
        let mut builder = Client::builder();
        if let Some(token) = &self.token {
            builder = builder.token(token.clone());
        }
        let client = builder.connect(self.address.to_string()).await?;
        let _recovery = client.connection().recovery();
        Ok(asker.insert(Asker { client, _recovery }).client.clone())
    }
}

pub(super) fn note_panic(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an HTTP connection broke down: it is closed");
    }
}
