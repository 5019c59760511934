//! What stands in a matrix: a probability, or a delay.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A probability, from 0 to 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

impl Probability {
    /// It never happens.
    pub const NEVER: Probability = Probability(0.0);
    /// It always does.
    pub const ALWAYS: Probability = Probability(1.0);

    /// As a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        match (0.0..=1.0).contains(&number) {
            true => Ok(Probability(number)),
            false => Err("is not from 0 to 1"),
        }
    }
}

impl FromStr for Probability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<f64>().map_err(|_| "is not a number")?.try_into()
    }
}

/// To two places.
impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

/// How long a message takes: between `ms - jitter_ms` and `ms + jitter_ms`,
/// in milliseconds. Written as `20~5`, or `20` without jitter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delay {
    ms: u32,
    jitter_ms: u32,
}

impl Delay {
    /// The longest that can be asked for.
    pub const MAX_MS: u32 = 60_000;
    /// None at all.
    pub const NONE: Delay = Delay { ms: 0, jitter_ms: 0 };

    /// What it is for one message; the roll is from 0 to 1.
    pub(super) fn drawn(self, roll: f64) -> Duration {
        let ms = f64::from(self.ms) + f64::from(self.jitter_ms) * (2.0 * roll - 1.0);
        Duration::from_secs_f64(ms.max(0.0) / 1000.0)
    }
}

impl FromStr for Delay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, jitter_ms) = text.split_once('~').unwrap_or((text, "0"));
        let number = |text: &str| text.parse().map_err(|_| "is not milliseconds, as 20 or 20~5");
        let delay = Delay { ms: number(ms)?, jitter_ms: number(jitter_ms)? };
        match delay.ms <= Delay::MAX_MS && delay.jitter_ms <= delay.ms {
            true => Ok(delay),
            false => Err("is not up to 60000 ms with a jitter that is no larger"),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.jitter_ms {
            0 => write!(f, "{}", self.ms),
            jitter_ms => write!(f, "{}~{jitter_ms}", self.ms),
        }
    }
}

impl TryFrom<String> for Delay {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Delay> for String {
    fn from(delay: Delay) -> String {
        delay.to_string()
    }
}
