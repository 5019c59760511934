//! Says once that somebody is away, and now and then that it still is; sooner if
//! the reason is another one by now.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long the same is not said again.
const PAUSE: Duration = Duration::from_secs(10);
/// How long nothing else is said either.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// What was said of somebody.
#[derive(Default)]
pub struct Complaints {
    /// What was said last, and when.
    last: Option<(Instant, String)>,
    is_away: bool,
}

impl Complaints {
    /// `who` gave no answer, and why.
    pub fn note(&mut self, who: &str, why: &dyn Display) {
        if self.say(&format_args!("{who} does not answer: {why}")) {
            self.is_away = true;
        }
    }

    /// Says something that is no better by being said more often; true when it
    /// was said.
    pub fn say(&mut self, what: &dyn Display) -> bool {
        let last = self.last.as_ref().map(|(at, said)| (at.elapsed(), said.as_str()));
        let due = due(last, what);
        if let Some(what) = &due {
            log::warn!("{what}");
            self.last = Some((Instant::now(), what.clone()));
        }
        due.is_some()
    }

    /// `who` answered.
    pub fn end(&mut self, who: &str) {
        if std::mem::take(&mut self.is_away) {
            log::info!("{who} answers again");
        }
    }
}

/// The text, if it is to be said now. The last one was said so long ago.
fn due(last: Option<(Duration, &str)>, what: &dyn Display) -> Option<String> {
    match last {
        Some((since, _)) if since < LEAST_PAUSE => None,
        Some((since, said)) => Some(what.to_string()).filter(|it| since >= PAUSE || it != said),
        None => Some(what.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_now_and_then_and_another_reason_soon() {
        let is_due = |last, what: &str| due(last, &what).is_some();
        assert!(is_due(None, "a"));
        for (since, same, other) in [(0.5, false, false), (2.0, false, true), (10.0, true, true)] {
            let last = Some((Duration::from_secs_f64(since), "a"));
            assert_eq!((is_due(last, "a"), is_due(last, "b")), (same, other), "{since} s");
        }
    }
}
