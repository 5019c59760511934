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
    /// Terms that had a leader.
    leaders,
    /// Entries that replicas applied, each counted on each replica.
    applied,
    /// Snapshots that were installed.
    snapshots_installed,
    crashes,
    /// Crashes in the middle of what the storage wrote.
    crashes_within_a_group,
    /// Replicas that came back with an older copy of their disk, an empty one, or that
    /// of another cluster.
    old_copies,
    empty_disks,
    foreign_disks,
    /// How often they were told so.
    refused,
    network_cuts,
    /// Seeds whose network was cut for good at last.
    lasting_cuts,
    /// How long it took then until a majority served.
    recovery_milliseconds,
    messages,
    messages_lost,
    messages_late,
    members_added,
    members_removed,
    hand_overs,
    virtual_milliseconds,
}
