//! The way of a batch to another node and of its replies back, over HTTP.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::link::MAX_BATCHES;
use crate::raft::Unanswered;
use crate::transport::{
    BATCH_CONTENT_TYPE, BATCH_PATH, Batch, BatchReplies, MAX_REPLY_BYTES, decode, encode,
};

/// How long a connection may take to be made, its name to be looked up
/// included. It is short because a network that drops packets silently makes
/// the system wait ever longer before it tries again; a new attempt does not.
const CONNECT_PATIENCE: Duration = Duration::from_millis(200);

/// The way to the peer listener of another node. Clones share its connections,
/// which are enough for one link.
///
/// A connection goes back to the pool only when the whole answer was read from
/// it. One whose batch timed out is closed, so a connection that died silently
/// takes one batch with it and never a second.
#[derive(Clone)]
pub struct Post {
    url: String,
    client: awc::Client,
}

impl Post {
    /// To the peer listener at this base URL.
    pub fn new(url: &str) -> Self {
        let connector = awc::Connector::new()
            .limit(MAX_BATCHES)
            .timeout(CONNECT_PATIENCE)
            .conn_lifetime(Duration::from_secs(3600));
        let client = awc::Client::builder().connector(connector).disable_timeout().finish();
        Post { url: url.into(), client }
    }

    /// Where it leads.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a batch and waits for the replies: for as long as the batch says
    /// once it is on its way, and for a connection before that.
    pub async fn exchange(&self, batch: &Batch) -> Result<BatchReplies, Unanswered> {
        let patience = Duration::from_millis(batch.patience_ms.into());
        let (body, mut leaves) = Parcel::new(encode(batch));
        let mut replies = pin!(self.post(body));
        let named = |why: String| format!("{}: {why}", self.url);
        tokio::select! {
            biased;
            result = &mut replies => result.map_err(|why| match leaves.try_recv() {
                Ok(()) => Unanswered::Lost(named(why)),
                Err(_) => Unanswered::NotSent(named(why)),
            }),
            Ok(()) = &mut leaves => match tokio::time::timeout(patience, replies).await {
                Ok(result) => result.map_err(|why| Unanswered::Lost(named(why))),
                Err(_) => Err(Unanswered::Lost(named(format!("no answer within {patience:?}")))),
            },
        }
    }

    async fn post(&self, body: Parcel) -> Result<BatchReplies, String> {
        let request = self.client.post(format!("{}{BATCH_PATH}", self.url));
        let request = request.content_type(BATCH_CONTENT_TYPE);
        let mut response = request.send_body(body).await.map_err(|error| error.to_string())?;
        let body = response.body().limit(MAX_REPLY_BYTES + 1024).await;
        let body = body.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            let start: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(format!("{}: {}", response.status(), start.trim_end()));
        }
        decode(&body).map_err(|error| error.to_string())
    }
}

/// A request body that tells when it is taken, which is when a connection
/// stands. Before that no byte of a batch has left, whatever became of the
/// request; the errors of the HTTP client do not say so: it calls an answer
/// that broke off a failure to connect, too.
struct Parcel {
    bytes: Bytes,
    leaves: Option<oneshot::Sender<()>>,
}

impl Parcel {
    fn new(bytes: Vec<u8>) -> (Parcel, oneshot::Receiver<()>) {
        let (leaves, receiver) = oneshot::channel();
        (Parcel { bytes: bytes.into(), leaves: Some(leaves) }, receiver)
    }
}

impl MessageBody for Parcel {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(leaves) = self.leaves.take() else { return Poll::Ready(None) };
        // Who no longer listens has given the batch up.
        let _ = leaves.send(());
        Poll::Ready(Some(Ok(std::mem::take(&mut self.bytes))))
    }
}
