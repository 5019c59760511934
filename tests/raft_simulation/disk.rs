//! A disk that fails at a moment that was chosen before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gryadka::store::{Disk, Durability, MemoryDisk, MemoryView, StoreError, Writes};

/// A disk in memory and a fuse. Once the fuse has blown every write fails; the
/// power is cut then, in the middle of what the replica was writing.
#[derive(Clone)]
pub struct FusedDisk {
    memory: MemoryDisk,
    /// How many writes are left.
    fuse: Arc<AtomicU32>,
}

impl FusedDisk {
    const UNLIMITED: u32 = u32::MAX;

    pub fn new(memory: MemoryDisk) -> Self {
        FusedDisk { memory, fuse: Arc::new(AtomicU32::new(Self::UNLIMITED)) }
    }

    /// Lets so many writes pass, and no more.
    pub fn set_fuse(&self, writes: u32) {
        self.fuse.store(writes, Ordering::Relaxed);
    }

    pub fn has_blown(&self) -> bool {
        self.fuse.load(Ordering::Relaxed) == 0
    }

    /// What the disk holds after a power failure; see [`MemoryDisk::crash`].
    pub fn crash(&self, survivors: impl FnOnce(usize) -> usize) -> FusedDisk {
        FusedDisk::new(self.memory.crash(survivors))
    }

    /// Another disk with what this one holds now.
    pub fn copy(&self) -> FusedDisk {
        FusedDisk::new(self.memory.copy())
    }

    fn pass(&self) -> Result<(), StoreError> {
        let left = self.fuse.load(Ordering::Relaxed);
        if left != Self::UNLIMITED {
            self.fuse.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        match self.has_blown() {
            true => Err(StoreError::Broken { path: "memory".into(), why: "power failure".into() }),
            false => Ok(()),
        }
    }
}

impl Disk for FusedDisk {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        self.memory.view()
    }

    fn commit(&self, writes: Writes, durability: Durability) -> Result<(), StoreError> {
        self.pass()?;
        self.memory.commit(writes, durability)
    }

    fn create_generation(&self, generation: u32) -> Result<(), StoreError> {
        self.pass()?;
        self.memory.create_generation(generation)
    }

    fn drop_generation(&self, generation: u32) -> Result<(), StoreError> {
        self.pass()?;
        self.memory.drop_generation(generation)
    }

    fn generations(&self) -> Vec<u32> {
        self.memory.generations()
    }
}
