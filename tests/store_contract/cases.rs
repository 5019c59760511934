//! The rules of the acceptor, by message, and what may be a key and a value.

use std::sync::atomic::{AtomicU32, Ordering};

use gryadka::caspaxos::{
    Age, Ballot, Call, Configuration, Epoch, Fence, Floor, MAX_LEAP, Reply, Request, Value,
};
use gryadka::identity::ClusterId;

use crate::Case;
use crate::log_capture::errors_with;
use crate::subject::*;

pub const CASES: &[Case] = &[
    ("nothing is there at first", nothing_at_first),
    ("prepare is strict", prepare_is_strict),
    ("prepare answers what was accepted", prepare_answers_what_was_accepted),
    ("accept needs no prepare", accept_needs_no_prepare),
    ("accept below the promise is refused", accept_below_the_promise),
    ("accept promises the next ballot", accept_promises_the_next_ballot),
    ("accept never lowers a promise", accept_never_lowers_a_promise),
    ("a repeated accept is answered alike", repeated_accept),
    ("another value under one ballot is refused", other_value_under_one_ballot),
    ("another value under one ballot is an alarm", alarm),
    ("ballots are compared in all their parts", all_parts_of_a_ballot),
    ("the zero ballot gets nothing", zero_ballot),
    ("tombstones are values", tombstones),
    ("a batch sees itself", batch_sees_itself),
    ("an empty batch is served", |subject| assert_eq!(subject.serve(&[]), [])),
    ("epochs fence", epochs_fence),
    ("whoever is turned away changes nothing", strangers_change_nothing),
    ("any bytes are a value", any_bytes),
    ("any text is a key", any_text_is_a_key),
];

fn nothing_at_first(subject: &mut dyn Subject) {
    let nothing = was_read(Ballot::ZERO, Value::default());
    assert_eq!(subject.ask(read("k")), nothing);
    let empty = Reply::Prepared { accepted: Ballot::ZERO, value: Value::default() };
    assert_eq!(subject.ask(prepare("k", ballot(1))), empty);
    assert_eq!(subject.ask(read("k")), nothing);
}

fn prepare_is_strict(subject: &mut dyn Subject) {
    subject.ask(prepare("k", ballot(5)));
    for counter in [1, 4, 5] {
        assert_eq!(subject.ask(prepare("k", ballot(counter))), conflict(ballot(5)), "{counter}");
    }
    assert!(matches!(subject.ask(prepare("k", ballot(6))), Reply::Prepared { .. }));
    // Another register is not concerned.
    assert!(matches!(subject.ask(prepare("l", ballot(1))), Reply::Prepared { .. }));
}

fn prepare_answers_what_was_accepted(subject: &mut dyn Subject) {
    subject.ask(put("k", 3, "a"));
    assert_eq!(subject.ask(prepare("k", ballot(3))), conflict(ballot(3)));
    let prepared = Reply::Prepared { accepted: ballot(3), value: value("a", ballot(3)) };
    assert_eq!(subject.ask(prepare("k", ballot(4))), prepared);
}

fn accept_needs_no_prepare(subject: &mut dyn Subject) {
    assert_eq!(subject.ask(put("k", 3, "a")), Reply::Accepted);
    assert_eq!(subject.ask(read("k")), was_read(ballot(3), value("a", ballot(3))));
}

fn accept_below_the_promise(subject: &mut dyn Subject) {
    subject.ask(prepare("k", ballot(5)));
    assert_eq!(subject.ask(put("k", 4, "a")), conflict(ballot(5)));
    assert_eq!(subject.ask(put("k", 5, "a")), Reply::Accepted);
    assert_eq!(subject.ask(put("k", 4, "b")), conflict(ballot(5)));
    assert_eq!(subject.ask(put("k", 7, "c")), Reply::Accepted);
    assert_eq!(subject.ask(put("k", 6, "d")), conflict(ballot(7)));
    assert_eq!(subject.ask(read("k")), was_read(ballot(7), value("c", ballot(7))));
}

