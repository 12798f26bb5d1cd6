//! What is in flight between replicas, and which ways are closed.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_raft::{AppendHeader, Message};

use super::node::Entry;

/// Something on the network, with how the sender told of it.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) text: String,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Append(AppendHeader, Vec<Entry>),
    Message(Message),
}

#[derive(Debug, Default)]
pub(super) struct Net {
    /// In the order sent.
    pub(super) packets: Vec<Packet>,
    /// Ways on which packets vanish, though nobody notices.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// Pairs without a connection, both ways round.
    pub(super) apart: BTreeSet<(u64, u64)>,
    /// Replicas that no connection reaches, whatever restarts.
    pub(super) isolated: BTreeSet<u64>,
    /// Copies under a name.
    pub(super) kept: BTreeMap<String, Vec<Packet>>,
}

impl Net {
    pub(super) fn send(&mut self, packet: Packet) {
        if !self.cut.contains(&(packet.from, packet.to)) {
            self.packets.push(packet);
        }
    }

    /// Takes out what fits, at most `most` packets.
    pub(super) fn take(&mut self, most: usize, fits: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let mut taken = Vec::new();
        let mut rest = Vec::with_capacity(self.packets.len());
        for packet in self.packets.drain(..) {
            if taken.len() < most && fits(&packet) {
                taken.push(packet);
            } else {
                rest.push(packet);
            }
        }
        self.packets = rest;
        taken
    }

    pub(super) fn between(&self, from: u64, to: u64) -> Vec<Packet> {
        let fits = |packet: &&Packet| packet.from == from && packet.to == to;
        self.packets.iter().filter(fits).cloned().collect()
    }

    /// Breaks the connection of two replicas: what is on its way is lost.
    pub(super) fn part(&mut self, a: u64, b: u64) {
        self.apart.extend([(a, b), (b, a)]);
        self.packets.retain(|packet| {
            (packet.from, packet.to) != (a, b) && (packet.from, packet.to) != (b, a)
        });
    }
}
