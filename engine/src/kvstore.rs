//! The range-partitioned key-value store: the [`Engine`] with a key-value machine, behind keys instead of groups.
//!
//! A key belongs to one range, a range to one group. Calls are served on the node that leads the group, and say
//! who does elsewhere. Writes are answered when applied; reads are linearizable: the leader confirms that it still
//! leads before the local state is read (Raft thesis, section 6.4).
//!
//! Deliberately absent: forwarding, and transactions across ranges.

use std::fmt;
use std::sync::Arc;

use crate::config::{Bootstrap, Config};
use crate::engine::Engine;
use crate::error::{Outcome, RequestError, StartError, SubmitError};
use crate::kv::command::{self, CommandError, OP_HEADER_BYTES};
use crate::kv::{
    KvMachine, KvView, Op, ScanPage, ShardView, StateWriter, StateWriterHandle, state_writer,
};
use crate::machine::{MachineContext, MachineError};
use crate::node::{Background, Machines};
use crate::store::rocks_state::{StateDb, StateOptions};
use crate::submission::Submission;
use crate::ticket::{Applied, Ticket};

/// Why a call of the store failed.
#[derive(Debug)]
pub enum CallError {
    /// Refused at the door.
    Submit(SubmitError),
    /// Refused, or lost, by the group.
    Request(RequestError),
    /// The key or the value is outside of its limits.
    Command(CommandError),
    /// The keys of a batch belong to more than one range.
    SpansRanges,
    /// The state could not be read.
    State(MachineError),
}

impl CallError {
    /// What the error says of a *write*.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Request(error) => error.outcome(),
            Self::Submit(_) | Self::Command(_) | Self::SpansRanges => Outcome::NotApplied,
            Self::State(_) => Outcome::Unknown,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(e) => write!(f, "{e}"),
            Self::Request(e) => write!(f, "{e}"),
            Self::Command(e) => write!(f, "{e}"),
            Self::SpansRanges => f.write_str("the keys of a batch must belong to one range"),
            Self::State(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<SubmitError> for CallError {
    fn from(error: SubmitError) -> Self {
        Self::Submit(error)
    }
}

impl From<RequestError> for CallError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<CommandError> for CallError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<MachineError> for CallError {
    fn from(error: MachineError) -> Self {
        Self::State(error)
    }
}

/// Opens the key-value machines of all shards on one state database.
struct KvMachines {
    dir: std::path::PathBuf,
    state: Option<StateWriterHandle>,
    writer: Option<StateWriter>,
    views: Vec<ShardView>,
}

impl Machines for KvMachines {
    type Machine = KvMachine;

    fn open(&mut self, context: MachineContext) -> Result<KvMachine, MachineError> {
        if self.state.is_none() {
            let options = StateOptions::new(self.dir.join("state"), context.store_id);
            let (handle, writer) = state_writer(Arc::new(StateDb::open(&options)?));
            self.writer = Some(writer);
            self.state = Some(handle);
        }
        let handle = self.state.as_ref().expect("made just now");
        let machine = KvMachine::open(&context, handle.clone())?;
        self.views.push(machine.view());
        Ok(machine)
    }

    fn background(&mut self) -> Option<Background> {
        // The handles are the machines' alone from here on: the writer ends with the last of them.
        self.state = None;
        let writer = self.writer.take()?;
        Some(Background { name: "state", run: Box::new(move || writer.run()) })
    }
}

/// A node of the key-value store. A cheap handle; clone it freely.
///
/// ```
/// use kontiki::{Bootstrap, Config, Store};
/// let dir = tempfile::tempdir()?;
/// let store = Store::open(Config::new(dir.path(), 1), Bootstrap::groups(&[1], 4))?;
/// kontiki::testing::wait_until("a leader", || store.put(b"raft", b"balsa").ok());
/// assert_eq!(store.get(b"raft")?.as_deref(), Some(&b"balsa"[..]));
/// store.engine().shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    view: KvView,
    shards: u64,
}

impl Store {
    /// Opens the store of `config.dir`; see [`Engine::open`].
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(config: Config, bootstrap: Bootstrap) -> Result<Self, StartError> {
        let shards = config.workers as u64;
        let mut machines =
            KvMachines { dir: config.dir.clone(), state: None, writer: None, views: Vec::new() };
        let engine = Engine::open_with(config, &bootstrap, &mut machines)?;
        Ok(Self { engine, view: KvView::new(machines.views), shards })
    }

