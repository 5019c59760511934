//! Which configuration each proposer has in force.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::plan::Lists;
use super::{ControlError, ProposerAt};
use crate::caspaxos::{AcceptorId, Epoch, Quorum};
use crate::client::OperatorError;

/// How long a proposer may take to tell its configuration.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long proposers that answer may take to agree.
const AGREE_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// What the proposers said.
pub struct Survey {
    /// In the order of the layout: the lists and the whole answer.
    pub answers: Vec<Result<(Lists, Value), OperatorError>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    config_version: u64,
    prepare: ToldQuorum,
    accept: ToldQuorum,
    rescan_needed: bool,
}

#[derive(Deserialize)]
struct ToldQuorum {
    nodes: Vec<ToldNode>,
    quorum: usize,
}

#[derive(Deserialize)]
struct ToldNode {
    id: String,
}

/// The lists that `GET /configuration` tells; `None` when it is something else.
pub fn parse(answer: &Value) -> Option<Lists> {
    let told = Told::deserialize(answer).ok()?;
    let quorum = |told: ToldQuorum| {
        let acceptors = told.nodes.iter().map(|node| AcceptorId::from(node.id.as_str()));
        Quorum { acceptors: acceptors.collect(), size: told.quorum }
    };
    Some(Lists {
        epoch: Epoch(told.config_version),
        prepare: quorum(told.prepare),
        accept: quorum(told.accept),
        rescan_needed: told.rescan_needed,
    })
}

impl Survey {
    /// Asks all proposers. Each reads through its acceptors first, so that one
    /// that missed a step learns it.
    pub async fn of(proposers: &[ProposerAt]) -> Survey {
        let answers = proposers.iter().map(async |proposer| {
            // Without a quorum it answers no; what it knows counts all the same.
            let read = proposer.admin.get("/readyz", PATIENCE).await;
            if let Err(silent @ OperatorError::Silent { .. }) = read {
                return Err(silent);
            }
            let answer = proposer.admin.get("/configuration", PATIENCE).await?;
            let lists = parse(&answer).ok_or_else(|| OperatorError::Silent {
                url: proposer.admin.url().to_owned(),
                why: "GET /configuration answers with something else; is it CASPaxos?".into(),
            })?;
            Ok((lists, answer))
        });
        Survey { answers: join_all(answers).await }
    }

    /// Asks until all proposers that answer have the same configuration in
    /// force.
    pub async fn agreed(proposers: &[ProposerAt]) -> Result<Survey, ControlError> {
        let started = Instant::now();
        loop {
            let survey = Survey::of(proposers).await;
            let mut versions: Vec<Epoch> = survey.up().map(|(_, lists)| lists.epoch).collect();
            versions.dedup();
            match versions[..] {
                [_] => return Ok(survey),
                [] => return Err(survey.nobody(proposers)),
                _ if started.elapsed() > AGREE_WITHIN => {
                    return Err(survey.disagreement(proposers));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// The proposers that answered, by their places in the layout.
    pub fn up(&self) -> impl Iterator<Item = (usize, &Lists)> {
        let answers = self.answers.iter().enumerate();
        answers.filter_map(|(index, answer)| Some((index, &answer.as_ref().ok()?.0)))
    }

    /// The newest lists of all.
    pub fn newest(&self) -> Option<&Lists> {
        self.up().map(|(_, lists)| lists).max_by_key(|lists| lists.epoch)
    }

    /// The proposers that did not answer, and why.
    pub fn down<'a>(
        &'a self,
        proposers: &'a [ProposerAt],
    ) -> impl Iterator<Item = (&'a ProposerAt, &'a OperatorError)> {
        let answers = proposers.iter().zip(&self.answers);
        answers.filter_map(|(proposer, answer)| Some((proposer, answer.as_ref().err()?)))
    }

    fn nobody(&self, proposers: &[ProposerAt]) -> ControlError {
        let each = self.down(proposers).map(|(proposer, why)| format!("{}: {why}", proposer.name));
        let each: Vec<String> = each.collect();
        ControlError::NotNow(format!(
            "no proposer answers: {}; start one of their nodes",
            each.join("; ")
        ))
    }

    fn disagreement(&self, proposers: &[ProposerAt]) -> ControlError {
        let each = self.up().map(|(index, lists)| {
            format!("{} is at version {}", proposers[index].name, lists.epoch.0)
        });
        let each: Vec<String> = each.collect();
        ControlError::NotNow(format!(
            "the proposers do not agree: {}; those behind reach no quorum of their acceptors: \
             check their nodes' networks and logs",
            each.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_lists_are_those_of_the_answer() {
        let answer = json!({
            "configVersion": 7, "settled": false, "rescanNeeded": true,
            "prepare": { "nodes": [{ "id": "a1", "peer": "http://h:1" }], "quorum": 1 },
            "accept": { "nodes": [{ "id": "a1" }, { "id": "a2", "host": "h", "port": 1 }], "quorum": 2 },
        });
        let lists = parse(&answer).unwrap();
        assert_eq!((lists.epoch, lists.rescan_needed), (Epoch(7), true));
        assert_eq!(lists.accept.acceptors, ["a1".into(), "a2".into()]);
        assert_eq!((lists.prepare.size, lists.accept.size), (1, 2));
        assert_eq!(parse(&json!({ "protocol": "raft" })), None);
    }
}
