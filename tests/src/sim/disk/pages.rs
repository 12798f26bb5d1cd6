//! A file as pages: what a reader sees, what is on the medium, and what a power cut makes of the difference.
//!
//! Writes go to the cache. A sync copies the dirty pages to the medium. When the power goes, each page that was not synced
//! is kept, lost, zeroed, or torn behind some of its sectors, each for itself, and the file may end anywhere between what
//! was synced and what was written. What was synced once stays: a page that is written again holds, sector by sector, the
//! old bytes or the new ones.
//!
//! A failed sync leaves pages that look written and never will be (Linux marks them clean): they are *phantoms*, seen by
//! everyone until the power goes.
//!
//! Invariant: without a power cut a reader sees every write.
//! Deliberately absent: names (`drive.rs`).

use std::collections::BTreeSet;

use crate::sim::random::Rng;

/// The unit in which a cache goes to the medium.
pub const PAGE: usize = 4096;
/// The unit that is never torn.
pub const SECTOR: usize = 512;

/// A file; see the module.
#[derive(Clone, Debug, Default)]
pub struct PageFile {
    cache: Vec<u8>,
    medium: Vec<u8>,
    dirty: BTreeSet<usize>,
    phantom: BTreeSet<usize>,
    /// The file was cut to this length, and that was not synced.
    cut: Option<usize>,
}

/// What a power cut does to pages that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Zeroed,
    /// So many sectors are kept.
    Torn(usize),
}

impl PageFile {
    /// What a reader sees.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.cache
    }

    /// What is certain to outlive a power cut; zeroes where nothing was synced yet.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Whether a power cut may take something away.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.cut.is_some() || !self.phantom.is_empty()
    }

    /// Writes at an offset, into the cache.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        let from = at.min(self.cache.len());
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[at..end].copy_from_slice(bytes);
        for page in from / PAGE..=(end - 1) / PAGE {
            self.dirty.insert(page);
            self.phantom.remove(&page);
        }
    }

    /// Cuts the file, or fills it up with zeroes.
    pub fn set_len(&mut self, len: usize) {
        if len > self.cache.len() {
            let at = self.cache.len();
            return self.write_at(at, &vec![0; len - at]);
        }
        self.cache.truncate(len);
        let keep = len.div_ceil(PAGE);
        self.dirty.retain(|&page| page < keep);
        self.phantom.retain(|&page| page < keep);
        if len < self.medium.len() {
            self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
        }
    }

    /// Makes everything that was written durable, phantoms excepted.
    pub fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.medium.truncate(cut);
        }
        self.medium.resize(self.cache.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let range = page * PAGE..((page + 1) * PAGE).min(self.cache.len());
            self.medium[range.clone()].copy_from_slice(&self.cache[range]);
        }
    }

    /// A sync fails: what was dirty looks clean from now on.
    pub fn fail_sync(&mut self) {
        self.phantom.append(&mut self.dirty);
    }

    /// The power goes.
    pub fn lose_power(&mut self, dice: &mut Rng) {
        if !self.is_dirty() {
            return;
        }
        let mut left = self.medium.clone();
        if let Some(cut) = self.cut.take().filter(|_| dice.chance(500)) {
            left.truncate(cut);
        }
        let synced = left.len();
        let mut pages = std::mem::take(&mut self.dirty);
        pages.append(&mut self.phantom);
        let mut kept_to = synced;
        for (page, fate) in fates(&pages, dice) {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(self.cache.len()));
            let kept = match fate {
                Fate::Kept => to - from,
                Fate::Torn(sectors) => (sectors * SECTOR).min(to - from),
                Fate::Lost | Fate::Zeroed => 0,
            };
            if kept > 0 || fate == Fate::Zeroed {
                left.resize(left.len().max(to), 0);
                kept_to = kept_to.max(if fate == Fate::Zeroed { to } else { from + kept });
            }
            if kept > 0 {
                left[from..from + kept].copy_from_slice(&self.cache[from..from + kept]);
            }
        }
        // The length is a fact of its own: it may be ahead of what was written, or behind.
        let longest = self.cache.len().max(synced);
        let len = match dice.below(4) {
            0 | 1 => longest,
            2 => kept_to,
            _ => usize::try_from(dice.between(synced as u64, longest as u64)).expect("a file"),
        };
        left.resize(len, 0);
        self.medium.clone_from(&left);
        self.cache = left;
    }

    /// Flips a bit, on the medium and in the cache.
    pub fn flip(&mut self, at: usize, bit: u32) {
        for bytes in [&mut self.cache, &mut self.medium] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }
}

