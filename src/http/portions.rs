//! The connection of a client, which gives the HTTP server its bytes in portions.
//!
//! The HTTP server takes all that a connection has, parses all the requests and
//! chunks in it at once, and goes on to do so while the answers to them wait. Fifty
//! bytes of a request take some seven thousand in memory, and a chunk of one byte
//! costs as much as a whole body. So here
//!
//! - nothing is taken while a request is being answered, but for the body that it
//!   waits for, nor while an answer waits for the client to take it;
//! - a turn of the event loop takes the head of one request, and of a body no more
//!   than a portion, in bytes and, where the length is not known, in lines, since
//!   each chunk has a line; who has more [waits for another turn](super::turns);
//! - after the last answer nothing is taken: what comes is thrown away for a moment,
//!   so that the system does not throw away the answer, and the connection ends;
//! - a connection on which nobody is being answered ends after a while, whatever
//!   arrives on it, such as the head of a next request that never ends.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::{Activity, PATIENCE, Stage};
use super::turns::wait_for_turn;

/// How many bytes one turn may take, and some more, as the buffer has room.
const PORTION_BYTES: usize = 16 << 10;
/// How many lines one turn may take.
const PORTION_LINES: usize = 32;
/// How long it is waited, after the last answer, that nothing comes any more.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// A connection that gives its bytes in portions.
pub struct Portions {
    tcp: TcpStream,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
    turn: Turn,
    /// Whether it waits for its next turn.
    waits: Rc<Cell<bool>>,
    /// What was read beyond a turn.
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
            // Many that come together are not read all at once.
            turn: Turn { lines: PORTION_LINES, ..Turn::default() },
            waits: Rc::default(),
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

    /// Whether the HTTP server may take something; `None`: never again. If not, the
    /// task is woken when it may.
    fn may_read(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        match self.activity.stage.get() {
            Stage::Ended | Stage::Dismissed => return None,
            Stage::Waiting { until } if self.is_overdue(until, cx) => return None,
            // It may be ended while it waits.
            Stage::Waiting { .. } => self.activity.wakes(cx.waker()),
            Stage::Answering | Stage::ReadingBody { bytes: Some(0) } => {
                self.activity.wakes(cx.waker());
                return Some(false);
            }
            Stage::ReadingBody { .. } => {}
        }
        if self.turn.is_over() {
            self.turn.begin();
            wait_for_turn(&self.waits, cx.waker());
        }
        Some(!self.is_blocked && !self.waits.get())
    }

    /// How many of these bytes this turn takes.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let stage = self.activity.stage.get();
        if let Stage::ReadingBody { bytes: Some(missing) } = stage {
            let length = bytes.len().min(missing);
            self.turn.bytes += length;
            let left = Some(missing - length);
            self.activity.stage.set(Stage::ReadingBody { bytes: left });
            return length;
        }
        self.turn.take(bytes, matches!(stage, Stage::Waiting { .. }))
    }
}

/// What a turn has taken.
#[derive(Default)]
struct Turn {
    bytes: usize,
    lines: usize,
    /// Whether the line that was not ended yet has nothing in it.
    is_blank: bool,
}

impl Turn {
    fn begin(&mut self) {
        (self.bytes, self.lines) = (0, 0);
    }

    fn is_over(&self) -> bool {
        self.bytes >= PORTION_BYTES || self.lines >= PORTION_LINES
    }

    /// How many bytes it takes of these. A head ends with a blank line: then it takes
    /// no more than what could be a body without a line in it.
    fn take(&mut self, bytes: &[u8], is_head: bool) -> usize {
        let mut length = bytes.len();
        for (index, byte) in bytes.iter().enumerate() {
            if *byte != b'\n' {
                self.is_blank &= *byte == b'\r';
                continue;
            }
            self.lines += 1;
            if is_head && self.is_blank {
                self.lines = self.lines.max(PORTION_LINES - 1);
            }
            self.is_blank = true;
            if self.lines >= PORTION_LINES {
                length = index + 1;
                break;
            }
        }
        self.bytes += length;
        length
    }
}

