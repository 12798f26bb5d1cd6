//! `raftctl group ls`: all groups, a line each; live with the lag of every replica.

use std::collections::BTreeMap;
use std::path::Path;

use kontiki::status::GroupStatus;
use kontiki::store::{GroupRecord, StoreView};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::live::{Endpoint, Heard, complain};
use super::output::{Table, key, or_dash, print, print_json};
use super::{Format, Source};
use crate::api::hex;
use crate::disk::{self, Tail};

/// What the replicas of one group say together.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GroupView {
    pub(super) group: u64,
    /// The node that leads, by its own word.
    pub(super) leader: Option<u64>,
    pub(super) term: u64,
    /// The highest commit that any replica knows.
    pub(super) committed: u64,
    pub(super) last: u64,
    pub(super) replicas: Vec<ReplicaView>,
}

/// One replica, as it says itself and as the leader sees it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReplicaView {
    pub(super) node: u64,
    pub(super) replica: u64,
    /// Entries it lacks, by the leader's word.
    pub(super) lag: Option<u64>,
    /// How the leader sends to it.
    pub(super) progress: Option<String>,
    /// Whether the leader has heard of it lately.
    pub(super) active: Option<bool>,
    pub(super) inflight_bytes: Option<u64>,
    /// What the replica says itself, when its node answered.
    pub(super) own: Option<GroupStatus>,
}

impl GroupView {
    /// Puts together what the nodes said of one group; `None` when none knows it.
    pub(super) fn of(statuses: &[&GroupStatus]) -> Option<Self> {
        let newest = statuses.iter().max_by_key(|status| status.term)?;
        // Two may claim to lead for a moment; the higher term is right.
        let leader =
            statuses.iter().filter(|s| s.role == "leader").max_by_key(|status| status.term);
        let seen_by = leader.unwrap_or(newest);
        let replicas = seen_by.members.iter().map(|member| {
            let progress = member.progress.as_ref();
            // The leader keeps no progress of itself: what it lacks is what its own disk has not got yet.
            let own_log = leader.filter(|status| status.node == member.node);
            ReplicaView {
                node: member.node,
                replica: member.replica,
                lag: progress
                    .map(|p| p.lag)
                    .or_else(|| own_log.map(|s| s.last.saturating_sub(s.persisted))),
                progress: progress
                    .map(|p| p.state.clone())
                    .or_else(|| own_log.map(|_| "self".to_owned())),
                active: progress.map(|p| p.active).or_else(|| own_log.map(|_| true)),
                inflight_bytes: progress.map(|p| p.inflight_bytes),
                own: statuses.iter().find(|s| s.node == member.node).map(|&s| s.clone()),
            }
        });
        Some(Self {
            group: seen_by.group,
            leader: leader.map(|status| status.node),
            term: seen_by.term,
            committed: statuses.iter().map(|s| s.committed).max().unwrap_or(0),
            last: seen_by.last,
            replicas: replicas.collect(),
        })
    }
}

/// A group as a store's directory shows it.
#[derive(Debug, Serialize)]
pub(super) struct StoredGroup {
    pub(super) group: u64,
    pub(super) replica: u64,
    pub(super) term: u64,
    pub(super) vote: Option<u64>,
    pub(super) compacted: u64,
    pub(super) last: u64,
    pub(super) last_term: u64,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) members: Vec<StoredMember>,
    /// The first key of its range, in hexadecimal.
    pub(super) start: String,
    /// The first key behind its range.
    pub(super) end: Option<String>,
    #[serde(skip)]
    pub(super) range: String,
}

/// A member of a [`StoredGroup`].
#[derive(Debug, Serialize)]
pub(super) struct StoredMember {
    pub(super) replica: u64,
    pub(super) node: u64,
}

impl StoredGroup {
    pub(super) fn of(group: u64, record: &GroupRecord, tail: Option<&Tail>) -> Self {
        let compacted = record.compacted;
        // Blocks that compaction has left behind may be the only ones there are.
        let tail = tail.copied().unwrap_or_default();
        let ends_at = (compacted.index.0, compacted.term.0).max((tail.index, tail.term));
        let member = |&(replica, node): &(kontiki_raft::ReplicaId, u64)| StoredMember {
            replica: replica.get(),
            node,
        };
        let end = record.range.end.as_deref();
        Self {
            group,
            replica: record.replica.get(),
            term: record.hard_state.term.0,
            vote: record.hard_state.vote.map(kontiki_raft::ReplicaId::get),
            compacted: compacted.index.0,
            last: ends_at.0,
            last_term: ends_at.1,
            blocks: tail.blocks,
            bytes: tail.bytes,
            members: record.membership.iter().map(member).collect(),
            start: hex(&record.range.start),
            end: end.map(hex),
            range: format!(
                "[{}, {})",
                if record.range.start.is_empty() {
                    "-∞".to_owned()
                } else {
                    key(&record.range.start)
                },
                end.map_or_else(|| "+∞".to_owned(), key)
            ),
        }
    }

    pub(super) fn members(&self) -> String {
        let members = self.members.iter().map(|m| format!("{}@{}", m.replica, m.node));
        members.collect::<Vec<_>>().join(" ")
    }
}

