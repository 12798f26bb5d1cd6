//! Watching a replica: what each input changed, told to whoever wants to know.
//!
//! The core has no hook inside. It is deterministic and changes by its inputs alone, so whoever
//! holds it can compare before and after; [`Traced`] does that around every call. Who does not use
//! it pays nothing, since it is another type, and what it tells is what [`Raft::status`] shows
//! everybody.
//!
//! Deliberately absent: messages and writes, which go through the caller's hands anyway.

use core::fmt;
use core::ops::Deref;

use crate::raft::Raft;
use crate::status::{Role, Status};

/// Something that a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceEvent<'a> {
    /// What the caller named the call.
    pub input: &'a str,
    /// The replica before it.
    pub before: &'a Status,
    /// The replica after it.
    pub after: &'a Status,
}

impl TraceEvent<'_> {
    /// Whether the replica plays another part, or the same in another term.
    #[must_use]
    pub fn changes_role(&self) -> bool {
        (self.before.role, self.before.term) != (self.after.role, self.after.term)
    }

    /// Whether the end of the log moved.
    #[must_use]
    pub fn changes_log(&self) -> bool {
        self.before.last != self.after.last
    }

    /// Whether more is known to be committed.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.before.committed < self.after.committed
    }

    /// Whether another membership is in force.
    #[must_use]
    pub fn changes_membership(&self) -> bool {
        self.before.membership_index != self.after.membership_index
    }
}

/// One line: the input and whatever it changed.
impl fmt::Display for TraceEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before, self.after);
        write!(f, "{} {}:", after.id, self.input)?;
        if self.changes_role() {
            let part = match after.role {
                Role::Follower => "follows",
                Role::PreCandidate => "asks to campaign",
                Role::Candidate => "campaigns",
                Role::Leader => "leads",
            };
            write!(f, " {part} in term {}", after.term)?;
        }
        if let (Some(vote), true) = (after.vote, before.vote != after.vote) {
            write!(f, " votes for {vote}")?;
        }
        if let (Some(leader), true) = (after.leader, before.leader != after.leader) {
            write!(f, " leader {leader}")?;
        }
        if self.changes_log() {
            write!(f, " last {} -> {}", before.last, after.last)?;
        }
        if before.persisted != after.persisted {
            write!(f, " persisted {} -> {}", before.persisted, after.persisted)?;
        }
        if self.commits() {
            write!(f, " committed {} -> {}", before.committed, after.committed)?;
        }
        if before.compacted != after.compacted {
            write!(f, " begins after {}", after.compacted)?;
        }
        if self.changes_membership() {
            write!(f, " membership of {}", after.membership_index)?;
        }
        Ok(())
    }
}

/// A replica, and somebody who is told of every call that changed something.
///
/// ```
/// use kontiki_raft::trace::Traced;
/// # use kontiki_raft::{Config, HardState, Index, Membership, Position, Raft, ReplicaId, Start, Time};
/// # let id = ReplicaId::new(1).unwrap();
/// # let raft = Raft::new(Config::default(), Start {
/// #     id, membership: Membership::new(&[id])?, changes: &[], spans: &[], seed: 7,
/// #     hard_state: HardState::default(), compacted: Position::ZERO, committed: Index::ZERO,
/// #     now: Time(0),
/// # })?;
/// let mut lines = Vec::new();
/// let mut traced = Traced::new(raft, |event| lines.push(event.to_string()));
/// traced.call("campaign", |raft| raft.campaign(Time(0)));
/// let write = traced.call("take_persist", |raft| raft.take_persist()).expect("a vote to write");
/// traced.call("on_persisted", |raft| raft.on_persisted(write.seq));
/// assert!(traced.is_leader(), "whatever only looks goes to the replica itself");
/// assert_eq!(
///     lines,
///     ["1 campaign: campaigns in term 1 votes for 1", "1 on_persisted: leads in term 1 leader 1 last 0/0 -> 1/1"]
/// );
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Traced<F> {
    raft: Raft,
    tell: F,
}

impl<F: FnMut(&TraceEvent<'_>)> Traced<F> {
    /// Watches `raft`: `tell` hears of every call that changes its status.
    pub const fn new(raft: Raft, tell: F) -> Self {
        Self { raft, tell }
    }

    /// Makes one call, which is named `input` to whoever is told.
    pub fn call<R>(&mut self, input: &str, call: impl FnOnce(&mut Raft) -> R) -> R {
        let before = self.raft.status();
        let result = call(&mut self.raft);
        let after = self.raft.status();
        if before != after {
            (self.tell)(&TraceEvent { input, before: &before, after: &after });
        }
        result
    }

    /// The replica, no longer watched.
    pub fn into_inner(self) -> Raft {
        self.raft
    }
}

impl<F> Deref for Traced<F> {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}
