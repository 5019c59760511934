//! The table of goals: each work on each subject, in alternation, and the
//! ratios of the medians.

use std::path::PathBuf;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use indicatif::ProgressBar;
use serde::Serialize;

use super::limits::Limits;
use super::{BenchError, Load, Running, Subject, Work};
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

const CONNECTIONS: usize = 64;
const KEYS: u64 = 1_000;
const HOT_KEYS: u64 = 9;
const VALUE_BYTES: usize = 100;
const PERSEUS_CONNECTIONS: usize = 10;
const NODES: u16 = 3;
/// Increments a second of the original program on Redis with fsync always, as
/// it was measured on a machine of this kind.
const ORIGINAL_INCREMENTS: f64 = 1_300.0;

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
    fn note(&mut self, metric: Metric, subject: Subject, figure: f64) {
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
        let cluster = Running::start(subject, NODES, &directory).await?;
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
        let mut cluster = Running::start(subject, NODES, &directory).await?;
        let leader = cluster.leader().await;
        let one = cluster.urls[leader..=leader].to_vec();
        let before = largest(&cluster)?;
        fill(&one[0], options.many_keys).await?;
        let after = largest(&cluster)?;
        self.note(Metric::Memory, subject, after / f64::from(1 << 20));
        let per_key = (after - before) / options.many_keys as f64;
        self.note(Metric::MemoryPerKey, subject, per_key);
        self.note(Metric::Start, subject, cluster.restart().await?.as_secs_f64());
        Ok(())
    }

    fn median(&self, metric: Metric, subject: Subject) -> Option<f64> {
        let cell = self.0.iter().find(|cell| (cell.metric, cell.subject) == (metric, subject))?;
        let mut figures = cell.figures.clone();
        figures.sort_unstable_by(f64::total_cmp);
        Some(figures[figures.len() / 2])
    }

    /// The median, and what the figures lie between.
    fn show(&self, metric: Metric, subject: Subject) -> String {
        let found = self.0.iter().find(|cell| (cell.metric, cell.subject) == (metric, subject));
        let (Some(cell), Some(median)) = (found, self.median(metric, subject)) else {
            return "-".into();
        };
        let least = cell.figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = cell.figures.iter().copied().fold(0.0, f64::max);
        match cell.figures.len() {
            1 => short(median),
            _ => format!("{} ({} to {})", short(median), short(least), short(most)),
        }
    }

    /// The rows of the goals, as a Markdown table.
    pub fn markdown(&self) -> String {
        let mut lines = vec![
            "| work | subject | median (least to most) | beside | ratio | goal | reached |"
                .to_owned(),
            "|---|---|---|---|---|---|---|".to_owned(),
        ];
        for row in ROWS {
            for subject in [Subject::Caspaxos, Subject::Raft, Subject::CaspaxosOnRedis] {
                let Some(goal) = (row.goals)(subject) else { continue };
                let Some(median) = self.median(row.metric, subject) else { continue };
                let (beside, ratio) = match row.beside {
                    Beside::Subject(metric, other) => match self.median(metric, other) {
                        Some(other_median) => {
                            (self.show(metric, other), Some(median / other_median))
                        }
                        None => ("-".into(), None),
                    },
                    Beside::Own(metric) => match self.median(metric, subject) {
                        Some(own) => (short(own), Some(median / own)),
                        None => ("-".into(), None),
                    },
                    Beside::Number(number) => (short(number), Some(median / number)),
                    Beside::Nothing => (String::new(), None),
                };
                let (what, reached) = match (row.beside, ratio) {
                    (Beside::Nothing, _) => (String::new(), Some(goal.is_met(median))),
                    (_, Some(ratio)) => (format!("{ratio:.2}x"), Some(goal.is_met(ratio))),
                    (_, None) => (String::new(), None),
                };
                let reached = reached.map_or("-", |is| if is { "yes" } else { "no" });
                lines.push(format!(
                    "| {} | {} | {} | {beside} | {what} | {} | {reached} |",
                    row.work,
                    name(subject),
                    self.show(row.metric, subject),
                    goal.text(matches!(row.beside, Beside::Nothing)),
                ));
            }
        }
        lines.join("\n") + "\n"
    }
}

/// A row of the table.
struct Row {
    work: &'static str,
    metric: Metric,
    beside: Beside,
    goals: fn(Subject) -> Option<Goal>,
}

/// What a figure is divided by.
#[derive(Clone, Copy)]
enum Beside {
    /// A figure of another subject.
    Subject(Metric, Subject),
    /// Another figure of the same subject.
    Own(Metric),
    /// A number that was read elsewhere.
    Number(f64),
    /// Nothing: the figure itself has a goal.
    Nothing,
}

#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Goal::AtLeast(least) => figure >= least,
            Goal::AtMost(most) => figure <= most,
        }
    }

    fn text(self, is_absolute: bool) -> String {
        let unit = if is_absolute { "" } else { "x" };
        match self {
            Goal::AtLeast(least) => format!(">= {least}{unit}"),
            Goal::AtMost(most) => format!("<= {most}{unit}"),
        }
    }
}

const fn both(subject: Subject, goal: Goal) -> Option<Goal> {
    match subject {
        Subject::Caspaxos | Subject::Raft => Some(goal),
        Subject::CaspaxosOnRedis | Subject::EtcdV2 | Subject::EtcdV3 | Subject::Limits => None,
    }
}

