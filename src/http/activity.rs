//! What the connection of a client is about: who answers its requests says so, and
//! [`Portions`](super::portions::Portions) reads accordingly.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Bytes;
use futures::Stream;
use tokio::time::Instant;

/// How long a connection may go without a request that is answered. It is longer
/// than an idle connection is kept.
pub(super) const PATIENCE: Duration = Duration::from_secs(80);

/// What a connection is about, as those who answer its requests say.
pub struct Activity {
    pub(super) stage: Cell<Stage>,
    /// Whether the request has a body that was not read to its end.
    has_more: Cell<bool>,
    /// Who reads, or was not let read.
    reader: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A request is to come until then.
    Waiting { until: Instant },
    /// A request is being answered.
    Answering,
    /// A request is being answered, for which more of its body must come: so many
    /// bytes, if that is known.
    ReadingBody { bytes: Option<usize> },
    /// All were answered.
    Ended,
    /// It waited for a request, and has to make room.
    Dismissed,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Activity {
            stage: Cell::new(Stage::Waiting { until: Instant::now() + PATIENCE }),
            has_more: Cell::new(false),
            reader: RefCell::default(),
        })
    }

    /// A request is being answered.
    pub fn begin(self: &Rc<Self>, request: &mut ServiceRequest) {
        self.enter(Stage::Answering);
        let payload = request.take_payload();
        self.has_more.set(!matches!(payload, Payload::None));
        if self.has_more.get() {
            let length = request.headers().get(CONTENT_LENGTH);
            let missing_bytes = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
            let body = Body { payload, missing_bytes, activity: self.clone() };
            request.set_payload(Payload::Stream { payload: Box::pin(body) });
        }
    }

    /// Whether the answer leaves a part of the request behind. Then it must be the
    /// last one on the connection.
    pub fn leaves_body(&self) -> bool {
        self.has_more.get()
    }

    /// The request was answered, for the last time on this connection or not.
    pub fn end(&self, is_last: bool) {
        self.enter(match is_last {
            true => Stage::Ended,
            false => Stage::Waiting { until: Instant::now() + PATIENCE },
        });
    }

    /// Whom the next stage wakes.
    pub(super) fn wakes(&self, waker: &Waker) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    /// Since when it waits for a request, if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.stage.get() {
            Stage::Waiting { until } => Some(until - PATIENCE),
            Stage::Answering | Stage::ReadingBody { .. } | Stage::Ended | Stage::Dismissed => None,
        }
    }

    /// Ends it while it waits for a request.
    pub(super) fn dismiss(&self) {
        self.enter(Stage::Dismissed);
    }

    /// Whether it was ended while it waited.
    pub(super) fn is_dismissed(&self) -> bool {
        self.stage.get() == Stage::Dismissed
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        if stage != Stage::Answering
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

/// A body, whose bytes come when they are waited for.
struct Body {
    payload: Payload,
    /// What must come still, where the length was told.
    missing_bytes: Option<usize>,
    activity: Rc<Activity>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        match &polled {
            // All that the HTTP server has taken of the body was handed over.
            Poll::Pending => {
                self.activity.enter(Stage::ReadingBody { bytes: self.missing_bytes });
            }
            Poll::Ready(piece) => {
                self.activity.enter(Stage::Answering);
                match (piece, &mut self.missing_bytes) {
                    (Some(Ok(piece)), Some(missing)) => *missing -= piece.len().min(*missing),
                    (Some(_), _) => {}
                    (None, _) => self.activity.has_more.set(false),
                }
            }
        }
        polled
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Stage::ReadingBody { .. } = self.activity.stage.get() {
            self.activity.enter(Stage::Answering);
        }
    }
}
