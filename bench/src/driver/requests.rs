//! What both loops do with requests: issue, submit, route, repeat, and note what became of them.
//!
//! Every request issued is answered in the end, or given up with the run. A request that was certainly not
//! applied is repeated as it is; one whose outcome is unknown is noted as such and not repeated, since it might
//! then be applied twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki::error::{Outcome as WriteOutcome, RequestError, SubmitError};
use kontiki::{Completion, CompletionQueue, Engine, RunKind, Submission};

use crate::cluster::Target;
use crate::driver::ledger::Ledger;
use crate::driver::{Outcome, Phase, Shared, Troubles};
use crate::histogram::Recorder;
use crate::schedule::Share;
use crate::workload::{KeySpace, Kind, Op, Workload};

/// How long a refused request waits before it is repeated.
const RETRY_MICROS: u64 = 2_000;

/// The longest sleep: how late a thread may notice that the phase has changed.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// How long to wait when something is waiting to be repeated.
const SLEEP_RETRY: Duration = Duration::from_millis(1);

/// Tells a loop's tags from each other.
pub(crate) trait Tags {
    /// The request that a tag stands for.
    fn op(&self, tag: u64) -> Op;
}

/// What a loop has been answered.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) completions: Vec<Completion>,
    /// When they were taken, in microseconds of the shared clock.
    pub(crate) now: u64,
    pub(crate) phase: Phase,
}

/// The way to one node.
#[derive(Debug, Default)]
struct Route {
    /// Requests of this turn.
    filling: Submission,
    /// Submissions the node had no room for, oldest first.
    held: VecDeque<Submission>,
}

/// An active group.
#[derive(Clone, Copy, Debug)]
struct Slot {
    group: u64,
    /// The node that is thought to lead it, by place.
    node: usize,
    /// Requests that are not answered yet, those that are to be repeated among them.
    under_way: u64,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    due: u64,
    place: usize,
    tag: u64,
}

