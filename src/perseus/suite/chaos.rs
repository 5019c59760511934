//! Kills nodes and revives them, one at a time, and says who leads.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nodes::Nodes;
use super::{Layout, SuiteError, SuiteNode};
use crate::client::{Operator, OperatorError};
use crate::config::Serving;

/// What was done in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// This node was killed.
    Killed(String),
    /// This node was revived.
    Revived(String),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Killed(node) => write!(f, "killed {node}"),
            Disturbance::Revived(node) => write!(f, "revived {node}"),
        }
    }
}

/// Kills and revives the nodes of a cluster.
pub(super) struct Chaos {
    layout: Layout,
    nodes: Rc<Nodes>,
    random: SmallRng,
    /// The node that is dead, or may be.
    killed: Cell<Option<usize>>,
}

impl Chaos {
    /// How long a node may take to die or to come back.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// How often a node is told to come back.
    const REVIVALS: u32 = 5;
    /// How long a cluster may be without a leader before that is what is said.
    const LEADER_PATIENCE: Duration = Duration::from_secs(3);
    const PAUSE: Duration = Duration::from_millis(100);

    pub(super) fn new(layout: Layout, nodes: Rc<Nodes>, seed: u64) -> Chaos {
        // Another sequence than that of any client.
        let random = SmallRng::seed_from_u64(!seed);
        Chaos { layout, nodes, random, killed: Cell::new(None) }
    }

    /// Revives the node that is dead; kills a random one if there is none.
    pub(super) async fn disturb(&mut self) -> Result<Disturbance, SuiteError> {
        if let Some(name) = self.revive().await? {
            return Ok(Disturbance::Revived(name));
        }
        let victims = self.layout.nodes.iter().enumerate();
        let victims = victims.filter_map(|(number, node)| Some((number, node.killed_at.as_ref()?)));
        let (number, url) = victims.choose(&mut self.random).expect("the layout was checked");
        let node = self.layout.nodes[number].name.clone();
        // From the moment at which it is asked for, it may be dead.
        self.killed.set(Some(number));
        match Operator::new(url).post("/chaos/kill", &json!({}), Self::PATIENCE).await {
            Ok(_) => self.nodes.set_dead(Some(number)),
            Err(error) => {
                if matches!(error, OperatorError::Refused { .. }) {
                    self.killed.set(None);
                }
                return Err(SuiteError::Kill { node, error: Box::new(error) });
            }
        }
        Ok(Disturbance::Killed(node))
    }

    /// Revives the node that is dead, if one is or may be; gives its name.
    pub(super) async fn revive(&self) -> Result<Option<String>, SuiteError> {
        let Some(number) = self.killed.get() else { return Ok(None) };
        let SuiteNode { name, killed_at, .. } = &self.layout.nodes[number];
        let url = killed_at.as_ref().expect("it was killed there");
        let admin = Operator::new(url);
        let mut tried = 0;
        loop {
            tried += 1;
            match admin.post("/chaos/revive", &json!({}), Self::PATIENCE).await {
                Ok(_) => break,
                Err(error) if tried == Self::REVIVALS => {
                    let (node, url) = (name.clone(), url.clone());
                    return Err(SuiteError::Revive { node, url, error: Box::new(error) });
                }
                Err(_) => tokio::time::sleep(Self::PAUSE).await,
            }
        }
        self.killed.set(None);
        self.nodes.set_dead(None);
        Ok(Some(name.clone()))
    }

    /// The name of the node that leads, as a living one has it.
    pub(super) async fn leader(&self) -> Option<String> {
        match self.layout.serving {
            // In CASPaxos nobody leads.
            Serving::Proposer => return None,
            Serving::Raft => {}
        }
        let began = Instant::now();
        while began.elapsed() < Self::LEADER_PATIENCE {
            for number in self.nodes.living() {
                let node = Operator::new(&self.layout.nodes[number].url);
                let answer = node.get("/v2/members/leader", Self::PATIENCE).await;
                if let Some(name) = answer.ok().and_then(|leader| self.name_of(&leader)) {
                    return Some(name);
                }
            }
            tokio::time::sleep(Self::PAUSE).await;
        }
        None
    }

    /// A node that was told of a dead leader names it until the next election.
    fn name_of(&self, leader: &Value) -> Option<String> {
        let name = leader["name"].as_str()?;
        let number = self.layout.nodes.iter().position(|node| node.name == name)?;
        self.nodes.living().any(|living| living == number).then(|| name.to_owned())
    }
}
