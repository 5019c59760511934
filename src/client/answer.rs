//! From status and body to a typed answer.

use serde::Deserialize;

use super::{ErrorKind, StatedOutcome};

/// A key's value and its place in the store's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value; empty in the answer to a delete.
    pub value: String,
    /// The index at which this life of the key began.
    pub created_index: u64,
    /// The index of the last change.
    pub modified_index: u64,
}

/// The answer to a request that changes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It was done; the node is as it stands now.
    Done(Node),
    /// The precondition did not hold, so nothing changed.
    Conflict(Conflict),
    /// The key is absent, so nothing changed.
    NotFound {
        /// The store's index at that time.
        index: u64,
    },
}

/// The answer to a write without a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// What was there; `None` when the key was absent.
    pub before: Option<Node>,
    /// What is there now.
    pub after: Node,
}

/// A precondition that did not hold (412).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which one.
    pub reason: ConflictReason,
    /// In the node's words, as `[wanted != found]` or the key.
    pub cause: String,
    /// The store's index at that time.
    pub index: u64,
}

/// Which precondition did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictReason {
    /// Error 101: value or index are others.
    CompareFailed,
    /// Error 105: the key exists already.
    Exists,
}

const KEY_NOT_FOUND: u16 = 100;
const COMPARE_FAILED: u16 = 101;
const KEY_EXISTS: u16 = 105;

/// An answer in the words of HTTP.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DoneBody {
    node: NodeBody,
    prev_node: Option<NodeBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeBody {
    value: Option<String>,
    #[serde(default)]
    dir: bool,
    created_index: u64,
    modified_index: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RefusalBody {
    error_code: Option<u16>,
    message: Option<String>,
    cause: Option<String>,
    index: u64,
    outcome: Option<String>,
}

impl Answer<'_> {
    /// The answer to a read: `None` when the key is absent.
    pub(super) fn read(&self) -> Result<Option<Node>, ErrorKind> {
        match self.written()? {
            Written::Done(node) => Ok(Some(node)),
            Written::NotFound { .. } => Ok(None),
            Written::Conflict(_) => Err(ErrorKind::BadBody("412 to a read".to_owned())),
        }
    }

    /// The answer to a change.
    pub(super) fn written(&self) -> Result<Written, ErrorKind> {
        if matches!(self.status, 200 | 201) {
            return self.node().map(Written::Done);
        }
        let refusal: RefusalBody = serde_json::from_slice(self.body).unwrap_or_default();
        let reason = match (self.status, refusal.error_code) {
            (404, Some(KEY_NOT_FOUND)) => return Ok(Written::NotFound { index: refusal.index }),
            (412, Some(COMPARE_FAILED)) => ConflictReason::CompareFailed,
            (412, Some(KEY_EXISTS)) => ConflictReason::Exists,
            _ => return Err(self.error(refusal)),
        };
        let cause = refusal.cause.unwrap_or_default();
        Ok(Written::Conflict(Conflict { reason, cause, index: refusal.index }))
    }

    /// The answer to a write without a condition.
    pub(super) fn replaced(&self) -> Result<Replaced, ErrorKind> {
        match self.written()? {
            Written::Done(after) => {
                let before = self.done()?.prev_node.map(NodeBody::node).transpose()?;
                Ok(Replaced { before, after })
            }
            Written::Conflict(_) | Written::NotFound { .. } => {
                Err(ErrorKind::BadBody("a condition failed, and there was none".to_owned()))
            }
        }
    }

    fn node(&self) -> Result<Node, ErrorKind> {
        self.done()?.node.node()
    }

    fn done(&self) -> Result<DoneBody, ErrorKind> {
        serde_json::from_slice(self.body).map_err(|error| ErrorKind::BadBody(error.to_string()))
    }

    fn error(&self, refusal: RefusalBody) -> ErrorKind {
        let words = [refusal.message, refusal.cause];
        let words: Vec<String> = words.into_iter().flatten().collect();
        ErrorKind::Status {
            status: self.status,
            outcome: match refusal.outcome.as_deref() {
                Some("failed") => Some(StatedOutcome::Failed),
                Some("unknown") => Some(StatedOutcome::Unknown),
                _ => None,
            },
            error_code: refusal.error_code,
            message: words.join(": "),
        }
    }
}

impl NodeBody {
    fn node(self) -> Result<Node, ErrorKind> {
        if self.dir {
            return Err(ErrorKind::BadBody("the key is a directory".to_owned()));
        }
        Ok(Node {
            value: self.value.unwrap_or_default(),
            created_index: self.created_index,
            modified_index: self.modified_index,
        })
    }
}
