//! The embedder's handle: groups, your state machine, tickets.
//!
//! An [`Engine`] is a cheap handle on a running node (clone it freely). Every call may come from any thread and
//! takes no lock but a queue's own. The store on top of it is [`crate::Store`].

use std::sync::Arc;

use crate::config::{Bootstrap, Config};
use crate::error::{RequestError, StartError, SubmitError};
use crate::machine::{MachineContext, MachineError, StateMachine};
use crate::metrics::Metrics;
use crate::node::{self, Machines, Node, Opener};
use crate::router::Router;
use crate::status::{GroupStatus, NodeStatus};
use crate::submission::{Submission, Submitted};
use crate::ticket::{CompletionQueue, Sink, Ticket};

pub use crate::node::ShutdownError;

/// A running node: its groups, and the threads that serve them.
///
/// ```no_run
/// use kontiki::{Bootstrap, Config, Engine, machine::MemoryMachine};
///
/// let config = Config::new("/var/lib/example", 1);
/// let engine = Engine::open(config, Bootstrap::groups(&[1], 16), MemoryMachine::open)?;
/// let ticket = engine.propose(3, b"a command for the state machine of group 3")?;
/// println!("applied at index {}", ticket.wait()?.index);
/// engine.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    node: Arc<Node>,
}

impl Engine {
    /// Opens the store of `config.dir`, formatting it from `bootstrap` when the directory is new, recovers, and
    /// starts the threads. `machine` is called once per shard.
    ///
    /// # Errors
    /// A configuration that fails its check, a store that is locked, foreign, too new or damaged, an address
    /// that cannot be bound, a machine that cannot be opened.
    pub fn open<M: StateMachine>(
        config: Config,
        bootstrap: Bootstrap,
        machine: impl FnMut(MachineContext) -> Result<M, MachineError>,
    ) -> Result<Self, StartError> {
        Self::open_with(config, &bootstrap, &mut Opener(machine))
    }

    pub(crate) fn open_with<S: Machines>(
        config: Config,
        bootstrap: &Bootstrap,
        machines: &mut S,
    ) -> Result<Self, StartError> {
        node::open(config, bootstrap, machines).map(Self::of)
    }

    /// The handle of a node that was opened.
    pub(crate) fn of(node: Node) -> Self {
        Self { node: Arc::new(node) }
    }

    /// Proposes one command to `group`.
    ///
    /// # Errors
    /// Refusals at the door; what comes later comes out of the ticket.
    pub fn propose(&self, group: u64, payload: &[u8]) -> Result<Ticket, SubmitError> {
        let mut submission = Submission::default();
        submission.push(group, 0, payload)?;
        self.submit_one(submission)
    }

    /// Asks for a linearizable read of `group`: once the ticket is answered, the local state is at least as
    /// recent as every write that was acknowledged before this call.
    ///
    /// # Errors
    /// Refusals at the door; what comes later comes out of the ticket.
    pub fn read(&self, group: u64) -> Result<Ticket, SubmitError> {
        let mut submission = Submission::default();
        submission.push_read(group, 0)?;
        self.submit_one(submission)
    }

    fn submit_one(&self, submission: Submission) -> Result<Ticket, SubmitError> {
        let ticket = Ticket::new();
        let sink = Sink::Ticket(Arc::clone(&ticket.cell));
        self.router()
            .submit(Arc::new(Submitted { submission, sink }))
            .map_err(|(error, _)| error)?;
        Ok(ticket)
    }

    /// Hands over many requests at once; each is answered into `queue`.
    ///
    /// # Errors
    /// `Busy` or `Stopped`, with the submission given back: nothing of it was queued.
    pub fn submit(
        &self,
        submission: Submission,
        queue: &Arc<CompletionQueue>,
    ) -> Result<(), (SubmitError, Submission)> {
        self.router().submit_many(submission, queue)
    }

    /// Which group serves which keys.
    #[must_use]
    pub fn ranges(&self) -> &Arc<crate::range::RangeMap> {
        self.node.ranges()
    }

    fn router(&self) -> &Router {
        self.node.router()
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.node.node_id()
    }

    /// The ids of all groups with a replica on this store, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.node.groups().collect()
    }

    /// The node that leads `group`, as far as is known here: one atomic load, updated by the worker.
    #[must_use]
    pub fn leader(&self, group: u64) -> Option<u64> {
        self.router().leader(group)
    }

    /// The state of the replica of `group` here.
    ///
    /// # Errors
    /// `UnknownGroup`, or `Stopped`.
    pub fn group_status(&self, group: u64) -> Result<GroupStatus, RequestError> {
        self.node.group_status(group)
    }

    /// The state of every replica here, ascending by group.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn group_statuses(&self) -> Result<Vec<GroupStatus>, RequestError> {
        self.node.group_statuses()
    }

    /// The node at a glance.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn status(&self) -> Result<NodeStatus, RequestError> {
        self.node.status()
    }

    /// The address this node listens on for its peers (the port that was taken, when port 0 was asked for).
    #[must_use]
    pub fn listen_address(&self) -> std::net::SocketAddr {
        self.node.listen_address()
    }

    /// The digest of the state of `group` and the index it stands at; see [`StateMachine::digest`].
    ///
    /// # Errors
    /// `UnknownGroup`, or `Stopped`.
    pub fn digest(&self, group: u64) -> Result<(u64, u64), RequestError> {
        self.node.digest(group)
    }

    /// Starts to hand the leadership of `group` to its replica on node `to`. It is done when
    /// [`Engine::leader`] says so; it may fail silently when the target is down, and then the group stays.
    ///
    /// # Errors
    /// `NotLeader`, `UnknownGroup`, `Stopped`, or `Busy` when another hand-over is under way.
    pub fn transfer_leader(&self, group: u64, to: u64) -> Result<(), RequestError> {
        self.node.transfer(group, Some(to))
    }

    /// Hands every leadership here to the most caught-up peer and waits until none is left, `limit` at most.
    /// Returns how many are left.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn hand_over(&self, limit: std::time::Duration) -> Result<u64, RequestError> {
        self.node.hand_over(limit)
    }

    /// Flushes the state machine now and compacts the log behind it.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn flush(&self) -> Result<(), RequestError> {
        self.node.flush()
    }

    /// The store's counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.node.metrics()
    }

    /// What ended the engine, when something did.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.node.fatal()
    }

    /// Stops: answers what can be answered, flushes, marks the store as cleanly shut down, joins all threads.
    /// Requests still under way end with `Stopped`. A second call finds nothing to do.
    ///
    /// # Errors
    /// What could not be made durable, or a thread that had panicked; the store is closed in every case.
    pub fn shutdown(&self) -> Result<(), ShutdownError> {
        self.node.shutdown()
    }
}
