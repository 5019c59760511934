use std::collections::BTreeMap;

use super::*;
use crate::caspaxos::{Configuration, ConfigurationStep};

fn id(number: usize) -> AcceptorId {
    format!("a{number}").as_str().into()
}

fn settled(count: usize) -> Configuration {
    let ids: Vec<AcceptorId> = (1..=count).map(id).collect();
    Configuration::uniform(Epoch(1), &ids, majority(count), majority(count))
}

fn lists(configuration: &Configuration) -> Lists {
    Lists {
        epoch: configuration.epoch,
        prepare: configuration.prepare.clone(),
        accept: configuration.accept.clone(),
        rescan_needed: !configuration.held.is_empty(),
    }
}

/// Makes a step as a proposer does.
fn make(configuration: &Configuration, next: Next) -> Configuration {
    let (Step { prepare, accept }, is_rescanned) = match next {
        Next::Done => panic!("there is nothing to do"),
        Next::Rescan => {
            let Configuration { prepare, accept, .. } = configuration.clone();
            (Step { prepare, accept }, true)
        }
        Next::Step(step) => (step, false),
    };
    let from = configuration.epoch;
    let step = ConfigurationStep { from, prepare, accept, places: BTreeMap::new(), is_rescanned };
    configuration.after(step).unwrap_or_else(|error| panic!("{configuration:?}: {error}"))
}

/// Every configuration on the way, the first and the last included.
fn way(from: Configuration, operation: &Operation) -> Vec<Configuration> {
    let mut way = vec![from];
    loop {
        let last = way.last().expect("the first one");
        match next(&lists(last), operation).unwrap_or_else(|error| panic!("{last:?}: {error}")) {
            Next::Done => return way,
            next => way.push(make(last, next)),
        }
        assert!(way.len() < 20, "{operation:?} has no end");
    }
}

fn described(way: &[Configuration]) -> Vec<String> {
    let each = |configuration: &Configuration| {
        let Lists { prepare, accept, rescan_needed, .. } = lists(configuration);
        let part = |quorum: Quorum| format!("{}/{}", quorum.size, quorum.acceptors.len());
        let rescan = if rescan_needed { " rescan" } else { "" };
        format!("{} {}{rescan}", part(prepare), part(accept))
    };
    way.iter().map(each).collect()
}

#[test]
fn the_orders_are_those_of_the_paper_with_rescans() {
    for (from, operation, expected) in [
        (3, Operation::Grow(id(4)), &["2/3 2/3", "2/3 3/4 rescan", "2/3 3/4", "3/4 3/4"][..]),
        (4, Operation::Grow(id(5)), &["3/4 3/4", "3/5 3/5 rescan", "3/5 3/5"]),
        (5, Operation::Shrink(id(5)), &["3/5 3/5", "3/4 3/4 rescan", "3/4 3/4"]),
        (4, Operation::Shrink(id(4)), &["3/4 3/4", "2/3 3/4", "2/3 2/3 rescan", "2/3 2/3"]),
        (1, Operation::Grow(id(2)), &["1/1 1/1", "1/1 2/2 rescan", "1/1 2/2", "2/2 2/2"]),
        (2, Operation::Shrink(id(1)), &["2/2 2/2", "1/1 2/2", "1/1 1/1 rescan", "1/1 1/1"]),
    ] {
        assert_eq!(described(&way(settled(from), &operation)), expected, "{operation:?}");
    }
}

/// Every operation that is possible at a size, with one acceptor that is new.
fn operations(count: usize) -> Vec<Operation> {
    let mut all = vec![];
    if count < MAX_ACCEPTORS {
        all.push(Operation::Grow(id(9)));
    }
    for old in (1..=count).map(id) {
        if count > 1 {
            all.push(Operation::Shrink(old.clone()));
        }
        all.push(Operation::Replace { old, new: id(9) });
    }
    all
}

#[test]
fn every_way_between_all_sizes_is_safe_and_ends_settled() {
    for count in 1..=MAX_ACCEPTORS {
        for operation in operations(count) {
            let way = way(settled(count), &operation);
            let end = way.last().unwrap();
            let size = end.prepare.acceptors.len();
            assert!(end.is_settled() && way.iter().all(|each| each.validate().is_ok()));
            assert_eq!((end.prepare.size, end.accept.size), (majority(size), majority(size)));
            let (expected, has_old) = match &operation {
                Operation::Grow(_) => (count + 1, None),
                Operation::Shrink(old) => (count - 1, Some(old)),
                Operation::Replace { old, .. } => (count, Some(old)),
            };
            assert_eq!(size, expected, "{operation:?}");
            assert!(has_old.is_none_or(|old| !lists(end).has(old)));
            assert!(way.iter().all(|each| each.acceptors().count() <= MAX_ACCEPTORS));
        }
    }
}

#[test]
fn an_operation_goes_on_or_back_from_every_configuration_on_its_way() {
    for count in 1..=MAX_ACCEPTORS {
        for operation in operations(count) {
            let whole = way(settled(count), &operation);
            for (at, configuration) in whole.iter().enumerate() {
                // A way that is taken up ends where the whole one does.
                let rest = way(configuration.clone(), &operation);
                assert_eq!(described(&rest), described(&whole)[at..], "{operation:?}");
                let back = match &operation {
                    Operation::Grow(new) => Operation::Shrink(new.clone()),
                    Operation::Shrink(old) => Operation::Grow(old.clone()),
                    Operation::Replace { .. } => continue,
                };
                let end = way(configuration.clone(), &back).pop().unwrap();
                assert!(end.is_settled() && end.prepare.acceptors.len() == count, "{back:?}");
            }
        }
    }
}

#[test]
fn what_is_unsafe_or_makes_no_sense_is_refused() {
    let refusal = |configuration: &Configuration, operation| {
        next(&lists(configuration), &operation).unwrap_err()
    };
    assert_eq!(refusal(&settled(7), Operation::Grow(id(8))), Refusal::TooMany);
    assert_eq!(refusal(&settled(1), Operation::Shrink(id(1))), Refusal::Last(id(1)));
    let replace = |old, new| Operation::Replace { old: id(old), new: id(new) };
    assert_eq!(refusal(&settled(3), replace(1, 1)), Refusal::ByItself(id(1)));
    let none = Refusal::NoMember { old: id(8), new: id(9) };
    assert_eq!(refusal(&settled(3), replace(8, 9)), none);
    let under_way = &way(settled(3), &Operation::Grow(id(4)))[1];
    for operation in
        [Operation::Grow(id(5)), Operation::Shrink(id(1)), replace(1, 5), replace(4, 5)]
    {
        assert_eq!(refusal(under_way, operation), Refusal::UnderWay(id(4)));
    }
    let ids: Vec<AcceptorId> = (1..=3).map(id).collect();
    let uneven = Configuration::uniform(Epoch(1), &ids, 1, 3);
    let refused = refusal(&uneven, Operation::Grow(id(4)));
    assert!(matches!(refused, Refusal::NoMajority { phase: "prepare", size: 1, .. }));
    let mut apart = settled(3);
    apart.accept.acceptors[0] = id(4);
    let refused = refusal(&apart, Operation::Grow(id(5)));
    assert!(matches!(refused, Refusal::UnknownShape { .. }), "{refused}");
    for operation in [Operation::Grow(id(1)), Operation::Shrink(id(9)), replace(9, 1)] {
        assert_eq!(next(&lists(&settled(3)), &operation), Ok(Next::Done), "{operation:?}");
    }
}
