//! The links between replicas: what is answered, what is known not to have
//! been sent, what may be lost, and how soon a link works again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, ResponseFuture};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use futures::future::join_all;
use gryadka::actors::{Chaos, ReplicaLinks, ReplicaPeers, ServeReplica};
use gryadka::http::{PeerState, peer_routes};
use gryadka::identity::ClusterId;
use gryadka::kv::{Command, Key};
use gryadka::raft::{Call, Lane, Message, Peers, Reply, Unanswered};
use gryadka::transport::{BatchReplies, Passed, encode};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

/// Answers a submit with its key, and a read index never.
struct FakeReplica;

impl Actor for FakeReplica {
    type Context = Context<Self>;
}

impl Handler<ServeReplica> for FakeReplica {
    type Result = ResponseFuture<Vec<Reply>>;

    fn handle(
        &mut self,
        ServeReplica { from, calls }: ServeReplica,
        _: &mut Context<Self>,
    ) -> Self::Result {
        assert_eq!(from, 1);
        Box::pin(join_all(calls.into_iter().map(async |message| match message.call {
            Call::Submit { key, .. } => Reply::Refused(key.to_string()),
            Call::ReadIndex => futures::future::pending().await,
            Call::Hello => Reply::Noted,
            other => panic!("nobody asks {other:?} here"),
        })))
    }
}

/// Starts the node of replica 2.
fn serve(address: SocketAddr) -> (SocketAddr, ServerHandle) {
    let state = web::Data::new(PeerState {
        cluster: "test".into(),
        node: "p2".into(),
        acceptor: None,
        overtaken: None,
        replica: Some((2, FakeReplica.start().recipient())),
        chaos: Chaos::default(),
    });
    let routes = move || App::new().app_data(state.clone()).configure(peer_routes);
    let server =
        HttpServer::new(routes).workers(1).disable_signals().bind(address).expect("a port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix::spawn(server);
    (address, handle)
}

/// A port at an address of its own: once it is free, nobody else gets it.
fn any_port() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    SocketAddr::from(([127, 0, 91, COUNT.fetch_add(1, Ordering::Relaxed)], 0))
}

fn peers() -> ReplicaPeers {
    ReplicaPeers::new(ReplicaLinks::new("test", "p1", 1, Chaos::default()).start())
}

fn message(call: Call) -> Message {
    Message { cluster: ClusterId::new(7), call }
}

fn submit(key: &str) -> Message {
    let key = Key::try_from(key).unwrap();
    message(Call::Submit { key, submission: Command::Get.into(), patience_ms: 1000 })
}

/// Asks replica 2 at an address for a sign of life.
async fn hello(
    peers: &ReplicaPeers,
    address: SocketAddr,
    patience: Duration,
) -> Result<Reply, Unanswered> {
    peers.call(2, &format!("http://{address}"), Lane::Control, message(Call::Hello), patience).await
}

