//! What keys remember of requests, as a replica stores it.
//!
//! The memory of a key is a row of its own beside that of its record, so that
//! commands without a name neither read nor write it, and so that a deleted
//! key leaves nothing where records are listed.
//!
//! A key that is absent has nothing else, and its memory must not stay for
//! ever. So absent keys with a memory stand on a ring of places: turn `i` puts its
//! key on place `i` modulo the length of the ring, and whoever stood there, that
//! many turns ago, is forgotten. Each command that leaves an absent key behind
//! takes a turn; they are counted with the records, so that it depends on the log
//! alone, as everything that replicas store must.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rows::Row;
use crate::kv::{Key, Memory};
use crate::store::{Disk, Space, StoreError, Writes, decode, encode};

/// How many absent keys are remembered, and for how many turns.
pub const ABSENT_KEYS: u64 = 100_000;

/// What is stored of a key's memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Kept {
    memory: Memory,
    /// The turn in which the key got its place on the ring, if it has one. A
    /// key that was created anew keeps the place until it is another's turn.
    turn: Option<u64>,
}

/// The memories of all keys, as entries that are being applied see them.
pub struct Memories<'a, D> {
    disk: &'a D,
    space: Space,
    ring_length: u64,
    /// What has changed: the memories, who stands on which place, and the turns
    /// so far.
    kept: BTreeMap<Key, Option<Kept>>,
    ring: BTreeMap<u64, Option<Key>>,
    turns: Option<u64>,
}

impl<'a, D: Disk> Memories<'a, D> {
    /// Those in a generation of the state.
    pub fn new(disk: &'a D, generation: u32, ring_length: u64) -> Self {
        let space = Space::State(generation);
        let (kept, ring) = (BTreeMap::new(), BTreeMap::new());
        Memories { disk, space, ring_length, kept, ring, turns: None }
    }

    /// What a key remembers.
    pub fn get(&self, key: &Key) -> Result<Memory, StoreError> {
        Ok(self.find(key)?.unwrap_or_default().memory)
    }

    /// Replaces what a key remembers.
    pub fn put(&mut self, key: &Key, memory: Memory) -> Result<(), StoreError> {
        let kept = self.find(key)?.unwrap_or_default();
        self.kept.insert(key.clone(), Some(Kept { memory, ..kept }));
        Ok(())
    }

    /// Gives a key that is absent the next place on the ring, if it remembers
    /// anything. `is_live` tells whether another key is present.
    pub fn place(
        &mut self,
        key: &Key,
        is_live: impl FnOnce(&Key) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let Some(mut kept) = self.find(key)? else { return Ok(()) };
        if let Some(former) = kept.turn {
            self.ring.insert(former % self.ring_length, None);
        }
        let turn = self.next_turn()?;
        let place = turn % self.ring_length;
        if let Some(other) = self.stands_on(place)? {
            let others = self.find(&other)?.unwrap_or_default();
            let is_live = is_live(&other)?;
            self.kept.insert(other, is_live.then_some(Kept { turn: None, ..others }));
        }
        kept.turn = Some(turn);
        self.kept.insert(key.clone(), Some(kept));
        self.ring.insert(place, Some(key.clone()));
        Ok(())
    }

    fn next_turn(&mut self) -> Result<u64, StoreError> {
        let turn = match self.turns {
            Some(turns) => turns,
            None => self.read(&Row::Turns)?.unwrap_or(0),
        };
        self.turns = Some(turn + 1);
        Ok(turn)
    }

    /// What has changed.
    pub fn write_to(&self, writes: &mut Writes) {
        for (key, kept) in &self.kept {
            let row = Row::Memory(key.clone()).to_bytes();
            match kept {
                Some(kept) => writes.put(self.space, row, encode(kept)),
                None => writes.remove(self.space, row),
            }
        }
        if let Some(turns) = &self.turns {
            writes.put(self.space, Row::Turns.to_bytes(), encode(turns));
        }
        for (place, key) in &self.ring {
            let row = Row::Place(*place).to_bytes();
            match key {
                Some(key) => writes.put(self.space, row, encode(key)),
                None => writes.remove(self.space, row),
            }
        }
    }

    fn find(&self, key: &Key) -> Result<Option<Kept>, StoreError> {
        match self.kept.get(key) {
            Some(kept) => Ok(kept.clone()),
            None => self.read(&Row::Memory(key.clone())),
        }
    }

