//! The demonstration: a cluster of node processes on loopback, and a load on
//! it. Real processes, real sockets, real disks; only the machine is shared.

use std::fs::{self, File, TryLockError};
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
    /// Its directory cannot be used.
    #[error(
        "{ROOT} cannot be written here: {0}; run the demonstration in a directory that you may \
         write"
    )]
    Directory(io::Error),
    /// A file or a process could not be made.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// Another demonstration has the directory.
    #[error(
        "{ROOT} is in use by another demonstration; stop it, or run this one in another directory"
    )]
    InUse,
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
    /// The load had no success at all.
    #[error("not one increment succeeded; see the logs in {ROOT}")]
    NoSuccess,
    /// The load's lines could not be written.
    #[error("the output cannot be written: {0}")]
    Output(io::ErrorKind),
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
            DemoError::BasePort(_) | DemoError::InUse => crate::config::EXIT_BAD_CONFIG,
            DemoError::NodeEnded { status, .. } => status.code().unwrap_or(1),
            DemoError::Deploy(_)
            | DemoError::Directory(_)
            | DemoError::Io { .. }
            | DemoError::NoSuccess
            | DemoError::Output(_)
            | DemoError::NodeNotReady { .. } => 1,
        }
    }
}

const NODES: usize = 3;
/// The peer and admin listeners are 100 and 200 ports above those of clients.
pub const HIGHEST_BASE_PORT: u16 = u16::MAX - 200 - NODES as u16;
/// Where the nodes keep their data, logs and deployment files.
const ROOT: &str = "data/demo";
const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(20);

/// Runs the demonstration until its time is over or `stop` is ready.
pub fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), DemoError> {
    let root = Path::new(ROOT);
    let _lock = lock(root)?;
    let is_first = !root.join("p1/store").exists();
    let cluster = Cluster::demo(options.base_port, NODES, root)?;
    write_deployment(&cluster, &[], &root.join("deployment"))?;
    let endpoints = endpoints(&cluster);
    actix::System::new().block_on(async {
        let mut nodes = start_nodes(&cluster, root)?;
        let result = match wait_until_ready(&mut nodes, &endpoints).await {
            Ok(()) => {
                print_guide(&options, &nodes, &endpoints, is_first);
                put_load(options, endpoints, &mut nodes, stop).await
            }
            Err(error) => Err(error),
        };
        stop_nodes(nodes).await;
        result
    })
}

/// Keeps a second demonstration out of the directory, as long as it is held.
fn lock(root: &Path) -> Result<File, DemoError> {
    fs::create_dir_all(root).map_err(DemoError::Directory)?;
    let file = File::create(root.join("lock")).map_err(DemoError::Directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DemoError::InUse),
        Err(TryLockError::Error(error)) => Err(DemoError::Directory(error)),
    }
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
    /// Its end was told.
    is_known_to_have_ended: bool,
}

impl NodeProcess {
    fn ended(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        self.child.try_wait().map_err(|error| io_error(&self.name, error))
    }
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
    Ok(NodeProcess { name: name.into(), child, log, is_known_to_have_ended: false })
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
    for (index, endpoint) in endpoints.iter().enumerate() {
        let pid = nodes[index].child.id();
        while !is_ready(&client, endpoint, pid).await {
            for node in nodes.iter_mut() {
                if let Some(status) = node.ended()? {
                    let (node, log) = (node.name.clone(), node.log.clone());
                    return Err(DemoError::NodeEnded { node, status, tail: tail(&log), log });
                }
            }
            if started.elapsed() > START_PATIENCE {
                let (node, log) = (nodes[index].name.clone(), nodes[index].log.clone());
                return Err(DemoError::NodeNotReady { node, after: START_PATIENCE, log });
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// Whether the node serves, and is ours: the ports may be those of another
/// cluster, and then our node is about to end.
async fn is_ready(client: &awc::Client, endpoint: &Endpoint, pid: u32) -> bool {
    #[derive(serde::Deserialize)]
    struct Version {
        pid: u32,
    }
    let version = client.get(format!("{}/version", endpoint.url())).send().await;
    let Ok(mut version) = version else { return false };
    if !version.json::<Version>().await.is_ok_and(|version| version.pid == pid) {
        return false;
    }
    let ready = client.get(format!("{}/readyz", endpoint.url())).send().await;
    ready.is_ok_and(|response| response.status().is_success())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    // What cannot be read is not shown; the path is in the message anyway.
    let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn print_guide(options: &Options, nodes: &[NodeProcess], endpoints: &[Endpoint], is_first: bool) {
    if options.is_quiet {
        return;
    }
    let url = |index: usize| endpoints[index % endpoints.len()].url();
    let processes = nodes.iter().map(|node| format!("{} (pid {})", node.name, node.child.id()));
    let processes: Vec<String> = processes.collect();
    let kept = if is_first { "kept for the next run" } else { "with that of an earlier run" };
    let mut guide = format!(
        "# three nodes: {}; data and logs in {ROOT}, {kept}\n\
         # try them from another terminal:\n\
         #   curl -X PUT {}/hello -d world\n\
         #   curl {}/hello\n\
         #   curl {}/v2/keys/hello\n\
         #   curl {}/health\n",
        processes.join(", "),
        url(0),
        url(1),
        url(2),
        url(0),
    );
    if matches!(options.format, Format::Totals) {
        let names: Vec<&str> = endpoints.iter().map(Endpoint::name).collect();
        let names = names.join(", of ");
        guide += &format!("# second, increments of the cluster, of {names}:\n");
    }
    // A closed stdout ends the load, which then ends the demonstration.
    let _ = io::stdout().write_all(guide.as_bytes());
}

/// Runs the load to its end and says when a node ends meanwhile.
async fn put_load(
    options: Options,
    endpoints: Vec<Endpoint>,
    nodes: &mut [NodeProcess],
    stop: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let mut plan = LoadPlan::new(endpoints, Box::new(io::stdout()));
    plan.format = options.format;
    plan.duration = options.duration;
    plan.quiet = options.is_quiet;
    let mut load = LoadGenerator::start_on(&actix::Arbiter::current(), plan);
    let mut stop = std::pin::pin!(stop);
    let mut is_stopped = false;
    let report = loop {
        tokio::select! {
            report = load.report() => break report,
            () = &mut stop, if !is_stopped => {
                // The summary is printed before the report comes.
                load.stop();
                is_stopped = true;
            }
            () = tokio::time::sleep(WATCH) => nodes.iter_mut().try_for_each(tell_if_ended)?,
        }
    };
    match report {
        // Whoever read the lines has seen enough.
        Some(LoadReport { output_error: Some(io::ErrorKind::BrokenPipe), .. }) => Ok(()),
        Some(LoadReport { output_error: Some(error), .. }) => Err(DemoError::Output(error)),
        Some(report) if report.iterations() > 0 => Ok(()),
        Some(_) | None => Err(DemoError::NoSuccess),
    }
}

fn tell_if_ended(node: &mut NodeProcess) -> Result<(), DemoError> {
    if node.is_known_to_have_ended {
        return Ok(());
    }
    if let Some(status) = node.ended()? {
        node.is_known_to_have_ended = true;
        let (name, log) = (&node.name, node.log.display());
        eprintln!(
            "# {name} ended ({status}), see {log}; to bring it back: \
             target/release/gryadka {ROOT}/deployment/{name}.json"
        );
    }
    Ok(())
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
