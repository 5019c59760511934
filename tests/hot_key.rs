//! A proposer under an open load on one key, before, in and after an outage.

use std::collections::VecDeque;
use std::time::Duration;

use gryadka::caspaxos::acceptor::{self, Register};
use gryadka::caspaxos::{
    AcceptorId, Configuration, Effect, Epoch, Event, Proposer, Request, Settings,
};
use gryadka::kv::{Command, Key};

/// Three acceptors 25 ms away, an open load of 100 commands a second on one
/// key, and an outage of 4 s. Commands that expire while a round has them in
/// hand must not end the round for the others.
#[test]
fn a_hot_key_recovers_from_an_outage() {
    let ms = Duration::from_millis;
    let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
    let config = Configuration::uniform(Epoch(1), &ids, 2, 2);
    let mut proposer = Proposer::new("p1".parse().unwrap(), config, Settings::default(), 7);
    let key = Key::try_from("hot").unwrap();
    let mut registers = [Register::default(), Register::default(), Register::default()];
    // (when, event or a request at an acceptor)
    let mut queue: VecDeque<(Duration, Event)> = VecDeque::new();
    let mut done = vec![0; 30];
    let mut failed = vec![0; 30];
    for i in 0..3000u64 {
        let at = ms(10 * i);
        let deadline = at + ms(3000);
        let command = Command::Add(1);
        queue.push_back((at, Event::Submitted { id: i, key: key.clone(), command, deadline }));
    }
    while let Some((now, event)) = queue.pop_front() {
        let mut effects = Vec::new();
        proposer.handle(now, event, &mut effects);
        for effect in effects {
            let (at, event) = match effect {
                Effect::SetTimer { token, after } => (now + after, Event::TimerFired { token }),
                Effect::Answer { result, .. } => {
                    let second = (now.as_millis() / 1000).min(29) as usize;
                    if result.is_ok() {
                        done[second] += 1
                    } else {
                        failed[second] += 1
                    }
                    continue;
                }
                Effect::Send { to, token, call } => {
                    if (ms(5000)..ms(9000)).contains(&now) {
                        continue; // nobody is there
                    }
                    let register = &mut registers[ids.iter().position(|id| *id == to).unwrap()];
                    let step = match &call.request {
                        Request::Prepare { ballot, .. } => acceptor::prepare(register, *ballot),
                        Request::Accept { ballot, value, next, .. } => {
                            acceptor::accept(register, *ballot, value, *next)
                        }
                        Request::Read { .. } => acceptor::read(register),
                        Request::List(_) => unreachable!(),
                    };
                    if let Some(write) = step.write {
                        *register = write;
                    }
                    let reply = Some(step.reply);
                    (now + ms(25), Event::Replied { token, from: to, reply })
                }
            };
            let place = queue.partition_point(|(other, _)| *other <= at);
            queue.insert(place, (at, event));
        }
    }
    println!("done a second   {done:?}\nfailed a second {failed:?}");
    assert!(done[4] >= 90, "it works before");
    assert!(done[15..25].iter().all(|done| *done >= 90), "it works after: {done:?}");
}
