//! The promise of every store: an acceptor that answers from it keeps the
//! rules of the protocol, over restarts and crashes too (rules 1-4).
//!
//! One suite ([`cases`], [`listing`], [`durable`]) runs over all stores; what
//! is true of one only stands in a file of its own. The Redis server is a real
//! one, started for the test.

mod cases;
mod differential;
mod durable;
mod embedded;
mod killed;
mod listing;
mod log_capture;
mod redis;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod subject;

use subject::{EmbeddedSubject, MemorySubject, RedisSubject, Subject};

/// A case of the suite, by name, on a store that holds nothing.
type Case = (&'static str, fn(&mut dyn Subject));

fn run(cases: &[Case], mut fresh: impl FnMut() -> Box<dyn Subject>) {
    for (name, case) in cases {
        // Seen when the case panics.
        println!("case {name}");
        case(&mut *fresh());
    }
}

#[test]
fn memory_keeps_the_rules() {
    for cases in [cases::CASES, listing::CASES] {
        run(cases, || Box::new(MemorySubject::new()));
    }
}

#[test]
fn embedded_keeps_the_rules() {
    for cases in [cases::CASES, listing::CASES, durable::CASES] {
        run(cases, || Box::new(EmbeddedSubject::new()));
    }
}

#[test]
fn redis_keeps_the_rules() {
    let server = redis_server::RedisServer::start(&[]);
    for cases in [cases::CASES, listing::CASES, durable::CASES] {
        run(cases, || Box::new(RedisSubject::new(server.clone())));
    }
}
