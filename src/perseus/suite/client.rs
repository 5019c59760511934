//! A client of a suite: one request at a time, to any living node.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;

use super::ledger::SharedLedger;
use super::nodes::Nodes;
use super::{Asked, Ending, Workload};
use crate::client::{ClientError, Connection, ErrorKind, Node, Replaced};
use crate::kv::{Command, Key, Verdict};
use crate::perseus::load::PAUSE_AFTER_ERROR;
use crate::perseus::{End, Observation, Seen};

/// How often a request is tried before it is given up.
pub(super) const MAX_ATTEMPTS: u32 = 10;

/// After so many requests in a row for which no node could be spoken to, whatever
/// the attempt, a client makes no more of them.
const MAX_UNHEARD: u32 = 3;

/// What the clients of a suite have in common.
pub(super) struct Shared {
    /// The client listener of each node.
    pub(super) urls: Vec<String>,
    /// Which of them live.
    pub(super) nodes: Rc<Nodes>,
    /// The keys; at least one.
    pub(super) keys: Vec<Key>,
    /// Where all is entered.
    pub(super) ledger: SharedLedger,
    /// Moves on with each request.
    pub(super) bar: ProgressBar,
    /// How long an attempt may take.
    pub(super) request_timeout: Duration,
}

/// A client, with a connection to each node.
pub(super) struct SuiteClient {
    number: u64,
    shared: Rc<Shared>,
    connections: Vec<Connection>,
    random: SmallRng,
    values: u64,
    /// The keys that it has written, by place in the list.
    written: BTreeSet<usize>,
    /// The last requests in a row for which no node could be spoken to.
    unheard: u32,
}

/// A request of a client.
enum Request {
    Put(String),
    Get,
}

/// What came of a request, or of one attempt.
enum Answer {
    /// What the client saw of the record.
    Seen(Observation),
    /// It may have taken effect, or the answer is of no use.
    InDoubt,
    /// It took no effect.
    Refused {
        /// No node was spoken to.
        by_network: bool,
    },
}

impl SuiteClient {
    /// The client of this number, from 0.
    pub(super) fn new(number: u64, seed: u64, shared: Rc<Shared>) -> SuiteClient {
        let connection =
            |url: &String| Connection::new(url, shared.request_timeout).with_retries(None);
        let connections = shared.urls.iter().map(connection).collect();
        let random = SmallRng::seed_from_u64(seed.wrapping_add(number));
        let written = BTreeSet::new();
        SuiteClient { number, shared, connections, random, values: 0, written, unheard: 0 }
    }

    /// Whether a node answers a get of the first key, uncounted.
    pub(super) async fn is_answered(&mut self) -> bool {
        let ending = self.perform(0, Request::Get, None).await;
        matches!(ending, Ending::Succeeded | Ending::Absent)
    }

    /// Writes every key once, uncounted; false when one could not be written.
    pub(super) async fn fill(&mut self) -> bool {
        let mut is_filled = true;
        for place in 0..self.shared.keys.len() {
            let value = self.next_value();
            let ending = self.perform(place, Request::Put(value), None).await;
            is_filled &= ending == Ending::Succeeded;
        }
        is_filled
    }

    /// Makes the requests of one round, as long as nodes can be spoken to.
    pub(super) async fn run(&mut self, workload: Workload, requests: usize) {
        for _ in 0..requests {
            match workload {
                Workload::PutsThenGets | Workload::Put => {
                    let place = self.any_place();
                    self.put(place).await;
                }
                Workload::Get => {
                    let place = self.any_place();
                    self.get(place).await;
                }
                Workload::PutThenGet => {
                    let place = self.any_place();
                    self.put(place).await;
                    self.get(place).await;
                }
                Workload::Mix(ratio) => {
                    let place = self.any_place();
                    match ratio.is_put(&mut self.random) {
                        true => self.put(place).await,
                        false => self.get(place).await,
                    }
                }
            }
            if self.is_alone() {
                return;
            }
        }
        if workload == Workload::PutsThenGets {
            for _ in 0..requests {
                let place = self.written_place();
                self.get(place).await;
                if self.is_alone() {
                    return;
                }
            }
        }
    }

    /// Whether all nodes seem to be gone.
    pub(super) fn is_alone(&self) -> bool {
        self.unheard >= MAX_UNHEARD
    }

    fn any_place(&mut self) -> usize {
        (0..self.shared.keys.len()).choose(&mut self.random).expect("there is a key")
    }

    /// A key that this client has written, if there is one.
    fn written_place(&mut self) -> usize {
        match self.written.iter().choose(&mut self.random) {
            Some(place) => *place,
            None => self.any_place(),
        }
    }

