//! Vectors of 16-bit integers, by the names of what the kernel does with them.
//!
//! [`Block`] is what the kernel is written in; here is its plain form, the one
//! that says what each operation means. `x86` has the same in registers, and
//! a test holds every instruction set against this one.

#![allow(unsafe_code, reason = "the interface is that of registers, which are read from addresses")]

use super::super::noise::{self, BLOCK, ReadNoise};
use super::pattern::{self, Pattern};

/// Some 16-bit lanes, 8, 16 or 32 of them.
///
/// Operations are lane by lane; sums and products wrap around unless the name
/// says otherwise.
pub trait Block: Copy {
    /// How many.
    const LANES: usize;

    /// Reads lanes.
    ///
    /// # Safety
    ///
    /// `from` can be read for `LANES` values.
    unsafe fn load(from: *const i16) -> Self;

    /// Writes lanes.
    ///
    /// # Safety
    ///
    /// `to` can be written for `LANES` values.
    unsafe fn store(self, to: *mut i16);

    /// The same value in all lanes.
    fn splat(value: i16) -> Self;

    /// Sum.
    fn add(self, other: Self) -> Self;

    /// Sum, stopping at the ends of the range.
    fn add_saturating(self, other: Self) -> Self;

    /// Rounded product of fractions, [`noise::product`].
    fn product(self, other: Self) -> Self;

    /// Product.
    fn times(self, other: Self) -> Self;

    /// The smaller.
    fn min(self, other: Self) -> Self;

    /// The larger.
    fn max(self, other: Self) -> Self;

    /// [`noise::byte_sum`].
    fn byte_sum(self) -> Self;

    /// [`deviation`].
    fn deviation(self, factor: f32) -> Self;
}

/// An instruction set: which registers hold which blocks, and how random words
/// come.
pub trait Simd {
    /// Eight lanes.
    type B8: Block;
    /// Sixteen lanes.
    type B16: Block;
    /// Thirty-two lanes.
    type B32: Block;

    /// Random words for eight planes of `n_blocks` blocks of values, `[plane]
    /// [half][value]`; see [`ReadNoise::draw`].
    fn random(noise: &ReadNoise, place: NoisePlace, n_blocks: usize, words: &mut Words);

    /// Codes at eight neighbouring addresses, for each offset one in a byte,
    /// the first one's lowest; at most eight offsets.
    #[inline(always)]
    fn neighbours(codes: &[u8], offsets: &[u32]) -> [u64; 8] {
        pattern::plain_neighbours(codes, offsets)
    }

    /// The patterns of eight words, [`Pattern::new`] of each.
    #[inline(always)]
    fn patterns(words: [u64; 8]) -> [Pattern; 8] {
        pattern::plain_patterns(words)
    }
}

/// Where noise is drawn.
#[derive(Debug, Clone, Copy)]
pub struct NoisePlace {
    /// Output position.
    pub position: u32,
    /// Output line of the first value.
    pub line: u32,
    /// First of eight planes.
    pub plane: u32,
}

/// Random words for eight planes of the widest block.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Words(pub [i16; 8 * 2 * 32]);

impl Words {
    /// Nothing drawn yet.
    pub const ZERO: Self = Self([0; _]);
}

/// Constants of [`deviation`]: the estimate of 1/sqrt by shifting the bits of a
/// float, with one step of Newton's method tuned to it (J. Kadlec, "Rychla
/// inverzni odmocnina", 2010): error below 0.07 %.
pub const ESTIMATE: i32 = 0x5F1F_FFF9;
/// See [`ESTIMATE`].
pub const SLOPE: f32 = 0.703_952_25;
/// See [`ESTIMATE`].
pub const OFFSET: f32 = 0.703_952_25 * 2.389_244_6;

/// `factor x sqrt(variance)`, to the nearest, of a variance of at least 0; the
/// result has to fit.
#[inline(always)]
pub fn deviation(variance: i16, factor: f32) -> i16 {
    let variance = f32::from(variance);
    let estimate = f32::from_bits((ESTIMATE - (variance.to_bits() >> 1) as i32) as u32);
    let root = variance * estimate;
    let correction = (-(root * estimate)).mul_add(SLOPE * factor, OFFSET * factor);
    (root * correction).round_ties_even() as i16
}

