//! Memberships against a model with sets, transition by transition, and against definitions.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::hash::{Hash, Hasher};

use super::*;
use Change::{AddLearner, AddVoter, AddWitness, Remove};

fn id(id: u64) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

fn voters<const N: usize>(ids: [u64; N]) -> Membership {
    Membership::new(&ids.map(id)).unwrap()
}

/// A membership as sets, with rules that look at sets: the way in which others write it down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Model {
    incoming: BTreeSet<ReplicaId>,
    outgoing: BTreeSet<ReplicaId>,
    learners: BTreeSet<ReplicaId>,
    learners_next: BTreeSet<ReplicaId>,
    auto_leave: bool,
}

impl Model {
    fn of(membership: &Membership) -> Self {
        Self {
            incoming: membership.voters().collect(),
            outgoing: membership.outgoing_voters().collect(),
            learners: membership.learners().collect(),
            learners_next: membership.learners_next().collect(),
            auto_leave: membership.auto_leave(),
        }
    }

    fn knows(&self, id: ReplicaId) -> bool {
        self.incoming.contains(&id) || self.outgoing.contains(&id) || self.learners.contains(&id)
    }

    /// One change after the other, each upon what the earlier ones left.
    fn apply(mut self, changes: &[Change]) -> Result<Self, MembershipError> {
        for &change in changes {
            match change {
                AddVoter(id) => {
                    self.learners.remove(&id);
                    self.learners_next.remove(&id);
                    self.incoming.insert(id);
                }
                AddLearner(id) if self.learners.contains(&id) => {}
                AddLearner(id) => {
                    self.incoming.remove(&id);
                    let onto = if self.outgoing.contains(&id) {
                        &mut self.learners_next
                    } else {
                        &mut self.learners
                    };
                    onto.insert(id);
                }
                Remove(id) if self.knows(id) => {
                    self.incoming.remove(&id);
                    self.learners.remove(&id);
                    self.learners_next.remove(&id);
                }
                Remove(_) => {}
                AddWitness(_) => unreachable!("the model knows no witnesses"),
            }
        }
        self.fitting()
    }

    fn simple(self, changes: &[Change]) -> Result<Self, MembershipError> {
        if !self.outgoing.is_empty() {
            return Err(MembershipError::AlreadyJoint);
        }
        let before = self.incoming.clone();
        let next = self.apply(changes)?;
        let differ = before.symmetric_difference(&next.incoming).count();
        if differ > 1 { Err(MembershipError::NeedsJoint) } else { Ok(next) }
    }

    fn enter_joint(self, auto_leave: bool, changes: &[Change]) -> Result<Self, MembershipError> {
        if !self.outgoing.is_empty() {
            return Err(MembershipError::AlreadyJoint);
        }
        if self.incoming.is_empty() {
            return Err(MembershipError::Empty);
        }
        Self { outgoing: self.incoming.clone(), auto_leave, ..self }.apply(changes)
    }

    fn leave_joint(mut self) -> Result<Self, MembershipError> {
        if self.outgoing.is_empty() {
            return Err(MembershipError::NotJoint);
        }
        self.learners.append(&mut self.learners_next);
        Ok(Self { outgoing: BTreeSet::new(), auto_leave: false, ..self })
    }

