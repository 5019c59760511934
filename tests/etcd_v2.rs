//! The v2 keys API answers what a real etcd 3.4.23 answered to the same
//! requests (`support/recorded.rs`), and what is ours besides.

mod etcd;
#[macro_use]
mod support;

use etcd::Etcd;
use gryadka::perseus::IndexOrder;
use serde_json::Value;
use support::recorded::assert_answers_as_recorded;
use support::{Cluster, Protocol, form_request, get, put, request};

on_both_protocols! {
    all_recorded_cases_are_answered_alike
    indices_of_a_key_grow_for_ever_and_are_in_the_header
    directories_are_listed_flat_recursively_and_from_the_root
    the_raw_api_and_the_v2_api_see_the_same_keys
    the_originals_api_reads_and_writes
    absent_keys_can_be_read_by_many_at_once
    an_empty_condition_is_refused
    an_unknown_parameter_or_another_body_is_refused_by_name
    what_is_not_served_has_an_error_code
    what_is_not_stored_is_not_acknowledged_and_other_apis_are_not_keys
    a_directory_of_many_pages_of_short_keys_is_listed
}

/// Asked of the nodes in turn: each must see what the others have answered.
fn all_recorded_cases_are_answered_alike(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    assert_answers_as_recorded(&cluster.urls(), protocol.index_order());
}

/// Else the check would ask more than etcd itself gives.
#[actix_web::test]
async fn a_real_etcd_passes_the_check_of_global_indices_each_time() {
    let etcd = Etcd::start().await;
    for key in ["h", "h2", "h3", "h4"] {
        form_request("PUT", &format!("{}/v2/keys/{key}", etcd.url()), "value=before");
        request("DELETE", &format!("{}/v2/keys/{key}", etcd.url()), None).unwrap();
    }
    assert_answers_as_recorded(&[etcd.url()], IndexOrder::Global);
}

