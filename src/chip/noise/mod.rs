//! Read noise: Gaussian numbers that are a pure function of where and when
//! they are drawn.
//!
//! A number is keyed by seed, input, PE and step, and counted by position,
//! line and plane, so that it is the same for any order of execution, any
//! number of threads and any instruction set.

mod cipher;
mod gaussian;

#[cfg(target_arch = "x86_64")]
pub(super) use cipher::N_ROUNDS;
use cipher::RoundKeys;
pub(super) use gaussian::{CENTRE, COEFFICIENTS, ONE, byte_sum, gaussian, product};

/// Values that share a counter: eight words of a block.
pub(super) const BLOCK: usize = 8;

/// The stream of one step on one PE for one input.
#[derive(Debug, Clone, Copy)]
pub struct ReadNoise {
    pub(super) keys: RoundKeys,
}

impl ReadNoise {
    /// The stream of this seed, input, PE and step.
    pub fn new(seed: u64, input: u64, pe: u32, step: u32) -> Self {
        let place = (u64::from(pe) << 32) | u64::from(step);
        let low = mix(mix(mix(seed).wrapping_add(input)).wrapping_add(place));
        // Another constant, so that the halves are not the same number.
        let high = mix(low ^ 0xD1B5_4A32_D192_ED03);
        Self { keys: RoundKeys::new([low, high]) }
    }

    /// Standard Gaussians of eight neighbouring values in one plane of one
    /// position. `line` is the output line of the first: at most 2^14, as
    /// many as a PE has.
    pub fn draw(&self, position: u32, line: u32, plane: u32) -> [f32; BLOCK] {
        let words = |half: u32| -> [i16; BLOCK] {
            let bytes = self.keys.encipher([position, counter(line, plane, half), 0, 0]);
            std::array::from_fn(|i| i16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
        };
        let (a, b) = (words(0), words(1));
        std::array::from_fn(|i| f32::from(gaussian(a[i], b[i])) / ONE)
    }
}

/// The second word of a counter: which block of values, plane, and half of
/// their random words.
#[inline(always)]
pub(super) fn counter(line: u32, plane: u32, half: u32) -> u32 {
    line << 5 | plane << 1 | half
}

/// Standard Gaussians for tests and tools.
pub fn normals(seed: u64, n: usize) -> Vec<f32> {
    let stream = ReadNoise::new(seed, 0, 0, 0);
    let blocks = n.div_ceil(BLOCK) as u32;
    let mut values: Vec<f32> = (0..blocks).flat_map(|block| stream.draw(block, 0, 0)).collect();
    values.truncate(n);
    values
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every bit of the result
/// depends on every bit of the input.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "powers of a moment, compared with room to spare")]
mod tests {
    //! The noise is Gaussian, and the same for the same place and time only.

    use super::*;

    #[test]
    fn moments_are_those_of_a_gaussian() {
        let n = 1 << 20;
        let values = normals(7, n);
        let moment =
            |power: i32| values.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.005, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.01, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.02, "skew {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.05, "fourth moment {}", moment(4));
        let beyond = values.iter().filter(|v| v.abs() > 3.0).count() as f64 / n as f64;
        assert!((beyond - 0.0027).abs() < 0.0003, "beyond three sigma {beyond}");
    }

    #[test]
    fn neighbours_are_not_correlated() {
        let n = 1 << 18;
        let values = normals(3, n + 16);
        for distance in 1..=16 {
            let product: f32 = (0..n).map(|i| values[i] * values[i + distance]).sum();
            let correlation = product / n as f32;
            assert!(correlation.abs() < 0.01, "at distance {distance}: {correlation}");
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let draw = |seed, input, pe, step, position, line, plane| {
            ReadNoise::new(seed, input, pe, step).draw(position, line, plane)
        };
        let first = draw(1, 2, 3, 4, 5, 6, 7);
        assert_eq!(first, draw(1, 2, 3, 4, 5, 6, 7));
        assert!(first.iter().skip(1).all(|&value| value != first[0]), "values differ");
        for other in [
            draw(0, 2, 3, 4, 5, 6, 7),
            draw(1, 0, 3, 4, 5, 6, 7),
            draw(1, 2, 0, 4, 5, 6, 7),
            draw(1, 2, 3, 0, 5, 6, 7),
            draw(1, 2, 3, 4, 0, 6, 7),
            draw(1, 2, 3, 4, 5, 0, 7),
            draw(1, 2, 3, 4, 5, 6, 0),
        ] {
            assert_ne!(first, other);
        }
    }
}
