//! The overlay against an ordered map that is told the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0u8..3, 0..12),
        prop::collection::vec(0u8..2, 0..3)
            .prop_map(|tail| [b"shared-prefix-".as_slice(), &tail].concat()),
    ]
}

fn filled(ops: &[(Vec<u8>, Option<Vec<u8>>)]) -> (Overlay, Model) {
    let mut overlay = Overlay::new(7);
    let mut model = Model::new();
    for (key, value) in ops {
        overlay.set(key, value.as_deref());
        model.insert(key.clone(), value.clone());
    }
    (overlay, model)
}

fn ops() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    prop::collection::vec(
        (key(), prop::option::of(prop::collection::vec(any::<u8>(), 0..30))),
        0..300,
    )
}

proptest! {
    #[test]
    fn an_overlay_is_a_map_with_deletions(ops in ops(), others in prop::collection::vec(key(), 0..20)) {
        let (overlay, model) = filled(&ops);
        prop_assert_eq!(overlay.len(), model.len());
        for key in model.keys().chain(&others) {
            prop_assert_eq!(overlay.get(key), model.get(key).map(|value| value.as_deref()));
        }
        let sorted = Sorted::new(overlay);
        let written: Model = sorted
            .writes()
            .map(|(key, value)| (key[1..].to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        prop_assert!(sorted.writes().all(|(key, _)| key[0] == USER_TAG));
        prop_assert!(sorted.writes().map(|(key, _)| key).is_sorted_by(|a, b| a < b));
        prop_assert_eq!(written, model);
        prop_assert!(sorted.recycle().is_empty());
    }

    #[test]
    fn spans_are_those_of_the_map(
        ops in ops(),
        start in key(),
        end in prop::option::of(key()),
        limit in 0usize..40,
    ) {
        let (overlay, model) = filled(&ops);
        let inside: Vec<Copied> = model
            .iter()
            .filter(|(key, _)| **key >= start && end.as_ref().is_none_or(|end| *key < end))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let (copied, next) = overlay.copy_span(&start, end.as_deref(), limit, usize::MAX);
        prop_assert!(copied.iter().eq(&inside[..copied.len()]));
        match next {
            None => prop_assert_eq!(copied.len(), inside.len()),
            Some(next) => {
                prop_assert_eq!(copied.iter().filter(|entry| entry.1.is_some()).count(), limit);
                prop_assert_eq!(&next, &inside[copied.len()].0);
            }
        }
        let sorted = Sorted::new(overlay);
        let span: Vec<Copied> = sorted
            .span(&start, end.as_deref())
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        prop_assert_eq!(span, inside);
    }
}

#[test]
fn it_is_full_by_keys_or_by_bytes_and_overwriting_in_place_takes_neither() {
    let mut overlay = Overlay::new(1);
    for n in 0..OVERLAY_KEYS_MAX as u64 {
        assert!(!overlay.is_full(OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX));
        overlay.set(&n.to_le_bytes(), Some(b"value"));
    }
    assert!(overlay.is_full(OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX));
    let bytes = overlay.bytes();
    overlay.set(&7u64.to_le_bytes(), Some(b"other"));
    overlay.set(&8u64.to_le_bytes(), None);
    overlay.set(&8u64.to_le_bytes(), Some(b"back"));
    assert_eq!((overlay.bytes(), overlay.len()), (bytes, OVERLAY_KEYS_MAX));
    assert_eq!(overlay.get(&8u64.to_le_bytes()), Some(Some(&b"back"[..])));
    overlay.clear();
    assert!(overlay.is_empty() && !overlay.is_full(OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX));
    overlay.set(b"big", Some(&vec![0; OVERLAY_BYTES_MAX]));
    assert!(overlay.is_full(OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX));
}

#[test]
fn a_copy_ends_at_its_bytes_and_survives_many_deletions() {
    let mut overlay = Overlay::new(1);
    for n in (0..5_000u16).rev() {
        let [high, low] = [u8::try_from(n >> 8).unwrap(), u8::try_from(n & 255).unwrap()];
        overlay.set(&[high, low], (n >= 3_000).then_some(b"12345678"));
    }
    let (copied, next) = overlay.copy_span(&[], None, 2, usize::MAX);
    assert_eq!((copied.len(), next), (3_002, Some(vec![11, 186])));
    let (copied, next) = overlay.copy_span(&[12, 0], None, 100, 25);
    assert_eq!((copied.len(), next), (3, Some(vec![12, 3])));
}
