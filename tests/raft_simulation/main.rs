//! Whole Raft replicas in a world that is unkind and repeatable.
//!
//! Replicas with all their parts, openraft among them, run in one process on
//! virtual time. A seed decides the cluster, what clients ask, what the network
//! loses, delays, reorders and cuts, who crashes when and what its disk keeps,
//! and which members come and go. Whatever happens, the clients' history must
//! be linearizable and the invariants must hold; once the faults end all
//! members must come to hold the same. Bugs that are planted must be found.
//!
//! ```text
//! cargo test --test raft_simulation                                # 24 seeds
//! SIM_SEEDS=20000 cargo test --release --test raft_simulation
//! SIM_SEED=1234 cargo test --test raft_simulation replay -- --nocapture
//! ```

mod clients;
mod disk;
mod faults;
mod healing;
mod invariants;
mod lasting;
mod machine;
mod network;
mod other_disks;
mod parameters;
mod runner;
#[path = "../seeds/mod.rs"]
mod seeds;
mod statistics;
mod world;

use gryadka::raft::Bug;

use runner::run;
use seeds::{Many, number_from_environment};
use statistics::Statistics;

fn run_many(seeds: std::ops::Range<u64>, bug: Option<Bug>) -> Many<Statistics> {
    seeds::run_many(seeds, |seed| {
        let run = run(seed, bug, false);
        (run.statistics, run.result)
    })
}

#[test]
fn every_seed_is_linearizable_and_comes_together_again() {
    let seeds = number_from_environment("SIM_SEEDS").unwrap_or(24);
    let many = run_many(0..seeds, None);
    println!("{seeds} seeds:\n{}", many.statistics);
    if let Some((seed, why)) = many.first_failure {
        panic!(
            "seed {seed}: {why}\nto see it: SIM_SEED={seed} cargo test --test raft_simulation replay -- --nocapture"
        );
    }
    if seeds < 100 {
        return;
    }
    let seen = many.statistics;
    let paths = [
        ("leaders", seen.leaders),
        ("installed snapshots", seen.snapshots_installed),
        ("crashes within a group", seen.crashes_within_a_group),
        ("other disks that were refused", seen.refused),
        ("members added", seen.members_added),
        ("members removed", seen.members_removed),
        ("hand-overs", seen.hand_overs),
        ("unknown", seen.unknown),
        ("failed", seen.failed),
        ("retried and done", seen.retried_and_done),
    ];
    for (path, count) in paths {
        assert!(count >= seeds / 8, "{path}: only {count} in {seeds} seeds");
    }
    assert!(seen.undecided * 10 <= seeds, "too many histories are hard to judge:\n{seen}");
    assert!(seen.done * 2 > seen.operations, "most operations should be done:\n{seen}");
}

/// Runs the seed in `SIM_SEED` and prints all that happens.
#[test]
fn replay() {
    let Some(seed) = number_from_environment("SIM_SEED") else { return };
    let run = run(seed, None, true);
    println!("{}", run.statistics);
    run.result.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..3 {
        let (first, second) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(first.statistics, second.statistics, "seed {seed}");
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
}

/// The bug must be found within 200 seeds, as what it is.
fn is_found(bug: Bug, signs: &[&str]) {
    let many = seeds::run_many(0..200, |seed| {
        let run = run(seed, Some(bug), false);
        let has_sign = |why: &String| signs.iter().any(|sign| why.contains(sign));
        (run.statistics, run.result.or_else(|why| if has_sign(&why) { Err(why) } else { Ok(()) }))
    });
    let (seed, why) = many.first_failure.expect("no seed shows the bug");
    println!("{bug:?} is found by seed {seed}: {why}");
}

#[test]
fn finds_votes_that_are_answered_before_they_are_durable() {
    is_found(Bug::VoteNotDurable, &["votes for", "both lead"]);
}

#[test]
fn finds_reads_without_a_read_index() {
    is_found(Bug::ReadWithoutReadIndex, &["not linearizable"]);
}

#[test]
fn finds_an_applied_index_that_is_stored_apart() {
    is_found(Bug::AppliedIndexApart, &["holds", "not linearizable"]);
}

#[test]
fn finds_requests_that_are_applied_once_more_when_they_come_again() {
    is_found(Bug::ForgetsRequests, &["not linearizable"]);
}

#[test]
fn finds_heartbeats_of_a_leader_that_no_quorum_hears() {
    is_found(Bug::HeartbeatsWithoutQuorum, &["none serves"]);
}

#[test]
fn finds_leaders_that_nobody_can_call() {
    is_found(Bug::LeadsUnreachable, &["none serves"]);
}

/// How a replica shows that has forgotten, or whose log is another one. The last two
/// are openraft's: in debug builds a leader asserts that what was acknowledged to it
/// is not gone.
const SIGNS_OF_OTHER_DATA: [&str; 6] =
    ["not linearizable", "holds", "applies", "votes for", "is broken", "has stopped"];

#[test]
fn finds_older_copies_that_are_let_in() {
    is_found(Bug::OldCopyIsLetIn, &SIGNS_OF_OTHER_DATA);
}

#[test]
fn finds_emptied_members_that_are_let_in() {
    is_found(Bug::EmptiedMemberIsLetIn, &SIGNS_OF_OTHER_DATA);
}

#[test]
fn finds_members_of_an_earlier_cluster_that_are_served() {
    // Or the member's own data is refused, since that of the other was noted.
    let signs = [&SIGNS_OF_OTHER_DATA[..], &["is refused"]].concat();
    is_found(Bug::OtherClusterIsServed, &signs);
}

#[test]
fn finds_snapshots_over_newer_state() {
    is_found(Bug::SnapshotOverNewerState, &["holds", "not linearizable"]);
}
