//! The port: binds it, and runs a session for each connection. The transport is named here only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::farewell::FLUSH_MS_MAX;
use super::feed::Source;
use super::session::{Shared, note_panic};
use super::{early, trunk};
use crate::log::reader::Reader;
use crate::scheduler::{Handle, Opening};

/// Most connections at one time: 4096, a large cluster's workers and clients, each with at most a few MiB
/// of buffers when all are busy at their worst; a trunk is one, whatever it carries. Further ones wait in the kernel's line.
pub const CONNECTIONS_MAX: usize = 4096;

/// How long no connection is accepted after accepting has failed (no file descriptors, most likely): 100
/// ms, so that the error is not met as fast as a loop can turn.
const ACCEPT_PAUSE_MS: u64 = 100;

/// How the server is to be reached.
#[derive(Clone, Default)]
pub struct Options {
    /// What every client must show.
    pub token: Option<String>,
    /// Whether anyone who reaches the port may do anything, though it can be reached from elsewhere.
    pub insecure: bool,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address means nothing.
    #[error("`{address}` is no address to listen on ({source}): give one like 127.0.0.1:8786")]
    NoAddress {
        /// What was given.
        address: String,
        /// Why it is none.
        source: io::Error,
    },
    /// Anyone could do anything.
    #[error(
        "{0} can be reached from other machines, and there is no token: give one with --token-file, \
         or let anyone in with --insecure"
    )]
    Exposed(SocketAddr),
    /// A token that anyone could guess.
    #[error("the token is empty: put a long random text into the token file")]
    EmptyToken,
    /// The port is taken.
    #[error("{address} is in use by another process: stop it, or choose another port with {option}")]
    InUse {
        /// The address.
        address: String,
        /// The option that gives another one.
        option: &'static str,
    },
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Binds `address`, a host or IP address with a port; port 0 takes any that is free. `option` is by which whoever started
/// this gives another one.
///
/// # Errors
/// [`BindError`] says what to do.
pub async fn listen(
    address: &str,
    options: &Options,
    option: &'static str,
) -> Result<TcpListener, BindError> {
    let Options { token, insecure } = options;
    if token.as_ref().is_some_and(String::is_empty) {
        return Err(BindError::EmptyToken);
    }
    let no_address = |source| BindError::NoAddress { address: address.to_owned(), source };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(no_address)?.collect();
    let exposed = addresses.iter().find(|found| !found.ip().to_canonical().is_loopback());
    if let Some(exposed) = exposed
        && token.is_none()
        && !insecure
    {
        return Err(BindError::Exposed(*exposed));
    }
    TcpListener::bind(&addresses[..]).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: address.to_owned(), option },
        _ => BindError::Refused { address: address.to_owned(), source },
    })
}

/// Where one who is on this machine reaches what listens there.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// A server that has its port, and lets nobody in before it runs.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    token: Option<String>,
}

impl Server {
    /// Binds `address`, a host or IP address with a port; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`BindError`] says what to do.
    pub async fn bind(address: &str, options: Options) -> Result<Server, BindError> {
        let listener = listen(address, &options, "--listen").await?;
        let refused = |source| BindError::Refused { address: address.to_owned(), source };
        let local_addr = listener.local_addr().map_err(refused)?;
        Ok(Server { listener, local_addr, token: options.token })
    }

    /// Where it listens, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves a scheduler and its logs until `shutdown` is ready. Then it accepts no more, tells everyone that is connected, and
    /// waits a few seconds for them to take it.
    ///
    /// Answers that the scheduler has not given by then are not sent: shut the scheduler down first
    /// where they matter. Whoever misses one asks again after the restart, and finds its first answer.
    pub async fn run(self, handle: Handle, reader: Reader, shutdown: impl Future<Output = ()>) {
        self.run_from(Opening::done(handle, reader), shutdown).await;
    }