fn accept_promises_the_next_ballot(subject: &mut dyn Subject) {
    let call = accept("k", ballot(3), value("a", ballot(3)), ballot(6));
    assert_eq!(subject.ask(call), Reply::Accepted);
    assert_eq!(subject.ask(prepare("k", ballot(6))), conflict(ballot(6)));
    assert_eq!(subject.ask(put("k", 5, "b")), conflict(ballot(6)));
    assert_eq!(subject.ask(put("k", 6, "c")), Reply::Accepted);
}

fn accept_never_lowers_a_promise(subject: &mut dyn Subject) {
    subject.ask(prepare("k", ballot(5)));
    let call = accept("k", ballot(7), value("a", ballot(7)), ballot(2));
    assert_eq!(subject.ask(call), Reply::Accepted);
    assert_eq!(subject.ask(prepare("k", ballot(7))), conflict(ballot(7)));
    // A promise above the ballot and its next one.
    subject.ask(prepare("l", ballot(9)));
    let call = accept("l", ballot(9), value("a", ballot(9)), ballot(3));
    assert_eq!(subject.ask(call), Reply::Accepted);
    assert_eq!(subject.ask(prepare("l", ballot(9))), conflict(ballot(9)));
}

fn repeated_accept(subject: &mut dyn Subject) {
    subject.ask(put("k", 3, "a"));
    assert_eq!(subject.ask(put("k", 3, "a")), Reply::Accepted);
    // Also when a higher ballot was promised meanwhile.
    subject.ask(prepare("k", ballot(8)));
    assert_eq!(subject.ask(put("k", 3, "a")), Reply::Accepted);
    assert_eq!(subject.ask(prepare("k", ballot(8))), conflict(ballot(8)));
}

fn other_value_under_one_ballot(subject: &mut dyn Subject) {
    subject.ask(put("k", 3, "a"));
    assert_eq!(subject.ask(put("k", 3, "b")), conflict(ballot(3)));
    subject.ask(prepare("k", ballot(8)));
    assert_eq!(subject.ask(put("k", 3, "b")), conflict(ballot(8)));
    // The lineage is part of the value.
    let same_record = Value { lineage: Default::default(), ..value("a", ballot(3)) };
    let call = accept("k", ballot(3), same_record, ballot(3));
    assert_eq!(subject.ask(call), conflict(ballot(8)));
    assert_eq!(subject.ask(read("k")), was_read(ballot(3), value("a", ballot(3))));
}

fn alarm(subject: &mut dyn Subject) {
    // The log is one for all tests: no other uses this key.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let key = format!("alarm-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let alarms = |subject: &mut dyn Subject, call| {
        errors_with(&["ALARM", &format!("{key:?}"), "3.p1"], || drop(subject.ask(call)))
    };
    assert_eq!(alarms(subject, put(&key, 3, "a")), 0);
    assert_eq!(alarms(subject, put(&key, 3, "a")), 0);
    assert_eq!(alarms(subject, put(&key, 2, "b")), 0);
    assert_eq!(alarms(subject, put(&key, 3, "b")), 1);
}

fn all_parts_of_a_ballot(subject: &mut dyn Subject) {
    let older = Ballot { counter: MAX_LEAP - 1, ..ballot_of(0, "z") };
    // In byte order: digits, capitals, the underscore, small letters; a name
    // before those that it begins.
    let names = ["-", ".", "0", "9", "A", "Z", "_", "a", "a-b", "a.b", "aB", "aa", "p1", "p10"];
    subject.ask(prepare("k", older));
    for name in names {
        let higher = ballot_of(MAX_LEAP, name);
        assert!(matches!(subject.ask(prepare("k", higher)), Reply::Prepared { .. }), "{name}");
        assert_eq!(subject.ask(prepare("k", older)), conflict(higher));
        let next_life = Ballot { incarnation: gryadka::caspaxos::Incarnation(8), ..higher };
        assert!(matches!(subject.ask(prepare("k", next_life)), Reply::Prepared { .. }), "{name}");
        assert_eq!(subject.ask(prepare("k", higher)), conflict(next_life));
    }
}

