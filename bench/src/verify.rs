//! What was acknowledged must be there, on all replicas alike: the check at the end of every run.
//!
//! First all replicas of all groups must have applied up to their leader's last entry. Then their digests
//! must be equal, and what the machine holds must be what the driver was told: exactly, where every outcome is
//! known, and within the bounds that unknown outcomes leave otherwise.

use std::time::Duration;

use kontiki::Engine;
use serde::Serialize;

use crate::clock::Clock;
use crate::cluster::{Insight, POLL, Target};
use crate::driver::Outcome;
use crate::driver::ledger::{GroupAcks, LastWrite};
use crate::error::BenchError;
use crate::schedule::Share;
use crate::workload::{Op, Workload};

mod keys;

/// How long the replicas may take to catch up once the load has ended.
const SETTLE_WAIT: Duration = Duration::from_secs(60);

/// Faults that are told in full.
const FAULTS_MAX: usize = 10;

/// What the check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Whether everything that was acknowledged is there and all replicas are equal.
    pub(crate) verified: bool,
    /// Whether every outcome was known, so that equality was demanded and not only bounds.
    pub(crate) exact: bool,
    /// Acknowledged writes that were accounted for.
    pub(crate) writes_checked: u64,
    /// Groups whose replicas were compared.
    pub(crate) groups_checked: u64,
    /// How many faults there are.
    pub(crate) faults: u64,
    /// The first of them.
    pub(crate) first_faults: Vec<String>,
}

impl Verdict {
    pub(crate) fn fault(&mut self, what: impl FnOnce() -> String) {
        self.faults += 1;
        if self.first_faults.len() < FAULTS_MAX {
            self.first_faults.push(what());
        }
    }
}

/// Checks the state of all nodes against what the threads were told.
pub(crate) fn verify(
    target: &Target,
    workload: &Workload,
    outcomes: &[(Share, Outcome)],
) -> Result<Verdict, BenchError> {
    let mut verdict = Verdict::default();
    if settle(target, &mut verdict)? {
        compare_digests(target.engines(), &mut verdict);
    }
    let mut unknown = 0;
    for (share, outcome) in outcomes {
        for (place, acks) in outcome.ledger.groups.iter().enumerate() {
            let slot = share.slots[place] as usize;
            let group = target.active[slot];
            verdict.writes_checked += acks.writes;
            unknown += acks.unknown;
            match &target.insight {
                Insight::Null(nodes) => {
                    let counts = nodes.iter().map(|counts| (counts.get(group), None));
                    check_history(target, group, acks, counts, &mut verdict);
                }
                Insight::Memory(nodes) => {
                    let stats = |probe: &kontiki::machine::MemoryProbe| probe.stats(group);
                    let stats = nodes.iter().map(|probes| {
                        let stats = probes.iter().filter_map(stats).max_by_key(|s| s.entries);
                        stats.map_or((0, Some(0)), |s| (s.entries, Some(s.sum)))
                    });
                    check_history(target, group, acks, stats, &mut verdict);
                }
                // Checked key by key below.
                Insight::Kv { .. } => {}
            }
        }
    }
    if let (Insight::Kv { stores, .. }, Some(keys)) = (&target.insight, &target.keys) {
        let expected = keys::Expected::new(keys, workload, outcomes);
        for store in stores {
            expected.check(store, &mut verdict);
        }
    }
    verdict.exact = unknown == 0;
    verdict.verified = verdict.faults == 0;
    Ok(verdict)
}

/// Waits until every replica has applied all that its leader has; false when that does not happen.
fn settle(target: &Target, verdict: &mut Verdict) -> Result<bool, BenchError> {
    let clock = Clock::new();
    loop {
        let behind = behind(target.engines())?;
        let Some(first) = behind.first() else { return Ok(true) };
        target.check_alive()?;
        if clock.elapsed() > SETTLE_WAIT {
            verdict.fault(|| format!("{} replicas never caught up: {first}", behind.len()));
            return Ok(false);
        }
        std::thread::park_timeout(POLL);
    }
}

/// The replicas that have not applied everything, each said with its figures.
fn behind(engines: &[Engine]) -> Result<Vec<String>, BenchError> {
    let mut statuses = Vec::with_capacity(engines.len());
    for engine in engines {
        let all = engine
            .group_statuses()
            .map_err(|e| BenchError::NodeEnded { node: engine.node_id(), why: e.to_string() })?;
        statuses.push(all);
    }
    let mut behind = Vec::new();
    for at in 0..statuses[0].len() {
        let of_group = || statuses.iter().map(|all| &all[at]);
        let leader = of_group().filter(|s| s.role == "leader").max_by_key(|s| s.term);
        let Some(leader) = leader else {
            behind.push(format!("group {} has no leader", statuses[0][at].group));
            continue;
        };
        for s in of_group().filter(|s| s.applied < leader.last) {
            behind.push(format!(
                "group {} on node {} has applied {} of {} (persisted {}, committed {})",
                s.group, s.node, s.applied, leader.last, s.persisted, s.committed
            ));
        }
    }
    Ok(behind)
}

