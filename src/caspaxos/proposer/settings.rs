//! What bounds a proposer, and how busy it is.

use std::time::Duration;

use super::AcceptorId;

/// The proposer's times and bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a round waits for a quorum before it is given up. It doubles,
    /// twice at most, with each round of a key that runs out of time: what is
    /// slow gets no faster by being sent again.
    pub round_timeout: Duration,
    /// What a byte of the value that is sent, or waits to be, adds to that.
    pub time_per_byte: Duration,
    /// How long a read waits for the rest once a quorum has answered
    /// differently.
    pub read_patience: Duration,
    /// What a round trip takes at least. Back-offs are multiples of what it
    /// takes.
    pub round_trip: Duration,
    /// The longest back-off where nobody else is at work on the key.
    pub longest_backoff: Duration,
    /// How many commands one round applies at most.
    pub commands_per_round: usize,
    /// How many bytes of values are kept for the one-round-trip rule.
    pub kept_bytes: usize,
    /// Whom rounds ask first, and then the next ones of the list, as many as
    /// are needed; without it they ask all at once.
    pub nearest: Option<AcceptorId>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            round_timeout: Duration::from_millis(500),
            time_per_byte: Duration::from_micros(1),
            read_patience: Duration::from_millis(5),
            round_trip: Duration::from_millis(1),
            longest_backoff: Duration::from_millis(100),
            commands_per_round: 256,
            kept_bytes: 64 << 20,
            nearest: None,
        }
    }
}

/// How busy a proposer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Keys whose values are kept for the one-round-trip rule.
    pub kept: usize,
    /// What they take, roughly, in bytes.
    pub kept_bytes: usize,
    /// Keys that are worked on.
    pub keys: usize,
    /// Commands that wait for an answer.
    pub commands: usize,
    /// Keys that are left to others for a while.
    pub backing_off: usize,
    /// How long a quorum takes to answer.
    pub round_trip: Duration,
}
