//! What is true of Redis only.

use std::process::Command;
use std::time::{Duration, Instant};

use gryadka::caspaxos::{Ballot, Reply, Request};
use gryadka::store::{AcceptorStore, RedisError, RedisStore};

use crate::redis_server::{RedisServer, wait_until};
use crate::subject::*;

#[test]
fn flushed_scripts_are_loaded_again_and_nothing_is_served_twice() {
    let server = RedisServer::start(&[]);
    let mut subject = RedisSubject::new(server.clone());
    subject.ask(put("k", 1, "a"));
    for counter in 2..20 {
        server.lock().unwrap().command("SCRIPT FLUSH");
        // A prepare that ran twice would be refused by its own promise.
        let replies = subject.serve(&[
            prepare("k", ballot(counter)),
            put("k", counter, "a"),
            prepare("l", ballot(counter)),
        ]);
        assert!(matches!(replies[0], Reply::Prepared { .. }), "{replies:?}");
        assert_eq!(replies[1], Reply::Accepted);
        assert!(matches!(replies[2], Reply::Prepared { .. }), "{replies:?}");
    }
}

#[test]
fn scripts_that_are_flushed_during_batches_change_nothing() {
    let server = RedisServer::start(&[]);
    let mut subject = RedisSubject::new(server.clone());
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let (mut flushes, deadline) = (0, Instant::now() + Duration::from_secs(20));
            // The deadline ends it when the test fails.
            while Instant::now() < deadline && !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                server.lock().unwrap().command("SCRIPT FLUSH");
                flushes += 1;
            }
            flushes
        });
        for counter in 1..100 {
            let calls: Vec<_> =
                (0..50).map(|number| prepare(&format!("k{number}"), ballot(counter))).collect();
            for reply in subject.serve(&calls) {
                assert!(matches!(reply, Reply::Prepared { .. }), "{reply:?}");
            }
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(flusher.join().unwrap() > 10);
    });
}

#[test]
fn a_register_is_a_hash_that_people_can_read() {
    let server = RedisServer::start(&[]);
    let server = server.lock().unwrap();
    let mut store = enrolled(RedisStore::new(server.address(), "demo", &"a1".into(), false));
    let calls =
        [accept("d/k", ballot(3), value("text", ballot(3)), ballot(4)), prepare("d/l", ballot(1))];
    store.serve(&calls).unwrap();
    let field = |key: &str, field: &str| {
        let reply = server.command(&format!("HGET gryadka:{{demo}}:r:{key} {field}"));
        ::redis::from_redis_value::<Option<Vec<u8>>>(reply).unwrap()
    };
    assert_eq!(field("d/k", "promise"), Some(ballot(4).to_sortable().into()));
    assert_eq!(field("d/k", "accepted"), Some(ballot(3).to_sortable().into()));
    assert_eq!(field("d/k", "value").unwrap()[0], 2);
    assert_eq!(field("d/l", "promise"), Some(ballot(1).to_sortable().into()));
    assert_eq!((field("d/l", "accepted"), field("d/l", "value")), (None, None));
}

#[test]
fn clusters_on_one_server_do_not_meet() {
    let server = RedisServer::start(&[]);
    let address = server.lock().unwrap().address();
    let mut first = enrolled(RedisStore::new(address.clone(), "first", &"a1".into(), false));
    let mut second = enrolled(RedisStore::new(address, "second", &"a1".into(), false));
    let raise = in_epoch(9, Request::Raise { fence: fence(9) });
    first.serve(&[put("k", 1, "a"), raise]).unwrap();
    let nothing = [was_read(Ballot::ZERO, Default::default())];
    assert_eq!(second.serve(&[read("k")]).unwrap(), nothing);
    assert!(page(second.serve(&[list("", None, 100)]).unwrap().remove(0)).entries.is_empty());
}

