//! Where an answer stands in the order of changes, as etcd's headers say it.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::HeaderName;

use crate::kv::{Answer, Listed, LogPosition};

const ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// Where an answer stands; the default is that of a request that asked nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Indices {
    /// The newest modified index that the request could see.
    pub index: u64,
    /// Where the log stands, in a protocol that has one.
    pub position: Option<LogPosition>,
}

impl Indices {
    /// Puts the headers on a response.
    pub fn put_on(self, response: &mut HttpResponseBuilder) {
        response.insert_header((ETCD_INDEX, self.index));
        if let Some(LogPosition { index, term }) = self.position {
            response.insert_header((RAFT_INDEX, index)).insert_header((RAFT_TERM, term));
        }
    }
}

impl From<&Answer> for Indices {
    fn from(answer: &Answer) -> Self {
        Indices { index: answer.index, position: answer.position }
    }
}

impl From<&Listed> for Indices {
    fn from(listed: &Listed) -> Self {
        Indices { index: listed.index, position: listed.position }
    }
}