    /// The limits, which sets by themselves do not have.
    fn fitting(self) -> Result<Self, MembershipError> {
        let halves = &self.incoming | &self.outgoing;
        if (&halves | &self.learners).len() > MEMBERS_MAX {
            Err(MembershipError::TooMany)
        } else if self.incoming.is_empty() {
            Err(MembershipError::Empty)
        } else if self.incoming.len() > VOTERS_MAX {
            Err(MembershipError::TooMany)
        } else {
            Ok(self)
        }
    }
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

/// What a value of the group must satisfy, however it was made.
fn check(membership: Membership) {
    let members: Vec<Member> = membership.members().collect();
    assert!(members.is_sorted_by(|a, b| a.id < b.id), "{members:?}");
    assert_eq!(membership.members().len(), membership.len());
    assert_eq!(membership.is_empty(), members.is_empty());
    for (slot, &member) in members.iter().enumerate() {
        assert_eq!(membership.slot(member.id), Some(slot));
        assert_eq!(membership.seat(member.id), Some(member.seat));
        assert!(Seat::from_bits(member.seat.bits()).is_some());
    }
    assert_eq!(membership.is_joint(), membership.outgoing_voters().next().is_some());
    assert!(membership.is_joint() || !membership.auto_leave());

    // The same from its parts in another order, equal bit by bit: fillers included.
    let reversed: Vec<Member> = members.iter().rev().copied().collect();
    let again = Membership::from_members(&reversed, membership.auto_leave()).unwrap();
    let bytes = |of: Membership| {
        let mut bytes = Bytes::default();
        of.hash(&mut bytes);
        bytes.0
    };
    assert!(again == membership && bytes(again) == bytes(membership), "{membership}");
}

/// Every transition of a membership agrees with the model's; returns where they lead.
fn compare(from: Membership, changes: &[Change]) -> Vec<Membership> {
    let model = Model::of(&from);
    let pairs = [
        (from.simple(changes), model.clone().simple(changes)),
        (from.enter_joint(false, changes), model.clone().enter_joint(false, changes)),
        (from.enter_joint(true, changes), model.clone().enter_joint(true, changes)),
        (from.leave_joint(), model.leave_joint()),
    ];
    let mut reached = Vec::new();
    for (ours, theirs) in pairs {
        assert_eq!(ours.map(|m| Model::of(&m)), theirs, "{from} {changes:?}");
        if let Ok(ours) = ours {
            check(ours);
            reached.push(ours);
        }
    }
    reached
}

#[test]
fn every_transition_of_small_groups_agrees_with_the_model() {
    let alphabet: Vec<Change> =
        (1..=4).flat_map(|n| [AddVoter(id(n)), AddLearner(id(n)), Remove(id(n))]).collect();
    let mut lists: Vec<Vec<Change>> = vec![vec![]];
    for &one in &alphabet {
        lists.push(vec![one]);
        for &two in &alphabet {
            lists.push(vec![one, two]);
            lists.extend(alphabet.iter().map(|&three| vec![one, two, three]));
        }
    }
    // And every way in which all four change at once.
    for code in 0..3_usize.pow(4) {
        let kinds = [code % 3, code / 3 % 3, code / 9 % 3, code / 27];
        lists.push(kinds.iter().enumerate().map(|(n, kind)| alphabet[3 * n + kind]).collect());
    }
    // Wherever the transitions lead from the empty group, until nothing new is found.
    let mut seen = BTreeSet::from([Model::default()]);
    let mut open = vec![Membership::EMPTY];
    while let Some(from) = open.pop() {
        // A joint membership takes no changes, whichever they are.
        let lists = if from.is_joint() { &lists[..9] } else { &lists[..] };
        for changes in lists {
            for next in compare(from, changes) {
                if seen.insert(Model::of(&next)) {
                    open.push(next);
                }
            }
        }
    }
    // Each replica is a voter, a learner or none, and not all are without a vote: 3^4 - 2^4. Joint,
    // it has one of six seats or none, both halves have voters, and both flags occur.
    let simple = seen.iter().filter(|model| model.outgoing.is_empty()).count();
    assert_eq!(simple, 1 + 81 - 16);
    assert_eq!(seen.len() - simple, 2 * joint_shapes(4));
}

/// How many joint memberships there are of some replicas, each with one of the seats of a joint
/// membership, or none, so that both halves have a voter.
fn joint_shapes(replicas: u32) -> usize {
    let seats = || [0, 1, 2, 3, 4, 6].into_iter();
    (0..6_usize.pow(replicas))
        .filter(|&code| {
            let mut rest = code;
            let votes = (0..replicas).fold(0, |votes, _| {
                let seat = seats().nth(rest % 6).unwrap();
                rest /= 6;
                votes | seat & 3
            });
            votes == 3
        })
        .count()
}

#[test]
fn long_walks_over_the_limits_agree_with_the_model() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let (mut joint, mut large) = (0, 0);
    for _ in 0..200 {
        let mut at = voters([1]);
        for _ in 0..100 {
            let count = below(9);
            let changes: Vec<Change> = (0..count)
                .map(|_| {
                    let id = id(below(18) + 1);
                    [AddVoter(id), AddVoter(id), AddLearner(id), Remove(id)]
                        [usize::try_from(below(4)).unwrap()]
                })
                .collect();
            let reached = compare(at, &changes);
            if !reached.is_empty() {
                at = reached[usize::try_from(below(9)).unwrap() % reached.len()];
            }
            joint += u32::from(at.is_joint());
            large += u32::from(at.len() > 10);
        }
    }
    assert!(joint > 1000 && large > 1000, "the walks saw little: {joint} {large}");
}

