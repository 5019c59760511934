//! Makes steps, and whole operations of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::output::say;
use super::plan::{self, Lists, Next, Operation, Step, listed};
use super::rescan::Pace;
use super::single::{SingleStep, describe};
use super::survey::{Survey, parse};
use super::{ControlError, Layout, ProposerAt};
use crate::caspaxos::{AcceptorId, Quorum};
use crate::client::OperatorError;

/// Through which proposer a step is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// Any that answers: the others learn of it from the acceptors.
    All,
    /// This one.
    Proposer(String),
}

impl std::str::FromStr for At {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<At, Self::Err> {
        Ok(match text {
            "all" => At::All,
            name => At::Proposer(name.to_owned()),
        })
    }
}

/// The operator's hand on a cluster.
pub struct Control {
    /// Where everybody is.
    pub(super) layout: Layout,
    /// How long what fails is tried again.
    patience: Duration,
}

impl Control {
    /// How long a node may take for a step.
    const STEP_PATIENCE: Duration = Duration::from_secs(10);
    /// How long a node may take to ask an acceptor.
    pub(super) const STATUS_PATIENCE: Duration = Duration::from_secs(3);
    /// How long a node may take to wipe an acceptor.
    const WIPE_PATIENCE: Duration = Duration::from_secs(65);
    /// After so long what failed is tried again.
    pub(super) const RETRY_AFTER: Duration = Duration::from_millis(300);

    /// A hand on the cluster of this layout. What fails because somebody does
    /// not answer is tried again for as long as `patience`.
    pub fn new(layout: Layout, patience: Duration) -> Control {
        Control { layout, patience }
    }

    pub(super) fn proposers(&self) -> &[ProposerAt] {
        &self.layout.proposers
    }

