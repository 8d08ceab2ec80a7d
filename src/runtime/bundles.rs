//! Which of a tile's lines share a table, and which patterns they need.
//!
//! Any lines may share a table, but only those that lie alike at other
//! addresses share patterns, so bundles run along loops of the nest: channels
//! of one tap, taps of one channel, whatever gives the fewest.
//!
//! ```text
//! conv 3x3 over 16 channels, bundles of up to 8:
//!   along channels         9 taps x 2 x 8 channels, 2 slots for all taps
//!   along channels and x   3 rows x 6 x 8 of 16 channels x 3 taps, 6 slots
//! ```

use std::collections::BTreeMap;

use crate::chip::{Bundle, PatternMap, Slot};

/// A loop over lines: how far apart its steps are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// In the padded tensor of codes.
    pub codes: usize,
    /// The part of that along axes that output positions walk.
    pub walked_codes: usize,
    /// Among the addresses that output positions walk.
    pub addresses: usize,
}

/// Collects the patterns of a layer, tile by tile.
#[derive(Debug, Clone)]
pub(super) struct Bundler {
    /// Loops over lines: of groups, then of rows.
    steps: Vec<Step>,
    n_positions: usize,
    map: PatternMap,
    numbers: BTreeMap<Slot, usize>,
}

/// One way to bundle a tile's lines.
struct Candidate {
    /// Slot, place among the addresses, and lines of each bundle.
    bundles: Vec<(Slot, usize, Vec<Option<u32>>)>,
    cost: usize,
}

impl Bundler {
    /// For a layer whose positions walk the addresses of `map`, which has no
    /// slots yet.
    pub(super) fn new(steps: Vec<Step>, n_positions: usize, map: PatternMap) -> Self {
        Self { steps, n_positions, map, numbers: BTreeMap::new() }
    }

    /// Bundles the lines of a tile, each given by its loop counters; `None` if
    /// the layer needs more than 2^32 patterns.
    pub(super) fn bundle(&mut self, lines: &[Vec<usize>], most: usize) -> Option<Vec<Bundle>> {
        let n_loops = self.steps.len();
        let varies = |&nth: &usize| lines.iter().any(|line| line[nth] != lines[0][nth]);
        let varying: Vec<usize> = (0..n_loops).filter(varies).collect();
        let candidates = (1u32..1 << varying.len().min(8)).filter_map(|chosen| {
            let inner: Vec<usize> = varying
                .iter()
                .enumerate()
                .filter(|(bit, _)| chosen >> bit & 1 == 1)
                .map(|(_, &nth)| nth)
                .collect();
            self.candidate(lines, &inner, most)
        });
        let best = candidates.min_by_key(|candidate| candidate.cost);
        // A single line, or lines too scattered to run along a loop.
        let best = best.or_else(|| self.candidate(lines, &[], most));
        let bundles = best.map(|best| best.bundles).unwrap_or_default();
        bundles
            .into_iter()
            .map(|(slot, address, lines)| {
                let n_addresses = self.map.n_addresses();
                let number = *self.numbers.entry(slot).or_insert_with_key(|slot| {
                    self.map.slots.push(slot.clone());
                    self.map.slots.len() - 1
                });
                let offset = number.checked_mul(n_addresses)?.checked_add(address)?;
                Some(Bundle { lines, offset: offset.try_into().ok()? })
            })
            .collect()
    }

    /// What all tiles need.
    pub(super) fn finish(self) -> PatternMap {
        self.map
    }

