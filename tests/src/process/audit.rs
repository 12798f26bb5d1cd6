//! The ledger of a load against what the cluster holds, and the replicas against each other.

use std::collections::BTreeMap;
use std::time::Duration;

use kontiki_tools::api::{DigestReport, ErrorReport, ScanReport, hex, unhex};
use kontiki_tools::http::Method;

use super::{Cluster, Fate, Ledger, value_of, within};

const LIMIT: Duration = Duration::from_secs(60);

/// Every pair of the store, read through the leaders.
fn everything(cluster: &Cluster) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let (mut node, mut from) = (0, Some(String::new()));
    while let Some(start) = from.take() {
        let target = format!("/v1/kv/scan?start={start}&limit=10000");
        let (page, _) = within("page of a scan", LIMIT, || {
            let asked = cluster.nodes[node].as_ref().map(|n| n.ask(Method::Get, &target, b""));
            let Some(Ok(answer)) = asked else {
                node = (node + 1) % 3;
                return None;
            };
            if answer.status == 200 {
                return Some(serde_json::from_slice::<ScanReport>(&answer.body).unwrap());
            }
            let report: ErrorReport = serde_json::from_slice(&answer.body).unwrap();
            node =
                report.leader.map_or((node + 1) % 3, |leader| usize::try_from(leader - 1).unwrap());
            None
        });
        for item in page.items {
            let old = found.insert(unhex(&item.key).unwrap(), unhex(&item.value).unwrap());
            assert!(old.is_none(), "key {} came twice", item.key);
        }
        from = page.next;
    }
    found
}

/// Checks that the cluster holds what `ledger` says it must, and nothing else.
///
/// # Panics
/// With the first keys that are lost, wrong, or should not be there.
pub fn audit(cluster: &Cluster, ledger: &Ledger) {
    let mut found = everything(cluster);
    let mut wrong = Vec::new();
    for (key, fate) in &ledger.fates {
        let value = found.remove(key);
        let is = |number: Option<u64>| number.map(|n| value_of(key, n)) == value;
        let Fate { acknowledged, unknown } = *fate;
        if !is(acknowledged) && (unknown.is_none() || !is(unknown)) {
            let held = value.map(|v| u64::from_le_bytes(v[..8].try_into().unwrap()));
            wrong.push(format!("{}: {fate:?}, and the store holds {held:?}", hex(key)));
        }
    }
    let keys = ledger.fates.len();
    assert!(
        wrong.is_empty(),
        "{} of {keys} keys are wrong: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
    let strangers: Vec<String> = found.keys().take(10).map(|key| hex(key)).collect();
    assert!(found.is_empty(), "{} keys that nobody was told of: {strangers:?}", found.len());
}

/// Waits until all replicas of each group stand at one index, and checks that their states are equal there.
///
/// # Panics
/// When two states at one index differ, or they do not come together.
pub fn replicas_agree(cluster: &Cluster) {
    for group in 1..=cluster.groups {
        let target = format!("/v1/groups/{group}/digest");
        within(&format!("one index of all replicas of group {group}"), LIMIT, || {
            let reports: Vec<DigestReport> = (0..3)
                .map(|at| serde_json::from_value(cluster.node(at).json(&target)?).ok())
                .collect::<Option<_>>()?;
            let first = &reports[0];
            if reports.iter().any(|report| report.index != first.index) {
                return None;
            }
            assert!(reports.iter().all(|report| report.digest == first.digest), "{reports:?}");
            Some(())
        });
    }
}
