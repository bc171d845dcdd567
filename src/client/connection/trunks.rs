//! Trunks to a scheduler, which many sessions share: one, as long as it has room.
//!
//! It is opened with the first session that wants a strand, once for all who want one meanwhile; again when it is lost,
//! by whoever reconnects first. Past the strands that a trunk may have another one is opened, so that nobody ever
//! waits for others to end; one that stays empty beside the first is closed. All belong to the runtime in which this was
//! made, whatever the sessions' own are.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::transport::{self, DialError, Socket, Wire};
use super::{LEAVE_MS_MAX, Secret};
use crate::protocol::limits::STRANDS_PER_TRUNK_MAX;
use crate::trunk::Opener;

/// How long it may take until a trunk is open: 10 s, as long as the scheduler waits for a hello.
const OPEN_MS_MAX: u64 = 10_000;

/// How a scheduler is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By a socket, at this address.
    Socket(Arc<str>),
    /// By a strand.
    Trunk(Trunks),
}

impl Way {
    pub fn address(&self) -> &Arc<str> {
        match self {
            Way::Socket(address) => address,
            Way::Trunk(trunks) => &trunks.all.address,
        }
    }

    /// Connects. Takes as long as it takes: the caller bounds it.
    pub async fn dial(&self) -> Result<Wire, DialError> {
        match self {
            Way::Socket(address) => transport::dial(address, "scheduler").await,
            Way::Trunk(trunks) => trunks.dial().await,
        }
    }
}

/// Trunks to one scheduler: what sessions share that need no connection of their own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trunks {
    all: Arc<All>,
}

struct All {
    address: Arc<str>,
    token: Option<Secret>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their opening.
    open: Vec<Trunk>,
    opening: Option<Opening>,
}

/// What all wait for who want a strand while there is no room.
type Opening = Shared<BoxFuture<'static, Result<Trunk, DialError>>>;

#[derive(Debug, Clone)]
struct Trunk {
    opener: Opener,
    /// A permit for each further strand; closed when the trunk is gone.
    room: Arc<Semaphore>,
    strands_max: u32,
}

impl Trunks {
    /// Trunks to the scheduler at `host:port`, with the cluster's token, where there is one. None is opened yet.
    ///
    /// # Panics
    /// Outside a runtime of tokio's.
    pub fn new(address: &str, token: Option<String>) -> Trunks {
        let (runtime, state) = (Handle::current(), Mutex::default());
        Trunks { all: Arc::new(All { address: address.into(), token: token.map(Secret), runtime, state }) }
    }

    pub(super) fn token(&self) -> Option<String> {
        self.all.token.as_ref().map(|Secret(token)| token.clone())
    }

    /// Waits until no session has a strand any more, and closes the trunks: at most [`LEAVE_MS_MAX`] later it is done.
    pub async fn close(&self) {
        let open = std::mem::take(&mut self.all.state().open);
        let closed = async {
            for Trunk { opener, room, strands_max } in open {
                let all = room.acquire_many(strands_max).await;
                drop(opener);
                if all.is_ok() {
                    // Until it is gone.
                    let _ = room.acquire().await;
                }
            }
        };
        // A session that does not end is not waited for.
        let _ = timeout(Duration::from_millis(LEAVE_MS_MAX), closed).await;
    }

    async fn dial(&self) -> Result<Wire, DialError> {
        let (trunk, place) = self.place().await?;
        match trunk.opener.strand().await {
            Ok(strand) => {
                transport::greet(Socket::Strand(strand, place), &self.all.address, "scheduler").await
            }
            Err(error) => {
                if error.kind() != std::io::ErrorKind::ConnectionRefused {
                    self.all.state().open.retain(|open| !open.is(&trunk));
                }
                Err(DialError::Temporary(format!("there is no strand: {error}")))
            }
        }
    }

    /// A place on a trunk that is open.
    async fn place(&self) -> Result<(Trunk, OwnedSemaphorePermit), DialError> {
        loop {
            let opening = {
                let mut state = self.all.state();
                if let Some(found) = state.place() {
                    return Ok(found);
                }
                state.opening.get_or_insert_with(|| self.open()).clone()
            };
            let opened = opening.clone().await;
            let mut state = self.all.state();
            // The first to hear of it tells the others.
            if state.opening.as_ref().is_some_and(|newest| newest.ptr_eq(&opening)) {
                state.opening = None;
                state.open.extend(opened.clone());
            }
            drop(state);
            opened?;
        }
    }

    fn open(&self) -> Opening {
        let (address, token) = (self.all.address.clone(), self.token());
        let opening = async move {
            let dialed = transport::dial_trunk(&address, token);
            let late = || DialError::Temporary("there is no answer".to_owned());
            let dialed = timeout(Duration::from_millis(OPEN_MS_MAX), dialed).await;
            let (opener, carrier, strands_max) = dialed.unwrap_or_else(|_| Err(late()))?;
            let strands_max = strands_max.clamp(1, STRANDS_PER_TRUNK_MAX);
            let room = Arc::new(Semaphore::new(strands_max as usize));
            let carried = room.clone();
            tokio::spawn(async move {
                if let Err(error) = carrier.await {
                    tracing::debug!(%address, %error, "a trunk is lost");
                }
                carried.close();
            });
            Ok(Trunk { opener, room, strands_max })
        };
        let opening = self.all.runtime.spawn(opening);
        let ended = |_| Err(DialError::Temporary("the worker ends".to_owned()));
        opening.map(move |opened| opened.unwrap_or_else(ended)).boxed().shared()
    }
}

impl All {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A place on the first trunk that has one.
    fn place(&mut self) -> Option<(Trunk, OwnedSemaphorePermit)> {
        self.open.retain(|trunk| !trunk.room.is_closed());
        let found = self.open.iter().find_map(|trunk| Some((trunk.clone(), trunk.place()?)));
        let mut first = true;
        self.open.retain(|trunk| std::mem::take(&mut first) || !trunk.is_empty());
        found
    }
}

impl Trunk {
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    fn is_empty(&self) -> bool {
        self.room.available_permits() == self.strands_max as usize
    }

    fn is(&self, other: &Trunk) -> bool {
        Arc::ptr_eq(&self.room, &other.room)
    }
}

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunks").field("address", &self.address).finish_non_exhaustive()
    }
}
