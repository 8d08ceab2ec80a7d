//! How the energy of a conversion follows resolution and rate.
//!
//! The best published ADCs have a figure of merit after Schreier,
//! `FOM = SNDR + 10 log10(rate / (2 x power))` in dB, that is bounded by a
//! constant at low rates and falls beyond a corner: B. Murmann, "ADC
//! Performance Survey"; as a model for arrays: T. Andrulis et al., "Modeling
//! Analog-Digital-Converter Energy and Area for Compute-In-Memory Accelerator
//! Design", arXiv:2404.06553, 2024. Its published fit has the constant at
//! 180.14 dB and the fall at 302.74 - 6.4608 ln(rate in Hz) dB, so the corner
//! at 174 million samples a second.
//!
//! With `SNDR = 6.02 bits + 1.76 dB` an energy then goes with `4^bits`, and
//! beyond the corner with the rate to the power of 1.49. It is taken as 3/2
//! here: a square root is the same on every machine.
//!
//! A target gives the energy of one ADC; the ratio of two bounds carries it to
//! another. The node is not in that bound: energy goes with it in proportion,
//! which is a choice.

use super::Costs;

/// Where the best figure of merit begins to fall, in million samples a second.
const CORNER_MS_PER_S: f64 = 174.3;

/// Energy of a conversion of the best published ADCs at 0 bits, in pJ: half of
/// 10^((1.76 - 180.14) / 10) J.
const LEAST_PJ: f64 = 7.26e-7;

/// The least energy of a conversion, in pJ.
pub(super) fn least_pj(bits: u8, ms_per_s: f64) -> f64 {
    // Exact: at most 4^22.
    let steps = (1u64 << (2 * u32::from(bits.min(31)))) as f64;
    let fast = (ms_per_s / CORNER_MS_PER_S).max(1.0);
    LEAST_PJ * steps * fast * fast.sqrt()
}

impl Costs {
    /// Energy of a conversion of so many bits, in pJ: where the target says what
    /// its ADC is like, four times as much for each bit more.
    pub fn conversion_pj(&self, bits: u8) -> f64 {
        match self.adc_bits.filter(|&own| own != bits) {
            None => self.adc_pj_per_conversion,
            // The rate is the same, and cancels out.
            Some(own) => self.adc_pj_per_conversion * least_pj(bits, 1.0) / least_pj(own, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    //! The bound at points worked out from the published fit, and what it does
    //! to a target.

    use super::*;
    use crate::target::{Override, Target, benchmark, builtin};

    fn conversion_pj(sets: &[&str]) -> f64 {
        let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
        let yaml = builtin("yao2020-macro").unwrap();
        let target = Target::from_yaml(yaml, "yao2020-macro", &sets).unwrap();
        assert!(benchmark::power_mw(&target).unwrap() > 0.0);
        target.costs.unwrap().adc_pj_per_conversion
    }

    #[test]
    fn the_bound_is_that_of_the_published_fit() {
        // 8 bits: SNDR 49.92 dB, 180.14 - 49.92 = 130.22 dB, half of 10^-13.022 J.
        assert!((least_pj(8, 80.0) / 0.0476 - 1.0).abs() < 0.01);
        // At 1 GS/s the fit gives 302.74 - 6.4608 ln(1e9) = 168.85 dB.
        assert!((least_pj(8, 1000.0) / 0.640 - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_bit_less_takes_a_quarter_and_the_same_adc_the_same() {
        let like = [
            "costs.adc_scaling.bits=8",
            "costs.adc_scaling.ms_per_s=80",
            "costs.adc_scaling.node_nm=65",
        ];
        assert_eq!(conversion_pj(&like), 2.55);
        let with = |more: &str| conversion_pj(&[&like[..], &[more]].concat());
        assert_eq!(with("readout.adc_bits=7"), 2.55 / 4.0);
        assert_eq!(with("readout.adc_bits=10"), 2.55 * 16.0);
        assert_eq!(with("costs.adc_scaling.to_node_nm=32.5"), 2.55 / 2.0);
        assert!(with("readout.cycle_ns=5") > 2.55);
        // Without it a conversion is what the target says.
        assert_eq!(conversion_pj(&["readout.adc_bits=7"]), 2.55);
    }
}
