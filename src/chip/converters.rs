//! ADCs that differ from each other, and what a lab does about it.
//!
//! Of a current that is `x` steps of its range an ADC makes
//!
//! ```text
//! code = round(gain x + offset + bow 4 t (1 - t) + noise), clipped
//! t    = place of gain x + offset in the range, from 0 to 1
//! ```
//!
//! with gain, offset and bow (the integral nonlinearity in the middle of the
//! range) of its own and noise drawn for each conversion. Output lines are
//! shared out to the ADCs of a PE as runs of neighbours.
//!
//! A lab measures each ADC once: it drives references over the range, takes
//! some readings of each, and fits a line. What the line says is taken off the
//! sums of codes digitally; a bow stays.
//!
//! Gain, offset and noise are tabulated with the cells, and cost nothing while
//! running. A bow takes the kernel of 32 bits.

use std::collections::BTreeMap;

use super::Chip;
use super::random::{Purpose, Stream, Streams};
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::schedule::{AdcSetting, ExecutionPlan};
use crate::target::{Subtract, Target};

/// An ADC as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Converter {
    /// Codes for each step of current.
    pub gain: f64,
    /// Code of no current.
    pub offset_codes: f64,
    /// Integral nonlinearity in the middle of the range.
    pub bow_codes: f64,
    /// Standard deviation of a conversion.
    pub noise_codes: f64,
    /// Readings of each reference when it is measured; 0 if it is not.
    n_readings: u32,
    /// What those draw.
    readings: Stream,
}

/// The line that an ADC was measured to follow: codes are `offset + gain x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Codes for each step of current.
    pub gain: f64,
    /// Code of no current.
    pub offset_codes: f64,
}

impl Measured {
    /// An ADC that is not corrected.
    pub const IDEAL: Self = Self { gain: 1.0, offset_codes: 0.0 };
}

/// References that an ADC is measured with, spread over its range.
const REFERENCES: u32 = 9;

impl Converter {
    /// The ADCs of a plan's PEs on the chip of this seed; none where the target
    /// has no errors of ADCs.
    pub(super) fn of_chip(
        plan: &ExecutionPlan,
        target: &Target,
        seed: u64,
    ) -> BTreeMap<PeId, Vec<Self>> {
        let errors = target.readout.adc_errors;
        if errors.are_none() {
            return BTreeMap::new();
        }
        let of_pe = |&pe: &PeId| {
            let on_chip = plan.on_chip(pe);
            let own = Streams::new(seed, Purpose::Converter, on_chip);
            let readings = Streams::new(seed, Purpose::ConverterReadings, on_chip);
            let converter = |nth: usize| {
                let mut draws = own.of(nth);
                Self {
                    gain: (1.0 + errors.gain_sd_fraction * draws.normal()).max(0.0),
                    offset_codes: errors.offset_sd_codes * draws.normal(),
                    bow_codes: errors.bow_sd_codes * draws.normal(),
                    noise_codes: errors.noise_sd_codes,
                    n_readings: errors.calibration_readings,
                    readings: readings.of(nth),
                }
            };
            (pe, (0..target.readout.adcs_per_pe as usize).map(converter).collect())
        };
        plan.targets.keys().map(of_pe).collect()
    }

    /// One without noise, measured with so many readings.
    #[cfg(test)]
    pub(super) fn quiet(gain: f64, offset_codes: f64, bow_codes: f64, n_readings: u32) -> Self {
        let readings = Streams::new(3, Purpose::ConverterReadings, PeId(0)).of(0);
        Self { gain, offset_codes, bow_codes, noise_codes: 0.0, n_readings, readings }
    }

