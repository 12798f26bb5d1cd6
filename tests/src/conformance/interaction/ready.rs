//! What a node does when a script lets it work: `process-ready` and the two threads.
//!
//! Without threads a ready writes, applies and answers at once, and what follows from its own
//! write (a vote or an acknowledgement of its own) comes after, with the next ready. With threads
//! it queues the write and the apply; answers leave when the writes before them are done, and what
//! a leader or candidate learns from its own disk is a report that travels through the pool.
//!
//! Invariant: one ready is at most one write and one apply.

use kontiki_raft::{Index, Persist, Position, Role};

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

/// Entries given to apply together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) last: Index,
    pub(super) bytes: u64,
}

/// What is given to apply and not reported applied. When that fills the page size, or when a page
/// could not take everything, nothing more is given until some of it is reported.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Applying {
    bytes: u64,
    paused: bool,
}

impl Applying {
    fn begin(&mut self, page: Page, bytes_max: u64, is_all: bool) {
        self.bytes += page.bytes;
        self.paused = self.bytes >= bytes_max || !is_all;
    }

    pub(super) fn end(&mut self, page: Page, bytes_max: u64) {
        self.bytes -= page.bytes;
        self.paused = self.bytes >= bytes_max;
    }
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
        if let Some(page) = self.take_committed(Index(self.view.commit)) {
            moved = true;
            self.applied = page.last;
            self.on_applied(page);
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
        if let Some(page) = self.take_committed(Index(self.view.commit).min(self.stable)) {
            moved = true;
            self.apply_work.push_back(page);
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

    fn page_bytes_max(&self) -> u64 {
        self.options.page_bytes_max.unwrap_or(u64::MAX)
    }

    /// Takes what may be applied up to `limit`, as much as fits beside what is being applied.
    fn take_committed(&mut self, limit: Index) -> Option<Page> {
        if limit <= self.given || self.applying.paused {
            return None;
        }
        let bytes_max = self.page_bytes_max();
        let (memory, room) = (&self.memory, bytes_max.saturating_sub(self.applying.bytes));
        let bytes_of = |first: Index, last: Index| {
            memory.range(first, last).iter().map(|entry| entry.payload.encoded_bytes()).sum::<u64>()
        };
        let mut all = limit;
        let page = |first: Index, last: Index| {
            all = last.min(limit);
            let fits = |&last: &u64| last == first.0 || bytes_of(first, Index(last)) <= room;
            (first.0..=all.0).take_while(fits).last().map_or(first, Index)
        };
        let (first, last) = self.raft.take_committed_page(page)?;
        self.given = last;
        let page = Page { last, bytes: bytes_of(first, last) };
        self.applying.begin(page, bytes_max, last == all);
        Some(page)
    }

    /// A page is applied, and the node knows it.
    pub(super) fn on_applied(&mut self, page: Page) {
        let bytes_max = self.page_bytes_max();
        self.applying.end(page, bytes_max);
        // A snapshot that came meanwhile has taken the log further.
        if page.last > self.raft.status().applied {
            self.raft.on_applied(page.last);
        }
    }

    /// The append thread does one piece of work. Returns whether there was one.
    pub(super) fn process_append_thread(&mut self, pool: &mut Pool) -> bool {
        let Some(Work { write, answers }) = self.append_work.pop_front() else { return false };
        pool.send(answers);
        let Some(write) = write else { return true };
        let appended = write.persist.append.map(|(_, last)| last);
        let end = appended.zip(write.entries.last().map(|entry| entry.term));
        let end = end.map(|(index, term)| Position::new(term, index));
        let seq = self.write(write);
        if self.raft.role() == Role::Follower && self.reports == 0 {
            // What a follower answers leaves with the write and not with the report of it.
            self.raft.on_persisted(seq);
            self.pull();
            pool.send(std::mem::take(&mut self.answers));
            pool.send(end.map(|end| Packet::report(self.id.get(), Body::Stable(end))));
        } else {
            self.reports += 1;
            pool.send([Packet::report(self.id.get(), Body::Persisted(seq, end))]);
        }
        true
    }

    /// It is reported that the entry is written. It may have been replaced meanwhile.
    pub(super) fn on_stable(&mut self, end: Option<Position>) {
        let Some(end) = end else { return };
        if self.memory.get(end.index).is_some_and(|entry| entry.term == end.term) {
            self.stable = self.stable.max(end.index);
        }
    }

    /// The apply thread does one piece of work. Returns whether there was one.
    pub(super) fn process_apply_thread(&mut self, pool: &mut Pool) -> bool {
        let Some(page) = self.apply_work.pop_front() else { return false };
        self.applied = self.applied.max(page.last);
        pool.send([Packet::report(self.id.get(), Body::Applied(page))]);
        true
    }
}
