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

#[cfg(test)]
mod tests {
    //! Every instruction set gives the same codes, with and without noise.

    use std::collections::BTreeMap;

    use super::*;
    use crate::chip::{Chip, normals};
    use crate::entity::{LayerId, PeId};
    use crate::mapping::WeightTile;
    use crate::schedule::AdcSetting;
    use crate::target::{Pe, Subtract};

    fn kernel(
        inputs: u32,
        pairs: u32,
        noise: f64,
        max_code: i32,
        subtract: Subtract,
    ) -> TileKernel {
        let pe = Pe { inputs, outputs: 2 * pairs };
        let cells = normals(5, (inputs * pe.outputs) as usize);
        let chip = Chip {
            pe,
            conductances_us: BTreeMap::from([(PeId(0), cells.iter().map(|g| g.abs()).collect())]),
            read_noise_fraction: noise,
            seed: 0,
        };
        let place = WeightTile {
            layer: LayerId(0),
            replica: 0,
            groups: 0..1,
            rows: 0..inputs,
            columns: 0..pairs,
            pe: PeId(0),
            input_line: 0,
            output_line: 0,
        };
        let min_code = if subtract == Subtract::BeforeConversion { -max_code } else { 0 };
        let adc =
            AdcSetting { step_us: f64::from(inputs) / f64::from(max_code), min_code, max_code };
        TileKernel::new(&chip, &place, &adc, subtract).unwrap()
    }

    #[test]
    fn every_instruction_set_gives_the_same_codes() {
        let planes: Vec<Plane> = (0..8).map(|bit| Plane { bit, negative: bit == 7 }).collect();
        let stream = ReadNoise::new(1, 2, 3, 4);
        let subtractions = [Subtract::BeforeConversion, Subtract::AfterConversion];
        for (inputs, pairs) in [(128, 64), (9, 8), (5, 1), (37, 13)] {
            for (noise, max_code) in [(0.0, 255), (0.02, 255), (0.02, 1 << 20)] {
                for subtract in subtractions {
                    let kernel = kernel(inputs, pairs, noise, max_code, subtract);
                    let codes: Vec<u16> =
                        (0..inputs as u16).map(|i| i.wrapping_mul(97) & 255).collect();
                    let run = |instructions: Instructions| {
                        let mut results = vec![0; pairs as usize];
                        let noise = Some((&stream, 11));
                        let mut scratch = Scratch::default();
                        instructions.run(
                            &kernel,
                            &codes,
                            &planes,
                            noise,
                            &mut scratch,
                            &mut results,
                        );
                        results
                    };
                    let plain = run(Instructions::Plain);
                    assert!(
                        plain.iter().any(|&sum| sum != 0),
                        "{inputs} x {pairs}, {noise}, {max_code}, {subtract:?}"
                    );
                    for instructions in Instructions::available() {
                        assert_eq!(run(instructions), plain, "{instructions:?} {inputs}x{pairs}");
                    }
                }
            }
        }
    }
}
