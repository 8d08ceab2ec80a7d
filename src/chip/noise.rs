//! Read noise: Gaussian numbers that are a pure function of where and when
//! they are drawn.
//!
//! The generator is Threefry-2x32 with 13 rounds (Salmon et al., "Parallel
//! random numbers: as easy as 1, 2, 3", SC 2011), the fewest that pass its
//! authors' tests: additions, rotations and exclusive ors only, so that plain
//! loops become vector code. Pairs of Gaussians follow by the Box-Muller
//! transform, with polynomials for logarithm and sine that use nothing but
//! exactly rounded operations: the same numbers on every machine.

/// The stream of one step on one PE for one input.
#[derive(Debug, Clone, Copy)]
pub struct ReadNoise {
    key: [u32; 2],
}

impl ReadNoise {
    /// The stream of this seed, input, PE and step.
    pub fn new(seed: u64, input: u64, pe: u32, step: u32) -> Self {
        let place = (u64::from(pe) << 32) | u64::from(step);
        let key = mix(mix(mix(seed).wrapping_add(input)).wrapping_add(place));
        Self { key: [key as u32, (key >> 32) as u32] }
    }

    /// Standard Gaussians for the outputs of one conversion cycle; an even
    /// number of them, at most 2^21.
    ///
    /// Written as a loop over independent lanes without branches, so that the
    /// compiler turns it into vector code.
    #[inline(always)]
    pub fn draw(&self, position: u32, plane: u32, out: &mut [f32]) {
        let (key, first) = (self.key, plane << 20);
        let (low, high) = out.split_at_mut(out.len() / 2);
        let high = &mut high[..low.len()];
        for lane in 0..low.len() {
            let (a, b) = threefry(key, position, first | lane as u32);
            (low[lane], high[lane]) = box_muller(a, b);
        }
    }
}

/// Standard Gaussians for tests and tools.
pub fn normals(seed: u64, n: usize) -> Vec<f32> {
    let stream = ReadNoise::new(seed, 0, 0, 0);
    let mut values = vec![0.0; n.next_multiple_of(64)];
    for (position, values) in (0..).zip(values.chunks_exact_mut(64)) {
        stream.draw(position, 0, values);
    }
    values.truncate(n);
    values
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every bit of the result
/// depends on every bit of the input.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Threefry-2x32-13, written out: a loop over rounds would keep the compiler
/// from turning the loop over lanes into vector code.
#[inline(always)]
fn threefry(key: [u32; 2], mut a: u32, mut b: u32) -> (u32, u32) {
    let [k0, k1] = key;
    // The parity word of the key schedule, from the Threefish specification.
    let k2 = 0x1BD1_1BDA ^ k0 ^ k1;
    macro_rules! inject {
        ($to_a:expr, $to_b:expr, $number:literal) => {
            a = a.wrapping_add($to_a);
            b = b.wrapping_add($to_b).wrapping_add($number);
        };
    }
    macro_rules! rounds {
        ($($rotation:literal)*) => {
            $(
                a = a.wrapping_add(b);
                b = b.rotate_left($rotation) ^ a;
            )*
        };
    }
    inject!(k0, k1, 0);
    rounds!(13 15 26 6);
    inject!(k1, k2, 1);
    rounds!(17 29 16 24);
    inject!(k2, k0, 2);
    rounds!(13 15 26 6);
    inject!(k0, k1, 3);
    rounds!(17);
    (a, b)
}

/// Two independent standard Gaussians from two random words.
#[inline(always)]
fn box_muller(a: u32, b: u32) -> (f32, f32) {
    const STEP: f32 = 1.0 / 16_777_216.0; // 2^-24: what an f32 resolves below 1
    // Signed integers, because old instruction sets convert no others.
    let radius_uniform = ((a >> 8) as i32 + 1) as f32 * STEP; // (0, 1]
    let turn = (b >> 8) as i32 as f32 * STEP - 0.5; // [-1/2, 1/2)
    let square = -2.0 * ln(radius_uniform);
    // Near 1 the logarithm may round to the wrong side of zero.
    let radius = (if square > 0.0 { square } else { 0.0 }).sqrt();
    let (sin, cos) = sin_cos_turn(turn);
    (radius * cos, radius * sin)
}

/// Natural logarithm of a normal f32 in (0, 1], error below 2e-7 relative to
/// its largest value: exponent apart, then the series of atanh in
/// `(m - 1) / (m + 1)` for a mantissa between sqrt(1/2) and sqrt(2).
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3F35_04F3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((exponent as u32) << 23));
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = 2.0
        + square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * (2.0 / 7.0 + square * (2.0 / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + z * series
}

/// Sine and cosine of a turn in [-1/2, 1/2), error below 2e-7.
#[inline(always)]
fn sin_cos_turn(turn: f32) -> (f32, f32) {
    let distance = turn.abs();
    let cos = sin_quarter(0.25 - distance);
    let sin = sin_quarter(0.25 - (distance - 0.25).abs());
    (sin.copysign(turn), cos)
}

/// sin(2 pi t) for t in [-1/4, 1/4]: Taylor series to the 11th power.
#[inline(always)]
fn sin_quarter(t: f32) -> f32 {
    let x = t * std::f32::consts::TAU;
    let s = x * x;
    let series = 1.0
        + s * (-1.0 / 6.0
            + s * (1.0 / 120.0
                + s * (-1.0 / 5_040.0 + s * (1.0 / 362_880.0 + s * (-1.0 / 39_916_800.0)))));
    x * series
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the host's functions are what ours are held against")]
mod tests {
    //! The noise is Gaussian, and the same for the same place and time only.

    use super::*;

    #[test]
    fn threefry_gives_the_published_values() {
        // Known answers for threefry2x32 with 13 rounds, from Random123.
        assert_eq!(threefry([0, 0], 0, 0), (0x9d1c_5ec6, 0x8bd5_0731));
        let ones = u32::MAX;
        assert_eq!(threefry([ones, ones], ones, ones), (0xfd36_d048, 0x2d17_272c));
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], 0x243f_6a88, 0x85a3_08d3),
            (0xba3e_4725, 0xf27d_669e)
        );
    }

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
    fn polynomials_follow_the_functions() {
        for i in 1..=4096u32 {
            let x = i as f32 / 4096.0;
            assert!((f64::from(ln(x)) - f64::from(x).ln()).abs() < 2e-6, "ln({x})");
            let turn = x - 0.5;
            let (sin, cos) = sin_cos_turn(turn.min(0.499_999));
            let angle = f64::from(turn.min(0.499_999)) * std::f64::consts::TAU;
            assert!((f64::from(sin) - angle.sin()).abs() < 1e-6, "sin of turn {turn}");
            assert!((f64::from(cos) - angle.cos()).abs() < 1e-6, "cos of turn {turn}");
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let draw = |seed, input, pe, step, position, plane| {
            let mut values = [0.0; 8];
            ReadNoise::new(seed, input, pe, step).draw(position, plane, &mut values);
            values
        };
        let first = draw(1, 2, 3, 4, 5, 6);
        assert_eq!(first, draw(1, 2, 3, 4, 5, 6));
        assert!(first.iter().skip(1).all(|&value| value != first[0]), "lines differ");
        for other in [
            draw(0, 2, 3, 4, 5, 6),
            draw(1, 0, 3, 4, 5, 6),
            draw(1, 2, 0, 4, 5, 6),
            draw(1, 2, 3, 0, 5, 6),
            draw(1, 2, 3, 4, 0, 6),
            draw(1, 2, 3, 4, 5, 0),
        ] {
            assert_ne!(first, other);
        }
    }
}
