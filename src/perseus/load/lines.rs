//! The lines of the original programs, in their form.

use std::fmt::Write;
use std::str::FromStr;

use jiff::civil::DateTime;

use super::{Counts, LoadPlan};

/// What a run prints each second, and with that its workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Second, successful iterations of all nodes, then of each. Increments.
    Totals,
    /// Second, successful iterations of each node, errors of each node, date
    /// and time. Increments.
    Perseus,
    /// Second, then of each client `[attempts-reads-writes errors]`.
    /// Counters.
    Counters,
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format \"{0}\"; choose totals, perseus or counters")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Format, UnknownFormat> {
        match text {
            "totals" => Ok(Format::Totals),
            "perseus" => Ok(Format::Perseus),
            "counters" => Ok(Format::Counters),
            unknown => Err(UnknownFormat(unknown.to_owned())),
        }
    }
}

impl Format {
    /// What stands before the first line, each line with its end; may be
    /// empty.
    pub fn header(self, plan: &LoadPlan) -> String {
        match self {
            Format::Totals => String::new(),
            Format::Perseus => {
                let names = || plan.endpoints.iter().map(|endpoint| endpoint.name());
                let errors = names().map(|name| format!("{name}:err"));
                let columns: Vec<String> = names().map(str::to_owned).chain(errors).collect();
                format!("#legend: time|{}\n", columns.join("|"))
            }
            Format::Counters => {
                let (proposers, keys, clients) = (plan.endpoints.len(), plan.keys, plan.clients);
                let nothing = vec![Counts::default(); clients];
                let mut header =
                    format!("# proposers: {proposers}\n# keys: {keys}\n# clients: {clients}\n");
                header.push_str(&counters_line(0, &nothing));
                header
            }
        }
    }

    /// The line of one second, with its end. `now` is the local time.
    pub fn line(self, second: u64, rows: &[Counts], now: DateTime) -> String {
        match self {
            Format::Totals => totals_line(second, rows),
            Format::Perseus => perseus_line(second, rows, now),
            Format::Counters => counters_line(second, rows),
        }
    }
}

fn totals_line(second: u64, rows: &[Counts]) -> String {
    let all: u64 = rows.iter().map(|row| row.writes).sum();
    tab_separated(second, [all].into_iter().chain(rows.iter().map(|row| row.writes)))
}

fn perseus_line(second: u64, rows: &[Counts], now: DateTime) -> String {
    let successes = rows.iter().map(|row| row.writes);
    let errors = rows.iter().map(Counts::errors);
    let mut line = tab_separated(second, successes.chain(errors));
    line.pop();
    line.push_str(&now.strftime("\t%Y/%m/%d %H:%M:%S\n").to_string());
    line
}

fn counters_line(second: u64, rows: &[Counts]) -> String {
    tab_separated(
        second,
        rows.iter().map(|row| {
            let Counts { attempts, reads, writes, network_errors } = row;
            format!("[{attempts}-{reads}-{writes} {network_errors}]")
        }),
    )
}

fn tab_separated<T: std::fmt::Display>(second: u64, cells: impl Iterator<Item = T>) -> String {
    let mut line = second.to_string();
    for cell in cells {
        write!(line, "\t{cell}").expect("a string takes what is written");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(attempts: u64, reads: u64, writes: u64, network_errors: u64) -> Counts {
        Counts { attempts, reads, writes, network_errors }
    }

    #[test]
    fn lines_are_those_of_the_original_programs() {
        let now = jiff::civil::date(2018, 1, 16).at(9, 2, 41, 0);
        let rows = [counts(108, 108, 108, 0), counts(107, 107, 107, 0), counts(107, 107, 107, 0)];
        assert_eq!(Format::Totals.line(1, &rows, now), "1\t322\t108\t107\t107\n");
        let rows = [counts(128, 128, 128, 0), counts(176, 176, 175, 0), counts(166, 166, 166, 0)];
        assert_eq!(
            Format::Perseus.line(1, &rows, now),
            "1\t128\t175\t166\t0\t1\t0\t2018/01/16 09:02:41\n"
        );
        let rows = [counts(36, 23, 18, 0), counts(36, 18, 15, 0), counts(43, 24, 23, 2)];
        assert_eq!(
            Format::Counters.line(1, &rows, now),
            "1\t[36-23-18 0]\t[36-18-15 0]\t[43-24-23 2]\n"
        );
    }

    #[test]
    fn headers_are_those_of_the_original_programs() {
        let endpoints = ["n1=h:1", "n2=h:2", "n3=h:3"].map(|text| text.parse().unwrap());
        let plan = LoadPlan::new(endpoints.to_vec(), Box::new(std::io::sink()));
        assert_eq!(Format::Totals.header(&plan), "");
        assert_eq!(Format::Perseus.header(&plan), "#legend: time|n1|n2|n3|n1:err|n2:err|n3:err\n");
        assert_eq!(
            Format::Counters.header(&plan),
            "# proposers: 3\n# keys: 9\n# clients: 3\n0\t[0-0-0 0]\t[0-0-0 0]\t[0-0-0 0]\n"
        );
    }
}
