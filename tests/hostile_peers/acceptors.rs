//! Every kind of request to an acceptor.

use std::collections::BTreeMap;

use gryadka::caspaxos::{
    AcceptorId, AcceptorStatus, Age, Ballot, Call as AcceptorCall, Configuration, Enrolment,
    EnrolmentClaim, Epoch, Fence, Floor, ListKind, ListRequest, MAX_LEAP, Quorum,
    Reply as AcceptorReply, Request, Value,
};
use gryadka::generation::Generation;
use gryadka::kv::Record;
use gryadka::store::{AcceptorStore, EmbeddedStore, Identity};
use gryadka::transport::{BatchCalls, BatchReplies};

use super::support::{Cluster, Protocol, get, put, wait_until};
use super::{OTHER, arrived, assert_serves, cluster_id, key, post, stop};

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

fn enrolment(epoch: u64, count: u64) -> Enrolment {
    Enrolment { epoch: Epoch(epoch), generation: Generation { count, tag: 1 } }
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
            Request::Remove { .. } => {
                Request::Note { of: "a2".into(), claim: enrolment(1, 1).into() }
            }
            Request::Note { .. } => Request::Confirm { enrolment: enrolment(1, 1), tag: 1 },
            Request::Confirm { .. } => Request::Mark { tag: 1 },
            Request::Mark { .. } => Request::Wipe,
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
    /// It serves already.
    Confirmed,
}

fn kind(reply: &AcceptorReply) -> Option<Refused> {
    match reply {
        AcceptorReply::OtherCluster { .. } => Some(Refused::OtherCluster),
        AcceptorReply::Fenced(_) => Some(Refused::Fenced),
        AcceptorReply::Behind => Some(Refused::Behind),
        AcceptorReply::TooHigh => Some(Refused::TooHigh),
        AcceptorReply::Status(_) => Some(Refused::Status),
        AcceptorReply::Confirmed(_) => Some(Refused::Confirmed),
        AcceptorReply::Prepared { .. }
        | AcceptorReply::Accepted
        | AcceptorReply::Conflict { .. }
        | AcceptorReply::WasRead { .. }
        | AcceptorReply::Listed(_)
        | AcceptorReply::Raised { .. }
        | AcceptorReply::NotEnrolled
        | AcceptorReply::Unconfirmed(_)
        | AcceptorReply::Noted(_)
        | AcceptorReply::Marked(_)
        | AcceptorReply::NotEmpty
        | AcceptorReply::Removed { .. }
        | AcceptorReply::Wiped => None,
    }
}

/// What is answered to a request from a proposer of no cluster, of another one,
/// of an epoch that is over, and of one that nobody made.
fn answers(request: &Request) -> [Refused; 4] {
    use Refused::{Behind, Confirmed, Fenced, OtherCluster, Status};
    match request {
        Request::Prepare { .. }
        | Request::Accept { .. }
        | Request::Read { .. }
        | Request::List(_)
        | Request::Raise { .. }
        | Request::Enrol { .. }
        | Request::Remove { .. }
        | Request::Note { .. }
        | Request::Mark { .. }
        | Request::Wipe => [OtherCluster, OtherCluster, Fenced, Behind],
        Request::Confirm { .. } => [OtherCluster, OtherCluster, Fenced, Confirmed],
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
            let mut all: Vec<Request> =
                far.iter().flat_map(|far| [accept(*far, 1), accept(1, *far)]).collect();
            // More changes than a register ever sees.
            let (ballot, value) = (ballot(1 << 20), value(u64::MAX));
            all.push(Request::Accept { key: key(), ballot, value, next: ballot });
            all
        }
        Request::Raise { .. } => fences.map(|fence| Request::Raise { fence }).into(),
        Request::Enrol { .. } => {
            let enrol = |fence| Request::Enrol { fence, counter: 0, is_founding: true };
            fences.map(enrol).into()
        }
        Request::Note { .. } => {
            let told = [enrolment(1, u64::MAX), enrolment(CURRENT + 1, 1)];
            told.map(|told| Request::Note { of: "a2".into(), claim: told.into() }).into()
        }
        Request::Read { .. }
        | Request::List(_)
        | Request::Confirm { .. }
        | Request::Mark { .. }
        | Request::Remove { .. }
        | Request::Wipe
        | Request::Status => Vec::new(),
    }
}

fn none() -> Quorum {
    Quorum { acceptors: Vec::new(), size: 0 }
}

/// What an acceptor keeps, while its node is down; how far ballots count it shows to
/// nobody, and its unit tests look at that.
fn acceptor_on_disk(cluster: &Cluster) -> Vec<AcceptorReply> {
    let directory = cluster.dir.path().join("data/p1/store");
    let identity = Identity { cluster: "test".into(), acceptor: "a1".into() };
    let mut store = EmbeddedStore::open(&directory, identity).expect("the store opens");
    let mut ask = |cluster, epoch, age, request| {
        store.serve(&[AcceptorCall { cluster, epoch, age, request }]).expect("it serves").remove(0)
    };
    let status = ask(None, Epoch(0), Age(0), Request::Status);
    let AcceptorReply::Status(it) = status else { panic!("{status:?}") };
    let (cluster, epoch, age) = (it.cluster, it.fence.epoch, it.fence.age);
    // It rises each time that the store is opened, and with marks.
    let shown =
        AcceptorStatus { claim: EnrolmentClaim::default(), known: BTreeMap::new(), ..it.clone() };
    let mut found = vec![AcceptorReply::Status(shown)];
    let confirm = Request::Confirm { enrolment: it.claim.enrolment(), tag: 1 };
    let reply = ask(cluster, epoch, age, confirm);
    assert!(matches!(reply, AcceptorReply::Confirmed(_)), "{reply:?}");
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

fn wait_confirmed(cluster: &Cluster, status: AcceptorCall) {
    let is_confirmed = || match &ask_acceptor(cluster, 0, vec![status.clone()])[..] {
        [AcceptorReply::Status(status)] => status.is_confirmed,
        other => panic!("{other:?}"),
    };
    wait_until("the acceptor is confirmed", is_confirmed);
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
    wait_confirmed(&cluster, call(None, 0, Request::Status));
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
