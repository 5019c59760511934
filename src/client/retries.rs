//! How a mutation of unknown outcome is asked for again.

use std::time::Duration;

/// How often and how long a mutation is tried until its outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often it is sent, the first time included.
    pub tries: u32,
    /// No try begins when so much time has passed since the first one began.
    pub within: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { tries: 12, within: Duration::from_secs(10) }
    }
}

impl Retries {
    const FIRST_PAUSE: Duration = Duration::from_millis(20);
    const LONGEST_PAUSE: Duration = Duration::from_millis(500);

    /// How long to wait after the try of this number, from 1.
    pub(super) fn pause(tried: u32) -> Duration {
        Self::LONGEST_PAUSE.min(Self::FIRST_PAUSE * 2_u32.pow(tried.min(10) - 1))
    }
}

/// The requests of one connection, numbered under a name of its own.
#[derive(Debug)]
pub(super) struct Numbering {
    name: String,
    last: u64,
}

impl Numbering {
    /// Under a new name.
    pub(super) fn new() -> Self {
        Numbering { name: format!("{:016x}", rand::random::<u64>()), last: 0 }
    }

    /// The `Idempotency-Key` of the next request.
    pub(super) fn next(&mut self) -> String {
        self.last += 1;
        format!("{}:{}", self.name, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::RequestId;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<u128> =
            [1, 2, 3, 6, 100].iter().map(|tried| Retries::pause(*tried).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 500, 500]);
    }

    #[test]
    fn requests_are_numbered_upwards_under_one_name() {
        let (mut numbering, mut other) = (Numbering::new(), Numbering::new());
        let ids = [numbering.next(), numbering.next(), other.next()];
        let ids = ids.map(|id| RequestId::try_from(id.as_str()).unwrap());
        let numbers = ids.each_ref().map(|id| id.client_and_number().unwrap().1);
        assert_eq!(numbers, [1, 2, 1]);
        assert!(ids[0].client() == ids[1].client() && ids[0].client() != ids[2].client());
    }
}