const ROWS: &[Row] = &[
    Row {
        work: "PUT/s, 64 connections, one node; beside etcd v2",
        metric: Metric::Put,
        beside: Beside::Subject(Metric::Put, Subject::EtcdV2),
        goals: |subject| both(subject, Goal::AtLeast(3.0)),
    },
    Row {
        work: "its p99, ms; beside etcd v2",
        metric: Metric::PutP99,
        beside: Beside::Subject(Metric::PutP99, Subject::EtcdV2),
        goals: |subject| both(subject, Goal::AtMost(0.5)),
    },
    Row {
        work: "linearizable GET/s; beside etcd v3 range",
        metric: Metric::Get,
        beside: Beside::Subject(Metric::Get, Subject::EtcdV3),
        goals: |subject| both(subject, Goal::AtLeast(5.0)),
    },
    Row {
        work: "stale GET/s; beside the bare HTTP library",
        metric: Metric::StaleGet,
        beside: Beside::Subject(Metric::StaleGet, Subject::Limits),
        goals: |subject| (subject == Subject::Raft).then_some(Goal::AtLeast(0.8)),
    },
    Row {
        work: "PUT/s over all three nodes; beside one node",
        metric: Metric::SpreadPut,
        beside: Beside::Own(Metric::Put),
        goals: |subject| {
            both(subject, Goal::AtLeast(if subject == Subject::Raft { 0.8 } else { 0.9 }))
        },
    },
    Row {
        work: "PUT p50 over one connection, ms; beside etcd v2",
        metric: Metric::OnePutP50,
        beside: Beside::Subject(Metric::OnePutP50, Subject::EtcdV2),
        goals: |subject| both(subject, Goal::AtMost(1.0)),
    },
    Row {
        work: "increments/s, 30 connections, three nodes; beside etcd v2",
        metric: Metric::Increments,
        beside: Beside::Subject(Metric::Increments, Subject::EtcdV2),
        goals: |subject| both(subject, Goal::AtLeast(3.0)),
    },
    Row {
        work: "the same; beside the original on Redis (1,300/s, read elsewhere)",
        metric: Metric::Increments,
        beside: Beside::Number(ORIGINAL_INCREMENTS),
        goals: |subject| match subject {
            Subject::Caspaxos => Some(Goal::AtLeast(15.0)),
            Subject::CaspaxosOnRedis => Some(Goal::AtLeast(5.0)),
            Subject::Raft | Subject::EtcdV2 | Subject::EtcdV3 | Subject::Limits => None,
        },
    },
    Row {
        work: "PUT/s of 9 keys over all three nodes; beside 1,000 keys",
        metric: Metric::HotPut,
        beside: Beside::Own(Metric::SpreadPut),
        goals: |subject| both(subject, Goal::AtLeast(0.5)),
    },
    Row {
        work: "failed requests of that",
        metric: Metric::HotErrors,
        beside: Beside::Nothing,
        goals: |subject| both(subject, Goal::AtMost(0.0)),
    },
    Row {
        work: "MiB of a node with 1,000,000 keys",
        metric: Metric::Memory,
        beside: Beside::Nothing,
        goals: |subject| both(subject, Goal::AtMost(400.0)),
    },
    Row {
        work: "seconds to serve them after a kill",
        metric: Metric::Start,
        beside: Beside::Nothing,
        goals: |subject| both(subject, Goal::AtMost(2.0)),
    },
];

fn name(subject: Subject) -> &'static str {
    match subject {
        Subject::Caspaxos => "CASPaxos",
        Subject::Raft => "Raft",
        Subject::CaspaxosOnRedis => "CASPaxos on Redis",
        Subject::EtcdV2 => "etcd v2",
        Subject::EtcdV3 => "etcd v3",
        Subject::Limits => "bare HTTP",
    }
}

/// A number with as many digits as say something.
fn short(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        small if small.abs() < 10.0 => format!("{small:.2}"),
        medium if medium.abs() < 1000.0 => format!("{medium:.1}"),
        large => {
            let digits = format!("{large:.0}");
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .filter_map(|group| std::str::from_utf8(group).ok())
                .collect();
            groups.join(",")
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

/// Writes each of so many keys once.
async fn fill(url: &str, keys: u64) -> Result<(), BenchError> {
    let client = awc::Client::builder().timeout(Duration::from_secs(10)).finish();
    let progress = ProgressBar::new(keys).with_message("keys");
    let put = |key: u64| {
        let request = client.put(format!("{url}/k{key}")).send_body(vec![b'v'; VALUE_BYTES]);
        let progress = &progress;
        async move {
            progress.inc(1);
            request.await.is_ok_and(|answer| answer.status().is_success())
        }
    };
    let puts = stream::iter((0..keys).map(put)).buffer_unordered(CONNECTIONS);
    let failed = puts.filter(|is_done| std::future::ready(!is_done)).count().await;
    progress.finish_and_clear();
    match failed {
        0 => Ok(()),
        _ => Err(BenchError::NotFilled { failed, url: url.to_owned() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratio_of_medians() {
        let mut table = Table::default();
        for figure in [30_000.0, 10.0, 40_000.0] {
            table.note(Metric::Put, Subject::Raft, figure);
        }
        table.note(Metric::Put, Subject::EtcdV2, 10_000.0);
        let row = "| PUT/s, 64 connections, one node; beside etcd v2 | Raft | 30,000 (10.0 to \
                   40,000) | 10,000 | 3.00x | >= 3x | yes |";
        assert!(table.markdown().contains(row), "{}", table.markdown());
    }
}
