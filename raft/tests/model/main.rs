//! The real core under a model checker: every order of events, to the end of the budgets.
//!
//! A model is a group of replicas, each the core itself with its disk and its writes in flight; a
//! network; and budgets of what may happen. Messages arrive, writes are taken and completed,
//! replicas crash and come back, connections break, time passes: each is an event, and `stateright`
//! walks through every order of them. After every event an observer who sees everything checks the
//! safety properties and the ordering rules. What must also happen somewhere, such as a conflict
//! that is cut, is asserted too, so that no model passes because it is empty.
//!
//! `cargo test --release -p kontiki-raft --test model -- --nocapture` prints the counts;
//! `KONTIKI_MODEL=nightly` selects the large sizes.
//!
//! Deliberately absent: any model of the protocol. Where an event depends on time, it is given at
//! one of a few instants; what the core does with it is the core's own doing.

mod changes;
mod check;
mod model;
mod node;
mod report;
mod setup;
mod setups;
mod shared;
mod step;
mod world;

use report::search;

/// Switches on the planted bug that `KONTIKI_PLANTED` names, if the core was built with the feature
/// `planted`. Then at least one model must fail.
fn switch_planted() {
    let number = std::env::var("KONTIKI_PLANTED").ok().and_then(|number| number.parse().ok());
    kontiki_raft::planted::plant(number.and_then(kontiki_raft::planted::Bug::from_number));
}

#[test]
fn three_voters_in_two_terms() {
    switch_planted();
    search(setups::three_voters());
}

#[test]
fn two_elections_and_a_crash() {
    switch_planted();
    search(setups::elections_and_crash());
}

#[test]
fn writes_that_merge_and_lag() {
    switch_planted();
    search(setups::late_writes());
}

#[test]
fn e1_a_stale_longer_log() {
    switch_planted();
    search(setups::stale_longer_log());
}

#[test]
fn e5_logs_as_in_figure_8() {
    switch_planted();
    search(setups::figure_8());
}

#[test]
fn reads_while_the_leadership_is_handed_over() {
    switch_planted();
    search(setups::reads_and_transfer());
}

#[test]
fn reads_at_a_leader_that_was_silent() {
    switch_planted();
    search(setups::reads_and_silence());
}

#[test]
fn a_network_that_reorders_loses_and_duplicates() {
    switch_planted();
    search(setups::bad_network());
}

#[test]
fn connections_that_break() {
    switch_planted();
    search(setups::broken_connections());
}

#[test]
fn m3_a_joint_change_that_replaces_the_leader() {
    switch_planted();
    search(changes::joint_change());
}

#[test]
fn m7_a_joint_membership_left_on_request() {
    switch_planted();
    search(changes::explicit_leave());
}

#[test]
fn m6_a_learner_that_is_promoted() {
    switch_planted();
    search(changes::learner_promoted());
}

#[test]
fn m2_two_leaders_that_remove_each_other() {
    switch_planted();
    search(changes::rival_changes());
}

#[test]
fn snapshots_under_a_compacted_log() {
    switch_planted();
    search(changes::snapshots());
}

#[test]
fn r8_reads_under_leases_while_time_passes() {
    switch_planted();
    search(setups::lease_reads());
}

#[test]
fn r7_reads_under_leases_and_an_order_to_campaign() {
    switch_planted();
    search(setups::lease_and_transfer());
}

#[test]
fn reads_that_followers_forward() {
    switch_planted();
    search(setups::forwarded_reads());
}

#[test]
fn m10_a_replica_removed_and_added_again() {
    switch_planted();
    search(changes::readded());
}
