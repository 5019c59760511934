//! A listing of many pages takes its time; one whose acceptor is silent ends.

use std::time::{Duration, Instant};

use actix::{Actor, Arbiter};
use gryadka::actors::{
    Acceptor, AcceptorLink, AcceptorParty, Chaos, Destination, LinkTo, Proposer, ProposerView,
    Service, Shards, Storage,
};
use gryadka::caspaxos::{AcceptorId, Call, Configuration, Epoch, Reply, Request, Settings};
use gryadka::kv::{Command, Consistency, Key, Refusal};
use gryadka::store::{AcceptorStore, MemoryStore, StoreError};

/// A store that takes its time for each page.
struct SlowStore {
    store: MemoryStore,
    per_page: Duration,
}

impl AcceptorStore for SlowStore {
    fn serve(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        if calls.iter().any(|call| matches!(call.request, Request::List(_))) {
            std::thread::sleep(self.per_page);
        }
        self.store.serve(calls)
    }
}

/// A proposer with one acceptor, of that store.
fn service(per_page: Duration) -> Service {
    let id = AcceptorId::from("a1");
    let store = SlowStore { store: MemoryStore::default(), per_page };
    let (storage, _) = Storage::start(id.clone(), Box::new(store)).unwrap();
    let acceptor = Acceptor::new(storage).start();
    let link_to: LinkTo = Box::new(move |id, _, proposer| {
        let destination = Destination::Driven(acceptor.clone());
        let (chaos, names) = (Chaos::default(), ("test", "p1"));
        AcceptorLink::new(AcceptorParty::new(
            names,
            id.clone(),
            destination,
            chaos,
            proposer.recipient(),
        ))
    });
    let configuration = Configuration::uniform(Epoch(1), &[id], 1, 1);
    let view = ProposerView::new(None, configuration);
    let (arbiter, id) = (Arbiter::current(), "p1".parse().unwrap());
    let proposer = Proposer::start_on(&arbiter, id, view, None, link_to, Settings::default());
    Service::new(Shards::of(std::slice::from_ref(&proposer)), proposer.recipient())
}

async fn list(service: &Service) -> Result<usize, Refusal> {
    service.list("d/".into(), Consistency::Linearizable, |listed| listed.records.len()).await
}

#[actix::test]
async fn a_listing_goes_on_as_long_as_pages_come() {
    let service = service(Duration::from_millis(600));
    for i in 0..6 {
        let key = Key::try_from(format!("d/{i}").as_str()).unwrap();
        let value = vec![b'v'; 64 << 10].into();
        service.submit(key, Command::Set(value)).await.unwrap();
    }
    let started = Instant::now();
    assert_eq!(list(&service).await, Ok(6));
    assert!(started.elapsed() > Service::PATIENCE, "{:?}", started.elapsed());
}

#[actix::test]
async fn a_listing_whose_acceptor_is_silent_ends() {
    let service = service(Duration::from_secs(6));
    let started = Instant::now();
    assert!(matches!(list(&service).await, Err(Refusal::Failed(_))));
    assert!(started.elapsed() < Service::PATIENCE + Duration::from_secs(1));
}
