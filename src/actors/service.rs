//! The door between the client APIs and whatever protocol stands behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Recipient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::protocol::{ChangeMembers, Inspect, List, LocalReads, MemberList, MemberView, Submit};
use super::shards::Shards;
use super::window::{Place, Window};
use crate::kv::{Answer, Command, Consistency, Key, Listed, Refusal, Scope, Submission};
use crate::raft::{ChangeError, Changed, MemberChange};

/// A place among what is under way; dropping its last clone gives it back.
#[derive(Clone)]
pub struct Permit(#[expect(dead_code, reason = "it is only held")] Arc<Places>);

struct Places {
    _among_all: OwnedSemaphorePermit,
    _bytes: Option<Place>,
}

/// What the client APIs know of a protocol: where to send commands, how many
/// at once, and what else it offers.
#[derive(Clone)]
pub struct Service {
    submit: Shards<Submit>,
    list: Recipient<List>,
    local: Option<Arc<dyn LocalReads>>,
    members: Option<Members>,
    inspect: Option<Arc<dyn Inspect>>,
    commands: Arc<Semaphore>,
    values: Window,
    listings: Arc<Semaphore>,
    is_closed: Arc<AtomicBool>,
}

/// The members of a cluster that can change them while it runs.
#[derive(Clone)]
struct Members {
    change: Recipient<ChangeMembers>,
    list: Arc<dyn MemberList>,
}

impl Service {
    /// Commands under way at once; more are refused as overload.
    pub const MAX_COMMANDS: usize = 4096;
    /// Listings under way at once: each may hold tens of MiB.
    pub const MAX_LISTINGS: usize = 4;
    /// How long a command may take, and each page of a listing.
    pub const PATIENCE: Duration = Duration::from_secs(3);
    /// What a byte of the value that a command brings adds to that: a disk that is
    /// busy with others takes long for many of them.
    const TIME_PER_BYTE: Duration = Duration::from_micros(3);

    /// The service of a protocol actor, or of some that share the keys.
    pub fn new(submit: impl Into<Shards<Submit>>, list: Recipient<List>) -> Self {
        Service {
            submit: submit.into(),
            list,
            local: None,
            members: None,
            inspect: None,
            commands: Arc::new(Semaphore::new(Self::MAX_COMMANDS)),
            values: Window::default(),
            listings: Arc::new(Semaphore::new(Self::MAX_LISTINGS)),
            is_closed: Arc::default(),
        }
    }

    /// The same, but that this actor serves all keys.
    pub fn through(&self, submit: Recipient<Submit>) -> Self {
        Service { submit: submit.into(), ..self.clone() }
    }

    /// Serves stale reads from here; without it they are linearizable.
    pub fn with_local(self, local: Arc<dyn LocalReads>) -> Self {
        Service { local: Some(local), ..self }
    }

    /// Lets clients see the members and change them.
    pub fn with_members(self, change: Recipient<ChangeMembers>, list: Arc<dyn MemberList>) -> Self {
        Service { members: Some(Members { change, list }), ..self }
    }

    /// Lets operators look inside.
    pub fn with_inspect(self, inspect: Arc<dyn Inspect>) -> Self {
        Service { inspect: Some(inspect), ..self }
    }

    /// Runs a command.
    pub async fn submit(
        &self,
        key: Key,
        submission: impl Into<Submission>,
    ) -> Result<Answer, Refusal> {
        let submission = submission.into();
        let patience = Self::PATIENCE + Self::TIME_PER_BYTE * submission.size_bytes() as u32;
        self.submit_within(key, submission, patience).await
    }

    /// Runs a command that may take this long.
    pub async fn submit_within(
        &self,
        key: Key,
        submission: impl Into<Submission>,
        patience: Duration,
    ) -> Result<Answer, Refusal> {
        let submission = submission.into();
        let permit = self.permit(&self.commands, submission.size_bytes())?;
        let is_read = submission.is_read();
        let (answer, result) = oneshot::channel();
        let place = key.clone();
        self.submit.send(&place, Submit { key, submission, patience, answer, permit });
        match result.await {
            Ok(result) => result?.unless_refused(),
            Err(_) if is_read => Err(Refusal::Failed(STOPPED.into())),
            Err(_) => Err(Refusal::Unknown(STOPPED.into())),
        }
    }

    /// Reads a key.
    pub async fn get(&self, key: Key, consistency: Consistency) -> Result<Answer, Refusal> {
        match self.local_for(consistency) {
            Some(local) => {
                self.check_open()?;
                local.get(&key)
            }
            None => self.submit(key, Command::Get).await,
        }
    }

    /// Lists the live records under a prefix, and makes of them what the caller
    /// wants on a thread that may take its time: they may be tens of MiB.
    pub async fn list<T: Send + 'static>(
        &self,
        prefix: String,
        consistency: Consistency,
        render: impl FnOnce(Listed) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.permit(&self.listings, 0)?;
        match self.local_for(consistency).cloned() {
            Some(local) => {
                let list = move || local.list(&prefix, Scope::All).map(render);
                blocking(permit, list).await
            }
            None => {
                let listed = self.list_with(prefix, Scope::All, permit.clone()).await?;
                blocking(permit, move || Ok(render(listed))).await
            }
        }
    }

    /// Whether there may be a live record under a prefix: false is sure.
    pub async fn has_any(&self, prefix: String, consistency: Consistency) -> Result<bool, Refusal> {
        let permit = self.permit(&self.commands, 0)?;
        let listed = match self.local_for(consistency) {
            Some(local) => local.list(&prefix, Scope::Any),
            None => self.list_with(prefix, Scope::Any, permit).await,
        };
        Ok(!listed?.records.is_empty())
    }

    /// True when clients can see the members and change them.
    pub fn has_members(&self) -> bool {
        self.members.is_some()
    }

    /// The members, in the order of their ids; `None` where they are fixed.
    pub fn members(&self) -> Option<Vec<MemberView>> {
        self.members.as_ref().map(|members| members.list.members())
    }

    /// Changes the members; `None` where they are fixed.
    pub async fn change_members(
        &self,
        change: MemberChange,
    ) -> Option<Result<Changed, ChangeError>> {
        let members = self.members.as_ref()?;
        let permit = match self.permit(&self.commands, 0) {
            Ok(permit) => permit,
            Err(refusal) => return Some(Err(refusal.into())),
        };
        let (answer, result) = oneshot::channel();
        let patience = Self::PATIENCE;
        members.change.do_send(ChangeMembers { change, patience, answer, permit });
        let stopped = |_| Err(Refusal::Unknown(STOPPED.into()).into());
        Some(result.await.unwrap_or_else(stopped))
    }

    /// The state of the protocol; `None` where there is nothing to see.
    pub fn state(&self) -> Option<serde_json::Value> {
        self.inspect.as_ref().map(|inspect| inspect.state())
    }

    /// A hash over all keys; `None` where there is nothing to see. It counts
    /// as a listing.
    pub async fn hash(&self) -> Option<Result<serde_json::Value, Refusal>> {
        let inspect = self.inspect.clone()?;
        Some(match self.permit(&self.listings, 0) {
            Ok(permit) => blocking(permit, move || inspect.hash()).await,
            Err(refusal) => Err(refusal),
        })
    }

    async fn list_with(
        &self,
        prefix: String,
        scope: Scope,
        permit: Permit,
    ) -> Result<Listed, Refusal> {
        let (answer, result) = oneshot::channel();
        self.list.do_send(List { prefix, scope, patience: Self::PATIENCE, answer, permit });
        result.await.unwrap_or_else(|_| Err(Refusal::Failed(STOPPED.into())))
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

    fn local_for(&self, consistency: Consistency) -> Option<&Arc<dyn LocalReads>> {
        match consistency {
            Consistency::Linearizable => None,
            Consistency::Stale => self.local.as_ref(),
        }
    }

    fn check_open(&self) -> Result<(), Refusal> {
        if self.is_closed.load(Ordering::Relaxed) { Err(Refusal::Stopping) } else { Ok(()) }
    }

    fn permit(&self, places: &Arc<Semaphore>, bytes: usize) -> Result<Permit, Refusal> {
        self.check_open()?;
        let place = places.clone().try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        let bytes = match bytes {
            0 => None,
            bytes => Some(self.values.take(bytes).ok_or(Refusal::Overloaded)?),
        };
        Ok(Permit(Arc::new(Places { _among_all: place, _bytes: bytes })))
    }
}

/// Runs what takes long on a thread that may block, and holds its place until
/// it is done, also when the client goes away.
async fn blocking<T: Send + 'static>(
    permit: Permit,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Refusal::Stopping))
}

const STOPPED: &str = "the node stopped before it had an answer";
