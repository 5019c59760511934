//! What a run is to do.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::client::Endpoint;

use super::Format;

/// What a run is to do.
pub struct LoadPlan {
    /// The nodes; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What is printed, and with that the workload.
    pub format: Format,
    /// Connections to each node, for the increments; at least 1.
    pub connections: usize,
    /// Clients, for the counters; at least 1.
    pub clients: usize,
    /// Keys, for the counters; at least 1.
    pub keys: usize,
    /// When to stop; `None`: when told to.
    pub duration: Option<Duration>,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Prints the summary alone.
    pub quiet: bool,
    /// Where the lines and the summary go.
    pub output: Box<dyn Write + Send>,
}

impl LoadPlan {
    /// Endless increments, one connection to each node, with a time-out of
    /// one second, as the original had it.
    pub fn new(endpoints: Vec<Endpoint>, output: Box<dyn Write + Send>) -> LoadPlan {
        LoadPlan {
            endpoints,
            format: Format::Totals,
            connections: 1,
            clients: 3,
            keys: 9,
            duration: None,
            request_timeout: Duration::from_secs(1),
            quiet: false,
            output,
        }
    }

    /// The names of the rows: of the nodes, or of the clients.
    pub fn row_names(&self) -> Vec<String> {
        match self.format {
            Format::Totals | Format::Perseus => {
                self.endpoints.iter().map(|endpoint| endpoint.name().to_owned()).collect()
            }
            Format::Counters => (1..=self.clients).map(|client| format!("c{client}")).collect(),
        }
    }
}

impl fmt::Debug for LoadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadPlan")
            .field("endpoints", &self.endpoints)
            .field("format", &self.format)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}
