//! The network: streams of bytes between nodes, as TCP gives them, and everything that happens to them.
//!
//! Bytes written arrive later, in order, in pieces, as far as the reader has room. A line from one node to another can
//! be cut (bytes wait, and connections die after a while), clogged, slow or narrow, in one direction alone. A connection
//! can be reset, or lose one of its ends without the other one hearing of it.
//!
//! What the engine sees of it is [`kontiki_net::system`]: so the real event loop decides what becomes of connections.
//! Readiness is edge-triggered as epoll's is: a short read means that all was read, a short write that there is no room.
//!
//! Deliberately absent: loss, duplication and reordering of bytes. A stream has none; `messages.rs` has.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kontiki_net::Waker;
use kontiki_net::system::{Readiness, Source, Stream, System};

use super::marks::{Mark, Marks};
use super::plan::NetPlan;
use super::random::Rng;

/// After how long without a sign of life the kernel gives a connection up (`NetConfig::write_stall_us`).
pub const DEAD_US: u64 = 10_000_000;

/// What will happen to a connection at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A call reaches the node that was called.
    Call(u64),
    /// The answer reaches the caller: accepted or declined.
    Answer(u64, bool),
    /// Bytes reach the other end of the end that wrote them.
    Bytes(u64, usize),
    /// This end hears that there is room again.
    Room(u64, usize),
    /// This end hears that the other one is gone.
    End(u64, usize, Ending),
    /// The kernels look whether this connection still lives.
    Dead(u64),
}

/// How an end hears that the other one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// In order, behind all bytes.
    Close,
    /// At once; bytes on their way are lost.
    Reset,
    /// Nothing answers any more.
    Timeout,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// Nothing passes before this time.
    cut_until: u64,
    cut_since: u64,
    /// Added to each delay until `slow_until`.
    slow_us: u64,
    slow_until: u64,
    /// When the line has carried all that was put on it.
    free_at: u64,
}

#[derive(Debug, Default)]
struct Pipe {
    flying: VecDeque<(u64, Vec<u8>)>,
    arrived: VecDeque<(Vec<u8>, usize)>,
    /// Bytes flying or arrived.
    bytes: usize,
    last_at: u64,
    /// The writer found no room, and is to be told.
    starved: bool,
    /// Bytes sent that were not looked at yet.
    seen: Vec<u8>,
}

#[derive(Debug)]
struct End {
    node: u64,
    boot: u64,
    slot: Option<usize>,
    connected: bool,
    /// Closed here, or its process is gone.
    gone: bool,
    /// Lost with its machine: nobody told the other end.
    silent: bool,
    ending: Option<Ending>,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    pipes: [Pipe; 2],
}

#[derive(Debug)]
struct Host {
    up: bool,
    boot: u64,
    /// Whether a machine that is down still says so.
    declines: bool,
    calls: VecDeque<u64>,
    ready: Vec<Readiness>,
    waker: Waker,
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
    roused: Vec<u64>,
    marks: Marks,
    /// Frames that left: from, to, bytes.
    sent: Vec<(u64, u64, Vec<u8>)>,
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
            ready: Vec::new(),
            waker: Waker::silent(),
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
            sent: Vec::new(),
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

