//! Whatever was answered is still true after a crash (rule 3).

use gryadka::caspaxos::{
    Age, Ballot, Batch, Configuration, Epoch, Fence, Floor, MAX_LEAP, Place, Reply, Request, Value,
};

use crate::Case;
use crate::subject::*;

pub const CASES: &[Case] = &[
    ("promises and values survive a crash", registers_survive),
    ("the least epoch survives a crash", epoch_survives),
    ("how far ballots count survives a crash", counter_survives),
    ("the index of keys survives a crash", listing_survives),
    ("the fence survives a crash", fence_survives),
    ("removals survive a crash", removals_survive),
    ("one that was wiped is enrolled as a new one", a_wipe_survives),
];

fn registers_survive(subject: &mut dyn Subject) {
    subject.ask(prepare("promised", ballot(5)));
    subject.ask(put("accepted", 3, "a"));
    subject.ask(accept("next", ballot(3), value("b", ballot(3)), ballot(9)));
    subject.ask(accept("gone", ballot(4), tombstone(ballot(4)), ballot(4)));
    for round in 0..3 {
        subject.crash();
        assert_eq!(subject.ask(prepare("promised", ballot(5))), conflict(ballot(5)), "{round}");
        assert_eq!(subject.ask(read("promised")), was_read(Ballot::ZERO, Value::default()));
        assert_eq!(subject.ask(prepare("accepted", ballot(3))), conflict(ballot(3)));
        assert_eq!(subject.ask(read("accepted")), was_read(ballot(3), value("a", ballot(3))));
        assert_eq!(subject.ask(put("accepted", 3, "a")), Reply::Accepted);
        assert_eq!(subject.ask(prepare("next", ballot(9))), conflict(ballot(9)));
        assert_eq!(subject.ask(read("gone")), was_read(ballot(4), tombstone(ballot(4))));
        // What was written between the crashes stays too.
        for earlier in 1..=round {
            let text = format!("round {earlier}");
            let expected = was_read(ballot(earlier), value(text.as_str(), ballot(earlier)));
            assert_eq!(subject.ask(read(&text)), expected);
        }
        subject.ask(put(
            &format!("round {}", round + 1),
            round + 1,
            &format!("round {}", round + 1),
        ));
    }
}

fn epoch_survives(subject: &mut dyn Subject) {
    raise(subject, fence(10));
    subject.crash();
    let fenced = |epoch| Reply::Fenced(fence(epoch));
    assert_eq!(subject.ask(in_epoch(9, read("k").request)), fenced(10));
    raise(subject, fence(12));
    subject.crash();
    assert_eq!(subject.ask(in_epoch(11, read("k").request)), fenced(12));
    assert!(matches!(subject.ask(in_epoch(12, read("k").request)), Reply::WasRead { .. }));
}

/// How far ballots count, too: the next leap is from there.
fn counter_survives(subject: &mut dyn Subject) {
    let prepare = |counter| prepare("k", ballot(counter));
    assert!(matches!(subject.ask(prepare(MAX_LEAP)), Reply::Prepared { .. }));
    subject.crash();
    assert_eq!(subject.ask(prepare(2 * MAX_LEAP + 1)), Reply::TooHigh);
    assert!(matches!(subject.ask(prepare(2 * MAX_LEAP)), Reply::Prepared { .. }));
}

fn listing_survives(subject: &mut dyn Subject) {
    subject.serve(&[put("d/a", 1, "a"), put("d/b", 1, "b"), prepare("d/c", ballot(1))]);
    let before = subject.ask(list("d/", None, u32::MAX));
    assert_eq!(page(before.clone()).entries.len(), 2);
    subject.crash();
    assert_eq!(subject.ask(list("d/", None, u32::MAX)), before);
}

