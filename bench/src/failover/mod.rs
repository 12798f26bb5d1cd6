//! `failover`: for how long groups cannot be written to when the node that led them is killed.
//!
//! Nodes 1 and 2 are in this process, node 3 in one of its own, which is killed (SIGKILL) while all three are under
//! load. From that moment each group that it led is written to wherever it has a leader, until a write is
//! acknowledged: that is its gap. It counts from the kill, and so is a little more than between two writes.

mod load;
mod options;

use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kontiki::machine::NullMachine;
use kontiki::testing::{Plan, node_dir};
use kontiki::{Bootstrap, Config, Engine, Ticket};

use crate::clock::Clock;
use crate::error::BenchError;
use crate::scratch::Scratch;

use load::Load;
pub(crate) use options::{FailoverArgs, VictimArgs};

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a group without an answer is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The node that is killed.
const VICTIM: u64 = 3;

/// Runs the node that is to be killed: until then.
pub(crate) fn victim(args: &VictimArgs) -> Result<(), BenchError> {
    let mut config = Config::new(args.dir.clone(), VICTIM);
    config.listen = args.listen;
    config.peers = (1..).zip(args.peer.iter().copied()).collect();
    let engine =
        Engine::open(config, Bootstrap::groups(&[1, 2, 3], args.groups), NullMachine::open)?;
    let _load = Load::start(engine.clone(), args.clients)?;
    println!("up");
    loop {
        std::thread::park_timeout(LIMIT);
        if let Some(why) = engine.fatal() {
            return Err(BenchError::NodeEnded { node: VICTIM, why });
        }
    }
}

/// The subcommand; true when every group was led again.
pub(crate) fn run(args: &FailoverArgs) -> Result<bool, BenchError> {
    let scratch = Scratch::new(args.data_dir.as_deref(), false)?;
    let mut plan =
        Plan::new(scratch.path(), 3, args.groups).map_err(BenchError::io("a loopback listener"))?;
    plan.configs.pop();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.map_err(BenchError::io("a loopback listener"))?;
    let listen = listener.local_addr().map_err(BenchError::io("a loopback listener"))?;
    drop(listener); // For the other process, at once.
    let mut addresses = Vec::new();
    for config in &mut plan.configs {
        let own = config.listener.as_ref().expect("a plan binds its listeners");
        addresses.push(own.local_addr().map_err(BenchError::io("a loopback listener"))?);
        for peer in config.peers.iter_mut().filter(|peer| peer.0 == VICTIM) {
            peer.1 = listen;
        }
    }
    let bootstrap = plan.bootstrap;
    let engines = plan.configs.into_iter().map(|config| {
        Engine::open(config, bootstrap.clone(), NullMachine::open).map_err(BenchError::from)
    });
    let engines = engines.collect::<Result<Vec<Engine>, _>>()?;
    let mut child = start(args, listen, &addresses, &node_dir(scratch.path(), VICTIM))?;
    let measured = measure(args, &engines, &mut child);
    drop(child.kill()); // Should it live still.
    drop(child.wait());
    for engine in &engines {
        engine.shutdown()?;
    }
    measured
}

