//! What the cluster file says: where the nodes are, and which may be killed.

use std::path::{Path, PathBuf};

use crate::config::{ChaosAccess, Cluster, ConfigError, Deployment, Serving};

/// A node that serves clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteNode {
    /// Its name in the cluster file.
    pub name: String,
    /// Its client listener, `http://HOST:PORT`.
    pub url: String,
    /// Its admin listener, if the node may be killed there and the others can
    /// go on without it.
    pub killed_at: Option<String>,
}

/// The nodes of a cluster, as a suite sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of their names; at least one.
    pub nodes: Vec<SuiteNode>,
    /// What serves their clients.
    pub serving: Serving,
}

/// Why a suite cannot use a cluster file.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is not a good one.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// No node serves clients.
    #[error("{}: no node serves clients; give one listen.client and a proposer or a replica", .0.display())]
    NoNodes(PathBuf),
    /// Some serve by CASPaxos, some by Raft.
    #[error(
        "{}: some nodes serve the data of proposers, some that of replicas; a suite needs one \
         store; give a file of the one or the other",
        .0.display()
    )]
    TwoProtocols(PathBuf),
    /// No node may be killed.
    #[error(
        "{}: no node may be killed; a dynamic suite needs nodes with \"chaos\": true and \
         listen.admin, in a cluster that keeps its quorums when one is gone",
        .0.display()
    )]
    NoVictims(PathBuf),
}

impl Layout {
    /// Reads a cluster file.
    pub fn load(file: &Path) -> Result<Layout, LayoutError> {
        let cluster = Cluster::load(file)?;
        let serving: Vec<&Deployment> =
            cluster.deployments().values().filter(|node| node.client_url().is_some()).collect();
        let protocol = serving.first().and_then(|node| node.serving());
        let Some(protocol) = protocol else {
            return Err(LayoutError::NoNodes(file.to_path_buf()));
        };
        if serving.iter().any(|node| node.serving() != Some(protocol)) {
            return Err(LayoutError::TwoProtocols(file.to_path_buf()));
        }
        let nodes = serving.iter().filter_map(|node| suite_node(node, &serving)).collect();
        Ok(Layout { nodes, serving: protocol })
    }

    /// The same, for a suite that kills nodes.
    pub fn load_dynamic(file: &Path) -> Result<Layout, LayoutError> {
        let layout = Layout::load(file)?;
        match layout.nodes.iter().any(|node| node.killed_at.is_some()) {
            true => Ok(layout),
            false => Err(LayoutError::NoVictims(file.to_path_buf())),
        }
    }
}

fn suite_node(node: &Deployment, serving: &[&Deployment]) -> Option<SuiteNode> {
    let may_be_killed = match node.chaos {
        ChaosAccess::Nobody => false,
        ChaosAccess::Loopback | ChaosAccess::Anywhere => others_go_on_without(node, serving),
    };
    Some(SuiteNode {
        name: node.node.clone(),
        url: node.client_url()?.to_string(),
        killed_at: node.admin_url().filter(|_| may_be_killed).map(|url| url.to_string()),
    })
}

/// Whether each of the others still has its quorums, and there is another.
fn others_go_on_without(node: &Deployment, serving: &[&Deployment]) -> bool {
    let lost: Vec<_> = node.actors.acceptor.iter().map(|acceptor| acceptor.id.clone()).collect();
    let goes_on = |other: &Deployment| match other.serving() {
        Some(Serving::Proposer) => other.configuration().is_some_and(|configuration| {
            let quorums = [&configuration.prepare, &configuration.accept];
            quorums.iter().all(|quorum| !quorum.is_out_of_reach_without(&lost))
        }),
        // One of three or more leaves a majority.
        Some(Serving::Raft) => {
            other.actors.raft.as_ref().is_some_and(|raft| raft.members.len() >= 3)
        }
        None => false,
    };
    let mut others = serving.iter().filter(|other| other.node != node.node).peekable();
    others.peek().is_some() && others.all(|other| goes_on(other))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn file(nodes: usize, is_raft: bool, quorum: usize) -> Value {
        let mut file = json!({ "cluster": "test", "nodes": {} });
        let acceptors: Vec<String> = (1..=nodes).map(|i| format!("a{i}")).collect();
        for i in 1..=nodes {
            let node = format!("p{i}");
            let at = |base: usize| format!("127.0.0.1:{}", base + i);
            file["nodes"][&node] = json!({
                "listen": { "client": at(8000), "peer": at(8100), "admin": at(8200) },
                "chaos": true,
            });
            if is_raft {
                file["replicas"][&node] = json!({ "node": node, "id": i });
            } else {
                file["acceptors"][&acceptors[i - 1]] =
                    json!({ "node": node, "storage": { "embedded": {} } });
                file["proposers"][&node] = json!({
                    "node": node, "acceptors": acceptors,
                    "quorum": { "read": quorum, "write": quorum },
                });
            }
        }
        file
    }

    fn load(file: &Value) -> Result<Layout, LayoutError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        fs::write(&path, file.to_string()).unwrap();
        Layout::load_dynamic(&path)
    }

    #[test]
    fn nodes_that_the_others_can_miss_may_be_killed() {
        for (file, serving) in [
            (file(3, false, 2), Serving::Proposer),
            (file(5, false, 3), Serving::Proposer),
            (file(3, true, 0), Serving::Raft),
        ] {
            let layout = load(&file).unwrap();
            assert_eq!(layout.serving, serving);
            assert_eq!(layout.nodes[0].name, "p1");
            assert_eq!(layout.nodes[0].url, "http://127.0.0.1:8001");
            assert_eq!(layout.nodes[0].killed_at.as_deref(), Some("http://127.0.0.1:8201"));
        }
    }

    #[test]
    fn a_node_without_chaos_is_left_alone() {
        let mut file = file(3, false, 2);
        file["nodes"]["p2"]["chaos"] = json!(false);
        let layout = load(&file).unwrap();
        let may_be_killed: Vec<bool> =
            layout.nodes.iter().map(|node| node.killed_at.is_some()).collect();
        assert_eq!(may_be_killed, [true, false, true]);
    }

    #[test]
    fn a_cluster_that_can_miss_no_node_is_refused() {
        for file in [file(1, false, 1), file(3, false, 3), file(1, true, 0), file(2, true, 0)] {
            let error = load(&file).unwrap_err();
            assert!(matches!(error, LayoutError::NoVictims(_)), "{file}: {error}");
            assert!(error.to_string().contains("\"chaos\": true"), "{error}");
        }
    }
}
