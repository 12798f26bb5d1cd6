//! What the clients of a run asked and were told, recorded as it happens.
//!
//! Keys, values and their pairs are numbered when they are recorded, so that a check compares numbers and never
//! bytes. A pair is a key with a value, or with nothing: the state of a key is always one pair.
//!
//! The order of the calls to [`History::invoke`] and [`History::complete`] is the order of events that a check
//! relies on; `time` is only shown. A recorder calls `invoke` before the request leaves the client and
//! `complete` after the answer has arrived, and is then right whatever its clock does.
//!
//! Deliberately absent: judging. A record only has to have the shape of its operation.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::{Budget, Checked, Checker, Violation};

/// Stands where no pair is.
pub(super) const NONE: u32 = u32::MAX;

/// The event number of what has not happened.
pub(super) const NEVER: u32 = u32::MAX;

/// The number of a recorded operation, counted from zero in the order of invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// Reads a key. Answered by [`Reply::Value`].
    Get(&'a [u8]),
    /// Sets a key. Answered by [`Reply::Written`].
    Put(&'a [u8], &'a [u8]),
    /// Removes a key, or does nothing when it is not there. Answered by [`Reply::Written`].
    Delete(&'a [u8]),
    /// Sets a key when its value is what was expected. Answered by [`Reply::Swapped`].
    CompareAndSet {
        /// The key.
        key: &'a [u8],
        /// What it must hold; `None` when it must not exist.
        expected: Option<&'a [u8]>,
        /// What it shall hold; `None` when it shall be removed.
        new: Option<&'a [u8]>,
    },
    /// Sets (`Some`) and removes (`None`) keys at one moment; of two for one key the later counts. Answered by
    /// [`Reply::Written`].
    Batch(&'a [(&'a [u8], Option<&'a [u8]>)]),
    /// Reads all keys of `[start, end)`. Answered by [`Reply::Page`].
    Scan {
        /// The first key.
        start: &'a [u8],
        /// The end, itself outside.
        end: Option<&'a [u8]>,
        /// What the scan promises.
        view: View,
    },
}

/// What a scan promises about the moment at which its keys were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All keys were read at one moment.
    Whole,
    /// Each key was read at some moment of its own, between invocation and completion.
    PerKey,
}

/// What a client was told.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// The write is applied.
    Written,
    /// The value that was read.
    Value(Option<&'a [u8]>),
    /// Whether the comparison held, and the key was set.
    Swapped(bool),
    /// What a scan found.
    Page {
        /// The pairs, in any order.
        entries: &'a [(Vec<u8>, Vec<u8>)],
        /// Where a scan stopped before its end: nothing is claimed about keys from here on.
        next: Option<&'a [u8]>,
    },
}

/// How an operation ended, as far as its client knows.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It took effect, with this answer.
    Done(Reply<'a>),
    /// It took no effect and never will.
    NotApplied,
    /// It took effect, or will, or not at all.
    Unknown,
}

/// What was asked, in numbers.
#[derive(Debug)]
pub(super) enum Action {
    Get {
        key: u32,
    },
    /// One write of this pair.
    Write {
        pair: u32,
        delete: bool,
    },
    CompareAndSet {
        expected: u32,
        new: u32,
    },
    /// Pairs in [`History::lists`], sorted by key, one a key.
    Batch {
        pairs: Range<usize>,
    },
    Scan {
        start: Box<[u8]>,
        end: Option<Box<[u8]>>,
        view: View,
    },
}

/// What was answered, in numbers.
#[derive(Debug)]
pub(super) enum Answer {
    Unknown,
    NotApplied,
    Written,
    Value {
        pair: u32,
    },
    Swapped(bool),
    /// Pairs in [`History::lists`], sorted by key.
    Page {
        pairs: Range<usize>,
        next: Option<Box<[u8]>>,
    },
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) client: u64,
    pub(super) action: Action,
    pub(super) answer: Answer,
    pub(super) invoked: u64,
    /// When the client heard how it ended, be it that nobody knows.
    pub(super) completed: Option<u64>,
    /// Event numbers of invocation and completion.
    pub(super) call: u32,
    pub(super) ret: u32,
}

