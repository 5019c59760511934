//! Who is none of the cluster: an acceptor with the data of an earlier one, or an
//! old copy of its own, and callers that make up what they say.

use gryadka::caspaxos::acceptor::Register;
use gryadka::caspaxos::{
    AcceptorId, Age, Ballot, Call, Caller, Configuration, Epoch, Event, Fence, Floor, OldCopy,
    Request, Standing, Token, Value,
};
use gryadka::identity::ClusterId;
use gryadka::kv::{Key, Record};
use rand::Rng;

use super::super::disk::Disk;
use super::super::flaw::Flaw;
use super::{Happening, World};

/// The earlier cluster.
const EARLIER: Option<ClusterId> = ClusterId::new(1);

impl World {
    /// An acceptor crashes and comes back with the data of an earlier cluster,
    /// whose ballots are higher and whose configuration may be newer.
    pub(super) fn replace_disk(&mut self, acceptor: usize, outage: u64) -> Result<(), String> {
        // A proposer that lost its data cannot tell the only acceptor there is.
        let is_alone_in = |it: &Configuration| it.prepare.acceptors.len() == 1;
        let is_alone = is_alone_in(&self.parameters.configuration)
            || self.proposers.iter().any(|it| is_alone_in(it.configuration()));
        if self.acceptors[acceptor].is_down || !self.true_disks.is_empty() || is_alone {
            return Ok(());
        }
        self.statistics.strangers += 1;
        let earlier = self.earlier_disk();
        self.come_back_with(acceptor, earlier, outage)
    }

    /// An acceptor crashes and comes back with an old copy of its disk, if there is
    /// one and all others can tell: as nobody could else. Or its disk is copied.
    pub(super) fn put_back_copy(&mut self, acceptor: usize, outage: u64) -> Result<(), String> {
        if self.acceptors[acceptor].is_down || !self.true_disks.is_empty() {
            return Ok(());
        }
        let copy = self.copies.remove(&acceptor);
        let Some(copy) = copy.filter(|copy| self.is_known_to_be_old(acceptor, copy)) else {
            let copied = self.acceptors[acceptor].disk().clone();
            self.note(|_| format!("the disk of a{} is copied", acceptor + 1));
            self.copies.insert(acceptor, copied);
            return Ok(());
        };
        self.statistics.old_copies += 1;
        self.had_old_copies.insert(acceptor);
        self.come_back_with(acceptor, copy, outage)
    }

    fn is_known_to_be_old(&self, acceptor: usize, copy: &Disk) -> bool {
        let mut opened = copy.standing.clone();
        opened.open(0);
        if opened.cluster.is_none() {
            // It is enrolled again, as one of the founders.
            opened.enrolled = self.acceptors[acceptor].disk().standing.enrolled;
        }
        let all = (0..self.acceptors.len()).filter(|other| *other != acceptor);
        let mut others = all.map(|other| &self.acceptors[other].disk().standing);
        let can_tell = |other: &Standing| {
            let known = other.known.get(&self.names[acceptor]);
            known.is_some_and(|known| !opened.claim().continues(*known))
        };
        self.acceptors.len() > 1 && others.all(can_tell)
    }

    /// Nobody is taken for an old copy who is none.
    pub(super) fn on_old_copy(&mut self, old: &OldCopy) -> Result<(), String> {
        self.note(|_| format!("found: {old:?}"));
        let place =
            |id: &AcceptorId| self.names.iter().position(|name| name == id).expect("it is listed");
        let (acceptor, witness) = (place(&old.acceptor), place(&old.witness));
        match self.true_disks.contains_key(&acceptor) {
            true => self.statistics.old_copies_found += 1,
            // What an old copy of the witness was told by an old copy of it.
            false if self.had_old_copies.contains(&witness) => {}
            // It may have its newest disk back by now.
            false if self.acceptors[acceptor].known().standing.claim().enrolment() != old.told => {}
            false => return Err(format!("a{} is no old copy: {old:?}", acceptor + 1)),
        }
        Ok(())
    }

    /// Whether disks are copied: where acceptors are not just taken for what they
    /// should be, and all know each other from the beginning.
    pub(super) fn has_copies(&self) -> bool {
        let is_told = !self.is_confirmed_at_once() || self.flaw == Flaw::IgnoresGenerations;
        is_told && self.parameters.changes.is_none()
    }

    pub(super) fn plan_marks(&mut self) {
        if self.has_copies() {
            let after = self.random.random_range(5_000..80_000);
            self.plan(after, Happening::Marks);
        }
    }

