//! What operators can do about the acceptors of a node's proposer.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::collector::CollectorView;
use super::control::{Collect, Describe, Inquire, ProposerView, Reconfigure};
use super::proposer::Proposer;
use super::service::Service;
use crate::caspaxos::{
    AcceptorId, AcceptorStatus, Collected, Configuration, ConfigurationStep, Epoch, ListKind,
    ListPage, ListRequest, Place, ProposerId, ReconfigurationError, Reply, Request,
    UnsafeConfiguration,
};
use crate::kv::{Command, Key, Refusal};

/// A handle on a proposer and, through it, on its acceptors.
#[derive(Clone)]
pub struct Acceptors {
    proposer: ProposerId,
    /// All that share the keys of this node; the first one does what is asked.
    shards: Vec<Addr<Proposer>>,
    view: Arc<ProposerView>,
    service: Service,
    collector: CollectorView,
    /// Where the deployment says that nodes are.
    deployed: Arc<[Place]>,
}

/// A part of the keys was rescanned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rescanned {
    /// How many keys.
    pub rescanned: usize,
    /// The configuration under which.
    pub config_version: Epoch,
    /// Where to go on; `None` when all are done.
    pub after: Option<Key>,
}

/// Why a part of the keys was not rescanned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RescanError {
    /// Too few acceptors told their keys.
    #[error("no quorum of acceptors told its keys")]
    NoQuorum,
    /// Another configuration came into force meanwhile.
    #[error("the configuration changed from version {} to {}; begin anew", .0.0, .1.0)]
    Reconfigured(Epoch, Epoch),
    /// A key could not be read.
    #[error("key {0}: {1}")]
    Refused(Key, Refusal),
}

/// Why an acceptor was not emptied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WipeError {
    /// It has a say in the configuration.
    #[error(
        "acceptor {0} belongs to the configuration; take it out first: gryadkactl acceptors \
         shrink CLUSTER.json {0}"
    )]
    Member(AcceptorId),
    /// It said why not.
    #[error("{0}")]
    Refused(String),
    /// It may be empty now, or not.
    #[error("acceptor {0} does not answer; start it")]
    Silent(AcceptorId),
}

/// What an acceptor told of its registers.
pub type AcceptorPage = Result<ListPage, String>;

impl Acceptors {
    /// How long one answer of an acceptor may take.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// How often an acceptor is asked whose fence was raised meanwhile.
    const TRIES: usize = 5;
    /// How long a step may take.
    const STEP_PATIENCE: Duration = Duration::from_secs(5);
    /// How long a wipe may take.
    const WIPE_PATIENCE: Duration = Duration::from_secs(60);
    /// How long a key may take while it is rescanned.
    const KEY_PATIENCE: Duration = Duration::from_secs(5);
    /// Keys that are rescanned at once.
    const KEYS_AT_ONCE: usize = 32;
    /// The size of the pages that acceptors are asked for, in bytes.
    const PAGE_BYTES: u32 = 64 << 10;

    /// A handle on proposers that share the keys of a node, one at least; the view
    /// is that of the first, the service that of all. The deployment calls them all
    /// `proposer`, and says that there are nodes at the places `deployed`.
    pub fn new(
        proposer: ProposerId,
        shards: Vec<Addr<Proposer>>,
        view: Arc<ProposerView>,
        service: Service,
        deployed: Vec<Place>,
    ) -> Self {
        // What is rescanned is read under the configuration of this view.
        let service = service.through(shards[0].clone().recipient());
        let (collector, deployed) = (CollectorView::default(), deployed.into());
        Acceptors { proposer, shards, view, service, collector, deployed }
    }

    /// The id of the proposer.
    pub fn proposer(&self) -> ProposerId {
        self.proposer
    }

    /// How far the collector of this node has come.
    pub fn collector(&self) -> &CollectorView {
        &self.collector
    }

    /// The configuration in force on this node.
    pub fn configuration(&self) -> Configuration {
        self.view.configuration()
    }

