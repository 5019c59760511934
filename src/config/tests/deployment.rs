//! Deployment files, and the original's proposer file.

use std::path::Path;

use serde_json::json;

use super::{Edit, assert_message, edited};
use crate::caspaxos::{AcceptorId, Configuration, Epoch};
use crate::config::{
    AcceptorPlace, ChaosAccess, Deployment, HttpUrl, LoadFormat, LocalStorage, RedisAddress,
};

pub(super) const GOOD: &str = r#"{
  "cluster": "demo",
  "node": "p1",
  "listen": { "client": "127.0.0.1:8001", "peer": "127.0.0.1:8101", "admin": "127.0.0.1:8201" },
  "peers": { "p2": "http://127.0.0.1:8102", "p3": "http://127.0.0.1:8103" },
  "actors": {
    "acceptor": { "id": "a1", "storage": { "embedded": {} } },
    "proposer": { "id": "p1",
      "acceptors": [ {"id":"a1","node":"p1"}, {"id":"a2","node":"p2"},
        {"id":"a3","storage":{"host":"127.0.0.1","port":6379}} ],
      "quorum": { "read": 2, "write": 2 } },
    "load": { "endpoints": {"p1":"http://127.0.0.1:8001"}, "format": "perseus" }
  }
}"#;

pub(super) const FLAT: &str = r#"{"id":0,"port":2379,"quorum":{"read":2,"write":3},"acceptors":[
  {"storage":{"host":"127.0.0.1","port":6379},"isTransient":true,"accept":"5f0c","prepare":"9ab1"},
  {"storage":{"host":"127.0.0.1","port":6380}}, {"storage":{"host":"::1","port":6381}}]}"#;

const CLIENT: &str = r#"{"cluster": "demo", "node": "c1",
  "actors": {"load": {"endpoints": {"p1": "http://127.0.0.1:8001"}}}}"#;

