//! What remains of a run: numbers, and the summary that people read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::{Counts, Failure, FailureLabel, Format};

/// What a run has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// How long it ran.
    pub elapsed: Duration,
    /// A row for each node (increments) or client (counters).
    pub rows: Vec<RowReport>,
    /// Why the run ended early: its output could not be written. A closed
    /// pipe is [`io::ErrorKind::BrokenPipe`].
    pub output_error: Option<io::ErrorKind>,
}

/// The counts of one node or client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowReport {
    /// The node or client.
    pub name: String,
    /// Attempts, reads, writes and network errors.
    pub counts: Counts,
    /// Writes that were answered with "another was faster".
    pub lost_races: u64,
    /// Failed writes that may have taken effect.
    pub unknown: u64,
    /// Failed iterations by kind.
    pub failures: BTreeMap<FailureLabel, u64>,
    /// The last of them.
    pub last_failure: Option<Failure>,
    /// How long successful iterations took; `None` when there was none.
    pub latency: Option<Latency>,
}

/// How long successful iterations, a read and a write, took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: Duration,
    /// 99 of 100 were as fast.
    pub p99: Duration,
    /// 999 of 1000 were as fast.
    pub p999: Duration,
    /// The slowest.
    pub max: Duration,
}

impl LoadReport {
    /// Successful iterations of all rows.
    pub fn iterations(&self) -> u64 {
        self.rows.iter().map(|row| row.counts.writes).sum()
    }

    /// The summary: lines that start with `#`, with their ends.
    pub fn summary(&self, format: Format) -> String {
        let mut table = vec![self.columns(format)];
        table.extend(self.rows.iter().map(|row| self.cells(row, format)));
        let mut summary = format!("# {}\n", self.headline());
        for line in aligned(&table) {
            summary.push_str(&format!("# {line}\n"));
        }
        for row in &self.rows {
            if let Some(failure) = &row.last_failure {
                summary.push_str(&format!("# {}: last error: {failure}\n", row.name));
            }
        }
        summary
    }

    fn headline(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let iterations = self.iterations();
        let rate = if seconds > 0.0 { iterations as f64 / seconds } else { 0.0 };
        let errors: u64 = self.rows.iter().map(|row| row.counts.errors()).sum();
        let unknown: u64 = self.rows.iter().map(|row| row.unknown).sum();
        format!(
            "{seconds:.1} s, {iterations} iterations ({rate:.1}/s), {errors} errors, \
             {unknown} writes of unknown outcome"
        )
    }

    /// The kinds of failure that occurred, each a column.
    fn labels(&self) -> BTreeSet<FailureLabel> {
        self.rows.iter().flat_map(|row| row.failures.keys().copied()).collect()
    }

    fn columns(&self, format: Format) -> Vec<String> {
        let (name, of_format): (_, &[&str]) = match format {
            Format::Totals | Format::Perseus => ("node", &[]),
            Format::Counters => ("client", &["lost races", "failed reads", "failed writes"]),
        };
        let of_latency = ["p50 ms", "p99 ms", "p99.9 ms", "max ms"];
        let mut columns = vec![name.to_owned(), "iterations".to_owned()];
        columns.extend(of_format.iter().map(|column| (*column).to_owned()));
        columns.push("errors".to_owned());
        columns.extend(self.labels().iter().map(FailureLabel::to_string));
        columns.push("unknown".to_owned());
        columns.extend(of_latency.map(str::to_owned));
        columns
    }

    fn cells(&self, row: &RowReport, format: Format) -> Vec<String> {
        let Counts { attempts, reads, writes, .. } = row.counts;
        let mut numbers = vec![writes];
        match format {
            Format::Totals | Format::Perseus => {}
            Format::Counters => numbers.extend([row.lost_races, attempts - reads, reads - writes]),
        }
        numbers.push(row.counts.errors());
        let of_label = |label| row.failures.get(label).copied().unwrap_or(0);
        numbers.extend(self.labels().iter().map(of_label));
        numbers.push(row.unknown);
        let mut cells = vec![row.name.clone()];
        cells.extend(numbers.iter().map(u64::to_string));
        cells.extend(match row.latency {
            Some(Latency { p50, p99, p999, max }) => [p50, p99, p999, max].map(milliseconds),
            None => [(); 4].map(|()| "-".to_owned()),
        });
        cells
    }
}

fn milliseconds(latency: Duration) -> String {
    format!("{:.2}", latency.as_secs_f64() * 1000.0)
}

/// The lines of a table: the first column to the left, the others to the
/// right.
fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..table[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        line
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use crate::perseus::load::{Cause, Step, Success, Tally};

    use super::*;

    fn report() -> LoadReport {
        let conflict = Cause::Conflict { key: "key1".to_owned() };
        let mut tally = Tally::new(["n1".to_owned(), "north".to_owned()]);
        tally.record(0, &Ok(Success::Wrote), Duration::from_millis(2));
        tally.record(0, &Ok(Success::LostRace), Duration::from_millis(2));
        let failure = Failure { step: Step::Write, cause: conflict };
        tally.record(0, &Err(failure), Duration::from_millis(2));
        tally.report(Duration::from_secs(4))
    }

    #[test]
    fn the_summary_of_nodes_is_a_table() {
        assert_eq!(
            report().summary(Format::Totals),
            "\
# 4.0 s, 2 iterations (0.5/s), 1 errors, 0 writes of unknown outcome
# node   iterations  errors  conflict  unknown  p50 ms  p99 ms  p99.9 ms  max ms
# n1              2       1         1        0    2.00    2.00      2.00    2.00
# north           0       0         0        0       -       -         -       -
# n1: last error: write: key1 was changed by someone else
"
        );
    }

    #[test]
    fn the_summary_of_clients_tells_reads_from_writes() {
        let summary = report().summary(Format::Counters);
        let lines: Vec<&str> = summary.lines().collect();
        assert!(
            lines[1].starts_with(
                "# client  iterations  lost races  failed reads  failed writes  errors"
            ),
            "{summary}"
        );
        let cells: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(cells[1..7], ["n1", "2", "1", "0", "1", "1"]);
    }
}
