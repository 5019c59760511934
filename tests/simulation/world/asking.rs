//! Clients ask and are answered; the history takes note.

use std::time::Duration;

use gryadka::caspaxos::{CommandId, Event, Failure};
use gryadka::kv::{Command, Compare, Key, Outcome, Record};
use gryadka::perseus::{End, Observation};
use rand::Rng;
use rand::rngs::SmallRng;

use super::super::seeds::draw_command;
use super::{Happening, Running, World};

impl World {
    pub(super) fn on_client(&mut self, client: usize) -> Result<(), String> {
        if self.is_settling || self.history.operations().len() >= self.parameters.operations {
            return Ok(());
        }
        let home = match self.parameters.is_sticky {
            true => self.clients[client].home,
            false => self.random.random_range(0..self.proposers.len()),
        };
        if self.proposers[home].is_down {
            self.plan(1_000, Happening::ClientWakes(client));
            return Ok(());
        }
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        let number = self.history.operations().len() as u64 + 1;
        let nothing = Record::default();
        let seen = self.clients[client].seen.get(&key).unwrap_or(&nothing);
        let weights = &self.parameters.weights;
        let command = draw_command(&mut self.random, weights, seen, number, draw_compare);
        let patience = self.parameters.deadline.draw(&mut self.random);
        self.submit(client, home, key, command, patience)
    }

    pub(super) fn submit(
        &mut self,
        client: usize,
        proposer: usize,
        key: Key,
        command: Command,
        patience: u64,
    ) -> Result<(), String> {
        self.step += 1;
        let id = self.history.operations().len() as u64;
        let operation = self.history.call(client as u64, key.clone(), command.clone(), self.step);
        self.note(|_| format!("client {client} asks p{proposer} as {id}: {key} {command:?}"));
        self.running.insert(id, Running { operation, client, key: key.clone() });
        self.proposers[proposer].serving.insert(id);
        self.statistics.operations += 1;
        let deadline = Duration::from_micros(self.now + patience);
        let life = self.proposers[proposer].life;
        self.give(
            proposer,
            life,
            Event::Submitted { id, key, submission: command.into(), deadline },
        )
    }

    pub(super) fn on_answer(&mut self, id: CommandId, result: Result<Outcome, Failure>) {
        self.step += 1;
        self.note(|_| format!("command {id} ends: {result:?}"));
        let Some(Running { operation, client, key }) = self.running.remove(&id) else { return };
        let (count, end) = match &result {
            Ok(outcome) => {
                let observation = Observation::from(outcome);
                (&mut self.statistics.done, End::Returned { at: self.step, observation })
            }
            Err(Failure::Failed | Failure::StaleConfiguration(_)) => {
                (&mut self.statistics.failed, End::Failed)
            }
            Err(Failure::Unknown) => (&mut self.statistics.unknown, End::Unknown),
        };
        *count += 1;
        self.history.end(operation, end);
        if let Ok(outcome) = result {
            self.clients[client].seen.insert(key, outcome.after);
        }
        let think = self.parameters.think.draw(&mut self.random);
        self.plan(think, Happening::ClientWakes(client));
    }
}

fn draw_compare(random: &mut SmallRng, seen: &Record) -> Compare {
    let (by_value, by_index) = (random.random_bool(0.5), random.random_bool(0.5));
    Compare {
        value: seen.value.clone().filter(|_| by_value),
        index: Some(seen.modified_index).filter(|_| by_index),
    }
}