fn indices_of_a_key_grow_for_ever_and_are_in_the_header(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    assert_eq!(get(&url).header("X-Etcd-Index"), Some("0"));
    for index in 1..=3 {
        let answer = form_request("PUT", &url, "value=x");
        assert_eq!(answer.json()["node"]["modifiedIndex"], index);
        assert_eq!(answer.header("X-Etcd-Index"), Some(index.to_string().as_str()));
        let id = answer.header("X-Etcd-Cluster-Id").expect("a cluster id");
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    assert_eq!(request("DELETE", &url, None).unwrap().json()["node"]["modifiedIndex"], 4);
    assert_eq!(get(&url).header("X-Etcd-Index"), Some("4"));
    let again = form_request("PUT", &url, "value=y").json();
    assert_eq!(
        (&again["node"]["modifiedIndex"], &again["node"]["createdIndex"]),
        (&5.into(), &5.into())
    );
    let stale = form_request("PUT", &format!("{url}?prevIndex=3"), "value=z");
    assert_eq!((stale.status, &stale.json()["cause"]), (412, &"[3 != 5]".into()));
}

fn directories_are_listed_flat_recursively_and_from_the_root(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    for key in ["d/b", "d/a", "d/sub/x", "d/_hidden", "dx"] {
        assert_eq!(
            form_request("PUT", &format!("{}/v2/keys/{key}", cluster.url(0)), "value=1").status,
            201
        );
    }
    let keys = |node: &Value| -> Vec<String> {
        let nodes = node["nodes"].as_array().into_iter().flatten();
        nodes.map(|node| node["key"].as_str().unwrap().to_string()).collect()
    };
    let flat = get(&format!("{}/v2/keys/d/?sorted=true", cluster.url(1))).json();
    assert_eq!(
        (flat["node"]["dir"].clone(), flat["node"]["key"].clone()),
        (true.into(), "/d".into())
    );
    assert_eq!(keys(&flat["node"]), ["/d/a", "/d/b", "/d/sub"]);
    assert!(flat["node"]["nodes"][2]["nodes"].is_null());
    let deep = get(&format!("{}/v2/keys/d?recursive=true", cluster.url(2))).json();
    assert_eq!(keys(&deep["node"]["nodes"][2]), ["/d/sub/x"]);
    let root = get(&format!("{}/v2/keys/", cluster.url(0))).json();
    assert!(root["node"]["key"].is_null() && root["node"]["dir"] == true);
    assert_eq!(keys(&root["node"]), ["/d", "/dx"]);
    assert_eq!(form_request("PUT", &format!("{}/v2/keys", cluster.url(0)), "value=1").status, 400);
    // A key without its children is gone as a directory.
    for key in ["d/b", "d/a", "d/sub/x", "d/_hidden"] {
        request("DELETE", &format!("{}/v2/keys/{key}", cluster.url(2)), None).unwrap();
    }
    assert_eq!(get(&format!("{}/v2/keys/d", cluster.url(0))).status, 404);
}

fn the_raw_api_and_the_v2_api_see_the_same_keys(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let url = cluster.url(0);
    assert_eq!(get(&format!("{url}/some/key")).status, 404);
    let binary = [0, 255, 128, b'a'];
    assert_eq!(put(&format!("{url}/some/key"), &binary).status, 204);
    let read = get(&format!("{url}/some/key"));
    assert_eq!((read.status, read.body.as_slice()), (200, &binary[..]));
    assert_eq!(
        form_request("PUT", &format!("{url}/v2/keys/some/key"), "value=%C3%A9+x").status,
        200
    );
    assert_eq!(get(&format!("{url}/some/key")).text(), "é x");
    assert_eq!(request("HEAD", &format!("{url}/some/key"), None).unwrap().status, 200);
    // Where members change, it is they that are deleted.
    let no_key = if protocol == Protocol::Raft { 400 } else { 405 };
    assert_eq!(request("DELETE", &format!("{url}/some/key"), None).unwrap().status, no_key);
    // Fixed routes win; their names stay usable through /v2/keys.
    assert_eq!(form_request("PUT", &format!("{url}/v2/keys/version"), "value=1").status, 201);
    assert!(get(&format!("{url}/version")).json()["gryadka"].is_string());
    assert_eq!(get(&format!("{url}/health")).json()["health"], "true");
}

fn the_originals_api_reads_and_writes(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let change = |name: &str, params: &str| {
        let body = format!(r#"{{"name":"{name}","key":"k","params":{params}}}"#);
        let url = format!("{}/change", cluster.url(0));
        request("POST", &url, Some(("application/json", body.as_bytes()))).unwrap()
    };
    assert_eq!(change("read", "null").text(), r#"{"value":{"ver":0,"val":0}}"#);
    assert_eq!(change("id", "null").text(), r#"{"value":null}"#);
    assert_eq!(
        change("write", r#"{"ver":0,"val":[1,{"a":2}]}"#).text(),
        r#"{"value":{"ver":1,"val":[1,{"a":2}]}}"#
    );
    assert_eq!(
        change("write", r#"{"ver":0,"val":9}"#).text(),
        r#"{"value":{"ver":1,"val":[1,{"a":2}]}}"#
    );
    assert_eq!(change("id", "null").text(), r#"{"value":{"ver":1,"val":[1,{"a":2}]}}"#);
    let unknown = change("add", "1");
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &"UnknownChangeFunction".into()));
    let bad = change("write", r#"{"ver":"x"}"#);
    assert_eq!((bad.status, &bad.json()["code"]), (400, &"UpdateError".into()));
    let register = |name: &str| {
        let body = format!(r#"{{"name":"{name}","body":"x => x"}}"#);
        let url = format!("{}/register-change", cluster.url(0));
        request("POST", &url, Some(("application/json", body.as_bytes()))).unwrap()
    };
    assert_eq!(register("read").status, 200);
    let refused = register("mine");
    assert_eq!((refused.status, &refused.json()["code"]), (400, &"CantEvalBody".into()));
}

#[test]
fn the_originals_api_tells_its_configuration() {
    let cluster = Cluster::start(Protocol::Caspaxos, 3);
    let configuration = get(&format!("{}/configuration", cluster.url(0))).json();
    assert_eq!(configuration["configVersion"], 1);
    assert_eq!(configuration["prepare"]["quorum"], 2);
    assert_eq!(
        configuration["accept"]["nodes"][1]["peer"],
        format!("http://{}:8102", cluster.address)
    );
}

fn absent_keys_can_be_read_by_many_at_once(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let readers = (0..32).map(|i| {
        let url = format!("{}/v2/keys/absent{i}", cluster.url(0));
        std::thread::spawn(move || (0..20).map(|_| get(&url).status).collect::<Vec<_>>())
    });
    let readers: Vec<_> = readers.collect();
    let statuses = readers.into_iter().flat_map(|reader| reader.join().unwrap());
    assert!(statuses.into_iter().all(|status| status == 404));
}

/// etcd answers 400 to each: a condition that was lost on its way to the
/// request must not become a write without it.
fn an_empty_condition_is_refused(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    form_request("PUT", &url, "value=precious");
    for query in ["prevIndex=", "prevIndex=%2B1", "noValueOnSuccess=", "dir=", "prevExist="] {
        let answer = form_request("PUT", &format!("{url}?{query}"), "value=new");
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    assert_eq!(get(&url).json()["node"]["value"], "precious");
}

/// etcd ignores each of them: a condition with a misspelt name becomes a write without
/// one, and a value that is no form becomes an empty one.
fn an_unknown_parameter_or_another_body_is_refused_by_name(protocol: Protocol) {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    let cluster = Cluster::start(protocol, 1);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    form_request("PUT", &url, "value=precious");
    for (method, query, (content_type, body), code, named) in [
        ("PUT", "?prevExists=true", (FORM, "value=1"), 209, "\"prevExists\""),
        (
            "PUT",
            "?previndex=9",
            (FORM, "value=1"),
            209,
            "\"previndex\"; it is written \"prevIndex\"",
        ),
        ("PUT", "", (FORM, "val=1"), 209, "\"val\""),
        ("PUT", "", (FORM, r#"{"value":1}"#), 209, "unknown parameter"),
        ("PUT", "", (JSON, r#"{"value":1}"#), 210, "application/x-www-form-urlencoded"),
        ("PUT", "", ("multipart/form-data", "value=1"), 210, "multipart/form-data"),
        ("DELETE", "?prevIndx=9", (FORM, ""), 209, "\"prevIndx\""),
        ("DELETE", "", (FORM, "prevIndex=9"), 210, "query"),
        ("GET", "?quorom=true", (FORM, ""), 209, "\"quorom\""),
    ] {
        let request_of = (content_type, body.as_bytes());
        let answer = request(method, &format!("{url}{query}"), Some(request_of)).unwrap();
        assert_eq!(answer.status, 400, "{method} {query} {body}: {}", answer.text());
        let error = answer.json();
        assert_eq!(error["errorCode"], code, "{error}");
        assert!(error["cause"].as_str().unwrap().contains(named), "{error}");
    }
    assert_eq!(get(&url).json()["node"]["value"], "precious");
    // What etcd's own clients send besides.
    for sent in ["consistent=true", "sorted=false&recursive=false", "dir=false&refresh=false"] {
        assert_eq!(form_request("PUT", &format!("{url}?{sent}"), "value=2").status, 200, "{sent}");
        assert_eq!(get(&format!("{url}?{sent}")).json()["node"]["value"], "2", "{sent}");
    }
    // A value in the query, and whatever the client says of a body that is not there.
    let in_query = request("PUT", &format!("{url}?value=3"), Some((JSON, b"")));
    assert_eq!(in_query.unwrap().json()["node"]["value"], "3");
}

/// Some of etcd's clients take an answer without an error code for success.
fn what_is_not_served_has_an_error_code(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let members = if protocol == Protocol::Raft { 405 } else { 404 };
    for (method, path, status) in [
        ("POST", "/v2/keys", 405),
        ("POST", "/v2/keys/k", 405),
        ("GET", "/v2", 404),
        ("GET", "/v2/stats/self", 404),
        ("PUT", "/v2/auth/enable", 404),
        ("POST", "/v2/members", members),
        ("DELETE", "/v2/members/leader", members),
        ("DELETE", "/v2/members/1", 404),
    ] {
        let url = format!("{}{path}", cluster.url(0));
        let form = ("application/x-www-form-urlencoded", &b"value=1"[..]);
        let answer = request(method, &url, Some(form)).unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        let error = answer.json();
        // Not 100, which says that a key is absent.
        assert_eq!(error["errorCode"], 209, "{method} {path}: {error}");
        assert!(!error["cause"].as_str().unwrap().is_empty(), "{method} {path}: {error}");
        assert!(answer.header("X-Etcd-Cluster-Id").is_some(), "{method} {path}");
    }
}

fn what_is_not_stored_is_not_acknowledged_and_other_apis_are_not_keys(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    for (path, status) in [
        ("/health", 405),
        ("/livez", 405),
        ("/version", 405),
        ("/change", 405),
        ("/v2/auth/enable", 404),
        ("/v2/members", if protocol == Protocol::Raft { 405 } else { 404 }),
        ("/v2", 404),
        ("/metrics", 404),
    ] {
        let url = format!("{}{path}", cluster.url(0));
        assert_eq!(put(&url, b"x").status, status, "{path}");
        assert_ne!(request("DELETE", &url, None).unwrap().status, 200, "{path}");
    }
}

fn a_directory_of_many_pages_of_short_keys_is_listed(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let writers = (0..16).map(|writer| {
        let url = cluster.url(writer % 3);
        std::thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            for key in (writer..20_000).step_by(16) {
                agent.put(format!("{url}/d/{key:05}")).send(&b"1"[..]).unwrap();
            }
        })
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
    let listing = get(&format!("{}/v2/keys/d", cluster.url(1))).json();
    assert_eq!(listing["node"]["nodes"].as_array().unwrap().len(), 20_000);
}
