//! `gryadkactl acceptors`: the acceptors of a running cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gryadka::control::plan::Operation;
use gryadka::control::single::SingleStep;
use gryadka::control::{At, Control, ControlError, Format, Layout, Pace};
use structopt::StructOpt;

/// Shows and changes the acceptors of a running cluster.
///
/// Acceptors and proposers are named as in the cluster file. Each command can be
/// repeated: what is done already is said to be done.
#[derive(StructOpt)]
#[structopt(after_help = "EXAMPLES:
    gryadkactl acceptors dump cluster.json
        the configuration of every proposer, and how every acceptor stands
    gryadkactl acceptors grow cluster.json a4
        adds a4, with all steps and rescans that it takes
    gryadkactl acceptors replace cluster.json a2 a5
        a5 comes, a2 goes
    gryadkactl acceptors add-accept cluster.json all a4 3
        a single step: a4 accepts, and three of them must

Ctrl-C is safe at any time: run the same command again to go on.

EXIT CODES:
    0  done, or done already     2  bad arguments or files
    1  not done: somebody does   3  refused: it would be unsafe
       not answer; run it again  130  interrupted; run it again")]
pub enum Acceptors {
    /// Adds an acceptor, in as many steps as it takes
    Grow {
        #[structopt(flatten)]
        cluster: ClusterFile,
        #[structopt(flatten)]
        rescans: Rescans,
        /// The acceptor; it must be empty
        #[structopt(name = "ACCEPTOR")]
        acceptor: String,
    },
    /// Takes an acceptor out, in as many steps as it takes
    Shrink {
        #[structopt(flatten)]
        cluster: ClusterFile,
        #[structopt(flatten)]
        rescans: Rescans,
        /// The acceptor; it need not answer
        #[structopt(name = "ACCEPTOR")]
        acceptor: String,
    },
    /// Puts one acceptor in the place of another: grow, then shrink
    Replace {
        #[structopt(flatten)]
        cluster: ClusterFile,
        #[structopt(flatten)]
        rescans: Rescans,
        /// The one that goes; it need not answer
        #[structopt(name = "OLD")]
        old: String,
        /// The one that comes; it must be empty
        #[structopt(name = "NEW")]
        new: String,
    },
    /// Single step: adds to the acceptors that accept, and sets their quorum
    AddAccept(Single),
    /// Single step: adds to the acceptors that promise, and sets their quorum
    AddPrepare(Single),
    /// Single step: removes from the acceptors that accept, and sets their quorum
    RmAccept(Single),
    /// Single step: removes from the acceptors that promise, and sets their quorum
    RmPrepare(Single),
    /// Reads every key anew, so that the acceptors of now hold all of them
    Rescan {
        #[structopt(flatten)]
        cluster: ClusterFile,
        #[structopt(flatten)]
        rescans: Rescans,
    },
    /// Shows the configuration of every proposer and how every acceptor stands
    Dump {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// table, unless given, or json
        #[structopt(short = "w", long, value_name = "FORMAT")]
        write: Option<Format>,
    },
    /// Prints the keys that an acceptor holds: key, modified index, ballot
    Ls {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The acceptor; one that is in a list
        #[structopt(name = "ACCEPTOR")]
        acceptor: String,
        /// Those whose keys are deleted instead
        #[structopt(long)]
        deleted: bool,
    },
    /// Empties an acceptor that is in no list, so that it can be added
    Wipe {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The acceptor
        #[structopt(name = "ACCEPTOR")]
        acceptor: String,
    },
}

/// How long whoever does not answer is asked again, unless the command line says it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(StructOpt)]
pub struct ClusterFile {
    /// The cluster file
    #[structopt(name = "CLUSTER.json", parse(from_os_str))]
    path: PathBuf,
    /// How long whoever does not answer is asked again; 30s unless given
    #[structopt(long, value_name = "TIME", parse(try_from_str = gryadka::perseus::parse_duration))]
    patience: Option<Duration>,
}

#[derive(StructOpt)]
pub struct Rescans {
    /// Rescans no more keys a second than this
    #[structopt(long, value_name = "N", parse(try_from_str = rate))]
    rate: Option<u32>,
}

impl Rescans {
    fn pace(&self) -> Pace {
        Pace { keys_per_second: self.rate }
    }
}

#[derive(StructOpt)]
#[structopt(after_help = "EXAMPLES, from three acceptors to four:
    gryadkactl acceptors add-accept cluster.json all a4 3
    gryadkactl acceptors rescan cluster.json
    gryadkactl acceptors add-prepare cluster.json all a4 3")]
pub struct Single {
    #[structopt(flatten)]
    cluster: ClusterFile,
    /// The proposer that makes the step, or all; either way all follow
    #[structopt(name = "PROPOSER")]
    at: At,
    /// The acceptor
    #[structopt(name = "ACCEPTOR")]
    acceptor: String,
    /// How many of the list must agree after the step
    #[structopt(name = "QUORUM")]
    quorum: usize,
}

fn rate(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(rate) if rate > 0 => Ok(rate),
        _ => Err(format!("\"{text}\" is not a number of keys a second; use 1 or more")),
    }
}

/// Runs a command, and ends the process.
pub fn run(command: Acceptors) -> ! {
    let interrupted = "interrupted; no step is half done: run the same command again to go on";
    super::run(perform(command), ControlError::exit_status, interrupted)
}

async fn perform(command: Acceptors) -> Result<(), ControlError> {
    match command {
        Acceptors::Grow { cluster, rescans, acceptor } => {
            let operation = Operation::Grow(acceptor.as_str().into());
            open(&cluster)?.operate(&operation, rescans.pace()).await
        }
        Acceptors::Shrink { cluster, rescans, acceptor } => {
            let operation = Operation::Shrink(acceptor.as_str().into());
            open(&cluster)?.operate(&operation, rescans.pace()).await
        }
        Acceptors::Replace { cluster, rescans, old, new } => {
            let (old, new) = (old.as_str().into(), new.as_str().into());
            open(&cluster)?.operate(&Operation::Replace { old, new }, rescans.pace()).await
        }
        Acceptors::AddAccept(single) => step(SingleStep::AddAccept, single).await,
        Acceptors::AddPrepare(single) => step(SingleStep::AddPrepare, single).await,
        Acceptors::RmAccept(single) => step(SingleStep::RemoveAccept, single).await,
        Acceptors::RmPrepare(single) => step(SingleStep::RemovePrepare, single).await,
        Acceptors::Rescan { cluster, rescans } => open(&cluster)?.rescan(rescans.pace()).await,
        Acceptors::Dump { cluster, write } => {
            open(&cluster)?.dump(write.unwrap_or(Format::Table)).await
        }
        Acceptors::Ls { cluster, acceptor, deleted } => {
            open(&cluster)?.list(&acceptor, deleted).await
        }
        Acceptors::Wipe { cluster, acceptor } => open(&cluster)?.wipe(&acceptor).await,
    }
}

async fn step(step: SingleStep, single: Single) -> Result<(), ControlError> {
    let Single { cluster, at, acceptor, quorum } = single;
    open(&cluster)?.step(step, &at, &acceptor, quorum).await
}

fn open(ClusterFile { path, patience }: &ClusterFile) -> Result<Control, ControlError> {
    let path: &Path = path;
    Ok(Control::new(Layout::load(path)?, patience.unwrap_or(PATIENCE)))
}
