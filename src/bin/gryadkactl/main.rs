//! `gryadkactl`: the operator's tool.

mod acceptors;
mod chaos;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gryadka::config::{Cluster, DeployError, EXIT_BAD_CONFIG, write_deployment};
use gryadka::control::{Format, show_status};
use gryadka::perseus::parse_duration;
use gryadka::process::{self, fail};
use structopt::StructOpt;

/// Operates gryadka clusters.
#[derive(StructOpt)]
#[structopt(
    name = "gryadkactl",
    after_help = "EXIT CODES:
    0  done
    1  not done: a file could not be written, or a node does not answer
    2  bad arguments or files
    3  refused: it would be unsafe"
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
    Acceptors(acceptors::Acceptors),
    Chaos(chaos::Chaos),
}

/// The status of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

fn main() {
    match process::arguments() {
        Command::Deploy { cluster, names, out } => deploy(cluster, &names, out),
        Command::Status { cluster, wait, write } => status(&cluster, wait, write),
        Command::Acceptors(command) => acceptors::run(command),
        Command::Chaos(command) => chaos::run(command),
    }
}

fn status(cluster: &Path, wait: Option<Duration>, format: Format) {
    let shown = show_status(cluster, wait.unwrap_or_default(), format);
    if let Err(error) = actix::System::new().block_on(shown) {
        fail(error.exit_status(), error);
    }
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
