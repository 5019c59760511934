//! `raftkvd`'s command line.

use std::net::IpAddr;
use std::path::Path;

use crate::config::raftkv::{CommandLine, deployment};
use crate::config::{Deployment, Serving};

const THREE: &str = "http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379";

fn line(id: u64, cluster: &str) -> CommandLine {
    CommandLine {
        program: "raftkvd",
        id,
        cluster: cluster.to_owned(),
        host: IpAddr::from([127, 0, 0, 1]),
        port: 12380,
        join: false,
        data_dir: None,
    }
}

fn good(line: CommandLine) -> Deployment {
    let node = deployment(line).unwrap_or_else(|error| panic!("{error}"));
    let text = serde_json::to_string(&node).unwrap();
    assert_eq!(Deployment::read(text.as_bytes()).unwrap(), node, "it could be a file");
    node
}

#[test]
fn a_command_line_is_a_deployment() {
    let node = good(line(2, THREE));
    assert_eq!((node.cluster.as_str(), node.node.as_str()), ("raftkv", "raftkvd-2"));
    assert_eq!(node.data_dir, Path::new("raftkvd-2"));
    assert_eq!(node.listen.client, Some("127.0.0.1:12380".parse().unwrap()));
    assert_eq!(node.listen.peer, Some("127.0.0.1:22379".parse().unwrap()));
    assert_eq!(node.listen.admin, None);
    assert_eq!(node.serving(), Some(Serving::Raft));
    let raft = node.actors.raft.unwrap();
    assert_eq!((raft.id, raft.join), (2, false));
    assert_eq!(raft.snapshot_dir, Path::new("raftkvd-2-snap"));
    let urls: Vec<String> = raft.members.values().map(ToString::to_string).collect();
    assert_eq!(urls.join(","), THREE);
    assert_eq!(raft.members.keys().collect::<Vec<_>>(), [&1, &2, &3]);
}

#[test]
fn the_rest_can_be_chosen() {
    let data_dir = Some("/srv/kv".into());
    let node = good(CommandLine {
        program: "raftexample",
        host: IpAddr::from([0, 0, 0, 0]),
        join: true,
        data_dir,
        ..line(5, "4=http://127.0.0.1:42379,http://127.0.0.1:22379,5=http://127.0.0.1:52379")
    });
    assert_eq!(node.node, "raftexample-5");
    assert_eq!(node.listen.client, Some("0.0.0.0:12380".parse().unwrap()));
    assert_eq!(node.data_dir, Path::new("/srv/kv"));
    let raft = node.actors.raft.unwrap();
    assert_eq!(raft.snapshot_dir, Path::new("/srv/kv-snap"));
    assert!(raft.join);
    assert_eq!(raft.members.keys().collect::<Vec<_>>(), [&2, &4, &5]);
}

#[test]
fn a_member_listens_at_its_own_url() {
    for (url, listener) in [
        ("http://127.0.0.1:12379", "127.0.0.1:12379"),
        ("http://10.0.0.7:12379", "10.0.0.7:12379"),
        ("http://[::1]:12379", "[::1]:12379"),
        ("http://localhost:12379", "127.0.0.1:12379"),
        ("http://node-1:12379", "0.0.0.0:12379"),
    ] {
        assert_eq!(good(line(1, url)).listen.peer, Some(listener.parse().unwrap()), "{url}");
    }
}

#[test]
fn mistakes_are_explained_in_the_options_names() {
    let on_port = |port| CommandLine { port, ..line(1, THREE) };
    let joins = |cluster| CommandLine { join: true, ..line(1, cluster) };
    let in_dir = |dir: &str| CommandLine { data_dir: Some(dir.into()), ..line(1, THREE) };
    for (line, expected) in [
        (
            line(9, THREE),
            "--id: 9 is not among the members of --cluster, 1, 2, 3; add its URL there",
        ),
        (
            line(0, THREE),
            "--id: 0 is not among the members of --cluster, 1, 2, 3; add its URL there",
        ),
        (
            line(1, ""),
            "--cluster: \"\" is not http://HOST:PORT; write it like http://127.0.0.1:8101, without a path",
        ),
        (
            line(1, "http://h:1,h:2"),
            "--cluster: \"h:2\" is not http://HOST:PORT; write it like http://127.0.0.1:8101, without a path",
        ),
        (
            line(1, "0=http://h:1"),
            "--cluster: \"0\" is not a member's id; use whole numbers from 1, such as \"1\"",
        ),
        (
            line(1, "http://h:1,1=http://h:2"),
            "--cluster: member 1 is there twice; give each member its own id",
        ),
        (
            line(1, "http://h:1,http://h:1"),
            "--cluster: http://h:1 is both member 1 and member 2; give each its own",
        ),
        (
            line(1, "http://0.0.0.0:1"),
            "--cluster: nobody can reach http://0.0.0.0:1; use an address that the others can",
        ),
        (
            joins("http://127.0.0.1:1"),
            "--cluster: there is nobody whose cluster could be joined; add a member that is running",
        ),
        (
            on_port(12379),
            "--port: 127.0.0.1:12379 is this member's address in --cluster; use another port",
        ),
        (
            in_dir(".."),
            "--data-dir: .. has no last name to put -snap after for the snapshots; end it in one",
        ),
    ] {
        let message = deployment(line).unwrap_err().to_string();
        assert_eq!(message, format!("raftkvd: {expected}"));
    }
}
