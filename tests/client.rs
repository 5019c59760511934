//! The client of the v2 keys API tells apart what was done, what was not,
//! and what nobody knows: against a real etcd, a cluster of each protocol, and
//! servers that misbehave.

mod etcd;
mod misbehaving;
#[macro_use]
mod support;

use std::time::Duration;

use etcd::{Etcd, REFUSING_ADDRESS};
use gryadka::client::{
    ClientError, Conflict, ConflictReason, Connection, Endpoint, ErrorKind, Expected,
    MAX_ANSWER_BYTES, Node, Retries, StatedOutcome, Written,
};
use gryadka::control::{KeyCommand, Keys, Shape};
use misbehaving::{Behaviour, Server};
use support::{Cluster, Protocol, put};

on_both_protocols! {
    operations_on_a_cluster
    any_text_is_a_key_and_a_value_of_a_cluster
    bytes_come_back_as_they_are
    a_lost_answer_is_asked_for_elsewhere
}

const TIMEOUT: Duration = Duration::from_secs(5);
/// For a server that never answers.
const SHORT_TIMEOUT: Duration = Duration::from_millis(200);

fn done(written: Written) -> Node {
    match written {
        Written::Done(node) => node,
        other => panic!("not done: {other:?}"),
    }
}

fn conflict(written: Written) -> Conflict {
    match written {
        Written::Conflict(conflict) => conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

#[actix::test]
async fn operations_on_a_real_etcd() -> Result<(), ClientError> {
    let etcd = Etcd::start().await;
    operations(&etcd.url()).await
}

fn operations_on_a_cluster(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let result = actix::System::new().block_on(operations(&cluster.url(0)));
    result.unwrap_or_else(|error| panic!("{error}"));
}

async fn operations(url: &str) -> Result<(), ClientError> {
    let mut connection = Connection::new(url, TIMEOUT);

    assert_eq!(connection.get("k").await?, None);
    let created = done(connection.create("k", "1").await?);
    assert_eq!(created.value, "1");
    assert_eq!(created.created_index, created.modified_index);
    assert_eq!(connection.get("k").await?, Some(created.clone()));

    let exists = conflict(connection.create("k", "2").await?);
    assert_eq!((exists.reason, exists.cause.as_str()), (ConflictReason::Exists, "/k"));
    assert_eq!(exists.index, created.modified_index);

    let by_index = Expected::Index(created.modified_index);
    let swapped = done(connection.compare_and_swap("k", by_index, "2").await?);
    assert_eq!((swapped.value.as_str(), swapped.created_index), ("2", created.created_index));
    assert!(swapped.modified_index > created.modified_index);

    let lost = conflict(connection.compare_and_swap("k", by_index, "3").await?);
    assert_eq!(lost.reason, ConflictReason::CompareFailed);
    let lost = conflict(connection.compare_and_swap("k", Expected::Value("1"), "3").await?);
    assert_eq!((lost.reason, lost.cause.as_str()), (ConflictReason::CompareFailed, "[1 != 2]"));
    let both = Expected::Both { index: swapped.modified_index, value: "2" };
    assert_eq!(done(connection.compare_and_swap("k", both, "3").await?).value, "3");
    assert_eq!(done(connection.set("k", "").await?).value, "");

    assert_eq!(done(connection.delete("k").await?).created_index, swapped.modified_index + 2);
    for written in
        [connection.delete("k").await?, connection.compare_and_swap("k", by_index, "4").await?]
    {
        assert!(matches!(written, Written::NotFound { .. }), "{written:?}");
    }

    let first = connection.replace("r", "1").await?;
    assert_eq!((first.before, first.after.value.as_str()), (None, "1"));
    let second = connection.replace("r", "2").await?;
    assert_eq!((second.before, second.after.value.as_str()), (Some(first.after), "2"));
    Ok(())
}

#[actix::test]
async fn any_text_is_a_key_and_a_value_of_a_real_etcd() -> Result<(), ClientError> {
    let etcd = Etcd::start().await;
    any_text(&etcd.url()).await
}

fn any_text_is_a_key_and_a_value_of_a_cluster(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let result = actix::System::new().block_on(any_text(&cluster.url(0)));
    result.unwrap_or_else(|error| panic!("{error}"));
}

async fn any_text(url: &str) -> Result<(), ClientError> {
    let mut connection = Connection::new(url, TIMEOUT);
    let texts = ["a b", "a?b=c&d", "a#b", "50%", "a+b", "dir/ключ", "semi;colon", "\"quoted\""];
    for text in texts {
        assert_eq!(done(connection.set(text, text).await?).value, text);
    }
    for text in texts {
        let node = connection.get(text).await?;
        assert_eq!(node.map(|node| node.value).as_deref(), Some(text));
    }
    let error = connection.get("dir").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::BadBody(_)), "{error}");
    Ok(())
}