    /// The places that this node knows by itself: of its deployment, and of the
    /// configurations that were in force here.
    pub fn known_places(&self) -> Vec<Place> {
        let mut places = self.view.places();
        places.extend(self.deployed.iter().cloned());
        places
    }

    /// Makes a step to another configuration.
    pub async fn reconfigure(
        &self,
        step: ConfigurationStep,
    ) -> Result<Epoch, ReconfigurationError> {
        let (answer, result) = oneshot::channel();
        let patience = Self::STEP_PATIENCE;
        self.first().do_send(Reconfigure { step, patience, answer });
        result.await.unwrap_or(Err(ReconfigurationError::Unknown))
    }

    /// Removes deleted registers from all acceptors.
    pub async fn collect(&self, keys: Vec<Key>, patience: Duration) -> Collected {
        let left = keys.len();
        let (answer, result) = oneshot::channel();
        self.first().do_send(Collect { keys, patience, answer });
        result.await.unwrap_or(Collected { removed: 0, left })
    }

    /// How each acceptor of the configuration stands; `None` when it is silent.
    pub async fn statuses(&self) -> Vec<(AcceptorId, Option<AcceptorStatus>)> {
        let configuration = self.configuration();
        let each = configuration
            .acceptors()
            .map(async |id| (id.clone(), self.status(id.clone(), None).await));
        futures::future::join_all(each).await
    }

