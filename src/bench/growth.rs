//! How the cost of a write grows: with the connections, the keys, the size of
//! the values and the nodes; one of them at a time, the others as in the table.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::fill::fill;
use super::numbers::{median, short};
use super::picture::{self, Panel};
use super::table::{CONNECTIONS, KEYS, VALUE_BYTES};
use super::{BenchError, Figure, Load, Running, Shape, Subject, Work};

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// How many connections write, one request at a time each.
    Connections,
    /// How many keys there are; all are there before it is measured.
    Keys,
    /// The size of a value, in bytes.
    ValueBytes,
    /// How many nodes the cluster has.
    Nodes,
    /// How many event loops of a node share the keys; on CASPaxos alone.
    Shards,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Dimension; 5] = [
        Dimension::Connections,
        Dimension::Keys,
        Dimension::ValueBytes,
        Dimension::Nodes,
        Dimension::Shards,
    ];

    /// On what it is measured.
    fn subjects(self) -> &'static [Subject] {
        match self {
            Dimension::Shards => &SUBJECTS[..1],
            Dimension::Connections | Dimension::Keys | Dimension::ValueBytes | Dimension::Nodes => {
                &SUBJECTS
            }
        }
    }

    /// Whether each of its points needs a cluster of its own.
    fn is_of_the_cluster(self) -> bool {
        matches!(self, Dimension::Nodes | Dimension::Shards)
    }

    /// Where it is measured.
    fn points(self) -> &'static [u64] {
        match self {
            Dimension::Connections => &[1, 8, 64, 256, 1_024],
            Dimension::Keys => &[1_000, 100_000, 1_000_000],
            Dimension::ValueBytes => &[100, 1_024, 65_536],
            Dimension::Nodes => &[3, 5, 7],
            Dimension::Shards => &[1, 2],
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dimension::Connections => "connections",
            Dimension::Keys => "keys",
            Dimension::ValueBytes => "bytes of a value",
            Dimension::Nodes => "nodes",
            Dimension::Shards => "shards",
        })
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

