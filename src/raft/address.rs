//! A replica must be called at the address that its log names.
//!
//! The log says under which address the others call a member, and only its removal
//! ends that (see what [`raft`](super) leaves out). One that is started at another
//! address would call the others, be elected by them, and be called by nobody.

use openraft::Raft;

use super::replica::StartError;
use super::settings::Settings;
use super::state_machine::StateMachine;
use super::types::{Member, Types};
use crate::store::Disk;

/// Refuses a replica whose own address is not the one that its log and its snapshot
/// name: [`StartError::Moved`].
pub async fn check_address<D: Disk>(
    raft: &Raft<Types, StateMachine<D>>,
    settings: &Settings,
) -> Result<(), StartError> {
    let id = settings.id;
    let known = raft.with_raft_state(move |state| {
        let effective = state.membership_state.effective();
        effective.membership().get_node(&id).cloned()
    });
    let known = known.await.map_err(|error| StartError::Raft(error.to_string()))?;
    compare(settings, known.as_ref())
}

/// The same, with what the log says of the replica: nothing, if it has no data or is
/// a member no longer.
fn compare(settings: &Settings, known: Option<&Member>) -> Result<(), StartError> {
    let id = settings.id;
    match (settings.members.get(&id), known) {
        (Some(own), Some(known)) if *own != known.peer_url => {
            Err(StartError::Moved { id, own: own.clone(), known: known.peer_url.clone() })
        }
        (Some(_) | None, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::types::Profile;
    use super::*;

    fn settings(urls: &[(u64, &str)]) -> Settings {
        Settings {
            id: 2,
            members: urls.iter().map(|(id, url)| (*id, (*url).into())).collect(),
            joins: false,
            profile: Profile::default(),
            heartbeat: Duration::from_millis(50),
            election: (Duration::from_millis(150), Duration::from_millis(300)),
            snapshot_entries: 1,
            snapshot_bytes: 1,
            keep_entries: 0,
            seed: 0,
            bug: None,
        }
    }

    #[test]
    fn only_another_address_of_its_own_is_refused() {
        let known = Member { peer_url: "http://b:1".into(), ..Member::default() };
        let same = settings(&[(1, "http://other:1"), (2, "http://b:1")]);
        assert!(compare(&same, Some(&known)).is_ok());
        let moved = settings(&[(1, "http://a:1"), (2, "http://b:2")]);
        let why = compare(&moved, Some(&known)).unwrap_err().to_string();
        assert!(why.contains("http://b:1") && why.contains("http://b:2"), "{why}");
        assert!(compare(&moved, None).is_ok(), "it has no data");
        assert!(compare(&settings(&[(1, "http://a:1")]), Some(&known)).is_ok());
    }
}
