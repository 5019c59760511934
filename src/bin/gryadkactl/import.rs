//! `gryadkactl import`: the keys of the original.

use std::path::PathBuf;
use std::time::Duration;

use gryadka::config::RedisAddress;
use gryadka::control::{ControlError, Import};
use gryadka::perseus::parse_duration;
use structopt::StructOpt;

/// Copies the keys of the original Gryadka into a running cluster
///
/// Stop the original's proposers first; its acceptors are read and stay as they are. A
/// key that the cluster has is not overwritten, so the command can be repeated. Values
/// become what /change shows; those of the original's etcd-like server, what /v2/keys
/// shows.
#[derive(StructOpt)]
#[structopt(after_help = "EXAMPLES:
    gryadkactl import cluster.json 10.0.0.1:6379 10.0.0.2:6379 10.0.0.3:6379
    gryadkactl import cluster.json 10.0.0.1:6379 --dry-run
        tells what would be imported

EXIT CODES:
    0  all keys that have a value are in the cluster
    1  not done: somebody does not answer; run it again
    2  bad arguments or files
    3  some keys are not in the cluster as they are in the original; it says why")]
pub struct Arguments {
    /// The cluster file
    #[structopt(name = "CLUSTER.json", parse(from_os_str))]
    cluster: PathBuf,
    /// The Redis servers of all acceptors of the original, as HOST:PORT
    #[structopt(name = "ACCEPTOR", required = true, parse(try_from_str = address))]
    acceptors: Vec<RedisAddress>,
    /// How many of them must answer; a majority unless given
    #[structopt(long, value_name = "N")]
    quorum: Option<usize>,
    /// Reads the acceptors and writes nothing
    #[structopt(long)]
    dry_run: bool,
    /// How long a node may take to answer; 10s unless given
    #[structopt(long, value_name = "TIME", parse(try_from_str = parse_duration))]
    timeout: Option<Duration>,
}

fn address(text: &str) -> Result<RedisAddress, String> {
    let (host, port) = text.rsplit_once(':').ok_or("use HOST:PORT")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| format!("{port:?} is not a port; use 1 to 65535"))?;
    RedisAddress::checked(host, port)
}

/// How long a node may take, unless the command line says it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Imports, and ends the process.
pub fn run(arguments: Arguments) -> ! {
    let Arguments { cluster, acceptors, quorum, dry_run, timeout } = arguments;
    let endpoints = super::keys::endpoints_of(&cluster);
    let import = Import { acceptors, quorum, is_dry: dry_run };
    let interrupted = "interrupted; what was imported stays: run the same again to go on";
    let perform = import.perform(&endpoints, timeout.unwrap_or(PATIENCE));
    super::run(perform, ControlError::exit_status, interrupted)
}
