//! The kernel for each instruction set, chosen at run time.
//!
//! A [`Task`] is written once, for any [`Simd`]; here it is compiled for each
//! instruction set and run with the best that the machine has. Results are the
//! same bit for bit: integers add up in any order, and what is left in
//! floating point is done lane by lane in the same order.

use std::sync::OnceLock;

use super::block::{PlainCode, Simd};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};

/// Work that can be compiled for any instruction set.
pub trait Task {
    /// What comes out.
    type Output;

    /// Does it; to be `inline(always)`, so that it is compiled with the
    /// features of who calls it.
    fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// What every machine of the kind has: on 64-bit ARM this includes
    /// 128-bit registers, on x86 those of SSE2.
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
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "one entry only"))]
        let mut available = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("aes");
            if avx2 {
                available.push(Self::Avx2);
            }
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("gfni")
            {
                available.push(Self::Avx512);
            }
        }
        available
    }

    /// The best that this machine has.
    pub fn detect() -> Self {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Plain))
    }

    /// Lanes of the widest register.
    pub fn lanes(self) -> usize {
        match self {
            Self::Plain => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 32,
        }
    }

    /// Runs a task with these instructions.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Plain => task.run::<PlainCode>(),
            // SAFETY: `available` gives these out only where the processor has
            // every feature that the function is compiled with.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "features are known at run time only")]
            Self::Avx2 => unsafe { avx2(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "features are known at run time only")]
            Self::Avx512 => unsafe { avx512(task) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,aes")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx2,fma,bmi1,bmi2,aes,avx512f,avx512vl,avx512bw,avx512dq,avx512vbmi,vaes,gfni"
)]
fn avx512<T: Task>(task: T) -> T::Output {
    task.run::<Avx512>()
}
