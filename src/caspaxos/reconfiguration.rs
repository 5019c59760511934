//! One step from a configuration to the next, driven by one proposer.
//!
//! 1. **Enrol**: acceptors that are new must answer, and be empty. Nothing is
//!    changed before all of them have answered, and a quorum of the next
//!    configuration is of the cluster: founders may not have been enrolled yet, and
//!    nobody could do so later.
//! 2. **Decide**: the next configuration is written into a register of the
//!    cluster's own, under the configuration of now, if that still holds the
//!    configuration of now. Two operators cannot decide two steps.
//! 3. **Fence**: the acceptors of the old configuration raise their epoch,
//!    until none of its quorums can be had any more. What they hand out from
//!    then on brings every other proposer up to date, also one that slept.
//! 4. The step is **in force**.
//!
//! A proposer that finds another step decided finishes that one first, so a
//! step whose proposer crashed is not lost.

use std::time::Duration;

use super::{
    AcceptorId, Caller, CommandId, Configuration, Effect, Epoch, Fence, Instant, Reply, Request,
    Token, UnsafeConfiguration,
};
use crate::identity::ClusterId;
use crate::kv::{Command, Compare, Key, Outcome, Verdict};

/// Why a step was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReconfigurationError {
    /// It would not be safe, or is a step from another configuration.
    #[error(transparent)]
    Unsafe(#[from] UnsafeConfiguration),
    /// This proposer makes another one.
    #[error("another change of the configuration is under way; try again later")]
    Busy,
    /// An acceptor that is to be added holds data.
    #[error("acceptor {0} holds registers of an earlier membership; wipe it first")]
    NotEmpty(AcceptorId),
    /// An acceptor that is to be added is one of another cluster.
    #[error(
        "acceptor {id} belongs to another cluster, {held}, and this one is {ours}; nothing was \
         changed: if the data of the other one may go, stop its node, remove its data directory \
         (or flush its Redis), and start it again"
    )]
    OtherCluster {
        /// The acceptor.
        id: AcceptorId,
        /// Its cluster.
        held: ClusterId,
        /// That of the proposer.
        ours: ClusterId,
    },
    /// An acceptor that is to be added does not answer; nothing was changed.
    #[error("acceptor {0} does not answer; nothing was changed: start it")]
    Unreachable(AcceptorId),
    /// The acceptors of the next configuration that are of the cluster, as far as
    /// they answer, are no quorum of it.
    #[error(
        "a quorum of the next configuration must be of the cluster, and there is no answer that \
         says so from {}; nothing was changed: start them",
        self::acceptors(.0)
    )]
    NoQuorum(Vec<AcceptorId>),
    /// The proposer does not know its cluster yet.
    #[error("the cluster is not founded yet, as far as this node knows; nothing was changed")]
    NotFounded,
    /// No quorum answered; nothing was changed.
    #[error("no quorum of acceptors answered in time; nothing was changed")]
    Failed,
    /// Nobody knows yet whether it is made.
    #[error("no quorum of acceptors confirmed the change in time; it may be made yet")]
    Unknown,
}

fn acceptors(ids: &[AcceptorId]) -> String {
    let each: Vec<String> = ids.iter().map(|id| format!("acceptor {id}")).collect();
    each.join(", ")
}

#[derive(Clone, Debug)]
enum Stage {
    Enrolling,
    Deciding,
    Fencing,
}

/// A step under way.
#[derive(Clone, Debug)]
pub struct Reconfiguration {
    id: CommandId,
    /// Comes back with the replies.
    token: Token,
    cluster: ClusterId,
    /// How far the proposer has counted its ballots.
    counter: u64,
    old: Configuration,
    wanted: Configuration,
    stage: Stage,
    /// Who has done what the stage asks for.
    done: Vec<AcceptorId>,
    fence: Fence,
    deadline: Instant,
    /// The configuration that was wanted was not the one that was decided.
    found: Option<Epoch>,
    is_answered: bool,
}

/// What a step needs next.
pub enum Progress {
    /// More replies.
    Waits,
    /// The outcome of this command on [`Key::configuration`].
    Decides(Command),
    /// To be taken into force.
    InForce(Fence),
    /// Nothing: it came to nothing, and was answered.
    Ended,
}

impl Reconfiguration {
    /// After so long those that did not answer are asked again.
    const RETRY_AFTER: Duration = Duration::from_millis(200);

