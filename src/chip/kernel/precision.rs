//! In which integers a tile's currents are added up.
//!
//! Currents are kept in whole multiples of a unit, a fraction of an ADC code.
//! Sixteen bits are taken where they lose nothing, as on a chip whose cells sit
//! at whole codes, or where what they lose is far below what the chip itself
//! gets wrong; 32 bits with the finest unit that fits elsewhere, 64 where even
//! these are too few for a code and a bit behind it.
//!
//! The error of 16 bits: each group's table entry is rounded once, so a
//! current is off by at most half a unit for each group, and by
//! `0.29 sqrt(groups)` units in the root mean square.

use super::pattern::OCTET;
use super::rows::Rows;
use crate::schedule::{AdcSetting, Plane};

/// Sixteen bits: what the narrow kernel needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fixed {
    /// What one stands for, in uS.
    pub unit_us: f64,
    /// What one stands for in the table of variances, in uS^2.
    pub variance_unit_us2: f64,
    /// From the root of a variance in the table to eighths of a unit.
    pub deviation_factor: f32,
    /// Codes per unit, times 2^15.
    pub codes_per_unit: i16,
    /// Smallest code.
    pub min_code: i16,
    /// Largest code.
    pub max_code: i16,
    /// Whether shifted codes fit 16 bits for four planes only, not for eight.
    pub halves: bool,
}

/// Standard deviations of noise that currents keep room for.
const NOISE_REACH: f64 = 8.0;

impl Fixed {
    /// The finest unit of 16 bits, if it is fine enough.
    ///
    /// `cell_error_us` is how far cells are from their targets, as a standard
    /// deviation.
    pub(super) fn choose(
        rows: &Rows,
        n_groups: usize,
        adc: &AdcSetting,
        cell_error_us: f64,
    ) -> Option<Self> {
        if !rows.bows().is_empty() {
            return None; // Sums of 16 bits are converted as they are.
        }
        let largest_code = adc.max_code.max(-adc.min_code);
        let halves = largest_code > 255 || (largest_code > 127 && adc.min_code < 0);
        if largest_code > if halves { i32::from(i16::MAX) / 15 } else { 255 } {
            return None;
        }
        let noise_us = rows.largest_variance_us2().sqrt();
        let reach_us = rows.largest_current_us() + NOISE_REACH * noise_us;
        let n_units = f64::from(i16::MAX) - n_groups as f64;
        let wanted = (reach_us / adc.step_us * 32_768.0 / n_units).ceil().max(1.0);
        if wanted.is_nan() || wanted > 16_384.0 {
            return None;
        }
        let exact = rows.are_whole(adc.step_us);
        let codes_per_unit = if exact {
            // A power of two, so that a code is a whole number of units.
            (wanted as u32).next_power_of_two() as f64
        } else {
            wanted
        };
        let unit_us = adc.step_us * codes_per_unit / 32_768.0;
        let error_us = (n_groups as f64 / 12.0).sqrt() * unit_us;
        // As if half of the lines were driven: two cells each, or one.
        let cells_us = cell_error_us * (rows.n_inputs() as f64 / 2.0).sqrt();
        let fine = 8.0 * error_us <= adc.step_us && 8.0 * error_us <= cells_us.hypot(noise_us);
        if !exact && !fine {
            return None;
        }
        let largest_variance = rows.largest_variance_us2();
        let variance_unit_us2 = if largest_variance > 0.0 {
            largest_variance / (f64::from(i16::MAX) - n_groups as f64)
        } else {
            1.0
        };
        Some(Self {
            unit_us,
            variance_unit_us2,
            deviation_factor: (8.0 * variance_unit_us2.sqrt() / unit_us) as f32,
            codes_per_unit: codes_per_unit as i16,
            min_code: adc.min_code as i16,
            max_code: adc.max_code as i16,
            halves,
        })
    }

    /// What a code counts in each of eight planes, 0 where a plane is not
    /// driven; where sums are kept in halves, the upper four over 16.
    pub(super) fn plane_weights(&self, planes: &[Plane], octet: usize) -> [i16; OCTET] {
        let mut weights = [0; OCTET];
        for plane in planes {
            let bit = usize::from(plane.bit);
            if bit / OCTET == octet {
                let weight = 1 << (bit % if self.halves { 4 } else { OCTET });
                weights[bit % OCTET] = if plane.negative { -weight } else { weight };
            }
        }
        weights
    }

    /// What planes without any current sum up to, shifted like these.
    pub(super) fn total_of_zeros(&self, weights: &[i16; OCTET]) -> i32 {
        let code = i32::from(0.max(self.min_code).min(self.max_code));
        let upper = if self.halves { 16 } else { 1 };
        let weight = |(plane, &weight)| i32::from(weight) * if plane < 4 { 1 } else { upper };
        code * weights.iter().enumerate().map(weight).sum::<i32>()
    }

    /// Whether sums of eight planes are to be read without a sign.
    pub(super) fn are_unsigned(&self, weights: &[i16; OCTET]) -> bool {
        self.min_code >= 0 && weights.iter().all(|&weight| weight >= 0)
    }
}
