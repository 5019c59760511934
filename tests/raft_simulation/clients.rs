//! Clients that ask one thing after the other.

use std::rc::Rc;

use gryadka::kv::{Answer, Compare, Key, Record, Refusal, RequestId, Submission};
use gryadka::perseus::{End, Observation, Seen};
use gryadka::raft::ReplicaId;
use rand::Rng;
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
/// How often a request is asked for again.
const MAX_RETRIES: u32 = 3;
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
        let is_named = world.random().random_bool(world.parameters.named);
        let name = RequestId::numbered(&format!("c{client}"), number).ok();
        let submission = Submission { command, request_id: name.filter(|_| is_named) };
        let patience = world.parameters.patience.draw(&mut world.random());
        let id = any_machine(&world);
        if let Some(record) = submit(&world, client, id, key, submission, patience).await {
            seen = record;
        }
    }
}

fn any_machine(world: &World) -> ReplicaId {
    let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
    *ids.iter().choose(&mut *world.random()).expect("there is a machine")
}

/// Whether the history is short and clear enough to search all orders of it.
fn can_be_judged(world: &World) -> bool {
    let counts = world.counts();
    counts.operations < MAX_OPERATIONS && counts.unknown < MAX_UNKNOWN * world.keys.len() as u64
}

/// Runs a command on a replica and notes what came of it; gives the record
/// when that is known. A replica that is down was not asked. When nobody can
/// tell the outcome of a request with a name, it may be asked for again: it is
/// one operation.
pub async fn submit(
    world: &Rc<World>,
    client: u64,
    id: ReplicaId,
    key: Key,
    submission: Submission,
    patience: Duration,
) -> Option<Record> {
    world.machines.borrow()[&id].replica()?;
    let command = submission.command.clone();
    let operation = world.history.borrow_mut().call(client, key.clone(), command, world.tick());
    world.count(|counts| counts.operations += 1);
    let mut result = ask_once(world, client, id, &key, &submission, patience).await;
    let mut retries = 0;
    while result.as_ref().is_err_and(|refusal| retries > 0 || is_unknown(refusal))
        && submission.id_to_remember().is_some()
        && retries < MAX_RETRIES
        && world.random().random_bool(0.8)
    {
        retries += 1;
        world.count(|counts| counts.retried += 1);
        let pause = world.parameters.think.draw(&mut world.random());
        sleep(pause).await;
        let id = any_machine(world);
        result = ask_once(world, client, id, &key, &submission, patience).await;
    }
    let (end, record) = match result {
        Ok(answer) => {
            world.count(|counts| {
                counts.done += 1;
                counts.retried_and_done += u64::from(retries > 0);
            });
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
        // A retry that has failed tells nothing of the tries before.
        Err(refusal) if retries > 0 || is_unknown(&refusal) => {
            world.count(|counts| counts.unknown += 1);
            (End::Unknown, None)
        }
        Err(_) => {
            world.count(|counts| counts.failed += 1);
            (End::Failed, None)
        }
    };
    world.history.borrow_mut().end(operation, end);
    record
}

/// Asks a replica, which takes no longer than its deadline.
async fn ask_once(
    world: &Rc<World>,
    client: u64,
    id: ReplicaId,
    key: &Key,
    submission: &Submission,
    patience: Duration,
) -> Result<Answer, Refusal> {
    let (answer, answered) = oneshot::channel();
    let deadline = Instant::now() + patience;
    {
        let machines = world.machines.borrow();
        let down = || Refusal::Failed("it is down".into());
        let life = machines[&id].life.as_ref().ok_or_else(down)?;
        let replica = life.replica.get().ok_or_else(down)?.clone();
        let (key, submission) = (key.clone(), submission.clone());
        world.note(|| format!("client {client} asks {id}: {submission:?} {key}"));
        life.spawn(async move {
            // A client that is gone changes nothing.
            let _ = answer.send(replica.submit(key, submission, deadline).await);
        });
    }
    let answer = answered.await;
    world.note(|| format!("client {client} hears from {id}: {answer:?}"));
    if Instant::now() > deadline + LATE {
        world.fail(format!("replica {id} answers client {client} long after its deadline"));
    }
    world.observe(id);
    answer.unwrap_or_else(|_| Err(Refusal::Unknown("it has crashed".into())))
}

fn is_unknown(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unknown(_))
}

/// By the value only, as the model's indices are not those of the replicas.
fn draw_compare(_: &mut SmallRng, seen: &Record) -> Compare {
    Compare { value: seen.value.clone(), index: None }
}