    /// Starts a step from `old` to `wanted` in a cluster where the proposer has
    /// counted as far as `counter`. `fence` is what it knows, `round` a round of
    /// its own.
    pub fn new(
        (id, deadline): (CommandId, Instant),
        round: u64,
        (cluster, counter): (ClusterId, u64),
        old: Configuration,
        wanted: Configuration,
        fence: Fence,
    ) -> Self {
        Reconfiguration {
            id,
            token: Token { key: Key::configuration(), round },
            cluster,
            counter,
            old,
            wanted,
            stage: Stage::Enrolling,
            done: Vec::new(),
            fence,
            deadline,
            found: None,
            is_answered: false,
        }
    }

    /// The command that decides, while it does: its answer is for this.
    pub fn awaits(&self) -> Option<CommandId> {
        matches!(self.stage, Stage::Deciding).then_some(self.id)
    }

    /// The command that decides carries these.
    pub fn name(&self) -> (CommandId, Instant) {
        (self.id, self.deadline)
    }

    /// How it ends if the configuration in force has come as far by itself.
    pub fn overtaken_by(
        &self,
        configuration: &Configuration,
    ) -> Option<Result<Epoch, ReconfigurationError>> {
        let is_overtaken = configuration.epoch >= self.wanted.epoch && self.awaits().is_none();
        is_overtaken.then(|| match *configuration == self.wanted {
            true => Ok(configuration.epoch),
            false => Err(self.mismatch(configuration.epoch)),
        })
    }

    fn mismatch(&self, found: Epoch) -> ReconfigurationError {
        UnsafeConfiguration::Mismatch { expected: self.old.epoch, found }.into()
    }

    /// True for the replies and timers of this.
    pub fn is_meant(&self, token: &Token) -> bool {
        self.token == *token
    }

    /// Asks everybody who is still to answer.
    pub fn ask(&mut self, effects: &mut Vec<Effect>) -> Progress {
        let fence = || self.fence.clone();
        let counter = self.counter;
        let enrol = |id| (id, Request::Enrol { fence: fence(), counter, is_founding: false });
        let raise = |id| (id, Request::Raise { fence: fence() });
        let requests: Vec<(&AcceptorId, Request)> = match self.stage {
            Stage::Enrolling => {
                let remaining = self.remaining().map(|id| (id, Request::Status));
                self.newcomers().map(enrol).chain(remaining).collect()
            }
            Stage::Deciding => return Progress::Waits,
            Stage::Fencing => self.old.acceptors().chain(self.newcomers()).map(raise).collect(),
        };
        let Fence { epoch, age, .. } = self.fence;
        let caller = Caller { cluster: Some(self.cluster), epoch, age };
        let asked = requests.into_iter().filter(|(id, _)| !self.done.contains(id));
        effects.extend(asked.map(|(id, request)| Effect::Send {
            to: id.clone(),
            token: self.token.clone(),
            call: caller.call(request),
            is_spare: false,
        }));
        effects.push(Effect::SetTimer { token: self.token.clone(), after: Self::RETRY_AFTER });
        self.progress()
    }

    /// Takes a reply in.
    pub fn on_reply(
        &mut self,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) -> Progress {
        match (&self.stage, reply) {
            (Stage::Enrolling | Stage::Fencing, Some(Reply::Raised { fence, .. })) => {
                self.fence.raise(&fence);
                if !self.done.contains(&from) {
                    self.done.push(from);
                }
                self.progress()
            }
            (Stage::Enrolling, Some(Reply::Status(status))) => {
                if status.cluster == Some(self.cluster) && !self.done.contains(&from) {
                    self.done.push(from);
                }
                self.progress()
            }
            (Stage::Enrolling, Some(Reply::NotEmpty)) => {
                self.answer(Err(ReconfigurationError::NotEmpty(from)), effects);
                Progress::Ended
            }
            (Stage::Enrolling, Some(Reply::OtherCluster { held })) => {
                let error =
                    ReconfigurationError::OtherCluster { id: from, held, ours: self.cluster };
                self.answer(Err(error), effects);
                Progress::Ended
            }
            (Stage::Fencing, Some(Reply::Fenced(fence))) if fence.age > self.fence.age => {
                self.fence.raise(&fence);
                self.ask(effects)
            }
            // Those that are silent or refuse are asked again.
            (Stage::Enrolling | Stage::Deciding | Stage::Fencing, _) => Progress::Waits,
        }
    }

