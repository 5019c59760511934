//! Acceptors that must be confirmed before they serve, and the marks by which
//! old copies of stores are told.

use std::time::Duration;

use rand::Rng;

use super::super::confirmation::Confirmation;
use super::super::{AcceptorId, AcceptorStatus, Effect, EnrolmentClaim, Reply, Request, Token};
use super::Proposer;
use crate::kv::Key;

impl Proposer {
    /// An acceptor says that it must be confirmed, or that it was marked.
    pub(super) fn make_sure_of(
        &mut self,
        acceptor: AcceptorId,
        claim: EnrolmentClaim,
        is_confirmed: bool,
        effects: &mut Vec<Effect>,
    ) {
        let is_under_way = |known: &Confirmation| known.enrolment() == claim.enrolment();
        let is_member = self.configuration.acceptors().any(|id| *id == acceptor);
        if !is_member || self.confirmations.get(&acceptor).is_some_and(is_under_way) {
            return;
        }
        self.rounds += 1;
        let confirmation = Confirmation::new(
            (self.rounds, self.random.random()),
            acceptor.clone(),
            claim,
            is_confirmed,
        );
        confirmation.ask(self.caller(), &self.configuration, self.patience(), effects);
        self.confirmations.insert(acceptor, confirmation);
    }

    /// Looks which acceptors must be confirmed.
    pub(super) fn look_around(&self, effects: &mut Vec<Effect>) {
        self.send_to_all(Request::Status, effects);
    }

    pub(super) fn on_status(
        &mut self,
        from: &AcceptorId,
        status: &AcceptorStatus,
        effects: &mut Vec<Effect>,
    ) {
        if self.cluster.is_some() && status.cluster == self.cluster && !status.is_confirmed {
            self.make_sure_of(from.clone(), status.claim.clone(), false, effects);
        }
    }

    /// The confirmation that a reply or a timer is of.
    pub(super) fn confirmation_of(&self, token: &Token) -> Option<AcceptorId> {
        let mut each = self.confirmations.iter();
        each.find(|(_, known)| known.is_meant(token)).map(|(id, _)| id.clone())
    }

    pub(super) fn on_confirmation_reply(
        &mut self,
        acceptor: &AcceptorId,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        let caller = self.caller();
        let Some(confirmation) = self.confirmations.get_mut(acceptor) else { return };
        if confirmation.on_reply(from, reply, (caller, &self.configuration), effects) {
            self.confirmations.remove(acceptor);
        }
    }

    pub(super) fn on_confirmation_timer(
        &mut self,
        acceptor: &AcceptorId,
        effects: &mut Vec<Effect>,
    ) {
        let (caller, patience) = (self.caller(), self.patience());
        let Some(confirmation) = self.confirmations.get_mut(acceptor) else { return };
        if confirmation.on_timer((caller, &self.configuration), patience, effects) {
            self.confirmations.remove(acceptor);
        }
    }

    /// Marks all acceptors, if something was written since the last time.
    pub(super) fn mark(&mut self, effects: &mut Vec<Effect>) {
        // An acceptor that is alone has nobody who could take note.
        let is_alone = self.configuration.acceptors().count() == 1;
        if !std::mem::take(&mut self.has_written) || is_alone {
            return;
        }
        let tag = self.random.random();
        self.send_to_all(Request::Mark { tag }, effects);
    }

    /// Asks all acceptors something that no round waits for.
    fn send_to_all(&self, request: Request, effects: &mut Vec<Effect>) {
        let call = self.caller().call(request);
        let token = Token { key: Key::configuration(), round: 0 };
        effects.extend(self.configuration.acceptors().map(|id| Effect::Send {
            to: id.clone(),
            token: token.clone(),
            call: call.clone(),
            is_spare: false,
        }));
    }

    /// How long acceptors that are silent are waited for.
    fn patience(&self) -> Duration {
        self.settings.round_timeout
    }
}
