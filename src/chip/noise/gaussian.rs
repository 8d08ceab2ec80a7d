//! Gaussian numbers from 32 random bits, in 16-bit integers.
//!
//! The sum of four random bytes is bell-shaped but cut off at 3.45 standard
//! deviations; an odd polynomial of seventh degree, fitted to the exact
//! quantiles, carries it to a standard Gaussian: moments up to the eighth
//! within 0.5 %, tails right to 4 and reaching to 4.9 standard deviations. All of it is
//! additions and rounded products of 16 bits, which every vector unit has, so
//! that the numbers are the same on every machine.

/// One standard deviation.
pub const ONE: f32 = 4096.0;

/// Coefficients of x, x^3, x^5 and x^7 in units of 1/4096; x is the sum of the
/// bytes less its mean, over 512. A least-squares fit to the quantiles of the
/// Gaussian at the 1,021 possible sums, weighted with their probability to the
/// power 0.35 and scaled to variance 1.
pub const COEFFICIENTS: [i16; 4] = [13_565, 3_492, -6_532, 10_055];

/// What is taken off so that sums are centred: 510 x 64.
pub const CENTRE: i16 = 32_640;

/// The two bytes of a word added and taken 64 times: at most 32,640.
#[inline(always)]
pub fn byte_sum(word: i16) -> i16 {
    let [low, high] = word.to_le_bytes();
    (i16::from(low) + i16::from(high)) * 64
}

/// `a x b / 2^15`, to the nearest, ties up: the product that vector units have.
#[inline(always)]
pub fn product(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16
}

/// A Gaussian of standard deviation [`ONE`] from two random words.
#[inline(always)]
pub fn gaussian(a: i16, b: i16) -> i16 {
    let x = byte_sum(a).wrapping_add(byte_sum(b)).wrapping_sub(CENTRE);
    let square = product(x, x);
    let mut series = COEFFICIENTS[3];
    for coefficient in [COEFFICIENTS[2], COEFFICIENTS[1], COEFFICIENTS[0]] {
        series = product(series, square).wrapping_add(coefficient);
    }
    product(series, x)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "powers of a moment, compared with room to spare")]
mod tests {
    //! Moments and tails over every possible sum, each with its probability.

    use super::*;

    /// Value and probability of all outcomes.
    fn outcomes() -> Vec<(f64, f64)> {
        let mut probability = vec![1.0];
        for _ in 0..4 {
            let mut next = vec![0.0; probability.len() + 255];
            for (i, p) in probability.iter().enumerate() {
                next[i..i + 256].iter_mut().for_each(|n| *n += p / 256.0);
            }
            probability = next;
        }
        let value = |sum: usize| {
            let byte = |nth: usize| sum.saturating_sub(255 * nth).min(255) as u8;
            let a = i16::from_le_bytes([byte(0), byte(1)]);
            let b = i16::from_le_bytes([byte(2), byte(3)]);
            f64::from(gaussian(a, b)) / f64::from(ONE)
        };
        probability.into_iter().enumerate().map(|(sum, p)| (value(sum), p)).collect()
    }

    #[test]
    fn moments_are_those_of_a_gaussian() {
        let outcomes = outcomes();
        let moment = |power: i32| outcomes.iter().map(|(z, p)| p * z.powi(power)).sum::<f64>();
        assert!((moment(0) - 1.0).abs() < 1e-12);
        for odd in [1, 3, 5] {
            assert!(moment(odd).abs() < 5e-3, "moment {odd}: {}", moment(odd));
        }
        for (power, wanted) in [(2, 1.0), (4, 3.0), (6, 15.0), (8, 105.0)] {
            let found: f64 = moment(power);
            assert!((found / wanted - 1.0).abs() < 5e-3, "moment {power}: {found}");
        }
    }

    #[test]
    fn tails_are_those_of_a_gaussian() {
        let outcomes = outcomes();
        let beyond = |limit: f64| {
            outcomes.iter().filter(|(z, _)| z.abs() > limit).map(|(_, p)| p).sum::<f64>()
        };
        // Two-sided tails of the standard Gaussian.
        let tails = [(1.0, 0.317_311, 0.02), (2.0, 0.045_500, 0.03), (3.0, 0.002_700, 0.06)];
        for (limit, wanted, tolerance) in tails {
            let found: f64 = beyond(limit);
            assert!((found / wanted - 1.0).abs() < tolerance, "beyond {limit}: {found}");
        }
        assert!((beyond(4.0) / 6.334e-5 - 1.0).abs() < 0.2, "beyond 4: {}", beyond(4.0));
        assert!(beyond(5.0) < 6e-7);
    }

    #[test]
    fn it_grows_with_the_sum() {
        assert!(outcomes().is_sorted_by(|a, b| a.0 < b.0));
    }
}
