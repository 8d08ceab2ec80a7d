//! The product of a tile whose planes are added up as charges: one sum for each
//! value and position, converted once, or not at all.
//!
//! Currents of planes come from the tables of `wide`; what accumulators and
//! ADCs do to the sum follows, in floating point. Sums of an exact chip are
//! whole numbers of a unit below 2^53, so that nothing is rounded before the
//! ADC does.

use std::borrow::Cow;
use std::ops::Range;

use super::super::accumulators::Held;
use super::super::converters::bow;
use super::super::noise::{BLOCK, ReadNoise};
use super::block::Simd;
use super::instructions::Task;
use super::pattern::OCTET;
use super::solved::{self, Solved, patterns_of};
use super::wide::{LANES, Wide, Word};
use super::{Driven, Group, Tables, TileKernel};
use crate::chip::{Converter, Measured};
use crate::schedule::{AdcSetting, Plane};
use crate::target::Subtract;

/// Which plane's place in the stream of noise is whose: planes themselves draw
/// nothing where only their sum is read.
const SUM: u32 = 0;
const COMPARISON: u32 = 1;
const CONVERSION: u32 = 2;

/// What is between the sums of a tile and its codes.
#[derive(Debug, Clone)]
pub(super) struct Analog {
    held: Held,
    adc: AdcSetting,
    /// Of each value: gain, offset, bow and noise of its ADC, in codes; empty
    /// where they are as they should be.
    converters: Vec<[f64; 4]>,
    /// Whether sums have noise: of cells, or of accumulators.
    has_noise: bool,
}

impl Analog {
    pub(super) fn new(
        held: Held,
        adc: &AdcSetting,
        converters: &[&Converter],
        cells_have_noise: bool,
    ) -> Self {
        let own = |c: &&Converter| [c.gain, c.offset_codes, c.bow_codes, c.noise_codes];
        let has_noise = cells_have_noise || held.noise_codes() > 0.0;
        Self { held, adc: *adc, converters: converters.iter().map(own).collect(), has_noise }
    }
}

impl TileKernel {
    /// Sums of all planes as they are held, in steps of the ADC's range,
    /// `[position][value]`; nothing is written for a tile whose planes are
    /// converted one by one.
    ///
    /// # Panics
    ///
    /// `sums` has not as many values, or patterns are missing.
    pub fn hold(
        &self,
        driven: Driven<'_>,
        planes: &[Plane],
        noise: Option<&ReadNoise>,
        sums: &mut [f64],
    ) {
        let Some(analog) = &self.analog else { return };
        assert_eq!(sums.len(), driven.starts.len() * self.n_values, "as many sums as values");
        let per_value = if analog.held.is_uniform() { 1 } else { self.n_values };
        let weights =
            |value: usize| (0..planes.len()).map(move |nth| analog.held.weight(value, nth, planes));
        let weights: Vec<f64> = (0..per_value).flat_map(weights).collect();
        let noise = noise.filter(|_| analog.has_noise);
        let hold = Hold { kernel: self, analog, driven, planes, weights, noise, sums };
        self.instructions.run(hold);
    }

