//! How a proposer finds out which cluster it is of, and how one is founded.
//!
//! A proposer that knows no cluster asks every acceptor of its configuration how
//! it stands. Where a quorum of them belongs to one cluster, the proposer does
//! too. Where all are empty it founds one with them: the id is that of their
//! nonces ([`identity`](crate::identity)), so that all proposers which do so
//! together come to the same, and each acceptor is enrolled, by as many of them
//! as like. All acceptors must answer: one that is silent may hold the data of a
//! cluster that was founded before.
//!
//! What contradicts itself is refused, and asked again until an operator has
//! mended it: acceptors of two clusters, acceptors that were founded with
//! another configuration, a founded cluster most of whose acceptors are empty.
//!
//! The configuration may have changed since the cluster was founded. Where all
//! who answer are of one cluster, the newest that one of them tells counts, and a
//! quorum of that must belong to the cluster.
//!
//! A proposer that was of a cluster before keeps its id. It takes no other one and
//! founds none, whatever its acceptors say: it may have been given another list
//! of acceptors, or another data directory, by mistake.

use std::collections::BTreeMap;

use super::finding::{Finding, find, newest, silent};
use super::{
    AcceptorId, AcceptorStatus, Age, Caller, Configuration, Effect, Epoch, Fence, Reply, Request,
    Token, Unidentified,
};
use crate::identity::ClusterId;
use crate::kv::Key;

/// The search of a proposer for its cluster, which goes on until each founder was
/// seen to be enrolled.
#[derive(Clone, Debug)]
pub struct Identification {
    token: Token,
    /// What the proposer was given.
    configuration: Configuration,
    /// The cluster that it was of before, if it was of one.
    kept: Option<ClusterId>,
    answers: BTreeMap<AcceptorId, AcceptorStatus>,
    /// The cluster that is being founded, and who is to be enrolled.
    founded: Option<(ClusterId, Vec<AcceptorId>)>,
    /// How often those who are silent were asked again.
    retries: u32,
}

impl Identification {
    /// How often the silent are asked again before all are.
    const MAX_RETRIES: u32 = 8;

    /// Asks the acceptors of a configuration; `round` is a round of its own, and
    /// `kept` the cluster that the proposer was of before.
    pub fn start(
        round: u64,
        configuration: Configuration,
        kept: Option<ClusterId>,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let token = Token { key: Key::configuration(), round };
        let (answers, founded, retries) = (BTreeMap::new(), None, 0);
        let search = Identification { token, configuration, kept, answers, founded, retries };
        search.ask(effects);
        search
    }

    /// True for the replies and timers of this.
    pub fn is_meant(&self, token: &Token) -> bool {
        self.token == *token
    }

    /// Its timer.
    pub fn token(&self) -> Token {
        self.token.clone()
    }

    /// What the acceptors of a cluster told of it.
    pub fn fence_of(&self, cluster: ClusterId) -> Fence {
        let of_it = self.answers.values().filter(|status| status.cluster == Some(cluster));
        let mut newest = Fence::default();
        of_it.for_each(|status| newest.raise(&status.fence));
        newest
    }

    /// True when a proposer that knows its cluster has nothing to look for any
    /// more: all founders have answered, and those of them that were not enrolled
    /// are, or have lost their data.
    pub fn is_over(&self) -> bool {
        let configuration = self.newest();
        let has_moved_on = configuration.epoch > Epoch::FOUNDING;
        let is_enrolled = self.founded.as_ref().is_none_or(|(_, missing)| missing.is_empty());
        has_moved_on || (silent(configuration, &self.answers).is_empty() && is_enrolled)
    }

    /// Asks whoever has not answered, and enrols whoever has not said that it is.
    /// False when all should be asked anew, since what they said may be old.
    pub fn retry(&mut self, effects: &mut Vec<Effect>) -> bool {
        self.retries += 1;
        let is_contradiction =
            matches!(self.find(), Finding::Not(why) if !matches!(why, Unidentified::Silent(_)));
        if is_contradiction || self.retries > Self::MAX_RETRIES {
            return false;
        }
        self.ask(effects);
        self.enrol(effects);
        true
    }

    /// Asks whoever has not answered.
    fn ask(&self, effects: &mut Vec<Effect>) {
        let (cluster, epoch, age) = (None, self.configuration.epoch, Age::default());
        let caller = Caller { cluster, epoch, age };
        let silent = silent(self.newest(), &self.answers);
        effects.extend(silent.into_iter().map(|to| self.send(to, caller, Request::Status)));
    }

