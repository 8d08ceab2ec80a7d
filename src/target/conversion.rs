//! What becomes a code, and how far from what it should be.

/// How ADCs differ from what they should be, each from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdcErrors {
    /// Standard deviation of the gain, as a fraction.
    pub gain_sd_fraction: f64,
    /// Standard deviation of the code of no current.
    pub offset_sd_codes: f64,
    /// Standard deviation of the integral nonlinearity in the middle of the
    /// range, in codes.
    pub bow_sd_codes: f64,
    /// Standard deviation of one conversion from the next, in codes.
    pub noise_sd_codes: f64,
    /// Readings of each reference by which a lab measures an ADC; 0 leaves
    /// ADCs as they are.
    pub calibration_readings: u32,
}

impl AdcErrors {
    /// ADCs as they should be.
    pub const NONE: Self = Self {
        gain_sd_fraction: 0.0,
        offset_sd_codes: 0.0,
        bow_sd_codes: 0.0,
        noise_sd_codes: 0.0,
        calibration_readings: 0,
    };

    /// Whether ADCs are as they should be.
    pub fn are_none(&self) -> bool {
        let Self { gain_sd_fraction, offset_sd_codes, bow_sd_codes, noise_sd_codes, .. } = *self;
        [gain_sd_fraction, offset_sd_codes, bow_sd_codes, noise_sd_codes] == [0.0; 4]
    }
}

/// A chip without a clock: what its parts take, each until it is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfTimed {
    /// From driving the lines of a plane until its currents have settled, in
    /// ns.
    pub settle_ns: f64,
    /// To see that a plane has no bit 1, and pass over it, in ns.
    pub skip_ns: f64,
    /// Of a bit of a conversion, what the comparator does not take, in ns.
    pub decision_ns: f64,
    /// Time constant of a comparator, in ns.
    pub comparator_ns: f64,
    /// To take a wave's inputs and hand its sums over, in ns.
    pub handshake_ns: f64,
}

/// Which sums of a wave become codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conversion {
    /// Those of every plane, shifted and added digitally.
    #[default]
    EveryPlane,
    /// Those of so many planes from the highest one that drives a line on; the
    /// wave ends there.
    Significant(u8),
    /// One, of all planes: their charges are added up.
    Accumulated,
}

/// How charges of planes are added up before one conversion.
///
/// A sum shares its charge with what a plane has charged, plane after plane
/// from the lowest on: `sum <- a (1 - droop) sum + (1 - a) plane`, with
/// `a = (1 + mismatch) / 2` of each output its own, which weighs plane k of B
/// by `2^(k-B)` where neither is there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Accumulation {
    /// Standard deviation of the mismatch.
    pub mismatch_sd_fraction: f64,
    /// What of a held charge is lost from one plane to the next.
    pub droop_fraction: f64,
    /// Standard deviation of a sum, as a fraction of the ADC's range.
    pub noise_sd_fraction: f64,
    /// What of a sum at the end of the range is lost, as a fraction; elsewhere
    /// it goes with the cube.
    pub compression_fraction: f64,
    /// What is done with sums before they are converted.
    pub stages: AnalogStages,
    /// Standard deviation of a comparison, as a fraction of the ADC's range.
    pub comparator_sd_fraction: f64,
}

impl Accumulation {
    /// The same without any error.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self { stages: self.stages, ..Self::default() }
    }

    /// Whether charges add up as they should.
    pub fn is_exact(&self) -> bool {
        *self == self.exact()
    }
}

/// What a chip can do with sums before they are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnalogStages {
    /// Nothing.
    #[default]
    None,
    /// Leave those alone that a rectifier makes zero.
    Relu,
    /// And of each window of a maximum pooling all but the largest.
    ReluAndMaxPool,
}
