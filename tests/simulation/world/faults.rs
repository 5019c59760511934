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
        let kinds = if self.parameters.only_acceptors_crash { 4 } else { 10 };
        match self.random.random_range(0..kinds) {
            0..4 => {
                let acceptor = self.random.random_range(0..self.acceptors.len());
                self.crash_acceptor(acceptor, outage)
            }
            4..7 => {
                let proposer = self.random.random_range(0..self.proposers.len());
                self.crash_proposer(proposer, outage);
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

    fn crash_acceptor(&mut self, acceptor: usize, outage: u64) -> Result<(), String> {
        if self.acceptors[acceptor].is_down {
            return Ok(());
        }
        let batch_survives = self.random.random_bool(0.5);
        self.note(|_| format!("a{} crashes; its batch survives: {batch_survives}", acceptor + 1));
        self.statistics.acceptor_crashes += 1;
        self.acceptors[acceptor].crash(batch_survives)?;
        self.plan(outage, Happening::AcceptorRestarts(acceptor));
        Ok(())
    }

    fn crash_proposer(&mut self, proposer: usize, outage: u64) {
        if self.proposers[proposer].is_down {
            return;
        }
        self.note(|_| format!("p{proposer} crashes"));
        self.statistics.proposer_crashes += 1;
        for id in self.proposers[proposer].crash() {
            self.on_answer(id, Err(Failure::Unknown));
        }
        self.plan(outage, Happening::ProposerRestarts(proposer));
    }
}
