//! `perseus suite`: so many requests, and whether their answers were right.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use gryadka::perseus::parse_duration;
use gryadka::perseus::suite::{
    Condition, Layout, MAX_CLIENTS, MAX_REQUESTS, Ratio, Suite, SuiteError, SuitePlan, SuiteReport,
    Workload, plot,
};
use structopt::StructOpt;
use structopt::clap::AppSettings;
use tokio::signal::unix::{SignalKind, signal};

/// The most keys.
const MAX_KEYS: usize = 1024;

const EXAMPLES: &str = "EXAMPLES:
    perseus suite static configs/gryadka-cluster.json
        one client: 100 puts, then 100 gets of random keys
    perseus suite static configs/raft-cluster.json --clients 5 --type mix --ratio 1:3
        five clients, a put to three gets
    perseus suite dynamic cluster.json --rounds 4 --plot suite.svg
        a random node is killed, revived, and once more; the nodes need \"chaos\": true

EXIT CODES:
    0    all answers were right
    1    a wrong value, a history that is not linearizable, or nothing succeeded; no node
         that answers, one that could not be killed or revived, or an output that could not
         be written
    2    bad arguments or files
    130  stopped by Ctrl-C; 143: by SIGTERM";

#[derive(StructOpt)]
#[structopt(after_help = EXAMPLES, setting = AppSettings::AllowNegativeNumbers)]
pub struct Arguments {
    /// static: all nodes live; dynamic: a random one is killed, then revived.
    #[structopt(value_name = "static|dynamic")]
    condition: Condition,
    /// The nodes of a cluster that runs.
    #[structopt(parse(from_os_str), value_name = "CLUSTER.json")]
    cluster: PathBuf,
    /// Clients at the same time; 1 unless given.
    #[structopt(long, parse(try_from_str = count::<MAX_CLIENTS>), value_name = "N")]
    clients: Option<usize>,
    /// What each asks for; puts and then gets unless given.
    #[structopt(long = "type", value_name = "put|get|put-then-get|mix")]
    workload: Option<Workload>,
    /// Puts to gets of --type mix; 35:65 unless given.
    #[structopt(long, value_name = "PUTS:GETS")]
    ratio: Option<Ratio>,
    /// Puts, gets or pairs of them, of each client in each round; 100 unless given.
    #[structopt(long, parse(try_from_str = count::<MAX_REQUESTS>), value_name = "N")]
    requests: Option<usize>,
    /// Keys, which are new ones in each run; 20 unless given.
    #[structopt(long, parse(try_from_str = count::<MAX_KEYS>), value_name = "N")]
    keys: Option<usize>,
    /// Rounds of a dynamic suite; 10 unless given.
    #[structopt(long, parse(try_from_str = count::<1000>), value_name = "N")]
    rounds: Option<usize>,
    /// Makes the same random choices again; another number each time unless
    /// given.
    #[structopt(long, value_name = "N")]
    seed: Option<u64>,
    /// How long an attempt of a request may take; 2s unless given.
    #[structopt(long, parse(try_from_str = parse_duration), value_name = "TIME")]
    timeout: Option<Duration>,
    /// The report: lines, unless given, or one JSON object.
    #[structopt(short = "w", long = "write-out", value_name = "table|json")]
    form: Option<Form>,
    /// Draws the time of each request.
    #[structopt(long, parse(from_os_str), value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Lines.
    Table,
    /// One object.
    Json,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Form, String> {
        match text {
            "table" => Ok(Form::Table),
            "json" => Ok(Form::Json),
            unknown => Err(format!("there is no form \"{unknown}\"; choose table or json")),
        }
    }
}

fn count<const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(count),
        _ => Err(format!("\"{text}\" is not a count; give a number from 1 to {MAX}")),
    }
}

