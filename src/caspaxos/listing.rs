//! The keys of a prefix: the union over a prepare quorum.
//!
//! What it promises: a record that was acknowledged before the listing began
//! and not changed since is in it, because a prepare quorum meets the accept
//! quorum that took it. What it does not: the records are not of one moment,
//! and a record whose change was still under way may show or not, and may
//! show and yet not be there later. Who needs more reads the key itself.

use std::collections::BTreeMap;

use super::{
    AcceptorId, Ballot, Call, Caller, Configuration, ListEntry, ListKind, ListPage, ListRequest,
    Request,
};
use crate::kv::{Key, MAX_LISTING_BYTES, Record, Scope};

/// Why a listing has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListingError {
    /// Too few acceptors answered.
    #[error("no quorum of acceptors answered the listing")]
    NoQuorum,
    /// More than the listing may hold.
    #[error("the directory holds more than {limit_bytes} bytes; list a narrower one")]
    TooLarge {
        /// The bound, in bytes of keys and values.
        limit_bytes: usize,
    },
}

/// A listing under way: feed it pages until it has a result.
#[derive(Debug)]
pub struct Listing {
    caller: Caller,
    configuration: Configuration,
    prefix: String,
    scope: Scope,
    newest: BTreeMap<Key, (Ballot, Record)>,
    bytes: usize,
    done: Vec<AcceptorId>,
    lost: Vec<AcceptorId>,
}

impl Listing {
    /// What one page of one acceptor holds: small, so that nothing else waits
    /// long behind it.
    const PAGE_BYTES: u32 = 64 << 10;

    /// Starts a listing of the keys that begin with `prefix`.
    pub fn new(caller: Caller, configuration: Configuration, prefix: String, scope: Scope) -> Self {
        Listing {
            caller,
            configuration,
            prefix,
            scope,
            newest: BTreeMap::new(),
            bytes: 0,
            done: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The same listing from its beginning, for a proposer that has followed a
    /// fence; `None` when it knows no more than this listing did.
    pub fn begun_anew(&self, caller: Caller, configuration: &Configuration) -> Option<Listing> {
        let is_newer = caller.epoch > self.caller.epoch || caller.age > self.caller.age;
        let (prefix, scope) = (self.prefix.clone(), self.scope);
        is_newer.then(|| Listing::new(caller, configuration.clone(), prefix, scope))
    }

    /// Whom to ask first.
    pub fn acceptors(&self) -> &[AcceptorId] {
        &self.configuration.prepare.acceptors
    }

    /// The request for the page that starts after a key.
    pub fn request(&self, after: Option<Key>) -> Call {
        self.caller.call(Request::List(ListRequest {
            kind: ListKind::Accepted,
            prefix: self.prefix.clone(),
            after,
            limit_bytes: Self::PAGE_BYTES,
        }))
    }

    /// Takes a page in, or `None` when the acceptor will not answer. Returns
    /// the next request for the same acceptor, if it has more.
    pub fn on_page(
        &mut self,
        from: AcceptorId,
        page: Option<ListPage>,
    ) -> Result<Option<Call>, ListingError> {
        let Some(page) = page else {
            self.lost.push(from);
            if self.configuration.prepare.is_out_of_reach_without(&self.lost) {
                return Err(ListingError::NoQuorum);
            }
            return Ok(None);
        };
        // The cluster's own keys are nobody's business.
        for entry in page.entries.into_iter().filter(|entry| !entry.key.is_reserved()) {
            self.merge(entry.key, entry.accepted, entry.record);
        }
        if self.bytes > MAX_LISTING_BYTES {
            return Err(ListingError::TooLarge { limit_bytes: MAX_LISTING_BYTES });
        }
        match page.more_after {
            Some(after) => Ok(Some(self.request(Some(after)))),
            None => {
                self.done.push(from);
                Ok(None)
            }
        }
    }

    fn merge(&mut self, key: Key, accepted: Ballot, record: Record) {
        let value_bytes = |record: &Record| record.value.as_ref().map_or(0, |value| value.len());
        let (key_bytes, new_bytes) = (key.as_str().len(), value_bytes(&record));
        match self.newest.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((accepted, record));
                self.bytes += key_bytes + new_bytes + ListEntry::OVERHEAD_BYTES;
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if accepted > entry.get().0 {
                    self.bytes += new_bytes;
                    self.bytes -= value_bytes(&entry.get().1);
                    entry.insert((accepted, record));
                }
            }
        }
    }

