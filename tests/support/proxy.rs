//! A server in front of a node that does not pass every answer on.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::own_address;

/// Forwards requests to a node. Each answer of the node is shown to a judge;
/// one that it keeps back is lost to the client, whose connection ends.
pub struct Proxy {
    url: String,
    lost: Arc<AtomicUsize>,
}

/// Whether an answer of the node is passed on.
type Judge = Mutex<dyn FnMut(&[u8]) -> bool + Send>;

impl Proxy {
    /// Serves in front of the node at `host` until the test ends.
    pub fn start(host: String, judge: impl FnMut(&[u8]) -> bool + Send + 'static) -> Proxy {
        let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let lost: Arc<AtomicUsize> = Arc::default();
        let count = lost.clone();
        let judge: Arc<Judge> = Arc::new(Mutex::new(judge));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (host, judge, lost) = (host.clone(), judge.clone(), count.clone());
                // It ends with an error when either side leaves, as it should.
                std::thread::spawn(move || forward(stream, &host, &judge, &lost));
            }
        });
        Proxy { url, lost }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many answers were kept back.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

fn forward(mut client: TcpStream, host: &str, judge: &Judge, lost: &AtomicUsize) -> io::Result<()> {
    let mut node = TcpStream::connect(host)?;
    for stream in [&client, &node] {
        stream.set_nodelay(true)?;
    }
    loop {
        node.write_all(&read_message(&mut client)?)?;
        let answer = read_message(&mut node)?;
        if !(judge.lock().expect("no judge panics"))(&answer) {
            lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        client.write_all(&answer)?;
    }
}

/// Reads one request or answer, its body included.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let head_end = loop {
        if let Some(at) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut message)?;
    };
    let head = String::from_utf8_lossy(&message[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    while message.len() < head_end + length {
        read_more(stream, &mut message)?;
    }
    Ok(message)
}

fn read_more(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            message.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}
