//! Scripts: a proposer and three acceptors, driven by hand, one message at a
//! time. Each shows one promise of the proposer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Age, Call, Collected, CommandId, Configuration, ConfigurationStep, Effect, Epoch,
    Event, Failure, Fence, Proposer, Quorum, ReconfigurationError, Reply, Request, Settings, Token,
    UnsafeConfiguration,
};
use gryadka::kv::{Command, Key, Outcome};
use gryadka::store::{AcceptorStore, MemoryStore};

/// Acceptors that are made as they are asked.
#[derive(Default)]
struct Acceptors(BTreeMap<AcceptorId, MemoryStore>);

impl Acceptors {
    fn serve(&mut self, to: &AcceptorId, call: Call) -> Reply {
        let store = self.0.entry(to.clone()).or_default();
        store.serve(&[call]).expect("memory serves").remove(0)
    }
}

/// What a proposer has sent, set and answered, in order.
struct Actor {
    proposer: Proposer,
    now: Duration,
    sent: VecDeque<(AcceptorId, Token, Call)>,
    timer: Option<(Token, Duration)>,
    answers: Vec<(CommandId, Result<Outcome, Failure>)>,
    steps: Vec<(CommandId, Result<Epoch, ReconfigurationError>)>,
    batches: Vec<(CommandId, Collected)>,
    /// The kinds of the rounds that were begun.
    rounds: Vec<&'static str>,
}

impl Actor {
    fn new(name: &str, seed: u64) -> Actor {
        let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
        let configuration = Configuration::uniform(Epoch(1), &ids, 2, 2);
        let proposer =
            Proposer::new(name.parse().unwrap(), configuration, Settings::default(), seed);
        Actor {
            proposer,
            now: Duration::ZERO,
            sent: VecDeque::new(),
            timer: None,
            answers: Vec::new(),
            steps: Vec::new(),
            batches: Vec::new(),
            rounds: Vec::new(),
        }
    }

    fn take(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.proposer.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, token, call } => {
                    if self.sent.is_empty() || to == AcceptorId::from("a1") {
                        self.rounds.push(kind(&call.request));
                    }
                    self.sent.push_back((to, token, call));
                }
                Effect::SetTimer { token, after } => self.timer = Some((token, after)),
                Effect::Answer { id, result } => self.answers.push((id, result)),
                Effect::Configured(_) => {}
                Effect::Reconfigured { id, result } => self.steps.push((id, result)),
                Effect::Collected { id, collected } => self.batches.push((id, collected)),
            }
        }
    }

    /// A step to these lists, from the version that is in force.
    fn step(&mut self, id: CommandId, prepare: Quorum, accept: Quorum, is_rescanned: bool) {
        let from = self.proposer.configuration().epoch;
        let places = BTreeMap::new();
        let step = ConfigurationStep { from, prepare, accept, places, is_rescanned };
        let deadline = self.now + Duration::from_secs(10);
        self.take(Event::Reconfigure { id, step, deadline });
    }

    fn submit(&mut self, id: CommandId, command: Command) {
        let deadline = self.now + Duration::from_secs(1000);
        let key = Key::try_from("k").unwrap();
        self.take(Event::Submitted { id, key, submission: command.into(), deadline });
    }

    /// Delivers everything, with its replies, until nothing is under way.
    fn run(&mut self, acceptors: &mut Acceptors) {
        while let Some((from, token, call)) = self.sent.pop_front() {
            let reply = Some(acceptors.serve(&from, call));
            self.take(Event::Replied { token, from, reply });
        }
    }

    /// Delivers what was sent to one acceptor; the rest is lost.
    fn run_only(&mut self, only: &str, acceptors: &mut Acceptors) {
        for (from, token, call) in std::mem::take(&mut self.sent) {
            if from.0.as_ref() == only {
                let reply = Some(acceptors.serve(&from, call));
                self.take(Event::Replied { token, from, reply });
            }
        }
    }

    fn fire(&mut self) {
        let (token, after) = self.timer.clone().expect("a timer is set");
        self.now += after;
        self.take(Event::TimerFired { token });
    }

    /// The value that a command left, by its id.
    fn value(&self, id: CommandId) -> Option<&str> {
        let (_, result) = self.answers.iter().find(|(answered, _)| *answered == id)?;
        result.as_ref().expect("the command is done").after.text()
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Prepare { .. } => "prepare",
        Request::Accept { .. } => "accept",
        Request::Read { .. } => "read",
        Request::Remove { .. } => "remove",
        Request::List(_) => "list",
        Request::Raise { .. } => "raise",
        Request::Enrol { .. } => "enrol",
        Request::Wipe => "wipe",
        Request::Status => "status",
    }
}

