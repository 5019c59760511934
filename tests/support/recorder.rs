//! Clients that use the v2 API of one node each and record what they see.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gryadka::kv::{Command, Compare, Key, Verdict};
use gryadka::perseus::{End, History, IndexOrder, Observation, Seen};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// Why errors are no surprise to a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Excuse {
    /// Its own node is killed.
    Killed,
    /// The leader is killed, and until there is another one nothing goes on.
    Leaderless,
}

/// What all clients of a test record into.
pub struct Recorder {
    order: IndexOrder,
    origin: Instant,
    history: Mutex<History>,
    pub answered: AtomicUsize,
    pub errors: Mutex<Vec<String>>,
    /// How many errors were excused, by how they ended.
    pub excused: Mutex<BTreeMap<(Excuse, &'static str), usize>>,
}

impl Recorder {
    /// Records what servers answer that number changes so.
    pub fn new(order: IndexOrder) -> Arc<Recorder> {
        Arc::new(Recorder {
            order,
            origin: Instant::now(),
            history: Mutex::default(),
            answered: AtomicUsize::new(0),
            errors: Mutex::default(),
            excused: Mutex::default(),
        })
    }

    fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    pub fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }
}

/// One client of one node, on a connection of its own.
pub struct Client {
    recorder: Arc<Recorder>,
    number: u64,
    url: String,
    agent: ureq::Agent,
    random: SmallRng,
    writes: u64,
    /// What it saw of each key last.
    seen: HashMap<Key, Seen>,
    /// Set while errors are no surprise.
    pub excuse: Arc<Mutex<Option<Excuse>>>,
    /// How many operations have ended, however.
    pub ended: Arc<AtomicUsize>,
    /// When it was last answered, if nothing was to be excused since.
    answered_us: Option<u64>,
    /// The longest time between two answers without an excuse.
    pub longest_gap_us: Arc<AtomicU64>,
}

impl Client {
    pub fn new(recorder: &Arc<Recorder>, number: u64, url: String) -> Client {
        Client {
            recorder: recorder.clone(),
            number,
            url,
            agent: agent(),
            random: SmallRng::seed_from_u64(number),
            writes: 0,
            seen: HashMap::new(),
            excuse: Arc::default(),
            ended: Arc::default(),
            answered_us: None,
            longest_gap_us: Arc::default(),
        }
    }

