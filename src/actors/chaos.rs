//! What a node does to its own messages where its deployment allows chaos:
//! each node applies its row of the connection matrix to what it sends.
//!
//! It is kept in memory alone, so a node that is started again is healthy.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use serde::Serialize;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

use crate::transport::{ConnectionMatrix, Passed, Verdict};

/// The chaos of a node; clones share it. The default is none: everything
/// arrives, and that cannot be changed.
#[derive(Clone, Default)]
pub struct Chaos(Option<Arc<State>>);

struct State {
    node: String,
    from_anywhere: bool,
    matrix: RwLock<Option<Arc<Installed>>>,
    /// No message leaves or comes in, and clients' connections end.
    is_cut: AtomicBool,
    clients: Mutex<Clients>,
}

/// The connections of clients, so that they can be ended.
#[derive(Default)]
struct Clients {
    sockets: HashMap<u64, Socket>,
    last: u64,
}

/// A matrix in force.
struct Installed {
    matrix: ConnectionMatrix,
    /// The row of this node.
    own: usize,
    /// By place of the other node.
    counts: Vec<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
}

/// The messages between this node and another since the matrix is in force:
/// requests and replies, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// That were to be sent there.
    pub sent: u64,
    /// Of those, dropped.
    pub dropped: u64,
    /// That came from there.
    pub received: u64,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub enum Toward<'a> {
    /// An actor of this node.
    Here,
    /// The node that is reached at this base URL.
    Peer(&'a str),
    /// The node of this name.
    Node(&'a str),
}

/// Why a matrix was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChaosError {
    /// The deployment does not allow it.
    #[error(
        "chaos is off at this node; write \"chaos\": true into its deployment and start it anew"
    )]
    IsOff,
    /// Only who asks from the same machine may have it.
    #[error(
        "chaos is for this machine alone, not for {0}; write \"chaos\": \"anywhere\" into the \
         deployment and start the node anew"
    )]
    NotFromThere(IpAddr),
    /// It says nothing of this node.
    #[error("node {0} is not in the matrix")]
    Stranger(String),
    /// It has a newer one, or another of this version.
    #[error("the node has version {found} already; read it, and send a higher one")]
    Outdated {
        /// The version in force.
        found: u64,
    },
}

/// A client's connection, for as long as it lasts.
pub struct ClientConnection {
    chaos: Arc<State>,
    number: u64,
}

impl Chaos {
    /// For a node where chaos is allowed; from this machine alone, unless from
    /// anywhere.
    pub fn allowed(node: &str, from_anywhere: bool) -> Chaos {
        Chaos(Some(Arc::new(State {
            node: node.to_owned(),
            from_anywhere,
            matrix: RwLock::default(),
            is_cut: AtomicBool::default(),
            clients: Mutex::default(),
        })))
    }

    fn state(&self) -> Result<&Arc<State>, ChaosError> {
        self.0.as_ref().ok_or(ChaosError::IsOff)
    }

