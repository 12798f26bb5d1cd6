//! `openraft` 0.9.25: asynchronous, with tasks and channels, on one thread.
//!
//! - Built with its `singlethreaded` feature, on a current-thread tokio runtime; its log is
//!   compiled out, ticks and heartbeats by time are off.
//! - The network hands a request to the target's `Raft` directly; log and state machine are plain
//!   values behind a `RefCell`; "flushed" is called back at once.
//! - A payload is a `Bytes`: one buffer per batch, which every copy of an entry shares.
//! - A batch is pipelined: all of it is handed over (`client_write_ff`) before the first answer is
//!   awaited.
//! - Snapshots are built by its own policy every [`KEEP`] entries, and logs purged behind them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    Config, EmptyNode, EntryPayload, LogId, Raft, RaftLogReader, RaftNetwork, RaftNetworkFactory,
    RaftSnapshotBuilder, SnapshotMeta, SnapshotPolicy, StorageError, StoredMembership, Vote,
};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::work::{Batch, KEEP, Machine, System};

const LEADER: u64 = 1;
const IDS: [u64; 3] = [1, 2, 3];

openraft::declare_raft_types!(
    /// What the group is made of.
    pub Types:
        D = Bytes,
        R = (),
        Node = EmptyNode,
);

type Entry = openraft::Entry<Types>;
type StoreResult<T> = Result<T, StorageError<u64>>;
type RpcResult<T, E> = Result<T, RPCError<u64, EmptyNode, RaftError<u64, E>>>;

/// A log in memory, shared by the node and its replication tasks.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<LogInner>>);

#[derive(Default)]
struct LogInner {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    entries: VecDeque<Entry>,
}

