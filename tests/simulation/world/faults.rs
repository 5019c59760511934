//! Who crashes, and which links are cut.

use gryadka::caspaxos::Failure;
use rand::Rng;

use super::{Happening, World};

impl World {
    pub(super) fn plan_fault(&mut self) {
        if let Some(span) = self.parameters.fault {
            let after = span.draw(&mut self.random);
            self.plan(after, Happening::Fault);
        }
    }

    pub(super) fn on_fault(&mut self) -> Result<(), String> {
        if self.is_settling {
            return Ok(());
        }
        self.plan_fault();
        let outage = self.parameters.outage.draw(&mut self.random);
        let acceptor = self.random.random_range(0..self.acceptors.len());
        self.call_of_a_stranger(acceptor)?;
        if self.has_copies() && self.random.random_ratio(1, 8) {
            return self.put_back_copy(acceptor, outage);
        }
        let kinds = if self.parameters.only_acceptors_crash { 4 } else { 10 };
        match self.random.random_range(0..kinds) {
            0 => self.replace_disk(acceptor, outage),
            1..4 => {
                let acceptor = self.random.random_range(0..self.acceptors.len());
                self.crash_acceptor(acceptor, outage)
            }
            4..7 => {
                let proposer = self.random.random_range(0..self.proposers.len());
                match self.random.random_bool(self.parameters.sleeps) {
                    true => self.put_to_sleep(proposer, outage),
                    false => self.crash_proposer(proposer, outage),
                }
            }
            7 if self.parameters.changes.is_some() => {
                self.crash_operator(outage);
                Ok(())
            }
            _ => {
                self.note(|_| "links are cut".to_string());
                self.statistics.network_cuts += 1;
                self.network.cut(&mut self.random);
                self.plan(outage, Happening::NetworkMends);
                Ok(())
            }
        }
    }

    pub(super) fn crash_acceptor(&mut self, acceptor: usize, outage: u64) -> Result<(), String> {
        if self.acceptors[acceptor].is_down {
            return Ok(());
        }
        let writes = self.acceptors[acceptor].writes_under_way();
        let survivors = self.random.random_range(0..=writes);
        self.note(|_| format!("a{} crashes; {survivors} of {writes} writes survive", acceptor + 1));
        self.statistics.acceptor_crashes += 1;
        self.acceptors[acceptor].crash(self.flaw, survivors)?;
        self.plan(outage, Happening::AcceptorRestarts(acceptor));
        Ok(())
    }

    /// Crashes it, in the middle of something.
    pub(super) fn crash_acceptor_for_a_while(&mut self, acceptor: usize) -> Result<(), String> {
        let outage = self.parameters.outage.draw(&mut self.random);
        self.crash_acceptor(acceptor, outage)
    }

    /// Crashes it, in the middle of something.
    pub(super) fn crash_proposer_for_a_while(&mut self, proposer: usize) -> Result<(), String> {
        let outage = self.parameters.outage.draw(&mut self.random);
        self.crash_proposer(proposer, outage)
    }

    /// Its process stands still; messages and timers wait.
    fn put_to_sleep(&mut self, proposer: usize, outage: u64) -> Result<(), String> {
        if !self.proposers[proposer].is_down {
            let outage = outage * self.random.random_range(1..=5);
            self.note(|_| format!("p{proposer} sleeps for {outage}"));
            self.statistics.proposers_asleep += 1;
            self.proposers[proposer].sleeps_until = self.now + outage;
        }
        Ok(())
    }

    fn crash_proposer(&mut self, proposer: usize, outage: u64) -> Result<(), String> {
        if self.proposers[proposer].is_down {
            return Ok(());
        }
        self.note(|_| format!("p{proposer} crashes"));
        self.statistics.proposer_crashes += 1;
        let unanswered = self.proposers[proposer].crash();
        self.plan(outage, Happening::ProposerRestarts(proposer));
        unanswered.into_iter().try_for_each(|id| self.on_answer(id, Err(Failure::Unknown)))
    }
}
