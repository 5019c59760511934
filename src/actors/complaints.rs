//! Says once that somebody is away, and now and then that it still is.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// What was said of somebody.
#[derive(Default)]
pub struct Complaints {
    last: Option<Instant>,
    is_away: bool,
}

impl Complaints {
    const PAUSE: Duration = Duration::from_secs(10);

    /// `who` gave no answer, and why.
    pub fn note(&mut self, who: &str, why: &dyn Display) {
        if self.say(&format_args!("{who} does not answer: {why}")) {
            self.is_away = true;
        }
    }

    /// Says something that is no better by being said more often; true when it
    /// was said.
    pub fn say(&mut self, what: &dyn Display) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() > Self::PAUSE);
        if is_due {
            log::warn!("{what}");
            self.last = Some(Instant::now());
        }
        is_due
    }

    /// `who` answered.
    pub fn end(&mut self, who: &str) {
        if std::mem::take(&mut self.is_away) {
            log::info!("{who} answers again");
        }
    }
}
