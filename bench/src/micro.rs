//! What the machine itself needs for the two things a write is made of: one synced write, one round trip.
//!
//! They are measured as Kontiki meets them. Three databases sync at once, because three nodes do; the two ends
//! of the round trip sleep in a blocking read, because a node with nothing to do sleeps.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use hdrhistogram::Histogram;
use rocksdb::{DB, Options, WriteOptions};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::cli::{Micro, MicroArgs};
use crate::clock::Clock;
use crate::error::BenchError;
use crate::report::{self, Environment};
use crate::scratch::Scratch;

/// How many files sync at once.
const DATABASES: usize = 3;

/// Bytes of one value written, and of one message sent: about a block or frame with one small entry.
const MESSAGE_BYTES: usize = 128;

/// Not measured: what the first writes and wakes need more.
const WARMUP: Duration = Duration::from_millis(200);

/// The figures of one micro benchmark, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MicroFigures {
    pub(crate) what: &'static str,
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl MicroFigures {
    /// Figures of a histogram of nanoseconds.
    fn new(what: &'static str, nanos: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| -> f64 { Duration::from_nanos(nanos).as_secs_f64() * 1e6 };
        Self {
            what,
            count: nanos.len(),
            mean_us: nanos.mean() / 1e3,
            p50_us: micros(nanos.value_at_quantile(0.5)),
            p90_us: micros(nanos.value_at_quantile(0.9)),
            p99_us: micros(nanos.value_at_quantile(0.99)),
            max_us: micros(nanos.max()),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("constant bounds")
}

/// The subcommand.
pub(crate) fn run(args: &MicroArgs) -> Result<(), BenchError> {
    let scratch = Scratch::new(args.data_dir.as_deref(), false)?;
    let figures = match args.what {
        Micro::Sync => synced_write(scratch.path(), args.duration)?,
        Micro::Loopback => loopback(args.duration)?,
    };
    match args.what {
        Micro::Sync => println!(
            "one synced RocksDB write ({MESSAGE_BYTES} B), {DATABASES} databases at once, on {}",
            crate::environment::filesystem(scratch.path())
        ),
        Micro::Loopback => {
            println!(
                "one TCP round trip on loopback ({MESSAGE_BYTES} B), both ends asleep in between"
            );
        }
    }
    let f = &figures;
    println!(
        "  median {:.1} us   p90 {:.1}   p99 {:.1}   max {:.1}   mean {:.1}   ({} measured)",
        f.p50_us, f.p90_us, f.p99_us, f.max_us, f.mean_us, f.count
    );
    if let Some(path) = &args.json {
        let environment = Environment::read(scratch.path());
        report::write_json(
            path,
            &serde_json::json!({ "micro": figures, "environment": environment }),
        )?;
    }
    Ok(())
}

/// One small synced write into a RocksDB, while as many more as a cluster has nodes do the same.
pub(crate) fn synced_write(dir: &Path, duration: Duration) -> Result<MicroFigures, BenchError> {
    let mut databases = Vec::with_capacity(DATABASES);
    for number in 0..DATABASES {
        let mut options = Options::default();
        options.create_if_missing(true);
        databases.push(DB::open(&options, dir.join(format!("sync-{number}")))?);
    }
    let start = Barrier::new(DATABASES);
    let results: Vec<Result<Histogram<u64>, rocksdb::Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = databases
            .iter()
            .map(|database| scope.spawn(|| synced_writes(database, &start, duration)))
            .collect();
        threads.into_iter().map(|t| t.join().expect("a writer does not panic")).collect()
    });
    let mut all = histogram();
    for result in results {
        all.add(&result?).expect("same bounds");
    }
    Ok(MicroFigures::new("sync", &all))
}

fn synced_writes(
    database: &DB,
    start: &Barrier,
    duration: Duration,
) -> Result<Histogram<u64>, rocksdb::Error> {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let value = [0x5a; MESSAGE_BYTES];
    let mut histogram = histogram();
    start.wait();
    let clock = Clock::new();
    let mut before = clock.elapsed();
    for number in 0u64.. {
        database.put_opt(number.to_le_bytes(), value, &options)?;
        let now = clock.elapsed();
        if before >= WARMUP {
            histogram.saturating_record(nanos(now - before));
        }
        if now >= WARMUP + duration {
            break;
        }
        before = now;
    }
    Ok(histogram)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One round trip over loopback TCP between two threads that sleep in a blocking read.
pub(crate) fn loopback(duration: Duration) -> Result<MicroFigures, BenchError> {
    let failed = || BenchError::io("loopback round trips");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
    let near = TcpStream::connect(listener.local_addr().map_err(failed())?).map_err(failed())?;
    let (far, _) = listener.accept().map_err(failed())?;
    for stream in [&near, &far] {
        stream.set_nodelay(true).map_err(failed())?;
    }
    let histogram = std::thread::scope(|scope| {
        let echo = scope.spawn(move || {
            pin(1);
            echo(far)
        });
        // The near end is dropped with its thread, which ends the echo.
        let near = scope.spawn(move || {
            pin(0);
            round_trips(near, duration)
        });
        let histogram = near.join().expect("the near end does not panic");
        let echoed = echo.join().expect("the echo does not panic");
        histogram.and_then(|h| echoed.map(|()| h))
    });
    Ok(MicroFigures::new("loopback", &histogram.map_err(failed())?))
}

/// Keeps this thread on core number `core` (of those it may use): two nodes do not share one, but a scheduler
/// that sees two threads take turns likes to put them together.
fn pin(core: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    if let Some(cpu) = cores.nth(core) {
        let mut one = CpuSet::new();
        one.set(cpu);
        if sched_setaffinity(None, &one).is_err() {
            // Not allowed here: the scheduler chooses, and the figure is that of its choice.
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => stream.write_all(&message)?,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

fn round_trips(mut stream: TcpStream, duration: Duration) -> io::Result<Histogram<u64>> {
    let mut message = [7; MESSAGE_BYTES];
    let mut histogram = histogram();
    let clock = Clock::new();
    loop {
        let before = clock.elapsed();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let now = clock.elapsed();
        if before >= WARMUP {
            histogram.saturating_record(nanos(now - before));
        }
        if now >= WARMUP + duration {
            return Ok(histogram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_some_time() {
        let figures = loopback(Duration::from_millis(50)).unwrap();
        assert!(figures.count > 0 && figures.p50_us > 0.0 && figures.p99_us <= figures.max_us);
    }

    #[test]
    fn a_synced_write_takes_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let figures = synced_write(dir.path(), Duration::from_millis(50)).unwrap();
        assert!(figures.count > 0 && figures.p50_us > 0.0 && figures.p50_us <= figures.max_us);
    }
}
