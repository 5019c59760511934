//! The operator: a program that grows and shrinks the cluster, step by step,
//! through the proposers. It keeps nothing: after a crash it reads where the
//! cluster stands from a proposer, and goes on from there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Caller, CommandId, Configuration, Epoch, Event, ListKind, ListRequest,
    ReconfigurationError, Reply, Request, Token,
};
use gryadka::kv::{Command, Key};
use rand::Rng;

use super::super::steps::{Plan, next_step, uneven_step};
use super::{Bug, Flaw, Happening, World};

/// The operator's commands are named apart from those of clients.
const FIRST_ID: CommandId = 1 << 40;

/// What the operator is doing.
#[derive(Debug)]
enum Doing {
    Nothing,
    /// Asks a prepare quorum which keys there are.
    Listing {
        plan: Plan,
        configuration: Configuration,
        answered: Vec<AcceptorId>,
        keys: BTreeSet<Key>,
    },
    /// Reads each key, by which its value comes to be held as is demanded now.
    Rescanning {
        plan: Plan,
        left: BTreeMap<CommandId, Key>,
    },
    /// Waits for the end of a step.
    Stepping {
        id: CommandId,
    },
}

pub struct Operator {
    pub is_down: bool,
    /// How many acceptors are wanted.
    wanted: usize,
    /// The proposer whose configuration was read last.
    proposer: usize,
    doing: Doing,
    /// Grows with whatever is begun; what belongs to an earlier one is ignored.
    attempt: u64,
    ids: CommandId,
}

impl Operator {
    pub fn new(wanted: usize) -> Operator {
        let doing = Doing::Nothing;
        Operator { is_down: false, wanted, proposer: 0, doing, attempt: 0, ids: FIRST_ID }
    }

    fn next_id(&mut self) -> CommandId {
        self.ids += 1;
        self.ids
    }
}

impl World {
    /// The operator's place in the network, behind the proposers.
    pub(super) fn operator_index(&self) -> usize {
        self.parameters.proposers
    }

    pub(super) fn plan_operator(&mut self) {
        if let Some(changes) = &self.parameters.changes {
            let after = changes.pause.draw(&mut self.random);
            self.wake_operator_after(after);
        }
    }

    /// Whatever the operator does is over by then.
    fn wake_operator_after(&mut self, after: u64) {
        self.operator.attempt += 1;
        self.operator.doing = Doing::Nothing;
        self.expect_operator_after(after);
    }

    /// If nothing else is begun until then, what is being done is given up.
    fn expect_operator_after(&mut self, after: u64) {
        let attempt = self.operator.attempt;
        self.plan(after, Happening::OperatorWakes { attempt });
    }

    fn retry_operator(&mut self) {
        let pause = self.random.random_range(500..5_000);
        self.wake_operator_after(pause);
    }

    pub(super) fn crash_operator(&mut self, outage: u64) {
        if !self.operator.is_down {
            self.note(|_| "the operator crashes".to_string());
            self.statistics.operator_crashes += 1;
            self.operator.is_down = true;
            self.wake_operator_after(outage);
        }
    }

    /// Brings the operator back to end what was begun.
    pub(super) fn settle_configuration(&mut self) -> Result<(), String> {
        let newest = self.newest_proposer().expect("all are up");
        let acceptors = &self.proposers[newest].configuration().accept.acceptors;
        self.operator.wanted = acceptors.len();
        self.wake_operator_after(0);
        let deadline = self.now + 30_000_000;
        while self.now < deadline {
            let newest = self.newest_proposer().expect("all are up");
            let configuration = self.proposers[newest].configuration();
            if !configuration.is_settled() || !matches!(self.operator.doing, Doing::Nothing) {
                self.advance()?;
                continue;
            }
            // A step that was left under way may end yet.
            let epoch = configuration.epoch;
            let calm = self.now + 1_000_000;
            while self.queue.peek().is_some_and(|Reverse((at, _))| *at < calm) {
                self.advance()?;
            }
            if self.proposers.iter().all(|each| each.configuration().epoch <= epoch) {
                return Ok(());
            }
            self.wake_operator_after(0);
        }
        Err(format!("the configuration does not settle: {:?}", self.operator.doing))
    }

    pub(super) fn on_operator(&mut self, attempt: u64) -> Result<(), String> {
        if self.operator.attempt != attempt || self.parameters.changes.is_none() {
            return Ok(());
        }
        self.operator.is_down = false;
        self.operator.attempt += 1;
        self.operator.doing = Doing::Nothing;
        let Some(proposer) = self.proposer_for_operator() else {
            self.retry_operator();
            return Ok(());
        };
        self.operator.proposer = proposer;
        let configuration = self.proposers[proposer].configuration().clone();
        let caller = self.proposers[proposer].caller();
        let wanted = self.operator.wanted;
        let plan = next_step(&configuration, wanted, &self.names, &mut self.random);
        let Some(plan) = plan.or_else(|| self.another_plan(&configuration)) else {
            return Ok(());
        };
        self.note(|_| format!("the operator at {:?} plans {plan:?}", configuration.epoch));
        if self.flaw == Flaw::RescansNothing && plan.needs_rescan {
            return self.make_step(plan, true);
        }
        let is_down = plan.step.prepare.acceptors.len() < configuration.accept.acceptors.len();
        let is_reverse = self.flaw == Flaw::Proposer(Bug::HidesValues) && is_down;
        if !is_reverse && (plan.needs_rescan || self.random.random_bool(0.2)) {
            self.statistics.rescans += 1;
            return self.list(plan, configuration, caller);
        }
        self.make_step(plan, false)
    }

