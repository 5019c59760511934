//! The proposer actor: runs the effects of the pure
//! [`Proposer`](crate::caspaxos::Proposer).

mod control;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Recipient};
use tokio::sync::oneshot;

use super::acceptor_link::{AcceptorLink, AcceptorParty, Replies, Ticket};
use super::alarms::Alarms;
use super::complaints::Complaints;
use super::control::{ConfigurationKeeper, Follow, ProposerView};
use super::link::{Envelope, Envelopes, Gauge};
use super::mailbox::once_it_is_empty;
use super::protocol::{List, Submit};
use super::service::Permit;
use crate::caspaxos::{
    self, AcceptorId, Ballot, Call, Collected, CommandId, Configuration, Effect, Epoch, Event,
    Failure, Listing, ListingError, Place, ProposerId, ReconfigurationError, Reply, Settings,
    Unidentified,
};
use crate::kv::{Answer, Key, Listed, Outcome, Refusal};

/// How often acceptors that were written to are marked. Of a copy of a store that
/// is older than that it is noticed that it is one.
const MARK_EVERY: Duration = Duration::from_secs(1);

struct Client {
    answer: oneshot::Sender<Result<Answer, Refusal>>,
    /// Gives the place back when the command is answered.
    _permit: Permit,
}

/// Somebody who waits for the end of what concerns the whole cluster.
enum Operator {
    OfStep(oneshot::Sender<Result<Epoch, ReconfigurationError>>),
    OfBatch(oneshot::Sender<Collected>),
}

struct ListingUnderWay {
    listing: Listing,
    answer: oneshot::Sender<Result<Listed, Refusal>>,
    /// How long the next page may take.
    patience: Duration,
    /// When it is given up, unless a page comes before.
    deadline: Duration,
    #[expect(dead_code, reason = "it is only held")]
    permit: Permit,
}

/// The proposer of a node.
pub struct Proposer {
    core: caspaxos::Proposer,
    links: HashMap<AcceptorId, Addr<AcceptorLink>>,
    gauges: BTreeMap<AcceptorId, Arc<Gauge>>,
    /// Where the links lead, as far as anybody said.
    linked_places: HashMap<AcceptorId, Place>,
    link_to: LinkTo,
    inquiries: HashMap<u64, oneshot::Sender<Option<Reply>>>,
    operators: HashMap<CommandId, Operator>,
    /// Those that share the keys of the node with it.
    siblings: Vec<Recipient<Follow>>,
    /// One of them keeps the configuration for all.
    keeper: Option<ConfigurationKeeper>,
    view: Arc<ProposerView>,
    clients: HashMap<CommandId, Client>,
    /// Commands that came since the mailbox was empty.
    submitted: Vec<Event>,
    listings: HashMap<u64, ListingUnderWay>,
    /// Names commands, listings and alarms.
    serial: u64,
    origin: Instant,
    alarms: Alarms<Ticket>,
    /// Acceptors that refuse this proposer.
    refusing: HashMap<AcceptorId, Complaints>,
    /// Why it does not know its cluster.
    unidentified: Option<(Unidentified, Complaints)>,
    /// When the actor will look at its alarms next, if it will.
    wakes_at: Option<Duration>,
}

/// Ballots that others have asked the acceptor of this node for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Overtaken(pub Vec<(Key, Ballot)>);

/// Makes the link of a proposer to an acceptor.
pub type LinkTo = Box<dyn Fn(&AcceptorId, Option<&Place>, Addr<Proposer>) -> AcceptorLink + Send>;

