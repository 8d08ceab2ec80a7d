//! What a target file says, word for word.
//!
//! These types are the file format: their field names are its keys, their
//! documentation is what an editor shows, and the JSON Schema derived from
//! them is what a file is checked against. The rest of the crate never sees
//! them; it works with the checked [`Target`](super::Target).
//!
//! Every number has limits here. They are far outside what anyone builds, and
//! keep every product that later stages form inside 64-bit integers:
//! 16,384 inputs x 4,095 levels x 2^16 codes is below 2^42.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use super::cell_spec::{DriftSpec, FaultsSpec, NonlinearitySpec, PulsesSpec, ReadDisturbSpec};
use super::conversion_spec::{AccumulationSpec, AdcErrorsSpec, SelfTimedSpec};

/// Longest list of machines to compare with.
pub(super) const MACHINES_MAX: usize = 100;

/// A chip of memristor arrays, for the compiler `ohmc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ohmc target")]
pub(super) struct TargetSpec {
    /// The target's name, on one line.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What this target is, for `ohmc targets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// The memristor cell.
    pub cell: CellSpec,
    /// The processing element: one array with its periphery.
    pub pe: PeSpec,
    /// How inputs are driven and outputs converted.
    pub readout: ReadoutSpec,
    /// What the chip has of them.
    pub chip: ChipSpec,
    /// Energy and area of the parts, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<CostsSpec>,
    /// How fast the parts around the arrays are, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesSpec>,
}

/// The memristor cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CellSpec {
    /// How conductance follows level; `linear` spaces the levels evenly.
    pub kind: CellKindSpec,
    /// Levels of one cell; 8 means 0..7, so that a pair holds -7..+7.
    #[schemars(range(min = 2, max = 16384))]
    pub levels: u16,
    /// Conductance of level 0, in microsiemens.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub conductance_min_us: f64,
    /// Conductance of the highest level, in microsiemens; `as-levels` puts
    /// one microsiemens between neighbouring levels, however many there are.
    pub conductance_max_us: ConductanceMaxSpec,
    /// Voltage of a driven input line, in volts.
    #[schemars(range(min = 1e-6, max = 100.0))]
    pub read_voltage_v: f64,
    /// Half width of the band in which write-verify accepts a cell, in
    /// microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub verify_tolerance_us: f64,
    /// Standard deviation of a cell's change after programming, in
    /// microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub relaxation_sd_us: f64,
    /// Standard deviation of one reading of one cell, as a fraction of its
    /// conductance.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub read_noise_fraction: f64,
    /// What pulses do to the cell and how they are given, for `ohmc program`;
    /// without it only the statistics of what they leave are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulses: Option<PulsesSpec>,
    /// How conductance goes on changing with time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSpec>,
    /// How readings change what is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_disturb: Option<ReadDisturbSpec>,
    /// How current depends on voltage, for cells that are no resistors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonlinearity: Option<NonlinearitySpec>,
    /// How often cells and lines do not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<FaultsSpec>,
}

/// How conductance follows level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CellKindSpec {
    Linear,
}

/// The upper end of the conductance window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ConductanceMaxSpec {
    Us(#[schemars(range(min = 0.0, max = 1e6))] f64),
    Word(AsLevels),
}

/// The word `as-levels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AsLevels {
    AsLevels,
}

/// The processing element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PeSpec {
    /// Input lines: how many inputs are driven at once.
    #[schemars(range(min = 1, max = 16384))]
    pub inputs: u32,
    /// Output lines: how many are sensed, two for a signed weight.
    #[schemars(range(min = 2, max = 16384), extend("multipleOf" = 2))]
    pub outputs: u32,
    /// Where the two cells of a signed weight lie.
    pub pair: PairSpec,
    /// Resistance of an input line from one cell to the next, in ohm; the
    /// line is driven at its first cell, one such piece away.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub wire_input_ohm_per_cell: f64,
    /// Resistance of an output line from one cell to the next, in ohm; the
    /// line is sensed at its last cell, one such piece away.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub wire_output_ohm_per_cell: f64,
    /// Resistance of what drives an input line, in ohm.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub driver_ohm: f64,
    /// Resistance of an output line's way from the array to virtual ground,
    /// in ohm.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub sense_ohm: f64,
    /// What becomes of output lines while others are read: all stay
    /// `connected`, or the cells of those that are not read are `gated-off`.
    /// It matters where wires have resistance only.
    #[serde(default)]
    pub idle_outputs: IdleOutputsSpec,
    /// What becomes of input lines while others are driven: they are `grounded`
    /// through their drivers, left `floating`, or `gated-off`, where bits drive
    /// the gates of a line's cells and its voltage stays. It matters where wires
    /// have resistance only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle_inputs: IdleInputsSpec,
    /// How often currents behind wires are found by solving the circuit: `once`
    /// for a programmed chip, exact for resistors and grounded lines, and with
    /// every line driven, or for `each-vector` of bits, exact and slow. If not
    /// given, once where idle lines are grounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wires_solved: Option<WiresSolvedSpec>,
    /// Whether arrays can be read the other way round, as training on them
    /// does: codes on the output lines, currents sensed on the input lines with
    /// the bits, the range and the errors of `readout`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transposed_reads: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of output lines while others are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdleOutputsSpec {
    #[default]
    Connected,
    GatedOff,
}

