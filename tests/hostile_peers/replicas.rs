//! Every kind of call to a replica.

use gryadka::generation::Generation;
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::Command;
use gryadka::raft::{
    Announcement, Call, Entry, LogId, MemberChange, Message, Profile, Publication, Reply,
    SnapshotChunk, SnapshotMeta, Store, StoredMembership, Vote,
};
use gryadka::store::{Disk, FjallDisk, ReplicaIdentity, open_database};
use gryadka::transport::{BatchCalls, BatchReplies};
use openraft::{EntryPayload, Membership};

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};

use super::support::{Cluster, Protocol, get, put, request, wait_until};
use super::{OTHER, arrived, assert_serves, cluster_id, key, post, stop};

/// The sender of a message.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Sender {
    /// A member, that says no cluster.
    Nameless,
    /// A member of another cluster.
    Foreign,
    /// Nobody has added it.
    Stranger,
    /// It was removed.
    Removed,
}

const SENDERS: [Sender; 4] = [Sender::Nameless, Sender::Foreign, Sender::Stranger, Sender::Removed];

/// What a replica knows, that callers speak of.
struct Known {
    ours: ClusterId,
    term: u64,
    last: u64,
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Blank }
}

/// One call of each kind of `from`, in the name of a leader of `term`, whose log
/// ends at `index`.
fn calls(from: u64, to: u64, term: u64, index: u64) -> Vec<Call> {
    let at = Some(LogId::new_term_index(term, index));
    let ballot = Vote::new(term, from);
    let lead = Vote::new_committed(term, from);
    let vote =
        |leadership_transfer| VoteRequest { vote: ballot, last_log_id: at, leadership_transfer };
    let profile = Profile { name: "x".into(), client_url: "http://x:1".into() };
    let publication = Publication { id: from, nonce: Nonce(77), profile };
    let entries = Vec::new();
    let first = Call::Append(AppendEntriesRequest {
        vote: lead,
        prev_log_id: at,
        entries,
        leader_commit: at,
    });
    let mut all = vec![first.clone()];
    loop {
        // A new kind is put in here.
        let next = match all.last().unwrap_or(&first) {
            Call::Append(rpc) if rpc.entries.is_empty() => Call::Append(AppendEntriesRequest {
                vote: lead,
                prev_log_id: index.checked_sub(1).map(|at| LogId::new_term_index(term, at)),
                entries: vec![entry(term, index)],
                leader_commit: at,
            }),
            Call::Append(_) => Call::Vote(vote(false)),
            Call::Vote(rpc) if !rpc.leadership_transfer => Call::Vote(vote(true)),
            Call::Vote(_) => Call::PreVote(vote(false)),
            Call::PreVote(_) => Call::TransferLeader(TransferLeaderRequest::new(lead, to, at)),
            Call::TransferLeader(_) => {
                let meta = SnapshotMeta { last_log_id: at, ..SnapshotMeta::default() };
                let (offset, data, total_bytes) = (0, vec![7; 99].into(), 1 << 20);
                Call::Snapshot(SnapshotChunk { vote: lead, meta, offset, data, total_bytes })
            }
            Call::Snapshot(_) => Call::ReadIndex,
            Call::ReadIndex => {
                let submission = Command::Set("stranger".into()).into();
                Call::Submit { key: key(), submission, patience_ms: u32::MAX }
            }
            Call::Submit { .. } => {
                let change = MemberChange::Remove { id: to };
                Call::Change { change, patience_ms: u32::MAX }
            }
            Call::Change { .. } => Call::Publish(publication.clone()),
            Call::Publish(_) => Call::Identify,
            Call::Identify => Call::Join(publication.clone()),
            Call::Join(_) => Call::Hello,
            Call::Hello => Call::Probe,
            Call::Probe => {
                let generation = Generation { count: index, tag: 7 };
                let members = StoredMembership::new(at, Membership::default());
                Call::Announce(Announcement { generation, members })
            }
            Call::Announce(_) => return all,
        };
        all.push(next);
    }
}

