//! raftexample's and raftkv's transcripts: the README's own commands, run as
//! they stand there, but on an address of the test's own.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::{Process, checkout, own_address, request, use_programs, wait_until};
use tempfile::TempDir;

const README: &str = include_str!("../README.md");
const PROCFILE: &str = include_str!("../configs/Procfile");

/// What an operator has: a checkout, and terminals in which members run.
struct Terminals {
    /// They end, and show their logs when the test failed, before the directory
    /// goes.
    members: BTreeMap<u64, Process>,
    dir: TempDir,
    address: String,
}

impl Terminals {
    fn new() -> Terminals {
        Terminals { dir: checkout(), address: own_address(), members: BTreeMap::new() }
    }

    /// The three members of the Procfile.
    fn of_procfile() -> Terminals {
        let mut terminals = Terminals::new();
        for (id, command) in procfile() {
            terminals.launch(id, command);
        }
        (1..=3).for_each(|id| terminals.wait_ready(id));
        terminals
    }

    /// Starts a member with a command of the README or the Procfile.
    fn launch(&mut self, id: u64, command: &str) {
        let command = format!("exec {} --host {}", self.here(command), self.address);
        let log = self.dir.path().join(format!("{id}.log"));
        self.members.insert(id, Process::start(&mut self.bash(&command), &log));
    }

    fn start(&mut self, id: u64, command: &str) {
        self.launch(id, command);
        self.wait_ready(id);
    }

    fn restart(&mut self, id: u64) {
        let command = procfile().find(|(other, _)| *other == id).expect("of the Procfile").1;
        self.start(id, command);
    }