impl Proposer {
    /// A proposer with a new incarnation, on the event loop of an arbiter.
    pub fn start_on(
        arbiter: &ArbiterHandle,
        id: ProposerId,
        view: Arc<ProposerView>,
        keeper: Option<ConfigurationKeeper>,
        link_to: LinkTo,
        settings: Settings,
    ) -> Addr<Proposer> {
        Proposer::start_in_arbiter(arbiter, move |ctx| {
            let (cluster, configuration) = (view.cluster().get(), view.configuration());
            let (known, seed) = (configuration.clone(), rand::random());
            let mut core = caspaxos::Proposer::new(id, cluster, known, settings, seed);
            core.confirm_cluster();
            let mut proposer = Proposer {
                links: HashMap::new(),
                gauges: BTreeMap::new(),
                linked_places: HashMap::new(),
                link_to,
                core,
                inquiries: HashMap::new(),
                operators: HashMap::new(),
                siblings: Vec::new(),
                keeper,
                view,
                clients: HashMap::new(),
                submitted: Vec::new(),
                listings: HashMap::new(),
                serial: 0,
                origin: Instant::now(),
                alarms: Alarms::default(),
                refusing: HashMap::new(),
                unidentified: None,
                wakes_at: None,
            };
            proposer.link(&configuration, ctx);
            proposer.handle_events([Event::Started], ctx);
            ctx.run_interval(MARK_EVERY, |proposer, ctx| {
                proposer.handle_events([Event::Marks], ctx);
            });
            proposer
        })
    }

    /// Makes the links that are missing.
    fn link(&mut self, configuration: &Configuration, ctx: &Context<Self>) {
        for acceptor in configuration.acceptors() {
            self.link_one(acceptor, configuration.places.get(acceptor), ctx);
        }
    }