/// How growth is measured.
#[derive(Clone, Debug)]
pub struct GrowthOptions {
    /// How often each point is measured on each subject.
    pub rounds: usize,
    /// How long a point is measured.
    pub duration: Duration,
    /// What grows.
    pub dimensions: Vec<Dimension>,
    /// Where the clusters have their files.
    pub directory: PathBuf,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Growth {
    points: Vec<Point>,
    broken_off: Vec<BrokenOff>,
}

/// Why the rest of a curve is missing.
#[derive(Debug, Serialize, Deserialize)]
struct BrokenOff {
    dimension: Dimension,
    subject: Subject,
    why: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Point {
    dimension: Dimension,
    at: u64,
    subject: Subject,
    figures: Vec<Figure>,
}

const SUBJECTS: [Subject; 3] = [Subject::Caspaxos, Subject::Raft, Subject::EtcdV2];

/// Measures durable writes of one node along each dimension. A curve that breaks
/// off leaves the others alone: each is minutes of work.
pub async fn measure_growth(options: &GrowthOptions) -> Growth {
    let mut growth = Growth::default();
    let curves: usize = options.dimensions.iter().map(|each| each.subjects().len()).sum();
    let steps = options.rounds * curves;
    let progress = ProgressBar::new(steps as u64).with_message("curves");
    for _ in 0..options.rounds {
        for dimension in &options.dimensions {
            for &subject in dimension.subjects() {
                if let Err(error) = growth.measure(*dimension, subject, options, &progress).await {
                    progress.suspend(|| log::error!("{subject} by {dimension}: {error}"));
                    let (dimension, why) = (*dimension, error.to_string());
                    growth.broken_off.push(BrokenOff { dimension, subject, why });
                }
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    growth
}

impl Growth {
    async fn measure(
        &mut self,
        dimension: Dimension,
        subject: Subject,
        options: &GrowthOptions,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        let directory = options.directory.join("cluster");
        let mut cluster = None;
        let mut filled = 0;
        for &at in dimension.points() {
            let mut shape = Shape::default();
            match dimension {
                Dimension::Nodes => shape.nodes = at as u16,
                Dimension::Shards => shape.shards = at as u16,
                Dimension::Connections | Dimension::Keys | Dimension::ValueBytes => {}
            }
            // A cluster serves all points of a curve, but those of its own size.
            let cluster = match &mut cluster {
                Some(running) if !dimension.is_of_the_cluster() => running,
                each => {
                    *each = None;
                    each.insert(Running::start(subject, shape, &directory).await?)
                }
            };
            let leader = cluster.leader().await;
            let mut load = Load {
                work: Work::Put,
                urls: &cluster.urls[leader..=leader],
                connections: CONNECTIONS,
                keys: KEYS,
                value_bytes: VALUE_BYTES,
                duration: options.duration,
            };
            match dimension {
                Dimension::Connections => load.connections = at as usize,
                Dimension::Keys => {
                    fill(&load.urls[0], filled..at, VALUE_BYTES).await?;
                    (filled, load.keys) = (at, at);
                }
                Dimension::ValueBytes => load.value_bytes = at as usize,
                Dimension::Nodes | Dimension::Shards => {}
            }
            // A server that is warm, and values of that size.
            let warm_up = Load { duration: Duration::from_secs(1), ..load.clone() };
            match warm_up.run(subject, &directory).await {
                // That second may go to an election.
                Ok(_) | Err(BenchError::NoSuccess(_)) => {}
                Err(error) => return Err(error),
            }
            let figure = load.run(subject, &directory).await?;
            let per_second = short(figure.per_second());
            progress.suspend(|| log::info!("{subject}, {at} {dimension}: {per_second} PUT/s"));
            self.note(dimension, at, subject, figure);
        }
        Ok(())
    }

    fn note(&mut self, dimension: Dimension, at: u64, subject: Subject, figure: Figure) {
        let is_it = |point: &&mut Point| {
            (point.dimension, point.at, point.subject) == (dimension, at, subject)
        };
        match self.points.iter_mut().find(is_it) {
            Some(point) => point.figures.push(figure),
            None => self.points.push(Point { dimension, at, subject, figures: vec![figure] }),
        }
    }

    fn point(&self, dimension: Dimension, at: u64, subject: Subject) -> Option<&Point> {
        let is_it =
            |point: &&Point| (point.dimension, point.at, point.subject) == (dimension, at, subject);
        self.points.iter().find(is_it)
    }

    fn median(
        &self,
        dimension: Dimension,
        at: u64,
        subject: Subject,
        what: impl Fn(&Figure) -> f64,
    ) -> Option<f64> {
        let point = self.point(dimension, at, subject)?;
        median(&point.figures.iter().map(what).collect::<Vec<f64>>())
    }

    /// Of all rounds: a median would hide those of one.
    fn most_errors(&self, dimension: Dimension, at: u64, subject: Subject) -> Option<u64> {
        self.point(dimension, at, subject)?.figures.iter().map(|figure| figure.errors).max()
    }

    /// A Markdown table for each dimension.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for dimension in self.dimensions() {
            let subjects = dimension.subjects();
            let head = |subject: &Subject| format!(" {subject} PUT/s | p99 ms | errors |");
            text += &format!("| {dimension} |{}\n", subjects.iter().map(head).collect::<String>());
            text += &format!("|---|{}\n", "---|".repeat(3 * subjects.len()));
            for &at in dimension.points() {
                text += &format!("| {at} |");
                for &subject in subjects {
                    let show = |what: fn(&Figure) -> f64| {
                        self.median(dimension, at, subject, what).map_or("-".into(), short)
                    };
                    let per_second = show(Figure::per_second);
                    let p99 = show(|figure| figure.p99_us as f64 / 1e3);
                    let errors = self.most_errors(dimension, at, subject);
                    let errors = errors.map_or("-".into(), |errors| errors.to_string());
                    text += &format!(" {per_second} | {p99} | {errors} |");
                }
                text += "\n";
            }
            text += "\n";
        }
        for BrokenOff { dimension, subject, why } in &self.broken_off {
            text += &format!("{subject} by {dimension} broke off: {why}\n\n");
        }
        text
    }

    /// An error when there are holes in it.
    pub fn check(&self) -> Result<(), BenchError> {
        match self.broken_off.len() {
            0 => Ok(()),
            curves => Err(BenchError::BrokenOff(curves)),
        }
    }

    /// The same as a picture, in SVG.
    pub fn svg(&self) -> Result<String, BenchError> {
        let curve = |dimension: Dimension, subject: Subject| {
            let at = |&at: &u64| self.median(dimension, at, subject, Figure::per_second);
            (subject.to_string(), dimension.points().iter().map(at).collect())
        };
        let panel = |dimension: Dimension| Panel {
            title: format!("PUT/s by {dimension}"),
            ticks: dimension.points().iter().map(u64::to_string).collect(),
            curves: dimension.subjects().iter().map(|subject| curve(dimension, *subject)).collect(),
        };
        picture::draw(&self.dimensions().map(panel).collect::<Vec<Panel>>())
            .map_err(|error| BenchError::Picture(error.to_string()))
    }

    fn dimensions(&self) -> impl Iterator<Item = Dimension> {
        let is_there =
            |dimension: &Dimension| self.points.iter().any(|point| point.dimension == *dimension);
        Dimension::ALL.into_iter().filter(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dimension_has_a_table_and_a_panel() {
        let mut growth = Growth::default();
        for (at, requests) in [(3, 1_000), (3, 3_000), (3, 2_000), (5, 500)] {
            let figure = Figure {
                requests,
                duration_us: 1_000_000,
                p50_us: 1,
                p99_us: 1_500,
                p999_us: 1,
                errors: 0,
            };
            growth.note(Dimension::Nodes, at, Subject::Raft, figure);
        }
        let table = growth.markdown();
        assert!(table.contains("| 3 | - | - | - | 2,000 | 1.50 | 0 | - | - | - |"), "{table}");
        assert!(!table.contains("connections"), "{table}");
        assert!(growth.check().is_ok());
        let (dimension, subject) = (Dimension::Nodes, Subject::EtcdV2);
        growth.broken_off.push(BrokenOff { dimension, subject, why: "no disk".into() });
        assert!(growth.markdown().ends_with("etcd v2 by nodes broke off: no disk\n\n"));
        assert!(growth.check().is_err());
        let svg = growth.svg().unwrap();
        for text in ["PUT/s by nodes", "Raft", "3", "5", "7", "2,000"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} is not in: {svg}");
        }
        assert!(!svg.contains("connections"), "{svg}");
    }
}
