//! Where a search for a linearization stands, and which moves it has.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use super::history::{End, IndexOrder, Observation, Operation};
use super::indices::unclaimed;
use crate::kv::{Command, Outcome, Record, Verdict, apply};

/// What an operation may turn the value into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Makes {
    Nothing,
    /// This value, if it changes anything.
    Value(usize),
    /// A value that only the state before tells.
    Anything,
}

/// An operation with what can be said of it before the search.
struct Task<'a> {
    operation: &'a Operation,
    /// What its client saw; `None` when its end is unknown.
    observation: Option<&'a Observation>,
    returned: u64,
    /// The modified index that it must find, where that was seen.
    before_index: Option<u64>,
    /// The value that it must find, where that was seen.
    needs: Option<usize>,
    makes: Makes,
    /// The modified index that it made, where that was seen.
    after_index: Option<u64>,
    /// The nearest earlier operation of unknown end with the same command.
    twin: Option<usize>,
}

/// A list of tasks from which any can be taken out, and put back in the
/// opposite order ("dancing links").
struct Order {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Order {
    fn of(tasks: &[usize], count: usize) -> Order {
        let mut order = Order { next: vec![count; count + 1], previous: vec![count; count + 1] };
        let mut last = count;
        for &task in tasks {
            (order.next[last], order.previous[task]) = (task, last);
            last = task;
        }
        (order.next[last], order.previous[count]) = (count, last);
        order
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let end = self.next.len() - 1;
        std::iter::successors(Some(self.next[end]), |&task| Some(self.next[task]))
            .take_while(move |&task| task != end)
    }

    fn take(&mut self, task: usize) {
        let (next, previous) = (self.next[task], self.previous[task]);
        (self.next[previous], self.previous[next]) = (next, previous);
    }

    fn put_back(&mut self, task: usize) {
        let (next, previous) = (self.next[task], self.previous[task]);
        (self.next[previous], self.previous[next]) = (task, task);
    }
}

/// One way to go on: which operation comes next, and what it leaves.
#[derive(Clone)]
pub struct Move {
    /// The operation.
    pub task: usize,
    /// The record after it.
    pub after: Record,
}

/// The operations that were put in order so far, as a set, and the record
/// that they lead to.
pub struct Position<'a> {
    tasks: Vec<Task<'a>>,
    values: HashMap<Option<Bytes>, usize>,
    order: IndexOrder,
    /// Indices that were seen and that only operations of unknown end can have
    /// made, with the value where that was seen.
    unclaimed: BTreeMap<u64, Option<Bytes>>,
    sees_indices: bool,
    /// Operations with a known outcome that are left, by call time.
    open: Order,
    open_count: usize,
    /// Those of them that tell the index they found, by that index.
    by_index: Order,
    unknown: Vec<usize>,
    is_taken: Vec<bool>,
    /// How many open operations must find a value, and how many operations
    /// that are left may make it, by the value's number.
    needed: Vec<u32>,
    makers: Vec<u32>,
    makers_of_anything: u32,
    set_hash: u128,
    /// The record.
    pub state: Record,
}