#[test]
fn m11_elects_who_has_a_majority_of_each_half() {
    let seats: Vec<Option<Seat>> =
        (0..16).filter_map(Seat::from_bits).map(Some).chain([None]).collect();
    let mut valid = 0;
    for code in 0..seats.len().pow(4) {
        let mut rest = code;
        let mut members = Vec::new();
        for n in 1..=4 {
            let seat = seats[rest % seats.len()];
            rest /= seats.len();
            members.extend(seat.map(|seat| Member { id: id(n * n), seat }));
        }
        let Ok(membership) = Membership::from_members(&members, false) else { continue };
        check(membership);
        valid += 1;
        for granted in 0..1 << members.len() {
            let naive = |fits: fn(Seat) -> bool| {
                let half = || members.iter().zip(0..).filter(|(member, _)| fits(member.seat));
                let grants = half().filter(|(_, slot)| granted >> slot & 1 == 1).count();
                half().count() == 0 || 2 * grants > half().count()
            };
            let expected = !members.is_empty()
                && naive(|seat| [1, 3, 9, 11].contains(&seat.bits()))
                && naive(|seat| [2, 3, 6, 10, 11].contains(&seat.bits()));
            assert_eq!(membership.elects(granted), expected, "{membership} {granted:b}");
            // Bits beyond the last slot belong to nobody.
            assert_eq!(membership.elects(granted | 0xff00), expected);
        }
    }
    assert!(valid > 1500, "{valid}");
    assert!(!Membership::EMPTY.elects(u16::MAX), "nobody is elected by nobody");
}

#[test]
fn sixteen_members_have_a_bit_each() {
    let incoming: Vec<ReplicaId> = (1..=7).map(id).collect();
    let mut changes: Vec<Change> = (8..=14).map(|n| AddVoter(id(n))).collect();
    changes.extend((1..=7).map(|n| Remove(id(n))));
    changes.extend([AddLearner(id(15)), AddLearner(id(16))]);
    let full = Membership::new(&incoming).unwrap().enter_joint(true, &changes).unwrap();
    check(full);
    assert_eq!(full.len(), MEMBERS_MAX);
    assert!(full.elects(0b0011_1100_0000_1111), "four of each seven");
    assert!(!full.elects(0b1111_1100_0000_0111), "learners do not make up for a voter");
    changes.push(AddLearner(id(17)));
    assert_eq!(
        Membership::new(&incoming).unwrap().enter_joint(true, &changes),
        Err(MembershipError::TooMany)
    );
}