    /// Moves what will happen into `due`, and the nodes that have something to look at into `roused`.
    pub fn take(&self, due: &mut Vec<(u64, Due)>, roused: &mut Vec<u64>) {
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
    pub fn take_sent(&self, sent: &mut Vec<(u64, u64, Vec<u8>)>) {
        sent.append(&mut self.lock().sent);
    }

    /// Node `node` starts, for the `boot`th time: its system.
    #[must_use]
    pub fn start(&self, node: u64, boot: u64) -> Sim {
        let mut inner = self.lock();
        let host = inner.host(node);
        host.up = true;
        host.boot = boot;
        host.calls.clear();
        host.ready.clear();
        host.waker = Waker::silent();
        Sim { fabric: self.clone(), node, boot, waker: host.waker.clone() }
    }

    /// Node `node` is gone: its process, with its kernel left to say so, or with `power` all of it.
    pub fn stop(&self, node: u64, power: bool) {
        self.lock().stop(node, power);
    }

    /// Nothing passes from `from` to `to` before `until`.
    pub fn cut(&self, from: u64, to: u64, until: u64) {
        let mut inner = self.lock();
        let now = inner.now;
        let line = inner.line(from, to);
        if line.cut_until <= now {
            line.cut_since = now;
        }
        line.cut_until = line.cut_until.max(until);
        let ids: Vec<u64> = inner.between(from, to);
        for id in ids {
            inner.due.push((now + DEAD_US, Due::Dead(id)));
        }
    }

    /// What passes from `from` to `to` before `until` takes longer.
    pub fn slow(&self, from: u64, to: u64, by_us: u64, until: u64) {
        let mut inner = self.lock();
        let line = inner.line(from, to);
        (line.slow_us, line.slow_until) = (by_us, until);
    }

    /// Every line is whole and at its best from now on.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.plan.spike_per_mille = 0;
        for line in &mut inner.lines {
            *line = Line { free_at: line.free_at, ..Line::default() };
        }
        // What waited for the end of a cut comes now.
        let now = inner.now;
        let ids: Vec<u64> = inner.connections.keys().copied().collect();
        for id in ids {
            for pipe in 0..2 {
                inner.due.push((now, Due::Bytes(id, pipe)));
            }
        }
    }

