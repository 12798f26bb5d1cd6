//! A slice of requests that travels as one: laid out by the caller the way the log wants it.
//!
//! Requests of one group that are pushed one after the other form a *run*. A run holds its lengths and its
//! payloads back to back, so that the worker builds a block with two copies per run, whatever the number of
//! entries. One queue operation carries the whole submission, one completion answers a whole run.
//!
//! Deliberately absent: routing. A submission may mix groups of several shards; each shard takes its runs.

use std::sync::Arc;

use kontiki_net::ENTRY_BYTES_MAX;

use crate::error::SubmitError;
use crate::ticket::Sink;

/// The most payload bytes one submission may hold.
pub const SUBMISSION_BYTES_MAX: usize = 16 << 20;

/// The most requests one submission may hold.
pub const SUBMISSION_REQUESTS_MAX: usize = 1 << 20;

/// What a run asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Entries to be replicated and applied.
    Write,
    /// Permits for linearizable reads.
    Read,
}

/// Requests of one kind for one group, pushed one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) group: u64,
    pub(crate) kind: RunKind,
    /// The first request of the run, as a place in `tags`.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The first write of the run, as a place in `lengths`.
    pub(crate) first_length: u32,
    /// Where its payloads begin in `payload`, and how long they are together.
    pub(crate) payload_start: u32,
    pub(crate) payload_len: u32,
}

/// Requests that are handed over together.
///
/// ```
/// use kontiki::Submission;
/// let mut submission = Submission::default();
/// submission.push(7, 0, b"first")?;
/// submission.push(7, 1, b"second")?;
/// submission.push_read(7, 2)?;
/// assert_eq!(submission.len(), 3);
/// # Ok::<(), kontiki::error::SubmitError>(())
/// ```
#[derive(Debug, Default)]
pub struct Submission {
    runs: Vec<Run>,
    tags: Vec<u64>,
    /// u32, little-endian, one per write: the layout of a block's length table.
    lengths: Vec<u8>,
    payload: Vec<u8>,
}

impl Submission {
    /// Adds a write of `payload` to `group`; `tag` comes back with its completion.
    ///
    /// # Errors
    /// `TooLarge` for a payload over the entry limit, `Full` when the submission is at its bound.
    pub fn push(&mut self, group: u64, tag: u64, payload: &[u8]) -> Result<(), SubmitError> {
        self.push_with(group, tag, payload.len(), |at| at.extend_from_slice(payload))
    }

