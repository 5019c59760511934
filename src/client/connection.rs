//! One connection to one node.

use std::fmt;
use std::time::Duration;

use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::Method;
use awc::http::header::{self, HeaderMap};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Answer, Node, Written};
use super::{ClientError, ErrorKind, MAX_ANSWER_BYTES};

/// What stays as it is in a path: the unreserved characters of RFC 3986 and
/// the slash, which makes directories.
const IN_PATH: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// One TCP connection to one node, opened by the first request and kept.
///
/// It belongs to an actix system. Any error closes it, so that a late answer
/// is never taken for the next one's; the request after opens a new one.
pub struct Connection {
    url: String,
    request_timeout: Duration,
    client: awc::Client,
}

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
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection to the node at `url` (`http://HOST:PORT`). A request
    /// takes at most `request_timeout`, connecting included.
    pub fn new(url: &str, request_timeout: Duration) -> Connection {
        Connection { url: url.to_owned(), request_timeout, client: new_client(request_timeout) }
    }

    /// Reads a key; `None` when it is absent. The read is linearizable
    /// (`quorum=true`).
    pub async fn get(&mut self, key: &str) -> Result<Option<Node>, ClientError> {
        let path = format!("{}?quorum=true", path(key));
        let (status, body) = self.exchange(Method::GET, &path, None).await?;
        let answer = Answer { status, body: &body };
        answer.read().map_err(|kind| self.error(&Method::GET, kind))
    }

    /// Writes the value if the key is absent.
    pub async fn create(&mut self, key: &str, value: &str) -> Result<Written, ClientError> {
        self.put(key, value, vec![("prevExist", "false".to_owned())]).await
    }

    /// Writes the value whatever is there.
    pub async fn set(&mut self, key: &str, value: &str) -> Result<Written, ClientError> {
        self.put(key, value, Vec::new()).await
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
        let (status, body) = self.exchange(Method::DELETE, &path(key), None).await?;
        let answer = Answer { status, body: &body };
        answer.written().map_err(|kind| self.error(&Method::DELETE, kind))
    }

    async fn put(
        &mut self,
        key: &str,
        value: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<Written, ClientError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .append_pair("value", value)
            .finish();
        let (status, body) = self.exchange(Method::PUT, &path(key), Some(form)).await?;
        let answer = Answer { status, body: &body };
        answer.written().map_err(|kind| self.error(&Method::PUT, kind))
    }

    /// Sends one request and reads the whole answer, in time.
    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        form: Option<String>,
    ) -> Result<(u16, Bytes), ClientError> {
        let url = format!("{}{path}", self.url);
        let request = self.client.request(method.clone(), url);
        let answer = async {
            let sent = match form {
                Some(form) => request
                    .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
                    .send_body(form),
                None => request.send(),
            };
            let mut response = sent.await.map_err(send_error)?;
            let body = response.body().limit(MAX_ANSWER_BYTES).await.map_err(body_error)?;
            if announced_length(response.headers()).is_some_and(|length| length > body.len()) {
                return Err(ErrorKind::Closed("inside the answer".to_owned()));
            }
            Ok((response.status().as_u16(), body))
        };
        let answer = match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(ErrorKind::Timeout(self.request_timeout)),
        };
        answer.map_err(|kind| self.error(&method, kind))
    }

    /// An error, after which the connection is a new one.
    fn error(&mut self, method: &Method, kind: ErrorKind) -> ClientError {
        self.client = new_client(self.request_timeout);
        ClientError { endpoint: self.url.clone(), kind, mutation: *method != Method::GET }
    }
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
