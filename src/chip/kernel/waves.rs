//! What the kernel is given for a run of positions, and how it gives results
//! back.

use super::block::{NoisePlace, Simd};
use super::instructions::Task;
use super::pattern::{OCTET, Pattern};
use super::{Driven, Group, Tables};
use crate::chip::Measured;
use crate::chip::noise::ReadNoise;
use crate::schedule::Plane;
use crate::target::Subtract;

/// What [`super::TileKernel::drive`] is given, and what of the tile it takes.
pub(super) struct Waves<'a> {
    pub groups: &'a [Group],
    pub reach: usize,
    pub driven: Driven<'a>,
    pub planes: &'a [Plane],
    /// Bytes of a code.
    pub n_octets: usize,
    pub noise: Option<&'a ReadNoise>,
    pub first_line: u32,
    pub subtract: Subtract,
    pub n_pairs: usize,
    /// Whether planes without a driven line are sure to be converted to 0.
    pub rest_at_zero: bool,
    /// Planes that are looked at, from the highest one with a driven line on.
    pub n_significant: u8,
    /// The line that each value's ADC was measured to follow; empty if none.
    pub measured: &'a [Measured],
    /// What a code counts in all planes together.
    pub weight: f64,
    pub results: &'a mut [f64],
}

impl Waves<'_> {
    /// Holds what addresses rely on.
    pub(super) fn check(&self) {
        let Driven { patterns, octet_stride, starts, .. } = self.driven;
        let last = starts.iter().max().map_or(0, |&start| start as usize)
            + (self.n_octets - 1) * octet_stride
            + self.reach;
        assert!(starts.is_empty() || last < patterns.len(), "a pattern is missing");
        assert_eq!(self.results.len(), starts.len() * self.n_pairs, "as many results as pairs");
    }

    /// Whether any line is driven in any plane of the position whose patterns
    /// begin here. Pictures have much that is black, and rectified values more.
    #[inline(always)]
    pub(super) fn is_driven(&self, first: usize) -> bool {
        let patterns = &self.driven.patterns[first..];
        !self.rest_at_zero
            || self.groups.iter().any(|group| patterns[group.offset as usize] != Pattern::default())
    }

    /// The lowest plane that is looked at in the position whose patterns begin
    /// here.
    #[inline(always)]
    pub(super) fn least_significant(&self, start: usize) -> u8 {
        if usize::from(self.n_significant) >= self.planes.len() {
            return 0;
        }
        let is_driven = |plane: &&Plane| {
            let bit = usize::from(plane.bit);
            let patterns = &self.driven.patterns[start + bit / OCTET * self.driven.octet_stride..];
            self.groups.iter().any(|group| patterns[group.offset as usize].lines(bit % OCTET) != 0)
        };
        let highest = self.planes.iter().rev().find(is_driven).map_or(0, |plane| plane.bit);
        (highest + 1).saturating_sub(self.n_significant)
    }

    /// Where noise is drawn for values from this one on.
    pub(super) fn place(&self, nth: usize, first_value: usize, plane: usize) -> NoisePlace {
        NoisePlace {
            position: self.driven.position(nth),
            line: self.first_line + first_value as u32,
            plane: plane as u32,
        }
    }

    /// Takes off what the ADCs of neighbouring values were measured to do.
    #[inline(always)]
    pub(super) fn correct(&self, first_value: usize, sums: &mut [f64]) {
        if let Some(measured) = self.measured.get(first_value..) {
            for (sum, own) in sums.iter_mut().zip(measured) {
                *sum = (*sum - own.offset_codes * self.weight) / own.gain;
            }
        }
    }

    /// Takes the sums of neighbouring values of a position: one result each,
    /// or one for two lines.
    #[inline(always)]
    pub(super) fn give(&mut self, nth: usize, first_value: usize, sums: &[f64]) {
        let results = &mut self.results[nth * self.n_pairs..(nth + 1) * self.n_pairs];
        match self.subtract {
            Subtract::BeforeConversion => {
                results[first_value..first_value + sums.len()].copy_from_slice(sums);
            }
            Subtract::AfterConversion => {
                let lines = sums.as_chunks::<2>().0;
                for (result, [positive, negative]) in
                    results[first_value / 2..].iter_mut().zip(lines)
                {
                    *result = positive - negative;
                }
            }
        }
    }
}

pub(super) struct Drive<'a> {
    pub tables: &'a Tables,
    pub waves: Waves<'a>,
}

impl Task for Drive<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        match self.tables {
            Tables::Narrow(tables) => tables.run::<S>(self.waves),
            Tables::Wide32(tables) => tables.run(self.waves),
            Tables::Wide64(tables) => tables.run(self.waves),
            Tables::Solved(solved) => solved.run(self.waves),
        }
    }
}

pub(super) struct Currents<'a> {
    pub tables: &'a Tables,
    pub groups: &'a [Group],
    pub patterns: &'a [Pattern],
    pub bit: usize,
    /// Where they are appended.
    pub currents: &'a mut Vec<f32>,
}

impl Task for Currents<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { tables, groups, patterns, bit, currents } = self;
        let lines = |group: &Group| patterns[group.offset as usize].lines(bit);
        match tables {
            Tables::Narrow(tables) => tables.currents(groups, lines, currents),
            Tables::Wide32(tables) => tables.currents(groups, lines, currents),
            Tables::Wide64(tables) => tables.currents(groups, lines, currents),
            Tables::Solved(solved) => solved.currents(groups, lines, currents),
        }
    }
}