    /// The engine below: groups, leaders, status, metrics, shutdown.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The local state, to be read after a permit ([`Engine::read`]) or as what it is: possibly stale.
    #[must_use]
    pub const fn view(&self) -> &KvView {
        &self.view
    }

    /// The group that serves `key`.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> u64 {
        self.engine.ranges().group_of(key)
    }

    fn shard_of(&self, group: u64) -> usize {
        usize::try_from(group % self.shards).expect("less than the number of shards")
    }

    /// The value of `key`, at least as recent as every write acknowledged before this call.
    ///
    /// # Errors
    /// `NotLeader` names the node to ask; see [`CallError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CallError> {
        let group = self.group_of(key);
        self.engine.read(group)?.wait()?;
        Ok(self.view.get(self.shard_of(group), key)?)
    }

    /// Sets `key` to `value` and waits until that is applied.
    ///
    /// # Errors
    /// See [`CallError`], and its outcome.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Applied, CallError> {
        Ok(self.put_ticket(key, value)?.wait()?)
    }

    /// Sets `key` to `value`; the ticket is answered when that is applied.
    ///
    /// # Errors
    /// Refusals at the door; what comes later comes out of the ticket.
    pub fn put_ticket(&self, key: &[u8], value: &[u8]) -> Result<Ticket, CallError> {
        let mut entry = Vec::with_capacity(OP_HEADER_BYTES + key.len() + value.len());
        command::encode_put(&mut entry, key, value)?;
        Ok(self.engine.propose(self.group_of(key), &entry)?)
    }

    /// Removes `key` and waits until that is applied.
    ///
    /// # Errors
    /// See [`CallError`], and its outcome.
    pub fn delete(&self, key: &[u8]) -> Result<Applied, CallError> {
        let mut entry = Vec::with_capacity(OP_HEADER_BYTES + key.len());
        command::encode_delete(&mut entry, key)?;
        Ok(self.engine.propose(self.group_of(key), &entry)?.wait()?)
    }

    /// Applies all of `ops`, or none of them; their keys must belong to one range.
    ///
    /// # Errors
    /// `SpansRanges`, and as [`Store::put`].
    pub fn batch(&self, ops: &[Op<'_>]) -> Result<Option<Applied>, CallError> {
        let Some(first) = ops.first() else { return Ok(None) };
        let group = self.group_of(first.key());
        if ops.iter().any(|op| self.group_of(op.key()) != group) {
            return Err(CallError::SpansRanges);
        }
        let mut entry = Vec::new();
        command::encode_batch(&mut entry, ops.iter().copied())?;
        Ok(Some(self.engine.propose(group, &entry)?.wait()?))
    }

    /// Up to `limit` pairs of `[start, end)` in key order, each range at least as recent as every write
    /// acknowledged before this call.
    ///
    /// A page crosses ranges as far as this node leads them; `next` says where the next page begins, and asking
    /// for it here then names the leader to go on with.
    ///
    /// # Errors
    /// `NotLeader` when this node does not lead the first range; see [`CallError`].
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, CallError> {
        let mut page = ScanPage { entries: Vec::new(), next: Some(start.to_vec()) };
        while let Some(from) = page.next.take() {
            let full = page.entries.len() >= limit;
            if full || end.is_some_and(|end| end <= from.as_slice()) {
                page.next = full.then_some(from);
                break;
            }
            let (group, bounds) = self.engine.ranges().range_of(&from);
            if let Err(error) = self.permit(group) {
                if page.entries.is_empty() {
                    return Err(error);
                }
                page.next = Some(from);
                break;
            }
            let until = match (bounds.end, end) {
                (Some(range), Some(end)) if end < range.as_slice() => Some(end.to_vec()),
                (Some(range), _) => Some(range),
                (None, end) => end.map(<[u8]>::to_vec),
            };
            let got = self.view.scan(&from, until.as_deref(), limit - page.entries.len())?;
            page.entries.extend(got.entries);
            page.next = got.next.or(until);
        }
        Ok(page)
    }

    fn permit(&self, group: u64) -> Result<(), CallError> {
        self.engine.read(group)?.wait()?;
        Ok(())
    }

    /// Adds a put to a submission, for [`Engine::submit`]: the way of those who have many under way.
    ///
    /// # Errors
    /// Limits of key, value and submission.
    pub fn push_put(
        &self,
        submission: &mut Submission,
        tag: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CallError> {
        command::check_limits(key, value)?;
        let len = OP_HEADER_BYTES + key.len() + value.len();
        submission.push_with(self.group_of(key), tag, len, |entry| {
            command::encode_put(entry, key, value).expect("checked just now");
        })?;
        Ok(())
    }
}
