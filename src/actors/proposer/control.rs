//! What operators ask of a proposer.

use std::fmt::Display;

use actix::{Context, Handler};
use serde_json::{Map, Value, json};

use super::super::control::{Collect, Describe, Follow, Inquire, Reconfigure, Siblings};
use super::{Envelope, Envelopes, Operator, Proposer, Ticket};
use crate::caspaxos::{
    AcceptorId, Collected, CommandId, Configuration, Epoch, Event, Fence, OldCopy,
    ReconfigurationError, Reply, Unidentified,
};
use crate::identity::ClusterId;

/// What is done about an acceptor that lost data.
const ANEW: &str = "take it out and add it anew: gryadkactl acceptors shrink CLUSTER.json";

impl Proposer {
    pub(super) fn configured(&mut self, configuration: Configuration, ctx: &Context<Self>) {
        self.link(&configuration, ctx);
        for sibling in &self.siblings {
            sibling.do_send(Follow(configuration.clone()));
        }
        if self.keeper.is_some() {
            log::info!(
                "configuration {} is in force: accepts by {} of {:?}, promises by {} of {:?}",
                configuration.epoch.0,
                configuration.accept.size,
                configuration.accept.acceptors,
                configuration.prepare.size,
                configuration.prepare.acceptors,
            );
        }
        self.view.set(configuration);
        self.keep();
    }

    fn keep(&self) {
        if let (Some(keeper), Some(kept)) = (&self.keeper, self.view.kept()) {
            keeper.keep(kept);
        }
    }

    pub(super) fn identified(&mut self, cluster: ClusterId) {
        self.unidentified = None;
        if self.keeper.is_some() {
            log::info!("this node belongs to cluster {cluster}");
        }
        self.view.cluster().set(cluster);
        self.keep();
    }

    pub(super) fn not_identified(&mut self, why: Unidentified) {
        let complaints = self.unidentified.take().map(|(_, complaints)| complaints);
        let mut complaints = complaints.unwrap_or_default();
        if self.keeper.is_some() {
            complaints.say(&format_args!("no cluster yet: {why}"));
        }
        self.unidentified = Some((why, complaints));
    }

    /// Tells people of an acceptor whose store is an old copy.
    pub(super) fn found_old_copy(&mut self, old: &OldCopy) {
        let OldCopy { acceptor, told, witness, known } = old;
        self.complain(acceptor, &format_args!(
            "was put back from an old copy, so it has lost promises and values: its store counts \
             {} openings and marks since configuration {}, and acceptor {witness} knows of {} \
             since {}; the others serve on without it. Bring back its newest data, or {ANEW} \
             {acceptor}, then wipe its data and grow CLUSTER.json {acceptor}",
            told.generation.count, told.epoch.0, known.generation.count, known.epoch.0,
        ));
    }

    /// Tells people of an acceptor that serves this proposer no more.
    pub(super) fn note_refusal(&mut self, id: &AcceptorId, reply: &Reply) {
        let why = match reply {
            Reply::NotEnrolled => format!(
                "is not enrolled, so it has lost its memory (was its data removed?); the others \
                 serve on without it. To have it back, {ANEW} {id}, then grow CLUSTER.json {id}"
            ),
            Reply::OtherCluster { held } => {
                let ours = self.core.cluster().map_or("none".into(), |ours| ours.to_string());
                format!(
                    "belongs to cluster {held}, and this node to cluster {ours}; the one of the \
                     two that has the data of another cluster must be stopped, and its data \
                     removed. Where it is the acceptor, {ANEW} {id}, then grow CLUSTER.json {id}"
                )
            }
            Reply::TooHigh => "takes the ballots of this node for made up: they are far above \
                               all that it knows"
                .into(),
            _ => return,
        };
        self.complain(id, &why);
    }

    fn complain(&mut self, id: &AcceptorId, why: &dyn Display) {
        if self.is_member(id) {
            let complaints = self.refusing.entry(id.clone()).or_default();
            complaints.say(&format_args!("acceptor {id} is refused: it {why}"));
        }
    }

    fn is_member(&self, id: &AcceptorId) -> bool {
        self.core.configuration().acceptors().any(|member| member == id)
    }

