//! Clients that ask one thing after the other.

use std::rc::Rc;

use gryadka::kv::{Command, Compare, Key, Record, Refusal};
use gryadka::perseus::{End, Observation, Seen};
use gryadka::raft::ReplicaId;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep};

use super::seeds::draw_command;
use super::world::World;

/// How much later than its deadline an answer may come.
const LATE: Duration = Duration::from_millis(20);

/// How many operations all clients start.
const MAX_OPERATIONS: u64 = 500;
/// After so many operations of unknown end on each key, clients rest.
const MAX_UNKNOWN: u64 = 40;

/// A client asks one thing after the other.
pub async fn ask(world: Rc<World>, client: u64) {
    let mut seen = Record::default();
    let mut count = 0;
    while !world.is_over() && can_be_judged(&world) {
        let pause = world.parameters.think.draw(&mut world.random());
        sleep(pause).await;
        let key = world.keys.iter().choose(&mut *world.random()).expect("there is a key").clone();
        count += 1;
        let number = client * 1_000_000 + count;
        let command = draw_command(
            &mut world.random(),
            &world.parameters.weights,
            &seen,
            number,
            draw_compare,
        );
        let patience = world.parameters.patience.draw(&mut world.random());
        let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
        let id = *ids.iter().choose(&mut *world.random()).expect("there is a machine");
        if let Some(record) = submit(&world, client, id, key, command, patience).await {
            seen = record;
        }
    }
}

/// Whether the history is short and clear enough to search all orders of it.
fn can_be_judged(world: &World) -> bool {
    let counts = world.counts();
    counts.operations < MAX_OPERATIONS && counts.unknown < MAX_UNKNOWN * world.keys.len() as u64
}

/// Runs a command on a replica and notes what came of it; gives the record
/// when that is known. A replica that is down was not asked.
pub async fn submit(
    world: &Rc<World>,
    client: u64,
    id: ReplicaId,
    key: Key,
    command: Command,
    patience: Duration,
) -> Option<Record> {
    let (answer, answered) = oneshot::channel();
    let deadline = Instant::now() + patience;
    let operation = {
        let machines = world.machines.borrow();
        let life = machines[&id].life.as_ref()?;
        let replica = life.replica.get()?.clone();
        let (key, command) = (key.clone(), command.clone());
        world.note(|| format!("client {client} asks {id}: {command:?} {key}"));
        let operation =
            world.history.borrow_mut().call(client, key.clone(), command.clone(), world.tick());
        life.spawn(async move {
            // A client that is gone changes nothing.
            let _ = answer.send(replica.submit(key, command.into(), deadline).await);
        });
        operation
    };
    world.count(|counts| counts.operations += 1);
    let answer = answered.await;
    world.note(|| format!("client {client} hears from {id}: {answer:?}"));
    if Instant::now() > deadline + LATE {
        world.fail(format!("replica {id} answers client {client} long after its deadline"));
    }
    world.observe(id);
    let (end, record) = match answer {
        Ok(Ok(answer)) => {
            world.count(|counts| counts.done += 1);
            let outcome = &answer.outcome;
            world.check(|invariants| invariants.indices_are_unique.shows(&key, outcome));
            // Indices count the changes of all keys: the model's do not.
            let value =
                |record: &Record| Seen { value: Some(record.value.clone()), ..Seen::default() };
            let observation = Observation {
                verdict: Some(outcome.verdict),
                before: value(&outcome.before),
                after: value(&outcome.after),
            };
            (End::Returned { at: world.tick(), observation }, Some(outcome.after.clone()))
        }
        Ok(Err(
            Refusal::Failed(_)
            | Refusal::Stopping
            | Refusal::Overloaded
            | Refusal::TooLarge(_)
            | Refusal::IdReused
            | Refusal::Superseded,
        )) => {
            world.count(|counts| counts.failed += 1);
            (End::Failed, None)
        }
        // It crashed, or does not know.
        Ok(Err(Refusal::Unknown(_))) | Err(_) => {
            world.count(|counts| counts.unknown += 1);
            (End::Unknown, None)
        }
    };
    world.history.borrow_mut().end(operation, end);
    record
}

/// By the value only, as the model's indices are not those of the replicas.
fn draw_compare(_: &mut SmallRng, seen: &Record) -> Compare {
    Compare { value: seen.value.clone(), index: None }
}