fn fence_survives(subject: &mut dyn Subject) {
    let mut configuration = Configuration::uniform(Epoch(8), &["a1".into(), "ü".into()], 1, 2);
    configuration.places.insert("ü".into(), Place::Peer { url: "http://[::1]:1".into() });
    let floor = Floor { counter: MAX_LEAP, index: MAX_LEAP };
    let collected = Batch(vec![1, u64::MAX]);
    let fence = Fence {
        epoch: Epoch(8),
        configuration: Some(configuration),
        age: Age(3),
        floor,
        collected,
    };
    let raise = |fence: &Fence| in_epoch(8, Request::Raise { fence: fence.clone() });
    let raised = |is_aged| Reply::Raised { is_aged, fence: fence.clone() };
    assert_eq!(subject.ask(raise(&fence)), raised(true));
    for _ in 0..2 {
        subject.crash();
        assert_eq!(subject.ask(in_epoch(7, read("k").request)), Reply::Fenced(fence.clone()));
        let young = of_age(2, in_epoch(8, read("k").request));
        assert_eq!(subject.ask(young), Reply::Fenced(fence.clone()));
        let known = of_age(3, in_epoch(8, read("k").request));
        assert!(matches!(subject.ask(known), Reply::WasRead { .. }));
        assert_eq!(subject.ask(of_age(3, raise(&fence))), raised(false));
        // Lower parts change nothing.
        let lower = Fence { epoch: Epoch(8), ..Fence::default() };
        assert_eq!(subject.ask(of_age(3, raise(&lower))), raised(false));
    }
}

fn removals_survive(subject: &mut dyn Subject) {
    let gone = accept("k", ballot(4), tombstone(ballot(4)), ballot(4));
    subject.serve(&[put("k", 3, "a"), gone, prepare("l", ballot(1)), put("m", 1, "b")]);
    let dead = |subject: &mut dyn Subject| -> Vec<String> {
        let page = page(subject.ask(list_dead("", None, u32::MAX)));
        page.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(dead(subject), ["k", "l"]);
    subject.crash();
    assert_eq!(dead(subject), ["k", "l"]);
    let removed = |is_gone| Reply::Removed { is_gone };
    assert_eq!(subject.ask(remove("k", ballot(4), 3)), removed(false));
    assert_eq!(subject.ask(remove("k", ballot(4), 4)), removed(true));
    assert_eq!(subject.ask(remove("m", ballot(1), 9)), removed(false));
    subject.crash();
    assert_eq!(dead(subject), ["l"]);
    assert_eq!(subject.ask(remove("k", ballot(4), 4)), removed(true));
    // It knows nothing of what was.
    let prepared = Reply::Prepared { accepted: Ballot::ZERO, value: Value::default() };
    assert_eq!(subject.ask(prepare("k", ballot(1))), prepared);
    assert_eq!(dead(subject), ["k", "l"]);
    assert_eq!(subject.ask(put("k", 1, "again")), Reply::Accepted);
    assert_eq!(dead(subject), ["l"]);
}

fn a_wipe_survives(subject: &mut dyn Subject) {
    let fence = Fence { age: Age(2), ..fence(5) };
    let enrol =
        in_epoch(5, Request::Enrol { fence: fence.clone(), counter: 0, is_founding: false });
    subject.serve(&[put("k", 1, "a"), prepare("l", ballot(1))]);
    raise(subject, Fence { age: Age(0), ..fence.clone() });
    assert_eq!(subject.ask(enrol.clone()), Reply::NotEmpty);
    let again = in_epoch(5, put("m", 1, "b").request);
    let replies = subject.serve(&[again.clone(), in_epoch(5, Request::Wipe), again.clone()]);
    assert_eq!(replies, [Reply::Accepted, Reply::Wiped, Reply::NotEnrolled]);
    subject.crash();
    assert_eq!(subject.ask(again.clone()), Reply::NotEnrolled);
    let late = in_epoch(4, Request::Enrol { fence: fence.clone(), counter: 0, is_founding: false });
    assert!(matches!(subject.ask(late), Reply::Fenced(_)), "it remembers the epoch");
    assert!(matches!(subject.ask(enrol.clone()), Reply::Raised { is_aged: true, .. }));
    subject.crash();
    assert!(matches!(subject.ask(again.clone()), Reply::Fenced(_)));
    let none = was_read(Ballot::ZERO, Value::default());
    assert_eq!(subject.ask(of_age(2, in_epoch(5, read("k").request))), none);
    let Reply::Status(status) = subject.ask(in_epoch(0, Request::Status)) else {
        panic!("no status");
    };
    assert_eq!((status.cluster, status.fence, status.dead), (OURS, fence, 0));
}
