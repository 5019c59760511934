//! Actors each of which serves a part of the keys.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

use crate::kv::Key;

/// The ways to actors that share the keys among them: a key always goes to the
/// same one.
pub struct Shards<M: Message + Send>(Arc<[Recipient<M>]>)
where
    M::Result: Send;

impl<M: Message + Send + 'static> Shards<M>
where
    M::Result: Send,
{
    /// The ways to these actors, of which there is one at least.
    pub fn of<A>(actors: &[Addr<A>]) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        Shards(actors.iter().map(|actor| actor.clone().recipient()).collect())
    }

    /// Sends a message about a key to the actor that serves it.
    pub fn send(&self, key: &Key, message: M) {
        self.0[self.place_of(key)].do_send(message);
    }

    /// Sends each actor what concerns its keys, in one message.
    pub fn send_each<T>(
        &self,
        all: impl Iterator<Item = (Key, T)>,
        message: impl Fn(Vec<(Key, T)>) -> M,
    ) {
        let mut parts: Vec<Vec<(Key, T)>> = self.0.iter().map(|_| Vec::new()).collect();
        all.for_each(|(key, each)| parts[self.place_of(&key)].push((key, each)));
        for (actor, part) in self.0.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            actor.do_send(message(part));
        }
    }

    fn place_of(&self, key: &Key) -> usize {
        if self.0.len() == 1 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % self.0.len() as u64) as usize
    }
}

impl<M: Message + Send> Clone for Shards<M>
where
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Shards(self.0.clone())
    }
}

impl<M: Message + Send + 'static> From<Recipient<M>> for Shards<M>
where
    M::Result: Send,
{
    fn from(only: Recipient<M>) -> Self {
        Shards(Arc::new([only]))
    }
}
