//! What a node does when a script lets it work: `process-ready` and the two threads.
//!
//! Without threads a ready writes, applies and answers at once, and what follows from its own
//! write (a vote or an acknowledgement of its own) comes after, with the next ready. With threads
//! it queues the write and the apply; answers leave when the writes before them are done, and what
//! a leader or candidate learns from its own disk is a report that travels through the pool.
//!
//! Invariant: one ready is at most one write and one apply.

use kontiki_raft::{Index, Persist, Role};

use super::entries::Entry;
use super::node::Node;
use super::pool::{Body, Packet, Pool};

/// A write with its entries.
#[derive(Debug)]
pub(super) struct Write {
    persist: Persist,
    entries: Vec<Entry>,
}

/// One piece of work for the append thread. It may hold nothing to write: the other implementation
/// writes the commit too.
#[derive(Debug)]
pub(super) struct Work {
    write: Option<Write>,
    answers: Vec<Packet>,
}

impl Node {
    /// Works off what there is. Returns whether there was anything.
    pub(super) fn process_ready(&mut self, pool: &mut Pool) -> bool {
        self.pull();
        let view = self.look();
        let before = std::mem::replace(&mut self.view, view);
        let moved = before != self.view || !self.outgoing.is_empty() || !self.answers.is_empty();
        let outgoing = std::mem::take(&mut self.outgoing);
        pool.send(outgoing);
        let write = self.begin_write();
        if self.options.on_threads {
            let commit_moved = before.commit != self.view.commit;
            self.queue(write, commit_moved, pool) || moved
        } else {
            self.work_off(write, pool) || moved
        }
    }

    /// Writes, applies and answers.
    fn work_off(&mut self, write: Option<Write>, pool: &mut Pool) -> bool {
        let mut moved = write.is_some();
        if let Some(write) = write {
            self.complete(write);
        }
        // Entries that commit by this very write are of the next ready.
        if let Some(last) = self.take_committed(Index(self.view.commit)) {
            moved = true;
            self.applied = last;
            self.raft.on_applied(last);
        }
        self.pull();
        pool.send(std::mem::take(&mut self.answers));
        pool.send(self.outgoing.extract_if(.., |packet| packet.is_ballot()));
        moved
    }

    /// Hands the write and the apply to the threads.
    fn queue(&mut self, write: Option<Write>, commit_moved: bool, pool: &mut Pool) -> bool {
        let answers = std::mem::take(&mut self.answers);
        let mut moved = false;
        if write.is_some() || commit_moved || !answers.is_empty() {
            moved = true;
            self.append_work.push_back(Work { write, answers });
            self.let_candidate_ask(pool);
        }
        if let Some(last) = self.take_committed(Index(self.view.commit)) {
            moved = true;
            self.apply_work.push_back(last);
        }
        moved
    }

    /// The core asks for votes only once its term and its log are durable, the other
    /// implementation while they are being written. So a candidate whose one write is its new term
    /// has it written at once.
    fn let_candidate_ask(&mut self, pool: &mut Pool) {
        if !matches!(self.raft.role(), Role::Candidate | Role::PreCandidate) {
            return;
        }
        let writes = self.append_work.iter().filter(|work| work.write.is_some()).count();
        let alone = self.raft.membership().voters().eq([self.id]);
        let entries = |work: &Work| work.write.as_ref().is_some_and(|w| !w.entries.is_empty());
        let newest = self.append_work.back_mut().expect("work was just added");
        if alone || newest.write.is_none() {
            return;
        }
        if writes > 1 || self.reports > 0 || entries(newest) {
            self.diverged =
                Some("requests for votes wait here until the log they rest on is written");
            return;
        }
        let write = newest.write.take().expect("looked at above");
        self.complete(write);
        self.pull();
        pool.send(self.outgoing.extract_if(.., |packet| packet.is_ballot()));
    }

    fn begin_write(&mut self) -> Option<Write> {
        let persist = self.raft.take_persist()?;
        let range = persist.append.map(|(first, last)| self.memory.range(first, last));
        Some(Write { persist, entries: range.unwrap_or_default().to_vec() })
    }

    /// Puts the write onto the disk.
    fn write(&mut self, Write { persist, entries }: Write) -> u64 {
        if let Some(position) = persist.snapshot {
            self.disk = super::entries::Log::after(position);
        }
        if let Some(from) = persist.truncate_from {
            self.disk.truncate(from);
        }
        if let Some((first, _)) = persist.append {
            assert_eq!(first, self.disk.last().next(), "writes leave no gap: {persist:?}");
            self.disk.extend(&entries);
        }
        persist.seq
    }

    fn complete(&mut self, write: Write) {
        let seq = self.write(write);
        self.raft.on_persisted(seq);
    }

    /// Takes what may be applied up to `limit`, as much as fits one page.
    fn take_committed(&mut self, limit: Index) -> Option<Index> {
        if limit <= self.given {
            return None;
        }
        let (memory, page_max) = (&self.memory, self.options.page_bytes_max.unwrap_or(u64::MAX));
        let page = |first: Index, last: Index| {
            let last = last.min(limit);
            let entries = memory.range(first, last);
            let total = entries.iter().scan(0, |sum: &mut u64, entry| {
                *sum = sum.saturating_add(entry.payload.encoded_bytes());
                Some(*sum)
            });
            let fit = total.take_while(|&sum| sum <= page_max).count().max(1);
            last.min(Index(first.0 + fit as u64 - 1))
        };
        let (_, last) = self.raft.take_committed_page(page)?;
        self.given = last;
        Some(last)
    }

    /// The append thread does one piece of work. Returns whether there was one.
    pub(super) fn process_append_thread(&mut self, pool: &mut Pool) -> bool {
        let Some(Work { write, answers }) = self.append_work.pop_front() else { return false };
        pool.send(answers);
        let Some(write) = write else { return true };
        let seq = self.write(write);
        if self.raft.role() == Role::Follower && self.reports == 0 {
            // What a follower answers leaves with the write and not with the report of it.
            self.raft.on_persisted(seq);
            self.pull();
            pool.send(std::mem::take(&mut self.answers));
        } else {
            self.reports += 1;
            pool.send([Packet::report(self.id.get(), Body::Persisted(seq))]);
        }
        true
    }

    /// The apply thread does one piece of work. Returns whether there was one.
    pub(super) fn process_apply_thread(&mut self, pool: &mut Pool) -> bool {
        let Some(last) = self.apply_work.pop_front() else { return false };
        self.applied = last;
        pool.send([Packet::report(self.id.get(), Body::Applied(last))]);
        true
    }
}
