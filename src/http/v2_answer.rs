//! How etcd's v2 API answers: events, listings and errors as JSON.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use super::ApiError;
use super::indices::Indices;
use super::sending::Sending;
use crate::identity::OwnCluster;
use crate::kv::{Answer, Command, Compare, Listed, Outcome, Record, Refusal, Verdict};

/// The header that carries the cluster's id.
pub const CLUSTER_HEADER: &str = "X-Etcd-Cluster-Id";

/// How deep a recursive listing goes; deeper directories show without their
/// keys.
pub const MAX_LISTING_DEPTH: usize = 64;

/// The media type of a value alone.
pub const BYTES: &str = "application/octet-stream";

#[derive(Serialize)]
struct Event {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Node>,
    #[serde(rename = "prevNode", skip_serializing_if = "Option::is_none")]
    prev_node: Option<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "is_zero")]
    modified_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    created_index: u64,
}

fn is_zero(index: &u64) -> bool {
    *index == 0
}

impl Node {
    fn leaf(name: &str, record: &Record) -> Node {
        Node {
            key: format!("/{name}"),
            // JSON has no bytes: what is not UTF-8 shows as U+FFFD, as in etcd.
            value: record.value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned()),
            dir: false,
            nodes: Vec::new(),
            modified_index: record.modified_index,
            created_index: record.created_index,
        }
    }

    /// An implicit directory: it began with the first of its keys.
    fn directory(name: &str, index: u64, nodes: Vec<Node>) -> Node {
        let key = if name.is_empty() { String::new() } else { format!("/{name}") };
        Node { key, value: None, dir: true, nodes, modified_index: index, created_index: index }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error_code: u16,
    message: &'a str,
    cause: &'a str,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// Why a v2 request has no event.
#[derive(Debug)]
pub enum EtcdError {
    /// A parameter is wrong; the code says which kind.
    Invalid {
        /// etcd's error code.
        code: u16,
        /// What is wrong.
        cause: String,
    },
    /// The root directory cannot be written.
    RootIsReadOnly,
    /// The key is not as the command wants it.
    Precondition {
        /// The status of the answer.
        status: StatusCode,
        /// etcd's error code.
        code: u16,
        /// What is not as it should be.
        cause: String,
        /// Where the answer stands.
        indices: Indices,
    },
    /// Any other failure.
    Api(ApiError),
}

impl EtcdError {
    /// The error of a command that did not take place.
    pub fn precondition(name: &str, command: &Command, answer: &Answer) -> Self {
        let outcome = &answer.outcome;
        let cause = format!("/{name}");
        let (status, code, cause) = match outcome.verdict {
            Verdict::NotFound => (StatusCode::NOT_FOUND, 100, cause),
            Verdict::AlreadyExists => (StatusCode::PRECONDITION_FAILED, 105, cause),
            Verdict::CompareFailed => {
                let cause = compare_cause(command, &outcome.before);
                (StatusCode::PRECONDITION_FAILED, 101, cause)
            }
            Verdict::Done | Verdict::NotANumber | Verdict::IdReused | Verdict::Superseded => {
                (StatusCode::PRECONDITION_FAILED, 101, cause)
            }
        };
        EtcdError::Precondition { status, code, cause, indices: answer.into() }
    }
}

impl From<ApiError> for EtcdError {
    fn from(error: ApiError) -> Self {
        EtcdError::Api(error)
    }
}

/// The keys of an implicit directory, as JSON.
pub struct Listing {
    text: String,
    indices: Indices,
}

impl Listing {
    /// In key order, of so many levels. Names that begin with an underscore are
    /// hidden, as in etcd, unless they are asked for.
    pub fn new(name: &str, listed: &Listed, depth: usize, hidden: bool) -> Self {
        let records = &listed.records;
        let prefix_bytes = if name.is_empty() { 0 } else { name.len() + 1 };
        let entries: Vec<_> =
            records.iter().map(|(key, record)| (&key.as_str()[prefix_bytes..], record)).collect();
        let began = first_index(&entries);
        let node = Node::directory(name, began, children(name, &entries, depth, hidden));
        let event = Event { action: "get", node: Some(node), prev_node: None };
        Listing { text: line(&event), indices: listed.into() }
    }
}

fn line(body: &impl Serialize) -> String {
    let mut text = serde_json::to_string(body).expect("plain data is JSON");
    text.push('\n');
    text
}

/// Answers in etcd's form, with its headers.
pub struct Answerer {
    cluster_id: String,
}

impl Answerer {
    /// Answers for a cluster.
    pub fn new(cluster: &OwnCluster) -> Self {
        Answerer { cluster_id: cluster_id(cluster) }
    }

    fn head(&self, mut response: HttpResponseBuilder, indices: Indices) -> HttpResponseBuilder {
        indices.put_on(&mut response);
        response
            .insert_header((CLUSTER_HEADER, self.cluster_id.as_str()))
            .content_type("application/json");
        response
    }

    fn json(
        &self,
        response: HttpResponseBuilder,
        indices: Indices,
        body: &impl Serialize,
    ) -> HttpResponse {
        self.head(response, indices).body(line(body))
    }

    /// The answer to a write that took place.
    pub fn event(
        &self,
        action: &'static str,
        name: &str,
        answer: &Answer,
        no_value: bool,
    ) -> HttpResponse {
        let Outcome { before, after, .. } = &answer.outcome;
        let is_created = after.is_live() && !before.is_live();
        let status = if is_created { StatusCode::CREATED } else { StatusCode::OK };
        let has_previous = before.is_live();
        let event = if no_value && after.is_live() {
            Event { action, node: None, prev_node: None }
        } else {
            Event {
                action,
                node: Some(Node::leaf(name, after)),
                prev_node: has_previous.then(|| Node::leaf(name, before)),
            }
        };
        self.json(HttpResponse::build(status), answer.into(), &event)
    }

    /// The answer to a read, which counts until it is sent.
    fn text_of_read(&self, indices: Indices, text: String) -> Result<HttpResponse, ApiError> {
        let body = Sending::new(text.into())?;
        Ok(self.head(HttpResponse::Ok(), indices).body(body))
    }

    /// The answer to a read that found the key.
    pub fn found(&self, name: &str, answer: &Answer) -> Result<HttpResponse, ApiError> {
        let node = Some(Node::leaf(name, &answer.outcome.after));
        let event = Event { action: "get", node, prev_node: None };
        self.text_of_read(answer.into(), line(&event))
    }

    /// The answer to a read that found the key and asks for its value alone.
    pub fn value(&self, answer: &Answer) -> Result<HttpResponse, ApiError> {
        let body = Sending::new(answer.outcome.after.value.clone().unwrap_or_default())?;
        let mut head = self.head(HttpResponse::Ok(), answer.into());
        Ok(head.content_type(BYTES).body(body))
    }

    /// The answer to a read that found a directory.
    pub fn listing(&self, listing: Listing) -> Result<HttpResponse, ApiError> {
        self.text_of_read(listing.indices, listing.text)
    }

    /// etcd's plain text for a method that it does not know.
    pub fn method_not_allowed(&self) -> HttpResponse {
        HttpResponse::MethodNotAllowed()
            .insert_header((ALLOW, "HEAD, GET, PUT, DELETE"))
            .content_type("text/plain; charset=utf-8")
            .body("Method Not Allowed\n")
    }

    /// The answer to a request that has no event.
    pub fn error(&self, error: &EtcdError) -> HttpResponse {
        let none = Indices::default();
        let (response, code, cause, indices, outcome) = match error {
            EtcdError::Invalid { code, cause } => {
                (HttpResponse::BadRequest(), *code, cause.clone(), none, None)
            }
            EtcdError::RootIsReadOnly => (HttpResponse::BadRequest(), 107, "/".into(), none, None),
            EtcdError::Precondition { status, code, cause, indices } => {
                (HttpResponse::build(*status), *code, cause.clone(), *indices, None)
            }
            EtcdError::Api(error) => {
                let is_wrong = match error {
                    ApiError::Refused(refusal) => {
                        matches!(refusal, Refusal::IdReused | Refusal::Superseded)
                    }
                    _ => true,
                };
                let code = if is_wrong { 209 } else { 300 };
                (error.response(), code, error.to_string(), none, error.outcome())
            }
        };
        let (message, cause, index) = (message(code), cause.as_str(), indices.index);
        let body = ErrorBody { error_code: code, message, cause, index, outcome };
        self.json(response, indices, &body)
    }
}

fn message(code: u16) -> &'static str {
    match code {
        100 => "Key not found",
        101 => "Compare failed",
        105 => "Key already exists",
        107 => "Root is read only",
        201 => "PrevValue is Required in POST form",
        202 => "The given TTL in POST form is not a number",
        203 => "The given index in POST form is not a number",
        209 => "Invalid field",
        210 => "Invalid POST form",
        _ => "Internal Error",
    }
}

