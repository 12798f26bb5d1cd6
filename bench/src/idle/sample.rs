//! Whether idle groups still serve: a write and a linearizable read of each group in a sample.

use kontiki::Store;
use kontiki::kvstore::CallError;
use serde::Serialize;

use crate::clock::{Clock, micros};

/// Refusals that pass by themselves, a lost leader say, before a group counts as one that does not serve.
const TRIES: usize = 50;

/// What became of the sample.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    pub(super) groups: u64,
    pub(super) served: u64,
    /// Calls that had to be repeated.
    pub(super) repeated: u64,
    /// The slowest write, and the slowest read, from the first attempt on.
    pub(super) write_us_max: u64,
    pub(super) read_us_max: u64,
    /// The first group that did not serve, and what it said.
    pub(super) fault: Option<String>,
}

/// The node that leads `group` and says so itself.
pub(super) fn leader(stores: &[Store], group: u64) -> Option<&Store> {
    let leads = |store: &&Store| store.engine().leader(group) == Some(store.engine().node_id());
    stores.iter().find(leads)
}

/// Writes to and reads from `count` groups, evenly spread.
pub(super) fn serve(stores: &[Store], count: u64) -> Sample {
    let ranges = stores[0].engine().ranges();
    let mut sample = Sample { groups: count, ..Sample::default() };
    for number in 0..count {
        let all = ranges.len() as u64;
        let at = usize::try_from(number * all / count).expect("less than the number of ranges");
        let (group, bounds) = ranges.range(at);
        // The first range starts with the empty key, which is none.
        let key = if bounds.start.is_empty() { vec![0] } else { bounds.start };
        match serve_one(stores, group, &key, &mut sample) {
            Ok(()) => sample.served += 1,
            Err(why) if sample.fault.is_none() => {
                sample.fault = Some(format!("group {group}: {why}"));
            }
            Err(_) => {}
        }
    }
    sample
}

fn serve_one(stores: &[Store], group: u64, key: &[u8], sample: &mut Sample) -> Result<(), String> {
    let value = group.to_le_bytes();
    let clock = Clock::new();
    persist(stores, group, sample, |store| store.put(key, &value).map(drop))?;
    sample.write_us_max = sample.write_us_max.max(micros(clock.elapsed()));
    let clock = Clock::new();
    let found = persist(stores, group, sample, |store| store.get(key))?;
    sample.read_us_max = sample.read_us_max.max(micros(clock.elapsed()));
    if found.as_deref() == Some(&value) { Ok(()) } else { Err(format!("read {found:?}")) }
}

/// Calls the leader of `group`, and again when the call is refused.
fn persist<T>(
    stores: &[Store],
    group: u64,
    sample: &mut Sample,
    call: impl Fn(&Store) -> Result<T, CallError>,
) -> Result<T, String> {
    let mut last = "no leader".to_owned();
    for _ in 0..TRIES {
        match leader(stores, group).map(&call) {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => last = error.to_string(),
            None => {}
        }
        sample.repeated += 1;
        std::thread::park_timeout(super::LOOK);
    }
    Err(last)
}
