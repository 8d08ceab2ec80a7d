//! Blocks in the registers of x86 processors.
//!
//! Everything here is written in `inline(always)` functions that are compiled
//! into functions with the features they need; `instructions` enters those
//! only where the processor has the features.

#![allow(
    unsafe_code,
    reason = "the vector instructions that the kernel's speed comes from: a factor of 2 to 4 over \
              what the compiler makes of plain loops, by benches/kernel.rs"
)]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::super::noise::{BLOCK, N_ROUNDS, ReadNoise};
use super::block::{Block, ESTIMATE, NoisePlace, OFFSET, SLOPE, Simd, Two, Words, counter};
use super::pattern::{MAX_LINES, Pattern};

/// 256-bit registers, with instructions for AES and fused multiply-add.
#[derive(Debug)]
pub struct Avx2;

/// 512-bit registers, with instructions for AES, bytes and matrices of bits on
/// them, as all processors since 2019 have that have the first.
#[derive(Debug)]
pub struct Avx512;

macro_rules! block {
    (
        $(#[$doc:meta])* $name:ident($register:ty), $lanes:literal lanes,
        $load:ident $store:ident $splat:ident $add:ident $add_saturating:ident $product:ident
        $times:ident $min:ident $max:ident $byte_sum:ident, $deviation:path
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name($register);

        // SAFETY of all below: the module's documentation; addresses are the
        // caller's.
        impl Block for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(from: *const i16) -> Self {
                unsafe { Self($load(from.cast())) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut i16) {
                unsafe { $store(to.cast(), self.0) }
            }

            #[inline(always)]
            fn splat(value: i16) -> Self {
                unsafe { Self($splat(value)) }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                unsafe { Self($add(self.0, other.0)) }
            }

            #[inline(always)]
            fn add_saturating(self, other: Self) -> Self {
                unsafe { Self($add_saturating(self.0, other.0)) }
            }

            #[inline(always)]
            fn product(self, other: Self) -> Self {
                unsafe { Self($product(self.0, other.0)) }
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                unsafe { Self($times(self.0, other.0)) }
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                unsafe { Self($min(self.0, other.0)) }
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                unsafe { Self($max(self.0, other.0)) }
            }

            #[inline(always)]
            fn byte_sum(self) -> Self {
                // Each byte 64 times, neighbours added.
                unsafe { Self($byte_sum(self.0, $splat(0x4040))) }
            }

            #[inline(always)]
            fn deviation(self, factor: f32) -> Self {
                unsafe { Self($deviation(self.0, factor)) }
            }
        }
    };
}

block!(
    /// One 128-bit register.
    X(__m128i), 8 lanes,
    _mm_loadu_si128 _mm_storeu_si128 _mm_set1_epi16 _mm_add_epi16 _mm_adds_epi16
    _mm_mulhrs_epi16 _mm_mullo_epi16 _mm_min_epi16 _mm_max_epi16 _mm_maddubs_epi16, deviation_x
);
block!(
    /// One 256-bit register.
    Y(__m256i), 16 lanes,
    _mm256_loadu_si256 _mm256_storeu_si256 _mm256_set1_epi16 _mm256_add_epi16 _mm256_adds_epi16
    _mm256_mulhrs_epi16 _mm256_mullo_epi16 _mm256_min_epi16 _mm256_max_epi16
    _mm256_maddubs_epi16, deviation_y
);
block!(
    /// One 512-bit register.
    Z(__m512i), 32 lanes,
    _mm512_loadu_si512 _mm512_storeu_si512 _mm512_set1_epi16 _mm512_add_epi16 _mm512_adds_epi16
    _mm512_mulhrs_epi16 _mm512_mullo_epi16 _mm512_min_epi16 _mm512_max_epi16
    _mm512_maddubs_epi16, deviation_z
);

/// [`super::block::deviation`] of eight variances of 32 bits.
#[inline(always)]
unsafe fn deviation_of_8(variances: __m256i, factor: f32) -> __m256i {
    unsafe {
        let variance = _mm256_cvtepi32_ps(variances);
        let half = _mm256_srli_epi32::<1>(_mm256_castps_si256(variance));
        let estimate = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(ESTIMATE), half));
        let root = _mm256_mul_ps(variance, estimate);
        let correction = _mm256_fnmadd_ps(
            _mm256_mul_ps(root, estimate),
            _mm256_set1_ps(SLOPE * factor),
            _mm256_set1_ps(OFFSET * factor),
        );
        _mm256_cvtps_epi32(_mm256_mul_ps(root, correction))
    }
}

/// The same of sixteen.
#[inline(always)]
unsafe fn deviation_of_16(variances: __m512i, factor: f32) -> __m512i {
    unsafe {
        let variance = _mm512_cvtepi32_ps(variances);
        let half = _mm512_srli_epi32::<1>(_mm512_castps_si512(variance));
        let estimate = _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(ESTIMATE), half));
        let root = _mm512_mul_ps(variance, estimate);
        let correction = _mm512_fnmadd_ps(
            _mm512_mul_ps(root, estimate),
            _mm512_set1_ps(SLOPE * factor),
            _mm512_set1_ps(OFFSET * factor),
        );
        _mm512_cvtps_epi32(_mm512_mul_ps(root, correction))
    }
}

#[inline(always)]
unsafe fn deviation_x(variances: __m128i, factor: f32) -> __m128i {
    unsafe {
        let wide = deviation_of_8(_mm256_cvtepi16_epi32(variances), factor);
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide))
    }
}