/// What becomes of input lines while others are driven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdleInputsSpec {
    #[default]
    Grounded,
    Floating,
    GatedOff,
}

/// How often currents behind wires are found by solving the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WiresSolvedSpec {
    Once,
    EachVector,
}

/// Where the two cells of a signed weight lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PairSpec {
    NeighbouringOutputs,
}

/// How inputs are driven and outputs converted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadoutSpec {
    /// Bits of an input code, driven one after the other.
    #[schemars(range(min = 1, max = 16))]
    pub input_bits: u8,
    /// Time for which one bit is driven, in nanoseconds.
    #[schemars(range(min = 1e-3, max = 1e9))]
    pub cycle_ns: f64,
    /// Bits of a conversion; `as-needed` takes as many as lose nothing, and
    /// goes with the range `one-level` only.
    pub adc_bits: AdcBitsSpec,
    /// What the ADC's codes span: the worst case of the lines
    /// (`full-scale`), what calibration data showed (`calibrated`), the same
    /// for each bit-plane, ranges being halved as often as fits
    /// (`calibrated-by-plane`), or one code a level, clipped at the bits
    /// (`one-level`).
    pub adc_range: AdcRangeSpec,
    /// ADCs of one PE.
    #[schemars(range(min = 1, max = 16384))]
    pub adcs_per_pe: u32,
    /// Conversions that one ADC makes in one cycle.
    #[schemars(range(min = 1, max = 16384))]
    pub conversions_per_cycle: u32,
    /// Whether the pair's lines are subtracted before the ADC (signed codes,
    /// one conversion a pair) or digitally after it (unsigned codes, two).
    pub subtract: SubtractSpec,
    /// How ADCs differ from what they should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adc_errors: Option<AdcErrorsSpec>,
    /// Bit-planes that are driven and converted from the highest one of a wave
    /// with any bit 1 on; those below are not looked at. Without it all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub significant_planes: Option<u8>,
    /// The charges of all planes are added up, and converted once; without it
    /// each plane is converted by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulation: Option<AccumulationSpec>,
    /// The chip has no clock; `cycle_ns` is then that of the same chip with
    /// one, which it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_timed: Option<SelfTimedSpec>,
}

/// Bits of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum AdcBitsSpec {
    Bits(#[schemars(range(min = 1, max = 22))] u8),
    Word(AsNeeded),
}

/// The word `as-needed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AsNeeded {
    AsNeeded,
}

/// What the ADC's codes span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AdcRangeSpec {
    FullScale,
    Calibrated,
    CalibratedByPlane,
    OneLevel,
}

/// Where the pair's lines are subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SubtractSpec {
    BeforeConversion,
    AfterConversion,
}

/// What the chip has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChipSpec {
    /// PEs of a chip; `as-needed` gives every network as many as it takes.
    pub pes: PesSpec,
    /// Chips of that size, whose PEs are numbered on from chip to chip; 1 where
    /// it is not given, `as-needed` for as many as a network takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<ChipsSpec>,
}

/// Chips of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ChipsSpec {
    Count(#[schemars(range(min = 1, max = 4_000))] u32),
    Word(AsNeeded),
}

/// PEs of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum PesSpec {
    Count(#[schemars(range(min = 1, max = 1_000_000))] u32),
    Word(AsNeeded),
}