#[test]
fn a_server_with_data_of_the_original_is_refused_before_anything_is_written() {
    let server = RedisServer::start(&[]);
    let server = server.lock().unwrap();
    // Among much else.
    server.command("EVAL for\ti=1,5000\tdo\tredis.call('SET',i,i)end 0");
    let put_original = |ballot: &str| {
        server.command(&format!("MSET dir/k/promise {ballot} dir/k/ballot {ballot}"));
        server.command(r#"SET dir/k/value {"value":{"ver":3,"val":7}}"#);
    };
    for (ballot, is_transient) in [("9,p1/4", false), ("9,p1/4", true), ("9,2,1", false)] {
        put_original(ballot);
        let mut store = RedisStore::new(server.address(), "demo", &"a1".into(), is_transient);
        let error = store.check().unwrap_err();
        assert!(matches!(&error, RedisError::Original { key, .. } if key == "dir/k"), "{error}");
        let port = server.address().port;
        for told in ["bin/import-gryadka.sh", &format!("redis-cli -h 127.0.0.1 -p {port} flushall")]
        {
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(store.serve(&[status()]).unwrap_err().to_string().contains("original Gryadka"));
    }
    assert_eq!(server.command("DBSIZE"), ::redis::Value::Int(5003), "nothing was written");
    server.command("FLUSHALL");
    // Names alone do not make it the original's; ours may have them.
    server.command("MSET a/promise never a/value 1");
    let mut store = enrolled(RedisStore::new(server.address(), "demo", &"a1".into(), false));
    store.serve(&[put("k/promise", 1, "a"), put("k/ballot", 1, "a")]).unwrap();
    RedisStore::new(server.address(), "other", &"a1".into(), false).check().unwrap();
    // One that is ours is not searched.
    put_original("9,p1/4");
    RedisStore::new(server.address(), "demo", &"a1".into(), false).check().unwrap();
}

#[test]
fn one_server_is_not_two_acceptors() {
    let server = RedisServer::start(&[]);
    let address = server.lock().unwrap().address();
    let mut a1 = RedisStore::new(address.clone(), "demo", &"a1".into(), false);
    let mut a2 = RedisStore::new(address, "demo", &"a2".into(), false);
    // A proposer that founds the cluster sees it by the nonce.
    let nonce = |store: &mut RedisStore| match &store.serve(&[status()]).unwrap()[..] {
        [Reply::Status(status)] => status.nonce,
        other => panic!("{other:?}"),
    };
    assert_eq!(nonce(&mut a1), nonce(&mut a2));
    assert_eq!(nonce(&mut a1), nonce(&mut a1));
    let mut a1 = enrolled(a1);
    a1.serve(&[put("k", 1, "a")]).unwrap();
    for call in [read("k"), put("k", 2, "b"), in_epoch(0, Request::Wipe), status()] {
        let error = a2.serve(&[call]).unwrap_err().to_string();
        assert!(error.contains("registers of acceptor a1"), "{error}");
    }
    assert_eq!(a1.serve(&[read("k")]).unwrap(), [was_read(ballot(1), value("a", ballot(1)))]);
}

#[test]
fn a_server_that_was_emptied_belongs_to_nobody() {
    let server = RedisServer::start(&[]);
    let server = server.lock().unwrap();
    let mut store = enrolled(RedisStore::new(server.address(), "demo", &"a1".into(), false));
    store.serve(&[put("k", 1, "a")]).unwrap();
    server.command("FLUSHALL");
    let calls = [read("k"), prepare("k", ballot(2)), put("k", 2, "b")];
    assert_eq!(store.serve(&calls).unwrap(), [const { Reply::NotEnrolled }; 3]);
    assert_eq!(server.command("DBSIZE"), ::redis::Value::Int(0));
}

#[test]
fn a_server_that_is_down_costs_little_and_is_found_again() {
    let server = RedisServer::start(&[]);
    let mut subject = RedisSubject::new(server.clone());
    subject.ask(put("k", 1, "a"));
    server.lock().unwrap().kill();
    let start = Instant::now();
    for _ in 0..1000 {
        assert!(is_unreachable(&subject.store().serve(&[read("k")])));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    server.lock().unwrap().restart();
    wait_until("the store finds the server", || subject.store().serve(&[read("k")]).is_ok());
    confirm(subject.store());
    assert_eq!(subject.ask(read("k")), was_read(ballot(1), value("a", ballot(1))));
}

#[test]
fn a_server_that_hangs_is_given_up_and_late_answers_go_to_nobody() {
    let server = RedisServer::start(&[]);
    let mut subject = RedisSubject::new(server.clone());
    subject.serve(&[put("k", 1, "a"), put("l", 1, "b")]);
    let process_id = server.lock().unwrap().process_id().to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &process_id]).status().unwrap().success());
    };
    signal("-STOP");
    let start = Instant::now();
    let result = subject.store().serve(&[read("k")]);
    signal("-CONT");
    assert!(is_unreachable(&result), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    wait_until("the store finds the server", || subject.store().serve(&[]).is_ok());
    assert_eq!(subject.ask(read("l")), was_read(ballot(1), value("b", ballot(1))));
}

