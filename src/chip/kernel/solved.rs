//! Tiles whose currents are no sums over lines: their circuit is solved for each
//! vector of bits, see [`crate::chip::wires`].
//!
//! Nothing is tabulated and nothing rounded before the ADC does; noise is drawn
//! from the streams and for the places that the other kernels draw it from.

use super::super::converters::bow;
use super::super::noise::BLOCK;
use super::pattern::OCTET;
use super::waves::Waves;
use super::{Driven, Group};
use crate::chip::Converter;
use crate::chip::wires::{ReaderMemory, TileReader};
use crate::schedule::{AdcSetting, Plane};
use crate::target::Subtract;

/// A tile and what converts its currents.
#[derive(Debug, Clone)]
pub(super) struct Solved {
    reader: TileReader,
    subtract: Subtract,
    /// Variance of a reading of a cell, as a share of the square of what it adds.
    noise: f64,
    /// Of each value: gain, offset, bow and noise of its ADC, in codes; empty
    /// where they are as they should be.
    converters: Vec<[f64; 4]>,
    adc: AdcSetting,
}

/// Working memory of a run of positions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    reader: ReaderMemory,
    lines_us: Vec<(f64, f64)>,
    /// Of each value its current in codes, and its variance in codes squared.
    values: Vec<(f64, f64)>,
}

impl Solved {
    pub(super) fn new(
        reader: TileReader,
        subtract: Subtract,
        read_noise_fraction: f64,
        converters: Option<&[&Converter]>,
        adc: &AdcSetting,
    ) -> Self {
        let own = |c: &&Converter| [c.gain, c.offset_codes, c.bow_codes, c.noise_codes];
        Self {
            reader,
            subtract,
            noise: read_noise_fraction * read_noise_fraction,
            converters: converters.unwrap_or_default().iter().map(own).collect(),
            adc: *adc,
        }
    }

    /// Values in codes with the lines driven that each group names, before
    /// any converter.
    #[inline(always)]
    pub(super) fn read<'m>(
        &self,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
        memory: &'m mut Memory,
    ) -> &'m [(f64, f64)] {
        let on = groups.iter().flat_map(|group| {
            let pattern = lines(group);
            let own = group.lines.iter().enumerate();
            own.filter(move |(bit, _)| pattern >> bit & 1 == 1)
                .filter_map(|(_, line)| line.map(|line| line as usize))
        });
        self.reader.read(on, &mut memory.reader, &mut memory.lines_us);
        let step_us = self.adc.step_us;
        let (one, two) = (1.0 / step_us, self.noise / (step_us * step_us));
        memory.values.clear();
        match self.subtract {
            Subtract::AfterConversion => {
                let lines = memory.lines_us.iter();
                memory.values.extend(lines.map(|(us, squares)| (us * one, squares * two)));
            }
            Subtract::BeforeConversion => {
                let pairs = memory.lines_us.as_chunks::<2>().0.iter();
                memory.values.extend(pairs.map(|[positive, negative]| {
                    ((positive.0 - negative.0) * one, (positive.1 + negative.1) * two)
                }));
            }
        }
        &memory.values
    }

    /// Appends the currents in uS of one position in one plane, one per value.
    pub(super) fn currents(
        &self,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
        currents: &mut Vec<f32>,
    ) {
        let mut memory = Memory::default();
        let values = self.read(groups, lines, &mut memory);
        currents.extend(values.iter().map(|(codes, _)| (codes * self.adc.step_us) as f32));
    }

    /// See [`super::TileKernel::drive`].
    #[inline(always)]
    pub(super) fn run(&self, mut waves: Waves<'_>) {
        let n_values = match self.subtract {
            Subtract::AfterConversion => self.reader.n_outputs(),
            Subtract::BeforeConversion => self.reader.n_outputs() / 2,
        };
        let mut memory = Memory::default();
        let mut totals = vec![0.0; n_values];
        for nth in 0..waves.driven.starts.len() {
            totals.fill(0.0);
            let start = waves.driven.starts[nth] as usize;
            let least_bit = waves.least_significant(start);
            for plane in waves.planes.iter().filter(|plane| plane.bit >= least_bit) {
                self.plane(&waves, nth, plane, &mut memory, &mut totals);
            }
            waves.correct(0, &mut totals);
            waves.give(nth, 0, &totals);
        }
    }

    /// Adds the codes of a plane, shifted.
    #[inline(always)]
    fn plane(
        &self,
        waves: &Waves<'_>,
        nth: usize,
        plane: &Plane,
        memory: &mut Memory,
        totals: &mut [f64],
    ) {
        let bit = usize::from(plane.bit);
        let halvings = self.adc.halvings[bit];
        let finer = f64::from(1u32 << halvings);
        let weight = f64::from(1u32 << bit) / finer * if plane.negative { -1.0 } else { 1.0 };
        let patterns = patterns_of(waves.driven, nth, bit);
        let lines = |group: &Group| patterns[group.offset as usize].lines(bit % OCTET);
        let (min, max) = (f64::from(self.adc.min_code), f64::from(self.adc.max_code));
        if waves.rest_at_zero && waves.groups.iter().all(|group| lines(group) == 0) {
            totals.iter_mut().for_each(|total| *total += weight * 0f64.clamp(min, max));
            return;
        }
        let values = self.read(waves.groups, lines, memory);
        let blocks = values.chunks(BLOCK).zip(totals.chunks_mut(BLOCK));
        for (first, (values, totals)) in (0..).step_by(BLOCK).zip(blocks) {
            let place = waves.place(nth, first, bit);
            let normals = waves
                .noise
                .map_or([0.0; BLOCK], |noise| noise.draw(place.position, place.line, place.plane));
            for ((at, (&(codes, variance), total)), normal) in
                (first..).zip(values.iter().zip(totals)).zip(normals)
            {
                let [gain, offset, own_bow, sd] =
                    self.converters.get(at).copied().unwrap_or([1.0, 0.0, 0.0, 0.0]);
                let variance = variance * gain * gain + sd * sd;
                let seen = gain * codes + offset + variance.sqrt() * f64::from(normal);
                let seen = seen * finer;
                let seen = seen + bow(seen, own_bow, &self.adc);
                *total += weight * seen.round_ties_even().clamp(min, max);
            }
        }
    }
}

/// Patterns of a position in the plane of a bit.
#[inline(always)]
pub(super) fn patterns_of(driven: Driven<'_>, nth: usize, bit: usize) -> &[super::Pattern] {
    &driven.patterns[driven.starts[nth] as usize + bit / OCTET * driven.octet_stride..]
}