    /// Makes a link that is missing, or leads elsewhere.
    fn link_one(&mut self, acceptor: &AcceptorId, place: Option<&Place>, ctx: &Context<Self>) {
        let is_elsewhere = place.is_some() && self.linked_places.get(acceptor) != place;
        if is_elsewhere || !self.links.contains_key(acceptor) {
            let link = (self.link_to)(acceptor, place, ctx.address());
            self.gauges.insert(acceptor.clone(), link.gauge());
            let link = link.start();
            self.links.insert(acceptor.clone(), link);
            self.linked_places.extend(place.map(|place| (acceptor.clone(), place.clone())));
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Feeds events to the core and runs the effects of all of them together,
    /// so that each link gets one message.
    fn handle_events(&mut self, events: impl IntoIterator<Item = Event>, ctx: &mut Context<Self>) {
        let now = self.now();
        let mut effects = Vec::new();
        for event in events {
            self.core.handle(now, event, &mut effects);
        }
        let mut outgoing: Vec<(AcceptorId, Envelopes<AcceptorParty>)> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, token, call, is_spare } => {
                    let envelope = Envelope { ticket: Ticket::Round(token), call };
                    match outgoing
                        .iter_mut()
                        .find(|(id, each)| *id == to && each.may_wait == is_spare)
                    {
                        Some((_, each)) => each.envelopes.push(envelope),
                        None => {
                            let envelopes = vec![envelope];
                            outgoing.push((to, Envelopes { envelopes, may_wait: is_spare }));
                        }
                    }
                }
                Effect::SetTimer { token, after } => {
                    self.set_alarm(now + after, Ticket::Round(token), ctx);
                }
                Effect::Identified(cluster) => self.identified(cluster),
                Effect::Unidentified(why) => self.not_identified(why),
                Effect::FoundOldCopy(old) => self.found_old_copy(&old),
                Effect::Seeks(configuration) => self.link(&configuration, ctx),
                Effect::Configured(configuration) => self.configured(configuration, ctx),
                Effect::Reconfigured { id, result } => self.reconfigured(id, result),
                Effect::Collected { id, collected } => self.collected(id, collected),
                Effect::Answer { id, result } => {
                    if let Some(client) = self.clients.remove(&id) {
                        // A client that went away has no use for it.
                        let _ = client.answer.send(self.answer(result));
                    }
                }
            }
        }
        for (to, envelopes) in outgoing {
            self.links[&to].do_send(envelopes);
        }
    }

    /// Keys are ordered each by itself: an answer stands where its key does.
    fn answer(&self, result: Result<Outcome, Failure>) -> Result<Answer, Refusal> {
        match (result, &self.unidentified) {
            (Ok(outcome), _) => {
                Ok(Answer { index: outcome.after.modified_index, outcome, position: None })
            }
            (Err(Failure::Failed), Some((why, _))) => Err(Refusal::Failed(why.to_string())),
            (Err(failure), _) => Err(failure.into()),
        }
    }

    fn set_alarm(&mut self, at: Duration, ticket: Ticket, ctx: &mut Context<Self>) {
        self.alarms.set(at, ticket);
        self.wake_by(at, ctx);
    }

    fn wake_by(&mut self, at: Duration, ctx: &mut Context<Self>) {
        if self.wakes_at.is_some_and(|wakes_at| wakes_at <= at) {
            return;
        }
        self.wakes_at = Some(at);
        ctx.run_later(at.saturating_sub(self.now()), move |proposer, ctx| {
            // An earlier wake-up may have been set since; this one is spent.
            if proposer.wakes_at == Some(at) {
                proposer.wakes_at = None;
            }
            proposer.ring(ctx);
        });
    }

    fn ring(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let mut events = Vec::new();
        while let Some(ticket) = self.alarms.take_due(now) {
            match ticket {
                Ticket::Round(token) => events.push(Event::TimerFired { token }),
                Ticket::Listing(id) => self.give_up_listing(id, now),
                // Whoever asks has patience of his own.
                Ticket::Inquiry(_) => {}
            }
        }
        self.handle_events(events, ctx);
        if let Some(at) = self.alarms.first() {
            self.wake_by(at, ctx);
        }
    }

    fn start_listing(&mut self, under_way: ListingUnderWay, ctx: &mut Context<Self>) {
        let id = self.next_serial();
        for acceptor in under_way.listing.acceptors() {
            self.ask_for_page(acceptor, id, under_way.listing.request(None));
        }
        self.set_alarm(under_way.deadline, Ticket::Listing(id), ctx);
        self.listings.insert(id, under_way);
    }

    /// Begins the listing anew if the proposer has followed a fence; false when
    /// it has not.
    fn restart_listing(&mut self, id: u64, ctx: &mut Context<Self>) -> bool {
        let Some(under_way) = self.listings.get(&id) else { return true };
        let (caller, configuration) = (self.core.caller(), self.core.configuration());
        let listing = under_way.listing.begun_anew(caller, configuration);
        let Some(listing) = listing else { return false };
        if let Some(old) = self.listings.remove(&id) {
            self.start_listing(ListingUnderWay { listing, ..old }, ctx);
        }
        true
    }

    /// Ends a listing of which no page has come in time.
    fn give_up_listing(&mut self, id: u64, now: Duration) {
        match self.listings.get(&id) {
            Some(under_way) if under_way.deadline > now => {
                self.alarms.set(under_way.deadline, Ticket::Listing(id));
            }
            Some(_) => self.end_listing(id, ListingError::NoQuorum),
            None => {}
        }
    }

    fn end_listing(&mut self, id: u64, error: ListingError) {
        if let Some(under_way) = self.listings.remove(&id) {
            let _ = under_way.answer.send(Err(error.into()));
        }
    }

    fn on_listed(&mut self, id: u64, from: &AcceptorId, reply: Option<Reply>) {
        let now = self.now();
        let Some(under_way) = self.listings.get_mut(&id) else { return };
        // Anything else is no answer to a listing.
        let page = match reply {
            Some(Reply::Listed(page)) => Some(page),
            _ => None,
        };
        match under_way.listing.on_page(from.clone(), page) {
            Err(error) => self.end_listing(id, error),
            Ok(_) if under_way.listing.is_complete() => {
                let Some(done) = self.listings.remove(&id) else { return };
                let _ = done.answer.send(Ok(listed(done.listing)));
            }
            // Nobody waits for it any more.
            Ok(_) if under_way.answer.is_closed() => drop(self.listings.remove(&id)),
            Ok(Some(call)) => {
                under_way.deadline = now + under_way.patience;
                self.ask_for_page(from, id, call);
            }
            Ok(None) => {}
        }
    }

    fn ask_for_page(&self, to: &AcceptorId, id: u64, call: Call) {
        self.links[to].do_send(Envelopes::from(Envelope { ticket: Ticket::Listing(id), call }));
    }
}

