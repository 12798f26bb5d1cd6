//! SIGTERM and SIGINT as something to wait for, without `unsafe`: signal-hook writes a byte into a socket pair.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// The exit code of a process that a second signal has ended.
const EXIT_AT_ONCE: i32 = 130;

/// What a wait has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Signal,
    Nothing,
}

/// The signals that ask a node to stop.
#[derive(Debug)]
pub(super) struct Signals {
    pipe: UnixStream,
    /// While set, a signal ends the process from within its handler.
    armed: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&armed))?;
            pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { pipe: read, armed })
    }

    /// Waits for a signal, `limit` at most.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<Waited> {
        self.pipe.set_read_timeout(Some(limit))?;
        match (&self.pipe).read(&mut [0; 16]) {
            Ok(_) => Ok(Waited::Signal),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Waited::Nothing)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(Waited::Nothing),
            Err(e) => Err(e),
        }
    }

    /// From now on a signal ends the process at once.
    pub(super) fn next_one_ends(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}
