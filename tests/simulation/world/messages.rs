//! What is said: requests to acceptors, what they make of them, and what becomes
//! of each message on its way.

use gryadka::caspaxos::{AcceptorId, Call, Event, Reply, Token};
use rand::Rng;

use super::super::acceptor::Served;
use super::super::network::Fate;
use super::{Happening, World};

impl World {
    /// Sends a request of a life of a proposer, or of the operator, that is on
    /// its way after a while.
    pub(super) fn send(
        &mut self,
        (asker, life): (usize, u64),
        wait: u64,
        to: AcceptorId,
        token: Token,
        call: Call,
    ) {
        let acceptor = self.names.iter().position(|name| *name == to).expect("it is listed");
        let fate = self.network.request(&mut self.random, asker, acceptor);
        self.deliver(fate, Some(call), |world, after, call| {
            let token = token.clone();
            let happening = match call {
                Some(call) => Happening::Request { asker, life, acceptor, token, call },
                None => Happening::Reply { asker, life, acceptor, token, reply: None },
            };
            world.plan(wait + after, happening);
        });
    }

    pub(super) fn on_request(
        &mut self,
        asker: usize,
        life: u64,
        acceptor: usize,
        token: Token,
        call: Call,
    ) -> Result<(), String> {
        if self.acceptors[acceptor].is_down {
            return Ok(());
        }
        self.note(|_| format!("a{} serves p{asker}: {call:?}", acceptor + 1));
        self.tell_neighbour(asker, acceptor, &call)?;
        let served = self.acceptors[acceptor].serve(self.flaw, &call, (asker, life, token))?;
        self.on_served(acceptor, served);
        match self.crashes_now() {
            true => self.crash_acceptor_for_a_while(acceptor),
            false => Ok(()),
        }
    }

    /// The proposer beside an acceptor hears which ballots others ask it for.
    fn tell_neighbour(&mut self, asker: usize, acceptor: usize, call: &Call) -> Result<(), String> {
        let neighbour = acceptor % self.proposers.len();
        let claims = call.request.claims().filter(|_| neighbour != asker);
        let Some((key, by)) = claims.filter(|_| self.parameters.has_neighbours) else {
            return Ok(());
        };
        self.statistics.overtakings_told += 1;
        let life = self.proposers[neighbour].life;
        self.give(neighbour, life, Event::Overtaken { key: key.clone(), by })
    }

    /// Whether somebody crashes at this very point.
    pub(super) fn crashes_now(&mut self) -> bool {
        !self.is_settling && self.random.random_bool(self.parameters.crash_point)
    }

    pub(super) fn on_served(&mut self, acceptor: usize, served: Served) {
        if served.begins_sync {
            let fsync = self.parameters.fsync;
            let after = if self.is_settling { fsync.0 } else { fsync.draw(&mut self.random) };
            let life = self.acceptors[acceptor].life;
            self.plan(after, Happening::Synced { acceptor, life });
        }
        for answer in served.answers {
            let (asker, life, token) = (answer.asker, answer.life, answer.token);
            self.statistics.fenced += u64::from(matches!(answer.reply, Reply::Fenced(_)));
            self.statistics.registers_removed +=
                u64::from(answer.reply == Reply::Removed { is_gone: true });
            self.note(|_| format!("a{} answers p{asker}: {:?}", acceptor + 1, answer.reply));
            let fate = self.network.reply(&mut self.random, asker, acceptor);
            let plan = |world: &mut World, after, reply| {
                let token = token.clone();
                world.plan(after, Happening::Reply { asker, life, acceptor, token, reply });
            };
            self.deliver(fate, Some(answer.reply), plan);
        }
    }

    /// Plans what becomes of a message; a told loss is a message of `None`.
    fn deliver<M: Clone>(
        &mut self,
        fate: Fate,
        message: Option<M>,
        plan: impl Fn(&mut World, u64, Option<M>),
    ) {
        self.statistics.messages += 1;
        match fate {
            Fate::Arrives(first, second) => {
                if let Some(second) = second {
                    self.statistics.messages_duplicated += 1;
                    plan(self, second, message.clone());
                }
                plan(self, first, message);
            }
            Fate::Lost(told) => {
                self.statistics.messages_lost += 1;
                if let Some(after) = told {
                    plan(self, after, None);
                }
            }
        }
    }
}
