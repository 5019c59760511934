//! One batch of deleted registers that are removed from all acceptors
//! (CASPaxos §3.1), driven by one proposer.
//!
//! 1. **Replicate**: each tombstone is accepted by *all* acceptors under a
//!    ballot of this batch, so no older value is left anywhere. What turns out
//!    to live goes no further.
//! 2. **Age**: all acceptors raise the least age that they serve, and the
//!    floor above everything in the batch. From then on no message of an
//!    earlier time is served, and every proposer, on its next call, learns the
//!    floor, counts above it and drops what it kept.
//! 3. **Remove**: each acceptor removes the register if it still holds that
//!    tombstone and promised nothing above the floor.
//!
//! Why each step waits for all acceptors: one that was left out of the first
//! could bring an older value back, one left out of the second could serve a
//! late message to a register that others have forgotten. So a batch comes to
//! nothing while an acceptor is down, and the tombstones stay. The third may
//! fail anywhere: a tombstone and an absent register say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::round::note;
use super::{
    AcceptorId, Ballot, Batch, Caller, CommandId, Configuration, Effect, Fence, Floor, Reply,
    Request, Token, Value,
};
use crate::kv::Key;

/// What a batch came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Keys whose registers all acceptors have removed.
    pub removed: usize,
    /// Keys that stay for another batch.
    pub left: usize,
}

#[derive(Clone, Debug)]
enum Stage {
    Replicating,
    Aging { floor: Floor, aged: Vec<AcceptorId> },
    Removing { floor: Floor },
}

#[derive(Clone, Debug)]
struct Item {
    ballot: Ballot,
    /// The highest ballot that was found, and its value; where there is none,
    /// that of an absent register.
    found: (Ballot, Value),
    promised: Vec<AcceptorId>,
    accepted: Vec<AcceptorId>,
    removed: Vec<AcceptorId>,
    /// How many have answered the last question.
    answers: usize,
}

/// A batch under way.
#[derive(Clone, Debug)]
pub struct Collection {
    id: CommandId,
    round: u64,
    caller: Caller,
    acceptors: Vec<AcceptorId>,
    stage: Stage,
    items: BTreeMap<Key, Item>,
    left: usize,
    /// [`Bug::CollectsWithoutAges`](super::Bug::CollectsWithoutAges).
    skips_ages: bool,
    /// [`Bug::ForgetsPromises`](super::Bug::ForgetsPromises).
    forgets_promises: bool,
}

/// What a batch needs next.
pub enum CollectionProgress {
    /// More replies.
    Waits,
    /// All acceptors have this fence: the proposer itself must follow, before
    /// [`Collection::remove`].
    Aged(Fence),
    /// Nothing.
    Ended(Collected),
}

impl Collection {
    /// Starts a batch that is given up after `within`; `next_ballot` gives a
    /// new ballot for each key.
    pub fn new(
        (id, round): (CommandId, u64),
        within: Duration,
        (caller, configuration, floor): (Caller, &Configuration, Floor),
        keys: Vec<Key>,
        mut next_ballot: impl FnMut() -> Ballot,
        (skips_ages, forgets_promises): (bool, bool),
        effects: &mut Vec<Effect>,
    ) -> Self {
        let item = |key| {
            let item = Item {
                ballot: next_ballot(),
                found: (Ballot::ZERO, floor.value()),
                promised: Vec::new(),
                accepted: Vec::new(),
                removed: Vec::new(),
                answers: 0,
            };
            (key, item)
        };
        let collection = Collection {
            id,
            round,
            caller,
            acceptors: configuration.acceptors().cloned().collect(),
            stage: Stage::Replicating,
            items: keys.into_iter().map(item).collect(),
            left: 0,
            skips_ages,
            forgets_promises,
        };
        for (key, item) in &collection.items {
            let request = Request::Prepare { key: key.clone(), ballot: item.ballot };
            collection.ask_all(key, request, effects);
        }
        let token = collection.token(Key::configuration());
        effects.push(Effect::SetTimer { token, after: within });
        collection
    }

    /// Names the batch to its caller.
    pub fn id(&self) -> CommandId {
        self.id
    }

    /// True for the replies and timers of this.
    pub fn is_meant(&self, token: &Token) -> bool {
        self.round == token.round
    }

