//! The same in-memory work of a three-node group on Kontiki's core and on published Raft crates,
//! as one table. See `README.md` for what is compared and what is not.
//!
//! Everything runs in one thread, so what is measured is the processor time of that thread: on a
//! shared machine it is what the work took, whoever else was running.

mod bare;
mod buffers;
mod carriage;
mod measure;
mod noraft_peer;
mod openraft_peer;
mod options;
mod ours;
mod payloads;
mod raft_rs;
mod rafter_peer;
mod table;
mod work;

use std::process::ExitCode;

use work::System;

/// A system that is compared.
struct Peer {
    name: &'static str,
    start: fn() -> Box<dyn System>,
}

/// All that is compared; the first is what the others are measured by.
const PEERS: [Peer; 7] = [
    Peer { name: OURS, start: || Box::new(ours::Ours::<carriage::Blocks>::new()) },
    Peer { name: OURS_BARE, start: || Box::new(ours::Ours::<carriage::Bare>::new()) },
    Peer { name: "raft-rs 0.7.0", start: || Box::new(raft_rs::RaftRs::new()) },
    Peer { name: "noraft 0.7.1", start: || Box::new(noraft_peer::Noraft::new()) },
    Peer { name: "noraft 0.4.0", start: || Box::new(noraft_peer::Noraft04::new()) },
    Peer { name: "rafter 0.0.2-alpha.1", start: || Box::new(rafter_peer::Rafter::new()) },
    Peer { name: "openraft 0.9.25", start: || Box::new(openraft_peer::Openraft::new()) },
];

/// Not a system: the part of the work that is everybody's.
const BARE: Peer = Peer { name: "(no consensus)", start: || Box::new(bare::Bare::default()) };

const OURS: &str = "kontiki";
const OURS_BARE: &str = "kontiki, no checksums";

const SIZES: [usize; 2] = [16, 256];
const BATCHES: [usize; 3] = [1, 16, 256];

fn main() -> ExitCode {
    let options = match options::Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{}", options::USAGE);
            return ExitCode::FAILURE;
        }
    };
    let mut peers: Vec<_> = PEERS.into_iter().chain([BARE]).collect();
    if let Some(only) = &options.only {
        // A whole name means that one; "raft" means all that begin so.
        let named = peers.iter().any(|peer| peer.name == only);
        peers.retain(|peer| if named { peer.name == only } else { peer.name.starts_with(only) });
    }
    println!("{}", table::HEAD);
    for size in SIZES.into_iter().filter(|&size| options.size.is_none_or(|only| only == size)) {
        for batch in BATCHES.into_iter().filter(|&b| options.batch.is_none_or(|only| only == b)) {
            let results = measure::interleaved(&peers, size, batch, &options);
            table::print(&peers, size, batch, &results);
        }
    }
    println!("{}", table::NOTES);
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{KEEP, Machine, Source};

    /// Every system hands the very same payloads, in order, to the machines of all three nodes,
    /// across several compactions.
    #[test]
    fn every_system_applies_the_same_bytes() {
        for size in SIZES {
            for batch in BATCHES {
                let rounds = (3 * usize::try_from(KEEP).unwrap()).div_ceil(batch);
                let mut expected = Machine::default();
                let mut source = Source::new(size, batch);
                for _ in 0..rounds {
                    source.next().payloads().for_each(|payload| expected.apply(payload));
                }
                assert_eq!(expected.bytes, (rounds * batch * size) as u64);
                for peer in PEERS.into_iter().chain([BARE]) {
                    let mut system = (peer.start)();
                    let mut source = Source::new(size, batch);
                    for _ in 0..rounds {
                        system.commit_batch(source.next());
                    }
                    assert_eq!(system.finish(), [expected; 3], "{} {size} {batch}", peer.name);
                }
            }
        }
    }

    /// The digest that the test above relies on tells other bytes and another order apart.
    #[test]
    fn a_machine_tells_other_histories_apart() {
        let digest = |payloads: &[&[u8]]| {
            let mut machine = Machine::default();
            payloads.iter().for_each(|payload| machine.apply(payload));
            machine
        };
        let (a, b) = (&[1_u8; 16][..], &[2_u8; 16][..]);
        assert_ne!(digest(&[a, b]), digest(&[b, a]));
        assert_ne!(digest(&[a, a]), digest(&[a, b]));
        assert_ne!(digest(&[a]), digest(&[a, a]));
    }
}
