//! Which cluster this is: the id that a cluster gets when it is founded.
//!
//! The name of a cluster is chosen by people and used again; its id is not. It
//! is the hash of what its founders agree on (the [`Founding`]) and of a random
//! number that each founder draws when its store is created, its [`Nonce`]. So
//! every founder that knows all nonces computes the same id, and nobody has to
//! decide it. A founder whose store was emptied has another nonce: the id that
//! comes out is another one, and the others, who hold the first, refuse it.
//!
//! A cluster is founded by all of its founders together: were a majority
//! enough, two empty ones could found a second cluster beside a third that
//! still holds the data of the first.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

/// The id of a cluster, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(NonZeroU64);

/// A random number that a founder drew when its store was created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Nonce(pub u64);

/// What the founders of a cluster have in common, and the nonce of each.
pub struct Founding(Xxh3);

impl Founding {
    /// A founding. `agreed` is a digest of what all founders must have been told
    /// alike: who they are, and how many of them are a quorum.
    pub fn new(agreed: u64) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&agreed.to_be_bytes());
        Founding(hash)
    }

    /// Adds the nonce of the next founder; all count them in the same order.
    pub fn add(&mut self, nonce: Nonce) {
        self.0.update(&nonce.0.to_be_bytes());
    }

    /// The id that these founders give their cluster.
    pub fn id(&self) -> ClusterId {
        ClusterId(NonZeroU64::new(self.0.digest()).unwrap_or(NonZeroU64::MIN))
    }
}

impl ClusterId {
    /// The id of a number; `None` for 0, which is no id.
    pub const fn new(number: u64) -> Option<ClusterId> {
        match NonZeroU64::new(number) {
            Some(number) => Some(ClusterId(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of the cluster of a node, which learns it once. Clones are handles to
/// the same one, readable from any thread.
#[derive(Clone, Debug, Default)]
pub struct OwnCluster(Arc<OnceLock<ClusterId>>);

impl OwnCluster {
    /// One that may be known already.
    pub fn new(cluster: Option<ClusterId>) -> Self {
        let own = OwnCluster::default();
        cluster.into_iter().for_each(|cluster| own.set(cluster));
        own
    }

    /// The id, once it is known.
    pub fn get(&self) -> Option<ClusterId> {
        self.0.get().copied()
    }

    /// Learns the id.
    ///
    /// # Panics
    ///
    /// When another one was learned before: nobody changes clusters.
    pub fn set(&self, cluster: ClusterId) {
        let known = *self.0.get_or_init(|| cluster);
        assert_eq!(known, cluster, "a node belongs to one cluster");
    }
}

/// What is no cluster's id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no cluster id, which has 16 hexadecimal digits")]
pub struct BadClusterId(String);

impl FromStr for ClusterId {
    type Err = BadClusterId;

    fn from_str(text: &str) -> Result<Self, BadClusterId> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.and_then(ClusterId::new).ok_or_else(|| BadClusterId(text.into()))
    }
}

/// Digits where people read it, a number between nodes and on the disk.
impl Serialize for ClusterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        NonZeroU64::deserialize(deserializer).map(ClusterId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(agreed: u64, nonces: &[u64]) -> ClusterId {
        let mut founding = Founding::new(agreed);
        nonces.iter().for_each(|nonce| founding.add(Nonce(*nonce)));
        founding.id()
    }

    #[test]
    fn an_id_depends_on_all_that_the_founders_bring() {
        let first = id(7, &[1, 2, 3]);
        assert_eq!(first, id(7, &[1, 2, 3]));
        let others = [id(8, &[1, 2, 3]), id(7, &[1, 2, 4]), id(7, &[1, 3, 2]), id(7, &[1, 2])];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = ClusterId::new(0xab).unwrap();
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""00000000000000ab""#);
        assert_eq!(serde_json::from_str::<ClusterId>(r#""00000000000000ab""#).unwrap(), id);
        assert_eq!(postcard::from_bytes::<ClusterId>(&[0xab, 1]).unwrap(), id);
        assert!(postcard::from_bytes::<ClusterId>(&[0]).is_err());
        for bad in ["", "ab", "0000000000000000", "+0000000000000ab", "00000000000000abc"] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
    }
}
