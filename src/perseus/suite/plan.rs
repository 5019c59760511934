//! What a suite is to do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Workload;

/// What happens to the nodes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// All nodes live.
    Static,
    /// In each round one is killed, or revived in the next.
    Dynamic {
        /// How many rounds; at least 1.
        rounds: usize,
    },
}

/// What a suite is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuitePlan {
    /// What happens to the nodes meanwhile.
    pub condition: Condition,
    /// What each client asks for.
    pub workload: Workload,
    /// How many clients there are; at least 1.
    pub clients: usize,
    /// The N of the workload, for each client and round.
    pub requests: usize,
    /// How many keys there are; at least 1.
    pub keys: usize,
    /// Where the random choices begin.
    pub seed: u64,
    /// How long one attempt of a request may take.
    pub request_timeout: Duration,
}

impl SuitePlan {
    /// How many rounds there are.
    pub fn rounds(&self) -> usize {
        match self.condition {
            Condition::Static => 1,
            Condition::Dynamic { rounds } => rounds,
        }
    }

    /// How many requests all clients make in all rounds.
    pub fn total_requests(&self) -> usize {
        self.clients * self.rounds() * self.workload.requests(self.requests)
    }
}

impl fmt::Display for SuitePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SuitePlan { condition, workload, clients, requests, keys, seed, .. } = self;
        match condition {
            Condition::Static => f.write_str("static")?,
            Condition::Dynamic { rounds } => write!(f, "dynamic, rounds {rounds}")?,
        }
        write!(
            f,
            ", clients {clients}, type {workload}, requests {requests}, keys {keys}, seed {seed}"
        )
    }
}

/// `static`, or `dynamic` of ten rounds, as the original had it.
impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        match text {
            "static" => Ok(Condition::Static),
            "dynamic" => Ok(Condition::Dynamic { rounds: 10 }),
            unknown => Err(format!("there is no suite \"{unknown}\"; choose static or dynamic")),
        }
    }
}
