//! Codes for inputs: which range they cover, and how.

use std::fmt;

use super::{CellErrors, Histogram, LayerStatistics, QuantizeOptions};
use crate::graph::OwnCodes;

/// How real inputs become integer codes and back:
/// `x = scale x (code - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputCoding {
    /// Width of a code, 1 to 16: one bit-plane each.
    pub bits: u8,
    /// Two's complement: the top bit-plane counts negative.
    pub signed: bool,
    /// The real value of one code step; above zero.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: i32,
}

impl InputCoding {
    /// The smallest code.
    pub fn min_code(&self) -> i32 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The largest code.
    pub fn max_code(&self) -> i32 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }

    /// The code of `x`: nearest, ties to even, clipped.
    pub fn encode(&self, x: f32) -> i32 {
        // Casts saturate, so that an infinite `x` clips like a large one.
        let code = (x / self.scale).round_ties_even() as i32;
        code.saturating_add(self.zero_point).clamp(self.min_code(), self.max_code())
    }
}

impl fmt::Display for InputCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.signed { "i" } else { "u" };
        write!(f, "{kind}{} scale {}", self.bits, self.scale)?;
        if self.zero_point != 0 {
            write!(f, " zero point {}", self.zero_point)?;
        }
        Ok(())
    }
}

/// How the range that codes cover is found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RangeRule {
    /// The range of least mean squared error: a little clipping for a finer
    /// step.
    #[default]
    Mse,
    /// The magnitude that this share of the values does not exceed.
    Percentile(f64),
    /// All values seen.
    MinMax,
}

/// How codes are laid over a range with negative values; a range without is
/// always unsigned with zero point 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputRule {
    /// Two's complement around zero: no zero point, zero costs no current.
    #[default]
    TwosComplement,
    /// Unsigned over the whole range with a zero point: a finer step for
    /// lopsided ranges.
    Affine,
}

/// The coding that a model gives itself, if it has no more bits than inputs
/// of the target.
pub(super) fn own(codes: Option<OwnCodes>, bits_max: u8) -> Option<InputCoding> {
    let OwnCodes { bits, signed, scale, zero_point } = codes?;
    (bits <= bits_max).then_some(InputCoding { bits, signed, scale, zero_point })
}

/// The coding for a layer's inputs. `cells` are the errors of a weight relative
/// to the layer's weights; none are out of account.
pub(super) fn choose(
    statistics: &LayerStatistics,
    bits: u8,
    options: &QuantizeOptions,
    cells: CellErrors,
) -> InputCoding {
    let coding = by_sign(statistics, bits, options);
    match options.range {
        RangeRule::Mse if !cells.are_none() && bits > 1 => {
            centred(coding, &statistics.inputs, cells)
        }
        _ => coding,
    }
}

/// The coding of least error where cells err too.
///
/// An array multiplies codes, so what a cell is off by is multiplied with the
/// distance of the input from the value of code 0. Two's complement with a zero
/// point puts that value among the inputs, for a coarser step: the errors of
/// cells then fall on what varies in the inputs rather than on their mean. But
/// it drives nearly all planes for an input just below that value, which is
/// dear where each reading errs.
fn centred(start: InputCoding, histogram: &Histogram, cells: CellErrors) -> InputCoding {
    /// Zero points that are tried, in 128ths of the codes below zero.
    const SHARES: i32 = 128;
    let error = |coding: &InputCoding| {
        let of = |x: f64| cells.of_input(coding, coding.encode(x as f32));
        let driven: f64 = histogram.bins().map(|(x, n)| n * of(x)).sum();
        squared_error(histogram, coding) + driven + histogram.zeros() as f64 * of(0.0)
    };
    let signed = InputCoding { signed: true, zero_point: 0, ..start };
    let reach = f64::from(histogram.max().max(-histogram.min()));
    let (mut best, mut least) = (start, error(&start));
    for share in (0..SHARES).step_by(4) {
        let zero_point = signed.min_code() * share / SHARES;
        let top = f64::from(signed.max_code() - zero_point);
        for step in (20..=100).step_by(2) {
            let scale = positive(reach / top * f64::from(step) / 100.0);
            let coding = InputCoding { scale, zero_point, ..signed };
            let error = error(&coding);
            if error < least {
                (best, least) = (coding, error);
            }
        }
    }
    best
}

