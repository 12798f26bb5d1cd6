//! The world: one queue of events for all nodes, lines, disks and clients, and the turn of each.
//!
//! Nothing happens but by an event, and each event has a time and a number, so a seed is one history. After a node's turn
//! comes what its threads would do next: the log writer takes what waits, a flush cycle begins, answers go out.
//!
//! A run has two parts. First faults and clients go on together. Then the network heals, every node runs, and within
//! [`HEAL_US`] each group must have one leader, serve, and be the same on all nodes.
//! Deliberately absent: rules about replicas (`ledger.rs`), and what clients make of answers (`load.rs`).

mod bounds;
mod clients;
mod disks;
mod faults;
mod heal;
mod leases;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kontiki::error::{Fatal, StartError};
use kontiki::range::RangeMap;
use kontiki::store::MemoryLog;
use kontiki::{Bootstrap, Completion, Config};
use kontiki_net::{FRAME_BYTES_MAX, Frame, FrameKind};
use kontiki_raft::{Raft, Time};

use super::checker::Budget;
use super::clock::Clock;
use super::copies::Copies;
use super::fabric::{Due, Fabric, Sent};
use super::ledger::Ledger;
use super::load::Load;
use super::marks::Mark;
use super::node::{Disk, Rules, Running, config_of};
use super::plan::Plan;
use super::random::Rng;
use super::trace::What;

/// How long the world may take to be well again after the last fault.
pub const HEAL_US: u64 = 30_000_000;

/// How often a healing world is looked at.
const LOOK_US: u64 = 100_000;

/// Replicas looked at after each turn; with more of them it takes several turns.
const OBSERVED_MAX: u32 = 64;

/// Tries after which a client takes a refusal for an answer.
const TRIES_MAX: u32 = 30;

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker of a node has its turn.
    Turn(u64, usize),
    Net(Due),
    /// The batch of a node's log writer is on the disk; in which life.
    Synced(u64, u64),
    /// The batch that its worker wrote is.
    Freed(u64, u64),
    /// Its flush cycle is done.
    Flushed(u64, u64),
    /// Its state writer has written an overlay.
    Sealed(u64, u64),
    /// It starts again.
    Start(u64, u64),
    /// A client thinks of something, or asks again: its last such event counts.
    Client(usize, u64),
    /// A client has waited long enough for a request.
    Patience(usize, u64),
    Fault(usize),
    /// A frame comes once more.
    Copy(usize),
    /// The others must do without this node by now.
    Expect(u64),
    /// The answer to a call from outside is looked at; the node that was called.
    Outside(u64, u64),
    Look,
}

#[derive(Debug)]
struct Site {
    config: Config,
    disk: Disk,
    running: Option<Running>,
    /// How often it has ended.
    life: u64,
    /// When each of its workers has its turn.
    turns: Vec<u64>,
    /// It does nothing before this.
    busy_until: u64,
    /// Its only worker wrote a batch itself, which is not on the disk yet.
    writes_inline: bool,
    /// Its state writer is at work.
    seals: bool,
    stall_until: u64,
    /// For how long it stays down when its disk has failed it.
    down_us: u64,
    /// Its disk has lost what was synced.
    rotten: bool,
    /// It has noticed, and does not start any more.
    pub(super) retired: bool,
    /// What a lying disk will give back.
    old: Option<MemoryLog>,
    clock: Clock,
    /// The replica of each worker that was looked at last.
    looked: Vec<u32>,
    /// How many turns of each worker in a row have ended with a cache that is too large.
    over: Vec<u32>,
}

/// How far the second part of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Faults and clients.
    Rough,
    /// Waiting for leaders.
    Leaders,
    /// Waiting for an answer of each group; the number of the next one to be asked.
    Serve(u64),
    /// Waiting for replicas to be the same.
    Settle,
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    /// The rules, and what happened.
    pub rules: Rules,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events: u64,
    fabric: Fabric,
    sites: Vec<Site>,
    load: Load,
    phase: Phase,
    dice: Rng,
    due: Vec<(u64, Due)>,
    roused: Vec<(u64, usize)>,
    sent: Vec<Sent>,
    heard: Vec<u64>,
    answers: Vec<Completion>,
    copies: Copies,
}

fn place(node: u64) -> usize {
    usize::try_from(node - 1).expect("a few nodes")
}

