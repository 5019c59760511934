//! How many bytes of values may be under way at once: as many as went round in
//! time lately.
//!
//! What goes round in time depends on the disks, the network and whatever else
//! runs on the machine. Values that do not are the worst that can happen to a
//! client: their outcome is unknown. So a node begins with little, allows more
//! with every value that was in time, and half as much after one that was late,
//! as TCP does (RFC 5681). What does not fit is refused before it has begun.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The bytes of values under way. Clones share it.
#[derive(Clone, Default)]
pub struct Window(Arc<Mutex<State>>);

/// A place in the window; dropping it gives it back.
pub struct Place {
    window: Window,
    bytes: usize,
    since: Instant,
}

struct State {
    limit_bytes: usize,
    under_way_bytes: usize,
}

impl Window {
    /// What it begins with, and never falls below.
    pub const MIN_BYTES: usize = 1 << 20;
    /// What it never exceeds.
    pub const MAX_BYTES: usize = 6 << 20;
    /// A value that took longer was late. It is a third of what a command may
    /// take: when the window doubles, what is in it is still answered.
    const IN_TIME: Duration = Duration::from_secs(1);

    /// Takes a place for a value, if it fits. One always fits when nothing else
    /// is under way.
    pub fn take(&self, bytes: usize) -> Option<Place> {
        let mut state = self.lock();
        let under_way_bytes = state.under_way_bytes + bytes;
        if state.under_way_bytes > 0 && under_way_bytes > state.limit_bytes {
            return None;
        }
        state.under_way_bytes = under_way_bytes;
        Some(Place { window: self.clone(), bytes, since: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl Default for State {
    fn default() -> Self {
        State { limit_bytes: Window::MIN_BYTES, under_way_bytes: 0 }
    }
}

impl State {
    fn give_back(&mut self, bytes: usize, took: Duration) {
        self.under_way_bytes -= bytes;
        let limit_bytes = match took <= Window::IN_TIME {
            true => self.limit_bytes + bytes,
            false => self.limit_bytes / 2,
        };
        self.limit_bytes = limit_bytes.clamp(Window::MIN_BYTES, Window::MAX_BYTES);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.lock().give_back(self.bytes, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_value_fits_when_nothing_is_under_way() {
        let window = Window::default();
        let swap = window.take(2 * MIB).expect("the first");
        assert!(window.take(1).is_none());
        drop(swap);
        assert!(window.take(1).is_some());
    }

    #[test]
    fn what_is_in_time_widens_it_and_what_is_late_narrows_it() {
        let (in_time, late) = (Window::IN_TIME, 2 * Window::IN_TIME);
        let mut state = State { under_way_bytes: 100 * MIB, ..State::default() };
        for (took, limit) in
            [(in_time, 2), (in_time, 3), (in_time, 4), (late, 2), (late, 1), (late, 1)]
        {
            state.give_back(MIB, took);
            assert_eq!(state.limit_bytes, limit * MIB, "after {took:?}");
        }
        (0..10).for_each(|_| state.give_back(MIB, in_time));
        assert_eq!(state.limit_bytes, Window::MAX_BYTES);
    }
}
