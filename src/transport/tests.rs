use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, VoteRequest};

use super::*;
use crate::caspaxos::{
    Age, Ballot, Call, Epoch, Lineage, ListEntry, ListPage, ProposerId, Reply, Request, Value,
};
use crate::identity::ClusterId;
use crate::kv::{
    Command, Compare, Key, MAX_VALUE_BYTES, Memory, Record, RequestId, Submission, apply_once,
};
use crate::raft::{Entry, LogId};

fn ballot(counter: u64) -> Ballot {
    let proposer: ProposerId = "p1".parse().unwrap();
    Ballot { counter, proposer, ..Ballot::ZERO }
}

fn to_acceptor() -> Batch {
    let key = Key::try_from("k").unwrap();
    let request_id = Some(RequestId::try_from("c:1").unwrap());
    let submission = Submission { command: Command::Set("v".into()), request_id };
    let mut memory = Memory::default();
    let mut record = Record { value: None, created_index: 1, modified_index: 1 };
    record = apply_once(&record, &mut memory, &submission, 2).outcome.after;
    let value = Value { record, lineage: Lineage::default().extended(ballot(3)), memory };
    let requests = [
        Request::Prepare { key: key.clone(), ballot: ballot(4) },
        Request::Accept { key: key.clone(), ballot: ballot(4), value, next: ballot(5) },
        Request::Read { key },
    ];
    let calls = requests
        .map(|request| Call { cluster: ClusterId::new(7), epoch: Epoch(1), age: Age(2), request })
        .into();
    let to = AcceptorId::from("a1");
    batch(BatchCalls::Acceptor { to, calls })
}

fn to_replica(calls: Vec<raft::Call>) -> Batch {
    let cluster = ClusterId::new(7);
    let calls = calls.into_iter().map(|call| raft::Message { cluster, call }).collect();
    batch(BatchCalls::Replica { from: 1, to: 2, calls })
}

fn batch(calls: BatchCalls) -> Batch {
    Batch { cluster: "demo".into(), sender: "p1".into(), patience_ms: 1000, calls }
}

fn log_id(index: u64) -> LogId {
    LogId::new_term_index(3, index)
}

fn raft_calls() -> Vec<raft::Call> {
    let key = Key::try_from("k").unwrap();
    let command = Command::Set("v".into());
    let request = raft::Request::Command { key: key.clone(), command: command.clone() };
    let request_id = RequestId::try_from("c:1").unwrap();
    let named =
        raft::Request::Once { key: key.clone(), command: Command::Delete, id: request_id.clone() };
    let several = raft::Request::Several(vec![(key.clone(), command.clone().into())]);
    let entries = vec![
        Entry { log_id: log_id(8), payload: EntryPayload::Blank },
        Entry { log_id: log_id(9), payload: EntryPayload::Normal(request) },
        Entry { log_id: log_id(10), payload: EntryPayload::Normal(named) },
        Entry { log_id: log_id(11), payload: EntryPayload::Normal(several) },
    ];
    let vote = raft::Vote::new_committed(3, 1);
    let append = AppendEntriesRequest {
        vote,
        prev_log_id: Some(log_id(7)),
        entries,
        leader_commit: Some(log_id(6)),
    };
    vec![
        raft::Call::Append(append),
        raft::Call::Vote(VoteRequest::new(raft::Vote::new(4, 1), Some(log_id(9)))),
        raft::Call::Submit { key: key.clone(), submission: command.into(), patience_ms: 2500 },
        raft::Call::Submit {
            key,
            submission: Submission { command: Command::Add(-2), request_id: Some(request_id) },
            patience_ms: 2500,
        },
        raft::Call::Hello,
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A change of the format must come with a new [`WIRE_VERSION`].
#[test]
fn the_format_is_that_of_version_8() {
    let golden = "080464656d6f027031e807\
                  0002613103\
                  0107010200016b04027031000107\
                  010201016b04027031000101760202000101030270\
                  31000103633a31c2aab5db86a7b6f6f70100000101\
                  0205027031000107010202016b";
    assert_eq!(hex(&encode(&to_acceptor())), golden);
}

#[test]
fn so_is_that_of_a_batch_for_a_replica() {
    let golden = "080464656d6f027031e807\
                  01010205\
                  010700030101010103070403080003090100016b010176030a\
                  0102016b0503633a31030b010301016b010176000103\
                  06010701040101000103090001\
                  0706016b01017600c413\
                  010706016b07030103\
                  633a31c41301070b\
                  ";
    assert_eq!(hex(&encode(&to_replica(raft_calls()))), golden);
}

#[test]
fn what_is_encoded_decodes_and_nothing_else_panics() {
    for batch in [to_acceptor(), to_replica(raft_calls())] {
        let bytes = encode(&batch);
        assert_eq!(encode(&decode::<Batch>(&bytes).unwrap()), bytes);
        for end in 0..bytes.len() {
            assert!(decode::<Batch>(&bytes[..end]).is_err(), "{end}");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                let _ = decode::<Batch>(&damaged);
                let _ = decode::<BatchReplies>(&damaged);
            }
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<Batch>(&longer), Err(WireError::Malformed(_))));
    }
    assert_eq!(decode::<Batch>(&[9, 9]).unwrap_err(), WireError::Version { theirs: 9 });
    assert_eq!(decode::<Batch>(&[]).unwrap_err(), WireError::Empty);
}

