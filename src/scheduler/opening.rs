//! A scheduler whose store is being opened, as those see it who serve it from the beginning on: usually that takes no time, and
//! where the store is repaired it may take many minutes.

use std::fmt;

use tokio::sync::watch;

use super::Handle;
use crate::log::{Reader, Step};

/// What there is of it. Cheap to clone.
#[derive(Clone)]
pub struct Opening {
    step: watch::Receiver<Option<Step>>,
    opened: watch::Receiver<Option<(Handle, Reader)>>,
}

/// What whoever opens the store has of it.
pub struct Opens {
    step: watch::Sender<Option<Step>>,
    opened: watch::Sender<Option<(Handle, Reader)>>,
}

impl Opening {
    /// Of a store that is to be opened.
    pub fn begin() -> (Opens, Opening) {
        let ((step, seen), (opened, there)) = (watch::channel(None), watch::channel(None));
        (Opens { step, opened }, Opening { step: seen, opened: there })
    }

    /// Of one that is open.
    pub fn done(handle: Handle, reader: Reader) -> Opening {
        let (opens, opening) = Opening::begin();
        opens.opened(handle, reader);
        opening
    }

    /// How far its repair is, if there is one.
    pub fn step(&self) -> Option<Step> {
        *self.step.borrow()
    }

    /// The scheduler, once the store is open.
    pub fn handle(&self) -> Option<Handle> {
        self.opened.borrow().as_ref().map(|(handle, _)| handle.clone())
    }

    /// Waits until the store is open; for ever, if it cannot be opened.
    pub async fn opened(&self) -> (Handle, Reader) {
        let mut opened = self.opened.clone();
        if let Ok(there) = opened.wait_for(Option::is_some).await
            && let Some(opened) = &*there
        {
            return opened.clone();
        }
        std::future::pending().await
    }
}

impl Opens {
    /// Its repair is so far.
    pub fn is_at(&self, step: Step) {
        self.step.send_replace(Some(step));
    }

    /// It is open, and the scheduler has begun to recover.
    pub fn opened(&self, handle: Handle, reader: Reader) {
        self.opened.send_replace(Some((handle, reader)));
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step() {
            Some(step) => write!(f, "its store is repaired: {step}"),
            None => f.write_str("its store is being opened"),
        }
    }
}
