//! One connection to one node at a time.

use std::fmt;
use std::time::Duration;

use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::Method;
use awc::http::header::{self, HeaderMap};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::answer::{Answer, Node, Replaced, Written};
use super::retries::Numbering;
use super::{ClientError, ErrorKind, MAX_ANSWER_BYTES, Retries};

/// What stays as it is in a path: the unreserved characters of RFC 3986 and
/// the slash, which makes directories.
const IN_PATH: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// One TCP connection to one node, opened by the first request and kept.
///
/// It belongs to an actix system. Any error closes it, so that a late answer
/// is never taken for the next one's; the request after opens a new one, to
/// another node if there is one and this one cannot serve now.
pub struct Connection {
    urls: Vec<String>,
    /// Which of them is asked.
    current: usize,
    request_timeout: Duration,
    /// When all requests are over.
    deadline: Option<Instant>,
    client: awc::Client,
    retries: Option<Retries>,
    numbering: Numbering,
    /// Whether the nodes heed the names of requests, once that is known.
    heeds_names: Option<bool>,
}

/// The header that names a request.
const NAME_HEADER: &str = "Idempotency-Key";

/// What a key must be for a compare-and-swap to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Its modified index; at least 1, as 0 means "any" to etcd.
    Index(u64),
    /// Its value; not empty, which etcd refuses.
    Value(&'a str),
    /// Both.
    Both {
        /// Its modified index.
        index: u64,
        /// Its value.
        value: &'a str,
    },
}