fn bytes_come_back_as_they_are(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let large = vec![0; 1 << 20];
    actix::System::new().block_on(async {
        let mut connection = Connection::new(&cluster.url(0), TIMEOUT);
        for (key, value) in [("b", &b"\xff\0\x80"[..]), ("large", &large), ("empty", b"")] {
            put(&format!("{}/{key}", cluster.url(0)), value);
            let read = connection.get_value(key).await.unwrap();
            assert!(read.is_some_and(|read| read == value), "{key}");
        }
        assert_eq!(connection.get_value("none").await, Ok(None));
        put(&format!("{}/dir/k", cluster.url(0)), b"");
        let error = connection.get_value("dir").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::BadBody(_)), "{error}");
        // As whoever only knows etcd does, which this one stands for.
        let node = r#"{"node":{"value":"v","modifiedIndex":2,"createdIndex":1}}"#;
        let server = Server::start(Behaviour::Answer(200, node.to_owned())).await;
        let mut connection = Connection::new(server.url(), TIMEOUT);
        assert_eq!(connection.get_value("k").await, Ok(Some("v".into())));
    });
}

#[actix::test]
async fn a_refused_connection_is_a_definite_failure() {
    let mut connection = Connection::new(&format!("http://{}", REFUSING_ADDRESS), TIMEOUT);
    let error = connection.set("k", "v").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Connect(_)), "{error}");
    assert!(error.is_network() && !error.is_unknown());
}

#[actix::test]
async fn a_lost_or_late_answer_leaves_a_write_in_doubt() {
    for behaviour in [
        Behaviour::CloseInsteadOfAnswer,
        Behaviour::ResetInsteadOfAnswer,
        Behaviour::CloseInsideAnswer,
        Behaviour::NeverAnswer,
        Behaviour::StopInsideAnswer,
    ] {
        let is_timeout = matches!(behaviour, Behaviour::NeverAnswer | Behaviour::StopInsideAnswer);
        let server = Server::start(behaviour).await;
        let timeout = if is_timeout { SHORT_TIMEOUT } else { TIMEOUT };
        let mut connection = Connection::new(server.url(), timeout).with_retries(None);
        for error in [
            connection.set("k", "v").await.unwrap_err(),
            connection.create("k", "v").await.unwrap_err(),
            connection.compare_and_swap("k", Expected::Index(1), "v").await.unwrap_err(),
            connection.delete("k").await.unwrap_err(),
        ] {
            match error.kind {
                ErrorKind::Timeout(after) => assert!(is_timeout && after == SHORT_TIMEOUT),
                ErrorKind::Closed(_) => assert!(!is_timeout, "{error}"),
                _ => panic!("{error}"),
            }
            assert!(error.is_unknown() && error.is_network(), "{error}");
        }
        assert!(!connection.get("k").await.unwrap_err().is_unknown(), "a read has no effect");
        assert_eq!(server.connections(), 5, "an error closes the connection");
    }
}

