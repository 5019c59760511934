//! What callers are answered that must not be served, for every kind of message;
//! and that nothing durable changes for them.

mod support;

use std::fmt::Debug;

use gryadka::caspaxos::{
    AcceptorId, Age, Ballot, Call as AcceptorCall, Configuration, Epoch, Fence, Floor, ListKind,
    ListRequest, MAX_LEAP, Reply as AcceptorReply, Request, Value,
};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key, Record};
use gryadka::raft::{
    Call, Entry, LogId, MemberChange, Message, Profile, Publication, Reply, SnapshotChunk,
    SnapshotMeta, Store, Vote,
};
use gryadka::store::{
    AcceptorStore, Disk, EmbeddedStore, FjallDisk, Identity, ReplicaIdentity, open_database,
};
use gryadka::transport::{Batch, BatchCalls, BatchReplies, Passed, decode, encode};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use support::{Cluster, Protocol, get, put, request, wait_until};

fn cluster_id(cluster: &Cluster) -> ClusterId {
    let version = get(&format!("{}/version", cluster.url(0))).json();
    version["clusterId"].as_str().unwrap().parse().unwrap()
}

const OTHER: Option<ClusterId> = ClusterId::new(0xbad);

fn key() -> Key {
    Key::try_from("k").unwrap()
}

/// Sends calls to a node; the replies that came.
fn post(cluster: &Cluster, index: usize, calls: BatchCalls) -> BatchReplies {
    let url = format!("http://{}:{}/peer/v1/batch", cluster.address, 8101 + index);
    let batch = Batch { cluster: "test".into(), sender: "x".into(), patience_ms: 10_000, calls };
    let body = encode(&batch);
    let answer = request("POST", &url, Some(("application/octet-stream", &body))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    decode(&answer.body).expect("replies")
}

fn arrived<Reply: Debug>(replies: Vec<Passed<Reply>>) -> Vec<Reply> {
    let now = |passed| match passed {
        Passed::Now(reply) => reply,
        other => panic!("{other:?}"),
    };
    replies.into_iter().map(now).collect()
}

/// The cluster serves writes at every node.
fn assert_serves(cluster: &Cluster) {
    for (index, url) in cluster.urls().iter().enumerate() {
        let value = format!("written at {index}");
        wait_until("it serves", || put(&format!("{url}/after"), value.as_bytes()).status == 204);
        assert_eq!(get(&format!("{url}/after")).text(), value);
    }
}

/// Stops a node as an operator does.
fn stop(cluster: &mut Cluster, index: usize) {
    cluster.node(index).signal("TERM");
    cluster.node(index).wait();
    assert!(!cluster.node(index).log().contains("panicked"), "{}", cluster.node(index).log());
    cluster.nodes[index] = None;
}

// CASPaxos

fn ballot(counter: u64) -> Ballot {
    Ballot { counter, proposer: "p9".parse().unwrap(), ..Ballot::ZERO }
}

fn value(index: u64) -> Value {
    let record = Record { value: Some("stranger".into()), created_index: 1, modified_index: index };
    Value { record, ..Value::default() }
}

fn configuration(epoch: u64) -> Configuration {
    Configuration::uniform(Epoch(epoch), &["a1".into(), "a2".into(), "a3".into()], 2, 2)
}

fn fence(epoch: u64) -> Fence {
    let configuration = Some(configuration(epoch));
    Fence { epoch: Epoch(epoch), configuration, ..Fence::default() }
}

/// One request of each kind.
fn requests() -> Vec<Request> {
    let (prefix, after, limit_bytes) = (String::new(), None, u32::MAX);
    let list = ListRequest { kind: ListKind::Accepted, prefix, after, limit_bytes };
    let first = Request::Prepare { key: key(), ballot: ballot(1 << 20) };
    let mut all = vec![first.clone()];
    loop {
        // A new kind is put in here.
        let next = match all.last().unwrap_or(&first) {
            Request::Prepare { .. } => {
                let (ballot, next) = (ballot(1 << 20), ballot(1 << 20));
                Request::Accept { key: key(), ballot, value: value(9), next }
            }
            Request::Accept { .. } => Request::Read { key: key() },
            Request::Read { .. } => Request::List(list.clone()),
            Request::List(_) => Request::Raise { fence: fence(CURRENT + 1) },
            Request::Raise { .. } => {
                Request::Enrol { fence: fence(CURRENT + 1), counter: 0, is_founding: true }
            }
            Request::Enrol { .. } => {
                Request::Remove { key: key(), accepted: ballot(1), floor: u64::MAX }
            }
            Request::Remove { .. } => Request::Wipe,
            Request::Wipe => Request::Status,
            Request::Status => return all,
        };
        all.push(next);
    }
}

/// The epoch that the acceptors stand at.
const CURRENT: u64 = 2;

/// How an acceptor answers whom it does not serve.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Refused {
    OtherCluster,
    Fenced,
    Behind,
    TooHigh,
    /// Anybody may know it.
    Status,
}

