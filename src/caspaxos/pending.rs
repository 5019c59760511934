//! Commands that wait for a round, and how they settle what became of their
//! earlier attempts.

use std::collections::VecDeque;
use std::time::Duration;

use super::lineage::{Change, Fate};
use super::{Ballot, CommandId, Effect, Failure, Instant, Value};
use crate::kv::{Outcome, Submission, apply};

/// A command that waits for its answer.
#[derive(Clone, Debug)]
pub struct Pending {
    id: CommandId,
    submission: Submission,
    deadline: Instant,
    /// Where the command changed the record in a value that was sent to
    /// acceptors and not settled, and what it answered there.
    attempts: Vec<(Change, Outcome)>,
    /// A value was met that remembers the request: an earlier try of it took
    /// effect, or may do so.
    is_remembered: bool,
    /// It was answered while a round had it in hand; its place is kept until
    /// the round is over.
    is_answered: bool,
}

impl Pending {
    /// Past this many unsettled attempts a command is given up as unknown.
    const MAX_ATTEMPTS: usize = 64;

    /// A command that was not tried yet.
    pub fn new(id: CommandId, submission: Submission, deadline: Instant) -> Self {
        Pending {
            id,
            submission,
            deadline,
            attempts: Vec::new(),
            is_remembered: false,
            is_answered: false,
        }
    }

    /// The answer to its client.
    pub fn answer(&self, result: Result<Outcome, Failure>) -> Effect {
        Effect::Answer { id: self.id, result }
    }

    /// What to say when it is given up.
    fn failure(&self) -> Failure {
        let is_definite = self.attempts.is_empty() && !self.is_remembered;
        if is_definite { Failure::Failed } else { Failure::Unknown }
    }

    /// What became of its attempts, as far as `base` descends from them: its
    /// outcome, `Unknown`, or `None` when it is to be applied to `base`.
    fn settled_by(&self, base: &Value) -> Option<Result<Outcome, Failure>> {
        let fates = self.attempts.iter().map(|(change, _)| base.lineage.fate_of(*change));
        let fates: Vec<Fate> = fates.collect();
        if let Some(index) = fates.iter().position(|fate| *fate == Fate::Included) {
            return Some(Ok(self.attempts[index].1.clone()));
        }
        let is_lost = fates.contains(&Fate::Forgotten) || fates.len() >= Self::MAX_ATTEMPTS;
        is_lost.then_some(Err(Failure::Unknown))
    }
}

/// What of a value is heeded: all of it, unless a bug is planted.
#[derive(Clone, Copy, Debug)]
pub struct Heeds {
    /// Which changes led to it.
    pub lineage: bool,
    /// Which requests did.
    pub memory: bool,
}

/// The commands that wait on one key, in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct Waiting(VecDeque<Pending>);

impl Waiting {
    /// Adds a command behind the others.
    pub fn push(&mut self, pending: Pending) {
        self.0.push_back(pending);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the values take that they bring.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|pending| pending.submission.size_bytes()).sum()
    }

    /// True when none of them may change the record.
    pub fn are_reads(&self) -> bool {
        self.0.iter().all(|pending| pending.submission.is_read())
    }

    /// The time until the first of them expires; `None` when none is left to.
    pub fn until_first_deadline(&self, now: Instant) -> Option<Duration> {
        let deadlines = self.0.iter().filter(|pending| !pending.is_answered);
        deadlines.map(|pending| pending.deadline.saturating_sub(now)).min()
    }

    /// Answers the ones whose deadline has passed, and leaves them in place: a
    /// round may have them in hand.
    pub fn expire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for pending in self.0.iter_mut().filter(|pending| !pending.is_answered) {
            if pending.deadline <= now {
                effects.push(pending.answer(Err(pending.failure())));
                pending.is_answered = true;
            }
        }
    }

    /// Expires, and takes out whatever is answered; only between rounds.
    pub fn sweep(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.expire(now, effects);
        self.0.retain(|pending| !pending.is_answered);
    }

    /// Answers and takes out the first ones, one outcome each.
    pub fn answer_first(
        &mut self,
        outcomes: impl ExactSizeIterator<Item = Outcome>,
        effects: &mut Vec<Effect>,
    ) {
        let ended = self.0.drain(..outcomes.len()).zip(outcomes);
        let ended = ended.filter(|(pending, _)| !pending.is_answered);
        effects.extend(ended.map(|(pending, outcome)| pending.answer(Ok(outcome))));
    }

    /// Answers those that were tried as unknown. They keep their places: a
    /// round may have them in hand.
    pub fn give_up_tried(&mut self, effects: &mut Vec<Effect>) {
        let tried = |pending: &&mut Pending| !pending.is_answered && !pending.attempts.is_empty();
        for pending in self.0.iter_mut().filter(tried) {
            effects.push(pending.answer(Err(Failure::Unknown)));
            pending.is_answered = true;
        }
    }

    /// Applies up to `limit` of them in order to `base`. Returns the new value
    /// and an outcome for each of the first ones. Those whose fate nobody can
    /// tell any more are answered as unknown and taken out.
    ///
    /// The lineage tells of attempts that were made here, with all that they
    /// found; the memory tells of tries through other proposers too.
    ///
    /// Commands with attempts always stand before those without, and `limit`
    /// never changes, so whoever was tried before is tried again: a value that
    /// builds on an attempt of theirs names the newer attempt for them too,
    /// which is what lets a [`Lineage`](super::Lineage) keep the last change of
    /// a run only.
    pub fn apply(
        &mut self,
        base: Value,
        ballot: Ballot,
        limit: usize,
        heeds: Heeds,
        effects: &mut Vec<Effect>,
    ) -> (Value, Vec<Outcome>) {
        let (mut record, mut memory) = (base.record.clone(), base.memory.clone());
        let mut outcomes = Vec::new();
        while outcomes.len() < limit.min(self.0.len()) {
            let pending = &mut self.0[outcomes.len()];
            let submission = &pending.submission;
            let settled = pending.settled_by(&base).filter(|_| heeds.lineage);
            let remembered = || memory.recall(&record, submission).filter(|_| heeds.memory);
            let outcome = if let Some(Ok(outcome)) = settled {
                outcome
            } else if let Some(outcome) = remembered() {
                pending.is_remembered = true;
                outcome
            } else if let Some(Err(failure)) = settled {
                effects.push(pending.answer(Err(failure)));
                self.0.remove(outcomes.len());
                continue;
            } else {
                let outcome = apply(&record, &submission.command, record.modified_index + 1);
                memory.remember(submission, &outcome);
                outcome
            };
            if outcome.after.modified_index > record.modified_index {
                record = outcome.after.clone();
            }
            outcomes.push(outcome);
        }
        if record == base.record {
            // A request that failed may be new in the memory.
            return (Value { memory, ..base }, outcomes);
        }
        let lineage = base.lineage.extended(ballot);
        let change = lineage.last().expect("it was just extended");
        for (pending, outcome) in self.0.iter_mut().zip(&outcomes) {
            if outcome.before != outcome.after {
                pending.attempts.push((change, outcome.clone()));
            }
        }
        (Value { record, lineage, memory }, outcomes)
    }
}
