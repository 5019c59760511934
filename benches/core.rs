//! What the pure core and the codec take, with no disk and no socket.
//!
//! ```text
//! cargo bench --bench core
//! ```

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use gryadka::caspaxos::acceptor::{Register, accept};
use gryadka::caspaxos::{
    AcceptorId, Age, Ballot, Call, Configuration, Effect, Epoch, Event, Proposer, ProposerId,
    Reply, Request, Settings, Value,
};
use gryadka::identity::ClusterId;
use gryadka::kv::{Command, Key, Record, apply};
use gryadka::transport::{Batch, BatchCalls, decode, encode};

const VALUE: [u8; 100] = [b'v'; 100];

fn ballot(counter: u64) -> Ballot {
    let proposer: ProposerId = "p1".parse().expect("a name");
    Ballot { counter, proposer, ..Ballot::ZERO }
}

fn value() -> Value {
    let bytes = Some(VALUE.to_vec().into());
    Value {
        record: Record { value: bytes, created_index: 1, modified_index: 7 },
        ..Value::default()
    }
}

fn key(number: usize) -> Key {
    Key::try_from(format!("k{number}").as_str()).expect("a key")
}

fn steps(criterion: &mut Criterion) {
    let record = value().record;
    criterion.bench_function("kv::apply: set", |bencher| {
        let command = Command::Set(VALUE.to_vec().into());
        bencher.iter(|| apply(black_box(&record), black_box(&command), 8));
    });
    let register = Register { promise: ballot(8), accepted: ballot(7), value: value() };
    let next = value();
    criterion.bench_function("acceptor: accept", |bencher| {
        bencher.iter(|| accept(black_box(&register), ballot(8), black_box(&next), ballot(9)));
    });
}

/// A proposer whose acceptors agree at once.
fn change(proposer: &mut Proposer, id: u64, key: Key) {
    let (now, deadline) = (Duration::ZERO, Duration::from_secs(3));
    let submission = Command::Set(VALUE.to_vec().into()).into();
    let mut events = vec![Event::Submitted { id, key, submission, deadline }];
    let mut effects = Vec::new();
    while let Some(event) = events.pop() {
        proposer.handle(now, event, &mut effects);
        for effect in effects.drain(..) {
            let Effect::Send { to, token, call, .. } = effect else { continue };
            let reply = match call.request {
                Request::Prepare { .. } => {
                    Reply::Prepared { accepted: Ballot::ZERO, value: Value::default() }
                }
                _ => Reply::Accepted,
            };
            events.push(Event::Replied { token, from: to, reply: Some(reply) });
        }
    }
}

fn rounds(criterion: &mut Criterion) {
    let acceptors = ["a1", "a2", "a3"].map(AcceptorId::from);
    let nearest = Some(acceptors[0].clone());
    let settings = Settings { nearest, ..Settings::default() };
    let configuration = Configuration::uniform(Epoch(1), &acceptors, 2, 2);
    let id = "p1".parse().expect("a name");
    let mut proposer = Proposer::new(id, ClusterId::new(7), configuration, settings, 1);
    let mut count = 0;
    criterion.bench_function("proposer: a change on a kept value", |bencher| {
        bencher.iter(|| {
            count += 1;
            change(&mut proposer, count, key(count as usize % 1000));
        });
    });
}

fn codec(criterion: &mut Criterion) {
    let call = |number| {
        let request = Request::Accept {
            key: key(number),
            ballot: ballot(8),
            value: value(),
            next: ballot(9),
        };
        Call { cluster: ClusterId::new(7), epoch: Epoch(1), age: Age(0), request }
    };
    let batch = Batch {
        cluster: "demo".into(),
        sender: "p1".into(),
        patience_ms: 1000,
        calls: BatchCalls::Acceptor { to: "a1".into(), calls: (0..64).map(call).collect() },
    };
    criterion.bench_function("transport: encode 64 accepts", |bencher| {
        bencher.iter(|| encode(black_box(&batch)));
    });
    let bytes = encode(&batch);
    criterion.bench_function("transport: decode 64 accepts", |bencher| {
        bencher.iter_batched(
            || bytes.clone(),
            |bytes| decode::<Batch>(&bytes).expect("it was encoded"),
            BatchSize::SmallInput,
        );
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    steps(&mut criterion);
    rounds(&mut criterion);
    codec(&mut criterion);
    criterion.final_summary();
}