fn zero_ballot(subject: &mut dyn Subject) {
    assert_eq!(subject.ask(prepare("k", Ballot::ZERO)), conflict(Ballot::ZERO));
    let call = accept("k", Ballot::ZERO, Value::default(), Ballot::ZERO);
    assert_eq!(subject.ask(call), conflict(Ballot::ZERO));
}

fn tombstones(subject: &mut dyn Subject) {
    let gone = tombstone(ballot(4));
    subject.ask(put("k", 3, "a"));
    assert_eq!(subject.ask(accept("k", ballot(4), gone.clone(), ballot(4))), Reply::Accepted);
    assert_eq!(subject.ask(read("k")), was_read(ballot(4), gone.clone()));
    let prepared = Reply::Prepared { accepted: ballot(4), value: gone };
    assert_eq!(subject.ask(prepare("k", ballot(5))), prepared);
}

fn batch_sees_itself(subject: &mut dyn Subject) {
    let replies = subject.serve(&[
        read("k"),
        prepare("k", ballot(1)),
        prepare("k", ballot(1)),
        put("k", 1, "a"),
        read("k"),
        put("l", 1, "b"),
        prepare("k", ballot(2)),
        put("k", 1, "a"),
        put("k", 2, "c"),
        read("k"),
    ]);
    let expected = [
        was_read(Ballot::ZERO, Value::default()),
        Reply::Prepared { accepted: Ballot::ZERO, value: Value::default() },
        conflict(ballot(1)),
        Reply::Accepted,
        was_read(ballot(1), value("a", ballot(1))),
        Reply::Accepted,
        Reply::Prepared { accepted: ballot(1), value: value("a", ballot(1)) },
        Reply::Accepted,
        Reply::Accepted,
        was_read(ballot(2), value("c", ballot(2))),
    ];
    assert_eq!(replies, expected);
}

fn epochs_fence(subject: &mut dyn Subject) {
    let fenced = |epoch| Reply::Fenced(fence(epoch));
    let put_in = |epoch, counter, text| in_epoch(epoch, put("k", counter, text).request);
    let read_in = |epoch| in_epoch(epoch, read("k").request);
    subject.ask(prepare("k", ballot(1)));
    raise(subject, fence(10));
    assert_eq!(subject.ask(put_in(10, 1, "a")), Reply::Accepted);
    assert_eq!(subject.ask(put_in(9, 2, "b")), fenced(10));
    raise(subject, fence(11));
    assert_eq!(subject.ask(read_in(11)), was_read(ballot(1), value("a", ballot(1))));
    assert_eq!(subject.ask(put_in(10, 2, "b")), fenced(11));
    // Within a batch too.
    let raise = in_epoch(11, Request::Raise { fence: fence(12) });
    let batch = [read_in(11), read_in(12), raise, read_in(11), put_in(12, 2, "b")];
    let Reply::WasRead { .. } = subject.ask(read_in(11)) else { panic!("not read") };
    let replies = subject.serve(&batch);
    assert!(matches!(replies[2], Reply::Raised { .. }));
    assert_eq!((&replies[1], &replies[3]), (&Reply::Behind, &fenced(12)));
    assert_eq!(replies[4], Reply::Accepted);
}

