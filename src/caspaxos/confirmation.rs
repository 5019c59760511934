//! How proposers make sure that an acceptor whose store was opened is no old
//! copy of itself.
//!
//! An acceptor that comes back with an older copy of its store has forgotten
//! what it promised and accepted since, as one that answers before its writes
//! are durable would (rule 3). So each store has a
//! [generation](crate::generation) of which the other acceptors take note, and
//! by which they refute a copy.
//!
//! Until it is confirmed the acceptor serves nobody. Whoever it tells so asks all
//! others to take note of its enrolment, and confirms it when all of them have.
//! Those who are silent for a while, or cannot be reached twice, are left out, as
//! long as a majority of the acceptors, with the one itself, has taken note; they
//! are told later, for as long as it takes. So an old copy is found out if one of
//! those who answer was told since it was copied: an acceptor that was away ever
//! since knows nothing.
//!
//! Proposers also mark the acceptors they write to: the generation rises while
//! they serve, so that a copy of a store that was in use is told too, if it is
//! older than the last mark.

use std::time::Duration;

use super::{
    AcceptorId, Caller, Configuration, Effect, Enrolment, EnrolmentClaim, Reply, Request, Token,
};
use crate::kv::Key;

/// What a proposer does about one acceptor.
#[derive(Clone, Debug)]
pub struct Confirmation {
    token: Token,
    acceptor: AcceptorId,
    claim: EnrolmentClaim,
    /// For the generation in which the acceptor will serve.
    tag: u64,
    /// The others that have taken note of it.
    noted: Vec<AcceptorId>,
    /// Those to whom no request comes through.
    lost: Vec<AcceptorId>,
    /// Those that were told of the configuration, and asked again after that.
    taught: Vec<AcceptorId>,
    /// One that knows a newer enrolment, which it is.
    refuted: Option<(AcceptorId, Enrolment)>,
    /// Whether the acceptor serves.
    is_confirmed: bool,
    /// How often the silent were asked again.
    retries: u32,
}

/// An acceptor whose store is an old copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldCopy {
    /// The acceptor.
    pub acceptor: AcceptorId,
    /// What its store tells.
    pub told: Enrolment,
    /// One that knows better.
    pub witness: AcceptorId,
    /// What that one knows.
    pub known: Enrolment,
}

impl Confirmation {
    /// After so many retries the silent are left out.
    const PATIENT_RETRIES: u32 = 4;
    /// After so many retries an acceptor that does not answer itself is left alone
    /// until it is called again.
    const MOST_RETRIES: u32 = 12;

    /// Begins to make sure of an acceptor that has told its enrolment; `round` is a
    /// round of its own, `tag` random. One that was marked serves already.
    pub fn new(
        (round, tag): (u64, u64),
        acceptor: AcceptorId,
        claim: EnrolmentClaim,
        is_confirmed: bool,
    ) -> Self {
        let token = Token { key: Key::configuration(), round };
        let (noted, lost, taught) = (Vec::new(), Vec::new(), Vec::new());
        let (refuted, retries) = (None, 0);
        Confirmation {
            token,
            acceptor,
            claim,
            tag,
            noted,
            lost,
            taught,
            refuted,
            is_confirmed,
            retries,
        }
    }

    /// True for the replies and timers of this.
    pub fn is_meant(&self, token: &Token) -> bool {
        self.token == *token
    }

    /// What the acceptor has told.
    pub fn enrolment(&self) -> Enrolment {
        self.claim.enrolment()
    }

    /// Asks the others that have not taken note, and confirms the acceptor if that
    /// is due; then sets the timer. `patience` is how long the silent are waited
    /// for.
    pub fn ask(
        &self,
        caller: Caller,
        configuration: &Configuration,
        patience: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let silent = self.others(configuration).filter(|id| !self.noted.contains(id));
        effects.extend(silent.map(|id| self.note(id, caller)));
        self.confirm(caller, configuration, effects);
        let step = patience / Self::PATIENT_RETRIES;
        let after = step * (1 << self.retries.saturating_sub(Self::PATIENT_RETRIES).min(6));
        effects.push(Effect::SetTimer { token: self.token.clone(), after });
    }

