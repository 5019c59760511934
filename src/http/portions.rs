//! The connection of a client, which gives the HTTP server its bytes in portions.
//!
//! The HTTP server takes all that a connection has, parses all the requests and
//! chunks in it at once, and goes on to do so while the answers to them wait. Fifty
//! bytes of a request take some seven thousand in memory, and a chunk of one byte
//! costs as much as a whole body. So here
//!
//! - nothing is taken while a request is being answered, but for the body that it
//!   waits for, nor while an answer waits for the client to take it;
//! - one turn of the event loop takes no more than a portion, in bytes and in lines
//!   (the head of a request has a line at least, and so has each chunk; a body of a
//!   known length may have any), so that other connections have their turns in
//!   between;
//! - after the last answer nothing is taken: what comes is thrown away for a moment,
//!   so that the system does not throw away the answer, and the connection ends;
//! - a connection on which nobody is being answered ends after a while, whatever
//!   arrives on it, such as the head of a next request that never ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Buf, Bytes};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How many bytes one turn may take, and some more, as the buffer has room.
const PORTION_BYTES: usize = 16 << 10;
/// How many lines one turn may take.
const PORTION_LINES: usize = 32;
/// How long a connection may go without a request that is answered. It is longer
/// than an idle connection is kept.
const PATIENCE: Duration = Duration::from_secs(80);

/// What a connection is about, as those who answer its requests say.
pub struct Activity {
    stage: Cell<Stage>,
    /// Whether the request has a body that was not read to its end.
    has_more: Cell<bool>,
    /// How many bytes of a body of known length are waited for.
    awaited_bytes: Cell<usize>,
    /// Who was not let read.
    reader: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A request is to come until then.
    Waiting { until: Instant },
    /// A request is being answered.
    Answering,
    /// A request is being answered, for which more of its body must come.
    ReadingBody,
    /// All were answered.
    Ended,
}

impl Activity {
    fn new() -> Rc<Self> {
        Rc::new(Activity {
            stage: Cell::new(Stage::Waiting { until: Instant::now() + PATIENCE }),
            has_more: Cell::new(false),
            awaited_bytes: Cell::new(0),
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
            let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
            let missing_bytes = length.unwrap_or(0);
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

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.awaited_bytes.set(0);
        if let Some(reader) = self.reader.take().filter(|_| stage != Stage::Answering) {
            reader.wake();
        }
    }
}

/// A body, whose bytes come when they are waited for.
struct Body {
    payload: Payload,
    /// What must come still, where the length was told.
    missing_bytes: usize,
    activity: Rc<Activity>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        match &polled {
            Poll::Pending => {
                self.activity.enter(Stage::ReadingBody);
                // All that the HTTP server has taken of the body was handed over.
                self.activity.awaited_bytes.set(self.missing_bytes);
            }
            Poll::Ready(piece) => {
                self.activity.enter(Stage::Answering);
                match piece {
                    Some(Ok(piece)) => {
                        self.missing_bytes = self.missing_bytes.saturating_sub(piece.len());
                    }
                    Some(Err(_)) => {}
                    None => self.activity.has_more.set(false),
                }
            }
        }
        polled
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.activity.stage.get() == Stage::ReadingBody {
            self.activity.enter(Stage::Answering);
        }
    }
}

/// How long it is waited, after the last answer, that nothing comes any more.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// A connection that gives its bytes in portions.
pub struct Portions {
    tcp: TcpStream,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
    /// What this turn has taken.
    bytes: usize,
    lines: usize,
    /// What was read beyond the lines of a turn.
    held: Bytes,
    /// Whether an answer waits to be sent.
    is_blocked: bool,
    /// Whether nothing more is sent.
    is_shut: bool,
}

impl Portions {
    /// The portions of a new connection.
    pub fn new(tcp: TcpStream) -> Self {
        Portions {
            tcp,
            activity: Activity::new(),
            timer: Box::pin(sleep(PATIENCE)),
            bytes: 0,
            lines: 0,
            held: Bytes::new(),
            is_blocked: false,
            is_shut: false,
        }
    }

