//! Raft replicas in deployment files and in cluster files.

use std::path::Path;

use serde_json::json;

use super::{Edit, cluster, deployment, edited};
use crate::config::{Deployment, ElectionTimes, HttpUrl, RaftActor, ReadDefault, Serving};

/// One of three members.
pub(super) const GOOD: &str = r#"{
  "cluster": "demo",
  "node": "r1",
  "listen": { "client": "127.0.0.1:8021", "peer": "127.0.0.1:8121" },
  "actors": {
    "raft": { "id": 1, "members": {
      "1": "http://127.0.0.1:8121", "2": "http://127.0.0.1:8122", "13": "http://node-3:8123" } }
  }
}"#;

/// Two founders with shared settings, one that joins them, and a load.
pub(super) const CLUSTER: &str = r#"{
  "nodes": {
    "n1": { "listen": { "client": "127.0.0.1:8021", "peer": "127.0.0.1:8121" }, "data_dir": "/srv/n1" },
    "n2": { "listen": { "client": "0.0.0.0:8022", "peer": "10.0.0.2:8122" } },
    "n3": { "listen": { "client": "127.0.0.1:8023", "peer": "127.0.0.1:8123" } }
  },
  "replicas": {
    "r1": { "node": "n1" },
    "r7": { "node": "n2", "snapshot_dir": "/snap", "settings": { "keep_entries": 0, "v2_default": "linearizable" } },
    "third": { "node": "n3", "id": 3, "join": true }
  },
  "raft": { "heartbeat_ms": 70, "v2_default": "stale" },
  "loads": { "c1": {} }
}"#;

const BOTH: &str = r#"{
  "cluster": "demo",
  "node": "n1",
  "serves": "raft",
  "listen": { "client": "127.0.0.1:8001", "peer": "127.0.0.1:8101" },
  "actors": {
    "acceptor": { "id": "a1", "storage": { "embedded": {} } },
    "proposer": { "id": "p1", "acceptors": [{"id":"a1","node":"n1"}], "quorum": { "read": 1, "write": 1 } },
    "raft": { "id": 1, "members": { "1": "http://127.0.0.1:8101" } }
  }
}"#;

fn replica(node: &Deployment) -> &RaftActor {
    node.actors.raft.as_ref().unwrap()
}

/// The members as `ID URL`.
fn members(node: &Deployment) -> Vec<String> {
    replica(node).members.iter().map(|(id, url)| format!("{id} {url}")).collect()
}

#[test]
fn a_good_file_says_what_it_says() {
    let node = deployment::good(GOOD);
    let raft = replica(&node);
    assert_eq!((raft.id, raft.join), (1, false));
    let known = ["1 http://127.0.0.1:8121", "2 http://127.0.0.1:8122", "13 http://node-3:8123"];
    assert_eq!(members(&node), known);
    assert_eq!(raft.peer_url().to_string(), "http://127.0.0.1:8121");
    assert_eq!(raft.snapshot_dir, Path::new("data/r1-snap"));
    let settings = raft.settings;
    assert_eq!(settings.heartbeat_ms, 50);
    assert_eq!(settings.election_ms, ElectionTimes { min: 150, max: 300 });
    assert_eq!(settings.snapshot_entries.get(), 100_000);
    assert_eq!(settings.snapshot_bytes.get(), 64 * 1024 * 1024);
    assert_eq!(settings.keep_entries, 5_000);
    assert_eq!(settings.v2_default, ReadDefault::Linearizable);
    assert_eq!(node.serving(), Some(Serving::Raft));
    assert_eq!(node.client_url(), Some("http://127.0.0.1:8021".parse::<HttpUrl>().unwrap()));

    let settings = json!({"heartbeat_ms": 1, "snapshot_bytes": 1, "v2_default": "stale"});
    let node = deployment::good(&edited(GOOD, &[("/actors/raft/settings", Some(settings))]));
    let settings = replica(&node).settings;
    assert_eq!((settings.heartbeat_ms, settings.snapshot_bytes.get()), (1, 1));
    assert_eq!((settings.keep_entries, settings.v2_default), (5_000, ReadDefault::Stale));
}

