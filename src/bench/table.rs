//! The figures of the table of goals: each work on each subject, in alternation.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use super::fill::fill;
use super::limits::Limits;
use super::numbers::{median, short};
use super::{BenchError, Load, Running, Shape, Subject, Work};
use crate::actors::LoadGenerator;
use crate::client::Endpoint;
use crate::perseus::load::LoadPlan;

/// How the table is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each work is done on each subject.
    pub rounds: usize,
    /// How long each work lasts.
    pub duration: Duration,
    /// What is measured.
    pub subjects: Vec<Subject>,
    /// How many keys there are when memory and start are measured; none: they
    /// are not.
    pub many_keys: u64,
    /// Where the clusters have their files.
    pub directory: PathBuf,
}

/// What a number says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Durable writes of one node, each second.
    Put,
    /// The time within which 99 of 100 of them were done, in ms.
    PutP99,
    /// Linearizable reads of one node, each second.
    Get,
    /// Reads of one node that may be old, each second.
    StaleGet,
    /// Writes spread over all nodes, each second.
    SpreadPut,
    /// The median time of a write over one connection, in ms.
    OnePutP50,
    /// Increments of 30 connections over all nodes, each second.
    Increments,
    /// Writes of 9 keys over all nodes, each second.
    HotPut,
    /// Those of them that failed.
    HotErrors,
    /// Memory of the largest node with many keys, in MiB.
    Memory,
    /// How much of it a key takes, in bytes.
    MemoryPerKey,
    /// How long nodes that were killed take until they serve many keys, in s.
    Start,
}

/// All figures of a run.
#[derive(Default, Debug, Serialize)]
pub struct Table(Vec<Cell>);

#[derive(Debug, Serialize)]
struct Cell {
    metric: Metric,
    subject: Subject,
    figures: Vec<f64>,
}

pub(super) const CONNECTIONS: usize = 64;
pub(super) const KEYS: u64 = 1_000;
const HOT_KEYS: u64 = 9;
pub(super) const VALUE_BYTES: usize = 100;
const PERSEUS_CONNECTIONS: usize = 10;

