//! The closed loop: each client keeps a number of requests under way and issues the next when one is answered.
//!
//! A request under way occupies a *lane*; there are clients × pipeline of them, and a lane's tag names its client
//! and its place in one flat array. So an answer finds its start without a map, and the answered run of a
//! group turns into the next run of the same group.

use kontiki::Completion;

use crate::driver::requests::{Requests, Tags};
use crate::driver::{Outcome, Phase};
use crate::workload::{Kind, Op};

/// One request under way.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    sequence: u32,
    /// When it was issued: microseconds of the shared clock, wrapping (after 71 minutes).
    started: u32,
}

/// The lanes of one thread; a tag is client << 32 | lane.
#[derive(Debug)]
struct Lanes {
    lanes: Vec<Lane>,
}

impl Tags for Lanes {
    #[inline]
    fn op(&self, tag: u64) -> Op {
        let (client, lane) = split(tag);
        Op { client, sequence: self.lanes[lane].sequence }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a tag")]
const fn split(tag: u64) -> (u32, usize) {
    ((tag >> 32) as u32, (tag as u32) as usize)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "wraps; only differences are used")]
const fn wrapped(micros: u64) -> u32 {
    micros as u32
}

/// Runs the closed loop until the run is over.
pub(crate) fn run(requests: Requests<'_>, pipeline: u32) -> Outcome {
    let clients = requests.share.clients_total as usize;
    let mut driver = Closed {
        lanes: Lanes { lanes: Vec::new() },
        sequences: vec![0; clients],
        reads: Vec::new(),
        requests,
    };
    driver.start(pipeline);
    let mut reuse = Vec::new();
    while let Some(mut answers) = driver.requests.turn(&driver.lanes, None, reuse) {
        for completion in answers.completions.drain(..) {
            driver.on_completion(completion, answers.now, answers.phase);
        }
        driver.requests.publish();
        reuse = answers.completions;
    }
    driver.requests.finish()
}

struct Closed<'a> {
    requests: Requests<'a>,
    lanes: Lanes,
    /// By client: how many requests it has issued.
    sequences: Vec<u32>,
    /// Tags of the reads that a completion gives rise to; issued after the writes, which so stay one run.
    reads: Vec<u64>,
}

impl Closed<'_> {
    /// Issues the first requests of all clients, slot by slot.
    fn start(&mut self, pipeline: u32) {
        let now = self.requests.now();
        for place in 0..self.requests.share.slots.len() {
            let slot = self.requests.share.slots[place];
            for nth in 0..self.requests.share.clients_of(slot) {
                let client = u64::from(self.requests.share.client(slot, nth));
                for _ in 0..pipeline {
                    let tag = client << 32 | self.lanes.lanes.len() as u64;
                    self.lanes.lanes.push(Lane::default());
                    self.issue(place, tag, now);
                }
            }
            self.issue_reads(place);
        }
    }

    /// Issues the next request of the lane `tag`.
    #[inline]
    fn issue(&mut self, place: usize, tag: u64, now: u64) {
        let (client, lane) = split(tag);
        let sequence = &mut self.sequences[client as usize];
        *sequence += 1;
        let op = Op { client, sequence: *sequence };
        self.lanes.lanes[lane] = Lane { sequence: op.sequence, started: wrapped(now) };
        match self.requests.workload.kind(op) {
            Kind::Put => self.requests.issue(place, tag, op, Kind::Put),
            Kind::Get => self.reads.push(tag),
        }
    }

    fn issue_reads(&mut self, place: usize) {
        for at in 0..self.reads.len() {
            let tag = self.reads[at];
            let op = self.lanes.op(tag);
            self.requests.issue(place, tag, op, Kind::Get);
        }
        self.reads.clear();
    }

    fn on_completion(&mut self, completion: Completion, now: u64, phase: Phase) {
        match completion.result() {
            Ok(index) => {
                self.requests.served(&self.lanes, &completion, index.0);
                if phase == Phase::Measure {
                    self.record(&completion, now);
                }
            }
            Err(error) => {
                if !self.requests.refused(&self.lanes, &completion, error, now) {
                    self.requests.recycle(completion);
                    return;
                }
            }
        }
        if matches!(phase, Phase::Warmup | Phase::Measure) {
            let place = self.requests.place(&completion);
            for &tag in completion.tags() {
                self.issue(place, tag, now);
            }
            self.issue_reads(place);
        }
        self.requests.recycle(completion);
    }

    /// All requests of a completion travelled in one submission and so have started together; those that were
    /// repeated may not have, and are looked at one by one.
    #[inline]
    fn record(&mut self, completion: &Completion, now: u64) {
        let tags = completion.tags();
        let started = |tag: u64| self.lanes.lanes[split(tag).1].started;
        let (first, last) = (started(tags[0]), started(tags[tags.len() - 1]));
        if first == last {
            let took = u64::from(wrapped(now).wrapping_sub(first));
            self.requests.record(took, tags.len() as u64, now);
            return;
        }
        for &tag in tags {
            let took = u64::from(wrapped(now).wrapping_sub(self.lanes.lanes[split(tag).1].started));
            self.requests.record(took, 1, now);
        }
    }
}
