//! `gryadkactl chaos`: cut connections and dead nodes, on purpose.

use std::path::{Path, PathBuf};

use gryadka::config::wrong_beginning;
use gryadka::control::{ChaosControl, ControlError};
use structopt::StructOpt;

/// Makes a running cluster misbehave: drops messages, kills nodes.
///
/// Nodes are named as in the cluster file, or by their index there, from 0. Row i,
/// column j of the matrix is for messages from node i to node j. Each node must have
/// "chaos": true in the cluster file.
#[derive(StructOpt)]
#[structopt(after_help = "EXAMPLES:
    gryadkactl chaos upload cluster.json matrix
        a file of n lines of n probabilities from 0 to 1
    gryadkactl chaos edit cluster.json p1 p2 0.5
        half of the messages from p1 to p2 are dropped
    gryadkactl chaos edit cluster.json 0 1 20~5 --delay
        each takes 15 to 25 ms
    gryadkactl chaos partition cluster.json p1,p2 / p3,p4,p5
        two groups that hear nothing of each other
    gryadkactl chaos heal cluster.json
        everything gets through again

EXIT CODES:
    0  done, at every node       2  bad arguments or files
    1  a node does not answer    3  refused: chaos is off there")]
pub enum Chaos {
    /// Replaces the whole matrix
    Upload {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// n lines of n numbers, or a JSON list of lists
        #[structopt(name = "FILE", parse(from_os_str))]
        file: PathBuf,
        /// Delays in milliseconds instead, as 20 or 20~5
        #[structopt(long)]
        delay: bool,
    },
    /// Changes one value of the matrix
    Edit {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The node that sends
        #[structopt(name = "ROW")]
        row: String,
        /// The node that receives
        #[structopt(name = "COL")]
        column: String,
        /// The probability that a message is dropped
        #[structopt(name = "VALUE", allow_hyphen_values = true)]
        value: String,
        /// A delay in milliseconds instead, as 20 or 20~5
        #[structopt(long)]
        delay: bool,
    },
    /// Prints the matrix, a row a line
    Get {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The node whose matrix is printed; the newest of all unless given
        #[structopt(name = "NODE")]
        node: Option<String>,
        /// The delays instead
        #[structopt(long)]
        delay: bool,
    },
    /// Cuts a node off from the others and from its clients
    Kill {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The node
        #[structopt(name = "NODE")]
        node: String,
        /// Makes its process abort at once instead
        #[structopt(long)]
        process: bool,
    },
    /// Ends that, unless the process is gone
    Revive {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The node
        #[structopt(name = "NODE")]
        node: String,
    },
    /// Splits the nodes into groups that hear nothing of each other
    Partition {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The groups: a,b / c,d,e
        #[structopt(name = "GROUPS", required = true)]
        groups: Vec<String>,
    },
    /// Cuts a node off from the others
    Isolate {
        #[structopt(flatten)]
        cluster: ClusterFile,
        /// The node
        #[structopt(name = "NODE")]
        node: String,
    },
    /// Lets everything through at once, and revives all nodes
    Heal {
        #[structopt(flatten)]
        cluster: ClusterFile,
    },
}

#[derive(StructOpt)]
pub struct ClusterFile {
    /// The cluster file
    #[structopt(name = "CLUSTER.json", parse(from_os_str))]
    path: PathBuf,
}

/// Runs a command, and ends the process.
pub fn run(command: Chaos) -> ! {
    let interrupted = "interrupted; some nodes may have the change, and some not";
    super::run(perform(command), ControlError::exit_status, interrupted)
}

async fn perform(command: Chaos) -> Result<(), ControlError> {
    let open = |cluster: &ClusterFile| ChaosControl::load(&cluster.path);
    match command {
        Chaos::Upload { cluster, file, delay } => {
            let (control, text) = (open(&cluster)?, read(&file)?);
            let result = match delay {
                true => control.upload_delay(&text).await,
                false => control.upload(&text).await,
            };
            result.map_err(|error| match error {
                ControlError::Arguments(why) => {
                    ControlError::Arguments(format!("{}: {why}", file.display()))
                }
                other => other,
            })
        }
        Chaos::Edit { cluster, row, column, value, delay } => {
            open(&cluster)?.edit(&row, &column, &value, delay).await
        }
        Chaos::Get { cluster, node, delay } => open(&cluster)?.get(node.as_deref(), delay).await,
        Chaos::Kill { cluster, node, process } => open(&cluster)?.kill(&node, process).await,
        Chaos::Revive { cluster, node } => open(&cluster)?.revive(&node).await,
        Chaos::Partition { cluster, groups } => open(&cluster)?.partition(&groups.join(" ")).await,
        Chaos::Isolate { cluster, node } => open(&cluster)?.isolate(&node).await,
        Chaos::Heal { cluster } => open(&cluster)?.heal().await,
    }
}

fn read(file: &Path) -> Result<String, ControlError> {
    let wrong = |why: String| ControlError::Arguments(format!("{}: {why}", file.display()));
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match wrong_beginning(&text) {
        Some(why) => Err(wrong(why)),
        None => String::from_utf8(text).map_err(|_| wrong("is not UTF-8".into())),
    }
}