    /// Takes a reply in.
    pub fn on_reply(
        &mut self,
        key: Key,
        from: AcceptorId,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) -> CollectionProgress {
        match (&mut self.stage, reply) {
            (Stage::Replicating, Some(Reply::Prepared { accepted, value })) => {
                self.on_prepared(key, from, (accepted, value), effects);
            }
            (Stage::Replicating, Some(Reply::Accepted)) => {
                if let Some(item) = self.items.get_mut(&key) {
                    note(&mut item.accepted, from);
                }
            }
            (Stage::Replicating, _) => self.leave(&key),
            (Stage::Aging { floor, aged }, Some(Reply::Raised { is_aged: true, .. })) => {
                note(aged, from);
                if aged.len() == self.acceptors.len() {
                    let floor = *floor;
                    self.stage = Stage::Removing { floor };
                    return CollectionProgress::Aged(self.fence(floor));
                }
                return CollectionProgress::Waits;
            }
            // Somebody else collects, or is down: try again later.
            (Stage::Aging { .. }, _) => return self.give_up(),
            (Stage::Removing { .. }, reply) => {
                if let Some(item) = self.items.get_mut(&key) {
                    item.answers += 1;
                    if reply == Some(Reply::Removed { is_gone: true }) {
                        note(&mut item.removed, from);
                    }
                }
                return self.after_removal();
            }
        }
        self.after_replication(effects)
    }

    fn on_prepared(
        &mut self,
        key: Key,
        from: AcceptorId,
        found: (Ballot, Value),
        effects: &mut Vec<Effect>,
    ) {
        let Some(item) = self.items.get_mut(&key) else { return };
        if found.0 > item.found.0 {
            item.found = found;
        }
        note(&mut item.promised, from);
        if item.promised.len() < self.acceptors.len() || !item.accepted.is_empty() {
            return;
        }
        let (ballot, value) = (item.ballot, item.found.1.clone());
        // A live value is written to all as well: some acceptor has missed it,
        // or the key would not look deleted. The next ballot is this one, so
        // that nothing above it is promised.
        let request = Request::Accept { key: key.clone(), ballot, value, next: ballot };
        self.ask_all(&key, request, effects);
    }

    /// Goes on once every key is held by all acceptors or left.
    fn after_replication(&mut self, effects: &mut Vec<Effect>) -> CollectionProgress {
        let all = self.acceptors.len();
        if self.items.is_empty() {
            return self.give_up();
        }
        if self.items.values().any(|item| item.accepted.len() < all) {
            return CollectionProgress::Waits;
        }
        let live = self.items.iter().filter(|(_, item)| item.found.1.record.is_live());
        let live: Vec<Key> = live.map(|(key, _)| key.clone()).collect();
        live.iter().for_each(|key| self.leave(key));
        if self.items.is_empty() {
            return self.give_up();
        }
        let floors = self.items.values().map(|item| Floor {
            counter: item.ballot.counter,
            index: item.found.1.record.modified_index,
        });
        let floor = floors.fold(Floor::default(), Floor::max);
        if self.skips_ages {
            self.stage = Stage::Removing { floor };
            self.remove(effects);
            return CollectionProgress::Waits;
        }
        self.stage = Stage::Aging { floor, aged: Vec::new() };
        let fence = self.fence(floor);
        self.ask_all(&Key::configuration(), Request::Raise { fence }, effects);
        CollectionProgress::Waits
    }

    fn fence(&self, floor: Floor) -> Fence {
        let collected = Batch::of(self.items.keys());
        let Caller { epoch, age, .. } = self.caller;
        Fence { epoch, configuration: None, age: age.next(), floor, collected }
    }

    /// Asks for the removal, under the new age.
    pub fn remove(&mut self, effects: &mut Vec<Effect>) {
        let Stage::Removing { floor } = self.stage else { return };
        if !self.skips_ages {
            self.caller.age = self.caller.age.next();
        }
        let floor = if self.forgets_promises { u64::MAX } else { floor.counter };
        for (key, item) in &self.items {
            let accepted = item.ballot;
            let request = Request::Remove { key: key.clone(), accepted, floor };
            self.ask_all(key, request, effects);
        }
    }

    fn after_removal(&self) -> CollectionProgress {
        let all = self.acceptors.len();
        match self.items.values().all(|item| item.answers >= all) {
            true => self.give_up(),
            false => CollectionProgress::Waits,
        }
    }

    /// Ends it as far as it has come; late replies find nothing.
    pub fn give_up(&self) -> CollectionProgress {
        let all = self.acceptors.len();
        let removed = self.items.values().filter(|item| item.removed.len() == all).count();
        let left = self.left + self.items.len() - removed;
        CollectionProgress::Ended(Collected { removed, left })
    }

    fn leave(&mut self, key: &Key) {
        self.left += usize::from(self.items.remove(key).is_some());
    }

    fn ask_all(&self, key: &Key, request: Request, effects: &mut Vec<Effect>) {
        effects.extend(self.acceptors.iter().map(|to| Effect::Send {
            to: to.clone(),
            token: self.token(key.clone()),
            call: self.caller.call(request.clone()),
            is_spare: false,
        }));
    }

    fn token(&self, key: Key) -> Token {
        Token { key, round: self.round }
    }
}
