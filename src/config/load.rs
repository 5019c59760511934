//! From a file to a [`Deployment`].

use std::path::Path;

use super::deployment::Deployment;
use super::error::{ConfigError, Problem};
use super::{json, original};

impl Deployment {
    /// Reads and checks a deployment file, or the original proposer's flat one.
    pub fn load(file: &Path) -> Result<Deployment, ConfigError> {
        json::read(file).and_then(|text| Self::read(&text)).map_err(|problem| problem.in_file(file))
    }

    pub(super) fn read(text: &[u8]) -> Result<Deployment, Problem> {
        let keys = json::top_level_keys(text)?;
        if keys.contains("quorum") && keys.contains("acceptors") {
            return original::read_proposer(text);
        }
        if keys.contains("proposers") || keys.contains("replicas") {
            return Err(Problem::at(
                "",
                "is a cluster file; write its nodes' files with `gryadkactl deploy FILE`",
            ));
        }
        let mut deployment: Deployment = json::parse(text)?;
        deployment.fill_in();
        deployment.check()?;
        Ok(deployment)
    }
}