#[test]
fn the_second_change_of_a_key_takes_one_round_trip() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Add(1));
    p1.run(&mut acceptors);
    assert_eq!(p1.rounds, ["prepare", "accept", "accept"]);
    assert_eq!((p1.value(1), p1.value(2)), (Some("5"), Some("6")));
}

#[test]
fn a_change_by_another_takes_the_kept_value_away() {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Add(1));
    p1.run(&mut acceptors);
    p2.submit(2, Command::Add(1));
    p2.run(&mut acceptors);
    while p2.answers.is_empty() {
        p2.fire();
        p2.run(&mut acceptors);
    }
    p1.submit(3, Command::Add(1));
    p1.run(&mut acceptors);
    while p1.answers.len() < 2 {
        p1.fire();
        p1.run(&mut acceptors);
    }
    assert_eq!(p1.rounds, ["prepare", "accept", "accept", "prepare", "accept"]);
    assert_eq!((p2.value(2), p1.value(3)), (Some("2"), Some("3")));
}

#[test]
fn a_read_takes_one_round_trip_and_writes_nothing() {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    let before = acceptors.0.clone();
    p2.submit(2, Command::Get);
    p2.run(&mut acceptors);
    assert_eq!((p2.rounds.as_slice(), p2.value(2)), (["read"].as_slice(), Some("5")));
    assert_eq!(acceptors.0, before);
}

#[test]
fn commands_that_wait_share_a_round() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    for id in 1..=9 {
        p1.submit(id, Command::Add(1));
    }
    p1.run(&mut acceptors);
    assert_eq!(p1.rounds, ["prepare", "accept"]);
    assert_eq!((p1.value(1), p1.value(9)), (Some("1"), Some("9")));
}

/// p1 prepares and sends its accept; it reaches `reached` alone, and the
/// reply is lost. p2 then adds one, and hears only of `heard` and a3.
fn after_a_lost_round(reached: &str, heard: &str) -> (Actor, Acceptors) {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Add(10));
    while p1.rounds.last() == Some(&"prepare") {
        let (from, token, request) = p1.sent.pop_front().expect("not yet accepting");
        let reply = Some(acceptors.serve(&from, request));
        p1.take(Event::Replied { token, from, reply });
    }
    for (to, _, request) in p1.sent.drain(..) {
        if to.0.as_ref() == reached && kind(&request.request) == "accept" {
            assert_eq!(acceptors.serve(&to, request), Reply::Accepted);
        }
    }
    p2.submit(2, Command::Add(1));
    while p2.answers.is_empty() {
        while let Some((from, token, request)) = p2.sent.pop_front() {
            if ["a3", heard].contains(&from.0.as_ref()) {
                let reply = Some(acceptors.serve(&from, request));
                p2.take(Event::Replied { token, from, reply });
            }
        }
        if p2.answers.is_empty() {
            p2.fire();
        }
    }
    // p1 gives its round up and looks again.
    while p1.answers.is_empty() {
        p1.fire();
        p1.run(&mut acceptors);
    }
    (p1, acceptors)
}

#[test]
fn an_attempt_that_another_built_on_is_settled_as_included() {
    let (mut p1, mut acceptors) = after_a_lost_round("a1", "a1");
    assert_eq!(p1.value(1), Some("10"), "its outcome is that of the first attempt");
    p1.submit(3, Command::Get);
    p1.run(&mut acceptors);
    assert_eq!(p1.value(3), Some("11"), "applied once");
}

#[test]
fn an_attempt_that_another_passed_by_is_settled_as_excluded() {
    let (mut p1, mut acceptors) = after_a_lost_round("a1", "a2");
    assert_eq!(p1.value(1), Some("11"), "applied to what the other left");
    p1.submit(3, Command::Get);
    p1.run(&mut acceptors);
    assert_eq!(p1.value(3), Some("11"), "applied once");
}

#[test]
fn a_round_that_never_reached_an_acceptor_is_not_taken_for_done() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run_only("a1", &mut acceptors);
    assert!(p1.answers.is_empty(), "one promise of three is no quorum");
    p1.now = Duration::from_secs(1001);
    p1.fire();
    assert_eq!(p1.answers, [(1, Err(Failure::Failed))], "no accept was sent");
}

#[test]
fn an_accept_without_a_quorum_is_unknown_at_the_deadline() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Set("6".into()));
    p1.run_only("a2", &mut acceptors);
    p1.now = Duration::from_secs(1001);
    p1.fire();
    assert_eq!(p1.answers[1..], [(2, Err(Failure::Unknown))]);
}

fn quorum(names: &str, size: usize) -> Quorum {
    Quorum { acceptors: names.split(' ').map(AcceptorId::from).collect(), size }
}

