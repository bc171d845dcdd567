//! The port at which a worker gives results. The transport's listening side is named here alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::time::{Instant, sleep};

use crate::client::{Error, Result};

/// How long until a scheduler's name that means nothing yet is looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);

/// Where a worker gives results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// At the address by which it reaches the scheduler, and a port of the system's choice.
    Local,
    /// At this `host:port`, which others must reach. Port 0 takes any that is free; the host 0.0.0.0 or `[::]`
    /// listens everywhere, and others are told the address by which the scheduler is reached.
    Address(String),
    /// At this address of this machine, where its scheduler is, too: others are told the port alone, and find
    /// the host as they find the scheduler's.
    Beside(IpAddr),
}

/// A port that is bound.
#[derive(Debug)]
pub(in crate::worker) struct Listener {
    listener: TcpListener,
    address: Box<str>,
    pub(super) token: Option<String>,
}

impl Listener {
    /// Binds it. A scheduler whose name is not known yet is looked up again until `timeout` is over.
    ///
    /// # Errors
    /// When nothing can be bound there, or the scheduler's name stays unknown.
    pub async fn bind(at: &At, scheduler: &str, token: Option<String>, timeout: Duration) -> Result<Self> {
        let listen = match at {
            At::Local => SocketAddr::new(local_ip(scheduler, timeout).await?, 0).to_string(),
            At::Address(address) => address.clone(),
            At::Beside(ip) => SocketAddr::new(*ip, 0).to_string(),
        };
        let refused = |error: io::Error| {
            Error::msg(format!("cannot listen on {listen} for results: {error}: choose another --results-at"))
        };
        let addresses: Vec<SocketAddr> = lookup_host(&listen).await.map_err(refused)?.collect();
        let listener = TcpListener::bind(&addresses[..]).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let port = bound.port();
        let address = match at {
            At::Beside(_) => format!(":{port}"),
            At::Address(_) if bound.ip().is_unspecified() => {
                SocketAddr::new(local_ip(scheduler, timeout).await?, port).to_string()
            }
            At::Address(address) => match address.rsplit_once(':') {
                Some((host, _)) => format!("{host}:{port}"),
                None => bound.to_string(),
            },
            At::Local => bound.to_string(),
        };
        if token.is_none() && !bound.ip().to_canonical().is_loopback() {
            tracing::warn!(%bound, "other machines can fetch this worker's results, and there is no token");
        }
        Ok(Listener { listener, address: address.into(), token })
    }

    /// What others are told.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }
}

/// The address of this machine by which it reaches the scheduler.
async fn local_ip(scheduler: &str, timeout: Duration) -> Result<IpAddr> {
    let give_up_at = Instant::now() + timeout;
    loop {
        let error = match way_to(scheduler).await {
            Ok(ip) => return Ok(ip),
            Err(error) => error,
        };
        let is_lasting = error.kind() == io::ErrorKind::InvalidInput;
        if is_lasting || Instant::now() + LOOK_UP_EVERY >= give_up_at {
            let hint = if is_lasting { ": give it as host:port" } else { "" };
            let why = format!("{error}{hint}").into();
            return Err(Error::Connect { address: scheduler.into(), why });
        }
        sleep(LOOK_UP_EVERY).await;
    }
}

/// A datagram socket that is connected knows its own address, and has sent nothing for it.
async fn way_to(address: &str) -> io::Result<IpAddr> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for to in lookup_host(address).await? {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        match socket.connect(to).await.and_then(|()| socket.local_addr()) {
            Ok(from) => return Ok(from.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    async fn told(at: At, scheduler: &str) -> (String, SocketAddr) {
        let listener = Listener::bind(&at, scheduler, None, SOON).await.unwrap();
        (listener.address().to_owned(), listener.listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn others_are_told_what_they_can_reach() {
        let (address, bound) = told(At::Local, "127.0.0.1:9").await;
        assert_eq!((address, bound.ip()), (bound.to_string(), Ipv4Addr::LOCALHOST.into()));
        let (address, bound) = told(At::Address("localhost:0".to_owned()), "127.0.0.1:9").await;
        assert_eq!(address, format!("localhost:{}", bound.port()));
        let (address, bound) = told(At::Address("0.0.0.0:0".to_owned()), "127.0.0.1:9").await;
        assert_eq!(address, format!("127.0.0.1:{}", bound.port()));
        assert!(bound.ip().is_unspecified());
        let (address, bound) = told(At::Beside(Ipv4Addr::LOCALHOST.into()), "127.0.0.1:9").await;
        assert_eq!(address, format!(":{}", bound.port()));
    }

    #[tokio::test]
    async fn what_cannot_be_bound_says_what_to_do() {
        let at = |text: &str| At::Address(text.to_owned());
        let kept = Listener::bind(&At::Local, "127.0.0.1:9", None, SOON).await.unwrap();
        for address in [kept.address(), "nowhere"] {
            let error =
                Listener::bind(&at(address), "127.0.0.1:9", None, SOON).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot listen on {address} for results: ")), "{error}");
            assert!(error.ends_with(": choose another --results-at"), "{error}");
        }
        let error = Listener::bind(&At::Local, "nowhere", None, SOON).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to nowhere: ") && error.contains("host:port"), "{error}");
    }
}
