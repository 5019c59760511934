//! What the HTTP APIs make of a protocol that offers more than commands:
//! indices of a log, local reads, members, inspection. Behind the door stands
//! a protocol that answers from a script.

use std::sync::Arc;
use std::sync::Mutex;

use actix::{Actor, Context, Handler};
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::web::{Bytes, Data, ServiceConfig};
use actix_web::{App, test};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use gryadka::actors::{
    ChangeMembers, Chaos, Inspect, List, LocalReads, MemberList, MemberView, Service, Submit,
};
use gryadka::http::{self, ClientState, Configurations, Protocol};
use gryadka::identity::{ClusterId, OwnCluster};
use gryadka::kv::{
    self, Answer, Command, Consistency, Key, Listed, LogPosition, Record, Refusal, Scope,
};
use gryadka::raft::{ChangeError, Changed, MemberChange};
use serde_json::{Value, json};

const LEADER: LogPosition = LogPosition { index: 40, term: 7 };
const LOCAL: LogPosition = LogPosition { index: 38, term: 6 };

fn record(value: &'static str) -> Record {
    Record { value: Some(value.into()), created_index: 11, modified_index: 12 }
}

/// The keys `d` and `absent` are absent, every other one is present.
fn answer(key: &Key, command: &Command, value: &'static str, position: LogPosition) -> Answer {
    let is_absent = key.as_str() == "d" || key.as_str() == "absent";
    let before = if is_absent { Record::default() } else { record(value) };
    let outcome = kv::apply(&before, command, 21);
    Answer { outcome, index: position.index - 20, position: Some(position) }
}

fn listed(value: &'static str, prefix: &str, position: LogPosition) -> Listed {
    let records = match prefix {
        "d/" => vec![(Key::try_from("d/a").unwrap(), record(value))],
        _ => Vec::new(),
    };
    Listed { records, index: position.index - 20, position: Some(position) }
}

/// Answers at once, as a leader would.
struct FakeReplica {
    changes: Arc<Mutex<Vec<MemberChange>>>,
    waiting: Vec<Submit>,
}

impl Actor for FakeReplica {
    type Context = Context<Self>;
}

impl Handler<Submit> for FakeReplica {
    type Result = ();

    /// A command on `waits` holds its place for ever.
    fn handle(&mut self, submit: Submit, _: &mut Self::Context) {
        if submit.key.as_str() == "waits" {
            self.waiting.push(submit);
            return;
        }
        let answer = answer(&submit.key, &submit.submission.command, "agreed", LEADER);
        submit.answer.send(Ok(answer)).unwrap();
    }
}

impl Handler<List> for FakeReplica {
    type Result = ();

    fn handle(&mut self, list: List, _: &mut Self::Context) {
        assert!(list.answer.send(Ok(listed("agreed", &list.prefix, LEADER))).is_ok());
    }
}

impl Handler<ChangeMembers> for FakeReplica {
    type Result = ();

    /// The id says what happens.
    fn handle(&mut self, asked: ChangeMembers, _: &mut Self::Context) {
        self.changes.lock().unwrap().push(asked.change.clone());
        let (MemberChange::Add { id, .. } | MemberChange::Remove { id }) = asked.change;
        let result = match id {
            4 => Ok(Changed::Done),
            5 => Ok(Changed::Learner { why: "node 5 does not answer".into() }),
            6 => Err(ChangeError::Conflict("6 was removed; choose another id".into())),
            7 => Err(ChangeError::NotFound("there is no member 7".into())),
            8 => Err(Refusal::Failed("no leader".into()).into()),
            9 => Err(Refusal::Unknown("it may have been made".into()).into()),
            // The actor goes away with the question.
            _ => return,
        };
        asked.answer.send(result).unwrap();
    }
}

/// What the node knows by itself, which is older.
struct FakeView {
    has_leader: bool,
}

impl LocalReads for FakeView {
    fn get(&self, key: &Key) -> Result<Answer, Refusal> {
        Ok(answer(key, &Command::Get, "local", LOCAL))
    }

    fn list(&self, prefix: &str, _: Scope) -> Result<Listed, Refusal> {
        Ok(listed("local", prefix, LOCAL))
    }
}

