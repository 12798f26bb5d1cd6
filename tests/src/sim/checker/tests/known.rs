//! One history for each way of being right or wrong that has a name.

use serde_json::Value;

use super::super::{Budget, Checked, Op, OpId, Outcome, Reply, View, Violation};
use super::{Recorder, cas};

const A1_B1: &[(&[u8], Option<&[u8]>)] = &[(b"a", Some(b"1")), (b"b", Some(b"1"))];
const A2_B2: &[(&[u8], Option<&[u8]>)] = &[(b"a", Some(b"2")), (b"b", Some(b"2"))];

fn right(recorder: &Recorder) {
    let checked = recorder.history.check(Budget::default()).unwrap();
    assert!(checked.is_complete(), "{checked:?}");
}

fn wrong(recorder: &Recorder) -> Violation {
    recorder.history.check(Budget::default()).unwrap_err()
}

#[test]
fn a_history_without_operations_is_right() {
    let checked = Recorder::default().history.check(Budget::default());
    assert_eq!(checked, Ok(Checked::default()));
}

#[test]
fn a_value_is_read_until_it_is_overwritten_or_removed() {
    let mut r = Recorder::default();
    r.get("a", None);
    r.put("a", "1");
    r.get("a", Some("1"));
    r.put("a", "2");
    r.get("a", Some("2"));
    r.done(0, Op::Delete(b"a"), Reply::Written);
    r.get("a", None);
    let checked = r.history.check(Budget::default()).unwrap();
    assert_eq!((checked.ops, checked.keys, checked.partitions), (7, 1, 1));
}

#[test]
fn a_read_beside_a_write_may_see_either_but_time_does_not_run_backwards() {
    for (first, second, is_right) in [
        (Some("1"), Some("1"), true),
        (Some("1"), Some("2"), true),
        (Some("2"), Some("2"), true),
        (Some("2"), Some("1"), false),
    ] {
        let mut r = Recorder::default();
        r.put("a", "1");
        let put = r.invoke(9, Op::Put(b"a", b"2"));
        r.get("a", first);
        r.get("a", second);
        r.complete(put, Outcome::Done(Reply::Written));
        assert_eq!(r.history.check(Budget::default()).is_ok(), is_right, "{first:?} {second:?}");
    }
}

#[test]
fn a_stale_read_is_found_and_shown_with_what_it_contradicts() {
    let mut r = Recorder::default();
    r.put("other", "7");
    let old = r.put("a", "1");
    r.get("a", Some("1"));
    let new = r.put("a", "2");
    let stale = r.get("a", Some("1"));
    r.get("a", Some("2"));
    r.put("a", "3");
    let violation = wrong(&r);
    assert_eq!(violation.keys, [b"a"]);
    assert_eq!(violation.at, stale);
    assert_eq!(violation.prefix, [old, OpId(2), new, stale]);
    assert_eq!(violation.core, [old, new, stale]);
    let listing = "\
no order of operations explains what clients saw of \"a\", since #4 completed at 100; these contradict each other:
  #1 client 0 [30..40] put a = \"1\": done
  #3 client 0 [70..80] put a = \"2\": done
  #4 client 1 [90..100] get a: \"1\"  <-- here
the last 4 of 4 operations there by then:
  #1 client 0 [30..40] put a = \"1\": done
  #2 client 1 [50..60] get a: \"1\"
  #3 client 0 [70..80] put a = \"2\": done
  #4 client 1 [90..100] get a: \"1\"  <-- here
";
    assert_eq!(violation.to_string(), listing);
}

#[test]
fn a_lost_write_is_found() {
    let mut r = Recorder::default();
    let put = r.put("a", "1");
    let get = r.get("a", None);
    let violation = wrong(&r);
    assert_eq!((violation.at, violation.core), (get, vec![put, get]));
}

