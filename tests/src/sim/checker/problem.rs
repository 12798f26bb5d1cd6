//! From a history to what is searched: the steps on some keys, each with what it sees and what it sets.
//!
//! An operation becomes a [`Step`] when it is seen from a set of keys: a get sees one pair, a put sets one, a batch
//! sets several, a scan sees several, a compare-and-set that held sees and sets, and one that did not hold sees
//! that a pair is *not* there. Seen from a subset of its keys an operation is the same operation with less of it,
//! and an order of the whole is an order of each part: so a part without an order is a violation.
//!
//! Steps of unknown outcome are optional. Before the search three facts take most of them away, each of which
//! leaves the answer as it is:
//!
//! - A write of unknown outcome that sets only what nobody sees afterwards may as well never happen.
//! - If only one write sets what was seen, then it happened, and before the one who saw it returned.
//! - The one who saw it cannot have read before that write was sent.
//!
//! Deliberately absent: time. Steps know event numbers.

use super::history::{Action, Answer, History, NEVER, NONE, Record, View, number};

/// What an operation has to do with one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) key: u32,
    pub(super) op: u32,
    /// Pairs, or `NONE`: seen, seen to be absent, set.
    pub(super) sees: u32,
    pub(super) misses: u32,
    pub(super) sets: u32,
}

impl Touch {
    const fn sees(op: u32, key: u32, pair: u32) -> Self {
        Self { key, op, sees: pair, misses: NONE, sets: NONE }
    }

    const fn sets(op: u32, key: u32, pair: u32) -> Self {
        Self { key, op, sees: NONE, misses: NONE, sets: pair }
    }
}

/// All touches of a history, by key, and in the order of invocation for each key.
#[derive(Debug, Default)]
pub(super) struct Touches {
    all: Vec<Touch>,
    /// Where each key's begin; one more than there are keys.
    starts: Vec<u32>,
    unsorted: Vec<Touch>,
    key_order: Vec<u32>,
}

impl Touches {
    /// Reads the history anew.
    pub(super) fn collect(&mut self, history: &History) {
        self.unsorted.clear();
        self.key_order.clear();
        for (op, record) in history.records.iter().enumerate() {
            self.record(history, number(op), record);
        }
        // A counting sort: it is stable, and linear.
        self.starts.clear();
        self.starts.resize(history.keys.len() + 1, 0);
        for touch in &self.unsorted {
            self.starts[touch.key as usize + 1] += 1;
        }
        for key in 0..history.keys.len() {
            self.starts[key + 1] += self.starts[key];
        }
        self.all.clear();
        self.all.resize(self.unsorted.len(), Touch::sees(0, 0, NONE));
        for touch in &self.unsorted {
            let at = &mut self.starts[touch.key as usize];
            self.all[*at as usize] = *touch;
            *at += 1;
        }
        // Each start has moved to its end, which is the start of the next.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// The touches of all keys, those of one operation next to each other.
    pub(super) fn by_operation(&self) -> impl Iterator<Item = &[Touch]> {
        self.unsorted.chunk_by(|a, b| a.op == b.op)
    }

    /// The touches of a key.
    pub(super) fn of(&self, key: u32) -> &[Touch] {
        let key = key as usize;
        &self.all[self.starts[key] as usize..self.starts[key + 1] as usize]
    }

    fn record(&mut self, history: &History, op: u32, record: &Record) {
        let key_of = |pair: u32| history.pairs[pair as usize].key;
        match (&record.action, &record.answer) {
            (_, Answer::NotApplied)
            | (Action::Get { .. } | Action::Scan { .. }, Answer::Unknown) => {}
            (&Action::Get { key }, &Answer::Value { pair }) => {
                self.unsorted.push(Touch::sees(op, key, pair));
            }
            (&Action::Write { pair, .. }, _) => {
                self.unsorted.push(Touch::sets(op, key_of(pair), pair));
            }
            (&Action::CompareAndSet { expected, .. }, Answer::Swapped(false)) => {
                let key = key_of(expected);
                self.unsorted.push(Touch { key, op, sees: NONE, misses: expected, sets: NONE });
            }
            (&Action::CompareAndSet { expected, new }, _) => {
                let key = key_of(expected);
                self.unsorted.push(Touch { key, op, sees: expected, misses: NONE, sets: new });
            }
            (Action::Batch { pairs }, _) => {
                let pairs = &history.lists[pairs.clone()];
                self.unsorted.extend(pairs.iter().map(|&p| Touch::sets(op, key_of(p), p)));
            }
            (Action::Scan { start, end, .. }, Answer::Page { pairs, next }) => {
                let found = &history.lists[pairs.clone()];
                self.unsorted.extend(found.iter().map(|&p| Touch::sees(op, key_of(p), p)));
                let end = match (end, next) {
                    (Some(end), Some(next)) => Some(end.min(next)),
                    (end, next) => end.as_ref().or(next.as_ref()),
                };
                self.absences(history, op, start, end.map(|end| &**end), found);
            }
            (action, answer) => unreachable!("{answer:?} to {action:?} was refused when recorded"),
        }
    }

    /// The keys of `[start, end)` that a scan did not find, and so saw to be absent.
    fn absences(
        &mut self,
        history: &History,
        op: u32,
        start: &[u8],
        end: Option<&[u8]>,
        found: &[u32],
    ) {
        let bytes = |key: u32| &*history.keys[key as usize].bytes;
        if self.key_order.is_empty() {
            self.key_order.extend(0..number(history.keys.len()));
            self.key_order.sort_unstable_by(|&a, &b| bytes(a).cmp(bytes(b)));
        }
        let from = self.key_order.partition_point(|&key| bytes(key) < start);
        for &key in &self.key_order[from..] {
            if end.is_some_and(|end| bytes(key) >= end) {
                break;
            }
            if found.binary_search_by_key(&key, |&p| history.pairs[p as usize].key).is_err() {
                let absent = history.keys[key as usize].absent;
                self.unsorted.push(Touch::sees(op, key, absent));
            }
        }
    }
}

/// What of a history is looked at: all of it, or less while evidence is made smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut<'a> {
    /// Nothing is known of what happens after this event.
    pub(super) until: u32,
    /// Operations left out, by number; empty when there are none.
    pub(super) without: &'a [bool],
}