impl<'a> Position<'a> {
    /// The start: nothing in order, an absent key. Operations that failed
    /// for certain took no effect and are left out.
    pub fn start(operations: &[&'a Operation], order: IndexOrder) -> Self {
        let mut sorted: Vec<&Operation> = operations.to_vec();
        sorted.retain(|operation| operation.end != End::Failed);
        sorted.sort_by_key(|operation| operation.called);
        let mut values = HashMap::new();
        let mut twins = HashMap::new();
        let mut tasks: Vec<Task> = Vec::with_capacity(sorted.len());
        for operation in sorted {
            let mut task = Task::of(operation, &mut values);
            if task.observation.is_none() {
                task.twin = twins.insert(&operation.command, tasks.len());
            }
            tasks.push(task);
        }
        let is_open = |task: &usize| tasks[*task].observation.is_some();
        let (open, unknown): (Vec<usize>, Vec<usize>) = (0..tasks.len()).partition(is_open);
        let mut indexed: Vec<usize> = open.clone();
        indexed.retain(|task| tasks[*task].before_index.is_some());
        indexed.sort_by_key(|task| tasks[*task].before_index);
        let mut position = Position {
            order,
            unclaimed: match order {
                IndexOrder::PerKey => BTreeMap::new(),
                IndexOrder::Global => unclaimed(operations),
            },
            sees_indices: tasks.iter().any(Task::sees_indices),
            open: Order::of(&open, tasks.len()),
            open_count: open.len(),
            by_index: Order::of(&indexed, tasks.len()),
            unknown,
            is_taken: vec![false; tasks.len()],
            needed: vec![0; values.len()],
            makers: vec![0; values.len()],
            makers_of_anything: 0,
            set_hash: 0,
            state: Record::default(),
            tasks,
            values,
        };
        (0..position.tasks.len()).for_each(|task| position.count(task, true));
        position
    }

    /// How many operations with a known outcome are left.
    pub fn open_count(&self) -> usize {
        self.open_count
    }

    /// The operation of a task.
    pub fn operation(&self, task: usize) -> &'a Operation {
        self.tasks[task].operation
    }

    /// True when the end of the operation is unknown.
    pub fn is_unknown(&self, task: usize) -> bool {
        self.tasks[task].observation.is_none()
    }

    /// True when the operation changed nothing, whatever it found.
    pub fn changes_nothing(&self, task: usize) -> bool {
        self.tasks[task].changes_nothing()
    }

    /// What the command of a task does to `state`.
    pub fn outcome_on(&self, state: &Record, task: usize) -> Outcome {
        let seen = match self.order {
            IndexOrder::PerKey => None,
            IndexOrder::Global => self.tasks[task].after_index,
        };
        self.outcome_at(state, task, seen.unwrap_or(0))
    }

    /// The same, if the change is made at this index or, where it is past, at
    /// the next one.
    fn outcome_at(&self, state: &Record, task: usize, index: u64) -> Outcome {
        let index = index.max(state.modified_index + 1);
        apply(state, &self.tasks[task].operation.command, index)
    }

    /// What an operation of unknown end may have done, at the next index or,
    /// where other keys take some, at one that was seen and that none of the
    /// others made. One that nobody saw may as well be the next.
    fn outcomes_of_unknown(&self, task: usize) -> impl Iterator<Item = Outcome> {
        let past = self.state.modified_index + 1;
        let next = self.outcome_at(&self.state, task, past);
        let later = self.unclaimed.range(past + 1..).filter_map(move |(index, value)| {
            let outcome = self.outcome_at(&self.state, task, *index);
            let fits = value.is_none() || outcome.after.value == *value;
            fits.then_some(outcome)
        });
        std::iter::once(next).chain(later).filter(|o| !self.is_same(&o.after, &o.before))
    }