    /// What comparisons of held sums see of them, from the first position on.
    pub fn compared<'s>(&self, sums: &'s [f64], noise: &ReadNoise) -> Cow<'s, [f64]> {
        let sd = self.analog.as_ref().map_or(0.0, |analog| analog.held.comparator_codes());
        if sd == 0.0 {
            return Cow::Borrowed(sums);
        }
        let mut seen = sums.to_vec();
        for (position, seen) in (0..).zip(seen.chunks_exact_mut(self.n_values.max(1))) {
            for (line, seen) in (self.first_line..).step_by(BLOCK).zip(seen.chunks_mut(BLOCK)) {
                let normals = noise.draw(position, line, COMPARISON);
                seen.iter_mut().zip(normals).for_each(|(sum, n)| *sum += sd * f64::from(n));
            }
        }
        Cow::Owned(seen)
    }

    /// The code of a held sum, what its ADC was measured to do taken off.
    pub fn convert(&self, sum: f64, value: usize, position: u32, noise: &ReadNoise) -> f64 {
        let Some(analog) = &self.analog else { return 0.0 };
        let adc = &analog.adc;
        let mut code = sum;
        if let Some([gain, offset, own_bow, sd]) = analog.converters.get(value) {
            code = gain * code + offset;
            code += bow(code, *own_bow, adc);
            if *sd > 0.0 {
                code += sd * self.draw(value, position, noise);
            }
        }
        let code = code.round_ties_even().clamp(adc.min_code.into(), adc.max_code.into());
        match self.measured.get(value) {
            Some(Measured { gain, offset_codes }) => (code - offset_codes) / gain,
            None => code,
        }
    }

    /// A standard Gaussian of the conversion of this value and position.
    fn draw(&self, value: usize, position: u32, noise: &ReadNoise) -> f64 {
        let first = value / BLOCK * BLOCK;
        let drawn = noise.draw(position, self.first_line + first as u32, CONVERSION);
        drawn[value - first].into()
    }

    /// Holds and converts the sums of positions: one result for each pair.
    pub(super) fn accumulate(
        &self,
        driven: Driven<'_>,
        planes: &[Plane],
        noise: Option<&ReadNoise>,
        results: &mut [f64],
    ) {
        let quiet = ReadNoise::new(0, 0, 0, 0);
        let mut sums = vec![0.0; driven.starts.len() * self.n_values];
        self.hold(driven, planes, noise, &mut sums);
        let noise = noise.unwrap_or(&quiet);
        let n_pairs = self.n_pairs.max(1);
        let positions = sums.chunks_exact(self.n_values.max(1)).enumerate();
        for ((nth, sums), results) in positions.zip(results.chunks_exact_mut(n_pairs)) {
            let position = driven.position(nth);
            let code = |value: usize| self.convert(sums[value], value, position, noise);
            for (pair, result) in results.iter_mut().enumerate() {
                *result = match self.subtract {
                    Subtract::BeforeConversion => code(pair),
                    Subtract::AfterConversion => code(2 * pair) - code(2 * pair + 1),
                };
            }
        }
    }
}

/// Adds up the planes of a run of positions.
struct Hold<'a> {
    kernel: &'a TileKernel,
    analog: &'a Analog,
    driven: Driven<'a>,
    planes: &'a [Plane],
    /// `[value][plane]`, or `[plane]` where all values are alike.
    weights: Vec<f64>,
    noise: Option<&'a ReadNoise>,
    sums: &'a mut [f64],
}

impl Task for Hold<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self) {
        match &self.kernel.tables {
            Tables::Wide32(tables) => self.with(tables),
            Tables::Wide64(tables) => self.with(tables),
            Tables::Solved(solved) => self.with_solved(solved),
            // Tiles whose planes are added up are tabulated in wide integers.
            Tables::Narrow(_) => {}
        }
    }
}

impl<'a> Hold<'a> {
    #[inline(always)]
    fn with<W: Word>(&mut self, tables: &Wide<W>) {
        let n_values = self.kernel.n_values;
        for nth in 0..self.driven.starts.len() {
            for (chunk, first) in (0..n_values).step_by(LANES).enumerate() {
                let values = first..n_values.min(first + LANES);
                let (sums, variances) = self.chunk(tables, chunk, values.clone(), nth);
                let own = &mut self.sums[nth * n_values..][values.clone()];
                for (own, sum) in own.iter_mut().zip(sums) {
                    *own = self.analog.held.bent(sum);
                }
                self.add_noise(variances, values, nth);
            }
        }
    }

