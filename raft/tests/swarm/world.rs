//! What is drawn once for a history: how many there are, which features are on, how tight the
//! limits are, and how often each kind of thing happens. Histories differ in kind, so that no
//! fault hides behind another.

use kontiki_raft::{Config, Liveness};

use super::commands::Command;
use super::dice::Dice;
use super::draw::{self, Kind};
use crate::common::{Cluster, ENTRY_BYTES, Sabotage, config};

/// The setting of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    /// Of the draws of election timeouts.
    pub(crate) seed: u64,
    pub(crate) voters: u64,
    pub(crate) spares: u64,
    pub(crate) pre_vote: bool,
    pub(crate) liveness: Liveness,
    pub(crate) lease_percent: u8,
    /// Thousandths of a second that each clock counts in one; the rest run true.
    pub(crate) rates: Vec<u64>,
    /// The rest have the default.
    pub(crate) priorities: Vec<u8>,
    /// In entries.
    pub(crate) extent_max: u64,
    pub(crate) page_max: u64,
    pub(crate) inflight_max: u32,
    pub(crate) uncommitted_max: u32,
    pub(crate) lazy_apply: bool,
    pub(crate) sabotage: Option<Sabotage>,
    /// The oracle does not check what is said.
    pub(crate) deaf: bool,
}

/// A setting, and what happens in it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) commands: Vec<Command>,
}

impl World {
    /// One in which nothing is special.
    pub(crate) fn plain(voters: u64, spares: u64) -> Self {
        Self {
            seed: 0,
            voters,
            spares,
            pre_vote: true,
            liveness: Liveness::SelfTimed,
            lease_percent: 0,
            rates: Vec::new(),
            priorities: Vec::new(),
            extent_max: 64,
            page_max: u64::MAX,
            inflight_max: 1_000,
            uncommitted_max: 1_000,
            lazy_apply: false,
            sabotage: None,
            deaf: false,
        }
    }

    pub(crate) fn is_external(&self) -> bool {
        self.liveness == Liveness::External
    }

    fn draw(dice: &mut Dice, seed: u64) -> Self {
        let voters = dice.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 7]);
        let spares = dice.pick([0, 0, 1, 2, 2, 3]);
        let liveness = match dice.below(20) {
            0..6 => Liveness::External,
            6..9 => Liveness::Unchecked,
            _ => Liveness::SelfTimed,
        };
        let external = liveness == Liveness::External;
        let leases = liveness == Liveness::SelfTimed && dice.chance(40);
        let count = voters + spares;
        let rates = if (leases || external) && dice.chance(70) {
            (0..count).map(|_| dice.pick([900, 950, 1_000, 1_050, 1_100])).collect()
        } else {
            Vec::new()
        };
        // Without pre-vote, one that is behind and asks more often than those who could win may
        // keep a group from any peace.
        let pre_vote = dice.chance(70);
        let priorities = if pre_vote && dice.chance(30) {
            (0..count).map(|_| dice.small(4)).collect()
        } else {
            Vec::new()
        };
        Self {
            seed,
            voters,
            spares,
            pre_vote,
            liveness,
            lease_percent: if leases { dice.pick([20, 50, 80, 80]) } else { 0 },
            rates,
            priorities,
            extent_max: dice.pick([1, 2, 3, 8, 64]),
            page_max: dice.pick([1, 2, 64, u64::MAX]),
            inflight_max: dice.pick([1, 2, 6, 1_000]),
            uncommitted_max: dice.pick([2, 10, 1_000, 1_000]),
            lazy_apply: dice.chance(40),
            sabotage: None,
            deaf: false,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            pre_vote: self.pre_vote,
            lease_percent: self.lease_percent,
            liveness: self.liveness,
            inflight_bytes_max: self.inflight_max * ENTRY_BYTES,
            uncommitted_bytes_max: self.uncommitted_max * ENTRY_BYTES,
            ..config()
        }
    }

    pub(crate) fn build(&self) -> Cluster {
        let mut cluster = Cluster::stopped(self.voters, self.spares, self.config(), self.seed);
        cluster.extent_max = self.extent_max;
        cluster.page_max = self.page_max;
        cluster.serves_snapshots = true;
        cluster.lazy_apply = self.lazy_apply;
        cluster.sabotage = self.sabotage;
        cluster.oracle.strict = !self.deaf;
        cluster.oracle.deaf = self.deaf;
        for (node, &rate) in cluster.nodes.iter_mut().zip(&self.rates) {
            node.rate = rate;
        }
        for (node, &priority) in cluster.nodes.iter_mut().zip(&self.priorities) {
            node.priority = Some(priority);
        }
        for number in cluster.numbers() {
            cluster.restart(number);
        }
        cluster
    }

    /// Settings that are simpler in one respect.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let mut offer = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            if world != *self {
                simpler.push(world);
            }
        };
        offer(&|world| world.rates.clear());
        offer(&|world| world.priorities.clear());
        offer(&|world| world.lazy_apply = false);
        offer(&|world| world.lease_percent = 0);
        offer(&|world| world.liveness = Liveness::SelfTimed);
        offer(&|world| world.pre_vote = true);
        offer(&|world| (world.inflight_max, world.uncommitted_max) = (1_000, 1_000));
        offer(&|world| (world.extent_max, world.page_max) = (64, u64::MAX));
        offer(&|world| world.spares = world.spares.saturating_sub(1));
        offer(&|world| world.voters = world.voters.saturating_sub(1).max(1));
        offer(&|world| world.voters = world.voters.min(3));
        offer(&|world| world.seed = 0);
        simpler
    }
}

impl Case {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let world = World::draw(&mut dice, seed);
        let length = dice.pick([100, 300, 1_000, 2_500]);
        let weights = draw::weights(&mut dice, &world);
        let total: u64 = weights.iter().map(|&(_, weight)| weight).sum();
        let draw = |dice: &mut Dice| {
            let mut at = dice.below(total);
            let kind: Kind = weights
                .iter()
                .find_map(|&(kind, weight)| {
                    let here = at < weight;
                    at = at.saturating_sub(weight);
                    here.then_some(kind)
                })
                .expect("the weights add up");
            draw::draw(kind, dice)
        };
        let mut commands: Vec<_> = (0..length).map(|_| draw(&mut dice)).collect();
        if dice.chance(60) {
            // A beginning that works, so that there is something to go wrong.
            commands.splice(..0, [Command::Elect(dice.small(200)), Command::Settle(6)]);
        }
        Self { world, commands }
    }
}