    pub(super) fn reconfigured(
        &mut self,
        id: CommandId,
        result: Result<Epoch, ReconfigurationError>,
    ) {
        if let Some(Operator::OfStep(answer)) = self.operators.remove(&id) {
            let tell = move || drop(answer.send(result));
            // What is in force is on the disk before the operator hears of it.
            match &self.keeper {
                Some(keeper) => keeper.then(tell),
                None => tell(),
            }
        }
    }

    pub(super) fn collected(&mut self, id: CommandId, collected: Collected) {
        if let Some(Operator::OfBatch(answer)) = self.operators.remove(&id) {
            let _ = answer.send(collected);
        }
    }
}

impl Handler<Reconfigure> for Proposer {
    type Result = ();

    fn handle(&mut self, message: Reconfigure, ctx: &mut Context<Self>) {
        let Reconfigure { step, patience, answer } = message;
        let id = self.next_serial();
        for (acceptor, place) in &step.places {
            self.link_one(acceptor, Some(place), ctx);
        }
        self.operators.insert(id, Operator::OfStep(answer));
        let deadline = self.now() + patience;
        self.handle_events([Event::Reconfigure { id, step, deadline }], ctx);
    }
}

impl Handler<Collect> for Proposer {
    type Result = ();

    fn handle(&mut self, message: Collect, ctx: &mut Context<Self>) {
        let Collect { keys, patience, answer } = message;
        let id = self.next_serial();
        self.operators.insert(id, Operator::OfBatch(answer));
        let deadline = self.now() + patience;
        self.handle_events([Event::Collect { id, keys, deadline }], ctx);
    }
}

impl Handler<Inquire> for Proposer {
    type Result = ();

    fn handle(&mut self, message: Inquire, ctx: &mut Context<Self>) {
        let Inquire { to, place, request, answer } = message;
        let id = self.next_serial();
        // Where a member is, the configuration says.
        let place = place.filter(|_| !self.is_member(&to));
        self.link_one(&to, place.as_ref(), ctx);
        // Those who gave up do not come back for their answers.
        self.inquiries.retain(|_, answer| !answer.is_closed());
        self.inquiries.insert(id, answer);
        let call = self.core.caller().call(request);
        self.links[&to].do_send(Envelopes::from(Envelope { ticket: Ticket::Inquiry(id), call }));
    }
}

impl Handler<Siblings> for Proposer {
    type Result = ();

    fn handle(&mut self, Siblings(siblings): Siblings, _: &mut Context<Self>) {
        self.siblings = siblings;
    }
}

impl Handler<Follow> for Proposer {
    type Result = ();

    fn handle(&mut self, Follow(configuration): Follow, ctx: &mut Context<Self>) {
        let (epoch, configuration) = (configuration.epoch, Some(configuration));
        let fence = Fence { epoch, configuration, ..Fence::default() };
        self.handle_events([Event::Told(fence)], ctx);
    }
}

impl Handler<Describe> for Proposer {
    type Result = ();

    fn handle(&mut self, Describe { answer }: Describe, _: &mut Context<Self>) {
        let acceptors = self.gauges.iter().map(|(id, gauge)| {
            let shown = json!({
                "queued": gauge.queued(),
                "batchesUnderWay": gauge.under_way(),
                "roundTripMs": gauge.round_trip_us() as f64 / 1000.0,
            });
            (id.to_string(), shown)
        });
        let acceptors: Map<String, Value> = acceptors.collect();
        let load = self.core.load();
        // Who asked may have gone.
        let _ = answer.send(json!({
            "clusterId": self.core.cluster(),
            "unidentified": self.unidentified.as_ref().map(|(why, _)| why.to_string()),
            "ballot": self.core.last_ballot().to_string(),
            "age": self.core.age(),
            "kept": { "keys": load.kept, "bytes": load.kept_bytes },
            "queues": { "keys": load.keys, "commands": load.commands, "backingOff": load.backing_off },
            "roundTripMs": load.round_trip.as_secs_f64() * 1000.0,
            "acceptors": acceptors,
        }));
    }
}
