//! What the groups of a node must hear of, in order.
//!
//! Invariant: for each node `Supports` and `Lapsed` take turns, beginning with `Supports`; and so do, beginning with
//! `Gained`, either of `Gained` and `Resumed`, and `Lost`.

/// A change between this node and another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SupportEvent {
    /// We promise to support the node; it will hear of it with the next beat. From here on no replica that follows a
    /// leader there campaigns or votes for another.
    Supports {
        /// The node.
        node: u64,
    },
    /// What we promised to the node ran out, or is void because it started again. Groups that are led from there
    /// have no leader.
    Lapsed {
        /// The node.
        node: u64,
    },
    /// The node supports us, under another promise than before. Its replicas may have voted in between, so what they
    /// acknowledged earlier counts for nothing: a leader must hear from them again.
    Gained {
        /// The node.
        node: u64,
    },
    /// The node supports us again, under the promise of before, which it never ended: we had only lost sight of it.
    /// What its replicas acknowledged under it still counts.
    Resumed {
        /// The node.
        node: u64,
    },
    /// We can no longer be certain of the node's support.
    Lost {
        /// The node.
        node: u64,
    },
}
