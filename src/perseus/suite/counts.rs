//! How many requests ended in each way, under the original's names.

use super::{Asked, Ending, Sample};

/// How many requests ended in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Puts that were done.
    pub put_succeed: u64,
    /// Puts that may have been done or not.
    pub put_unknown_error: u64,
    /// Puts for which no node could be spoken to.
    pub put_connection_error: u64,
    /// Puts that were refused too often.
    pub put_failed_after_many_attempts: u64,
    /// Gets that were answered with a value.
    pub get_succeed: u64,
    /// Gets that were answered with "no such key".
    pub get_key_doesnt_exist: u64,
    /// Gets whose answer was of no use.
    pub get_unknown_error: u64,
    /// Gets for which no node could be spoken to.
    pub get_connection_error: u64,
    /// Gets that were refused too often.
    pub get_failed_after_many_attempts: u64,
}

impl Counts {
    /// Of these requests.
    pub fn of(samples: &[Sample]) -> Counts {
        let mut counts = Counts::default();
        samples.iter().for_each(|sample| *counts.place_of(sample) += 1);
        counts
    }

    fn place_of(&mut self, sample: &Sample) -> &mut u64 {
        match (sample.asked, sample.ending) {
            (Asked::Put, Ending::Succeeded) => &mut self.put_succeed,
            // No put is answered so; whatever it means, it is not known.
            (Asked::Put, Ending::Absent | Ending::UnknownError) => &mut self.put_unknown_error,
            (Asked::Put, Ending::ConnectionError) => &mut self.put_connection_error,
            (Asked::Put, Ending::FailedAfterManyAttempts) => {
                &mut self.put_failed_after_many_attempts
            }
            (Asked::Get, Ending::Succeeded) => &mut self.get_succeed,
            (Asked::Get, Ending::Absent) => &mut self.get_key_doesnt_exist,
            (Asked::Get, Ending::UnknownError) => &mut self.get_unknown_error,
            (Asked::Get, Ending::ConnectionError) => &mut self.get_connection_error,
            (Asked::Get, Ending::FailedAfterManyAttempts) => {
                &mut self.get_failed_after_many_attempts
            }
        }
    }

    /// Requests that did what they should.
    pub fn succeeded(&self) -> u64 {
        self.put_succeed + self.get_succeed
    }

    /// With the original's names, in its order. It counts the correct gets
    /// beside the others, and only the end of a run knows them.
    pub fn named(&self, correct: Option<u64>) -> Vec<(&'static str, u64)> {
        let mut named = vec![
            ("put_succeed_cnt", self.put_succeed),
            ("put_unknown_error_cnt", self.put_unknown_error),
            ("put_connection_error_cnt", self.put_connection_error),
            ("put_failed_after_many_attempts_cnt", self.put_failed_after_many_attempts),
            ("get_succeed_cnt", self.get_succeed),
        ];
        named.extend(correct.map(|correct| ("get_succeed_and_correct_cnt", correct)));
        named.extend([
            ("get_key_doesnt_exist_cnt", self.get_key_doesnt_exist),
            ("get_unknown_error_cnt", self.get_unknown_error),
            ("get_connection_error_cnt", self.get_connection_error),
            ("get_failed_after_many_attempts_cnt", self.get_failed_after_many_attempts),
        ]);
        named
    }
}
