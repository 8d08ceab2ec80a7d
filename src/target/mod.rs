//! Chip descriptions: what a network is compiled for, and what runs it.
//!
//! A target is a YAML file, or the name of one that comes with ohmc. Here it
//! becomes a checked [`Target`], the second argument of every later stage:
//! every size is positive, every figure finite and inside documented limits,
//! and keys that depend on each other agree. What is wrong is reported all at
//! once, each fault with its line and column or the `--set` it came from.
//!
//! ```text
//! YAML text --document--> tree with positions --overrides--> effective tree
//!     --check (schema, laws)--> spec --> Target
//! ```
//!
//! Nothing here opens files: whoever has the text hands it in.

mod adc;
mod builtin;
mod cell_spec;
mod check;
mod checked;
mod conversion;
mod conversion_spec;
mod device;
mod document;
mod fault;
mod overrides;
mod schema;
mod spec;
mod wires;

pub mod benchmark;

#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use builtin::{builtin, builtin_names};
pub use conversion::{Accumulation, AdcErrors, AnalogStages, Conversion, SelfTimed};
pub use device::{
    Drift, FaultRates, Forming, Gate, Nonlinearity, PulseModel, Pulses, ReadDisturb, Recipe,
};
pub use fault::{Fault, FaultKind, KeyPath, Origin, TargetError};
pub use overrides::{Override, OverrideError};
pub use wires::{IdleInputs, IdleOutputs, Wires, WiresSolved};

use document::Content;
use spec::TargetSpec;

/// A chip to compile for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The target's name, on one line.
    pub name: String,
    /// The memristor cell.
    pub cell: Cell,
    /// The processing element.
    pub pe: Pe,
    /// Resistance of its lines.
    pub wires: Wires,
    /// Whether it can be read from its output lines to its input lines, too.
    pub transposed_reads: bool,
    /// How inputs are driven and outputs converted.
    pub readout: Readout,
    /// What the chip has of them.
    pub chip: ChipSize,
    /// Energy and area of one PE's parts, where they are known.
    pub costs: Option<Costs>,
    /// How fast the parts around the arrays are.
    pub rates: Rates,
    /// What the file said, so that it can be written back.
    spec: TargetSpec,
}

/// A memristor cell whose levels are evenly spaced conductances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Levels of one cell, 2 to 4,096; 8 means 0..7, so that a pair holds
    /// -7..+7.
    pub levels: u16,
    /// Conductance of level 0, in uS.
    pub conductance_min_us: f64,
    /// Conductance of the highest level, in uS; above the minimum.
    pub conductance_max_us: f64,
    /// Voltage of a driven input line, in V.
    pub read_voltage_v: f64,
    /// Half width of the band in which write-verify accepts a cell, in uS.
    pub verify_tolerance_us: f64,
    /// Standard deviation of a cell's change after programming, in uS.
    pub relaxation_sd_us: f64,
    /// Standard deviation of one reading of one cell, as a fraction of its
    /// conductance.
    pub read_noise_fraction: f64,
    /// What pulses do to it, where that is known.
    pub pulses: Option<Pulses>,
    /// How it goes on changing, where that is known.
    pub drift: Option<Drift>,
    /// What readings do to it, where that is known.
    pub read_disturb: Option<ReadDisturb>,
    /// How its current depends on voltage; `None` for a resistor.
    pub nonlinearity: Option<Nonlinearity>,
    /// How often it does not work.
    pub faults: FaultRates,
}