#[test]
fn what_is_written_is_read_back() {
    let joins: &[Edit] =
        &[("/actors/raft/join", Some(json!(true))), ("/actors/raft/members/1", None)];
    for text in [GOOD, &edited(GOOD, joins), BOTH] {
        let node = deployment::good(text);
        assert_eq!(deployment::good(&serde_json::to_string_pretty(&node).unwrap()), node);
    }
}

#[test]
fn snapshots_are_beside_the_data() {
    for (data_dir, snapshot_dir) in [
        ("", "data/r1-snap"),
        ("x", "x-snap"),
        ("x/", "x-snap"),
        ("./x", "./x-snap"),
        ("/srv/r1.d", "/srv/r1.d-snap"),
    ] {
        let node = deployment::good(&edited(GOOD, &[("/data_dir", Some(json!(data_dir)))]));
        assert_eq!(replica(&node).snapshot_dir, Path::new(snapshot_dir), "{data_dir:?}");
    }
    let given: &[Edit] = &[
        ("/data_dir", Some(json!("/"))),
        ("/actors/raft/snapshot_dir", Some(json!("/var/snapshots"))),
    ];
    let node = deployment::good(&edited(GOOD, given));
    assert_eq!(replica(&node).snapshot_dir, Path::new("/var/snapshots"));
}

#[test]
fn a_member_is_reached_where_it_says() {
    // One that joins is reached at its peer listener unless it says where.
    let joins: &[Edit] =
        &[("/actors/raft/join", Some(json!(true))), ("/actors/raft/members/1", None)];
    assert_eq!(members(&deployment::good(&edited(GOOD, joins))), members(&deployment::good(GOOD)));
    // A name may stand for another port, and so may a listener on every interface.
    for edit in [
        ("/actors/raft/members/1", Some(json!("http://node-1:9"))),
        ("/listen/peer", Some(json!("0.0.0.0:9"))),
    ] {
        deployment::good(&edited(GOOD, &[edit]));
    }
    // Clients reach a node on every interface where its peers do.
    let everywhere: &[Edit] = &[
        ("/listen", Some(json!({"client": "0.0.0.0:8021", "peer": "0.0.0.0:8121"}))),
        ("/actors/raft/members/1", Some(json!("http://node-1:8121"))),
    ];
    let url = deployment::good(&edited(GOOD, everywhere)).client_url().unwrap();
    assert_eq!(url.to_string(), "http://node-1:8021");
}

