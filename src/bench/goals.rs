//! The goals: what each figure is divided by, and what the ratio is to be.

use super::Subject;
use super::numbers::short;
use super::table::{Metric, Table};

impl Table {
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
                    subject,
                    self.show(row.metric, subject),
                    goal.text(matches!(row.beside, Beside::Nothing)),
                ));
            }
        }
        lines.join("\n") + "\n"
    }
}

/// Increments a second of the original program on Redis with fsync always, as
/// it was measured on a machine of this kind.
const ORIGINAL_INCREMENTS: f64 = 1_300.0;

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
