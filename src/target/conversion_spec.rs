//! What a target file says of ADCs' errors and of charges that are added up
//! before them, word for word; see [`super::spec`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How ADCs differ from what they should be, each from the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdcErrorsSpec {
    /// Standard deviation of the gain, as a fraction.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gain_sd_fraction: f64,
    /// Standard deviation of the code of no current.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub offset_sd_codes: f64,
    /// Standard deviation of the integral nonlinearity in the middle of the
    /// range, in codes.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub bow_sd_codes: f64,
    /// Standard deviation of one conversion from the next, in codes.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub noise_sd_codes: f64,
    /// Readings of each of nine references by which a lab measures an ADC, to
    /// take its gain and offset off digitally; 0 leaves them.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000000))]
    pub calibration_readings: u32,
}

/// How charges of planes are added up before one conversion.
///
/// Planes come from the lowest on. A capacitor holds the sum; it shares its
/// charge with another one of the same size that a plane has charged, which
/// halves the sum and adds half of the plane.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccumulationSpec {
    /// Standard deviation of the two capacitors' difference, as a fraction of
    /// them; each output has its own.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub mismatch_sd_fraction: f64,
    /// The part of a held charge that is lost from one plane to the next.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub droop_fraction: f64,
    /// Standard deviation of a sum from one time to the next, as a fraction of
    /// the ADC's range.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub noise_sd_fraction: f64,
    /// What of a sum at the end of the ADC's range an integrator loses by its
    /// nonlinearity, as a fraction; elsewhere it goes with the cube.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.3))]
    pub compression_fraction: f64,
    /// What is done with sums before they are converted.
    #[serde(default)]
    pub stage: AnalogStageSpec,
    /// Standard deviation of what a comparison of that stage is off by, as a
    /// fraction of the ADC's range.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub comparator_sd_fraction: f64,
}

/// A chip without a clock. A PE begins when its inputs are there; planes in
/// which no line is driven are passed over; a conversion ends when its bits are
/// decided; stages hand over by handshake.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SelfTimedSpec {
    /// From driving the lines of a plane until its currents have settled, in
    /// nanoseconds.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub settle_ns: f64,
    /// To see that a plane has no bit 1, in nanoseconds.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub skip_ns: f64,
    /// Of a bit of a conversion, what the comparator does not take, in
    /// nanoseconds.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub decision_ns: f64,
    /// Time constant of an ADC's comparator, in nanoseconds: to decide a
    /// difference d of a range R it takes this times ln(R / 2d).
    #[schemars(range(min = 0.0, max = 1e6))]
    pub comparator_ns: f64,
    /// To take the inputs of a wave and hand its sums over, in nanoseconds.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub handshake_ns: f64,
}

/// What is done with sums before they are converted: nothing; those that a
/// rectifier behind the layer makes zero are not converted (`relu`); and of
/// each window of a maximum pooling only the largest is
/// (`relu-and-max-pool`). It is done where the whole sum is analog, and
/// digitally elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AnalogStageSpec {
    #[default]
    None,
    Relu,
    ReluAndMaxPool,
}
