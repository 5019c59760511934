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
        if self.last.is_none_or(|last| last.elapsed() > Self::PAUSE) {
            log::warn!("{who} does not answer: {why}");
            self.last = Some(Instant::now());
            self.is_away = true;
        }
    }

    /// `who` answered.
    pub fn end(&mut self, who: &str) {
        if std::mem::take(&mut self.is_away) {
            log::info!("{who} answers again");
        }
    }
}
