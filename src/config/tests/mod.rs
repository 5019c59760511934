//! Files in, values or messages out.

mod cluster;
mod deployment;
mod raft;
mod raftkv;

use serde_json::Value;

use super::{Cluster, Deployment};

/// What is changed in a good file: a JSON pointer, and the new value, which is
/// removed when it is `None`. The parent must be there.
type Edit = (&'static str, Option<Value>);

fn edited(good: &str, edits: &[Edit]) -> String {
    let mut document: Value = serde_json::from_str(good).unwrap();
    for (pointer, value) in edits {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match (parent, value) {
            (Value::Object(object), Some(value)) => {
                object.insert(key.to_owned(), value.clone());
            }
            (Value::Object(object), None) => assert!(object.remove(key).is_some(), "{pointer}"),
            (parent, Some(value)) => parent[key.parse::<usize>().unwrap()] = value.clone(),
            (_, None) => panic!("{pointer} is in a list"),
        }
    }
    document.to_string()
}

/// Whether a message is the expected one. serde's messages end with a position,
/// which depends on how the document was written, so a `…` stands for any end.
fn assert_message(message: &str, expected: &str, what: &dyn std::fmt::Debug) {
    let same = match expected.strip_suffix('…') {
        Some(start) => message.starts_with(start),
        None => message == expected,
    };
    assert!(same, "{what:?}\n     got: {message}\nexpected: {expected}");
}

/// Cuts and overwrites a document everywhere; reading must end in a value or
/// an error.
#[test]
fn damaged_files_are_errors_not_panics() {
    for text in [deployment::GOOD, deployment::FLAT, cluster::GOOD, raft::GOOD, raft::CLUSTER] {
        for at in 0..text.len() {
            let mut damaged = text.as_bytes()[..at].to_vec();
            let _ = (Deployment::read(&damaged), Cluster::read(&damaged));
            for byte in *b"\"0{}-]\xff" {
                damaged.truncate(at);
                damaged.push(byte);
                damaged.extend(&text.as_bytes()[at + 1..]);
                let _ = (Deployment::read(&damaged), Cluster::read(&damaged));
            }
        }
    }
}
