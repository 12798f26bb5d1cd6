//! Small histories drawn at random: the checker and the brute one must agree on each.
//!
//! A history is played on a real map, so that it is right; then, for many, one answer is changed or one
//! operation moved, so that some are wrong, and only just.

use super::super::{Budget, Checker, OpId, View};
use super::Dice;
use super::brute::{self, Asked, Call, Map, Told};

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

/// What histories are made of.
#[derive(Clone, Copy)]
struct Mix {
    ops: u64,
    keys: u64,
    values: u64,
    /// One in so many operations; zero for none.
    unknown: u64,
    swaps: bool,
    many: bool,
}

fn key(dice: &mut Dice, mix: Mix) -> Vec<u8> {
    KEYS[usize::try_from(dice.below(mix.keys)).unwrap()].to_vec()
}

fn value(dice: &mut Dice, mix: Mix) -> Option<Vec<u8>> {
    let value = dice.below(mix.values + 1);
    (value > 0).then(|| value.to_string().into_bytes())
}

fn ask(dice: &mut Dice, mix: Mix) -> Asked {
    match dice.below(10) {
        0..4 => Asked::Get(key(dice, mix)),
        4 | 5 if mix.swaps => {
            Asked::CompareAndSet(key(dice, mix), value(dice, mix), value(dice, mix))
        }
        6 if mix.many => {
            let count = 2 + dice.below(2);
            Asked::Write((0..count).map(|_| (key(dice, mix), value(dice, mix))).collect())
        }
        7 if mix.many => {
            let view = if dice.one_in(3) { View::PerKey } else { View::Whole };
            let end = dice.one_in(4).then(|| key(dice, mix));
            Asked::Scan(if dice.one_in(4) { key(dice, mix) } else { Vec::new() }, end, view)
        }
        _ => Asked::Write(vec![(key(dice, mix), value(dice, mix))]),
    }
}

/// Intervals drawn at random around moments at which the operations really take effect.
fn draw(dice: &mut Dice, mix: Mix) -> Vec<Call> {
    let count = usize::try_from(mix.ops).unwrap();
    // Each operation has three moments: it is sent, it takes effect, it is answered.
    let mut moments: Vec<usize> = (0..count).flat_map(|at| [at; 3]).collect();
    let reach = 2 + dice.below(8);
    for at in 0..moments.len() {
        let other = (at + usize::try_from(dice.below(reach)).unwrap()).min(moments.len() - 1);
        moments.swap(at, other);
    }
    let mut calls: Vec<Call> = (0..count)
        .map(|_| Call { asked: ask(dice, mix), told: Told::NotApplied, from: 0, to: None })
        .collect();
    let mut seen = vec![0; count];
    let mut map = Map::new();
    for (event, &at) in moments.iter().enumerate() {
        match seen[at] {
            0 => calls[at].from = event,
            1 => {
                let applies = mix.unknown == 0 || !dice.one_in(mix.unknown);
                if applies {
                    calls[at].told = calls[at].asked.apply(&mut map);
                }
            }
            _ => {
                if mix.unknown > 0 && dice.one_in(mix.unknown) {
                    calls[at].told = Told::Unknown;
                }
                let hangs = matches!(calls[at].told, Told::Unknown) && dice.one_in(2);
                calls[at].to = (!hangs).then_some(event);
            }
        }
        seen[at] += 1;
    }
    calls
}

/// Changes one thing, so that the history may have become wrong.
fn spoil(dice: &mut Dice, mix: Mix, calls: &mut [Call]) {
    let at = usize::try_from(dice.below(calls.len() as u64)).unwrap();
    let other = value(dice, mix);
    let call = &mut calls[at];
    match &mut call.told {
        Told::Value(value) => *value = other,
        Told::Swapped(swapped) => *swapped = !*swapped,
        Told::Page(pairs) => match (pairs.first_mut(), other) {
            (Some(pair), Some(value)) => pair.1 = value,
            (Some(_), None) => drop(pairs.remove(0)),
            (None, _) => {}
        },
        told @ Told::Written => *told = Told::NotApplied,
        told @ (Told::NotApplied | Told::Unknown) => {
            if matches!(call.asked, Asked::Write(_)) && call.to.is_some() {
                *told = Told::Written;
            }
        }
    }
}