/// What differed, the wanted one first.
fn compare_cause(command: &Command, found: &Record) -> String {
    let (Command::CompareAndSwap(Compare { value, index }, _)
    | Command::CompareAndDelete(Compare { value, index })) = command
    else {
        return String::new();
    };
    let mut causes = Vec::new();
    if let Some(wanted) = value.as_ref().filter(|wanted| Some(*wanted) != found.value.as_ref()) {
        let found = found.value.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy;
        causes.push(format!("[{} != {}]", text(wanted), text(found)));
    }
    if let Some(wanted) = index.filter(|wanted| *wanted != found.modified_index) {
        causes.push(format!("[{wanted} != {}]", found.modified_index));
    }
    causes.join(" ")
}

type Entry<'a> = (&'a str, &'a Record);

fn first_index(entries: &[Entry]) -> u64 {
    entries.iter().map(|(_, record)| record.created_index).min().unwrap_or(0)
}

/// The nodes of a directory from the entries below it; `depth` counts this
/// level and those below, `hidden` says whether hidden ones are among them.
fn children(parent: &str, entries: &[Entry], depth: usize, hidden: bool) -> Vec<Node> {
    if depth == 0 {
        return Vec::new();
    }
    let mut leaves: BTreeMap<&str, &Record> = BTreeMap::new();
    let mut directories: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    let is_shown = |(path, _): &&Entry| hidden || !path.starts_with('_');
    for (path, record) in entries.iter().filter(is_shown) {
        match path.split_once('/') {
            None => {
                leaves.insert(path, record);
            }
            Some((first, rest)) => directories.entry(first).or_default().push((rest, record)),
        }
    }
    let full = |name: &str| {
        if parent.is_empty() { name.to_string() } else { format!("{parent}/{name}") }
    };
    let mut nodes: Vec<Node> =
        leaves.iter().map(|(name, record)| Node::leaf(&full(name), record)).collect();
    nodes.extend(directories.iter().map(|(name, below)| {
        let name = full(name);
        Node::directory(&name, first_index(below), children(&name, below, depth - 1, hidden))
    }));
    nodes.sort_by(|a, b| a.key.cmp(&b.key));
    nodes
}

