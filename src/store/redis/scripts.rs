//! The Lua steps, and how calls and replies look to them.

use std::collections::BTreeMap;

use redis::{Cmd, Connection, RedisResult, Script, Value as RedisValue};

use crate::caspaxos::{
    AcceptorId, AcceptorStatus, Age, Ballot, Batch, Call, Enrolment, EnrolmentClaim, Epoch, Fence,
    Floor, ListEntry, ListKind, ListPage, ListRequest, Reply, Request, Value,
};
use crate::generation::{Claim, Generation};
use crate::identity::{BadClusterId, Nonce};
use crate::kv::Key;
use crate::store::{encoding, page};

/// The scripts, one per kind of request.
pub struct Scripts {
    prepare: Step,
    accept: Step,
    read: Step,
    list: Step,
    remove: Step,
    raise: Step,
    enrol: Step,
    note: Step,
    confirm: Step,
    mark: Step,
    wipe: Step,
    status: Step,
}

/// A script by its text and by its hash.
struct Step {
    text: &'static str,
    script: Script,
}

/// How a command names its script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By its hash, which works once the script is loaded.
    Hash,
    /// By its whole text, which always works.
    Text,
}

/// How the keys of one cluster are called in Redis. The braces keep them on
/// one node where Redis runs as a cluster.
pub struct Names {
    /// What the names of the registers begin with.
    registers: String,
    /// The sorted set of the keys with an accepted value.
    index: String,
    /// The standing of the acceptor.
    standing: String,
    /// The sorted set of the keys without a live record.
    dead: String,
    /// The acceptor that keeps its registers there.
    acceptor: String,
}

impl Names {
    /// The names for an acceptor of a cluster.
    pub fn new(cluster: &str, acceptor: &AcceptorId) -> Self {
        Names {
            registers: format!("gryadka:{{{cluster}}}:r:"),
            index: format!("gryadka:{{{cluster}}}:index"),
            standing: format!("gryadka:{{{cluster}}}:standing"),
            dead: format!("gryadka:{{{cluster}}}:dead"),
            acceptor: acceptor.to_string(),
        }
    }

    /// The key that a server has from the first connection on.
    pub fn standing(&self) -> &str {
        &self.standing
    }
}

impl Scripts {
    /// The scripts of this version.
    pub fn new() -> Self {
        macro_rules! step {
            ($($file:literal),*) => {{
                let text = concat!($(include_str!(concat!("../lua/", $file, ".lua"))),*);
                Step { text, script: Script::new(text) }
            }};
        }
        /// Of an acceptor that serves.
        macro_rules! serving {
            ($($file:literal),*) => {
                step!("common", "admit", "enrolled", "confirmed", "fenced", $($file),*)
            };
        }
        Scripts {
            prepare: serving!("current", "prepare"),
            accept: serving!("current", "accept"),
            read: serving!("current", "read"),
            list: serving!("current", "list"),
            remove: serving!("current", "remove"),
            raise: step!("common", "admit", "enrolled", "fenced", "told", "raise"),
            mark: serving!("current", "mark"),
            note: step!("common", "admit", "enrolled", "fenced", "note"),
            confirm: step!("common", "admit", "enrolled", "fenced", "confirm"),
            enrol: step!("common", "admit", "fenced", "told", "enrol"),
            wipe: step!("common", "admit", "fenced", "wipe"),
            status: step!("common", "status"),
        }
    }

    /// Loads all of them, so that they can be named by their hashes.
    pub fn load(&self, connection: &mut Connection) -> RedisResult<()> {
        let registers = [&self.prepare, &self.accept, &self.read, &self.list, &self.remove];
        let cluster = [&self.raise, &self.enrol, &self.wipe, &self.status];
        let confirmation = [&self.note, &self.confirm, &self.mark];
        let mut all = registers.iter().chain(&cluster).chain(&confirmation);
        all.try_for_each(|step| step.script.load(connection).map(drop))
    }

