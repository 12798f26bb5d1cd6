//! Who waits for which read round: linearizable reads of one replica.
//!
//! A read is *asked* until the core confirms a round that started after it, then *confirmed* until the replica
//! has applied up to the index of that round (Raft thesis, section 6.4). Rounds are numbered by the leader, so
//! an acknowledgement of an older round can never confirm a younger read.

use std::collections::VecDeque;

use kontiki_raft::{Index, ReadId, ReadReady};

use crate::error::RequestError;
use crate::submission::RunPart;

use super::output::Output;

#[derive(Debug)]
struct Reading {
    id: ReadId,
    part: RunPart,
    /// The index to be applied first, once confirmed.
    index: Option<Index>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// In the order in which they were asked, so confirmed ones are in front.
    reads: VecDeque<Reading>,
}

impl Reads {
    pub(super) fn ask(&mut self, id: ReadId, part: RunPart) {
        self.reads.push_back(Reading { id, part, index: None });
    }

    /// A read that was permitted at once, at `index`.
    pub(super) fn ask_at(&mut self, index: Index, part: RunPart) {
        let id = self.reads.back().map_or(ReadId(0), |read| read.id);
        self.reads.push_back(Reading { id, part, index: Some(index) });
    }

    /// Takes what the core says of the reads up to a certain one.
    pub(super) fn ready(&mut self, ready: ReadReady, out: &mut Output) {
        match ready {
            ReadReady::Confirmed { up_to, index } => {
                for read in self.reads.iter_mut().take_while(|read| read.id <= up_to) {
                    read.index = read.index.or(Some(index));
                }
            }
            ReadReady::Lost { up_to } => {
                // Confirmed reads in front stay: their round stands, whoever leads now.
                let kept = self.reads.iter().take_while(|read| read.index.is_some()).count();
                while self.reads.get(kept).is_some_and(|read| read.id <= up_to) {
                    let read = self.reads.remove(kept).expect("seen just now");
                    out.refuse(read.part, RequestError::LeaderLost);
                }
            }
        }
    }

    /// Permits every read whose index is applied.
    pub(super) fn serve(&mut self, applied: Index, out: &mut Output) {
        while self.reads.front().is_some_and(|read| read.index.is_some_and(|i| i <= applied)) {
            let read = self.reads.pop_front().expect("seen just now");
            out.counts.reads += u64::from(read.part.count);
            out.complete(read.part, applied, None);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Answers every read: the engine stops.
    pub(super) fn lose_all(&mut self, error: RequestError, out: &mut Output) {
        for read in self.reads.drain(..) {
            out.refuse(read.part, error);
        }
    }
}