    pub(super) fn on_marks(&mut self) -> Result<(), String> {
        if self.is_settling {
            return Ok(());
        }
        self.plan_marks();
        let proposer = self.random.random_range(0..self.proposers.len());
        let life = self.proposers[proposer].life;
        self.give(proposer, life, Event::Marks)
    }

    fn come_back_with(&mut self, acceptor: usize, disk: Disk, outage: u64) -> Result<(), String> {
        self.crash_acceptor(acceptor, outage)?;
        self.note(|_| format!("a{} comes back with {:?}", acceptor + 1, disk.standing.claim()));
        let own = self.acceptors[acceptor].exchange_disk(disk);
        self.true_disks.insert(acceptor, own);
        let stay = self.random.random_range(1..20) * outage;
        self.plan(outage + stay, Happening::AcceptorIsItselfAgain(acceptor));
        Ok(())
    }

    pub(super) fn give_back_disk(&mut self, acceptor: usize) -> Result<(), String> {
        let Some(own) = self.true_disks.remove(&acceptor) else { return Ok(()) };
        self.note(|_| format!("a{} is itself again", acceptor + 1));
        self.acceptors[acceptor].crash(self.flaw, 0)?;
        self.acceptors[acceptor].exchange_disk(own);
        let tag = self.random.random();
        let is_confirmed = self.is_confirmed_at_once();
        self.acceptors[acceptor].restart(is_confirmed, tag);
        Ok(())
    }

    fn earlier_disk(&mut self) -> Disk {
        let epoch = Epoch(self.random.random_range(1..9));
        let configuration = Configuration { epoch, ..self.parameters.configuration.clone() };
        let fence = Fence { epoch, configuration: Some(configuration), ..Fence::default() };
        let standing = Standing { fence, cluster: EARLIER, ..Standing::default() };
        let register = |key: &Key| {
            let proposer = "old".parse().expect("it is short");
            let accepted = Ballot { counter: 1 << 30, proposer, ..Ballot::ZERO };
            let record =
                Record { value: Some("old".into()), created_index: 1, modified_index: 1 << 30 };
            let value = Value { record, ..Value::default() };
            (key.clone(), Register { promise: accepted, accepted, value })
        };
        Disk { registers: self.keys.iter().map(register).collect(), standing }
    }

    /// A call of somebody who knows nothing, or belongs elsewhere, or makes up an
    /// epoch, an age or a ballot. It must change nothing at all.
    pub(super) fn call_of_a_stranger(&mut self, acceptor: usize) -> Result<(), String> {
        if self.acceptors[acceptor].is_down {
            return Ok(());
        }
        let known = self.acceptors[acceptor].known().clone();
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        let far = Ballot { counter: u64::MAX, ..Ballot::ZERO };
        let fence = known.standing.fence.clone();
        let floor = Floor { counter: u64::MAX, index: 0 };
        let (same, none) = (known.standing.cluster, None);
        let (now, age) = (fence.epoch, fence.age);
        let made_up = Epoch(now.0 + self.random.random_range(1..4));
        let read = Request::Read { key: key.clone() };
        let value = Value::default();
        let accept = Request::Accept { key: key.clone(), ballot: far, value, next: far };
        let calls = [
            (none, now, read.clone()),
            (EARLIER, now, read.clone()),
            (same, made_up, read),
            (EARLIER, made_up, Request::Wipe),
            (same, now, Request::Prepare { key, ballot: far }),
            (same, now, accept),
            (same, now, Request::Raise { fence: Fence { floor, ..fence.clone() } }),
            (same, made_up, Request::Raise { fence: Fence { epoch: made_up, ..fence.clone() } }),
            (EARLIER, made_up, Request::Raise { fence: Fence { age: Age(u64::MAX), ..fence } }),
        ];
        let (cluster, epoch, request) = calls[self.random.random_range(0..calls.len())].clone();
        let call: Call = Caller { cluster, epoch, age }.call(request);
        // Of the cluster that it is of for the moment, anybody may be a caller.
        if self.true_disks.contains_key(&acceptor) && call.cluster == EARLIER {
            return Ok(());
        }
        self.note(|_| format!("a stranger calls a{}: {call:?}", acceptor + 1));
        let token = Token { key: Key::configuration(), round: 0 };
        let nobody = (self.operator_index(), 0, token);
        let served = self.acceptors[acceptor].serve(self.flaw, &call, nobody)?;
        if *self.acceptors[acceptor].known() != known {
            return Err(format!("a stranger has changed a{}: {call:?}", acceptor + 1));
        }
        self.on_served(acceptor, served);
        Ok(())
    }
}
