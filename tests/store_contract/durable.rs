//! Whatever was answered is still true after a crash (rule 3).

use gryadka::caspaxos::{Ballot, Epoch, Reply, Value};

use crate::Case;
use crate::subject::*;

pub const CASES: &[Case] = &[
    ("promises and values survive a crash", registers_survive),
    ("the least epoch survives a crash", epoch_survives),
    ("the index of keys survives a crash", listing_survives),
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
    subject.ask(in_epoch(10, read("k").request));
    subject.crash();
    let fenced = |least| Reply::Fenced { least: Epoch(least) };
    assert_eq!(subject.ask(in_epoch(9, read("k").request)), fenced(10));
    subject.ask(in_epoch(12, put("k", 1, "a").request));
    subject.crash();
    assert_eq!(subject.ask(in_epoch(11, read("k").request)), fenced(12));
    assert!(matches!(subject.ask(in_epoch(12, read("k").request)), Reply::WasRead { .. }));
}

fn listing_survives(subject: &mut dyn Subject) {
    subject.serve(&[put("d/a", 1, "a"), put("d/b", 1, "b"), prepare("d/c", ballot(1))]);
    let before = subject.ask(list("d/", None, u32::MAX));
    assert_eq!(page(before.clone()).entries.len(), 2);
    subject.crash();
    assert_eq!(subject.ask(list("d/", None, u32::MAX)), before);
}