impl LogInner {
    /// The index of the first entry kept; openraft's logs begin at 0.
    fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn slot(&self, index: u64) -> usize {
        let at = index.saturating_sub(self.first());
        usize::try_from(at).expect("a short log").min(self.entries.len())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: R,
    ) -> StoreResult<Vec<Entry>> {
        let log = self.0.borrow();
        let from = match range.start_bound() {
            Bound::Included(&index) => log.slot(index),
            Bound::Excluded(&index) => log.slot(index + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => log.slot(index + 1),
            Bound::Excluded(&index) => log.slot(index),
            Bound::Unbounded => log.entries.len(),
        };
        Ok(log.entries.range(from..to).cloned().collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> StoreResult<LogState<Types>> {
        let log = self.0.borrow();
        let last = log.entries.back().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last.or(log.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> StoreResult<()> {
        self.0.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> StoreResult<Option<Vote<u64>>> {
        Ok(self.0.borrow().vote)
    }

    async fn append<I: IntoIterator<Item = Entry>>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> StoreResult<()> {
        self.0.borrow_mut().entries.extend(entries);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> StoreResult<()> {
        let mut log = self.0.borrow_mut();
        let kept = log.slot(from.index);
        log.entries.truncate(kept);
        Ok(())
    }

    async fn purge(&mut self, through: LogId<u64>) -> StoreResult<()> {
        let mut log = self.0.borrow_mut();
        let gone = log.slot(through.index + 1);
        log.entries.drain(..gone);
        log.purged = Some(through);
        Ok(())
    }
}

/// The state machine, shared with whoever reads it and with snapshot builders.
#[derive(Clone, Default)]
struct State(Rc<RefCell<StateInner>>);

#[derive(Clone, Default)]
struct StateInner {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, EmptyNode>,
    machine: Machine,
    snapshot: Option<SnapshotMeta<u64, EmptyNode>>,
}

impl StateInner {
    fn current_snapshot(&self) -> Option<Snapshot<Types>> {
        // Nobody falls behind what is kept, so no snapshot is ever sent; it has no bytes.
        let meta = self.snapshot.clone()?;
        Some(Snapshot { meta, snapshot: Box::new(Cursor::new(Vec::new())) })
    }
}

impl RaftSnapshotBuilder<Types> for State {
    async fn build_snapshot(&mut self) -> StoreResult<Snapshot<Types>> {
        let mut state = self.0.borrow_mut();
        state.snapshot = Some(SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
            snapshot_id: format!("{:?}", state.applied.map(|applied| applied.index)),
        });
        Ok(state.current_snapshot().expect("set just now"))
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> StoreResult<(Option<LogId<u64>>, StoredMembership<u64, EmptyNode>)> {
        let state = self.0.borrow();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I: IntoIterator<Item = Entry>>(&mut self, entries: I) -> StoreResult<Vec<()>> {
        let mut state = self.0.borrow_mut();
        let mut answers = Vec::new();
        for entry in entries {
            match entry.payload {
                EntryPayload::Normal(payload) => state.machine.apply(&payload),
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            state.applied = Some(entry.log_id);
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> StoreResult<Box<Cursor<Vec<u8>>>> {
        panic!("nobody falls behind what is kept")
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<u64, EmptyNode>,
        _snapshot: Box<Cursor<Vec<u8>>>,
    ) -> StoreResult<()> {
        panic!("nobody falls behind what is kept")
    }

    async fn get_current_snapshot(&mut self) -> StoreResult<Option<Snapshot<Types>>> {
        Ok(self.0.borrow().current_snapshot())
    }
}

type Rafts = Rc<RefCell<BTreeMap<u64, Raft<Types>>>>;

/// The way to all nodes.
#[derive(Clone)]
struct Network(Rafts);

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link { target, rafts: Rc::clone(&self.0), raft: None }
    }
}

/// The way to one node.
struct Link {
    target: u64,
    rafts: Rafts,
    raft: Option<Raft<Types>>,
}

impl Link {
    fn raft(&mut self) -> &Raft<Types> {
        let (rafts, target) = (&self.rafts, self.target);
        self.raft.get_or_insert_with(|| rafts.borrow()[&target].clone())
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<u64>, openraft::error::Infallible> {
        let target = self.target;
        let answer = self.raft().append_entries(request).await;
        answer.map_err(|error| RemoteError::new(target, error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> RpcResult<VoteResponse<u64>, openraft::error::Infallible> {
        let target = self.target;
        let answer = self.raft().vote(request).await;
        answer.map_err(|error| RemoteError::new(target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> RpcResult<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        let error = std::io::Error::other("nobody falls behind what is kept");
        Err(NetworkError::new(&error).into())
    }
}

/// See the module.
pub struct Openraft {
    runtime: Runtime,
    tasks: LocalSet,
    rafts: Rafts,
    states: [State; 3],
    leader: Raft<Types>,
}

impl Openraft {
    /// A group whose first node leads.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without threads");
        let tasks = LocalSet::new();
        let rafts = Rafts::default();
        let states = <[State; 3]>::default();
        let leader = tasks.block_on(&runtime, async {
            for (id, state) in IDS.into_iter().zip(&states) {
                let network = Network(Rc::clone(&rafts));
                let raft = Raft::new(id, config(), network, Log::default(), state.clone());
                let raft = raft.await.expect("an empty node starts");
                rafts.borrow_mut().insert(id, raft);
            }
            let leader = rafts.borrow()[&LEADER].clone();
            let members = BTreeMap::from(IDS.map(|id| (id, EmptyNode {})));
            leader.initialize(members).await.expect("a new group");
            let wait = leader.wait(TIMEOUT);
            wait.current_leader(LEADER, "election").await.expect("nobody else campaigns");
            leader
        });
        Self { runtime, tasks, rafts, states, leader }
    }

    fn applied(&self) -> u64 {
        self.states[0].0.borrow().machine.entries
    }
}

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(20));

fn config() -> Arc<Config> {
    let config = Config {
        heartbeat_interval: 10_000,
        election_timeout_min: 100_000,
        election_timeout_max: 200_000,
        enable_tick: false,
        enable_heartbeat: false,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(KEEP),
        max_in_snapshot_log_to_keep: 0,
        // A follower that lags by less than a log is sent the log and not a snapshot.
        replication_lag_threshold: 4 * KEEP,
        ..Config::default()
    };
    Arc::new(config.validate().expect("a valid configuration"))
}

impl System for Openraft {
    fn commit_batch(&mut self, batch: Batch<'_>) {
        let before = self.applied();
        let bytes = Bytes::copy_from_slice(batch.bytes());
        let size = batch.size();
        self.tasks.block_on(&self.runtime, async {
            let mut answers = Vec::with_capacity(batch.len());
            for at in 0..batch.len() {
                let payload = bytes.slice(at * size..(at + 1) * size);
                answers.push(self.leader.client_write_ff(payload).await.expect("it runs"));
            }
            for answer in answers {
                answer.await.expect("every proposal is answered").expect("it leads");
            }
        });
        assert_eq!(self.applied(), before + batch.len() as u64, "applied");
    }

    fn finish(&mut self) -> [Machine; 3] {
        self.tasks.block_on(&self.runtime, async {
            self.leader.trigger().heartbeat().await.expect("it runs");
            let last = self.states[0].0.borrow().applied.map(|applied| applied.index);
            let rafts: Vec<_> = self.rafts.borrow().values().cloned().collect();
            for raft in rafts {
                let wait = raft.wait(TIMEOUT);
                let applied = wait.applied_index_at_least(last, "finish").await;
                applied.expect("followers hear of the commit");
            }
        });
        [0, 1, 2].map(|slot| self.states[slot].0.borrow().machine)
    }
}

impl Drop for Openraft {
    fn drop(&mut self) {
        // The nodes refer to each other through the network.
        let rafts = std::mem::take(&mut *self.rafts.borrow_mut());
        self.tasks.block_on(&self.runtime, async {
            for raft in rafts.into_values() {
                raft.shutdown().await.expect("it stops once");
            }
        });
    }
}