    /// Connections between two nodes end. With `half`, only the end at `a` hears of it.
    pub fn reset(&self, a: u64, b: u64, half: bool) {
        let mut inner = self.lock();
        let now = inner.now;
        for id in inner.between(a, b) {
            let connection = inner.connections.get_mut(&id).expect("listed just now");
            let at = usize::from(connection.ends[1].node == a);
            connection.ends[1 - at].silent |= half;
            inner.due.push((now, Due::End(id, at, Ending::Reset)));
            let (when, how) = if half { (DEAD_US, Ending::Timeout) } else { (0, Ending::Reset) };
            inner.due.push((now + when, Due::End(id, 1 - at, how)));
        }
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

    fn line(&mut self, from: u64, to: u64) -> &mut Line {
        let count = self.hosts.len();
        let at = |node: u64| usize::try_from(node - 1).expect("a few nodes");
        &mut self.lines[at(from) * count + at(to)]
    }

    fn between(&self, a: u64, b: u64) -> Vec<u64> {
        let is = |c: &Connection| {
            let nodes = (c.ends[0].node, c.ends[1].node);
            nodes == (a, b) || nodes == (b, a)
        };
        self.connections.iter().filter(|(_, c)| is(c)).map(|(&id, _)| id).collect()
    }

    /// When something small that leaves now arrives.
    fn arrival(&mut self, from: u64, to: u64, bytes: usize) -> u64 {
        let (low, high) = (self.plan.delay_us, self.plan.delay_us + self.plan.jitter_us);
        let mut delay = self.rng.between(low, high);
        if self.plan.spike_per_mille > 0 && self.rng.chance(self.plan.spike_per_mille) {
            delay += self.rng.between(0, self.plan.spike_us);
        }
        let (now, rate) = (self.now, self.plan.bytes_per_ms);
        let line = self.line(from, to);
        if line.slow_until > now {
            delay += line.slow_us;
        }
        line.free_at = line.free_at.max(now) + (bytes as u64).saturating_mul(1000) / rate;
        line.free_at.max(line.cut_until) + delay
    }

    fn tell(&mut self, id: u64, at: usize, readable: bool, writable: bool, closed: bool) {
        let Some(connection) = self.connections.get(&id) else { return };
        let end = &connection.ends[at];
        let (node, boot, Some(slot)) = (end.node, end.boot, end.slot) else { return };
        if end.gone || self.host(node).boot != boot || !self.host(node).up {
            return;
        }
        let source = Source::Stream(slot);
        self.host(node).ready.push(Readiness { source, readable, writable, read_closed: closed });
        self.roused.push(node);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Call(id) => self.call(id),
            Due::Answer(id, accepted) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                if accepted {
                    connection.ends[0].connected = true;
                } else {
                    connection.ends[0].ending = Some(Ending::Reset);
                }
                self.tell(id, 0, false, true, false);
            }
            Due::Bytes(id, from) => self.bytes(id, from),
            Due::Room(id, at) => self.tell(id, at, false, true, false),
            Due::End(id, at, ending) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                let end = &mut connection.ends[at];
                if end.ending.is_none() {
                    end.ending = Some(ending);
                    if ending == Ending::Timeout && !end.gone {
                        self.marks.set(Mark::TimedOut);
                    }
                    if ending != Ending::Close {
                        for pipe in &mut connection.pipes {
                            pipe.flying.clear();
                        }
                    }
                    self.tell(id, at, true, true, true);
                }
                self.forget(id);
            }
            Due::Dead(id) => {
                let Some(connection) = self.connections.get(&id) else { return };
                let [a, b] = connection.ends.each_ref().map(|end| end.node);
                let silent = connection.ends.iter().any(|end| end.silent);
                let now = self.now;
                let dead = |line: &Line| line.cut_until > now && line.cut_since + DEAD_US <= now;
                if silent || dead(self.line(a, b)) || dead(self.line(b, a)) {
                    for at in 0..2 {
                        self.happen(Due::End(id, at, Ending::Timeout));
                    }
                }
            }
        }
    }

    fn call(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let [from, to] = connection.ends.each_ref().map(|end| end.node);
        let back = self.arrival(to, from, 64);
        let others = self
            .connections
            .values()
            .filter(|c| c.ends[0].node == from && c.ends[1].node == to && c.ends[1].connected);
        if others.clone().any(|c| c.ends[1].ending.is_none() && !c.ends[1].gone) {
            self.marks.set(Mark::Replaced);
        }
        let host = self.host(to);
        if host.up {
            host.calls.push_back(id);
            let source = Source::Listener;
            let readable = true;
            host.ready.push(Readiness { source, readable, writable: false, read_closed: false });
            let boot = host.boot;
            self.roused.push(to);
            let connection = self.connections.get_mut(&id).expect("seen just now");
            connection.ends[1].boot = boot;
            connection.ends[1].connected = true;
            self.due.push((back, Due::Answer(id, true)));
        } else if host.declines {
            self.due.push((back, Due::Answer(id, false)));
        }
    }

    fn bytes(&mut self, id: u64, from: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get(&id) else { return };
        let (a, b) = (connection.ends[from].node, connection.ends[1 - from].node);
        let cut_until = self.line(a, b).cut_until;
        if cut_until > now {
            let again = self.rng.between(1000, 200_000); // The next try of the sender's kernel.
            self.due.push((cut_until + again, Due::Bytes(id, from)));
            return;
        }
        let (other_up, other_boot) = (self.host(b).up, self.host(b).boot);
        let connection = self.connections.get_mut(&id).expect("seen just now");
        let other = &connection.ends[1 - from];
        let outside = other.boot == u64::MAX && !other.gone;
        if !outside && (other.silent || other.gone || other.boot != other_boot) {
            if other_up {
                // Its kernel does not know the connection, and says so.
                self.happen(Due::End(id, from, Ending::Reset));
            }
            return;
        }
        let pipe = &mut connection.pipes[from];
        let mut any = false;
        while pipe.flying.front().is_some_and(|&(at, _)| at <= now) {
            let (_, bytes) = pipe.flying.pop_front().expect("seen just now");
            pipe.arrived.push_back((bytes, 0));
            any = true;
        }
        if any {
            self.tell(id, 1 - from, true, false, false);
        }
    }

    fn stop(&mut self, node: u64, power: bool) {
        let now = self.now;
        let host = self.host(node);
        host.up = false;
        host.declines = !power;
        host.calls.clear();
        host.ready.clear();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let connection = self.connections.get_mut(&id).expect("listed just now");
            let is_here = |end: &End| end.node == node && end.boot != u64::MAX;
            let Some(at) = connection.ends.iter().position(is_here) else { continue };
            let end = &mut connection.ends[at];
            let was_gone = std::mem::replace(&mut end.gone, true);
            let other = connection.ends[1 - at].node;
            if power {
                connection.ends[at].silent = true;
                self.due.push((now + DEAD_US, Due::End(id, 1 - at, Ending::Timeout)));
            } else if !was_gone {
                let when = self.arrival(node, other, 64);
                let how = if self.rng.chance(500) { Ending::Close } else { Ending::Reset };
                self.due.push((when, Due::End(id, 1 - at, how)));
            }
            self.forget(id);
        }
    }

    /// Drops a connection that nobody holds any more.
    fn forget(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|c| c.ends.iter().all(|end| end.gone)) {
            self.connections.remove(&id);
        }
    }

    fn connect(&mut self, from: u64, boot: u64, to: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        let end = |node, boot| End {
            node,
            boot,
            slot: None,
            connected: false,
            gone: false,
            silent: false,
            ending: None,
        };
        let ends = [end(from, boot), end(to, 0)];
        self.connections.insert(id, Connection { ends, pipes: <[Pipe; 2]>::default() });
        let when = self.arrival(from, to, 64);
        self.due.push((when, Due::Call(id)));
        id
    }

    fn read(&mut self, id: u64, at: usize, into: &mut [u8]) -> io::Result<usize> {
        let now = self.now;
        let connection = self.connections.get_mut(&id).ok_or(ErrorKind::ConnectionReset)?;
        let pipe = &mut connection.pipes[1 - at];
        match connection.ends[at].ending {
            Some(Ending::Reset) => return Err(ErrorKind::ConnectionReset.into()),
            Some(Ending::Timeout) => return Err(ErrorKind::TimedOut.into()),
            Some(Ending::Close) if pipe.arrived.is_empty() => return Ok(0),
            Some(Ending::Close) | None => {}
        }
        let mut filled = 0;
        while filled < into.len() {
            let Some((bytes, start)) = pipe.arrived.front_mut() else { break };
            let n = (bytes.len() - *start).min(into.len() - filled);
            into[filled..filled + n].copy_from_slice(&bytes[*start..*start + n]);
            filled += n;
            *start += n;
            if *start == bytes.len() {
                pipe.arrived.pop_front();
            }
        }
        if filled == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.bytes -= filled;
        if std::mem::take(&mut pipe.starved) {
            let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
            let when = self.arrival(from, to, 64);
            self.due.push((when.max(now), Due::Room(id, 1 - at)));
        }
        Ok(filled)
    }

    fn write(&mut self, id: u64, at: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let capacity = self.plan.buffer_bytes;
        let connection = self.connections.get_mut(&id).ok_or(ErrorKind::ConnectionReset)?;
        match connection.ends[at].ending {
            Some(Ending::Timeout) => return Err(ErrorKind::TimedOut.into()),
            Some(Ending::Reset | Ending::Close) => return Err(ErrorKind::BrokenPipe.into()),
            None => {}
        }
        let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
        let boot = connection.ends[at].boot.max(connection.ends[1 - at].boot);
        let pipe = &mut connection.pipes[at];
        let room = capacity.saturating_sub(pipe.bytes);
        let listed: usize = slices.iter().map(|slice| slice.len()).sum();
        let n = listed.min(room);
        pipe.starved |= n < listed;
        if n < listed {
            self.marks.set(Mark::Starved);
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut data = Vec::with_capacity(n);
        for slice in slices {
            let left = n - data.len();
            data.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        pipe.bytes += n;
        pipe.seen.extend_from_slice(&data);
        let (mut seen, mut frames) = (std::mem::take(&mut pipe.seen), Vec::new());
        split_frames(&mut seen, &mut frames);
        pipe.seen = seen;
        if boot != u64::MAX {
            self.sent.extend(frames.into_iter().map(|frame| (from, to, frame)));
        }
        self.launch(id, at, data);
        Ok(n)
    }

    /// Sends bytes on their way, in one piece or several.
    fn launch(&mut self, id: u64, at: usize, mut data: Vec<u8>) {
        let connection = &self.connections[&id];
        let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
        loop {
            let split = data.len() > 1 && self.rng.chance(self.plan.split_per_mille);
            let rest = if split {
                let keep = 1 + self.rng.place(data.len() - 1);
                data.split_off(keep)
            } else {
                Vec::new()
            };
            let when = self.arrival(from, to, data.len());
            let pipe = &mut self.connections.get_mut(&id).expect("seen just now").pipes[at];
            pipe.last_at = pipe.last_at.max(when);
            let when = pipe.last_at;
            pipe.flying.push_back((when, data));
            self.due.push((when, Due::Bytes(id, at)));
            if rest.is_empty() {
                return;
            }
            data = rest;
        }
    }

    fn close(&mut self, id: u64, at: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if std::mem::replace(&mut connection.ends[at].gone, true) {
            return;
        }
        let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
        let last = connection.pipes[at].last_at;
        if connection.ends[at].ending.is_none() {
            let when = self.arrival(from, to, 64).max(last);
            self.due.push((when, Due::End(id, 1 - at, Ending::Close)));
        }
        self.forget(id);
    }
}

/// Takes whole frames off the front of `bytes`.
fn split_frames(bytes: &mut Vec<u8>, frames: &mut Vec<Vec<u8>>) {
    let mut at = 0;
    while bytes.len() - at >= kontiki_net::FRAME_HEADER_BYTES {
        let len = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let whole = kontiki_net::FRAME_HEADER_BYTES + u32::from_le_bytes(len) as usize;
        if bytes.len() - at < whole {
            break;
        }
        frames.push(bytes[at..at + whole].to_vec());
        at += whole;
    }
    bytes.drain(..at);
}

/// The system of one node in one of its lives.
#[derive(Debug)]
pub struct Sim {
    fabric: Fabric,
    node: u64,
    boot: u64,
    waker: Waker,
}

/// The address of a node, from which the system knows it again.
#[must_use]
pub fn address_of(node: u64) -> SocketAddr {
    let port = u16::try_from(node).expect("a few nodes");
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl System for Sim {
    fn poll(&mut self, _: Option<Duration>, note: &mut dyn FnMut(Readiness)) -> io::Result<()> {
        let mut inner = self.fabric.lock();
        for ready in inner.host(self.node).ready.drain(..) {
            note(ready);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        Some(address_of(self.node))
    }

    fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let mut inner = self.fabric.lock();
        while let Some(id) = inner.host(self.node).calls.pop_front() {
            if let Some(connection) = inner.connections.get(&id) {
                let address = address_of(connection.ends[0].node);
                return Ok((Box::new(SimStream::new(&self.fabric, id, 1)), address));
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let id = self.fabric.lock().connect(self.node, self.boot, u64::from(address.port()));
        Ok(Box::new(SimStream::new(&self.fabric, id, 0)))
    }

    fn register(&mut self, stream: &mut dyn Stream, slot: usize) -> io::Result<()> {
        let stream: &mut dyn std::any::Any = stream;
        let stream: &SimStream = stream.downcast_ref().expect("made by this system");
        let mut inner = self.fabric.lock();
        if let Some(connection) = inner.connections.get_mut(&stream.id) {
            let end = &mut connection.ends[stream.at];
            end.slot = Some(slot);
            let (connected, ended) = (end.connected, end.ending.is_some());
            let readable = ended || !connection.pipes[1 - stream.at].arrived.is_empty();
            if connected || ended {
                inner.tell(stream.id, stream.at, readable, true, ended);
            }
        }
        Ok(())
    }

    fn deregister(&mut self, stream: &mut dyn Stream) -> io::Result<()> {
        let stream: &mut dyn std::any::Any = stream;
        let stream: &SimStream = stream.downcast_ref().expect("made by this system");
        let mut inner = self.fabric.lock();
        if let Some(connection) = inner.connections.get_mut(&stream.id) {
            connection.ends[stream.at].slot = None;
        }
        Ok(())
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct SimStream {
    fabric: Fabric,
    id: u64,
    at: usize,
}

impl SimStream {
    fn new(fabric: &Fabric, id: u64, at: usize) -> Self {
        Self { fabric: fabric.clone(), id, at }
    }
}

impl Stream for SimStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fabric.lock().read(self.id, self.at, into)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.fabric.lock().write(self.id, self.at, slices)
    }

    fn is_connected(&self) -> io::Result<bool> {
        let inner = self.fabric.lock();
        let connection = inner.connections.get(&self.id).ok_or(ErrorKind::ConnectionReset)?;
        let end = &connection.ends[self.at];
        if end.ending.is_some() {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(end.connected)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // After a panic the world is only looked at, never run on.
        if let Ok(mut inner) = self.fabric.0.lock() {
            inner.close(self.id, self.at);
        }
    }
}