pub(super) fn good(text: &str) -> Deployment {
    Deployment::read(text.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

pub(super) fn check_messages(base: &str, table: &[(&[Edit], &str)]) {
    good(base);
    for (edits, expected) in table {
        let text = edited(base, edits);
        let problem = Deployment::read(text.as_bytes());
        let message = problem.map_or_else(|problem| problem.to_string(), |_| "fine".to_owned());
        assert_message(&message, expected, edits);
    }
}

#[test]
fn a_good_file_says_what_it_says() {
    let node = good(GOOD);
    assert_eq!((node.cluster.as_str(), node.node.as_str()), ("demo", "p1"));
    assert_eq!(node.data_dir, Path::new("data/p1"));
    assert_eq!(node.chaos, ChaosAccess::Nobody);
    assert_eq!(node.listen.peer, Some("127.0.0.1:8101".parse().unwrap()));
    assert_eq!(node.peers["p2"], "http://127.0.0.1:8102".parse::<HttpUrl>().unwrap());
    assert_eq!(node.actors.acceptor.as_ref().unwrap().storage, LocalStorage::Embedded {});
    let proposer = node.actors.proposer.as_ref().unwrap();
    assert_eq!(proposer.acceptors[1].place, AcceptorPlace::Node { node: "p2".to_owned() });
    let storage = RedisAddress { host: "127.0.0.1".to_owned(), port: 6379 };
    let redis = AcceptorPlace::Redis { storage, is_transient: false };
    assert_eq!(proposer.acceptors[2].place, redis);
    let load = node.actors.load.as_ref().unwrap();
    assert_eq!((load.format, load.connections.get()), (LoadFormat::Perseus, 1));
    assert_eq!(load.duration_seconds, None);
}

#[test]
fn what_is_written_is_read_back() {
    for text in [GOOD, FLAT, CLIENT] {
        let node = good(text);
        assert_eq!(good(&serde_json::to_string_pretty(&node).unwrap()), node);
    }
}

#[test]
fn read_is_the_prepare_quorum_and_write_the_accept_quorum() {
    let node =
        good(&edited(GOOD, &[("/actors/proposer/quorum", Some(json!({"read": 1, "write": 3})))]));
    let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
    assert_eq!(node.configuration(), Some(Configuration::uniform(Epoch(1), &ids, 1, 3)));
    assert_eq!(good(CLIENT).configuration(), None);
}

#[test]
fn the_originals_file_becomes_a_node() {
    let node = good(FLAT);
    assert_eq!((node.cluster.as_str(), node.node.as_str()), ("gryadka", "p0"));
    assert_eq!(node.data_dir, Path::new("data/p0"));
    assert_eq!(node.listen.client, Some("127.0.0.1:2379".parse().unwrap()));
    assert_eq!((node.listen.peer, node.listen.admin), (None, None));
    let configuration = node.configuration().unwrap();
    let ids = ["127.0.0.1:6379", "127.0.0.1:6380", "::1:6381"].map(AcceptorId::from);
    assert_eq!(configuration, Configuration::uniform(Epoch(1), &ids, 2, 3));
    let proposer = node.actors.proposer.as_ref().unwrap();
    assert_eq!(proposer.id.as_str(), "0");
    let transient = |index: usize| match &proposer.acceptors[index].place {
        AcceptorPlace::Redis { is_transient, .. } => *is_transient,
        AcceptorPlace::Node { .. } => panic!("in Redis"),
    };
    assert!(transient(0) && !transient(1));

    let named =
        good(&edited(FLAT, &[("/id", Some(json!("west"))), ("/host", Some(json!("10.0.0.7")))]));
    assert_eq!(named.node, "west");
    assert_eq!(named.listen.client, Some("10.0.0.7:2379".parse().unwrap()));
}

#[test]
fn listeners_may_be_left_out_where_nothing_needs_them() {
    // One node alone needs no peer listener, ...
    let alone: &[Edit] = &[
        ("/peers", None),
        ("/listen", Some(json!({"client": "127.0.0.1:8001"}))),
        ("/actors/proposer/acceptors", Some(json!([{"id": "a1", "node": "p1"}]))),
        ("/actors/proposer/quorum", Some(json!({"read": 1, "write": 1}))),
    ];
    good(&edited(GOOD, alone));
    // ... an acceptor alone no client listener.
    let acceptor: &[Edit] =
        &[("/actors/proposer", None), ("/actors/load", None), ("/listen/client", None)];
    good(&edited(GOOD, acceptor));
}

#[test]
fn fields_are_explained() {
    check_messages(
        GOOD,
        &[
            (
                &[("/nod", Some(json!(1)))],
                "nod: unknown field `nod`, expected one of `cluster`, `node`, `data_dir`, `listen`, `peers`, `chaos`, `serves`, `actors` (line 1, column…",
            ),
            (
                &[("/listen/clint", Some(json!(1)))],
                "listen.clint: unknown field `clint`, expected one of `client`, `peer`, `admin`…",
            ),
            (
                &[("/actors/rift", Some(json!({})))],
                "actors.rift: unknown field `rift`, expected one of `acceptor`, `proposer`, `raft`, `load`…",
            ),
            (
                &[("/actors/proposer/quorum/reed", Some(json!(2)))],
                "actors.proposer.quorum.reed: unknown field `reed`, expected `read` or `write`…",
            ),
            (
                &[("/actors/proposer/acceptors/2", Some(json!({"id": "a", "port": 1})))],
                "actors.proposer.acceptors[2].port: unknown field `port`, expected one of `id`, `node`, `storage`, `isTransient`…",
            ),
            (&[("/node", None)], "missing field `node`; add it…"),
            (
                &[("/actors/proposer/shards", Some(json!(0)))],
                "actors.proposer.shards: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
            (
                &[("/actors/proposer/quorum", None)],
                "actors.proposer: missing field `quorum`; add it…",
            ),
            (
                &[("/chaos", Some(json!("yes")))],
                "chaos: invalid value: string \"yes\", expected true, false or \"anywhere\"…",
            ),
            (&[("/peers", Some(json!([1])))], "peers: invalid type: sequence, expected an object…"),
            (
                &[("/actors/proposer", Some(json!(1)))],
                "actors.proposer: invalid type: integer `1`, expected an object with id, acceptors and quorum…",
            ),
            (
                &[("/actors/proposer/quorum/read", Some(json!(-1)))],
                "actors.proposer.quorum.read: invalid value: integer `-1`, expected a whole number, 0 or more…",
            ),
            (
                &[("/actors/proposer/quorum/read", Some(json!("2")))],
                "actors.proposer.quorum.read: invalid type: string \"2\", expected a whole number, 0 or more…",
            ),
            (
                &[("/actors/load/connections", Some(json!(0)))],
                "actors.load.connections: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
            (
                &[("/actors/load/duration_seconds", Some(json!(0)))],
                "actors.load.duration_seconds: invalid value: integer `0`, expected a whole number, 1 or more…",
            ),
            (
                &[("/actors/load/format", Some(json!("csv")))],
                "actors.load.format: unknown variant `csv`, expected one of `totals`, `perseus`, `counters`…",
            ),
        ],
    );
}

#[test]
fn names_and_addresses_are_explained() {
    check_messages(
        GOOD,
        &[
            (
                &[("/node", Some(json!("../p1")))],
                "node: \"../p1\" is not a name; use 1 to 64 letters, digits, '.', '_', '-' or ':'…",
            ),
            (&[("/cluster", Some(json!("")))], "cluster: \"\" is not a name;…"),
            (
                &[("/actors/acceptor/id", Some(json!("a 1")))],
                "actors.acceptor.id: \"a 1\" is not a name;…",
            ),
            (
                &[("/actors/proposer/id", Some(json!("much-too-long-for-a-ballot")))],
                "actors.proposer.id: a proposer id is 1 to 16 letters, digits, '.', '_' or '-', not \"much-too-long-for-a-ballot\"…",
            ),
            (
                &[("/actors/proposer/id", Some(json!("")))],
                "actors.proposer.id: a proposer id is 1 to 16 letters…",
            ),
            (&[("/peers/p 4", Some(json!("http://h:1")))], "peers: \"p 4\" is not a name;…"),
            (
                &[("/actors/load/endpoints/p 4", Some(json!("http://h:1")))],
                "actors.load.endpoints: \"p 4\" is not a name;…",
            ),
            (
                &[("/listen/client", Some(json!("localhost:8001")))],
                "listen.client: \"localhost:8001\" is not IP:PORT; write it like 127.0.0.1:8001…",
            ),
            (
                &[("/listen/client", Some(json!(8001)))],
                "listen.client: invalid type: integer `8001`, expected a string…",
            ),
            (
                &[("/listen/peer", Some(json!("127.0.0.1:0")))],
                "listen.peer: \"127.0.0.1:0\" has port 0; use 1 to 65535…",
            ),
            (
                &[("/peers/p2", Some(json!("127.0.0.1:8102")))],
                "peers.p2: \"127.0.0.1:8102\" is not http://HOST:PORT; write it like http://127.0.0.1:8101, without a path…",
            ),
            (
                &[("/peers/p2", Some(json!("http://h:1/x")))],
                "peers.p2: \"http://h:1/x\" is not http://HOST:PORT;…",
            ),
            (
                &[("/actors/proposer/acceptors/2/storage/port", Some(json!(0)))],
                "actors.proposer.acceptors[2].storage.port: invalid value: integer `0`, expected a port, 1 to 65535…",
            ),
            (
                &[("/actors/proposer/acceptors/2/storage/port", Some(json!(70000)))],
                "actors.proposer.acceptors[2].storage.port: invalid value: integer `70000`, expected a port, 1 to 65535…",
            ),
            (
                &[("/actors/proposer/acceptors/2/storage/host", Some(json!("a b")))],
                "actors.proposer.acceptors[2].storage.host: \"a b\" is not a host; write an IP address or a host name…",
            ),
        ],
    );
}

#[test]
fn actors_and_listeners_must_fit() {
    check_messages(
        GOOD,
        &[
            (
                &[("/actors", Some(json!({})))],
                "actors: the node runs nothing; give it an acceptor, a proposer, a raft replica or a load",
            ),
            (
                &[("/listen/client", None)],
                "listen.client: is missing, and the node's proposer serves clients there; add IP:PORT",
            ),
            (
                &[("/listen/peer", None)],
                "listen.peer: is missing, and the peers reach the node's acceptor there; add IP:PORT",
            ),
            (
                &[("/listen/admin", Some(json!("127.0.0.1:8001")))],
                "listen.admin: 127.0.0.1:8001 is also listen.client; give each an address of its own",
            ),
            (
                &[("/actors/acceptor", None), ("/actors/proposer", None)],
                "listen.client: 127.0.0.1:8001 would serve nothing on a node with only a load; remove it",
            ),
            (
                &[("/actors/load/endpoints", Some(json!({})))],
                "actors.load.endpoints: is empty; give at least one \"NODE\": \"http://HOST:PORT\"",
            ),
            (
                &[("/peers/p1", Some(json!("http://127.0.0.1:8101")))],
                "peers.p1: is this node itself; list only the others",
            ),
            (
                &[("/peers/p3", Some(json!("http://127.0.0.1:8102")))],
                "peers.p3: http://127.0.0.1:8102 is also peers.p2; give each an address of its own",
            ),
            (
                &[("/actors/acceptor/storage", Some(json!({"host": "127.0.0.1", "port": 6379})))],
                "actors.acceptor.storage: 127.0.0.1:6379 is a Redis server; a node's own acceptor is {\"embedded\": {}}, and one in Redis is listed in actors.proposer.acceptors…",
            ),
            (
                &[("/actors/acceptor/storage", Some(json!({})))],
                "actors.acceptor.storage: a storage is either {\"embedded\": {}} or has both host and port…",
            ),
            (
                &[("/actors/acceptor/storage", Some(json!({"embedded": {"x": 1}})))],
                "actors.acceptor.storage.embedded.x: unknown field `x`…",
            ),
        ],
    );
}

#[test]
fn quorums_and_acceptors_must_fit() {
    let listed = |id: &str, node: &str| Some(json!({"id": id, "node": node}));
    let redis = || json!({"host": "127.0.0.1", "port": 6379});
    check_messages(
        GOOD,
        &[
            (
                &[("/actors/proposer/quorum/read", Some(json!(5)))],
                "actors.proposer.quorum.read: 5 is more than the 3 acceptors; use 1 to 3",
            ),
            (
                &[("/actors/proposer/quorum/write", Some(json!(0)))],
                "actors.proposer.quorum.write: 0 is not a quorum; use 1 to 3",
            ),
            (
                &[("/actors/proposer/quorum/write", Some(json!(1)))],
                "actors.proposer.quorum: read 2 and write 1 need not meet among 3 acceptors; read + write must be greater than 3",
            ),
            (
                &[("/actors/proposer/acceptors", Some(json!([])))],
                "actors.proposer.acceptors: is empty; list at least one acceptor",
            ),
            (
                &[("/actors/proposer/acceptors/2", listed("a2", "p3"))],
                "actors.proposer.acceptors[2]: acceptor a2 is also acceptors[1]; list it once",
            ),
            (
                &[("/actors/proposer/acceptors/2", listed("a3", "p2"))],
                "actors.proposer.acceptors[2]: node p2 is also that of acceptors[1]; a node has one acceptor",
            ),
            (
                &[("/actors/proposer/acceptors/1", Some(json!({"id": "b", "storage": redis()})))],
                "actors.proposer.acceptors[2]: Redis at 127.0.0.1:6379 is also acceptors[1]; give each acceptor a server of its own",
            ),
            (
                &[("/actors/proposer/acceptors/1", listed("a2", "p9"))],
                "actors.proposer.acceptors[1]: node \"p9\" of acceptor a2 is not among the peers (p2, p3); add it to peers, or name this node, p1",
            ),
            (
                &[("/actors/proposer/acceptors/0", listed("a9", "p1"))],
                "actors.proposer.acceptors[0]: acceptor a9 should be on this node, p1, whose acceptor is: a1; make actors.acceptor.id a9, or name the node that has it",
            ),
            (
                &[("/actors/acceptor", None)],
                "actors.proposer.acceptors[0]: acceptor a1 should be on this node, p1, whose acceptor is: none;…",
            ),
            (
                &[("/actors/proposer/acceptors/0", listed("a1", "p3"))],
                "actors.proposer.acceptors[0]: acceptor a1 is this node's own; write \"node\": \"p1\" there, or give one of the two another id",
            ),
            (
                &[("/actors/proposer/acceptors/0", Some(json!({"id": "a1"})))],
                "actors.proposer.acceptors[0]: acceptor a1 needs exactly one of node (embedded there) and storage (Redis)…",
            ),
            (
                &[("/actors/proposer/acceptors/2/node", Some(json!("p2")))],
                "actors.proposer.acceptors[2]: acceptor a3 needs exactly one of node…",
            ),
            (
                &[("/actors/proposer/acceptors/1/isTransient", Some(json!(true)))],
                "actors.proposer.acceptors[1]: acceptor a2 is embedded, and isTransient is only for one in Redis; remove isTransient…",
            ),
        ],
    );
    let many: Vec<_> = (0..101).map(|i| json!({"id": format!("b{i}"), "node": "p2"})).collect();
    check_messages(
        GOOD,
        &[(
            &[("/actors/proposer/acceptors", Some(json!(many)))],
            "actors.proposer.acceptors: lists 101; use at most 100",
        )],
    );
}

#[test]
fn the_originals_file_is_explained_in_its_own_terms() {
    let storage = |host: String| Some(json!({"host": host, "port": 1}));
    check_messages(
        FLAT,
        &[
            (
                &[("/quorum/read", Some(json!(4)))],
                "quorum.read: 4 is more than the 3 acceptors; use 1 to 3",
            ),
            (
                &[("/quorum", Some(json!({"read": 1, "write": 1})))],
                "quorum: read 1 and write 1 need not meet among 3 acceptors;…",
            ),
            (
                &[("/acceptors/1/storage/port", Some(json!(6379)))],
                "acceptors[1]: acceptor 127.0.0.1:6379 is also acceptors[0]; list it once",
            ),
            (&[("/acceptors/1/storage", storage("h".repeat(100)))], "acceptors[1].storage: \"hhh…"),
            (&[("/id", Some(json!("..")))], "id: \"..\" is not a name;…"),
            (
                &[("/id", Some(json!(-1)))],
                "id: invalid type: integer `-1`, expected a proposer id, text or a whole number…",
            ),
            (
                &[("/host", Some(json!("localhost")))],
                "host: \"localhost\" is not an IP address; write it like 127.0.0.1…",
            ),
            (
                &[("/port", Some(json!(0)))],
                "port: invalid value: integer `0`, expected a port, 1 to 65535…",
            ),
            (
                &[("/node", Some(json!("p1")))],
                "node: unknown field `node`, expected one of `id`, `host`, `port`, `quorum`, `acceptors`…",
            ),
        ],
    );
}

#[test]
fn the_file_itself_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p1.json");
    let load = || Deployment::load(&path).unwrap_err().to_string();
    let shown = path.display();

    assert!(load().starts_with(&format!("{shown}: cannot be read: No such file")), "{}", load());
    std::fs::write(&path, "{\"node\": p1}").unwrap();
    assert_eq!(load(), format!("{shown}: line 1, column 10: not JSON: expected value"));
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(load(), format!("{shown}: is larger than 1 MiB; a configuration file is smaller"));
    std::fs::write(&path, r#"{"peers": {"p2": 1, "p2": 2}}"#).unwrap();
    let twice = format!("{shown}: peers: \"p2\" is there twice; rename or remove one of them");
    assert!(load().starts_with(&twice), "{}", load());
    std::fs::write(&path, r#"{"acceptors": {}, "proposers": {}}"#).unwrap();
    assert!(load().contains("is a cluster file; write its nodes' files with"), "{}", load());
    std::fs::write(&path, GOOD.replacen("\"write\": 2", "\"write\": 1", 1)).unwrap();
    assert!(load().starts_with(&format!("{shown}: actors.proposer.quorum: read 2")), "{}", load());
    let directory = Deployment::load(dir.path()).unwrap_err().to_string();
    assert!(directory.contains("cannot be read"), "{directory}");
}