impl World {
    /// The world of `plan`, before anything happened.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut dice = Rng::stream(plan.seed, "world");
        let nodes: Vec<u64> = (1..=plan.nodes).collect();
        let groups = usize::try_from(plan.groups).expect("a few groups");
        let bootstrap = Bootstrap::groups(&nodes, groups);
        let ranges = RangeMap::new(&bootstrap.ranges).expect("evenly split");
        let fabric = Fabric::new(plan.nodes, plan.net, Rng::stream(plan.seed, "net"));
        let rules = Arc::new(Mutex::new(Ledger::new(plan.nodes, plan.groups)));
        let mut site = |node| {
            let config = config_of(&plan, node);
            let disk = Disk::format(&config, &bootstrap).expect("the plan is consistent");
            Site {
                disk,
                running: None,
                life: 0,
                turns: vec![NEVER; config.workers],
                looked: vec![0; config.workers],
                over: vec![0; config.workers],
                busy_until: 0,
                writes_inline: false,
                seals: false,
                stall_until: 0,
                down_us: 0,
                rotten: false,
                retired: false,
                old: None,
                clock: Clock::new(0, dice.between(1_000_000, 1_000_000_000_000)),
                config,
            }
        };
        let sites = nodes.iter().map(|&node| site(node)).collect();
        let mut clients = Rng::stream(plan.seed, "load");
        let load = Load::new(plan.load, &ranges, plan.nodes, plan.groups, &mut clients);
        let mut world = Self {
            rules,
            now: 0,
            queue: BinaryHeap::new(),
            events: 0,
            fabric,
            sites,
            load,
            phase: Phase::Rough,
            dice,
            due: Vec::new(),
            roused: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            answers: Vec::new(),
            copies: Copies::new(plan.copies, Rng::stream(plan.seed, "copies")),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        if self.plan.workers > 1 {
            self.rules().marks.set(Mark::Workers);
        }
        if self.plan.groups > 1000 {
            self.rules().marks.set(Mark::ManyGroups);
        }
        for node in 1..=self.plan.nodes {
            let at = self.dice.below(50_000);
            self.push(at, Event::Start(node, 0));
        }
        for client in 0..self.load.clients.len() {
            let at = self.dice.below(2_000_000);
            self.client_at(client, at);
        }
        for number in 0..self.plan.faults.len() {
            self.push(self.plan.faults[number].at_us, Event::Fault(number));
        }
        self.push(self.plan.run_us, Event::Look);
    }

    /// Simulated time.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The clients and what they saw.
    #[must_use]
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// Runs to the end, or to the first broken rule.
    pub fn run(&mut self) {
        while self.phase != Phase::Over && self.rules().wrong().is_none() {
            let Some(Reverse((at, _, event))) = self.queue.pop() else { break };
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.rules().trace.now = at;
            self.fabric.at(at);
            self.happen(event);
            self.take_network();
        }
        if self.rules().wrong().is_none()
            && let Err(violation) =
                self.load.history.check(Budget { configurations: 200_000, ..Budget::default() })
        {
            self.fail(None, format!("not linearizable:\n{violation}"));
        }
    }

