//! Why something could not be measured.

use std::io;
use std::path::PathBuf;

use crate::config::{ConfigError, DeployError};

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program is missing or fails.
    #[error("{program}: {error}; bin/bench installs it with apt, as root")]
    Program {
        /// Which one.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A node did not get ready.
    #[error(
        "{node} was not ready after {seconds} s; does another process have its port? Its log {} \
         ends with:\n{tail}",
        .log.display()
    )]
    NotReady {
        /// Which one.
        node: String,
        /// How long it had, in seconds.
        seconds: u64,
        /// Where it logs.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// `wrk` printed something else.
    #[error("wrk printed no figures but:\n{0}")]
    Figures(String),
    /// Nothing succeeded.
    #[error("not one of the requests to {0} succeeded")]
    NoSuccess(String),
    /// Keys that were to be there are not.
    #[error("PUT {url} failed {attempts} times, the last time with: {why}")]
    NotFilled {
        /// One of them.
        url: String,
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt failed.
        why: String,
    },
    /// What was measured has holes.
    #[error("{0} of the curves broke off")]
    BrokenOff(usize),
    /// No picture of the figures could be made.
    #[error("the picture cannot be drawn: {0}")]
    Picture(String),
    /// The cluster file is not good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The deployment files could not be written.
    #[error(transparent)]
    Deploy(#[from] DeployError),
}

impl BenchError {
    /// Names the file that an error is about.
    pub fn of_file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| BenchError::File { path, error }
    }
}