    /// The open operations that may come next: called before any other open
    /// one had returned.
    pub fn candidates(&self) -> impl Iterator<Item = usize> + '_ {
        let mut horizon = u64::MAX;
        self.open.iter().take_while(move |&task| {
            let is_in_time = self.tasks[task].operation.called <= horizon;
            horizon = horizon.min(self.tasks[task].returned);
            is_in_time
        })
    }

    /// The moves by operations with a known outcome, the most pressing first.
    ///
    /// One that fits and can change nothing anywhere may always go first: it
    /// can be moved to the front of whatever order the rest has. So it is the
    /// only move.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for task in self.candidates() {
            let outcome = self.outcome_on(&self.state, task);
            if !self.tasks[task].agrees_with(&outcome) {
                continue;
            }
            let is_free = self.tasks[task].changes_nothing();
            if is_free {
                moves.clear();
            }
            moves.push(Move { task, after: outcome.after });
            if is_free {
                break;
            }
        }
        moves.sort_by_key(|each| self.tasks[each.task].returned);
        moves
    }

    /// The moves by operations of unknown end. One that changes nothing may
    /// as well never have been, and of equal commands the first goes first.
    pub fn moves_of_unknown(&self) -> Vec<Move> {
        let mut horizon = u64::MAX;
        for task in self.candidates() {
            horizon = horizon.min(self.tasks[task].returned);
        }
        let mut moves = Vec::new();
        for &task in &self.unknown {
            if self.tasks[task].operation.called > horizon {
                break;
            }
            let waits_for_twin = self.tasks[task].twin.is_some_and(|twin| !self.is_taken[twin]);
            if self.is_taken[task] || waits_for_twin {
                continue;
            }
            let outcomes = self.outcomes_of_unknown(task);
            moves.extend(outcomes.map(|outcome| Move { task, after: outcome.after }));
        }
        // One that somebody saw is likely the next to be seen; but where
        // changes are counted, one that nobody saw is used up first.
        moves.sort_by_key(|each| (self.needed_of(&each.after) > 0) == self.sees_indices);
        moves
    }

    /// True when `next`, which would follow an operation of unknown end that
    /// was taken at `earlier`, fits and does the same without it.
    pub fn is_in_vain_since(&self, earlier: &Record, next: &Move) -> bool {
        let index = match self.order {
            IndexOrder::PerKey => 0,
            IndexOrder::Global => next.after.modified_index,
        };
        let without = self.outcome_at(earlier, next.task, index);
        self.tasks[next.task].agrees_with(&without) && self.is_same(&without.after, &next.after)
    }

    /// Takes an operation; returns the record before it.
    pub fn take(&mut self, next: &Move) -> Record {
        self.is_taken[next.task] = true;
        self.set_hash ^= wide_hash(next.task as u64);
        if !self.is_unknown(next.task) {
            self.open.take(next.task);
            self.open_count -= 1;
            if self.tasks[next.task].before_index.is_some() {
                self.by_index.take(next.task);
            }
        }
        self.count(next.task, false);
        std::mem::replace(&mut self.state, next.after.clone())
    }

    /// Undoes the last [`Position::take`] that was not undone yet.
    pub fn put_back(&mut self, task: usize, before: Record) {
        self.state = before;
        self.count(task, true);
        if !self.is_unknown(task) {
            if self.tasks[task].before_index.is_some() {
                self.by_index.put_back(task);
            }
            self.open_count += 1;
            self.open.put_back(task);
        }
        self.set_hash ^= wide_hash(task as u64);
        self.is_taken[task] = false;
    }

    /// True when an open operation can never find what it saw, now that the
    /// record is no longer `earlier`.
    pub fn is_dead_end_after(&self, earlier: &Record) -> bool {
        if let Some(first) = self.by_index.iter().next() {
            let index = self.tasks[first].before_index.expect("it is in the list");
            if index < self.state.modified_index {
                return true;
            }
            // An index is of one record only, and a life that was seen at
            // its end was there since it began.
            let observation = self.tasks[first].observation.expect("it is open");
            let before = &observation.before;
            let is_other_life = before.created_index.is_some_and(|created| {
                created <= self.state.modified_index && created != self.state.created_index
            });
            let is_other = index == self.state.modified_index && !before.agrees_with(&self.state);
            if is_other || is_other_life {
                return true;
            }
        }
        let Some(&value) = self.values.get(&earlier.value) else { return false };
        let is_gone = earlier.value != self.state.value
            && self.makers[value] == 0
            && self.makers_of_anything == 0;
        is_gone && self.needed[value] > 0
    }

    /// Names the position among all of this search.
    pub fn hash(&self) -> u128 {
        let mut hasher = DefaultHasher::new();
        match self.sees_indices {
            true => self.state.hash(&mut hasher),
            false => self.state.value.hash(&mut hasher),
        }
        self.set_hash ^ wide_hash(hasher.finish() ^ 0x5bd1_e995_7f4a_7c15)
    }

    fn is_same(&self, one: &Record, other: &Record) -> bool {
        if self.sees_indices { one == other } else { one.value == other.value }
    }

    fn needed_of(&self, record: &Record) -> u32 {
        self.values.get(&record.value).map_or(0, |&value| self.needed[value])
    }

    /// Counts a task in, or out again, as one that needs and makes values.
    fn count(&mut self, task: usize, is_left: bool) {
        let change = |count: &mut u32| if is_left { *count += 1 } else { *count -= 1 };
        let Task { needs, makes, .. } = self.tasks[task];
        needs.into_iter().for_each(|value| change(&mut self.needed[value]));
        match makes {
            Makes::Nothing => {}
            Makes::Value(value) => change(&mut self.makers[value]),
            Makes::Anything => change(&mut self.makers_of_anything),
        }
    }
}

