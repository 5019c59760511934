//! Whom a round asks at once, and whom it spares.
//!
//! A quorum is enough. Who is spared does less, and does it in larger batches: a
//! value that is accepted goes to all acceptors, but to those whose answer is not
//! needed with [`Effect::Send::is_spare`]; a promise or a read is asked of them
//! only when somebody else fails or takes long. Who does not answer is spared
//! until it does. None of it bears on safety: any quorum will do.

use std::time::Duration;

use super::super::round::{Phase, Work};
use super::super::{AcceptorId, Effect, Instant, Quorum, Request, Token};
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
    pub(super) fn ask_the_rest(
        &self,
        now: Instant,
        key: &Key,
        work: &mut Work,
        effects: &mut Vec<Effect>,
    ) {
        if !work.is_sparing() {
            return;
        }
        let request = match &work.phase {
            Phase::Reading(_) => Request::Read { key: key.clone() },
            Phase::Preparing { ballot, .. } => {
                Request::Prepare { key: key.clone(), ballot: *ballot }
            }
            // It was sent to them.
            Phase::Accepting { .. } | Phase::BackingOff => return,
        };
        let token = Token { key: key.clone(), round: work.round };
        let caller = self.caller();
        work.asked_spared_at = Some(now);
        effects.extend(work.spared.iter().map(|to| Effect::Send {
            to: to.clone(),
            token: token.clone(),
            call: caller.call(request.clone()),
            is_spare: false,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{
        Ballot, CommandId, Configuration, Epoch, Event, Reply, Settings, Value,
    };
    use super::*;
    use crate::identity::ClusterId;
    use crate::kv::Command;

    const ROUND_TRIP: Duration = Duration::from_millis(10);

    /// A proposer and what is to happen to it, by time.
    struct World {
        proposer: Proposer,
        now: Instant,
        to_come: Vec<(Instant, Event)>,
        silent: Option<AcceptorId>,
        answered: usize,
    }

    impl World {
        fn new() -> World {
            let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
            let settings = Settings { nearest: Some(ids[0].clone()), ..Settings::default() };
            let configuration = Configuration::uniform(Epoch(1), &ids, 2, 2);
            let proposer =
                Proposer::new("p1".parse().unwrap(), ClusterId::new(7), configuration, settings, 1);
            let (now, to_come) = (Duration::ZERO, Vec::new());
            World { proposer, now, to_come, silent: None, answered: 0 }
        }

        /// Asks for a write of each key at once, and tells how long they took.
        fn write(&mut self, keys: std::ops::Range<u64>) -> Duration {
            let (began, wanted) = (self.now, self.answered + (keys.end - keys.start) as usize);
            for id in keys {
                self.submit(id);
            }
            while self.answered < wanted {
                let first = self.to_come.iter().enumerate().min_by_key(|(_, (at, _))| *at);
                let place = first.expect("something is to come").0;
                let (at, event) = self.to_come.remove(place);
                self.now = at;
                self.handle(event);
            }
            self.now - began
        }

        fn submit(&mut self, id: CommandId) {
            let key = Key::try_from(format!("k{id}").as_str()).unwrap();
            let submission = Command::Set("v".into()).into();
            let deadline = self.now + Duration::from_secs(3);
            self.handle(Event::Submitted { id, key, submission, deadline });
        }

        fn handle(&mut self, event: Event) {
            let mut effects = Vec::new();
            self.proposer.handle(self.now, event, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send { to, token, call, .. } if self.silent.as_ref() != Some(&to) => {
                        let reply = Some(match call.request {
                            Request::Prepare { .. } => {
                                Reply::Prepared { accepted: Ballot::ZERO, value: Value::default() }
                            }
                            _ => Reply::Accepted,
                        });
                        let event = Event::Replied { token, from: to, reply };
                        self.to_come.push((self.now + ROUND_TRIP, event));
                    }
                    Effect::SetTimer { token, after } => {
                        self.to_come.push((self.now + after, Event::TimerFired { token }));
                    }
                    Effect::Answer { result, .. } => {
                        result.expect("it is done");
                        self.answered += 1;
                    }
                    _ => {}
                }
            }
        }
    }

    /// What was waited for a silent acceptor is no round trip: it would make the
    /// proposer wait longer for the next one, and so on.
    #[test]
    fn a_silent_acceptor_does_not_lengthen_the_round_trip() {
        let mut world = World::new();
        for id in 0..50 {
            world.write(id..id + 1);
        }
        let before = world.proposer.load().round_trip;
        world.silent = Some("a2".into());
        let took = world.write(100..112);
        let after = world.proposer.load().round_trip;
        assert!(took <= 8 * ROUND_TRIP, "{took:?}");
        assert!(after <= before + Duration::from_millis(1), "{before:?} became {after:?}");
    }
}
