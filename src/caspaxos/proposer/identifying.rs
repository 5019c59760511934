//! A proposer that does not know its cluster, or was told to have it confirmed,
//! looks for it; until then its commands wait. One that begins looks in any case,
//! as long as the founding configuration is in force: a founder may not have been
//! enrolled yet.

use std::time::Duration;

use super::super::finding::Finding;
use super::super::founding::Identification;
use super::super::round::{Phase, Work};
use super::super::{Caller, Effect, Instant, Reply, Request, Token};
use super::{AcceptorId, ClusterId, Proposer};
use crate::kv::Key;

/// After so long acceptors that are silent are asked again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often a command looks whether the cluster is known.
const PAUSE: Duration = Duration::from_millis(100);

impl Proposer {
    /// As whom it calls.
    pub fn caller(&self) -> Caller {
        Caller { cluster: self.cluster, epoch: self.configuration.epoch, age: self.age }
    }

    /// The cluster that it is of, once it knows.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Asks all acceptors for the cluster, unless it is asked for already.
    pub(super) fn identify(&mut self, effects: &mut Vec<Effect>) {
        if self.identification.is_some() {
            return;
        }
        self.rounds += 1;
        let kept = self.cluster.or(self.kept_cluster);
        let search = Identification::start(self.rounds, self.configuration.clone(), kept, effects);
        effects.push(Effect::SetTimer { token: search.token(), after: RETRY_AFTER });
        self.identification = Some(search);
    }

    pub(super) fn on_identity_reply(
        &mut self,
        now: Instant,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut search) = self.identification.take() else { return };
        let found = search.on_reply(from, reply, effects).filter(|_| self.cluster.is_none());
        let fence = found.map(|cluster| search.fence_of(cluster));
        self.cluster = self.cluster.or(found);
        if self.cluster.is_none() || !search.is_over() {
            self.identification = Some(search);
        }
        let (Some(cluster), Some(fence)) = (found, fence) else { return };
        effects.push(Effect::Identified(cluster));
        self.follow(now, &fence, effects);
        let mut keys: Vec<Key> = self.works.keys().cloned().collect();
        // In an order that a simulation can repeat.
        keys.sort_unstable();
        for key in keys {
            if let Some(work) = self.works.remove(&key) {
                self.begin(now, key, work, effects);
            }
        }
    }

    /// Asks those who are silent again, and at times all: answers may be of a time
    /// before an operator mended something.
    pub(super) fn on_identity_timer(&mut self, effects: &mut Vec<Effect>) {
        let Some(mut search) = self.identification.take() else { return };
        if let (Finding::Not(why), None) = (search.find(), self.cluster) {
            effects.push(Effect::Unidentified(why));
        }
        if search.retry(effects) {
            effects.push(Effect::SetTimer { token: search.token(), after: RETRY_AFTER });
            self.identification = Some(search);
        } else {
            self.identify(effects);
        }
    }

    /// Lets the commands of a key wait for the cluster.
    pub(super) fn wait_for_identity(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        effects: &mut Vec<Effect>,
    ) {
        work.phase = Phase::BackingOff;
        self.rounds += 1;
        work.round = self.rounds;
        work.gives_up_at = now + PAUSE;
        self.wait(now, key, work, effects);
    }

    /// Tells an acceptor the configuration that a call came under.
    pub(super) fn tell_configuration(&self, to: AcceptorId, effects: &mut Vec<Effect>) {
        // No round is called so: nothing waits for the answer.
        let token = Token { key: Key::configuration(), round: 0 };
        let call = self.caller().call(Request::Raise { fence: self.fence() });
        effects.push(Effect::Send { to, token, call, is_spare: false });
    }
}
