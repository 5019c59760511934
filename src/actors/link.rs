//! A link to one acceptor, on this node or on another.
//!
//! It collects envelopes and sends them as one batch. While batches are under
//! way the next one collects, so batches grow with the load and a lone
//! message is not delayed. Every envelope is answered, if only by `None`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient, WrapFuture,
};

use super::acceptor::{Acceptor, Serve};
use crate::caspaxos::{AcceptorId, Call, Reply, Token};
use crate::transport::{
    BATCH_BYTES, BATCH_PATH, Batch, BatchReplies, MAX_BATCH_CALLS, MAX_REPLY_BYTES, call_bytes,
    decode, encode,
};

/// What a call belongs to.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// A round of a key.
    Round(Token),
    /// A listing.
    Listing(u64),
}

/// A call, and what its sender knows it by.
pub struct Envelope {
    /// Comes back with the reply.
    pub ticket: Ticket,
    /// The call.
    pub call: Call,
}

/// Calls for the acceptor behind a link.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Envelopes(pub Vec<Envelope>);

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
    /// On this node, or driven from it.
    Local(Addr<Acceptor>),
    /// On another node.
    Remote {
        /// The base URL of its peer listener.
        url: String,
        /// The connections to it.
        client: awc::Client,
    },
}

/// A link to one acceptor.
pub struct Link {
    cluster: String,
    node: String,
    acceptor: AcceptorId,
    destination: Destination,
    reply_to: Recipient<Replies>,
    queue: VecDeque<(Instant, Envelope)>,
    batches_under_way: usize,
    last_complaint: Option<Instant>,
}

impl Link {
    /// How many envelopes may wait for a batch; more are turned away.
    const MAX_QUEUE: usize = 16_384;
    /// How many batches are under way at once.
    const MAX_BATCHES: usize = 2;
    /// How long a batch may take.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// What a byte of it adds to that.
    const TIME_PER_BYTE: Duration = Duration::from_micros(1);
    /// How long an envelope may wait for a batch; no round takes longer.
    const QUEUE_PATIENCE: Duration = Duration::from_secs(3);
    /// How often an acceptor that is away is spoken of.
    const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

    /// A link from `node` of `cluster` to `acceptor`.
    pub fn new(
        cluster: &str,
        node: &str,
        acceptor: AcceptorId,
        destination: Destination,
        reply_to: Recipient<Replies>,
    ) -> Self {
        Link {
            cluster: cluster.into(),
            node: node.into(),
            acceptor,
            destination,
            reply_to,
            queue: VecDeque::new(),
            batches_under_way: 0,
            last_complaint: None,
        }
    }

    /// Connections for the link to another node.
    pub fn client() -> awc::Client {
        let connector = awc::Connector::new()
            .limit(Self::MAX_BATCHES)
            .timeout(Self::PATIENCE)
            .conn_lifetime(Duration::from_secs(3600));
        awc::Client::builder().connector(connector).disable_timeout().finish()
    }

    fn send_batches(&mut self, ctx: &mut Context<Self>) {
        while self.batches_under_way < Self::MAX_BATCHES {
            let (tickets, calls, bytes) = self.next_batch();
            if calls.is_empty() {
                return;
            }
            self.batches_under_way += 1;
            let exchange = exchange(self.destination.clone(), self.batch(calls, bytes));
            ctx.spawn(exchange.into_actor(self).map(|result, link, ctx| {
                link.batches_under_way -= 1;
                link.hand_out(tickets, result);
                link.send_batches(ctx);
            }));
        }
    }

    fn next_batch(&mut self) -> (Vec<Ticket>, Vec<Call>, usize) {
        let (mut tickets, mut calls, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut too_old = Vec::new();
        while calls.len() < MAX_BATCH_CALLS && bytes < BATCH_BYTES {
            let Some((since, envelope)) = self.queue.pop_front() else { break };
            if since.elapsed() > Self::QUEUE_PATIENCE {
                too_old.push(envelope.ticket);
                continue;
            }
            bytes += call_bytes(&envelope.call);
            tickets.push(envelope.ticket);
            calls.push(envelope.call);
        }
        if !too_old.is_empty() {
            self.hand_out(too_old, Err("calls waited too long for it".into()));
        }
        (tickets, calls, bytes)
    }

    fn batch(&self, calls: Vec<Call>, bytes: usize) -> Batch {
        let patience = Self::PATIENCE + Self::TIME_PER_BYTE * bytes as u32;
        Batch {
            cluster: self.cluster.clone(),
            sender: self.node.clone(),
            to: self.acceptor.clone(),
            patience_ms: patience.as_millis() as u32,
            calls,
        }
    }

    fn hand_out(&mut self, tickets: Vec<Ticket>, result: Result<Vec<Reply>, String>) {
        let replies = match result {
            Ok(replies) => {
                if self.last_complaint.take().is_some() {
                    log::info!("acceptor {} answers again", self.acceptor);
                }
                replies
            }
            Err(why) => {
                // Of an acceptor here the storage thread speaks.
                let is_remote = matches!(self.destination, Destination::Remote { .. });
                if is_remote
                    && self.last_complaint.is_none_or(|last| last.elapsed() > Self::COMPLAINT_PAUSE)
                {
                    log::warn!("acceptor {} does not answer: {why}", self.acceptor);
                    self.last_complaint = Some(Instant::now());
                }
                Vec::new()
            }
        };
        let replies = replies.into_iter().map(Some).chain(std::iter::repeat(None));
        let replies = tickets.into_iter().zip(replies).collect();
        self.reply_to.do_send(Replies { from: self.acceptor.clone(), replies });
    }
}

impl Actor for Link {
    type Context = Context<Self>;
}

impl Handler<Envelopes> for Link {
    type Result = ();

    fn handle(&mut self, Envelopes(envelopes): Envelopes, ctx: &mut Context<Self>) {
        let room = Self::MAX_QUEUE.saturating_sub(self.queue.len());
        let now = Instant::now();
        let mut envelopes = envelopes.into_iter();
        self.queue.extend(envelopes.by_ref().take(room).map(|envelope| (now, envelope)));
        let turned_away: Vec<Ticket> = envelopes.map(|envelope| envelope.ticket).collect();
        if !turned_away.is_empty() {
            self.hand_out(turned_away, Err("too many calls wait for it".into()));
        }
        self.send_batches(ctx);
    }
}

/// Sends a batch and waits for the replies.
async fn exchange(destination: Destination, batch: Batch) -> Result<Vec<Reply>, String> {
    match destination {
        Destination::Local(acceptor) => {
            let replies = acceptor.send(Serve(batch.calls)).await;
            replies.ok().flatten().ok_or_else(|| "its storage gave no answer".into())
        }
        Destination::Remote { url, client } => {
            let patience = Duration::from_millis(batch.patience_ms.into());
            let post = post(&client, &url, encode(&batch));
            match tokio::time::timeout(patience, post).await {
                Ok(result) => result.map_err(|why| format!("{url}: {why}")),
                Err(_) => Err(format!("{url}: no answer within {patience:?}")),
            }
        }
    }
}

async fn post(client: &awc::Client, url: &str, body: Vec<u8>) -> Result<Vec<Reply>, String> {
    let request = client.post(format!("{url}{BATCH_PATH}"));
    let mut response = request.send_body(body).await.map_err(|error| error.to_string())?;
    let body = response.body().limit(MAX_REPLY_BYTES + 1024).await;
    let body = body.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        let start: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        return Err(format!("{}: {}", response.status(), start.trim_end()));
    }
    decode::<BatchReplies>(&body).map(|batch| batch.replies).map_err(|error| error.to_string())
}