#[test]
fn a_lost_update_is_found() {
    // Both swaps held, though one must have destroyed what the other expected.
    let mut r = Recorder::default();
    r.put("a", "0");
    let one = r.invoke(1, cas("a", Some("0"), "1"));
    let two = r.invoke(2, cas("a", Some("0"), "2"));
    r.complete(one, Outcome::Done(Reply::Swapped(true)));
    r.complete(two, Outcome::Done(Reply::Swapped(true)));
    let violation = wrong(&r);
    assert_eq!((violation.at, violation.core.len()), (two, 3));
}

#[test]
fn a_swap_holds_exactly_when_its_expectation_does() {
    for (expected, swapped, is_right) in [
        (Some("1"), true, true),
        (Some("1"), false, false),
        (Some("2"), true, false),
        (Some("2"), false, true),
        (None, true, false),
        (None, false, true),
    ] {
        let mut r = Recorder::default();
        r.put("a", "1");
        r.cas("a", expected, "3", swapped);
        r.get("a", Some(if swapped { "3" } else { "1" }));
        assert_eq!(r.history.check(Budget::default()).is_ok(), is_right, "{expected:?} {swapped}");
    }
    let mut r = Recorder::default();
    r.cas("a", None, "1", true);
    r.cas("a", None, "2", false);
    r.cas("a", Some("1"), "2", true);
    r.get("a", Some("2"));
    right(&r);
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    let mut r = Recorder::default();
    r.put("a", "1");
    let get = r.get("a", Some("2"));
    let violation = wrong(&r);
    assert_eq!(violation.core, [get]);
}

#[test]
fn a_value_is_not_read_before_it_is_written() {
    let mut r = Recorder::default();
    let get = r.get("a", Some("1"));
    r.put("a", "1");
    assert_eq!(wrong(&r).at, get);
}

#[test]
fn an_unknown_write_may_be_seen_late_or_never_but_not_undone() {
    let mut r = Recorder::default();
    r.put("a", "1");
    let lost = r.invoke(7, Op::Put(b"a", b"2"));
    r.complete(lost, Outcome::Unknown);
    r.invoke(8, Op::Put(b"a", b"never"));
    r.get("a", Some("1"));
    r.put("a", "3");
    r.get("a", Some("3"));
    right(&r);
    r.get("a", Some("2"));
    right(&r);
    let back = r.get("a", Some("3"));
    assert_eq!(wrong(&r).at, back);
}

#[test]
fn what_was_not_applied_is_never_seen() {
    let mut r = Recorder::default();
    let refused = r.invoke(7, Op::Put(b"a", b"1"));
    r.complete(refused, Outcome::NotApplied);
    r.get("a", None);
    right(&r);
    let get = r.get("a", Some("1"));
    assert_eq!(wrong(&r).core, [get]);
}

#[test]
fn unknown_swaps_and_deletes_explain_only_what_they_can() {
    let mut r = Recorder::default();
    r.put("a", "1");
    r.invoke(7, cas("a", Some("1"), "2"));
    r.invoke(8, cas("a", Some("2"), "3"));
    r.get("a", Some("3"));
    right(&r);
    r.invoke(9, Op::Delete(b"a"));
    r.get("a", None);
    right(&r);
    // One delete can remove one value, not also the next.
    r.put("a", "4");
    r.get("a", None);
    wrong(&r);
}

#[test]
fn an_unknown_write_may_be_needed_only_to_make_a_swap_fail() {
    let mut r = Recorder::default();
    r.put("a", "1");
    r.invoke(7, Op::Put(b"a", b"2"));
    r.cas("a", Some("1"), "3", false);
    right(&r);
    let get = r.get("a", Some("1"));
    assert_eq!(wrong(&r).at, get);
}

#[test]
fn a_torn_batch_is_found_by_reads_of_its_keys() {
    let mut r = Recorder::default();
    let batch = r.invoke(7, Op::Batch(A1_B1));
    let new = r.get("a", Some("1"));
    let old = r.get("b", None);
    r.complete(batch, Outcome::Done(Reply::Written));
    let violation = wrong(&r);
    assert_eq!(violation.keys, [b"a", b"b"]);
    assert_eq!((violation.at, violation.core), (old, vec![batch, new, old]));
}