fn start(
    args: &FailoverArgs,
    listen: SocketAddr,
    peers: &[SocketAddr],
    dir: &std::path::Path,
) -> Result<Child, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("this program"))?;
    let mut command = Command::new(program);
    command.arg("failover-node").arg("--dir").arg(dir).arg("--listen").arg(listen.to_string());
    command.arg("--groups").arg(args.groups.to_string());
    command.arg("--clients").arg(args.clients.to_string());
    for peer in peers {
        command.arg("--peer").arg(peer.to_string());
    }
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(BenchError::io("a node in a process of its own"))?;
    let out = child.stdout.take().expect("piped");
    let mut line = String::new();
    let read = std::io::BufReader::new(out).read_line(&mut line);
    read.map_err(BenchError::io("a node in a process of its own"))?;
    Ok(child)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<Duration, BenchError> {
    let clock = Clock::new();
    while !done() {
        if clock.elapsed() > LIMIT {
            return Err(BenchError::TimedOut { what: what.to_owned() });
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(clock.elapsed())
}

fn measure(args: &FailoverArgs, engines: &[Engine], child: &mut Child) -> Result<bool, BenchError> {
    let groups = engines[0].groups();
    let led = |group: &u64| engines.iter().all(|engine| engine.leader(*group).is_some());
    let cold = wait("some group has no leader", || groups.iter().all(led))?;
    // Each node leads a third: whatever the first elections made of it.
    let wanted = |group: u64| 1 + group % 3;
    wait("some group is not led where it should be", || {
        let mut placed = true;
        for &group in &groups {
            for engine in engines {
                let here = engine.leader(group) == Some(engine.node_id());
                if here && engine.node_id() != wanted(group) {
                    // One may be under way already; the next look tells.
                    engine.transfer_leader(group, wanted(group)).ok();
                }
            }
            placed &= engines.iter().all(|e| e.leader(group) == Some(wanted(group)));
        }
        placed
    })?;
    let loads = engines.iter().map(|engine| Load::start(engine.clone(), args.clients));
    let loads = loads.collect::<Result<Vec<_>, _>>()?;
    std::thread::park_timeout(Duration::from_millis(args.load_ms));
    let victims: Vec<u64> =
        groups.iter().copied().filter(|&group| engines[0].leader(group) == Some(VICTIM)).collect();
    let before: u64 = loads.iter().map(Load::done).sum();
    child.kill().map_err(BenchError::io("to kill the node"))?;
    let mut gaps = gaps(engines, &victims)?;
    let after: u64 = loads.iter().map(Load::done).sum();
    drop(loads);
    gaps.sort_unstable();
    let at = |percent: usize| gaps[(gaps.len() * percent / 100).min(gaps.len() - 1)];
    let most = engines.iter().map(|e| e.metrics().campaigns_in_flight_most.get()).max();
    println!(
        "groups               {} of {} led by the node that was killed",
        victims.len(),
        groups.len()
    );
    println!("led after a start    {:.3} s", cold.as_secs_f64());
    println!("written before it    {before}, after it {}", after - before);
    println!(
        "write gap            p50 {:.3} s  p99 {:.3} s  longest {:.3} s",
        at(50).as_secs_f64(),
        at(99).as_secs_f64(),
        at(100).as_secs_f64()
    );
    println!(
        "campaigns in flight  {} at most on a node; the bound is {} per worker",
        most.unwrap_or(0),
        kontiki::shard::CAMPAIGNS_IN_FLIGHT_MAX
    );
    Ok(true)
}

/// Per group, how long from now until a write to it is acknowledged.
fn gaps(engines: &[Engine], groups: &[u64]) -> Result<Vec<Duration>, BenchError> {
    let clock = Clock::new();
    let mut asked: Vec<(u64, Option<Ticket>)> = groups.iter().map(|&group| (group, None)).collect();
    let mut gaps = Vec::new();
    while !asked.is_empty() {
        if clock.elapsed() > LIMIT {
            let what = format!("{} groups take no writes", asked.len());
            return Err(BenchError::TimedOut { what });
        }
        asked.retain_mut(|(group, ticket)| {
            match ticket.as_ref().map(Ticket::try_result) {
                Some(Some(Ok(_))) => {
                    gaps.push(clock.elapsed());
                    return false;
                }
                Some(Some(Err(_))) => *ticket = None,
                Some(None) => return true,
                None => {}
            }
            let leader = engines.iter().find(|e| e.leader(*group) == Some(e.node_id()));
            *ticket = leader.and_then(|engine| engine.propose(*group, &[1; 16]).ok());
            true
        });
        std::thread::park_timeout(LOOK);
    }
    Ok(gaps)
}