/// The requests of one thread.
#[derive(Debug)]
pub(crate) struct Requests<'a> {
    target: &'a Target,
    engines: &'a [Engine],
    pub(crate) workload: &'a Workload,
    keys: Option<&'a KeySpace>,
    hash: Option<fn(&[u8]) -> u64>,
    shared: &'a Shared,
    thread: usize,
    pub(crate) share: Share,
    queue: Arc<CompletionQueue>,
    routes: Vec<Route>,
    spare: Vec<Submission>,
    slots: Vec<Slot>,
    /// Place of the slot of each group, by group id.
    place_of_group: Vec<usize>,
    retries: VecDeque<Retry>,
    under_way: u64,
    done: (u64, u64),
    scratch: (Vec<u8>, Vec<u8>),
    outcome: Outcome,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(
        target: &'a Target,
        workload: &'a Workload,
        shared: &'a Shared,
        thread: usize,
        share: Share,
        keep_intervals: bool,
    ) -> Self {
        let engines = target.engines();
        let group = |slot: &u32| target.active[*slot as usize];
        let slots: Vec<Slot> = share
            .slots
            .iter()
            .map(group)
            .map(|group| Slot { group, node: 0, under_way: 0 })
            .collect();
        let last = slots.iter().map(|slot| slot.group).max().unwrap_or(0);
        let mut place_of_group = vec![usize::MAX; usize::try_from(last).expect("few groups") + 1];
        for (place, slot) in slots.iter().enumerate() {
            place_of_group[usize::try_from(slot.group).expect("few groups")] = place;
        }
        let keys = target.keys.as_ref();
        let of_slot = |&slot: &u32| keys.map_or(0, |keys| keys.of_slot(slot as usize).len());
        let ledger = Ledger::new(share.slots.iter().map(of_slot));
        let recorder = Recorder::new(keep_intervals);
        let mut requests = Self {
            target,
            engines,
            workload,
            keys,
            hash: target.payload_hash(),
            shared,
            thread,
            queue: CompletionQueue::new(),
            routes: engines.iter().map(|_| Route::default()).collect(),
            spare: Vec::new(),
            slots,
            place_of_group,
            retries: VecDeque::new(),
            under_way: 0,
            done: (0, 0),
            scratch: (Vec::new(), Vec::new()),
            outcome: Outcome { ledger, recorder, troubles: Troubles::default(), reads_found: 0 },
            share,
        };
        for place in 0..requests.slots.len() {
            requests.find_leader(place, None);
        }
        requests
    }

    /// Points a slot at its group's leader: the node that `hint` names, else one that says it leads.
    fn find_leader(&mut self, place: usize, hint: Option<u64>) {
        let slot = &mut self.slots[place];
        let by_id = |id: u64| self.engines.iter().position(|engine| engine.node_id() == id);
        let leads = |engine: &Engine| engine.leader(slot.group) == Some(engine.node_id());
        let found = self.engines.iter().position(leads).or_else(|| hint.and_then(by_id));
        slot.node = found.unwrap_or(slot.node);
    }

    /// The slot's place of a completion.
    #[inline]
    pub(crate) fn place(&self, completion: &Completion) -> usize {
        self.place_of_group[usize::try_from(completion.group()).expect("few groups")]
    }

    /// Issues `op` for the first time.
    #[inline]
    pub(crate) fn issue(&mut self, place: usize, tag: u64, op: Op, kind: Kind) {
        self.under_way += 1;
        self.slots[place].under_way += 1;
        self.push(place, tag, op, kind, true);
    }

    #[inline]
    fn push(&mut self, place: usize, tag: u64, op: Op, kind: Kind, first: bool) {
        while let Err(error) = self.try_push(place, tag, op, kind, first) {
            assert!(
                matches!(error, SubmitError::Full),
                "sizes are checked with the flags: {error}"
            );
            self.submit(self.slots[place].node);
        }
    }

    #[inline]
    fn try_push(
        &mut self,
        place: usize,
        tag: u64,
        op: Op,
        kind: Kind,
        first: bool,
    ) -> Result<(), SubmitError> {
        let Slot { group, node, .. } = self.slots[place];
        let submission = &mut self.routes[node].filling;
        if kind == Kind::Get {
            return submission.push_read(group, tag);
        }
        let (workload, ledger) = (self.workload, &mut self.outcome.ledger);
        let Some(keys) = self.keys else {
            let hash = self.hash.filter(|_| first);
            return submission.push_with(group, tag, workload.value_size(), |at| {
                let start = at.len();
                workload.write_value(op, at);
                if let Some(hash) = hash {
                    ledger.issued(place, hash(&at[start..]));
                }
            });
        };
        let (key, value) = &mut self.scratch;
        key.clear();
        value.clear();
        let of_slot = keys.of_slot(self.share.slots[place] as usize);
        let number =
            workload.key(op, u32::try_from(of_slot.len()).expect("keys are numbered by u32"));
        keys.write_key(of_slot[number as usize], key);
        workload.write_value(op, value);
        let bytes = kontiki::kv::Op::Put { key, value }.encoded_len();
        submission.push_with(group, tag, bytes, |at| {
            kontiki::kv::encode_put(at, key, value).expect("sizes are checked with the flags");
        })
    }

    /// Hands everything that was issued to the nodes.
    pub(crate) fn submit_all(&mut self) {
        for node in 0..self.routes.len() {
            self.submit(node);
        }
    }

    fn submit(&mut self, node: usize) {
        let route = &mut self.routes[node];
        if !route.filling.is_empty() {
            let next = self.spare.pop().unwrap_or_default();
            route.held.push_back(std::mem::replace(&mut route.filling, next));
        }
        while let Some(submission) = route.held.pop_front() {
            match self.engines[node].submit(submission, &self.queue) {
                Ok(()) => {}
                Err((SubmitError::Stopped, _)) => {
                    // The run ends with the node; the others wait for nothing that was lost here.
                    return;
                }
                Err((_, back)) => {
                    self.outcome.troubles.inbox_full += 1;
                    route.held.push_front(back);
                    return;
                }
            }
        }
    }

    /// Issues again what is due to be repeated, submits all, and waits for answers: until `until` (of the shared
    /// clock) at most. `None` when the run is over.
    pub(crate) fn turn(
        &mut self,
        tags: &impl Tags,
        until: Option<u64>,
        reuse: Vec<Completion>,
    ) -> Option<Answers> {
        self.repeat_due(tags);
        self.submit_all();
        let phase = self.shared.phase();
        if phase == Phase::Abort || (phase == Phase::Drain && self.under_way == 0) {
            return None;
        }
        let mut completions = reuse;
        completions.clear();
        self.queue.drain(&mut completions, Some(self.sleep(until)));
        let now = self.shared.clock.micros();
        Some(Answers { completions, now, phase: self.shared.phase() })
    }

    fn sleep(&self, until: Option<u64>) -> Duration {
        let waiting = !self.retries.is_empty() || self.routes.iter().any(|r| !r.held.is_empty());
        let longest = if waiting { SLEEP_RETRY } else { SLEEP_MAX };
        let Some(until) = until else { return longest };
        let left = until.saturating_sub(self.shared.clock.micros());
        longest.min(Duration::from_micros(left))
    }

    fn repeat_due(&mut self, tags: &impl Tags) {
        if self.retries.is_empty() {
            return;
        }
        let now = self.shared.clock.micros();
        while let Some(&Retry { place, tag, .. }) = self.retries.front().filter(|r| r.due <= now) {
            self.retries.pop_front();
            let op = tags.op(tag);
            self.push(place, tag, op, self.workload.kind(op), false);
        }
    }

    /// Notes that all requests of `completion` were served.
    #[inline]
    pub(crate) fn served(&mut self, tags: &impl Tags, completion: &Completion, index: u64) {
        let (place, count) = (self.place(completion), completion.tags().len() as u64);
        self.ended(place, count);
        match completion.kind() {
            RunKind::Write => {
                self.done.0 += count;
                self.outcome.ledger.acknowledged(place, count);
                self.note_keys(tags, completion, place, index);
            }
            RunKind::Read => {
                self.done.1 += count;
                if self.keys.is_some() {
                    self.read_keys(tags, completion, place);
                }
            }
        }
    }

    #[inline]
    fn ended(&mut self, place: usize, count: u64) {
        self.under_way -= count;
        self.slots[place].under_way -= count;
    }

    #[inline]
    fn note_keys(&mut self, tags: &impl Tags, completion: &Completion, place: usize, index: u64) {
        let Some(keys) = self.keys else { return };
        let ledger = &mut self.outcome.ledger;
        let of_slot = keys.of_slot(self.share.slots[place] as usize).len();
        let of_slot = u32::try_from(of_slot).expect("keys are numbered by u32");
        for (&tag, index) in completion.tags().iter().zip(index..) {
            let op = tags.op(tag);
            ledger.key_written(place, self.workload.key(op, of_slot) as usize, op, index);
        }
    }

    /// The reads were permitted; now they read.
    fn read_keys(&mut self, tags: &impl Tags, completion: &Completion, place: usize) {
        let Some(keys) = self.keys else { return };
        let of_slot = keys.of_slot(self.share.slots[place] as usize);
        let count = u32::try_from(of_slot.len()).expect("keys are numbered by u32");
        let Slot { group, node, .. } = self.slots[place];
        for &tag in completion.tags() {
            let key = &mut self.scratch.0;
            key.clear();
            keys.write_key(of_slot[self.workload.key(tags.op(tag), count) as usize], key);
            if matches!(self.target.local_get(node, group, key), Ok(Some(_))) {
                self.outcome.reads_found += 1;
            }
        }
    }

    /// Sorts out requests that were not served: repeats what was not applied. Says whether they are over, their
    /// outcome unknown.
    pub(crate) fn refused(
        &mut self,
        tags: &impl Tags,
        completion: &Completion,
        error: RequestError,
        now: u64,
    ) -> bool {
        let (place, count) = (self.place(completion), completion.tags().len() as u64);
        let troubles = &mut self.outcome.troubles;
        let mut hint = None;
        match error {
            RequestError::NotLeader { leader } => {
                troubles.not_leader += count;
                hint = leader;
            }
            RequestError::Busy => troubles.busy += count,
            RequestError::Transferring => troubles.transferring += count,
            RequestError::LeaderLost => troubles.leader_lost += count,
            RequestError::Stopped | RequestError::UnknownGroup => troubles.stopped += count,
        }
        if error != RequestError::Busy {
            self.find_leader(place, hint);
        }
        let read = completion.kind() == RunKind::Read;
        if error.outcome() == WriteOutcome::NotApplied || (read && error != RequestError::Stopped) {
            let due = now + RETRY_MICROS;
            self.retries.extend(completion.tags().iter().map(|&tag| Retry { due, place, tag }));
            return false;
        }
        self.ended(place, count);
        if !read {
            for &tag in completion.tags() {
                let key = self.key_of(place, tags.op(tag));
                self.outcome.ledger.unknown(place, key);
            }
        }
        true
    }

    fn key_of(&self, place: usize, op: Op) -> Option<usize> {
        let of_slot = self.keys?.of_slot(self.share.slots[place] as usize).len();
        Some(self.workload.key(op, u32::try_from(of_slot).expect("keys are numbered by u32"))
            as usize)
    }

    /// Keeps the buffers of a submission whose last answer this was.
    #[inline]
    pub(crate) fn recycle(&mut self, completion: Completion) {
        if let Some(submission) = completion.recycle() {
            self.spare.push(submission);
        }
    }

    /// Records requests that took `micros` and ended at `now`.
    #[inline]
    pub(crate) fn record(&mut self, micros: u64, count: u64, now: u64) {
        let (start, _) = self.shared.window();
        self.outcome.recorder.record(micros, count, now.saturating_sub(start));
    }

    /// Publishes the counters; once per turn.
    #[inline]
    pub(crate) fn publish(&self) {
        let tally = &self.shared.tallies[self.thread];
        tally.writes.store(self.done.0, Ordering::Relaxed);
        tally.reads.store(self.done.1, Ordering::Relaxed);
    }

    pub(crate) const fn under_way(&self) -> u64 {
        self.under_way
    }

    /// The window of the run.
    pub(crate) fn window(&self) -> (u64, u64) {
        self.shared.window()
    }

    pub(crate) fn now(&self) -> u64 {
        self.shared.clock.micros()
    }

    /// What is brought home; what is still under way is given up.
    pub(crate) fn finish(mut self) -> Outcome {
        self.publish();
        self.outcome.troubles.unanswered += self.under_way;
        for (place, slot) in self.slots.iter().enumerate() {
            self.outcome.ledger.given_up(place, slot.under_way);
        }
        self.outcome
    }
}