/// Whether the reply is the right one to a sender that must not be served.
fn is_turned_away(call: &Call, sender: Sender, reply: &Reply) -> bool {
    use gryadka::raft::Published::NotMember;
    let is_other = matches!(reply, Reply::OtherCluster { .. });
    match call {
        // Anybody may know it.
        Call::Identify => matches!(reply, Reply::Identity(_)),
        Call::Join(_) => match sender {
            Sender::Stranger => matches!(reply, Reply::Joined(NotMember)),
            Sender::Nameless | Sender::Foreign => is_other,
            Sender::Removed => matches!(reply, Reply::Removed),
        },
        Call::Hello if sender == Sender::Stranger => matches!(reply, Reply::Noted),
        Call::Probe if sender == Sender::Stranger => matches!(reply, Reply::Probed { .. }),
        Call::Append(_)
        | Call::Vote(_)
        | Call::PreVote(_)
        | Call::TransferLeader(_)
        | Call::Snapshot(_)
        | Call::ReadIndex
        | Call::Submit { .. }
        | Call::Change { .. }
        | Call::Publish(_)
        | Call::Hello
        | Call::Probe
        | Call::Announce(_) => match sender {
            Sender::Nameless | Sender::Foreign => is_other,
            Sender::Stranger => matches!(reply, Reply::Refused(_)),
            Sender::Removed => matches!(reply, Reply::Removed),
        },
    }
}

/// Calls in the name of a member, each with something in it that no member says.
/// All are refused.
fn absurd_calls(from: u64, to: u64, known: &Known) -> Vec<Call> {
    let Known { term, last, .. } = *known;
    let far = |call: &Call| match call {
        Call::Append(_)
        | Call::Vote(_)
        | Call::PreVote(_)
        | Call::TransferLeader(_)
        | Call::Snapshot(_)
        | Call::Announce(_) => true,
        Call::ReadIndex
        | Call::Submit { .. }
        | Call::Change { .. }
        | Call::Publish(_)
        | Call::Identify
        | Call::Join(_)
        | Call::Hello
        | Call::Probe => false,
    };
    let of = |term, index| calls(from, to, term, index).into_iter().filter(far);
    let mut absurd: Vec<Call> =
        [(u64::MAX, 1), ((1 << 62) - 1, 1), (term + 1, u64::MAX), (term + 1, 1 << 62)]
            .into_iter()
            .flat_map(|(term, index)| of(term, index))
            .collect();
    let lead = Vote::new_committed(term + 1, from);
    let append = |prev: Option<LogId>, entries, leader_commit| {
        Call::Append(AppendEntriesRequest { vote: lead, prev_log_id: prev, entries, leader_commit })
    };
    let before = Some(LogId::new_term_index(term, last - 1));
    absurd.extend([
        // It contradicts what is committed.
        append(before, vec![entry(term + 1, last)], None),
        append(None, vec![entry(term + 1, 0)], None),
        // Gaps, and terms of the future.
        append(before, vec![entry(term, last), entry(term, last + 2)], None),
        append(before, vec![entry(term + 2, last)], None),
        append(before, Vec::new(), Some(LogId::new_term_index(term + 2, last))),
    ]);
    // In the name of somebody else.
    let is_signed = |call: &Call| far(call) && !matches!(call, Call::Announce(_));
    absurd.extend(calls(to, from, term, last).into_iter().filter(is_signed));
    absurd
}

/// All that a replica keeps besides its records, while its node is down.
fn replica_on_disk(cluster: &Cluster, index: usize) -> String {
    let directory = cluster.dir.path().join(format!("data/p{}/store", index + 1));
    let identity = ReplicaIdentity { cluster: "test".into(), id: index as u64 + 1 };
    let database = open_database(&directory).expect("the store opens");
    let disk = FjallDisk::open(database, &directory, identity).expect("the disk opens");
    let generations = disk.generations();
    let store = Store::open(disk, Nonce(0), None).expect("the replica's store opens");
    let log = store.log().lock().unwrap();
    let summary = store.state().summary();
    // Members go on announcing themselves, with counts that are near.
    let known: Vec<(&u64, bool)> =
        log.generations.known.iter().map(|(id, known)| (id, known.count < 1 << 20)).collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {known:?} {summary:?} {generations:?}",
        log.nonce, log.belonging, log.vote, log.purged, log.last
    )
}

/// What replicas tell of themselves.
fn shown(cluster: &Cluster) -> Vec<serde_json::Value> {
    let of = |index| {
        let state = get(&format!("{}/raft", cluster.admin_url(index))).json();
        let hash = get(&format!("{}/raft/hash", cluster.admin_url(index))).json();
        serde_json::json!([
            state["role"],
            state["term"],
            state["votedFor"],
            state["leader"],
            state["log"],
            state["voters"],
            state["learners"],
            state["retired"],
            hash,
        ])
    };
    (0..3).map(of).collect()
}

