//! From a command to what it does. What each means is defined by the scripts' own runner.
//!
//! Deliberately absent: what commands print, except `raft-log`, `raft-state` and `status`; and any
//! look at what is expected.

use kontiki_raft::{Index, Member, Membership, ReplicaId, Seat, SnapshotHeader};

use super::change::{Wanted, replica};
use super::clock::ELECTION_TICKS;
use super::command::{Command, number};
use super::excuse::About;
use super::node::{Node, Options};
use super::pool::{Packet, Proposal};
use super::show;
use super::world::{Shown, World};

/// Whether the command was one of those looked for.
type Known = Result<bool, String>;

impl World {
    /// Does what the command says.
    pub(super) fn execute(&mut self, command: &Command, input: &[String]) -> Result<(), String> {
        if command.name == "propose-conf-change" {
            let wanted = Wanted::parse(command, input)?;
            return self.propose(command.first()?, Proposal::Change(wanted));
        }
        self.execute_one(command)?;
        for line in input {
            self.execute_one(&Command::parse(line)?)?;
        }
        Ok(())
    }

    fn execute_one(&mut self, command: &Command) -> Result<(), String> {
        let known = self.work(command)?
            || self.ask(command)?
            || self.let_time_pass(command)?
            || self.set_up(command)?
            || self.show(command)?;
        if known { Ok(()) } else { Err(format!("unknown command {}", command.name)) }
    }

