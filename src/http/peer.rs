//! The peer API: batches of calls from other nodes.

use std::time::Duration;

use actix::Addr;
use actix_web::{HttpResponse, web};
use tokio::sync::Semaphore;

use super::body;
use crate::actors::{Acceptor, Serve};
use crate::caspaxos::AcceptorId;
use crate::transport::{Batch, MAX_BATCH_CALLS, MAX_REQUEST_BYTES, decode, encode_replies};

/// What all batches that are being read may hold together. Clients have a
/// budget of their own: they must not be able to cut a node off.
static READING_BYTES: Semaphore = Semaphore::const_new(256 << 20);

/// What the peer API knows of its node.
#[derive(Clone)]
pub struct PeerState {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The acceptor of the node.
    pub acceptor: (AcceptorId, Addr<Acceptor>),
}

/// `POST /peer/v1/batch`.
pub async fn batch(payload: web::Payload, state: web::Data<PeerState>) -> HttpResponse {
    let body = match body::read_within(&READING_BYTES, payload, MAX_REQUEST_BYTES).await {
        Ok(body) => body,
        Err(error) => return actix_web::ResponseError::error_response(&error),
    };
    let batch: Batch = match decode(&body) {
        Ok(batch) => batch,
        Err(error) => return HttpResponse::BadRequest().body(format!("{error}\n")),
    };
    if let Err(why) = check(&batch, &state) {
        return HttpResponse::Conflict().body(format!("{why}\n"));
    }
    let patience = Duration::from_millis(batch.patience_ms.into());
    let serve = state.acceptor.1.send(Serve(batch.calls));
    match tokio::time::timeout(patience, serve).await {
        Ok(Ok(Some(replies))) => HttpResponse::Ok()
            .content_type("application/octet-stream")
            .body(encode_replies(replies)),
        Ok(Ok(None) | Err(_)) | Err(_) => {
            HttpResponse::ServiceUnavailable().body("the acceptor gave no answer in time\n")
        }
    }
}

/// Whether the batch is meant for this node.
fn check(batch: &Batch, state: &PeerState) -> Result<(), String> {
    let Batch { cluster, sender, to, calls, .. } = batch;
    if calls.len() > MAX_BATCH_CALLS {
        return Err(format!(
            "{} calls are more than the {MAX_BATCH_CALLS} of a batch",
            calls.len()
        ));
    }
    if *cluster != state.cluster {
        return Err(format!(
            "node {sender} belongs to cluster {cluster:?}, node {} to {:?}; check the peers of \
             both deployment files",
            state.node, state.cluster
        ));
    }
    if *to != state.acceptor.0 {
        return Err(format!(
            "node {sender} wants acceptor {to}, but node {} runs {}; check the acceptors of both \
             deployment files",
            state.node, state.acceptor.0
        ));
    }
    Ok(())
}
