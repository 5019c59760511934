//! What acceptors answer to a round, and what the round does then.

use super::super::kept::Kept;
use super::super::planted::Bug;
use super::super::round::{Phase, Work, note};
use super::super::{AcceptorId, Ballot, Configuration, Effect, Instant, Reply, Token, Value};
use super::{MAX_COUNTER, Proposer};
use crate::kv::{Key, Outcome, Record, Verdict};

impl Proposer {
    /// Takes a reply in, of whatever kind.
    pub(super) fn on_replied(
        &mut self,
        now: Instant,
        token: Token,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        match reply {
            Some(_) => self.awaited.note_answered(&from),
            None => self.awaited.note_lost(now, &from),
        }
        if let Some(Reply::Conflict { seen }) = reply {
            self.pass(seen);
        }
        if let Some(Reply::Fenced(fence)) = &reply
            && self.follow(now, fence, effects)
            && !self.is_of_the_cluster(&token)
        {
            return;
        }
        if reply == Some(Reply::Behind) {
            self.tell_configuration(from.clone(), effects);
        }
        match &reply {
            Some(Reply::Unconfirmed(claim)) => {
                self.make_sure_of(from.clone(), claim.clone(), false, effects);
            }
            Some(Reply::Marked(enrolment)) => {
                self.make_sure_of(from.clone(), (*enrolment).into(), true, effects);
            }
            Some(Reply::Status(status)) => self.on_status(&from, status, effects),
            _ => {}
        }
        if self.is_of_the_cluster(&token) {
            return self.on_cluster_reply(now, token, from, reply, effects);
        }
        let Some(mut work) = self.take_work(&token) else { return };
        let key = token.key;
        match reply {
            Some(Reply::Prepared { accepted, value }) => {
                self.on_prepared(now, key, work, from, (accepted, value), effects);
            }
            Some(Reply::Accepted) => self.on_accepted(now, key, work, from, effects),
            Some(Reply::WasRead { accepted, record }) => {
                self.on_was_read(now, key, work, from, (accepted, record), effects);
            }
            Some(Reply::Conflict { .. }) => {
                self.kept.take(&key);
                work.is_contended = true;
                self.on_lost(now, key, work, from, effects);
            }
            Some(Reply::Unconfirmed(_)) => {
                work.awaits_confirmation = true;
                self.on_lost(now, key, work, from, effects);
            }
            // No answer, or none to anything that a round asks.
            Some(
                Reply::Listed(_)
                | Reply::Fenced(_)
                | Reply::OtherCluster { .. }
                | Reply::Behind
                | Reply::TooHigh
                | Reply::Raised { .. }
                | Reply::NotEnrolled
                | Reply::Noted(_)
                | Reply::Confirmed(_)
                | Reply::Marked(_)
                | Reply::NotEmpty
                | Reply::Removed { .. }
                | Reply::Wiped
                | Reply::Status(_),
            )
            | None => self.on_lost(now, key, work, from, effects),
        }
    }

    /// The next ballot will be higher than this one.
    fn pass(&mut self, ballot: Ballot) {
        // One beyond any that can be reached honestly is not followed.
        if ballot.counter < MAX_COUNTER {
            self.last.counter = self.last.counter.max(ballot.counter);
        }
    }

    /// Somebody else is at work on a key: what is kept of it would be refused.
    pub(super) fn on_overtaken(&mut self, key: Key, by: Ballot) {
        self.pass(by);
        if let Some(kept) = self.kept.take(&key)
            && kept.ballot > by
        {
            self.kept.insert(key, kept);
        }
    }

    fn on_was_read(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        from: AcceptorId,
        (accepted, record): (Ballot, Record),
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Reading(reading) = &mut work.phase else {
            self.put_back(key, work);
            return;
        };
        reading.note(from, accepted, record);
        let Configuration { prepare, accept, .. } = &self.configuration;
        let is_newest_seen = prepare.is_met_by(&reading.answered);
        let is_safe_for_ever = accept.is_met_by(&reading.holders);
        if (is_newest_seen && is_safe_for_ever) || self.is_planted(Bug::ReadsFromOne) {
            let is_absent = reading.highest.is_zero();
            let found = std::mem::take(&mut reading.record);
            let record = if is_absent { self.floor.record() } else { found };
            let verdict = if record.is_live() { Verdict::Done } else { Verdict::NotFound };
            let outcome = Outcome { verdict, before: record.clone(), after: record };
            work.waiting.answer_first(std::iter::repeat_n(outcome, reading.asking), effects);
            (work.failures, work.timeouts) = (0, 0);
            return self.begin(now, key, work, effects);
        }
        if !is_newest_seen {
            self.put_back(key, work);
        } else if !reading.can_still_be_held_by(accept, &work.lost)
            || reading.patient_until.is_some_and(|until| until <= now)
        {
            self.begin_change(now, key, work, effects);
        } else {
            // The newest value may be on its way to the others.
            reading.patient_until.get_or_insert(now + self.settings.read_patience);
            self.ask_the_rest(now, &key, &mut work, effects);
            let token = Token { key: key.clone(), round: work.round };
            effects.push(Effect::SetTimer { token, after: self.settings.read_patience });
            self.put_back(key, work);
        }
    }

    fn on_prepared(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        from: AcceptorId,
        (accepted, reported): (Ballot, Value),
        effects: &mut Vec<Effect>,
    ) {
        let asked_at = work.asked_at(&from);
        if let Phase::Preparing { ballot, promised, highest, value } = &mut work.phase {
            if accepted > *highest {
                (*highest, *value) = (accepted, reported);
            }
            note(promised, from);
            if self.configuration.prepare.is_met_by(promised) {
                self.note_round_trip(now.saturating_sub(asked_at));
                let is_absent = highest.is_zero();
                let (ballot, found) = (*ballot, std::mem::take(value));
                let base = if is_absent { self.floor.value() } else { found };
                return self.propose(now, key, work, ballot, base, effects);
            }
        }
        self.put_back(key, work);
    }

    fn on_accepted(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        from: AcceptorId,
        effects: &mut Vec<Effect>,
    ) {
        let asked_at = work.asked_at(&from);
        let Phase::Accepting { next, value, accepted, outcomes } = &mut work.phase else {
            self.put_back(key, work);
            return;
        };
        note(accepted, from);
        if !self.configuration.accept.is_met_by(accepted) {
            self.put_back(key, work);
            return;
        }
        self.note_round_trip(now.saturating_sub(asked_at));
        // Rule 7: only a quorum that will also answer for the next prepare.
        if self.configuration.prepare.is_met_by(accepted) {
            let kept = Kept { ballot: *next, value: std::mem::take(value) };
            self.kept.insert(key.clone(), kept);
        }
        work.waiting.answer_first(outcomes.drain(..), effects);
        (work.failures, work.timeouts) = (0, 0);
        self.begin(now, key, work, effects);
    }

    /// `from` will not agree in this round.
    fn on_lost(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        from: AcceptorId,
        effects: &mut Vec<Effect>,
    ) {
        note(&mut work.lost, from);
        self.ask_the_rest(now, &key, &mut work, effects);
        let quorum = match work.phase {
            Phase::Reading(_) | Phase::Preparing { .. } => &self.configuration.prepare,
            Phase::Accepting { .. } => &self.configuration.accept,
            Phase::BackingOff => return self.put_back(key, work),
        };
        if !quorum.is_out_of_reach_without(&work.lost) {
            return match work.is_contended {
                true => self.wait_for_the_rest(now, key, work, effects),
                false => self.put_back(key, work),
            };
        }
        self.back_off(now, key, work, effects);
    }
}
