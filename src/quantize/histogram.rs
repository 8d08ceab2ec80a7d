//! How often which values occur, whatever their range, in a fixed number of
//! bins.

/// Bins on each side of zero; a power of two, so that doubling the range
/// merges bins exactly.
const BINS: usize = 2048;

/// A histogram over `-reach..reach` whose reach is a power of two and doubles
/// when a value falls outside.
///
/// The result depends on the values alone, not on their order: bin borders are
/// multiples of a power of two, and merging pairs of bins is exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    exponent: i32,
    counts: Vec<u64>,
    zeros: u64,
    min: f32,
    max: f32,
}

/// The smallest reach is 2^-24: below, activations are zero to any array.
const MIN_EXPONENT: i32 = -24;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            exponent: MIN_EXPONENT,
            counts: vec![0; 2 * BINS],
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }
}

impl Histogram {
    /// Puts a histogram together from its parts, as they were stored; `None`
    /// if they do not belong together.
    pub fn from_parts(
        exponent: i32,
        counts: Vec<u64>,
        zeros: u64,
        min: f32,
        max: f32,
    ) -> Option<Self> {
        let fits = counts.len() == 2 * BINS && (MIN_EXPONENT..=128).contains(&exponent);
        let empty = zeros == 0 && counts.iter().all(|&n| n == 0);
        let ordered = empty || (min.is_finite() && max.is_finite() && min <= max);
        (fits && ordered).then_some(Self { exponent, counts, zeros, min, max })
    }

    /// Adds finite values.
    pub fn add(&mut self, values: &[f32]) {
        // Comparisons, because `min` and `max` also look for NaNs.
        let wider = |(min, max): (f32, f32), &value: &f32| {
            (if value < min { value } else { min }, if value > max { value } else { max })
        };
        let (min, max) = values.iter().fold((self.min, self.max), wider);
        (self.min, self.max) = (min, max);
        let largest = f64::from(min.abs().max(max.abs()));
        if largest.is_finite() && largest >= self.reach() {
            let counts_any = self.counts.iter().any(|&n| n > 0);
            while largest >= self.reach() {
                if counts_any {
                    self.merge();
                }
                self.exponent += 1;
            }
        }
        // Exact, the width being a power of two that f32 has, but for steps too
        // small for it.
        let per_width = (1.0 / self.width()) as f32;
        let mut bins = [0u16; 64];
        for values in values.chunks(bins.len()) {
            for (bin, &value) in bins.iter_mut().zip(values) {
                let steps = value * per_width;
                let whole = steps as i32;
                // `value` lies inside the reach, so the bin is one that is there.
                let is_above = (whole as f32 > steps) | ((steps == 0.0) & (value < 0.0));
                let floor = whole - i32::from(is_above);
                *bin = (floor + BINS as i32).clamp(0, 2 * BINS as i32 - 1) as u16;
            }
            for (&bin, &value) in bins.iter().zip(values) {
                let zero = u64::from(value == 0.0);
                self.counts[usize::from(bin)] += 1 - zero;
                self.zeros += zero;
            }
        }
    }

    /// Two neighbouring bins become one, as of twice the reach.
    fn merge(&mut self) {
        let mut merged = vec![0; 2 * BINS];
        for (bin, count) in self.counts.iter().enumerate() {
            merged[BINS / 2 + bin / 2] += count;
        }
        self.counts = merged;
    }

    fn reach(&self) -> f64 {
        power_of_two(self.exponent)
    }

    /// The width of one bin.
    fn width(&self) -> f64 {
        self.reach() / BINS as f64
    }

    /// Smallest value seen; 0 if none was.
    pub fn min(&self) -> f32 {
        if self.is_empty() { 0.0 } else { self.min }
    }

    /// Largest value seen; 0 if none was.
    pub fn max(&self) -> f32 {
        if self.is_empty() { 0.0 } else { self.max }
    }

    /// Whether no value was added.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// Exact zeros among them.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Exponent of the reach and counts of all bins, for storing.
    pub fn parts(&self) -> (i32, &[u64]) {
        (self.exponent, &self.counts)
    }

    /// Centres and counts of the bins that are not empty, ascending; exact
    /// zeros are not among them.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let width = self.width();
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(move |(bin, &count)| ((bin as f64 - BINS as f64 + 0.5) * width, count as f64))
    }

    /// The magnitude that a share `fraction` of all values does not exceed.
    pub fn magnitude_quantile(&self, fraction: f64) -> f64 {
        let total = self.total() as f64;
        let mut magnitudes: Vec<(f64, f64)> =
            self.bins().map(|(centre, count)| (centre.abs(), count)).collect();
        magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut seen = self.zeros as f64;
        let largest = f64::from(self.min().abs().max(self.max().abs()));
        for (magnitude, count) in magnitudes {
            seen += count;
            if seen >= fraction * total {
                return (magnitude + self.width() / 2.0).min(largest);
            }
        }
        largest
    }
}

/// 2 to the power of a normal f64's exponent, exactly: set in its bits.
fn power_of_two(exponent: i32) -> f64 {
    let biased = (i64::from(exponent) + 1023).clamp(1, 2046);
    f64::from_bits((biased as u64) << 52)
}

#[cfg(test)]
mod tests {
    //! A histogram keeps what it was given, in whatever order it came.

    use super::Histogram;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_values_does_not_matter(mut values in prop::collection::vec(-1e3f32..1e3, 1..200)) {
            let mut forward = Histogram::default();
            forward.add(&values);
            values.reverse();
            let mut backward = Histogram::default();
            backward.add(&values);
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(forward.total(), values.len() as u64);
        }

        #[test]
        fn bins_lie_near_their_values(value in -1e6f32..1e6) {
            prop_assume!(value.abs() > 1e-6);
            let mut histogram = Histogram::default();
            histogram.add(&[value]);
            let bins: Vec<_> = histogram.bins().collect();
            prop_assert_eq!(bins.len(), 1);
            prop_assert!((bins[0].0 - f64::from(value)).abs() <= f64::from(value.abs()) / 1024.0);
        }
    }

    #[test]
    fn the_full_quantile_is_the_largest_magnitude() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0, 0.5, -3.0, 1.0]);
        assert_eq!(histogram.magnitude_quantile(1.0), 3.0);
        assert!(histogram.magnitude_quantile(0.5) < 0.51);
    }
}
