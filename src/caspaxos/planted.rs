//! Bugs that the simulator plants to show that it finds them. Without the
//! feature `planted-bugs`, which only tests turn on, nothing can plant one.

/// A known way to get the proposer wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Against rule 7: a kept ballot is used again after a round that ran out
    /// of time, for another value.
    KeptSurvivesTimeout,
    /// Against rule 10: the first answer to a read is taken for the newest.
    ReadsFromOne,
    /// Against rule 8: a command is applied again though an earlier attempt
    /// of it may have taken effect.
    ReappliesUnknown,
    /// A request that comes again is applied again, though the value remembers
    /// it.
    ForgetsRequests,
    /// Kept values survive a change of the configuration.
    KeptSurvivesConfiguration,
    /// Registers are removed though no age was raised.
    CollectsWithoutAges,
    /// Registers are removed whatever they have promised.
    ForgetsPromises,
    /// Steps are made that hide values.
    HidesValues,
}
