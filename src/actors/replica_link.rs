//! What a replica says to the others, over a [`Link`] for each lane to each of
//! them: heartbeats and votes never wait behind entries, commands or
//! snapshots.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use tokio::sync::oneshot;

use super::chaos::{Chaos, Toward};
use super::link::{Envelope, Envelopes, Link, Party};
use super::post::Post;
use crate::raft::{Lane, Message, Peers, ReplicaId, Reply, Unanswered};
use crate::transport::{Batch, BatchCalls, BatchReplies, Passed, Verdict};

/// Who waits for the reply to a call, and for how long from the start.
struct Ticket {
    answer: oneshot::Sender<Result<Reply, Unanswered>>,
    patience: Duration,
}

/// The replica behind a link.
struct ReplicaParty {
    cluster: String,
    node: String,
    from: ReplicaId,
    to: ReplicaId,
    name: String,
    post: Post,
    chaos: Chaos,
}

impl Party for ReplicaParty {
    type Ticket = Ticket;
    type Call = Message;
    type Reply = Reply;

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn call_bytes(message: &Message) -> usize {
        message.call.size_bytes()
    }

    fn patience(ticket: &Ticket, waited: Duration) -> Option<Duration> {
        // Who gave the call up took it for lost; it must not be sent later.
        let is_wanted = !ticket.answer.is_closed();
        ticket.patience.checked_sub(waited).filter(|_| is_wanted)
    }

    fn verdict(&self) -> Verdict {
        self.chaos.verdict(Toward::Peer(self.post.url()))
    }

    fn exchange(
        &self,
        calls: Vec<Message>,
        _: usize,
        patience: Duration,
    ) -> LocalBoxFuture<'static, Result<Vec<Passed<Reply>>, Unanswered>> {
        let batch = Batch {
            cluster: self.cluster.clone(),
            sender: self.node.clone(),
            patience_ms: patience.as_millis().try_into().unwrap_or(u32::MAX),
            calls: BatchCalls::Replica { from: self.from, to: self.to, calls },
        };
        let (post, chaos) = (self.post.clone(), self.chaos.clone());
        async move {
            match post.exchange(&batch).await? {
                BatchReplies::Replica(replies) => {
                    chaos.note_received(Toward::Peer(post.url()), &replies);
                    Ok(replies)
                }
                BatchReplies::Acceptor(_) => {
                    Err(Unanswered::Lost("an acceptor answered for it".into()))
                }
            }
        }
        .boxed_local()
    }

    fn hand_out(&self, tickets: Vec<Ticket>, result: Result<Vec<Reply>, Unanswered>) {
        let (replies, rest) = match result {
            Ok(replies) => (replies, Unanswered::Lost(format!("{} left its reply out", self.name))),
            Err(why) => (Vec::new(), why),
        };
        let results = replies.into_iter().map(Ok).chain(std::iter::repeat(Err(rest)));
        for (ticket, result) in tickets.into_iter().zip(results) {
            // Who no longer listens has given the call up.
            let _ = ticket.answer.send(result);
        }
    }

    fn forget(&self, mut ticket: Ticket) {
        // Were it dropped now, who waits would be told at once.
        actix::spawn(async move { ticket.answer.closed().await });
    }
}

/// The links of a replica. Members come and go, so it makes links as they are
/// asked for, and ends them when they are not any more.
pub struct ReplicaLinks {
    cluster: String,
    node: String,
    replica: ReplicaId,
    chaos: Chaos,
    links: HashMap<(ReplicaId, Lane), ReplicaLink>,
}

struct ReplicaLink {
    url: String,
    address: Addr<Link<ReplicaParty>>,
    last_used: Instant,
}

impl ReplicaLinks {
    /// How long a link is kept that nobody uses: a member's hears of it all
    /// the time, so the others' are gone.
    const IDLE_PATIENCE: Duration = Duration::from_secs(60);

    /// The links of `replica` on `node` of `cluster`.
    pub fn new(cluster: &str, node: &str, replica: ReplicaId, chaos: Chaos) -> Self {
        let (cluster, node) = (cluster.into(), node.into());
        ReplicaLinks { cluster, node, replica, chaos, links: HashMap::new() }
    }

    fn link_to(&mut self, to: ReplicaId, url: &str, lane: Lane) -> &Addr<Link<ReplicaParty>> {
        let (cluster, node, from) = (&self.cluster, &self.node, self.replica);
        let chaos = &self.chaos;
        let start = || {
            let party = ReplicaParty {
                chaos: chaos.clone(),
                cluster: cluster.clone(),
                node: node.clone(),
                from,
                to,
                name: format!("replica {to} ({})", describe(lane)),
                post: Post::new(url),
            };
            let address = Link::new(party).start();
            ReplicaLink { url: url.into(), address, last_used: Instant::now() }
        };
        let link = self.links.entry((to, lane)).or_insert_with(start);
        if link.url != url {
            // The old one ends when its batches have.
            *link = start();
        }
        link.last_used = Instant::now();
        &link.address
    }
}

fn describe(lane: Lane) -> &'static str {
    match lane {
        Lane::Log => "entries",
        Lane::Control => "heartbeats and votes",
        Lane::Read => "read indices",
        Lane::Forward => "commands",
        Lane::Members => "changes of members",
        Lane::Snapshot => "snapshots",
    }
}

impl Actor for ReplicaLinks {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(Self::IDLE_PATIENCE, |links, _| {
            links.links.retain(|_, link| link.last_used.elapsed() < Self::IDLE_PATIENCE);
        });
    }
}

/// A call for another replica.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Dispatch {
    to: ReplicaId,
    url: String,
    lane: Lane,
    envelope: Envelope<ReplicaParty>,
}

impl Handler<Dispatch> for ReplicaLinks {
    type Result = ();

    fn handle(&mut self, message: Dispatch, _: &mut Context<Self>) {
        let Dispatch { to, url, lane, envelope } = message;
        self.link_to(to, &url, lane).do_send(Envelopes::from(envelope));
    }
}

/// The way to the other replicas, from any thread.
#[derive(Clone)]
pub struct ReplicaPeers {
    links: Addr<ReplicaLinks>,
}

impl ReplicaPeers {
    /// The longest that a call may take on [`Lane::Control`] and [`Lane::Read`]: it has two
    /// batches under way at most, and on a connection that died silently each
    /// takes as long as its calls wait. A read index that is lost may be asked
    /// for again.
    pub const CONTROL_PATIENCE: Duration = Duration::from_millis(500);

    /// The way over these links.
    pub fn new(links: Addr<ReplicaLinks>) -> Self {
        ReplicaPeers { links }
    }
}

impl Peers for ReplicaPeers {
    fn call(
        &self,
        to: ReplicaId,
        url: &str,
        lane: Lane,
        message: Message,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unanswered>> {
        let patience = match lane {
            Lane::Control | Lane::Read => patience.min(Self::CONTROL_PATIENCE),
            Lane::Log | Lane::Forward | Lane::Members | Lane::Snapshot => patience,
        };
        let (answer, reply) = oneshot::channel();
        let envelope = Envelope { ticket: Ticket { answer, patience }, call: message };
        let (links, url) = (self.links.clone(), url.to_owned());
        async move {
            links.do_send(Dispatch { to, url: url.clone(), lane, envelope });
            let lost = |why| Err(Unanswered::Lost(format!("replica {to} at {url}: {why}")));
            match tokio::time::timeout(patience, reply).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => lost("the node is stopping".into()),
                Err(_) => lost(format!("no answer within {patience:?}")),
            }
        }
        .boxed()
    }
}