    /// True once a prepare quorum has told all it has, or all that is asked.
    pub fn is_complete(&self) -> bool {
        let is_found = match self.scope {
            Scope::All => false,
            Scope::Any => self.newest.values().any(|(_, record)| record.is_live()),
        };
        is_found || self.configuration.prepare.is_met_by(&self.done)
    }

    /// The live records, in key order.
    pub fn into_records(self) -> Vec<(Key, Record)> {
        let records = self.newest.into_iter().map(|(key, (_, record))| (key, record));
        records.filter(|(_, record)| record.is_live()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::{Age, Epoch};

    fn entry(key: &str, counter: u64, value: Option<&'static str>) -> ListEntry {
        let record =
            Record { value: value.map(Into::into), created_index: 1, modified_index: counter };
        let accepted = Ballot { counter, ..Ballot::ZERO };
        ListEntry { key: Key::try_from(key).unwrap(), accepted, record }
    }

    fn listing() -> (Listing, [AcceptorId; 3]) {
        let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
        (
            Listing::new(
                Caller { cluster: None, epoch: Epoch(1), age: Age::default() },
                Configuration::uniform(Epoch(1), &ids, 2, 2),
                "d/".into(),
                Scope::All,
            ),
            ids,
        )
    }

    #[test]
    fn the_newest_of_a_quorum_wins_and_tombstones_hide() {
        let (mut listing, [a1, a2, a3]) = listing();
        let first = ListPage {
            entries: vec![entry("d/a", 1, Some("old")), entry("d/b", 5, Some("kept"))],
            more_after: Some(Key::try_from("d/b").unwrap()),
        };
        assert!(listing.on_page(a1.clone(), Some(first)).unwrap().is_some());
        assert!(listing.on_page(a3, None).unwrap().is_none());
        assert!(!listing.is_complete());
        let rest = ListPage { entries: vec![entry("d/c", 1, Some("c"))], more_after: None };
        listing.on_page(a1, Some(rest)).unwrap();
        let second = ListPage {
            entries: vec![entry("d/a", 2, Some("new")), entry("d/c", 3, None)],
            more_after: None,
        };
        listing.on_page(a2, Some(second)).unwrap();
        assert!(listing.is_complete());
        let records = listing.into_records();
        let texts: Vec<_> = records.iter().map(|(k, r)| (k.as_str(), r.text().unwrap())).collect();
        assert_eq!(texts, [("d/a", "new"), ("d/b", "kept")]);
    }

    #[test]
    fn whether_there_is_any_ends_with_the_first_live_record_or_a_quorum() {
        let (listing, [a1, a2, _]) = listing();
        let page = |entries| Some(ListPage { entries, more_after: None });
        let mut any = Listing { scope: Scope::Any, ..listing };
        any.on_page(a1.clone(), page(vec![entry("d/a", 2, None)])).unwrap();
        assert!(!any.is_complete());
        any.on_page(a2, page(vec![entry("d/a", 1, Some("old"))])).unwrap();
        assert!(any.is_complete() && any.into_records().is_empty());
        let mut any = Listing { scope: Scope::Any, ..self::listing().0 };
        any.on_page(a1, page(vec![entry("d/a", 1, Some("a"))])).unwrap();
        assert!(any.is_complete() && any.into_records().len() == 1);
    }

    #[test]
    fn a_listing_without_a_quorum_or_beyond_the_bound_is_an_error() {
        let (mut listing, [a1, a2, _]) = self::listing();
        assert_eq!(listing.on_page(a1, None), Ok(None));
        assert_eq!(listing.on_page(a2, None), Err(ListingError::NoQuorum));
        let (mut listing, [a1, ..]) = self::listing();
        let huge: &'static str = Box::leak("x".repeat(MAX_LISTING_BYTES).into_boxed_str());
        let page = ListPage { entries: vec![entry("d/a", 1, Some(huge))], more_after: None };
        assert!(matches!(listing.on_page(a1, Some(page)), Err(ListingError::TooLarge { .. })));
    }
}