impl MemberList for FakeView {
    fn members(&self) -> Vec<MemberView> {
        let started = MemberView {
            id: 1,
            name: "n1".into(),
            peer_url: "http://127.0.0.1:12379".into(),
            client_url: Some("http://127.0.0.1:12380".into()),
            is_voter: true,
            is_leader: self.has_leader,
        };
        let added = MemberView {
            id: 26,
            name: String::new(),
            peer_url: "http://127.0.0.1:22379".into(),
            client_url: None,
            is_voter: false,
            is_leader: false,
        };
        vec![started, added]
    }
}

impl Inspect for FakeView {
    fn state(&self) -> Value {
        json!({ "term": 7 })
    }

    fn hash(&self) -> Result<Value, Refusal> {
        Ok(json!({ "hash": "cafe" }))
    }
}

/// A node under test, and the changes of members that reached its protocol.
struct Node {
    state: ClientState,
    changes: Arc<Mutex<Vec<MemberChange>>>,
}

impl Node {
    /// A node whose protocol offers nothing but commands.
    fn plain() -> Node {
        let changes = Arc::default();
        let actor = FakeReplica { changes: Arc::clone(&changes), waiting: Vec::new() }.start();
        let state = ClientState {
            cluster_id: OwnCluster::new(ClusterId::new(7)),
            service: Service::new(actor.clone().recipient(), actor.recipient()),
            node: "n1".into(),
            cluster: "test".into(),
            configuration: Configurations::Fixed(json!({})),
            protocol: Protocol::Caspaxos,
            v2_reads: Consistency::Linearizable,
            chaos: Chaos::default(),
        };
        Node { state, changes }
    }

    /// A node whose protocol offers all there is.
    fn full(has_leader: bool) -> Node {
        let changes = Arc::default();
        let actor = FakeReplica { changes: Arc::clone(&changes), waiting: Vec::new() }.start();
        let view = Arc::new(FakeView { has_leader });
        let service = Service::new(actor.clone().recipient(), actor.clone().recipient())
            .with_local(view.clone())
            .with_members(actor.recipient(), view.clone())
            .with_inspect(view);
        let plain = Node::plain().state;
        Node { state: ClientState { service, protocol: Protocol::Raft, ..plain }, changes }
    }

    async fn ask(&self, method: Method, uri: &str, body: impl Into<Bytes>) -> Seen {
        self.ask_routes(http::client_routes, method, uri, body.into()).await
    }

    async fn get(&self, uri: &str) -> Seen {
        self.ask(Method::GET, uri, "").await
    }

    async fn admin(&self, uri: &str) -> Seen {
        self.ask_routes(http::admin_routes, Method::GET, uri, Bytes::new()).await
    }

    async fn ask_routes(
        &self,
        routes: fn(&mut ServiceConfig),
        method: Method,
        uri: &str,
        body: Bytes,
    ) -> Seen {
        let app = App::new().app_data(Data::new(self.state.clone())).configure(routes);
        let app = test::init_service(app).await;
        let request = test::TestRequest::with_uri(uri).method(method).set_payload(body);
        Seen::of(test::call_service(&app, request.to_request()).await).await
    }
}

/// What a client sees.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Seen {
    async fn of(response: ServiceResponse<impl MessageBody>) -> Seen {
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        Seen { status, headers, body: test::read_body(response).await }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// X-Etcd-Index, X-Raft-Index, X-Raft-Term.
    fn indices(&self) -> [Option<&str>; 3] {
        ["X-Etcd-Index", "X-Raft-Index", "X-Raft-Term"].map(|name| self.header(name))
    }
}

const AGREED: [Option<&str>; 3] = [Some("20"), Some("40"), Some("7")];
const STALE: [Option<&str>; 3] = [Some("18"), Some("38"), Some("6")];

#[actix_web::test]
async fn a_change_of_members_has_a_status_for_each_end() {
    let node = Node::full(true);
    for (uri, status) in [
        ("/4", 204),
        ("/5", 202),
        ("/6", 409),
        ("/7", 404),
        ("/8", 503),
        ("/9", 504),
        ("/10", 504),
        ("/0", 400),
        ("/four", 400),
        ("/4/5", 400),
        ("/", 400),
    ] {
        let added = node.ask(Method::POST, uri, "http://127.0.0.1:42379/").await;
        assert_eq!(added.status, status, "POST {uri}: {added:?}");
        let removed = node.ask(Method::DELETE, uri, "").await;
        assert_eq!(removed.status, status, "DELETE {uri}: {removed:?}");
    }
    let changes = node.changes.lock().unwrap();
    let peer_url = "http://127.0.0.1:42379".to_string();
    assert_eq!(
        changes[..2],
        [MemberChange::Add { id: 4, peer_url }, MemberChange::Remove { id: 4 }]
    );
    assert_eq!(changes.len(), 14, "what is malformed does not reach the protocol");
}