impl Cell {
    /// The same levels, held and read without any error.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self {
            verify_tolerance_us: 0.0,
            relaxation_sd_us: 0.0,
            read_noise_fraction: 0.0,
            pulses: None,
            drift: None,
            read_disturb: None,
            nonlinearity: None,
            faults: FaultRates::default(),
            ..*self
        }
    }

    /// The highest level, and the largest weight of a pair: 7 for 8 levels.
    pub fn max_level(&self) -> u16 {
        self.levels - 1
    }

    /// Conductance between neighbouring levels, in uS.
    pub fn step_us(&self) -> f64 {
        (self.conductance_max_us - self.conductance_min_us) / f64::from(self.max_level())
    }

    /// Variance of a weight by the errors of its two cells, in levels squared:
    /// uniform within the tolerance, then normal.
    pub fn pair_variance(&self) -> f64 {
        let (tolerance, relaxation) = (self.verify_tolerance_us, self.relaxation_sd_us);
        let us2 = tolerance * tolerance / 3.0 + relaxation * relaxation;
        2.0 * us2 / (self.step_us() * self.step_us())
    }

    /// Variance of one reading of a pair that holds a weight of this level, in
    /// levels squared: one cell at level 0, the other at the weight's.
    pub fn read_variance(&self, level: u16) -> f64 {
        let us = |level: u16| self.read_noise_fraction * self.conductance_us(level.into());
        (us(0) * us(0) + us(level) * us(level)) / (self.step_us() * self.step_us())
    }

    /// Conductance of a level, in uS; levels may be fractional, and outside
    /// the window the line goes on.
    pub fn conductance_us(&self, level: f64) -> f64 {
        self.conductance_min_us + level * self.step_us()
    }
}

/// A processing element: one array with its periphery. The two cells of a
/// signed weight lie on neighbouring output lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pe {
    /// Input lines, 1 to 16,384.
    pub inputs: u32,
    /// Output lines, an even number from 2 to 16,384.
    pub outputs: u32,
}

impl Pe {
    /// Signed outputs: pairs of output lines.
    pub fn pairs(&self) -> u32 {
        self.outputs / 2
    }

    /// Cells of the array.
    pub fn cells(&self) -> u64 {
        u64::from(self.inputs) * u64::from(self.outputs)
    }
}

/// How a PE's inputs are driven and its outputs converted.
///
/// Inputs are driven bit by bit, one cycle a bit. Zero current is code 0.
/// Lines converted on their own ([`Subtract::AfterConversion`]) give unsigned
/// codes 0..2^b-1; pairs subtracted first give signed codes
/// -(2^(b-1)-1)..+(2^(b-1)-1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readout {
    /// Bits of an input code, 1 to 16.
    pub input_bits: u8,
    /// Time for which one bit is driven, in ns.
    pub cycle_ns: f64,
    /// Bits of a conversion.
    pub adc_bits: AdcBits,
    /// What the codes span.
    pub adc_range: AdcRange,
    /// ADCs of one PE, 1 to 16,384.
    pub adcs_per_pe: u32,
    /// Conversions that one ADC makes in one cycle, 1 to 16,384.
    pub conversions_per_cycle: u32,
    /// Where the pair's lines are subtracted.
    pub subtract: Subtract,
    /// How ADCs differ from what they should be.
    pub adc_errors: AdcErrors,
    /// Which sums become codes.
    pub conversion: Conversion,
    /// How charges are added up, where they are.
    pub accumulation: Accumulation,
    /// What parts take where there is no clock.
    pub self_timed: Option<SelfTimed>,
}

impl Readout {
    /// Conversions that a PE's ADCs can make in one cycle together: that many
    /// lines, or pairs where these are subtracted first.
    pub fn lines_converted_per_cycle(&self) -> u32 {
        // Within 32 bits: both are at most 2^14.
        self.adcs_per_pe * self.conversions_per_cycle
    }
}

/// Bits of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdcBits {
    /// That many, 1 to 22; at least 2 where pairs are subtracted first.
    Bits(u8),
    /// As many as lose nothing; only with [`AdcRange::OneLevel`].
    AsNeeded,
}

/// What the ADC's codes span, from zero current to the highest code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdcRange {
    /// The worst case of the tile's lines: all driven inputs at the maximum
    /// conductance; for a pair, at the difference of maximum and minimum.
    FullScale,
    /// What calibration data showed, tile by tile.
    Calibrated,
    /// The same for every plane of a tile: its widest range, halved as often
    /// as suits the plane.
    CalibratedByPlane,
    /// One code is the current of one level ([`Cell::step_us`]) exactly; codes
    /// clip at the bits.
    OneLevel,
}

/// Where the two lines of a pair are subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subtract {
    /// Before the ADC: one conversion a pair, signed codes.
    BeforeConversion,
    /// Digitally, after each line was converted: two conversions a pair,
    /// unsigned codes.
    AfterConversion,
}

