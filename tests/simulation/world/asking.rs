//! Clients ask and are answered; the history takes note.

use std::time::Duration;

use gryadka::caspaxos::{CommandId, Event, Failure};
use gryadka::kv::{Compare, Key, Outcome, Record, RequestId, Submission};
use gryadka::perseus::{End, Observation};
use rand::Rng;
use rand::rngs::SmallRng;

use super::super::seeds::draw_command;
use super::{Happening, Running, World};

impl World {
    /// How often a request is asked for again.
    const MAX_RETRIES: u32 = 3;

    pub(super) fn on_client(&mut self, client: usize) -> Result<(), String> {
        let asks_again = self.clients[client].again.is_some();
        let is_over = self.history.operations().len() >= self.parameters.operations;
        if self.is_settling || (is_over && !asks_again) {
            return Ok(());
        }
        let home = match self.parameters.is_sticky && !asks_again {
            true => self.clients[client].home,
            false => self.random.random_range(0..self.proposers.len()),
        };
        if self.proposers[home].is_down {
            self.plan(1_000, Happening::ClientWakes(client));
            return Ok(());
        }
        let patience = self.parameters.deadline.draw(&mut self.random);
        if let Some(running) = self.clients[client].again.take() {
            return self.ask(running, home, patience);
        }
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        let number = self.history.operations().len() as u64 + 1;
        let nothing = Record::default();
        let seen = self.clients[client].seen.get(&key).unwrap_or(&nothing);
        let weights = &self.parameters.weights;
        let command = draw_command(&mut self.random, weights, seen, number, draw_compare);
        let is_named = self.random.random_bool(self.parameters.named);
        let name = RequestId::numbered(&format!("c{client}"), number).ok();
        let submission = Submission { command, request_id: name.filter(|_| is_named) };
        self.submit(client, home, key, submission, patience)
    }

    pub(super) fn submit(
        &mut self,
        client: usize,
        proposer: usize,
        key: Key,
        submission: Submission,
        patience: u64,
    ) -> Result<(), String> {
        self.step += 1;
        let command = submission.command.clone();
        let operation = self.history.call(client as u64, key.clone(), command, self.step);
        self.statistics.operations += 1;
        let running = Running { operation, client, key, submission, retries: 0 };
        self.ask(running, proposer, patience)
    }

    /// Asks a proposer, for the first time or again.
    fn ask(&mut self, running: Running, proposer: usize, patience: u64) -> Result<(), String> {
        self.commands += 1;
        let id = self.commands;
        let Running { client, retries, .. } = running;
        let (key, submission) = (running.key.clone(), running.submission.clone());
        self.note(|_| {
            format!(
                "client {client} asks p{proposer} as {id}, retry {retries}: {key} {submission:?}"
            )
        });
        self.running.insert(id, running);
        self.proposers[proposer].serving.insert(id);
        let deadline = Duration::from_micros(self.now + patience);
        let life = self.proposers[proposer].life;
        self.give(proposer, life, Event::Submitted { id, key, submission, deadline })
    }

    pub(super) fn on_answer(&mut self, id: CommandId, result: Result<Outcome, Failure>) {
        self.step += 1;
        self.note(|_| format!("command {id} ends: {result:?}"));
        let Some(running) = self.running.remove(&id) else { return };
        let Running { operation, client, retries, .. } = running;
        // A retry that has failed tells nothing of the tries before.
        let is_unknown = result == Err(Failure::Unknown) || (result.is_err() && retries > 0);
        let think = self.parameters.think.draw(&mut self.random);
        self.plan(think, Happening::ClientWakes(client));
        let is_named = running.submission.id_to_remember().is_some();
        if is_unknown && is_named && retries < Self::MAX_RETRIES && self.random.random_bool(0.8) {
            self.statistics.retried += 1;
            self.clients[client].again = Some(Running { retries: retries + 1, ..running });
            return;
        }
        let (count, end) = match &result {
            Ok(outcome) => {
                self.statistics.retried_and_done += u64::from(retries > 0);
                let observation = Observation::from(outcome);
                (&mut self.statistics.done, End::Returned { at: self.step, observation })
            }
            Err(_) if is_unknown => (&mut self.statistics.unknown, End::Unknown),
            Err(_) => (&mut self.statistics.failed, End::Failed),
        };
        *count += 1;
        self.history.end(operation, end);
        if let Ok(outcome) = result {
            self.clients[client].seen.insert(running.key, outcome.after);
        }
    }
}

fn draw_compare(random: &mut SmallRng, seen: &Record) -> Compare {
    let (by_value, by_index) = (random.random_bool(0.5), random.random_bool(0.5));
    Compare {
        value: seen.value.clone().filter(|_| by_value),
        index: Some(seen.modified_index).filter(|_| by_index),
    }
}
