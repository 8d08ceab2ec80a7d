//! Charges of planes that are added up before they are converted.
//!
//! Of planes that drive `x_k` steps of an ADC's range, from the lowest on,
//!
//! ```text
//! sum <- a (1 - droop) sum + (1 - a) x_k        a = (1 + mismatch) / 2
//! ```
//!
//! is held at the end, which is the weighted sum with
//!
//! ```text
//! w_k = (1 - a) (a (1 - droop))^(B - 1 - k)      2^(k - B) without errors
//! ```
//!
//! of B planes. Results are given times `2^B`, so that a plane counts what it
//! counts digitally. Noise is that of the sum, all planes together. An
//! integrator bends: `x (1 - c (x / range)^2)`.

use std::collections::BTreeMap;

use super::random::{Purpose, Streams};
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::schedule::{AdcSetting, ExecutionPlan, Plane};
use crate::target::{Accumulation, Conversion, Subtract, Target};

/// The accumulators of a PE, one for each output line.
#[derive(Debug, Clone, PartialEq)]
pub struct Accumulator {
    /// How far `2 a` is from 1, by output line; a pair that is subtracted
    /// before has that of its first.
    mismatches: Vec<f64>,
    errors: Accumulation,
}

impl Accumulator {
    /// Those of a plan's PEs on the chip of this seed; none where they are as
    /// they should be.
    pub(super) fn of_chip(
        plan: &ExecutionPlan,
        target: &Target,
        seed: u64,
    ) -> BTreeMap<PeId, Self> {
        Self::of_lines(plan, target, seed, plan.pe.outputs)
    }

    /// The same of PEs that have so many lines with accumulators.
    pub(super) fn of_lines(
        plan: &ExecutionPlan,
        target: &Target,
        seed: u64,
        n_lines: u32,
    ) -> BTreeMap<PeId, Self> {
        let errors = target.readout.accumulation;
        if plan.conversion != Conversion::Accumulated || errors.is_exact() {
            return BTreeMap::new();
        }
        let of_pe = |&pe: &PeId| {
            let own = Streams::new(seed, Purpose::Accumulator, plan.on_chip(pe));
            // Half is the most that capacitors can differ by and still share.
            let mismatch = |line: usize| {
                (errors.mismatch_sd_fraction * own.of(line).normal()).clamp(-0.5, 0.5)
            };
            let mismatches = (0..n_lines as usize).map(mismatch).collect();
            (pe, Self { mismatches, errors })
        };
        plan.targets.keys().map(of_pe).collect()
    }
}

/// What is between the planes of a tile and its codes, value by value.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Of each value; empty where all are as they should be.
    mismatches: Vec<f64>,
    errors: Accumulation,
    /// Half the range, in codes.
    top: f64,
}

impl Held {
    /// That of a tile; of no accumulator, one without errors.
    pub(super) fn new(
        accumulator: Option<&Accumulator>,
        place: &WeightTile,
        subtract: Subtract,
        adc: &AdcSetting,
    ) -> Self {
        let top = f64::from(adc.max_code.max(1));
        let Some(accumulator) = accumulator else { return Self { top, ..Self::default() } };
        let lines_a_value = match subtract {
            Subtract::BeforeConversion => 2,
            Subtract::AfterConversion => 1,
        };
        let first = place.output_line as usize;
        let own = accumulator.mismatches.iter().skip(first).take(place.n_outputs() as usize);
        Self {
            mismatches: own.step_by(lines_a_value).copied().collect(),
            errors: accumulator.errors,
            top,
        }
    }

    /// What a plane counts in the sum of a value.
    pub(super) fn weight(&self, value: usize, nth: usize, planes: &[Plane]) -> f64 {
        let a = (1.0 + self.mismatches.get(value).copied().unwrap_or(0.0)) / 2.0;
        let (kept, added) = (2.0 * a * (1.0 - self.errors.droop_fraction), 2.0 * (1.0 - a));
        let plane = planes[nth];
        let mut weight = added * f64::from(1u32 << plane.bit);
        for _ in nth + 1..planes.len() {
            weight *= kept;
        }
        if plane.negative { -weight } else { weight }
    }

    /// Whether all values weigh planes alike.
    pub(super) fn is_uniform(&self) -> bool {
        self.errors.mismatch_sd_fraction == 0.0
    }

    /// Standard deviation of a sum, in codes.
    pub(super) fn noise_codes(&self) -> f64 {
        self.errors.noise_sd_fraction * self.top
    }

    /// Standard deviation of a comparison, in codes.
    pub(super) fn comparator_codes(&self) -> f64 {
        self.errors.comparator_sd_fraction * self.top
    }

    /// A sum as the integrator has it.
    pub(super) fn bent(&self, codes: f64) -> f64 {
        match self.errors.compression_fraction {
            0.0 => codes,
            most => {
                let place = (codes / self.top).clamp(-1.0, 1.0);
                codes * (1.0 - most * place * place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Planes count what they should where nothing is wrong, and by the law
    //! where something is.

    use super::*;

    fn planes(bits: u8, signed: bool) -> Vec<Plane> {
        (0..bits).map(|bit| Plane { bit, negative: signed && bit + 1 == bits }).collect()
    }

    #[test]
    fn without_errors_planes_count_powers_of_two() {
        let held = Held::default();
        for bits in [1, 3, 8, 16] {
            let planes = planes(bits, true);
            for (nth, plane) in planes.iter().enumerate() {
                let wanted = f64::from(1u32 << plane.bit);
                let wanted = if plane.negative { -wanted } else { wanted };
                assert_eq!(held.weight(3, nth, &planes), wanted);
            }
        }
    }

    #[test]
    fn weights_are_those_of_sharing_plane_by_plane() {
        let errors = Accumulation {
            mismatch_sd_fraction: 0.02,
            droop_fraction: 0.01,
            ..Accumulation::default()
        };
        let held = Held { mismatches: vec![0.03, -0.02], errors, top: 127.0 };
        let planes = planes(8, false);
        for (value, mismatch) in [(0, 0.03), (1, -0.02)] {
            let a = (1.0 + mismatch) / 2.0;
            for driven in 0..8 {
                let mut sum = 0.0;
                for nth in 0..8 {
                    let x = if nth == driven { 1.0 } else { 0.0 };
                    sum = a * (1.0 - 0.01) * sum + (1.0 - a) * x;
                }
                let found = held.weight(value, driven, &planes);
                assert!((found / (256.0 * sum) - 1.0).abs() < 1e-12, "plane {driven}: {found}");
            }
        }
    }

    #[test]
    fn an_integrator_loses_most_at_the_ends() {
        let errors = Accumulation { compression_fraction: 0.1, ..Accumulation::default() };
        let held = Held { errors, top: 100.0, ..Held::default() };
        assert_eq!([0.0, 100.0, -100.0].map(|x| held.bent(x)), [0.0, 90.0, -90.0]);
        assert_eq!(held.bent(50.0), 50.0 * (1.0 - 0.025));
    }
}