#[test]
fn a_step_reaches_other_proposers_through_the_fence() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p2.submit(1, Command::Set("5".into()));
    p2.run(&mut acceptors);
    p1.step(2, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps, [(2, Ok(Epoch(2)))]);
    // Its kept value is of no more use, and it asks the fourth acceptor too.
    p2.rounds.clear();
    p2.submit(3, Command::Add(1));
    p2.run(&mut acceptors);
    assert_eq!(p2.value(3), Some("6"));
    assert_eq!(p2.rounds, ["accept", "prepare", "accept"]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
    let read = Request::Read { key: Key::try_from("k").unwrap() };
    let call = Call { epoch: Epoch(2), age: Age(0), request: read };
    let reply = acceptors.serve(&"a4".into(), call);
    assert!(matches!(reply, Reply::WasRead { record, .. } if record.text() == Some("6")));
}

#[test]
fn a_proposer_that_hears_of_an_epoch_alone_asks_for_its_configuration() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p2.take(Event::Told(Fence { epoch: Epoch(2), ..Fence::default() }));
    p2.run(&mut acceptors);
    assert_eq!(p2.rounds, ["status"]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
}

/// Acceptors may have met an epoch before they are told its configuration.
#[test]
fn a_command_that_meets_an_epoch_alone_waits_for_its_configuration() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p2.submit(1, Command::Add(1));
    for (from, token, _) in std::mem::take(&mut p2.sent) {
        let fence = Fence { epoch: Epoch(2), ..Fence::default() };
        p2.take(Event::Replied { token, from, reply: Some(Reply::Fenced(fence)) });
    }
    assert!(p2.answers.is_empty(), "{:?}", p2.answers);
    p2.run(&mut acceptors);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
    p2.fire();
    p2.run(&mut acceptors);
    assert_eq!(p2.value(1), Some("1"));
}

#[test]
fn two_operators_do_not_decide_two_steps() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p2.step(2, quorum("a1 a2", 2), quorum("a1 a2 a3", 2), false);
    p1.run(&mut acceptors);
    p2.run(&mut acceptors);
    assert_eq!(p1.steps, [(1, Ok(Epoch(2)))]);
    let (expected, found) = (Epoch(1), Epoch(2));
    let mismatch = UnsafeConfiguration::Mismatch { expected, found };
    assert_eq!(p2.steps, [(2, Err(mismatch.into()))]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
}

#[test]
fn a_step_that_was_decided_and_left_is_finished_by_the_next() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    // It ends before any acceptor hears of the new fence; that of now they heard.
    while p1.rounds.iter().filter(|round| **round == "raise").count() < 2 {
        let (from, token, call) = p1.sent.pop_front().expect("it goes on");
        let reply = Some(acceptors.serve(&from, call));
        p1.take(Event::Replied { token, from, reply });
    }
    drop(p1);
    p2.submit(2, Command::Set("5".into()));
    p2.run(&mut acceptors);
    assert_eq!((p2.value(2), p2.proposer.configuration().epoch), (Some("5"), Epoch(1)));
    p2.step(3, quorum("a1 a2", 2), quorum("a1 a2 a3", 2), false);
    p2.run(&mut acceptors);
    assert_eq!(p2.proposer.configuration().accept, quorum("a1 a2 a3 a4", 3));
    assert!(matches!(p2.steps[..], [(3, Err(ReconfigurationError::Unsafe(_)))]), "{:?}", p2.steps);
}

#[test]
fn acceptors_that_are_silent_or_hold_data_are_not_added() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.sent.clear();
    p1.now += Duration::from_secs(10);
    p1.fire();
    assert_eq!(p1.steps, [(1, Err(ReconfigurationError::Unreachable("a4".into())))]);
    let key = Key::try_from("k").unwrap();
    let mut stranger = Proposer::new(
        "x".parse().unwrap(),
        Configuration::uniform(Epoch(1), &["a4".into()], 1, 1),
        Settings::default(),
        9,
    );
    let (id, command, deadline) = (1, Command::Set("x".into()), Duration::from_secs(99));
    let mut effects = Vec::new();
    stranger.handle(
        p1.now,
        Event::Submitted { id, key, submission: command.into(), deadline },
        &mut effects,
    );
    for effect in effects {
        if let Effect::Send { to, call, .. } = effect {
            acceptors.serve(&to, call);
        }
    }
    p1.step(2, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps[1], (2, Err(ReconfigurationError::NotEmpty("a4".into()))));
    assert_eq!(p1.proposer.configuration().epoch, Epoch(1));
}

