//! Which lines of a group are driven in each plane.

use rayon::prelude::*;

use super::block::Simd;
use super::instructions::{Instructions, Task};

/// The most lines that share a table.
pub const MAX_LINES: usize = 8;

/// Planes of one pattern: the bits of a byte.
pub const OCTET: usize = 8;

/// For each of eight planes the lines of a group whose bit is 1: bit `i` for
/// line `i`, times 16, so that an address follows without a shift. Sixteen
/// bits a plane, four planes a word.
///
/// Never more than 255 times 16: the kernel's addresses rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(16))]
pub struct Pattern {
    words: [u64; 2],
}

impl Pattern {
    /// The pattern of a group's codes, eight bits each, the first line's lowest.
    #[inline(always)]
    pub fn new(codes: u64) -> Self {
        let planes = transposed(codes);
        Self { words: [spread(planes & 0xFFFF_FFFF), spread(planes >> 32)] }
    }

    /// Lines driven in a plane, as a number.
    #[inline(always)]
    pub fn lines(&self, plane: usize) -> usize {
        usize::from((self.words[plane / 4] >> (16 * (plane % 4))) as u16 >> 4)
    }

    /// The words of a pattern, read one by one: the compiler would otherwise
    /// load them as a vector and take its parts out again, which costs more
    /// than the table rows they address.
    ///
    /// # Safety
    ///
    /// `from` can be read.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the kernel addresses patterns without checks, see `narrow`")]
    pub unsafe fn words(from: *const Self) -> [u64; 2] {
        let words = from.cast::<u64>();
        // SAFETY: the caller's; a pattern is two words.
        unsafe { [words.read_volatile(), words.add(1).read_volatile()] }
    }
}

/// An 8 x 8 matrix of bits, transposed by exchanging ever larger blocks
/// (Warren, "Hacker's Delight", 7-3).
#[inline(always)]
fn transposed(x: u64) -> u64 {
    let exchange = |x: u64, distance: u32, mask: u64| {
        let different = (x ^ (x >> distance)) & mask;
        x ^ different ^ (different << distance)
    };
    let x = exchange(x, 7, 0x00AA_00AA_00AA_00AA);
    let x = exchange(x, 14, 0x0000_CCCC_0000_CCCC);
    exchange(x, 28, 0x0000_0000_F0F0_F0F0)
}

/// Four bytes as 16 times as much in 16 bits each.
#[inline(always)]
fn spread(x: u64) -> u64 {
    let x = (x | x << 16) & 0x0000_FFFF_0000_FFFF;
    let x = (x | x << 8) & 0x00FF_00FF_00FF_00FF;
    x << 4
}

/// Which patterns a layer needs of a tensor of codes.
///
/// Groups of lines that are alike but for a shift share their patterns: a
/// convolution's taps read the same ones at other addresses. So a tensor is
/// turned into patterns once, however often it is read.
///
/// ```text
/// pattern [slot][run][address]: of the codes at
///     slot.start + run + stride x address + slot.offsets[line]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatternMap {
    /// Groups of lines that are not alike.
    pub slots: Vec<Slot>,
    /// Where each run of neighbouring addresses begins.
    pub runs: Vec<u32>,
    /// Addresses of a run.
    pub run_length: usize,
    /// Codes from one address to the next.
    pub stride: usize,
}

/// Lines of a group in a tensor of codes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Slot {
    /// What the group's first line adds to an address.
    pub start: u32,
    /// Where each line is from there; at most [`MAX_LINES`].
    pub offsets: Vec<u32>,
}

impl PatternMap {
    /// Patterns of one slot.
    pub fn n_addresses(&self) -> usize {
        self.runs.len() * self.run_length
    }

    /// Patterns of one input.
    pub fn n_patterns(&self) -> usize {
        self.slots.len() * self.n_addresses()
    }

    /// Codes that are read: a tensor's and some behind it, which no wave uses,
    /// since eight addresses are read at once, and eight codes.
    pub fn n_codes(&self) -> usize {
        let reach = |slot: &Slot| slot.start + slot.offsets.iter().max().copied().unwrap_or(0);
        let slots = self.slots.iter().map(reach).max().unwrap_or(0) as usize;
        let runs = self.runs.iter().max().copied().unwrap_or(0) as usize;
        slots + runs + (self.run_length + 7) * self.stride + 8
    }

    /// Turns codes of eight bits into patterns.
    ///
    /// # Panics
    ///
    /// There are fewer codes than [`Self::n_codes`] or fewer patterns than
    /// [`Self::n_patterns`].
    pub fn fill(&self, codes: &[u8], patterns: &mut [Pattern]) {
        Instructions::detect().run(Fill { map: self, slots: &self.slots, codes, patterns });
    }

    /// [`Self::fill`] by all threads, for a single input.
    ///
    /// # Panics
    ///
    /// As [`Self::fill`].
    pub fn fill_by_all(&self, codes: &[u8], patterns: &mut [Pattern]) {
        let n_slots = self.slots.len().div_ceil(rayon::current_num_threads()).max(1);
        patterns
            .par_chunks_mut((n_slots * self.n_addresses()).max(1))
            .zip(self.slots.par_chunks(n_slots))
            .for_each(|(patterns, slots)| {
                Instructions::detect().run(Fill { map: self, slots, codes, patterns });
            });
    }
}

struct Fill<'a> {
    map: &'a PatternMap,
    slots: &'a [Slot],
    codes: &'a [u8],
    patterns: &'a mut [Pattern],
}

