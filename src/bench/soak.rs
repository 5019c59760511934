//! Full load for long: whether the throughput holds, and whether memory and disk
//! stay bounded.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use super::fill::fill;
use super::numbers::short;
use super::table::{CONNECTIONS, VALUE_BYTES};
use super::{BenchError, Figure, Load, Running, Shape, Subject, Work};

/// How long, and what.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// What is loaded.
    pub subject: Subject,
    /// How many windows there are.
    pub windows: u32,
    /// How long one is.
    pub window: Duration,
    /// How many keys are written; all are there before the first window.
    pub keys: u64,
    /// Where the cluster has its files.
    pub directory: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Soak {
    subject: Subject,
    windows: Vec<Window>,
}

#[derive(Debug, Serialize)]
struct Window {
    figure: Figure,
    /// Of the largest node at the end of the window.
    memory_bytes: u64,
    /// Of all nodes, the most that was seen in the window.
    disk_bytes: u64,
}

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Puts durable writes on one node without a pause.
pub async fn soak(options: &SoakOptions) -> Result<Soak, BenchError> {
    let subject = options.subject;
    let directory = options.directory.join("cluster");
    let cluster = Running::start(subject, Shape::default(), &directory).await?;
    let leader = cluster.leader().await;
    let load = Load {
        work: Work::Put,
        urls: &cluster.urls[leader..=leader],
        connections: CONNECTIONS,
        keys: options.keys,
        value_bytes: VALUE_BYTES,
        duration: options.window,
    };
    fill(&load.urls[0], 0..options.keys, VALUE_BYTES).await?;
    let progress = ProgressBar::new(options.windows.into()).with_message("windows");
    let mut windows = Vec::new();
    for _ in 0..options.windows {
        let mut disk_bytes = 0;
        let figure = tokio::select! {
            figure = load.run(subject, &directory) => figure?,
            never = look_at_disk(&cluster, &mut disk_bytes) => match never {},
        };
        let memory_bytes = cluster.memory_bytes()?.into_iter().max().unwrap_or(0);
        windows.push(Window { figure, memory_bytes, disk_bytes });
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(Soak { subject, windows })
}

async fn look_at_disk(cluster: &Running, most: &mut u64) -> Infallible {
    loop {
        *most = cluster.disk_bytes().max(*most);
        tokio::time::sleep(LOOK).await;
    }
}

impl Soak {
    /// A Markdown table with a row for each window, and how the last compares
    /// with the second.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}:\n\n| window | PUT/s | p50 ms | p99 ms | p99.9 ms | errors | MiB of the \
             largest node | MiB on disk, all nodes |\n|{}\n",
            self.subject,
            "---|".repeat(8),
        );
        for (number, window) in (1..).zip(&self.windows) {
            let Window { figure, memory_bytes, disk_bytes } = window;
            let milliseconds = |us: u64| short(us as f64 / 1e3);
            let mib = |bytes: u64| short(bytes as f64 / f64::from(1 << 20));
            text += &format!(
                "| {number} | {} | {} | {} | {} | {} | {} | {} |\n",
                short(figure.per_second()),
                milliseconds(figure.p50_us),
                milliseconds(figure.p99_us),
                milliseconds(figure.p999_us),
                figure.errors,
                mib(*memory_bytes),
                mib(*disk_bytes),
            );
        }
        if let (Some(second), Some(last)) = (self.windows.get(1), self.windows.last()) {
            let ratio = |what: fn(&Window) -> f64| what(last) / what(second);
            text += &format!(
                "\nThe last window beside the second: {:.2}x PUT/s, {:.2}x memory, {:.2}x disk.\n",
                ratio(|window| window.figure.per_second()),
                ratio(|window| window.memory_bytes as f64),
                ratio(|window| window.disk_bytes as f64),
            );
        }
        text
    }
}