/// Those that stay note it before anything is decided: by that they are told
/// from one that lost its memory.
#[test]
fn the_first_step_needs_all_acceptors_that_stay() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    let (three, four) = (quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3));
    p1.step(1, three.clone(), four.clone(), false);
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    p1.run(&mut acceptors);
    p1.now += Duration::from_secs(10);
    p1.fire();
    assert_eq!(p1.steps, [(1, Err(ReconfigurationError::Unreachable("a3".into())))]);
    // One that goes need not answer, nor anybody in later steps.
    p1.sent.clear();
    for (id, prepare, accept) in [(2, "a1 a2", "a1 a2"), (3, "a1 a2", "a1 a2 a4")] {
        let quorum = |names: &str| quorum(names, 2);
        p1.step(id, quorum(prepare), quorum(accept), true);
        p1.sent.retain(|(to, ..)| *to != "a3".into());
        p1.run(&mut acceptors);
        assert_eq!(p1.steps.last(), Some(&(id, Ok(Epoch(id)))));
    }
}

/// Deletes the key through `actor` and collects it.
fn delete_and_collect(actor: &mut Actor, acceptors: &mut Acceptors) {
    actor.submit(100, Command::Delete);
    actor.run(acceptors);
    while !actor.answers.iter().any(|(id, _)| *id == 100) {
        actor.fire();
        actor.run(acceptors);
    }
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = actor.now + Duration::from_secs(10);
    actor.take(Event::Collect { id: 101, keys, deadline });
    actor.run(acceptors);
}

#[test]
fn a_deleted_register_is_removed_everywhere_and_its_indices_go_on() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    for id in 1..=9 {
        p2.submit(id, Command::Add(1));
        p2.run(&mut acceptors);
    }
    delete_and_collect(&mut p1, &mut acceptors);
    assert_eq!(p1.batches, [(101, Collected { removed: 1, left: 0 })]);
    for id in ["a1", "a2", "a3"].map(AcceptorId::from) {
        let call = Call { epoch: Epoch(1), age: Age(0), request: Request::Status };
        let Reply::Status(status) = acceptors.serve(&id, call) else { panic!("no status") };
        assert_eq!((status.registers, status.dead, status.fence.age), (0, 0, Age(1)));
    }
    // The other proposer kept 9 and its ballot; it learns better.
    p2.submit(10, Command::Get);
    p2.run(&mut acceptors);
    p2.submit(11, Command::Add(1));
    p2.run(&mut acceptors);
    let (_, Ok(outcome)) = p2.answers.last().unwrap() else { panic!("no outcome") };
    assert_eq!(outcome.after.text(), Some("1"));
    assert_eq!(outcome.after.modified_index, 11, "9 additions, a deletion, and this");
}

#[test]
fn the_indices_of_a_collected_key_go_on_after_a_batch_that_was_cut_short() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    delete_and_collect(&mut p1, &mut acceptors);
    // The next batch finds nothing but leaves its tombstones behind.
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = p1.now + Duration::from_secs(10);
    p1.take(Event::Collect { id: 200, keys, deadline });
    while p1.rounds.last() != Some(&"raise") {
        let (from, token, call) = p1.sent.pop_front().expect("it goes on");
        let reply = Some(acceptors.serve(&from, call));
        p1.take(Event::Replied { token, from, reply });
    }
    let mut p2 = Actor::new("p2", 2);
    p2.submit(300, Command::Set("6".into()));
    while p2.answers.is_empty() {
        p2.run(&mut acceptors);
        if p2.answers.is_empty() {
            p2.fire();
        }
    }
    let (_, Ok(outcome)) = &p2.answers[0] else { panic!("no outcome") };
    assert_eq!(outcome.after.modified_index, 3, "set, deleted, set");
}

#[test]
fn nothing_is_collected_while_an_acceptor_is_down_or_a_step_is_under_way() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Delete);
    p1.run(&mut acceptors);
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = p1.now + Duration::from_secs(1);
    p1.take(Event::Collect { id: 3, keys: keys.clone(), deadline });
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    p1.run(&mut acceptors);
    p1.fire();
    assert_eq!(p1.batches, [(3, Collected { removed: 0, left: 1 })]);
    p1.step(4, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p1.take(Event::Collect { id: 5, keys: keys.clone(), deadline });
    assert_eq!(p1.batches[1], (5, Collected { removed: 0, left: 1 }));
    // Once all of it is over, it is.
    p1.step(6, quorum("a1 a2 a3 a4", 3), quorum("a1 a2 a3 a4", 3), true);
    p1.run(&mut acceptors);
    let deadline = p1.now + Duration::from_secs(1);
    p1.take(Event::Collect { id: 7, keys, deadline });
    p1.run(&mut acceptors);
    assert_eq!(p1.batches[2], (7, Collected { removed: 1, left: 0 }));
}