#[test]
fn fields_are_explained() {
    let url = || Some(json!("http://h:1"));
    let not_an_id = "is not a member's id; use whole numbers from 1, such as \"1\"…";
    for (member, id) in [
        ("/actors/raft/members/0", "0"),
        ("/actors/raft/members/02", "02"),
        ("/actors/raft/members/+4", "+4"),
        ("/actors/raft/members/r4", "r4"),
        ("/actors/raft/members/18446744073709551616", "18446744073709551616"),
    ] {
        let expected = format!("actors.raft.members: {id:?} {not_an_id}");
        deployment::check_messages(GOOD, &[(&[(member, url())], &expected)]);
    }
    deployment::check_messages(
        GOOD,
        &[
            (
                &[("/actors/raft/heartbeat_ms", Some(json!(1)))],
                "actors.raft.heartbeat_ms: unknown field `heartbeat_ms`, expected one of `id`, `members`, `join`, `snapshot_dir`, `settings`…",
            ),
            (
                &[("/actors/raft/settings", Some(json!({"election": 1})))],
                "actors.raft.settings.election: unknown field `election`, expected one of `heartbeat_ms`, `election_ms`, `snapshot_entries`, `snapshot_bytes`, `keep_entries`, `v2_default`…",
            ),
            (
                &[("/actors/raft/settings", Some(json!({"election_ms": 300})))],
                "actors.raft.settings.election_ms: invalid type: integer `300`, expected an object with min and max…",
            ),
            (
                &[("/actors/raft/settings", Some(json!({"snapshot_entries": 0})))],
                "actors.raft.settings.snapshot_entries: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
            (
                &[("/actors/raft/settings", Some(json!({"v2_default": "local"})))],
                "actors.raft.settings.v2_default: unknown variant `local`, expected `linearizable` or `stale`…",
            ),
            (
                &[("/actors/raft/id", Some(json!(0)))],
                "actors.raft.id: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
            (&[("/actors/raft/members", None)], "actors.raft: missing field `members`; add it…"),
            (
                &[("/actors/raft/members/2", Some(json!("127.0.0.1:8122")))],
                "actors.raft.members.2: \"127.0.0.1:8122\" is not http://HOST:PORT;…",
            ),
            (
                &[("/serves", Some(json!("acceptor")))],
                "serves: unknown variant `acceptor`, expected `proposer` or `raft`…",
            ),
        ],
    );
}

#[test]
fn members_and_listeners_must_fit() {
    let join = || ("/actors/raft/join", Some(json!(true)));
    deployment::check_messages(
        GOOD,
        &[
            (
                &[("/listen/client", None)],
                "listen.client: is missing, and the node's raft replica serves clients there; add IP:PORT",
            ),
            (
                &[("/listen/peer", None)],
                "listen.peer: is missing, and the other members reach the raft replica there; add IP:PORT",
            ),
            (
                &[("/actors/raft/members/1", None)],
                "actors.raft.members: lack 1, this replica itself; add where the others reach it",
            ),
            (
                &[
                    ("/actors/raft/members/1", None),
                    join(),
                    ("/listen/peer", Some(json!("[::]:1"))),
                ],
                "actors.raft.members: lack 1, this replica itself; add where the others reach it",
            ),
            (
                &[("/actors/raft/members", Some(json!({}))), join()],
                "actors.raft.members: there is nobody whose cluster could be joined; add a member that is running",
            ),
            (
                &[("/listen/peer", Some(json!("127.0.0.1:8199")))],
                "actors.raft.members.1: http://127.0.0.1:8121 is this replica, and listen.peer is 127.0.0.1:8199; use one port",
            ),
            (
                &[("/actors/raft/members/13", Some(json!("http://127.0.0.1:8122")))],
                "actors.raft.members.13: http://127.0.0.1:8122 is both member 2 and member 13; give each its own",
            ),
            (
                &[("/actors/raft/members/2", Some(json!("http://0.0.0.0:8122")))],
                "actors.raft.members.2: nobody can reach http://0.0.0.0:8122; use an address that the others can",
            ),
            (
                &[("/data_dir", Some(json!("..")))],
                "data_dir: .. has no last name to put -snap after for the snapshots; end it in one",
            ),
            (
                &[("/actors/raft/snapshot_dir", Some(json!("data/r1/")))],
                "actors.raft.snapshot_dir: is also data_dir; give the snapshots a directory of their own",
            ),
        ],
    );
    let url = |id: u64| (id.to_string(), json!(format!("http://h:{id}")));
    let many: serde_json::Map<_, _> = (1..=101).map(url).collect();
    deployment::check_messages(
        GOOD,
        &[(
            &[("/actors/raft/members", Some(json!(many)))],
            "actors.raft.members: are 101; use at most 100",
        )],
    );
}

#[test]
fn times_must_fit() {
    let given = |settings| [("/actors/raft/settings", Some(settings))];
    for (settings, expected) in [
        (json!({"heartbeat_ms": 0}), "heartbeat_ms: 0 is out of bounds; use 1 to 60000"),
        (json!({"heartbeat_ms": 60_001}), "heartbeat_ms: 60001 is out of bounds; use 1 to 60000"),
        (
            json!({"heartbeat_ms": 101}),
            "election_ms.min: 150 is less than two heartbeats: one late heartbeat would start an election; use 202 or more",
        ),
        (
            json!({"election_ms": {"min": 300, "max": 300}}),
            "election_ms.max: 300 is not more than min, 300: replicas would stand for election together; use twice min",
        ),
        (
            json!({"election_ms": {"min": 300, "max": 600_001}}),
            "election_ms.max: 600001 is out of bounds; use at most 600000",
        ),
    ] {
        let expected = format!("actors.raft.settings.{expected}");
        deployment::check_messages(GOOD, &[(&given(settings), &expected)]);
    }
    let widest = json!({"heartbeat_ms": 60_000, "election_ms": {"min": 120_000, "max": 600_000}});
    deployment::good(&edited(GOOD, &given(widest)));
}

#[test]
fn a_node_with_both_says_who_serves() {
    for (serves, expected) in [("raft", Serving::Raft), ("proposer", Serving::Proposer)] {
        let node = deployment::good(&edited(BOTH, &[("/serves", Some(json!(serves)))]));
        assert_eq!(node.serving(), Some(expected));
        assert!(node.client_url().is_some());
    }
    deployment::check_messages(
        BOTH,
        &[
            (
                &[("/serves", None)],
                "serves: is missing, and both the proposer and the raft replica could serve clients; add \"proposer\" or \"raft\"",
            ),
            (
                &[("/actors/raft", None)],
                "serves: is \"raft\", and the node has no raft replica; remove it",
            ),
            (
                &[("/actors/proposer", None), ("/serves", Some(json!("proposer")))],
                "serves: is \"proposer\", and the node has none; remove it",
            ),
        ],
    );
    assert_eq!(deployment::good(deployment::GOOD).serving(), Some(Serving::Proposer));
}

#[test]
fn a_cluster_becomes_its_nodes() {
    let cluster = cluster::good(CLUSTER);
    let nodes = cluster.deployments();
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["c1", "n1", "n2", "n3"]);
    for node in nodes.values() {
        let text = serde_json::to_string(node).unwrap();
        assert_eq!(Deployment::read(text.as_bytes()).unwrap(), *node, "a node accepts it");
        assert!(node.peers.is_empty(), "members stand in the replica");
    }
    let founders = ["1 http://127.0.0.1:8121", "7 http://10.0.0.2:8122"];
    assert_eq!(members(&nodes["n1"]), founders);
    assert_eq!(members(&nodes["n2"]), founders);
    assert_eq!(members(&nodes["n3"]), [founders[0], "3 http://127.0.0.1:8123", founders[1]]);
    let of = |node: &str| replica(&nodes[node]);
    assert_eq!([of("n1").id, of("n2").id, of("n3").id], [1, 7, 3]);
    assert_eq!([of("n1").join, of("n3").join], [false, true]);
    assert_eq!(of("n1").snapshot_dir, Path::new("/srv/n1-snap"));
    assert_eq!(of("n2").snapshot_dir, Path::new("/snap"));

    assert_eq!([of("n1"), of("n2")].map(|raft| raft.settings.heartbeat_ms), [70, 70]);
    assert_eq!([of("n1"), of("n2")].map(|raft| raft.settings.keep_entries), [5_000, 0]);
    let reads = [of("n1"), of("n2")].map(|raft| raft.settings.v2_default);
    assert_eq!(reads, [ReadDefault::Stale, ReadDefault::Linearizable]);

    let expected = [
        ("n1", "http://127.0.0.1:8021"),
        ("n2", "http://10.0.0.2:8022"),
        ("n3", "http://127.0.0.1:8023"),
    ];
    let expected = expected.map(|(node, url)| (node.to_owned(), url.to_owned()));
    assert_eq!(cluster.endpoints(), expected);
    let load = nodes["c1"].actors.load.as_ref().unwrap();
    assert_eq!(load.endpoints["n2"].to_string(), "http://10.0.0.2:8022");
}

#[test]
fn the_shipped_cluster_has_three_replicas_with_the_usual_settings() {
    let cluster = cluster::config("raft-cluster.json");
    for (id, (name, node)) in (1..).zip(cluster.deployments()) {
        assert_eq!((name.clone(), replica(node).id), (format!("r{id}"), id));
        assert_eq!(replica(node).members.len(), 3);
        assert_eq!(replica(node).settings, Default::default());
        let listen = [node.listen.client, node.listen.peer, node.listen.admin];
        let ports = listen.map(|address| u64::from(address.unwrap().port()));
        assert_eq!(ports, [8020 + id, 8120 + id, 8220 + id]);
    }
}

#[test]
fn snapshots_of_replicas_on_one_machine_are_apart() {
    let third_at = |path| ("/replicas/third/snapshot_dir", Some(json!(path)));
    cluster::check_messages(
        CLUSTER,
        &[
            (&[third_at("/srv/n3-snap")], "fine"),
            // That of another machine.
            (&[third_at("/snap")], "fine"),
            (&[third_at("data/n3/snapshots")], "fine"),
            (
                &[third_at("/srv/n1")],
                "replicas.third.snapshot_dir: /srv/n1 is also nodes.n1.data_dir; give each a directory of its own",
            ),
            (
                &[third_at("/srv/n1-snap")],
                "replicas.third.snapshot_dir: /srv/n1-snap is also replicas.r1.snapshot_dir; give each a directory of its own",
            ),
            (
                &[third_at("/srv")],
                "replicas.third.snapshot_dir: /srv holds nodes.n1.data_dir, /srv/n1; give each a directory of its own",
            ),
            (
                &[("/nodes/n3/data_dir", Some(json!("/srv/n1-snap/3")))],
                "nodes.n3.data_dir: /srv/n1-snap/3 is inside replicas.r1.snapshot_dir, /srv/n1-snap; give each a directory of its own",
            ),
        ],
    );
}

#[test]
fn a_cluster_is_explained_with_its_own_paths() {
    let proposer = json!({"node": "n1", "acceptors": ["a"], "quorum": {"read": 1, "write": 1}});
    let acceptor = json!({"a": {"storage": {"host": "127.0.0.1", "port": 6379}}});
    let both = [("/acceptors", Some(acceptor)), ("/proposers", Some(json!({"p1": proposer})))];
    cluster::check_messages(
        CLUSTER,
        &[
            (
                &[("/replicas/r1/port", Some(json!(1)))],
                "replicas.r1.port: unknown field `port`, expected one of `node`, `id`, `join`, `snapshot_dir`, `settings`…",
            ),
            (
                &[("/replicas/r 1", Some(json!({"node": "n1"})))],
                "replicas: \"r 1\" is not a name;…",
            ),
            (
                &[("/replicas/r1/node", Some(json!("n9")))],
                "replicas.r1.node: there is no node \"n9\"; the nodes are c1, n1, n2, n3",
            ),
            (
                &[("/replicas/r7/node", Some(json!("n1")))],
                "replicas.r7.node: n1 has replica r1 already; a node has one replica",
            ),
            (
                &[("/replicas/third/id", None)],
                "replicas.third: the name does not end in a number from 1; give it an \"id\"",
            ),
            (
                &[("/replicas/r0", Some(json!({"node": "n1"})))],
                "replicas.r0: the name does not end in a number from 1; give it an \"id\"",
            ),
            (
                &[("/replicas/third/id", Some(json!(7)))],
                "replicas.third.id: 7 is also the id of replicas.r7; give each its own",
            ),
            (
                &[("/nodes/n1/listen/peer", None)],
                "nodes.n1.listen.peer: is missing, and replica r1 is reached there; add IP:PORT",
            ),
            (
                &[("/nodes/n1/listen/peer", Some(json!("0.0.0.0:8121")))],
                "nodes.n1.listen.peer: nobody can reach replica r1 at 0.0.0.0:8121; use an address that the others can",
            ),
            (
                &[("/nodes/n1/listen/client", None)],
                "nodes.n1.listen.client: is missing, and the node's raft replica serves clients there; add IP:PORT",
            ),
            (
                &[("/raft/heartbeat_ms", Some(json!(101)))],
                "raft.election_ms.min: 150 is less than two heartbeats:…",
            ),
            (
                &[("/replicas/r7/settings/heartbeat_ms", Some(json!(101)))],
                "replicas.r7.settings.election_ms.min: 150 is less than two heartbeats:…",
            ),
            (
                &[
                    ("/replicas/r1/join", Some(json!(true))),
                    ("/replicas/r7/join", Some(json!(true))),
                ],
                "replicas: there is nobody whose cluster could be joined; add a member that is running",
            ),
            (&both, "nodes.n1.serves: is missing, and both the proposer…"),
            (
                &[("/nodes/n1/serves", Some(json!("proposer")))],
                "nodes.n1.serves: is \"proposer\", and the node has none; remove it",
            ),
        ],
    );
}

#[test]
fn a_cluster_file_is_not_a_nodes() {
    let message = Deployment::read(CLUSTER.as_bytes()).unwrap_err().to_string();
    assert!(message.starts_with("is a cluster file; write its nodes' files with"), "{message}");
}
