//! The client's end of a trunk: opens strands.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::strand::Strand;
use super::{ASK_EVERY, SILENT_MAX, STRAND_WINDOW_BYTES, TRUNK_WINDOW_BYTES, broken};

/// Opens strands. Cheap to clone: when the last clone and the last strand are gone, the trunk is closed.
#[derive(Debug, Clone)]
pub struct Opener {
    requests: SendRequest<Bytes>,
}

/// What moves the bytes of a trunk, as long as it is polled: brings why that ended. When it is dropped, all strands break.
pub struct Carrier(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>);

/// Begins a trunk on a socket over which its server has said that it is one.
///
/// # Errors
/// When the socket breaks.
pub async fn open<S>(socket: S) -> io::Result<(Opener, Carrier)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder
        .initial_window_size(STRAND_WINDOW_BYTES)
        .initial_connection_window_size(TRUNK_WINDOW_BYTES)
        .max_send_buffer_size(STRAND_WINDOW_BYTES as usize)
        .max_local_error_reset_streams(None)
        .data_frame_budget(usize::MAX)
        .enable_push(false);
    let (requests, mut connection) = builder.handshake(socket).await.map_err(broken)?;
    let asking = connection.ping_pong().expect("nobody else has taken it");
    let carrier = async move {
        tokio::select! {
            biased;
            ended = connection => ended.map_err(broken),
            () = until_silent(asking) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer was silent")),
        }
    };
    Ok((Opener { requests }, Carrier(Box::pin(carrier))))
}

/// Asks from time to time whether the server is there, until it does not answer.
async fn until_silent(mut asking: PingPong) {
    loop {
        sleep(ASK_EVERY).await;
        match timeout(SILENT_MAX - ASK_EVERY, asking.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The trunk ends, and says why.
            Ok(Err(_)) => pending().await,
            Err(_) => return,
        }
    }
}

impl Opener {
    /// Opens a strand: brings it once the server has taken it.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] when the server has no room for it; any other when the trunk is of no use any
    /// more.
    pub async fn strand(&self) -> io::Result<Strand> {
        let mut requests = self.requests.clone();
        poll_fn(|context| requests.poll_ready(context)).await.map_err(broken)?;
        let request = Request::builder().method(Method::CONNECT).uri("headwater").body(());
        let request = request.expect("it is well-formed");
        let (answer, sending) = requests.send_request(request, false).map_err(broken)?;
        let answer = answer.await.map_err(|error| match error.reason() {
            Some(Reason::REFUSED_STREAM) => io::ErrorKind::ConnectionRefused.into(),
            _ => broken(error),
        })?;
        Ok(Strand::new(sending, answer.into_body()))
    }
}

impl Future for Carrier {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}
