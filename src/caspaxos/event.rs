//! What goes into a proposer and what comes out of it.

use std::time::Duration;

use super::{
    AcceptorId, Ballot, Call, Collected, Configuration, ConfigurationStep, EnrolmentClaim, Epoch,
    Fence, OldCopy, ReconfigurationError, Reply, Unidentified,
};
use crate::identity::ClusterId;
use crate::kv::{Key, Outcome, Submission};

/// Time since an origin of the caller's choice; it must never go back.
pub type Instant = Duration;

/// Names a command from its submission to its answer; chosen by the caller.
pub type CommandId = u64;

/// Names a round of a key; replies and timers carry it back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The key.
    pub key: Key,
    /// The round; unique in the life of a proposer.
    pub round: u64,
}

/// What happens to a proposer.
#[derive(Clone, Debug)]
pub enum Event {
    /// The proposer begins.
    Started,
    /// A client asks for a command on a key.
    Submitted {
        /// Comes back with the answer.
        id: CommandId,
        /// The key.
        key: Key,
        /// The command, and the name of the request.
        submission: Submission,
        /// When the client will have lost patience.
        deadline: Instant,
    },
    /// An acceptor has answered.
    Replied {
        /// As in the effect that sent the request.
        token: Token,
        /// Who answered.
        from: AcceptorId,
        /// What it answered; `None` when it is known that no answer will
        /// come, though the request may have been served.
        reply: Option<Reply>,
    },
    /// An acceptor's fence came to be known.
    Told(Fence),
    /// An acceptor turned away a call that was made for this proposer, since it
    /// does not know the configuration ([`Reply::Behind`]).
    FoundBehind(AcceptorId),
    /// An acceptor turned away a call that was made for this proposer, since
    /// nobody has confirmed it ([`Reply::Unconfirmed`]).
    FoundUnconfirmed(AcceptorId, EnrolmentClaim),
    /// It is time to mark the acceptors, so that old copies of their stores can be
    /// told. To come again and again, each second or so.
    Marks,
    /// Another proposer has asked an acceptor that is near for a ballot. To be
    /// told spares a round trip and is never needed.
    Overtaken {
        /// The register.
        key: Key,
        /// Its ballot.
        by: Ballot,
    },
    /// An operator makes a step to another configuration.
    Reconfigure {
        /// Comes back with the end of it.
        id: CommandId,
        /// The step.
        step: ConfigurationStep,
        /// When the operator will have lost patience.
        deadline: Instant,
    },
    /// Deleted registers are to be removed from the acceptors.
    Collect {
        /// Comes back with the end of it.
        id: CommandId,
        /// Keys whose records are deleted, as far as is known.
        keys: Vec<Key>,
        /// When it is given up.
        deadline: Instant,
    },
    /// A timer has run out.
    TimerFired {
        /// As in the effect that set it.
        token: Token,
    },
}

/// What a proposer wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a request to an acceptor.
    Send {
        /// The acceptor.
        to: AcceptorId,
        /// To come back with the reply.
        token: Token,
        /// The request.
        call: Call,
        /// The answer is not needed unless another acceptor fails: it may wait
        /// for company.
        is_spare: bool,
    },
    /// Fire a timer.
    SetTimer {
        /// To come back when it fires.
        token: Token,
        /// After this long.
        after: Duration,
    },
    /// Keep the cluster that the proposer belongs to.
    Identified(ClusterId),
    /// Tell people why it does not know its cluster yet.
    Unidentified(Unidentified),
    /// Tell people of an acceptor whose store is an old copy: it is left out.
    FoundOldCopy(OldCopy),
    /// The acceptors of this configuration will be asked, which is not in force
    /// here.
    Seeks(Configuration),
    /// Keep the configuration that is in force from now on.
    Configured(Configuration),
    /// Tell the operator how the step ended; what was [`Effect::Configured`]
    /// before is kept by then.
    Reconfigured {
        /// As asked for.
        id: CommandId,
        /// The version that is in force, or why the step was not made.
        result: Result<Epoch, ReconfigurationError>,
    },
    /// A batch of deleted registers has ended.
    Collected {
        /// As asked for.
        id: CommandId,
        /// What it came to.
        collected: Collected,
    },
    /// Answer a client.
    Answer {
        /// As submitted.
        id: CommandId,
        /// The result.
        result: Result<Outcome, Failure>,
    },
}

/// Why a command has no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The command took no effect and never will.
    #[error("no quorum of acceptors answered in time; nothing was changed")]
    Failed,
    /// The command may have taken effect, or may do so later.
    #[error("no quorum of acceptors confirmed the change in time; it may have been made")]
    Unknown,
}
