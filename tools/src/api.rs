//! The JSON that a node's admin listener speaks and `raftctl` reads: plain data with stable names.
//!
//! What the engine itself reports ([`kontiki::status`]) is passed on as it is; here is what a node adds to it.
//! Keys and values are hexadecimal in JSON, since they are bytes and not text.

use kontiki::error::{Outcome, RequestError};
use kontiki::status::NodeStatus;
use serde::{Deserialize, Serialize};

/// `GET /v1/status`: the node at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// What the engine says of itself.
    #[serde(flatten)]
    pub status: NodeStatus,
    /// The address of the admin listener.
    pub admin: String,
    /// The state machine: `kv`, `memory` or `null`.
    pub machine: String,
    /// How far a write goes before it is acknowledged: `fsync`, `os` or `none`.
    pub durability: String,
    /// The version of the program.
    pub version: String,
    /// How long it has been running.
    pub uptime_s: u64,
}

/// `GET /v1/cluster`: where the nodes are, as this node was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The cluster's id, in hexadecimal.
    pub cluster: String,
    /// The node that reports.
    pub node: u64,
    /// Every node, ascending by id.
    pub nodes: Vec<ClusterNode>,
}

/// A node in a [`ClusterReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Its id.
    pub node: u64,
    /// Where its peers reach it.
    pub address: String,
    /// Where its admin listener is, when known.
    pub admin: Option<String>,
}

/// `GET /v1/groups/ID/digest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestReport {
    /// The group.
    pub group: u64,
    /// The node that reports.
    pub node: u64,
    /// The index that the state stands at.
    pub index: u64,
    /// The digest of the state there, in hexadecimal.
    pub digest: String,
}

/// `POST /v1/kv/batch` and `POST /v1/groups/ID/propose`: what became of many writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReport {
    /// How many were applied.
    pub applied: u64,
    /// Those that were not, those that failed alike together.
    pub errors: Vec<BatchError>,
}

/// Writes of a batch that failed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchError {
    /// Their places in the batch, from 0.
    pub at: Vec<u64>,
    /// Why.
    #[serde(flatten)]
    pub report: ErrorReport,
}

/// `GET /v1/kv/scan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// The pairs found, in key order.
    pub items: Vec<ScanItem>,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
}

/// A pair of a [`ScanReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanItem {
    /// The key, in hexadecimal.
    pub key: String,
    /// The value, in hexadecimal.
    pub value: String,
}

/// One block of a group's log, without its payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBlock {
    /// Its first index.
    pub first: u64,
    /// Its last index.
    pub last: u64,
    /// Its term.
    pub term: u64,
    /// `command`, `no-op`, `membership` or `admin`.
    pub kind: String,
    /// Its entries.
    pub entries: u64,
    /// Its size, header included.
    pub bytes: u64,
    /// The batch of the log that holds it.
    pub batch: u64,
    /// The part of the batch.
    pub part: u64,
}

/// `GET /v1/groups/ID/log`, and what `raftctl log show` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// The group.
    pub group: u64,
    /// The node whose log this is.
    pub node: u64,
    /// The log starts after this index.
    pub compacted: u64,
    /// The blocks, ascending; a block that a later one has replaced is not among them.
    pub blocks: Vec<LogBlock>,
    /// Whether more blocks follow than were asked for.
    pub truncated: bool,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// One line for a person.
    pub error: String,
    /// Of a write: `not_applied` (trying again is safe) or `unknown` (trying again may apply it twice).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// With 421: the node to try, when one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
}

impl ErrorReport {
    /// A report of `error` alone.
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), outcome: None, leader: None }
    }

    /// A report of a request that the engine refused, with its outcome.
    #[must_use]
    pub fn of(error: &RequestError) -> Self {
        let leader = match error {
            RequestError::NotLeader { leader } => *leader,
            _ => None,
        };
        let outcome = match error.outcome() {
            Outcome::NotApplied => "not_applied",
            Outcome::Applied => "applied",
            Outcome::Unknown => "unknown",
        };
        Self { error: error.to_string(), outcome: Some(outcome.to_owned()), leader }
    }
}

/// The name of a durability in flags, files and JSON.
#[must_use]
pub const fn durability_name(durability: kontiki::Durability) -> &'static str {
    match durability {
        kontiki::Durability::Fsync => "fsync",
        kontiki::Durability::Os => "os",
        kontiki::Durability::None => "none",
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|&b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// The bytes of hexadecimal digits; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways() {
        assert_eq!(hex(&[0, 255, 0x1a]), "00ff1a");
        assert_eq!(unhex("00FF1a"), Some(vec![0, 255, 0x1a]));
        assert_eq!(unhex(""), Some(Vec::new()));
        assert_eq!((unhex("0"), unhex("0g"), unhex("+1")), (None, None, None));
    }

    #[test]
    fn an_error_says_its_outcome_and_its_leader() {
        let report = ErrorReport::of(&RequestError::NotLeader { leader: Some(3) });
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["outcome"], "not_applied");
        assert_eq!(json["leader"], 3);
        let json = serde_json::to_value(ErrorReport::of(&RequestError::LeaderLost)).unwrap();
        assert_eq!(json["outcome"], "unknown");
        assert!(json.get("leader").is_none());
    }
}