impl<'a> Task<'a> {
    fn of(operation: &'a Operation, values: &mut HashMap<Option<Bytes>, usize>) -> Task<'a> {
        let mut number = |value: Option<Bytes>| {
            let next = values.len();
            *values.entry(value).or_insert(next)
        };
        let (observation, returned) = match &operation.end {
            End::Returned { at, observation } => (Some(observation), *at),
            End::Unknown | End::Failed => (None, u64::MAX),
        };
        let needs = observation.and_then(|seen| value_found(&operation.command, seen));
        let before_index = observation.and_then(|seen| seen.before.modified_index);
        let makes = match made(&operation.command, observation) {
            None => Makes::Nothing,
            Some(None) => Makes::Anything,
            Some(Some(value)) => Makes::Value(number(value)),
        };
        let needs = needs.map(number);
        let after_index = observation.and_then(|seen| seen.after.modified_index);
        let twin = None;
        Task { operation, observation, returned, before_index, needs, makes, after_index, twin }
    }

    fn agrees_with(&self, outcome: &Outcome) -> bool {
        self.observation.is_none_or(|observation| observation.agrees_with(outcome))
    }

    /// True when what was seen tells that the operation changed nothing. An
    /// unseen deletion may have found the key absent here, and change it
    /// elsewhere.
    fn changes_nothing(&self) -> bool {
        let Some(seen) = self.observation else { return false };
        let indices = (seen.before.modified_index, seen.after.modified_index);
        self.operation.command.is_read()
            || seen.verdict.is_some_and(|verdict| verdict != Verdict::Done)
            || indices.0.is_some() && indices.0 == indices.1
    }

    /// True when it matters to the operation how often the key was changed.
    fn sees_indices(&self) -> bool {
        let compares = match &self.operation.command {
            Command::CompareAndSwap(compare, _) | Command::CompareAndDelete(compare) => {
                compare.index.is_some()
            }
            Command::Get
            | Command::Set(_)
            | Command::Create(_)
            | Command::Update(_)
            | Command::Delete
            | Command::Add(_)
            | Command::WriteVersion(_) => false,
        };
        let shows = |seen: &Observation| seen.before.has_index() || seen.after.has_index();
        compares || self.observation.is_some_and(shows)
    }
}

/// The value that a command must have found to answer what was seen.
fn value_found(command: &Command, seen: &Observation) -> Option<Option<Bytes>> {
    if let Some(value) = &seen.before.value {
        return Some(value.clone());
    }
    match command {
        Command::Get => seen.after.value.clone(),
        Command::CompareAndSwap(compare, _) | Command::CompareAndDelete(compare)
            if seen.verdict == Some(Verdict::Done) =>
        {
            compare.value.clone().map(Some)
        }
        _ => None,
    }
}

/// The value that a command may write: `None` when it writes none, and
/// `Some(None)` when that depends on what it finds.
fn made(command: &Command, seen: Option<&Observation>) -> Option<Option<Option<Bytes>>> {
    if seen.and_then(|seen| seen.verdict).is_some_and(|verdict| verdict != Verdict::Done) {
        return None;
    }
    match command {
        Command::Get => None,
        Command::Set(value)
        | Command::Create(value)
        | Command::Update(value)
        | Command::CompareAndSwap(_, value) => Some(Some(Some(value.clone()))),
        Command::Delete | Command::CompareAndDelete(_) => Some(Some(None)),
        Command::WriteVersion(pair) => pair.next().map(|next| Some(Some(next))),
        Command::Add(_) => Some(seen.and_then(|seen| seen.after.value.clone())),
    }
}

/// 128 bits from 64, well mixed (splitmix64, twice).
fn wide_hash(seed: u64) -> u128 {
    let mix = |seed: u64| {
        let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x632b_e59b_d9b4_e019);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    u128::from(mix(seed)) << 64 | u128::from(mix(!seed))
}
