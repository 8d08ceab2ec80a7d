//! Sums of a layer that are compared before they are converted.
//!
//! Whole sums of all positions are held; then, output by output, a rectifier
//! leaves those alone whose result is not above zero, and of each window of a
//! maximum pooling only the largest becomes a code. The digital stage behind
//! still rectifies and pools, and finds what was decided here: a window's
//! largest value stands where it was, the others of the window are given as no
//! larger, and what was rectified as zero.

use std::ops::Range;

use super::layout::{Layout, strides};
use crate::chip::{ReadNoise, TileKernel};
use crate::schedule::{AnalogStage, WindowAxis};

/// A stage over the positions of a layer.
#[derive(Debug)]
pub(super) struct Stage {
    rectifies: bool,
    /// Positions of each window; empty where every sum is converted.
    windows: Vec<Vec<u32>>,
    has_windows: bool,
}

/// From sums of an output to its results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub levels_per_code: f64,
    /// What the zero point adds, in levels times code steps.
    pub correction: f64,
    pub scale: f64,
    pub bias: f64,
}

impl Column {
    fn real(&self, codes: f64) -> f64 {
        (codes * self.levels_per_code - self.correction) * self.scale + self.bias
    }
}

/// The sums of a tile and who reads them.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub kernel: &'a TileKernel,
    /// As they are held, `[position][value]`.
    pub held: &'a [f64],
    /// As comparisons see them.
    pub seen: &'a [f64],
    pub noise: &'a ReadNoise,
}

impl Stage {
    pub(super) fn new(stage: &AnalogStage, layout: &Layout) -> Self {
        Self {
            rectifies: stage.rectifies,
            windows: windows(&stage.windows, layout),
            has_windows: !stage.windows.is_empty(),
        }
    }

    /// Results of one output at all positions; gives how many sums were
    /// converted for them.
    pub(super) fn results(
        &self,
        sums: Sums<'_>,
        value: usize,
        column: Column,
        results: &mut [f32],
    ) -> u64 {
        let Sums { kernel, held, seen, noise } = sums;
        let n_values = kernel.n_values();
        let sum = |position: u32| held[position as usize * n_values + value];
        let compared = |position: u32| seen[position as usize * n_values + value];
        // `None` is what a rectifier makes zero.
        let converted = |position: u32, seen: f64| {
            let passes = !self.rectifies || column.real(seen) > 0.0;
            passes
                .then(|| column.real(kernel.convert(sum(position), value, position, noise)) as f32)
        };
        let mut n_converted = 0;
        if !self.has_windows {
            for (position, result) in (0..).zip(results) {
                let real = converted(position, compared(position));
                n_converted += u64::from(real.is_some());
                *result = real.unwrap_or(0.0);
            }
            return n_converted;
        }
        // What a value that is no window's largest is not above.
        let mut limits = vec![f32::INFINITY; results.len()];
        let mut winners: Vec<Option<f32>> = vec![None; results.len()];
        for window in &self.windows {
            let seen = window.iter().map(|&position| (compared(position), position));
            let best = seen.reduce(|best, next| if next.0 > best.0 { next } else { best });
            let Some((seen, winner)) = best else { continue };
            let real = converted(winner, seen);
            n_converted += u64::from(real.is_some());
            let real = real.unwrap_or(0.0);
            winners[winner as usize] = Some(real);
            for &position in window {
                let limit = &mut limits[position as usize];
                *limit = limit.min(real);
            }
        }
        for ((result, winner), limit) in results.iter_mut().zip(winners).zip(limits) {
            // In no window: nobody reads it.
            *result = winner.unwrap_or(if limit.is_finite() { limit } else { 0.0 });
        }
        n_converted
    }
}

/// Positions of each window, those that lie outside the output left out.
fn windows(axes: &[WindowAxis], layout: &Layout) -> Vec<Vec<u32>> {
    if axes.is_empty() {
        return Vec::new();
    }
    let shape = layout.output_shape(1);
    let steps = strides(&shape);
    let index = |offset: u32, axis: usize| offset as usize / steps[axis] % shape[axis].max(1);
    let mut positions: Vec<(u32, u32)> = layout.position_results.iter().copied().zip(0..).collect();
    positions.sort_unstable();
    let at = |offset: u32| {
        positions.binary_search_by_key(&offset, |&(own, _)| own).ok().map(|nth| positions[nth].1)
    };
    // Where windows begin: one index of every other axis.
    let is_origin = |offset: &u32| axes.iter().all(|axis| index(*offset, axis.axis) == 0);
    let origins = layout.position_results.iter().copied().filter(is_origin);
    let mut found: Vec<Vec<u32>> = origins.map(|origin| vec![origin]).collect();
    for axis in axes {
        let step = steps[axis.axis] as u32;
        let over = |offsets: &Vec<u32>, range: Range<usize>| -> Vec<u32> {
            let at = |&offset: &u32| range.clone().map(move |own| offset + own as u32 * step);
            offsets.iter().flat_map(at).collect()
        };
        let reach = |window: usize| {
            let (start, end) = (window * axis.stride, window * axis.stride + axis.extent);
            let inside = |index: usize| index.saturating_sub(axis.padding).min(shape[axis.axis]);
            inside(start)..inside(end)
        };
        found = found
            .iter()
            .flat_map(|offsets| (0..axis.n_windows).map(move |window| (offsets, window)))
            .map(|(offsets, window)| over(offsets, reach(window)))
            .collect();
    }
    found.iter().map(|offsets| offsets.iter().filter_map(|&offset| at(offset)).collect()).collect()
}
