//! What concerns the cluster as a whole: following the acceptors' fences,
//! steps to another configuration, and the collection of deleted registers.

use super::super::collection::{Collection, CollectionProgress};
use super::super::planted::Bug;
use super::super::reconfiguration::{Progress, Reconfiguration, ReconfigurationError};
use super::super::{
    AcceptorId, Batch, Collected, CommandId, ConfigurationStep, Effect, Fence, Instant, Reply,
    Token,
};
use super::{MAX_COUNTER, Pending, Phase, Proposer};
use crate::kv::Key;

impl Proposer {
    /// Takes over what is newer in a fence; false when nothing is. Whatever was
    /// kept may not hold any more, and rounds under way begin anew: what
    /// became of them is settled as after any round that was lost.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        fence: &Fence,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let is_newer = |known: &&_| -> bool {
            let known: &super::Configuration = known;
            known.epoch > self.configuration.epoch
        };
        let configuration = fence.configuration.as_ref().filter(is_newer).cloned();
        let is_older = fence.age > self.age;
        if configuration.is_none() && !is_older {
            return false;
        }
        if is_older {
            let is_next = fence.age == self.age.next();
            self.forget_attempts(|key| !is_next || fence.collected.may_hold(key), effects);
            self.age = fence.age;
            self.floor = self.floor.max(fence.floor);
            if self.floor.counter < MAX_COUNTER {
                self.last.counter = self.last.counter.max(self.floor.counter);
            }
        }
        if is_older || !self.is_planted(Bug::KeptSurvivesConfiguration) {
            self.kept.clear();
        }
        if let Some(configuration) = configuration {
            self.configuration = configuration.clone();
            effects.push(Effect::Configured(configuration));
        }
        let is_under_way = |phase: &Phase| !matches!(phase, Phase::BackingOff);
        let under_way = self.works.iter().filter(|(_, work)| is_under_way(&work.phase));
        let mut keys: Vec<Key> = under_way.map(|(key, _)| key.clone()).collect();
        // In an order that a simulation can repeat.
        keys.sort_unstable();
        for key in keys {
            if let Some(work) = self.works.remove(&key) {
                self.begin(now, key, work, effects);
            }
        }
        true
    }

    /// Gives up commands that were tried on keys that may have been collected
    /// since: with the register went the lineage, by which to settle them.
    fn forget_attempts(&mut self, is_concerned: impl Fn(&Key) -> bool, effects: &mut Vec<Effect>) {
        let concerned = self.works.iter_mut().filter(|(key, _)| is_concerned(key));
        let mut concerned: Vec<_> = concerned.collect();
        concerned.sort_unstable_by_key(|(key, _)| *key);
        for (_, work) in concerned {
            work.waiting.give_up_tried(effects);
        }
    }

    /// What this proposer knows, as a fence.
    pub(super) fn fence(&self) -> Fence {
        Fence {
            epoch: self.configuration.epoch,
            configuration: Some(self.configuration.clone()),
            age: self.age,
            floor: self.floor,
            collected: Batch::default(),
        }
    }

    /// True for replies and timers of what concerns the whole cluster.
    pub(super) fn is_of_the_cluster(&self, token: &Token) -> bool {
        self.identification.as_ref().is_some_and(|search| search.is_meant(token))
            || self.confirmation_of(token).is_some()
            || self.reconfiguration.as_ref().is_some_and(|step| step.is_meant(token))
            || self.collection.as_ref().is_some_and(|batch| batch.is_meant(token))
    }

    pub(super) fn start_reconfiguration(
        &mut self,
        now: Instant,
        (id, deadline): (CommandId, Instant),
        step: ConfigurationStep,
        effects: &mut Vec<Effect>,
    ) {
        let wanted = match self.is_planted(Bug::HidesValues) {
            true => self.configuration.unchecked_after(step),
            false => self.configuration.after(step),
        };
        let result = match wanted {
            Ok(_) if self.reconfiguration.is_some() => Err(ReconfigurationError::Busy),
            Ok(wanted) => match self.cluster {
                Some(cluster) => Ok((cluster, wanted)),
                None => Err(ReconfigurationError::NotFounded),
            },
            Err(error) => Err(error.into()),
        };
        match result {
            Err(error) => effects.push(Effect::Reconfigured { id, result: Err(error) }),
            Ok((cluster, wanted)) => {
                self.rounds += 1;
                let (old, fence) = (self.configuration.clone(), self.fence());
                let cluster = (cluster, self.last.counter);
                let name = (id, deadline);
                let step = Reconfiguration::new(name, self.rounds, cluster, old, wanted, fence);
                let progress = self.reconfiguration.insert(step).ask(effects);
                self.advance(now, progress, effects);
            }
        }
    }

    /// The answer to the deciding command of a reconfiguration goes there.
    pub(super) fn take_decision(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(step) = &mut self.reconfiguration else { return };
        let Some(awaited) = step.awaits() else { return };
        let is_it = |effect: &Effect| matches!(effect, Effect::Answer { id, .. } if *id == awaited);
        let Some(at) = effects.iter().position(is_it) else { return };
        if let Effect::Answer { result, .. } = effects.remove(at) {
            let progress = step.on_decided(result, effects);
            self.advance(now, progress, effects);
        }
    }

    fn advance(&mut self, now: Instant, progress: Progress, effects: &mut Vec<Effect>) {
        let Some(step) = &mut self.reconfiguration else { return };
        match progress {
            Progress::Waits => {
                if let Some(result) = step.overtaken_by(&self.configuration) {
                    step.answer(result, effects);
                    self.reconfiguration = None;
                }
            }
            Progress::Ended => self.reconfiguration = None,
            Progress::Decides(command) => {
                let (id, deadline) = step.name();
                let pending = Pending::new(id, command.into(), deadline);
                self.on_submitted(now, Key::configuration(), pending, effects);
            }
            Progress::InForce(fence) => {
                let mut step = self.reconfiguration.take();
                self.follow(now, &fence, effects);
                let epoch = self.configuration.epoch;
                step.iter_mut().for_each(|step| step.answer(Ok(epoch), effects));
            }
        }
    }

    pub(super) fn start_collection(
        &mut self,
        now: Instant,
        (id, deadline): (CommandId, Instant),
        mut keys: Vec<Key>,
        effects: &mut Vec<Effect>,
    ) {
        let all = keys.len();
        // Somebody works on it: it would only be disturbed.
        keys.retain(|key| !self.works.contains_key(key) && !key.is_reserved());
        let may_start = self.cluster.is_some()
            && self.configuration.is_settled()
            && self.reconfiguration.is_none()
            && self.collection.is_none();
        if !may_start || keys.is_empty() {
            let collected = Collected { removed: 0, left: all };
            effects.push(Effect::Collected { id, collected });
            return;
        }
        self.rounds += 1;
        let flaws =
            (self.is_planted(Bug::CollectsWithoutAges), self.is_planted(Bug::ForgetsPromises));
        let caller = self.caller();
        let last = &mut self.last;
        let next_ballot = || {
            last.counter += 1;
            *last
        };
        let cluster = (caller, &self.configuration, self.floor);
        let within = deadline.saturating_sub(now);
        let name = (id, self.rounds);
        let batch = Collection::new(name, within, cluster, keys, next_ballot, flaws, effects);
        self.collection = Some(batch);
    }

    pub(super) fn on_cluster_reply(
        &mut self,
        now: Instant,
        token: Token,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        if self.identification.as_ref().is_some_and(|search| search.is_meant(&token)) {
            return self.on_identity_reply(now, from, reply, effects);
        }
        if let Some(acceptor) = self.confirmation_of(&token) {
            return self.on_confirmation_reply(&acceptor, from, reply, effects);
        }
        if let Some(step) = self.reconfiguration.as_mut().filter(|step| step.is_meant(&token)) {
            let progress = step.on_reply(from, reply, effects);
            return self.advance(now, progress, effects);
        }
        let Some(batch) = &mut self.collection else { return };
        let progress = batch.on_reply(token.key, from, reply, effects);
        self.go_on_collecting(now, progress, effects);
    }

    pub(super) fn on_cluster_timer(
        &mut self,
        now: Instant,
        token: &Token,
        effects: &mut Vec<Effect>,
    ) {
        if self.identification.as_ref().is_some_and(|search| search.is_meant(token)) {
            return self.on_identity_timer(effects);
        }
        if let Some(acceptor) = self.confirmation_of(token) {
            return self.on_confirmation_timer(&acceptor, effects);
        }
        if let Some(step) = self.reconfiguration.as_mut().filter(|step| step.is_meant(token)) {
            let progress = step.on_timer(now, effects);
            return self.advance(now, progress, effects);
        }
        if let Some(batch) = &self.collection {
            let progress = batch.give_up();
            self.go_on_collecting(now, progress, effects);
        }
    }

    fn go_on_collecting(
        &mut self,
        now: Instant,
        progress: CollectionProgress,
        effects: &mut Vec<Effect>,
    ) {
        match progress {
            CollectionProgress::Waits => {}
            CollectionProgress::Aged(fence) => {
                self.follow(now, &fence, effects);
                if let Some(batch) = &mut self.collection {
                    batch.remove(effects);
                }
            }
            CollectionProgress::Ended(collected) => {
                if let Some(batch) = self.collection.take() {
                    effects.push(Effect::Collected { id: batch.id(), collected });
                }
            }
        }
    }
}