fn ask_replica(cluster: &Cluster, index: usize, from: u64, calls: Vec<Message>) -> Vec<Reply> {
    let to = index as u64 + 1;
    match post(cluster, index, BatchCalls::Replica { from, to, calls }) {
        BatchReplies::Replica(replies) => arrived(replies),
        BatchReplies::Acceptor(_) => panic!("an acceptor answered"),
    }
}

/// Each member notes its name in the log by itself, some time after it starts:
/// until then entries come that nobody here has asked for.
fn wait_until_named(cluster: &Cluster) {
    wait_until("all members have their names in the log", || {
        (0..3).all(|index| {
            let members = get(&format!("{}/v2/members", cluster.url(index))).json();
            let members = members["members"].as_array().expect("a list").clone();
            members.len() == 3 && members.iter().all(|member| member["name"] != "")
        })
    });
}

#[test]
fn replicas_turn_away_whom_they_do_not_serve_and_keep_what_they_had() {
    const GONE: u64 = 4;
    let mut cluster = Cluster::start(Protocol::Raft, 3);
    assert_eq!(put(&format!("{}/k", cluster.url(0)), b"kept").status, 204);
    // A member that comes and goes.
    let member = format!("{}/{GONE}", cluster.url(0));
    let place = format!("http://{}:8104", cluster.address);
    let added = request("POST", &member, Some(("text/plain", place.as_bytes()))).unwrap();
    assert!(added.status < 300, "{added:?}");
    let removed = request("DELETE", &member, None).unwrap();
    assert!(removed.status < 300, "{removed:?}");
    assert_serves(&cluster);
    let leader = cluster.leader().expect("a leader");
    let follower = (leader + 1) % 3;
    wait_until_named(&cluster);
    stop(&mut cluster, follower);
    let disk_before = replica_on_disk(&cluster, follower);
    cluster.launch(follower);
    cluster.wait_ready(follower);
    let mut before = Vec::new();
    wait_until("all have applied the same", || {
        before = shown(&cluster);
        before.iter().all(|state| state[4]["appliedIndex"] == before[leader][4]["lastIndex"])
    });
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let (term, last) = (number(&before[leader][1]), number(&before[leader][4]["lastIndex"]));
    let known = Known { ours: cluster_id(&cluster), term, last };
    let mut count = 0;
    for to in [leader, follower] {
        let member = (3 - leader - follower) as u64 + 1;
        for sender in SENDERS {
            let (from, cluster_id) = match sender {
                Sender::Nameless => (member, None),
                Sender::Foreign => (member, OTHER),
                Sender::Stranger => (9, Some(known.ours)),
                Sender::Removed => (GONE, Some(known.ours)),
            };
            let told: Vec<Call> = [term, term + 1]
                .into_iter()
                .flat_map(|term| calls(from, to as u64 + 1, term, last + 1))
                .collect();
            let message = |call: &Call| Message { cluster: cluster_id, call: call.clone() };
            let replies = ask_replica(&cluster, to, from, told.iter().map(message).collect());
            assert_eq!(replies.len(), told.len());
            for (call, reply) in told.iter().zip(&replies) {
                let is_right = is_turned_away(call, sender, reply);
                assert!(is_right, "{sender:?} to p{}: {call:?}: {reply:?}", to + 1);
            }
            count += told.len();
        }
        let told = absurd_calls(member, to as u64 + 1, &known);
        let message = |call: &Call| Message { cluster: Some(known.ours), call: call.clone() };
        let replies = ask_replica(&cluster, to, member, told.iter().map(message).collect());
        assert_eq!(replies.len(), told.len());
        for (call, reply) in told.iter().zip(&replies) {
            assert!(matches!(reply, Reply::Refused(_)), "to p{}: {call:?}: {reply:?}", to + 1);
        }
        count += told.len();
    }
    println!("{count} calls");
    assert_eq!(shown(&cluster), before);
    stop(&mut cluster, follower);
    assert_eq!(replica_on_disk(&cluster, follower), disk_before);
    cluster.launch(follower);
    cluster.wait_ready(follower);
    assert_eq!(get(&format!("{}/k", cluster.url(follower))).text(), "kept");
    assert_serves(&cluster);
    assert_eq!(shown(&cluster)[leader][1], before[leader][1], "no election");
}
