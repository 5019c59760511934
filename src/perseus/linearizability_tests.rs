//! Histories that are known to be good or bad, and random ones against a
//! search without any shortcut.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::kv::{Command, Compare, Outcome, Verdict, apply};
use crate::perseus::{End, IndexOrder, Observation, Seen};

fn key() -> Key {
    Key::try_from("k").unwrap()
}

fn set(text: &str) -> Command {
    Command::Set(text.to_string().into())
}

fn swap(from: &str, to: &str) -> Command {
    let compare = Compare { value: Some(from.to_string().into()), index: None };
    Command::CompareAndSwap(compare, to.to_string().into())
}

/// A value that was seen after the command, and nothing else.
fn saw(text: &str) -> Observation {
    let value = (text != "-").then(|| text.to_string().into());
    let after = Seen { value: Some(value), ..Seen::default() };
    Observation { after, ..Observation::default() }
}

fn said(verdict: Verdict) -> Observation {
    Observation { verdict: Some(verdict), ..Observation::default() }
}

fn returned(at: u64, observation: Observation) -> End {
    End::Returned { at, observation }
}

fn history(operations: Vec<(u64, Command, End)>) -> History {
    let mut history = History::default();
    for (called, command, end) in operations {
        let id = history.call(called, key(), command, called);
        history.end(id, end);
    }
    history
}

fn is_good(operations: Vec<(u64, Command, End)>) -> bool {
    check(&history(operations)).is_ok()
}

#[test]
fn a_read_sees_the_write_before_it_or_one_at_the_same_time() {
    let reads = |at, text: &str| {
        is_good(vec![
            (1, set("a"), returned(2, saw("a"))),
            (3, set("b"), returned(6, saw("b"))),
            (at, Command::Get, returned(at + 1, saw(text))),
        ])
    };
    assert!(reads(4, "a") && reads(4, "b") && reads(7, "b"));
    assert!(!reads(7, "a"), "a stale read");
    assert!(!reads(4, "-") && !reads(4, "c"));
}

#[test]
fn reads_do_not_go_back_while_a_write_is_under_way() {
    let twice = |first: &str, second: &str| {
        is_good(vec![
            (1, set("a"), returned(2, saw("a"))),
            (3, set("b"), returned(20, saw("b"))),
            (4, Command::Get, returned(5, saw(first))),
            (6, Command::Get, returned(7, saw(second))),
        ])
    };
    assert!(twice("a", "b") && twice("b", "b") && twice("a", "a"));
    assert!(!twice("b", "a"));
}

#[test]
fn a_lost_update_is_found() {
    let last = |text: &str| {
        is_good(vec![
            (1, Command::Create("0".into()), returned(2, said(Verdict::Done))),
            (3, Command::Add(1), returned(9, said(Verdict::Done))),
            (4, Command::Add(1), returned(8, said(Verdict::Done))),
            (10, Command::Get, returned(11, saw(text))),
        ])
    };
    assert!(last("2") && !last("1") && !last("3"));
    let swaps = vec![
        (1, set("0"), returned(2, said(Verdict::Done))),
        (3, swap("0", "1"), returned(9, said(Verdict::Done))),
        (4, swap("0", "2"), returned(8, said(Verdict::Done))),
    ];
    assert!(!is_good(swaps), "both swaps found the same value");
}

#[test]
fn an_unknown_operation_takes_effect_late_or_never_but_once() {
    let adds = |seen: &[&str]| {
        let mut operations = vec![
            (1, set("0"), returned(2, said(Verdict::Done))),
            (3, Command::Add(1), End::Unknown),
        ];
        for (at, text) in (10..).step_by(2).zip(seen) {
            operations.push((at, Command::Get, returned(at + 1, saw(text))));
        }
        is_good(operations)
    };
    assert!(adds(&["0", "0"]) && adds(&["0", "1"]) && adds(&["1", "1"]));
    assert!(!adds(&["1", "0"]), "taken back");
    assert!(!adds(&["1", "2"]) && !adds(&["2"]), "applied twice");
}

#[test]
fn an_unknown_operation_takes_no_effect_before_its_call() {
    assert!(!is_good(vec![(1, Command::Get, returned(2, saw("a"))), (3, set("a"), End::Unknown),]));
}

#[test]
fn a_failed_operation_is_never_seen() {
    let reads = |text: &str| {
        is_good(vec![(1, set("a"), End::Failed), (3, Command::Get, returned(4, saw(text)))])
    };
    assert!(reads("-") && !reads("a"));
}