    fn stands_on(&self, place: u64) -> Result<Option<Key>, StoreError> {
        match self.ring.get(&place) {
            Some(key) => Ok(key.clone()),
            None => self.read(&Row::Place(place)),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, row: &Row) -> Result<Option<T>, StoreError> {
        let bytes = self.disk.get(self.space, &row.to_bytes())?;
        let value = bytes.map(|bytes| decode(&bytes)).transpose();
        value.map_err(|why| row.damaged(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Command, Record, RequestId, Submission, apply_once};
    use crate::store::{Durability, MemoryDisk, View};
    use std::ops::Bound;

    fn key(name: &str) -> Key {
        Key::try_from(name).unwrap()
    }

    fn memory() -> Memory {
        let mut memory = Memory::default();
        let request_id = Some(RequestId::try_from("id").unwrap());
        let submission = Submission { command: Command::Delete, request_id };
        apply_once(&Record::default(), &mut memory, &submission, 1);
        memory
    }

    /// Commits what a change makes of the disk.
    fn change(disk: &MemoryDisk, work: impl FnOnce(&mut Memories<MemoryDisk>)) {
        let mut memories = Memories::new(disk, 0, 3);
        work(&mut memories);
        let mut writes = Writes::default();
        memories.write_to(&mut writes);
        disk.commit(writes, Durability::Now).unwrap();
    }

    /// A key that is absent is asked for something.
    fn ask(memories: &mut Memories<MemoryDisk>, name: &str, live: &[&str]) {
        memories.put(&key(name), memory()).unwrap();
        memories.place(&key(name), |key| Ok(live.contains(&key.as_str()))).unwrap();
    }

    fn remembers(disk: &MemoryDisk, name: &str) -> bool {
        !Memories::new(disk, 0, 3).get(&key(name)).unwrap().is_empty()
    }

    fn rows(disk: &MemoryDisk) -> usize {
        let (from, to) = (Bound::Unbounded, Bound::Unbounded);
        disk.view().scan(Space::State(0), from, to, usize::MAX, usize::MAX).unwrap().len()
    }

    fn new_disk() -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create_generation(0).unwrap();
        disk
    }

    #[test]
    fn absent_keys_are_forgotten_when_the_ring_comes_round() {
        for is_one_batch in [false, true] {
            let disk = new_disk();
            let ask_all = |names: &[&str]| match is_one_batch {
                true => change(&disk, |memories| {
                    names.iter().for_each(|name| ask(memories, name, &[]));
                }),
                false => names.iter().for_each(|name| {
                    change(&disk, |memories| ask(memories, name, &[]));
                }),
            };
            ask_all(&["a", "b", "c"]);
            assert!(["a", "b", "c"].iter().all(|name| remembers(&disk, name)));
            assert_eq!(rows(&disk), 7);
            // It gives up the place that it had.
            ask_all(&["b"]);
            let are_remembered = ["a", "b", "c"].map(|name| remembers(&disk, name));
            assert_eq!(are_remembered, [false, true, true]);
            ask_all(&["d", "d"]);
            let are_remembered = ["b", "c", "d"].map(|name| remembers(&disk, name));
            assert_eq!(are_remembered, [true, false, true]);
            assert_eq!(rows(&disk), 5);
        }
    }

    #[test]
    fn who_is_there_again_is_not_forgotten() {
        let disk = new_disk();
        change(&disk, |memories| ["a", "b", "c"].iter().for_each(|name| ask(memories, name, &[])));
        change(&disk, |memories| ask(memories, "d", &["a"]));
        assert!(remembers(&disk, "a"));
        // It has no place any more, and gets one when it is deleted.
        change(&disk, |memories| memories.place(&key("a"), |_| Ok(false)).unwrap());
        change(&disk, |memories| ["e", "f", "g"].iter().for_each(|name| ask(memories, name, &[])));
        let are_remembered = ["a", "e", "f", "g"].map(|name| remembers(&disk, name));
        assert_eq!(are_remembered, [false, true, true, true]);
    }

    #[test]
    fn who_remembers_nothing_takes_no_place() {
        let disk = new_disk();
        change(&disk, |memories| memories.place(&key("a"), |_| Ok(false)).unwrap());
        assert_eq!(rows(&disk), 0);
    }
}