    fn rules(&self) -> MutexGuard<'_, Ledger> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, group: Option<u64>, what: String) {
        self.rules().fail(group, what);
    }

    fn push(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at.max(self.now), self.events, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(node, lane) => self.turn(node, lane),
            Event::Net(due) => self.fabric.happen(due),
            Event::Synced(node, life) if self.lives(node, life) => self.synced(node),
            Event::Freed(node, life) if self.lives(node, life) => self.freed(node),
            Event::Flushed(node, life) if self.lives(node, life) => self.flushed(node),
            Event::Sealed(node, life) if self.lives(node, life) => self.sealed(node),
            Event::Synced(..) | Event::Freed(..) | Event::Flushed(..) | Event::Sealed(..) => {}
            Event::Start(node, life) => {
                let site = &self.sites[place(node)];
                if site.life == life && site.running.is_none() && !site.retired {
                    self.start(node);
                }
            }
            Event::Client(client, turn) => {
                if self.load.clients[client].turn == turn {
                    self.client(client);
                }
            }
            Event::Patience(client, id) => self.give_up(client, id),
            Event::Fault(number) => self.fault(number),
            Event::Copy(number) => self.copy(number),
            Event::Outside(node, id) => self.outside(node, id),
            Event::Expect(node) => self.expect(node),
            Event::Look => self.look(),
        }
    }

    fn lives(&self, node: u64, life: u64) -> bool {
        let site = &self.sites[place(node)];
        site.life == life && site.running.is_some()
    }

    /// Takes what the network will do, and rouses whom it has something for.
    fn take_network(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        let mut roused = std::mem::take(&mut self.roused);
        self.fabric.take(&mut due, &mut roused);
        let marks = self.fabric.take_marks();
        self.rules().marks.add(marks);
        for (at, due) in due.drain(..) {
            self.push(at, Event::Net(due));
        }
        for (node, lane) in roused.drain(..) {
            self.turn_at(node, lane, self.now + self.plan.wake_us);
        }
        (self.due, self.roused) = (due, roused);
    }

    /// Gives a worker a turn at `at`, if it has none earlier.
    fn turn_at(&mut self, node: u64, lane: usize, at: u64) {
        let site = &mut self.sites[place(node)];
        let at = at.max(site.busy_until);
        if site.running.is_some() && at < site.turns[lane] {
            site.turns[lane] = at;
            self.push(at, Event::Turn(node, lane));
        }
    }

    /// Gives all workers of a node a turn.
    fn turns_at(&mut self, node: u64, at: u64) {
        for lane in 0..self.plan.workers {
            self.turn_at(node, lane, at);
        }
    }

    /// Gives a turn to those workers of a node that somebody has woken.
    fn turn_woken(&mut self, node: u64) {
        let at = self.now + self.plan.wake_us;
        for lane in 0..self.plan.workers {
            let running = self.sites[place(node)].running.as_ref();
            if running.is_some_and(|running| running.desks[lane].waker.was_woken()) {
                self.turn_at(node, lane, at);
            }
        }
    }

    fn start(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        let now = Time(site.clock.local(self.now));
        let boot = site.disk.log.identity().boot_epoch;
        let overlay_max = self.plan.overlay_max;
        self.rules.lock().expect("one thread").trace.note(node, What::Start, 0, [boot, 0, 0]);
        match Running::start(&site.config, &site.disk, &self.fabric, &self.rules, now, overlay_max)
        {
            Ok(_) if site.rotten && !self.plan.rots_by_flip() => {
                self.fail(None, format!("node {node} starts although its disk has lost a batch"));
            }
            Ok(running) => {
                site.running = Some(running);
                site.turns.fill(NEVER);
                site.busy_until = 0;
                site.writes_inline = false;
                site.seals = false;
                self.turns_at(node, self.now);
            }
            Err(StartError::Store(_) | StartError::Recovery(_)) if site.rotten => {
                site.retired = true;
                self.fabric.stop(node, false);
                self.rules().marks.set(Mark::Retired);
            }
            Err(error) => self.fail(None, format!("node {node} does not start: {error}")),
        }
    }

    /// The process of `node` is gone; it starts again after `down_us`.
    fn stop(&mut self, node: u64, power: bool, down_us: u64) {
        let site = &mut self.sites[place(node)];
        let Some(running) = site.running.take() else { return };
        self.fabric.stop(node, power);
        site.life += 1;
        site.turns.fill(NEVER);
        drop(running);
        // The kernel keeps what was written when only the process ends.
        let unsynced = site.disk.log.unsynced();
        let kept = if power { self.dice.below(unsynced + 1) } else { unsynced };
        let flushed = self.dice.below(site.disk.state.unflushed() as u64 + 1);
        site.disk = Disk {
            log: site.disk.log.crash(kept),
            state: site.disk.state.crash(usize::try_from(flushed).expect("a few batches")),
            trouble: Arc::default(),
        };
        if self.plan.canary {
            let image = site.disk.log.crash(0);
            if let Some(old) = site.old.replace(image) {
                site.disk.log = old;
            }
        }
        let last = site.disk.log.numbers().1;
        let life = site.life;
        self.push(self.now + down_us, Event::Start(node, life));
        let down = self.sites.iter().filter(|site| site.running.is_none()).count();
        let mut rules = self.rules();
        rules.trace.note(node, What::Stop, 0, [u64::from(power), 0, 0]);
        rules.crashed(node, last);
        if down == self.sites.len() {
            rules.marks.set(Mark::AllDown);
        }
        if down > self.sites.len() / 2 {
            rules.marks.set(Mark::MajorityDown);
        }
        drop(rules);
        for client in 0..self.load.clients.len() {
            let waits = &self.load.clients[client].waits;
            if let Some(id) = waits.as_ref().filter(|r| r.node == node).map(|r| r.id) {
                self.give_up(client, id);
            }
        }
    }

    fn turn(&mut self, node: u64, lane: usize) {
        let site = &mut self.sites[place(node)];
        if site.turns[lane] != self.now {
            return; // It had its turn earlier, or has one later.
        }
        site.turns[lane] = NEVER;
        if site.writes_inline {
            return; // It goes on when the disk lets it.
        }
        if site.busy_until > self.now {
            let until = site.busy_until;
            return self.turn_at(node, lane, until);
        }
        let now = Time(site.clock.local(self.now));
        let Some(running) = &mut site.running else { return };
        if let Err(fatal) = running.desks[lane].worker.turn_at(now) {
            return self.halt(node, &fatal);
        }
        self.after_turn(node, lane);
    }

    /// A frame comes once more, or when its receiver can take it.
    fn copy(&mut self, number: usize) {
        let Some(Sent { from, to, lane, bytes, .. }) = self.copies.take(number) else { return };
        if self.fabric.is_cut(from, to) {
            return; // What does not pass does not pass twice.
        }
        let site = &mut self.sites[place(to)];
        if site.busy_until > self.now || site.writes_inline {
            return; // A copy that comes at a bad time is no loss.
        }
        let now = Time(site.clock.local(self.now));
        let Some(running) = &mut site.running else { return };
        let Ok((frame, _)) = Frame::parse(&bytes, FRAME_BYTES_MAX) else { return };
        if frame.kind() != FrameKind::Messages {
            return;
        }
        match running.desks[lane].worker.take_frame(now, from, &frame) {
            Ok(()) => {
                self.rules().marks.set(Mark::Copied);
                self.turn_at(to, lane, self.now + self.plan.wake_us);
            }
            Err(error) => self.fail(None, format!("node {to} does not understand {from}: {error}")),
        }
    }

    /// A node has ended itself.
    fn halt(&mut self, node: u64, fatal: &Fatal) {
        let site = &self.sites[place(node)];
        if site.disk.trouble.failed.load(Ordering::Relaxed) > 0 {
            // As it should. What the disk took for written may be gone all the same.
            self.rules().marks.set(Mark::SyncFailed);
            return self.stop(node, true, site.down_us);
        }
        self.fail(None, format!("node {node} ends itself: {fatal}"));
    }

    fn after_turn(&mut self, node: u64, lane: usize) {
        let now = self.now;
        self.fabric.take_sent(&mut self.sent);
        self.fabric.take_heard(&mut self.heard);
        let mut rules = self.rules.lock().expect("one thread");
        let site = &mut self.sites[place(node)];
        let running = site.running.as_mut().expect("it had its turn");
        for number in self.heard.drain(..) {
            rules.heard(node, number, |group| running.raft(group).map(Raft::term));
        }
        for sent in self.sent.drain(..) {
            rules.sent(&sent);
            self.copies.offer(now, sent);
        }
        let inline = running.unreported.is_none() && site.disk.log.unsynced() > 0;
        let shard = running.desks[lane].worker.shard();
        let count = u32::try_from(shard.len()).expect("a few groups");
        let looked = &mut site.looked[lane];
        // A worker that waits for its own write knows nothing yet of what it waits for.
        for _ in 0..if inline { 0 } else { count.min(OBSERVED_MAX) } {
            *looked = (*looked + 1) % count;
            rules.observe(node, shard.group(*looked), shard.raft(*looked));
        }
        drop(rules);
        self.check_leases(node, lane);
        self.check_bounds(node, lane);
        let site = &mut self.sites[place(node)];
        if inline {
            site.writes_inline = true;
            let life = site.life;
            let until = now + self.sync_time(node);
            self.sites[place(node)].busy_until = until;
            self.rules().marks.set(Mark::Inline);
            self.push(until, Event::Freed(node, life));
        }
        for (at, number) in self.copies.take_due() {
            self.push(at, Event::Copy(number));
        }
        self.answer(node);
        self.begin_write(node);
        self.begin_flush(node);
        self.begin_seal(node);
        let site = &mut self.sites[place(node)];
        let Some(running) = site.running.as_mut() else { return };
        if let Some(sleep) = running.desks[lane].worker.sleeps(Time(site.clock.local(now))) {
            let local = u64::try_from(sleep.as_micros()).unwrap_or(NEVER / 4).min(NEVER / 4);
            let at = now + site.clock.world_for(local);
            self.turn_at(node, lane, at);
        }
        self.turn_woken(node);
    }
}
