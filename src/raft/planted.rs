//! Bugs that the simulator plants to show that it finds them. Without the
//! feature `planted-bugs`, which only tests turn on, none has any effect.

/// A way to break the rules of this module, each taken from a real system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A vote is answered before it is on disk: a crash forgets it, and the
    /// voter votes twice in one term.
    VoteNotDurable,
    /// Who led last answers reads without asking whether it still does.
    ReadWithoutReadIndex,
    /// The applied index is written apart from the data: a crash between the
    /// two applies entries twice.
    AppliedIndexApart,
    /// A snapshot is installed as soon as it has come, over whatever the
    /// replica has applied meanwhile.
    SnapshotOverNewerState,
    /// A request that comes again is applied again, though its key remembers
    /// it.
    ForgetsRequests,
    /// A leader goes on with its heartbeats though no quorum hears them, so that
    /// those who do hear them elect nobody else (openraft before its
    /// `quorum_loss_probe_interval`).
    HeartbeatsWithoutQuorum,
    /// A leader goes on though its followers cannot call it.
    LeadsUnreachable,
    /// A replica whose data is an older copy takes part all the same.
    OldCopyIsLetIn,
    /// So does one whose data is gone.
    EmptiedMemberIsLetIn,
    /// A replica serves those that are of another cluster.
    OtherClusterIsServed,
}

/// Whether a test has planted this bug.
pub fn is_planted(planted: Option<Bug>, bug: Bug) -> bool {
    cfg!(feature = "planted-bugs") && planted == Some(bug)
}
