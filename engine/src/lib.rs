//! Kontiki: a multi-Raft storage engine. One process holds replicas of thousands of Raft groups; they share one
//! synced write path on RocksDB and one connection per peer, so that the cost of a write is that of its batch.
//!
//! There are two levels. [`Store`] is a key-value store whose keys are split into ranges, one group each.
//! [`Engine`] is what it is built on: groups that replicate commands to a [`StateMachine`](machine::StateMachine) of
//! yours. Both are cheap handles on the same node; clone them freely, call them from any thread, no async runtime is
//! needed.
//!
//! # Level one: keys and values
//!
#![cfg_attr(feature = "rocks", doc = "```")]
#![cfg_attr(not(feature = "rocks"), doc = "```text")]
//! use kontiki::{Bootstrap, Config, Store, kv::Op};
//!
//! let dir = tempfile::tempdir()?;
//! // A cluster of one. For more, list the others in `config.peers` and all of them in the bootstrap.
//! let config = Config::new(dir.path(), 1);
//! let store = Store::open(config, Bootstrap::groups(&[1], 16))?;
//!
//! // A new group has no leader for a moment; until then calls are refused and say so.
//! kontiki::testing::wait_until("a leader", || store.put(b"raft/wood", b"balsa").ok());
//! assert_eq!(store.get(b"raft/wood")?.as_deref(), Some(&b"balsa"[..]));
//!
//! // All or nothing, as long as the keys belong to one range.
//! let sail = [Op::Put { key: b"raft/sail", value: b"square" }, Op::Delete { key: b"raft/wood" }];
//! store.batch(&sail)?;
//! let page = store.scan(b"raft/", Some(b"raft0"), 100)?;
//! assert_eq!(page.entries, [(b"raft/sail".to_vec(), b"square".to_vec())]);
//!
//! store.engine().shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A write returns when it is on the disks of a majority and applied. A read is linearizable: the leader has a
//! majority confirm that it still leads, then reads its own state. Calls are served on the node that leads the
//! group; elsewhere they end with [`NotLeader`](error::RequestError::NotLeader), which names that node.
//!
//! # Level two: your own state machine
//!
//! A [`StateMachine`](machine::StateMachine) gets the committed blocks of all groups of one shard, in order, on one
//! thread. It says how far it is *durably* applied when it is opened, and how to make the rest durable: until a flush
//! has succeeded, the log keeps the entries and gives them again after a restart. This one adds up the bytes that each
//! group was sent:
//!
#![cfg_attr(feature = "rocks", doc = "```")]
#![cfg_attr(not(feature = "rocks"), doc = "```text")]
//! use std::collections::BTreeMap;
//! use std::fs::{self, File};
//! use std::io::Write as _;
//! use std::path::PathBuf;
//!
//! use kontiki::machine::{Answers, FlushJob, MachineContext, MachineError, StateMachine};
//! use kontiki::{Block, Bootstrap, Config, Engine, Index};
//!
//! struct Tally {
//!     file: PathBuf,
//!     groups: BTreeMap<u64, (Index, u64)>, // how far it is applied, and the sum
//! }
//!
//! impl Tally {
//!     fn open(context: MachineContext) -> Result<Self, MachineError> {
//!         let file = context.dir.join("tally");
//!         let text = if file.exists() { fs::read_to_string(&file)? } else { String::new() };
//!         let numbers: Vec<u64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
//!         let groups = numbers.chunks_exact(3).map(|n| (n[0], (Index(n[1]), n[2]))).collect();
//!         Ok(Self { file, groups })
//!     }
//! }
//!
//! impl StateMachine for Tally {
//!     fn applied(&self, group: u64) -> Index {
//!         self.groups.get(&group).map_or(Index::ZERO, |&(applied, _)| applied)
//!     }
//!
//!     fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
//!         let (applied, sum) = self.groups.entry(block.group()).or_default();
//!         for (number, command) in (0..).zip(block.entries()) {
//!             *sum += command.iter().map(|&byte| u64::from(byte)).sum::<u64>();
//!             answers.set(number, &sum.to_le_bytes()); // what the proposer's ticket brings back
//!         }
//!         *applied = block.last();
//!     }
//!
//!     fn skip(&mut self, group: u64, index: Index) {
//!         self.groups.entry(group).or_default().0 = index; // an entry without a command
//!     }
//!
//!     fn flush(&mut self) -> Result<FlushJob, MachineError> {
//!         let file = self.file.clone();
//!         let lines = self.groups.iter().map(|(group, (at, sum))| format!("{group} {} {sum}\n", at.0));
//!         let text: String = lines.collect();
//!         Ok(Box::new(move || {
//!             let new = file.with_extension("new");
//!             let mut written = File::create(&new)?;
//!             written.write_all(text.as_bytes())?;
//!             written.sync_all()?;
//!             fs::rename(&new, &file)?;
//!             Ok(File::open(file.parent().expect("it lies in a directory"))?.sync_all()?)
//!         }))
//!     }
//!
//!     fn digest(&self, group: u64) -> u64 {
//!         self.groups.get(&group).map_or(0, |&(_, sum)| sum)
//!     }
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! let engine = Engine::open(Config::new(dir.path(), 1), Bootstrap::groups(&[1], 4), Tally::open)?;
//! kontiki::testing::wait_until("a leader", || engine.leader(3));
//! engine.propose(3, &[1, 2])?.wait()?;
//! let applied = engine.propose(3, &[4])?.wait()?;
//! assert_eq!(applied.answer, 7_u64.to_le_bytes());
//!
//! engine.read(3)?.wait()?; // from here on, local state is as recent as every write acknowledged before
//! assert_eq!(engine.digest(3)?.0, 7);
//!
//! // The sum survives: partly in the file, the rest in the log.
//! engine.shutdown()?;
//! # let config = Config::new(dir.path(), 1);
//! let engine = Engine::open(config, Bootstrap::groups(&[1], 4), Tally::open)?;
//! assert_eq!(engine.digest(3)?.0, 7);
//! # engine.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Many at once
//!
//! One call per request costs a queue operation and a wake each. Whoever has thousands under way fills a
//! [`Submission`] and drains a [`CompletionQueue`]: one queue operation for the whole slice, one completion per run
//! of requests of a group, and no allocation per request.
//!
#![cfg_attr(feature = "rocks", doc = "```")]
#![cfg_attr(not(feature = "rocks"), doc = "```text")]
//! use kontiki::machine::MemoryMachine;
//! use kontiki::{Bootstrap, CompletionQueue, Config, Engine, Submission};
//!
//! # let dir = tempfile::tempdir()?;
//! let config = Config::new(dir.path(), 1);
//! let engine = Engine::open(config, Bootstrap::groups(&[1], 2), MemoryMachine::open)?;
//! kontiki::testing::wait_until("a leader", || engine.leader(1));
//!
//! let queue = CompletionQueue::new();
//! let mut submission = Submission::default();
//! for tag in 0..1_000 {
//!     submission.push(1, tag, b"a key and its value")?;
//! }
//! engine.submit(submission, &queue).map_err(|(refused, _)| refused)?;
//!
//! let (mut done, mut completions) = (0, Vec::new());
//! while done < 1_000 {
//!     queue.drain(&mut completions, None);
//!     for completion in completions.drain(..) {
//!         completion.result()?;
//!         done += completion.tags().len();
//!     }
//! }
//! # engine.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What went wrong, and what it means
//!
//! | type | the question it answers |
//! |---|---|
//! | [`error::SubmitError`] | why a request was refused at the door; nothing of it was queued |
//! | [`error::RequestError`] | why it was not served later; it has an [outcome](error::Outcome): may it be applied? |
//! | [`error::StartError`], [`store::OpenError`] | why a node does not start |
//! | [`error::Fatal`] | what ended a running engine; by default it ends the process, see [`OnFatal`] |
//!
//! # Where things are
//!
//! From the outside in: [`config`] has every tunable with its range; [`Engine`], [`Store`], [`Submission`] and
//! [`Ticket`] are what callers hold; a router has the queues into the shards. [`shard`] decides for all groups of
//! one worker and does nothing else: no thread, clock, socket or database can be named there. The worker around it
//! polls, sends, applies and answers; the writer turns the rounds of all shards into one batch. [`log`] knows where
//! each block lies, [`store`] keeps the batches, [`support`] is what nodes promise each other, [`machine`] and [`kv`] are what entries are applied to, [`keys`] and
//! [`range`] lay out and divide the keys. `ARCHITECTURE.md` follows one write through all of them.
//!
//! # What always holds
//!
//! - An acknowledged write is on the disks of a majority, with [`Durability::Fsync`], and applied on the leader.
//! - Each request is answered exactly once, also when the engine stops or a fault ends it.
//! - After a failed sync nothing is acknowledged any more, and nothing is retried.
//!
//! Deliberately absent, so far: changes of membership, snapshots, splitting and merging of ranges, forwarding to the
//! leader, TLS between nodes.
#![cfg_attr(
    not(feature = "rocks"),
    allow(dead_code, reason = "without the stores nothing drives the shards")
)]

