//! The one mistake of this crate that tests can switch on, to prove that they would find it.
//!
//! Without the test-only feature `planted` the question is answered at compile time and leaves nothing behind.
//! Deliberately absent: mistakes elsewhere; `kontiki-raft` and `kontiki` have modules of the same name.

#[cfg(feature = "planted")]
static FOREIGN_ACCEPTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Bug 19 of the list of hazards: a node of another cluster is let in. Does nothing without the feature `planted`.
pub fn accept_foreign_clusters(accept: bool) {
    #[cfg(feature = "planted")]
    FOREIGN_ACCEPTED.store(accept, std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "planted"))]
    let _: bool = accept;
}

#[cfg(feature = "planted")]
pub(crate) fn accepts_foreign_clusters() -> bool {
    FOREIGN_ACCEPTED.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(feature = "planted"))]
pub(crate) const fn accepts_foreign_clusters() -> bool {
    false
}