    fn wait_ready(&self, id: u64) {
        let url = format!("{}/readyz", self.url(id));
        wait_until(&format!("{url} is ready"), || {
            request("GET", &url, None).is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Runs one of the README's `curl` lines; what it prints, and the status.
    fn curl(&self, command: &str) -> (String, u16) {
        let shown = command.replace("curl ", "curl -s -w '\\n%{http_code}' ");
        let output = self.bash(&self.here(&shown)).output().expect("bash");
        let text = String::from_utf8(output.stdout).expect("a text");
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (body.to_owned(), status.parse().expect("a status"))
    }

    fn here(&self, command: &str) -> String {
        command.replace("127.0.0.1", &self.address)
    }

    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).current_dir(self.dir.path());
        use_programs(&mut bash);
        bash
    }

    fn url(&self, id: u64) -> String {
        format!("http://{}:{id}2380", self.address)
    }

    fn put(&self, id: u64, key: &str, value: &str) -> u16 {
        support::put(&format!("{}/{key}", self.url(id)), value.as_bytes()).status
    }

    fn get(&self, id: u64, key: &str) -> String {
        support::get(&format!("{}/{key}", self.url(id))).text().to_owned()
    }

    fn add(&self, through: u64, id: u64) -> (String, u16) {
        let command =
            format!("curl http://127.0.0.1:{through}2380/{id} -d http://127.0.0.1:{id}2379");
        self.curl(&command)
    }

    fn remove(&self, through: u64, id: u64) -> (String, u16) {
        self.curl(&format!("curl http://127.0.0.1:{through}2380/{id} -XDELETE"))
    }

    /// Removes a member, and asks again where nobody can tell what came of it, as
    /// on a machine that is too busy to answer in time.
    fn remove_surely(&self, through: u64, id: u64) {
        let mut answer = self.remove(through, id);
        wait_until("the removal is answered", || {
            let is_answered = ![503, 504].contains(&answer.1);
            if !is_answered {
                answer = self.remove(through, id);
            }
            is_answered
        });
        assert_eq!(answer, (String::new(), 204));
    }

    fn leader(&self, through: u64) -> Option<u64> {
        let answer = request("GET", &format!("{}/v2/members/leader", self.url(through)), None);
        answer.ok()?.json()["id"].as_str().map(|id| id.parse().expect("a small number"))
    }

    fn wait_for_leader(&self, through: u64) -> u64 {
        let mut leader = None;
        wait_until("there is a leader", || {
            leader = self.leader(through);
            leader.is_some()
        });
        leader.expect("there is one")
    }

    /// The members that a member knows: whether each of them votes.
    fn members(&self, through: u64) -> BTreeMap<u64, bool> {
        let list = support::get(&format!("{}/v2/members", self.url(through))).json();
        let members = list["members"].as_array().expect("a list").iter();
        let id = |member: &Value| member["id"].as_str().unwrap().parse().unwrap();
        members.map(|member| (id(member), member["isLearner"].is_null())).collect()
    }

    fn wait_until_it_votes(&self, through: u64, id: u64) {
        wait_until(&format!("member {id} votes"), || self.members(through).get(&id) == Some(&true));
    }

    /// A member that was removed says so and ends by itself.
    fn expect_farewell(&mut self, id: u64) {
        let status = self.members.get_mut(&id).expect("it was started").wait();
        let log = self.members[&id].log();
        assert_eq!(status.code(), Some(0), "{log}");
        let line = log.lines().rfind(|line| line.contains("removed from the cluster"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        let directory = format!("raftexample-{id}");
        for part in [&format!("member {id} was removed"), "of no more use", directory.as_str()] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        assert!(!log.contains("ERROR"), "{log}");
    }
}

/// The commands of the Procfile, by member.
fn procfile() -> impl Iterator<Item = (u64, &'static str)> {
    let lines = PROCFILE.lines().filter(|line| !line.starts_with('#'));
    (1..).zip(lines.map(|line| line.split_once(": ").expect("a name and a command").1))
}

/// The commands of the README's section on Raft.
fn readme(begin: &str) -> &'static str {
    let section = README.split("## A cluster with a leader").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let mut lines = section.lines().map(|line| line.split("  #").next().unwrap_or(line));
    lines.find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("the README has {begin}"))
}

#[test]
fn a_single_member_keeps_what_it_was_given() {
    let mut terminals = Terminals::new();
    let start = readme("bin/raftkvd --id 1");
    terminals.start(1, start);
    let put = readme("curl -L http://127.0.0.1:12380/my-key -XPUT -d hello");
    assert_eq!(terminals.curl(put), (String::new(), 204));
    let get = readme("curl -L http://127.0.0.1:12380/my-key");
    let get = get.strip_suffix(" -XPUT -d hello").unwrap_or(get);
    assert_eq!(terminals.curl(get), ("hello".into(), 200));
    for end in ["KILL", "TERM"] {
        terminals.members[&1].signal(end);
        terminals.members.get_mut(&1).unwrap().wait();
        terminals.start(1, start);
        assert_eq!(terminals.curl(get), ("hello".into(), 200), "after SIG{end}");
    }
}

#[test]
fn three_members_one_stopped_one_added_one_removed() {
    let mut terminals = Terminals::of_procfile();
    for (writer, reader) in [(1, 2), (2, 3), (3, 1)] {
        let value = format!("foo{writer}");
        assert_eq!(terminals.put(writer, "my-key", &value), 204);
        assert_eq!(terminals.get(reader, "my-key"), value);
    }
    // One member is stopped; the others go on.
    terminals.members.get_mut(&2).unwrap().kill();
    let put = readme("curl -L http://127.0.0.1:12380/my-key -XPUT -d bar");
    assert_eq!(terminals.curl(put), (String::new(), 204));
    let get = readme("curl -L http://127.0.0.1:32380/my-key");
    assert_eq!(terminals.curl(get), ("bar".into(), 200));
    terminals.restart(2);
    let get = readme("curl -L http://127.0.0.1:22380/my-key");
    assert_eq!(terminals.curl(get), ("bar".into(), 200));
    // A fourth one is added before it runs.
    let (body, status) = terminals.curl(readme("curl -L http://127.0.0.1:12380/4 -XPOST"));
    let state: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &state["state"], &state["id"]), (202, &"learner".into(), &4.into()));
    assert!(state["reason"].as_str().unwrap().contains("--join"), "{body}");
    terminals.start(4, readme("bin/raftexample --id 4"));
    terminals.wait_until_it_votes(1, 4);
    assert_eq!(terminals.get(4, "my-key"), "bar");
    assert_eq!(terminals.put(4, "my-key", "four"), 204);
    // One is removed and ends by itself, now and when it is started again.
    let delete = readme("curl -L http://127.0.0.1:12380/3 -XDELETE");
    assert_eq!(terminals.curl(delete), (String::new(), 204));
    terminals.expect_farewell(3);
    let command = procfile().find(|(id, _)| *id == 3).unwrap().1;
    terminals.launch(3, command);
    terminals.expect_farewell(3);
    assert_eq!(terminals.members(4).into_keys().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(terminals.get(1, "my-key"), "four");
}

