//! Puts load on a cluster and tells how it fares.

mod suite;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gryadka::actors::{LoadGenerator, LoadHandle};
use gryadka::client::Endpoint;
use gryadka::config::Cluster;
use gryadka::perseus::load::{Format, LoadPlan, LoadReport};
use gryadka::perseus::parse_duration;
use gryadka::process;
use structopt::StructOpt;
use structopt::clap::AppSettings;
use tokio::signal::unix::{SignalKind, signal};

/// The most connections to a node, clients or keys.
const MAX_COUNT: usize = 1024;

const EXAMPLES: &str = "EXAMPLES:
    perseus run --endpoints n1=127.0.0.1:8001,n2=127.0.0.1:8002,n3=127.0.0.1:8003
        increments on three nodes, a line a second, until Ctrl-C
    perseus run --cluster configs/gryadka-cluster.json --duration 1m --format perseus
        the nodes of a cluster file, with their errors
    perseus run --endpoints 127.0.0.1:2379 --connections 8 --duration 10s --quiet
        ten seconds on an etcd (started with --enable-v2), the summary alone
    perseus run --endpoints n1=127.0.0.1:8001,n2=127.0.0.1:8002 --format counters --clients 5
        five clients that race for nine keys

EXIT CODES:
    0  it ran, and at least one iteration succeeded
    1  no iteration succeeded, or the output could not be written
    2  bad arguments";

/// Puts load on a cluster and tells how it fares.
#[derive(StructOpt)]
#[structopt(name = "perseus", after_help = EXAMPLES)]
enum Arguments {
    /// Counts up keys over the v2 keys API of any cluster that speaks it.
    Run(Run),
    /// Puts and gets random keys, and checks that all answers were right.
    Suite(suite::Arguments),
}

#[derive(StructOpt)]
#[structopt(after_help = EXAMPLES, setting = AppSettings::AllowNegativeNumbers)]
struct Run {
    /// The nodes, separated by commas: NAME=ADDRESS, or ADDRESS alone; an
    /// address is http://HOST:PORT or HOST:PORT.
    #[structopt(long, conflicts_with = "cluster", require_delimiter = true, value_name = "NODES")]
    endpoints: Vec<Endpoint>,
    /// Takes the nodes from a cluster file.
    #[structopt(long, parse(from_os_str), value_name = "CLUSTER.json")]
    cluster: Option<PathBuf>,
    /// Connections to each node; each counts up its own key (totals,
    /// perseus). 1 unless given.
    #[structopt(long, parse(try_from_str = count), value_name = "N")]
    connections: Option<usize>,
    /// When to stop: 10s, 2m, 500ms. Without it: at Ctrl-C.
    #[structopt(long, parse(try_from_str = parse_duration), value_name = "TIME")]
    duration: Option<Duration>,
    /// totals (unless given) and perseus: increments; counters: clients that race.
    #[structopt(long, value_name = "totals|perseus|counters")]
    format: Option<Format>,
    /// Clients that race (counters); 3 unless given.
    #[structopt(long, parse(try_from_str = count), value_name = "N")]
    clients: Option<usize>,
    /// Keys that they race for (counters); 9 unless given.
    #[structopt(long, parse(try_from_str = count), value_name = "N")]
    keys: Option<usize>,
    /// How long a request may take; 1s unless given.
    #[structopt(long, parse(try_from_str = parse_duration), value_name = "TIME")]
    timeout: Option<Duration>,
    /// Prints the summary alone.
    #[structopt(long)]
    quiet: bool,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_COUNT).contains(&count) => Ok(count),
        _ => Err(format!("\"{text}\" is not a count; give a number from 1 to {MAX_COUNT}")),
    }
}

/// The nodes to put load on.
fn endpoints(run: &Run) -> Result<Vec<Endpoint>, String> {
    if let Some(file) = &run.cluster {
        let cluster = Cluster::load(file).map_err(|error| error.to_string())?;
        let endpoints = cluster.endpoints().into_iter();
        let endpoints = endpoints.map(|(name, url)| Endpoint::new(&name, &url));
        return endpoints.collect::<Result<_, _>>().map_err(|error| error.to_string());
    }
    let endpoints = run.endpoints.clone();
    if endpoints.is_empty() {
        return Err("no nodes; give --cluster CLUSTER.json, or --endpoints n1=HOST:PORT,...".into());
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..index].iter().any(|other| other.name() == endpoint.name()) {
            let name = endpoint.name();
            return Err(format!(
                "Invalid value for '--endpoints': two nodes are called \"{name}\"; \
                 give each its own name, as n1=HOST:PORT"
            ));
        }
    }
    Ok(endpoints)
}

fn plan(run: Run) -> Result<LoadPlan, String> {
    let mut plan = LoadPlan::new(endpoints(&run)?, Box::new(io::stdout()));
    // The defaults stand here, and below in the suite's, because clap takes an option
    // that lacks its value for its default.
    plan.format = run.format.unwrap_or(Format::Totals);
    plan.connections = run.connections.unwrap_or(1);
    plan.clients = run.clients.unwrap_or(3);
    plan.keys = run.keys.unwrap_or(9);
    plan.duration = run.duration;
    plan.request_timeout = run.timeout.unwrap_or(Duration::from_secs(1));
    plan.quiet = run.quiet;
    Ok(plan)
}

fn main() -> ExitCode {
    env_logger::init();
    let run = match process::arguments() {
        Arguments::Run(run) => run,
        Arguments::Suite(arguments) => return suite::run(arguments),
    };
    match plan(run) {
        Ok(plan) => actix::System::new().block_on(run_plan(plan)),
        Err(message) => bad_arguments(&format!("error: {message}")),
    }
}

fn bad_arguments(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

/// Runs until the plan is done, the output is closed or a signal comes.
async fn run_plan(plan: LoadPlan) -> ExitCode {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        eprintln!("error: the handlers for SIGINT and SIGTERM could not be installed");
        return ExitCode::FAILURE;
    };
    let mut load = LoadGenerator::start_on(&actix::Arbiter::current(), plan);
    let report = tokio::select! {
        report = load.report() => report,
        _ = interrupt.recv() => stopped(&mut load).await,
        _ = terminate.recv() => stopped(&mut load).await,
    };
    exit_code(&report.expect("the load runs on this arbiter, which has not ended"))
}

async fn stopped(load: &mut LoadHandle) -> Option<LoadReport> {
    load.stop();
    load.report().await
}

/// A reader that left, as `head` does, had what it wanted: that is no error.
fn exit_code(report: &LoadReport) -> ExitCode {
    match report.output_error {
        Some(io::ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("error: the output cannot be written: {error}");
            ExitCode::FAILURE
        }
        None if report.iterations() == 0 => {
            eprintln!("error: no iteration succeeded; see the last error of each node above");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