/// Says hello every 20 ms, as heartbeats do, until it is answered.
async fn heard_again_within(peers: &ReplicaPeers, address: SocketAddr) -> Duration {
    let started = Instant::now();
    while hello(peers, address, SHORT).await.is_err() {
        assert!(started.elapsed() < LONG, "replica 2 is not heard again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

#[actix::test]
async fn each_call_gets_its_own_reply() {
    let (address, _server) = serve(any_port());
    let (peers, url) = (peers(), format!("http://{address}"));
    let calls = (0..2000).map(|number| {
        let call = peers.call(2, &url, Lane::Forward, submit(&number.to_string()), LONG);
        async move {
            let reply = call.await.expect("a reply");
            assert!(
                matches!(&reply, Reply::Refused(key) if *key == number.to_string()),
                "{reply:?}"
            );
        }
    });
    join_all(calls).await;
}

#[actix::test]
async fn what_finds_no_connection_is_not_sent() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = hello(&peers(), address, LONG).await;
    assert!(
        matches!(&refused, Err(Unanswered::NotSent(why)) if why.contains("refused")),
        "{refused:?}"
    );
}

#[actix::test]
async fn what_a_silent_node_has_taken_is_lost() {
    let network = Network::to(any_port());
    network.cut();
    let peers = peers();
    let started = Instant::now();
    let lost = hello(&peers, network.address, SHORT).await;
    assert!(matches!(&lost, Err(Unanswered::Lost(_))), "{lost:?}");
    assert!(started.elapsed() < SHORT + SHORT, "{:?}", started.elapsed());
}

#[actix::test]
async fn what_is_under_way_when_a_node_dies_is_lost_at_once() {
    let address = each_connection(|stream| assert!(read_request(&stream)));
    let lost = hello(&peers(), address, LONG).await;
    assert!(matches!(&lost, Err(Unanswered::Lost(why)) if why.contains("http://")), "{lost:?}");
}

#[actix::test]
async fn a_node_that_hangs_up_between_calls_loses_none() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let address = each_connection(move |mut stream| {
        count.fetch_add(1, Ordering::Relaxed);
        read_request(&stream);
        let body = encode(&BatchReplies::Replica(vec![Passed::Now(Reply::Noted)]));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
    let peers = peers();
    for number in 1..=5 {
        assert!(matches!(hello(&peers, address, LONG).await, Ok(Reply::Noted)));
        assert_eq!(connections.load(Ordering::Relaxed), number);
        // The end of the connection may come a little after the reply.
        tokio::time::sleep(SHORT).await;
    }
}

#[actix::test]
async fn another_address_is_another_connection() {
    let ((old, server), (new, _)) = (serve(any_port()), serve(any_port()));
    let peers = peers();
    assert!(hello(&peers, old, LONG).await.is_ok());
    server.stop(false).await;
    assert!(hello(&peers, new, LONG).await.is_ok());
    assert!(matches!(hello(&peers, old, LONG).await, Err(Unanswered::NotSent(_))));
}

#[actix::test]
async fn a_node_that_comes_back_is_heard_at_once() {
    let (address, server) = serve(any_port());
    let peers = peers();
    assert!(hello(&peers, address, LONG).await.is_ok());
    server.stop(false).await;
    for _ in 0..10 {
        assert!(hello(&peers, address, SHORT).await.is_err());
    }
    let _server = serve(address);
    let away = heard_again_within(&peers, address).await;
    assert!(away < Duration::from_millis(300), "{away:?}");
}

/// Packets vanish: connections that stood are dead and nobody says so.
#[actix::test]
async fn a_dead_connection_takes_no_second_batch_with_it() {
    let (address, _server) = serve(any_port());
    let network = Network::to(address);
    let peers = peers();
    assert!(hello(&peers, network.address, LONG).await.is_ok());
    network.cut();
    // As many as are under way at once, and some that wait for them.
    let hanging = (0..6).map(|_| {
        let url = format!("http://{}", network.address);
        peers.call(2, &url, Lane::Control, message(Call::ReadIndex), LONG)
    });
    let hanging = actix::spawn(join_all(hanging));
    for _ in 0..5 {
        assert!(hello(&peers, network.address, SHORT).await.is_err());
    }
    network.heal();
    let away = heard_again_within(&peers, network.address).await;
    assert!(away < ReplicaPeers::CONTROL_PATIENCE, "{away:?}");
    for lost in hanging.await.unwrap() {
        assert!(matches!(&lost, Err(Unanswered::Lost(_))), "{lost:?}");
    }
}

/// A listener whose backlog is full drops what asks for a connection, as a cut
/// network does.
#[actix::test]
async fn connecting_is_given_up_and_begun_anew() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&any_port().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let _fills = TcpStream::connect(address).unwrap();
    let peers = peers();
    let url = format!("http://{address}");
    let started = Instant::now();
    let not_sent = peers.call(2, &url, Lane::Forward, submit("k"), LONG).await;
    assert!(matches!(&not_sent, Err(Unanswered::NotSent(_))), "{not_sent:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    for _ in 0..10 {
        assert!(hello(&peers, address, SHORT).await.is_err());
    }
    std::thread::spawn(move || {
        for stream in listener.incoming().skip(1) {
            std::thread::spawn(move || answer_hellos(stream.unwrap()));
        }
    });
    let away = heard_again_within(&peers, address).await;
    assert!(away < Duration::from_millis(500), "{away:?}");
}

#[actix::test]
async fn heartbeats_do_not_wait_behind_entries() {
    let (address, _server) = serve(any_port());
    let (peers, url) = (peers(), format!("http://{address}"));
    let log: Vec<_> = (0..20)
        .map(|_| actix::spawn(peers.call(2, &url, Lane::Log, message(Call::ReadIndex), LONG)))
        .collect();
    for _ in 0..20 {
        let started = Instant::now();
        assert!(hello(&peers, address, LONG).await.is_ok());
        assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());
    }
    assert!(log.iter().all(|call| !call.is_finished()));
}

#[actix::test]
async fn calls_for_another_replica_are_refused() {
    let (address, _server) = serve(any_port());
    let url = format!("http://{address}");
    let refused = peers().call(3, &url, Lane::Control, message(Call::Hello), LONG).await;
    let needle = "node p1 wants replica 3, but node p2 runs 2";
    assert!(matches!(&refused, Err(Unanswered::Lost(why)) if why.contains(needle)), "{refused:?}");
}

/// Reads the head and the body of a request; false when there is none.
fn read_request(mut stream: &TcpStream) -> bool {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) | Err(_) => return false,
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).is_ok()
}

fn answer_hellos(mut stream: TcpStream) {
    let body = encode(&BatchReplies::Replica(vec![Passed::Now(Reply::Noted)]));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    while read_request(&stream) {
        if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// A server that does this with each connection.
fn each_connection(mut act: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| act(stream.unwrap())));
    address
}

/// A network before a node. Connections that stand when it is cut, and those
/// made while it is, pass nothing on for ever and are not closed.
struct Network {
    address: SocketAddr,
    /// Odd while it is cut.
    cuts_and_heals: Arc<AtomicUsize>,
}

impl Network {
    fn to(node: SocketAddr) -> Network {
        let state = Arc::new(AtomicUsize::new(0));
        let now = state.clone();
        let address = each_connection(move |from| {
            let (born, state) = (now.load(Ordering::SeqCst), now.clone());
            let passes = move || born % 2 == 0 && state.load(Ordering::SeqCst) == born;
            let to = (born % 2 == 0).then(|| TcpStream::connect(node).expect("the node listens"));
            let back = to.as_ref().map(|to| (to.try_clone().unwrap(), from.try_clone().unwrap()));
            let also_passes = passes.clone();
            std::thread::spawn(move || pump(from, to, passes));
            if let Some((from, to)) = back {
                std::thread::spawn(move || pump(from, Some(to), also_passes));
            }
        });
        Network { address, cuts_and_heals: state }
    }

    fn cut(&self) {
        assert_eq!(self.cuts_and_heals.fetch_add(1, Ordering::SeqCst) % 2, 0);
    }

    fn heal(&self) {
        assert_eq!(self.cuts_and_heals.fetch_add(1, Ordering::SeqCst) % 2, 1);
    }
}

/// Passes bytes on as long as they pass, and swallows the rest.
fn pump(mut from: TcpStream, mut to: Option<TcpStream>, passes: impl Fn() -> bool) {
    let mut bytes = [0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if let (true, Some(to)) = (passes(), &mut to) {
            to.write_all(&bytes[..length]).expect("it passes");
        }
    }
}