    /// The line that it is measured to follow with codes of this range.
    pub(super) fn measure(&self, adc: &AdcSetting) -> Measured {
        if self.n_readings == 0 {
            return Measured::IDEAL;
        }
        let mut draws = self.readings.clone();
        let (min, span) = (f64::from(adc.min_code), f64::from(adc.max_code - adc.min_code));
        let (mut n, mut x_sum, mut y_sum, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for reference in 0..REFERENCES {
            for reading in 0..self.n_readings {
                // A ramp through one code, so that rounding averages out, well
                // inside the range, so that nothing is clipped.
                let place = f64::from(reference + 1) / f64::from(REFERENCES + 1);
                let within = (f64::from(reading) + 0.5) / f64::from(self.n_readings) - 0.5;
                let x = min + span * place + within;
                let read = self.transfer(x, adc) + self.noise_codes * draws.normal();
                let y = read.round_ties_even().clamp(min, min + span);
                n += 1.0;
                x_sum += x;
                y_sum += y;
                xx += x * x;
                xy += x * y;
            }
        }
        let gain = (n * xy - x_sum * y_sum) / (n * xx - x_sum * x_sum);
        if !gain.is_finite() || gain <= 0.0 {
            return Measured::IDEAL; // A range of hardly any codes.
        }
        Measured { gain, offset_codes: (y_sum - gain * x_sum) / n }
    }

    /// What is rounded to a code, without noise, for a current of `x` steps.
    fn transfer(&self, x: f64, adc: &AdcSetting) -> f64 {
        let straight = self.gain * x + self.offset_codes;
        straight + bow(straight, self.bow_codes, adc)
    }
}

impl Chip {
    /// Whether one reading differs from the next.
    pub fn is_noisy(&self) -> bool {
        let converts_noisily = |converter: &Converter| converter.noise_codes > 0.0;
        self.read_noise_fraction > 0.0 || self.converters.values().flatten().any(converts_noisily)
    }

    /// The ADC of each value of a tile, pair or line; none where they are as
    /// they should be.
    pub(super) fn converters_of(
        &self,
        place: &WeightTile,
        subtract: Subtract,
    ) -> Option<Vec<&Converter>> {
        let own = self.converters.get(&place.pe).filter(|own| !own.is_empty())?;
        let lines_a_value = match subtract {
            Subtract::BeforeConversion => 2,
            Subtract::AfterConversion => 1,
        };
        let n_values = (self.pe.outputs / lines_a_value).max(1) as usize;
        let first = (place.output_line / lines_a_value) as usize;
        let values = first..first + (place.n_outputs() / lines_a_value) as usize;
        let nth = |value: usize| (value * own.len() / n_values).min(own.len() - 1);
        Some(values.map(|value| &own[nth(value)]).collect())
    }
}

/// What a bow adds to a code that is not rounded yet.
#[inline(always)]
pub(super) fn bow(code: f64, bow_codes: f64, adc: &AdcSetting) -> f64 {
    let (min, max) = (f64::from(adc.min_code), f64::from(adc.max_code));
    let t = ((code - min) / (max - min)).clamp(0.0, 1.0);
    bow_codes * 4.0 * t * (1.0 - t)
}

#[cfg(test)]
mod tests {
    //! A measured line is the line, as far as readings tell.

    use super::*;

    const ADC: AdcSetting = AdcSetting::new(1.0, -127, 127);

    fn converter(gain: f64, offset_codes: f64, bow_codes: f64, noise_codes: f64) -> Converter {
        Converter { noise_codes, ..Converter::quiet(gain, offset_codes, bow_codes, 64) }
    }

    #[test]
    fn a_line_is_found_and_a_bow_is_not() {
        let line = converter(1.02, -1.7, 0.0, 0.0).measure(&ADC);
        assert!((line.gain - 1.02).abs() < 1e-4 && (line.offset_codes + 1.7).abs() < 0.01);
        let noisy = converter(1.02, -1.7, 0.0, 0.5).measure(&ADC);
        assert!((noisy.gain - 1.02).abs() < 1e-3 && (noisy.offset_codes + 1.7).abs() < 0.1);
        assert_ne!(line, noisy);
        // Its mean over the references is what a line can take off.
        let bowed = converter(1.0, 0.0, 1.0, 0.0).measure(&ADC);
        let mean = (1..10).map(|k| 4.0 * f64::from(k * (10 - k)) / 100.0).sum::<f64>() / 9.0;
        assert!((bowed.gain - 1.0).abs() < 1e-3 && (bowed.offset_codes - mean).abs() < 0.02);
        let unmeasured = Converter { n_readings: 0, ..converter(1.1, 3.0, 0.0, 0.0) };
        assert_eq!(unmeasured.measure(&ADC), Measured::IDEAL);
    }

    #[test]
    fn a_bow_is_largest_in_the_middle_and_nothing_at_the_ends() {
        assert_eq!(bow(0.0, 0.5, &ADC), 0.5);
        assert_eq!([-127.0, 127.0, 300.0].map(|code| bow(code, 0.5, &ADC)), [0.0; 3]);
        let unsigned = AdcSetting::new(1.0, 0, 200);
        assert_eq!(bow(100.0, 2.0, &unsigned), 2.0);
        assert_eq!(bow(50.0, 2.0, &unsigned), 1.5);
    }
}