#[test]
fn a_torn_batch_of_unknown_outcome_is_found_too() {
    let mut r = Recorder::default();
    r.invoke(7, Op::Batch(A1_B1));
    r.get("a", Some("1"));
    right(&r);
    r.get("b", Some("1"));
    right(&r);
    r.put("a", "5");
    r.put("b", "5");
    r.get("a", Some("5"));
    right(&r);
    r.get("b", Some("1"));
    wrong(&r);
}

#[test]
fn two_batches_have_one_order_for_all_keys() {
    for (b, is_right) in [("2", true), ("1", false)] {
        let mut r = Recorder::default();
        let one = r.invoke(7, Op::Batch(A1_B1));
        let two = r.invoke(8, Op::Batch(A2_B2));
        r.complete(one, Outcome::Done(Reply::Written));
        r.complete(two, Outcome::Done(Reply::Written));
        r.get("a", Some("2"));
        r.get("b", Some(b));
        assert_eq!(r.history.check(Budget::default()).is_ok(), is_right);
    }
}

#[test]
fn of_two_writes_of_one_key_in_a_batch_the_later_counts() {
    let mut r = Recorder::default();
    r.done(7, Op::Batch(&[(b"a", Some(b"1")), (b"a", None)]), Reply::Written);
    r.get("a", None);
    right(&r);
    r.get("a", Some("1"));
    wrong(&r);
}

#[test]
fn a_torn_scan_is_found_unless_it_promised_no_more() {
    for (view, is_right) in [(View::Whole, false), (View::PerKey, true)] {
        let mut r = Recorder::default();
        r.put("a", "1");
        r.put("b", "1");
        let scan = r.invoke(3, Op::Scan { start: b"", end: None, view });
        r.put("a", "2");
        r.put("b", "2");
        r.found(scan, &[("a", "1"), ("b", "2")], None);
        let result = r.history.check(Budget::default());
        assert_eq!(result.is_ok(), is_right, "{view:?}");
        if let Err(violation) = result {
            assert_eq!(violation.at, scan);
            assert_eq!(violation.keys, [b"a", b"b"]);
        }
    }
}

#[test]
fn a_scan_sees_what_is_there_and_what_is_not() {
    let mut r = Recorder::default();
    r.put("a", "1");
    r.put("c", "1");
    r.scan(View::Whole, &[("a", "1"), ("c", "1")]);
    right(&r);
    r.scan(View::PerKey, &[("a", "1")]);
    assert_eq!(wrong(&r).key(), b"c");
}

#[test]
fn a_scan_claims_nothing_outside_its_bounds_and_past_its_page() {
    let mut r = Recorder::default();
    for key in ["a", "b", "c", "d"] {
        r.put(key, "1");
    }
    let scan = r.invoke(3, Op::Scan { start: b"b", end: Some(b"d"), view: View::Whole });
    r.found(scan, &[("b", "1")], Some("c"));
    right(&r);
    let scan = r.invoke(3, Op::Scan { start: b"b", end: Some(b"d"), view: View::Whole });
    r.found(scan, &[("b", "1")], None);
    assert_eq!(wrong(&r).key(), b"c");
}

#[test]
fn a_scan_that_finds_one_key_twice_is_wrong() {
    let mut r = Recorder::default();
    r.put("a", "1");
    r.put("a", "2");
    r.scan(View::Whole, &[("a", "1"), ("a", "2")]);
    wrong(&r);
}

#[test]
fn the_key_with_the_shortest_evidence_is_named() {
    let mut r = Recorder::default();
    for key in ["long", "short"] {
        for _ in 0..if key == "long" { 9 } else { 3 } {
            r.put(key, "1");
        }
        r.get(key, None);
    }
    let violation = wrong(&r);
    assert_eq!(violation.key(), b"short");
    assert_eq!((violation.prefix.len(), violation.core.len()), (4, 2));
}