/// How fast the parts around the arrays are. A part whose rate is not given
/// takes no time, and never makes another wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RatesSpec {
    /// Neighbouring PEs that take turns on one set of ADCs; 1 gives each its
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pes_per_adc_set: Option<u32>,
    /// Neighbouring PEs that make a core: they share its issue and its link,
    /// behind which it has a memory of its own, so that codes come from the
    /// buffer once and not for every wave; 1 makes no cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pes_per_core: Option<u32>,
    /// Time for which a core issues a wave, to all of its PEs that take the same
    /// inputs, before it can issue the next, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub issue_ns_per_wave: Option<f64>,
    /// Time to switch an ADC to other lines where a bit-plane takes more than
    /// one cycle to convert, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub multiplexer_ns_per_switch: Option<f64>,
    /// Conversions that the shift-and-add of one PE takes in a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e9))]
    pub shift_and_add_per_cycle: Option<f64>,
    /// What the link of one PE, or of a core, carries, input codes in and sums
    /// out together, in gigabytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub link_gb_per_s: Option<f64>,
    /// What the link of each chip but the first carries, input codes in and
    /// sums out together, in gigabytes a second; the first chip has the buffer
    /// and the digital unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub chip_link_gb_per_s: Option<f64>,
    /// What the chip's buffer of activations reads and writes together, in
    /// gigabytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub buffer_gb_per_s: Option<f64>,
    /// Operations of the chip's digital unit, in giga-operations a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub digital_gops: Option<f64>,
    /// Width of a sum on a link, in bits; 32 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub sum_bits: Option<u8>,
}

/// Energy and area of the parts of one PE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CostsSpec {
    /// Energy of one conversion, in picojoules.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub adc_pj_per_conversion: f64,
    /// What that ADC is like, so that its energy follows the read-out's bits and
    /// rate; without it the energy of a conversion is as given, whatever these
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adc_scaling: Option<AdcScalingSpec>,
    /// Energy of the sample-and-hold circuits in one cycle, in picojoules.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub sample_and_hold_pj_per_cycle: f64,
    /// Energy of input drivers and multiplexers in one cycle, in picojoules.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub drivers_pj_per_cycle: f64,
    /// Energy of the array in one cycle, in picojoules.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub array_pj_per_cycle: f64,
    /// Energy of one comparison of an analog stage, in picojoules.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub comparison_pj: f64,
    /// Energy of shift-and-add and the rest in one cycle, in picojoules; where
    /// charges of planes are added up, in one cycle of conversion.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub shift_and_add_pj_per_cycle: f64,
    /// Power of one PE that holds weights, at work or not, in milliwatts.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub idle_mw_per_pe: f64,
    /// Area of one PE with its periphery, in square millimetres.
    #[schemars(range(min = 1e-9, max = 1e9))]
    pub area_mm2_per_pe: f64,
    /// What of that area is whose; the rest is not told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MACHINES_MAX))]
    pub areas: Vec<AreaSpec>,
    /// Other machines that a report prints beside this target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MACHINES_MAX))]
    pub compare: Vec<MachineSpec>,
}

/// Area of a part of every PE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AreaSpec {
    /// The part's name, on one line.
    #[schemars(length(min = 1, max = 64))]
    pub part: String,
    /// Its area in one PE, in square millimetres.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub mm2_per_pe: f64,
}

/// The ADC whose energy is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdcScalingSpec {
    /// Its resolution, in bits.
    #[schemars(range(min = 1, max = 22))]
    pub bits: u8,
    /// Its rate, in million samples a second.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub ms_per_s: f64,
    /// Its technology node, in nanometres.
    #[schemars(range(min = 1.0, max = 10000.0))]
    pub node_nm: f64,
    /// The node wanted, in nanometres; its own where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 10000.0))]
    pub to_node_nm: Option<f64>,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// A machine to compare with, as published: the efficiency is not always the
/// quotient of the other two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineSpec {
    /// The machine's name, on one line.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Peak throughput, in giga-operations a second.
    #[schemars(range(min = 0.0, max = 1e15))]
    pub gops: f64,
    /// Power, in watts.
    #[schemars(range(min = 0.0, max = 1e12))]
    pub power_w: f64,
    /// Efficiency, in giga-operations a second for each watt.
    #[schemars(range(min = 0.0, max = 1e15))]
    pub gops_per_w: f64,
}

/// The JSON Schema of a target file. Nothing in it refers elsewhere, so a
/// rule is found by walking the keys.
pub(super) fn schema() -> serde_json::Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<TargetSpec>().to_value()
}