impl Expected<'_> {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let (index, value) = match *self {
            Expected::Index(index) => (Some(index), None),
            Expected::Value(value) => (None, Some(value)),
            Expected::Both { index, value } => (Some(index), Some(value)),
        };
        let index = index.map(|index| ("prevIndex", index.to_string()));
        let value = value.map(|value| ("prevValue", value.to_owned()));
        index.into_iter().chain(value).collect()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection to the node at `url` (`http://HOST:PORT`). A request
    /// takes at most `request_timeout`, connecting included; a mutation of
    /// unknown outcome is asked for again as [`Retries::default`] has it.
    pub fn new(url: &str, request_timeout: Duration) -> Connection {
        Connection {
            urls: vec![url.to_owned()],
            current: 0,
            request_timeout,
            deadline: None,
            client: new_client(request_timeout),
            retries: Some(Retries::default()),
            numbering: Numbering::new(),
            heeds_names: None,
        }
    }

    /// Goes on at this node of the same cluster too, when another one cannot
    /// be reached.
    pub fn with_other(mut self, url: &str) -> Connection {
        self.urls.push(url.to_owned());
        self
    }

    /// Asks again as told; `None`: never, and requests have no names.
    pub fn with_retries(mut self, retries: Option<Retries>) -> Connection {
        self.retries = retries;
        self
    }

    /// Asks for nothing any more after this time, whatever a request or the retries
    /// may take otherwise.
    pub fn with_deadline(mut self, deadline: Instant) -> Connection {
        self.deadline = Some(deadline);
        self
    }

    /// Reads a key; `None` when it is absent. The read is linearizable
    /// (`quorum=true`).
    pub async fn get(&mut self, key: &str) -> Result<Option<Node>, ClientError> {
        let path = format!("{}?quorum=true", path(key));
        let response = self.exchange(&Request::of(Method::GET, path)).await?;
        response.answer().read().map_err(|kind| self.error(&Method::GET, kind))
    }

    /// Reads the value of a key byte for byte; `None` when it is absent. The read is
    /// linearizable. JSON has no bytes, and a server that answers in JSON alone, as
    /// etcd does, has put U+FFFD in the place of what is not UTF-8.
    pub async fn get_value(&mut self, key: &str) -> Result<Option<Bytes>, ClientError> {
        let path = format!("{}?quorum=true", path(key));
        let request = Request { wants_bytes: true, ..Request::of(Method::GET, path) };
        let response = self.exchange(&request).await?;
        if response.status == 200 && response.is_bytes {
            return Ok(Some(response.body));
        }
        let node = response.answer().read().map_err(|kind| self.error(&Method::GET, kind))?;
        Ok(node.map(|node| node.value.into()))
    }

    /// Writes the value if the key is absent.
    pub async fn create(&mut self, key: &str, value: &str) -> Result<Written, ClientError> {
        self.put(key, value, vec![("prevExist", "false".to_owned())]).await
    }

    /// Writes the value whatever is there.
    pub async fn set(&mut self, key: &str, value: &str) -> Result<Written, ClientError> {
        self.put(key, value, Vec::new()).await
    }

    /// Writes the value whatever is there, and shows what was. It is sent once,
    /// whatever [`Retries`] say.
    pub async fn replace(&mut self, key: &str, value: &str) -> Result<Replaced, ClientError> {
        let request = put(key, value, Vec::new());
        let response = self.exchange(&request).await?;
        response.answer().replaced().map_err(|kind| self.error(&request.method, kind))
    }

    /// Writes the value if the key is as expected.
    pub async fn compare_and_swap(
        &mut self,
        key: &str,
        expected: Expected<'_>,
        value: &str,
    ) -> Result<Written, ClientError> {
        self.put(key, value, expected.parameters()).await
    }

    /// Removes the key if it is present.
    pub async fn delete(&mut self, key: &str) -> Result<Written, ClientError> {
        self.mutate(Request::of(Method::DELETE, path(key))).await
    }

    async fn put(
        &mut self,
        key: &str,
        value: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<Written, ClientError> {
        self.mutate(put(key, value, parameters)).await
    }

    /// Sends a mutation, and as long as its outcome is unknown again. An
    /// answer to a later try that it failed speaks of that try alone.
    async fn mutate(&mut self, mut request: Request) -> Result<Written, ClientError> {
        let Some(retries) = self.retries else {
            return self.try_to(&request).await;
        };
        request.name = Some(self.numbering.next());
        let began = Instant::now();
        let mut unknown: Option<ClientError> = None;
        for tried in 0..retries.tries.max(1) {
            if unknown.is_some() {
                tokio::time::sleep(Retries::pause(tried).min(self.time_left())).await;
                if began.elapsed() >= retries.within || self.time_left().is_zero() {
                    break;
                }
                match self.heeds_names().await {
                    Some(true) => {}
                    Some(false) => break,
                    None => continue,
                }
            }
            match self.try_to(&request).await {
                Ok(written) => return Ok(written),
                Err(error) if unknown.is_none() && !error.is_unknown() => return Err(error),
                Err(error) => {
                    let may_pass = error.may_pass();
                    unknown.get_or_insert(error);
                    if !may_pass {
                        break;
                    }
                }
            }
        }
        Err(unknown.expect("a try that is not answered leaves an error"))
    }

    async fn try_to(&mut self, request: &Request) -> Result<Written, ClientError> {
        let response = self.exchange(request).await?;
        response.answer().written().map_err(|kind| self.error(&request.method, kind))
    }

    /// Whether the nodes heed the names of requests: those of gryadka do.
    /// `None` when it cannot be asked now.
    async fn heeds_names(&mut self) -> Option<bool> {
        if self.heeds_names.is_none() {
            let version = Request::of(Method::GET, "/version".to_owned());
            let answer = self.exchange(&version).await.ok()?;
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            self.heeds_names = Some(answer.status == 200 && body.get("gryadka").is_some());
        }
        self.heeds_names
    }

    fn time_left(&self) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.deadline.map_or(Duration::MAX, left)
    }

    /// Sends one request and reads the whole answer, in time.
    async fn exchange(&mut self, request: &Request) -> Result<Response, ClientError> {
        let patience = self.request_timeout.min(self.time_left());
        if patience.is_zero() {
            let kind = ErrorKind::Connect("there is no time left".to_owned());
            return Err(self.error(&request.method, kind));
        }
        if patience < self.request_timeout {
            self.client = new_client(patience);
        }
        let url = format!("{}{}", self.urls[self.current], request.path);
        let mut sending = self.client.request(request.method.clone(), url);
        if let Some(name) = &request.name {
            sending = sending.insert_header((NAME_HEADER, name.as_str()));
        }
        if request.wants_bytes {
            sending = sending.insert_header((header::ACCEPT, BYTES));
        }
        let answer = async {
            let sent = match &request.form {
                Some(form) => sending
                    .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
                    .send_body(form.clone()),
                None => sending.send(),
            };
            let mut response = sent.await.map_err(send_error)?;
            let body = response.body().limit(MAX_ANSWER_BYTES).await.map_err(body_error)?;
            if announced_length(response.headers()).is_some_and(|length| length > body.len()) {
                return Err(ErrorKind::Closed("inside the answer".to_owned()));
            }
            let content_type = response.headers().get(header::CONTENT_TYPE);
            let is_bytes = content_type.is_some_and(|content_type| content_type == BYTES);
            Ok(Response { status: response.status().as_u16(), body, is_bytes })
        };
        let answer = match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(ErrorKind::Timeout(Duration::from_millis(patience.as_millis() as u64))),
        };
        answer.map_err(|kind| self.error(&request.method, kind))
    }

    /// An error, after which the connection is a new one.
    fn error(&mut self, method: &Method, kind: ErrorKind) -> ClientError {
        self.client = new_client(self.request_timeout);
        let endpoint = self.urls[self.current].clone();
        let error = ClientError { endpoint, kind, mutation: *method != Method::GET };
        if error.may_pass() {
            self.current = (self.current + 1) % self.urls.len();
        }
        error
    }
}