/// What was known when event `until` had happened, without the swaps that were to fail later: they change nothing.
fn known_by(calls: &[Call], until: usize) -> Vec<Call> {
    let mut known: Vec<Call> = calls.iter().filter(|call| call.from <= until).cloned().collect();
    for call in &mut known {
        if call.to.is_some_and(|to| to > until) {
            let fails = matches!(call.told, Told::Swapped(false) | Told::NotApplied);
            call.told = if fails { Told::NotApplied } else { Told::Unknown };
        }
    }
    known
}

fn compare(seed: u64, mix: Mix, runs: u32) {
    let mut dice = Dice(seed);
    let mut checker = Checker::new();
    let keys = KEYS.map(<[u8]>::to_vec);
    let (mut right, mut wrong) = (0, 0);
    for run in 0..runs {
        let mut calls = draw(&mut dice, mix);
        // Calls are numbered as they are invoked.
        calls.sort_by_key(|call| call.from);
        assert!(brute::has_order(&calls, &keys), "seed {seed} run {run}: {calls:#?}");
        for _ in 0..dice.below(3) {
            spoil(&mut dice, mix, &mut calls);
        }
        let expected = brute::has_order(&calls, &keys);
        let recorder = brute::record(&calls);
        let context = || format!("seed {seed} run {run}: {}", recorder.history.to_json());
        match checker.check(&recorder.history, Budget::default()) {
            Ok(checked) => {
                assert!(expected, "wrong, and passed: {}", context());
                assert!(checked.is_complete(), "{}", context());
                right += 1;
            }
            Err(violation) => {
                assert!(!expected, "right, and refused: {violation}{}", context());
                verify(&calls, &keys, &violation.core, &violation.prefix, violation.at, mix);
                wrong += 1;
            }
        }
    }
    assert!(right > runs / 5 && wrong > runs / 20, "one-sided: {right} right, {wrong} wrong");
}

/// The evidence must stand for itself, and for one key the prefix must be as short as can be.
fn verify(calls: &[Call], keys: &[Vec<u8>], core: &[OpId], prefix: &[OpId], at: OpId, mix: Mix) {
    let until = calls[at.0 as usize].to.unwrap();
    let known = known_by(calls, until);
    let kept =
        |ids: &[OpId]| -> Vec<Call> { ids.iter().map(|id| known[id.0 as usize].clone()).collect() };
    assert!(core.iter().all(|id| prefix.contains(id)) && core.contains(&at));
    assert!(!brute::has_order(&kept(prefix), keys), "the prefix has an order: {calls:#?}");
    assert!(!brute::has_order(&kept(core), keys), "the core has an order: {core:?} {calls:#?}");
    if mix.keys == 1 && until > 0 {
        let before = known_by(calls, until - 1);
        assert!(brute::has_order(&before, keys), "shorter: {at:?} {calls:#?}");
    }
}

#[test]
fn of_registers() {
    let mix = Mix { ops: 6, keys: 1, values: 2, unknown: 0, swaps: false, many: false };
    compare(1, mix, 3000);
    compare(2, Mix { ops: 7, keys: 2, ..mix }, 3000);
}

#[test]
fn of_registers_with_unknown_outcomes() {
    let mix = Mix { ops: 7, keys: 1, values: 2, unknown: 3, swaps: false, many: false };
    compare(3, mix, 3000);
    compare(4, Mix { values: 6, ..mix }, 3000);
}

#[test]
fn of_swaps_with_unknown_outcomes() {
    let mix = Mix { ops: 7, keys: 1, values: 2, unknown: 0, swaps: true, many: false };
    compare(5, mix, 3000);
    compare(6, Mix { unknown: 3, ..mix }, 3000);
    compare(7, Mix { unknown: 3, values: 5, ..mix }, 3000);
}

#[test]
fn of_batches_and_scans() {
    let mix = Mix { ops: 6, keys: 2, values: 2, unknown: 0, swaps: false, many: true };
    compare(8, mix, 3000);
    compare(9, Mix { unknown: 4, ..mix }, 3000);
    compare(10, Mix { keys: 3, values: 6, unknown: 4, ..mix }, 3000);
}

#[test]
fn of_everything() {
    let mix = Mix { ops: 7, keys: 3, values: 2, unknown: 4, swaps: true, many: true };
    compare(11, mix, 3000);
    compare(12, Mix { keys: 2, ..mix }, 3000);
    compare(13, Mix { values: 9, ..mix }, 3000);
}