    /// Does an operation to its end: each time the next step from whatever
    /// configuration is in force. `pace` is that of its rescans.
    pub async fn operate(&self, operation: &Operation, pace: Pace) -> Result<(), ControlError> {
        self.check_names(operation).await?;
        let mut told_down = Vec::new();
        let mut last_success = Instant::now();
        let mut attempt = 0;
        loop {
            match self.advance(operation, pace, attempt, &mut told_down).await {
                Ok(true) => return Ok(()),
                Ok(false) => last_success = Instant::now(),
                Err(ControlError::NotNow(why)) if last_success.elapsed() < self.patience => {
                    eprintln!("{why}; trying again");
                    attempt += 1;
                    tokio::time::sleep(Self::RETRY_AFTER).await;
                }
                Err(ControlError::NotNow(why)) => {
                    return Err(ControlError::NotNow(format!(
                        "{why}; no step is half done: run the same command again to go on"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One step of an operation; true when it is done.
    async fn advance(
        &self,
        operation: &Operation,
        pace: Pace,
        attempt: usize,
        told_down: &mut Vec<String>,
    ) -> Result<bool, ControlError> {
        let survey = Survey::agreed(self.proposers()).await?;
        self.tell_down(&survey, told_down);
        let lists = survey.newest().expect("one answered");
        let next = plan::next(lists, operation)?;
        let up: Vec<usize> = survey.up().map(|(index, _)| index).collect();
        let proposer = &self.proposers()[up[attempt % up.len()]];
        match next {
            Next::Done => {
                say(&format!("done: {}", settled(lists)));
                return Ok(true);
            }
            Next::Rescan => self.rescan_and_settle(lists, &up, pace).await?,
            Next::Step(step) => {
                // Also when the old one goes first, the new one must be there.
                let newcomer = operation.newcomer().filter(|new| !lists.has(new));
                if let Some(new) = newcomer {
                    self.check_newcomer(proposer, new).await?;
                }
                let made = self.make(proposer, lists, &step, false, &describe(lists, &step)).await;
                made.map_err(|error| match (error, newcomer) {
                    // The step does not say where it looked.
                    (ControlError::NotNow(why), Some(new)) => {
                        let place = at(&self.layout.describe(new));
                        ControlError::NotNow(format!("{why}; {new} is said to be at {place}"))
                    }
                    (error, _) => error,
                })?;
            }
        }
        Ok(false)
    }

    /// One single step, or the word that it is done already.
    pub async fn step(
        &self,
        single: SingleStep,
        at: &At,
        acceptor: &str,
        quorum: usize,
    ) -> Result<(), ControlError> {
        let survey = Survey::agreed(self.proposers()).await?;
        self.tell_down(&survey, &mut Vec::new());
        let lists = survey.newest().expect("one answered");
        let id = AcceptorId::from(acceptor);
        if !lists.has(&id) {
            self.layout.acceptor(acceptor)?;
        }
        let proposer = match at {
            At::Proposer(name) => self.layout.proposer(name)?,
            At::All => &self.proposers()[survey.up().next().expect("one answered").0],
        };
        match single.apply(lists, &id, quorum) {
            None => {
                say(&format!("done already at version {}: {}", lists.epoch.0, shown(lists)));
                Ok(())
            }
            Some(step) => self.make(proposer, lists, &step, false, &describe(lists, &step)).await,
        }
    }

    /// Removes what an acceptor holds that is in no list.
    pub async fn wipe(&self, acceptor: &str) -> Result<(), ControlError> {
        let started = Instant::now();
        loop {
            match self.try_to_wipe(acceptor).await {
                Err(ControlError::NotNow(why)) if started.elapsed() < self.patience => {
                    eprintln!("{why}; trying again");
                    tokio::time::sleep(Self::RETRY_AFTER).await;
                }
                result => return result,
            }
        }
    }

    async fn try_to_wipe(&self, acceptor: &str) -> Result<(), ControlError> {
        let (_, place) = self.layout.acceptor(acceptor)?;
        let survey = Survey::agreed(self.proposers()).await?;
        let (index, _) = survey.up().next().expect("one answered");
        let admin = &self.proposers()[index].admin;
        admin.post("/acceptors/wipe", &place, Self::WIPE_PATIENCE).await?;
        say(&format!("acceptor {acceptor} is empty; it can be added"));
        Ok(())
    }

    /// Prints the keys that an acceptor holds: key, modified index, ballot.
    pub async fn list(&self, acceptor: &str, is_deleted: bool) -> Result<(), ControlError> {
        let survey = Survey::agreed(self.proposers()).await?;
        let (index, lists) = survey.up().next().expect("one answered");
        if !lists.has(&acceptor.into()) {
            self.layout.acceptor(acceptor)?;
            return Err(ControlError::Refused(format!(
                "acceptor {acceptor} is in neither list, so it tells its keys to nobody; see how \
                 many it holds with `gryadkactl acceptors dump`"
            )));
        }
        let admin = &self.proposers()[index].admin;
        let mut after: Option<String> = None;
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("deleted", if is_deleted { "true" } else { "false" });
            if let Some(key) = &after {
                query.append_pair("after", key);
            }
            let path = format!("/acceptors/{acceptor}/keys?{}", query.finish());
            let page = admin.get(&path, Self::STATUS_PATIENCE).await?;
            for key in page["keys"].as_array().into_iter().flatten() {
                let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
                say(&format!("{}\t{}\t{}", text("key"), key["modifiedIndex"], text("ballot")));
            }
            match page["after"].as_str() {
                Some(key) => after = Some(key.to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// Makes a step at one proposer, and waits until all that answer follow.
    pub(super) async fn make(
        &self,
        proposer: &ProposerAt,
        lists: &Lists,
        step: &Step,
        is_rescanned: bool,
        words: &str,
    ) -> Result<(), ControlError> {
        let started = Instant::now();
        let quorum = |quorum: &Quorum| {
            let node = |id| match lists.has(id) {
                true => json!({ "id": id }),
                false => self.layout.describe(id),
            };
            let nodes: Vec<Value> = quorum.acceptors.iter().map(node).collect();
            json!({ "nodes": nodes, "quorum": quorum.size })
        };
        let body = json!({
            "configVersion": lists.epoch,
            "prepare": quorum(&step.prepare),
            "accept": quorum(&step.accept),
            "rescanned": is_rescanned,
        });
        let answer = proposer.admin.post("/configuration", &body, Self::STEP_PATIENCE).await?;
        let took = started.elapsed();
        let version = parse(&answer).map_or(lists.epoch.next(), |now| now.epoch);
        say(&format!("version {}: {words} ({:.0} ms)", version.0, took.as_secs_f64() * 1000.0));
        Survey::agreed(self.proposers()).await.map(drop)
    }

    /// That the acceptor to come answers and is empty, unless the proposer does not
    /// know the place yet. The step itself checks both again.
    async fn check_newcomer(
        &self,
        proposer: &ProposerAt,
        id: &AcceptorId,
    ) -> Result<(), ControlError> {
        let place = self.layout.describe(id);
        let where_it_is = at(&place);
        let asked = proposer.admin.post("/acceptors/status", &place, Self::STATUS_PATIENCE).await;
        if is_unknown_place(&asked) {
            return Ok(());
        }
        let answer = asked?;
        let status = &answer["status"];
        if status.is_null() {
            return Err(ControlError::NotNow(format!(
                "acceptor {id} at {where_it_is} does not answer proposer {}; start it",
                proposer.name
            )));
        }
        match (status["registers"].as_u64(), status["deleted"].as_u64()) {
            (Some(0), Some(0)) => Ok(()),
            _ => Err(ControlError::Refused(format!(
                "acceptor {id} at {where_it_is} holds {} registers of an earlier membership, and \
                 deleted keys would come back; remove them: gryadkactl acceptors wipe CLUSTER.json \
                 {id}",
                status["registers"]
            ))),
        }
    }

    /// Who is named is in the cluster file, or in the lists still.
    async fn check_names(&self, operation: &Operation) -> Result<(), ControlError> {
        if let Some(new) = operation.newcomer() {
            self.layout.acceptor(&new.to_string())?;
        }
        let (Operation::Shrink(old) | Operation::Replace { old, .. }) = operation else {
            return Ok(());
        };
        if let Err(unknown) = self.layout.acceptor(&old.to_string()) {
            let survey = Survey::agreed(self.proposers()).await?;
            if !survey.newest().expect("one answered").has(old) {
                return Err(unknown);
            }
        }
        Ok(())
    }

    pub(super) fn tell_down(&self, survey: &Survey, told: &mut Vec<String>) {
        for (proposer, why) in survey.down(self.proposers()) {
            if !told.contains(&proposer.name) {
                eprintln!(
                    "proposer {} is down and will find out when it is back: {why}",
                    proposer.name
                );
                told.push(proposer.name.clone());
            }
        }
    }
}

impl Operation {
    /// Who comes.
    fn newcomer(&self) -> Option<&AcceptorId> {
        match self {
            Operation::Grow(new) | Operation::Replace { new, .. } => Some(new),
            Operation::Shrink(_) => None,
        }
    }
}

/// Whether a node did not ask an acceptor at a place that it does not know.
pub(super) fn is_unknown_place(asked: &Result<Value, OperatorError>) -> bool {
    matches!(asked, Err(OperatorError::Refused { code, .. }) if code == "UnknownPlace")
}

/// Where an acceptor is, in the words of a node.
pub(super) fn at(place: &Value) -> String {
    match (place["peer"].as_str(), place["host"].as_str()) {
        (Some(url), _) => url.to_owned(),
        (None, Some(host)) => format!("redis {host}:{}", place["port"]),
        (None, None) => "its node".to_owned(),
    }
}

fn settled(lists: &Lists) -> String {
    let (acceptors, size) = (&lists.accept.acceptors, lists.accept.size);
    format!(
        "{} accept and promise, quorum {size} of {}, at version {}",
        listed(acceptors),
        acceptors.len(),
        lists.epoch.0
    )
}

/// Both lists in a few words.
pub(super) fn shown(lists: &Lists) -> String {
    let quorum = |quorum: &Quorum| format!("{} of {}", quorum.size, listed(&quorum.acceptors));
    format!("accept {}, prepare {}", quorum(&lists.accept), quorum(&lists.prepare))
}
