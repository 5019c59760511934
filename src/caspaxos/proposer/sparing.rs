//! Whom a round asks at once, and whom it spares.
//!
//! A quorum is enough. Who is spared does less, and does it in larger batches: a
//! value that is accepted goes to all acceptors, but to those whose answer is not
//! needed with [`Effect::Send::is_spare`]; a promise or a read is asked of them
//! only when somebody else fails or takes long. Who does not answer is spared
//! until it does. None of it bears on safety: any quorum will do.

use std::time::Duration;

use super::super::round::{Phase, Work};
use super::super::{AcceptorId, Call, Effect, Instant, Quorum, Request, Token};
use super::Proposer;
use crate::kv::Key;

/// Who answers within this time does not take long.
const PROMPT: Duration = Duration::from_millis(2);
/// How long an acceptor is spared that does not answer; then it is tried again.
const SPARED_FOR: Duration = Duration::from_secs(1);

/// Acceptors that were asked, and since when they owe an answer.
#[derive(Clone, Default)]
pub(super) struct Awaited(Vec<(AcceptorId, Instant)>);

impl Awaited {
    fn note_asked(&mut self, now: Instant, id: &AcceptorId) {
        if !self.0.iter().any(|(awaited, _)| awaited == id) {
            self.0.push((id.clone(), now));
        }
    }

    /// An acceptor has answered, whatever it was.
    pub(super) fn note_answered(&mut self, id: &AcceptorId) {
        self.0.retain(|(awaited, _)| awaited != id);
    }

    /// It is known that an acceptor will not answer.
    pub(super) fn note_lost(&mut self, now: Instant, id: &AcceptorId) {
        self.note_answered(id);
        self.0.push((id.clone(), now.saturating_sub(SPARED_FOR / 2)));
    }

    /// Whether an acceptor has owed an answer for so long.
    fn is_silent(&self, now: Instant, id: &AcceptorId, patience: Duration) -> bool {
        let since = self.0.iter().find(|(awaited, _)| awaited == id);
        since.is_some_and(|(_, since)| now.saturating_sub(*since) > patience)
    }
}

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
        let patience = self.asks_rest_after();
        self.awaited.0.retain(|(_, since)| now.saturating_sub(*since) < SPARED_FOR);
        all.sort_by_key(|id| self.awaited.is_silent(now, id, patience));
        let spare = all.split_off(needed.min(all.len()));
        all.iter().for_each(|id| self.awaited.note_asked(now, id));
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
}