/// What the chip has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChipSize {
    /// PEs of one chip.
    pub pes: PeCount,
    /// Chips of that size.
    pub chips: ChipCount,
}

impl ChipSize {
    /// PEs of all chips; `None` where a network gets as many as it takes.
    pub fn n_pes(&self) -> Option<u32> {
        match (self.pes, self.chips) {
            // At most 4e9: both have their limits.
            (PeCount::Count(n_pes), ChipCount::Count(n_chips)) => {
                Some(n_pes.saturating_mul(n_chips))
            }
            _ => None,
        }
    }

    /// The chip that the PE of this number is on.
    pub fn chip_of(&self, pe: u32) -> u32 {
        match self.pes {
            PeCount::Count(n_pes) => pe / n_pes.max(1),
            PeCount::AsNeeded => 0,
        }
    }
}

/// Chips of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChipCount {
    /// That many, 1 to 4,000.
    Count(u32),
    /// As many as the network takes.
    AsNeeded,
}

/// PEs of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeCount {
    /// That many, 1 to 1,000,000.
    Count(u32),
    /// As many as the network takes.
    AsNeeded,
}

/// Energy and area of one PE's parts. The energies add up to something above
/// zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// Energy of one conversion, in pJ.
    pub adc_pj_per_conversion: f64,
    /// The bits that this energy is of, where it goes with them.
    pub adc_bits: Option<u8>,
    /// Energy of the sample-and-hold circuits in one cycle, in pJ.
    pub sample_and_hold_pj_per_cycle: f64,
    /// Energy of input drivers and multiplexers in one cycle, in pJ.
    pub drivers_pj_per_cycle: f64,
    /// Energy of the array in one cycle, in pJ.
    pub array_pj_per_cycle: f64,
    /// Energy of one comparison of an analog stage, in pJ.
    pub comparison_pj: f64,
    /// Energy of shift-and-add and the rest in one cycle, in pJ; where planes
    /// are added up as charges, in one that converts.
    pub shift_and_add_pj_per_cycle: f64,
    /// Power of one PE that holds weights, at work or not, in mW.
    pub idle_mw_per_pe: f64,
    /// Area of one PE with its periphery, in mm2.
    pub area_mm2_per_pe: f64,
    /// Parts of a PE and the area of each, in mm2; the rest is not told apart.
    pub areas: Vec<(String, f64)>,
    /// Other machines that a report prints beside this target.
    pub compare: Vec<Machine>,
}

/// A machine to compare with, as published: the efficiency is not always the
/// quotient of the other two.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The machine's name, on one line.
    pub name: String,
    /// Peak throughput, in GOPS.
    pub gops: f64,
    /// Power, in W.
    pub power_w: f64,
    /// Efficiency, in GOPS/W.
    pub gops_per_w: f64,
}

/// How fast the parts around the arrays are; `None` takes no time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Neighbouring PEs that take turns on one set of ADCs, at least 1.
    pub pes_per_adc_set: u32,
    /// Neighbouring PEs that share a core's issue, link and memory, at least 1.
    pub pes_per_core: u32,
    /// Time for which a core issues a wave to those of its PEs that take the
    /// same inputs, in ns.
    pub issue_ns_per_wave: f64,
    /// Time to switch an ADC to other lines where a bit-plane takes more than
    /// one cycle to convert, in ns.
    pub multiplexer_ns_per_switch: f64,
    /// Conversions that the shift-and-add of one PE takes in a cycle.
    pub shift_and_add_per_cycle: Option<f64>,
    /// What the link of one PE, or core, carries, in GB/s: codes in and sums out.
    pub link_gb_per_s: Option<f64>,
    /// What the link of each chip but the first carries, in GB/s: codes in and
    /// sums out.
    pub chip_link_gb_per_s: Option<f64>,
    /// What the chip's buffer of activations reads and writes, in GB/s.
    pub buffer_gb_per_s: Option<f64>,
    /// Operations of the chip's digital unit, in GOPS.
    pub digital_gops: Option<f64>,
    /// Width of a sum on a link, in bits.
    pub sum_bits: u8,
}

