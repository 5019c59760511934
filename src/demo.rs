//! The demonstration: a cluster of node processes on loopback, and a load on
//! it. Real processes, real sockets, real disks; only the machine is shared.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::actors::LoadGenerator;
use crate::client::Endpoint;
use crate::config::{Cluster, ConfigError, DeployError, write_deployment};
use crate::perseus::load::{Format, LoadPlan, LoadReport};

/// What the demonstration does.
#[derive(Debug, Clone)]
pub struct Options {
    /// Client listeners are at this port + 1, + 2, + 3.
    pub base_port: u16,
    /// When the load ends; `None`: when told to.
    pub duration: Option<Duration>,
    /// What is printed each second.
    pub format: Format,
    /// Prints the summary alone.
    pub is_quiet: bool,
}

/// Why there was no demonstration.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No such cluster.
    #[error("--base-port: {0}")]
    BasePort(#[from] ConfigError),
    /// The deployment files could not be written.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A file or a process could not be made.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// A node ended before it was ready.
    #[error("node {node} did not start ({status}); its log {} ends with:\n{tail}", .log.display())]
    NodeEnded {
        /// Which one.
        node: String,
        /// How it ended.
        status: ExitStatus,
        /// Where it logs.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// A node did not get ready.
    #[error("node {node} was not ready after {}; see its log {}", .after.as_secs(), .log.display())]
    NodeNotReady {
        /// Which one.
        node: String,
        /// How long it had, in seconds.
        after: Duration,
        /// Where it logs.
        log: PathBuf,
    },
}

impl DemoError {
    /// 2 when other arguments would help, else 1.
    pub fn exit_status(&self) -> i32 {
        match self {
            DemoError::BasePort(_) => crate::config::EXIT_BAD_CONFIG,
            DemoError::NodeEnded { status, .. } => status.code().unwrap_or(1),
            DemoError::Deploy(_) | DemoError::Io { .. } | DemoError::NodeNotReady { .. } => 1,
        }
    }
}

const NODES: usize = 3;
/// Where the nodes keep their data, logs and deployment files.
const ROOT: &str = "data/demo";
const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Runs the demonstration until its time is over or `stop` is ready.
pub fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), DemoError> {
    let root = Path::new(ROOT);
    let is_first = !root.join("p1/store").exists();
    let cluster = Cluster::demo(options.base_port, NODES, root)?;
    write_deployment(&cluster, &[], &root.join("deployment"))?;
    let endpoints = endpoints(&cluster);
    actix::System::new().block_on(async {
        let mut nodes = start_nodes(&cluster, root)?;
        let result = match wait_until_ready(&mut nodes, &endpoints).await {
            Ok(()) => {
                print_guide(&endpoints, is_first);
                put_load(options, endpoints, stop).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        stop_nodes(nodes).await;
        result
    })
}

fn endpoints(cluster: &Cluster) -> Vec<Endpoint> {
    let endpoints = cluster.endpoints().into_iter();
    endpoints
        .map(|(name, url)| Endpoint::new(&name, &url).expect("the demo's addresses are plain"))
        .collect()
}

struct NodeProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

fn start_nodes(cluster: &Cluster, root: &Path) -> Result<Vec<NodeProcess>, DemoError> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| io_error("this program's own path", error))?;
    let mut nodes = Vec::new();
    for name in cluster.deployments().keys() {
        match start_node(&program, name, root) {
            Ok(node) => nodes.push(node),
            Err(error) => {
                nodes.iter_mut().for_each(|node: &mut NodeProcess| {
                    // It is on its way out; there is nothing to add if it fails.
                    let _ = node.child.kill();
                    let _ = node.child.wait();
                });
                return Err(error);
            }
        }
    }
    Ok(nodes)
}

fn start_node(program: &Path, name: &str, root: &Path) -> Result<NodeProcess, DemoError> {
    let log = root.join(format!("{name}.log"));
    let failed = |error| io_error(&log.display().to_string(), error);
    let output = File::create(&log).map_err(failed)?;
    let child = Command::new(program)
        .arg(root.join("deployment").join(format!("{name}.json")))
        // The pipe closes when this process ends, however it ends.
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        // Ctrl-C is for this process, which then stops the nodes in order.
        .process_group(0)
        .spawn()
        .map_err(|error| io_error(&program.display().to_string(), error))?;
    Ok(NodeProcess { name: name.into(), child, log })
}

fn io_error(what: &str, error: io::Error) -> DemoError {
    DemoError::Io { what: what.into(), error }
}

async fn wait_until_ready(
    nodes: &mut [NodeProcess],
    endpoints: &[Endpoint],
) -> Result<(), DemoError> {
    let started = Instant::now();
    let client = awc::Client::builder().timeout(Duration::from_secs(2)).finish();
    for endpoint in endpoints {
        let url = format!("{}/readyz", endpoint.url());
        while !client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            for node in nodes.iter_mut() {
                let ended = node.child.try_wait().map_err(|error| io_error(&node.name, error))?;
                if let Some(status) = ended {
                    let (node, log) = (node.name.clone(), node.log.clone());
                    return Err(DemoError::NodeEnded { node, status, tail: tail(&log), log });
                }
            }
            if started.elapsed() > START_PATIENCE {
                let name = endpoint.name();
                let log = Path::new(ROOT).join(format!("{name}.log"));
                let after = START_PATIENCE;
                return Err(DemoError::NodeNotReady { node: name.into(), after, log });
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    // What cannot be read is not shown; the path is in the message anyway.
    let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn print_guide(endpoints: &[Endpoint], is_first: bool) {
    let url = |index: usize| endpoints[index % endpoints.len()].url();
    let names: Vec<&str> = endpoints.iter().map(Endpoint::name).collect();
    let kept = if is_first { "kept for the next run" } else { "with that of an earlier run" };
    let guide = format!(
        "# three nodes: {}; data and logs in {ROOT}, {kept}\n\
         # try them from another terminal:\n\
         #   curl -X PUT {}/hello -d world\n\
         #   curl {}/hello\n\
         #   curl {}/v2/keys/hello\n\
         #   curl {}/health\n\
         # second, increments of the cluster, of {}:\n",
        names.join(", "),
        url(0),
        url(1),
        url(2),
        url(0),
        names.join(", of "),
    );
    // A closed stdout ends the load, which then ends the demonstration.
    let _ = io::stdout().write_all(guide.as_bytes());
}

async fn put_load(options: Options, endpoints: Vec<Endpoint>, stop: impl Future<Output = ()>) {
    let mut plan = LoadPlan::new(endpoints, Box::new(io::stdout()));
    plan.format = options.format;
    plan.duration = options.duration;
    plan.quiet = options.is_quiet;
    let mut load = LoadGenerator::start_on(&actix::Arbiter::current(), plan);
    tokio::select! {
        _ = load.report() => return,
        () = stop => {}
    }
    load.stop();
    // The summary is printed before the report comes.
    let _: Option<LoadReport> = load.report().await;
}

/// Tells the nodes to stop by closing their stdin, and waits for them.
async fn stop_nodes(mut nodes: Vec<NodeProcess>) {
    nodes.iter_mut().for_each(|node| drop(node.child.stdin.take()));
    let started = Instant::now();
    for node in &mut nodes {
        while matches!(node.child.try_wait(), Ok(None)) {
            if started.elapsed() > STOP_PATIENCE {
                log::warn!("node {} did not stop in time and is killed", node.name);
                // Either works, or the process is gone.
                let _ = node.child.kill();
                let _ = node.child.wait();
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
