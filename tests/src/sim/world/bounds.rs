//! Queues and memory have bounds, looked at after each turn for the worker that had it.
//!
//! The limits are the plan's, which are tiny in many seeds; what may exceed each of them is named here with its reason.
//! Deliberately absent: what is bounded because it cannot be otherwise (a pipe's buffer refuses what has no room).

use super::{World, place};

/// A block may be as large as one request, and limits are looked at before it is made.
const ONE_BLOCK: u64 = 64 << 10;

/// Appends that are sent before their receiver's window is known to be full, each of a block.
const ONE_APPEND: u64 = ONE_BLOCK;

/// The log of a replica that has its floor everywhere is dead after two flush cycles: more than so many bytes of rounds
/// for each group say that nobody compacts. The plans write less in a whole run.
const RETAINED_MAX: u64 = 64 << 20;

/// Bytes of rounds that turns with few groups read back.
const READ_BACK_MAX: usize = 64 << 10;

/// What is persisted late in a turn leaves the cache in the next one: so many turns in a row may end with more than there is
/// room for.
const OVER_MAX: u32 = 16;

impl World {
    pub(super) fn check_bounds(&mut self, node: u64, lane: usize) {
        let site = &self.sites[place(node)];
        let Some(running) = site.running.as_ref() else { return };
        let shard = running.desks[lane].worker.shard();
        let (config, in_flight) = (&site.config, shard.in_flight_bytes());
        let inbox = (running.inbox_bytes(lane), config.inbox_bytes_max);
        // What is not persisted is kept in any case, and what a turn reads back is there until the next.
        let cache_max = config.cache_bytes_max + in_flight + READ_BACK_MAX;
        let cache = (shard.cached_bytes(), cache_max);
        let retained = (shard.retained_bytes(), RETAINED_MAX);
        let over = if cache.0 > cache.1 { site.over[lane] + 1 } else { 0 };
        let wrong = if inbox.0 > inbox.1 {
            Some(format!("{} bytes of {} in the inbox", inbox.0, inbox.1))
        } else if over > OVER_MAX {
            Some(format!("{} bytes of {} in the cache", cache.0, cache.1))
        } else if retained.0 > retained.1 {
            Some(format!("{} bytes of {} retained", retained.0, retained.1))
        } else {
            None
        };
        let wrong = wrong.or_else(|| self.overfull(node, lane));
        if let Some(wrong) = wrong {
            self.fail(None, format!("node {node}, worker {lane}: {wrong}"));
        }
        self.sites[place(node)].over[lane] = over;
    }

    /// What the replica that was looked at last holds too much of.
    fn overfull(&self, node: u64, lane: usize) -> Option<String> {
        let site = &self.sites[place(node)];
        let shard = site.running.as_ref()?.desks[lane].worker.shard();
        if shard.is_empty() {
            return None; // There are fewer groups than workers.
        }
        let looked = site.looked[lane];
        let (replica, group) = (shard.raft(looked), shard.group(looked));
        let uncommitted = replica.status().uncommitted_bytes;
        let max = u64::from(self.plan.raft.uncommitted_bytes_max) + ONE_BLOCK;
        if uncommitted > max {
            return Some(format!("group {group}: {uncommitted} bytes of {max} uncommitted"));
        }
        let window = u64::from(self.plan.raft.inflight_bytes_max) + ONE_APPEND;
        let peer = replica.progress().find(|peer| peer.inflight_bytes > window)?;
        let (bytes, to) = (peer.inflight_bytes, peer.id);
        Some(format!("group {group}: {bytes} bytes of {window} on their way to {to}"))
    }
}
