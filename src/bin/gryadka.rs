//! The gryadka node, and the demonstration cluster when it is given no
//! deployment file.

use std::path::PathBuf;
use std::time::Duration;

use gryadka::config::{Deployment, EXIT_BAD_CONFIG};
use gryadka::perseus::load::Format;
use gryadka::{demo, process};
use structopt::StructOpt;

/// Runs a node, or without a deployment file a demonstration: three nodes on
/// loopback and a load that counts up, with the successes of each second.
#[derive(StructOpt)]
#[structopt(
    name = "gryadka",
    after_help = "EXAMPLES:
    gryadka
        three nodes on ports 8001 to 8003 and a load on them, until Ctrl-C
    gryadka --duration 15s --base-port 9000
        fifteen seconds of it, on ports 9001 to 9003
    gryadka deployment/p1.json
        the node of a deployment file (see gryadkactl deploy --help)

EXIT CODES:
    0  stopped as asked        1   could not run
    2  bad arguments or files  74  the disk failed"
)]
struct Arguments {
    /// The node's deployment file
    #[structopt(name = "DEPLOYMENT.json", parse(from_os_str))]
    deployment: Option<PathBuf>,
    /// Stops the node when its standard input is closed
    #[structopt(long, requires = "DEPLOYMENT.json")]
    exit_with_stdin: bool,
    /// How long the demonstration runs: 15s, 2m; without it, until Ctrl-C
    #[structopt(
        long,
        value_name = "TIME",
        conflicts_with = "DEPLOYMENT.json",
        parse(try_from_str = gryadka::perseus::parse_duration)
    )]
    duration: Option<Duration>,
    /// The demonstration's nodes listen to clients at this port + 1, + 2, + 3;
    /// 8000 unless given
    #[structopt(
        long,
        value_name = "PORT",
        conflicts_with = "DEPLOYMENT.json",
        parse(try_from_str = base_port)
    )]
    base_port: Option<u16>,
    /// What the demonstration prints each second: totals (unless given),
    /// perseus or counters
    #[structopt(long, conflicts_with = "DEPLOYMENT.json")]
    format: Option<Format>,
    /// The demonstration prints its summary alone
    #[structopt(long, conflicts_with = "DEPLOYMENT.json")]
    quiet: bool,
}

fn base_port(text: &str) -> Result<u16, String> {
    let highest = demo::HIGHEST_BASE_PORT;
    match text.parse() {
        Ok(port) if (1..=highest).contains(&port) => Ok(port),
        _ => Err(format!("\"{text}\" leaves no room for the nodes' ports; use 1 to {highest}")),
    }
}

fn main() {
    process::start_log();
    let arguments: Arguments = process::arguments();
    match arguments.deployment.clone() {
        Some(file) => run_node(file, arguments.exit_with_stdin),
        None => run_demo(arguments),
    }
}

fn run_node(file: PathBuf, exits_with_stdin: bool) {
    let deployment = Deployment::load(&file);
    let deployment = deployment.unwrap_or_else(|error| process::fail(EXIT_BAD_CONFIG, error));
    process::run_node(file.display(), deployment, exits_with_stdin);
}

fn run_demo(arguments: Arguments) {
    let options = demo::Options {
        base_port: arguments.base_port.unwrap_or(8000),
        duration: arguments.duration,
        format: arguments.format.unwrap_or(Format::Totals),
        is_quiet: arguments.quiet,
    };
    let stop = async {
        process::told_to_stop(false).await;
    };
    if let Err(error) = demo::run(options, stop) {
        process::fail(error.exit_status(), error);
    }
}