#[test]
fn a_list_is_no_longer_than_a_batch() {
    let calls = |count| encode(&to_replica(vec![raft::Call::Hello; count]));
    assert!(decode::<Batch>(&calls(MAX_BATCH_CALLS)).is_ok());
    assert!(decode::<Batch>(&calls(MAX_BATCH_CALLS + 1)).is_err());
    let replies =
        |count| encode(&BatchReplies::Replica(vec![Passed::Now(raft::Reply::Noted); count]));
    assert!(decode::<BatchReplies>(&replies(MAX_BATCH_CALLS)).is_ok());
    assert!(decode::<BatchReplies>(&replies(MAX_BATCH_CALLS + 1)).is_err());
    // A length that the body does not hold is refused and not reserved.
    let lies = [&[WIRE_VERSION, 1], [0xff; 8].as_slice(), &[0x7f]].concat();
    assert!(decode::<BatchReplies>(&lies).is_err());
}

#[test]
fn a_call_takes_no_more_than_it_is_counted_for() {
    let calls = raft_calls().into_iter().chain([widest_submit(), widest_append()]);
    for call in calls {
        let counted = call.size_bytes();
        let bytes = postcard::to_stdvec(&call).unwrap().len();
        assert!(bytes <= counted, "{bytes} > {counted}");
    }
}

/// A key and a swap as wide as a form of a client can hold.
fn widest_command() -> (Key, Command) {
    let key = Key::try_from("k".repeat(Key::MAX_BYTES).as_str()).unwrap();
    let compared = Compare { value: Some(vec![0; (2 << 20) + (64 << 10)].into()), index: None };
    (key, Command::CompareAndSwap(compared, vec![0; MAX_VALUE_BYTES].into()))
}

fn widest_id() -> RequestId {
    RequestId::try_from("i".repeat(RequestId::MAX_BYTES).as_str()).unwrap()
}

fn widest_submit() -> raft::Call {
    let (key, command) = widest_command();
    let request_id = Some(widest_id());
    raft::Call::Submit {
        key,
        submission: Submission { command, request_id },
        patience_ms: u32::MAX,
    }
}

fn widest_append() -> raft::Call {
    let (key, command) = widest_command();
    let payload = EntryPayload::Normal(raft::Request::Once { key, command, id: widest_id() });
    let vote = raft::Vote::new_committed(u64::MAX, u64::MAX);
    let last = LogId::new_term_index(u64::MAX, u64::MAX);
    let entries = vec![Entry { log_id: last, payload }];
    let append =
        AppendEntriesRequest { vote, prev_log_id: Some(last), entries, leader_commit: Some(last) };
    raft::Call::Append(append)
}

/// A batch ends with the call that fills it, whatever that holds.
#[test]
fn the_widest_call_fits_behind_a_batch_that_is_almost_full() {
    let key = Key::try_from("k").unwrap();
    let command = |bytes| Command::Set(vec![0; bytes].into());
    let submit = |bytes| raft::Call::Submit {
        key: key.clone(),
        submission: command(bytes).into(),
        patience_ms: 1000,
    };
    let almost_full = submit(BATCH_BYTES - submit(0).size_bytes() - 1);
    assert!(almost_full.size_bytes() < BATCH_BYTES);
    for widest in [widest_submit(), widest_append()] {
        let body = encode(&to_replica(vec![almost_full.clone(), widest]));
        assert!(body.len() <= MAX_REQUEST_BYTES, "{}", body.len());
    }
}

fn count(body: &[u8]) -> usize {
    match decode(body).unwrap() {
        BatchReplies::Acceptor(replies) => replies.len(),
        BatchReplies::Replica(replies) => replies.len(),
    }
}

#[test]
fn a_full_page_of_short_keys_fits() {
    let entries = (0..20_000).map(|i| ListEntry {
        key: Key::try_from(format!("d/{i:05}").as_str()).unwrap(),
        accepted: ballot(u64::MAX),
        record: Record { value: Some("1".into()), created_index: 1, modified_index: u64::MAX },
    });
    let page = ListPage { entries: entries.collect(), more_after: None };
    let bound: usize = page.entries.iter().map(ListEntry::bytes).sum();
    let body = encode_replies(BatchReplies::Acceptor(vec![Passed::Now(Reply::Listed(page))]));
    assert!(body.len() <= bound);
    assert_eq!(count(&body), 1);
}

#[test]
fn replies_that_do_not_fit_are_left_out() {
    let record = Record { value: Some(vec![0; 1 << 20].into()), ..Record::default() };
    let reply = Reply::WasRead { accepted: ballot(1), record };
    let body = encode_replies(BatchReplies::Acceptor(vec![Passed::Now(reply); 70]));
    assert!(body.len() <= MAX_REPLY_BYTES);
    assert_eq!(count(&body), 63);
}
