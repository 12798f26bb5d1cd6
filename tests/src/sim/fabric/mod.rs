//! The network: streams of bytes between nodes, as TCP gives them, and everything that happens to them.
//!
//! Bytes written arrive later, in order, in pieces, as far as the reader has room. What the engine sees of it is
//! [`kontiki_net::system`]: so the real event loop decides what becomes of connections.
//!
//! | file | what |
//! |---|---|
//! | `lines` | one direction between two nodes: cut, slow, narrow |
//! | `connection` | calls, answers, resets, ends |
//! | `pipe` | bytes on their way, and the frames in them |
//! | `system` | what a worker sees |
//!
//! Deliberately absent: what the bytes mean.

mod connection;
mod lines;
mod pipe;
mod system;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard};

use kontiki_net::Waker;
use kontiki_net::system::Readiness;

use self::connection::Connection;
pub use self::connection::{Due, Ending};
use self::lines::Line;
pub use self::system::{Sim, SimStream, address_of};
use super::marks::Marks;
use super::plan::NetPlan;
use super::random::Rng;

/// After how long without a sign of life the kernel gives a connection up (`NetConfig::write_stall_us`).
pub const DEAD_US: u64 = 10_000_000;

#[derive(Debug)]
struct Host {
    up: bool,
    boot: u64,
    /// Whether a machine that is down still says so.
    declines: bool,
    calls: VecDeque<u64>,
    desks: Vec<Desk>,
}

/// One worker of a node: what its event loop is to be told.
#[derive(Debug)]
struct Desk {
    ready: Vec<Readiness>,
    waker: Waker,
}

/// A frame that left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its number; no two frames of a run have the same.
    pub number: u64,
    /// The sender.
    pub from: u64,
    /// The receiver.
    pub to: u64,
    /// The worker that sent it; one of the same number receives it.
    pub lane: usize,
    /// Its header and its body.
    pub bytes: Vec<u8>,
}

/// A frame that a worker has read to its end.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Its number, as it was sent.
    number: u64,
    connection: u64,
    /// The end that read it.
    at: usize,
}

#[derive(Debug)]
struct Inner {
    now: u64,
    rng: Rng,
    plan: NetPlan,
    hosts: Vec<Host>,
    lines: Vec<Line>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    due: Vec<(u64, Due)>,
    roused: Vec<(u64, usize)>,
    marks: Marks,
    frames: u64,
    sent: Vec<Sent>,
    heard: Vec<Heard>,
}

/// The network of a world; a cheap handle.
#[derive(Clone, Debug)]
pub struct Fabric(Arc<Mutex<Inner>>);

impl Fabric {
    /// A network of nodes 1 to `nodes`, all of them down.
    #[must_use]
    pub fn new(nodes: u64, plan: NetPlan, rng: Rng) -> Self {
        let host = || Host {
            up: false,
            boot: 0,
            declines: true,
            calls: VecDeque::new(),
            desks: Vec::new(),
        };
        let count = usize::try_from(nodes).expect("a few nodes");
        let inner = Inner {
            now: 0,
            rng,
            plan,
            hosts: (0..count).map(|_| host()).collect(),
            lines: vec![Line::default(); count * count],
            connections: BTreeMap::new(),
            next: 1,
            due: Vec::new(),
            roused: Vec::new(),
            marks: Marks::default(),
            frames: 0,
            sent: Vec::new(),
            heard: Vec::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread, which ends with its first panic")
    }

    /// Time has come this far.
    pub fn at(&self, now: u64) {
        self.lock().now = now;
    }

    /// Carries out what was due.
    pub fn happen(&self, due: Due) {
        self.lock().happen(due);
    }

    /// Moves what will happen into `due`, and the workers that have something to look at into `roused`.
    pub fn take(&self, due: &mut Vec<(u64, Due)>, roused: &mut Vec<(u64, usize)>) {
        let mut inner = self.lock();
        due.append(&mut inner.due);
        roused.append(&mut inner.roused);
    }

    /// The situations that the network came through since somebody asked.
    #[must_use]
    pub fn take_marks(&self) -> Marks {
        std::mem::take(&mut self.lock().marks)
    }

    /// Moves the frames that left into `sent`.
    pub fn take_sent(&self, sent: &mut Vec<Sent>) {
        sent.append(&mut self.lock().sent);
    }

    /// Moves the numbers of the frames that were read into `heard`: those on connections that their reader still has.
    pub fn take_heard(&self, heard: &mut Vec<u64>) {
        let mut guard = self.lock();
        let Inner { connections, heard: read, .. } = &mut *guard;
        let lives = |heard: &Heard| {
            connections.get(&heard.connection).is_some_and(|held| held.reads(heard.at))
        };
        heard.extend(read.drain(..).filter(lives).map(|heard| heard.number));
    }

    /// Node `node` starts, for the `boot`th time, with so many workers: the system of each.
    #[must_use]
    pub fn start(&self, node: u64, boot: u64, workers: usize) -> Vec<Sim> {
        let mut inner = self.lock();
        let host = inner.host(node);
        host.up = true;
        host.boot = boot;
        host.calls.clear();
        host.desks.clear();
        let desk = |_| Desk { ready: Vec::new(), waker: Waker::silent() };
        host.desks.extend((0..workers).map(desk));
        let wakers = host.desks.iter().map(|desk| desk.waker.clone()).enumerate();
        wakers.map(|(lane, waker)| Sim::new(self.clone(), (node, boot), lane, waker)).collect()
    }

    /// Node `node` is gone: its process, with its kernel left to say so, or with `power` all of it.
    pub fn stop(&self, node: u64, power: bool) {
        self.lock().stop(node, power);
    }

    /// Somebody who is nowhere calls `node` and sends these bytes. Gives the connection's number.
    #[must_use]
    pub fn call_from_outside(&self, from: u64, node: u64, bytes: &[u8]) -> u64 {
        let mut inner = self.lock();
        let id = inner.connect(from, u64::MAX, node);
        // Its kernel holds it up, whatever becomes of the node whose line it uses.
        inner.write(id, 0, &[IoSlice::new(bytes)]).expect("an empty pipe has room");
        id
    }

    /// What came back on a call from outside.
    #[must_use]
    pub fn answer_to_outside(&self, id: u64) -> Vec<u8> {
        let mut inner = self.lock();
        let mut bytes = vec![0; 1024];
        let n = inner.read(id, 0, &mut bytes).unwrap_or(0);
        bytes.truncate(n);
        inner.close(id, 0);
        bytes
    }

    /// Connections that there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Bytes on their way or not read yet.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let inner = self.lock();
        inner.connections.values().flat_map(|c| &c.pipes).map(|pipe| pipe.bytes).sum()
    }
}

impl Inner {
    fn host(&mut self, node: u64) -> &mut Host {
        &mut self.hosts[usize::try_from(node - 1).expect("a few nodes")]
    }
}