    /// The connection itself.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// For those who answer.
    pub fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    /// Whether no request came for too long. If not, the task is woken when so.
    fn is_overdue(&mut self, until: Instant, cx: &mut Context<'_>) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return true;
            }
            self.timer.as_mut().reset(until);
        }
        false
    }

    /// Whether the HTTP server may take something; `None`: never again.
    fn may_read(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        match self.activity.stage.get() {
            Stage::Ended => return None,
            Stage::Waiting { until } if self.is_overdue(until, cx) => return None,
            Stage::Answering => {
                self.activity.reader.replace(Some(cx.waker().clone()));
                return Some(false);
            }
            Stage::Waiting { .. } | Stage::ReadingBody => {}
        }
        if self.bytes >= PORTION_BYTES || self.lines >= PORTION_LINES {
            self.begin_turn();
            cx.waker().wake_by_ref();
            return Some(false);
        }
        Some(!self.is_blocked)
    }

    fn note_taken(&mut self, bytes: usize, lines: usize) {
        self.bytes += bytes;
        self.lines += lines;
        let awaited_bytes = &self.activity.awaited_bytes;
        awaited_bytes.set(awaited_bytes.get().saturating_sub(bytes));
    }

    fn begin_turn(&mut self) {
        (self.bytes, self.lines) = (0, 0);
    }
}

/// How long the start of `bytes` is that has so many lines at most, one at least, and
/// how many it has; in the first `body` bytes they do not count.
fn portion(bytes: &[u8], body: usize, lines: usize) -> (usize, usize) {
    let body = body.min(bytes.len());
    let found = bytes[body..].iter().filter(|byte| **byte == b'\n').count();
    if found <= lines {
        return (bytes.len(), found);
    }
    let mut ends = bytes.iter().enumerate().skip(body).filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or((bytes.len(), found), |(index, _)| (index + 1, lines))
}

