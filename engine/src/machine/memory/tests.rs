//! The memory machine against a plain map, and its images against damage.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::machine::testing::{apply, context};

#[test]
fn entries_set_keys_and_the_probe_sees_them_after_the_round() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = MemoryMachine::open(context(dir.path(), &[1, 2])).unwrap();
    let probe = machine.probe();
    assert_eq!(probe.stats(2), Some(MemoryStats::default()));
    assert_eq!(probe.stats(3), None);
    apply(&mut machine, 1, 1, &[b"\x01\0\0\0\0\0\0\0one", b"\x02", b"\x01\0\0\0\0\0\0\0uno"]);
    assert_eq!(probe.stats(1).unwrap().entries, 0, "published at the end of the round");
    machine.end_round();
    let stats = probe.stats(1).unwrap();
    assert_eq!((stats.applied, stats.entries, stats.keys), (Index(3), 3, 2));
    assert_eq!(stats.digest, machine.digest(1));
    assert_eq!(machine.get(1, 1), Some(&b"uno"[..]));
    assert_eq!(machine.get(1, 2), Some(&b""[..]));
    assert_eq!(machine.get(1, 3), None);
    assert_eq!(machine.get(2, 1), None);
}

#[test]
fn the_sum_forgets_the_order_and_the_digest_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = MemoryMachine::open(context(dir.path(), &[1, 2])).unwrap();
    apply(&mut machine, 1, 1, &[b"a", b"b"]);
    apply(&mut machine, 2, 1, &[b"b", b"a"]);
    machine.end_round();
    let (one, two) = (machine.probe().stats(1).unwrap(), machine.probe().stats(2).unwrap());
    assert_eq!(one.sum, two.sum);
    assert_eq!(one.sum, payload_hash(b"a").wrapping_add(payload_hash(b"b")));
    assert_ne!(one.digest, two.digest);
}

#[test]
fn it_comes_back_at_its_last_flush_and_goes_on_alike() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = MemoryMachine::open(context(dir.path(), &[1, 7])).unwrap();
    let payloads: Vec<Vec<u8>> = (0..300u64)
        .map(|n| [&(n % 100).to_le_bytes()[..], &vec![n as u8; n as usize % 40]].concat())
        .collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    apply(&mut machine, 1, 1, &payloads);
    machine.skip(7, Index(1));
    machine.flush().unwrap()().unwrap();
    apply(&mut machine, 1, 301, &payloads[..10]);
    machine.end_round();

    let mut again = MemoryMachine::open(context(dir.path(), &[1, 7])).unwrap();
    assert_eq!(
        (again.applied(1), again.applied(7), again.applied(8)),
        (Index(300), Index(1), Index::ZERO)
    );
    assert_eq!(again.probe().stats(1).unwrap().entries, 300, "published at the opening");
    apply(&mut again, 1, 301, &payloads[..10]);
    again.end_round();
    assert_eq!(again.probe().all(), machine.probe().all());
    for key in 0..101 {
        assert_eq!(again.get(1, key), machine.get(1, key), "key {key}");
    }
}

#[test]
fn a_damaged_image_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = MemoryMachine::open(context(dir.path(), &[1])).unwrap();
    apply(&mut machine, 1, 1, &[b"\x01\0\0\0\0\0\0\0a value that is longer"]);
    machine.flush().unwrap()().unwrap();
    let path = dir.path().join("image");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, &bytes).unwrap();
    let error = MemoryMachine::open(context(dir.path(), &[1])).unwrap_err();
    assert!(matches!(error, MachineError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("image"), "{error}");
}

#[test]
fn an_image_with_a_right_checksum_and_wrong_numbers_is_a_typed_error() {
    let mut table = Table::default();
    table.insert(1, b"short");
    table.insert(2, b"longer than a slot");
    let mut good = Vec::new();
    table.write_image(&mut good);
    let sizes = table.sizes().map(|n| n as u64);
    assert!(Table::read_image(sizes, &good).unwrap().1.is_empty());
    for (at, n) in
        [(0, 15), (0, 1 << 40), (0, u64::MAX), (1, 1), (1, 3), (2, 17), (2, 19), (2, u64::MAX)]
    {
        let mut wrong = sizes;
        wrong[at] = n;
        let result = Table::read_image(wrong, &good);
        assert!(result.is_err(), "{wrong:?}");
    }
    for at in (0..24 * 16).filter(|at| at % 24 >= 12) {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        if let Ok((table, _)) = Table::read_image(sizes, &bad) {
            // The numbers fit together by chance; then reading stays within bounds.
            assert!(table.get(2).is_none_or(|value| value.len() <= bad.len()));
        }
    }
}

proptest! {
    #[test]
    fn the_table_is_a_map(
        ops in prop::collection::vec((0u64..200, 0usize..60, any::<u8>()), 0..600),
        reopen in any::<bool>(),
    ) {
        let mut table = Table::default();
        let mut model = HashMap::new();
        for (key, len, byte) in ops {
            let key = key.wrapping_mul(0x1_0000_0001);
            table.insert(key, &vec![byte; len]);
            model.insert(key, vec![byte; len]);
        }
        if reopen {
            let mut image = Vec::new();
            table.write_image(&mut image);
            table = Table::read_image(table.sizes().map(|n| n as u64), &image).unwrap().0;
        }
        prop_assert_eq!(table.len(), model.len());
        for key in (0..201u64).map(|key| key.wrapping_mul(0x1_0000_0001)) {
            prop_assert_eq!(table.get(key), model.get(&key).map(Vec::as_slice));
        }
    }
}

#[test]
fn dead_values_are_reclaimed() {
    let mut table = Table::default();
    for round in 0..2_000usize {
        for key in 0..50 {
            table.insert(key, &vec![round as u8; 9 + (round * 7 + key as usize) % 300]);
        }
    }
    assert!(table.sizes()[2] < 50 * 309 * 2 + 70_000, "{:?}", table.sizes());
    assert_eq!(table.get(3).unwrap()[0], 1999usize as u8);
}
