//! How many bytes of values may be under way at once: as many as went round in
//! time lately.
//!
//! What goes round in time depends on the disks, the network and whatever else
//! runs on the machine. Values that do not are the worst that can happen to a
//! client: their outcome is unknown. So a node begins with little and governs
//! itself much as TCP does (RFC 5681): what it allows doubles in each round that was
//! in time, is halved when a value was late, and from then on grows by a quarter in
//! a round. It allows no more than twice what was tried: that few values were in
//! time says nothing of many (RFC 7661). What does not fit is refused before it has
//! begun.

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
    /// The most that were under way at once since it was halved.
    most_bytes: usize,
    /// When it was halved last. A value that began before tells nothing of what
    /// is allowed since.
    halved_at: Option<Instant>,
}

impl Window {
    /// What it begins with, and never falls below.
    pub const MIN_BYTES: usize = 1 << 20;
    /// What it never exceeds.
    pub const MAX_BYTES: usize = 6 << 20;
    /// A value that took longer was late. It is a sixth of what a command may
    /// take: when the window doubles, and the disk is thrice as slow then, what is
    /// in it is still answered.
    const IN_TIME: Duration = Duration::from_millis(500);

    /// Takes a place for a value, if it fits. One always fits when nothing else
    /// is under way.
    pub fn take(&self, bytes: usize) -> Option<Place> {
        let mut state = self.lock();
        let under_way_bytes = state.under_way_bytes + bytes;
        if state.under_way_bytes > 0 && under_way_bytes > state.limit_bytes {
            return None;
        }
        state.take(bytes);
        Some(Place { window: self.clone(), bytes, since: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl Default for State {
    fn default() -> Self {
        let limit_bytes = Window::MIN_BYTES;
        State { limit_bytes, under_way_bytes: 0, most_bytes: 0, halved_at: None }
    }
}

impl State {
    fn take(&mut self, bytes: usize) {
        self.under_way_bytes += bytes;
        self.most_bytes = self.most_bytes.max(self.under_way_bytes);
    }

    fn give_back(&mut self, bytes: usize, since: Instant, now: Instant) {
        self.under_way_bytes -= bytes;
        if now - since <= Window::IN_TIME {
            let more_bytes = if self.halved_at.is_none() { bytes } else { bytes / 4 };
            let tried = (2 * self.most_bytes).clamp(self.limit_bytes, Window::MAX_BYTES);
            self.limit_bytes = (self.limit_bytes + more_bytes).min(tried);
        } else if self.halved_at.is_none_or(|halved_at| since >= halved_at) {
            self.limit_bytes = (self.limit_bytes / 2).max(Window::MIN_BYTES);
            self.most_bytes = self.under_way_bytes;
            self.halved_at = Some(now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.lock().give_back(self.bytes, self.since, Instant::now());
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

    /// What a state allows, in MiB, once so many values of one MiB were given back
    /// that began together and took so long.
    fn after(state: &mut State, began: Instant, values: usize, took: Duration) -> f64 {
        state.take(values * MIB);
        (0..values).for_each(|_| state.give_back(MIB, began, began + took));
        state.limit_bytes as f64 / MIB as f64
    }

    #[test]
    fn what_is_in_time_widens_it_and_what_is_late_narrows_it() {
        let (in_time, late) = (Window::IN_TIME, 2 * Window::IN_TIME);
        let (mut state, mut now) = (State::default(), Instant::now());
        let rounds = [
            // Doubles at first, as it is not known what it can bear.
            (1, in_time, 2.0),
            (2, in_time, 4.0),
            // Halved once for all that was under way together.
            (4, late, 2.0),
            // And then grows by a quarter in a round.
            (2, in_time, 2.5),
            (1, late, 1.25),
            // Never below the least.
            (1, late, 1.0),
            (1, late, 1.0),
        ];
        for (values, took, limit_mib) in rounds {
            assert_eq!(after(&mut state, now, values, took), limit_mib, "{values} in {took:?}");
            now += took;
        }
    }

    #[test]
    fn it_never_allows_more_than_twice_what_was_tried() {
        let now = Instant::now();
        let mut state = State::default();
        for (values, limit_mib) in [(1, 2.0), (1, 2.0), (1, 2.0), (2, 4.0), (1, 4.0), (4, 6.0)] {
            assert_eq!(after(&mut state, now, values, Window::IN_TIME), limit_mib, "{values}");
        }
        assert_eq!(after(&mut state, now, 6, Window::IN_TIME), 6.0);
        assert_eq!(state.limit_bytes, Window::MAX_BYTES);
    }
}