    /// The number that was wanted is reached: draws another and rests, or goes
    /// to uneven quorums meanwhile.
    fn another_plan(&mut self, configuration: &Configuration) -> Option<Plan> {
        if self.is_settling {
            return None;
        }
        let changes = self.parameters.changes.as_ref().expect("there are changes");
        self.operator.wanted = changes.sizes[self.random.random_range(0..changes.sizes.len())];
        let is_uneven = self.random.random_bool(changes.uneven);
        let plan = is_uneven.then(|| uneven_step(configuration, &mut self.random)).flatten();
        if plan.is_none() {
            self.plan_operator();
        }
        plan
    }

    // ---- the rescan ----

    fn list(
        &mut self,
        plan: Plan,
        configuration: Configuration,
        caller: Caller,
    ) -> Result<(), String> {
        let token = Token { key: Key::configuration(), round: self.operator.attempt };
        let request = Request::List(ListRequest {
            kind: ListKind::Accepted,
            prefix: String::new(),
            after: None,
            limit_bytes: u32::MAX,
        });
        let call = caller.call(request);
        for to in configuration.prepare.acceptors.clone() {
            self.send((self.operator_index(), 0), 0, to, token.clone(), call.clone());
        }
        let (answered, keys) = (Vec::new(), BTreeSet::new());
        self.operator.doing = Doing::Listing { plan, configuration, answered, keys };
        self.expect_operator_after(30_000);
        Ok(())
    }

    /// An acceptor has answered the operator.
    pub(super) fn on_operator_reply(
        &mut self,
        from: AcceptorId,
        token: &Token,
        reply: Option<Reply>,
    ) -> Result<(), String> {
        if token.round != self.operator.attempt {
            return Ok(());
        }
        let Doing::Listing { plan, configuration, answered, keys } = &mut self.operator.doing
        else {
            return Ok(());
        };
        let page = match reply {
            Some(Reply::Listed(page)) => page,
            // The proposer that asked in the operator's name learns of it.
            Some(Reply::Fenced(fence)) => {
                let proposer = self.operator.proposer;
                let life = self.proposers[proposer].life;
                self.retry_operator();
                return self.give(proposer, life, Event::Told(fence));
            }
            Some(Reply::Behind) => {
                let proposer = self.operator.proposer;
                let life = self.proposers[proposer].life;
                self.retry_operator();
                return self.give(proposer, life, Event::FoundBehind(from));
            }
            Some(Reply::Unconfirmed(claim)) => {
                let proposer = self.operator.proposer;
                let life = self.proposers[proposer].life;
                return self.give(proposer, life, Event::FoundUnconfirmed(from, claim));
            }
            _ => return Ok(()),
        };
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        if !answered.contains(&from) {
            answered.push(from);
        }
        if !configuration.prepare.is_met_by(answered) {
            return Ok(());
        }
        let (mut keys, plan) = (std::mem::take(keys), plan.clone());
        keys.retain(|key| !key.is_reserved());
        if self.flaw == Flaw::RescansOneKey {
            keys = keys.into_iter().take(1).collect();
        }
        self.operator.attempt += 1;
        self.expect_operator_after(2_000_000);
        let left: BTreeMap<CommandId, Key> =
            keys.into_iter().map(|key| (self.operator.next_id(), key)).collect();
        let ids: Vec<CommandId> = left.keys().copied().collect();
        self.operator.doing = Doing::Rescanning { plan, left };
        ids.into_iter().try_for_each(|id| self.rescan(id))?;
        self.go_on_when_rescanned()
    }

    fn rescan(&mut self, id: CommandId) -> Result<(), String> {
        let Doing::Rescanning { left, .. } = &self.operator.doing else { return Ok(()) };
        let Some(key) = left.get(&id).cloned() else { return Ok(()) };
        let Some(proposer) = self.any_proposer() else {
            self.retry_operator();
            return Ok(());
        };
        self.proposers[proposer].serving.insert(id);
        let deadline = Duration::from_micros(self.now + 200_000);
        let life = self.proposers[proposer].life;
        let submission = Command::Get.into();
        self.give(proposer, life, Event::Submitted { id, key, submission, deadline })
    }

