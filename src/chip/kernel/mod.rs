//! The product of a tile: bit-planes in, shifted and added codes out.
//!
//! For one tile, the current of a line in one plane is the sum of the
//! conductances whose input bit is 1. Inputs are taken a few at a time: the
//! possible sums of each group of lines are tabulated once per programmed chip
//! ("four Russians" method), and a plane of 128 inputs is 16 to 32 table rows
//! added up, all values side by side. Noise, conversion and shift-and-add
//! follow in registers.
//!
//! ```text
//! codes of a group's lines --pattern--> which lines, for each of 8 planes
//!                                           |
//!     tables of the tile, [group][lines][value] --narrow, or wide--> codes summed over planes
//! ```
//!
//! | file | |
//! |---|---|
//! | `bundles` | which lines share a table |
//! | `pattern` | from codes to lines driven, plane by plane |
//! | `rows` | what each line of a tile adds to each value |
//! | `precision` | in which integers currents are added up, and what that costs |
//! | `narrow` | the kernel in 16 bits, eight planes at once |
//! | `wide` | the kernel in 32 and 64 bits |
//! | `solved` | a circuit for each vector of bits, where currents are no sums over lines |
//! | `waves` | what either is given, and gives back |
//! | `analog` | planes added up as charges, before a conversion |
//! | `block`, `x86` | the operations of the narrow kernel, plainly and in registers |
//! | `instructions` | which instruction set runs |
//!
//! Every target takes the tabulated path, the exact one too: its currents are
//! whole multiples of an ADC code, which 16 bits hold without rounding. Only where
//! a target has its circuits solved vector by vector, nothing is tabulated.

mod analog;
mod block;
mod bundles;
mod instructions;
mod narrow;
mod pattern;
mod precision;
mod rows;
mod solved;
#[cfg(test)]
mod tests;
mod waves;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use block::Simd;
pub use bundles::{Bundle, lines_per_bundle};
pub(crate) use instructions::{Instructions, Task};
pub use pattern::{MAX_LINES, Pattern, PatternMap, Slot};

use super::accumulators::Held;
use super::noise::ReadNoise;
use super::{Chip, Measured};
use crate::mapping::WeightTile;
use crate::schedule::{AdcSetting, MAX_PLANES, Plane};
use crate::target::{Conversion, Subtract};
use analog::Analog;
use bundles::{Group, groups, in_order};
use narrow::Narrow;
use pattern::OCTET;
use precision::Fixed;
use rows::Rows;
use solved::Solved;
use waves::{Currents, Drive, Waves};
use wide::Wide;

/// How sums are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Where pairs are subtracted.
    pub subtract: Subtract,
    /// Which sums become codes.
    pub conversion: Conversion,
}

impl From<Subtract> for Scheme {
    /// Those of every plane.
    fn from(subtract: Subtract) -> Self {
        Self { subtract, conversion: Conversion::EveryPlane }
    }
}

/// Codes of inputs as patterns, and where to find them.
#[derive(Debug, Clone, Copy)]
pub struct Driven<'a> {
    /// The patterns.
    pub patterns: &'a [Pattern],
    /// Patterns between those of codes' lower and upper eight bits.
    pub octet_stride: usize,
    /// Start of each position's patterns.
    pub starts: &'a [u32],
    /// Number of the first position, which keys its noise.
    pub first_position: u32,
    /// From one position's number to the next one's.
    pub every: u32,
}

impl Driven<'_> {
    /// Number of the position that comes so many after the first.
    fn position(&self, nth: usize) -> u32 {
        self.first_position + nth as u32 * self.every
    }
}

/// A programmed tile, ready to be driven.
#[derive(Debug, Clone)]
pub struct TileKernel {
    n_inputs: usize,
    n_pairs: usize,
    /// Values converted: pairs or lines.
    n_values: usize,
    groups: Vec<Group>,
    /// The largest offset of a group.
    reach: usize,
    tables: Tables,
    /// Output line of the first value, which keys its noise.
    first_line: u32,
    subtract: Subtract,
    /// Whether planes without a driven line are sure to be converted to 0.
    rest_at_zero: bool,
    /// The line that each value's ADC was measured to follow; empty if none.
    measured: Vec<Measured>,
    /// Planes that are looked at, from the highest one with a driven line on.
    n_significant: u8,
    /// What sums of planes pass, where only these are converted.
    analog: Option<Analog>,
    instructions: Instructions,
}

#[derive(Debug, Clone)]
enum Tables {
    Narrow(Narrow),
    Wide32(Wide<i32>),
    Wide64(Wide<i64>),
    Solved(Solved),
}

/// Working memory of [`TileKernel::wave`], [`TileKernel::sums`] and
/// [`TileKernel::currents`], to be reused.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    patterns: Vec<Pattern>,
    results: Vec<f64>,
    currents: Vec<f32>,
}

