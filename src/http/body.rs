//! Request bodies and paths, bounded in size and time.

use std::time::Duration;

use actix_web::web::{Bytes, BytesMut, Payload};
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApiError;
use crate::kv::Refusal;
use crate::kv::{Key, MAX_VALUE_BYTES};

/// What the large bodies of clients that are being read may hold together, so that
/// many slow senders cannot fill the memory.
static READING_BYTES: Semaphore = Semaphore::const_new(256 << 20);

/// Up to this many bytes a body is a small one: those are bounded by the number of
/// connections, so that large ones do not keep them out.
const SMALL_BYTES: usize = 16 << 10;

/// What a body counts besides its bytes: the buffers of its connection.
const OVERHEAD_BYTES: u32 = 64 << 10;

/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest body of a form: a value may triple when it is percent-encoded.
pub const MAX_FORM_BYTES: usize = 3 * MAX_VALUE_BYTES + 64 * 1024;

/// The largest body of JSON with a value in it.
pub const MAX_JSON_BYTES: usize = MAX_VALUE_BYTES + 64 * 1024;

/// A body comes in any number of pieces up to this one (a piece is a chunk of it, or
/// what came at once), and beyond it in pieces of [`PIECE_BYTES`] on average: each
/// costs as much as a whole small body.
const FREE_PIECES: usize = 1024;
const PIECE_BYTES: usize = 32;

/// Reads a client's body of up to `limit` bytes.
pub async fn read(payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    read_within(&READING_BYTES, payload, limit).await
}

/// Reads a body of up to `limit` bytes, as long as the budget has room.
pub async fn read_within(
    budget: &Semaphore,
    payload: Payload,
    limit: usize,
) -> Result<Bytes, ApiError> {
    tokio::time::timeout(PATIENCE, read_all(budget, payload, limit))
        .await
        .unwrap_or(Err(ApiError::TooSlow(PATIENCE.as_secs())))
}

async fn read_all(
    budget: &Semaphore,
    mut payload: Payload,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let mut body = Blocks::default();
    let mut reserved: Option<SemaphorePermit> = None;
    let mut pieces = 0;
    while let Some(piece) = payload.next().await {
        let broken = |error| ApiError::Malformed(format!("the body is broken: {error}"));
        let piece = piece.map_err(broken)?;
        let length = body.length + piece.len();
        if length > limit {
            return Err(ApiError::TooLarge(format!("the body is larger than {limit} bytes")));
        }
        pieces += 1;
        if pieces > FREE_PIECES + length / PIECE_BYTES {
            return Err(ApiError::TooFragmented { pieces, length });
        }
        if length > SMALL_BYTES {
            let more = match reserved {
                Some(_) => piece.len() as u32,
                None => OVERHEAD_BYTES + length as u32,
            };
            let more = budget.try_acquire_many(more).map_err(|_| Refusal::Overloaded)?;
            match &mut reserved {
                Some(reserved) => reserved.merge(more),
                None => reserved = Some(more),
            }
        }
        body.push(piece);
    }
    Ok(body.join())
}

/// A body as it comes, in blocks of one size. In one piece that grows it would take
/// twice its length, and the allocator as much again for what it was before.
#[derive(Default)]
struct Blocks {
    blocks: Vec<BytesMut>,
    length: usize,
}

impl Blocks {
    const BYTES: usize = 64 << 10;

    fn push(&mut self, mut piece: Bytes) {
        self.length += piece.len();
        while !piece.is_empty() {
            let room = self.blocks.last().map_or(0, |last| Self::BYTES - last.len());
            if room == 0 {
                // Most bodies are small.
                let capacity = if self.blocks.is_empty() { piece.len() } else { Self::BYTES };
                self.blocks.push(BytesMut::with_capacity(capacity.min(Self::BYTES)));
                continue;
            }
            let last = self.blocks.last_mut().expect("it has room");
            last.extend_from_slice(&piece.split_to(room.min(piece.len())));
        }
    }

