//! What happened, as numbers: a hash of all of it, and the last events to be read.
//!
//! The same seed gives the same hash. Whoever looks for the cause of a failure reads the last events of its groups.
//! Deliberately absent: text, until somebody wants to read it.

use std::collections::VecDeque;
use std::fmt;

/// How many events are kept.
const KEPT: usize = 400_000;

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A node starts: its boot.
    Start = 1,
    /// A node is gone: how.
    Stop,
    /// A fault of the plan: its number.
    Fault,
    /// A message left: `a` is its code and its receiver (`code * 100 + to`), `b` and `c` are term and an index.
    Sent,
    /// A replica leads: its term.
    Leads,
    /// A replica's term or vote changed: term, vote.
    Term,
    /// A block was applied: first index, last index, term.
    Applied,
    /// A batch was written: its number, and how many rounds it has.
    Written,
    /// A batch is durable: its number.
    Synced,
    /// A flush cycle ended.
    Flushed,
    /// A client asks: request, what, node.
    Asked,
    /// A client was told: request, outcome, index.
    Told,
    /// A connection came or went: peer, whether it came.
    Peer,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    at_us: u64,
    node: u64,
    what: What,
    /// 0 when it is of no group.
    group: u64,
    numbers: [u64; 3],
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_us, node, what, group, numbers: [a, b, c] } = *self;
        write!(f, "{:>12.6} node {node} ", std::time::Duration::from_micros(at_us).as_secs_f64())?;
        if group > 0 {
            write!(f, "group {group} ")?;
        }
        match what {
            What::Start => write!(f, "starts, boot {a}"),
            What::Stop => write!(
                f,
                "is gone ({})",
                ["killed", "power", "halted"][usize::try_from(a).unwrap_or(2).min(2)]
            ),
            What::Fault => write!(f, "fault number {a}"),
            What::Sent => {
                let name = kontiki_net::MessageCode::from_code(u8::try_from(a / 100).unwrap_or(0));
                write!(f, "sends {name:?} to {}: term {b}, {c}", a % 100)
            }
            What::Leads => write!(f, "leads in term {a}"),
            What::Term => write!(f, "is in term {a}, vote {b}"),
            What::Applied => write!(f, "applies {a}..={b} of term {c}"),
            What::Written => write!(f, "writes batch {a} of {b} rounds"),
            What::Synced => write!(f, "has batch {a} durable"),
            What::Flushed => write!(f, "ends a flush cycle"),
            What::Asked => write!(f, "is asked request {a}, kind {b}"),
            What::Told => write!(
                f,
                "answers request {a}: {}, index {c}",
                ["not applied", "done", "unknown"][usize::try_from(b).unwrap_or(2).min(2)]
            ),
            What::Peer => write!(f, "peer {a} {}", if b == 1 { "is up" } else { "is down" }),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Trace {
    /// The time now.
    pub now: u64,
    hash: u64,
    events: u64,
    last: VecDeque<Event>,
}

impl Trace {
    /// Notes an event.
    pub fn note(&mut self, node: u64, what: What, group: u64, numbers: [u64; 3]) {
        let words = [self.now, node << 8 | what as u64, group, numbers[0], numbers[1], numbers[2]];
        for word in words {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        self.events += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Event { at_us: self.now, node, what, group, numbers });
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last `count` events, of `group` and of no group when one is given.
    pub fn last(&self, count: usize, group: Option<u64>) -> Vec<Event> {
        let wanted =
            |event: &&Event| group.is_none_or(|group| event.group == group || event.group == 0);
        let mut found: Vec<Event> =
            self.last.iter().rev().filter(wanted).take(count).copied().collect();
        found.reverse();
        found
    }
}
