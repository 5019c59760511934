//! How the nodes of a cluster are.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use super::ControlError;
use super::dump::{Format, aligned, row};
use super::output::say;
use crate::client::Operator;
use crate::config::{Cluster, Deployment};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(200);

/// Shows how each node of a cluster file is, once all that serve clients are
/// ready or `within` is over. It belongs to an actix system.
///
/// Fails when one of them is not ready.
pub async fn show_status(
    file: &Path,
    within: Duration,
    format: Format,
) -> Result<(), ControlError> {
    let cluster = Cluster::load(file)?;
    let nodes: Vec<&Deployment> = cluster.in_order().collect();
    let began = Instant::now();
    loop {
        let statuses = join_all(nodes.iter().map(|node| status(node))).await;
        let waits_for: Vec<&str> = nodes
            .iter()
            .zip(&statuses)
            .filter(|(_, status)| status["ready"] == false)
            .map(|(node, _)| node.node.as_str())
            .collect();
        if !waits_for.is_empty() && began.elapsed() < within {
            tokio::time::sleep(POLL).await;
            continue;
        }
        match format {
            Format::Json => say(&serde_json::to_string_pretty(&statuses).expect("plain values")),
            Format::Table => aligned(&table(&statuses)).iter().for_each(|line| say(line)),
        }
        return match waits_for[..] {
            [] => Ok(()),
            _ => Err(ControlError::NotNow(format!("not ready: {}", waits_for.join(", ")))),
        };
    }
}

/// What one node tells of itself.
async fn status(node: &Deployment) -> Value {
    let client = node.client_url().map(|url| url.to_string());
    let mut shown = json!({
        "node": node.node,
        "client": client,
        "admin": node.admin_url().map(|url| url.to_string()),
        "peer": node.peer_url(),
        "data": node.data_dir,
    });
    let Some(url) = client else { return shown };
    let client = Operator::new(&url);
    let version = client.get("/version", PATIENCE).await.unwrap_or_default();
    let health = client.get("/readyz", PATIENCE).await;
    (shown["protocol"], shown["pid"]) = (version["protocol"].clone(), version["pid"].clone());
    shown["ready"] = health.is_ok().into();
    match health {
        Ok(health) => shown["chaos"] = health["chaos"].clone(),
        Err(error) => shown["reason"] = error.to_string().into(),
    }
    shown
}

fn table(statuses: &[Value]) -> Vec<Vec<String>> {
    let mut table = vec![row(["node", "ready", "protocol", "pid", "client", "admin", "data"])];
    for status in statuses {
        let text = |field: &str| match &status[field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let ready = match (&status["ready"], status["chaos"].is_null()) {
            (Value::Bool(true), true) => "yes",
            (Value::Bool(true), false) => "yes, with chaos",
            (Value::Bool(false), _) => "no",
            // It serves no clients.
            _ => "-",
        };
        let cells = ["protocol", "pid", "client", "admin", "data"].map(text);
        table.push([text("node"), ready.to_owned()].into_iter().chain(cells).collect());
    }
    table
}
