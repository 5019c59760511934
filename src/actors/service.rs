//! The door between the client APIs and whatever protocol stands behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Message, Recipient};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::caspaxos::{Failure, ListingError};
use crate::kv::{Command, Key, Outcome, Record, Refusal, Scope};

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed | Failure::StaleConfiguration(_) => {
                Refusal::Failed(failure.to_string())
            }
            Failure::Unknown => Refusal::Unknown(failure.to_string()),
        }
    }
}

impl From<ListingError> for Refusal {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::NoQuorum => Refusal::Failed(error.to_string()),
            ListingError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
        }
    }
}

/// A place among what is under way; dropping it gives it back.
pub struct Permit {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A command for the protocol actor. It carries its own way back, so that a
/// client that goes away cancels nothing, and the permit it was let in with.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    /// The key.
    pub key: Key,
    /// The command.
    pub command: Command,
    /// How long the client waits.
    pub patience: Duration,
    /// The way back.
    pub answer: oneshot::Sender<Result<Outcome, Failure>>,
    /// Held until the command is answered.
    pub permit: Permit,
}

/// The live records under a prefix, in key order.
pub type Listed = Result<Vec<(Key, Record)>, ListingError>;

/// A listing for the protocol actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct List {
    /// What the keys begin with.
    pub prefix: String,
    /// Every record, or whether there is one.
    pub scope: Scope,
    /// How long the client waits.
    pub patience: Duration,
    /// The way back.
    pub answer: oneshot::Sender<Listed>,
    /// Held until the listing is answered.
    pub permit: Permit,
}

/// What the client APIs know of a protocol: where to send commands, and how
/// many at once.
#[derive(Clone)]
pub struct Service {
    submit: Recipient<Submit>,
    list: Recipient<List>,
    commands: Arc<Semaphore>,
    value_bytes: Arc<Semaphore>,
    listings: Arc<Semaphore>,
    is_closed: Arc<AtomicBool>,
}

impl Service {
    /// Commands under way at once; more are refused as overload.
    pub const MAX_COMMANDS: usize = 4096;
    /// What their values may hold together: as much as goes round within the
    /// time-out of a round, or retries would only add to the load.
    pub const MAX_VALUE_BYTES: usize = 6 << 20;
    /// Listings under way at once: each may hold tens of MiB.
    pub const MAX_LISTINGS: usize = 4;
    /// How long a command may take.
    pub const PATIENCE: Duration = Duration::from_secs(3);

    /// The service of a protocol actor.
    pub fn new(submit: Recipient<Submit>, list: Recipient<List>) -> Self {
        Service {
            submit,
            list,
            commands: Arc::new(Semaphore::new(Self::MAX_COMMANDS)),
            value_bytes: Arc::new(Semaphore::new(Self::MAX_VALUE_BYTES)),
            listings: Arc::new(Semaphore::new(Self::MAX_LISTINGS)),
            is_closed: Arc::default(),
        }
    }

    /// Runs a command.
    pub async fn submit(&self, key: Key, command: Command) -> Result<Outcome, Refusal> {
        self.submit_within(key, command, Self::PATIENCE).await
    }

    /// Runs a command that may take this long.
    pub async fn submit_within(
        &self,
        key: Key,
        command: Command,
        patience: Duration,
    ) -> Result<Outcome, Refusal> {
        let permit = self.permit(&self.commands, command.value_bytes())?;
        let is_read = command.is_read();
        let (answer, result) = oneshot::channel();
        self.submit.do_send(Submit { key, command, patience, answer, permit });
        match result.await {
            Ok(result) => Ok(result?),
            Err(_) if is_read => Err(Refusal::Failed(STOPPED.into())),
            Err(_) => Err(Refusal::Unknown(STOPPED.into())),
        }
    }

    /// Lists the live records under a prefix.
    pub async fn list(&self, prefix: String) -> Result<Vec<(Key, Record)>, Refusal> {
        let permit = self.permit(&self.listings, 0)?;
        self.list_with(prefix, Scope::All, permit).await
    }

    /// Whether there may be a live record under a prefix: false is sure.
    pub async fn has_any(&self, prefix: String) -> Result<bool, Refusal> {
        let permit = self.permit(&self.commands, 0)?;
        Ok(!self.list_with(prefix, Scope::Any, permit).await?.is_empty())
    }

    async fn list_with(
        &self,
        prefix: String,
        scope: Scope,
        permit: Permit,
    ) -> Result<Vec<(Key, Record)>, Refusal> {
        let (answer, result) = oneshot::channel();
        self.list.do_send(List { prefix, scope, patience: Self::PATIENCE, answer, permit });
        match result.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Refusal::Failed(STOPPED.into())),
        }
    }

    /// Refuses everything from now on; what is under way goes on.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is under way, but no longer than `patience`.
    pub async fn drained(&self, patience: Duration) {
        let commands = self.commands.acquire_many(Self::MAX_COMMANDS as u32);
        let listings = self.listings.acquire_many(Self::MAX_LISTINGS as u32);
        let all = futures::future::join(commands, listings);
        if tokio::time::timeout(patience, all).await.is_err() {
            let under_way = Self::MAX_COMMANDS - self.commands.available_permits();
            log::warn!("{under_way} commands are still under way after {patience:?}");
        }
    }

    fn permit(&self, places: &Arc<Semaphore>, bytes: usize) -> Result<Permit, Refusal> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        let take = |semaphore: &Arc<Semaphore>, count: usize| {
            let permit = semaphore.clone().try_acquire_many_owned(count as u32);
            permit.map_err(|_| Refusal::Overloaded)
        };
        Ok(Permit { _place: take(places, 1)?, _bytes: take(&self.value_bytes, bytes)? })
    }
}

const STOPPED: &str = "the node stopped before it had an answer";