    #[inline(always)]
    fn with_solved(&mut self, solved: &Solved) {
        let n_values = self.kernel.n_values;
        let mut memory = solved::Memory::default();
        for nth in 0..self.driven.starts.len() {
            let mut totals = vec![(0.0, 0.0); n_values];
            for (plane_index, plane) in self.planes.iter().enumerate() {
                let Some(lines) = self.lines(nth, plane) else { continue };
                let read = solved.read(&self.kernel.groups, lines, &mut memory);
                for (value, (total, own)) in totals.iter_mut().zip(read).enumerate() {
                    let weight = self.weight(value, plane_index);
                    *total = (total.0 + own.0 * weight, total.1 + own.1 * weight * weight);
                }
            }
            for (first, totals) in (0..).step_by(LANES).zip(totals.chunks(LANES)) {
                let mut variances = [0.0; LANES];
                let own = &mut self.sums[nth * n_values + first..];
                for ((own, variance), total) in own.iter_mut().zip(&mut variances).zip(totals) {
                    *own = self.analog.held.bent(total.0);
                    *variance = total.1;
                }
                self.add_noise(variances, first..first + totals.len(), nth);
            }
        }
    }

    /// The lines of each group that a plane drives, if it drives any.
    #[inline(always)]
    fn lines(&self, nth: usize, plane: &Plane) -> Option<impl Fn(&Group) -> usize + use<'a>> {
        let bit = usize::from(plane.bit);
        let patterns = patterns_of(self.driven, nth, bit);
        let lines = move |group: &Group| patterns[group.offset as usize].lines(bit % OCTET);
        self.kernel.groups.iter().any(|group| lines(group) != 0).then_some(lines)
    }

    /// What a plane counts in the sum of a value.
    #[inline(always)]
    fn weight(&self, value: usize, plane_index: usize) -> f64 {
        match self.analog.held.is_uniform() {
            true => self.weights[plane_index],
            false => self.weights[value * self.planes.len() + plane_index],
        }
    }

    /// Sums in codes and their variances in codes squared.
    #[inline(always)]
    fn chunk<W: Word>(
        &self,
        tables: &Wide<W>,
        chunk: usize,
        values: Range<usize>,
        nth: usize,
    ) -> ([f64; LANES], [f64; LANES]) {
        let (mut totals, mut variances) = ([0.0; LANES], [0.0; LANES]);
        for (plane_index, plane) in self.planes.iter().enumerate() {
            let Some(lines) = self.lines(nth, plane) else { continue };
            let mut weights = [0.0; LANES];
            for (weight, value) in weights.iter_mut().zip(values.clone()) {
                *weight = self.weight(value, plane_index);
            }
            let sums = tables.sums(chunk, &self.kernel.groups, &lines);
            for ((total, sum), weight) in totals.iter_mut().zip(sums).zip(weights) {
                *total += sum.to_f64() * weight;
            }
            if self.noise.is_some()
                && let Some(added) = tables.variance_sums(chunk, &self.kernel.groups, &lines)
            {
                for ((variance, added), weight) in variances.iter_mut().zip(added).zip(weights) {
                    *variance += f64::from(added) * weight * weight;
                }
            }
        }
        let codes = tables.codes_a_unit();
        (totals.map(|total| total * codes), variances.map(|v| v * codes * codes))
    }

    /// All planes' noise at once: the sum of Gaussians is one.
    #[inline(always)]
    fn add_noise(&mut self, variances: [f64; LANES], values: Range<usize>, nth: usize) {
        let Some(noise) = self.noise else { return };
        let own_variance = self.analog.held.noise_codes() * self.analog.held.noise_codes();
        let n_values = self.kernel.n_values;
        let position = self.driven.position(nth);
        let sums = &mut self.sums[nth * n_values..][values.clone()];
        for (block, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let line = self.kernel.first_line + (values.start + BLOCK * block) as u32;
            let normals = noise.draw(position, line, SUM);
            let variances = &variances[BLOCK * block..];
            for ((sum, variance), normal) in sums.iter_mut().zip(variances).zip(normals) {
                *sum += (variance + own_variance).sqrt() * f64::from(normal);
            }
        }
    }
}