fn plan(arguments: &Arguments) -> Result<SuitePlan, String> {
    let condition = match (arguments.condition, arguments.rounds) {
        (Condition::Static, Some(_)) => {
            return Err("--rounds is for dynamic suites; a static one is one round".to_owned());
        }
        (Condition::Dynamic { .. }, Some(rounds)) => Condition::Dynamic { rounds },
        (condition, None) => condition,
    };
    let workload = match (arguments.workload, arguments.ratio) {
        (Some(Workload::Mix(_)), Some(ratio)) => Workload::Mix(ratio),
        (_, Some(_)) => return Err("--ratio is for --type mix; give that too".to_owned()),
        (workload, None) => workload.unwrap_or(Workload::PutsThenGets),
    };
    let plan = SuitePlan {
        condition,
        workload,
        clients: arguments.clients.unwrap_or(1),
        requests: arguments.requests.unwrap_or(100),
        keys: arguments.keys.unwrap_or(20),
        seed: arguments.seed.unwrap_or_else(rand::random),
        request_timeout: arguments.timeout.unwrap_or(Duration::from_secs(2)),
    };
    match plan.total_requests() {
        0..=MAX_REQUESTS => Ok(plan),
        total => Err(format!(
            "{total} requests are too many to be checked, at most {MAX_REQUESTS} are; give less of \
             --clients, --requests or --rounds"
        )),
    }
}

/// Runs a suite.
pub fn run(arguments: Arguments) -> ExitCode {
    match prepare(&arguments) {
        Ok((plan, layout, plot)) => {
            let form = arguments.form.unwrap_or(Form::Table);
            actix::System::new().block_on(perform(plan, layout, form, plot))
        }
        Err(message) => super::bad_arguments(&format!("error: {message}")),
    }
}

/// The file of the plot is made before the suite, so that nothing is in vain.
fn prepare(arguments: &Arguments) -> Result<(SuitePlan, Layout, Option<File>), String> {
    let plan = plan(arguments)?;
    let layout = match plan.condition {
        Condition::Static => Layout::load(&arguments.cluster),
        Condition::Dynamic { .. } => Layout::load_dynamic(&arguments.cluster),
    };
    let layout = layout.map_err(|error| error.to_string())?;
    let create = |path: &PathBuf| {
        File::create(path).map_err(|error| format!("--plot {}: {error}", Path::display(path)))
    };
    Ok((plan, layout, arguments.plot.as_ref().map(create).transpose()?))
}

/// Runs the suite until it is done or a signal comes; then all is as before.
async fn perform(plan: SuitePlan, layout: Layout, form: Form, file: Option<File>) -> ExitCode {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        eprintln!("error: the handlers for SIGINT and SIGTERM could not be installed");
        return ExitCode::FAILURE;
    };
    let title = plan.to_string();
    // JSON is one object: the rounds are in it.
    let mut lines: Box<dyn Write> = match form {
        Form::Table => Box::new(io::stdout()),
        Form::Json => Box::new(io::sink()),
    };
    let mut suite = Suite::new(plan, layout);
    let ran = tokio::select! {
        ran = suite.run(&mut *lines) => Ok(ran),
        _ = interrupt.recv() => Err(130),
        _ = terminate.recv() => Err(143),
    };
    let restored = suite.restore().await;
    if let Err(error) = &restored {
        eprintln!("error: {error}");
    }
    let finished = match ran {
        Ok(ran) => ran.and_then(|()| finish(&suite, &title, form, file)),
        Err(signal) => {
            eprintln!("stopped before the end; nothing was checked");
            return ExitCode::from(signal);
        }
    };
    match finished {
        Ok(None) if restored.is_ok() => ExitCode::SUCCESS,
        Ok(None) => ExitCode::FAILURE,
        Ok(Some(failure)) => failed(&failure),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

/// Prints the report and draws the plot; gives the reason if the suite fails.
fn finish(
    suite: &Suite,
    title: &str,
    form: Form,
    file: Option<File>,
) -> Result<Option<String>, SuiteError> {
    let report: SuiteReport = suite.report();
    let text = match form {
        Form::Table => report.lines(),
        Form::Json => format!("{}\n", report.json()),
    };
    io::stdout().write_all(text.as_bytes())?;
    if let Some(mut file) = file {
        let ledger = suite.ledger();
        let svg = plot(title, ledger.samples(), ledger.marks())?;
        file.write_all(svg.as_bytes())?;
    }
    Ok(report.failure())
}
