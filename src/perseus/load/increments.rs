//! Every connection counts up its own key.
//!
//! Read; create with 0 if absent, else compare-and-swap to value + 1. The
//! keys outlive a run, and the next one goes on from the stored values.

use crate::client::{Connection, Expected, Written};

use super::{Cause, Failure, Iteration, PAUSE_AFTER_ERROR, SharedTally, Step, Success};

/// The key of one connection, counted over all nodes from 0.
pub fn key_of(connection: usize) -> String {
    format!("key{connection}")
}

/// Iterates until it is dropped, and counts in `row` of the tally.
pub async fn run(mut connection: Connection, key: String, tally: SharedTally, row: usize) {
    loop {
        let started = tokio::time::Instant::now();
        let iteration = increment(&mut connection, &key).await;
        tally.borrow_mut().record(row, &iteration, started.elapsed());
        if iteration.is_err_and(|failure| !failure.is_timeout()) {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

/// One iteration. Nobody else writes the key, so a lost race is a failure
/// here.
pub async fn increment(connection: &mut Connection, key: &str) -> Iteration {
    let write_failed = |cause| Failure { step: Step::Write, cause };
    let written = match connection.get(key).await.map_err(Step::Read.failed())? {
        None => connection.create(key, "0").await,
        Some(node) => {
            let Some(next) = next_value(&node.value) else {
                return Err(write_failed(Cause::NotACounter { key: key.to_owned() }));
            };
            let read = Expected::Index(node.modified_index);
            connection.compare_and_swap(key, read, &next).await
        }
    };
    match written.map_err(Step::Write.failed())? {
        Written::Done(_) => Ok(Success::Wrote),
        Written::Conflict(_) | Written::NotFound { .. } => {
            Err(write_failed(Cause::Conflict { key: key.to_owned() }))
        }
    }
}

/// The next value of a decimal counter.
pub(super) fn next_value(stored: &str) -> Option<String> {
    let value: i64 = stored.parse().ok()?;
    value.checked_add(1).map(|next| next.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decimal_integers_count_up() {
        assert_eq!(next_value("0").as_deref(), Some("1"));
        assert_eq!(next_value("-1").as_deref(), Some("0"));
        assert_eq!(next_value("9223372036854775807"), None);
        assert_eq!(next_value(""), None);
        assert_eq!(next_value("one"), None);
    }
}