#[inline(always)]
unsafe fn deviation_y(variances: __m256i, factor: f32) -> __m256i {
    unsafe {
        let low = deviation_x(_mm256_castsi256_si128(variances), factor);
        let high = deviation_x(_mm256_extracti128_si256::<1>(variances), factor);
        _mm256_set_m128i(high, low)
    }
}

#[inline(always)]
unsafe fn deviation_z(variances: __m512i, factor: f32) -> __m512i {
    unsafe {
        let low = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(variances));
        let high = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(variances));
        let low = _mm512_cvtepi32_epi16(deviation_of_16(low, factor));
        let high = _mm512_cvtepi32_epi16(deviation_of_16(high, factor));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

impl Simd for Avx2 {
    type B8 = X;
    type B16 = Y;
    type B32 = Two<Y>;

    #[inline(always)]
    fn random(noise: &ReadNoise, place: NoisePlace, n_blocks: usize, words: &mut Words) {
        // SAFETY: the module's documentation; a key and a block of words have
        // 16 bytes.
        unsafe {
            let keys: [__m128i; N_ROUNDS + 1] =
                std::array::from_fn(|round| _mm_loadu_si128(noise.keys.0[round].as_ptr().cast()));
            for number in 0..8 * 2 * n_blocks {
                let counter = counter(place, number as u32, n_blocks as u32);
                let start = _mm_set_epi32(0, 0, counter as i32, place.position as i32);
                let mut state = _mm_xor_si128(start, keys[0]);
                for key in &keys[1..N_ROUNDS] {
                    state = _mm_aesenc_si128(state, *key);
                }
                state = _mm_aesenclast_si128(state, keys[N_ROUNDS]);
                let block = &mut words.0[BLOCK * number..BLOCK * (number + 1)];
                _mm_storeu_si128(block.as_mut_ptr().cast(), state);
            }
        }
    }
}

impl Simd for Avx512 {
    type B8 = X;
    type B16 = Y;
    type B32 = Z;

    #[inline(always)]
    fn random(noise: &ReadNoise, place: NoisePlace, n_blocks: usize, words: &mut Words) {
        // SAFETY: the module's documentation; a key has 16 bytes, four blocks
        // of words 64.
        unsafe {
            let keys: [__m512i; N_ROUNDS + 1] = std::array::from_fn(|round| {
                _mm512_broadcast_i32x4(_mm_loadu_si128(noise.keys.0[round].as_ptr().cast()))
            });
            // Four counters at once: the first four, then steps of as many
            // half planes as four blocks fill.
            let first: [i64; 4] = std::array::from_fn(|number| {
                let counter = counter(place, number as u32, n_blocks as u32);
                i64::from(counter) << 32 | i64::from(place.position)
            });
            let mut counters = _mm512_set_epi64(0, first[3], 0, first[2], 0, first[1], 0, first[0]);
            let rows = (4 / n_blocks) as i64;
            let step = _mm512_set_epi64(0, rows << 32, 0, rows << 32, 0, rows << 32, 0, rows << 32);
            for four in 0..4 * n_blocks {
                let mut state = _mm512_xor_si512(counters, keys[0]);
                for key in &keys[1..N_ROUNDS] {
                    state = _mm512_aesenc_epi128(state, *key);
                }
                state = _mm512_aesenclast_epi128(state, keys[N_ROUNDS]);
                let blocks = &mut words.0[4 * BLOCK * four..4 * BLOCK * (four + 1)];
                _mm512_storeu_si512(blocks.as_mut_ptr().cast(), state);
                counters = _mm512_add_epi64(counters, step);
            }
        }
    }

    #[inline(always)]
    fn neighbours(codes: &[u8], offsets: &[u32]) -> [u64; 8] {
        // Byte `address` of each line's eight, line by line, for each address.
        const TOGETHER: [u8; 64] = {
            let mut bytes = [0; 64];
            let mut to = 0;
            while to < 64 {
                bytes[to] = (8 * (to % 8) + to / 8) as u8;
                to += 1;
            }
            bytes
        };
        // SAFETY: the module's documentation; eight codes have eight bytes.
        unsafe {
            let mut lines = _mm512_setzero_si512();
            // A length that the compiler knows unrolls the loop.
            for line in 0..MAX_LINES {
                let Some(&offset) = offsets.get(line) else { break };
                let eight = codes[offset as usize..offset as usize + 8].as_ptr().cast::<i64>();
                lines = _mm512_mask_set1_epi64(lines, 1 << line, eight.read_unaligned());
            }
            let together = _mm512_loadu_si512(TOGETHER.as_ptr().cast());
            transmute::<__m512i, [u64; 8]>(_mm512_permutexvar_epi8(together, lines))
        }
    }

    #[inline(always)]
    fn patterns(words: [u64; 8]) -> [Pattern; 8] {
        // SAFETY: the module's documentation; registers and arrays have the
        // same bytes, 128 bits a pattern.
        unsafe {
            // An affine map takes its matrix from the last row on, so words
            // are turned around; applied to the unit vectors it gives columns.
            let turned = _mm512_set4_epi32(0x0809_0A0B, 0x0C0D_0E0F, 0x0001_0203, 0x0405_0607);
            let words = _mm512_shuffle_epi8(transmute::<[u64; 8], __m512i>(words), turned);
            let units = _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64);
            let planes = _mm512_gf2p8affine_epi64_epi8::<0>(units, words);
            let spread = |bytes| _mm512_slli_epi16::<4>(_mm512_cvtepu8_epi16(bytes));
            let low = spread(_mm512_castsi512_si256(planes));
            let high = spread(_mm512_extracti64x4_epi64::<1>(planes));
            transmute::<[__m512i; 2], [Pattern; 8]>([low, high])
        }
    }
}
