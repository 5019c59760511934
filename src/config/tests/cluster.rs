//! Cluster files, and the nodes that come out of them.

use std::path::Path;

use serde_json::json;

use super::{Edit, assert_message, edited};
use crate::config::{AcceptorPlace, ChaosAccess, Cluster, Deployment, HttpUrl, LoadFormat};

/// Both kinds of acceptor, both kinds of proposer, and a client node.
pub(super) const GOOD: &str = r#"{
  "cluster": "demo",
  "nodes": {
    "n1": { "listen": { "client": "127.0.0.1:8001", "peer": "127.0.0.1:8101" }, "chaos": true },
    "n2": { "listen": { "client": "0.0.0.0:8002", "peer": "10.0.0.2:8102" }, "data_dir": "/srv/n2" }
  },
  "acceptors": {
    "a1": { "node": "n1", "storage": { "embedded": {} } },
    "a2": { "node": "n2", "storage": { "embedded": {} } },
    "a3": { "storage": { "host": "127.0.0.1", "port": 6381 }, "isTransient": true, "accept": "5f", "prepare": "9a" },
    "a4": { "storage": { "host": "127.0.0.1", "port": 6382 } }
  },
  "proposers": {
    "p1": { "node": "n1", "acceptors": ["a1", "a2", "a3"], "quorum": { "read": 2, "write": 2 } },
    "p2": { "id": 7, "node": "n2", "acceptors": ["a1", "a2", "a3"], "quorum": { "read": 2, "write": 2 } },
    "p3": { "port": 2383, "acceptors": ["a3", "a2", "a1"], "quorum": { "read": 2, "write": 2 } }
  },
  "loads": { "c1": { "format": "counters", "connections": 4, "duration_seconds": 9 } }
}"#;

