//! A checker that tries every order on a plain map: the definition, and nothing else.
//!
//! It shares no code with the checker under test, not even the numbering of keys and pairs.

use std::collections::BTreeMap;

use super::super::{Op, Outcome, Reply, View};
use super::Recorder;

type Bytes = Vec<u8>;

/// What an event log says about one operation, in a form that can be kept and recorded again.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Get(Bytes),
    CompareAndSet(Bytes, Option<Bytes>, Option<Bytes>),
    Write(Vec<(Bytes, Option<Bytes>)>),
    Scan(Bytes, Option<Bytes>, View),
}

#[derive(Clone, Debug)]
pub(super) enum Told {
    Unknown,
    NotApplied,
    Written,
    Value(Option<Bytes>),
    Swapped(bool),
    Page(Vec<(Bytes, Bytes)>),
}

/// An operation with the events between which it took place.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) asked: Asked,
    pub(super) told: Told,
    pub(super) from: usize,
    /// The event of its completion, even if that brought no news; `None` when there was none.
    pub(super) to: Option<usize>,
}

pub(super) type Map = BTreeMap<Bytes, Bytes>;

fn set(map: &mut Map, key: &Bytes, value: Option<&Bytes>) {
    match value {
        Some(value) => map.insert(key.clone(), value.clone()),
        None => map.remove(key),
    };
}

impl Asked {
    /// Does it, and says what the answer is.
    pub(super) fn apply(&self, map: &mut Map) -> Told {
        match self {
            Self::Get(key) => Told::Value(map.get(key).cloned()),
            Self::CompareAndSet(key, expected, new) => {
                let holds = map.get(key) == expected.as_ref();
                if holds {
                    set(map, key, new.as_ref());
                }
                Told::Swapped(holds)
            }
            Self::Write(writes) => {
                writes.iter().for_each(|(key, value)| set(map, key, value.as_ref()));
                Told::Written
            }
            Self::Scan(start, end, _) => {
                let inside = |key: &Bytes| key >= start && end.as_ref().is_none_or(|end| key < end);
                Told::Page(
                    map.iter()
                        .filter(|(key, _)| inside(key))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect(),
                )
            }
        }
    }
}

fn same(a: &Told, b: &Told) -> bool {
    match (a, b) {
        (Told::Written, Told::Written) => true,
        (Told::Value(a), Told::Value(b)) => a == b,
        (Told::Swapped(a), Told::Swapped(b)) => a == b,
        (Told::Page(a), Told::Page(b)) => a == b,
        _ => false,
    }
}

/// Whether some order explains all. `all_keys` are the keys that exist for scans of each key.
pub(super) fn has_order(calls: &[Call], all_keys: &[Bytes]) -> bool {
    let mut single: Vec<Call> = Vec::new();
    for call in calls {
        match (&call.asked, &call.told) {
            (_, Told::NotApplied) => {}
            (Asked::Scan(start, end, View::PerKey), Told::Page(pairs)) => {
                let inside =
                    |key: &&Bytes| *key >= start && end.as_ref().is_none_or(|end| *key < end);
                for key in all_keys.iter().filter(inside) {
                    let found = pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
                    let (asked, told) = (Asked::Get(key.clone()), Told::Value(found));
                    single.push(Call { asked, told, ..call.clone() });
                }
            }
            _ => single.push(call.clone()),
        }
    }
    extend(&single, &mut vec![false; single.len()], &Map::new())
}

fn extend(calls: &[Call], placed: &mut [bool], map: &Map) -> bool {
    let end = |call: &Call| match call.told {
        Told::Unknown => usize::MAX,
        _ => call.to.unwrap_or(usize::MAX),
    };
    let open = || calls.iter().zip(&*placed).filter(|(_, placed)| !**placed).map(|(call, _)| call);
    if open().all(|call| matches!(call.told, Told::Unknown)) {
        return true;
    }
    let bound = open().map(end).min().unwrap_or(usize::MAX);
    for at in 0..calls.len() {
        if placed[at] || calls[at].from > bound {
            continue;
        }
        let mut next = map.clone();
        let told = calls[at].asked.apply(&mut next);
        if matches!(calls[at].told, Told::Unknown) || same(&told, &calls[at].told) {
            placed[at] = true;
            let found = extend(calls, placed, &next);
            placed[at] = false;
            if found {
                return true;
            }
        }
    }
    false
}

/// Records the calls with the checker under test, in the order of their events.
pub(super) fn record(calls: &[Call]) -> Recorder {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        events.push((call.from, at, true));
        events.extend(call.to.map(|to| (to, at, false)));
    }
    events.sort_unstable();
    let mut recorder = Recorder::default();
    let mut ids = vec![None; calls.len()];
    for (_, at, begins) in events {
        let call = &calls[at];
        if begins {
            ids[at] = Some(invoke(&mut recorder, at as u64, &call.asked));
        } else {
            complete(&mut recorder, ids[at].unwrap(), &call.told);
        }
    }
    recorder
}

fn invoke(recorder: &mut Recorder, client: u64, asked: &Asked) -> super::OpId {
    match asked {
        Asked::Get(key) => recorder.invoke(client, Op::Get(key)),
        Asked::CompareAndSet(key, expected, new) => {
            let (expected, new) = (expected.as_deref(), new.as_deref());
            recorder.invoke(client, Op::CompareAndSet { key, expected, new })
        }
        Asked::Write(writes) => match &writes[..] {
            [(key, Some(value))] => recorder.invoke(client, Op::Put(key, value)),
            [(key, None)] => recorder.invoke(client, Op::Delete(key)),
            writes => {
                let writes: Vec<_> = writes.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
                recorder.invoke(client, Op::Batch(&writes))
            }
        },
        Asked::Scan(start, end, view) => {
            let end = end.as_deref();
            recorder.invoke(client, Op::Scan { start, end, view: *view })
        }
    }
}

fn complete(recorder: &mut Recorder, id: super::OpId, told: &Told) {
    let reply = match told {
        Told::Unknown => return recorder.complete(id, Outcome::Unknown),
        Told::NotApplied => return recorder.complete(id, Outcome::NotApplied),
        Told::Written => Reply::Written,
        Told::Value(value) => Reply::Value(value.as_deref()),
        Told::Swapped(swapped) => Reply::Swapped(*swapped),
        Told::Page(entries) => Reply::Page { entries, next: None },
    };
    recorder.complete(id, Outcome::Done(reply));
}