/// The answer to each kind of call of a caller that is turned away, and that
/// nothing has changed.
fn strangers_change_nothing(subject: &mut dyn Subject) {
    subject.serve(&[put("k", 1, "a"), prepare("l", ballot(2))]);
    raise(subject, fence(5));
    let (key, floor) = (key("k"), Floor { counter: u64::MAX, index: 0 });
    let (prepared, far) = (ballot(9), Ballot { counter: u64::MAX, ..ballot(9) });
    let requests = |ballot: Ballot, fence: Fence| {
        let value = value("b", prepared);
        vec![
            Request::Prepare { key: key.clone(), ballot },
            Request::Accept { key: key.clone(), ballot, value, next: ballot },
            Request::Read { key: key.clone() },
            list("", None, u32::MAX).request,
            Request::Remove { key: key.clone(), accepted: ballot, floor: 99 },
            Request::Raise { fence: fence.clone() },
            Request::Enrol { fence, counter: 0, is_founding: false },
            Request::Wipe,
        ]
    };
    let state = |subject: &mut dyn Subject| {
        let status = match subject.ask(in_epoch(5, Request::Status)) {
            Reply::Status(status) => (status.fence, status.cluster, status.nonce),
            other => panic!("{other:?}"),
        };
        let dead = subject.ask(in_epoch(5, list_dead("", None, u32::MAX).request));
        (status, subject.ask(in_epoch(5, list("", None, u32::MAX).request)), dead)
    };
    let before = state(subject);
    let mut refuses = |call: Call, reply: Reply| {
        assert_eq!(subject.ask(call.clone()), reply, "{call:?}");
        assert_eq!(state(subject), before, "{call:?}");
    };
    for request in requests(prepared, fence(6)) {
        for cluster in [None, ClusterId::new(8)] {
            let call = Call { cluster, ..in_epoch(5, request.clone()) };
            refuses(call, Reply::OtherCluster { held: OURS.unwrap() });
        }
        refuses(in_epoch(4, request), Reply::Fenced(fence(5)));
    }
    // An epoch that no configuration has, and numbers that nobody comes by counting.
    let bare = Fence { configuration: None, ..fence(6) };
    for request in requests(prepared, bare).into_iter().take(7) {
        refuses(in_epoch(6, request.clone()), Reply::Behind);
        refuses(in_epoch(u64::MAX, request), Reply::Behind);
    }
    for request in requests(far, fence(u64::MAX)) {
        let is_far = matches!(
            request,
            Request::Prepare { .. }
                | Request::Accept { .. }
                | Request::Raise { .. }
                | Request::Enrol { .. }
        );
        if is_far {
            refuses(in_epoch(5, request), Reply::TooHigh);
        }
    }
    let aged = Fence { age: Age(u64::MAX), ..fence(5) };
    let no_quorum = Configuration::uniform(Epoch(6), &["a1".into()], 2, 1);
    let invalid = Fence { configuration: Some(no_quorum), ..fence(6) };
    for fence in [Fence { floor, ..fence(5) }, aged, invalid] {
        refuses(in_epoch(5, Request::Raise { fence }), Reply::TooHigh);
    }
}

fn any_bytes(subject: &mut dyn Subject) {
    let values =
        [vec![], vec![0], (0..=255).collect(), b"\r\n$-1\r\n".to_vec(), vec![0xff; 1 << 20]];
    for (counter, bytes) in (1..).zip(values) {
        let wanted = value(bytes, ballot(counter));
        let call = accept("k", ballot(counter), wanted.clone(), ballot(counter));
        assert_eq!(subject.ask(call), Reply::Accepted);
        assert_eq!(subject.ask(read("k")), was_read(ballot(counter), wanted));
    }
}

fn any_text_is_a_key(subject: &mut dyn Subject) {
    let long = "d/".repeat(2048);
    let keys =
        ["/", "//", " ", "{}", "{a}b", "}{", "a:b", "ключ/грядка", "\u{10ffff}", "\0", "\n", &long];
    for (counter, key) in (1..).zip(keys) {
        assert_eq!(subject.ask(put(key, counter, key)), Reply::Accepted, "{key:?}");
    }
    for (counter, key) in (1..).zip(keys) {
        let expected = was_read(ballot(counter), value(key, ballot(counter)));
        assert_eq!(subject.ask(read(key)), expected, "{key:?}");
    }
    let listed = page(subject.ask(list("", None, u32::MAX)));
    let mut sorted = keys.to_vec();
    sorted.sort();
    let listed: Vec<_> = listed.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(listed, sorted);
    // A register without a value is not mistaken for another key.
    let call = in_epoch(0, Request::Prepare { key: key("index"), ballot: ballot(1) });
    assert!(matches!(subject.ask(call), Reply::Prepared { .. }));
}