    fn join(mut self) -> Bytes {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default().freeze();
        }
        let mut whole = BytesMut::with_capacity(self.length);
        self.blocks.into_iter().for_each(|block| whole.extend_from_slice(&block));
        whole.freeze()
    }
}

/// Checks a value against its bound.
pub fn check_value(value: &[u8]) -> Result<(), ApiError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(ApiError::TooLarge(format!(
            "the value is larger than {MAX_VALUE_BYTES} bytes"
        )));
    }
    Ok(())
}

/// Undoes percent-encoding; a `%` without two hex digits is refused.
pub fn percent_decode(text: &str) -> Result<Vec<u8>, ApiError> {
    let bytes = text.as_bytes();
    for position in bytes.iter().enumerate().filter(|(_, b)| **b == b'%').map(|(i, _)| i) {
        let digits = bytes.get(position + 1..position + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(ApiError::Malformed(
                "a % is not followed by two hex digits; write %25 for the sign itself".into(),
            ));
        }
    }
    Ok(percent_decode_str(text).collect())
}

/// A key from a name as clients write it. Names that the v2 API would clean to
/// another one are refused: under them a record could be written, but not be
/// found or deleted there.
pub fn key(name: &str) -> Result<Key, ApiError> {
    let key = Key::try_from(name)?;
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ApiError::Malformed(
            "a key has no empty part, no '.' and no '..' between its slashes".into(),
        ));
    }
    if key.is_reserved() {
        return Err(ApiError::Malformed("keys that begin with a NUL byte are the server's".into()));
    }
    Ok(key)
}

/// Undoes percent-encoding of a path, which must be UTF-8.
pub fn decode_path(text: &str) -> Result<String, ApiError> {
    String::from_utf8(percent_decode(text)?)
        .map_err(|_| ApiError::Malformed("the key is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_body_is_what_came() {
        for sizes in [&[][..], &[5], &[100_000], &[0, 65_536, 1, 65_535, 200_000, 3]] {
            let mut blocks = Blocks::default();
            let pieces: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(number, size)| vec![number as u8; *size].into())
                .collect();
            pieces.iter().for_each(|piece| blocks.push(piece.clone()));
            assert!(blocks.blocks.iter().all(|block| block.capacity() <= 2 * Blocks::BYTES));
            assert_eq!(blocks.join(), pieces.concat());
        }
    }

    #[actix_web::test]
    async fn small_bodies_are_read_when_large_ones_have_used_the_budget_up() {
        let payload = |length: usize| async move {
            let (request, mut payload) =
                TestRequest::default().set_payload(vec![b'x'; length]).to_http_parts();
            Payload::from_request(&request, &mut payload).await.expect("it has one")
        };
        let budget = Semaphore::new(100 << 10);
        let held = budget.try_acquire_many(40 << 10).unwrap();
        let read = read_within(&budget, payload(SMALL_BYTES).await, 1 << 20).await;
        assert_eq!(read.unwrap().len(), SMALL_BYTES);
        let refused = read_within(&budget, payload(SMALL_BYTES + 1).await, 1 << 20).await;
        assert!(matches!(refused, Err(ApiError::Refused(Refusal::Overloaded))), "{refused:?}");
        drop(held);
        let read = read_within(&budget, payload(SMALL_BYTES + 1).await, 1 << 20).await;
        assert_eq!(read.unwrap().len(), SMALL_BYTES + 1);
        assert_eq!(budget.available_permits(), 100 << 10, "it is given back");
    }

    #[test]
    fn percent_decoding_is_strict() {
        for (text, decoded) in [("a%20b", "a b"), ("%C3%A9/x", "é/x"), ("+", "+"), ("%25", "%")] {
            assert_eq!(decode_path(text).unwrap(), decoded);
        }
        for bad in ["%", "%4", "%zz", "a%2", "%ff", "%%41"] {
            assert!(decode_path(bad).is_err(), "{bad}");
        }
    }
}
