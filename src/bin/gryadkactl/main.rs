//! `gryadkactl`: the operator's tool.

mod acceptors;
mod chaos;
mod import;
mod keys;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gryadka::config::{Cluster, DeployError, EXIT_BAD_CONFIG, write_deployment};
use gryadka::control::{ControlError, Format, KeyCommand, show_status};
use gryadka::perseus::parse_duration;
use gryadka::process::{self, fail};
use structopt::StructOpt;

/// Operates gryadka clusters.
#[derive(StructOpt)]
#[structopt(
    name = "gryadkactl",
    after_help = "EXAMPLES:
    gryadkactl put --cluster configs/ten-nodes.json color green
    gryadkactl get --endpoints 127.0.0.1:8001,127.0.0.1:8002 color
    gryadkactl debug matchIndex --cluster configs/ten-nodes.json

EXIT CODES:
    0  done
    1  not done: a file could not be written, or no node answers
    2  bad arguments or files
    3  the key does not exist; acceptors, chaos: refused, it would be unsafe
    4  the key is not as expected
    5  the outcome is unknown: it may have been done"
)]
enum Command {
    /// Writes the nodes' deployment files from a cluster file
    #[structopt(after_help = "EXAMPLES:
    gryadkactl deploy configs/gryadka-cluster.json
        writes deployment/p1.json, deployment/p2.json and deployment/p3.json
    gryadkactl deploy configs/gryadka-redis-cluster.json a1 p2
        writes deployment/p2.json and deployment/a1/redis.conf
    gryadkactl deploy cluster.json --out /etc/gryadka
        writes all files into /etc/gryadka")]
    Deploy {
        /// The cluster file
        #[structopt(name = "CLUSTER.json", parse(from_os_str))]
        cluster: PathBuf,
        /// The nodes and acceptors whose files are written; all unless given
        #[structopt(name = "NAME")]
        names: Vec<String>,
        /// The directory they are written to
        #[structopt(long, name = "DIR", default_value = "deployment", parse(from_os_str))]
        out: PathBuf,
    },
    /// Shows how the nodes are
    #[structopt(after_help = "EXAMPLES:
    gryadkactl status configs/gryadka-cluster.json
    gryadkactl status configs/ten-nodes.json --wait 30s
        waits until all are ready

EXIT CODES:
    0  all nodes that serve clients are ready
    1  one of them is not
    2  bad arguments or files")]
    Status {
        /// The cluster file
        #[structopt(name = "CLUSTER.json", parse(from_os_str))]
        cluster: PathBuf,
        /// How long to wait until all are ready
        #[structopt(long, value_name = "TIME", parse(try_from_str = parse_duration))]
        wait: Option<Duration>,
        /// table or json
        #[structopt(short = "w", long, default_value = "table")]
        write: Format,
    },
    /// Prints the value of a key
    Get {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
    },
    /// Gives a key a value
    Put {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
        #[structopt(name = "VALUE")]
        value: String,
    },
    /// Gives a key a value if it has another one
    Cas {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
        /// The value that it must have
        #[structopt(name = "OLD")]
        old: String,
        #[structopt(name = "NEW")]
        new: String,
    },
    /// Deletes a key
    Del {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
    },
    /// Lists the keys of a directory, and of those in it
    Ls {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        /// The directory; all keys unless given
        #[structopt(name = "DIRECTORY", default_value = "")]
        prefix: String,
    },
    /// Counts a key up by one, from nothing to 1
    Incr {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
    },
    /// Prints what a node knows, as JSON
    Debug {
        /// all, or one of the names that it shows
        #[structopt(name = "VARIABLE")]
        variable: String,
        #[structopt(flatten)]
        nodes: keys::DebugNodes,
    },
    Acceptors(acceptors::Acceptors),
    Chaos(chaos::Chaos),
    Import(import::Arguments),
}

/// The status of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

fn main() {
    match process::arguments() {
        Command::Deploy { cluster, names, out } => deploy(cluster, &names, out),
        Command::Status { cluster, wait, write } => status(&cluster, wait, write),
        Command::Get { nodes, key } => keys::perform(&nodes, KeyCommand::Get(key)),
        Command::Put { nodes, key, value } => keys::perform(&nodes, KeyCommand::Put(key, value)),
        Command::Cas { nodes, key, old, new } => {
            keys::perform(&nodes, KeyCommand::Swap(key, old, new));
        }
        Command::Del { nodes, key } => keys::perform(&nodes, KeyCommand::Delete(key)),
        Command::Ls { nodes, prefix } => keys::perform(&nodes, KeyCommand::List(prefix)),
        Command::Incr { nodes, key } => keys::perform(&nodes, KeyCommand::Increment(key)),
        Command::Debug { variable, nodes } => keys::debug(&nodes, &variable),
        Command::Acceptors(command) => acceptors::run(command),
        Command::Chaos(command) => chaos::run(command),
        Command::Import(arguments) => import::run(arguments),
    }
}

/// Runs a command until Ctrl-C; ends the process unless it succeeds.
fn run<E: Display>(
    command: impl Future<Output = Result<(), E>>,
    exit_status: fn(&E) -> i32,
    interrupted: &str,
) {
    let result = actix::System::new().block_on(async {
        tokio::select! {
            result = command => Some(result),
            _ = process::told_to_stop(false) => None,
        }
    });
    match result {
        Some(Ok(())) => {}
        Some(Err(error)) => fail(exit_status(&error), error),
        None => fail(INTERRUPTED, interrupted),
    }
}

fn status(cluster: &Path, wait: Option<Duration>, format: Format) {
    let shown = show_status(cluster, wait.unwrap_or_default(), format);
    run(shown, ControlError::exit_status, "interrupted");
}

fn deploy(file: PathBuf, names: &[String], out: PathBuf) {
    let cluster = Cluster::load(&file).unwrap_or_else(|error| fail(EXIT_BAD_CONFIG, error));
    match write_deployment(&cluster, names, &out) {
        Ok(written) => {
            let lines: String =
                written.iter().map(|path| format!("{}\n", path.display())).collect();
            if let Err(error) = std::io::stdout().write_all(lines.as_bytes()) {
                fail(1, format!("the files are written, but not the list of them: {error}"));
            }
        }
        Err(error @ DeployError::UnknownName { .. }) => {
            fail(EXIT_BAD_CONFIG, format!("{}: {error}", file.display()))
        }
        Err(error @ DeployError::Write { .. }) => fail(1, error),
    }
}