#[test]
fn a_member_that_was_down_when_it_was_removed_learns_it() {
    let mut terminals = Terminals::of_procfile();
    terminals.members.get_mut(&3).unwrap().kill();
    terminals.wait_for_leader(1);
    terminals.remove_surely(1, 3);
    let command = procfile().find(|(id, _)| *id == 3).unwrap().1;
    terminals.launch(3, command);
    terminals.expect_farewell(3);
    assert_eq!(terminals.put(1, "k", "v"), 204);
}

#[test]
fn a_leader_that_removes_itself_leaves_a_cluster_that_serves() {
    let mut terminals = Terminals::of_procfile();
    let leader = terminals.wait_for_leader(1);
    let other = 1 + leader % 3;
    let (body, status) = terminals.remove(leader, leader);
    assert!([204, 503, 504].contains(&status), "{status} {body}");
    // Who lost the answer may ask again.
    terminals.remove_surely(other, leader);
    assert_eq!(terminals.put(other, "k", "v"), 204);
    terminals.expect_farewell(leader);
    assert_eq!(terminals.members(other).len(), 2);
}

#[test]
fn what_would_harm_the_cluster_is_refused() {
    let mut terminals = Terminals::of_procfile();
    terminals.wait_for_leader(1);
    let refused = |(body, status): (String, u16), part: &str| {
        assert_eq!(status, 409, "{body}");
        assert!(body.contains(part), "{body}");
    };
    // The address of a member, and a member that is there.
    let same = "curl http://127.0.0.1:22380/7 -d http://127.0.0.1:32379";
    refused(terminals.curl(same), "is member 3 already");
    let moved = "curl http://127.0.0.1:22380/3 -d http://127.0.0.1:33379";
    refused(terminals.curl(moved), "member 3 is there already");
    assert_eq!(terminals.remove(1, 9).1, 404);
    // One of three is down, and the new leader knows: a removal of another one
    // would leave no majority.
    let down = terminals.wait_for_leader(1);
    let (one, other) = (1 + down % 3, 1 + (down + 1) % 3);
    terminals.members.get_mut(&down).unwrap().kill();
    wait_until("another one leads", || terminals.leader(one).is_some_and(|id| id != down));
    refused(terminals.remove(one, other), "no majority");
    assert_eq!(terminals.members(one).len(), 3);
    // But the one that is down may go; its id may never come back.
    terminals.remove_surely(one, down);
    refused(terminals.add(other, down), "never used");
    assert_eq!(terminals.put(other, "k", "v"), 204);
}

#[test]
fn a_member_that_runs_says_that_it_must_be_added_and_then_votes_at_once() {
    let mut terminals = Terminals::of_procfile();
    assert_eq!(terminals.put(1, "k", "v"), 204);
    terminals.launch(4, readme("bin/raftexample --id 4"));
    let url = format!("http://{}:42379", terminals.address);
    let told = format!("has no member 4 yet; add it: curl -X POST http://A-MEMBER/4 -d {url}");
    wait_until("member 4 says so", || terminals.members[&4].log().contains(&told));
    let answer = support::put(&format!("{}/k", terminals.url(4)), b"w");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains(&told), "{}", answer.text());
    assert_eq!(terminals.members(1).len(), 3);
    assert_eq!(terminals.add(1, 4), (String::new(), 204));
    terminals.wait_ready(4);
    assert_eq!(terminals.members(1).get(&4), Some(&true));
    assert_eq!(terminals.add(2, 4), (String::new(), 204), "who lost the answer may ask again");
    assert_eq!(terminals.get(4, "k"), "v");
}

