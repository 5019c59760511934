//! Large answers, which count until they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ApiError;
use crate::kv::Refusal;

/// What all large answers that are on their way may hold together, so that
/// clients that do not read theirs cannot fill the memory. The node hangs up
/// on them after a while ([`super::SEND_PATIENCE`]).
static SENDING_BYTES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(256 << 20)));

/// Answers up to this size do not count.
const SMALL_BYTES: usize = 16 << 10;

/// The body of an answer; it gives its place back when it has left the node.
pub struct Sending {
    bytes: Bytes,
    permit: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// A body, or an error when too much is on its way already.
    pub fn new(bytes: Bytes) -> Result<Sending, ApiError> {
        let permit = match bytes.len() {
            0..=SMALL_BYTES => None,
            length => {
                let permit = SENDING_BYTES.clone().try_acquire_many_owned(length as u32);
                Some(permit.map_err(|_| Refusal::Overloaded)?)
            }
        };
        Ok(Sending { bytes, permit })
    }
}

impl MessageBody for Sending {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    /// What does not count goes as it is.
    fn try_into_bytes(self) -> Result<Bytes, Sending> {
        if self.permit.is_none() { Ok(self.bytes) } else { Err(self) }
    }

    /// Hands over piece by piece, so that most of it waits here, counted, and
    /// not in the connection's buffer.
    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(SMALL_BYTES);
        Poll::Ready(Some(Ok(self.bytes.split_to(length))))
    }
}
