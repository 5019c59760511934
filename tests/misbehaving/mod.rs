//! An HTTP server that reads requests properly and answers them badly.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with a request once it was read.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with this status and body, and keeps the connection.
    Answer(u16, String),
    /// Answers 200 with a chunked body, so that its length is not announced.
    AnswerInChunks(String),
    /// Closes the connection.
    CloseInsteadOfAnswer,
    /// Resets the connection.
    ResetInsteadOfAnswer,
    /// Closes the connection when half of the answer is sent.
    CloseInsideAnswer,
    /// Says nothing.
    NeverAnswer,
    /// Says nothing more when half of the answer is sent.
    StopInsideAnswer,
}

/// A server with one behaviour, on a free port of the loopback.
pub struct Server {
    url: String,
    connections: Rc<Cell<usize>>,
    writes: Rc<RefCell<Vec<String>>>,
}

impl Server {
    /// Serves until the actix system ends.
    pub async fn start(behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (connections, writes) = (Rc::<Cell<usize>>::default(), Rc::default());
        actix::spawn(accept(listener, behaviour, connections.clone(), Rc::clone(&writes)));
        Server { url, connections, writes }
    }

    /// The base address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// How many requests came that would have changed something.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn writes(&self) -> usize {
        self.writes.borrow().len()
    }

    /// The last of them: method, target and body.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn last_write(&self) -> String {
        self.writes.borrow().last().cloned().unwrap_or_default()
    }
}

async fn accept(
    listener: TcpListener,
    behaviour: Behaviour,
    connections: Rc<Cell<usize>>,
    writes: Rc<RefCell<Vec<String>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.set(connections.get() + 1);
        let (behaviour, writes) = (behaviour.clone(), writes.clone());
        actix::spawn(async move {
            // It ends with an error when the client leaves, as it should.
            let _ = serve(stream, behaviour, &writes).await;
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Behaviour,
    writes: &RefCell<Vec<String>>,
) -> io::Result<()> {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"action\"";
    loop {
        let request = read_request(&mut stream).await?;
        if !request.starts_with("GET ") {
            writes.borrow_mut().push(request);
        }
        match &behaviour {
            Behaviour::Answer(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await?;
            }
            Behaviour::AnswerInChunks(body) => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                stream.write_all(chunk.as_bytes()).await?;
            }
            Behaviour::CloseInsteadOfAnswer => return Ok(()),
            Behaviour::ResetInsteadOfAnswer => return stream.set_zero_linger(),
            Behaviour::CloseInsideAnswer => return stream.write_all(HALF).await,
            Behaviour::NeverAnswer => pending::<()>().await,
            Behaviour::StopInsideAnswer => {
                stream.write_all(HALF).await?;
                pending::<()>().await;
            }
        }
    }
}

/// Reads one request; gives its method, target and body.
async fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let line: Vec<&str> = head.split(' ').take(2).collect();
    Ok(format!("{} {}", line.join(" "), String::from_utf8_lossy(&body)))
}
