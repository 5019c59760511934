//! Writing a cluster's files, for `gryadkactl deploy`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::error::listed;
use super::redis_conf;

/// Why a cluster's files were not, or not all, written.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A name is neither a node nor an acceptor of the cluster.
    #[error("there is no node or acceptor {name:?}; there are {known}")]
    UnknownName {
        /// The name.
        name: String,
        /// What there is, separated by commas.
        known: String,
    },
    /// A file could not be written.
    #[error("{}: cannot be written: {error}; check its directory", .path.display())]
    Write {
        /// The file, or the directory it should be in.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

/// Writes `out/NODE.json` for each node and `out/ACCEPTOR/redis.conf` for each
/// acceptor in Redis: of all of them, or only of those named. An embedded
/// acceptor's name stands for its node.
///
/// Gives the files that were written. Each is replaced as a whole, so a reader
/// sees the old file or the new one; nothing is written when a name is unknown.
pub fn write_deployment(
    cluster: &Cluster,
    names: &[String],
    out: &Path,
) -> Result<Vec<PathBuf>, DeployError> {
    let Selection { nodes, redis } = select(cluster, names)?;
    let mut written = Vec::new();
    for node in nodes {
        let path = out.join(format!("{node}.json"));
        let text = serde_json::to_string_pretty(&cluster.deployments()[node])
            .map_err(|error| DeployError::Write { path: path.clone(), error: error.into() })?;
        replace(&path, &format!("{text}\n"))?;
        written.push(path);
    }
    for acceptor in redis {
        written.push(write_redis_conf(cluster, acceptor, &out.join(acceptor))?);
    }
    Ok(written)
}

struct Selection<'a> {
    nodes: BTreeSet<&'a str>,
    redis: BTreeSet<&'a str>,
}

fn select<'a>(cluster: &'a Cluster, names: &[String]) -> Result<Selection<'a>, DeployError> {
    let all_nodes = cluster.deployments().keys().map(String::as_str);
    let all_redis = cluster.redis_acceptors().keys().map(String::as_str);
    let all = Selection { nodes: all_nodes.collect(), redis: all_redis.collect() };
    if names.is_empty() {
        return Ok(all);
    }
    let embedded: Vec<(String, &str)> = cluster
        .deployments()
        .values()
        .filter_map(|node| Some((node.actors.acceptor.as_ref()?.id.to_string(), &*node.node)))
        .collect();
    let mut chosen = Selection { nodes: BTreeSet::new(), redis: BTreeSet::new() };
    for name in names {
        let nodes = all.nodes.get(name.as_str()).into_iter();
        let homes = embedded.iter().filter(|(id, _)| id == name).map(|(_, node)| node);
        let nodes: Vec<&str> = nodes.chain(homes).copied().collect();
        let redis = all.redis.get(name.as_str());
        if nodes.is_empty() && redis.is_none() {
            let acceptors = embedded.iter().map(|(id, _)| id.as_str());
            let known: BTreeSet<&str> =
                all.nodes.iter().chain(&all.redis).copied().chain(acceptors).collect();
            return Err(DeployError::UnknownName { name: name.clone(), known: listed(known) });
        }
        chosen.nodes.extend(nodes);
        chosen.redis.extend(redis);
    }
    Ok(chosen)
}

fn write_redis_conf(cluster: &Cluster, name: &str, dir: &Path) -> Result<PathBuf, DeployError> {
    let failed = |error| DeployError::Write { path: dir.to_path_buf(), error };
    fs::create_dir_all(dir).map_err(failed)?;
    let absolute = fs::canonicalize(dir).map_err(failed)?;
    let absolute = absolute.to_str().ok_or_else(|| {
        failed(io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8"))
    })?;
    let path = dir.join("redis.conf");
    replace(&path, &redis_conf::render(name, &cluster.redis_acceptors()[name], absolute))?;
    Ok(path)
}

/// Writes a file beside its place, then moves it there.
fn replace(path: &Path, text: &str) -> Result<(), DeployError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let attempt = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    attempt().map_err(|error| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&beside);
        DeployError::Write { path: path.to_path_buf(), error }
    })
}
