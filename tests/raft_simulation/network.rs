//! The network between the replicas: it loses, delays, reorders and cuts.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures::future::BoxFuture;
use gryadka::raft::{Call, Lane, Message, Peers, ReplicaId, Reply, Unanswered};
use rand::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::parameters::NetworkParameters;
use super::world::World;

/// A connection that is silent for so long is given up.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(2);

/// One life of a replica: it ends with a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    pub id: ReplicaId,
    pub life: u64,
}

/// A call on its way.
pub struct Envelope {
    from: Caller,
    to: ReplicaId,
    call: Message,
    /// Dropped when no reply will come.
    reply: oneshot::Sender<Result<Reply, Unanswered>>,
}

/// A replica's way to the others.
pub struct Line {
    pub from: Caller,
    pub network: mpsc::UnboundedSender<Envelope>,
}

impl Peers for Line {
    fn call(
        &self,
        to: ReplicaId,
        _: &str,
        _: Lane,
        call: Message,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unanswered>> {
        let (from, network) = (self.from, self.network.clone());
        Box::pin(async move {
            let deadline = Instant::now() + patience.min(CONNECTION_PATIENCE);
            let lost = Err(Unanswered::Lost(format!("replica {to} did not answer")));
            let (reply, replied) = oneshot::channel();
            if network.send(Envelope { from, to, call, reply }).is_err() {
                return lost;
            }
            match timeout_at(deadline, replied).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => {
                    sleep_until(deadline).await;
                    lost
                }
                Err(_) => lost,
            }
        })
    }
}

/// What does not come through, from whom and to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cut {
    pub from: ReplicaId,
    pub to: ReplicaId,
    /// Calls only: replies go back on connections that the other side has made.
    pub calls_only: bool,
}

impl Cut {
    pub fn all(from: ReplicaId, to: ReplicaId) -> Cut {
        Cut { from, to, calls_only: false }
    }

    pub fn calls(from: ReplicaId, to: ReplicaId) -> Cut {
        Cut { from, to, calls_only: true }
    }
}

/// What the network does at the moment.
pub struct Network {
    pub parameters: RefCell<NetworkParameters>,
    pub cuts: RefCell<BTreeSet<Cut>>,
}

impl Network {
    pub fn new(parameters: NetworkParameters) -> Self {
        Network { parameters: RefCell::new(parameters), cuts: RefCell::default() }
    }

    /// Draws what becomes of a message.
    fn draw(&self, world: &World, from: ReplicaId, to: ReplicaId, is_call: bool) -> Fate {
        let mut random = world.random();
        let parameters = self.parameters.borrow();
        let is_slow = random.random_bool(parameters.slow);
        let span = if is_slow { parameters.slow_delay } else { parameters.delay };
        let delay = span.draw(&mut random);
        let is_lost = random.random_bool(parameters.loss);
        let is_late = random.random_bool(parameters.late);
        let cuts = self.cuts.borrow();
        let is_cut =
            cuts.contains(&Cut::all(from, to)) || is_call && cuts.contains(&Cut::calls(from, to));
        world.count(|counts| counts.messages += 1);
        if is_cut || is_lost {
            world.count(|counts| counts.messages_lost += 1);
            return Fate::Lost;
        }
        if is_late {
            world.count(|counts| counts.messages_late += 1);
            return Fate::Late(parameters.slow_delay.draw(&mut random));
        }
        Fate::Arrives(delay)
    }
}

/// What becomes of a message.
enum Fate {
    Arrives(Duration),
    /// Its sender takes it for lost, and it arrives nevertheless.
    Late(Duration),
    Lost,
}

/// Carries all calls of all replicas.
pub async fn carry(world: Rc<World>, mut calls: mpsc::UnboundedReceiver<Envelope>) {
    while let Some(envelope) = calls.recv().await {
        tokio::task::spawn_local(deliver(world.clone(), envelope));
    }
}

async fn deliver(world: Rc<World>, Envelope { from, to, call, reply }: Envelope) {
    if !world.lives(from) {
        return;
    }
    world.observe(from.id);
    if let Call::Vote(rpc) = &call.call {
        // Who asks for votes has its own.
        world.votes(from.id, &rpc.vote);
    }
    world.note(|| format!("{} -> {to}: {}", from.id, name(&call.call)));
    match world.network.draw(&world, from.id, to, true) {
        Fate::Arrives(delay) => sleep(delay).await,
        Fate::Late(delay) => {
            tell_of_loss(&world, to, reply).await;
            sleep(delay).await;
            // Nobody waits for what comes of it.
            drop(world.serve(to, from.id, call));
            return;
        }
        Fate::Lost => return tell_of_loss(&world, to, reply).await,
    }
    let Some(serving) = world.serve(to, from.id, call) else {
        // Nobody listens there.
        let _ = reply.send(Err(Unanswered::NotSent(format!("replica {to} is down"))));
        return;
    };
    // A replica that crashes answers nothing.
    let Ok(answer) = serving.await else {
        return tell_of_loss(&world, to, reply).await;
    };
    if let Reply::Refused(_) | Reply::OtherCluster { .. } = &answer {
        world.note(|| format!("{to} turns {} away: {answer:?}", from.id));
    }
    match world.network.draw(&world, to, from.id, false) {
        Fate::Late(_) | Fate::Lost => tell_of_loss(&world, to, reply).await,
        Fate::Arrives(delay) => {
            sleep(delay).await;
            if world.lives(from) {
                // Who waited may have given up.
                let _ = reply.send(Ok(answer));
            }
        }
    }
}

/// A connection that breaks may be noticed at once.
async fn tell_of_loss(
    world: &World,
    to: ReplicaId,
    reply: oneshot::Sender<Result<Reply, Unanswered>>,
) {
    let is_told = {
        let told = world.network.parameters.borrow().told;
        world.random().random_bool(told)
    };
    if is_told {
        sleep(Duration::from_millis(1)).await;
        // Who waited may have given up.
        let _ = reply.send(Err(Unanswered::Lost(format!("the way to replica {to} broke"))));
    }
}

/// A call in a trace.
fn name(call: &Call) -> String {
    match call {
        Call::Append(rpc) => format!(
            "append {} after {:?} in {}, committed {:?}",
            rpc.entries.len(),
            rpc.prev_log_id.map(|id| id.index),
            rpc.vote,
            rpc.leader_commit.map(|id| id.index),
        ),
        Call::Vote(rpc) => format!("vote {}", rpc.vote),
        Call::PreVote(rpc) => format!("pre-vote {}", rpc.vote),
        Call::TransferLeader(_) => "transfer".into(),
        Call::Snapshot(chunk) => {
            format!("snapshot {:?} from {}", chunk.meta.last_log_id, chunk.offset)
        }
        Call::ReadIndex => "read index".into(),
        Call::Submit { key, submission, .. } => format!("submit {key} {submission:?}"),
        Call::Change { change, .. } => format!("{change:?}"),
        Call::Publish(_) => "publish".into(),
        Call::Identify => "identify".into(),
        Call::Join(_) => "join".into(),
        Call::Hello => "hello".into(),
        Call::Probe => "probe".into(),
        Call::Announce(announcement) => format!("announce {:?}", announcement.generation),
    }
}