impl Record {
    /// The event after which the operation can no longer take effect.
    pub(super) const fn bound(&self) -> u32 {
        if matches!(self.answer, Answer::Unknown) { NEVER } else { self.ret }
    }
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) bytes: Arc<[u8]>,
    /// The pair of this key with nothing, which is where every key begins.
    pub(super) absent: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) key: u32,
    /// `NONE` when the key is absent.
    pub(super) value: u32,
}

/// Everything the clients of one run asked and were told.
#[derive(Debug, Default)]
pub struct History {
    pub(super) records: Vec<Record>,
    pub(super) keys: Vec<Key>,
    pub(super) pairs: Vec<Pair>,
    pub(super) values: Vec<Arc<[u8]>>,
    /// The pairs of batches and pages.
    pub(super) lists: Vec<u32>,
    /// Numbers of keys, values and pairs; only looked up, never walked.
    key_numbers: HashMap<Arc<[u8]>, u32, Seedless>,
    value_numbers: HashMap<Arc<[u8]>, u32, Seedless>,
    pair_numbers: HashMap<(u32, u32), u32, Seedless>,
    events: u32,
    last_time: u64,
}

impl History {
    /// A history without operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets everything and keeps the memory, for the next run.
    pub fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
        self.pairs.clear();
        self.values.clear();
        self.lists.clear();
        self.key_numbers.clear();
        self.value_numbers.clear();
        self.pair_numbers.clear();
        self.events = 0;
        self.last_time = 0;
    }

    /// Records that `client` sends `op` now. A client may have several under way.
    ///
    /// # Panics
    /// When `time` runs backwards.
    pub fn invoke(&mut self, client: u64, op: Op<'_>, time: u64) -> OpId {
        let call = self.event(time);
        let action = match op {
            Op::Get(key) => Action::Get { key: self.key(key) },
            Op::Put(key, value) => {
                Action::Write { pair: self.pair(key, Some(value)), delete: false }
            }
            Op::Delete(key) => Action::Write { pair: self.pair(key, None), delete: true },
            Op::CompareAndSet { key, expected, new } => Action::CompareAndSet {
                expected: self.pair(key, expected),
                new: self.pair(key, new),
            },
            Op::Batch(writes) => {
                let from = self.lists.len();
                for (key, value) in writes {
                    let pair = self.pair(key, *value);
                    let key = self.pairs[pair as usize].key;
                    let same =
                        self.lists[from..].iter().position(|&p| self.pairs[p as usize].key == key);
                    match same {
                        Some(at) => self.lists[from + at] = pair,
                        None => self.lists.push(pair),
                    }
                }
                Action::Batch { pairs: self.sorted_list(from) }
            }
            Op::Scan { start, end, view } => {
                Action::Scan { start: start.into(), end: end.map(Into::into), view }
            }
        };
        let id = OpId(number(self.records.len()));
        self.records.push(Record {
            client,
            action,
            answer: Answer::Unknown,
            invoked: time,
            completed: None,
            call,
            ret: NEVER,
        });
        id
    }

    /// Records that the client of `id` learns how it ended. An operation that is never completed is unknown.
    ///
    /// # Panics
    /// When it was completed before, the reply is none to such an operation, or `time` runs backwards.
    pub fn complete(&mut self, id: OpId, outcome: Outcome<'_>, time: u64) {
        let ret = self.event(time);
        let answer = match outcome {
            Outcome::Unknown => Answer::Unknown,
            Outcome::NotApplied => Answer::NotApplied,
            Outcome::Done(reply) => self.answer(id, reply),
        };
        let record = &mut self.records[id.0 as usize];
        assert!(record.completed.is_none(), "{id:?} was completed before");
        record.answer = answer;
        record.completed = Some(time);
        record.ret = ret;
    }

    fn answer(&mut self, id: OpId, reply: Reply<'_>) -> Answer {
        match (&self.records[id.0 as usize].action, reply) {
            (Action::Write { .. } | Action::Batch { .. }, Reply::Written) => Answer::Written,
            (Action::CompareAndSet { .. }, Reply::Swapped(swapped)) => Answer::Swapped(swapped),
            (&Action::Get { key }, Reply::Value(value)) => {
                Answer::Value { pair: self.pair_of(key, value) }
            }
            (Action::Scan { .. }, Reply::Page { entries, next }) => {
                let from = self.lists.len();
                for (key, value) in entries {
                    let pair = self.pair(key, Some(value));
                    self.lists.push(pair);
                }
                Answer::Page { pairs: self.sorted_list(from), next: next.map(Into::into) }
            }
            (action, reply) => panic!("{reply:?} is no answer to {action:?}"),
        }
    }

    /// Whether all recorded operations can be put in one order that respects their intervals and their answers.
    ///
    /// Who checks often keeps a [`Checker`], which keeps its memory.
    ///
    /// # Errors
    /// The [`Violation`] with the smallest evidence.
    pub fn check(&self, budget: Budget) -> Result<Checked, Violation> {
        Checker::new().check(self, budget)
    }

    fn event(&mut self, time: u64) -> u32 {
        assert!(time >= self.last_time, "time {time} after {}", self.last_time);
        self.last_time = time;
        let event = self.events;
        assert!(event < NEVER - 1, "more events than numbers");
        self.events += 1;
        event
    }

    /// The list from `from` on, brought into the order of its keys.
    fn sorted_list(&mut self, from: usize) -> Range<usize> {
        let pairs = &self.pairs;
        self.lists[from..].sort_unstable_by_key(|&p| pairs[p as usize].key);
        from..self.lists.len()
    }

    fn key(&mut self, bytes: &[u8]) -> u32 {
        if let Some(&key) = self.key_numbers.get(bytes) {
            return key;
        }
        let key = number(self.keys.len());
        let absent = number(self.pairs.len());
        self.pairs.push(Pair { key, value: NONE });
        let bytes: Arc<[u8]> = bytes.into();
        self.keys.push(Key { bytes: Arc::clone(&bytes), absent });
        self.key_numbers.insert(bytes, key);
        key
    }

    fn pair(&mut self, key: &[u8], value: Option<&[u8]>) -> u32 {
        let key = self.key(key);
        self.pair_of(key, value)
    }

    fn pair_of(&mut self, key: u32, value: Option<&[u8]>) -> u32 {
        let Some(bytes) = value else { return self.keys[key as usize].absent };
        let value = if let Some(&value) = self.value_numbers.get(bytes) {
            value
        } else {
            let value = number(self.values.len());
            let bytes: Arc<[u8]> = bytes.into();
            self.values.push(Arc::clone(&bytes));
            self.value_numbers.insert(bytes, value);
            value
        };
        *self.pair_numbers.entry((key, value)).or_insert_with(|| {
            self.pairs.push(Pair { key, value });
            number(self.pairs.len() - 1)
        })
    }

    /// The value of a pair.
    pub(super) fn value(&self, pair: u32) -> Option<&[u8]> {
        let value = self.pairs[pair as usize].value;
        (value != NONE).then(|| &*self.values[value as usize])
    }

    /// The key of a pair.
    pub(super) fn key_bytes(&self, pair: u32) -> &[u8] {
        &self.keys[self.pairs[pair as usize].key as usize].bytes
    }
}

/// Places in vectors are numbered with 32 bits: a run has fewer operations than that.
pub(super) fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than four thousand million of anything")
}

/// A hash without a random seed, so that a run can be repeated to the instruction.
pub(super) type Seedless = BuildHasherDefault<Folded>;

/// Multiplies and folds each word, as hash tables of numbers and short strings need it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
