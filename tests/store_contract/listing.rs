//! Pages of accepted records, in key order.

use gryadka::caspaxos::{ListEntry, ListPage};

use crate::Case;
use crate::subject::*;

pub const CASES: &[Case] = &[
    ("only what was accepted is listed", only_accepted),
    ("a prefix has sharp bounds", prefix_bounds),
    ("after is exclusive", after_is_exclusive),
    ("pages follow each other without gap or overlap", pages),
    ("pages are bounded whatever is asked for", pages_are_bounded),
    ("a listing sees the writes of its batch", sees_its_batch),
];

fn keys(page: &ListPage) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.key.as_str()).collect()
}

fn list_all(subject: &mut dyn Subject, prefix: &str) -> ListPage {
    page(subject.ask(list(prefix, None, u32::MAX)))
}

fn only_accepted(subject: &mut dyn Subject) {
    assert_eq!(list_all(subject, ""), ListPage::default());
    subject.ask(prepare("a", ballot(1)));
    subject.ask(put("b", 2, "text"));
    subject.ask(accept("c", ballot(3), tombstone(ballot(3)), ballot(3)));
    let listed = list_all(subject, "");
    assert_eq!(keys(&listed), ["b", "c"]);
    assert_eq!(listed.more_after, None);
    let [b, c] = &listed.entries[..] else { panic!("two entries: {listed:?}") };
    assert_eq!((b.accepted, &b.record), (ballot(2), &value("text", ballot(2)).record));
    assert_eq!((c.accepted, &c.record), (ballot(3), &tombstone(ballot(3)).record));
}

fn prefix_bounds(subject: &mut dyn Subject) {
    let all = ["c/z", "d", "d/", "d/a", "d/a/b", "d/\u{10ffff}", "d/\u{10ffff}x", "d0", "dx", "e"];
    for key in all {
        subject.ask(put(key, 1, ""));
    }
    assert_eq!(keys(&list_all(subject, "d/")), &all[2..7]);
    assert_eq!(keys(&list_all(subject, "d")), &all[1..9]);
    assert_eq!(keys(&list_all(subject, "d/a")), ["d/a", "d/a/b"]);
    assert_eq!(keys(&list_all(subject, "d/\u{10ffff}")), &all[5..7]);
    assert_eq!(keys(&list_all(subject, "x")), [""; 0]);
    assert_eq!(keys(&list_all(subject, "")), all);
}

fn after_is_exclusive(subject: &mut dyn Subject) {
    for key in ["d/a", "d/b", "d/c", "e"] {
        subject.ask(put(key, 1, ""));
    }
    let mut after = |after| {
        let listed = page(subject.ask(list("d/", Some(after), u32::MAX)));
        keys(&listed).join(" ")
    };
    assert_eq!(after("a"), "d/a d/b d/c");
    assert_eq!(after("d/"), "d/a d/b d/c");
    assert_eq!(after("d/a"), "d/b d/c");
    assert_eq!(after("d/aa"), "d/b d/c");
    assert_eq!(after("d/c"), "");
    assert_eq!(after("f"), "");
}

fn pages(subject: &mut dyn Subject) {
    let all: Vec<String> = (0..200).map(|number| format!("d/{number:03}")).collect();
    let puts: Vec<_> = all.iter().map(|key| put(key, 1, &"x".repeat(50))).collect();
    subject.serve(&puts);
    for limit_bytes in [0, 1, 200, 1000, 100_000] {
        let (mut found, mut after): (Vec<String>, Option<String>) = Default::default();
        loop {
            let page = page(subject.ask(list("d/", after.as_deref(), limit_bytes)));
            found.extend(keys(&page).into_iter().map(String::from));
            let Some(more_after) = &page.more_after else { break };
            assert_eq!(Some(more_after), page.entries.last().map(|entry| &entry.key));
            // Each entry has 55 bytes, and what it takes besides them.
            let most = 1 + limit_bytes as usize / (55 + ListEntry::OVERHEAD_BYTES);
            assert!((1..=most).contains(&page.entries.len()), "{limit_bytes}: {page:?}");
            after = Some(more_after.as_str().into());
        }
        assert_eq!(found, all, "limit {limit_bytes}");
    }
}

fn pages_are_bounded(subject: &mut dyn Subject) {
    // Whatever is asked for, a page ends past 256 KiB, and holds one entry at
    // the least.
    for number in 0..6 {
        subject.ask(put(&format!("k{number}"), 1, &"x".repeat(100 << 10)));
    }
    subject.ask(put("k6", 1, &"x".repeat(1 << 20)));
    let first = list_all(subject, "");
    assert_eq!(keys(&first), ["k0", "k1", "k2"]);
    assert_eq!(first.more_after, Some(key("k2")));
    let second = page(subject.ask(list("", Some("k2"), u32::MAX)));
    assert_eq!(
        (keys(&second), second.more_after.as_ref()),
        (vec!["k3", "k4", "k5"], Some(&key("k5")))
    );
    let last = page(subject.ask(list("", Some("k5"), u32::MAX)));
    assert_eq!(keys(&last), ["k6"]);
}

fn sees_its_batch(subject: &mut dyn Subject) {
    subject.serve(&[put("b", 1, "old"), put("d", 1, "old"), put("f", 1, "old")]);
    let mut replies = subject.serve(&[
        put("d", 2, "new"),
        put("c", 2, "new"),
        read("b"),
        prepare("a", ballot(2)),
        list("", None, u32::MAX),
        put("g", 2, "late"),
        list("", Some("c"), 1),
        list("", Some("d"), u32::MAX),
    ]);
    let rest = page(replies.remove(7));
    assert_eq!(keys(&rest), ["f", "g"]);
    let one = page(replies.remove(6));
    assert_eq!((keys(&one), one.more_after.as_ref()), (vec!["d"], Some(&key("d"))));
    let listed = page(replies.remove(4));
    assert_eq!(keys(&listed), ["b", "c", "d", "f"]);
    let texts: Vec<_> = listed.entries.iter().map(|entry| entry.record.text().unwrap()).collect();
    assert_eq!(texts, ["old", "new", "new", "old"]);
}
