//! What the seeds exercised.

crate::seeds::statistics! {
    operations,
    done,
    unknown,
    failed,
    /// Requests of unknown outcome that were asked for again.
    retried,
    /// Those of them that got an outcome then.
    retried_and_done,
    /// Seeds whose history was too hard to judge.
    undecided,
    /// Changes that began with the accept of a kept ballot.
    rounds_of_one_trip,
    /// Changes that had to prepare.
    rounds_of_two_trips,
    /// Ballots that the proposer beside an acceptor was told of.
    overtakings_told,
    /// Reads answered without a write.
    reads_without_write,
    /// Rounds in which an earlier attempt was found to have taken effect.
    settled_as_included,
    /// Rounds in which commands were applied again, as their earlier attempt
    /// had provably taken none.
    settled_as_excluded,
    messages,
    messages_lost,
    messages_duplicated,
    acceptor_crashes,
    /// Acceptors that came back with the data of an earlier cluster.
    strangers,
    /// Acceptors that came back with an old copy of their disk.
    old_copies,
    /// How often a proposer found that out.
    old_copies_found,
    proposer_crashes,
    proposers_asleep,
    operator_crashes,
    network_cuts,
    /// Steps to another configuration.
    steps_made,
    /// Rescans of all keys that were begun.
    rescans,
    /// Acceptors that were wiped before they came back into the cluster.
    wipes,
    /// Calls that were turned away by the fence.
    fenced,
    /// Keys whose deleted registers all acceptors have removed.
    collected,
    /// Registers that one acceptor has removed.
    registers_removed,
    virtual_milliseconds,
}