    fn work(&mut self, command: &Command) -> Known {
        let work: fn(&mut Node, &mut super::pool::Pool) -> bool = match command.name.as_str() {
            "process-ready" => Node::process_ready,
            "process-append-thread" => Node::process_append_thread,
            "process-apply-thread" => Node::process_apply_thread,
            "deliver-msgs" => {
                self.deliver_messages(command)?;
                return Ok(true);
            }
            "stabilize" => {
                let named = command.numbers()?;
                let numbers = if named.is_empty() { self.numbers() } else { named };
                self.stabilize(&numbers)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        for number in command.numbers()? {
            self.with(number, work)?;
        }
        Ok(true)
    }

    fn deliver_messages(&mut self, command: &Command) -> Result<(), String> {
        let name = command.value("type");
        for to in command.numbers()? {
            self.deliver(to, name)?;
        }
        for to in command.values("drop") {
            self.lose(number(to)?, name)?;
        }
        Ok(())
    }

    fn ask(&mut self, command: &Command) -> Known {
        match command.name.as_str() {
            "campaign" => self.node_mut(command.first()?)?.campaign(),
            "forget-leader" => self.node_mut(command.first()?)?.forget_leader(),
            "propose" => {
                let words: Vec<_> =
                    command.args.iter().filter(|arg| arg.values.is_empty()).collect();
                let [_, content] = words[..] else {
                    return Err("propose NODE CONTENT".to_owned());
                };
                let proposal = Proposal::Normal(content.key.clone());
                self.propose(command.first()?, proposal)?;
            }
            "report-unreachable" => {
                let [node, peer] = command.numbers()?[..] else {
                    return Err("report-unreachable NODE PEER".to_owned());
                };
                let peer = replica(&peer.to_string())?;
                self.node_mut(node)?.report_unreachable(peer);
            }
            "transfer-leadership" => {
                let from = command.number("from")?.ok_or("transfer from whom?")?;
                let to = replica(command.value("to").ok_or("transfer to whom?")?)?;
                self.node_mut(from)?.transfer(to);
            }
            "send-snapshot" => {
                let [from, to] = command.numbers()?[..] else {
                    return Err("send-snapshot FROM TO".to_owned());
                };
                let to = replica(&to.to_string())?;
                self.send_snapshot(from, to)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sends what a node has applied. Any node may have made a snapshot; it comes in the name of
    /// the leader, since the core takes nothing from anybody else.
    fn send_snapshot(&mut self, from: u64, to: ReplicaId) -> Result<(), String> {
        let source = self.node(from)?;
        let leader = source.raft.leader().and_then(|leader| self.node(leader.get()).ok());
        let Some(leader) = leader else {
            let reason = "a snapshot comes in the name of a leader here, and none is known";
            self.node_mut(from)?.diverged = Some(reason);
            return Ok(());
        };
        let session = leader.peer(to).map_or(0, |peer| peer.session);
        let header = SnapshotHeader { from: leader.id, ..source.snapshot_for(to, session) };
        self.pool.send([Packet::snapshot(header)]);
        Ok(())
    }

    fn propose(&mut self, number: u64, proposal: Proposal) -> Result<(), String> {
        self.dropped |= self.node_mut(number)?.propose(proposal).is_err();
        Ok(())
    }

    fn let_time_pass(&mut self, command: &Command) -> Known {
        let ticks = match command.name.as_str() {
            "tick-election" => ELECTION_TICKS,
            "tick-heartbeat" => 1,
            "set-randomized-election-timeout" => {
                let ticks = command.number("timeout")?.ok_or("a timeout of what?")?;
                let node = self.node_mut(command.first()?)?;
                node.clock.set_timeout(&node.raft, ticks);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let node = self.node_mut(command.first()?)?;
        (0..ticks).for_each(|_| node.tick());
        Ok(true)
    }

    fn set_up(&mut self, command: &Command) -> Known {
        match command.name.as_str() {
            "_breakpoint" => {}
            "log-level" => {
                let level = command.args.first().map_or("", |arg| &arg.key);
                self.quiet = level.eq_ignore_ascii_case("none");
            }
            "add-nodes" => {
                let options = options(command)?;
                for _ in 0..command.first()? {
                    let id = replica(&(self.nodes.len() + 1).to_string())?;
                    self.nodes.push(Node::new(id, options.clone())?);
                }
            }
            "compact" => {
                let [node, to] = command.numbers()?[..] else {
                    return Err("compact NODE INDEX".to_owned());
                };
                self.node_mut(node)?.compact(Index(to));
                self.show_log(node)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn show(&mut self, command: &Command) -> Known {
        match command.name.as_str() {
            "raft-log" => self.show_log(command.first()?)?,
            "raft-state" => {
                for number in self.numbers() {
                    let line = show::state(self.node(number)?);
                    self.tell(number, About::Applied, line);
                }
            }
            "status" => {
                let number = command.first()?;
                for line in show::status(self.node(number)?) {
                    self.tell(number, About::Applied, line);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn show_log(&mut self, number: u64) -> Result<(), String> {
        for line in self.node(number)?.disk.shown() {
            self.tell(number, About::Other, line);
        }
        Ok(())
    }

    fn tell(&mut self, node: u64, about: About, line: String) {
        if !self.quiet {
            self.shown.push(Shown { node: Some(node), about, line });
        }
    }
}

/// The options of `add-nodes`.
fn options(command: &Command) -> Result<Options, String> {
    let is = |key: &str| command.value(key) == Some("true");
    let mut members = Vec::new();
    for (key, seat) in [("voters", Seat::VOTER), ("learners", Seat::LEARNER)] {
        for id in command.values(key) {
            members.push(Member { id: replica(id)?, seat });
        }
    }
    let membership = if members.is_empty() {
        Membership::EMPTY
    } else {
        Membership::from_members(&members, false).map_err(|error| error.to_string())?
    };
    let index = Index(command.number("index")?.unwrap_or(0));
    if index <= Index(1) && (index == Index(1) || membership != Membership::EMPTY) {
        return Err("index must be specified as > 1 due to bootstrap".to_owned());
    }
    let inflight = command.number("inflight")?.map(u32::try_from).transpose();
    Ok(Options {
        membership,
        index,
        on_threads: is("async-storage-writes"),
        inflight_max: inflight.map_err(|error| error.to_string())?,
        page_bytes_max: command.number("max-committed-size-per-ready")?,
        pre_vote: is("prevote"),
        check_quorum: is("checkquorum"),
        leases: command.value("read-only") == Some("lease-based"),
        steps_down: is("step-down-on-removal"),
        checks_changes: !is("disable-conf-change-validation"),
    })
}
