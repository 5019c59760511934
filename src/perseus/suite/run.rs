//! One run of a suite.

use std::cell::{Ref, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join};
use indicatif::{ProgressBar, ProgressStyle};

use super::chaos::Chaos;
use super::client::{Shared, SuiteClient};
use super::ledger::Ledger;
use super::nodes::Nodes;
use super::{Condition, Counts, Layout, Round, SuiteError, SuitePlan, SuiteReport, judge};
use crate::client::Connection;
use crate::kv::Key;

/// One run of a suite on a cluster. It belongs to an actix system.
///
/// After [`run`](Suite::run), also when that was dropped half-way, comes
/// [`restore`](Suite::restore).
pub struct Suite {
    plan: SuitePlan,
    shared: Rc<Shared>,
    clients: Vec<SuiteClient>,
    chaos: Chaos,
    rounds: Vec<Round>,
    total: Duration,
}

impl Suite {
    /// A run of this plan on these nodes. A dynamic one needs
    /// [`Layout::load_dynamic`].
    pub fn new(plan: SuitePlan, layout: Layout) -> Suite {
        let nodes = Rc::new(Nodes::new(layout.nodes.len()));
        // Not from the seed: no two runs have a key in common.
        let run = rand::random::<u64>();
        let key = |place| format!("suite/{run:016x}/k{place}");
        let keys = (1..=plan.keys).map(|place| Key::try_from(key(place).as_str()));
        let shared = Rc::new(Shared {
            urls: layout.nodes.iter().map(|node| node.url.clone()).collect(),
            nodes: nodes.clone(),
            keys: keys.collect::<Result<_, _>>().expect("short names"),
            ledger: Rc::new(RefCell::new(Ledger::open())),
            bar: progress_bar(plan.total_requests()),
            request_timeout: plan.request_timeout,
        });
        let client = |number| SuiteClient::new(number, plan.seed, shared.clone());
        let clients = (0..plan.clients as u64).map(client).collect();
        let chaos = Chaos::new(layout, nodes, plan.seed);
        let (rounds, total) = (Vec::new(), Duration::ZERO);
        Suite { plan, shared, clients, chaos, rounds, total }
    }

    /// Makes all requests, unless no node answers. What is to be done is told to
    /// `output`, and then each round of a dynamic suite.
    pub async fn run(&mut self, output: &mut dyn Write) -> Result<(), SuiteError> {
        writeln!(output, "# {}", self.plan)?;
        if !self.clients[0].is_answered().await {
            return Err(no_answer(&self.shared));
        }
        if self.plan.workload.needs_keys() && !self.clients[0].fill().await {
            log::warn!("not every key could be written before the start");
        }
        let began = Instant::now();
        match self.plan.condition {
            Condition::Static => requests(&mut self.clients, &self.plan, &self.shared).await?,
            Condition::Dynamic { rounds } => {
                for number in 1..=rounds {
                    let round = self.round(number).await?;
                    self.shared.bar.suspend(|| writeln!(output, "{round}"))?;
                    self.rounds.push(round);
                }
            }
        }
        self.total = began.elapsed();
        Ok(())
    }

    async fn round(&mut self, number: usize) -> Result<Round, SuiteError> {
        let leader = self.chaos.leader().await;
        let first = self.ledger().samples().len();
        let began = Instant::now();
        let requests = requests(&mut self.clients, &self.plan, &self.shared);
        let ledger = &self.shared.ledger;
        let disturbance = async {
            let disturbance = self.chaos.disturb().await?;
            ledger.borrow_mut().mark(disturbance.to_string());
            Ok(disturbance)
        };
        let ((), disturbance) = try_join(requests, disturbance).await?;
        let elapsed = began.elapsed();
        let counts = Counts::of(&self.ledger().samples()[first..]);
        Ok(Round { number, disturbance, leader, counts, elapsed })
    }

    /// Revives the node that was killed, and deletes the keys that may have been
    /// written.
    pub async fn restore(&mut self) -> Result<(), SuiteError> {
        self.shared.bar.finish_and_clear();
        let revived = self.chaos.revive().await;
        let (first, others) = self.shared.urls.split_first().expect("there is a node");
        let connection = Connection::new(first, self.plan.request_timeout);
        let mut connection = others.iter().fold(connection, |all, url| all.with_other(url));
        let keys = self.ledger().written().cloned().collect::<Vec<_>>();
        for key in keys {
            if let Err(error) = connection.delete(key.as_str()).await {
                log::warn!("{key} and the keys beside it are not deleted: {error}");
                break;
            }
        }
        revived.map(|_| ())
    }

    /// What was asked and seen.
    pub fn ledger(&self) -> Ref<'_, Ledger> {
        self.shared.ledger.borrow()
    }

    /// Judges the run.
    pub fn report(&self) -> SuiteReport {
        let ledger = self.ledger();
        let samples = ledger.samples();
        let all: Duration = samples.iter().map(|sample| sample.took).sum();
        SuiteReport {
            counts: Counts::of(samples),
            judgement: judge(ledger.histories(), self.plan.clients),
            total: self.total,
            average: all / u32::try_from(samples.len().max(1)).expect("the plan is bounded"),
            rounds: self.rounds.clone(),
            seed: self.plan.seed,
            last_error: ledger.last_error().map(str::to_owned),
        }
    }
}

/// The requests of all clients in one round. Fails when the nodes are gone.
async fn requests(
    clients: &mut [SuiteClient],
    plan: &SuitePlan,
    shared: &Shared,
) -> Result<(), SuiteError> {
    join_all(clients.iter_mut().map(|client| client.run(plan.workload, plan.requests))).await;
    match clients.iter().any(SuiteClient::is_alone) {
        true => Err(no_answer(shared)),
        false => Ok(()),
    }
}

fn no_answer(shared: &Shared) -> SuiteError {
    let ledger = shared.ledger.borrow();
    SuiteError::NoAnswer { error: ledger.last_error().unwrap_or("none").to_owned() }
}

/// On a terminal; nothing elsewhere.
fn progress_bar(requests: usize) -> ProgressBar {
    let style = "suite {bar:40} {pos}/{len} requests, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("a good template");
    ProgressBar::new(requests as u64).with_style(style)
}
