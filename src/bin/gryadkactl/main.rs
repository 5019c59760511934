//! `gryadkactl`: the operator's tool.

mod acceptors;
mod chaos;
mod import;
mod keys;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use gryadka::config::{Cluster, DeployError, EXIT_BAD_CONFIG, write_deployment};
use gryadka::control::{ControlError, Format, KeyCommand, output_failure, say, show_status};
use gryadka::perseus::parse_duration;
use gryadka::process::{self, fail};
use structopt::StructOpt;
use structopt::clap::AppSettings;

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
    1  not done: a file could not be written, or no node answers;
       or the output could not be written
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
        /// The directory they are written to; deployment unless given
        #[structopt(long, name = "DIR", parse(from_os_str))]
        out: Option<PathBuf>,
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
        #[structopt(name = "CLUSTER.json", env = "GRYADKA_CLUSTER", parse(from_os_str))]
        cluster: PathBuf,
        /// How long to wait until all are ready
        #[structopt(long, value_name = "TIME", parse(try_from_str = parse_duration))]
        wait: Option<Duration>,
        /// table, unless given, or json
        #[structopt(short = "w", long, value_name = "FORMAT")]
        write: Option<Format>,
    },
    /// Prints the value of a key
    Get {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
    },
    /// Gives a key a value
    #[structopt(setting = AppSettings::AllowNegativeNumbers)]
    Put {
        #[structopt(flatten)]
        nodes: keys::Nodes,
        #[structopt(name = "KEY")]
        key: String,
        #[structopt(name = "VALUE")]
        value: String,
    },
    /// Gives a key a value if it has another one
    #[structopt(setting = AppSettings::AllowNegativeNumbers)]
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
        #[structopt(name = "DIRECTORY")]
        directory: Option<String>,
        /// Those too that are hidden: their names, or that of a directory that they
        /// are in, begin with an underscore
        #[structopt(long)]
        all: bool,
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
        Command::Deploy { cluster, names, out } => {
            deploy(cluster, &names, out.unwrap_or_else(|| "deployment".into()));
        }
        Command::Status { cluster, wait, write } => {
            let format = write.unwrap_or(Format::Table);
            let shown = show_status(&cluster, wait.unwrap_or_default(), format);
            run(shown, ControlError::exit_status, "interrupted");
        }
        Command::Get { nodes, key } => keys::perform(&nodes, KeyCommand::Get(key)),
        Command::Put { nodes, key, value } => keys::perform(&nodes, KeyCommand::Put(key, value)),
        Command::Cas { nodes, key, old, new } => {
            keys::perform(&nodes, KeyCommand::Swap(key, old, new));
        }
        Command::Del { nodes, key } => keys::perform(&nodes, KeyCommand::Delete(key)),
        Command::Ls { nodes, directory, all } => {
            let directory = directory.unwrap_or_default();
            keys::perform(&nodes, KeyCommand::List { directory, all });
        }
        Command::Incr { nodes, key } => keys::perform(&nodes, KeyCommand::Increment(key)),
        Command::Debug { variable, nodes } => keys::debug(&nodes, &variable),
        Command::Acceptors(command) => acceptors::run(command),
        Command::Chaos(command) => chaos::run(command),
        Command::Import(arguments) => import::run(arguments),
    }
}

/// Runs a command until Ctrl-C, and ends the process.
fn run<E: Display>(
    command: impl Future<Output = Result<(), E>>,
    exit_status: fn(&E) -> i32,
    interrupted: &str,
) -> ! {
    // It is not dropped: that would wait for a name that is still being resolved.
    let system = actix::System::new();
    let result = system.block_on(async {
        tokio::select! {
            result = command => Some(result),
            _ = process::told_to_stop(false) => None,
        }
    });
    match result {
        Some(Ok(())) => end(),
        Some(Err(error)) => fail(exit_status(&error), error),
        None => fail(INTERRUPTED, interrupted),
    }
}

/// Ends the process when all is done.
fn end() -> ! {
    match output_failure() {
        None => std::process::exit(0),
        Some(error) => fail(1, format!("it is done, but the output cannot be written: {error}")),
    }
}

fn deploy(file: PathBuf, names: &[String], out: PathBuf) -> ! {
    let cluster = Cluster::load(&file).unwrap_or_else(|error| fail(EXIT_BAD_CONFIG, error));
    match write_deployment(&cluster, names, &out) {
        Ok(written) => {
            written.iter().for_each(|path| say(&path.display().to_string()));
            end()
        }
        Err(error @ DeployError::UnknownName { .. }) => {
            fail(EXIT_BAD_CONFIG, format!("{}: {error}", file.display()))
        }
        Err(error @ DeployError::Write { .. }) => fail(1, error),
    }
}
