//! What a client asks for, and in which order.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand::rngs::SmallRng;

/// What a client asks for, N times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// First N puts of random keys, then N gets of random keys among those.
    PutsThenGets,
    /// N puts of random keys.
    Put,
    /// N gets of random keys, each of which was written once before.
    Get,
    /// N times a put of a random key and then a get of the same one.
    PutThenGet,
    /// N requests, each at random a put or a get of a random key, each of which
    /// was written once before.
    Mix(Ratio),
}

/// So many puts to so many gets; not both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    puts: u32,
    gets: u32,
}

/// A text that names no workload or no ratio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWorkload {
    /// Not a type.
    #[error("there is no type \"{0}\"; choose put, get, put-then-get or mix")]
    Type(String),
    /// Not a ratio.
    #[error("\"{0}\" is not PUTS:GETS; write two numbers up to 1000, as 35:65")]
    Ratio(String),
}

impl Workload {
    /// How many requests a client makes when N is `count`.
    pub fn requests(self, count: usize) -> usize {
        match self {
            Workload::PutsThenGets | Workload::PutThenGet => 2 * count,
            Workload::Put | Workload::Get | Workload::Mix(_) => count,
        }
    }

    /// Whether every key is written once before the clients start.
    pub fn needs_keys(self) -> bool {
        match self {
            Workload::Get | Workload::Mix(_) => true,
            Workload::PutsThenGets | Workload::Put | Workload::PutThenGet => false,
        }
    }
}

impl FromStr for Workload {
    type Err = BadWorkload;

    fn from_str(text: &str) -> Result<Workload, BadWorkload> {
        match text {
            "put" => Ok(Workload::Put),
            "get" => Ok(Workload::Get),
            "put-then-get" => Ok(Workload::PutThenGet),
            "mix" => Ok(Workload::Mix(Ratio::default())),
            unknown => Err(BadWorkload::Type(unknown.to_owned())),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::PutsThenGets => f.write_str("puts, then gets"),
            Workload::Put => f.write_str("put"),
            Workload::Get => f.write_str("get"),
            Workload::PutThenGet => f.write_str("put-then-get"),
            Workload::Mix(Ratio { puts, gets }) => write!(f, "mix {puts}:{gets}"),
        }
    }
}

impl Ratio {
    const MAX: u32 = 1000;

    /// Whether the next request is a put.
    pub(super) fn is_put(self, random: &mut SmallRng) -> bool {
        random.random_ratio(self.puts, self.puts + self.gets)
    }
}

impl Default for Ratio {
    /// The original's.
    fn default() -> Ratio {
        Ratio { puts: 35, gets: 65 }
    }
}

impl FromStr for Ratio {
    type Err = BadWorkload;

    fn from_str(text: &str) -> Result<Ratio, BadWorkload> {
        let number = |text: &str| text.parse().ok().filter(|number| *number <= Ratio::MAX);
        let ratio = text
            .split_once(':')
            .and_then(|(puts, gets)| Some(Ratio { puts: number(puts)?, gets: number(gets)? }))
            .filter(|ratio| ratio.puts + ratio.gets > 0);
        ratio.ok_or_else(|| BadWorkload::Ratio(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_ratio_is_two_numbers() {
        assert_eq!("35:65".parse(), Ok(Ratio::default()));
        assert_eq!("0:1".parse(), Ok(Ratio { puts: 0, gets: 1 }));
        for text in ["", "1", "0:0", "-1:2", "1:1001", "1:2:3", "a:b"] {
            assert_eq!(text.parse::<Ratio>(), Err(BadWorkload::Ratio(text.to_owned())));
        }
    }

    #[test]
    fn a_mix_keeps_its_ratio() {
        let mut random = SmallRng::seed_from_u64(1);
        for (text, at_least, at_most) in [("0:1", 0, 0), ("1:0", 1000, 1000), ("1:3", 200, 300)] {
            let ratio: Ratio = text.parse().unwrap();
            let puts = (0..1000).filter(|_| ratio.is_put(&mut random)).count();
            assert!((at_least..=at_most).contains(&puts), "{text}: {puts}");
        }
    }
}
