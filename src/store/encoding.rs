//! Bytes at rest: a version byte, then postcard.
//!
//! The version stands in front of every record, so that a later format can be
//! told from this one and read beside it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::caspaxos::Value;
use crate::caspaxos::acceptor::Register;

/// The format that is written.
pub const VERSION: u8 = 1;

/// The format of registers and their values since they end in a memory of
/// requests.
pub const MEMORY_VERSION: u8 = 2;

/// Encodes a value for the disk.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_as(VERSION, value)
}

/// Reads [`encode`] back; the error says what is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match split_version(bytes)? {
        (VERSION, rest) => decode_rest(rest),
        (version, _) => Err(unknown_format(version, VERSION)),
    }
}

/// Encodes for the disk what ends in a memory.
pub fn encode_with_memory<T: EndsInMemory>(value: &T) -> Vec<u8> {
    encode_as(MEMORY_VERSION, value)
}

/// Reads [`encode_with_memory`] back, and what was written by [`encode`] when
/// there was no memory yet.
pub fn decode_with_memory<T: EndsInMemory>(bytes: &[u8]) -> Result<T, String> {
    /// An empty list.
    const NOTHING_REMEMBERED: &[u8] = &[0];
    match split_version(bytes)? {
        (VERSION, rest) => decode_rest(&[rest, NOTHING_REMEMBERED].concat()),
        (MEMORY_VERSION, rest) => decode_rest(rest),
        (version, _) => Err(unknown_format(version, MEMORY_VERSION)),
    }
}

/// What ends in a [`Memory`](crate::kv::Memory) when it is encoded.
pub trait EndsInMemory: Serialize + DeserializeOwned {}

impl EndsInMemory for Value {}
impl EndsInMemory for Register {}

fn encode_as(version: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![version]).expect("encoding into memory cannot fail")
}

fn split_version(bytes: &[u8]) -> Result<(u8, &[u8]), String> {
    let split = bytes.split_first().map(|(version, rest)| (*version, rest));
    split.ok_or_else(|| "it is empty".into())
}

fn decode_rest<T: DeserializeOwned>(rest: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many at its end", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn unknown_format(found: u8, newest: u8) -> String {
    format!(
        "format {found} is unknown; this program reads format {newest} and was perhaps started \
         on the data of a newer one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::{Ballot, Incarnation, Lineage};
    use crate::kv::{Command, Memory, Record, RequestId, Submission, apply_once};

    fn ballot(counter: u64, proposer: &str, incarnation: u64) -> Ballot {
        let proposer = proposer.parse().unwrap();
        Ballot { counter, proposer, incarnation: Incarnation(incarnation) }
    }

    fn unhex(text: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        (0..text.len() / 2).map(byte).collect()
    }

    fn registers() -> [Register; 3] {
        let first = ballot(300, "p2", 0x0123_4567_89ab_cdef);
        let second = ballot(301, "p1", u64::MAX);
        let record = Record {
            value: Some(b"\x00\xffhello".as_slice().into()),
            created_index: 7,
            modified_index: 1000,
        };
        let full = Register {
            promise: ballot(302, "p1", u64::MAX),
            accepted: second,
            value: Value {
                record,
                lineage: Lineage::default().extended(first).extended(second),
                memory: Memory::default(),
            },
        };
        let mut remembering = full.clone();
        let Value { record, memory, .. } = &mut remembering.value;
        let request_id = Some(RequestId::try_from("c:1").unwrap());
        let submission = Submission { command: Command::Set("v".into()), request_id };
        *record = apply_once(record, memory, &submission, 1001).outcome.after;
        [Register::default(), full, remembering]
    }

    /// What is on the disks of running clusters. When this test fails, the
    /// format changed: raise [`MEMORY_VERSION`] and keep reading the old one.
    #[test]
    fn the_format_on_disk_is_the_one_that_was_written() {
        for (register, golden) in registers().into_iter().zip(GOLDEN) {
            assert_eq!(hex(&encode_with_memory(&register)), golden);
            assert_eq!(decode_with_memory(&unhex(golden)), Ok(register));
        }
    }

    #[test]
    fn the_format_without_a_memory_is_still_read() {
        let [empty, full, _] = registers();
        for (register, former) in [(empty, FORMER_EMPTY), (full, FORMER_FULL)] {
            assert_eq!(decode_with_memory(&unhex(former)), Ok(register));
        }
    }

    const GOLDEN: [&str; 3] = [
        "02000000000000000000000000",
        "02ae02027031ffffffffffffffffff01ad02027031ffffffffffffffffff01010700ff68656c6c6f07e8070002\
         01ac02027032ef9bafcdf8acd1910102ad02027031ffffffffffffffffff0100",
        "02ae02027031ffffffffffffffffff01ad02027031ffffffffffffffffff01010176e907e907000201ac0202\
         7032ef9bafcdf8acd1910102ad02027031ffffffffffffffffff010103633a31c2aab5db86a7b6f6f7010001\
         0700ff68656c6c6f07e807e907",
    ];

    const FORMER_EMPTY: &str = "010000000000000000000000";
    const FORMER_FULL: &str = "01ae02027031ffffffffffffffffff01ad02027031ffffffffffffffffff010107\
        00ff68656c6c6f07e807000201ac02027032ef9bafcdf8acd1910102ad02027031ffffffffffffffffff01";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let good = encode(&Record::default());
        let mut longer = good.clone();
        longer.push(0);
        let mut newer = good.clone();
        newer[0] = VERSION + 1;
        for bad in [&[][..], &good[..1], &good[..good.len() - 1], &longer, &newer] {
            assert!(decode::<Record>(bad).is_err(), "{bad:?}");
        }
        let good = encode_with_memory(&Register::default());
        let mut longer = good.clone();
        longer.push(0);
        let mut newer = good.clone();
        newer[0] = MEMORY_VERSION + 1;
        for bad in [&[][..], &good[..1], &good[..good.len() - 1], &longer, &newer] {
            assert!(decode_with_memory::<Register>(bad).is_err(), "{bad:?}");
        }
    }
}