#[actix_web::test]
async fn a_change_of_members_says_what_is_wrong_and_what_it_waits_for() {
    let node = Node::full(true);
    let learner = node.ask(Method::POST, "/5", "http://127.0.0.1:52379").await;
    let reason = "node 5 does not answer";
    assert_eq!(learner.json(), json!({ "id": 5, "state": "learner", "reason": reason }));
    let conflict = node.ask(Method::POST, "/6", "http://127.0.0.1:62379").await;
    assert_eq!(conflict.json(), json!({ "message": "6 was removed; choose another id" }));
    let unknown = node.ask(Method::DELETE, "/9", "").await;
    assert_eq!(unknown.json()["outcome"], "unknown");
    for body in ["", "127.0.0.1:42379", "http://127.0.0.1:42379/raft", "http://a@b:1"] {
        let bad = node.ask(Method::POST, "/4", body).await;
        assert_eq!(bad.status, 400, "{body}");
        assert!(bad.json()["message"].as_str().unwrap().contains("http://HOST:PORT"), "{bad:?}");
    }
    assert_eq!(node.ask(Method::POST, "/4", vec![b'x'; 1025]).await.status, 413);
    let patch = node.ask(Method::PATCH, "/4", "").await;
    assert_eq!((patch.status, patch.header("Allow")), (405, Some("GET, HEAD, PUT, POST, DELETE")));
}

#[actix_web::test]
async fn members_are_shown_as_etcd_shows_them() {
    let node = Node::full(true);
    let first = r#"{"id":"1","name":"n1","peerURLs":["http://127.0.0.1:12379"],"clientURLs":["http://127.0.0.1:12380"]}"#;
    let second = r#"{"id":"1a","name":"","peerURLs":["http://127.0.0.1:22379"],"clientURLs":[],"isLearner":true}"#;
    for uri in ["/v2/members", "/v2/members/"] {
        let all = node.get(uri).await;
        assert_eq!(all.status, 200);
        assert_eq!(all.body, format!("{{\"members\":[{first},{second}]}}\n"));
        assert_eq!(all.header("Content-Type"), Some("application/json"));
        assert_eq!(all.header("X-Etcd-Cluster-Id").map(str::len), Some(16));
    }
    let leader = node.get("/v2/members/leader").await;
    assert_eq!((leader.status, leader.body), (200, format!("{first}\n").into()));
    for uri in ["/v2/members", "/v2/members/leader"] {
        let other = node.ask(Method::PUT, uri, "").await;
        assert_eq!((other.status, other.header("Allow")), (405, Some("GET, HEAD")), "{uri}");
    }
    assert_eq!(node.get("/v2/members/1").await.status, 404);
    let election = Node::full(false).get("/v2/members/leader").await;
    assert_eq!((election.status, &election.json()["message"]), (503, &"During election".into()));
}

#[actix_web::test]
async fn stale_reads_are_local_and_all_others_are_not() {
    let mut node = Node::full(true);
    for (query, body, indices) in [
        ("", "agreed", AGREED),
        ("?consistency=linearizable", "agreed", AGREED),
        ("?consistency=stale", "local", STALE),
    ] {
        let raw = node.get(&format!("/k{query}")).await;
        assert_eq!((raw.status, &raw.body[..], raw.indices()), (200, body.as_bytes(), indices));
    }
    for (v2_reads, query, value) in [
        (Consistency::Linearizable, "", "agreed"),
        (Consistency::Linearizable, "?quorum=false", "local"),
        (Consistency::Linearizable, "?consistency=stale", "local"),
        (Consistency::Stale, "", "local"),
        (Consistency::Stale, "?quorum=true", "agreed"),
        (Consistency::Stale, "?consistency=linearizable", "agreed"),
    ] {
        node.state.v2_reads = v2_reads;
        let indices = if value == "local" { STALE } else { AGREED };
        let key = node.get(&format!("/v2/keys/k{query}")).await;
        assert_eq!(key.json()["node"]["value"], value, "{v2_reads:?} {query}");
        assert_eq!(key.indices(), indices, "{v2_reads:?} {query}");
        let directory = node.get(&format!("/v2/keys/d{query}")).await;
        assert_eq!(directory.json()["node"]["nodes"][0]["value"], value, "{v2_reads:?} {query}");
        assert_eq!(directory.indices(), indices, "{v2_reads:?} {query}");
    }
    for uri in ["/k?consistency=eventual", "/v2/keys/k?consistency=eventual"] {
        let bad = node.get(uri).await;
        assert_eq!(bad.status, 400, "{uri}");
        assert!(String::from_utf8_lossy(&bad.body).contains("linearizable or stale"), "{bad:?}");
    }
    // The setting is about the v2 API only.
    assert_eq!(node.get("/k").await.body, "agreed");
}