/// What becomes of each page: all alike, a beginning of them kept, or each for itself.
fn fates(pages: &BTreeSet<usize>, dice: &mut Rng) -> Vec<(usize, Fate)> {
    let shape = dice.below(10);
    let kept = dice.below(pages.len() as u64 + 1);
    (0..)
        .zip(pages)
        .map(|(number, &page)| {
            let fate = match shape {
                0 | 1 => Fate::Kept,
                2 => Fate::Lost,
                3 => Fate::Zeroed,
                4 | 5 if number < kept => Fate::Kept,
                4 | 5 if number > kept => Fate::Lost,
                4 | 5 => torn(dice),
                _ => match dice.below(4) {
                    0 => Fate::Kept,
                    1 => Fate::Lost,
                    2 => Fate::Zeroed,
                    _ => torn(dice),
                },
            };
            (page, fate)
        })
        .collect()
}

fn torn(dice: &mut Rng) -> Fate {
    Fate::Torn(usize::try_from(dice.between(1, (PAGE / SECTOR) as u64 - 1)).expect("small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(from: u64, len: usize) -> Vec<u8> {
        let mut dice = Rng::new(from);
        (0..len).map(|_| u8::try_from(dice.between(1, 255)).unwrap()).collect()
    }

    #[test]
    fn what_was_synced_outlives_every_power_cut() {
        for seed in 0..2_000 {
            let mut dice = Rng::new(seed);
            let (first, second) = (dice.place(20_000), dice.place(20_000));
            let mut file = PageFile::default();
            let whole = bytes(seed, first + second);
            file.write_at(0, &whole[..first]);
            file.sync();
            file.write_at(first, &whole[first..]);
            assert_eq!(file.bytes(), &whole);
            file.lose_power(&mut dice);
            let left = file.bytes();
            assert!((first..=whole.len()).contains(&left.len()), "{} of {first}", left.len());
            assert_eq!(&left[..first], &whole[..first]);
            for (at, (&found, &written)) in left.iter().zip(&whole).enumerate() {
                assert!(found == written || (found == 0 && at >= first), "byte {at}");
            }
            assert!(!file.is_dirty());
            assert_eq!(file.bytes(), file.medium());
        }
    }

    #[test]
    fn every_fate_of_a_page_comes_about() {
        let (mut kept, mut lost, mut zeroed, mut torn, mut holed) = (0, 0, 0, 0, 0);
        for seed in 0..500 {
            let mut file = PageFile::default();
            let whole = bytes(seed, 3 * PAGE);
            file.write_at(0, &whole);
            file.lose_power(&mut Rng::new(seed));
            let left = file.bytes();
            let same = |page: &usize| {
                left.get(page * PAGE..(page + 1) * PAGE)
                    == Some(&whole[page * PAGE..(page + 1) * PAGE])
            };
            kept += u32::from(left == whole);
            lost += u32::from(left.is_empty());
            zeroed += u32::from(left.len() == whole.len() && left.iter().all(|&byte| byte == 0));
            torn += u32::from(
                left.len() > SECTOR && same(&0) && !same(&1) && left.get(PAGE) == whole.get(PAGE),
            );
            holed += u32::from(!same(&0) && same(&2));
        }
        for count in [kept, lost, zeroed, torn, holed] {
            assert!(count > 5, "{kept} {lost} {zeroed} {torn} {holed}");
        }
    }

    #[test]
    fn a_page_written_again_is_old_or_new_by_sectors() {
        let (old, new) = (bytes(1, 2 * SECTOR), bytes(2, 2 * SECTOR));
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let mut file = PageFile::default();
            file.write_at(0, &old);
            file.sync();
            file.write_at(0, &new);
            file.lose_power(&mut Rng::new(seed));
            let sector = |at: usize| {
                let range = at * SECTOR..(at + 1) * SECTOR;
                let is_new = file.bytes()[range.clone()] == new[range.clone()];
                assert!(is_new || file.bytes()[range.clone()] == old[range]);
                is_new
            };
            seen.insert((sector(0), sector(1)));
        }
        assert_eq!(seen.len(), 3, "both, none, and the first alone: {seen:?}");
    }

    #[test]
    fn l21_what_a_failed_sync_left_is_seen_until_the_power_goes() {
        let mut lost = false;
        for seed in 0..50 {
            let mut file = PageFile::default();
            file.write_at(0, &[7; 100]);
            file.fail_sync();
            file.sync();
            assert_eq!(file.bytes(), &[7; 100], "it looks written");
            assert_eq!(file.medium(), &[0; 100], "and is not, whatever the second sync says");
            file.lose_power(&mut Rng::new(seed));
            lost |= file.bytes() != [7; 100];
        }
        assert!(lost);
    }

    #[test]
    fn a_cut_that_was_not_synced_may_come_undone() {
        let mut lens = BTreeSet::new();
        for seed in 0..50 {
            let mut file = PageFile::default();
            file.write_at(0, &[7; 100]);
            file.sync();
            file.set_len(40);
            file.lose_power(&mut Rng::new(seed));
            lens.insert(file.bytes().len());
            file.set_len(30);
            file.sync();
            file.lose_power(&mut Rng::new(seed));
            assert_eq!(file.bytes(), [7; 30]);
        }
        assert_eq!(lens, BTreeSet::from([40, 100]));
    }
}