#[test]
fn what_exceeds_the_budget_is_counted_and_not_passed_in_silence() {
    let mut r = Recorder::default();
    r.done(7, Op::Batch(A1_B1), Reply::Written);
    r.done(7, Op::Batch(&[(b"b", Some(b"3")), (b"c", Some(b"3"))]), Reply::Written);
    let few = r.history.check(Budget { keys_together: 2, ..Budget::default() }).unwrap();
    assert_eq!((few.too_large, few.is_complete()), (1, false));
    let none = r.history.check(Budget { configurations: 0, ..Budget::default() }).unwrap();
    assert!(none.exceeded > 0 && !none.is_complete(), "{none:?}");
    right(&r);
}

#[test]
fn when_scans_connect_too_much_batches_are_still_checked_whole() {
    let mut r = Recorder::default();
    for key in ["x", "y", "z"] {
        r.put(key, "1");
    }
    r.scan(View::Whole, &[("x", "1"), ("y", "1"), ("z", "1")]);
    let batch = r.invoke(7, Op::Batch(A1_B1));
    r.scan(View::Whole, &[("a", "1"), ("x", "1"), ("y", "1"), ("z", "1")]);
    r.complete(batch, Outcome::Done(Reply::Written));
    let violation = r.history.check(Budget { keys_together: 2, ..Budget::default() }).unwrap_err();
    assert_eq!(violation.keys, [b"a", b"b"]);
}

#[test]
fn a_cleared_history_is_as_new() {
    let mut r = Recorder::default();
    r.put("a", "1");
    r.get("a", None);
    wrong(&r);
    r.history.clear();
    r.time = 0;
    assert!(r.history.is_empty());
    r.get("a", None);
    assert_eq!(r.history.check(Budget::default()).unwrap().ops, 1);
}

#[test]
#[should_panic(expected = "is no answer to")]
fn a_reply_of_another_operation_is_a_mistake_of_the_recorder() {
    Recorder::default().done(1, Op::Get(b"a"), Reply::Written);
}

#[test]
#[should_panic(expected = "completed before")]
fn an_operation_ends_once() {
    let mut r = Recorder::default();
    let put = r.put("a", "1");
    r.complete(put, Outcome::Unknown);
}

#[test]
fn the_export_has_one_event_a_line_and_one_operation_at_a_time_for_each_process() {
    let mut r = Recorder::default();
    let put = r.invoke(5, Op::Put(b"a", b"\xff"));
    let get = r.invoke(5, Op::Get(b"a"));
    r.complete(put, Outcome::Unknown);
    r.complete(get, Outcome::Done(Reply::Value(Some(b"\xff"))));
    r.cas("a", Some("1"), "hex:", false);
    r.done(5, Op::Batch(A1_B1), Reply::Written);
    let scan = r.invoke(5, Op::Scan { start: b"a", end: None, view: View::Whole });
    r.found(scan, &[("a", "1")], Some("b"));
    let text = r.history.to_json();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let short: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {} {}", line["process"], line["type"], line["f"], line["value"]))
        .collect();
    let expected = [
        r#"0 "invoke" "write" ["a","hex:ff"]"#,
        r#"1 "invoke" "read" ["a",null]"#,
        r#"0 "info" "write" ["a","hex:ff"]"#,
        r#"1 "ok" "read" ["a","hex:ff"]"#,
        r#"2 "invoke" "cas" ["a",["1","hex:6865783a"]]"#,
        r#"2 "fail" "cas" ["a",["1","hex:6865783a"]]"#,
        r#"1 "invoke" "txn" [["w","a","1"],["w","b","1"]]"#,
        r#"1 "ok" "txn" [["w","a","1"],["w","b","1"]]"#,
        r#"1 "invoke" "scan" {"end":null,"start":"a","view":"whole"}"#,
        r#"1 "ok" "scan" {"end":null,"next":"b","pairs":[["r","a","1"]],"start":"a","view":"whole"}"#,
    ];
    assert_eq!(short, expected);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["index"], index);
        assert_eq!(line["time"], 10 * (index + 1));
    }
    assert_eq!(lines[2]["error"], "unknown");
    assert_eq!(lines[5]["error"], "mismatch");
}
