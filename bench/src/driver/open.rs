//! The open loop: requests are due at a fixed rate, whatever the answers do.
//!
//! The tag of a request is its number, from which its due time, client and group follow. Latency counts from
//! the due time and is recorded for every request that was due within the window, also when the answer comes
//! after it; so a system that falls behind cannot hide it.
//!
//! What is under way is bounded, because memory is. Requests past the bound are issued late, and their wait
//! counts; those that were never issued by the end of the window count with the wait they had until then.

use kontiki::Completion;

use crate::driver::requests::{Requests, Tags};
use crate::driver::{Outcome, Phase};
use crate::schedule::{Share, Timetable};
use crate::workload::Op;

/// The most requests of one thread that are under way.
const UNDER_WAY_MAX: u64 = 1 << 18;

/// The most requests that are issued in one turn, so that answers do not wait.
const ISSUED_PER_TURN_MAX: u64 = 1 << 14;

/// The shortest sleep between two turns: at a high rate, waking for each request would cost the nodes more
/// processor time than the requests do. It is a part of the latencies, as everything after the due time is.
const TURN_MICROS_MIN: u64 = 100;

/// Numbers stand for requests.
#[derive(Debug)]
struct Numbers {
    share: Share,
}

impl Tags for Numbers {
    #[inline]
    fn op(&self, tag: u64) -> Op {
        Timetable::op(&self.share, tag).1
    }
}

/// Runs the open loop at `rate` requests per second (of this thread) until the run is over.
pub(crate) fn run(requests: Requests<'_>, rate: f64) -> Outcome {
    let numbers = Numbers { share: requests.share.clone() };
    let origin = requests.now();
    let mut driver = Open { table: Timetable::new(rate), numbers, origin, next: 0, requests };
    let mut reuse = Vec::new();
    let mut phase = Phase::Warmup;
    loop {
        let issuing = matches!(phase, Phase::Warmup | Phase::Measure);
        if issuing {
            driver.issue_due();
        }
        let until = issuing.then(|| driver.next_due());
        let Some(mut answers) = driver.requests.turn(&driver.numbers, until, reuse) else { break };
        if issuing && !matches!(answers.phase, Phase::Warmup | Phase::Measure) {
            driver.record_never_issued();
        }
        phase = answers.phase;
        for completion in answers.completions.drain(..) {
            driver.on_completion(completion, answers.now);
        }
        driver.requests.publish();
        reuse = answers.completions;
    }
    driver.requests.finish()
}

struct Open<'a> {
    requests: Requests<'a>,
    table: Timetable,
    numbers: Numbers,
    /// When request 0 was due.
    origin: u64,
    /// The next request to be issued.
    next: u64,
}

impl Open<'_> {
    /// Issues what is due, group by group, so that the requests of a group form a run.
    fn issue_due(&mut self) {
        let due = self.table.due_by(self.requests.now() - self.origin);
        let room = UNDER_WAY_MAX.saturating_sub(self.requests.under_way());
        let end = due.min(self.next + room.min(ISSUED_PER_TURN_MAX));
        let slots = self.numbers.share.slots.len() as u64;
        for first in self.next..end.min(self.next + slots) {
            let mut number = first;
            while number < end {
                let (place, op) = Timetable::op(&self.numbers.share, number);
                self.requests.issue(place, number, op, self.requests.workload.kind(op));
                number += slots;
            }
        }
        self.next = self.next.max(end);
    }

    /// When to issue next: when the next request is due; when there is no room, answers come first.
    fn next_due(&self) -> u64 {
        if self.requests.under_way() >= UNDER_WAY_MAX {
            return u64::MAX;
        }
        let due = self.origin + self.table.due_micros(self.next);
        due.max(self.requests.now() + TURN_MICROS_MIN)
    }

    fn on_completion(&mut self, completion: Completion, now: u64) {
        match completion.result() {
            Ok(index) => {
                self.requests.served(&self.numbers, &completion, index.0);
                let (start, end) = self.requests.window();
                for &tag in completion.tags() {
                    let due = self.origin + self.table.due_micros(tag);
                    if (start..end).contains(&due) {
                        self.requests.record(now.saturating_sub(due), 1, now.min(end));
                    }
                }
            }
            Err(error) => {
                self.requests.refused(&self.numbers, &completion, error, now);
            }
        }
        self.requests.recycle(completion);
    }

    /// The window has ended: what was due in it and not even issued has waited until now, at the least.
    fn record_never_issued(&mut self) {
        let (start, end) = self.requests.window();
        for number in self.next..self.table.due_by(end.saturating_sub(self.origin)) {
            let due = self.origin + self.table.due_micros(number);
            if due >= start {
                self.requests.record(end.saturating_sub(due), 1, end);
            }
        }
    }
}
