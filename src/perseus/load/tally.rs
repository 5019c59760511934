//! Counts and latencies, a row for each node or client.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Failure, FailureLabel, Iteration, Latency, LoadReport, RowReport, Step, Success};

/// A tally that the clients of one thread share.
pub type SharedTally = Rc<RefCell<Tally>>;

/// The longest latency that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 10 * 60 * 1_000_000;
/// Significant decimal digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// What happened to iterations. All four numbers of an iteration are counted
/// when it ends, so without failures the first three are equal at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Iterations that ended: each tried to read.
    pub attempts: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were answered, so successful iterations.
    pub writes: u64,
    /// Iterations that ended because the network failed.
    pub network_errors: u64,
}

impl Counts {
    /// Iterations that failed, for whatever reason.
    pub fn errors(&self) -> u64 {
        self.attempts - self.writes
    }

    fn add(&mut self, iteration: &Iteration) {
        self.attempts += 1;
        match iteration {
            Ok(_) => {
                self.reads += 1;
                self.writes += 1;
            }
            Err(failure) => {
                self.reads += u64::from(failure.step == Step::Write);
                self.network_errors += u64::from(failure.is_network());
            }
        }
    }
}

/// Counts and latencies, a row for each node or client.
#[derive(Debug)]
pub struct Tally {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    this_second: Counts,
    total: Counts,
    lost_races: u64,
    unknown: u64,
    failures: BTreeMap<FailureLabel, u64>,
    last_failure: Option<Failure>,
    latency_us: Histogram<u64>,
}

impl Tally {
    /// Empty rows with these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Tally {
        Tally { rows: names.into_iter().map(Row::new).collect() }
    }

    /// Counts an iteration that has just ended.
    pub fn record(&mut self, row: usize, iteration: &Iteration, latency: Duration) {
        self.rows[row].record(iteration, latency);
    }

    /// The counts of each row since the last call.
    pub fn take_second(&mut self) -> Vec<Counts> {
        self.rows.iter_mut().map(|row| mem::take(&mut row.this_second)).collect()
    }

    /// All that was counted, in a run of this length.
    pub fn report(&self, elapsed: Duration) -> LoadReport {
        let rows = self.rows.iter().map(Row::report).collect();
        LoadReport { elapsed, rows, output_error: None }
    }
}

impl Row {
    fn new(name: String) -> Row {
        Row {
            name,
            this_second: Counts::default(),
            total: Counts::default(),
            lost_races: 0,
            unknown: 0,
            failures: BTreeMap::new(),
            last_failure: None,
            latency_us: Histogram::new_with_max(LONGEST_US, LATENCY_DIGITS)
                .expect("the bounds are constants that fit"),
        }
    }

    fn record(&mut self, iteration: &Iteration, latency: Duration) {
        self.this_second.add(iteration);
        self.total.add(iteration);
        match iteration {
            Ok(success) => {
                self.lost_races += u64::from(*success == Success::LostRace);
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.latency_us.saturating_record(micros);
            }
            Err(failure) => {
                *self.failures.entry(failure.label()).or_default() += 1;
                self.unknown += u64::from(failure.is_unknown());
                self.last_failure = Some(failure.clone());
            }
        }
    }

    fn report(&self) -> RowReport {
        let quantile = |q| Duration::from_micros(self.latency_us.value_at_quantile(q));
        RowReport {
            name: self.name.clone(),
            counts: self.total,
            lost_races: self.lost_races,
            unknown: self.unknown,
            failures: self.failures.clone(),
            last_failure: self.last_failure.clone(),
            latency: (!self.latency_us.is_empty()).then(|| Latency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: Duration::from_micros(self.latency_us.max()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::{ClientError, ErrorKind};

    use super::*;

    fn failure(step: Step, kind: ErrorKind) -> Iteration {
        let mutation = step == Step::Write;
        let error = ClientError { endpoint: "http://n1:1".to_owned(), kind, mutation };
        Err(step.failed()(error))
    }

    #[test]
    fn every_end_of_an_iteration_is_counted() {
        let status = ErrorKind::Status {
            status: 503,
            outcome: None,
            error_code: None,
            message: String::new(),
        };
        let iterations = [
            Ok(Success::Wrote),
            Ok(Success::LostRace),
            failure(Step::Read, ErrorKind::Connect("refused".to_owned())),
            failure(Step::Read, ErrorKind::Closed("reset".to_owned())),
            failure(Step::Write, ErrorKind::Timeout(Duration::from_secs(1))),
            failure(Step::Write, status),
        ];
        let mut tally = Tally::new(["n1".to_owned(), "n2".to_owned()]);
        for iteration in &iterations {
            tally.record(0, iteration, Duration::from_millis(3));
        }
        let counts = Counts { attempts: 6, reads: 4, writes: 2, network_errors: 3 };
        assert_eq!(tally.take_second(), [counts, Counts::default()]);
        assert_eq!(tally.take_second(), [Counts::default(); 2]);

        let report = tally.report(Duration::from_secs(1));
        let row = &report.rows[0];
        assert_eq!((row.counts, row.counts.errors()), (counts, 4));
        assert_eq!((row.lost_races, row.unknown), (1, 2));
        let failures = [
            (FailureLabel::Connect, 1),
            (FailureLabel::Closed, 1),
            (FailureLabel::Timeout, 1),
            (FailureLabel::Status(503), 1),
        ];
        assert_eq!(row.failures, BTreeMap::from(failures));
        let p50_us = row.latency.unwrap().p50.as_micros();
        assert!((2_990..=3_010).contains(&p50_us), "{p50_us}");
        assert_eq!(report.rows[1].latency, None);
    }
}
