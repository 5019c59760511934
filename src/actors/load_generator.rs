//! Runs a load: its clients, its clock and its output.
//!
//! The clients are tasks of the actor's arbiter and share one tally with it.
//! Its mailbox holds nothing but [`Stop`], so no message delays a line.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures::channel::oneshot;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::JoinHandle;

use crate::client::{Connection, Endpoint};
use crate::perseus::load::counters::CounterClient;
use crate::perseus::load::{Format, LoadPlan, LoadReport, SharedTally, Tally, increments};

/// Runs a [`LoadPlan`], prints a line a second and, at the end, the summary.
pub struct LoadGenerator {
    plan: LoadPlan,
    started: Instant,
    /// The last second whose line was printed.
    second: u64,
    tally: SharedTally,
    clients: Vec<JoinHandle<()>>,
    output_error: Option<io::ErrorKind>,
    report: Option<oneshot::Sender<LoadReport>>,
}

/// Ends the run; the summary and the report follow.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Stop;

/// A run that was started. Dropping it ends the run.
#[derive(Debug)]
pub struct LoadHandle {
    address: Addr<LoadGenerator>,
    report: oneshot::Receiver<LoadReport>,
}

impl LoadHandle {
    /// Ends the run.
    pub fn stop(&self) {
        self.address.do_send(Stop);
    }

    /// Waits for the end of the run; `None` when its arbiter ended first. To
    /// be awaited to its end once.
    pub async fn report(&mut self) -> Option<LoadReport> {
        (&mut self.report).await.ok()
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LoadGenerator {
    /// Starts a run on this arbiter.
    pub fn start_on(arbiter: &ArbiterHandle, plan: LoadPlan) -> LoadHandle {
        let (sender, report) = oneshot::channel();
        let new = move |_: &mut Context<LoadGenerator>| LoadGenerator::new(plan, sender);
        LoadHandle { address: LoadGenerator::start_in_arbiter(arbiter, new), report }
    }

    fn new(plan: LoadPlan, report: oneshot::Sender<LoadReport>) -> LoadGenerator {
        let tally = Tally::new(plan.row_names());
        LoadGenerator {
            plan,
            started: Instant::now(),
            second: 0,
            tally: Rc::new(RefCell::new(tally)),
            clients: Vec::new(),
            output_error: None,
            report: Some(report),
        }
    }

    fn spawn_clients(&mut self) {
        self.clients = match self.plan.format {
            Format::Totals | Format::Perseus => self.spawn_increments(),
            Format::Counters => self.spawn_counters(),
        };
    }

    fn spawn_increments(&self) -> Vec<JoinHandle<()>> {
        let per_node = self.plan.connections;
        let client = |index: usize| {
            let row = index / per_node;
            let connection = self.connection(&self.plan.endpoints[row]);
            let key = increments::key_of(index);
            actix::spawn(increments::run(connection, key, self.tally.clone(), row))
        };
        (0..self.plan.endpoints.len() * per_node).map(client).collect()
    }

    fn spawn_counters(&self) -> Vec<JoinHandle<()>> {
        let client = |row: usize| {
            let endpoints = self.plan.endpoints.iter();
            let connections = endpoints.map(|endpoint| self.connection(endpoint)).collect();
            let rng = SmallRng::from_os_rng();
            let client = CounterClient::new(connections, self.plan.keys, rng);
            actix::spawn(client.run(self.tally.clone(), row))
        };
        (0..self.plan.clients).map(client).collect()
    }

    /// Without retries: what is counted are single requests, to one node.
    fn connection(&self, endpoint: &Endpoint) -> Connection {
        Connection::new(endpoint.url(), self.plan.request_timeout).with_retries(None)
    }

    /// Wakes at the next full second since the start, or at the end of the
    /// run. Counted from the start, so that delays do not add up.
    fn sleep(&mut self, ctx: &mut Context<Self>) {
        let next_second = Duration::from_secs(self.second + 1);
        let wake_after = self.plan.duration.unwrap_or(next_second).min(next_second);
        let pause = wake_after.saturating_sub(self.started.elapsed());
        ctx.run_later(pause, Self::wake);
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        if self.started.elapsed() >= Duration::from_secs(self.second + 1) {
            self.second += 1;
            self.print_second();
        }
        let next_second = Duration::from_secs(self.second + 1);
        let is_over = self
            .plan
            .duration
            .is_some_and(|duration| self.started.elapsed() >= duration && next_second > duration);
        if is_over || self.output_error.is_some() {
            ctx.stop();
        } else {
            self.sleep(ctx);
        }
    }

    fn print_second(&mut self) {
        let rows = self.tally.borrow_mut().take_second();
        if !self.plan.quiet {
            let now = jiff::Zoned::now().datetime();
            self.print(&self.plan.format.line(self.second, &rows, now));
        }
    }

    fn print(&mut self, text: &str) {
        let output = &mut self.plan.output;
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        if let Err(error) = written {
            self.output_error = Some(error.kind());
        }
    }
}

impl Actor for LoadGenerator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.plan.quiet {
            self.print(&self.plan.format.header(&self.plan));
        }
        self.started = Instant::now();
        self.spawn_clients();
        self.sleep(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        for client in &self.clients {
            client.abort();
        }
        let mut report = self.tally.borrow().report(self.started.elapsed());
        if self.output_error.is_none() {
            self.print(&report.summary(self.plan.format));
        }
        report.output_error = self.output_error;
        if let Some(sender) = self.report.take() {
            // Nobody waits for the report when the handle was dropped.
            let _ = sender.send(report);
        }
    }
}

impl Handler<Stop> for LoadGenerator {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
