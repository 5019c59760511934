//! How proposers that work on one key leave room for each other.

use std::time::Duration;

use rand::Rng;

use super::super::round::{Phase, Work};
use super::super::{Effect, Instant};
use super::Proposer;
use crate::kv::Key;

/// How far a ballot leaps over the others, at first; it doubles with each
/// failure in a row, six times at most.
const LEAP: u64 = 16;

impl Proposer {
    /// How long to leave a key alone after a round that came to nothing.
    ///
    /// Whoever took the ballot away needs a round trip to make use of it; who
    /// comes back sooner takes it away in turn, and nobody gets anywhere. And
    /// who has lost often must not wait longer than who has not, or the winner
    /// wins for ever. Where nobody else is there, but no quorum either, waiting
    /// gets longer.
    fn draw_backoff(&mut self, work: &Work) -> Duration {
        let random: f64 = self.random.random();
        if work.is_contended {
            return self.round_trip.mul_f64(0.75 + 2.0 * random);
        }
        let range = f64::from(1 << work.failures.min(10));
        self.round_trip.mul_f64(0.75 + range * random).min(self.settings.longest_backoff)
    }

    /// Makes the next ballot one that others have not come past when it arrives:
    /// on a key that somebody else is at work on, they go on meanwhile.
    pub(super) fn leap(&mut self, work: &Work) {
        if work.is_contended {
            self.last.counter += LEAP << work.failures.min(6);
        }
    }

    /// A quorum has answered.
    pub(super) fn note_round_trip(&mut self, took: Duration) {
        self.round_trip = (self.round_trip * 7 + took) / 8;
        self.round_trip = self.round_trip.max(self.settings.round_trip);
    }

    /// Gives the round up: its ballot is burnt, late replies find nothing.
    pub(super) fn back_off(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        effects: &mut Vec<Effect>,
    ) {
        work.waiting.sweep(now, effects);
        if work.waiting.is_empty() {
            return;
        }
        let drawn = self.draw_backoff(&work);
        work.failures += 1;
        work.phase = Phase::BackingOff;
        self.rounds += 1;
        work.round = self.rounds;
        work.gives_up_at = now + drawn;
        self.wait(now, key, work, effects);
    }
}
