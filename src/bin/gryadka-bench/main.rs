//! Measures the server beside a real etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gryadka::bench::{BenchError, Options, Subject, measure};
use gryadka::perseus::parse_duration;
use gryadka::process::fail;
use structopt::StructOpt;

const EXAMPLES: &str = "EXAMPLES:
    bin/bench
        the table of goals, five rounds in alternation: about 15 minutes
    bin/bench --rounds 1 --duration 2s --keys 0
        a first impression, in two minutes

EXIT CODES:
    0  measured          1  something could not be measured
    2  bad arguments";

/// Measures the server beside a real etcd, on this machine, and prints a Markdown
/// table. It starts whole clusters, one after the other, at ports 28001 to 28403.
#[derive(StructOpt)]
#[structopt(name = "gryadka-bench", after_help = EXAMPLES)]
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
    /// Where the clusters keep their files while they run
    #[structopt(long, default_value = "data/bench", parse(from_os_str), value_name = "DIR")]
    directory: PathBuf,
    /// Writes all figures there
    #[structopt(long, parse(from_os_str), value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() {
    env_logger::init();
    let arguments = Arguments::from_args();
    let Arguments { rounds, duration, keys, subjects, directory, json } = arguments;
    let directory = match std::path::absolute(&directory) {
        Ok(directory) => directory,
        Err(error) => fail(2, format!("--directory {}: {error}", directory.display())),
    };
    let options = Options { rounds, duration, subjects, many_keys: keys, directory };
    let result = actix::System::new().block_on(async {
        tokio::select! {
            result = run(&options, json.as_deref()) => result.map(|()| true),
            _ = gryadka::process::told_to_stop(false) => Ok(false),
        }
    });
    match result {
        Ok(true) => {}
        Ok(false) => fail(130, "interrupted"),
        Err(error) => fail(1, error),
    }
}

async fn run(options: &Options, json: Option<&Path>) -> Result<(), BenchError> {
    std::fs::create_dir_all(&options.directory).map_err(BenchError::of_file(&options.directory))?;
    let table = measure(options).await?;
    print!("{}", table.markdown());
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&table).expect("numbers and names");
        std::fs::write(path, text).map_err(BenchError::of_file(path))?;
    }
    Ok(())
}
