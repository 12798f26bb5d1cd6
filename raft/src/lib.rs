//! The consensus core of Kontiki: Raft as a value that is told things and asked for things.
//!
//! A [`Raft`] is one replica of one group. It has no payload, no clock, no disk, no socket and no
//! randomness of its own: it knows logs as runs of terms, is given the time and a seed, and says
//! what should be written and sent. The same inputs give the same outputs, so what runs in
//! production can be replayed, simulated and model-checked as it is (`Clone + Eq + Hash`).
//!
//! # The protocol on one page
//!
//! **Terms and votes.** Time is cut into terms, with at most one leader each. A replica that has
//! not heard a leader for a random one to two election timeouts asks whether it *would* be elected
//! (pre-vote), and only then enters the next term and asks for votes. A vote goes, once per term,
//! to a candidate whose last [`Position`] is at least the voter's, term first; and to nobody while
//! the voter still hears its leader, unless that leader ordered the election. A leader that has
//! not heard a majority for an election timeout steps down. (`candidate`, `follower`, `liveness`)
//!
//! **The log.** The leader opens its term with a no-op ([`Raft::take_noop`]), gives every proposal
//! a place behind it, and sends appends that name the entry before them. A follower takes an
//! append where the logs meet and cuts its own log only at a real conflict; where they do not
//! meet, it answers with the latest position that could, so that both sides skip whole conflicting
//! terms. A follower is first probed with one append, then streamed to within a byte window; one
//! that needs what is compacted gets a snapshot. (`replication`, `progress`, `log`, `snapshot`)
//!
//! **Durability.** Writes are asynchronous: [`Raft::take_persist`] hands one out,
//! [`Raft::on_persisted`] reports it. Acknowledgements, votes and requests for votes wait until
//! what they rest on is durable; a leader's appends and heartbeats do not, since they promise
//! nothing about its own disk. A leader counts itself only as far as its disk has the entries.
//! (`durability`)
//!
//! **Commit.** What a majority holds durably is committed, once it reaches an entry of the
//! leader's own term. Entries to apply ([`Raft::take_committed`]) are committed and durable here.
//! The *floor* is what every member holds durably: nobody needs the log below it. (`commit`)
//!
//! **Reads.** A linearizable read waits until a majority has confirmed the leadership after it
//! came. Confirmation goes in numbered rounds, shared by all reads of a drain and riding on
//! appends where it can. A confirmed round also begins a lease, where leases are on; and a
//! follower's reads are forwarded and served where they came. (`linearizable`, `reads`)
//!
//! **Membership.** Voters decide; *learners* only receive; *witnesses* vote and hold positions
//! without payloads. A change is an entry that counts from the moment it is appended and goes away
//! with it. One voter at a time may change at once; more go by way of a joint membership, in which
//! both halves decide and which every leader leaves as soon as it is committed. A leader that is
//! removed leads until that is committed, and hands over. (`reconfigure`, `membership`, `quorum`)
//!
//! **Rest.** A group in which nothing happens can sleep: no heartbeats, no deadlines. And liveness
//! can come from outside: then nodes watch each other, and a group at rest has no deadline at all.
//! (`liveness`)
//!
//! # Inputs and outputs
//!
//! | told | asked for |
//! |---|---|
//! | [`propose`](Raft::propose), [`read`](Raft::read), [`transfer`](Raft::transfer), [`campaign`](Raft::campaign), [`propose_membership`](Raft::propose_membership) | [`take_noop`](Raft::take_noop), right after any input that may change the role |
//! | [`step`](Raft::step), [`step_append`](Raft::step_append) | [`next_append`](Raft::next_append), [`commit_owed`](Raft::commit_owed) for each of [`peers`](Raft::peers) |
//! | [`on_persisted`](Raft::on_persisted), [`on_applied`](Raft::on_applied), [`on_compacted`](Raft::on_compacted) | [`take_persist`](Raft::take_persist), [`take_committed`](Raft::take_committed) |
//! | [`install_snapshot`](Raft::install_snapshot), [`on_snapshot_sent`](Raft::on_snapshot_sent) | [`take_snapshot_request`](Raft::take_snapshot_request) |
//! | [`on_deadline`](Raft::on_deadline), [`sleep`](Raft::sleep) | [`deadline`](Raft::deadline) |
//! | [`on_peer_up`](Raft::on_peer_up), [`on_peer_down`](Raft::on_peer_down) | [`take_message`](Raft::take_message), [`take_reads`](Raft::take_reads), [`take_membership`](Raft::take_membership) |
//! | [`leader_supported_until`](Raft::leader_supported_until), [`on_support_lapsed`](Raft::on_support_lapsed), [`on_support_gained`](Raft::on_support_gained), [`check_support`](Raft::check_support) | [`lease_read`](Raft::lease_read), [`is_even_with`](Raft::is_even_with) |
//!
//! Outputs merge. Any number of proposals between two drains is one append per follower and one
//! write; any number of appends is one write and one acknowledgement.
//!
//! The caller promises: writes are made whole, in order, and reported once each; on a live
//! connection messages are neither lost nor reordered, and a broken one is reported (a breach
//! costs time, never safety); blocks are never split, so that a conflict falls between two; a
//! replica id is never given to another replica, nor to one that has lost its disk.
//!
//! # Invariants
//!
//! - `compacted <= applied <= committed <= last` and `persisted <= last`, always; whatever is
//!   given to apply is both committed and persisted ([`Raft::check_invariants`]).
//! - Nothing here can name a clock, a thread, a file or a socket: the crate is `no_std` without
//!   dependencies.
//! - Proposing, appending, acknowledging, committing and draining allocate nothing. An idle
//!   follower of at most five members, whose log has one term, is at most 320 bytes without a heap
//!   block; leading a group of five voters adds at most 512.
//!
//! # Quick start
//!
//! A group of one, from its first election to a committed entry:
//!
//! ```
//! use kontiki_raft::{
//!     Config, HardState, Index, Membership, Position, Raft, ReplicaId, Start, Time,
//! };
//!
//! let id = ReplicaId::new(1).unwrap();
//! let mut raft = Raft::new(
//!     Config::default(),
//!     Start {
//!         id,
//!         membership: Membership::new(&[id])?,
//!         changes: &[],
//!         hard_state: HardState::default(),
//!         compacted: Position::ZERO,
//!         spans: &[],
//!         committed: Index::ZERO,
//!         seed: 7,
//!         now: Time(0),
//!     },
//! )?;
//!
//! // What a caller does after every input. A real one writes what `take_persist` says, and tells
//! // of it later; with peers it also sends what `next_append` and `take_message` give.
//! fn drain(raft: &mut Raft) {
//!     while let Some(write) = raft.take_persist() {
//!         raft.on_persisted(write.seq);
//!         raft.take_noop();
//!     }
//! }
//!
//! raft.on_deadline(raft.deadline().expect("a follower waits for its leader"));
//! drain(&mut raft);
//! assert!(raft.is_leader(), "its own vote is a majority, once durable");
//!
//! let proposed = raft.propose(3, 48)?;
//! assert_eq!((proposed.first, proposed.last), (Index(2), Index(4)), "the no-op is entry 1");
//! drain(&mut raft);
//! assert_eq!(raft.take_committed(), Some((Index(1), Index(4))));
//! raft.on_applied(Index(4));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! Deliberately absent: payloads and the bytes of snapshots, forwarding of proposals, sessions of
//! clients, and recovery from the loss of a majority, which no algorithm can do safely.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod candidate;
mod commit;
mod config;
mod durability;
mod error;
mod follower;
mod inputs;
mod invariants;
mod leader;
mod linearizable;
mod liveness;
mod log;
mod membership;
mod memberships;
mod message;
mod outputs;
pub mod planted;
mod progress;
pub mod quorum;
mod raft;
mod reads;
mod reconfigure;
mod replication;
mod rng;
mod seat;
mod snapshot;
mod spill;
mod status;
mod talk;
pub mod trace;
mod transfer;
mod types;
mod window;

pub use config::{Config, LEASE_PERCENT_MAX, Liveness, PRIORITY_MAX};
pub use error::{
    ChangeError, ConfigError, MembershipError, ProposeError, ReadError, StartError, TransferError,
};
pub use membership::{Change, MEMBERS_MAX, Member, Membership, MembershipAt, VOTERS_MAX};
pub use message::{
    AppendHeader, AppendOutcome, CommitStatus, Extent, MembershipProposed, Message, MessageKind,
    Persist, Proposed, ReadId, ReadReady, SnapshotHeader, SnapshotOutcome, SnapshotRequest,
    SnapshotSent,
};
pub use raft::{Raft, Start};
pub use reconfigure::Transition;
pub use seat::Seat;
pub use status::{PeerProgress, ProgressState, Role, Status};
pub use types::{HardState, Index, Position, ReplicaId, Span, Term, Time};