impl Task for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { map, slots, codes, patterns } = self;
        let mut runs = patterns.chunks_exact_mut(map.run_length.max(1));
        for slot in slots {
            let offsets = &slot.offsets[..];
            let side_by_side = offsets.iter().zip(0..).all(|(&offset, nth)| offset == nth);
            for (&run, patterns) in map.runs.iter().zip(&mut runs) {
                let codes = &codes[(slot.start + run) as usize..];
                if map.stride == 1 {
                    fill::<S>(patterns, |first| S::neighbours(&codes[first..], offsets));
                } else if side_by_side {
                    let mask = u64::MAX >> (64 - 8 * offsets.len().clamp(1, 8));
                    let word = |address: usize| {
                        let bytes = codes[address * map.stride..].first_chunk();
                        u64::from_le_bytes(*bytes.unwrap_or(&[0; 8])) & mask
                    };
                    fill::<S>(patterns, |first| eight(first, word));
                } else {
                    let word = |address: usize| gather(&codes[address * map.stride..], offsets);
                    fill::<S>(patterns, |first| eight(first, word));
                }
            }
        }
    }
}

/// Fills patterns from the codes of eight addresses at a time. The last eight
/// of a run overlap those before; a run of fewer is read beyond its end, see
/// [`PatternMap::n_codes`].
#[inline(always)]
fn fill<S: Simd>(patterns: &mut [Pattern], words: impl Fn(usize) -> [u64; 8]) {
    let last = patterns.len().saturating_sub(8);
    for first in (0..patterns.len()).step_by(8).map(|first| first.min(last)) {
        let found = S::patterns(words(first));
        match patterns[first..].first_chunk_mut() {
            Some(patterns) => *patterns = found,
            None => patterns.copy_from_slice(&found[..patterns.len()]),
        }
    }
}

/// The patterns of eight words, [`Pattern::new`] of each.
#[inline(always)]
pub fn plain_patterns(mut words: [u64; 8]) -> [Pattern; 8] {
    // Step by step for all eight, so that each step is one of vectors.
    for planes in &mut words {
        *planes = transposed(*planes);
    }
    let low = words.map(|planes| spread(planes & 0xFFFF_FFFF));
    let high = words.map(|planes| spread(planes >> 32));
    let mut patterns = [Pattern::default(); 8];
    for (pattern, words) in patterns.iter_mut().zip(low.into_iter().zip(high)) {
        pattern.words = words.into();
    }
    patterns
}

/// The words of eight addresses.
#[inline(always)]
fn eight(first: usize, word: impl Fn(usize) -> u64) -> [u64; 8] {
    let mut words = [0; 8];
    for (nth, own) in words.iter_mut().enumerate() {
        *own = word(first + nth);
    }
    words
}

/// Codes of a group at eight neighbouring addresses.
#[inline(always)]
pub fn plain_neighbours(codes: &[u8], offsets: &[u32]) -> [u64; 8] {
    let mut words = [0u64; 8];
    for (line, &offset) in offsets.iter().enumerate() {
        for (word, &code) in words.iter_mut().zip(&codes[offset as usize..offset as usize + 8]) {
            *word |= u64::from(code) << (8 * line);
        }
    }
    words
}

/// Codes of a group at one address.
#[inline(always)]
fn gather(codes: &[u8], offsets: &[u32]) -> u64 {
    offsets.iter().rev().fold(0, |word, &offset| word << 8 | u64::from(codes[offset as usize]))
}

#[cfg(test)]
mod tests {
    //! A pattern has the bits of its codes.

    use super::*;

    #[test]
    fn a_pattern_is_the_transposed_matrix_of_bits() {
        let codes = [0x5Au8, 0xFF, 0x00, 0x81, 0x13, 0xC8, 0x7E, 0x91];
        let word = codes.iter().rev().fold(0u64, |word, &code| word << 8 | u64::from(code));
        let pattern = Pattern::new(word);
        for plane in 0..OCTET {
            for (line, code) in codes.iter().enumerate() {
                assert_eq!(pattern.lines(plane) >> line & 1, usize::from(code >> plane & 1));
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_codes_of_every_address() {
        let codes: Vec<u8> = (0..500u32).map(|i| (i * 89 % 251) as u8).collect();
        for (stride, run_length) in [(1, 21), (3, 5), (1, 8), (2, 1)] {
            let slot = |start, offsets: &[u32]| Slot { start, offsets: offsets.to_vec() };
            let map = PatternMap {
                slots: vec![
                    slot(0, &[0, 7, 30]),
                    slot(11, &[0, 1, 2, 3, 4, 5, 6, 7]),
                    slot(3, &[9, 0, 2, 40, 17, 1, 30, 8]),
                ],
                runs: vec![0, 40, 90],
                run_length,
                stride,
            };
            for instructions in Instructions::available() {
                let mut patterns = vec![Pattern::default(); map.n_patterns()];
                let (slots, patterns_mut) = (&map.slots[..], &mut patterns[..]);
                instructions.run(Fill { map: &map, slots, codes: &codes, patterns: patterns_mut });
                let mut found = patterns.iter();
                for slot in &map.slots {
                    for &run in &map.runs {
                        for address in 0..run_length {
                            let pattern = found.next().unwrap();
                            let first = (slot.start + run) as usize + address * stride;
                            for (line, &offset) in slot.offsets.iter().enumerate() {
                                let code = codes[first + offset as usize];
                                for plane in 0..OCTET {
                                    let bit = pattern.lines(plane) >> line & 1;
                                    assert_eq!(
                                        bit,
                                        usize::from(code >> plane & 1),
                                        "{instructions:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