    fn send(&self, to: AcceptorId, caller: Caller, request: Request) -> Effect {
        Effect::Send { to, token: self.token(), call: caller.call(request), is_spare: false }
    }

    /// Takes a reply in; gives the cluster when it is known.
    pub fn on_reply(
        &mut self,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) -> Option<ClusterId> {
        match reply {
            Some(Reply::Status(status)) => {
                let before = self.newest().epoch;
                self.answers.insert(from, status);
                let newest = self.newest();
                if newest.epoch > before {
                    effects.push(Effect::Seeks(newest.clone()));
                    self.ask(effects);
                }
                match self.find() {
                    Finding::Belongs(cluster, missing) => {
                        self.enrol_in(cluster, missing, effects);
                        Some(cluster)
                    }
                    Finding::Founds(cluster) => {
                        let all = self.configuration.acceptors().cloned().collect();
                        self.enrol_in(cluster, all, effects);
                        None
                    }
                    Finding::Not(_) => None,
                }
            }
            Some(Reply::Raised { .. }) => {
                let (cluster, missing) = self.founded.as_mut()?;
                missing.retain(|id| *id != from);
                missing.is_empty().then_some(*cluster)
            }
            // It is asked again.
            _ => None,
        }
    }

    /// Enrols founders in the cluster that is being founded.
    fn enrol_in(
        &mut self,
        cluster: ClusterId,
        missing: Vec<AcceptorId>,
        effects: &mut Vec<Effect>,
    ) {
        if self.founded.is_none() && !missing.is_empty() {
            self.founded = Some((cluster, missing));
            self.enrol(effects);
        }
    }

    fn enrol(&self, effects: &mut Vec<Effect>) {
        let Some((cluster, missing)) = &self.founded else { return };
        let (cluster, epoch, age) = (Some(*cluster), Epoch::FOUNDING, Age::default());
        let caller = Caller { cluster, epoch, age };
        let configuration = Some(self.configuration.clone());
        let fence = Fence { epoch, configuration, ..Fence::default() };
        let enrol = Request::Enrol { fence, counter: 0, is_founding: true };
        let each = missing.iter();
        effects.extend(each.map(|to| self.send(to.clone(), caller, enrol.clone())));
    }

    /// What the answers so far say.
    pub fn find(&self) -> Finding {
        find(&self.configuration, self.kept, &self.answers)
    }

    fn newest(&self) -> &Configuration {
        newest(&self.configuration, self.kept, &self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Nonce;

    fn configuration(epoch: u64, names: &str) -> Configuration {
        let ids: Vec<AcceptorId> = names.split(' ').map(AcceptorId::from).collect();
        Configuration::uniform(Epoch(epoch), &ids, 2, 2)
    }

    fn of(cluster: u64, nonce: u64, configuration: Configuration) -> AcceptorStatus {
        let epoch = configuration.epoch;
        let fence = Fence { epoch, configuration: Some(configuration), ..Fence::default() };
        let (cluster, nonce) = (ClusterId::new(cluster), Nonce(nonce));
        AcceptorStatus { cluster, fence, nonce, ..AcceptorStatus::default() }
    }

    #[test]
    fn a_newer_configuration_is_followed_before_the_cluster_is_known() {
        let newer = configuration(4, "a3 a4");
        let mut effects = Vec::new();
        let mut search = Identification::start(9, configuration(1, "a1 a2 a3"), None, &mut effects);
        let mut reply = |id: &str, status| {
            effects.clear();
            let cluster = search.on_reply(id.into(), Some(Reply::Status(status)), &mut effects);
            (cluster, effects.clone())
        };
        let (cluster, effects) = reply("a3", of(7, 3, newer.clone()));
        assert_eq!(cluster, None);
        assert_eq!(effects[0], Effect::Seeks(newer.clone()));
        assert!(matches!(&effects[1..], [Effect::Send { to, .. }] if *to == "a4".into()));
        let (cluster, _) = reply("a4", of(7, 4, newer.clone()));
        assert_eq!(cluster, ClusterId::new(7));
        let cluster = ClusterId::new(7).unwrap();
        assert_eq!(search.fence_of(cluster).configuration, Some(newer));
    }
}