fn kind(reply: &AcceptorReply) -> Option<Refused> {
    match reply {
        AcceptorReply::OtherCluster { .. } => Some(Refused::OtherCluster),
        AcceptorReply::Fenced(_) => Some(Refused::Fenced),
        AcceptorReply::Behind => Some(Refused::Behind),
        AcceptorReply::TooHigh => Some(Refused::TooHigh),
        AcceptorReply::Status(_) => Some(Refused::Status),
        AcceptorReply::Prepared { .. }
        | AcceptorReply::Accepted
        | AcceptorReply::Conflict { .. }
        | AcceptorReply::WasRead { .. }
        | AcceptorReply::Listed(_)
        | AcceptorReply::Raised { .. }
        | AcceptorReply::NotEnrolled
        | AcceptorReply::NotEmpty
        | AcceptorReply::Removed { .. }
        | AcceptorReply::Wiped => None,
    }
}

/// What is answered to a request from a proposer of no cluster, of another one,
/// of an epoch that is over, and of one that nobody made.
fn answers(request: &Request) -> [Refused; 4] {
    use Refused::{Behind, Fenced, OtherCluster, Status};
    match request {
        Request::Prepare { .. }
        | Request::Accept { .. }
        | Request::Read { .. }
        | Request::List(_)
        | Request::Raise { .. }
        | Request::Enrol { .. }
        | Request::Remove { .. }
        | Request::Wipe => [OtherCluster, OtherCluster, Fenced, Behind],
        Request::Status => [Status; 4],
    }
}

/// The same request with numbers that nobody comes to by counting; none where
/// there is no number in it.
fn absurd(request: &Request) -> Vec<Request> {
    let raised = |change: fn(&mut Fence)| {
        let mut fence = fence(CURRENT);
        change(&mut fence);
        fence
    };
    let fences = [
        raised(|fence| fence.age = Age(u64::MAX)),
        raised(|fence| fence.floor = Floor { counter: u64::MAX, index: 0 }),
        raised(|fence| fence.floor = Floor { counter: 0, index: u64::MAX }),
        fence(u64::MAX),
        Fence {
            configuration: Some(Configuration { prepare: none(), ..configuration(3) }),
            ..fence(3)
        },
    ];
    let far = [MAX_LEAP * 2, (1 << 62) - 1, u64::MAX];
    match request {
        Request::Prepare { .. } => {
            far.map(|counter| Request::Prepare { key: key(), ballot: ballot(counter) }).into()
        }
        Request::Accept { .. } => {
            let accept = |counter, next| {
                let (ballot, next) = (ballot(counter), ballot(next));
                Request::Accept { key: key(), ballot, value: value(9), next }
            };
            far.iter().flat_map(|far| [accept(*far, 1), accept(1, *far)]).collect()
        }
        Request::Raise { .. } => fences.map(|fence| Request::Raise { fence }).into(),
        Request::Enrol { .. } => {
            let enrol = |fence| Request::Enrol { fence, counter: 0, is_founding: true };
            fences.map(enrol).into()
        }
        Request::Read { .. }
        | Request::List(_)
        | Request::Remove { .. }
        | Request::Wipe
        | Request::Status => Vec::new(),
    }
}

fn none() -> gryadka::caspaxos::Quorum {
    gryadka::caspaxos::Quorum { acceptors: Vec::new(), size: 0 }
}

/// All that an acceptor keeps, while its node is down.
fn acceptor_on_disk(cluster: &Cluster) -> Vec<AcceptorReply> {
    let directory = cluster.dir.path().join("data/p1/store");
    let identity = Identity { cluster: "test".into(), acceptor: "a1".into() };
    let mut store = EmbeddedStore::open(&directory, identity).expect("the store opens");
    let mut ask = |cluster, epoch, age, request| {
        store.serve(&[AcceptorCall { cluster, epoch, age, request }]).expect("it serves").remove(0)
    };
    let status = ask(None, Epoch(0), Age(0), Request::Status);
    let AcceptorReply::Status(ref it) = status else { panic!("{status:?}") };
    let (cluster, epoch, age) = (it.cluster, it.fence.epoch, it.fence.age);
    let mut found = vec![status];
    for kind in [ListKind::Accepted, ListKind::Dead] {
        let (prefix, after, limit_bytes) = (String::new(), None, u32::MAX);
        let list = ListRequest { kind, prefix, after, limit_bytes };
        let reply = ask(cluster, epoch, age, Request::List(list));
        assert!(matches!(reply, AcceptorReply::Listed(_)), "{reply:?}");
        found.push(reply);
    }
    // How far its ballots have come: the next one is asked for and refused.
    found.push(ask(cluster, epoch, age, Request::Prepare { key: key(), ballot: Ballot::ZERO }));
    found
}