    /// Bundles that run along these loops, the last one fastest; `None` where
    /// most of a bundle would be lines of no tile.
    fn candidate(&self, lines: &[Vec<usize>], inner: &[usize], most: usize) -> Option<Candidate> {
        let range = |&nth: &usize| {
            let counters = lines.iter().map(|line| line[nth]);
            let (min, max) = counters.fold((usize::MAX, 0), |(a, b), c| (a.min(c), b.max(c)));
            (min, max - min + 1)
        };
        let ranges: Vec<(usize, usize)> = inner.iter().map(range).collect();
        let span: usize = ranges.iter().map(|(_, extent)| extent).product();
        if span > 4 * lines.len() {
            return None;
        }
        // Bundles as equal as can be.
        let size = span.div_ceil(span.div_ceil(most));
        let mut found: BTreeMap<(Vec<usize>, usize), Vec<Option<u32>>> = BTreeMap::new();
        for (number, line) in (0u32..).zip(lines) {
            let flat = inner
                .iter()
                .zip(&ranges)
                .fold(0, |flat, (&nth, (min, extent))| flat * extent + line[nth] - min);
            let mut outer = line.clone();
            inner.iter().for_each(|&nth| outer[nth] = 0);
            let bundle = flat / size;
            let length = size.min(span - bundle * size);
            let lines = found.entry((outer, bundle)).or_insert_with(|| vec![None; length]);
            lines[flat % size] = Some(number);
        }
        let bundles: Vec<_> = found
            .into_iter()
            .map(|((outer, bundle), lines)| {
                let counters = |flat: usize| {
                    let (mut counters, mut rest) = (outer.clone(), flat);
                    for (&nth, (min, extent)) in inner.iter().zip(&ranges).rev() {
                        counters[nth] = min + rest % extent;
                        rest /= extent;
                    }
                    counters
                };
                let along = |step: fn(&Step) -> usize, counters: &[usize]| -> usize {
                    self.steps.iter().zip(counters).map(|(s, counter)| step(s) * counter).sum()
                };
                let own: Vec<Vec<usize>> =
                    (0..lines.len()).map(|nth| counters(bundle * size + nth)).collect();
                let codes: Vec<usize> =
                    own.iter().map(|counters| along(|step| step.codes, counters)).collect();
                // Offsets are counted from the line that lies first.
                let nearest = (0..own.len()).min_by_key(|&nth| codes[nth]).unwrap_or(0);
                let first = &own[nearest];
                let start = codes[nearest] - along(|step| step.walked_codes, first);
                let offsets = codes.iter().map(|&own| (own - codes[nearest]) as u32).collect();
                let slot = Slot { start: start as u32, offsets };
                (slot, along(|step| step.addresses, first), lines)
            })
            .collect();
        let mut slots: Vec<&Slot> = bundles
            .iter()
            .map(|(slot, ..)| slot)
            .filter(|s| !self.numbers.contains_key(s))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        // Measured: a pattern made costs about a quarter of a bundle driven
        // through its eight planes.
        let cost = 4 * bundles.len() * self.n_positions + slots.len() * self.map.n_addresses();
        Some(Candidate { bundles, cost })
    }
}

#[cfg(test)]
mod tests {
    //! Bundles hold each line once, and their patterns are where they say.

    use super::*;

    /// A 3x3 convolution over `channels` on a padded image of `height` x
    /// `width`.
    fn bundler(height: usize, width: usize) -> Bundler {
        let step = |codes, walked_codes| Step { codes, walked_codes, addresses: walked_codes };
        let steps = vec![step(height * width, 0), step(width, width), step(1, 1)];
        let runs = (0..height as u32).map(|y| y * width as u32).collect();
        let map = PatternMap { slots: Vec::new(), runs, run_length: width, stride: 1 };
        Bundler::new(steps, (height - 2) * (width - 2), map)
    }

    fn lines(rows: std::ops::Range<usize>) -> Vec<Vec<usize>> {
        rows.map(|row| vec![row / 9, row / 3 % 3, row % 3]).collect()
    }

    #[test]
    fn each_line_is_in_one_bundle_and_lies_where_its_slot_says() {
        for rows in [0..144, 128..144, 5..9, 3..4, 100..128, 0..9] {
            let mut bundler = bundler(10, 12);
            let lines = lines(rows.clone());
            let bundles = bundler.bundle(&lines, 6).unwrap();
            let map = bundler.finish();
            let mut seen = vec![0; lines.len()];
            for bundle in &bundles {
                assert!(bundle.lines.len() <= 6);
                let (slot, address) = (
                    &map.slots[bundle.offset as usize / map.n_addresses()],
                    bundle.offset as usize % map.n_addresses(),
                );
                assert_eq!(slot.offsets.len(), bundle.lines.len());
                for (line, offset) in bundle.lines.iter().zip(&slot.offsets) {
                    let Some(line) = line else { continue };
                    seen[*line as usize] += 1;
                    let [c, y, x] = lines[*line as usize][..] else { unreachable!() };
                    let wanted = c * 120 + y * 12 + x;
                    assert_eq!(slot.start as usize + address + *offset as usize, wanted);
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{rows:?}: {seen:?}");
        }
    }

    #[test]
    fn bundles_run_along_what_gives_the_fewest() {
        let n_bundles = |rows| bundler(34, 34).bundle(&lines(rows), 6).unwrap().len();
        assert_eq!(n_bundles(0..144), 24, "3 rows of taps, two channels x 3 taps each");
        assert_eq!(n_bundles(0..9), 2, "one channel, along taps");
        assert_eq!(n_bundles(126..144), 3, "two channels of three taps, row by row");
    }
}