#[derive(Debug, Serialize)]
struct Listing {
    groups: Vec<GroupView>,
    unreachable: Vec<u64>,
}

pub(super) fn run(source: &Source, output: Format) -> Result<Exit, Failure> {
    match source {
        Source::Live(endpoint) => live(endpoint, output),
        Source::Dir(dir) => offline(dir, output),
    }
}

fn live(endpoint: &Endpoint, output: Format) -> Result<Exit, Failure> {
    let cluster = endpoint.cluster()?;
    let heard = endpoint.fan_out::<Vec<GroupStatus>>(&cluster, "/v1/groups");
    let mut by_group: BTreeMap<u64, Vec<&GroupStatus>> = BTreeMap::new();
    for status in heard.iter().filter_map(|node| node.report.as_ref()).flatten() {
        by_group.entry(status.group).or_default().push(status);
    }
    let groups: Vec<GroupView> = by_group.values().filter_map(|s| GroupView::of(s)).collect();
    let unreachable = |h: &&Heard<_>| h.unreachable.is_some();
    if output == Format::Json {
        let unreachable = heard.iter().filter(unreachable).map(|h| h.node).collect();
        return print_json(&Listing { groups, unreachable });
    }
    let mut table =
        Table::new(&["GROUP>", "LEADER>", "TERM>", "COMMITTED>", "LAST>", "LAG (NODE:ENTRIES)"]);
    for group in &groups {
        table.row([
            group.group.to_string(),
            or_dash(group.leader),
            group.term.to_string(),
            group.committed.to_string(),
            group.last.to_string(),
            group.replicas.iter().map(lag).collect::<Vec<_>>().join("  "),
        ]);
    }
    let done = print(&table.render())?;
    complain(&heard);
    Ok(done)
}

/// `node:lag`; a `!` says that the leader has not heard of it lately.
fn lag(replica: &ReplicaView) -> String {
    let silent = if replica.active == Some(false) { "!" } else { "" };
    format!("{}:{}{silent}", replica.node, or_dash(replica.lag))
}

fn offline(dir: &Path, output: Format) -> Result<Exit, Failure> {
    let failed = |error| Failure::of_store(dir, &error);
    let view = StoreView::open(dir).map_err(failed)?;
    let tails = disk::tails(&view).map_err(failed)?;
    let stored = |(id, record): &(u64, GroupRecord)| StoredGroup::of(*id, record, tails.get(id));
    let groups: Vec<StoredGroup> = view.groups().iter().map(stored).collect();
    if output == Format::Json {
        return print_json(&serde_json::json!({ "groups": groups }));
    }
    let mut table = Table::new(&[
        "GROUP>",
        "REPLICA>",
        "TERM>",
        "VOTE>",
        "COMPACTED>",
        "LAST>",
        "BLOCKS>",
        "MEMBERS (REPLICA@NODE)",
        "RANGE",
    ]);
    for group in &groups {
        table.row([
            group.group.to_string(),
            group.replica.to_string(),
            group.term.to_string(),
            or_dash(group.vote),
            group.compacted.to_string(),
            group.last.to_string(),
            group.blocks.to_string(),
            group.members(),
            group.range.clone(),
        ]);
    }
    print(&table.render())
}

#[cfg(test)]
mod tests {
    use kontiki::status::{MemberStatus, ProgressStatus};

    use super::*;

    fn status(node: u64, role: &str, term: u64, lags: &[Option<u64>]) -> GroupStatus {
        let progress = |lag: u64| ProgressStatus {
            state: "replicate".to_owned(),
            matched: 10 - lag,
            next: 11,
            inflight_bytes: 0,
            lag,
            active: lag < 5,
        };
        let members = lags.iter().zip(1..).map(|(lag, node)| MemberStatus {
            replica: node,
            node,
            progress: lag.map(progress),
        });
        GroupStatus {
            group: 7,
            node,
            replica: node,
            role: role.to_owned(),
            term,
            leader: None,
            compacted: 0,
            applied: 8,
            committed: 8,
            persisted: 10,
            last: 10,
            floor: 0,
            waiting: 0,
            members: members.collect(),
        }
    }

    #[test]
    fn the_leader_with_the_higher_term_tells_the_lag() {
        let old = status(1, "leader", 3, &[Some(0), Some(9), Some(9)]);
        let new = status(2, "leader", 4, &[Some(6), None, Some(2)]);
        let view = GroupView::of(&[&old, &new]).unwrap();
        assert_eq!((view.group, view.leader, view.term), (7, Some(2), 4));
        let lags: Vec<_> = view.replicas.iter().map(lag).collect();
        assert_eq!(lags, ["1:6!", "2:0", "3:2"]);
        assert!(view.replicas[0].own.is_some() && view.replicas[2].own.is_none());
    }

    #[test]
    fn without_a_leader_the_lag_is_unknown() {
        let one = status(1, "follower", 3, &[None, None, None]);
        let view = GroupView::of(&[&one]).unwrap();
        assert_eq!((view.leader, view.committed), (None, 8));
        assert_eq!(lag(&view.replicas[1]), "2:-");
        assert!(GroupView::of(&[]).is_none());
    }
}
