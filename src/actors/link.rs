//! A link to one actor, on this node or on another.
//!
//! It collects envelopes and sends them as one batch. While batches are under
//! way the next one collects, so batches grow with the load and a lone
//! message is not delayed. Every envelope is answered, if only by why there
//! is no answer; but for those that the connection matrix drops, as a network
//! would.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use futures::future::LocalBoxFuture;

use super::complaints::Complaints;
use super::mailbox::once_it_is_empty;
use crate::raft::Unanswered;
use crate::transport::{BATCH_BYTES, MAX_BATCH_CALLS, Passed, Verdict};

/// The other end of a link: what is said to it, how, and who waits for it.
pub trait Party: Unpin + 'static {
    /// What the sender of a call knows it by.
    type Ticket: Send + Unpin + 'static;
    /// What is asked.
    type Call: Send + Unpin + 'static;
    /// What is answered.
    type Reply: 'static;

    /// How the log calls it; none where somebody else speaks of it.
    fn name(&self) -> Option<&str>;

    /// No less than what the call takes in a batch, in bytes.
    fn call_bytes(call: &Self::Call) -> usize;

    /// How long a batch may take on account of a call that has `waited` for
    /// it; none when that was too long.
    fn patience(ticket: &Self::Ticket, waited: Duration) -> Option<Duration>;

    /// What becomes of a call on its way.
    fn verdict(&self) -> Verdict;

    /// Sends a batch of calls, of so many bytes, and waits for the replies.
    fn exchange(
        &self,
        calls: Vec<Self::Call>,
        bytes: usize,
        patience: Duration,
    ) -> LocalBoxFuture<'static, Result<Vec<Passed<Self::Reply>>, Unanswered>>;

    /// Gives each ticket its reply, or why it has none. Replies are in order,
    /// and the last ones may be missing.
    fn hand_out(&self, tickets: Vec<Self::Ticket>, result: Result<Vec<Self::Reply>, Unanswered>);

    /// The call or its reply was dropped on its way: who waits for it is not
    /// told, and waits as long as ever.
    fn forget(&self, ticket: Self::Ticket);
}

/// A call, and what its sender knows it by.
pub struct Envelope<P: Party> {
    /// Comes back with the reply.
    pub ticket: P::Ticket,
    /// The call.
    pub call: P::Call,
}

/// Calls for the party behind a link.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Envelopes<P: Party> {
    /// The calls.
    pub envelopes: Vec<Envelope<P>>,
    /// Nobody waits for the answers: they go when a batch is full, or with what
    /// is urgent, or after [`COMPANY_PATIENCE`].
    pub may_wait: bool,
}

impl<P: Party> From<Envelope<P>> for Envelopes<P> {
    fn from(envelope: Envelope<P>) -> Self {
        Envelopes { envelopes: vec![envelope], may_wait: false }
    }
}

/// How long a call waits for others at most that may wait.
pub const COMPANY_PATIENCE: Duration = Duration::from_millis(3);

/// How busy a link is, readable from any thread.
#[derive(Debug, Default)]
pub struct Gauge {
    queued: AtomicUsize,
    under_way: AtomicUsize,
    round_trip_us: AtomicU64,
}

impl Gauge {
    /// How many envelopes wait for a batch.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// How many batches are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How long the last batch took that was answered, in microseconds.
    pub fn round_trip_us(&self) -> u64 {
        self.round_trip_us.load(Ordering::Relaxed)
    }
}

/// A link to one party.
pub struct Link<P: Party> {
    party: P,
    gauge: Arc<Gauge>,
    queue: VecDeque<(Instant, Envelope<P>)>,
    /// When the queue has to go.
    due: Option<Instant>,
    /// How many envelopes are held back, on their way to the queue.
    delayed: usize,
    batches_under_way: usize,
    /// Batches are sent once the mailbox is empty.
    sends_soon: bool,
    complaints: Complaints,
}

/// How many batches of a link are under way at once.
pub const MAX_BATCHES: usize = 2;

impl<P: Party> Link<P> {
    /// How many envelopes may wait for a batch; more are turned away.
    const MAX_QUEUE: usize = 16_384;

    /// A link to `party`.
    pub fn new(party: P) -> Self {
        Link {
            party,
            gauge: Arc::default(),
            queue: VecDeque::new(),
            due: None,
            delayed: 0,
            batches_under_way: 0,
            sends_soon: false,
            complaints: Complaints::default(),
        }
    }

    /// How busy it is.
    pub fn gauge(&self) -> Arc<Gauge> {
        self.gauge.clone()
    }

    fn note_load(&self) {
        self.gauge.queued.store(self.queue.len(), Ordering::Relaxed);
        self.gauge.under_way.store(self.batches_under_way, Ordering::Relaxed);
    }

    fn send_batches(&mut self, ctx: &mut Context<Self>) {
        while self.batches_under_way < MAX_BATCHES && self.is_due() {
            let Next { tickets, calls, bytes, patience } = self.next_batch();
            if calls.is_empty() {
                break;
            }
            self.batches_under_way += 1;
            let exchange = self.party.exchange(calls, bytes, patience);
            let began = Instant::now();
            ctx.spawn(exchange.into_actor(self).map(move |result, link, ctx| {
                link.batches_under_way -= 1;
                if result.is_ok() {
                    let took_us = began.elapsed().as_micros() as u64;
                    link.gauge.round_trip_us.store(took_us, Ordering::Relaxed);
                }
                link.take_in(tickets, result, ctx);
                link.send_batches(ctx);
            }));
        }
        self.note_load();
    }

