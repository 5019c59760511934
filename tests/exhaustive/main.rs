//! Every order of events in a small world: the pure core of CASPaxos, two
//! proposers and three acceptors, explored to the end.
//!
//! Messages are delivered in any order, late or never; a round may run out of
//! time, a proposer may lose all that it knows. Bounds keep the space finite:
//! how many rounds each proposer begins, how many of them run out of time. In
//! every state that can be reached, all chosen values must be in one line of
//! descent, each addition in them at most once, and what was acknowledged must
//! have been chosen.
//!
//! ```text
//! cargo test --release --test exhaustive
//! EXHAUSTIVE=long cargo test --release --test exhaustive -- --nocapture
//! ```

mod acceptor;
mod model;
mod part;
mod promises;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use gryadka::caspaxos::{Bug, Configuration, ConfigurationStep, Quorum};
use gryadka::kv::Command;

use model::{FOUNDING, Move, Scenario, State, Task, names};

/// A state on the way, and the moves that are left to try there.
struct Frame {
    state: State,
    came_by: String,
    moves: Vec<Move>,
}

/// Explores all states; gives their number, or the way to one that breaks a
/// promise.
fn explore(scenario: &Scenario) -> Result<usize, String> {
    let start = State::start(scenario)?;
    let mut seen = HashSet::from([start.hash()]);
    let moves = start.moves();
    let mut way = vec![Frame { state: start, came_by: "start".into(), moves }];
    while let Some(frame) = way.last_mut() {
        let Some(next) = frame.moves.pop() else {
            way.pop();
            continue;
        };
        match frame.state.after(scenario, next) {
            Err(why) => {
                let last = frame.state.describe(next);
                let steps: Vec<String> = way.into_iter().map(|frame| frame.came_by).collect();
                return Err(format!("{why}\nafter:\n  {}\n  {last}", steps.join("\n  ")));
            }
            Ok(state) => {
                if seen.insert(state.hash()) {
                    let (came_by, moves) = (frame.state.describe(next), state.moves());
                    way.push(Frame { state, came_by, moves });
                }
            }
        }
    }
    Ok(seen.len())
}

fn is_long() -> bool {
    std::env::var("EXHAUSTIVE").is_ok_and(|form| form == "long")
}

fn holds(name: &str, scenario: &Scenario) {
    let began = Instant::now();
    match explore(scenario) {
        Ok(states) => println!("{name}: {states} states in {:.1?}, all of them", began.elapsed()),
        Err(why) => panic!("{name}: {why}"),
    }
}

fn add(amount: i64) -> Task {
    Task::Command(Command::Add(amount))
}

/// Three acceptors, two proposers; nobody crashes, nothing runs out of time.
fn scenario(first: Vec<Task>, second: Vec<Task>, rounds: [usize; 2]) -> Scenario {
    let founding = Configuration::uniform(FOUNDING, &names(3), 2, 2);
    let none = vec![0, 0];
    Scenario {
        acceptors: 3,
        founding,
        before: Vec::new(),
        tasks: vec![first, second],
        rounds: rounds.into(),
        timeouts: none.clone(),
        crashes: none,
        bug: None,
    }
}

#[test]
fn one_change_each() {
    let rounds = if is_long() { [4, 4] } else { [2, 2] };
    holds("one change each", &scenario(vec![add(1)], vec![add(10)], rounds));
}

#[test]
fn a_kept_value() {
    let rounds = if is_long() { [5, 4] } else { [3, 2] };
    holds("a kept value", &scenario(vec![add(1), add(10)], vec![add(100)], rounds));
}

#[test]
fn a_proposer_crashes() {
    let rounds = if is_long() { [4, 2] } else { [2, 2] };
    let mut scenario = scenario(vec![add(1), add(10)], vec![add(100)], rounds);
    scenario.crashes = vec![1, 0];
    holds("a proposer crashes", &scenario);
}

#[test]
fn a_round_runs_out_of_time() {
    let rounds = if is_long() { [4, 2] } else { [2, 2] };
    let mut scenario = scenario(vec![add(1)], vec![add(10)], rounds);
    scenario.timeouts = vec![1, 0];
    holds("a round runs out of time", &scenario);
}

#[test]
fn a_step_to_another_configuration() {
    let (prepare, accept) =
        (Quorum { acceptors: names(3), size: 2 }, Quorum { acceptors: names(4), size: 3 });
    let (places, is_rescanned) = (BTreeMap::new(), false);
    let step = ConfigurationStep { from: FOUNDING, prepare, accept, places, is_rescanned };
    let rounds = if is_long() { [4, 2] } else { [4, 1] };
    let mut scenario = scenario(vec![Task::Step(step)], vec![add(1)], rounds);
    scenario.acceptors = 4;
    holds("a step to another configuration", &scenario);
}

/// The key is there, or is not there yet, while its register is collected.
#[test]
fn a_collection() {
    let rounds = if is_long() { [4, 4] } else { [2, 4] };
    holds("a collection", &scenario(vec![add(1)], vec![Task::Collect], rounds));
}

#[test]
fn a_deletion() {
    let rounds = if is_long() { [4, 4] } else { [3, 2] };
    let mut scenario = scenario(vec![Task::Command(Command::Delete)], vec![add(10)], rounds);
    scenario.before = vec![Command::Add(1)];
    holds("a deletion", &scenario);
}

/// The register of a deleted key is collected while the key is created anew.
#[test]
fn the_collection_of_a_deleted_key() {
    let rounds = if is_long() { [5, 4] } else { [3, 4] };
    let mut scenario = scenario(vec![add(10)], vec![Task::Collect], rounds);
    scenario.before = vec![Command::Add(1), Command::Delete];
    holds("the collection of a deleted key", &scenario);
}

/// The same, and the key is deleted meanwhile.
#[test]
fn a_deletion_during_a_collection() {
    let rounds = if is_long() { [5, 4] } else { [3, 4] };
    let tasks = vec![Task::Command(Command::Delete), add(10)];
    let mut scenario = scenario(tasks, vec![Task::Collect], rounds);
    scenario.before = vec![Command::Add(1)];
    holds("a deletion during a collection", &scenario);
}

/// The planted bug breaks a promise in some state.
fn is_found(bug: Bug, mut scenario: Scenario) {
    scenario.bug = Some(bug);
    let why = explore(&scenario).expect_err("no state shows the bug");
    println!("{bug:?} is found: {why}");
}

#[test]
fn finds_commands_that_are_applied_again_on_a_guess() {
    let mut scenario = scenario(vec![add(1)], vec![add(10)], [4, 1]);
    scenario.timeouts = vec![1, 0];
    is_found(Bug::ReappliesUnknown, scenario);
}
