//! What a target file says of its cells beyond their levels: pulses, drift,
//! faults. As in [`spec`](super::spec), field names are keys and their
//! documentation is what an editor shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What pulses do to the cell, and how they are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PulsesSpec {
    /// What one pulse does: the measured ten-bin tables (`table-raw`, and
    /// `table-scaled` as their authors simulate with), `exponential`
    /// (NeuroSim), or `soft-bounds` (aihwkit).
    pub model: PulseModelSpec,
    /// Whether all pulses are alike (`identical`), or the gate voltage rises
    /// from pulse to pulse (`gate-ramped`, which needs `gate`).
    pub recipe: RecipeSpec,
    /// Pulses after which a cell is given up, in each round.
    #[schemars(range(min = 1, max = 100_000))]
    pub give_up_pulses: u32,
    /// How often all cells are verified and, where relaxation has moved them
    /// out of the tolerance, written again.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub rounds: u32,
    /// How far cells can leave the window at either end, in microsiemens.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub margin_us: f64,
    /// Standard deviation, from cell to cell, of the mean step of a pulse, as
    /// a fraction of it.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub device_spread_fraction: f64,
    /// Mean conductance of a formed cell before its first pulse, in
    /// microsiemens.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub formed_us: f64,
    /// Standard deviation of the same, in microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub formed_sd_us: f64,
    /// Voltage of a SET pulse, in volts.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub set_v: f64,
    /// Voltage of a RESET pulse, in volts.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub reset_v: f64,
    /// Length of a pulse, in nanoseconds.
    #[schemars(range(min = 1e-3, max = 1e9))]
    pub pulse_ns: f64,
    /// Noise from pulse to pulse: for `exponential` as a fraction of the
    /// window, for `soft-bounds` as a fraction of the step; tables have their
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cycle_noise_fraction: Option<f64>,
    /// Pulses from one end of the window to the other, for `exponential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e6))]
    pub full_pulses: Option<f64>,
    /// A over the number of pulses for SET, for `exponential`: the smaller,
    /// the more curved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1e6, max = 1e6))]
    pub set_curvature: Option<f64>,
    /// The same for RESET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1e6, max = 1e6))]
    pub reset_curvature: Option<f64>,
    /// Step of a SET pulse at the lower end of the window, in microsiemens,
    /// for `soft-bounds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub set_step_us: Option<f64>,
    /// Step of a RESET pulse at the upper end of the window, in microsiemens,
    /// for `soft-bounds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub reset_step_us: Option<f64>,
    /// The ramps of the gate voltage, and what a pulse does under them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
    /// How cells are formed; without it they come formed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forming: Option<FormingSpec>,
}

fn one() -> u32 {
    1
}

/// What one pulse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PulseModelSpec {
    TableRaw,
    TableScaled,
    Exponential,
    SoftBounds,
}

/// How pulses follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RecipeSpec {
    Identical,
    GateRamped,
}

/// The ramps of the gate voltage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GateSpec {
    /// Gate voltage of the first SET pulse, in volts: it brings a cell to the
    /// lower end of what it can hold.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub set_first_v: f64,
    /// Gate voltage beyond which SET does not go, in volts: it brings a cell
    /// to the upper end of what it can hold.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub set_last_v: f64,
    /// Gate voltage of the first RESET pulse, in volts: it leaves a cell at
    /// the upper end of what it can hold.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub reset_first_v: f64,
    /// Gate voltage beyond which RESET does not go, in volts: it brings a
    /// cell to the lower end of what it can hold.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub reset_last_v: f64,
    /// What the gate voltage rises by from pulse to pulse, in volts.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub step_v: f64,
    /// Standard deviation, from pulse to pulse, of where a pulse brings a
    /// cell, in microsiemens.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub cycle_sd_us: f64,
    /// Standard deviation of the same from cell to cell, in microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub device_sd_us: f64,
}

/// How cells are formed: pulses of rising voltage, up to that at which the
/// cell turns conducting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FormingSpec {
    /// Voltage of the first forming pulse, in volts.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub first_v: f64,
    /// Voltage of the last one; a cell that needs more is never formed.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub last_v: f64,
    /// What the voltage rises by from pulse to pulse, in volts.
    #[schemars(range(min = 1e-3, max = 100.0))]
    pub step_v: f64,
    /// Mean voltage at which cells form, in volts.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub mean_v: f64,
    /// Standard deviation of the same from cell to cell, in volts.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub sd_v: f64,
}

/// How conductance goes on changing: after a time t it has changed by
/// (mean_us + mean_fraction G) ln(1 + t/t0) + (sd_initial_us + sd_us
/// ln(1 + t/t0)) N(0, 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DriftSpec {
    /// The time t0, in seconds.
    #[schemars(range(min = 1e-9, max = 1e9))]
    pub t0_s: f64,
    /// Mean change for each unit of the logarithm, in microsiemens.
    #[serde(default)]
    #[schemars(range(min = -1e6, max = 1e6))]
    pub mean_us: f64,
    /// Mean change for each unit of the logarithm, as a fraction of the
    /// conductance.
    #[serde(default)]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub mean_fraction: f64,
    /// Standard deviation from cell to cell that is there at once, in
    /// microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub sd_initial_us: f64,
    /// Standard deviation from cell to cell for each unit of the logarithm, in
    /// microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub sd_us: f64,
}

/// How readings change what is read: after `n` of them a cell has changed by
/// n (shift_us + sd_us N(0, 1)), as far as cells can be changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadDisturbSpec {
    /// Mean change of a cell by one reading at the read voltage, in
    /// microsiemens; positive raises it.
    #[serde(default)]
    #[schemars(range(min = -1e6, max = 1e6))]
    pub shift_us: f64,
    /// Standard deviation of the same from cell to cell, in microsiemens.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub sd_us: f64,
}

/// Current over voltage: `G Vv sinh(V/s) / sinh(Vv/s)` of a cell that was
/// verified to conduct G at the voltage Vv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NonlinearitySpec {
    /// Voltage at which cells are verified, in volts; the read voltage where it
    /// is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 100.0))]
    pub verify_voltage_v: Option<f64>,
    /// s of cells at the lowest conductance, in volts; the smaller, the less of
    /// a resistor.
    #[schemars(range(min = 1e-2, max = 1e6))]
    pub scale_low_v: f64,
    /// s of cells at the highest conductance, in volts; as that of the lowest
    /// where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-2, max = 1e6))]
    pub scale_high_v: Option<f64>,
}

/// How often cells and lines do not work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultsSpec {
    /// Share of cells that hold the highest level whatever is done, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub stuck_high_rate: f64,
    /// Share of cells that hold the lowest level whatever is done, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub stuck_low_rate: f64,
    /// Share of input lines that drive nothing, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dead_input_rate: f64,
    /// Share of output lines that carry nothing, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dead_output_rate: f64,
}