#[test]
fn indices_count_the_changes() {
    let at = |modified_index| {
        let shown = Seen { modified_index: Some(modified_index), ..Seen::default() };
        let observation = Observation { after: shown, ..Observation::default() };
        is_good(vec![
            (1, set("a"), returned(2, said(Verdict::Done))),
            (3, set("b"), End::Unknown),
            (5, set("c"), returned(6, said(Verdict::Done))),
            (7, Command::Get, returned(8, observation)),
        ])
    };
    assert!(!at(1) && at(2) && at(3) && !at(4));
}

#[test]
fn an_index_is_of_one_record_and_one_change() {
    let outcome = |command: &Command, before: &Record| {
        Observation::from(&apply(before, command, before.modified_index + 1))
    };
    let (a, b) = (set("a"), set("b"));
    let twice = history(vec![
        (1, a.clone(), returned(5, outcome(&a, &Record::default()))),
        (2, b.clone(), returned(6, outcome(&b, &Record::default()))),
    ]);
    assert!(matches!(check(&twice), Err(CheckError::Clash { .. })));
}

#[test]
fn a_report_shows_the_way_to_the_stuck_point() {
    let error = check(&history(vec![
        (1, set("a"), returned(2, said(Verdict::Done))),
        (3, set("b"), returned(4, said(Verdict::Done))),
        (5, Command::Get, returned(6, saw("a"))),
    ]));
    let Err(CheckError::NotLinearizable(violation)) = error else { panic!("{error:?}") };
    assert_eq!((violation.linearized, violation.total), (2, 3));
    assert_eq!(violation.state.text(), Some("b"));
    let text = violation.to_string();
    assert!(text.contains("client 5 [5, 6] Get") && text.contains("the model answers"), "{text}");
}

#[test]
fn indices_of_all_keys_have_gaps_that_nobody_knows() {
    let done = |command: &Command, before: &Record, index| {
        Observation::from(&apply(before, command, index))
    };
    let (a, c) = (set("a"), set("c"));
    let at_7 = apply(&Record::default(), &a, 7).after;
    let reads = |record: &Record| {
        let operations = vec![
            (1, a.clone(), returned(2, done(&a, &Record::default(), 7))),
            (3, set("b"), End::Unknown),
            (4, Command::Update("u".into()), End::Unknown),
            (5, Command::Get, returned(6, Observation::from(&apply(record, &Command::Get, 0)))),
        ];
        check_numbered(&history(operations), IndexOrder::Global).is_ok()
    };
    let at = |value: &'static str, created_index, modified_index| {
        let value = Some(value.into());
        Record { value, created_index, modified_index }
    };
    assert!(reads(&at_7) && reads(&at("b", 20, 20)) && reads(&at("u", 7, 30)));
    assert!(reads(&at("u", 20, 30)), "one update after a write that nobody saw");
    assert!(!reads(&at("b", 6, 6)) && !reads(&at("b", 7, 20)) && !reads(&at("u", 6, 20)));
    assert!(!reads(&at("a", 20, 20)), "a was written once");
    let overwritten = history(vec![
        (1, a.clone(), returned(2, done(&a, &Record::default(), 7))),
        (3, c.clone(), returned(4, done(&c, &at_7, 6))),
    ]);
    assert!(check_numbered(&overwritten, IndexOrder::Global).is_err(), "indices grow");
}

/// The indices that a command may have given: what the clients saw tells which
/// of them matter.
fn indices_to_try(all: &[&Operation], order: IndexOrder) -> Vec<u64> {
    let seen = all.iter().filter_map(|op| match &op.end {
        End::Returned { observation, .. } => Some(observation),
        End::Unknown | End::Failed => None,
    });
    let parts = seen.flat_map(|seen| [&seen.before, &seen.after]);
    let indices = parts.flat_map(|part| [part.created_index, part.modified_index]).flatten();
    match order {
        IndexOrder::PerKey => Vec::new(),
        IndexOrder::Global => indices.collect(),
    }
}