impl TileKernel {
    /// Tabulates a tile of a chip whose lines are bundled as they come: the
    /// patterns of a position lie one after the other.
    ///
    /// `None` if the chip has no such PE or the tile leaves it.
    pub fn new(
        chip: &Chip,
        place: &WeightTile,
        adc: &AdcSetting,
        scheme: impl Into<Scheme>,
    ) -> Option<Self> {
        let scheme = scheme.into();
        let n_values = match scheme.subtract {
            Subtract::BeforeConversion => place.n_pairs(),
            Subtract::AfterConversion => place.n_outputs(),
        };
        let noisy = chip.is_noisy();
        let n_lines = place.n_inputs() as usize;
        let most = lines_per_bundle(n_lines, n_values as usize, noisy, usize::MAX);
        Self::with_bundles(chip, place, adc, scheme, in_order(n_lines, most))
    }

    /// Tabulates a tile of a chip, with the lines bundled like this; each line
    /// is in one bundle.
    ///
    /// `None` if the chip has no such PE or the tile leaves it, or if bundles
    /// have lines that the tile lacks, or too many.
    pub fn with_bundles(
        chip: &Chip,
        place: &WeightTile,
        adc: &AdcSetting,
        scheme: Scheme,
        bundles: Vec<Bundle>,
    ) -> Option<Self> {
        let Scheme { subtract, conversion } = scheme;
        let mut rows = Rows::new(chip, place, subtract)?;
        let mut measured = Vec::new();
        let converters = chip.converters_of(place, subtract);
        if let Some(converters) = &converters {
            if conversion != Conversion::Accumulated {
                rows = rows.converted(converters, adc.step_us);
            }
            measured = converters.iter().map(|converter| converter.measure(adc)).collect();
            if measured.iter().all(|&line| line == Measured::IDEAL) {
                measured.clear();
            }
        }
        let groups = groups(bundles, rows.n_inputs())?;
        // Sixteen bits take every plane alike.
        let is_plain = conversion == Conversion::EveryPlane && adc.halvings == [0; MAX_PLANES];
        let narrow = || Fixed::choose(&rows, groups.len(), adc, chip.cell_error_us);
        let reader = chip.vectors.as_ref().and_then(|circuits| circuits.reader(place));
        let tables = match reader {
            Some(reader) => {
                let before =
                    converters.as_deref().filter(|_| conversion != Conversion::Accumulated);
                let noise = chip.read_noise_fraction;
                Tables::Solved(Solved::new(reader, subtract, noise, before, adc))
            }
            None => match is_plain.then(narrow).flatten() {
                Some(fixed) => Tables::Narrow(Narrow::new(&rows, &groups, fixed)),
                None => Tables::wide(&rows, &groups, adc),
            },
        };
        let analog = (conversion == Conversion::Accumulated).then(|| {
            let held = Held::new(chip.accumulators.get(&place.pe), place, subtract, adc);
            Analog::new(held, adc, converters.as_deref().unwrap_or_default(), rows.has_noise())
        });
        let kernel = Self::from_parts(&rows, place, groups, tables, subtract);
        let n_significant = match conversion {
            Conversion::Significant(n_planes) => n_planes,
            Conversion::EveryPlane | Conversion::Accumulated => u8::MAX,
        };
        Some(Self { measured, analog, n_significant, ..kernel })
    }

    /// The same tile, whose cells hold what this chip says; lines are bundled
    /// as before.
    ///
    /// `None` if the chip has no such PE or the tile leaves it.
    pub fn retabulated(
        &self,
        chip: &Chip,
        place: &WeightTile,
        adc: &AdcSetting,
        scheme: Scheme,
    ) -> Option<Self> {
        let bundle = |group: &Group| Bundle { lines: group.lines.clone(), offset: group.offset };
        let bundles = self.groups.iter().map(bundle).collect();
        Self::with_bundles(chip, place, adc, scheme, bundles)
    }

    /// A tile in the finest integers, to ask for its currents, which are those
    /// before any ADC; sums over lines, also where a run solves circuits.
    pub(super) fn finest(
        chip: &Chip,
        place: &WeightTile,
        adc: &AdcSetting,
        subtract: Subtract,
    ) -> Option<Self> {
        let rows = Rows::new(chip, place, subtract)?;
        let groups = groups(in_order(rows.n_inputs(), 4), rows.n_inputs())?;
        let tables = Tables::wide(&rows, &groups, adc);
        Some(Self::from_parts(&rows, place, groups, tables, subtract))
    }

    fn from_parts(
        rows: &Rows,
        place: &WeightTile,
        groups: Vec<Group>,
        tables: Tables,
        subtract: Subtract,
    ) -> Self {
        Self {
            n_inputs: rows.n_inputs(),
            n_pairs: place.n_pairs() as usize,
            n_values: rows.n_values(),
            reach: groups.iter().map(|group| group.offset as usize).max().unwrap_or(0),
            groups,
            tables,
            first_line: place.output_line,
            subtract,
            rest_at_zero: rows.rest_at_zero(),
            measured: Vec::new(),
            n_significant: u8::MAX,
            analog: None,
            instructions: Instructions::detect(),
        }
    }