impl AsyncRead for Portions {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.may_read(cx) {
            Some(true) => {}
            Some(false) => return Poll::Pending,
            None => return Poll::Ready(Ok(())),
        }
        let start = buf.filled().len();
        let lines = PORTION_LINES - this.lines;
        let body = this.activity.awaited_bytes.get();
        if this.held.is_empty() {
            let Poll::Ready(read) = Pin::new(&mut this.tcp).poll_read(cx, buf) else {
                this.begin_turn();
                return Poll::Pending;
            };
            read?;
            let read = &buf.filled()[start..];
            let (length, lines) = portion(read, body, lines);
            if length < read.len() {
                this.held = Bytes::copy_from_slice(&read[length..]);
                buf.set_filled(start + length);
            }
            this.note_taken(length, lines);
        } else {
            let room = this.held.len().min(buf.remaining());
            let (length, lines) = portion(&this.held[..room], body, lines);
            buf.put_slice(&this.held[..length]);
            this.held.advance(length);
            this.note_taken(length, lines);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Portions {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Poll::Ready(written) = Pin::new(&mut this.tcp).poll_write(cx, bytes) else {
            this.is_blocked = true;
            return Poll::Pending;
        };
        if std::mem::take(&mut this.is_blocked) {
            // Reading was refused meanwhile.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    /// Ends the sending side, and then takes what comes still, for a while.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(cx))?;
            this.is_shut = true;
            this.timer.as_mut().reset(Instant::now() + LAST_PATIENCE);
        }
        if this.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; PORTION_BYTES];
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(&mut this.tcp).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, Portions) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), Portions::new(server.unwrap().0))
    }

    /// What one turn takes: what is there before the connection is pending.
    async fn turn(portions: &mut Portions) -> Vec<u8> {
        let mut taken = Vec::new();
        std::future::poll_fn(|cx| {
            let mut bytes = [0; 8192];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *portions).poll_read(cx, &mut buf) {
                Poll::Pending => Poll::Ready(()),
                Poll::Ready(read) => {
                    read.unwrap();
                    assert!(!buf.filled().is_empty(), "it ended");
                    taken.extend_from_slice(buf.filled());
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
        taken
    }

    #[test]
    fn a_portion_has_so_many_lines() {
        for (bytes, body, lines, expected) in [
            ("", 0, 1, (0, 0)),
            ("abc", 0, 1, (3, 0)),
            ("a\nb", 0, 1, (3, 1)),
            ("a\nb\nc", 0, 1, (2, 1)),
            ("\n\n\n\n", 0, 3, (3, 3)),
            ("\n\n\n\n", 3, 1, (4, 1)),
            ("\n\n\n\n", 2, 1, (3, 1)),
            ("\n\n\n\n", 9, 1, (4, 0)),
        ] {
            assert_eq!(portion(bytes.as_bytes(), body, lines), expected, "{bytes:?} {body}");
        }
    }

    #[actix_web::test]
    async fn a_turn_takes_a_portion_and_nothing_is_lost() {
        let (mut client, mut portions) = connected().await;
        let sent: Vec<u8> = (0..200_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let sent: Vec<u8> = sent
            .into_iter()
            .enumerate()
            .map(|(i, b)| if i % 7 == 0 && i < 70_000 { b'\n' } else { b })
            .collect();
        let expected = sent.clone();
        let sending = actix_web::rt::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client
        });
        let (mut taken, mut turns) = (Vec::new(), 0);
        while taken.len() < expected.len() {
            let portion = turn(&mut portions).await;
            let lines = portion.iter().filter(|byte| **byte == b'\n').count();
            assert!(lines <= PORTION_LINES && portion.len() < PORTION_BYTES + 8192);
            turns += usize::from(!portion.is_empty());
            taken.extend(portion);
            tokio::task::yield_now().await;
        }
        assert!(taken == expected);
        assert!(turns >= 10_000 / PORTION_LINES, "{turns}");
        drop(sending.await.unwrap());
        let end = portions.read(&mut [0; 10]).await.unwrap();
        assert_eq!(end, 0);
    }

    #[actix_web::test]
    async fn nothing_is_taken_while_an_answer_waits() {
        let (mut client, mut portions) = connected().await;
        let answer = vec![b'a'; 1 << 20];
        let mut sent = 0;
        let fill = |portions: &mut Portions, sent: &mut usize| {
            let waker = futures::task::noop_waker();
            let mut cx = Context::from_waker(&waker);
            while let Poll::Ready(written) = Pin::new(&mut *portions).poll_write(&mut cx, &answer) {
                *sent += written.unwrap();
            }
        };
        // The system has room for some.
        fill(&mut portions, &mut sent);
        client.write_all(b"GET").await.unwrap();
        portions.tcp().readable().await.unwrap();
        assert_eq!(turn(&mut portions).await, b"");
        let mut taken = vec![0; sent];
        client.read_exact(&mut taken).await.unwrap();
        portions.tcp().writable().await.unwrap();
        let written = portions.write(b"b").await.unwrap();
        assert_eq!((written, turn(&mut portions).await), (1, b"GET".to_vec()));
    }

    #[actix_web::test]
    async fn a_connection_on_which_nobody_is_answered_ends() {
        let (_client, mut portions) = connected().await;
        tokio::time::pause();
        let activity = portions.activity();
        let mut request = TestRequest::default().to_srv_request();
        // While somebody is answered it lasts.
        activity.begin(&mut request);
        assert!(tokio::time::timeout(10 * PATIENCE, portions.read_u8()).await.is_err());
        activity.end(false);
        let started = Instant::now();
        assert_eq!(portions.read(&mut [0; 10]).await.unwrap(), 0);
        assert!(started.elapsed() >= PATIENCE && started.elapsed() < 2 * PATIENCE);
    }

    #[actix_web::test]
    async fn what_comes_next_waits_for_the_answer() {
        let (mut client, mut portions) = connected().await;
        let activity = portions.activity();
        let mut request = TestRequest::default().set_payload("body").to_srv_request();
        activity.begin(&mut request);
        client.write_all(b"next").await.unwrap();
        portions.tcp().readable().await.unwrap();
        assert_eq!(turn(&mut portions).await, b"");
        assert!(activity.leaves_body());
        let mut body = request.take_payload();
        assert_eq!(body.next().await.unwrap().unwrap(), "body");
        assert!(body.next().await.is_none() && !activity.leaves_body());
        assert_eq!(turn(&mut portions).await, b"");
        activity.end(false);
        assert_eq!(turn(&mut portions).await, b"next");
        client.write_all(b"more").await.unwrap();
        portions.tcp().readable().await.unwrap();
        activity.end(true);
        assert_eq!(portions.read(&mut [0; 10]).await.unwrap(), 0);
        // What comes still is thrown away, until nothing can come.
        let shutdown = tokio::time::timeout(Duration::from_millis(1), portions.shutdown()).await;
        assert!(shutdown.is_err());
        assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
        drop(client);
        portions.shutdown().await.unwrap();
    }
}
