//! The state machine with a memory: a request takes effect once.

use super::{Memory, Outcome, Record, Submission, apply};

/// The outcome of a request, and when it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Once {
    /// What the request found and left when it was applied, or why its name
    /// cannot be used.
    pub outcome: Outcome,
    /// False when it was applied just now; else nothing has changed.
    pub is_old: bool,
}

/// Applies a request to the record of a key, unless `memory` has its outcome;
/// takes note of it there. `index` is as in [`apply()`]. A command without a
/// name is applied and leaves the memory alone.
pub fn apply_once(
    record: &Record,
    memory: &mut Memory,
    submission: &Submission,
    index: u64,
) -> Once {
    if let Some(outcome) = memory.recall(record, submission) {
        return Once { outcome, is_old: true };
    }
    let outcome = apply(record, &submission.command, index);
    memory.remember(submission, &outcome);
    Once { outcome, is_old: false }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kv::{Command, Compare, RequestId, Verdict, VersionedJson};

    /// A key on which requests are made.
    #[derive(Default)]
    struct Register {
        record: Record,
        memory: Memory,
    }

    impl Register {
        fn ask(&mut self, id: &str, command: Command) -> Once {
            let request_id = (!id.is_empty()).then(|| RequestId::try_from(id).unwrap());
            let submission = Submission { command, request_id };
            let index = self.record.modified_index + 1;
            let once = apply_once(&self.record, &mut self.memory, &submission, index);
            if !once.is_old {
                self.record = once.outcome.after.clone();
            }
            once
        }

        /// Asks twice, with other changes between; both must tell the same.
        fn ask_twice(&mut self, id: &str, command: Command) -> Outcome {
            let first = self.ask(id, command.clone());
            self.ask("", Command::Set("between".into()));
            let record = self.record.clone();
            let second = self.ask(id, command.clone());
            assert_eq!((first.is_old, second.is_old), (false, true), "{command:?}");
            assert_eq!(first.outcome, second.outcome, "{command:?}");
            assert_eq!(self.record, record);
            first.outcome
        }
    }

    fn set(text: &str) -> Command {
        Command::Set(text.to_owned().into())
    }

    fn by_value(text: &str) -> Compare {
        Compare { value: Some(text.to_owned().into()), index: None }
    }

    #[test]
    fn the_first_outcome_of_every_command_is_told_again() {
        let pair = |ver| Command::WriteVersion(VersionedJson { ver, val: "7".into() });
        let commands = [
            Command::Set("x".into()),
            Command::Create("x".into()),
            Command::Update("x".into()),
            Command::CompareAndSwap(by_value("5"), "x".into()),
            Command::CompareAndSwap(by_value("6"), "x".into()),
            Command::Delete,
            Command::CompareAndDelete(by_value("5")),
            Command::CompareAndDelete(by_value("6")),
            Command::Add(2),
            Command::Add(i64::MAX),
            pair(0),
            pair(1),
        ];
        for before in [None, Some("5"), Some(r#"{"ver":1,"val":6}"#)] {
            for command in commands.clone() {
                let mut register = Register::default();
                if let Some(before) = before {
                    register.ask("", set("older"));
                    register.ask("", Command::Update(before.into()));
                }
                register.ask_twice("id", command);
            }
        }
    }

    #[test]
    fn a_failed_precondition_stays_failed() {
        let mut register = Register::default();
        let verdict = |once: Once| once.outcome.verdict;
        assert_eq!(verdict(register.ask("id", Command::Delete)), Verdict::NotFound);
        register.ask("", set("5"));
        assert_eq!(verdict(register.ask("id", Command::Delete)), Verdict::NotFound);
        assert!(register.record.is_live());
    }

    #[test]
    fn a_value_that_is_too_long_is_forgotten_where_it_was_found() {
        let long = "x".repeat(Memory::MAX_VALUE_BYTES + 1);
        let swap = |value: &str| Command::CompareAndSwap(by_value(&long), value.to_owned().into());
        for command in [set(&long), Command::Update("y".into()), swap("y"), Command::Delete] {
            let mut register = Register::default();
            register.ask("", set(&long));
            let first = register.ask("id", command.clone()).outcome;
            let again = register.ask("id", command.clone()).outcome;
            assert_eq!(again.after, first.after, "{command:?}");
            let before = Record { value: Some(Bytes::new()), ..first.before };
            assert_eq!((again.verdict, again.before), (first.verdict, before), "{command:?}");
            let most = RequestId::MAX_BYTES + Memory::MAX_VALUE_BYTES + 64;
            assert!(register.memory.size_bytes() <= most);
        }
    }

    #[test]
    fn a_name_is_used_for_one_command() {
        let mut register = Register::default();
        register.ask("id", Command::Add(1));
        let other = register.ask("id", Command::Add(2));
        assert_eq!((other.outcome.verdict, other.is_old), (Verdict::IdReused, true));
        assert_eq!(other.outcome.after, register.record);
        assert_eq!(register.ask("id", Command::Add(1)).outcome.after.text(), Some("1"));
        assert_eq!(register.record.text(), Some("1"));
    }

    #[test]
    fn a_client_that_numbers_its_requests_has_one_place() {
        let mut register = Register::default();
        for number in 1..=1000 {
            assert!(!register.ask(&format!("c:{number}"), Command::Add(1)).is_old);
            assert!(register.ask(&format!("c:{number}"), Command::Add(1)).is_old);
        }
        assert_eq!(register.record.text(), Some("1000"));
        let late = register.ask("c:999", Command::Add(1)).outcome;
        assert_eq!((late.verdict, late.after.text()), (Verdict::Superseded, Some("1000")));
        let other = register.ask("c:1000", Command::Add(2)).outcome;
        assert_eq!(other.verdict, Verdict::IdReused);
        let mut one = Register::default();
        one.ask("c:1", Command::Add(1));
        assert!(register.memory.size_bytes() <= one.memory.size_bytes() + 10);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut register = Register::default();
        for i in 0..=Memory::MAX_REQUESTS {
            assert!(!register.ask(&format!("id{i}"), Command::Add(1)).is_old);
        }
        assert!(register.ask("id1", Command::Add(1)).is_old);
        assert!(!register.ask("id0", Command::Add(1)).is_old, "it is a new request now");
        assert!(!register.ask("id1", Command::Add(1)).is_old, "it made room for that one");
        assert_eq!(register.record.text(), Some("67"));
    }

    #[test]
    fn neither_reads_nor_requests_without_a_name_are_remembered() {
        let mut register = Register::default();
        register.ask("", Command::Add(1));
        register.ask("id", Command::Get);
        assert!(register.memory.is_empty());
        register.ask("id", Command::Add(1));
        assert!(!register.ask("id", Command::Get).is_old);
        assert_eq!(register.record.text(), Some("2"));
    }

    #[test]
    fn its_size_is_no_less_than_its_bytes() {
        let mut register = Register::default();
        register.ask("", set(&"x".repeat(Memory::MAX_VALUE_BYTES)));
        register.record.created_index = u64::MAX - 1000;
        register.record.modified_index = u64::MAX - 1000;
        for i in 0..Memory::MAX_REQUESTS {
            let id = format!("{i:064}");
            register.ask(&id, set(&"y".repeat(Memory::MAX_VALUE_BYTES)));
            let bytes = postcard::to_stdvec(&register.memory).unwrap().len();
            assert!(bytes <= register.memory.size_bytes());
        }
        assert!(register.memory.size_bytes() < 80_000);
    }
}
