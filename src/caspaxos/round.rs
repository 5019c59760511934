//! The state of a round of the proposer.

use super::pending::Waiting;
use super::{AcceptorId, Ballot, Instant, Quorum, Value};
use crate::kv::{Outcome, Record};

/// A record that a read found, and who reported it.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// How many of the waiting commands the read will answer.
    pub asking: usize,
    /// Who has answered.
    pub answered: Vec<AcceptorId>,
    /// The highest ballot that was reported.
    pub highest: Ballot,
    /// The record under it.
    pub record: Record,
    /// Who reported it.
    pub holders: Vec<AcceptorId>,
    /// A quorum has answered differently; it waits until then for the rest.
    pub patient_until: Option<Instant>,
}

/// What a round is doing.
#[derive(Clone, Debug)]
pub enum Phase {
    /// A read without a write (rule 10).
    Reading(Reading),
    /// Phase one.
    Preparing { ballot: Ballot, promised: Vec<AcceptorId>, highest: Ballot, value: Value },
    /// Phase two; an outcome for each of the first commands that wait.
    Accepting { next: Ballot, value: Value, accepted: Vec<AcceptorId>, outcomes: Vec<Outcome> },
    /// Between two rounds.
    BackingOff,
}

/// The work on one key.
#[derive(Clone, Debug)]
pub struct Work {
    /// Names the round; late replies carry another name.
    pub round: u64,
    /// When the round began.
    pub began_at: Instant,
    /// When it is given up if it has not come to an end, or the back-off is
    /// over.
    pub gives_up_at: Instant,
    /// What it is doing.
    pub phase: Phase,
    /// Acceptors that will not agree in this round.
    pub lost: Vec<AcceptorId>,
    /// Acceptors whose answer is not needed unless another's fails.
    pub spared: Vec<AcceptorId>,
    /// When they were asked after all.
    pub asked_spared_at: Option<Instant>,
    /// In this round, or in the last one while it backs off, an acceptor told
    /// of a higher ballot: somebody else is at work on the key.
    pub is_contended: bool,
    /// An acceptor waits to be confirmed.
    pub awaits_confirmation: bool,
    /// The round began with a kept value.
    pub is_on_kept: bool,
    /// The commands, those of the round first.
    pub waiting: Waiting,
    /// Rounds in a row that came to nothing.
    pub failures: u32,
    /// How many of them ran out of time.
    pub timeouts: u32,
}

impl Work {
    /// When `id` was asked in this round.
    pub fn asked_at(&self, id: &AcceptorId) -> Instant {
        match self.asked_spared_at {
            Some(at) if self.spared.contains(id) => at,
            _ => self.began_at,
        }
    }

    /// Whether it has spared somebody until now.
    pub fn is_sparing(&self) -> bool {
        !self.spared.is_empty() && self.asked_spared_at.is_none()
    }
}

impl Reading {
    /// A read for the first `asking` commands that wait.
    pub fn of(asking: usize) -> Self {
        Reading { asking, ..Reading::default() }
    }

    /// Takes an answer in.
    pub fn note(&mut self, from: AcceptorId, accepted: Ballot, record: Record) {
        if self.answered.contains(&from) {
            return;
        }
        if accepted > self.highest || self.answered.is_empty() {
            (self.highest, self.record) = (accepted, record);
            self.holders.clear();
        }
        if accepted == self.highest {
            self.holders.push(from.clone());
        }
        self.answered.push(from);
    }

    /// Whether an accept quorum may yet turn out to hold the highest value.
    pub fn can_still_be_held_by(&self, accept: &Quorum, lost: &[AcceptorId]) -> bool {
        let differs = self.answered.iter().filter(|id| !self.holders.contains(id));
        let without: Vec<AcceptorId> = differs.chain(lost).cloned().collect();
        !accept.is_out_of_reach_without(&without)
    }
}

/// Adds an acceptor to a list, once.
pub fn note(list: &mut Vec<AcceptorId>, id: AcceptorId) {
    if !list.contains(&id) {
        list.push(id);
    }
}