    /// The command that begins the next generation of an acceptor, if its server
    /// was started since the last time; `run` is what the server drew then.
    pub fn begin(names: &Names, run: &str) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("../lua/begin.lua")).arg(1).arg(&names.standing);
        command.arg(run).arg(format!("{:020}", rand::random::<u64>()));
        command
    }

    /// The command that runs the step of a call.
    pub fn command(&self, names: &Names, call: &Call, naming: Naming) -> Cmd {
        let digits = |number: u64| format!("{number:020}");
        let fields = |enrolment: &Enrolment| {
            let Enrolment { epoch, generation } = enrolment;
            [epoch.0, generation.count, generation.tag].map(digits)
        };
        let start = |step: &Step, register: String| {
            let mut command = match naming {
                Naming::Hash => redis::cmd("EVALSHA").arg(step.script.get_hash()).clone(),
                Naming::Text => redis::cmd("EVAL").arg(step.text).clone(),
            };
            command.arg(4).arg(register).arg(&names.index).arg(&names.standing).arg(&names.dead);
            command.arg(digits(call.epoch.0)).arg(digits(call.age.0));
            let cluster = call.cluster.map_or_else(String::new, |cluster| cluster.to_string());
            command.arg(cluster).arg(&names.acceptor);
            command
        };
        let register = |key: &Key| format!("{}{key}", names.registers);
        match &call.request {
            Request::Prepare { key, ballot } => {
                let mut command = start(&self.prepare, register(key));
                command.arg(ballot.to_sortable()).arg(key.as_str());
                command
            }
            Request::Accept { key, ballot, value, next } => {
                let mut command = start(&self.accept, register(key));
                command.arg(ballot.to_sortable()).arg(next.to_sortable());
                command.arg(encoding::encode_with_memory(value)).arg(key.as_str());
                command.arg(if value.record.is_live() { "live" } else { "dead" });
                command.arg(if call.request.is_consistent() { "consistent" } else { "" });
                command
            }
            Request::Read { key } => start(&self.read, register(key)),
            Request::List(request) => {
                let mut command = start(&self.list, names.registers.clone());
                let (from, to) = bounds(request);
                command.arg(from).arg(to).arg(page::limit_bytes(request));
                command.arg(match request.kind {
                    ListKind::Accepted => "accepted",
                    ListKind::Dead => "dead",
                });
                command
            }
            Request::Remove { key, accepted, floor } => {
                let mut command = start(&self.remove, register(key));
                command.arg(accepted.to_sortable()).arg(digits(*floor)).arg(key.as_str());
                command
            }
            Request::Raise { fence } | Request::Enrol { fence, .. } => {
                let is_raise = matches!(call.request, Request::Raise { .. });
                let step = if is_raise { &self.raise } else { &self.enrol };
                let mut command = start(step, names.registers.clone());
                let Fence { epoch, configuration, age, floor, collected } = fence;
                command.arg(digits(epoch.0)).arg(digits(age.0)).arg(digits(floor.counter));
                command.arg(digits(floor.index));
                let known = configuration.as_ref().map_or(0, |known| known.epoch.0);
                command.arg(digits(known));
                let text = configuration.as_ref().map(serde_json::to_vec);
                let text = text.transpose().expect("a configuration can be written");
                command.arg(text.unwrap_or_default()).arg(encoding::encode(collected));
                let is_valid = configuration.as_ref().is_none_or(|told| told.validate().is_ok());
                command.arg(if is_valid { "valid" } else { "" });
                if let Request::Enrol { counter, is_founding, .. } = &call.request {
                    command.arg(digits(*counter)).arg(if *is_founding { "founding" } else { "" });
                }
                command
            }
            Request::Note { of, claim } => {
                let mut command = start(&self.note, names.registers.clone());
                let tried: Vec<String> = claim.claim.tried.iter().copied().map(digits).collect();
                command.arg(&*of.0).arg(&fields(&claim.enrolment())).arg(tried.join(" "));
                command.arg(if tried.len() > Claim::MAX_TRIED { "too many" } else { "" });
                command
            }
            Request::Confirm { enrolment, tag } => {
                let mut command = start(&self.confirm, names.registers.clone());
                command.arg(&fields(enrolment)).arg(digits(*tag));
                command
            }
            Request::Mark { tag } => {
                let mut command = start(&self.mark, names.registers.clone());
                command.arg(digits(*tag));
                command
            }
            Request::Wipe => start(&self.wipe, names.registers.clone()),
            Request::Status => {
                let mut command = start(&self.status, names.registers.clone());
                command.arg(digits(rand::random()));
                command
            }
        }
    }
}

/// The bounds of a listing for ZRANGEBYLEX. Keys are UTF-8, in which no byte
/// is 0xff, so all that begin with the prefix are below prefix and 0xff.
fn bounds(request: &ListRequest) -> (String, Vec<u8>) {
    let (least, is_excluded) = page::lower_bound(request);
    let from = format!("{}{least}", if is_excluded { '(' } else { '[' });
    let to = match request.prefix.as_bytes() {
        [] => b"+".to_vec(),
        prefix => [b"(", prefix, b"\xff"].concat(),
    };
    (from, to)
}