/// A cluster's id in etcd's form; zeros as long as it is not known.
pub fn cluster_id(cluster: &OwnCluster) -> String {
    cluster.get().map_or_else(|| "0".repeat(16), |cluster| cluster.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64) -> Record {
        Record { value: Some("v".into()), created_index: index, modified_index: index }
    }

    #[test]
    fn a_listing_groups_by_directory_and_hides_underscores() {
        let records = [("a", 3), ("b!", 9), ("b/c", 5), ("b/d/e", 4), ("_h", 1), ("b/_h", 2)];
        let records: Vec<_> = records.map(|(key, index)| (key, record(index))).into();
        let entries: Vec<_> = records.iter().map(|(key, record)| (*key, record)).collect();
        let keys = |nodes: &[Node]| nodes.iter().map(|n| n.key.clone()).collect::<Vec<_>>();
        let flat = children("x", &entries, 1, false);
        assert_eq!(keys(&flat), ["/x/a", "/x/b", "/x/b!"]);
        assert!(flat[1].dir && flat[1].nodes.is_empty() && flat[1].created_index == 2);
        let deep = children("x", &entries, MAX_LISTING_DEPTH, false);
        assert_eq!(keys(&deep[1].nodes), ["/x/b/c", "/x/b/d"]);
        assert_eq!(keys(&deep[1].nodes[1].nodes), ["/x/b/d/e"]);
        let all = children("x", &entries, MAX_LISTING_DEPTH, true);
        assert_eq!(keys(&all), ["/x/_h", "/x/a", "/x/b", "/x/b!"]);
        assert_eq!(keys(&all[2].nodes), ["/x/b/_h", "/x/b/c", "/x/b/d"]);
    }
}
