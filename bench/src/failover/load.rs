//! Writers that go on as long as they are let: each writes to one of the groups that a node leads, after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kontiki::{CompletionQueue, Engine, Submission};

use crate::error::BenchError;

/// The load on one node.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Keeps `clients` writes under way on what `engine` leads.
    pub(crate) fn start(engine: Engine, clients: usize) -> Result<Self, BenchError> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::Builder::new()
            .name(format!("load-{}", engine.node_id()))
            .spawn(move || write(&engine, clients, &ends, &counts))
            .map_err(BenchError::io("a thread for the load"))?;
        Ok(Self { stop, done, thread: Some(thread) })
    }

    /// Writes answered with success.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // Its panic was printed.
        }
    }
}

fn write(engine: &Engine, clients: usize, stop: &AtomicBool, done: &AtomicU64) {
    let groups = engine.groups();
    let (queue, mut answers) = (CompletionQueue::new(), Vec::new());
    let (mut at, mut under_way) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut submission = Submission::default();
        for _ in 0..groups.len() {
            if under_way + submission.len() >= clients {
                break;
            }
            at = (at + 1) % groups.len();
            if engine.leader(groups[at]) == Some(engine.node_id()) {
                submission.push(groups[at], 0, &[0; 16]).expect("a small submission");
            }
        }
        let count = submission.len();
        if engine.submit(submission, &queue).is_ok() {
            under_way += count;
        }
        queue.drain(&mut answers, Some(Duration::from_millis(5)));
        for answer in answers.drain(..) {
            under_way -= answer.tags().len();
            if answer.result().is_ok() {
                done.fetch_add(answer.tags().len() as u64, Ordering::Relaxed);
            }
        }
    }
}