/// What a script answered.
pub struct Answer {
    /// The reply to the call.
    pub reply: Reply,
    /// Two values came under one ballot.
    pub is_alarm: bool,
}

/// Reads the answer of a script; the error says what is wrong with it.
pub fn parse(answer: RedisValue) -> Result<Answer, String> {
    let RedisValue::Array(fields) = answer else {
        return Err(format!("a script answered {answer:?}, which is no list"));
    };
    let mut fields = Fields(fields.into_iter());
    let kind = fields.text()?;
    let mut is_alarm = false;
    let reply = match kind.as_str() {
        "prepared" => Reply::Prepared { accepted: fields.ballot()?, value: fields.value()? },
        "accepted" => Reply::Accepted,
        "conflict" => {
            let seen = fields.ballot()?;
            is_alarm = fields.text()? == "alarm";
            Reply::Conflict { seen }
        }
        "was_read" => {
            let accepted = fields.ballot()?;
            Reply::WasRead { accepted, record: fields.value()?.record }
        }
        "listed" => Reply::Listed(fields.page()?),
        "fenced" => Reply::Fenced(fields.fence()?),
        "raised" => {
            let is_aged = fields.text()? == "aged";
            Reply::Raised { is_aged, fence: fields.fence()? }
        }
        "not_enrolled" => Reply::NotEnrolled,
        "other_cluster" => Reply::OtherCluster {
            held: fields.text()?.parse().map_err(|bad: BadClusterId| bad.to_string())?,
        },
        "other_acceptor" => {
            let held = fields.text()?;
            return Err(format!(
                "it keeps the registers of acceptor {held}; give each acceptor a server of its own"
            ));
        }
        "unconfirmed" => Reply::Unconfirmed(fields.claim()?),
        "noted" => Reply::Noted(fields.enrolment()?),
        "confirmed" => Reply::Confirmed(fields.enrolment()?),
        "marked" => Reply::Marked(fields.enrolment()?),
        "behind" => Reply::Behind,
        "too_high" => Reply::TooHigh,
        "not_empty" => Reply::NotEmpty,
        "removed" => Reply::Removed { is_gone: fields.text()? == "gone" },
        "wiped" => Reply::Wiped,
        "status" => {
            let fence = fields.fence()?;
            let cluster = match fields.text()?.as_str() {
                "" => None,
                id => Some(id.parse().map_err(|bad: BadClusterId| bad.to_string())?),
            };
            let nonce = Nonce(fields.digits()?);
            let claim = fields.claim()?;
            let is_confirmed = fields.text()? == "yes";
            let known = fields.known()?;
            let (registers, dead) = (fields.integer()?, fields.integer()?);
            Reply::Status(AcceptorStatus {
                fence,
                cluster,
                nonce,
                claim,
                is_confirmed,
                known,
                registers,
                dead,
            })
        }
        kind => return Err(format!("a script answered an unknown {kind:?}")),
    };
    Ok(Answer { reply, is_alarm })
}

/// True when a wipe has more to remove.
pub fn is_wiping(answer: &RedisValue) -> bool {
    let RedisValue::Array(fields) = answer else { return false };
    fields.first() == Some(&RedisValue::BulkString(b"wiping".to_vec()))
}

/// The fields of a script's answer that are not read yet.
struct Fields(std::vec::IntoIter<RedisValue>);