    /// As [`run`](Self::run), from before the store is open: until then those who come are told to wait.
    pub async fn run_from(self, opening: Opening, shutdown: impl Future<Output = ()>) {
        let Server { listener, token, .. } = self;
        let (open, shared) = watch::channel(None::<Arc<Shared>>);
        let (stop_sender, stop) = watch::channel(false);
        let mut sessions = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let mut opened = std::pin::pin!(opening.opened());
        loop {
            let is_open = shared.borrow().as_ref().is_some_and(|shared| {
                shared.handle.meters().uses("connections", sessions.len(), CONNECTIONS_MAX);
                true
            });
            tokio::select! {
                () = &mut shutdown => break,
                (handle, reader) = &mut opened, if !is_open => {
                    let (source, token) = (Source::new(reader), token.clone());
                    open.send_replace(Some(Arc::new(Shared { handle, source, token })));
                }
                Some(ended) = sessions.join_next() => note_panic(ended),
                accepted = listener.accept(), if sessions.len() < CONNECTIONS_MAX => match accepted {
                    Ok((socket, peer)) => {
                        sessions.spawn(serve(socket, peer, token.clone(), shared.clone(), stop.clone()));
                        if sessions.len() == CONNECTIONS_MAX {
                            tracing::warn!(CONNECTIONS_MAX, "no more connections until some have ended");
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "a connection could not be accepted");
                        sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                    }
                },
            }
        }
        drop(listener);
        stop_sender.send_replace(true);
        let all = async {
            while let Some(ended) = sessions.join_next().await {
                note_panic(ended);
            }
        };
        if timeout(Duration::from_millis(FLUSH_MS_MAX), all).await.is_err() {
            tracing::warn!(connections = sessions.len(), "closed connections that would not take their end");
        }
    }
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    token: Option<String>,
    shared: watch::Receiver<Option<Arc<Shared>>>,
    stop: watch::Receiver<bool>,
) {
    let span = tracing::info_span!("connection", %peer, session = tracing::field::Empty);
    let served = async {
        // What is ready is gathered into large writes already: waiting for more would only delay it.
        if let Err(error) = socket.set_nodelay(true) {
            return tracing::debug!(%error, "the peer left at once");
        }
        let (reader, writer) = socket.into_split();
        if let Some((wanted, shared)) =
            early::serve(reader, writer, token.as_deref(), shared, stop.clone()).await
        {
            // In a box: a connection that is no trunk has no place for it.
            Box::pin(trunk::serve(wanted, &shared, stop)).await;
        }
    };
    served.instrument(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{ClientMessage, Closing, ServerMessage};
    use crate::server::fixture::{LOST, Site, TestClient, TestDriver, hello};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    async fn refusal(address: &str, options: Options) -> String {
        Server::bind(address, options).await.err().expect("it is refused").to_string()
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_with_a_token_or_knowingly() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let told = refusal(address, Options::default()).await;
            assert!(told.contains("--token-file") && told.contains("--insecure"), "{told}");
        }
        let token = Options { token: Some("secret".into()), insecure: false };
        assert!(Server::bind("0.0.0.0:0", token).await.is_ok());
        assert!(Server::bind("0.0.0.0:0", Options { token: None, insecure: true }).await.is_ok());
        let server = Server::bind("127.0.0.1:0", Options::default()).await.unwrap();
        assert_ne!(server.local_addr().port(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_bound_says_what_to_do() {
        let server = Server::bind("127.0.0.1:0", Options::default()).await.unwrap();
        let taken = server.local_addr().to_string();
        let told = refusal(&taken, Options::default()).await;
        assert_eq!(
            told,
            format!("{taken} is in use by another process: stop it, or choose another port with --listen")
        );
        let told = refusal("8786", Options::default()).await;
        assert!(told.contains("give one like 127.0.0.1:8786"), "{told}");
        let empty = Options { token: Some(String::new()), insecure: true };
        assert!(refusal("127.0.0.1:0", empty).await.contains("the token is empty"));
    }

    #[tokio::test]
    async fn garbage_on_the_port_is_told_why_and_a_shutdown_tells_everyone() {
        let server = Server::bind("127.0.0.1:0", Options::default()).await.unwrap();
        let (handle, mut driver) = TestDriver::new();
        let address = server.local_addr();
        let (shutdown, asked) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(handle, Site::new().reader, async { drop(asked.await) }));

        let mut client = TestClient::new(TcpStream::connect(address).await.unwrap());
        client.greet().await;
        client.send(0, &hello(None)).await;
        let (_, _outbox) = driver.accept().await;
        assert!(matches!(client.message().await, (0, ServerMessage::Welcome { .. })));

        // More than anyone reads before the refusal: which must arrive nevertheless.
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        stranger.shutdown().await.unwrap();
        let mut stranger = TestClient::new(stranger);
        stranger.take_preamble().await;
        let (0, ServerMessage::Closing(Closing::NotHeadwater(_))) = stranger.message().await else {
            panic!()
        };
        assert_eq!(stranger.receive().await, None, "the connection is closed, not torn down");

        let mut broken = TestClient::new(TcpStream::connect(address).await.unwrap());
        broken.greet().await;
        broken.send(0, &hello(None)).await;
        let (_, _broken_outbox) = driver.accept().await;
        assert!(matches!(broken.message().await, (0, ServerMessage::Welcome { .. })));
        broken.stream.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        broken.stream.shutdown().await.unwrap();
        let (0, ServerMessage::Closing(Closing::NotHeadwater(_))) = broken.message().await else { panic!() };
        assert_eq!(broken.receive().await, None, "the connection is closed, not torn down");
        assert_eq!(driver.disconnected().await, (2, LOST));

        client.send(1, &ClientMessage::Ping).await;
        assert_eq!(client.message().await, (1, ServerMessage::Pong));
        shutdown.send(()).unwrap();
        assert_eq!(client.message().await, (0, ServerMessage::Closing(Closing::ShuttingDown)));
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).await.unwrap();
        drop(client);
        assert_eq!(driver.disconnected().await, (1, LOST));
        running.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("10.0.0.1:1"), "10.0.0.1:1");
    }
}
