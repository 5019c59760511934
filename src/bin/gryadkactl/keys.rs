//! `gryadkactl get`, `put`, ...: keys of a running cluster, and what its nodes
//! know.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use gryadka::client::{Endpoint, Operator, OperatorError};
use gryadka::config::{Cluster, EXIT_BAD_CONFIG};
use gryadka::control::{KeyCommand, KeyError, Keys, Shape};
use gryadka::perseus::parse_duration;
use gryadka::process::fail;
use structopt::StructOpt;

#[derive(StructOpt)]
pub struct Nodes {
    /// The cluster file
    #[structopt(long, env = "GRYADKA_CLUSTER", value_name = "CLUSTER.json", parse(from_os_str))]
    cluster: Option<PathBuf>,
    /// The nodes instead, separated by commas: HOST:PORT of their client listeners
    #[structopt(long, env = "GRYADKA_ENDPOINTS", use_delimiter = true, value_name = "NODES")]
    endpoints: Vec<Endpoint>,
    /// How long it is tried, at one node after the other
    #[structopt(long, env = "GRYADKA_TIMEOUT", value_name = "TIME", default_value = "10s", parse(try_from_str = parse_duration))]
    timeout: Duration,
    /// simple, json or table
    #[structopt(short = "w", long, default_value = "simple")]
    write: Shape,
}

#[derive(StructOpt)]
pub struct DebugNodes {
    /// The cluster file
    #[structopt(long, env = "GRYADKA_CLUSTER", value_name = "CLUSTER.json", parse(from_os_str))]
    cluster: Option<PathBuf>,
    /// The admin listener that is asked: IP PORT; the first node of the cluster file
    /// that answers unless given
    #[structopt(name = "ADDRESS")]
    address: Vec<String>,
}

impl Nodes {
    fn endpoints(&self) -> Vec<Endpoint> {
        if !self.endpoints.is_empty() {
            return self.endpoints.clone();
        }
        endpoints(&cluster(self.cluster.as_ref()))
    }
}

/// The nodes of a cluster file that serve clients, one at least.
pub fn endpoints_of(file: &PathBuf) -> Vec<Endpoint> {
    endpoints(&cluster(Some(file)))
}

fn endpoints(cluster: &Cluster) -> Vec<Endpoint> {
    let endpoints = cluster.endpoints().into_iter();
    let endpoints: Result<Vec<_>, _> =
        endpoints.map(|(name, url)| Endpoint::new(&name, &url)).collect();
    match endpoints {
        Ok(endpoints) if !endpoints.is_empty() => endpoints,
        Ok(_) => fail(EXIT_BAD_CONFIG, "the cluster file has no node that serves clients"),
        Err(error) => fail(EXIT_BAD_CONFIG, error),
    }
}

fn cluster(file: Option<&PathBuf>) -> Cluster {
    let missing = "no nodes; give --cluster CLUSTER.json or --endpoints HOST:PORT,..., or set \
                   GRYADKA_CLUSTER or GRYADKA_ENDPOINTS";
    let file = file.unwrap_or_else(|| fail(EXIT_BAD_CONFIG, missing));
    Cluster::load(file).unwrap_or_else(|error| fail(EXIT_BAD_CONFIG, error))
}

/// Performs a command on a key; ends the process unless it succeeds.
pub fn perform(nodes: &Nodes, command: KeyCommand) {
    let endpoints = nodes.endpoints();
    let perform =
        async { Keys::new(&endpoints, nodes.timeout, nodes.write).perform(command).await };
    super::run(perform, KeyError::exit_status, "interrupted; the outcome is unknown");
}

/// Prints what a node knows; ends the process unless one answers.
pub fn debug(nodes: &DebugNodes, variable: &str) {
    let path = match variable {
        "all" => "/debug".to_owned(),
        name => format!("/debug/{name}"),
    };
    let urls: Vec<String> = match &nodes.address[..] {
        [] => {
            let cluster = cluster(nodes.cluster.as_ref());
            let urls = cluster.in_order().filter_map(|node| node.admin_url());
            urls.map(|url| url.to_string()).collect()
        }
        [ip, port] => vec![format!("http://{ip}:{port}")],
        _ => fail(EXIT_BAD_CONFIG, "give the admin listener as IP PORT"),
    };
    let answer = actix::System::new().block_on(async {
        let mut last = "no node of the cluster file has an admin listener".to_owned();
        for url in urls {
            match Operator::new(&url).get(&path, Duration::from_secs(3)).await {
                Ok(answer) => return Ok(answer),
                Err(OperatorError::Refused { message, .. }) => {
                    return Err((EXIT_BAD_CONFIG, message));
                }
                Err(silent @ OperatorError::Silent { .. }) => last = silent.to_string(),
            }
        }
        Err((1, last))
    });
    match answer {
        Ok(answer) => {
            let text = serde_json::to_string_pretty(&answer).expect("a value");
            // Who no longer reads has what he wanted.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        Err((status, why)) => fail(status, why),
    }
}
