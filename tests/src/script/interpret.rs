//! From the words of a directive to what it does. What each means stands on the module's page.

use kontiki_raft::{HardState, Index, ReplicaId, VOTERS_MAX};

use super::node::{Entry, Node};
use super::trace::{self, Level};
use super::words::{arrow, number, position, run, time_us};
use super::world::World;

/// Whether the directive was one of those looked for.
type Known = Result<bool, String>;

impl World {
    /// Does what the directive says.
    pub(super) fn execute(&mut self, directive: &str) -> Result<(), String> {
        let words: Vec<&str> = directive.split_whitespace().collect();
        if let ["quietly", rest @ ..] = &words[..] {
            let level = std::mem::replace(&mut self.level, Level::Nothing);
            let result = self.execute(&rest.join(" "));
            self.level = level;
            return result;
        }
        let known = self.set_up(&words)?
            || self.input(&words)?
            || self.transport(&words)?
            || self.trouble(&words)?
            || self.disk(&words)?
            || self.show(&words)?;
        if known { Ok(()) } else { Err(format!("unknown directive: {directive}")) }
    }

    fn set_up(&mut self, words: &[&str]) -> Known {
        match *words {
            ["config", ref settings @ ..] if self.nodes.is_empty() => self.configure(settings)?,
            ["seed", seed] => self.seed = number(seed)?,
            ["nodes", count] => {
                let count = number(count)?;
                if !self.nodes.is_empty() || count == 0 || count > VOTERS_MAX as u64 {
                    return Err(format!("one group of 1 to {VOTERS_MAX} replicas"));
                }
                self.nodes = (1..=count).filter_map(ReplicaId::new).map(Node::new).collect();
                for number in 1..=count {
                    self.start(number)?;
                }
            }
            ["given", node, ref what @ ..] => self.give(number(node)?, what)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn configure(&mut self, settings: &[&str]) -> Result<(), String> {
        for setting in settings {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let us =
                || u32::try_from(time_us(value)?).map_err(|_| format!("too long a time: {value}"));
            match name {
                "election" => self.config.election_timeout_us = us()?,
                "heartbeat" => self.config.heartbeat_us = us()?,
                "append-max" => self.append_max = number(value)?.max(1),
                _ => return Err(format!("unknown setting: {setting}")),
            }
        }
        self.config.validate().map_err(|error| error.to_string())
    }

    /// Fills the disk of a replica that has done nothing yet, and starts it from there.
    fn give(&mut self, number_: u64, what: &[&str]) -> Result<(), String> {
        let node = self.node_mut(number_)?;
        let (mut hard_state, mut applied) = (HardState::default(), Index::ZERO);
        let mut words = what.iter();
        while let Some(&word) = words.next() {
            let mut value = || number(words.next().copied().unwrap_or("nothing"));
            match word {
                "term" => hard_state.term.0 = value()?,
                "vote" => hard_state.vote = ReplicaId::new(value()?),
                "applied" => applied = Index(value()?),
                _ => {
                    let (first, last) = run(word)?;
                    if first.index != node.disk.log.last().next() {
                        return Err(format!("{word} leaves a gap"));
                    }
                    // The same position is the same entry in every log.
                    let entry = |index| Entry {
                        term: first.term,
                        payload: format!("given-{}/{index}", first.term),
                    };
                    let entries = (first.index.0..=last.index.0).map(entry);
                    node.disk.log.entries.extend(entries);
                    hard_state.term = hard_state.term.max(first.term);
                }
            }
        }
        (node.disk.hard_state, node.disk.applied) = (hard_state, applied);
        self.start(number_)
    }

    fn input(&mut self, words: &[&str]) -> Known {
        match *words {
            ["campaign", node] => self.step(number(node)?, |node, now, _| {
                if let Some(raft) = &mut node.raft {
                    raft.campaign(now);
                }
            })?,
            ["elect", node] => {
                self.execute(&format!("quietly campaign {node}"))?;
                self.execute("quietly settle")?;
                let raft = self.raft(number(node)?)?;
                if !raft.is_leader() {
                    return Err(format!("replica {node} was not elected"));
                }
                let line = format!("{node} leads {}", raft.term());
                self.tell(line);
            }
            ["propose", node, ref payloads @ ..] if !payloads.is_empty() => {
                self.propose(number(node)?, payloads)?;
            }
            ["read", node] => self.step(number(node)?, |node, now, events| {
                let Some(raft) = &mut node.raft else { return };
                match raft.read(now) {
                    Ok(read) => events.state(format!("read #{}", read.0)),
                    Err(error) => events.state(format!("read refused: {error}")),
                }
            })?,
            ["transfer", node, target] => {
                let target = self.node(number(target)?)?.id;
                self.step(number(node)?, |node, now, events| {
                    let Some(raft) = &mut node.raft else { return };
                    match raft.transfer(now, target) {
                        Ok(()) => events.state(format!("hand over to {target}")),
                        Err(error) => events.state(format!("transfer refused: {error}")),
                    }
                })?;
            }
            ["tick", time] => self.pass(time_us(time)?, false)?,
            ["run", time] => {
                let quiet = self.level == Level::Nothing;
                let level = if quiet { Level::Nothing } else { Level::State };
                let before = std::mem::replace(&mut self.level, level);
                let result = self.pass(time_us(time)?, true);
                self.level = before;
                result?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn propose(&mut self, number: u64, payloads: &[&str]) -> Result<(), String> {
        let count = u32::try_from(payloads.len()).map_err(|error| error.to_string())?;
        let bytes: usize = payloads.iter().map(|payload| payload.len()).sum();
        let bytes = u32::try_from(bytes).map_err(|error| error.to_string())?;
        self.step(number, |node, _, events| {
            let Some(raft) = &mut node.raft else { return };
            match raft.propose(count, bytes) {
                Ok(proposed) => {
                    let at = |index| kontiki_raft::Position::new(proposed.term, index);
                    let places = trace::run(at(proposed.first), at(proposed.last));
                    events.state(format!("propose {places}"));
                    node.add(proposed, payloads);
                }
                Err(error) => events.state(format!("propose refused: {error}")),
            }
        })
    }

    fn transport(&mut self, words: &[&str]) -> Known {
        match *words {
            ["deliver"] => {
                self.deliver(|_| true)?;
            }
            ["deliver", way] if way.contains("->") => {
                let (from, to) = arrow(way)?;
                self.deliver_way(from, to, usize::MAX)?;
            }
            ["deliver", way, count] if way.contains("->") => {
                let (from, to) = arrow(way)?;
                let count = usize::try_from(number(count)?).map_err(|error| error.to_string())?;
                self.deliver_way(from, to, count)?;
            }
            ["deliver", ref nodes @ ..] => {
                let nodes: Vec<u64> =
                    nodes.iter().map(|word| number(word)).collect::<Result<_, _>>()?;
                for &number in &nodes {
                    self.node(number)?;
                }
                self.deliver(|p| nodes.contains(&p.from) || nodes.contains(&p.to))?;
            }
            ["round", node] => self.round(number(node)?)?,
            ["settle"] => self.settle()?,
            ["drop"] => self.net.packets.clear(),
            ["drop", way] => {
                let (from, to) = arrow(way)?;
                self.net.take(usize::MAX, |p| (p.from, p.to) == (from, to));
            }
            ["duplicate", way] => {
                let (from, to) = arrow(way)?;
                let copies = self.net.between(from, to);
                self.net.packets.extend(copies);
            }
            ["reverse", way] => {
                let (from, to) = arrow(way)?;
                let packets = self.net.take(usize::MAX, |p| (p.from, p.to) == (from, to));
                self.net.packets.extend(packets.into_iter().rev());
            }
            ["keep", way, name] => {
                let (from, to) = arrow(way)?;
                let copies = self.net.between(from, to);
                self.net.kept.insert(name.to_owned(), copies);
            }
            ["replay", name] => {
                let kept = self.net.kept.get(name).ok_or_else(|| format!("not kept: {name}"))?;
                self.net.packets.extend(kept.iter().cloned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn trouble(&mut self, words: &[&str]) -> Known {
        match *words {
            ["cut", way] => {
                self.net.cut.insert(arrow(way)?);
            }
            ["isolate", node] => {
                let number = number(node)?;
                self.node(number)?;
                self.net.isolated.insert(number);
                self.connections(number, false)?;
            }
            ["heal"] => {
                self.net.cut.clear();
                self.net.isolated.clear();
                let apart: Vec<_> = self.net.apart.iter().copied().collect();
                for (a, b) in apart {
                    if self.runs(a) && self.runs(b) && self.net.apart.remove(&(a, b)) {
                        self.net.apart.remove(&(b, a));
                        self.connection(a, b, true)?;
                        self.connection(b, a, true)?;
                    }
                }
            }
            ["peer-down", node, peer] => self.connection(number(node)?, number(peer)?, false)?,
            ["peer-up", node, peer] => self.connection(number(node)?, number(peer)?, true)?,
            ["crash", node] => {
                let number = number(node)?;
                self.raft(number)?;
                self.node_mut(number)?.stop();
                self.connections(number, false)?;
            }
            ["restart", node] => {
                let number = number(node)?;
                if self.runs(number) {
                    return Err(format!("replica {number} is not down"));
                }
                self.start(number)?;
                self.connections(number, true)?;
            }
            ["wipe", node] => {
                let node = self.node_mut(number(node)?)?;
                if node.raft.is_some() {
                    return Err(format!("replica {} is not down", node.id));
                }
                node.disk = super::node::Disk::default();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn disk(&mut self, words: &[&str]) -> Known {
        match *words {
            ["hold", node] => self.node_mut(number(node)?)?.held = true,
            ["persist", node] => {
                let number = number(node)?;
                let count = self.node(number)?.writing.len();
                self.persist(number, count)?;
            }
            ["persist", node, count] => {
                let count = usize::try_from(number(count)?).map_err(|error| error.to_string())?;
                self.persist(number(node)?, count)?;
            }
            ["release", node] => {
                let number = number(node)?;
                let count = self.node(number)?.writing.len();
                self.persist(number, count)?;
                self.node_mut(number)?.held = false;
                self.step(number, |_, _, _| {})?;
            }
            ["compact", node] => self.step(number(node)?, |node, _, events| {
                let Some(raft) = &mut node.raft else { return };
                let status = raft.status();
                let to = raft.on_compacted(status.applied.min(status.floor));
                node.memory.compact(to);
                node.disk.log.compact(to);
                events.state(format!("compacted to {to}"));
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Completes writes one by one; each completion is a step.
    fn persist(&mut self, number: u64, count: usize) -> Result<(), String> {
        for _ in 0..count {
            if self.node(number)?.writing.is_empty() {
                return Err(format!("replica {number} has no write in flight"));
            }
            self.step(number, |node, _, _| {
                node.end_write();
            })?;
        }
        Ok(())
    }

    fn show(&mut self, words: &[&str]) -> Known {
        match *words {
            ["status"] => {
                for number in self.numbers() {
                    let status =
                        self.raft(number).map_or_else(|_| "down".to_owned(), trace::status);
                    self.tell(format!("{number} {status}"));
                }
            }
            ["status", node] => {
                let status = trace::status(self.raft(number(node)?)?);
                self.tell(format!("{node} {status}"));
            }
            ["log", node] => self.show_log(number(node)?)?,
            ["progress", node] => {
                let peers: Vec<_> = self.raft(number(node)?)?.progress().collect();
                for peer in &peers {
                    self.tell(format!("{node} sees {}", trace::progress(peer)));
                }
            }
            ["net"] => {
                let line = |p: &super::net::Packet| format!("{}->{} {}", p.from, p.to, p.text);
                let lines: Vec<_> = self.net.packets.iter().map(line).collect();
                lines.into_iter().for_each(|line| self.tell(line));
            }
            ["at", node, place] => {
                let place = position(place)?;
                let held = self.raft(number(node)?)?.term_at(place.index) == Some(place.term);
                self.tell(format!("{node} {} {place}", if held { "holds" } else { "lacks" }));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn show_log(&mut self, number: u64) -> Result<(), String> {
        let memory = &self.node(number)?.memory;
        let mut text = format!("{number} log");
        if memory.start.index > Index::ZERO {
            text.push_str(&format!(" after {}:", memory.start));
        }
        for (entry, index) in memory.entries.iter().zip(memory.start.index.0 + 1..) {
            let place = format!("{}/{index}", entry.term);
            let payload = if entry.payload.starts_with("given-") { "" } else { &entry.payload };
            let comma = if index > memory.start.index.0 + 1 { "," } else { "" };
            text.push_str(&format!("{comma} {place}"));
            if !payload.is_empty() {
                text.push_str(&format!(" {payload}"));
            }
        }
        self.tell(text);
        Ok(())
    }
}
