//! One page of a listing, filled in key order.

use std::ops::Bound;

use crate::caspaxos::acceptor::Register;
use crate::caspaxos::{ListEntry, ListKind, ListPage, ListRequest};
use crate::kv::Key;

/// The most that one page holds, whatever was asked for: a page and the entry
/// that overflows it must fit into one message between nodes.
pub const LIMIT_BYTES: u32 = 256 << 10;

/// The limit that holds for a request.
pub fn limit_bytes(request: &ListRequest) -> usize {
    request.limit_bytes.min(LIMIT_BYTES) as usize
}

/// The least key that may be listed, and whether it is itself excluded.
pub fn lower_bound(request: &ListRequest) -> (&str, bool) {
    match &request.after {
        Some(after) if after.as_str() >= request.prefix.as_str() => (after.as_str(), true),
        Some(_) | None => (request.prefix.as_str(), false),
    }
}

/// From where to where keys are listed.
pub type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The keys that may be listed; `None` when there are none. The end matters: a
/// scan of a merge tree that ran on would step over all that was removed there.
pub fn bounds(request: &ListRequest) -> Option<Bounds> {
    let (least, is_excluded) = lower_bound(request);
    let least = least.as_bytes().to_vec();
    // Keys are UTF-8, in which no byte is 0xff.
    let end = [request.prefix.as_bytes(), b"\xff"].concat();
    let is_empty = least > end;
    let from = if is_excluded { Bound::Excluded(least) } else { Bound::Included(least) };
    (!is_empty).then_some((from, Bound::Excluded(end)))
}

/// A page being filled.
pub struct PageBuilder {
    page: ListPage,
    bytes: usize,
    limit_bytes: usize,
    kind: ListKind,
}

impl PageBuilder {
    /// An empty page.
    pub fn new(request: &ListRequest) -> Self {
        let limit_bytes = limit_bytes(request);
        PageBuilder { page: ListPage::default(), bytes: 0, limit_bytes, kind: request.kind }
    }

    /// True once no more registers are wanted.
    pub fn is_full(&self) -> bool {
        self.page.more_after.is_some()
    }

    /// Takes in the next register; one of another kind counts for the length
    /// of the page but is not shown.
    pub fn push(&mut self, key: &Key, register: &Register) {
        let is_shown = match self.kind {
            ListKind::Accepted => !register.accepted.is_zero(),
            ListKind::Dead => register.is_dead(),
        };
        if !is_shown {
            self.bytes += ListEntry::OVERHEAD_BYTES;
        } else {
            let record = register.value.record.clone();
            let entry = ListEntry { key: key.clone(), accepted: register.accepted, record };
            self.bytes += entry.bytes();
            self.page.entries.push(entry);
        }
        if self.bytes >= self.limit_bytes {
            self.page.more_after = Some(key.clone());
        }
    }

    /// The page.
    pub fn build(self) -> ListPage {
        self.page
    }
}