#[actix::test]
async fn a_node_that_does_not_heed_names_is_not_asked_again() {
    let said = r#"{"outcome":"unknown"}"#.to_owned();
    for behaviour in [
        // Neither does this server tell that it is one of gryadka's.
        Behaviour::Answer(504, said),
        Behaviour::Answer(500, String::new()),
        // Or it cannot be asked what it is.
        Behaviour::CloseInsteadOfAnswer,
    ] {
        let server = Server::start(behaviour.clone()).await;
        let retries = Retries { tries: 3, ..Retries::default() };
        let mut connection = Connection::new(server.url(), TIMEOUT).with_retries(Some(retries));
        let error = connection.set("k", "v").await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        assert_eq!(server.writes(), 1, "{behaviour:?}");
    }
}

#[actix::test]
async fn a_definite_answer_to_the_first_try_is_the_answer() {
    let server = Server::start(Behaviour::Answer(503, r#"{"outcome":"failed"}"#.to_owned())).await;
    let mut connection = Connection::new(server.url(), TIMEOUT);
    let error = connection.set("k", "v").await.unwrap_err();
    assert!(!error.is_unknown() && server.writes() == 1, "{error}");
}

fn a_lost_answer_is_asked_for_elsewhere(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 2);
    actix::System::new().block_on(async {
        let deaf = Server::start(Behaviour::CloseInsteadOfAnswer).await;
        let mut connection = Connection::new(deaf.url(), TIMEOUT)
            .with_other(&cluster.url(0))
            .with_other(&cluster.url(1));
        for (number, url) in [deaf.url(), &cluster.url(0)].iter().enumerate() {
            let created = connection.create(&format!("k{number}"), "v").await;
            assert_eq!(done(created.unwrap_or_else(|error| panic!("{url}: {error}"))).value, "v");
        }
        assert_eq!(deaf.writes(), 1, "it stays where it was answered");
    });
}

#[actix::test]
async fn statuses_say_whether_a_write_is_in_doubt() {
    const ETCD_TIMEOUT: &str =
        r#"{"errorCode":300,"message":"Raft Internal Error","cause":"timed out","index":0}"#;
    let (failed, unknown) = (Some(StatedOutcome::Failed), Some(StatedOutcome::Unknown));
    for (status, body, outcome, is_unknown) in [
        (503, r#"{"outcome":"failed","message":"no quorum"}"#, failed, false),
        (503, r#"{"outcome":"unknown"}"#, unknown, true),
        (503, "", None, true),
        (504, r#"{"outcome":"unknown"}"#, unknown, true),
        (504, "Gateway Timeout", None, true),
        (500, ETCD_TIMEOUT, None, true),
        (429, r#"{"message":"busy"}"#, None, false),
        (429, "", None, false),
        (413, "", None, false),
        (400, r#"{"errorCode":209,"message":"Invalid field","index":0}"#, None, false),
        (404, "404 page not found", None, false),
        (412, "", None, false),
    ] {
        let server = Server::start(Behaviour::Answer(status, body.to_owned())).await;
        let mut connection = Connection::new(server.url(), TIMEOUT);
        let error = connection.set("k", "v").await.unwrap_err();
        let ErrorKind::Status { status: got, outcome: stated, .. } = &error.kind else {
            panic!("{status} {body}: {error}");
        };
        assert_eq!((*got, *stated), (status, outcome), "{status} {body}");
        assert_eq!(error.is_unknown(), is_unknown, "{status} {body}");
        assert!(!error.is_network());
        assert!(!connection.get("k").await.unwrap_err().is_unknown(), "a read has no effect");
    }
}

#[actix::test]
async fn an_error_shows_what_the_node_said() {
    let body = r#"{"errorCode":300,"message":"Raft Internal Error","cause":"timed out","index":0}"#;
    let server = Server::start(Behaviour::Answer(500, body.to_owned())).await;
    let error = Connection::new(server.url(), TIMEOUT).get("k").await.unwrap_err();
    let expected =
        format!("{}: status 500, error 300: Raft Internal Error: timed out", server.url());
    assert_eq!(error.to_string(), expected);
}

#[actix::test]
async fn an_answer_in_another_form_is_refused() {
    let huge = "x".repeat(MAX_ANSWER_BYTES + 1);
    for behaviour in [
        Behaviour::Answer(200, "hello".to_owned()),
        Behaviour::Answer(201, "{}".to_owned()),
        Behaviour::Answer(200, huge.clone()),
        Behaviour::AnswerInChunks(huge),
    ] {
        let server = Server::start(behaviour).await;
        let error = Connection::new(server.url(), TIMEOUT).set("k", "v").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::BadBody(_)), "{error}");
        assert!(error.is_unknown(), "success was said, but not what was done");
    }
}

/// The original's etcd-like server looks for conditions nowhere else.
#[actix::test]
async fn conditions_stand_in_the_query() {
    let node =
        r#"{"action":"set","node":{"key":"/k","value":"v","modifiedIndex":2,"createdIndex":1}}"#;
    let server = Server::start(Behaviour::Answer(200, node.to_owned())).await;
    let mut connection = Connection::new(server.url(), TIMEOUT);
    done(connection.set("k", "v").await.unwrap());
    assert_eq!(server.last_write(), "PUT /v2/keys/k value=v");
    done(connection.create("k", "v").await.unwrap());
    assert_eq!(server.last_write(), "PUT /v2/keys/k?prevExist=false value=v");
    done(connection.compare_and_swap("k", Expected::Index(7), "v").await.unwrap());
    assert_eq!(server.last_write(), "PUT /v2/keys/k?prevIndex=7 value=v");
    // It has no such condition, and a value can be longer than a query.
    let both = Expected::Both { index: 7, value: "old" };
    done(connection.compare_and_swap("k", both, "v").await.unwrap());
    assert_eq!(server.last_write(), "PUT /v2/keys/k?prevIndex=7 prevValue=old&value=v");
}

#[actix::test]
async fn answers_without_errors_keep_the_connection() {
    let node =
        r#"{"action":"get","node":{"key":"/k","value":"v","modifiedIndex":2,"createdIndex":1}}"#;
    let server = Server::start(Behaviour::Answer(200, node.to_owned())).await;
    let mut connection = Connection::new(server.url(), TIMEOUT);
    for _ in 0..3 {
        let node = connection.get("k").await.unwrap().unwrap();
        assert_eq!((node.created_index, node.modified_index), (1, 2));
        assert_eq!(done(connection.set("k", "v").await.unwrap()), node);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_time_of_a_command_on_a_key_is_a_bound() {
    const PATIENCE: Duration = Duration::from_secs(1);
    // The clock goes on when all wait for it.
    let mut clock = tokio::runtime::Builder::new_current_thread();
    clock.enable_all().start_paused(true);
    let system = actix::System::with_tokio_rt(|| clock.build().unwrap());
    system.block_on(async {
        let key = || "k".to_owned();
        for command in [
            KeyCommand::Get(key()),
            KeyCommand::Put(key(), key()),
            KeyCommand::Swap(key(), key(), key()),
            KeyCommand::Delete(key()),
            KeyCommand::List { directory: key(), all: false },
            KeyCommand::Increment(key()),
        ] {
            let mut servers = Vec::new();
            for behaviour in [
                Behaviour::NeverAnswer,
                Behaviour::CloseInsteadOfAnswer,
                Behaviour::Answer(504, r#"{"outcome":"unknown"}"#.to_owned()),
                Behaviour::StopInsideAnswer,
            ] {
                servers.push(Server::start(behaviour).await);
            }
            // Whoever is asked first: alone, and with all others.
            for first in 0..servers.len() {
                servers.rotate_left(1);
                for count in [1, servers.len()] {
                    let endpoints = servers[..count].iter().map(|server| server.url().parse());
                    let endpoints: Result<Vec<Endpoint>, _> = endpoints.collect();
                    let began = tokio::time::Instant::now();
                    let mut keys = Keys::new(&endpoints.unwrap(), PATIENCE, Shape::Simple);
                    let done = keys.perform(command.clone()).await;
                    let took = began.elapsed();
                    assert!(done.is_err(), "{command:?}");
                    assert!(
                        took <= PATIENCE + PATIENCE / 10,
                        "{command:?} {first} {count}: {took:?}"
                    );
                }
            }
        }
    });
}