/// Lanes in plain code.
#[derive(Debug, Clone, Copy)]
pub struct Plain<const N: usize>([i16; N]);

impl<const N: usize> Plain<N> {
    #[inline(always)]
    fn map(mut self, f: impl Fn(i16) -> i16) -> Self {
        for lane in &mut self.0 {
            *lane = f(*lane);
        }
        self
    }

    #[inline(always)]
    fn zip(mut self, other: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        for (lane, other) in self.0.iter_mut().zip(other.0) {
            *lane = f(*lane, other);
        }
        self
    }
}

impl<const N: usize> Block for Plain<N> {
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn load(from: *const i16) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[i16; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i16) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[i16; N]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn splat(value: i16) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_add)
    }

    #[inline(always)]
    fn add_saturating(self, other: Self) -> Self {
        self.zip(other, i16::saturating_add)
    }

    #[inline(always)]
    fn product(self, other: Self) -> Self {
        self.zip(other, noise::product)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_mul)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, i16::min)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, i16::max)
    }

    #[inline(always)]
    fn byte_sum(self) -> Self {
        self.map(noise::byte_sum)
    }

    #[inline(always)]
    fn deviation(self, factor: f32) -> Self {
        self.map(|variance| deviation(variance, factor))
    }
}

/// Two blocks side by side, where registers are narrower than a block.
#[derive(Debug, Clone, Copy)]
pub struct Two<B>(B, B);

impl<B: Block> Block for Two<B> {
    const LANES: usize = 2 * B::LANES;

    #[inline(always)]
    unsafe fn load(from: *const i16) -> Self {
        // SAFETY: the caller's; the second half follows the first.
        unsafe { Self(B::load(from), B::load(from.add(B::LANES))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i16) {
        // SAFETY: as above.
        unsafe {
            self.0.store(to);
            self.1.store(to.add(B::LANES));
        }
    }

    #[inline(always)]
    fn splat(value: i16) -> Self {
        Self(B::splat(value), B::splat(value))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0), self.1.add(other.1))
    }

    #[inline(always)]
    fn add_saturating(self, other: Self) -> Self {
        Self(self.0.add_saturating(other.0), self.1.add_saturating(other.1))
    }

    #[inline(always)]
    fn product(self, other: Self) -> Self {
        Self(self.0.product(other.0), self.1.product(other.1))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(self.0.times(other.0), self.1.times(other.1))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.min(other.1))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0), self.1.max(other.1))
    }

    #[inline(always)]
    fn byte_sum(self) -> Self {
        Self(self.0.byte_sum(), self.1.byte_sum())
    }

    #[inline(always)]
    fn deviation(self, factor: f32) -> Self {
        Self(self.0.deviation(factor), self.1.deviation(factor))
    }
}

/// What every machine has.
#[derive(Debug)]
pub struct PlainCode;

impl Simd for PlainCode {
    type B8 = Plain<8>;
    type B16 = Two<Plain<8>>;
    type B32 = Two<Two<Plain<8>>>;

    #[inline(always)]
    fn random(noise: &ReadNoise, place: NoisePlace, n_blocks: usize, words: &mut Words) {
        for (number, words) in words.0.chunks_exact_mut(BLOCK).take(8 * 2 * n_blocks).enumerate() {
            let counter = counter(place, number as u32, n_blocks as u32);
            let bytes = noise.keys.encipher([place.position, counter, 0, 0]);
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = i16::from_le_bytes(*bytes);
            }
        }
    }
}

/// The counter of the block of words with this number in `[plane][half]
/// [block of values]`.
#[inline(always)]
pub fn counter(place: NoisePlace, number: u32, n_blocks: u32) -> u32 {
    let (row, block) = (number / n_blocks, number % n_blocks);
    noise::counter(place.line + BLOCK as u32 * block, place.plane + row / 2, row % 2)
}