impl Actor for Proposer {
    type Context = Context<Self>;
}

impl Handler<Submit> for Proposer {
    type Result = ();

    fn handle(&mut self, message: Submit, ctx: &mut Context<Self>) {
        let Submit { key, submission, patience, answer, permit } = message;
        let id = self.next_serial();
        self.clients.insert(id, Client { answer, _permit: permit });
        let deadline = self.now() + patience;
        if self.submitted.is_empty() {
            once_it_is_empty(ctx, |proposer, ctx| {
                let submitted = std::mem::take(&mut proposer.submitted);
                proposer.handle_events(submitted, ctx);
            });
        }
        self.submitted.push(Event::Submitted { id, key, submission, deadline });
    }
}

impl Handler<Replies> for Proposer {
    type Result = ();

    fn handle(&mut self, Replies { from, replies }: Replies, ctx: &mut Context<Self>) {
        // Commands that came before join the next rounds.
        let (mut events, mut fenced) = (std::mem::take(&mut self.submitted), Vec::new());
        for (ticket, reply) in replies {
            match ticket {
                Ticket::Round(token) => {
                    if let Some(reply) = &reply {
                        self.note_refusal(&from, reply);
                    }
                    events.push(Event::Replied { token, from: from.clone(), reply });
                }
                Ticket::Listing(id) if matches!(reply, Some(Reply::Fenced(_))) => {
                    events.extend(lesson_of(&from, &reply));
                    fenced.push(id);
                }
                Ticket::Listing(id) => {
                    events.extend(lesson_of(&from, &reply));
                    self.on_listed(id, &from, reply);
                }
                Ticket::Inquiry(id) => {
                    events.extend(lesson_of(&from, &reply));
                    if let Some(answer) = self.inquiries.remove(&id) {
                        let _ = answer.send(reply);
                    }
                }
            }
        }
        self.handle_events(events, ctx);
        for id in fenced {
            if !self.restart_listing(id, ctx) {
                self.on_listed(id, &from, None);
            }
        }
    }
}

impl Handler<Overtaken> for Proposer {
    type Result = ();

    fn handle(&mut self, Overtaken(ballots): Overtaken, ctx: &mut Context<Self>) {
        let events = ballots.into_iter().map(|(key, by)| Event::Overtaken { key, by });
        self.handle_events(events, ctx);
    }
}

impl Handler<List> for Proposer {
    type Result = ();

    fn handle(&mut self, message: List, ctx: &mut Context<Self>) {
        let List { prefix, scope, patience, answer, permit } = message;
        let configuration = self.core.configuration().clone();
        let listing = Listing::new(self.core.caller(), configuration, prefix, scope);
        let deadline = self.now() + patience;
        self.start_listing(ListingUnderWay { listing, answer, patience, deadline, permit }, ctx);
    }
}

/// What a refusal teaches.
fn lesson_of(from: &AcceptorId, reply: &Option<Reply>) -> Option<Event> {
    match reply {
        Some(Reply::Fenced(fence)) => Some(Event::Told(fence.clone())),
        Some(Reply::Behind) => Some(Event::FoundBehind(from.clone())),
        Some(Reply::Unconfirmed(told)) => Some(Event::FoundUnconfirmed(from.clone(), told.clone())),
        _ => None,
    }
}

fn listed(listing: Listing) -> Listed {
    let records = listing.into_records();
    let index = records.iter().map(|(_, record)| record.modified_index).max().unwrap_or(0);
    Listed { records, index, position: None }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed => Refusal::Failed(failure.to_string()),
            Failure::Unknown => Refusal::Unknown(failure.to_string()),
        }
    }
}

impl From<ListingError> for Refusal {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::NoQuorum => Refusal::Failed(error.to_string()),
            ListingError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
        }
    }
}