/// One request to a node.
struct Request {
    method: Method,
    path: String,
    form: Option<String>,
    /// The same in every try.
    name: Option<String>,
    /// Whether a value alone is wanted instead of JSON.
    wants_bytes: bool,
}

/// The media type of a value alone.
const BYTES: &str = "application/octet-stream";

/// What a node answers.
struct Response {
    status: u16,
    body: Bytes,
    /// Whether the body is a value alone.
    is_bytes: bool,
}

impl Response {
    fn answer(&self) -> Answer<'_> {
        Answer { status: self.status, body: &self.body }
    }
}

impl Request {
    /// One without a body and without a name.
    fn of(method: Method, path: String) -> Self {
        Request { method, path, form: None, name: None, wants_bytes: false }
    }
}

/// A PUT with its conditions in the query, where the etcd-like server of the original
/// looks for them. It knows no `prevValue`, which may be longer than a query can be.
fn put(key: &str, value: &str, parameters: Vec<(&'static str, String)>) -> Request {
    let encoded = |pairs: Vec<(&str, String)>| {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    };
    let (mut form, query): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| *name == "prevValue");
    form.push(("value", value.to_owned()));
    let path = match &query[..] {
        [] => path(key),
        _ => format!("{}?{}", path(key), encoded(query)),
    };
    Request { form: Some(encoded(form)), ..Request::of(Method::PUT, path) }
}

/// A client of one connection that lives until it breaks.
///
/// Connecting may take nine tenths of the request's time. So when the time
/// of a whole request is over, it was connected, and only then is the effect
/// in doubt.
fn new_client(request_timeout: Duration) -> awc::Client {
    let connector = awc::Connector::new()
        .limit(1)
        .timeout(request_timeout / 10 * 9)
        .conn_keep_alive(Duration::MAX)
        .conn_lifetime(Duration::MAX);
    awc::Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .finish()
}

fn path(key: &str) -> String {
    format!("/v2/keys/{}", utf8_percent_encode(key, &IN_PATH))
}

/// What awc does not check: a connection that breaks inside the body looks
/// to it like the body's end.
fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn send_error(error: SendRequestError) -> ErrorKind {
    match error {
        // awc's word for an end of the stream where the answer should be.
        SendRequestError::Connect(ConnectError::Disconnected) => {
            ErrorKind::Closed("no answer came".to_owned())
        }
        SendRequestError::Connect(error) => ErrorKind::Connect(error.to_string()),
        SendRequestError::Url(error) => ErrorKind::Connect(error.to_string()),
        error => ErrorKind::Closed(error.to_string()),
    }
}

fn body_error(error: PayloadError) -> ErrorKind {
    match error {
        PayloadError::Overflow => {
            ErrorKind::BadBody(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"))
        }
        error => ErrorKind::Closed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_percent_encoded() {
        for (key, expected) in [
            ("key0", "/v2/keys/key0"),
            ("dir/a", "/v2/keys/dir/a"),
            ("a b?c#d%e&f=g+h", "/v2/keys/a%20b%3Fc%23d%25e%26f%3Dg%2Bh"),
            ("ключ", "/v2/keys/%D0%BA%D0%BB%D1%8E%D1%87"),
            ("a-b_c.d~e", "/v2/keys/a-b_c.d~e"),
        ] {
            assert_eq!(path(key), expected);
        }
    }
}
