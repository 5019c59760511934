//! The bugs that a world can have planted, and what shows them.

use gryadka::caspaxos::Bug;

use super::parameters::Focus;

/// What is wrong in the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    Nothing,
    /// A bug of the proposer.
    Proposer(Bug),
    /// Acceptors answer a prepare before the promise is on disk.
    PromiseNotDurable,
    /// Acceptors grant the ballot that they have promised already.
    GrantsEqual,
    /// Proposers restart with the same incarnation and count from zero.
    ReusesBallots,
    /// Both of the above.
    GrantsEqualAndReusesBallots,
    /// Acceptors serve any epoch.
    IgnoresEpochs,
    /// Acceptors serve callers of any cluster.
    IgnoresClusters,
    /// Acceptors serve whatever generation their store is of.
    IgnoresGenerations,
    /// Whoever calls raises the epoch of an acceptor, be it turned away or not.
    StrangersRaiseFence,
    /// An acceptor that crashed comes back without its registers, and is taken
    /// for the one that it was.
    ComesBackEmpty,
    /// The operator says that every key was rescanned, and rescans none.
    RescansNothing,
    /// The operator rescans one key of all.
    RescansOneKey,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 20] = [
        Flaw::Proposer(Bug::KeptSurvivesTimeout),
        Flaw::Proposer(Bug::ReadsFromOne),
        Flaw::Proposer(Bug::ReappliesUnknown),
        Flaw::Proposer(Bug::ForgetsRequests),
        Flaw::Proposer(Bug::KeptSurvivesConfiguration),
        Flaw::Proposer(Bug::CollectsWithoutAges),
        Flaw::Proposer(Bug::ForgetsPromises),
        Flaw::Proposer(Bug::HidesValues),
        Flaw::Nothing,
        Flaw::PromiseNotDurable,
        Flaw::GrantsEqual,
        Flaw::ReusesBallots,
        Flaw::GrantsEqualAndReusesBallots,
        Flaw::IgnoresEpochs,
        Flaw::IgnoresClusters,
        Flaw::IgnoresGenerations,
        Flaw::StrangersRaiseFence,
        Flaw::ComesBackEmpty,
        Flaw::RescansNothing,
        Flaw::RescansOneKey,
    ];

    pub fn reuses_ballots(self) -> bool {
        matches!(self, Flaw::ReusesBallots | Flaw::GrantsEqualAndReusesBallots)
    }

    /// What seeds must be about, to show it.
    pub fn focus(self) -> Focus {
        match self {
            Flaw::ReusesBallots | Flaw::GrantsEqualAndReusesBallots => Focus::BallotsComeAgain,
            Flaw::IgnoresEpochs | Flaw::RescansNothing | Flaw::RescansOneKey => Focus::Changes,
            Flaw::Proposer(Bug::KeptSurvivesConfiguration) => Focus::UnevenQuorums,
            Flaw::Proposer(Bug::HidesValues) => Focus::FromFiveToThree,
            Flaw::Proposer(Bug::CollectsWithoutAges | Bug::ForgetsPromises) => Focus::Collections,
            Flaw::Nothing
            | Flaw::Proposer(_)
            | Flaw::PromiseNotDurable
            | Flaw::GrantsEqual
            | Flaw::IgnoresClusters
            | Flaw::IgnoresGenerations
            | Flaw::StrangersRaiseFence
            | Flaw::ComesBackEmpty => Focus::Anything,
        }
    }
}
