//! The kernel for each instruction set, chosen at run time.
//!
//! The code is the same plain Rust, compiled again with wider vector registers
//! allowed. Results are the same bit for bit: every lane does the same
//! operations in the same order, and the compiler never fuses a multiplication
//! with an addition on its own. Measured by `benches/kernel.rs`, wide
//! registers bring a factor of 3 to 5.

use super::kernel::{Scratch, TileKernel};
use super::noise::ReadNoise;
use crate::schedule::Plane;

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    /// What every machine of the kind has.
    Plain,
    /// 256-bit registers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// All that this machine has, the best last.
    pub(super) fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "one entry only"))]
        let mut available = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                available.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
            {
                available.push(Self::Avx512);
            }
        }
        available
    }

    /// The best that this machine has.
    pub(super) fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self::Plain)
    }

    /// Runs [`TileKernel::wave`] with these instructions.
    #[inline]
    pub(super) fn run(
        self,
        kernel: &TileKernel,
        codes: &[u16],
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &mut Scratch,
        results: &mut [i64],
    ) {
        match self {
            Self::Plain => kernel.wave_plain(codes, planes, noise, scratch, results),
            // SAFETY: `available` gives these out only where the processor has
            // every feature that the function is compiled with.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "features are known at run time only")]
            Self::Avx2 => unsafe { avx2(kernel, codes, planes, noise, scratch, results) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "features are known at run time only")]
            Self::Avx512 => unsafe { avx512(kernel, codes, planes, noise, scratch, results) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(
    kernel: &TileKernel,
    codes: &[u16],
    planes: &[Plane],
    noise: Option<(&ReadNoise, u32)>,
    scratch: &mut Scratch,
    results: &mut [i64],
) {
    kernel.wave_plain(codes, planes, noise, scratch, results);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
fn avx512(
    kernel: &TileKernel,
    codes: &[u16],
    planes: &[Plane],
    noise: Option<(&ReadNoise, u32)>,
    scratch: &mut Scratch,
    results: &mut [i64],
) {
    kernel.wave_plain(codes, planes, noise, scratch, results);
}