    /// Unique in the run.
    fn next_value(&mut self) -> String {
        self.values += 1;
        format!("{}-{}", self.number, self.values)
    }

    async fn put(&mut self, place: usize) {
        let value = self.next_value();
        self.perform(place, Request::Put(value), Some(Asked::Put)).await;
    }

    async fn get(&mut self, place: usize) {
        self.perform(place, Request::Get, Some(Asked::Get)).await;
    }

    /// One request with all its attempts, entered in the ledger.
    async fn perform(&mut self, place: usize, request: Request, counted: Option<Asked>) -> Ending {
        let shared = self.shared.clone();
        let key = &shared.keys[place];
        let command = match &request {
            Request::Put(value) => Command::Set(value.clone().into()),
            Request::Get => Command::Get,
        };
        let entry = shared.ledger.borrow_mut().call(self.number, key, command);
        let answer = self.ask(key, &request).await;
        let ending = answer.ending();
        self.unheard = if ending == Ending::ConnectionError { self.unheard + 1 } else { 0 };
        let mut ledger = shared.ledger.borrow_mut();
        let end = answer.end(ledger.now());
        ledger.close(&entry, end);
        if let Some(asked) = counted {
            ledger.count(&entry, asked, ending);
            shared.bar.inc(1);
        }
        if ending == Ending::Succeeded && matches!(request, Request::Put(_)) {
            self.written.insert(place);
        }
        ending
    }

    /// Tries until it is answered or in doubt, or too often.
    async fn ask(&mut self, key: &Key, request: &Request) -> Answer {
        let mut node = self.shared.nodes.any(&mut self.random);
        let mut only_network = true;
        for attempt in 1..=MAX_ATTEMPTS {
            match self.attempt(node, key, request).await {
                Answer::Refused { by_network } => only_network &= by_network,
                answer @ (Answer::Seen(_) | Answer::InDoubt) => return answer,
            }
            // The next node may well answer at once.
            if (2..MAX_ATTEMPTS).contains(&attempt) {
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
            node = self.shared.nodes.after(node);
        }
        Answer::Refused { by_network: only_network }
    }

    async fn attempt(&mut self, node: usize, key: &Key, request: &Request) -> Answer {
        let connection = &mut self.connections[node];
        let answer = match request {
            Request::Put(value) => connection.replace(key.as_str(), value).await.map(done),
            Request::Get => connection.get(key.as_str()).await.map(read),
        };
        answer.map_or_else(|error| self.not_answered(error), Answer::Seen)
    }

    fn not_answered(&self, error: ClientError) -> Answer {
        self.shared.ledger.borrow_mut().note_error(error.to_string());
        match &error.kind {
            _ if error.is_unknown() => Answer::InDoubt,
            ErrorKind::BadBody(_) => Answer::InDoubt,
            ErrorKind::Connect(_) | ErrorKind::Timeout(_) | ErrorKind::Closed(_) => {
                Answer::Refused { by_network: true }
            }
            ErrorKind::Status { .. } => Answer::Refused { by_network: false },
        }
    }
}

impl Answer {
    fn ending(&self) -> Ending {
        match self {
            Answer::Seen(seen) if seen.verdict == Some(Verdict::Done) => Ending::Succeeded,
            Answer::Seen(_) => Ending::Absent,
            Answer::InDoubt => Ending::UnknownError,
            Answer::Refused { by_network: true } => Ending::ConnectionError,
            Answer::Refused { by_network: false } => Ending::FailedAfterManyAttempts,
        }
    }

    /// For the history, when it came at this time.
    fn end(self, at: u64) -> End {
        match self {
            Answer::Seen(observation) => End::Returned { at, observation },
            Answer::InDoubt => End::Unknown,
            Answer::Refused { .. } => End::Failed,
        }
    }
}

/// What a put showed.
fn done(replaced: Replaced) -> Observation {
    let (before, after) = (seen(replaced.before), seen(Some(replaced.after)));
    Observation { verdict: Some(Verdict::Done), before, after }
}

/// What a get showed: it changes nothing.
fn read(node: Option<Node>) -> Observation {
    let verdict = if node.is_some() { Verdict::Done } else { Verdict::NotFound };
    let seen = seen(node);
    Observation { verdict: Some(verdict), before: seen.clone(), after: seen }
}

/// A record that was shown. The index of an absent one is not.
fn seen(node: Option<Node>) -> Seen {
    let Some(node) = node else { return Seen { value: Some(None), ..Seen::default() } };
    Seen {
        value: Some(Some(node.value.into())),
        created_index: Some(node.created_index),
        modified_index: Some(node.modified_index),
    }
}
