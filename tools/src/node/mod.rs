//! `kontiki-node`: a ready-made node, from one file or flags to a clean stop.
//!
//! | file | what |
//! |---|---|
//! | `config` | file and flags to checked settings |
//! | `served` | the engine behind the admin listener, from "starting" to "stopping" |
//! | `admin` | which path is answered by what |
//! | `kv` | the key-value calls over HTTP |
//! | `prometheus` | counters as text for a scraper |
//! | `signals` | SIGTERM and SIGINT as something to wait for |
//!
//! The life of the process: settings, admin listener (it answers 503 until the store is open, which may take
//! seconds after a crash), engine, the line `ready …`, then waiting for a signal or for the engine's end.
//! A first signal hands the leaderships over and stops; a second one ends the process at once.

mod admin;
mod config;
mod kv;
mod prometheus;
mod served;
mod signals;

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kontiki::OnFatal;
use kontiki::error::StartError;
use kontiki::store::OpenError;

pub use config::{Admin, Flags, Machine, Peer, Settings, SettingsError};

use crate::http::Server;
use served::Served;
use signals::{Signals, Waited};

/// How long leaderships may take to be handed over before the node stops without.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How long admin connections may take to end.
const ADMIN_STOP: Duration = Duration::from_secs(2);
/// How often the engine is asked whether it is alive.
const WATCH: Duration = Duration::from_millis(100);

/// How the process ends; the numbers are part of the interface, see `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Clean = 0,
    Settings = 2,
    Io = 3,
    Locked = 4,
    NotOurs = 5,
    Damaged = 6,
    Failed = 70,
    Unclean = 71,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs a node until it is told to stop.
#[must_use]
pub fn main() -> ExitCode {
    let settings = match Settings::load(&Flags::parse()) {
        Ok(settings) => settings,
        Err(error) => return complain(Exit::Settings, &error),
    };
    match run(settings) {
        Ok(exit) => exit.into(),
        Err((exit, error)) => complain(exit, &error),
    }
}

fn complain(exit: Exit, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("kontiki-node: {error}");
    exit.into()
}

type Ended = Result<Exit, (Exit, String)>;

fn run(mut settings: Settings) -> Ended {
    // The engine's end is seen by `serve`, which gives the process its exit code.
    settings.config.on_fatal = OnFatal::Call(Arc::new(|_| {}));
    let signals = Signals::new().map_err(|e| (Exit::Io, format!("signals: {e}")))?;
    warn(&settings);
    let (node, admin) = (settings.config.node_id, settings.admin);
    let listener = match admin {
        Some(address) => Some(
            TcpListener::bind(address)
                .map_err(|e| (Exit::Io, format!("admin address {address}: {e}")))?,
        ),
        None => None,
    };
    let at = listener.as_ref().and_then(|l| l.local_addr().ok());
    let served = Arc::new(Served::new(&settings, at));
    let server = match listener {
        Some(listener) => {
            let served = Arc::clone(&served);
            let server = Server::start(listener, move |request| admin::answer(&served, request));
            Some(server.map_err(|e| (Exit::Io, format!("admin listener: {e}")))?)
        }
        None => None,
    };
    served.open(settings).map_err(|e| (exit_of(&e), e.to_string()))?;
    let listen = served.engine().map(|e| e.listen_address().to_string()).unwrap_or_default();
    let admin = at.map_or_else(|| "off".to_owned(), |a| a.to_string());
    // Whoever started us may wait for this line, or may have gone.
    drop(writeln!(std::io::stdout(), "ready node={node} listen={listen} admin={admin}"));
    let ended = serve(&served, &signals);
    if let Err((Exit::Failed, error)) = &ended {
        // Threads of the engine may still be in the middle of something; nothing they do counts any more.
        eprintln!("kontiki-node: {error}");
        std::process::exit(Exit::Failed as i32);
    }
    if let Some(server) = server {
        server.stop(ADMIN_STOP);
    }
    ended
}

/// Waits for a signal, or for the engine to end by itself.
fn serve(served: &Served, signals: &Signals) -> Ended {
    let engine = served.engine().expect("opened before it is served");
    loop {
        if let Some(reason) = engine.fatal() {
            return Err((Exit::Failed, format!("the engine failed: {reason}")));
        }
        match signals.wait(WATCH) {
            Ok(Waited::Nothing) => {}
            Ok(Waited::Signal) => break,
            Err(error) => return Err((Exit::Io, format!("signals: {error}"))),
        }
    }
    signals.next_one_ends();
    eprintln!("kontiki-node: stopping; another signal ends it at once");
    served.stopping();
    if served.has_peers() {
        match engine.hand_over(HAND_OVER) {
            Ok(0) => {}
            Ok(left) => {
                eprintln!("kontiki-node: {left} groups are still led here; stopping anyway");
            }
            Err(error) => eprintln!("kontiki-node: leaderships were not handed over: {error}"),
        }
    }
    let stopped = engine.shutdown();
    if let Some(reason) = engine.fatal() {
        return Err((Exit::Failed, format!("the engine failed: {reason}")));
    }
    stopped
        .map(|()| Exit::Clean)
        .map_err(|e| (Exit::Unclean, format!("stopping was not clean: {e}")))
}

/// Says loudly what nobody should run with by accident.
fn warn(settings: &Settings) {
    let durability = settings.config.durability;
    if durability != kontiki::Durability::Fsync {
        let name = crate::api::durability_name(durability);
        eprintln!("kontiki-node: durability={name}: acknowledged writes may be lost");
    }
    if settings.config.insecure {
        eprintln!("kontiki-node: insecure: peers and operators are not authenticated");
    }
}

/// What kind of end a node that does not start is.
fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Config(_) | StartError::Ranges(_) => Exit::Settings,
        StartError::Recovery(_) => Exit::Damaged,
        StartError::Store(error) if error.is_damage() => Exit::Damaged,
        StartError::Store(OpenError::Locked { .. }) => Exit::Locked,
        StartError::Store(
            OpenError::NotAStore { .. }
            | OpenError::Exists { .. }
            | OpenError::Foreign { .. }
            | OpenError::TooNew { .. },
        ) => Exit::NotOurs,
        StartError::Machine(kontiki::machine::MachineError::Corrupt { .. }) => Exit::Damaged,
        _ => Exit::Io,
    }
}
