//! How fast the stores are: `cargo test --release --test store_contract --
//! --ignored --nocapture throughput`.

use std::time::{Duration, Instant};

use crate::redis_server::RedisServer;
use crate::subject::*;

#[test]
#[ignore = "measures, and promises nothing"]
fn throughput() {
    measure("memory", &mut MemorySubject::default());
    measure("embedded", &mut EmbeddedSubject::new());
    measure("redis", &mut RedisSubject::new(RedisServer::start(&[])));
}

/// Batches of 64 accepts of 100 bytes, on 10,000 keys in turn.
fn measure(name: &str, subject: &mut dyn Subject) {
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(5) {
        let calls: Vec<_> = (0..64)
            .map(|at| {
                let ballot = ballot(batches + 1);
                let key = format!("key/{:05}", (batches * 64 + at) % 10_000);
                accept(&key, ballot, value(vec![7; 100], ballot), ballot)
            })
            .collect();
        subject.serve(&calls);
        batches += 1;
    }
    let per_second = batches as f64 / start.elapsed().as_secs_f64();
    println!("{name}: {per_second:.0} batches/s, {:.0} accepts/s", per_second * 64.0);
}