/// Unsigned for inputs that are never negative, as the rule says for others.
fn by_sign(statistics: &LayerStatistics, bits: u8, options: &QuantizeOptions) -> InputCoding {
    let histogram = &statistics.inputs;
    if histogram.min() >= 0.0 {
        let coding = InputCoding { bits, signed: false, scale: 1.0, zero_point: 0 };
        return scaled(coding, histogram, options.range, f64::from(histogram.max()));
    }
    match options.inputs {
        InputRule::TwosComplement => {
            let reach = f64::from(histogram.max().abs().max(histogram.min().abs()));
            let coding = InputCoding { bits, signed: true, scale: 1.0, zero_point: 0 };
            scaled(coding, histogram, options.range, reach)
        }
        InputRule::Affine => affine(bits, histogram, options.range),
    }
}

/// Chooses the scale of a coding whose zero is code 0.
fn scaled(coding: InputCoding, histogram: &Histogram, rule: RangeRule, reach: f64) -> InputCoding {
    // One-bit two's complement has the codes -1 and 0.
    let top = f64::from(coding.max_code().max(1));
    let reach = if reach > 0.0 { reach } else { 1.0 };
    let with_reach = |reach: f64| InputCoding { scale: positive(reach / top), ..coding };
    match rule {
        RangeRule::MinMax => with_reach(reach),
        RangeRule::Percentile(share) => with_reach(histogram.magnitude_quantile(share)),
        RangeRule::Mse => best(histogram, |fraction| with_reach(reach * fraction)),
    }
}

/// Chooses scale and zero point of an unsigned coding over the whole range.
fn affine(bits: u8, histogram: &Histogram, rule: RangeRule) -> InputCoding {
    let (min, max) = (f64::from(histogram.min()), f64::from(histogram.max()).max(0.0));
    let n_steps = f64::from((1u32 << bits) - 1);
    let over = |min: f64, max: f64| {
        let scale = positive((max - min) / n_steps);
        let zero_point = (-min / f64::from(scale)).round_ties_even() as i32;
        InputCoding { bits, signed: false, scale, zero_point }
    };
    match rule {
        RangeRule::MinMax => over(min, max),
        RangeRule::Percentile(share) => {
            let reach = histogram.magnitude_quantile(share);
            over(min.max(-reach), max.min(reach))
        }
        RangeRule::Mse => best(histogram, |fraction| over(min * fraction, max * fraction)),
    }
}

/// The candidate of least squared error among shares of the full range.
fn best(histogram: &Histogram, candidate: impl Fn(f64) -> InputCoding) -> InputCoding {
    let mut best = candidate(1.0);
    let mut least = squared_error(histogram, &best);
    for step in (20..100).rev() {
        let coding = candidate(f64::from(step) / 100.0);
        let error = squared_error(histogram, &coding);
        if error < least {
            (best, least) = (coding, error);
        }
    }
    best
}

/// Sum over the histogram of the squared error of coding: a twelfth of a step
/// squared inside the range (uniform rounding), the distance beyond it.
fn squared_error(histogram: &Histogram, coding: &InputCoding) -> f64 {
    let scale = f64::from(coding.scale);
    let low = scale * f64::from(coding.min_code() - coding.zero_point);
    let high = scale * f64::from(coding.max_code() - coding.zero_point);
    histogram
        .bins()
        .map(|(x, count)| {
            let beyond = (low - x).max(x - high).max(0.0);
            count * if beyond > scale / 2.0 { beyond * beyond } else { scale * scale / 12.0 }
        })
        .sum()
}

