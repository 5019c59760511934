//! A member that was away for so long that the others have purged what it
//! misses catches up by a snapshot, while clients go on writing, however often
//! it is killed meanwhile: at the end all members hold the same.
//!
//! The short form runs by default; `SNAPSHOT_COMMANDS` and `SNAPSHOT_KILLS` give
//! the numbers of the full one (docs/testing.md).

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use support::replicas::Replicas;

fn number(variable: &str, short: u64) -> u64 {
    std::env::var(variable).map_or(short, |text| text.parse().expect(variable))
}

/// How long anything here may take, on a slow machine and in the full form.
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits for a condition, and looks often: what it waits for may be short.
fn wait_closely(what: &str, mut is_met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Clients that write through one node until they are dropped.
struct Load(Child);

impl Load {
    fn start(replicas: &Replicas, node: usize) -> Load {
        let script = replicas.dir.path().join("put.lua");
        let lua = "wrk.method = 'PUT' wrk.body = string.rep('v', 64) i = 0 \
                   request = function() i = i + 1 return wrk.format(nil, '/k' .. i % 30000) end";
        fs::write(&script, lua).expect("the script");
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c64", "-d1h", "-s"]).arg(script).arg(replicas.url(node));
        Load(wrk.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wrk"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log_index(replicas: &Replicas, node: usize, name: &str) -> u64 {
    let state = replicas.ask(node, "/raft");
    state.and_then(|state| state["log"][name].as_u64()).unwrap_or(0)
}

/// Moments of a catching up, from the first piece of the file to the time when
/// its records are in place.
#[derive(Clone, Copy, Debug)]
enum Moment {
    FileBegins,
    FileGrows,
    InstallBegins,
    InstallEnds,
}

const MOMENTS: [Moment; 4] =
    [Moment::FileBegins, Moment::FileGrows, Moment::InstallBegins, Moment::InstallEnds];

/// The member that falls behind.
struct Straggler {
    node: usize,
    /// How much of its log was read in earlier lives.
    log_read: usize,
}

impl Straggler {
    fn incoming(&self, replicas: &Replicas) -> PathBuf {
        let directory = format!("data/r{}-snap", self.node + 1);
        replicas.dir.path().join(directory).join(".incoming.tmp")
    }

    fn has_said(&self, replicas: &Replicas, words: &str) -> bool {
        let log = replicas.nodes[self.node].as_ref().expect("it runs").log();
        log[self.log_read..].contains(words)
    }

    /// Starts it and waits for a moment of its catching up.
    fn launch_until(&self, replicas: &mut Replicas, moment: Moment) {
        let launched = SystemTime::now();
        replicas.launch(self.node);
        let incoming = self.incoming(replicas);
        // What an earlier life has left is not meant.
        let length = || {
            let file = fs::metadata(&incoming).ok()?;
            (file.modified().ok()? >= launched).then_some(file.len())
        };
        wait_closely(&format!("{moment:?}"), || match moment {
            Moment::FileBegins => length().is_some(),
            Moment::FileGrows => length() > Some(0),
            Moment::InstallBegins => self.has_said(replicas, "installing the snapshot"),
            Moment::InstallEnds => self.has_said(replicas, "is installed"),
        });
    }

    /// kill -9, at once; it has applied no more than the other's log holds.
    fn kill(&mut self, replicas: &mut Replicas, other: usize) -> u64 {
        replicas.node(self.node).kill();
        self.log_read = replicas.node(self.node).log().len();
        log_index(replicas, other, "lastIndex")
    }
}

#[test]
fn a_member_that_is_far_behind_catches_up_by_a_snapshot_and_survives_kills() {
    let commands = number("SNAPSHOT_COMMANDS", 10_000);
    // Under this load an entry holds thirty commands or so.
    let entries = commands / 32;
    let kills = number("SNAPSHOT_KILLS", 5);
    let settings = json!({ "snapshot_entries": entries / 5, "keep_entries": entries / 100 + 1 });
    let mut replicas = Replicas::start_here(settings);
    let leader = replicas.leader();
    let mut straggler = Straggler { node: (leader + 1) % 3, log_read: 0 };
    let mut applied = straggler.kill(&mut replicas, leader);
    let load = Load::start(&replicas, leader);
    let changes = || replicas.ask(leader, "/raft").and_then(|state| state["changes"].as_u64());
    wait_closely("the others are far ahead", || changes().is_some_and(|done| done >= commands));
    for kill in 0..kills {
        let moment = MOMENTS[kill as usize % MOMENTS.len()];
        wait_closely("what it misses is purged", || {
            (0..3).all(|node| {
                node == straggler.node || log_index(&replicas, node, "purgedIndex") > applied
            })
        });
        straggler.launch_until(&mut replicas, moment);
        applied = straggler.kill(&mut replicas, leader);
        println!("killed at {moment:?}, before entry {applied}");
    }
    wait_closely("what it misses is purged", || {
        log_index(&replicas, leader, "purgedIndex") > applied
    });
    let began = Instant::now();
    straggler.launch_until(&mut replicas, Moment::InstallEnds);
    replicas.wait_ready(straggler.node);
    println!("caught up under load {:.1?} after its start", began.elapsed());
    drop(load);
    assert_same_state(&replicas);
}

fn assert_same_state(replicas: &Replicas) {
    let hashes =
        || -> Option<Vec<Value>> { (0..3).map(|node| replicas.ask(node, "/raft/hash")).collect() };
    let mut last = Vec::new();
    wait_closely("all have applied the same", || {
        last = hashes().expect("all run");
        last.iter().all(|hash| hash["appliedIndex"] == last[0]["appliedIndex"])
    });
    println!("{}", last[0]);
    assert!(last.iter().all(|hash| hash == &last[0]), "{last:#?}");
}
