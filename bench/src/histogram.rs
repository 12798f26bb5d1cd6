//! Latencies: one HdrHistogram per thread and interval, merged at the end.
//!
//! Recording is one array increment for a whole run of requests that started and ended together.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::error::BenchError;

/// The longest latency told apart: ten minutes.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

/// Microseconds of one interval of the log.
const INTERVAL_MICROS: u64 = 1_000_000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("constant bounds")
}

/// One thread's latencies within the measured window.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    total: Histogram<u64>,
    /// Latencies since the last interval ended; only with `keep_intervals`.
    current: Histogram<u64>,
    /// One per second from the start of the window on.
    intervals: Vec<Histogram<u64>>,
    keep_intervals: bool,
}

impl Recorder {
    pub(crate) fn new(keep_intervals: bool) -> Self {
        Self { total: histogram(), current: histogram(), intervals: Vec::new(), keep_intervals }
    }

    /// Notes `count` requests that took `micros` each and ended `at` microseconds after the window's start.
    #[inline]
    pub(crate) fn record(&mut self, micros: u64, count: u64, at: u64) {
        if self.keep_intervals {
            while at >= (self.intervals.len() as u64 + 1) * INTERVAL_MICROS {
                self.end_interval();
            }
            self.current.saturating_record_n(micros, count);
        } else {
            self.total.saturating_record_n(micros, count);
        }
    }

    fn end_interval(&mut self) {
        self.total.add(&self.current).expect("same bounds");
        self.intervals.push(std::mem::replace(&mut self.current, histogram()));
    }

    /// Adds what another thread recorded.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if other.keep_intervals {
            other.end_interval();
        }
        self.total.add(&other.total).expect("same bounds");
        for (at, interval) in other.intervals.into_iter().enumerate() {
            match self.intervals.get_mut(at) {
                Some(mine) => mine.add(&interval).expect("same bounds"),
                None => self.intervals.push(interval),
            }
        }
    }

    /// All latencies, in microseconds.
    pub(crate) const fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    /// Writes the intervals as an interval log (V2, compressed), as the HdrHistogram tools read it.
    pub(crate) fn write_log(&self, path: &Path, started: SystemTime) -> Result<(), BenchError> {
        let refused = |why: String| BenchError::Report { path: path.to_owned(), why };
        let file = File::create(path).map_err(|e| refused(e.to_string()))?;
        let mut file = BufWriter::new(file);
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("raft-bench: latencies in microseconds")
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut file, &mut serializer)
            .map_err(|e| refused(e.to_string()))?;
        let second = Duration::from_micros(INTERVAL_MICROS);
        let mut start = Duration::ZERO;
        for interval in &self.intervals {
            log.write_histogram(interval, start, second, None)
                .map_err(|e| refused(e.to_string()))?;
            start += second;
        }
        std::io::Write::flush(&mut file).map_err(|e| refused(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_for_all_their_requests() {
        let mut recorder = Recorder::new(false);
        recorder.record(100, 99, 0);
        recorder.record(10_000, 1, 5);
        let all = recorder.total();
        assert_eq!(all.len(), 100);
        assert_eq!(all.value_at_quantile(0.5), 100);
        assert!(all.max() >= 10_000 && all.value_at_quantile(0.99) == 100);
    }

    #[test]
    fn threads_and_intervals_add_up() {
        let mut all = Recorder::new(true);
        for thread in 0..2 {
            let mut recorder = Recorder::new(true);
            recorder.record(10 + thread, 3, 400_000);
            recorder.record(20 + thread, 5, 2_100_000);
            all.merge(recorder);
        }
        assert_eq!(all.total().len(), 16);
        let counts: Vec<u64> = all.intervals.iter().map(Histogram::len).collect();
        assert_eq!(counts, [6, 0, 10]);
    }

    #[test]
    fn a_latency_past_the_last_bound_is_not_lost() {
        let mut recorder = Recorder::new(false);
        recorder.record(u64::MAX, 2, 0);
        assert_eq!(recorder.total().len(), 2);
    }

    #[test]
    fn the_interval_log_can_be_read_back() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latencies.hlog");
        let mut recorder = Recorder::new(true);
        recorder.record(10, 3, 0);
        recorder.record(10, 3, 1_500_000);
        let mut all = Recorder::new(true);
        all.merge(recorder);
        all.write_log(&path, SystemTime::UNIX_EPOCH).unwrap();
        let text = std::fs::read(&path).unwrap();
        let intervals = IntervalLogIterator::new(&text)
            .map(Result::unwrap)
            .filter(|entry| matches!(entry, LogEntry::Interval(_)));
        assert_eq!(intervals.count(), 2);
    }
}
