//! How the operator's tool speaks to a node's admin listener: JSON in, JSON
//! out, one request at a time.

use std::time::Duration;

use serde_json::Value;

use super::MAX_ANSWER_BYTES;

/// A node's admin listener.
#[derive(Clone)]
pub struct Operator {
    url: String,
    client: awc::Client,
}

/// A request to an admin listener that was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No usable answer; what was asked may have been done.
    #[error("{url}: {why}")]
    Silent {
        /// Who was asked.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The node says no.
    #[error("{message} ({url}: status {status})")]
    Refused {
        /// Who was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The kind of refusal; may be empty.
        code: String,
        /// The reason in the node's words.
        message: String,
    },
}

impl Operator {
    /// The admin listener at `http://HOST:PORT`. It belongs to an actix system.
    pub fn new(url: &str) -> Operator {
        let client = awc::Client::builder().disable_timeout().disable_redirects().finish();
        Operator { url: url.to_owned(), client }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// GET; what is asked is part of the path.
    pub async fn get(&self, path: &str, patience: Duration) -> Result<Value, OperatorError> {
        let request = self.client.get(format!("{}{path}", self.url));
        self.answer(request.send(), patience).await
    }

    /// POST of a JSON value.
    pub async fn post(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<Value, OperatorError> {
        let request = self.client.post(format!("{}{path}", self.url));
        self.answer(request.send_json(body), patience).await
    }

    /// PUT of a JSON value.
    pub async fn put(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<Value, OperatorError> {
        let request = self.client.put(format!("{}{path}", self.url));
        self.answer(request.send_json(body), patience).await
    }

    async fn answer(
        &self,
        sent: awc::SendClientRequest,
        patience: Duration,
    ) -> Result<Value, OperatorError> {
        let silent = |why: String| OperatorError::Silent { url: self.url.clone(), why };
        let answer = async {
            let mut response = sent.await.map_err(|error| silent(error.to_string()))?;
            let body = response.body().limit(MAX_ANSWER_BYTES).await;
            Ok((response.status(), body.map_err(|error| silent(error.to_string()))?))
        };
        let (status, body) = match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(silent(format!("no answer within {patience:?}"))),
        };
        if body.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let parsed: Result<Value, _> = serde_json::from_slice(&body);
        if status.is_success() {
            return parsed.map_err(|error| silent(format!("unusable answer: {error}")));
        }
        let parsed = parsed.unwrap_or_default();
        let text = |name: &str| parsed[name].as_str().unwrap_or_default().to_owned();
        let message = match text("message") {
            none if none.is_empty() => String::from_utf8_lossy(&body).trim().to_owned(),
            message => message,
        };
        Err(OperatorError::Refused {
            url: self.url.clone(),
            status: status.as_u16(),
            code: text("code"),
            message,
        })
    }
}