#[test]
fn members_that_cannot_be_reached_hold_nobody_up() {
    let mut terminals = Terminals::of_procfile();
    terminals.wait_for_leader(1);
    // Two changes at once: both are done in turn, or one is told to come again.
    let (four, five) = std::thread::scope(|scope| {
        let four = scope.spawn(|| terminals.add(1, 4));
        let five = scope.spawn(|| terminals.add(2, 5));
        (four.join().unwrap(), five.join().unwrap())
    });
    for (body, status) in [&four, &five] {
        assert!([202, 409].contains(status), "{status} {body}");
    }
    assert!(four.1 == 202 || five.1 == 202, "{four:?} {five:?}");
    for id in [4, 5] {
        assert_eq!(terminals.add(3, id).1, 202, "the same again is no harm");
    }
    // Neither counts for the majority, so one of the three may still fail.
    assert_eq!(terminals.put(2, "k", "v1"), 204);
    terminals.members.get_mut(&1).unwrap().kill();
    let mut last = 0;
    wait_until("the two others commit", || {
        last = terminals.put(2, "k", "v2");
        last == 204
    });
    assert_eq!(terminals.get(3, "k"), "v2");
    let members = terminals.members(2);
    assert_eq!(members.values().filter(|votes| **votes).count(), 3, "{members:?}");
}

#[test]
fn a_member_that_is_started_at_another_address_is_refused() {
    let mut terminals = Terminals::of_procfile();
    let command = procfile().find(|(id, _)| *id == 3).expect("of the Procfile").1;
    terminals.members.get_mut(&3).unwrap().kill();
    terminals.launch(3, &command.replace(":32379", ":32389"));
    let status = terminals.members.get_mut(&3).unwrap().wait();
    let log = terminals.members[&3].log();
    assert_eq!(status.code(), Some(2), "{log}");
    let said = log.lines().rfind(|line| line.starts_with("raft")).expect("why");
    for part in [":32389", "start it at", ":32379", "DELETE", "never used"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    // The others elect one of them, and where it was it is welcome.
    terminals.wait_for_leader(1);
    terminals.restart(3);
    assert_eq!(terminals.put(3, "k", "v"), 204);
}

/// The journal of a member's store, and what is in it.
fn journal(terminals: &Terminals) -> (PathBuf, Vec<u8>) {
    let path = terminals.dir.path().join("raftkvd-1/store/0.jnl");
    let mut bytes = std::fs::read(&path).expect("the journal");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("it holds something") + 1;
    bytes.truncate(end);
    (path, bytes)
}

#[test]
fn a_torn_tail_is_cut_and_damage_is_refused() {
    let mut terminals = Terminals::new();
    let start = readme("bin/raftkvd --id 1");
    terminals.start(1, start);
    for number in 0..20 {
        assert_eq!(terminals.put(1, &format!("k{number}"), "some text"), 204);
    }
    terminals.members.get_mut(&1).unwrap().kill();
    // What a crash in the middle of a write leaves: the beginning of a batch.
    let (path, whole) = journal(&terminals);
    let torn: Vec<u8> = whole.iter().chain(&whole[..20]).copied().collect();
    std::fs::write(&path, torn).unwrap();
    terminals.start(1, start);
    let line = format!("0.jnl: cut off at byte {}: ", whole.len());
    let log = terminals.members[&1].log();
    assert!(log.contains(&line), "no {line:?} in {log}");
    assert_eq!(terminals.get(1, "k19"), "some text");
    terminals.members.get_mut(&1).unwrap().kill();
    // A byte in the middle of what was acknowledged.
    let (_, mut damaged) = journal(&terminals);
    let middle = whole.windows(9).position(|at| at == b"some text").unwrap();
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    terminals.launch(1, start);
    let status = terminals.members.get_mut(&1).unwrap().wait();
    let log = terminals.members[&1].log();
    assert_eq!(status.code(), Some(2), "{log}");
    let said = log.lines().rfind(|line| line.starts_with("raftkvd: ")).expect("why");
    for part in ["raftkvd-1/store", "0.jnl", "Checksum", "damaged", "DELETE", "never used"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
