//! A member of a Raft cluster, described by its command line alone.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use gryadka::config::EXIT_BAD_CONFIG;
use gryadka::config::raftkv::{self, CommandLine};
use gryadka::process;
use structopt::StructOpt;

/// Runs a member of a Raft cluster.
///
/// It keeps its log in raftkvd-ID and its snapshots in raftkvd-ID-snap, in the
/// working directory, and goes on from there when it is started again. What
/// --cluster and --join say counts only as long as there is nothing there.
///
/// There is no TLS and no authentication; keep the addresses to yourself.
#[derive(StructOpt)]
#[structopt(
    name = "raftkvd",
    after_help = "EXAMPLES:
    raftkvd
        a cluster of one, with its clients at http://127.0.0.1:9121
    raftkvd --id 2 --port 22380 --cluster \\
      http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379
        the second of three members on this machine
    curl -d http://127.0.0.1:42379 http://127.0.0.1:12380/4
    raftkvd --id 4 --join --port 42380 --cluster \\
      1=http://127.0.0.1:12379,4=http://127.0.0.1:42379
        adds a fourth member to it and starts that

EXIT CODES:
    0  stopped as asked, or removed from the cluster
    1  could not run
    2  bad arguments, or they cannot be used
    74 the disk failed"
)]
struct Arguments {
    /// Which member this is, from 1; 1 unless given
    #[structopt(long, value_name = "ID", parse(try_from_str = raftkv::parse_id))]
    id: Option<u64>,
    /// Where the members listen to each other, separated by commas: the first
    /// is member 1 and so on, or each is written ID=URL. This member listens at
    /// its own URL; if the host there is a name other than localhost, on every
    /// interface. http://127.0.0.1:9021 unless given
    #[structopt(long, value_name = "URLS")]
    cluster: Option<String>,
    /// The IP address that clients are served at, 0.0.0.0 for every interface;
    /// 127.0.0.1 unless given
    #[structopt(long, value_name = "IP", parse(try_from_str = raftkv::parse_host))]
    host: Option<IpAddr>,
    /// The port that clients are served at; 9121 unless given
    #[structopt(long, value_name = "PORT", parse(try_from_str = raftkv::parse_port))]
    port: Option<NonZeroU16>,
    /// Joins a running cluster that has added this member or is about to,
    /// instead of founding one
    #[structopt(long)]
    join: bool,
    /// Keeps the log in DIR and the snapshots in DIR-snap
    #[structopt(long, value_name = "DIR", parse(from_os_str))]
    data_dir: Option<PathBuf>,
}

impl Arguments {
    /// The defaults are raftexample's. They stand here because clap takes an
    /// option that lacks its value for its default.
    fn command_line(self, program: &'static str) -> CommandLine {
        CommandLine {
            program,
            id: self.id.unwrap_or(1),
            cluster: self.cluster.unwrap_or_else(|| "http://127.0.0.1:9021".to_owned()),
            host: self.host.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            port: self.port.map_or(9121, NonZeroU16::get),
            join: self.join,
            data_dir: self.data_dir,
        }
    }
}

/// The name that the program was called by, if it is one of ours: another one
/// would start an empty member in a directory of that name.
fn program() -> &'static str {
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name() {
        Some(name) if name == "raftexample" => "raftexample",
        _ => "raftkvd",
    }
}

fn main() {
    process::start_log();
    let arguments: Arguments = process::arguments();
    let program = program();
    let deployment = raftkv::deployment(arguments.command_line(program));
    let deployment = deployment.unwrap_or_else(|error| process::fail(EXIT_BAD_CONFIG, error));
    process::run_node(program, deployment, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_procfile_starts_three_members_of_one_cluster() {
        let procfile = include_str!("../../configs/Procfile");
        let lines: Vec<&str> = procfile.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 3);
        for (id, line) in (1..).zip(lines) {
            let command = line.strip_prefix(&format!("raftexample{id}: bin/")).unwrap();
            let arguments = Arguments::from_iter_safe(command.split(' ')).unwrap();
            let node = raftkv::deployment(arguments.command_line("raftexample")).unwrap();
            let raft = node.actors.raft.unwrap();
            assert_eq!((raft.id, raft.members.len()), (id, 3));
            let port = |address: Option<std::net::SocketAddr>| u64::from(address.unwrap().port());
            assert_eq!(port(node.listen.client), id * 10_000 + 2_380);
            assert_eq!(port(node.listen.peer), id * 10_000 + 2_379);
        }
    }

    #[test]
    fn without_arguments_it_is_a_cluster_of_one() {
        let arguments = Arguments::from_iter_safe(["raftkvd"]).unwrap();
        let node = raftkv::deployment(arguments.command_line("raftkvd")).unwrap();
        assert_eq!(node.listen.client, Some("127.0.0.1:9121".parse().unwrap()));
        assert_eq!(node.listen.peer, Some("127.0.0.1:9021".parse().unwrap()));
        assert_eq!(node.data_dir, Path::new("raftkvd-1"));
    }
}
