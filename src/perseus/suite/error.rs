//! Why a suite cannot go on.

use std::io;

use super::PlotError;
use crate::client::OperatorError;

/// Why a suite cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// No node answers, or none does any more.
    #[error("no node answers, so nothing is checked; the last error: {error}")]
    NoAnswer {
        /// Why the last attempt failed.
        error: String,
    },
    /// A node was to be killed.
    #[error("node {node} was not killed: {error}")]
    Kill {
        /// Its name.
        node: String,
        /// Why not.
        error: Box<OperatorError>,
    },
    /// A killed node was to be revived.
    #[error("node {node} is not revived: {error}; POST {{}} to {url}/chaos/revive, or restart it")]
    Revive {
        /// Its name.
        node: String,
        /// Its admin listener.
        url: String,
        /// Why not.
        error: Box<OperatorError>,
    },
    /// A line could not be printed.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// There is no picture.
    #[error(transparent)]
    Plot(#[from] PlotError),
}
