//! The pure core in a world that is unkind and repeatable.
//!
//! Acceptors, proposers and clients live in virtual time; a seed decides the
//! cluster, the load, what the network loses, doubles, delays and cuts, when
//! who crashes, and how long the disk takes. Whatever happens, the clients'
//! history must be linearizable, no acceptor may meet two values under one
//! ballot, no disk may go back, and once the faults end every proposer must
//! answer. Flaws that are planted on purpose must be found.
//!
//! ```text
//! cargo test --test simulation                                # 5000 seeds
//! SIM_SEEDS=20000 cargo test --release --test simulation
//! SIM_SEED=1234 cargo test --release --test simulation replay -- --nocapture
//! ```

mod acceptor;
mod disk;
mod flaw;
mod invariants;
mod network;
mod parameters;
mod proposer;
mod runner;
#[path = "../seeds/mod.rs"]
mod seeds;
mod statistics;
mod steps;
mod world;

use std::hash::{DefaultHasher, Hash, Hasher};

use gryadka::caspaxos::Bug;

use flaw::Flaw;
use runner::run;
use seeds::{Many, number_from_environment};
use statistics::Statistics;

/// A history that is too hard to judge proves nothing and is passed over.
fn run_many(seeds: std::ops::Range<u64>, flaw: Flaw) -> Many<Statistics> {
    seeds::run_many(seeds, |seed| {
        let run = run(seed, flaw, false);
        (run.statistics, if run.is_undecided { Ok(()) } else { run.result })
    })
}

#[test]
fn every_seed_is_linearizable_and_goes_on_after_faults() {
    let seeds = number_from_environment("SIM_SEEDS").unwrap_or(5000);
    let many = run_many(0..seeds, Flaw::Nothing);
    println!("{seeds} seeds:\n{}", many.statistics);
    if let Some((seed, why)) = many.first_failure {
        panic!(
            "seed {seed}: {why}\nto see it: SIM_SEED={seed} cargo test --release --test simulation replay -- --nocapture"
        );
    }
    let seen = many.statistics;
    assert!(seen.undecided * 5_000 <= seeds, "too many histories are hard to judge:\n{seen}");
    if seeds < 100 {
        return;
    }
    let paths = [
        ("rounds of one trip", seen.rounds_of_one_trip),
        ("rounds of two trips", seen.rounds_of_two_trips),
        ("ballots that neighbours were told of", seen.overtakings_told),
        ("reads without a write", seen.reads_without_write),
        ("attempts settled as included", seen.settled_as_included),
        ("attempts settled as excluded", seen.settled_as_excluded),
        ("unknown", seen.unknown),
        ("failed", seen.failed),
        ("retried and done", seen.retried_and_done),
        ("steps to another configuration", seen.steps_made),
        ("rescans", seen.rescans),
        ("calls that were turned away", seen.fenced),
        ("proposers that slept", seen.proposers_asleep),
        ("acceptors that were wiped", seen.wipes * 4),
        ("collected keys", seen.collected * 4),
        ("acceptors of an earlier cluster", seen.strangers),
        ("acceptors with an old copy of their disk", seen.old_copies * 4),
        ("old copies that were found out", seen.old_copies_found * 4),
    ];
    for (path, count) in paths {
        assert!(count >= seeds / 4, "{path}: only {count} in {seeds} seeds");
    }
    assert!(seen.done * 2 > seen.operations, "most operations should be done:\n{seen}");
}

/// The flaw that `SIM_FLAW` names, as the tests print it.
fn flaw_from_environment() -> Flaw {
    let Ok(name) = std::env::var("SIM_FLAW") else { return Flaw::Nothing };
    let named = Flaw::ALL.into_iter().find(|flaw| format!("{flaw:?}") == name);
    named.unwrap_or_else(|| panic!("SIM_FLAW must be one of {:?}, not {name:?}", Flaw::ALL))
}

/// Runs the seed in `SIM_SEED` and prints all that happens.
#[test]
fn replay() {
    let Some(seed) = number_from_environment("SIM_SEED") else { return };
    let run = run(seed, flaw_from_environment(), true);
    run.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", run.statistics);
    run.result.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
}

