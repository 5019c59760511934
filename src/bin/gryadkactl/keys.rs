//! `gryadkactl get`, `put`, ...: keys of a running cluster, and what its nodes
//! know.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use gryadka::client::{Endpoint, Operator, OperatorError};
use gryadka::config::{Cluster, EXIT_BAD_CONFIG};
use gryadka::control::{KeyCommand, KeyError, Keys, Shape, say};
use gryadka::perseus::parse_duration;
use gryadka::process::fail;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use structopt::StructOpt;

#[derive(StructOpt)]
pub struct Nodes {
    /// The cluster file
    #[structopt(long, env = "GRYADKA_CLUSTER", value_name = "CLUSTER.json", parse(from_os_str))]
    cluster: Option<PathBuf>,
    /// The nodes instead, separated by commas: HOST:PORT of their client listeners
    #[structopt(long, env = "GRYADKA_ENDPOINTS", require_delimiter = true, value_name = "NODES")]
    endpoints: Vec<Endpoint>,
    /// How long it is tried, at one node after the other; 10s unless given
    #[structopt(long, env = "GRYADKA_TIMEOUT", value_name = "TIME", parse(try_from_str = parse_duration))]
    timeout: Option<Duration>,
    /// simple, unless given: the value, and a line break if it is a text; raw: the
    /// value alone; or json or table, which show what is not UTF-8 as U+FFFD
    #[structopt(short = "w", long, value_name = "FORMAT")]
    write: Option<Shape>,
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

/// How long a key is asked for, unless the command line says it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Performs a command on a key, and ends the process.
pub fn perform(nodes: &Nodes, command: KeyCommand) -> ! {
    let endpoints = nodes.endpoints();
    let patience = nodes.timeout.unwrap_or(PATIENCE);
    let shape = nodes.write.unwrap_or(Shape::Simple);
    let perform = async { Keys::new(&endpoints, patience, shape).perform(command).await };
    super::run(perform, KeyError::exit_status, "interrupted; the outcome is unknown")
}

/// Prints what a node knows, and ends the process.
pub fn debug(nodes: &DebugNodes, variable: &str) -> ! {
    let path = match variable {
        "all" => "/debug".to_owned(),
        name => format!("/debug/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
    };
    let urls: Vec<String> = match &nodes.address[..] {
        [] => {
            let cluster = cluster(nodes.cluster.as_ref());
            let urls = cluster.in_order().filter_map(|node| node.admin_url());
            urls.map(|url| url.to_string()).collect()
        }
        [ip, port] => match port.parse::<NonZeroU16>() {
            Ok(port) => vec![format!("http://{ip}:{port}")],
            Err(_) => fail(EXIT_BAD_CONFIG, format!("{port:?} is not a port; use 1 to 65535")),
        },
        _ => fail(EXIT_BAD_CONFIG, "give the admin listener as IP PORT"),
    };
    let shown = async {
        let answer = ask(&urls, &path).await?;
        say(&serde_json::to_string_pretty(&answer).expect("a value"));
        Ok(())
    };
    super::run(shown, KeyError::exit_status, "interrupted")
}

/// Asks one admin listener after the other, until one answers.
async fn ask(urls: &[String], path: &str) -> Result<Value, KeyError> {
    /// How long a node may take.
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut last = "no node of the cluster file has an admin listener".to_owned();
    for url in urls {
        let operator = Operator::new(url);
        match operator.get(path, PATIENCE).await {
            Ok(answer) => return Ok(answer),
            Err(OperatorError::Refused { message, .. }) => {
                // To a client listener it is the name of a key.
                return Err(KeyError::Arguments(match operator.get("/debug", PATIENCE).await {
                    Ok(_) => message,
                    Err(_) => format!(
                        "{url} is not an admin listener; give the address of listen.admin, which \
                         `gryadkactl status CLUSTER.json` shows"
                    ),
                }));
            }
            Err(silent @ OperatorError::Silent { .. }) => last = silent.to_string(),
        }
    }
    Err(KeyError::Silent(last))
}