mod beating;
pub mod clock;
pub mod config;
#[cfg(feature = "rocks")]
pub mod engine;
pub mod error;
mod ids;
pub mod keys;
pub mod kv;
#[cfg(feature = "rocks")]
pub mod kvstore;
pub mod log;
pub mod machine;
mod maintenance;
pub mod metrics;
#[cfg(feature = "rocks")]
mod node;
mod opening;
pub mod parts;
pub mod planted;
pub mod range;
mod router;
pub mod shard;
pub mod status;
pub mod store;
mod submission;
pub mod support;
#[cfg(feature = "rocks")]
pub mod testing;
mod ticket;
mod worker;
mod writer;

pub use kontiki_net::{Block, Entries};
pub use kontiki_raft::Index;

pub use config::{Bootstrap, Config, Durability, LogWriter, OnFatal};
#[cfg(feature = "rocks")]
pub use engine::Engine;
#[cfg(feature = "rocks")]
pub use kvstore::Store;
pub use submission::{RunKind, SUBMISSION_BYTES_MAX, SUBMISSION_REQUESTS_MAX, Submission};
pub use ticket::{Applied, Completion, CompletionQueue, Ticket};

/// The examples in the documents are tests too.
#[cfg(all(doctest, feature = "rocks"))]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/formats.md")]
    mod formats {}
}
