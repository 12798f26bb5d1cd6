//! Changes of membership as scripts write them, and memberships as scripts show them.
//!
//! `v3 l4 r2 u1` adds a voter, adds a learner, removes, updates. How they are carried out is
//! chosen as the other implementation does: one change without a named transition is simple;
//! several, or a named transition, go by way of a joint membership; none at all leaves one.

use kontiki_raft::{Change, Membership, ReplicaId, Transition};

use super::command::{Command, number};

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The changes as written, in one line.
    pub(super) text: String,
    /// One change at a time, in the format of old.
    pub(super) old_style: bool,
    /// `None` leaves a joint membership.
    pub(super) how: Option<Transition>,
    pub(super) changes: Vec<Change>,
}

impl Wanted {
    /// The change of `propose-conf-change NODE [v1=true] [transition=...]` with its input.
    pub(super) fn parse(command: &Command, input: &[String]) -> Result<Self, String> {
        let old_style = command.value("v1") == Some("true");
        let named = command.value("transition").unwrap_or("auto");
        let text = input.join(" ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let count = text.split_whitespace().count();
        let how = match named {
            "auto" if count == 0 => None,
            "auto" if count == 1 => Some(Transition::Auto),
            "auto" | "implicit" => Some(Transition::Joint),
            "explicit" => Some(Transition::JointExplicit),
            _ => return Err(format!("unknown transition {named}")),
        };
        if old_style && (count != 1 || named != "auto") {
            return Err("v1 conf change can only have one operation and no transition".to_owned());
        }
        let changes = text.split_whitespace().filter_map(|word| change(word).transpose());
        Ok(Self { old_style, how, changes: changes.collect::<Result<_, _>>()?, text })
    }
}

/// One change; an update changes nothing that a membership knows.
fn change(word: &str) -> Result<Option<Change>, String> {
    let kind = word.chars().next().ok_or("an empty change")?;
    let id = replica(word.get(1..).unwrap_or_default())?;
    match kind {
        'v' => Ok(Some(Change::AddVoter(id))),
        'l' => Ok(Some(Change::AddLearner(id))),
        'r' => Ok(Some(Change::Remove(id))),
        'u' => Ok(None),
        _ => Err(format!("unknown change {word}")),
    }
}

/// A replica from its number.
pub(super) fn replica(word: &str) -> Result<ReplicaId, String> {
    ReplicaId::new(number(word)?).ok_or_else(|| "there is no replica 0".to_owned())
}

/// A membership as `switched to configuration` shows it.
pub(super) fn describe(membership: &Membership) -> String {
    fn list(ids: impl Iterator<Item = ReplicaId>) -> String {
        ids.map(|id| id.get().to_string()).collect::<Vec<_>>().join(" ")
    }
    let mut text = format!("voters=({})", list(membership.voters()));
    let outgoing = list(membership.outgoing_voters());
    if !outgoing.is_empty() {
        text.push_str(&format!("&&({outgoing})"));
    }
    for (name, ids) in [
        ("learners", list(membership.learners())),
        ("learners_next", list(membership.learners_next())),
    ] {
        if !ids.is_empty() {
            text.push_str(&format!(" {name}=({ids})"));
        }
    }
    if membership.auto_leave() {
        text.push_str(" autoleave");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str, input: &[&str]) -> Result<Wanted, String> {
        let input: Vec<_> = input.iter().map(|&line| line.to_owned()).collect();
        Wanted::parse(&Command::parse(line)?, &input)
    }

    fn ids<const N: usize>() -> [ReplicaId; N] {
        std::array::from_fn(|at| ReplicaId::new(at as u64 + 1).unwrap())
    }

    #[test]
    fn how_follows_from_the_count_and_the_transition() {
        let how = |line, input: &[&str]| wanted(line, input).map(|wanted| wanted.how);
        assert_eq!(how("propose-conf-change 1", &["v2"]), Ok(Some(Transition::Auto)));
        assert_eq!(how("propose-conf-change 1", &["v2", "l3"]), Ok(Some(Transition::Joint)));
        assert_eq!(
            how("propose-conf-change 1 transition=explicit", &["v2"]),
            Ok(Some(Transition::JointExplicit))
        );
        assert_eq!(how("propose-conf-change 1", &[]), Ok(None));
        assert!(how("propose-conf-change 1 v1=true", &["v2 v3"]).is_err());
        assert_eq!(how("propose-conf-change 1", &["x2"]), Err("unknown change x2".to_owned()));
        let [one, two, ..] = ids::<3>();
        let wanted = wanted("propose-conf-change 1", &["l1 u1", "r2"]).unwrap();
        assert_eq!(wanted.changes, [Change::AddLearner(one), Change::Remove(two)]);
        assert_eq!(wanted.text, "l1 u1 r2");
    }

    #[test]
    fn memberships_are_shown_half_by_half() {
        let [one, two, three] = ids();
        let simple = Membership::new(&[one, two]).unwrap();
        assert_eq!(describe(&simple), "voters=(1 2)");
        assert_eq!(describe(&Membership::EMPTY), "voters=()");
        let changes = [Change::AddVoter(three), Change::AddLearner(two)];
        let joint = simple.enter_joint(true, &changes).unwrap();
        assert_eq!(describe(&joint), "voters=(1 3)&&(1 2) learners_next=(2) autoleave");
        let left = joint.leave_joint().unwrap();
        assert_eq!(describe(&left), "voters=(1 3) learners=(2)");
    }
}