#[test]
fn damaged_registers_are_not_served() {
    let server = RedisServer::start(&[]);
    let server = server.lock().unwrap();
    let mut store = enrolled(RedisStore::new(server.address(), "demo", &"a1".into(), false));
    store.serve(&[put("k", 1, "a")]).unwrap();
    for damage in ["accepted 7", "value x", "promise 0"] {
        server.command(&format!("HSET gryadka:{{demo}}:r:k {damage}"));
        let result = store.serve(&[prepare("k", ballot(9))]);
        assert!(is_unreachable(&result), "{damage}: {result:?}");
    }
}

#[test]
fn unsafe_settings_are_refused_by_name_unless_transient() {
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--appendonly", "no"], "appendonly is \"no\"", "config set appendonly yes"),
        (
            &["--appendfsync", "everysec"],
            "appendfsync is \"everysec\"",
            "config set appendfsync always",
        ),
        (
            &["--no-appendfsync-on-rewrite", "yes"],
            "no-appendfsync-on-rewrite is \"yes\"",
            "config set no-appendfsync-on-rewrite no",
        ),
        (
            &["--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy is \"allkeys-lru\"",
            "config set maxmemory-policy noeviction",
        ),
        (&["--replicaof", "127.0.0.1 1"], "its role is \"slave\"", "replicaof no one"),
        (&["--rename-command", "CONFIG", ""], "CONFIG GET is refused", "permit CONFIG GET"),
    ];
    for (arguments, found, remedy) in cases {
        let server = RedisServer::start(arguments);
        let address = server.lock().unwrap().address();
        let error =
            RedisStore::new(address.clone(), "demo", &"a1".into(), false).check().unwrap_err();
        assert!(matches!(error, RedisError::Unsafe { .. }), "{error:?}");
        let (message, port) = (error.to_string(), address.port.to_string());
        for part in [found, remedy, &port, "isTransient"] {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        let mut store = RedisStore::new(address.clone(), "demo", &"a1".into(), false);
        assert!(is_unreachable(&store.serve(&[read("k")])), "{arguments:?}");
        RedisStore::new(address, "demo", &"a1".into(), true).check().unwrap();
    }
}

#[test]
fn what_a_server_says_to_whom_it_turns_away_is_told() {
    let server = RedisServer::start(&["--maxclients", "1"]);
    let address = server.lock().unwrap().address();
    let mut store = RedisStore::new(address.clone(), "demo", &"a1".into(), false);
    wait_until("the store has the only connection", || store.check().is_ok());
    let error = RedisStore::new(address, "demo", &"a2".into(), false).check().unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("max number of clients reached"), "{error}");
}

#[test]
fn a_server_that_cannot_be_reached_is_not_called_unsafe() {
    let server = RedisServer::start(&[]);
    server.lock().unwrap().kill();
    let address = server.lock().unwrap().address();
    let mut store = RedisStore::new(address, "demo", &"a1".into(), false);
    assert!(matches!(store.check(), Err(RedisError::Unreachable { .. })));
    server.lock().unwrap().restart();
    store.check().unwrap();
}
