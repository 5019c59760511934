//! The peer API: batches of calls from other nodes.

use std::fmt::Display;
use std::time::Duration;

use actix::{Addr, Recipient};
use actix_web::{HttpResponse, web};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::Semaphore;

use super::body;
use crate::actors::{Acceptor, Chaos, Overtaken, Serve, ServeReplica, Shards, Toward};
use crate::caspaxos::{AcceptorId, Call};
use crate::raft::ReplicaId;
use crate::transport::{
    Batch, BatchCalls, BatchReplies, MAX_REQUEST_BYTES, Passed, decode, encode_replies,
};

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
    /// The acceptor of the node, if it runs one.
    pub acceptor: Option<(AcceptorId, Addr<Acceptor>)>,
    /// Its proposer, if it runs one, which is told what others ask for.
    pub overtaken: Option<Shards<Overtaken>>,
    /// The replica of the node, if it runs one.
    pub replica: Option<(ReplicaId, Recipient<ServeReplica>)>,
    /// What becomes of the replies.
    pub chaos: Chaos,
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
    let patience = Duration::from_millis(batch.patience_ms.into());
    if state.chaos.is_cut() {
        return HttpResponse::Ok().body(encode_replies(batch.calls.all_lost()));
    }
    state.chaos.note_messages(Toward::Node(&batch.sender), batch.calls.len());
    let serving = match serve(batch, &state) {
        Ok(serving) => serving,
        Err(why) => return HttpResponse::Conflict().body(format!("{why}\n")),
    };
    match tokio::time::timeout(patience, serving).await {
        Ok(Some(replies)) => HttpResponse::Ok()
            .content_type("application/octet-stream")
            .body(encode_replies(replies)),
        Ok(None) | Err(_) => {
            HttpResponse::ServiceUnavailable().body("the calls were not answered in time\n")
        }
    }
}

/// Hands the calls to the actor that is meant, or says why it is not here.
/// What is served may give no replies.
fn serve(
    batch: Batch,
    state: &PeerState,
) -> Result<LocalBoxFuture<'static, Option<BatchReplies>>, String> {
    let Batch { cluster, sender, calls, .. } = batch;
    let PeerState { node, acceptor, replica, chaos, .. } = state;
    if cluster != state.cluster {
        return Err(format!(
            "node {sender} belongs to cluster {cluster:?}, node {node} to {:?}; check the peers \
             of both deployment files",
            state.cluster
        ));
    }
    match calls {
        BatchCalls::Acceptor { to, calls } => match acceptor {
            Some((id, acceptor)) if *id == to => {
                tell_of(&calls, state.overtaken.as_ref());
                let (replies, passes) = (acceptor.send(Serve(calls)), Passes::new(chaos, sender));
                let pass = move |replies| BatchReplies::Acceptor(passes.all(replies));
                Ok(replies.map(|replies| replies.ok().flatten().map(pass)).boxed_local())
            }
            Some((id, _)) => Err(stranger(&sender, "acceptor", &to, node, Some(id))),
            None => Err(stranger(&sender, "acceptor", &to, node, None)),
        },
        BatchCalls::Replica { from, to, calls } => match replica {
            Some((id, replica)) if *id == to => {
                let replies = replica.send(ServeReplica { from, calls });
                let passes = Passes::new(chaos, sender);
                let pass = move |replies| BatchReplies::Replica(passes.all(replies));
                Ok(replies.map(|replies| replies.ok().map(pass)).boxed_local())
            }
            Some((id, _)) => Err(stranger(&sender, "replica", &to, node, Some(id))),
            None => Err(stranger(&sender, "replica", &to, node, None)),
        },
    }
}

/// Lets the proposer of this node know which ballots another one asks for.
fn tell_of(calls: &[Call], proposer: Option<&Shards<Overtaken>>) {
    let Some(proposer) = proposer else { return };
    let claims = calls.iter().filter_map(|call| call.request.claims());
    proposer.send_each(claims.map(|(key, ballot)| (key.clone(), ballot)), Overtaken);
}

/// The way of replies back to a node.
struct Passes {
    chaos: Chaos,
    to: String,
}

impl Passes {
    fn new(chaos: &Chaos, to: String) -> Self {
        Passes { chaos: chaos.clone(), to }
    }

    fn all<Reply>(&self, replies: Vec<Reply>) -> Vec<Passed<Reply>> {
        let pass = |reply| self.chaos.pass(Toward::Node(&self.to), reply);
        replies.into_iter().map(pass).collect()
    }
}

/// What the sender is told that wants an actor which is not here.
fn stranger(
    sender: &str,
    kind: &str,
    wanted: &dyn Display,
    node: &str,
    here: Option<&dyn Display>,
) -> String {
    let here = here.map_or("none".into(), ToString::to_string);
    format!(
        "node {sender} wants {kind} {wanted}, but node {node} runs {here}; check the {kind}s of \
         both deployment files"
    )
}
