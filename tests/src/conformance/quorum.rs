//! What enough voters agree on: how far a log is committed, and how a vote stands.
//!
//! A case names the voters of one half (`cfg`) or of two (`cfgj`, which may be `zero`), and a value
//! for each voter (`idx`, `votes`). Halves may overlap: the values belong to the replicas of both
//! halves, each named once, ascending; `_` is a replica that has told nothing. Before the result
//! some cases draw a picture of the indexes, which is not judged.
//!
//! Each case runs through the pure functions, and again with the halves swapped, because they are
//! equals. Where its voters make a group of ours, a vote is put to a [`Membership`] too, and to a
//! replica that stands for election and gets these votes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kontiki_raft::quorum::{VoteResult, jointly_reached, vote_result};
use kontiki_raft::{
    Config, HardState, Index, Member, Membership, Message, MessageKind, Position, Raft, ReplicaId,
    Seat, Start, Time,
};

use super::{Case, Verdict, cases};

/// Plays the cases of a file.
#[must_use]
pub fn run(path: &Path) -> Vec<(String, Verdict)> {
    cases(path).iter().map(|case| (case.at.clone(), judge(case))).collect()
}

fn judge(case: &Case) -> Verdict {
    let told = match (case.command.as_str(), Told::read(case)) {
        ("committed" | "vote", Ok(told)) => told,
        (_, Err(why)) => return Verdict::Failed(why),
        (other, _) => return Verdict::Failed(format!("unknown command {other}")),
    };
    let ours = if case.command == "committed" { told.committed() } else { told.vote() };
    let expected = case.expected.last().map_or("", String::as_str);
    // The picture of an empty half is on the same line.
    let expected = expected.strip_prefix("<empty majority quorum>").unwrap_or(expected);
    ours.map_or_else(Verdict::Failed, |ours| Verdict::compare(expected, &ours))
}

/// What a case tells: two halves, and a value for each replica of either.
struct Told {
    halves: [BTreeSet<ReplicaId>; 2],
    values: BTreeMap<ReplicaId, String>,
}

impl Told {
    fn read(case: &Case) -> Result<Self, String> {
        let half = |key| -> Result<BTreeSet<ReplicaId>, String> {
            let ids = match case.values(key) {
                Some([zero]) if zero == "zero" => &[],
                other => other.unwrap_or_default(),
            };
            let id = |id: &String| id.parse().ok().and_then(ReplicaId::new);
            ids.iter().map(|word| id(word).ok_or_else(|| format!("{key}: no id: {word}"))).collect()
        };
        let halves = [half("cfg")?, half("cfgj")?];
        let key = if case.command == "committed" { "idx" } else { "votes" };
        let values = case.values(key).unwrap_or_default();
        let ids = &halves[0] | &halves[1];
        if values.len() != ids.len() {
            return Err(format!("{key} has {} values for {} voters", values.len(), ids.len()));
        }
        Ok(Self { halves, values: ids.into_iter().zip(values.iter().cloned()).collect() })
    }

    /// The values that the voters of a half have told.
    fn half(&self, half: usize) -> impl Iterator<Item = &str> {
        self.halves[half].iter().map(|id| self.values[id].as_str())
    }

    /// The greatest index that is committed. Without voters nothing bounds it.
    fn committed(&self) -> Result<String, String> {
        let indexes = |half| -> Result<Vec<u64>, String> {
            let index = |value: &str| match value {
                "_" => Ok(0),
                value => value.parse().map_err(|_| format!("no index: {value}")),
            };
            self.half(half).map(index).collect()
        };
        let (mut incoming, mut outgoing) = (indexes(0)?, indexes(1)?);
        let committed = jointly_reached(&mut incoming, &mut outgoing);
        // Now that both are sorted, too.
        let mirrored = jointly_reached(&mut outgoing, &mut incoming);
        if committed != mirrored {
            return Err(format!("with the halves swapped, {mirrored:?} is committed"));
        }
        Ok(committed.map_or_else(|| "∞".to_owned(), |index| index.to_string()))
    }

    fn vote(&self) -> Result<String, String> {
        if let Some(strange) = self.values.values().find(|v| !["y", "n", "_"].contains(&v.as_str()))
        {
            return Err(format!("no vote: {strange}"));
        }
        let half = |half| {
            let count = |vote| self.half(half).filter(|&told| told == vote).count();
            vote_result(count("y"), count("n"), self.halves[half].len())
        };
        let result = half(0).and(half(1));
        if half(1).and(half(0)) != result {
            return Err("it depends on the order of the halves".to_owned());
        }
        if let Some((group, slots)) = self.group() {
            let granted = slots.iter().enumerate().filter(|(_, id)| self.values[*id] == "y");
            let granted = granted.fold(0, |bits, (slot, _)| bits | 1 << slot);
            if group.elects(granted) != (result == VoteResult::Won) {
                return Err(format!("{result:?}, but {group} elects with {granted:#b}"));
            }
            if let Some(leads) = self.leads(group)
                && leads != (result == VoteResult::Won)
            {
                return Err(format!("{result:?}, but a replica with these votes leads: {leads}"));
            }
        }
        Ok(format!("Vote{result:?}"))
    }

    /// The membership with these halves and the replica of each slot; `None` when nobody votes in
    /// the incoming half, because such a group elects nobody.
    fn group(&self) -> Option<(Membership, Vec<ReplicaId>)> {
        let seat = |id| {
            let bit = |half: usize, bit| if self.halves[half].contains(id) { bit } else { 0 };
            Seat::from_bits(bit(0, 1) | bit(1, 2)).expect("it votes in one half or both")
        };
        let members: Vec<Member> =
            self.values.keys().map(|id| Member { id: *id, seat: seat(id) }).collect();
        let group = Membership::from_members(&members, false).ok()?;
        let slots = group.members().map(|member| member.id).collect();
        (!group.is_empty()).then_some((group, slots))
    }

    /// Whether a replica that gets these votes, its own among them, becomes leader. `None` when no
    /// incoming voter grants, since a candidate always grants itself.
    fn leads(&self, membership: Membership) -> Option<bool> {
        let own = membership.voters().find(|id| self.values[id] == "y")?;
        let start = Start {
            id: own,
            membership,
            changes: &[],
            hard_state: HardState::default(),
            compacted: Position::ZERO,
            spans: &[],
            committed: Index::ZERO,
            seed: 1,
            now: Time(0),
        };
        let mut raft = Raft::new(Config::default(), start).expect("a new replica starts");
        let others: Vec<ReplicaId> =
            membership.members().map(|member| member.id).filter(|&id| id != own).collect();
        let tell = |raft: &mut Raft, from, kind| {
            let message = Message { from, to: own, term: raft.term(), kind, session: 0 };
            raft.step(Time(1), &message);
        };
        raft.campaign(Time(1));
        for &id in &others {
            tell(&mut raft, id, MessageKind::PreVoteReply { granted: true });
        }
        while let Some(write) = raft.take_persist() {
            raft.on_persisted(write.seq);
            raft.take_noop();
        }
        for id in others {
            match self.values[&id].as_str() {
                "_" => {}
                vote => tell(&mut raft, id, MessageKind::VoteReply { granted: vote == "y" }),
            }
        }
        Some(raft.is_leader())
    }
}
