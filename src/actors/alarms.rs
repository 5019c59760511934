//! Timers of an actor, in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A timer that is set; ordered by time, then by age.
struct Alarm<T> {
    at: Duration,
    serial: u64,
    what: T,
}

impl<T> PartialEq for Alarm<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Alarm<T> {}

impl<T> PartialOrd for Alarm<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Alarm<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// Timers that are set; times count from an origin of the actor's choice.
pub struct Alarms<T> {
    heap: BinaryHeap<Reverse<Alarm<T>>>,
    serial: u64,
}

impl<T> Default for Alarms<T> {
    fn default() -> Self {
        Alarms { heap: BinaryHeap::new(), serial: 0 }
    }
}

impl<T> Alarms<T> {
    /// Sets a timer.
    pub fn set(&mut self, at: Duration, what: T) {
        self.serial += 1;
        self.heap.push(Reverse(Alarm { at, serial: self.serial, what }));
    }

    /// When the first one is due.
    pub fn first(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(alarm)| alarm.at)
    }

    /// Takes out the first one that is due at `now`.
    pub fn take_due(&mut self, now: Duration) -> Option<T> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(alarm)| alarm.what)
    }
}
