//! Parts of a state and their hashes, under every naming of the acceptors.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

/// The most acceptors of a scenario.
pub const MOST_ACCEPTORS: usize = 4;

/// For each acceptor the number that it has instead of its own. The fourth is
/// not like the others: it is to be added.
pub type Naming = (usize, [u8; MOST_ACCEPTORS]);

/// All namings, each with its place in this list.
pub const NAMINGS: [Naming; 6] = [
    (0, [1, 2, 3, 4]),
    (1, [1, 3, 2, 4]),
    (2, [2, 1, 3, 4]),
    (3, [2, 3, 1, 4]),
    (4, [3, 1, 2, 4]),
    (5, [3, 2, 1, 4]),
];

/// A part of a state with its hashes: most parts stay as they were.
#[derive(Clone)]
pub struct Part<T> {
    pub part: Rc<T>,
    hashes: [u64; NAMINGS.len()],
}

impl<T: Debug> Part<T> {
    /// What a part shows of itself is all that counts.
    pub fn of(part: T) -> Part<T> {
        let text = format!("{part:?}");
        let pieces = pieces(&text);
        let hashes = NAMINGS.each_ref().map(|(_, numbers)| {
            let mut hasher = DefaultHasher::new();
            for piece in &pieces {
                match piece {
                    Piece::Text(hash) => hasher.write_u64(*hash),
                    Piece::Acceptors(list) => {
                        let mut list: Vec<u8> =
                            list.iter().map(|number| numbers[usize::from(*number) - 1]).collect();
                        list.sort_unstable();
                        hasher.write(&list);
                    }
                }
            }
            hasher.finish()
        });
        Part { part: Rc::new(part), hashes }
    }
}

impl<T> Part<T> {
    /// Under a naming.
    pub fn hash(&self, naming: &Naming) -> u64 {
        self.hashes[naming.0]
    }

    /// The same of what belongs to the acceptor at this place.
    pub fn hash_at(&self, naming: &Naming, place: usize) -> u64 {
        mixed(u64::from(naming.1[place]), self.hash(naming))
    }

    /// With the acceptors as they are called.
    pub fn name(&self) -> u64 {
        self.hashes[0]
    }
}

/// A stretch of a text.
enum Piece {
    /// Its hash.
    Text(u64),
    /// A list of acceptors by number; in what order they came to be in it is
    /// nothing to anybody.
    Acceptors(Vec<u8>),
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, number, after)) = split_at_acceptor(rest) {
        match pieces.last_mut() {
            Some(Piece::Acceptors(list)) if before == ", " => list.push(number),
            Some(_) | None => {
                pieces.push(Piece::Text(hash_of(before)));
                pieces.push(Piece::Acceptors(vec![number]));
            }
        }
        rest = after;
    }
    pieces.push(Piece::Text(hash_of(rest)));
    pieces
}

/// What stands before the first word that is a name, as `a2`, its number, and
/// what stands after it.
fn split_at_acceptor(text: &str) -> Option<(&str, u8, &str)> {
    let bytes = text.as_bytes();
    let is_end = |at: usize| bytes.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let is_name = |at: &usize| {
        bytes[*at] == b'a'
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && is_end(at.wrapping_sub(1))
            && is_end(at + 2)
    };
    let at = (0..bytes.len()).find(is_name)?;
    Some((&text[..at], bytes[at + 1] - b'0', &text[at + 2..]))
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn mixed(salt: u64, hash: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(salt);
    hasher.write_u64(hash);
    hasher.finish()
}

/// The hash of a whole state, of 128 bits.
#[derive(Default)]
pub struct Fingerprint([DefaultHasher; 2]);

impl Fingerprint {
    pub fn in_order(&mut self, hashes: impl IntoIterator<Item = u64>) {
        for hash in hashes {
            (1..).zip(&mut self.0).for_each(|(salt, half)| half.write_u64(mixed(salt, hash)));
        }
    }

    pub fn in_any_order(&mut self, hashes: impl Iterator<Item = u64> + Clone) {
        for (salt, half) in (3..).zip(&mut self.0) {
            let sum = hashes.clone().fold(0_u64, |sum, hash| sum.wrapping_add(mixed(salt, hash)));
            half.write_u64(sum);
        }
    }

    pub fn finish(self) -> u128 {
        let [first, second] = self.0.map(|half| u128::from(half.finish()));
        first << 64 | second
    }
}