    /// Adds a write of exactly `len` bytes which `fill` appends to the given buffer, without an extra copy.
    ///
    /// # Errors
    /// As [`Submission::push`].
    ///
    /// # Panics
    /// When `fill` does not append exactly `len` bytes.
    pub fn push_with(
        &mut self,
        group: u64,
        tag: u64,
        len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SubmitError> {
        if len > ENTRY_BYTES_MAX {
            return Err(SubmitError::TooLarge { bytes: len, max: ENTRY_BYTES_MAX });
        }
        if self.payload.len() + len > SUBMISSION_BYTES_MAX
            || self.tags.len() >= SUBMISSION_REQUESTS_MAX
        {
            return Err(SubmitError::Full);
        }
        let start = self.payload.len();
        fill(&mut self.payload);
        assert_eq!(self.payload.len(), start + len, "fill appends exactly the length it was given");
        let len = u32::try_from(len).expect("checked against ENTRY_BYTES_MAX");
        self.run(group, RunKind::Write).payload_len += len;
        self.lengths.extend_from_slice(&len.to_le_bytes());
        self.tags.push(tag);
        Ok(())
    }

    /// Adds a linearizable read of `group`: its completion says that the local state is recent enough.
    ///
    /// # Errors
    /// `Full` when the submission is at its bound.
    pub fn push_read(&mut self, group: u64, tag: u64) -> Result<(), SubmitError> {
        if self.tags.len() >= SUBMISSION_REQUESTS_MAX {
            return Err(SubmitError::Full);
        }
        self.run(group, RunKind::Read);
        self.tags.push(tag);
        Ok(())
    }

    /// The run that takes the next request of `group`, its count already raised.
    fn run(&mut self, group: u64, kind: RunKind) -> &mut Run {
        let fits = self.runs.last().is_some_and(|last| last.group == group && last.kind == kind);
        if !fits {
            let place = |len: usize| u32::try_from(len).expect("bounded by SUBMISSION_*_MAX");
            let (first, first_length) = (place(self.tags.len()), place(self.lengths.len() / 4));
            // A write's payload is in the buffer by now; its run begins where the runs before it end.
            let payload_start = self.runs.last().map_or(0, |r| r.payload_start + r.payload_len);
            self.runs.push(Run {
                group,
                kind,
                first,
                count: 0,
                first_length,
                payload_start,
                payload_len: 0,
            });
        }
        let run = self.runs.last_mut().expect("pushed above when there was none");
        run.count += 1;
        run
    }

    /// The number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// The payload bytes of all writes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Forgets all requests and keeps the buffers.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.tags.clear();
        self.lengths.clear();
        self.payload.clear();
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(crate) fn tags(&self, first: u32, count: u32) -> &[u64] {
        &self.tags[first as usize..(first + count) as usize]
    }

    /// The lengths of `count` writes of `run` from its write number `from` on, as a block wants them.
    pub(crate) fn lengths(&self, run: &Run, from: u32, count: u32) -> &[u8] {
        let first = (run.first_length + from) as usize;
        &self.lengths[first * 4..(first + count as usize) * 4]
    }

    /// The length of write number `at` of `run`.
    pub(crate) fn length(&self, run: &Run, at: u32) -> u32 {
        let bytes = self.lengths(run, at, 1);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    pub(crate) fn payload(&self, start: u32, len: u32) -> &[u8] {
        &self.payload[start as usize..(start + len) as usize]
    }
}

/// A submission under way, shared by the shards that serve its runs and the completions that answer them.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) submission: Submission,
    pub(crate) sink: Sink,
}

impl Submitted {
    /// What this submission counts for against an inbox's byte bound.
    pub(crate) fn inbox_bytes(&self) -> usize {
        self.submission.payload.len() + self.submission.tags.len() * 16 + 256
    }
}

/// A part of a run: what one block took of it, or what is still to be taken.
#[derive(Clone, Debug)]
pub(crate) struct RunPart {
    pub(crate) submitted: Arc<Submitted>,
    /// Which run of the submission.
    pub(crate) run: u32,
    /// From which request of the run on.
    pub(crate) from: u32,
    pub(crate) count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_group_form_one_run() {
        let mut s = Submission::default();
        s.push(1, 10, b"a").unwrap();
        s.push(1, 11, b"bc").unwrap();
        s.push(2, 12, b"def").unwrap();
        s.push_read(2, 13).unwrap();
        s.push(2, 14, b"").unwrap();
        let runs = s.runs();
        assert_eq!(runs.len(), 4);
        assert_eq!((runs[0].count, runs[0].payload_len), (2, 3));
        assert_eq!(s.lengths(&runs[0], 0, 2), [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(s.payload(runs[1].payload_start, runs[1].payload_len), b"def");
        assert_eq!(runs[2].kind, RunKind::Read);
        assert_eq!(s.tags(runs[2].first, 1), [13]);
        assert_eq!(s.length(&runs[3], 0), 0);
        assert_eq!(s.tags(runs[3].first, 1), [14]);
    }

    #[test]
    fn an_entry_over_the_limit_is_refused_and_changes_nothing() {
        let mut s = Submission::default();
        let big = vec![0; ENTRY_BYTES_MAX + 1];
        assert_eq!(
            s.push(1, 0, &big),
            Err(SubmitError::TooLarge { bytes: ENTRY_BYTES_MAX + 1, max: ENTRY_BYTES_MAX })
        );
        assert!(s.is_empty() && s.runs().is_empty());
    }
}