    /// Input lines of the tile.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Pairs of the tile: results of a wave.
    pub fn n_pairs(&self) -> usize {
        self.n_pairs
    }

    /// Values converted in a plane: pairs, or lines.
    pub fn n_values(&self) -> usize {
        self.n_values
    }

    /// Bits of the numbers that its currents are added up in: 16, 32 or 64.
    pub fn precision_bits(&self) -> u32 {
        match &self.tables {
            Tables::Narrow(_) => 16,
            Tables::Wide32(_) => 32,
            Tables::Wide64(_) | Tables::Solved(_) => 64,
        }
    }

    /// Drives positions, one wave each: the sums over the planes of shifted
    /// codes, in codes of the ADC, `[position][pair]`; whole numbers unless
    /// ADCs were measured, and what was found is taken off.
    ///
    /// `noise` is the stream of the step; without it nothing is added to a
    /// current.
    ///
    /// # Panics
    ///
    /// `results` has not as many values, or patterns are missing.
    pub fn drive(
        &self,
        driven: Driven<'_>,
        planes: &[Plane],
        noise: Option<&ReadNoise>,
        results: &mut [f64],
    ) {
        if self.analog.is_some() {
            return self.accumulate(driven, planes, noise, results);
        }
        let weight = |plane: &Plane| {
            let weight = f64::from(1u32 << plane.bit);
            if plane.negative { -weight } else { weight }
        };
        let top_bit = planes.iter().map(|plane| usize::from(plane.bit)).max().unwrap_or(0);
        let waves = Waves {
            groups: &self.groups,
            reach: self.reach,
            driven,
            planes,
            n_octets: top_bit / OCTET + 1,
            noise,
            first_line: self.first_line,
            subtract: self.subtract,
            n_pairs: self.n_pairs,
            rest_at_zero: self.rest_at_zero,
            n_significant: self.n_significant,
            measured: &self.measured,
            weight: planes.iter().map(weight).sum(),
            results,
        };
        waves.check();
        self.instructions.run(Drive { tables: &self.tables, waves });
    }

    /// Drives one wave: one code per input line in, one sum a pair out, rounded
    /// where ADCs were measured.
    ///
    /// `noise` is the stream of the step and the number of the position in it.
    pub fn wave(
        &self,
        codes: &[u16],
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &mut Scratch,
        results: &mut [i64],
    ) {
        let sums = self.sums(codes, planes, noise, scratch);
        for (result, &sum) in results.iter_mut().zip(sums) {
            *result = sum.round_ties_even() as i64;
        }
    }

    /// The same as it comes.
    pub fn sums<'s>(
        &self,
        codes: &[u16],
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &'s mut Scratch,
    ) -> &'s [f64] {
        let octet_stride = self.patterns(codes, &mut scratch.patterns);
        scratch.results.clear();
        scratch.results.resize(self.n_pairs, 0.0);
        let driven = Driven {
            patterns: &scratch.patterns,
            octet_stride,
            starts: &[0],
            first_position: noise.map_or(0, |(_, position)| position),
            every: 1,
        };
        self.drive(driven, planes, noise.map(|(noise, _)| noise), &mut scratch.results);
        &scratch.results
    }

    /// Currents in uS without noise, one per value converted, given plane by
    /// plane from the lowest of so many bits on.
    pub fn currents(
        &self,
        codes: &[u16],
        bits: u8,
        scratch: &mut Scratch,
        mut plane: impl FnMut(usize, &[f32]),
    ) {
        let octet_stride = self.patterns(codes, &mut scratch.patterns);
        for bit in 0..usize::from(bits) {
            scratch.currents.clear();
            let currents = Currents {
                tables: &self.tables,
                groups: &self.groups,
                patterns: &scratch.patterns[bit / OCTET * octet_stride..],
                bit: bit % OCTET,
                currents: &mut scratch.currents,
            };
            self.instructions.run(currents);
            plane(bit, &scratch.currents);
        }
    }

    /// Patterns of one vector of codes, each at its group's offset, the upper
    /// eight bits behind the lower; gives the distance between them.
    fn patterns(&self, codes: &[u16], patterns: &mut Vec<Pattern>) -> usize {
        let stride = self.reach + 1;
        patterns.clear();
        patterns.resize(2 * stride, Pattern::default());
        for group in &self.groups {
            for octet in 0..2 {
                let code = |line: u32| codes.get(line as usize).copied().unwrap_or(0);
                let bytes = group.lines.iter().rev().fold(0, |word, line| {
                    word << 8 | u64::from(line.map_or(0, code) >> (8 * octet) & 0xFF)
                });
                patterns[octet * stride + group.offset as usize] = Pattern::new(bytes);
            }
        }
        stride
    }
}

impl Tables {
    fn wide(rows: &Rows, groups: &[Group], adc: &AdcSetting) -> Self {
        match Wide::new(rows, groups, adc) {
            Some(tables) => Self::Wide32(tables),
            None => Self::Wide64(Wide::coarsest(rows, groups, adc)),
        }
    }
}
