//! kill -9 of a process that writes to the embedded store, in the middle of
//! everything: journals that rotate, memtables that are flushed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use gryadka::caspaxos::Reply;
use gryadka::store::{AcceptorStore, EmbeddedStore};

use crate::subject::*;

/// Set for the process that is killed.
const DIRECTORY: &str = "GRYADKA_TEST_KILLED";
const KEYS: u64 = 30;
/// How many writes are acknowledged before each kill: together they overflow
/// the memtable of 16 MiB several times.
const ROUNDS: [u64; 4] = [1, 300, 517, 600];

#[test]
fn acknowledged_writes_survive_kill_9() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        write_until_killed(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for writes in ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::acknowledged_writes_survive_kill_9", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let counters = lines.filter_map(|line| line.unwrap().strip_prefix("ack ")?.parse().ok());
        let last = counters.take(writes as usize).last();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = last.expect("the process acknowledges writes");
        check(directory.path(), acknowledged);
    }
    assert!(acknowledged >= ROUNDS.iter().sum());
}

/// Writes counters 1, 2, ... to the keys in turn, starting where the last
/// process ended.
fn write_until_killed(directory: &Path) -> ! {
    let mut store = enrolled(EmbeddedStore::open(directory, identity()).unwrap());
    let newest = (0..KEYS).map(|at| counter_of(&mut store, at)).max().unwrap();
    for counter in newest + 1.. {
        let value = value(vec![counter as u8; 64 << 10], ballot(counter));
        let key = format!("k{}", counter % KEYS);
        let call = accept(&key, ballot(counter), value, ballot(counter));
        store.serve(&[call]).unwrap();
        println!("\nack {counter}");
    }
    unreachable!("the process is killed before that")
}

fn counter_of(store: &mut EmbeddedStore, at: u64) -> u64 {
    match store.serve(&[read(&format!("k{at}"))]).unwrap().remove(0) {
        Reply::WasRead { accepted, record } => {
            let bytes = record.value.unwrap_or_default();
            assert!(bytes.iter().all(|&byte| byte == accepted.counter as u8));
            accepted.counter
        }
        other => panic!("not a read: {other:?}"),
    }
}

/// Each key holds its newest acknowledged write, or one that was under way.
fn check(directory: &Path, acknowledged: u64) {
    let mut store = enrolled(EmbeddedStore::open(directory, identity()).unwrap());
    for at in 0..KEYS {
        let newest = (1..=acknowledged).rev().find(|counter| counter % KEYS == at).unwrap_or(0);
        assert!(counter_of(&mut store, at) >= newest, "key k{at} after {acknowledged} writes");
    }
}