impl Cut<'_> {
    pub(super) const NOTHING: Cut<'static> = Cut { until: NEVER, without: &[] };
}

/// One operation as it is seen from the keys of a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// It takes effect after this event,
    pub(super) call: u32,
    /// and before this one.
    pub(super) ret: u32,
    /// It may also never take effect.
    pub(super) optional: bool,
    /// A pair that must not be there, or `NONE`.
    pub(super) misses: u32,
    /// Where in [`Problem::lists`] the pairs lie that must be there, then those it sets.
    from: u32,
    middle: u32,
    to: u32,
}

/// Steps on some keys, to be put in order.
#[derive(Debug, Default)]
pub(super) struct Problem {
    pub(super) steps: Vec<Step>,
    pub(super) lists: Vec<u32>,
    gathered: Vec<Touch>,
    facts: Vec<Fact>,
    /// For each key, the last return of a step that saw a pair of it to be absent.
    missed_until: Vec<u32>,
}

/// What the steps of a problem say about a pair.
#[derive(Clone, Copy, Debug)]
struct Fact {
    writers: u32,
    /// One of the writers.
    writer: u32,
    /// The first event at which it may have been set.
    set_from: u32,
    /// The last event at which it may have been seen.
    seen_until: u32,
}

const NO_FACT: Fact = Fact { writers: 0, writer: NONE, set_from: NEVER, seen_until: 0 };

/// Rounds of taking steps away: each can make the next one possible, and few chains are longer.
const ROUNDS_MAX: u32 = 8;

impl Problem {
    /// The pairs that must be there.
    pub(super) fn sees(&self, step: &Step) -> &[u32] {
        &self.lists[step.from as usize..step.middle as usize]
    }

    /// The pairs that it sets.
    pub(super) fn sets(&self, step: &Step) -> &[u32] {
        &self.lists[step.middle as usize..step.to as usize]
    }

    /// Both, for those who only want to know whether two steps do the same.
    pub(super) fn effect(&self, step: &Step) -> (&[u32], &[u32]) {
        (self.sees(step), self.sets(step))
    }

    /// Takes up the steps on `keys`.
    pub(super) fn build(
        &mut self,
        history: &History,
        touches: &Touches,
        keys: &[u32],
        cut: Cut<'_>,
    ) {
        self.steps.clear();
        self.lists.clear();
        self.gathered.clear();
        for &key in keys {
            self.gathered.extend_from_slice(touches.of(key));
        }
        if keys.len() > 1 {
            self.gathered.sort_unstable_by_key(|touch| (touch.op, touch.key));
        }
        let gathered = std::mem::take(&mut self.gathered);
        for of_one in gathered.chunk_by(|a, b| a.op == b.op) {
            let op = of_one[0].op;
            let record = &history.records[op as usize];
            if record.call >= cut.until || cut.without.get(op as usize) == Some(&true) {
                continue;
            }
            let pending = record.bound() > cut.until;
            if let Action::Scan { view: View::PerKey, .. } = record.action {
                of_one.chunks(1).for_each(|one| self.step(record, one, pending));
            } else {
                self.step(record, of_one, pending);
            }
        }
        self.gathered = gathered;
    }

