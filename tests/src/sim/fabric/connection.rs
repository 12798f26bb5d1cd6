//! The life of a connection: called, accepted, written to, and at last gone at both ends.
//!
//! An end can go in order, by a reset, or because nothing answers any more; and one end can be gone without the other one
//! hearing of it.
//!
//! Invariant: what happens to a connection happens by a [`Due`], at its time; an end that is gone is told nothing.
//! Deliberately absent: when bytes arrive (`lines.rs`), and in which pieces (`pipe.rs`).

use kontiki_net::system::{Readiness, Source};

use super::lines::Line;
use super::pipe::Pipe;
use super::{DEAD_US, Fabric, Inner};
use crate::sim::marks::Mark;

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

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: u64,
    pub(super) boot: u64,
    /// The worker that holds it, and what it calls it.
    pub(super) lane: usize,
    pub(super) slot: Option<usize>,
    pub(super) connected: bool,
    /// Closed here, or its process is gone.
    pub(super) gone: bool,
    /// Lost with its machine: nobody told the other end.
    pub(super) silent: bool,
    pub(super) ending: Option<Ending>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Connection {
    /// Whether the end `at` is still held, by the worker that was the first to read from it.
    pub(super) const fn reads(&self, at: usize) -> bool {
        let end = &self.ends[at];
        !end.gone && end.slot.is_some()
    }
}

impl Fabric {
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
}

impl Inner {
    pub(super) fn between(&self, a: u64, b: u64) -> Vec<u64> {
        let is = |c: &Connection| {
            let nodes = (c.ends[0].node, c.ends[1].node);
            nodes == (a, b) || nodes == (b, a)
        };
        self.connections.iter().filter(|(_, c)| is(c)).map(|(&id, _)| id).collect()
    }

    pub(super) fn tell(
        &mut self,
        id: u64,
        at: usize,
        readable: bool,
        writable: bool,
        closed: bool,
    ) {
        let Some(connection) = self.connections.get(&id) else { return };
        let end = &connection.ends[at];
        let (node, boot, lane, Some(slot)) = (end.node, end.boot, end.lane, end.slot) else {
            return;
        };
        if end.gone || self.host(node).boot != boot || !self.host(node).up {
            return;
        }
        let source = Source::Stream(slot);
        let ready = Readiness { source, readable, writable, read_closed: closed };
        self.host(node).desks[lane].ready.push(ready);
        self.roused.push((node, lane));
    }

    pub(super) fn happen(&mut self, due: Due) {
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

    pub(super) fn connect(&mut self, from: u64, boot: u64, to: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        let end = |node, boot| End {
            node,
            boot,
            lane: 0,
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

    pub(super) fn call(&mut self, id: u64) {
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
            // The first worker has the listener.
            let ready = Readiness { source, readable, writable: false, read_closed: false };
            host.desks[0].ready.push(ready);
            let boot = host.boot;
            self.roused.push((to, 0));
            let connection = self.connections.get_mut(&id).expect("seen just now");
            connection.ends[1].boot = boot;
            connection.ends[1].connected = true;
            self.due.push((back, Due::Answer(id, true)));
        } else if host.declines {
            self.due.push((back, Due::Answer(id, false)));
        }
    }

    pub(super) fn stop(&mut self, node: u64, power: bool) {
        let now = self.now;
        let host = self.host(node);
        host.up = false;
        host.declines = !power;
        host.calls.clear();
        host.desks.clear();
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

    pub(super) fn close(&mut self, id: u64, at: usize) {
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

    /// Drops a connection that nobody holds any more.
    pub(super) fn forget(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|c| c.ends.iter().all(|end| end.gone)) {
            self.connections.remove(&id);
        }
    }
}
