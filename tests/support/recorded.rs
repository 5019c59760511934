//! What a real etcd 3.4.23 answered to a sequence of requests, and the check
//! that a server answers alike: `etcd_v2_recorded.jsonl` is the recording.

use gryadka::perseus::IndexOrder;
use serde_json::Value;

use super::{Answer, form_request, request};

/// Asks all that was recorded, of the servers in turn, and panics when one of
/// them answers differently. Nothing else may write meanwhile.
pub fn assert_answers_as_recorded(urls: &[String], order: IndexOrder) {
    let recording = include_str!("../etcd_v2_recorded.jsonl");
    let mut count = 0;
    let mut shift = None;
    let mut newest = 0;
    for (line, url) in recording.lines().zip(urls.iter().cycle()) {
        let case: Value = serde_json::from_str(line).expect("a recorded case");
        let name = case["name"].as_str().expect("a name");
        let answer = ask(&case, url);
        assert_eq!(Value::from(answer.status), case["status"], "{name}: {answer:?}");
        count += 1;
        if case["body"].is_null() {
            assert_eq!(answer.text(), case["text"].as_str().unwrap(), "{name}");
            continue;
        }
        let (ours, recorded) = (answer.json(), case["body"].clone());
        match order {
            IndexOrder::PerKey => assert_alike_but_for_indices(name, ours, recorded),
            IndexOrder::Global => {
                let of_node = |body: &Value| body["node"]["modifiedIndex"].as_i64();
                let first =
                    || of_node(&ours).expect("a first change") - of_node(&recorded).unwrap();
                let shift = *shift.get_or_insert_with(first);
                assert_eq!(ours, shifted(recorded, shift), "{name}");
                newest = newest_of(&case, newest);
                let header = if case["status"] == 400 { 0 } else { newest + shift };
                let shown = answer.header("X-Etcd-Index");
                assert_eq!(shown, Some(header.to_string().as_str()), "{name}");
            }
        }
    }
    assert_eq!(count, 26);
}

fn ask(case: &Value, url: &str) -> Answer {
    let method = case["method"].as_str().expect("a method");
    let url = format!("{url}{}", case["path"].as_str().expect("a path"));
    match &case["form"] {
        Value::Null => request(method, &url, None).unwrap_or_else(|why| panic!("{url}: {why}")),
        form => {
            let pairs = form.as_object().expect("a form").iter();
            let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap()));
            form_request(method, &url, &pairs.collect::<Vec<_>>().join("&"))
        }
    }
}

fn assert_alike_but_for_indices(name: &str, mut ours: Value, mut recorded: Value) {
    if name == WRONG_INDEX {
        // The cause names the index of the key, which the body has too.
        recorded["cause"] = cause_of_wrong_index(ours["index"].as_i64().unwrap()).into();
    }
    for body in [&mut ours, &mut recorded] {
        each_index(body, &mut |index| *index = Value::from("an index"));
    }
    assert_eq!(ours, recorded, "{name}");
}

/// The recorded body as it is after more changes, or fewer. The index 0 of a
/// request that was not understood stays.
fn shifted(mut recorded: Value, shift: i64) -> Value {
    each_index(&mut recorded, &mut |index| {
        let number = index.as_i64().expect("a number");
        *index = if number == 0 { 0 } else { number + shift }.into();
    });
    if recorded["cause"] == cause_of_wrong_index(5) {
        recorded["cause"] = cause_of_wrong_index(5 + shift).into();
    }
    recorded
}

const WRONG_INDEX: &str = "swap by wrong index";

fn cause_of_wrong_index(index: i64) -> String {
    format!("[9999 != {index}]")
}

/// The newest change after a case, as recorded: a change that shows no node
/// took the next number.
fn newest_of(case: &Value, before: i64) -> i64 {
    let is_write = case["method"] != "GET";
    match (&case["body"]["node"], &case["body"]["errorCode"]) {
        (Value::Null, Value::Null) => before + 1,
        (Value::Null, _) => before,
        (node, _) if is_write => node["modifiedIndex"].as_i64().expect("a number"),
        _ => before,
    }
}

/// Visits the indices of a body, each of which must be a number.
fn each_index(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "index" | "modifiedIndex" | "createdIndex" => {
                        assert!(field.is_u64(), "{name} is a number");
                        visit(field);
                    }
                    _ => each_index(field, visit),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_index(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
