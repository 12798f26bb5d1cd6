//! Runs each system for a while, over and over in turn, and takes the time.

use rustix::time::{ClockId, clock_gettime};

use crate::Peer;
use crate::options::Options;
use crate::work::{KEEP, Source};

/// Processor time per proposal of one system, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The fastest repeat.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The slowest repeat.
    pub max: f64,
}

/// Measures all systems; repeats are interleaved, so that a change of the machine's speed meets
/// all of them.
///
/// # Panics
/// When two nodes end with different machines.
pub fn interleaved(peers: &[Peer], size: usize, batch: usize, options: &Options) -> Vec<Spread> {
    let mut times = vec![Vec::new(); peers.len()];
    for _ in 0..options.repeats {
        for (peer, times) in peers.iter().zip(&mut times) {
            times.push(once(peer, size, batch, options.millis));
        }
    }
    times.into_iter().map(spread).collect()
}

/// Nanoseconds per proposal of a new group, after a warm-up that reaches its steady state: logs
/// at their bound, buffers in their places.
fn once(peer: &Peer, size: usize, batch: usize, millis: u64) -> f64 {
    let mut system = (peer.start)();
    let mut source = Source::new(size, batch);
    let keep = usize::try_from(KEEP).expect("a short log");
    // A slow system is not to look at the clock less than once in a few milliseconds.
    let (warm_up, between) = ((3 * keep).div_ceil(batch), (keep / 4).div_ceil(batch));
    let mut proposals = 0;
    for _ in 0..warm_up {
        system.commit_batch(source.next());
    }
    let (start, mut elapsed) = (processor_time(), 0);
    while elapsed < millis * 1_000_000 {
        for _ in 0..between {
            system.commit_batch(source.next());
        }
        proposals += between * batch;
        elapsed = processor_time() - start;
    }
    let machines = system.finish();
    let expected = (proposals + warm_up * batch) as u64;
    for machine in machines {
        assert_eq!(machine, machines[0], "{}: every node applies the same", peer.name);
        assert_eq!(machine.entries, expected, "{}: every node applies everything", peer.name);
    }
    elapsed as f64 / proposals as f64
}

fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    let last = times.len() - 1;
    Spread { min: times[0], median: times[times.len() / 2], max: times[last] }
}

/// Nanoseconds that this thread has run.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}