fn ask_acceptor(cluster: &Cluster, index: usize, calls: Vec<AcceptorCall>) -> Vec<AcceptorReply> {
    let to = AcceptorId::from(format!("a{}", index + 1).as_str());
    match post(cluster, index, BatchCalls::Acceptor { to, calls }) {
        BatchReplies::Acceptor(replies) => arrived(replies),
        BatchReplies::Replica(_) => panic!("a replica answered"),
    }
}

#[test]
fn acceptors_turn_away_whom_they_do_not_serve_and_keep_what_they_had() {
    let mut cluster = Cluster::start(Protocol::Caspaxos, 3);
    assert_eq!(put(&format!("{}/k", cluster.url(0)), b"kept").status, 204);
    let ours = Some(cluster_id(&cluster));
    let call = |cluster, epoch, request| AcceptorCall {
        cluster,
        epoch: Epoch(epoch),
        age: Age(0),
        request,
    };
    // Whoever works under the first epoch is a proposer of the past from here on.
    for index in 0..3 {
        let raise = Request::Raise { fence: fence(CURRENT) };
        let replies = ask_acceptor(&cluster, index, vec![call(ours, CURRENT, raise)]);
        assert!(matches!(replies[..], [AcceptorReply::Raised { .. }]), "{replies:?}");
    }
    assert_serves(&cluster);
    stop(&mut cluster, 0);
    let before = acceptor_on_disk(&cluster);
    cluster.launch(0);
    cluster.wait_ready(0);
    let mut rows = Vec::new();
    for request in requests() {
        let callers = [(None, CURRENT), (OTHER, CURRENT), (ours, 1), (ours, 99)];
        for ((cluster, epoch), expected) in callers.into_iter().zip(answers(&request)) {
            rows.push((call(cluster, epoch, request.clone()), expected));
        }
        let absurd = absurd(&request).into_iter();
        rows.extend(absurd.map(|request| (call(ours, CURRENT, request), Refused::TooHigh)));
    }
    let calls: Vec<AcceptorCall> = rows.iter().map(|(call, _)| call.clone()).collect();
    let replies = ask_acceptor(&cluster, 0, calls);
    assert_eq!(replies.len(), rows.len());
    for ((call, expected), reply) in rows.iter().zip(&replies) {
        assert_eq!(kind(reply), Some(*expected), "{call:?}: {reply:?}");
    }
    println!("{} calls", rows.len());
    stop(&mut cluster, 0);
    assert_eq!(acceptor_on_disk(&cluster), before);
    cluster.launch(0);
    cluster.wait_ready(0);
    assert_eq!(get(&format!("{}/k", cluster.url(0))).text(), "kept");
    assert_serves(&cluster);
}

// Raft

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
            Call::Hello => return all,
        };
        all.push(next);
    }
}

/// Whether the reply is the right one to a sender that must not be served.
fn is_turned_away(call: &Call, sender: Sender, reply: &Reply) -> bool {
    use gryadka::raft::Published::{NotMember, OtherNonce};
    let is_other = matches!(reply, Reply::OtherCluster { .. });
    match call {
        // Anybody may know it.
        Call::Identify => matches!(reply, Reply::Identity(_)),
        Call::Join(_) => match sender {
            Sender::Nameless => matches!(reply, Reply::Joined(OtherNonce)),
            Sender::Stranger => matches!(reply, Reply::Joined(NotMember)),
            Sender::Foreign => is_other,
            Sender::Removed => matches!(reply, Reply::Removed),
        },
        Call::Hello if sender == Sender::Stranger => matches!(reply, Reply::Noted),
        Call::Append(_)
        | Call::Vote(_)
        | Call::PreVote(_)
        | Call::TransferLeader(_)
        | Call::Snapshot(_)
        | Call::ReadIndex
        | Call::Submit { .. }
        | Call::Change { .. }
        | Call::Publish(_)
        | Call::Hello => match sender {
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
        | Call::Snapshot(_) => true,
        Call::ReadIndex
        | Call::Submit { .. }
        | Call::Change { .. }
        | Call::Publish(_)
        | Call::Identify
        | Call::Join(_)
        | Call::Hello => false,
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
    absurd.extend(calls(to, from, term, last).into_iter().filter(far));
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
    format!(
        "{:?} {:?} {:?} {:?} {:?} {summary:?} {generations:?}",
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
