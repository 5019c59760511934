//! The acceptor: one pure step per request on the register of one key.
//!
//! A step takes the register as it is and says what to write and what to
//! answer; whoever runs it makes the write durable first (rules 1-4).

use serde::{Deserialize, Serialize};

use super::{Ballot, Reply, Value};
use crate::kv::Weighed;

/// What an acceptor keeps per key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Register {
    /// No ballot up to this one is prepared again, none below it accepted.
    pub promise: Ballot,
    /// The ballot of the value; zero when nothing was accepted.
    pub accepted: Ballot,
    /// The accepted value.
    pub value: Value,
}

impl Register {
    /// The highest ballot that the register has met.
    pub fn seen(&self) -> Ballot {
        self.promise.max(self.accepted)
    }

    /// True when nothing was ever promised or accepted.
    pub fn is_new(&self) -> bool {
        self.seen().is_zero()
    }

    /// True when there is something to collect: a tombstone, or a promise
    /// that nothing came of.
    pub fn is_dead(&self) -> bool {
        !self.is_new() && !self.value.record.is_live()
    }
}

impl Weighed for Register {
    fn size_bytes(&self) -> usize {
        self.value.size_bytes()
    }
}

/// What a step wants done: first the write, then the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The register to make durable before the reply is sent; one that is as
    /// new is to be removed.
    pub write: Option<Register>,
    /// The reply.
    pub reply: Reply,
    /// Two values came under one ballot: a proposer broke the protocol.
    pub is_alarm: bool,
}

impl Step {
    fn answer(reply: Reply) -> Step {
        Step { write: None, reply, is_alarm: false }
    }

    fn refuse(register: &Register) -> Step {
        Step::answer(Reply::Conflict { seen: register.seen() })
    }
}

/// Rule 1: promises a ballot that is above everything the register has met.
pub fn prepare(register: &Register, ballot: Ballot) -> Step {
    if ballot <= register.promise || ballot <= register.accepted {
        return Step::refuse(register);
    }
    let reply = Reply::Prepared { accepted: register.accepted, value: register.value.clone() };
    Step { write: Some(Register { promise: ballot, ..register.clone() }), reply, is_alarm: false }
}

/// Rule 2: accepts a value unless a higher ballot is promised or one at least
/// as high is accepted. The same value under the same ballot is a message
/// that came twice, and is answered alike.
pub fn accept(register: &Register, ballot: Ballot, value: &Value, next: Ballot) -> Step {
    if ballot == register.accepted && !ballot.is_zero() {
        if *value == register.value {
            return Step::answer(Reply::Accepted);
        }
        return Step { is_alarm: true, ..Step::refuse(register) };
    }
    if ballot < register.promise || ballot <= register.accepted {
        return Step::refuse(register);
    }
    let accepted = Register {
        promise: register.promise.max(next).max(ballot),
        accepted: ballot,
        value: value.clone(),
    };
    Step { write: Some(accepted), reply: Reply::Accepted, is_alarm: false }
}

/// Answers the accepted value and changes nothing.
pub fn read(register: &Register) -> Step {
    let record = register.value.record.clone();
    Step::answer(Reply::WasRead { accepted: register.accepted, record })
}

/// Removes the register if it still holds the tombstone that was accepted
/// under `accepted`, and has promised nothing that counts above `floor`.
///
/// All proposers that are served count higher by then, so a higher promise is
/// of one that works on the key again, and must be remembered.
pub fn remove(register: &Register, accepted: Ballot, floor: u64) -> Step {
    let is_that = register.is_dead() && register.accepted == accepted;
    if is_that && register.promise.counter <= floor {
        let reply = Reply::Removed { is_gone: true };
        return Step { write: Some(Register::default()), reply, is_alarm: false };
    }
    Step::answer(Reply::Removed { is_gone: register.is_new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Record;

    fn ballot(counter: u64) -> Ballot {
        Ballot { counter, proposer: "p1".parse().unwrap(), ..Ballot::ZERO }
    }

    fn value(text: &'static str) -> Value {
        let record = Record { value: Some(text.into()), created_index: 1, modified_index: 1 };
        Value { record, ..Value::default() }
    }

    /// A register with promise 5 and "a" accepted at 3.
    fn register() -> Register {
        Register { promise: ballot(5), accepted: ballot(3), value: value("a") }
    }

    #[test]
    fn prepare_is_strict() {
        for counter in [1, 3, 5] {
            let step = prepare(&register(), ballot(counter));
            assert_eq!(step, Step::answer(Reply::Conflict { seen: ballot(5) }), "{counter}");
        }
        let step = prepare(&register(), ballot(6));
        assert_eq!(step.reply, Reply::Prepared { accepted: ballot(3), value: value("a") });
        assert_eq!(step.write, Some(Register { promise: ballot(6), ..register() }));
    }

    #[test]
    fn prepare_refuses_what_is_accepted_even_without_a_promise() {
        let register = Register { promise: Ballot::ZERO, ..register() };
        assert_eq!(prepare(&register, ballot(3)).reply, Reply::Conflict { seen: ballot(3) });
    }

    #[test]
    fn accept_at_the_promise_or_above() {
        assert_eq!(
            accept(&register(), ballot(4), &value("b"), ballot(9)).reply,
            Reply::Conflict { seen: ballot(5) }
        );
        for (counter, next, promise) in [(5, 6, 6), (5, 5, 5), (7, 7, 7), (7, 2, 7)] {
            let step = accept(&register(), ballot(counter), &value("b"), ballot(next));
            let expected =
                Register { promise: ballot(promise), accepted: ballot(counter), value: value("b") };
            assert_eq!((step.write, step.reply), (Some(expected), Reply::Accepted));
        }
    }

    #[test]
    fn a_repeated_accept_is_answered_alike_and_another_value_is_an_alarm() {
        let again = accept(&register(), ballot(3), &value("a"), ballot(4));
        assert_eq!(again, Step::answer(Reply::Accepted));
        let other = accept(&register(), ballot(3), &value("b"), ballot(4));
        assert!(other.is_alarm && other.write.is_none());
        assert_eq!(other.reply, Reply::Conflict { seen: ballot(5) });
    }

    #[test]
    fn a_read_changes_nothing() {
        let step = read(&register());
        assert_eq!(step.write, None);
        let record = value("a").record;
        assert_eq!(step.reply, Reply::WasRead { accepted: ballot(3), record });
    }

    #[test]
    fn only_the_tombstone_that_is_meant_is_removed() {
        let gone = Register { value: Value::default(), ..register() };
        let removed = |is_gone| Reply::Removed { is_gone };
        let step = remove(&gone, ballot(3), 5);
        assert_eq!((step.write, step.reply), (Some(Register::default()), removed(true)));
        for (register, accepted, floor) in
            [(register(), 3, 9), (gone.clone(), 2, 9), (gone.clone(), 4, 9), (gone.clone(), 3, 4)]
        {
            assert_eq!(remove(&register, ballot(accepted), floor), Step::answer(removed(false)));
        }
        let nothing = Register::default();
        assert_eq!(remove(&nothing, ballot(3), 5), Step::answer(removed(true)));
    }
}
