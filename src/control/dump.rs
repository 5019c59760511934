//! Shows every proposer's configuration and how every acceptor stands.

use std::str::FromStr;

use futures::future::join_all;
use serde_json::{Value, json};

use super::operate::{at, is_unknown_place};
use super::output::say;
use super::plan::{Lists, listed};
use super::survey::Survey;
use super::{Control, ControlError};
use crate::caspaxos::{AcceptorId, Epoch};

/// How things are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format \"{0}\"; choose table or json")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Format, UnknownFormat> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            unknown => Err(UnknownFormat(unknown.to_owned())),
        }
    }
}

impl Control {
    /// Shows all of it. Whoever does not answer is shown as that.
    pub async fn dump(&self, format: Format) -> Result<(), ControlError> {
        let survey = Survey::of(self.proposers()).await;
        let acceptors = self.acceptors(&survey).await;
        match format {
            Format::Json => {
                let shown = json!({ "proposers": self.as_json(&survey), "acceptors": acceptors });
                say(&serde_json::to_string_pretty(&shown).expect("it can be written"));
            }
            Format::Table => {
                let tables = [self.proposer_table(&survey), acceptor_table(&acceptors)];
                tables.iter().flat_map(|table| aligned(table)).for_each(|line| say(&line));
            }
        }
        match survey.newest() {
            Some(_) => Ok(()),
            None => Err(ControlError::NotNow("no proposer answers; start one".into())),
        }
    }

    /// Every acceptor of the file or of the newest lists, as the proposer that
    /// has them sees it.
    async fn acceptors(&self, survey: &Survey) -> Vec<Value> {
        let Some((index, newest)) = survey.up().max_by_key(|(_, lists)| lists.epoch) else {
            return Vec::new();
        };
        let mut ids: Vec<AcceptorId> = self.layout.acceptors().map(|(id, _)| id.clone()).collect();
        let members = newest.prepare.acceptors.iter().chain(&newest.accept.acceptors);
        ids.extend(members.cloned());
        ids.sort_unstable();
        ids.dedup();
        let admin = &self.proposers()[index].admin;
        let each = ids.iter().map(async |id| {
            let place = self.layout.describe(id);
            let path = "/acceptors/status";
            let answer = admin.post(path, &place, Self::STATUS_PATIENCE).await;
            let is_unknown = is_unknown_place(&answer);
            let mut shown = answer.unwrap_or(place);
            shown["unknownPlace"] = is_unknown.into();
            shown["prepares"] = newest.prepare.acceptors.contains(id).into();
            shown["accepts"] = newest.accept.acceptors.contains(id).into();
            // Founders are enrolled by the first step.
            let must_be_known = newest.epoch > Epoch::FOUNDING && newest.has(id);
            let lost_memory = must_be_known && shown["status"]["isEnrolled"] == false;
            shown["lostMemory"] = lost_memory.into();
            shown
        });
        join_all(each).await
    }

    fn as_json(&self, survey: &Survey) -> Vec<Value> {
        let each = self.proposers().iter().zip(&survey.answers).map(|(proposer, answer)| {
            let (configuration, error) = match answer {
                Ok((_, configuration)) => (configuration.clone(), Value::Null),
                Err(error) => (Value::Null, error.to_string().into()),
            };
            json!({
                "name": proposer.name,
                "admin": proposer.admin.url(),
                "configuration": configuration,
                "error": error,
            })
        });
        each.collect()
    }

    fn proposer_table(&self, survey: &Survey) -> Vec<Vec<String>> {
        let mut table = vec![row(["proposer", "version", "accept", "prepare", "rescan"])];
        for (proposer, answer) in self.proposers().iter().zip(&survey.answers) {
            let name = proposer.name.clone();
            table.push(match answer {
                Err(why) => vec![name, "-".into(), format!("down: {why}")],
                Ok((Lists { epoch, accept, prepare, rescan_needed }, _)) => vec![
                    name,
                    epoch.0.to_string(),
                    format!("{} of {}", accept.size, listed(&accept.acceptors)),
                    format!("{} of {}", prepare.size, listed(&prepare.acceptors)),
                    if *rescan_needed { "needed" } else { "-" }.into(),
                ],
            });
        }
        table
    }
}

fn acceptor_table(acceptors: &[Value]) -> Vec<Vec<String>> {
    let titles = ["acceptor", "epoch", "age", "registers", "deleted", "member", "at"];
    let mut table = vec![Vec::new(), row(titles)];
    for acceptor in acceptors {
        let status = &acceptor["status"];
        let number = |field: &str| match &status[field] {
            Value::Null => "-".to_owned(),
            number => number.to_string(),
        };
        let is = |field: &str| acceptor[field] == true;
        let member = match (is("accepts"), is("prepares")) {
            (true, true) => "yes",
            (true, false) => "accepts",
            (false, true) => "prepares",
            (false, false) => "no",
        };
        let place = match status.is_null() {
            true if is("unknownPlace") => format!("{}, which no node asks yet", at(acceptor)),
            true => format!("{}, which does not answer", at(acceptor)),
            false if is("lostMemory") => {
                format!("{}, where it lost its memory: shrink, then grow it", at(acceptor))
            }
            false => at(acceptor),
        };
        let mut cells = vec![acceptor["id"].as_str().unwrap_or_default().to_owned()];
        cells.extend(["epoch", "age", "registers", "deleted"].map(number));
        cells.extend([member.to_owned(), place]);
        table.push(cells);
    }
    table
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The lines of a table, its columns to the left.
pub(super) fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = table.iter().filter(|row| row.len() > column + 1).map(|row| &row[column]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let line = cells.map(|(at, cell)| format!("{cell:<width$}  ", width = width(at)));
        line.collect::<String>().trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptors_are_a_table() {
        let status =
            json!({ "epoch": 4, "age": 0, "registers": 9, "deleted": 1, "isEnrolled": true });
        let acceptors = [
            json!({ "id": "a1", "peer": "http://h:1", "status": status, "accepts": true, "prepares": true }),
            json!({ "id": "a2", "peer": "http://h:2", "status": status, "accepts": true, "prepares": true, "lostMemory": true }),
            json!({ "id": "a4", "host": "h", "port": 6384, "status": null, "accepts": false, "prepares": false }),
            json!({ "id": "a5", "peer": "http://h:5", "accepts": false, "prepares": false, "unknownPlace": true }),
        ];
        assert_eq!(
            aligned(&acceptor_table(&acceptors)),
            [
                "",
                "acceptor  epoch  age  registers  deleted  member  at",
                "a1        4      0    9          1        yes     http://h:1",
                "a2        4      0    9          1        yes     http://h:2, where it lost its memory: shrink, then grow it",
                "a4        -      -    -          -        no      redis h:6384, which does not answer",
                "a5        -      -    -          -        no      http://h:5, which no node asks yet",
            ]
        );
    }
}
