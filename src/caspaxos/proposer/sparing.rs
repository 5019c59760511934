//! Whom a round asks at once, and whom it spares.
//!
//! A quorum is enough. Who is spared does less, and does it in larger batches: a
//! value that is accepted goes to all acceptors, but to those whose answer is not
//! needed with [`Effect::Send::is_spare`]; a promise or a read is asked of them
//! only when somebody else fails or takes long. Then who took long is spared for
//! a while. None of it bears on safety: any quorum will do.

use std::time::Duration;

use super::super::round::{Phase, Work};
use super::super::{AcceptorId, Call, Effect, Instant, Quorum, Request, Token};
use super::Proposer;
use crate::kv::Key;

/// How long an acceptor is spared that took long.
const SPARED_FOR: Duration = Duration::from_secs(1);
/// Who answers within this time does not take long.
const PROMPT: Duration = Duration::from_millis(2);

/// Acceptors that took long, and until when they are spared.
pub(super) type Slow = Vec<(AcceptorId, Instant)>;

impl Proposer {
    /// Parts a list into those that are asked at once, and the rest.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        list: &Quorum,
    ) -> (Vec<AcceptorId>, Vec<AcceptorId>) {
        let mut all = list.acceptors.clone();
        let configuration = &self.configuration;
        let Some(nearest) = &self.settings.nearest else { return (all, Vec::new()) };
        // While they change, all of them are asked.
        if configuration.prepare.acceptors != configuration.accept.acceptors {
            return (all, Vec::new());
        }
        let needed = configuration.prepare.size.max(configuration.accept.size);
        let first = all.iter().position(|id| id == nearest);
        all.rotate_left(first.unwrap_or(0));
        self.slow.retain(|(_, until)| *until > now);
        all.sort_by_key(|id| self.slow.iter().any(|(slow, _)| slow == id));
        let spare = all.split_off(needed.min(all.len()));
        (all, spare)
    }

    /// When a round asks those that it has spared, unless it is over.
    pub(super) fn asks_rest_after(&self) -> Duration {
        (self.round_trip * 4).max(PROMPT)
    }

    /// Asks those that the round has spared.
    pub(super) fn ask_the_rest(&self, key: &Key, work: &mut Work, effects: &mut Vec<Effect>) {
        let request = match &work.phase {
            Phase::Reading(_) => Request::Read { key: key.clone() },
            Phase::Preparing { ballot, .. } => {
                Request::Prepare { key: key.clone(), ballot: *ballot }
            }
            // It was sent to them.
            Phase::Accepting { .. } | Phase::BackingOff => return,
        };
        let token = Token { key: key.clone(), round: work.round };
        let (epoch, age) = (self.configuration.epoch, self.age);
        effects.extend(std::mem::take(&mut work.spared).into_iter().map(|to| Effect::Send {
            to,
            token: token.clone(),
            call: Call { epoch, age, request: request.clone() },
            is_spare: false,
        }));
    }

    /// Spares those that a round has asked at once and not heard of.
    pub(super) fn spare_the_silent(&mut self, now: Instant, work: &Work) {
        let (list, answered) = match &work.phase {
            Phase::Reading(reading) => (&self.configuration.prepare, &reading.answered),
            Phase::Preparing { promised, .. } => (&self.configuration.prepare, promised),
            Phase::Accepting { accepted, .. } => (&self.configuration.accept, accepted),
            Phase::BackingOff => return,
        };
        let is_silent = |id: &&AcceptorId| {
            let is_asked = !work.spared.contains(id);
            is_asked && !answered.contains(id) && !work.lost.contains(id)
        };
        let silent: Vec<AcceptorId> = list.acceptors.iter().filter(is_silent).cloned().collect();
        silent.into_iter().for_each(|id| self.spare(now, id));
    }

    /// Spares an acceptor for a while.
    pub(super) fn spare(&mut self, now: Instant, id: AcceptorId) {
        self.slow.retain(|(slow, _)| *slow != id);
        self.slow.push((id, now + SPARED_FOR));
    }
}
