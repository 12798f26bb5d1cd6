//! How one membership follows from another.
//!
//! The cases of a file are steps of one group that starts without members: `simple`, `enter-joint`
//! and `leave-joint`, with changes such as `v1 l2 r3 u4` (voter, learner, remove, update). Expected
//! is the membership and a leader's progress with each member, or an error; a refused step leaves
//! the group as it was. Of an error only the fact counts, not its text.
//!
//! Progress is not part of a membership here, so this keeps what a leader would: one record for
//! each member, made when it comes and dropped when it goes. Its `next` is the number of the case
//! that made it, counted from zero and at least one, which is how the cases show that a record
//! survives a step.
//!
//! What others have and we do not: a change of id zero and an update mean nothing to them either,
//! and are left out.

use std::collections::BTreeMap;
use std::path::Path;

use kontiki_raft::{Change, Membership, MembershipError, ReplicaId, Seat};

use super::{Case, Verdict, cases};

/// Plays the cases of a file, each upon what the earlier ones left.
#[must_use]
pub fn run(path: &Path) -> Vec<(String, Verdict)> {
    let mut group = Group { membership: Membership::EMPTY, next: BTreeMap::new() };
    let play = |(number, case): (usize, &Case)| (case.at.clone(), group.play(number, case));
    cases(path).iter().enumerate().map(play).collect()
}

/// A group, and for each member what its leader would send next.
struct Group {
    membership: Membership,
    next: BTreeMap<ReplicaId, usize>,
}

impl Group {
    fn play(&mut self, number: usize, case: &Case) -> Verdict {
        let result = match self.step(case) {
            Ok(result) => result,
            Err(why) => return Verdict::Failed(why),
        };
        let expected = case.expected.join("\n");
        match (result, expected.starts_with("voters=")) {
            (Err(_), false) => Verdict::Passed,
            (Err(error), true) => Verdict::Failed(format!("refused: {error}; expected {expected}")),
            (Ok(membership), succeeds) => {
                self.follow(membership, number);
                let ours = self.to_string();
                if succeeds {
                    Verdict::compare(&expected, &ours)
                } else {
                    Verdict::Failed(format!("expected a refusal: {expected}, ours:\n{ours}"))
                }
            }
        }
    }

    /// The membership after the step of a case, or why there is none; or why the case is not one.
    fn step(&self, case: &Case) -> Result<Result<Membership, MembershipError>, String> {
        let mut changes = Vec::new();
        for word in case.input.iter().flat_map(|line| line.split_whitespace()) {
            changes.extend(change(word)?);
        }
        let auto_leave = match case.value("autoleave") {
            Some("true") => true,
            Some("false") | None => false,
            Some(other) => return Err(format!("autoleave={other}")),
        };
        match case.command.as_str() {
            "simple" => Ok(self.membership.simple(&changes)),
            "enter-joint" => Ok(self.membership.enter_joint(auto_leave, &changes)),
            "leave-joint" if changes.is_empty() => Ok(self.membership.leave_joint()),
            other => Err(format!("unknown step {other} with {changes:?}")),
        }
    }

    fn follow(&mut self, membership: Membership, number: usize) {
        let next = number.max(1);
        self.next.retain(|&id, _| membership.contains(id));
        for member in membership.members() {
            self.next.entry(member.id).or_insert(next);
        }
        self.membership = membership;
    }
}

/// As the cases show it: the membership, then a line for each member.
impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.membership)?;
        for (id, next) in &self.next {
            let learner = self.membership.seat(*id).is_some_and(Seat::is_learner);
            let suffix = if learner { " learner" } else { "" };
            write!(f, "\n{id}: StateProbe match=0 next={next}{suffix}")?;
        }
        Ok(())
    }
}

/// The change that a word asks for; none when it asks for nothing.
fn change(word: &str) -> Result<Option<Change>, String> {
    let unknown = || format!("unknown change {word}");
    let (what, id) = word.split_at_checked(1).ok_or_else(unknown)?;
    let Some(id) = ReplicaId::new(id.parse().map_err(|_| unknown())?) else {
        return Ok(None);
    };
    match what {
        "v" => Ok(Some(Change::AddVoter(id))),
        "l" => Ok(Some(Change::AddLearner(id))),
        "r" => Ok(Some(Change::Remove(id))),
        "u" => Ok(None),
        _ => Err(unknown()),
    }
}