/// All orders, no shortcut: what the search must agree with.
fn check_by_trying_all(left: &[&Operation], state: &Record, indices: &[u64]) -> bool {
    let is_definite = |op: &&&Operation| matches!(op.end, End::Returned { .. });
    let ends = left.iter().filter(is_definite).map(|op| match op.end {
        End::Returned { at, .. } => at,
        End::Unknown | End::Failed => unreachable!("filtered"),
    });
    let Some(horizon) = ends.min() else { return true };
    let next = state.modified_index + 1;
    let numbers = || indices.iter().copied().filter(|index| *index > next).chain([next]);
    let starts = (0..left.len()).filter(|&i| left[i].called <= horizon);
    starts.flat_map(|i| numbers().map(move |index| (i, index))).any(|(i, index)| {
        let outcome = apply(state, &left[i].command, index);
        let fits = match &left[i].end {
            End::Returned { observation, .. } => observation.agrees_with(&outcome),
            End::Unknown => true,
            End::Failed => false,
        };
        let rest: Vec<&Operation> = [&left[..i], &left[i + 1..]].concat();
        fits && check_by_trying_all(&rest, &outcome.after, indices)
    })
}

/// How much of an outcome the clients of a random history see.
#[derive(Clone, Copy)]
enum View {
    All,
    Values,
    After,
}

impl View {
    fn of(self, outcome: &Outcome) -> Observation {
        let mut seen = Observation::from(outcome);
        match self {
            View::All => {}
            View::Values | View::After => {
                for part in [&mut seen.before, &mut seen.after] {
                    (part.created_index, part.modified_index) = (None, None);
                }
            }
        }
        if let View::After = self {
            (seen.before, seen.verdict) = (Seen::default(), None);
        }
        seen
    }
}

/// A history of a store that works: `in_flight` operations at once, each of
/// which takes effect between its call and its end.
fn random_history(
    random: &mut SmallRng,
    count: u64,
    in_flight: u64,
    view: View,
    order: IndexOrder,
) -> History {
    let mut history = History::default();
    let mut state = Record::default();
    for number in 0..count {
        let command = match random.random_range(0..8) {
            0..3 => Command::Get,
            3 => set(&number.to_string()),
            4 if matches!(view, View::All) || count < 100 => Command::Add(1),
            4 => Command::Update(number.to_string().into()),
            5 => swap(state.text().unwrap_or("0"), &number.to_string()),
            6 => Command::Create(number.to_string().into()),
            _ => Command::Delete,
        };
        let is_unknown = random.random_bool(0.002);
        let instant = 10 * number + 10 * in_flight;
        let called = instant - random.random_range(0..5 * in_flight);
        let at = instant + random.random_range(0..5 * in_flight);
        let id = history.call(number, key(), command.clone(), called);
        if is_unknown && random.random_bool(0.5) {
            continue;
        }
        let gap = match order {
            IndexOrder::PerKey => 0,
            IndexOrder::Global => random.random_range(0..3),
        };
        let outcome = apply(&state, &command, state.modified_index + 1 + gap);
        if !is_unknown {
            history.end(id, End::Returned { at, observation: view.of(&outcome) });
        }
        state = outcome.after;
    }
    history
}

#[test]
fn shortcuts_lose_nothing_and_let_nothing_pass() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut bad = 0;
    for round in 0..3000 {
        let view = [View::All, View::Values, View::After][round % 3];
        let order = [IndexOrder::PerKey, IndexOrder::Global][round / 3 % 2];
        let mut history = random_history(&mut random, 7, 4, view, order);
        for operation in &mut history.operations {
            if random.random_bool(0.2) {
                operation.end = End::Unknown;
            }
        }
        // Two answers change places: usually nobody could have given them so.
        if random.random_bool(0.7) {
            let (i, j) = (random.random_range(0..7), random.random_range(0..7));
            let one = history.operations[i].command.clone();
            history.operations[i].command =
                std::mem::replace(&mut history.operations[j].command, one);
        }
        let operations: Vec<&Operation> = history.operations.iter().collect();
        let mut indices = indices_to_try(&operations, order);
        indices.sort_unstable();
        indices.dedup();
        let expected = check_by_trying_all(&operations, &Record::default(), &indices);
        assert_eq!(check_numbered(&history, order).is_ok(), expected, "{history:#?}");
        bad += usize::from(!expected);
    }
    assert!((500..2500).contains(&bad), "{bad} of 3000 histories are bad");
}

#[test]
fn a_long_history_of_one_key_is_checked_in_seconds() {
    let mut random = SmallRng::seed_from_u64(11);
    let (per_key, global) = (IndexOrder::PerKey, IndexOrder::Global);
    for (view, order) in [(View::All, per_key), (View::Values, per_key), (View::All, global)] {
        let started = std::time::Instant::now();
        let history = random_history(&mut random, 100_000, 20, view, order);
        check_numbered(&history, order).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("100,000 operations: {:?}", started.elapsed());
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }
}