/// Overwrites an offer to change the protocol with a word of the same length that
/// means nothing, in what was read of a head. The offer may be ignored (RFC 9110
/// §7.8), but the HTTP server ends the connection behind the answer to one.
fn ignore_upgrade(read: &mut [u8]) {
    const NAME: &[u8] = b"connection:";
    for line in read.split_mut(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            return;
        }
        let Some((name, value)) = line.split_at_mut_checked(NAME.len()) else { continue };
        if !name.eq_ignore_ascii_case(NAME) {
            continue;
        }
        for option in value.split_mut(|byte| *byte == b',') {
            let start = option.len() - option.trim_ascii_start().len();
            let end = option.trim_ascii_end().len();
            if start < end && option[start..end].eq_ignore_ascii_case(b"upgrade") {
                option[start..end].copy_from_slice(b"ignored");
            }
        }
    }
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
        if this.held.is_empty() {
            let Poll::Ready(read) = Pin::new(&mut this.tcp).poll_read(cx, buf) else {
                this.turn.begin();
                return Poll::Pending;
            };
            read?;
            let read = &mut buf.filled_mut()[start..];
            if let Stage::Waiting { .. } = this.activity.stage.get() {
                ignore_upgrade(read);
            }
            let length = this.take(read);
            if length < read.len() {
                this.held = Bytes::copy_from_slice(&read[length..]);
                buf.set_filled(start + length);
            }
        } else {
            let held = this.held.slice(..this.held.len().min(buf.remaining()));
            let length = this.take(&held);
            buf.put_slice(&held[..length]);
            this.held.advance(length);
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
            if this.activity.is_dismissed() {
                // No answer is on its way.
                return Poll::Ready(Ok(()));
            }
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
    use actix_web::HttpMessage;
    use actix_web::test::TestRequest;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A connection that has had its first turn, with nothing to take.
    async fn connected() -> (TcpStream, Portions) {
        let (client, mut portions) = new().await;
        assert_eq!(turn(&mut portions).await, b"");
        while portions.waits.get() {
            tokio::task::yield_now().await;
        }
        (client, portions)
    }

    async fn new() -> (TcpStream, Portions) {
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
    fn a_turn_takes_a_head_or_so_many_lines() {
        let lines = |count| "x\n".repeat(count);
        for (bytes, is_head, length) in [
            (String::new(), true, 0),
            ("GET / HTTP/1.1\r\n\r\nbody".into(), true, 22),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(), true, 34),
            ("GET / HTTP/1.1\n\nGET / HTTP/1.1\n\n".into(), true, 31),
            ("\r\n\r\n\r\n".into(), false, 6),
            (lines(40), true, 64),
            (lines(40), false, 64),
        ] {
            assert_eq!(Turn::default().take(bytes.as_bytes(), is_head), length, "{bytes:?}");
        }
        let mut turn = Turn::default();
        assert_eq!(turn.take(b"GET / HTTP/1.1\r", true), 15);
        assert_eq!(turn.take(b"\n\r", true), 2);
        assert_eq!(turn.take(b"\na\nb\n", true), 3);
        assert!(turn.is_over());
    }

    #[test]
    fn an_offer_to_upgrade_is_ignored_in_the_head() {
        let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                    connection:upgrade\r\nX-Connection: upgrade\r\n\r\nconnection: upgrade\n";
        let mut read = head.as_bytes().to_vec();
        ignore_upgrade(&mut read);
        let expected = head.replace(" Upgrade,", " ignored,");
        let expected = expected.replace("\nconnection:upgrade", "\nconnection:ignored");
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        ignore_upgrade(&mut []);
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
    async fn a_new_connection_waits_for_its_turn() {
        let (mut client, mut portions) = new().await;
        client.write_all(b"GET").await.unwrap();
        portions.tcp().readable().await.unwrap();
        assert_eq!(turn(&mut portions).await, b"");
        let mut bytes = [0; 3];
        portions.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"GET");
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