/// Every part of its own and without limit.
impl Default for Rates {
    fn default() -> Self {
        Self {
            pes_per_adc_set: 1,
            pes_per_core: 1,
            issue_ns_per_wave: 0.0,
            multiplexer_ns_per_switch: 0.0,
            shift_and_add_per_cycle: None,
            link_gb_per_s: None,
            chip_link_gb_per_s: None,
            buffer_gb_per_s: None,
            digital_gops: None,
            sum_bits: 32,
        }
    }
}

impl Target {
    /// The same with cells that hold what they should, and ADCs that read them
    /// as they are.
    #[must_use]
    pub fn exact(&self) -> Self {
        let accumulation = self.readout.accumulation.exact();
        let readout = Readout { adc_errors: AdcErrors::NONE, accumulation, ..self.readout };
        Self { cell: self.cell.exact(), readout, ..self.clone() }
    }

    /// Reads and checks a target. `file_name` is what messages call the text;
    /// `overrides` are applied in order, so the last of one path counts.
    ///
    /// ```
    /// use ohmc::target::{Override, Target, builtin};
    ///
    /// let text = builtin("ideal").unwrap();
    /// let finer = Override::parse("cell.levels=32").unwrap();
    /// let target = Target::from_yaml(text, "ideal", &[finer]).unwrap();
    /// assert_eq!(target.cell.max_level(), 31);
    /// assert_eq!(target.cell.step_us(), 1.0);
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with the text or the overrides, at once:
    /// YAML that cannot be read, unknown, missing and repeated keys, values of
    /// the wrong type or outside their limits, values that contradict each
    /// other.
    pub fn from_yaml(
        text: &str,
        file_name: &str,
        overrides: &[Override],
    ) -> Result<Self, TargetError> {
        let mut faults = Vec::new();
        let target = read(text, overrides, &mut faults);
        match target {
            Some(target) if faults.is_empty() => Ok(target),
            _ => {
                faults.sort_by(|a, b| a.origin.cmp(&b.origin));
                Err(TargetError { file: file_name.to_owned(), faults })
            }
        }
    }

    /// The same target with `overrides` applied, in order.
    ///
    /// # Errors
    /// As for [`from_yaml`](Self::from_yaml), of the overrides.
    pub fn with(&self, overrides: &[Override]) -> Result<Self, TargetError> {
        Self::from_yaml(&self.to_yaml(), &self.name, overrides)
    }

    /// The target as canonical YAML, overrides included and without comments:
    /// reading it gives the same target, to the last bit of every figure.
    pub fn to_yaml(&self) -> String {
        // Writing plain structs of numbers and words cannot fail; if it ever
        // did, an empty text would be refused wherever it is read.
        serde_yaml::to_string(&self.spec).unwrap_or_default()
    }

    /// What this target is, if its file says so.
    pub fn description(&self) -> Option<&str> {
        self.spec.description.as_deref()
    }
}

/// The JSON Schema of target files, for editors to complete and check them.
pub fn json_schema() -> String {
    format!("{:#}\n", spec::schema())
}

/// There is a target only where there is no fault.
fn read(text: &str, overrides: &[Override], faults: &mut Vec<Fault>) -> Option<Target> {
    let Some(mut root) = document::read(text, faults) else {
        if faults.is_empty() {
            faults.push(Fault::whole(FaultKind::Empty));
        }
        return None;
    };
    if !matches!(root.content, Content::Mapping(_)) {
        let kind = match &root.content {
            Content::Scalar { value, .. } if value.is_null() => FaultKind::Empty,
            _ => FaultKind::NotAMapping,
        };
        faults.push(Fault::new(KeyPath::root(), root.origin, kind));
        return None;
    }
    for change in overrides {
        change.apply(&mut root, faults);
    }
    let json = root.to_json();
    check::check(&root, &json, faults);
    if !faults.is_empty() {
        return None;
    }
    match TargetSpec::deserialize(&json) {
        Ok(spec) => Some(Target::from(spec)),
        Err(error) => {
            faults.push(Fault::whole(FaultKind::Internal { problem: error.to_string() }));
            None
        }
    }
}
