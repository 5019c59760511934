//! What is done on purpose to the connections and nodes of a running cluster.
//!
//! Every node has the whole matrix and heeds its own row. A change is read from
//! the newest that any node has, and goes to all of them under a higher version;
//! a node that was started again gets it with the next change.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::ControlError;
use super::output::say;
use crate::client::{Operator, OperatorError};
use crate::config::Cluster;
use crate::transport::{BadMatrix, ConnectionMatrix, Delay, MatrixNode, Probability, Square};

/// The nodes of a cluster whose connections are to be upset.
pub struct ChaosControl {
    nodes: Vec<MatrixNode>,
    /// In the same order.
    admins: Vec<Operator>,
}

impl ChaosControl {
    /// How long a node may take to answer.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// How often a change is made anew that somebody else's overtook.
    const TRIES: usize = 5;

    /// Reads a cluster file. It belongs to an actix system.
    pub fn load(file: &Path) -> Result<ChaosControl, ControlError> {
        let cluster = Cluster::load(file)?;
        let (mut nodes, mut admins) = (Vec::new(), Vec::new());
        for deployment in cluster.in_order() {
            let name = deployment.node.clone();
            let Some(admin) = deployment.admin_url() else {
                if deployment.serving().is_none() {
                    continue;
                }
                return Err(ControlError::Arguments(format!(
                    "{}: nodes.{name}.listen.admin is missing; this tool speaks to the node \
                     there; add \"admin\": \"IP:PORT\" and start the node anew",
                    file.display()
                )));
            };
            admins.push(Operator::new(&admin.to_string()));
            nodes.push(MatrixNode { name, peer: deployment.peer_url() });
        }
        Ok(ChaosControl { nodes, admins })
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The place of a node: by its name, or by its index from 0, in the order of
    /// the cluster file.
    pub fn place(&self, node: &str) -> Result<usize, ControlError> {
        let by_name = self.nodes.iter().position(|each| each.name == node);
        let by_index = || node.parse().ok().filter(|place| *place < self.nodes.len());
        by_name.or_else(by_index).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            ControlError::Arguments(format!(
                "there is no node {node:?}; there are {}, or 0 to {}",
                names.join(", "),
                names.len() - 1
            ))
        })
    }

    /// The matrix of a node; `None` when it has none.
    async fn matrix_of(&self, place: usize) -> Result<Option<ConnectionMatrix>, OperatorError> {
        let admin = &self.admins[place];
        let shown = admin.get("/chaos", Self::PATIENCE).await?;
        let matrix = serde_json::from_value(shown["matrix"].clone());
        matrix.map_err(|error| OperatorError::Silent {
            url: admin.url().to_owned(),
            why: format!("GET /chaos answers with something else: {error}"),
        })
    }

    /// The newest matrix that any node has.
    async fn newest(&self) -> Result<ConnectionMatrix, ControlError> {
        let answers = join_all((0..self.size()).map(|place| self.matrix_of(place))).await;
        let mut newest = self.healthy(0)?;
        let (mut silent, mut silence) = (0, None);
        for answer in answers {
            match answer {
                Ok(Some(matrix)) if matrix.version > newest.version => newest = matrix,
                Ok(_) => {}
                Err(error @ OperatorError::Refused { .. }) => return Err(refused(error)),
                Err(error @ OperatorError::Silent { .. }) => {
                    (silent, silence) = (silent + 1, Some(error))
                }
            }
        }
        match silence {
            Some(error) if silent == self.size() => {
                Err(ControlError::NotNow(format!("no node answers; start them: {error}")))
            }
            // Of other nodes than this file's.
            _ if newest.nodes() != self.nodes => self.healthy(newest.version),
            Some(_) | None => Ok(newest),
        }
    }

    fn healthy(&self, version: u64) -> Result<ConnectionMatrix, ControlError> {
        ConnectionMatrix::healthy(version, self.nodes.clone()).map_err(bad)
    }

    /// Changes the matrix at all nodes.
    pub async fn change(&self, change: impl Fn(&mut ConnectionMatrix)) -> Result<(), ControlError> {
        for _ in 0..Self::TRIES {
            let mut matrix = self.newest().await?;
            change(&mut matrix);
            matrix.version += 1;
            if self.install(&matrix).await? {
                say(&format!("version {} at {} nodes", matrix.version, self.size()));
                return Ok(());
            }
        }
        Err(ControlError::NotNow("somebody else changes the matrix all the time".into()))
    }

    /// Sends a matrix to all nodes; false when one of them has a newer one.
    async fn install(&self, matrix: &ConnectionMatrix) -> Result<bool, ControlError> {
        let body = serde_json::to_value(matrix).expect("a matrix can be written");
        let sent = self.admins.iter().map(|admin| admin.put("/chaos", &body, Self::PATIENCE));
        let mut silent = Vec::new();
        for (node, answer) in self.nodes.iter().zip(join_all(sent).await) {
            match answer {
                Ok(_) => {}
                Err(OperatorError::Refused { status: 409, .. }) => return Ok(false),
                Err(error @ OperatorError::Refused { .. }) => return Err(refused(error)),
                Err(OperatorError::Silent { .. }) => silent.push(node.name.as_str()),
            }
        }
        match silent[..] {
            [] => Ok(true),
            _ => Err(ControlError::NotNow(format!(
                "version {} is not at {}, which does not answer; the other nodes have it",
                matrix.version,
                silent.join(", ")
            ))),
        }
    }

    /// Replaces all probabilities.
    pub async fn upload(&self, text: &str) -> Result<(), ControlError> {
        let drop: Square<Probability> = Square::read(text, self.size()).map_err(bad)?;
        self.change(|matrix| matrix.drop = drop.clone()).await
    }

    /// Replaces all delays.
    pub async fn upload_delay(&self, text: &str) -> Result<(), ControlError> {
        let delay: Square<Delay> = Square::read(text, self.size()).map_err(bad)?;
        self.change(|matrix| matrix.delay = delay.clone()).await
    }

    /// Changes one value.
    pub async fn edit(
        &self,
        row: &str,
        column: &str,
        value: &str,
        is_delay: bool,
    ) -> Result<(), ControlError> {
        let (row, column) = (self.place(row)?, self.place(column)?);
        let wrong = |why| bad(BadMatrix::Value { row, column, value: value.to_owned(), why });
        if is_delay {
            let delay: Delay = value.parse().map_err(wrong)?;
            return self.change(|matrix| matrix.delay.set(row, column, delay)).await;
        }
        let drop: Probability = value.parse().map_err(wrong)?;
        self.change(|matrix| matrix.drop.set(row, column, drop)).await
    }

    /// Splits the nodes into groups that hear nothing of each other: names apart
    /// by commas, groups by slashes.
    pub async fn partition(&self, groups: &str) -> Result<(), ControlError> {
        let names = |group: &str| -> Result<Vec<usize>, ControlError> {
            let names = group.split([',', ' ']).filter(|name| !name.is_empty());
            names.map(|name| self.place(name)).collect()
        };
        let groups: Vec<Vec<usize>> = groups.split('/').map(names).collect::<Result<_, _>>()?;
        for (place, node) in self.nodes.iter().enumerate() {
            match groups.iter().flatten().filter(|each| **each == place).count() {
                1 => {}
                0 => return Err(arguments(format!("{} is in no group", node.name))),
                _ => return Err(arguments(format!("{} is in two groups", node.name))),
            }
        }
        self.change(|matrix| matrix.partition(&groups)).await
    }

    /// Cuts a node off from all others.
    pub async fn isolate(&self, node: &str) -> Result<(), ControlError> {
        let place = self.place(node)?;
        self.change(|matrix| matrix.isolate(place)).await
    }

    /// Lets everything through at once, and revives whoever was killed.
    pub async fn heal(&self) -> Result<(), ControlError> {
        self.change(ConnectionMatrix::heal).await?;
        let nothing = json!({});
        let revived = self.admins.iter();
        let revived = revived.map(|admin| admin.post("/chaos/revive", &nothing, Self::PATIENCE));
        join_all(revived).await.into_iter().try_for_each(|answer| answer.map(drop).map_err(refused))
    }

    /// Prints the matrix of a node, or the newest of all.
    pub async fn get(&self, node: Option<&str>, is_delay: bool) -> Result<(), ControlError> {
        let matrix = match node {
            None => self.newest().await?,
            Some(node) => match self.matrix_of(self.place(node)?).await.map_err(refused)? {
                Some(matrix) => matrix,
                None => self.healthy(0)?,
            },
        };
        let text = if is_delay { matrix.delay.to_string() } else { matrix.drop.to_string() };
        say(text.trim_end());
        Ok(())
    }

    /// Cuts a node off from the others and from its clients; or makes its
    /// process abort.
    pub async fn kill(&self, node: &str, process: bool) -> Result<(), ControlError> {
        let place = self.place(node)?;
        // One that does not answer now cannot be told from one that is killed.
        self.matrix_of(place).await.map_err(refused)?;
        let kill = json!({ "process": process });
        match self.admins[place].post("/chaos/kill", &kill, Self::PATIENCE).await {
            Err(OperatorError::Silent { .. }) if process => {}
            answer => drop::<Value>(answer.map_err(refused)?),
        }
        say(&format!("{} is killed", self.nodes[place].name));
        Ok(())
    }

    /// Ends that, but for a process that is gone.
    pub async fn revive(&self, node: &str) -> Result<(), ControlError> {
        let place = self.place(node)?;
        let name = &self.nodes[place].name;
        let answer = self.admins[place].post("/chaos/revive", &json!({}), Self::PATIENCE).await;
        match answer {
            Err(OperatorError::Silent { url, .. }) => Err(ControlError::NotNow(format!(
                "{name} at {url} does not answer; if its process is gone, start it: \
                 bin/start_server.sh CONFIG"
            ))),
            answer => {
                answer.map_err(refused)?;
                say(&format!("{name} lives"));
                Ok(())
            }
        }
    }
}

fn refused(error: OperatorError) -> ControlError {
    match error {
        OperatorError::Refused { message, .. } => ControlError::Refused(message),
        silent @ OperatorError::Silent { .. } => ControlError::NotNow(silent.to_string()),
    }
}

fn bad(error: BadMatrix) -> ControlError {
    arguments(error.to_string())
}

fn arguments(why: String) -> ControlError {
    ControlError::Arguments(why)
}