    /// Asks again, or gives up what can be given up.
    pub fn on_timer(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Progress {
        if now < self.deadline {
            return self.ask(effects);
        }
        match self.stage {
            Stage::Enrolling => {
                let is_silent = |id: &&AcceptorId| !self.done.contains(id);
                let error = match self.newcomers().find(is_silent) {
                    Some(silent) => ReconfigurationError::Unreachable(silent.clone()),
                    None => ReconfigurationError::NoQuorum(
                        self.remaining().filter(is_silent).cloned().collect(),
                    ),
                };
                self.answer(Err(error), effects);
                Progress::Ended
            }
            Stage::Deciding => Progress::Waits,
            // It is decided: whoever gives it up leaves it to others.
            Stage::Fencing => {
                self.answer(Err(ReconfigurationError::Unknown), effects);
                self.ask(effects)
            }
        }
    }

    /// Takes the outcome of [`Progress::Decides`] in.
    pub fn on_decided(
        &mut self,
        result: Result<Outcome, super::Failure>,
        effects: &mut Vec<Effect>,
    ) -> Progress {
        let error = match result {
            Ok(outcome) => match self.decided_by(&outcome) {
                Some(decided) => {
                    self.found = (decided != self.wanted).then_some(decided.epoch);
                    self.wanted = decided;
                    self.stage = Stage::Fencing;
                    self.done.clear();
                    self.fence.raise(&Fence {
                        epoch: self.wanted.epoch,
                        configuration: Some(self.wanted.clone()),
                        ..Fence::default()
                    });
                    return self.ask(effects);
                }
                None => ReconfigurationError::Failed,
            },
            Err(super::Failure::Unknown) => ReconfigurationError::Unknown,
            Err(super::Failure::Failed) => ReconfigurationError::Failed,
        };
        self.answer(Err(error), effects);
        Progress::Ended
    }

    /// The configuration that the register holds, if it is newer than the old.
    fn decided_by(&self, outcome: &Outcome) -> Option<Configuration> {
        if outcome.verdict == Verdict::Done {
            return Some(self.wanted.clone());
        }
        let found = serde_json::from_slice::<Configuration>(outcome.before.value.as_ref()?).ok()?;
        (found.epoch > self.old.epoch).then_some(found)
    }

    /// What follows from what was done so far.
    fn progress(&mut self) -> Progress {
        match self.stage {
            Stage::Enrolling
                if self.newcomers().all(|id| self.done.contains(id))
                    && self.wanted.prepare.is_met_by(&self.done)
                    && self.wanted.accept.is_met_by(&self.done) =>
            {
                self.stage = Stage::Deciding;
                Progress::Decides(self.command())
            }
            Stage::Fencing
                if self.old.prepare.is_out_of_reach_without(&self.done)
                    && self.old.accept.is_out_of_reach_without(&self.done) =>
            {
                Progress::InForce(self.fence.clone())
            }
            Stage::Enrolling | Stage::Deciding | Stage::Fencing => Progress::Waits,
        }
    }

    /// Turns the register from the old configuration to the wanted one.
    fn command(&self) -> Command {
        let text = |configuration: &Configuration| -> bytes::Bytes {
            let text = serde_json::to_vec(configuration);
            text.expect("a configuration can be written").into()
        };
        match self.old.epoch {
            // Nobody has written it down.
            Epoch::FOUNDING => Command::Create(text(&self.wanted)),
            Epoch(_) => {
                let compare = Compare { value: Some(text(&self.old)), index: None };
                Command::CompareAndSwap(compare, text(&self.wanted))
            }
        }
    }

    fn newcomers(&self) -> impl Iterator<Item = &AcceptorId> {
        self.wanted.acceptors().filter(|id| !self.old.acceptors().any(|old| old == *id))
    }

    /// The acceptors of both configurations.
    fn remaining(&self) -> impl Iterator<Item = &AcceptorId> {
        self.wanted.acceptors().filter(|id| self.old.acceptors().any(|old| old == *id))
    }

    /// Says how it ended, once.
    pub fn answer(
        &mut self,
        result: Result<Epoch, ReconfigurationError>,
        effects: &mut Vec<Effect>,
    ) {
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        let result = match self.found {
            Some(found) if result.is_ok() => Err(self.mismatch(found)),
            Some(_) | None => result,
        };
        effects.push(Effect::Reconfigured { id: self.id, result });
    }
}
