//! One replica of one group.

use crate::config::Config;
use crate::error::{ProposeError, ReadError, StartError, TransferError};
use crate::membership::Membership;
use crate::message::{
    AppendHeader, AppendOutcome, Extent, Message, Persist, Proposed, ReadId, ReadReady,
};
use crate::status::{PeerProgress, Role, Status};
use crate::types::{HardState, Index, Position, ReplicaId, Span, Term, Time};

/// What a replica starts from: everything in it counts as persisted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The replica.
    pub id: ReplicaId,
    /// Its group.
    pub membership: Membership,
    /// The recovered term and vote.
    pub hard_state: HardState,
    /// The log begins after this entry.
    pub compacted: Position,
    /// The log after `compacted`: ascending, without gaps.
    pub spans: &'a [Span],
    /// The last entry known committed *and applied*; entries after it will be given to apply.
    pub committed: Index,
    /// Seeds the draw of election timeouts; replicas must differ in it.
    pub seed: u64,
    /// The time now.
    pub now: Time,
}

/// One replica of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {}

#[expect(
    missing_docs,
    clippy::todo,
    unused_variables,
    clippy::unused_self,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "signatures first"
)]
impl Raft {
    pub fn new(config: Config, start: Start<'_>) -> Result<Self, StartError> {
        todo!()
    }
    pub fn propose(&mut self, count: u32, bytes: u32) -> Result<Proposed, ProposeError> {
        todo!()
    }
    pub fn take_noop(&mut self) -> Option<Proposed> {
        todo!()
    }
    pub fn read(&mut self) -> Result<ReadId, ReadError> {
        todo!()
    }
    pub fn step(&mut self, now: Time, message: &Message) {
        todo!()
    }
    pub fn step_append(
        &mut self,
        now: Time,
        header: &AppendHeader,
        spans: &[Span],
    ) -> AppendOutcome {
        todo!()
    }
    pub fn on_deadline(&mut self, now: Time) {
        todo!()
    }
    pub fn on_persisted(&mut self, seq: u64) {
        todo!()
    }
    pub fn on_applied(&mut self, index: Index) {
        todo!()
    }
    pub fn on_compacted(&mut self, index: Index) -> Position {
        todo!()
    }
    pub fn on_peer_up(&mut self, now: Time, peer: ReplicaId) {
        todo!()
    }
    pub fn on_peer_down(&mut self, now: Time, peer: ReplicaId) {
        todo!()
    }
    pub fn transfer(&mut self, now: Time, target: ReplicaId) -> Result<(), TransferError> {
        todo!()
    }
    pub fn campaign(&mut self, now: Time) {
        todo!()
    }
    pub fn take_persist(&mut self) -> Option<Persist> {
        todo!()
    }
    pub fn next_append<F>(&mut self, peer: ReplicaId, extent: F) -> Option<AppendHeader>
    where
        F: FnOnce(Index, Index, u32) -> Option<Extent>,
    {
        todo!()
    }
    pub fn take_message(&mut self) -> Option<Message> {
        todo!()
    }
    pub fn commit_owed(&mut self, peer: ReplicaId) -> Option<Message> {
        todo!()
    }
    pub fn take_committed(&mut self) -> Option<(Index, Index)> {
        todo!()
    }
    pub fn take_reads(&mut self) -> Option<ReadReady> {
        todo!()
    }
    pub fn deadline(&self) -> Option<Time> {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    pub fn progress(&self) -> impl Iterator<Item = PeerProgress> + '_ {
        core::iter::empty()
    }
    pub fn id(&self) -> ReplicaId {
        todo!()
    }
    pub fn membership(&self) -> &Membership {
        todo!()
    }
    pub fn role(&self) -> Role {
        todo!()
    }
    pub fn is_leader(&self) -> bool {
        todo!()
    }
    pub fn term(&self) -> Term {
        todo!()
    }
    pub fn leader(&self) -> Option<ReplicaId> {
        todo!()
    }
    pub fn committed(&self) -> Index {
        todo!()
    }
    pub fn persisted(&self) -> Index {
        todo!()
    }
    pub fn last(&self) -> Position {
        todo!()
    }
    pub fn compacted(&self) -> Position {
        todo!()
    }
    pub fn term_at(&self, index: Index) -> Option<Term> {
        todo!()
    }
    pub fn log_floor(&self) -> Index {
        todo!()
    }
    pub fn check_invariants(&self) {
        todo!()
    }
}