pub(super) fn good(text: &str) -> Cluster {
    Cluster::read(text.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

pub(super) fn check_messages(base: &str, table: &[(&[Edit], &str)]) {
    for (edits, expected) in table {
        let problem = Cluster::read(edited(base, edits).as_bytes());
        let message = problem.map_or_else(|problem| problem.to_string(), |_| "fine".to_owned());
        assert_message(&message, expected, edits);
    }
}

pub(super) fn config(name: &str) -> Cluster {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    Cluster::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_good_file_becomes_its_nodes() {
    let cluster = good(GOOD);
    assert_eq!(cluster.name(), "demo");
    let nodes = cluster.deployments();
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["c1", "n1", "n2", "p3"]);
    for (name, node) in nodes {
        assert_eq!(*name, node.node);
        let text = serde_json::to_string(node).unwrap();
        assert_eq!(Deployment::read(text.as_bytes()).unwrap(), *node, "a node accepts it");
    }

    let n1 = &nodes["n1"];
    assert!(n1.chaos == ChaosAccess::Loopback && n1.data_dir == Path::new("data/n1"));
    let peers: Vec<_> = n1.peers.iter().map(|(peer, url)| format!("{peer} {url}")).collect();
    assert_eq!(peers, ["n2 http://10.0.0.2:8102"], "p3 and c1 have no peer listener");
    let proposer = n1.actors.proposer.as_ref().unwrap();
    assert_eq!(proposer.id.as_str(), "p1", "a proposer's id is its name unless given");
    assert_eq!(proposer.acceptors[1].place, AcceptorPlace::Node { node: "n2".to_owned() });
    assert!(matches!(proposer.acceptors[2].place, AcceptorPlace::Redis { is_transient: true, .. }));

    assert_eq!(nodes["n2"].data_dir, Path::new("/srv/n2"));
    assert_eq!(nodes["n2"].actors.proposer.as_ref().unwrap().id.as_str(), "7");
    assert_eq!(nodes["p3"].listen.client, Some("127.0.0.1:2383".parse().unwrap()));
    assert!(nodes["p3"].actors.acceptor.is_none());

    let load = nodes["c1"].actors.load.as_ref().unwrap();
    assert_eq!((load.format, load.connections.get()), (LoadFormat::Counters, 4));
    assert_eq!(load.endpoints["p3"], "http://127.0.0.1:2383".parse::<HttpUrl>().unwrap());
    assert_eq!(cluster.redis_acceptors().keys().collect::<Vec<_>>(), ["a3", "a4"]);
}

#[test]
fn endpoints_are_where_clients_reach_proposers() {
    let expected = [
        ("n1", "http://127.0.0.1:8001"),
        // Its client listener is on every interface; its peer listener tells which is reached.
        ("n2", "http://10.0.0.2:8002"),
        ("p3", "http://127.0.0.1:2383"),
    ];
    let expected = expected.map(|(node, url)| (node.to_owned(), url.to_owned()));
    assert_eq!(good(GOOD).endpoints(), expected);

    let everywhere: &[Edit] = &[("/proposers/p3/host", Some(json!("::")))];
    let endpoints = good(&edited(GOOD, everywhere)).endpoints();
    assert_eq!(endpoints[2].1, "http://[::1]:2383");
}

#[test]
fn the_shipped_cluster_is_the_demo() {
    let demo = Cluster::demo(8000, 3, Path::new("data")).unwrap();
    assert_eq!(config("gryadka-cluster.json"), demo);
    let p3 = &demo.deployments()["p3"];
    let ports = [p3.listen.client, p3.listen.peer, p3.listen.admin].map(|it| it.unwrap().port());
    assert_eq!(ports, [8003, 8103, 8203]);
}

#[test]
fn demos_of_other_sizes_are_valid_or_refused() {
    for nodes in [1, 2, 5, Cluster::MAX_DEMO_NODES] {
        let demo = Cluster::demo(20_000, nodes, Path::new("/tmp/x")).unwrap();
        assert_eq!(demo.deployments().len(), nodes);
    }
    let refused = |base, nodes| Cluster::demo(base, nodes, Path::new("d")).unwrap_err().to_string();
    assert_eq!(refused(8000, 0), "demo: nodes: 0 is not a number of nodes; use 1 to 100");
    assert_eq!(refused(8000, 101), "demo: nodes: 101 is not a number of nodes; use 1 to 100");
    assert_eq!(
        refused(65_400, 3),
        "demo: base_port: 65400 leaves too few ports; use 65332 or less"
    );
    assert!(Cluster::demo(65_332, 3, Path::new("d")).is_ok());
}

#[test]
fn the_originals_cluster_file_is_read() {
    let cluster = config("gryadka-redis-cluster.json");
    assert_eq!(cluster.name(), "gryadka");
    for (index, (name, node)) in cluster.deployments().iter().enumerate() {
        assert_eq!(*name, format!("p{}", index + 1));
        let proposer = node.actors.proposer.as_ref().unwrap();
        assert_eq!(proposer.id.as_str(), index.to_string());
        assert_eq!(node.listen.client.unwrap().port(), 2381 + index as u16);
        assert!(node.peers.is_empty() && node.actors.acceptor.is_none());
    }
    let ports: Vec<u16> = cluster.redis_acceptors().values().map(|address| address.port).collect();
    assert_eq!(ports, [6381, 6382, 6383]);
}

#[test]
fn fields_are_explained() {
    check_messages(
        GOOD,
        &[
            (
                &[("/node", Some(json!({})))],
                "node: unknown field `node`, expected one of `cluster`, `nodes`, `acceptors`, `proposers`, `replicas`, `raft`, `collection`, `loads`…",
            ),
            (
                &[("/nodes/n1/port", Some(json!(1)))],
                "nodes.n1.port: unknown field `port`, expected one of `listen`, `data_dir`, `chaos`, `serves`…",
            ),
            (
                &[("/nodes/n1/listen/client", Some(json!("n1:8001")))],
                "nodes.n1.listen.client: \"n1:8001\" is not IP:PORT; write it like 127.0.0.1:8001…",
            ),
            (&[("/acceptors/a1/storage", None)], "acceptors.a1: missing field `storage`; add it…"),
            (
                &[("/acceptors/a1/node", None)],
                "acceptors.a1: an embedded acceptor lives on a node; add \"node\": \"NAME\"…",
            ),
            (
                &[("/acceptors/a3/node", Some(json!("n1")))],
                "acceptors.a3: an acceptor in Redis is driven by every proposer; remove node…",
            ),
            (
                &[("/acceptors/a1/isTransient", Some(json!(false)))],
                "acceptors.a1: isTransient is only for an acceptor in Redis; remove it…",
            ),
            (
                &[("/acceptors/a3/storage/port", Some(json!(0)))],
                "acceptors.a3.storage.port: invalid value: integer `0`, expected a port, 1 to 65535…",
            ),
            (
                &[("/proposers/p1/port", Some(json!(1)))],
                "proposers.p1: a proposer needs either node, or port (with host or without)…",
            ),
            (
                &[("/proposers/p1/node", None)],
                "proposers.p1: a proposer needs either node, or port (with host or without)…",
            ),
            (
                &[("/proposers/p3/host", Some(json!("h")))],
                "proposers.p3.host: \"h\" is not an IP address; write it like 127.0.0.1…",
            ),
            (
                &[("/proposers/p1/acceptors", Some(json!("a1")))],
                "proposers.p1.acceptors: invalid type: string \"a1\", expected a list…",
            ),
            (
                &[("/proposers/p1/id", Some(json!("a:b")))],
                "proposers.p1.id: a proposer id is 1 to 16 letters…",
            ),
            (
                &[("/loads/c1/connections", Some(json!(0)))],
                "loads.c1.connections: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
        ],
    );
}

#[test]
fn names_must_refer_to_something() {
    check_messages(
        GOOD,
        &[
            (&[("/nodes/n 3", Some(json!({})))], "nodes: \"n 3\" is not a name; use 1 to 64…"),
            (
                &[("/acceptors/..", Some(json!({"storage": {"host": "h", "port": 1}})))],
                "acceptors: \"..\" is not a name;…",
            ),
            (
                &[("/proposers/p1/acceptors/1", Some(json!("a9")))],
                "proposers.p1.acceptors[1]: there is no acceptor \"a9\"; the acceptors are a1, a2, a3, a4",
            ),
            (
                &[("/acceptors/a1/node", Some(json!("n9")))],
                "acceptors.a1.node: there is no node \"n9\"; the nodes are c1, n1, n2, p3",
            ),
            (
                &[("/proposers/p1/node", Some(json!("n9")))],
                "proposers.p1.node: there is no node \"n9\"; the nodes are c1, n1, n2, p3",
            ),
            (
                &[("/acceptors/a2/node", Some(json!("n1")))],
                "acceptors.a2.node: n1 has acceptor a1 already; a node has one acceptor",
            ),
            (
                &[("/proposers/p2/node", Some(json!("n1")))],
                "proposers.p2.node: n1 has proposer p1 already; a node has one proposer",
            ),
            (
                &[("/proposers/p2/id", Some(json!("p1")))],
                "proposers.p2.id: p1 is also the id of proposers.p1; give each its own",
            ),
            (
                &[("/nodes/n3", Some(json!({})))],
                "nodes.n3: the node runs nothing; give it an acceptor, a proposer, a raft replica or a load",
            ),
            (
                &[("/nodes/p3", Some(json!({})))],
                "proposers.p3.port: nodes.p3 is there too; write \"node\": \"p3\" instead of the port",
            ),
            (
                &[("/proposers", Some(json!({})))],
                "loads.c1: there is nothing to send load to; add proposers or replicas",
            ),
            (
                &[(
                    "/proposers/long-name-of-a-proposer",
                    Some(
                        json!({"port": 1, "acceptors": ["a3"], "quorum": {"read": 1, "write": 1}}),
                    ),
                )],
                "proposers.long-name-of-a-proposer: a proposer id is 1 to 16 letters, digits, '.', '_' or '-', not \"long-name-of-a-proposer\"; give it an \"id\"",
            ),
        ],
    );
    check_messages("{}", &[(&[], "describes no node; add nodes or proposers")]);
    check_messages(
        r#"{"actors": {}}"#,
        &[(&[], "is the file of one node; give the cluster's file")],
    );
}

#[test]
fn what_a_node_refuses_has_a_path_in_the_cluster() {
    check_messages(
        GOOD,
        &[
            (
                &[("/proposers/p2/quorum/write", Some(json!(4)))],
                "proposers.p2.quorum.write: 4 is more than the 3 acceptors; use 1 to 3",
            ),
            (
                &[("/proposers/p2/shards", Some(json!(17)))],
                "proposers.p2.shards: 17 event loops are too many; use 1 to 16",
            ),
            (
                &[("/proposers/p3/quorum/write", Some(json!(1)))],
                "proposers.p3.quorum: read 2 and write 1 need not meet among 3 acceptors; read + write must be greater than 3",
            ),
            (
                &[("/proposers/p1/acceptors/2", Some(json!("a1")))],
                "proposers.p1.acceptors[2]: acceptor a1 is also acceptors[0]; list it once",
            ),
            (
                &[("/nodes/n1/listen/client", None)],
                "nodes.n1.listen.client: is missing, and the node's proposer serves clients there; add IP:PORT",
            ),
            (
                &[("/nodes/n2/listen/peer", None)],
                "nodes.n2.listen.peer: is missing, and proposer p1 reaches a2 there; add IP:PORT",
            ),
            (
                &[("/nodes/c1", Some(json!({"listen": {"admin": "127.0.0.1:8209"}})))],
                "nodes.c1.listen.admin: 127.0.0.1:8209 would serve nothing on a node with only a load; remove it",
            ),
        ],
    );
}

#[test]
fn proposers_have_the_same_acceptors_and_quorums() {
    let one = |acceptors| json!({"node": "n2", "acceptors": acceptors, "quorum": {"read": 1, "write": 1}});
    check_messages(
        GOOD,
        &[
            (&[("/proposers/p2/acceptors", Some(json!(["a2", "a3", "a1"])))], "fine"),
            // Their quorums need not meet.
            (
                &[
                    ("/proposers/p3", None),
                    ("/proposers/p1/acceptors", Some(json!(["a1"]))),
                    ("/proposers/p1/quorum", Some(json!({"read": 1, "write": 1}))),
                    ("/proposers/p2", Some(one(["a2"]))),
                ],
                "proposers.p2: asks a2 with read 1 and write 1, but proposers.p1 asks a1 with read 1 and write 1: what one writes the other need not find; give all proposers the same acceptors and quorum",
            ),
            (
                &[("/proposers/p3/acceptors/2", Some(json!("a4")))],
                "proposers.p3: asks a3, a2, a4 with read 2 and write 2, but proposers.p1 asks a1, a2, a3 with read 2 and write 2: what…",
            ),
            // They meet, and are others than the acceptors will know.
            (
                &[("/proposers/p2/quorum/write", Some(json!(3)))],
                "proposers.p2: asks a1, a2, a3 with read 2 and write 3, but proposers.p1 asks a1, a2, a3 with read 2 and write 2: what…",
            ),
            (
                &[("/proposers/p2/quorum", Some(json!({"read": 3, "write": 1})))],
                "proposers.p2: asks a1, a2, a3 with read 3 and write 1, but…",
            ),
        ],
    );
}

#[test]
fn every_directory_is_that_of_one_node() {
    // n1, n2 and p3 on one machine.
    let n2 = json!({"client": "127.0.0.2:8002", "peer": "127.0.0.2:8102"});
    let together = &edited(GOOD, &[("/nodes/n2/listen", Some(n2))]);
    let n1_at = |path| ("/nodes/n1/data_dir", Some(json!(path)));
    check_messages(
        together,
        &[
            (&[n1_at("/srv/n1")], "fine"),
            (&[n1_at("/srv/n22")], "fine"),
            (&[n1_at("data/c1")], "fine"),
            (
                &[n1_at("/srv/n2")],
                "nodes.n2.data_dir: /srv/n2 is also nodes.n1.data_dir; give each a directory of its own",
            ),
            (&[n1_at("/srv//./n2/")], "nodes.n2.data_dir: /srv/n2 is also nodes.n1.data_dir;…"),
            (
                &[n1_at("/srv")],
                "nodes.n2.data_dir: /srv/n2 is inside nodes.n1.data_dir, /srv; give each a directory of its own",
            ),
            (
                &[n1_at("/srv/n2/store")],
                "nodes.n2.data_dir: /srv/n2 holds nodes.n1.data_dir, /srv/n2/store; give each a directory of its own",
            ),
            (&[n1_at("data/p3")], "nodes.p3.data_dir: data/p3 is also nodes.n1.data_dir;…"),
        ],
    );
    // On machines of their own they may have the same.
    let apart = json!({"client": "10.0.0.2:8002", "peer": "10.0.0.2:8102"});
    let anywhere = json!({"client": "0.0.0.0:8002"});
    check_messages(
        GOOD,
        &[
            (&[n1_at("/srv/n2"), ("/nodes/n2/listen", Some(apart))], "fine"),
            (&[n1_at("/srv/n2")], "fine"),
            (&[n1_at("data/p3"), ("/proposers/p3/host", Some(json!("0.0.0.0")))], "fine"),
            (
                &[
                    n1_at("/srv/n2"),
                    ("/nodes/n2/listen", Some(anywhere)),
                    (
                        "/acceptors/a2",
                        Some(json!({"storage": {"host": "127.0.0.1", "port": 6383}})),
                    ),
                ],
                "fine",
            ),
        ],
    );
}

#[test]
fn every_address_is_used_once() {
    check_messages(
        GOOD,
        &[
            (
                &[("/acceptors/a4/storage/port", Some(json!(6381)))],
                "acceptors.a4.storage: 127.0.0.1:6381 is also acceptors.a3.storage; give each an address of its own",
            ),
            (
                &[("/acceptors/a4/storage/port", Some(json!(8101)))],
                "acceptors.a4.storage: 127.0.0.1:8101 is also nodes.n1.listen.peer; give each an address of its own",
            ),
            (
                &[("/nodes/n2/listen/client", Some(json!("127.0.0.1:8001")))],
                "nodes.n2.listen.client: 127.0.0.1:8001 is also nodes.n1.listen.client; give each an address of its own",
            ),
            (
                &[("/proposers/p3/port", Some(json!(8001)))],
                "proposers.p3.port: 127.0.0.1:8001 is also nodes.n1.listen.client; give each an address of its own",
            ),
            (
                &[("/nodes/n2/listen/peer", Some(json!("0.0.0.0:8102")))],
                "nodes.n2.listen.peer: node n1 cannot reach 0.0.0.0:8102; use an address that it can",
            ),
        ],
    );
}

#[test]
fn keys_that_stand_twice_are_found() {
    for (map, key) in [
        ("nodes", "n1"),
        ("acceptors", "a1"),
        ("proposers", "p1"),
        ("replicas", "r1"),
        ("loads", "c1"),
    ] {
        let text = format!(r#"{{"{map}": {{"{key}": {{}}, "{key}": {{}}}}}}"#);
        let message = Cluster::read(text.as_bytes()).unwrap_err().to_string();
        let expected = format!("{map}: \"{key}\" is there twice; rename or remove one of them…");
        assert_message(&message, &expected, &text);
    }
}
