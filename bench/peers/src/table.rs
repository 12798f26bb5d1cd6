//! The table, and what stands under it.

use crate::measure::Spread;
use crate::{OURS, OURS_BARE, Peer};

/// The head of the table.
pub const HEAD: &str = "\
payload  batch  system                     ns per proposal        proposals/s   times the time of
                                       min   median      max         (median)  kontiki  without
                                                                                       checksums
-------------------------------------------------------------------------------------------------";

/// Prints the lines of one size and batch.
pub fn print(peers: &[Peer], size: usize, batch: usize, results: &[Spread]) {
    let median_of = |name| {
        let at = peers.iter().position(|peer| peer.name == name)?;
        Some(results[at].median)
    };
    let ratio =
        |median: f64, to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", median / to));
    for (peer, &Spread { min, median, max }) in peers.iter().zip(results) {
        let rate = grouped(1e9 / median);
        let (of_ours, of_bare) =
            (ratio(median, median_of(OURS)), ratio(median, median_of(OURS_BARE)));
        let name = peer.name;
        println!(
            "{size:>5} B  {batch:>5}  {name:<21} {min:>8.1} {median:>8.1} {max:>8.1}  \
             {rate:>14}  {of_ours:>8} {of_bare:>8}"
        );
    }
    println!();
}

/// A whole number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What each system does and does not do.
pub const NOTES: &str = "\
Each line: three nodes in one thread, memory for disks and queues for networks. A batch is proposed
at the leader, carried to both followers, kept in all three logs, persisted (at once), acknowledged,
committed, applied on the leader, and on the followers with the commit they hear next; logs are
compacted every 4096 entries. Time is that of the thread, repeats are interleaved over the systems.

kontiki       Payload-free core; payloads beside it in the engine's blocks: encoded once with a
              table of lengths and a CRC-32C, whose structure, place and checksum both followers
              verify; walked again for each apply. Drained as the engine drains it. Buffers are
              shared by reference count and used again. Pre-vote, check-quorum, byte windows, a
              floor for compaction and read rounds are on. The engine's own queues, its copy out of
              the receive buffer, and its disk are not part of it.
  no checksums  The same without block header and checksum: what the others below do.
raft-rs       RawNode and Ready, advance_append, batch_append, skip_bcast_commit, pre-vote and
              check-quorum; entries are protobuf objects that share one Bytes per batch, a batch is
              one MsgPropose (one payload: propose). Messages are handed over as objects: nothing
              is serialized. No checksums. The storage takes a Ready's entries as they are.
noraft        Payload-free core; payloads in a side log as for kontiki, without checksums. One call
              per proposal, as it has no other. No pre-vote, no check-quorum, no windows, no reads,
              and the leader counts itself before it has persisted anything.
rafter        Core that keeps payloads, one allocation or two each; a batch is one call, appends share
              one slice of entries. Pre-vote and check-quorum. Its own log is taken for the durable
              one, so nothing is stored twice. No checksums.
openraft      Asynchronous: three nodes of several tasks each, on a current-thread tokio runtime with
              its feature `singlethreaded`; a whole batch is handed over before the first answer is
              awaited. Each proposal is answered through a channel of its own, which no other
              system here does. Log and state machine in memory; payloads share one Bytes. No
              checksums, nothing serialized.
(no consensus)  One copy of the batch, and three applies: what every line above contains.";