#[test]
fn new_refuses_what_is_no_group() {
    let ids: Vec<ReplicaId> = (1..=8).map(id).collect();
    assert_eq!(Membership::new(&[]), Err(MembershipError::Empty));
    assert_eq!(Membership::new(&ids), Err(MembershipError::TooMany));
    let twice = [id(3), id(1), id(3)];
    assert_eq!(Membership::new(&twice), Err(MembershipError::Duplicate { id: id(3) }));
    assert_eq!(Membership::new(&ids[..7]).unwrap().voters().count(), VOTERS_MAX);
    assert_eq!(voters([3, 1, 2]), voters([2, 3, 1]), "the order of the list does not matter");
}

#[test]
fn from_members_refuses_what_no_transition_leads_to() {
    let member = |n, bits| Member { id: id(n), seat: Seat::from_bits(bits).unwrap() };
    let refused =
        |members: &[Member], auto_leave| Membership::from_members(members, auto_leave).unwrap_err();
    assert_eq!(Membership::from_members(&[], false), Ok(Membership::EMPTY));
    assert_eq!(refused(&[], true), MembershipError::NotJoint);
    assert_eq!(refused(&[member(1, 1)], true), MembershipError::NotJoint);
    assert_eq!(refused(&[member(1, 4)], false), MembershipError::Empty, "learners alone");
    assert_eq!(refused(&[member(1, 2)], false), MembershipError::Empty, "outgoing alone");
    assert_eq!(refused(&[member(1, 9)], false), MembershipError::Witnesses, "witnesses alone");
    assert_eq!(
        refused(&[member(1, 10), member(2, 1)], false),
        MembershipError::Witnesses,
        "witnesses alone in the outgoing half"
    );
    let twice = [member(2, 1), member(1, 1), member(2, 4)];
    assert_eq!(refused(&twice, false), MembershipError::Duplicate { id: id(2) });
    let many: Vec<Member> = (1..=8).map(|n| member(n, 1)).collect();
    assert_eq!(refused(&many, false), MembershipError::TooMany);
    let outgoing: Vec<Member> = many.iter().map(|m| member(m.id.get(), 2)).collect();
    let outgoing = [&outgoing[..], &[member(9, 1)]].concat();
    assert_eq!(refused(&outgoing, false), MembershipError::TooMany);
    let learners: Vec<Member> = (2..=17).map(|n| member(n, 4)).chain([member(1, 1)]).collect();
    assert_eq!(refused(&learners, false), MembershipError::TooMany);
    assert_eq!(Membership::from_members(&learners[1..], false).unwrap().len(), MEMBERS_MAX);
}

#[test]
fn a_witness_comes_goes_and_never_turns_into_more() {
    let group = voters([1, 2]).simple(&[AddWitness(id(3))]).unwrap();
    assert_eq!(group.to_string(), "voters=(1 2 3) witnesses=(3)");
    assert_eq!(group.witnesses().collect::<Vec<_>>(), [id(3)]);
    assert_eq!(group.simple(&[AddWitness(id(3))]), Ok(group), "saying it twice changes nothing");
    assert_eq!(group.simple(&[Remove(id(3))]), Ok(voters([1, 2])));

    // What it lacks it does not get back by another seat, not even removed in the same breath.
    let bad = Err(MembershipError::BadSeat { id: id(3) });
    let lists: [&[Change]; 4] = [
        &[AddVoter(id(3))],
        &[AddLearner(id(3))],
        &[Remove(id(3)), AddVoter(id(3))],
        &[Remove(id(3)), AddLearner(id(3))],
    ];
    for changes in lists {
        assert_eq!(group.simple(changes), bad, "{changes:?}");
        assert_eq!(group.enter_joint(true, changes), bad, "{changes:?}");
    }
    // The last word counts.
    assert_eq!(group.simple(&[AddVoter(id(3)), AddWitness(id(3))]), Ok(group));

    let learner = voters([1, 3]).simple(&[AddLearner(id(2))]).unwrap();
    let witness = learner.simple(&[AddWitness(id(2))]).unwrap();
    assert_eq!(witness.seat(id(2)), Some(Seat::WITNESS), "a learner knows enough for a witness");
}

