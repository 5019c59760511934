//! Measures the server beside a real etcd.

use std::future::Future;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gryadka::bench::{
    BenchError, Dimension, GrowthOptions, Options, SoakOptions, Subject, measure, measure_growth,
    soak,
};
use gryadka::perseus::parse_duration;
use gryadka::process::{self, fail, start_log};
use serde::Serialize;
use structopt::StructOpt;
use structopt::clap::AppSettings;

const EXAMPLES: &str = "EXAMPLES:
    bin/bench
        the table of goals, five rounds in alternation: about 15 minutes
    bin/bench --rounds 1 --duration 2s --keys 0
        a first impression, in two minutes
    bin/bench growth --svg growth.svg
        writes by connections, keys, size of values and nodes: about 25 minutes
    bin/bench soak raft
        ten minutes of full load

EXIT CODES:
    0  measured          1  something could not be measured
    2  bad arguments";

/// Measures the server beside a real etcd, on this machine, and prints Markdown.
/// It starts whole clusters, one after the other, at ports 28001 to 28407.
#[derive(StructOpt)]
#[structopt(
    name = "gryadka-bench",
    after_help = EXAMPLES,
    // Options of the table in front of another measurement would be lost.
    setting = AppSettings::ArgsNegateSubcommands,
)]
struct Arguments {
    /// How often each work is done on each subject
    #[structopt(long, default_value = "5", value_name = "N")]
    rounds: usize,
    /// How long each work lasts
    #[structopt(long, default_value = "5s", parse(try_from_str = parse_duration), value_name = "TIME")]
    duration: Duration,
    /// Keys with which memory and start are measured; 0: they are not
    #[structopt(long, default_value = "1000000", value_name = "N")]
    keys: u64,
    /// What is measured, separated by commas, of: caspaxos, raft,
    /// caspaxos-on-redis, etcd-v2, etcd-v3, limits
    #[structopt(
        long,
        use_delimiter = true,
        default_value = "caspaxos,etcd-v2,raft,etcd-v3,caspaxos-on-redis,limits",
        value_name = "SUBJECTS"
    )]
    subjects: Vec<Subject>,
    #[structopt(flatten)]
    files: Files,
    #[structopt(subcommand)]
    instead: Option<Instead>,
}

#[derive(StructOpt)]
struct Files {
    /// Where the clusters keep their files while they run
    #[structopt(long, default_value = "data/bench", parse(from_os_str), value_name = "DIR")]
    directory: PathBuf,
    /// Writes all figures there
    #[structopt(long, parse(from_os_str), value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured instead of the table.
#[derive(StructOpt)]
enum Instead {
    /// How writes depend on connections, keys, size of values and nodes, on both
    /// protocols and etcd
    Growth {
        /// How often each point is measured
        #[structopt(long, default_value = "3", value_name = "N")]
        rounds: usize,
        /// How long a point is measured
        #[structopt(long, default_value = "4s", parse(try_from_str = parse_duration), value_name = "TIME")]
        duration: Duration,
        /// What grows, separated by commas, of: connections, keys, value-bytes,
        /// nodes, shards; all of them when it is not given
        #[structopt(long, use_delimiter = true, value_name = "DIMENSIONS")]
        dimensions: Vec<Dimension>,
        /// Draws the curves there
        #[structopt(long, parse(from_os_str), value_name = "FILE")]
        svg: Option<PathBuf>,
        #[structopt(flatten)]
        files: Files,
    },
    /// Full load for long: whether throughput, memory and disk hold
    Soak {
        /// What is loaded: caspaxos, raft, caspaxos-on-redis, etcd-v2
        #[structopt(parse(try_from_str = parse_soaked))]
        subject: Subject,
        /// How many windows are measured, one after the other
        #[structopt(long, default_value = "10", value_name = "N")]
        windows: u32,
        /// How long a window lasts
        #[structopt(long, default_value = "1m", parse(try_from_str = parse_duration), value_name = "TIME")]
        window: Duration,
        /// How many keys there are
        #[structopt(long, default_value = "100000", value_name = "N")]
        keys: u64,
        #[structopt(flatten)]
        files: Files,
    },
}

/// Those whose keys can be filled over the v2 API.
fn parse_soaked(text: &str) -> Result<Subject, String> {
    match text.parse()? {
        Subject::EtcdV3 | Subject::Limits => {
            Err("one of caspaxos, raft, caspaxos-on-redis, etcd-v2 can be loaded".into())
        }
        subject => Ok(subject),
    }
}

impl Files {
    /// Makes the directory, and tells its absolute path.
    fn directory(&self) -> Result<PathBuf, BenchError> {
        let directory = &self.directory;
        std::fs::create_dir_all(directory).map_err(BenchError::of_file(directory))?;
        std::path::absolute(directory).map_err(BenchError::of_file(directory))
    }

    fn write_json(&self, figures: &impl Serialize) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(figures).expect("numbers and names");
        self.json.as_deref().map_or(Ok(()), |path| write(path, &text))
    }
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::of_file(path))
}

/// Last of all, so that files are there when nobody reads it any more.
fn print(text: &str) -> Result<(), BenchError> {
    let mut output = stdout();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(BenchError::of_file("standard output"))
}

fn main() {
    start_log();
    let arguments: Arguments = process::arguments();
    let Arguments { rounds, duration, keys, subjects, files, instead } = arguments;
    match instead {
        None => run(async {
            let directory = files.directory()?;
            let options = Options { rounds, duration, subjects, many_keys: keys, directory };
            let table = measure(&options).await?;
            files.write_json(&table)?;
            print(&table.markdown())
        }),
        Some(Instead::Growth { rounds, duration, mut dimensions, svg, files }) => run(async {
            if dimensions.is_empty() {
                dimensions = Dimension::ALL.into();
            }
            let directory = files.directory()?;
            let options = GrowthOptions { rounds, duration, dimensions, directory };
            let growth = measure_growth(&options).await;
            if let Some(path) = svg {
                write(&path, &growth.svg()?)?;
            }
            files.write_json(&growth)?;
            print(&growth.markdown())?;
            growth.check()
        }),
        Some(Instead::Soak { subject, windows, window, keys, files }) => run(async {
            let directory = files.directory()?;
            let soak = soak(&SoakOptions { subject, windows, window, keys, directory }).await?;
            files.write_json(&soak)?;
            print(&soak.markdown())
        }),
    }
}

fn run(work: impl Future<Output = Result<(), BenchError>>) {
    let result = actix::System::new().block_on(async {
        tokio::select! {
            result = work => result.map(|()| true),
            _ = gryadka::process::told_to_stop(false) => Ok(false),
        }
    });
    match result {
        Ok(true) => {}
        Ok(false) => fail(130, "interrupted"),
        Err(error) => fail(1, error),
    }
}
