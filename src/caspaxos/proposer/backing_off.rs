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

/// The least time that is worth waiting for an answer.
const SHORT: Duration = Duration::from_millis(2);

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

    /// Who is to answer yet after a conflict may do so soon, or else the round is
    /// given up: one acceptor that refuses and one that is silent must not cost
    /// as much time as a silent quorum.
    pub(super) fn wait_for_the_rest(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        effects: &mut Vec<Effect>,
    ) {
        let patience = (self.round_trip * 4).max(SHORT);
        work.gives_up_at = work.gives_up_at.min(now + patience);
        self.wait(now, key, work, effects);
    }

    /// A quorum has answered, the last of it this long after it was asked. What was
    /// waited for others does not count (as in Karn's algorithm, RFC 6298 section
    /// 3); that an accept waited for company does.
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
        let mut drawn = self.draw_backoff(&work);
        match work.awaits_confirmation && !work.is_contended {
            // Nothing has failed: a read is begun as one again.
            true => drawn = self.settings.longest_backoff / 4,
            false => work.failures += 1,
        }
        // Somebody else has changed the key since, but may be through with it long ago.
        if work.is_on_kept && work.is_contended {
            return self.begin_change(now, key, work, effects);
        }
        work.phase = Phase::BackingOff;
        self.rounds += 1;
        work.round = self.rounds;
        work.gives_up_at = now + drawn;
        self.wait(now, key, work, effects);
    }
}
