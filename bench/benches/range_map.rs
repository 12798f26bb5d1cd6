//! What routing a key to its group costs, from 16 to 65,536 ranges.
//!
//! `even` splits by the first bytes, so a lookup is a binary search over numbers. `shared` splits keys that
//! agree in their first eight bytes, the worst case: each step compares bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kontiki::range::{RangeMap, split_at, split_evenly};

const KEYS: usize = 4096;

/// Numbers without a pattern that a branch predictor could learn.
fn numbers() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), |&n| {
        let n = n ^ (n << 13);
        let n = n ^ (n >> 7);
        Some(n ^ (n << 17))
    })
}

fn even_keys() -> Vec<[u8; 16]> {
    let mut numbers = numbers();
    std::iter::repeat_with(|| {
        let mut key = [0; 16];
        for half in key.chunks_exact_mut(8) {
            half.copy_from_slice(&numbers.next().unwrap_or_default().to_le_bytes());
        }
        key
    })
    .take(KEYS)
    .collect()
}

fn lookups(c: &mut Criterion, name: &str, count: usize, map: &RangeMap, keys: &[Vec<u8>]) {
    c.bench_with_input(BenchmarkId::new(name, count), map, |b, map| {
        let mut keys = keys.iter().cycle();
        b.iter(|| map.group_of(black_box(keys.next().map_or(&[][..], Vec::as_slice))));
    });
}

fn range_map(c: &mut Criterion) {
    let even: Vec<Vec<u8>> = even_keys().iter().map(|key| key.to_vec()).collect();
    let shared: Vec<Vec<u8>> =
        numbers().take(KEYS).map(|n| format!("accounts/{:08x}", n >> 32).into_bytes()).collect();
    for count in [16, 256, 4096, 65_536] {
        let ranges = split_evenly(count, 1).expect("within limits");
        let map = RangeMap::new(&ranges).expect("a split covers everything");
        lookups(c, "even", count, &map, &even);
        let step = (1u64 << 32) / count as u64;
        let boundaries: Vec<String> =
            (1..count as u64).map(|at| format!("accounts/{:08x}", at * step)).collect();
        let ranges = split_at(&boundaries, 1).expect("ascending");
        let map = RangeMap::new(&ranges).expect("a split covers everything");
        lookups(c, "shared", count, &map, &shared);
    }
}

criterion_group!(benches, range_map);
criterion_main!(benches);
