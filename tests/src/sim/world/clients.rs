//! Requests on their way: to a node, and back to who asked.
//!
//! Deliberately absent: what a client wants and where it turns next (`load.rs`).

use kontiki::Submission;
use kontiki::error::{Outcome as Fate, RequestError};

use super::{Event, Phase, TRIES_MAX, World, place};
use crate::sim::checker::{Outcome, Reply};
use crate::sim::ledger::request_of;
use crate::sim::load::{Load, Wish, encode};
use crate::sim::marks::Mark;
use crate::sim::trace::What;

impl World {
    pub(super) fn client(&mut self, client: usize) {
        if self.load.clients[client].waits.is_none() {
            match self.phase {
                Phase::Rough | Phase::Leaders => {
                    self.load.wish(client, self.now);
                }
                Phase::Serve(group) if group <= self.plan.groups => {
                    self.phase = Phase::Serve(group + 1);
                    self.load.wish_of(client, group, self.now, true);
                }
                Phase::Serve(_) | Phase::Settle | Phase::Over => return,
            }
            let id = self.load.clients[client].waits.as_ref().expect("it just wished").id;
            self.push(self.now + self.load.patience(), Event::Patience(client, id));
        }
        let Some(request) = &self.load.clients[client].waits else { return };
        let (id, node, group) = (request.id, request.node, request.group);
        let mut submission = Submission::default();
        let (kind, pushed) = match &request.wish {
            Wish::Get(_) => (0, submission.push_read(group, id)),
            Wish::Scan { .. } => (2, submission.push_read(group, id)),
            Wish::Write(writes) => (1, submission.push(group, id, &encode(writes))),
        };
        pushed.expect("a small request");
        self.rules().trace.note(node, What::Asked, group, [id, kind, 0]);
        let Some(running) = &self.sites[place(node)].running else {
            return self.refused(client, id, None);
        };
        if running.router.submit_many(submission, &running.answers).is_err() {
            self.rules().marks.set(Mark::Busy);
            return self.refused(client, id, Some(node));
        }
        self.turn_woken(node);
    }

    /// A request was certainly not served: the client asks again, somewhere.
    pub(super) fn refused(&mut self, client: usize, id: u64, leader: Option<u64>) {
        let Some(request) = &self.load.clients[client].waits else { return };
        if request.id != id {
            return;
        }
        if request.tries >= TRIES_MAX {
            self.rules().marks.set(Mark::NotApplied);
            self.load.end(client, id, Outcome::NotApplied, self.now);
            return self.after_answer(client);
        }
        let group = request.group;
        self.load.learn(client, group, leader);
        let at = self.now + self.dice.between(1_000, 40_000);
        self.client_at(client, at);
    }

    pub(super) fn client_at(&mut self, client: usize, at: u64) {
        self.load.clients[client].turn += 1;
        let turn = self.load.clients[client].turn;
        self.push(at, Event::Client(client, turn));
    }

    /// A client does not wait any longer for request `id`, if it still does.
    pub(super) fn give_up(&mut self, client: usize, id: u64) {
        let waits = self.load.clients[client].waits.as_ref().filter(|request| request.id == id);
        if let Some(group) = waits.map(|request| request.group) {
            self.load.forget(client, group);
            self.load.end(client, id, Outcome::Unknown, self.now);
            self.after_answer(client);
        }
    }

    pub(super) fn after_answer(&mut self, client: usize) {
        if self.load.clients[client].waits.is_none() && self.phase != Phase::Over {
            let think = self.load.think(client);
            let soon = matches!(self.phase, Phase::Serve(_));
            let at = self.now + if soon { think.min(2_000) } else { think };
            self.client_at(client, at);
        }
    }

    pub(super) fn answer(&mut self, node: u64) {
        let Some(running) = self.sites[place(node)].running.as_ref() else { return };
        let mut answers = std::mem::take(&mut self.answers);
        running.answers.drain(&mut answers, Some(std::time::Duration::ZERO));
        for completion in answers.drain(..) {
            let (group, result) = (completion.group(), completion.result());
            for &id in completion.tags() {
                self.told(node, group, id, result.map(|index| index.0));
            }
        }
        self.answers = answers;
    }

