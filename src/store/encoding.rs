//! Bytes at rest: a version byte, then postcard.
//!
//! The version stands in front of every record, so that a later format can be
//! told from this one and read beside it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format that is written.
pub const VERSION: u8 = 1;

/// Encodes a value for the disk.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("encoding into memory cannot fail")
}

/// Reads [`encode`] back; the error says what is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        None => Err("it is empty".into()),
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(format!("{} bytes too many at its end", rest.len())),
            Err(error) => Err(error.to_string()),
        },
        Some((version, _)) => Err(format!(
            "format {version} is unknown; this program reads format {VERSION} and was perhaps \
             started on the data of a newer one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::acceptor::Register;
    use crate::caspaxos::{Ballot, Incarnation, Lineage, Value};
    use crate::kv::Record;

    fn ballot(counter: u64, proposer: &str, incarnation: u64) -> Ballot {
        let proposer = proposer.parse().unwrap();
        Ballot { counter, proposer, incarnation: Incarnation(incarnation) }
    }

    /// What is on the disks of running clusters. When this test fails, the
    /// format changed: raise [`VERSION`] and keep reading the old one.
    #[test]
    fn the_format_on_disk_is_the_one_that_was_written() {
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
            value: Value { record, lineage: Lineage::default().extended(first).extended(second) },
        };
        let cases = [(Register::default(), GOLDEN_EMPTY), (full, GOLDEN_FULL)];
        for (register, golden) in cases {
            assert_eq!(hex(&encode(&register)), golden);
            let bytes: Vec<u8> = (0..golden.len() / 2)
                .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(decode(&bytes), Ok(register));
        }
    }

    const GOLDEN_EMPTY: &str = "010000000000000000000000";
    const GOLDEN_FULL: &str = "01ae02027031ffffffffffffffffff01ad02027031ffffffffffffffffff010107\
        00ff68656c6c6f07e807000201ac02027032ef9bafcdf8acd1910102ad02027031ffffffffffffffffff01";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let good = encode(&Register::default());
        let mut longer = good.clone();
        longer.push(0);
        let mut newer = good.clone();
        newer[0] = VERSION + 1;
        for bad in [&[][..], &good[..1], &good[..good.len() - 1], &longer, &newer] {
            assert!(decode::<Register>(bad).is_err(), "{bad:?}");
        }
    }
}
