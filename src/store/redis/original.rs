//! What a server holds of the original, Gryadka in JavaScript: of each key three
//! strings, `KEY/promise`, `KEY/ballot` and `KEY/value`.
//!
//! A ballot is `counter,proposer`, or three numbers in the releases before 2018-07; a
//! value is `{"value": ...}`.

use redis::{Connection, RedisResult};

use super::{RedisError, connect, unreachable};
use crate::config::RedisAddress;

/// How many keys a step over all keys looks at.
const KEYS_PER_STEP: u32 = 1000;
/// How many steps a server is searched for, so that one that holds much else does not
/// keep a node from starting.
const MAX_STEPS: u32 = 100;
/// How many keys are read at once.
const KEYS_PER_READ: usize = 100;

const PROMISE: &[u8] = b"/promise";

/// A key with data of the original, if the server has one among its first hundred
/// thousand keys. A server that holds `standing`, and so is one of ours, is not
/// searched.
pub fn find(connection: &mut Connection, standing: &str) -> RedisResult<Option<String>> {
    if redis::cmd("EXISTS").arg(standing).query(connection)? {
        return Ok(None);
    }
    let mut cursor = 0;
    for _ in 0..MAX_STEPS {
        let (next, keys) = step(connection, cursor)?;
        for key in keys {
            // Nothing for what is no string: a register of ours may have such a name too.
            let ballots = ["/promise", "/ballot"].map(|name| [&key, name.as_bytes()].concat());
            let ballots: Vec<Option<Vec<u8>>> =
                redis::cmd("MGET").arg(&ballots[..]).query(connection)?;
            let is_ballot =
                |text: &Option<Vec<u8>>| text.as_deref().and_then(OriginalBallot::parse).is_some();
            if ballots.iter().all(is_ballot) {
                return Ok(Some(String::from_utf8_lossy(&key).into_owned()));
            }
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    Ok(None)
}

/// The next keys of the original after a cursor, and the next cursor; 0 at both ends.
fn step(connection: &mut Connection, cursor: u64) -> RedisResult<(u64, Vec<Vec<u8>>)> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg("*/promise").arg("COUNT").arg(KEYS_PER_STEP);
    let (next, names): (u64, Vec<Vec<u8>>) = scan.query(connection)?;
    let keys = names.iter().filter_map(|name| name.strip_suffix(PROMISE)).map(<[u8]>::to_vec);
    Ok((next, keys.collect()))
}

/// The registers of an acceptor of the original, to be read. Every call blocks.
pub struct OriginalAcceptor {
    address: RedisAddress,
    connection: Connection,
}

/// A ballot of the original.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OriginalBallot {
    /// Of the early releases: a tick of three numbers.
    Tick([u64; 3]),
    /// A counter, and the id of a proposer.
    Ballot(u64, Vec<u8>),
}

/// What an acceptor of the original has accepted for a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRegister {
    /// The ballot, if it is one.
    pub ballot: Option<OriginalBallot>,
    /// The text of the value.
    pub value: Vec<u8>,
}

impl OriginalBallot {
    fn parse(text: &[u8]) -> Option<Self> {
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b',').collect();
        let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse().ok();
        match parts[..] {
            [counter, id] => Some(OriginalBallot::Ballot(number(counter)?, id.to_vec())),
            [one, two, three] => {
                Some(OriginalBallot::Tick([number(one)?, number(two)?, number(three)?]))
            }
            _ => None,
        }
    }

    /// Whether it stands for "nothing accepted yet".
    pub fn is_zero(&self) -> bool {
        match self {
            OriginalBallot::Tick(numbers) => *numbers == [0; 3],
            OriginalBallot::Ballot(counter, _) => *counter == 0,
        }
    }

    /// Whether both are of releases that can be compared.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl OriginalAcceptor {
    /// Connects to a server.
    pub fn open(address: RedisAddress) -> Result<Self, RedisError> {
        let connection = connect(&address)?;
        Ok(OriginalAcceptor { address, connection })
    }

    /// All keys that the acceptor was ever asked for, as often as the server tells them.
    pub fn keys(&mut self) -> Result<Vec<Vec<u8>>, RedisError> {
        let (mut keys, mut cursor) = (Vec::new(), 0);
        loop {
            let (next, more) = self.call(|connection| step(connection, cursor))?;
            keys.extend(more);
            cursor = next;
            if cursor == 0 {
                return Ok(keys);
            }
        }
    }

    /// What was accepted for each of the keys; `None` where the acceptor knows nothing.
    pub fn read(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<OriginalRegister>>, RedisError> {
        let mut registers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_PER_READ) {
            let mut read = redis::cmd("MGET");
            for key in keys {
                read.arg([key, &b"/ballot"[..]].concat()).arg([key, &b"/value"[..]].concat());
            }
            let fields: Vec<Option<Vec<u8>>> = self.call(|connection| read.query(connection))?;
            registers.extend(fields.chunks(2).map(|pair| match pair {
                [Some(ballot), Some(value)] => Some(OriginalRegister {
                    ballot: OriginalBallot::parse(ballot),
                    value: value.clone(),
                }),
                _ => None,
            }));
        }
        Ok(registers)
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        call(&mut self.connection).map_err(|error| unreachable(&self.address, error.to_string()))
    }
}