    /// A client reads what was written, and nothing older than what it has seen or written itself.
    fn saw(&mut self, client: usize, group: u64, key: &[u8], value: Option<&[u8]>) {
        // A key that is not there may have been removed by anybody.
        let Some(id) = value.and_then(request_of) else { return };
        let found = self.rules().request(id);
        let Some((_, index)) = found.filter(|(of, _)| *of == group) else {
            return self.fail(Some(group), format!("request {id:x} is read, and is at {found:?}"));
        };
        if let Some(before) = self.load.sees(client, key, index) {
            let what = format!(
                "client {client} reads {key:?} as of index {index}, after it has seen index {before}"
            );
            self.fail(Some(group), what);
        }
    }

    fn told(&mut self, node: u64, group: u64, id: u64, result: Result<u64, RequestError>) {
        let client = usize::try_from((id >> 40) - 1).expect("a client's number");
        let outcome = result.map_or_else(|error| error.outcome(), |_| Fate::Applied);
        let index = result.unwrap_or(0);
        self.rules().trace.note(node, What::Told, group, [id, outcome as u64, index]);
        let Some(request) = &self.load.clients[client].waits else { return };
        if request.id != id || request.node != node {
            return; // The client has given up on it.
        }
        let wish = request.wish.clone();
        match (wish, result) {
            (Wish::Get(_) | Wish::Scan { .. }, Err(error)) => {
                return self.refused(client, id, leader_of(error));
            }
            (Wish::Write(_), Err(error)) if error.outcome() == Fate::NotApplied => {
                return self.refused(client, id, leader_of(error));
            }
            (Wish::Write(_), Err(error)) => {
                let mut rules = self.rules();
                rules.marks.set(Mark::Unknown);
                if error == RequestError::LeaderLost {
                    rules.marks.set(Mark::LeaderLost);
                }
                drop(rules);
                self.load.end(client, id, Outcome::Unknown, self.now);
            }
            (Wish::Write(writes), Ok(index)) => {
                self.wrote(client, (node, group, id), index, &writes)
            }
            (wish, Ok(_)) => self.read(client, (node, group, id), &wish),
        }
        self.after_answer(client);
    }

    /// A write was acknowledged: it is where its answer says, and was applied.
    fn wrote(
        &mut self,
        client: usize,
        (node, group, id): (u64, u64, u64),
        index: u64,
        writes: &[(Vec<u8>, Option<Vec<u8>>)],
    ) {
        let found = self.rules().request(id);
        if found != Some((group, index)) {
            let what = format!(
                "node {node} acknowledges request {id:x} at index {index}; it is at {found:?}"
            );
            self.fail(Some(group), what);
        }
        for (key, _) in writes {
            self.load.sees(client, key, index);
        }
        self.load.end(client, id, Outcome::Done(Reply::Written), self.now);
    }

    /// A read was permitted: what is there is read now.
    fn read(&mut self, client: usize, (node, group, id): (u64, u64, u64), wish: &Wish) {
        let running = self.sites[place(node)].running.as_ref().expect("it answers");
        let (view, lane) = (&running.view, running.lane_of(group));
        match wish {
            Wish::Get(key) => {
                let value = view.get(lane, key).expect("the simulated state can be read");
                self.saw(client, group, key, value.as_deref());
                self.load.end(client, id, Load::read(value.as_deref()), self.now);
                self.rules().marks.set(Mark::Read);
            }
            Wish::Scan { start, end, limit } => {
                let page = view.scan(start, Some(end), *limit);
                let page = page.expect("the simulated state can be read");
                if page.next.is_some() {
                    self.rules().marks.set(Mark::Page);
                }
                for (key, value) in &page.entries {
                    self.saw(client, group, key, Some(value));
                }
                let (entries, next) = (&page.entries[..], page.next.as_deref());
                let outcome = Outcome::Done(Reply::Page { entries, next });
                self.load.end(client, id, outcome, self.now);
            }
            Wish::Write(_) => {}
        }
    }
}

fn leader_of(error: RequestError) -> Option<u64> {
    match error {
        RequestError::NotLeader { leader } => leader,
        _ => None,
    }
}
