//! The logarithm and the exponential function, from additions, products and
//! quotients alone: the same bits on every machine, which host mathematics
//! does not promise.

use std::f64::consts::{LN_2, SQRT_2};

/// The natural logarithm of a positive, finite number that is not denormal.
pub(crate) fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & FRACTION | 1023 << 52);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1)/(m + 1)), whose argument is at most 0.172: the
    // twelfth term is below 1e-18.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// The exponential function between -700 and 700; beyond, that of the nearer
/// end.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let doublings = (x / LN_2).round_ties_even();
    let rest = x - doublings * LN_2;
    // At most 0.347: the sixteenth term is below 1e-20.
    let series = (1..=16).rev().fold(1.0, |sum, k| 1.0 + sum * rest / f64::from(k));
    let scale = f64::from_bits(((doublings as i64 + 1023) as u64) << 52);
    series * scale
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what they are held against")]
mod tests {
    //! Both are those of the host, to the last digits.

    use super::*;

    #[test]
    fn they_are_those_of_the_host() {
        for nth in 1..4000 {
            let x = f64::from(nth) * 0.37;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln {x}");
            let x = f64::from(nth - 2000) * 0.3;
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-13, "exp {x}");
        }
        assert_eq!((ln(1.0), exp(0.0)), (0.0, 1.0));
        assert!((ln(1e300) - 1e300f64.ln()).abs() < 1e-12);
    }
}