#[test]
fn a_seed_repeats_itself() {
    let hash = |seed| {
        let run = run(seed, Flaw::Nothing, true);
        assert!(run.trace.len() > 100, "seed {seed} is all but empty");
        let mut hasher = DefaultHasher::new();
        run.trace.hash(&mut hasher);
        (hasher.finish(), run.statistics)
    };
    for seed in 0..50 {
        let (first, statistics) = hash(seed);
        assert_eq!((first, statistics), hash(seed), "seed {seed}");
        assert_eq!(statistics, run(seed, Flaw::Nothing, false).statistics, "seed {seed}");
    }
}

/// Within 500 seeds the flaw must break a promise, and not just hold somebody up.
fn is_found(flaw: Flaw) {
    let ways = [
        "alarm",
        "not linearizable",
        "an index goes back",
        "have one index",
        "a stranger has changed",
    ];
    let is_broken = |why: &String| ways.iter().any(|way| why.contains(way));
    let many = seeds::run_many(0..500, |seed| {
        let run = run(seed, flaw, false);
        let why = run.result.err().filter(|why| !run.is_undecided && is_broken(why));
        (run.statistics, why.map_or(Ok(()), Err))
    });
    let (seed, why) = many.first_failure.expect("no seed shows the flaw");
    println!("{flaw:?} is found by seed {seed}: {why}");
}

/// No seed of the first ones may fail.
fn is_harmless(flaw: Flaw) {
    let failure = run_many(0..500, flaw).first_failure;
    assert!(failure.is_none(), "{flaw:?}: {failure:?}");
}

#[test]
fn finds_a_kept_ballot_that_survives_a_timeout() {
    is_found(Flaw::Proposer(Bug::KeptSurvivesTimeout));
}

#[test]
fn finds_reads_from_one_acceptor() {
    is_found(Flaw::Proposer(Bug::ReadsFromOne));
}

#[test]
fn finds_commands_that_are_applied_again_on_a_guess() {
    is_found(Flaw::Proposer(Bug::ReappliesUnknown));
}

#[test]
fn finds_requests_that_are_applied_once_more_when_they_come_again() {
    is_found(Flaw::Proposer(Bug::ForgetsRequests));
}

#[test]
fn finds_promises_that_are_answered_before_they_are_durable() {
    is_found(Flaw::PromiseNotDurable);
}

#[test]
fn finds_acceptors_that_ignore_epochs() {
    is_found(Flaw::IgnoresEpochs);
}

#[test]
fn finds_acceptors_that_serve_another_cluster() {
    is_found(Flaw::IgnoresClusters);
}

#[test]
fn finds_acceptors_that_come_back_with_an_old_copy_of_their_disk() {
    is_found(Flaw::IgnoresGenerations);
}

#[test]
fn finds_a_fence_that_strangers_raise() {
    is_found(Flaw::StrangersRaiseFence);
}

#[test]
fn finds_an_acceptor_that_comes_back_empty_and_enrolled() {
    is_found(Flaw::ComesBackEmpty);
}

#[test]
fn finds_a_change_without_a_rescan() {
    is_found(Flaw::RescansNothing);
}

#[test]
fn finds_a_rescan_of_one_key_only() {
    is_found(Flaw::RescansOneKey);
}

#[test]
fn finds_the_plain_way_back_from_five_to_three() {
    is_found(Flaw::Proposer(Bug::HidesValues));
}

#[test]
fn finds_a_kept_value_that_survives_a_configuration() {
    is_found(Flaw::Proposer(Bug::KeptSurvivesConfiguration));
}

#[test]
fn finds_a_collection_without_ages() {
    is_found(Flaw::Proposer(Bug::CollectsWithoutAges));
}

#[test]
fn finds_a_collected_register_that_forgets_its_promise() {
    is_found(Flaw::Proposer(Bug::ForgetsPromises));
}

/// While every ballot is new, an acceptor can be asked for the one it has
/// promised only by a copy of the same request, and then gives the same
/// answer again: accepting that ballot or a higher one raises the promise
/// above it, as each accept asks for the next ballot too, and the next one is
/// never prepared.
#[test]
fn granting_a_ballot_twice_is_harmless_while_no_ballot_is_used_twice() {
    is_harmless(Flaw::GrantsEqual);
}

/// A proposer that comes back and repeats the ballots of its former life is
/// kept in check by the strict comparison alone (where two prepare quorums
/// always meet).
#[test]
fn repeated_ballots_are_refused_by_the_strict_comparison() {
    is_harmless(Flaw::ReusesBallots);
}

#[test]
fn finds_equal_ballots_that_are_granted() {
    is_found(Flaw::GrantsEqualAndReusesBallots);
}