/// A scale that can be divided by.
fn positive(scale: f64) -> f32 {
    (scale as f32).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    //! Codings cover the values they were made for.

    use super::*;

    fn statistics(values: &[f32]) -> LayerStatistics {
        let mut statistics = LayerStatistics::default();
        statistics.inputs.add(values);
        statistics
    }

    #[test]
    fn positive_inputs_are_unsigned_and_mixed_ones_signed() {
        let options = QuantizeOptions { range: RangeRule::MinMax, ..Default::default() };
        let unsigned = choose(&statistics(&[0.0, 2.55]), 8, &options, CellErrors::default());
        assert_eq!(
            (unsigned.signed, unsigned.encode(2.55), unsigned.encode(-1.0)),
            (false, 255, 0)
        );
        let signed = choose(&statistics(&[-1.27, 0.5]), 8, &options, CellErrors::default());
        assert_eq!((signed.signed, signed.encode(-1.27), signed.encode(9.0)), (true, -127, 127));
    }

    #[test]
    fn an_affine_coding_reaches_both_ends() {
        let options = QuantizeOptions {
            range: RangeRule::MinMax,
            inputs: InputRule::Affine,
            ..Default::default()
        };
        let coding = choose(&statistics(&[-0.1, 5.0]), 8, &options, CellErrors::default());
        assert_eq!((coding.encode(-0.1), coding.encode(5.0)), (0, 255));
        assert_eq!(coding.encode(0.0), coding.zero_point);
    }

    #[test]
    fn least_squares_clips_an_outlier_that_costs_more_than_it_brings() {
        let mut values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        values.push(4.0);
        let mse =
            choose(&statistics(&values), 4, &QuantizeOptions::default(), CellErrors::default());
        assert!(mse.scale < 2.0 / 15.0, "scale {}", mse.scale);
    }

    #[test]
    fn cells_that_err_ask_for_codes_around_the_mean() {
        // Between 0 and 1, mostly far from 0.
        let values: Vec<f32> = (0..10_000).map(|i| 1.0 - (i * i) as f32 / 1e8).collect();
        let options = QuantizeOptions::default();
        let lasting = |lasting| CellErrors { lasting, reading: 0.0 };
        let exact = choose(&statistics(&values), 8, &options, lasting(0.0));
        assert_eq!((exact.signed, exact.zero_point), (false, 0));
        let noisy = choose(&statistics(&values), 8, &options, lasting(0.01));
        let zero = -noisy.scale * noisy.zero_point as f32;
        assert!(noisy.signed && (0.4..0.9).contains(&zero), "{noisy}");
        // Hardly any cell error is not worth a coarser step.
        let nearly = choose(&statistics(&values), 8, &options, lasting(1e-9));
        assert!(!nearly.signed, "{nearly}");
    }

    #[test]
    fn readings_that_err_ask_for_few_planes() {
        // Rectified: half of them zeros, which around the mean would be small
        // negative codes, with nearly all bits set.
        let values: Vec<f32> = (0..10_000).map(|i| (i as f32 / 5e3 - 1.0).max(0.0)).collect();
        let with = |reading| {
            let cells = CellErrors { lasting: 0.01, reading };
            choose(&statistics(&values), 8, &QuantizeOptions::default(), cells)
        };
        let (quiet, noisy) = (with(0.0), with(0.01));
        assert!(quiet.signed && quiet.zero_point < -20, "{quiet}");
        assert_eq!(noisy.zero_point, 0, "{noisy}");
    }

    #[test]
    fn a_layer_that_never_saw_a_value_still_has_a_scale() {
        let coding = choose(
            &LayerStatistics::default(),
            8,
            &QuantizeOptions::default(),
            CellErrors::default(),
        );
        assert!(coding.scale > 0.0);
    }
}