/// Measures everything.
pub async fn measure(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::default();
    let steps = options.rounds * options.subjects.len();
    let progress = ProgressBar::new(steps as u64).with_message("rounds");
    for _ in 0..options.rounds {
        for subject in &options.subjects {
            match subject {
                Subject::Limits => table.measure_limits(options).await?,
                subject => table.measure_round(*subject, options).await?,
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    if options.many_keys > 0 {
        for subject in &options.subjects {
            if matches!(subject, Subject::Caspaxos | Subject::Raft) {
                table.measure_many_keys(*subject, options).await?;
            }
        }
    }
    Ok(table)
}

impl Table {
    pub(super) fn note(&mut self, metric: Metric, subject: Subject, figure: f64) {
        let cell = self.0.iter_mut().find(|cell| (cell.metric, cell.subject) == (metric, subject));
        match cell {
            Some(cell) => cell.figures.push(figure),
            None => self.0.push(Cell { metric, subject, figures: vec![figure] }),
        }
    }

    async fn measure_limits(&mut self, options: &Options) -> Result<(), BenchError> {
        let limits = Limits::start()?;
        let urls = [limits.url.clone()];
        for (metric, work) in [(Metric::StaleGet, Work::Get), (Metric::Put, Work::Put)] {
            let load = load(work, &urls, options);
            let figure = load.run(Subject::Limits, &options.directory).await?;
            self.note(metric, Subject::Limits, figure.per_second());
        }
        limits.stop().await;
        Ok(())
    }

    async fn measure_round(
        &mut self,
        subject: Subject,
        options: &Options,
    ) -> Result<(), BenchError> {
        let directory = options.directory.join("cluster");
        let cluster = Running::start(subject, Shape::default(), &directory).await?;
        let leader = cluster.leader().await;
        let (one, all) = (&cluster.urls[leader..=leader], &cluster.urls[..]);
        let run = async |load: Load<'_>| load.run(subject, &directory).await;
        // A server that is warm, and every key there.
        run(load(Work::Put, one, options)).await?;
        if subject != Subject::CaspaxosOnRedis {
            if subject != Subject::EtcdV3 {
                let put = run(load(Work::Put, one, options)).await?;
                self.note(Metric::Put, subject, put.per_second());
                self.note(Metric::PutP99, subject, put.p99_us as f64 / 1e3);
                let spread = run(load(Work::Put, all, options)).await?;
                self.note(Metric::SpreadPut, subject, spread.per_second());
                let single = Load { connections: 1, ..load(Work::Put, one, options) };
                self.note(Metric::OnePutP50, subject, run(single).await?.p50_us as f64 / 1e3);
            }
            let get = run(load(Work::Get, one, options)).await?;
            self.note(Metric::Get, subject, get.per_second());
        }
        if subject == Subject::Raft {
            let stale = run(load(Work::StaleGet, one, options)).await?;
            self.note(Metric::StaleGet, subject, stale.per_second());
        }
        if matches!(subject, Subject::Raft | Subject::Caspaxos) {
            let hot = Load { keys: HOT_KEYS, ..load(Work::Put, all, options) };
            let hot = run(hot).await?;
            self.note(Metric::HotPut, subject, hot.per_second());
            self.note(Metric::HotErrors, subject, hot.errors as f64);
        }
        if subject != Subject::EtcdV3 {
            self.note(Metric::Increments, subject, increments(all, options).await);
        }
        Ok(())
    }

    async fn measure_many_keys(
        &mut self,
        subject: Subject,
        options: &Options,
    ) -> Result<(), BenchError> {
        let directory = options.directory.join("cluster");
        let mut cluster = Running::start(subject, Shape::default(), &directory).await?;
        let leader = cluster.leader().await;
        let one = cluster.urls[leader..=leader].to_vec();
        let before = largest(&cluster)?;
        fill(&one[0], 0..options.many_keys, VALUE_BYTES).await?;
        let after = largest(&cluster)?;
        self.note(Metric::Memory, subject, after / f64::from(1 << 20));
        let per_key = (after - before) / options.many_keys as f64;
        self.note(Metric::MemoryPerKey, subject, per_key);
        self.note(Metric::Start, subject, cluster.restart().await?.as_secs_f64());
        Ok(())
    }

    /// The median of a cell; of errors the most, which it would hide.
    pub(super) fn median(&self, metric: Metric, subject: Subject) -> Option<f64> {
        let figures = &self.cell(metric, subject)?.figures;
        match metric {
            Metric::HotErrors => figures.iter().copied().reduce(f64::max),
            _ => median(figures),
        }
    }

    fn cell(&self, metric: Metric, subject: Subject) -> Option<&Cell> {
        self.0.iter().find(|cell| (cell.metric, cell.subject) == (metric, subject))
    }

    /// The median, and what the figures lie between.
    pub(super) fn show(&self, metric: Metric, subject: Subject) -> String {
        let found = self.cell(metric, subject).zip(self.median(metric, subject));
        let Some((cell, median)) = found else {
            return "-".into();
        };
        let least = cell.figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = cell.figures.iter().copied().fold(0.0, f64::max);
        match cell.figures.len() {
            1 => short(median),
            _ => format!("{} ({} to {})", short(median), short(least), short(most)),
        }
    }
}

fn load<'a>(work: Work, urls: &'a [String], options: &Options) -> Load<'a> {
    Load {
        work,
        urls,
        connections: CONNECTIONS,
        keys: KEYS,
        value_bytes: VALUE_BYTES,
        duration: options.duration,
    }
}

fn largest(cluster: &Running) -> Result<f64, BenchError> {
    Ok(cluster.memory_bytes()?.into_iter().max().unwrap_or(0) as f64)
}

/// Increments a second, by the load generator of this package.
async fn increments(urls: &[String], options: &Options) -> f64 {
    let endpoints = urls
        .iter()
        .zip(1..)
        .map(|(url, number)| Endpoint::new(&format!("n{number}"), url).expect("they are plain"));
    let mut plan = LoadPlan::new(endpoints.collect(), Box::new(std::io::sink()));
    plan.connections = PERSEUS_CONNECTIONS;
    plan.duration = Some(options.duration);
    plan.quiet = true;
    let mut load = LoadGenerator::start_on(&actix::Arbiter::current(), plan);
    match load.report().await {
        Some(report) => report.iterations() as f64 / report.elapsed.as_secs_f64(),
        None => 0.0,
    }
}
