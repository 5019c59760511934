//! The state machine as openraft sees it.

use std::io;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::log_store::Jobs;
use super::message::entry_bytes;
use super::snapshot::Snapshots;
use super::state::{State, Summary};
use super::store::{CHUNK_BYTES, Job, SharedLog, lock};
use super::types::{LogId, SnapshotMeta, StoredMembership, Types};
use crate::store::{Disk, SnapshotFile};

/// Applies entries, builds snapshots and installs them.
pub struct StateMachine<D> {
    state: State<D>,
    log: SharedLog,
    jobs: Jobs,
    snapshots: Snapshots,
}

impl<D: Disk> StateMachine<D> {
    /// Entries that are applied in one go, at most.
    const MAX_ENTRIES: usize = 1024;

    /// The state machine over a store.
    pub fn new(state: State<D>, log: SharedLog, jobs: Jobs, snapshots: Snapshots) -> Self {
        StateMachine { state, log, jobs, snapshots }
    }
}

impl<D: Disk> RaftStateMachine<Types> for StateMachine<D> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder<D>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let Summary { applied, members, .. } = self.state.summary();
        Ok((applied.last, members.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let (mut some, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            bytes += entry_bytes(&entry);
            some.push((entry, responder));
            if some.len() >= Self::MAX_ENTRIES || bytes >= CHUNK_BYTES {
                let entries = std::mem::take(&mut some);
                bytes = 0;
                self.jobs.run(|done| Job::Apply(entries, done)).await?;
            }
        }
        if some.is_empty() {
            return Ok(());
        }
        self.jobs.run(|done| Job::Apply(some, done)).await
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        // openraft applies nothing while it waits here, so that the records
        // and the summary are of one moment.
        let (view, summary) = self.state.view();
        let bytes = lock(&self.log).bytes_since_snapshot;
        SnapshotBuilder {
            state: self.state.clone(),
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            bytes,
            moment: Some((view, summary)),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let file = snapshot.clone();
        self.jobs.run(|done| Job::Install(meta.clone(), file, done)).await?;
        self.snapshots.replace(meta.clone(), snapshot).map_err(io::Error::other)
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, io::Error> {
        let newest = self.snapshots.newest();
        Ok(newest.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes one snapshot.
pub struct SnapshotBuilder<D: Disk> {
    state: State<D>,
    log: SharedLog,
    snapshots: Snapshots,
    /// What the log had grown by when the moment was taken, in bytes.
    bytes: u64,
    /// What is written; it is kept no longer than that takes.
    moment: Option<(D::View, Summary)>,
}

impl<D: Disk> RaftSnapshotBuilder<Types> for SnapshotBuilder<D> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotFile>, io::Error> {
        let moment = self.moment.take();
        let (view, summary) = moment.unwrap_or_else(|| self.state.view());
        let (meta, snapshot) = self.snapshots.build(view, summary).await?;
        lock(&self.log).bytes_since_snapshot -= std::mem::take(&mut self.bytes);
        Ok(Snapshot { meta, snapshot })
    }
}