    /// Takes in the answer to a command of the operator.
    pub(super) fn on_operator_answer(
        &mut self,
        id: CommandId,
        is_done: bool,
    ) -> Result<(), String> {
        let Doing::Rescanning { left, .. } = &mut self.operator.doing else { return Ok(()) };
        let Some(key) = left.remove(&id) else { return Ok(()) };
        if is_done {
            return self.go_on_when_rescanned();
        }
        // Another proposer may do better, in a while.
        let id = self.operator.next_id();
        if let Doing::Rescanning { left, .. } = &mut self.operator.doing {
            left.insert(id, key);
        }
        let pause = self.random.random_range(500..5_000);
        self.plan(pause, Happening::OperatorAsksAgain { id });
        Ok(())
    }

    pub(super) fn on_operator_asks_again(&mut self, id: CommandId) -> Result<(), String> {
        self.rescan(id)
    }

    fn go_on_when_rescanned(&mut self) -> Result<(), String> {
        let Doing::Rescanning { plan, left } = &self.operator.doing else { return Ok(()) };
        match left.is_empty() {
            true => self.make_step(plan.clone(), true),
            false => Ok(()),
        }
    }

    // ---- the step ----

    fn make_step(&mut self, plan: Plan, is_rescanned: bool) -> Result<(), String> {
        let proposer = self.operator.proposer;
        if self.proposers[proposer].is_down {
            self.retry_operator();
            return Ok(());
        }
        let id = self.operator.next_id();
        self.operator.attempt += 1;
        self.operator.doing = Doing::Stepping { id };
        let patience = self.random.random_range(50_000..500_000);
        self.expect_operator_after(patience + 100_000);
        let mut step = plan.step;
        step.is_rescanned = is_rescanned;
        let deadline = Duration::from_micros(self.now + patience);
        let life = self.proposers[proposer].life;
        self.give(proposer, life, Event::Reconfigure { id, step, deadline })
    }

    pub(super) fn on_reconfigured(
        &mut self,
        id: CommandId,
        result: Result<Epoch, ReconfigurationError>,
    ) -> Result<(), String> {
        self.note(|_| format!("step {id} ends: {result:?}"));
        self.statistics.steps_made += u64::from(result.is_ok());
        if !matches!(self.operator.doing, Doing::Stepping { id: mine } if mine == id) {
            return Ok(());
        }
        if let Err(ReconfigurationError::NotEmpty(acceptor)) = &result {
            self.wipe(acceptor)?;
        }
        let is_quick = self.is_settling || self.random.random_bool(0.7);
        match is_quick {
            true => self.retry_operator(),
            false => self.plan_operator(),
        }
        Ok(())
    }

    /// Wipes an acceptor that is to be added, on its own machine: the call is
    /// neither lost nor late.
    fn wipe(&mut self, id: &AcceptorId) -> Result<(), String> {
        let Some(proposer) = self.any_proposer() else { return Ok(()) };
        let (configuration, caller) =
            (self.proposers[proposer].configuration(), self.proposers[proposer].caller());
        if configuration.acceptors().any(|member| member == id) {
            return Ok(());
        }
        let call = caller.call(Request::Wipe);
        let acceptor = self.names.iter().position(|name| name == id).expect("it is listed");
        self.statistics.wipes += 1;
        let token = Token { key: Key::configuration(), round: 0 };
        self.on_request(self.operator_index(), 0, acceptor, token, call)
    }

    // ---- collection ----

    pub(super) fn plan_collection(&mut self) {
        if let Some(span) = self.parameters.collection {
            let after = span.draw(&mut self.random);
            self.plan(after, Happening::Collects);
        }
    }

    /// Some proposer collects what some acceptor shows as dead.
    pub(super) fn on_collects(&mut self) -> Result<(), String> {
        if self.is_settling {
            return Ok(());
        }
        self.plan_collection();
        let acceptor = self.random.random_range(0..self.acceptors.len());
        let Some(proposer) = self.any_proposer() else { return Ok(()) };
        let keys = self.acceptors[acceptor].dead_keys();
        if keys.is_empty() || self.acceptors[acceptor].is_down {
            return Ok(());
        }
        let id = self.operator.next_id();
        let patience = self.random.random_range(5_000..100_000);
        let deadline = Duration::from_micros(self.now + patience);
        let life = self.proposers[proposer].life;
        self.give(proposer, life, Event::Collect { id, keys, deadline })
    }

    /// The proposer that the operator reads: mostly the one that has come
    /// furthest, at times any.
    fn proposer_for_operator(&mut self) -> Option<usize> {
        match self.is_settling || self.random.random_bool(0.7) {
            true => self.newest_proposer(),
            false => self.any_proposer(),
        }
    }

    /// The proposer of the newest configuration among those that are up.
    fn newest_proposer(&self) -> Option<usize> {
        let up = (0..self.proposers.len()).filter(|each| !self.proposers[*each].is_down);
        up.max_by_key(|each| self.proposers[*each].configuration().epoch)
    }

    /// A proposer that is up, if there is one.
    fn any_proposer(&mut self) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.proposers.len()).filter(|each| !self.proposers[*each].is_down).collect();
        (!up.is_empty()).then(|| up[self.random.random_range(0..up.len())])
    }

    /// True for the operator's commands.
    pub(super) fn is_of_operator(id: CommandId) -> bool {
        id >= FIRST_ID
    }
}
