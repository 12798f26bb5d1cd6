//! Rounds of many groups' messages, sent and taken in, allocate nothing once all buffers are there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use kontiki_net::{BlockSource, Incoming, check_append};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const GROUPS: u64 = 100;

#[test]
fn steady_rounds_allocate_nothing() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let mut buffer = Vec::new();
    let mut appends = Vec::new();
    for group in 0..GROUPS {
        let bytes = if group % 10 == 0 { 6_000 } else { 64 };
        let (header, block) = append(group, 1, bytes);
        let start = buffer.len();
        buffer.extend_from_slice(&block);
        appends.push((header, start..buffer.len()));
    }
    let buffer = Arc::new(buffer);
    let mut spans = Vec::with_capacity(8);
    let mut round = || {
        a.poll(Some(Duration::ZERO), clock.us()).unwrap();
        for ((header, range), group) in appends.iter().zip(0..) {
            let outbox = a.outbox(2).unwrap();
            outbox.push_append(
                group,
                header,
                &[BlockSource::Round { range: range.clone() }],
                &buffer,
            );
            outbox.push_message(group, &numbered(group));
        }
        a.flush(Some(&buffer));
        let mut messages = 0;
        while messages < 2 * GROUPS {
            b.poll(Some(Duration::ZERO), clock.us()).unwrap();
            a.flush(None);
            b.for_each_frame(usize::MAX, |_, frame| {
                for incoming in frame.messages() {
                    if let Incoming::Append { group, header, blocks } = incoming? {
                        spans.clear();
                        check_append(group, &header, blocks, &mut spans)?;
                    }
                    messages += 1;
                }
                Ok(())
            });
        }
    };
    for _ in 0..50 {
        round();
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        round();
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}