#[test]
fn full_voters_become_witnesses_one_by_one_and_never_all() {
    let group = voters([1, 2, 3]);
    let one = group.simple(&[AddWitness(id(3))]).unwrap();
    assert_eq!(one.to_string(), "voters=(1 2 3) witnesses=(3)");
    let two = [AddWitness(id(2)), AddWitness(id(3))];
    assert_eq!(group.simple(&two), Err(MembershipError::Witnesses));
    assert_eq!(
        group.simple(&[AddWitness(id(3)), AddVoter(id(4))]),
        Err(MembershipError::NeedsJoint)
    );
    let all = [1, 2, 3].map(|n| AddWitness(id(n)));
    assert_eq!(group.enter_joint(true, &all), Err(MembershipError::Witnesses));
    let none_left_outgoing = [&all[..], &[AddVoter(id(4))]].concat();
    assert_eq!(group.enter_joint(true, &none_left_outgoing), Err(MembershipError::Witnesses));
    let half = one.simple(&[Remove(id(1))]);
    assert_eq!(half, Err(MembershipError::Witnesses), "one of two is no majority");
}

#[test]
fn a_witness_keeps_its_vote_in_the_outgoing_half() {
    let group = voters([1, 2]).simple(&[AddWitness(id(3))]).unwrap();
    let joint = group.enter_joint(false, &[Remove(id(3)), AddWitness(id(4))]).unwrap();
    check(joint);
    assert_eq!(joint.to_string(), "voters=(1 2 4)&&(1 2 3) witnesses=(3 4)");
    let left = joint.leave_joint().unwrap();
    assert_eq!(left.to_string(), "voters=(1 2 4) witnesses=(4)");

    let joint = group.enter_joint(true, &[AddVoter(id(4)), AddVoter(id(5))]).unwrap();
    assert_eq!(joint.seat(id(3)).map(Seat::bits), Some(11), "of both halves");
    assert_eq!(joint.leave_joint().unwrap().seat(id(3)), Some(Seat::WITNESS));

    // A full voter that was wished a witness and then gone leaves as the full voter it is.
    let changes = [AddVoter(id(4)), AddWitness(id(2)), Remove(id(2))];
    let joint = group.enter_joint(true, &changes).unwrap();
    assert_eq!(joint.seat(id(2)).map(Seat::bits), Some(2));
    assert_eq!(joint.witnesses().collect::<Vec<_>>(), [id(3)]);
}

#[test]
fn changes_are_judged_by_their_outcome() {
    let full = voters([1, 2, 3, 4, 5, 6, 7]);
    let swap = [AddVoter(id(8)), Remove(id(1))];
    assert_eq!(full.simple(&swap), Err(MembershipError::NeedsJoint));
    let joint = full.enter_joint(true, &swap).unwrap();
    assert_eq!(joint.voters().count(), VOTERS_MAX, "eight on the way are seven in the end");
    let wild: Vec<Change> =
        (8..40).map(|n| AddVoter(id(n))).chain((8..40).map(|n| Remove(id(n)))).collect();
    assert_eq!(full.simple(&wild), Ok(full));
    assert_eq!(full.simple(&[AddVoter(id(8))]), Err(MembershipError::TooMany));
}

#[test]
fn a_membership_is_a_small_value_and_prints_in_one_line() {
    assert!(size_of::<Membership>() <= 152, "{}", size_of::<Membership>());
    assert_eq!(format!("{}", Membership::EMPTY), "voters=()");
    let joint = voters([1, 2, 3]).simple(&[AddLearner(id(4))]).unwrap();
    let changes = [AddLearner(id(1)), AddWitness(id(5)), AddVoter(id(6))];
    let joint = joint.enter_joint(true, &changes).unwrap();
    let text = "voters=(2 3 5 6)&&(1 2 3) learners=(4) learners_next=(1) witnesses=(5) autoleave";
    assert_eq!((format!("{joint}"), format!("{joint:?}")), (text.into(), text.into()));
}