    fn is_due(&self) -> bool {
        let is_full = self.queue.len() >= MAX_BATCH_CALLS;
        is_full || self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Notes that the queue has to go, at once or within [`COMPANY_PATIENCE`].
    fn note_due(&mut self, now: Instant, may_wait: bool, ctx: &mut Context<Self>) {
        match self.due {
            _ if !may_wait => self.due = Some(now),
            Some(_) => {}
            None => {
                self.due = Some(now + COMPANY_PATIENCE);
                ctx.run_later(COMPANY_PATIENCE, Self::send_batches);
            }
        }
    }

    fn next_batch(&mut self) -> Next<P> {
        let mut next =
            Next { tickets: Vec::new(), calls: Vec::new(), bytes: 0, patience: Duration::ZERO };
        let mut too_old = Vec::new();
        while next.calls.len() < MAX_BATCH_CALLS && next.bytes < BATCH_BYTES {
            let Some((since, Envelope { ticket, call })) = self.queue.pop_front() else { break };
            let Some(patience) = P::patience(&ticket, since.elapsed()) else {
                too_old.push(ticket);
                continue;
            };
            next.patience = next.patience.max(patience);
            next.bytes += P::call_bytes(&call);
            next.tickets.push(ticket);
            next.calls.push(call);
        }
        if self.queue.is_empty() {
            self.due = None;
        }
        if !too_old.is_empty() {
            let why = "calls waited too long for it";
            self.hand_out(too_old, Err(Unanswered::NotSent(why.into())));
        }
        next
    }

    /// Hands out what has arrived, and later what arrives later.
    fn take_in(
        &mut self,
        tickets: Vec<P::Ticket>,
        result: Result<Vec<Passed<P::Reply>>, Unanswered>,
        ctx: &mut Context<Self>,
    ) {
        let passed = match result {
            Ok(passed) => passed,
            Err(why) => return self.hand_out(tickets, Err(why)),
        };
        let (mut answered, mut left_out) = (Vec::with_capacity(tickets.len()), Vec::new());
        let mut replies = Vec::with_capacity(passed.len());
        let mut passed = passed.into_iter();
        for ticket in tickets {
            match passed.next() {
                Some(Passed::Now(reply)) => {
                    answered.push(ticket);
                    replies.push(reply);
                }
                Some(Passed::Later { after_us, reply }) => {
                    ctx.run_later(Duration::from_micros(after_us.into()), |link, _| {
                        link.hand_out(vec![ticket], Ok(vec![reply]));
                    });
                }
                Some(Passed::Lost) => self.party.forget(ticket),
                None => left_out.push(ticket),
            }
        }
        answered.extend(left_out);
        self.hand_out(answered, Ok(replies));
    }

    fn hand_out(&mut self, tickets: Vec<P::Ticket>, result: Result<Vec<P::Reply>, Unanswered>) {
        if let Some(name) = self.party.name() {
            match &result {
                Ok(_) => self.complaints.end(name),
                Err(why) => self.complaints.note(name, why),
            }
        }
        self.party.hand_out(tickets, result);
    }
}

/// A batch to be sent.
struct Next<P: Party> {
    tickets: Vec<P::Ticket>,
    calls: Vec<P::Call>,
    bytes: usize,
    patience: Duration,
}

impl<P: Party> Actor for Link<P> {
    type Context = Context<Self>;
}

impl<P: Party> Handler<Envelopes<P>> for Link<P> {
    type Result = ();

    fn handle(&mut self, message: Envelopes<P>, ctx: &mut Context<Self>) {
        let Envelopes { envelopes, may_wait } = message;
        let now = Instant::now();
        let mut turned_away = Vec::new();
        for envelope in envelopes {
            match self.party.verdict() {
                Verdict::Deliver if self.queue.len() < Self::MAX_QUEUE => {
                    self.queue.push_back((now, envelope));
                }
                Verdict::Delay(after) if self.delayed < Self::MAX_QUEUE => {
                    self.delayed += 1;
                    ctx.run_later(after, move |link, ctx| {
                        link.delayed -= 1;
                        link.queue.push_back((now, envelope));
                        link.note_due(Instant::now(), false, ctx);
                        link.send_batches(ctx);
                    });
                }
                Verdict::Deliver | Verdict::Delay(_) => turned_away.push(envelope.ticket),
                Verdict::Drop => self.party.forget(envelope.ticket),
            }
        }
        if !turned_away.is_empty() {
            let why = "too many calls wait for it";
            self.hand_out(turned_away, Err(Unanswered::NotSent(why.into())));
        }
        if !self.queue.is_empty() {
            self.note_due(now, may_wait, ctx);
        }
        // What else is in the mailbox goes with it.
        if !self.sends_soon {
            self.sends_soon = true;
            once_it_is_empty(ctx, |link, ctx| {
                link.sends_soon = false;
                link.send_batches(ctx);
            });
        }
    }
}