    /// Whether who asks from an address may have it.
    pub fn admit(&self, from: Option<IpAddr>) -> Result<(), ChaosError> {
        let state = self.state()?;
        match from.map(|ip| ip.to_canonical()) {
            Some(ip) if !ip.is_loopback() && !state.from_anywhere => {
                Err(ChaosError::NotFromThere(ip))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Puts a matrix in force.
    pub fn install(&self, matrix: ConnectionMatrix) -> Result<(), ChaosError> {
        let state = self.state()?;
        let stranger = || ChaosError::Stranger(state.node.clone());
        let own = matrix.place_of(&state.node).ok_or_else(stranger)?;
        let mut installed = state.matrix.write().expect(UNPOISONED);
        if let Some(found) = installed.as_ref().map(|installed| installed.matrix.version)
            && found >= matrix.version
        {
            return Err(ChaosError::Outdated { found });
        }
        let counts = matrix.nodes().iter().map(|_| Counts::default()).collect();
        *installed = Some(Arc::new(Installed { matrix, own, counts }));
        Ok(())
    }

    /// The matrix in force, if there is one, and the messages since then by
    /// place of the other node.
    pub fn matrix(&self) -> Result<Option<(ConnectionMatrix, Vec<MessageCounts>)>, ChaosError> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(self.state()?.installed().map(|installed| {
            let counts = installed.counts.iter().map(|counts| MessageCounts {
                sent: read(&counts.sent),
                dropped: read(&counts.dropped),
                received: read(&counts.received),
            });
            (installed.matrix.clone(), counts.collect())
        }))
    }

    /// Cuts the node off from the other nodes and from its clients, or ends
    /// that.
    pub fn cut(&self, is_cut: bool) -> Result<(), ChaosError> {
        let state = self.state()?;
        state.is_cut.store(is_cut, Ordering::SeqCst);
        if is_cut {
            let clients = state.clients.lock().expect(UNPOISONED);
            clients.sockets.values().for_each(end);
        }
        Ok(())
    }

    /// Whether the node is cut off.
    pub fn is_cut(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.is_cut())
    }

    /// Whether anything can happen to messages.
    pub fn is_in_force(&self) -> bool {
        let Some(state) = &self.0 else { return false };
        state.is_cut() || state.installed().is_some_and(|on| !on.matrix.is_healthy())
    }

    /// What becomes of a message from here.
    pub fn verdict(&self, to: Toward<'_>) -> Verdict {
        self.0.as_ref().map_or(Verdict::Deliver, |state| state.verdict(to))
    }

    /// A reply on its way.
    pub fn pass<Reply>(&self, to: Toward<'_>, reply: Reply) -> Passed<Reply> {
        match self.verdict(to) {
            Verdict::Deliver => Passed::Now(reply),
            Verdict::Delay(after) => {
                let after_us = after.as_micros().try_into().unwrap_or(u32::MAX);
                Passed::Later { after_us, reply }
            }
            Verdict::Drop => Passed::Lost,
        }
    }

    /// Counts the replies that came.
    pub fn note_received<Reply>(&self, from: Toward<'_>, replies: &[Passed<Reply>]) {
        if self.0.is_some() {
            let came = replies.iter().filter(|passed| !matches!(passed, Passed::Lost));
            self.note_messages(from, came.count());
        }
    }

    /// Counts messages that came.
    pub fn note_messages(&self, from: Toward<'_>, messages: usize) {
        let Some(state) = &self.0 else { return };
        let Some(installed) = state.installed() else { return };
        if let Some(place) = installed.place(from) {
            installed.counts[place].received.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }

    /// Takes a client's connection in, which ends when the node is cut off.
    /// Nothing where there is no chaos.
    pub fn note_client(&self, stream: &TcpStream) -> Option<ClientConnection> {
        let state = self.0.as_ref()?;
        let socket = SockRef::from(stream).try_clone().ok()?;
        let mut clients = state.clients.lock().expect(UNPOISONED);
        if state.is_cut() {
            end(&socket);
            return None;
        }
        clients.last += 1;
        let number = clients.last;
        clients.sockets.insert(number, socket);
        Some(ClientConnection { chaos: state.clone(), number })
    }
}

const UNPOISONED: &str = "nothing panics while it holds the lock";

fn end(socket: &Socket) {
    // One that has ended by itself cannot be ended.
    let _ = socket.shutdown(Shutdown::Both);
}

impl State {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    fn installed(&self) -> Option<Arc<Installed>> {
        self.matrix.read().expect(UNPOISONED).clone()
    }

    fn verdict(&self, to: Toward<'_>) -> Verdict {
        if self.is_cut() {
            return Verdict::Drop;
        }
        let Some(installed) = self.installed() else { return Verdict::Deliver };
        let Some(place) = installed.place(to) else { return Verdict::Deliver };
        let verdict = installed.matrix.verdict(installed.own, place, rand::random());
        let counts = &installed.counts[place];
        counts.sent.fetch_add(1, Ordering::Relaxed);
        if verdict == Verdict::Drop {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }
}

impl Installed {
    fn place(&self, of: Toward<'_>) -> Option<usize> {
        match of {
            Toward::Here => Some(self.own),
            Toward::Peer(url) => self.matrix.place_of_peer(url),
            Toward::Node(name) => self.matrix.place_of(name),
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.chaos.clients.lock().expect(UNPOISONED).sockets.remove(&self.number);
    }
}
