//! A quick look before the search: what the modified indices alone tell.
//!
//! In every linearization an index is that of one record, and one change made
//! it. Two answers that disagree on this need no search, which would have to
//! try all orders to find out that there is none.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::history::{End, Operation, Seen};
use crate::kv::Verdict;

/// Two operations that cannot both be true.
pub fn find_clash<'a>(operations: &[&'a Operation]) -> Option<(&'a Operation, &'a Operation)> {
    let mut records: HashMap<u64, (&Seen, &Operation)> = HashMap::new();
    let mut makers: HashMap<u64, &Operation> = HashMap::new();
    for operation in operations {
        let End::Returned { observation, .. } = &operation.end else { continue };
        let (before, after) = (&observation.before, &observation.after);
        for seen in [before, after] {
            let Some(index) = seen.modified_index else { continue };
            // Only whole records are compared, so that one may stand for all.
            if seen.value.is_none() || seen.created_index.is_none() {
                continue;
            }
            let (known, by) = records.entry(index).or_insert((seen, operation));
            if *known != seen {
                return Some((by, operation));
            }
        }
        let (Some(from), Some(to)) = (before.modified_index, after.modified_index) else {
            continue;
        };
        if from < to
            && let Some(other) = makers.insert(to, operation)
        {
            return Some((other, operation));
        }
    }
    None
}

/// The indices that were seen though no operation of known end made them, each
/// with the value that was seen at it, if one was.
pub fn unclaimed(operations: &[&Operation]) -> BTreeMap<u64, Option<Bytes>> {
    let mut seen: BTreeMap<u64, Option<Bytes>> = BTreeMap::new();
    let mut made = Vec::new();
    for operation in operations {
        let End::Returned { observation, .. } = &operation.end else { continue };
        for part in [&observation.before, &observation.after] {
            if let Some(index) = part.created_index {
                seen.entry(index).or_default();
            }
            if let Some(index) = part.modified_index {
                let value = seen.entry(index).or_default();
                *value = value.take().or_else(|| part.value.clone().flatten());
            }
        }
        let (before, after) = (observation.before.modified_index, observation.after.modified_index);
        let is_done = observation.verdict == Some(Verdict::Done);
        if is_done && !operation.command.is_read() && before != after {
            made.extend(after);
        }
    }
    made.iter().for_each(|index| drop(seen.remove(index)));
    seen
}