    /// How an acceptor stands, also one that is in no list; `None` when it is
    /// silent.
    pub async fn status(&self, id: AcceptorId, place: Option<Place>) -> Option<AcceptorStatus> {
        match self.ask(id, place, Request::Status, Self::PATIENCE).await {
            Some(Reply::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// One page of what an acceptor holds.
    pub async fn page(
        &self,
        id: AcceptorId,
        place: Option<Place>,
        kind: ListKind,
        after: Option<Key>,
    ) -> AcceptorPage {
        let limit_bytes = Self::PAGE_BYTES;
        let request =
            Request::List(ListRequest { kind, prefix: String::new(), after, limit_bytes });
        match self.ask(id.clone(), place, request, Self::PATIENCE).await {
            Some(Reply::Listed(page)) => Ok(page),
            Some(other) => Err(refusal(&id, &other)),
            None => Err(format!("acceptor {id} does not answer")),
        }
    }

    /// Removes all registers of an acceptor that is in no list any more.
    pub async fn wipe(&self, id: AcceptorId, place: Option<Place>) -> Result<(), WipeError> {
        if self.configuration().acceptors().any(|member| *member == id) {
            return Err(WipeError::Member(id));
        }
        match self.ask(id.clone(), place, Request::Wipe, Self::WIPE_PATIENCE).await {
            Some(Reply::Wiped) => Ok(()),
            Some(other) => Err(WipeError::Refused(refusal(&id, &other))),
            None => Err(WipeError::Silent(id)),
        }
    }

    /// Rescans every key under the configuration of an epoch.
    pub async fn rescan_all(&self, epoch: Epoch) -> Result<(), ReconfigurationError> {
        let mismatch = |found| UnsafeConfiguration::Mismatch { expected: epoch, found }.into();
        let mut after = None;
        loop {
            let page = self.rescan(after, usize::MAX).await.map_err(|error| match error {
                RescanError::Reconfigured(_, found) => mismatch(found),
                RescanError::NoQuorum | RescanError::Refused(..) => ReconfigurationError::Failed,
            })?;
            if page.config_version != epoch {
                return Err(mismatch(page.config_version));
            }
            after = page.after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads the next keys after one, `most` of them at most, so that accept
    /// quorums of the configuration in force hold their values.
    ///
    /// The keys are the union of those that a prepare quorum tells: that meets
    /// every accept quorum by which a value was ever chosen (CASPaxos §2.3).
    pub async fn rescan(&self, after: Option<Key>, most: usize) -> Result<Rescanned, RescanError> {
        let configuration = self.configuration();
        let (mut keys, mut after) = self.next_keys(&configuration, after).await?;
        if keys.len() > most {
            keys.truncate(most);
            after = keys.last().cloned();
        }
        let reads = keys.into_iter().map(async |key| {
            let read = self.service.submit_within(key.clone(), Command::Get, Self::KEY_PATIENCE);
            read.await.map_err(|refusal| RescanError::Refused(key, refusal))
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(Self::KEYS_AT_ONCE);
        let mut rescanned = 0;
        while let Some(read) = reads.next().await {
            read?;
            rescanned += 1;
        }
        let config_version = self.configuration().epoch;
        if config_version != configuration.epoch {
            return Err(RescanError::Reconfigured(configuration.epoch, config_version));
        }
        Ok(Rescanned { rescanned, config_version, after })
    }

    /// A page of the union of a prepare quorum's keys, and where it ends.
    async fn next_keys(
        &self,
        configuration: &Configuration,
        after: Option<Key>,
    ) -> Result<(Vec<Key>, Option<Key>), RescanError> {
        let asked = configuration.prepare.acceptors.iter().map(async |id| {
            (id.clone(), self.page(id.clone(), None, ListKind::Accepted, after.clone()).await)
        });
        let mut pages: FuturesUnordered<_> = asked.collect();
        let (mut told, mut keys, mut end) = (Vec::new(), Vec::new(), None::<Key>);
        while !configuration.prepare.is_met_by(&told) {
            let Some((id, page)) = pages.next().await else { return Err(RescanError::NoQuorum) };
            let Ok(page) = page else { continue };
            told.push(id);
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            // Beyond the first end, one of them has not told.
            end = match (end, page.more_after) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        keys.retain(|key| end.as_ref().is_none_or(|end| key <= end));
        keys.sort_unstable();
        keys.dedup();
        Ok((keys, end))
    }

    /// What the proposer knows and does; where some share the keys, the first, and
    /// in `shards` all of them. `None` when it has ended.
    pub async fn describe(&self) -> Option<serde_json::Value> {
        let mut each = Vec::new();
        for shard in &self.shards {
            let (answer, description) = oneshot::channel();
            shard.do_send(Describe { answer });
            each.push(description.await.ok()?);
        }
        let mut shown = each[0].clone();
        if each.len() > 1 {
            shown["shards"] = each.into();
        }
        Some(shown)
    }

    fn first(&self) -> &Addr<Proposer> {
        &self.shards[0]
    }

    async fn ask(
        &self,
        to: AcceptorId,
        place: Option<Place>,
        request: Request,
        patience: Duration,
    ) -> Option<Reply> {
        let mut tries = 0..Self::TRIES;
        loop {
            tries.next()?;
            let (answer, reply) = oneshot::channel();
            let (to, place, request) = (to.clone(), place.clone(), request.clone());
            self.first().do_send(Inquire { to, place, request, answer });
            match timeout(patience, reply).await.ok()?.ok()? {
                // The proposer follows the fence, or the acceptor is told of it, so
                // that the next try may pass.
                Some(Reply::Fenced(_) | Reply::Behind) if !tries.is_empty() => {}
                reply => return reply,
            }
        }
    }
}

fn refusal(id: &AcceptorId, reply: &Reply) -> String {
    match reply {
        Reply::Fenced(fence) => {
            format!("acceptor {id} follows configuration {} by now; try again", fence.epoch.0)
        }
        Reply::NotEnrolled => {
            format!("acceptor {id} belongs to no cluster: it lost its memory, or was never added")
        }
        Reply::OtherCluster { held } => format!("acceptor {id} belongs to another cluster, {held}"),
        Reply::Unconfirmed(_) => format!(
            "acceptor {id} serves nobody until it is sure that its store is no old copy; if that \
             lasts, the log of a node says why"
        ),
        _ => format!("acceptor {id} answered something else"),
    }
}