fn compare_digests(engines: &[Engine], verdict: &mut Verdict) {
    for group in engines[0].groups() {
        verdict.groups_checked += 1;
        let digests: Vec<_> = engines.iter().map(|engine| engine.digest(group)).collect();
        if digests.iter().any(|digest| digest != &digests[0] || digest.is_err()) {
            verdict.fault(|| format!("group {group}: replicas differ: {digests:x?}"));
        }
    }
}

/// Compares what a machine that forgets nothing holds of a group: entries, and the sum of their hashes.
fn check_history(
    target: &Target,
    group: u64,
    acks: &GroupAcks,
    nodes: impl Iterator<Item = (u64, Option<u64>)>,
    verdict: &mut Verdict,
) {
    for ((entries, sum), engine) in nodes.zip(target.engines()) {
        if let Some(why) = history_fault(acks, entries, sum) {
            verdict.fault(|| format!("group {group} on node {}: {why}", engine.node_id()));
        }
    }
}

fn history_fault(acks: &GroupAcks, entries: u64, sum: Option<u64>) -> Option<String> {
    let (least, most) = (acks.writes, acks.writes + acks.unknown);
    if entries < least {
        return Some(format!("{entries} entries, but {least} were acknowledged: some are lost"));
    }
    if entries > most {
        return Some(format!(
            "{entries} entries, but at most {most} were issued: some are doubled"
        ));
    }
    // Entries whose outcome is unknown are all there when the counts say so.
    let complete = entries == most;
    match sum {
        Some(sum) if complete && sum != acks.hashes => Some(format!(
            "{entries} entries as issued, but their hashes sum to {sum:x}, not {:x}",
            acks.hashes
        )),
        _ => None,
    }
}

/// What is wrong with the value found under a key whose last acknowledged write is `last`.
pub(crate) fn key_fault(
    workload: &Workload,
    last: &LastWrite,
    found: Option<&[u8]>,
    expected: &mut Vec<u8>,
) -> Option<String> {
    let Some(found) = found else {
        return Some(format!("the acknowledged write {:?} is lost", last.op));
    };
    let Some(op) = Op::of_value(found) else {
        return Some(format!("{} bytes that nobody wrote", found.len()));
    };
    if op != last.op && !last.blurred {
        return Some(format!("holds {op:?} and not the last acknowledged {:?}", last.op));
    }
    workload.write_value(op, expected);
    (found != expected).then(|| format!("the value of {op:?} is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Mix;

    #[test]
    fn lost_doubled_and_damaged_entries_are_faults() {
        let exact = GroupAcks { writes: 5, unknown: 0, hashes: 77 };
        assert_eq!(history_fault(&exact, 5, Some(77)), None);
        assert_eq!(history_fault(&exact, 5, None), None);
        assert!(history_fault(&exact, 4, Some(77)).unwrap().contains("lost"));
        assert!(history_fault(&exact, 6, Some(77)).unwrap().contains("doubled"));
        assert!(history_fault(&exact, 5, Some(78)).unwrap().contains("hashes"));
    }

    #[test]
    fn unknown_outcomes_leave_bounds() {
        let acks = GroupAcks { writes: 5, unknown: 2, hashes: 77 };
        for entries in 5..=7 {
            assert_eq!(history_fault(&acks, entries, Some(77)), None);
        }
        assert!(history_fault(&acks, 4, None).is_some() && history_fault(&acks, 8, None).is_some());
    }

    #[test]
    fn a_key_must_hold_its_last_acknowledged_write() {
        let workload = Workload::new(1, Mix { put: 1, get: 0 }, 32);
        let value = |op| {
            let mut bytes = Vec::new();
            workload.write_value(op, &mut bytes);
            bytes
        };
        let (old, new) = (Op { client: 1, sequence: 4 }, Op { client: 2, sequence: 9 });
        let mut last = LastWrite { index: 3, op: new, blurred: false };
        let fault = |last: &LastWrite, found: Option<&[u8]>| {
            key_fault(&workload, last, found, &mut Vec::new())
        };
        assert_eq!(fault(&last, Some(&value(new))), None);
        assert!(fault(&last, None).unwrap().contains("lost"));
        assert!(fault(&last, Some(&value(old))).unwrap().contains("last acknowledged"));
        let mut damaged = value(new);
        damaged[31] ^= 1;
        assert!(fault(&last, Some(&damaged)).unwrap().contains("damaged"));
        last.blurred = true;
        assert_eq!(fault(&last, Some(&value(old))), None);
    }
}