impl Fields {
    /// `None` for Lua's `false`: a field of the register that is missing.
    fn bytes(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.0.next() {
            Some(RedisValue::BulkString(bytes)) => Ok(Some(bytes)),
            Some(RedisValue::Nil) => Ok(None),
            Some(other) => Err(format!("a script answered {other:?} where text belongs")),
            None => Err("the answer of a script ends too soon".into()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.bytes()?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|error| format!("{error}"))
    }

    fn digits(&mut self) -> Result<u64, String> {
        let digits = self.text()?;
        digits.parse().map_err(|_| format!("the number {digits:?} is damaged"))
    }

    fn integer(&mut self) -> Result<u64, String> {
        match self.0.next() {
            Some(RedisValue::Int(number)) => u64::try_from(number).map_err(|e| e.to_string()),
            other => Err(format!("a script answered {other:?} where a number belongs")),
        }
    }

    /// What the acceptor knows of others: a list of names and enrolments.
    fn known(&mut self) -> Result<BTreeMap<AcceptorId, Enrolment>, String> {
        let Some(RedisValue::Array(fields)) = self.0.next() else {
            return Err("a script answered no list of acceptors".into());
        };
        let (mut fields, mut known) = (Fields(fields.into_iter()), BTreeMap::new());
        while fields.0.len() > 0 {
            let (id, text) = (AcceptorId::from(fields.text()?.as_str()), fields.text()?);
            let part = |at: usize| {
                let digits = text.get(20 * at..20 * at + 20).and_then(|it| it.parse().ok());
                digits.ok_or_else(|| format!("the enrolment {text:?} is damaged"))
            };
            let generation = Generation { count: part(1)?, tag: part(2)? };
            known.insert(id, Enrolment { epoch: Epoch(part(0)?), generation });
        }
        Ok(known)
    }

    fn claim(&mut self) -> Result<EnrolmentClaim, String> {
        let Enrolment { epoch, generation } = self.enrolment()?;
        let tried = self.text()?;
        let tag = |text: &str| text.parse().map_err(|_| format!("the tag {text:?} is damaged"));
        let tried = tried.split_whitespace().map(tag).collect::<Result<_, String>>()?;
        Ok(EnrolmentClaim { epoch, claim: Claim { generation, tried } })
    }

    fn enrolment(&mut self) -> Result<Enrolment, String> {
        let epoch = Epoch(self.digits()?);
        let generation = Generation { count: self.digits()?, tag: self.digits()? };
        Ok(Enrolment { epoch, generation })
    }

    fn fence(&mut self) -> Result<Fence, String> {
        let (epoch, age) = (Epoch(self.digits()?), Age(self.digits()?));
        let floor = Floor { counter: self.digits()?, index: self.digits()? };
        let collected = match self.bytes()?.unwrap_or_default().as_slice() {
            [] => Batch::default(),
            bytes => encoding::decode(bytes).map_err(|why| format!("a batch is damaged: {why}"))?,
        };
        let configuration = match self.bytes()? {
            None => None,
            Some(text) => {
                let parsed = serde_json::from_slice(&text);
                Some(parsed.map_err(|error| format!("the configuration is damaged: {error}"))?)
            }
        };
        Ok(Fence { epoch, configuration, age, floor, collected })
    }

    fn ballot(&mut self) -> Result<Ballot, String> {
        let text = self.text()?;
        Ballot::from_sortable(&text).ok_or_else(|| format!("the ballot {text:?} is damaged"))
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.bytes()? {
            None => Ok(Value::default()),
            Some(bytes) => encoding::decode_with_memory(&bytes)
                .map_err(|why| format!("a value is damaged: {why}")),
        }
    }

    fn page(&mut self) -> Result<ListPage, String> {
        let is_cut = self.text()? == "more";
        let mut entries = Vec::with_capacity(self.0.len() / 3);
        while self.0.len() > 0 {
            let text = self.text()?;
            let key = Key::try_from(text.as_str()).map_err(|error| error.to_string())?;
            let accepted = self.ballot()?;
            entries.push(ListEntry { key, accepted, record: self.value()?.record });
        }
        let last = entries.last().map(|entry| entry.key.clone());
        Ok(ListPage { entries, more_after: last.filter(|_| is_cut) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_know_the_zero_ballot() {
        assert!(include_str!("../lua/common.lua").contains(&Ballot::ZERO.to_sortable()));
    }

    #[test]
    fn answers_that_no_script_gives_are_errors() {
        let text = |text: &str| RedisValue::BulkString(text.into());
        let zero = text(&Ballot::ZERO.to_sortable());
        let bad = [
            RedisValue::Nil,
            RedisValue::Array(vec![]),
            RedisValue::Array(vec![text("promised")]),
            RedisValue::Array(vec![text("prepared"), text("7")]),
            RedisValue::Array(vec![text("prepared"), zero.clone()]),
            RedisValue::Array(vec![text("prepared"), zero.clone(), text("\u{9}")]),
            RedisValue::Array(vec![text("fenced"), text("seven")]),
            RedisValue::Array(vec![text("listed"), text(""), text(""), zero]),
        ];
        for answer in bad {
            assert!(parse(answer.clone()).is_err(), "{answer:?}");
        }
    }
}