    fn step(&mut self, record: &Record, touches: &[Touch], pending: bool) {
        let place = |lists: &Vec<u32>| number(lists.len());
        let unknown = pending || matches!(record.answer, Answer::Unknown);
        // Who only sees, and was not answered yet, has seen nothing.
        if unknown && touches.iter().all(|touch| touch.sets == NONE) {
            return;
        }
        let from = place(&self.lists);
        self.lists.extend(touches.iter().map(|touch| touch.sees).filter(|&pair| pair != NONE));
        let middle = place(&self.lists);
        self.lists.extend(touches.iter().map(|touch| touch.sets).filter(|&pair| pair != NONE));
        let to = place(&self.lists);
        let ret = if unknown { NEVER } else { record.ret };
        let misses = touches[0].misses;
        self.steps.push(Step {
            call: record.call,
            ret,
            optional: unknown,
            misses,
            from,
            middle,
            to,
        });
    }

    /// Narrows intervals and takes optional steps away, as the head of this file says. False when it is plain that
    /// there is no order: something was seen that nobody can have set.
    pub(super) fn narrow(&mut self, history: &History) -> bool {
        self.facts.resize(history.pairs.len().max(self.facts.len()), NO_FACT);
        self.missed_until.resize(history.keys.len().max(self.missed_until.len()), 0);
        for _ in 0..ROUNDS_MAX {
            self.gather_facts(history);
            if !self.all_seen_was_set(history) {
                return false;
            }
            let before = self.steps.len();
            self.drop_unseen(history);
            let dropped = self.steps.len() < before;
            if dropped {
                self.gather_facts(history);
            }
            let settled = self.bound_by_facts(history);
            if !dropped && !settled {
                break;
            }
        }
        self.steps.sort_unstable_by_key(|step| step.call);
        true
    }

    fn gather_facts(&mut self, history: &History) {
        let key_of = |pair: u32| history.pairs[pair as usize].key as usize;
        for &pair in &self.lists {
            self.facts[pair as usize] = NO_FACT;
            self.missed_until[key_of(pair)] = 0;
        }
        for step in self.steps.iter().filter(|step| step.misses != NONE) {
            self.missed_until[key_of(step.misses)] = 0;
        }
        for (at, step) in self.steps.iter().enumerate() {
            for &pair in &self.lists[step.from as usize..step.middle as usize] {
                let fact = &mut self.facts[pair as usize];
                fact.seen_until = fact.seen_until.max(step.ret);
            }
            for &pair in &self.lists[step.middle as usize..step.to as usize] {
                let fact = &mut self.facts[pair as usize];
                fact.writers += 1;
                fact.writer = number(at);
                fact.set_from = fact.set_from.min(step.call);
            }
            if step.misses != NONE {
                let until = &mut self.missed_until[key_of(step.misses)];
                *until = (*until).max(step.ret);
            }
        }
    }

    /// Whether each pair that was seen is where its key begins, or was set by somebody in time.
    fn all_seen_was_set(&self, history: &History) -> bool {
        self.steps.iter().filter(|step| !step.optional).all(|step| {
            self.sees(step).iter().all(|&pair| {
                history.pairs[pair as usize].value == NONE
                    || self.facts[pair as usize].set_from < step.ret
            })
        })
    }

    /// A write of unknown outcome whose pairs nobody sees afterwards may as well never happen: without it each
    /// step sees what it saw before. Only who saw that some other pair was *not* there might need it.
    fn drop_unseen(&mut self, history: &History) {
        let (facts, lists, missed_until) = (&self.facts, &self.lists, &self.missed_until);
        self.steps.retain(|step| {
            !step.optional
                || lists[step.middle as usize..step.to as usize].iter().any(|&pair| {
                    let key = history.pairs[pair as usize].key as usize;
                    facts[pair as usize].seen_until > step.call || missed_until[key] > step.call
                })
        });
    }

    /// Where only one step sets what another saw, the two bound each other. True when an optional step thereby
    /// became one that happened.
    fn bound_by_facts(&mut self, history: &History) -> bool {
        let mut settled = false;
        for at in 0..self.steps.len() {
            let reader = self.steps[at];
            if reader.optional {
                continue;
            }
            for place in reader.from as usize..reader.middle as usize {
                let pair = self.lists[place];
                let fact = self.facts[pair as usize];
                let begins_there = history.pairs[pair as usize].value == NONE;
                if begins_there || fact.writers != 1 || fact.writer as usize == at {
                    continue;
                }
                let writer = &mut self.steps[fact.writer as usize];
                if writer.call >= reader.ret {
                    continue;
                }
                writer.ret = writer.ret.min(reader.ret);
                settled |= writer.optional;
                writer.optional = false;
                let call = writer.call;
                let reader = &mut self.steps[at];
                reader.call = reader.call.max(call);
            }
        }
        settled
    }
}
