//! What opening a node decides: the records of a new store, and the shards that a log makes.
//!
//! Shared by the node, whose log is on RocksDB, and the simulator, whose log is not.
//! Deliberately absent: files, sockets and threads. They are `node.rs`'s.

use std::sync::Arc;

use kontiki_raft::{Liveness, ReplicaId, Time};

use crate::config::{Bootstrap, Config};
use crate::error::{ConfigError, StartError};
use crate::range::{RangeMap, RangeMapBuilder};
use crate::shard::{Builder, ShardConfig};
use crate::store::{GroupRecord, GroupRecords, LogStore, OpenError};
use crate::support::Support;
use crate::worker::FlushPolicy;

/// The records of a new store: a replica of each group, on each node.
///
/// # Errors
/// When nodes, peers or ranges do not fit together.
pub fn first_records(config: &Config, bootstrap: &Bootstrap) -> Result<GroupRecords, StartError> {
    let refuse =
        |why: &str| StartError::Config(ConfigError { field: "bootstrap", why: why.to_owned() });
    let nodes = &bootstrap.nodes;
    if !nodes.contains(&config.node_id) {
        return Err(refuse("this node is not among the nodes"));
    }
    if nodes.len() > 7 || nodes.iter().any(|n| nodes.iter().filter(|m| *m == n).count() > 1) {
        return Err(refuse("1 to 7 nodes, none twice"));
    }
    let unknown =
        |node: &u64| *node != config.node_id && !config.peers.iter().any(|(peer, _)| peer == node);
    if nodes.iter().any(unknown) {
        return Err(refuse("a node has no address among the peers"));
    }
    RangeMap::new(&bootstrap.ranges).map_err(StartError::Ranges)?;
    // One replica of a group per node, so the node's id serves as the replica's.
    let replica = |node: u64| ReplicaId::new(node).ok_or_else(|| refuse("node ids are not zero"));
    let membership: Vec<(ReplicaId, u64)> =
        nodes.iter().map(|&node| Ok((replica(node)?, node))).collect::<Result<_, StartError>>()?;
    let own = replica(config.node_id)?;
    let mut record = GroupRecord {
        replica: own,
        hard_state: kontiki_raft::HardState::default(),
        compacted: kontiki_raft::Position::ZERO,
        membership,
        range: crate::range::RangeBounds::all(),
    };
    let mut records = GroupRecords::default();
    for (group, range) in &bootstrap.ranges {
        record.range.clone_from(range);
        records.push(*group, &record);
    }
    Ok(records)
}

/// Which group serves which keys, by the groups' records.
///
/// # Errors
/// When their ranges leave a gap or overlap.
pub fn ranges_of(records: &GroupRecords) -> Result<Arc<RangeMap>, StartError> {
    let mut builder = RangeMapBuilder::default();
    for (group, record) in records.iter() {
        builder.push(group, &record.range);
    }
    Ok(Arc::new(builder.finish().map_err(StartError::Ranges)?))
}

/// Reads the whole log once, into as many builders as there are shards.
///
/// # Errors
/// A log that is damaged, or does not make sense.
pub fn rebuild(
    config: &Config,
    log: &mut dyn LogStore,
    ranges: &Arc<RangeMap>,
    records: &GroupRecords,
) -> Result<Vec<Builder>, StartError> {
    let mut priority_groups = config.priority_groups.clone();
    priority_groups.sort_unstable();
    let priority_groups: Arc<[u64]> = priority_groups.into();
    let shard = |shard| ShardConfig {
        node: config.node_id,
        shard,
        shards: config.workers,
        raft: config.raft,
        cache_bytes_max: config.cache_bytes_max / config.workers,
        seed: config.seed,
        priority_groups: priority_groups.clone(),
    };
    let mut builders: Vec<Builder> =
        (0..config.workers).map(|number| Builder::new(shard(number), ranges, records)).collect();
    let mut refused = None;
    let read = log.for_each_part(&mut |number, part, bytes| {
        for builder in &mut builders {
            if let Err(error) = builder.part(number, part, bytes) {
                let why = error.to_string();
                refused = Some(error);
                return Err(OpenError::Block { number, part, offset: 0, why });
            }
        }
        Ok(())
    });
    match (read, refused) {
        (Ok(()), _) => Ok(builders),
        (Err(_), Some(error)) => Err(StartError::Recovery(error)),
        (Err(error), None) => Err(StartError::Store(error)),
    }
}

/// When a worker's flush cycles start.
#[must_use]
pub fn flush_policy(config: &Config) -> FlushPolicy {
    FlushPolicy {
        // A cycle takes a while, during which the log grows on: begin at half of what may be retained.
        bytes: config.log_retain_bytes / 2 / config.workers as u64,
        interval_us: u64::try_from(config.flush_interval.as_micros())
            .expect("checked: a day at most"),
    }
}

/// What nodes promise each other, if they do, in the node's boot epoch.
#[must_use]
pub fn supports(config: &Config, now: Time, epoch: u64) -> Option<Support> {
    let peers: Vec<u64> = config.peers.iter().map(|&(node, _)| node).collect();
    (config.raft.liveness == Liveness::External)
        .then(|| Support::new(config.support, now, epoch, &peers))
}