    /// Takes a reply in. True when this is over.
    pub fn on_reply(
        &mut self,
        from: AcceptorId,
        reply: Option<Reply>,
        (caller, configuration): (Caller, &Configuration),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let is_itself = from == self.acceptor;
        match reply {
            Some(Reply::Noted(known)) if !is_itself => {
                if known == self.claim.enrolment() {
                    self.noted.push(from);
                    self.confirm(caller, configuration, effects);
                } else if self.refuted.is_none() && !self.claim.continues(known) {
                    // What it has told may be old by now: it is asked once more.
                    self.refuted = Some((from, known));
                    effects.push(self.send(&self.acceptor, caller, Request::Status));
                }
            }
            // The proposer has told it the configuration, in front of this.
            Some(Reply::Behind) if !is_itself && !self.taught.contains(&from) => {
                effects.push(self.note(&from, caller));
                self.taught.push(from);
            }
            Some(Reply::Confirmed(serving)) if is_itself && !self.is_confirmed => {
                // It serves in the next generation, of which the others are told.
                (self.claim, self.is_confirmed) = (serving.into(), true);
                (self.noted, self.refuted) = (Vec::new(), None);
                let others = self.others(configuration);
                effects.extend(others.map(|id| self.note(id, caller)));
            }
            Some(Reply::Status(status)) if is_itself && status.claim == self.claim => {
                if let Some((witness, known)) = self.refuted.clone() {
                    let (acceptor, told) = (self.acceptor.clone(), self.claim.enrolment());
                    effects.push(Effect::FoundOldCopy(OldCopy { acceptor, told, witness, known }));
                }
            }
            None if !is_itself => {
                self.lost.push(from);
                self.confirm(caller, configuration, effects);
            }
            // The silent are asked again.
            _ => {}
        }
        self.is_over(configuration)
    }

    /// Asks again. True when this is over, also because nothing came of it; then
    /// it begins anew when the acceptor is called.
    pub fn on_timer(
        &mut self,
        (caller, configuration): (Caller, &Configuration),
        patience: Duration,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.retries += 1;
        self.lost.clear();
        let is_vain = !self.is_confirmed && self.retries > Self::MOST_RETRIES;
        let is_done = self.refuted.is_some() && self.retries >= Self::PATIENT_RETRIES;
        if is_vain || is_done || self.is_over(configuration) {
            return true;
        }
        self.ask(caller, configuration, patience, effects);
        false
    }

    fn others<'a>(
        &'a self,
        configuration: &'a Configuration,
    ) -> impl Iterator<Item = &'a AcceptorId> {
        configuration.acceptors().filter(|id| **id != self.acceptor)
    }

    fn is_over(&self, configuration: &Configuration) -> bool {
        let is_member = configuration.acceptors().any(|id| *id == self.acceptor);
        let has_all = self.others(configuration).all(|id| self.noted.contains(id));
        !is_member || (self.is_confirmed && has_all)
    }

    /// Confirms the acceptor, if enough others have taken note.
    fn confirm(&self, caller: Caller, configuration: &Configuration, effects: &mut Vec<Effect>) {
        let count =
            |list: &[AcceptorId]| self.others(configuration).filter(|id| list.contains(id)).count();
        let (all, noted) = (self.others(configuration).count(), count(&self.noted));
        let is_majority = (noted + 1) * 2 > all + 1;
        // A connection may be lost once to one that is well.
        let is_known = self.retries > 0 && noted + count(&self.lost) >= all;
        let is_patient = self.retries < Self::PATIENT_RETRIES && !is_known;
        let is_enough = noted == all || (is_majority && !is_patient);
        if self.refuted.is_none() && !self.is_confirmed && is_enough {
            let request = Request::Confirm { enrolment: self.claim.enrolment(), tag: self.tag };
            effects.push(self.send(&self.acceptor, caller, request));
        }
    }

    fn note(&self, to: &AcceptorId, caller: Caller) -> Effect {
        let (of, claim) = (self.acceptor.clone(), self.claim.clone());
        self.send(to, caller, Request::Note { of, claim })
    }

    fn send(&self, to: &AcceptorId, caller: Caller, request: Request) -> Effect {
        let (to, token) = (to.clone(), self.token.clone());
        Effect::Send { to, token, call: caller.call(request), is_spare: false }
    }
}