#[actix_web::test]
async fn every_answer_says_where_the_log_stands() {
    let node = Node::full(true);
    assert_eq!(node.ask(Method::PUT, "/k", "v").await.indices(), AGREED);
    assert_eq!(node.get("/absent").await.indices(), AGREED);
    assert_eq!(node.ask(Method::PUT, "/v2/keys/k", "").await.indices(), AGREED);
    let failed = node.get("/v2/keys/absent").await;
    assert_eq!((failed.status, failed.indices()), (404, AGREED));
    assert_eq!(failed.json()["index"], 20);
    assert_eq!(node.get("/version").await.json()["protocol"], "raft");
}

#[actix_web::test]
async fn the_admin_listener_shows_the_replica() {
    let node = Node::full(true);
    assert_eq!(node.admin("/raft").await.json(), json!({ "term": 7 }));
    assert_eq!(node.admin("/raft/hash").await.json(), json!({ "hash": "cafe" }));
    for uri in ["/raft", "/raft/hash"] {
        assert_eq!(Node::plain().admin(uri).await.status, 404, "{uri}");
    }
}

#[actix_web::test]
async fn a_protocol_with_fixed_members_and_no_local_reads_answers_as_ever() {
    let mut node = Node::plain();
    node.state.v2_reads = Consistency::Stale;
    for (method, uri, status) in [
        (Method::POST, "/4", 405),
        (Method::DELETE, "/3", 405),
        (Method::GET, "/v2/members", 404),
        (Method::PUT, "/v2/members/leader", 404),
    ] {
        assert_eq!(node.ask(method, uri, "").await.status, status, "{uri}");
    }
    assert_eq!(node.get("/k?consistency=stale").await.body, "agreed");
    assert_eq!(node.get("/v2/keys/k").await.json()["node"]["value"], "agreed");
    assert_eq!(node.get("/version").await.json()["protocol"], "caspaxos");
}

/// The original's clients know overload by 400 and the code, and no other status of it.
#[actix_web::test]
async fn the_originals_clients_are_told_of_overload_as_by_the_original() {
    let node = Node::full(true);
    let app = App::new().app_data(Data::new(node.state.clone()));
    let app = test::init_service(app.configure(http::client_routes)).await;
    let change = async || {
        let request = test::TestRequest::post().uri("/change");
        let request = request.set_json(json!({ "name": "read", "key": "k" }));
        Seen::of(test::call_service(&app, request.to_request()).await).await
    };
    assert_eq!(change().await.status, 200);
    let waits = Key::try_from("waits").unwrap();
    let waiting =
        (0..Service::MAX_COMMANDS).map(|_| node.state.service.submit(waits.clone(), Command::Get));
    let mut waiting: FuturesUnordered<_> = waiting.collect();
    assert!(waiting.next().now_or_never().is_none(), "none of them is answered");
    let refused = change().await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &"ConcurrentRequestError".into()));
}

#[actix_web::test]
async fn a_service_that_is_closed_refuses_everything() {
    let node = Node::full(true);
    node.state.service.close();
    for uri in ["/k", "/k?consistency=stale", "/v2/keys/?quorum=false"] {
        assert_eq!(node.get(uri).await.status, 503, "{uri}");
    }
    assert_eq!(node.ask(Method::DELETE, "/4", "").await.status, 503);
    assert_eq!(node.admin("/raft/hash").await.status, 503);
}
