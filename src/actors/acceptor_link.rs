//! What the proposer says to one acceptor, over a [`Link`].

use std::time::Duration;

use actix::{Addr, MailboxError, Message, Recipient};
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::acceptor::{Acceptor, Serve};
use super::chaos::{Chaos, Toward};
use super::link::{Link, Party};
use super::post::Post;
use crate::caspaxos::{AcceptorId, Call, Reply, Token};
use crate::raft::Unanswered;
use crate::transport::{Batch, BatchCalls, BatchReplies, Passed, Verdict, call_bytes};

/// A link to an acceptor.
pub type AcceptorLink = Link<AcceptorParty>;

/// What a call belongs to.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// A round of a key.
    Round(Token),
    /// A listing.
    Listing(u64),
    /// A single question.
    Inquiry(u64),
}

/// Replies that came over a link.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Replies {
    /// Who answered.
    pub from: AcceptorId,
    /// The replies; `None` where it is known that none will come.
    pub replies: Vec<(Ticket, Option<Reply>)>,
}

/// Where the acceptor of a link is.
#[derive(Clone)]
pub enum Destination {
    /// On this node.
    Local(Addr<Acceptor>),
    /// In Redis, which is no node and in no matrix, but driven from this one.
    Driven(Addr<Acceptor>),
    /// On another node.
    Remote(Post),
    /// It cannot be reached from here.
    Nowhere,
}

/// The acceptor behind a link.
pub struct AcceptorParty {
    cluster: String,
    node: String,
    acceptor: AcceptorId,
    name: String,
    destination: Destination,
    chaos: Chaos,
    reply_to: Recipient<Replies>,
}

impl AcceptorParty {
    /// How long a batch may take.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// What a byte of it adds to that.
    const TIME_PER_BYTE: Duration = Duration::from_micros(1);
    /// How long an envelope may wait for a batch; no round takes longer.
    const QUEUE_PATIENCE: Duration = Duration::from_secs(3);

    /// `acceptor`, as the proposer of `node` of `cluster` reaches it.
    pub fn new(
        (cluster, node): (&str, &str),
        acceptor: AcceptorId,
        destination: Destination,
        chaos: Chaos,
        reply_to: Recipient<Replies>,
    ) -> Self {
        let name = format!("acceptor {acceptor}");
        AcceptorParty {
            cluster: cluster.into(),
            node: node.into(),
            acceptor,
            name,
            destination,
            chaos,
            reply_to,
        }
    }
}

impl Destination {
    fn toward(&self) -> Option<Toward<'_>> {
        match self {
            Destination::Local(_) => Some(Toward::Here),
            Destination::Remote(post) => Some(Toward::Peer(post.url())),
            Destination::Driven(_) | Destination::Nowhere => None,
        }
    }
}

impl Party for AcceptorParty {
    type Ticket = Ticket;
    type Call = Call;
    type Reply = Reply;

    /// Of an acceptor here the storage thread speaks.
    fn name(&self) -> Option<&str> {
        match self.destination {
            Destination::Local(_) | Destination::Driven(_) => None,
            Destination::Remote(_) | Destination::Nowhere => Some(&self.name),
        }
    }

    fn call_bytes(call: &Call) -> usize {
        call_bytes(call)
    }

    fn patience(_: &Ticket, waited: Duration) -> Option<Duration> {
        (waited <= Self::QUEUE_PATIENCE).then_some(Self::PATIENCE)
    }

    fn verdict(&self) -> Verdict {
        self.destination.toward().map_or(Verdict::Deliver, |to| self.chaos.verdict(to))
    }

    fn exchange(
        &self,
        calls: Vec<Call>,
        bytes: usize,
        patience: Duration,
    ) -> LocalBoxFuture<'static, Result<Vec<Passed<Reply>>, Unanswered>> {
        match &self.destination {
            Destination::Local(acceptor) => {
                let (chaos, replies) = (self.chaos.clone(), acceptor.send(Serve(calls)));
                let pass = move |reply| chaos.pass(Toward::Here, reply);
                replies.map(move |replies| all(replies, pass)).boxed_local()
            }
            Destination::Driven(acceptor) => {
                let replies = acceptor.send(Serve(calls));
                replies.map(|replies| all(replies, Passed::Now)).boxed_local()
            }
            Destination::Nowhere => {
                let why = "nobody says where it is".into();
                futures::future::ready(Err(Unanswered::NotSent(why))).boxed_local()
            }
            Destination::Remote(post) => {
                let patience = patience + Self::TIME_PER_BYTE * bytes as u32;
                let batch = Batch {
                    cluster: self.cluster.clone(),
                    sender: self.node.clone(),
                    patience_ms: patience.as_millis() as u32,
                    calls: BatchCalls::Acceptor { to: self.acceptor.clone(), calls },
                };
                let (post, chaos) = (post.clone(), self.chaos.clone());
                async move {
                    match post.exchange(&batch).await? {
                        BatchReplies::Acceptor(replies) => {
                            chaos.note_received(Toward::Peer(post.url()), &replies);
                            Ok(replies)
                        }
                        BatchReplies::Replica(_) => {
                            Err(Unanswered::Lost("a replica answered for it".into()))
                        }
                    }
                }
                .boxed_local()
            }
        }
    }

    fn hand_out(&self, tickets: Vec<Ticket>, result: Result<Vec<Reply>, Unanswered>) {
        // A round goes on with the other acceptors, whatever the reason.
        let replies = result.unwrap_or_default();
        let replies = replies.into_iter().map(Some).chain(std::iter::repeat(None));
        let replies = tickets.into_iter().zip(replies).collect();
        self.reply_to.do_send(Replies { from: self.acceptor.clone(), replies });
    }

    /// Rounds and listings have timers of their own, and who asks has patience.
    fn forget(&self, _: Ticket) {}
}

/// All replies of an acceptor that is no further than this process.
fn all(
    replies: Result<Option<Vec<Reply>>, MailboxError>,
    pass: impl Fn(Reply) -> Passed<Reply>,
) -> Result<Vec<Passed<Reply>>, Unanswered> {
    let silent = || Unanswered::Lost("its storage gave no answer".into());
    let replies = replies.ok().flatten().ok_or_else(silent)?;
    Ok(replies.into_iter().map(pass).collect())
}