    /// Works on random keys until told to stop.
    pub fn run(&mut self, keys: &[Key], stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let key = &keys[self.random.random_range(0..keys.len())];
            let command = self.next_command(key);
            self.perform(key, command);
        }
    }

    fn next_command(&mut self, key: &Key) -> Command {
        self.writes += 1;
        let value = format!("{}-{}", self.number, self.writes);
        let Seen { value: old, modified_index, .. } =
            self.seen.get(key).cloned().unwrap_or_default();
        let compare = match self.random.random_range(0..2) {
            // Index 0 is none, as in etcd.
            0 => Compare { value: None, index: Some(modified_index.unwrap_or(0).max(1)) },
            _ => Compare { value: Some(old.flatten().unwrap_or("none".into())), index: None },
        };
        match self.random.random_range(0..20) {
            0..8 => Command::Get,
            8..14 => Command::Set(value.into()),
            14..16 => Command::Create(value.into()),
            16 => Command::Update(value.into()),
            17 => Command::CompareAndSwap(compare, value.into()),
            18 => Command::Delete,
            _ => Command::CompareAndDelete(compare),
        }
    }

    /// Performs a command and records it.
    pub fn perform(&mut self, key: &Key, command: Command) {
        let (at, number) = (self.recorder.now_us(), self.number);
        let id =
            self.recorder.history.lock().unwrap().call(number, key.clone(), command.clone(), at);
        let result = self.ask(key, &command);
        let end = match result {
            Ok((status, body)) => {
                end_of(status, &body, self.recorder.now_us(), self.recorder.order)
            }
            Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                (End::Failed, Some(error.to_string()))
            }
            Err(error) => (End::Unknown, Some(error.to_string())),
        };
        let end = match end {
            (end, None) => {
                self.recorder.answered.fetch_add(1, Ordering::Relaxed);
                if let End::Returned { observation, .. } = &end {
                    self.seen.insert(key.clone(), observation.after.clone());
                }
                end
            }
            (end, Some(error)) => {
                self.note(&command, &end, error);
                self.agent = agent();
                // Many operations of unknown outcome are hard to judge.
                let is_excused = self.excuse.lock().unwrap().is_some();
                std::thread::sleep(Duration::from_millis(if is_excused { 50 } else { 5 }));
                end
            }
        };
        self.note_gap(matches!(end, End::Returned { .. }));
        self.recorder.history.lock().unwrap().end(id, end);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, command: &Command, end: &End, error: String) {
        let what = if *end == End::Failed { "failed" } else { "unknown" };
        match *self.excuse.lock().unwrap() {
            Some(excuse) => {
                *self.recorder.excused.lock().unwrap().entry((excuse, what)).or_default() += 1;
            }
            None => {
                let at_us = self.recorder.now_us();
                let error = format!(
                    "client {} of {} at {at_us} µs: {command:?}: {error}",
                    self.number, self.url
                );
                self.recorder.errors.lock().unwrap().push(error);
            }
        }
    }

    fn note_gap(&mut self, is_answered: bool) {
        if self.excuse.lock().unwrap().is_some() {
            self.answered_us = None;
        } else if is_answered {
            let now = self.recorder.now_us();
            if let Some(before) = self.answered_us.replace(now) {
                self.longest_gap_us.fetch_max(now - before, Ordering::Relaxed);
            }
        }
    }

    fn ask(&self, key: &Key, command: &Command) -> Result<(u16, Vec<u8>), ureq::Error> {
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("plain");
        let comparing = |compare: &Compare| match (&compare.value, compare.index) {
            (Some(value), _) => format!("prevValue={}", text(value)),
            (None, index) => format!("prevIndex={}", index.unwrap_or(0)),
        };
        let (method, query, value) = match command {
            Command::Get => ("GET", "quorum=true".to_string(), None),
            Command::Set(value) => ("PUT", String::new(), Some(value)),
            Command::Create(value) => ("PUT", "prevExist=false".into(), Some(value)),
            Command::Update(value) => ("PUT", "prevExist=true".into(), Some(value)),
            Command::CompareAndSwap(compare, value) => ("PUT", comparing(compare), Some(value)),
            Command::Delete => ("DELETE", String::new(), None),
            Command::CompareAndDelete(compare) => ("DELETE", comparing(compare), None),
            Command::Add(_) | Command::WriteVersion(_) => panic!("not in the v2 API"),
        };
        let uri = format!("{}/v2/keys/{key}?{query}", self.url);
        let request = ureq::http::Request::builder().method(method).uri(uri);
        let mut response = match value {
            None => self.agent.run(request.body(()).expect("a request")),
            Some(value) => {
                let request = request.header("content-type", super::FORM);
                self.agent.run(request.body(format!("value={}", text(value))).expect("a request"))
            }
        }?;
        let body = response.body_mut().read_to_vec()?;
        Ok((response.status().as_u16(), body))
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

/// How an answer ends its operation, and the error if it is one.
fn end_of(status: u16, body: &[u8], at: u64, order: IndexOrder) -> (End, Option<String>) {
    let shown = || String::from_utf8_lossy(body).into_owned();
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return (End::Unknown, Some(format!("{status} {}", shown())));
    };
    let verdict = match (status, body["errorCode"].as_u64()) {
        (200 | 201, None) => Verdict::Done,
        (404, Some(100)) => Verdict::NotFound,
        (412, Some(105)) => Verdict::AlreadyExists,
        (412, Some(101)) => Verdict::CompareFailed,
        _ if body["outcome"] == "failed" => return (End::Failed, Some(format!("{status} {body}"))),
        _ => return (End::Unknown, Some(format!("{status} {body}"))),
    };
    let after = match verdict {
        Verdict::Done => seen(&body["node"]),
        Verdict::NotFound
        | Verdict::AlreadyExists
        | Verdict::CompareFailed
        | Verdict::NotANumber
        | Verdict::IdReused
        | Verdict::Superseded => match order {
            IndexOrder::PerKey => {
                Seen { modified_index: body["index"].as_u64(), ..Seen::default() }
            }
            // The index is that of the newest change of any key.
            IndexOrder::Global => Seen::default(),
        },
    };
    let before = match &body["prevNode"] {
        Value::Null => Seen::default(),
        node => seen(node),
    };
    let observation = Observation { verdict: Some(verdict), before, after };
    (End::Returned { at, observation }, None)
}

fn seen(node: &Value) -> Seen {
    Seen {
        value: Some(node["value"].as_str().map(|text| text.to_string().into())),
        created_index: node["createdIndex"].as_u64(),
        modified_index: node["modifiedIndex"].as_u64(),
    }
}
