//! A cell beyond its levels: what pulses do to it, how it drifts, what
//! readings do to it, how often it fails. What a target says, checked; the physics that follows from it is in
//! [`chip`](crate::chip).

/// What pulses do to a cell, and how they are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulses {
    /// What one pulse does.
    pub model: PulseModel,
    /// How pulses follow each other.
    pub recipe: Recipe,
    /// Pulses after which a cell is given up, in each round.
    pub give_up_pulses: u32,
    /// How often all cells are verified and, where relaxation has moved them
    /// out of the tolerance, written again.
    pub rounds: u32,
    /// How far cells can leave the window at either end, in uS.
    pub margin_us: f64,
    /// Standard deviation, from cell to cell, of the mean step of a pulse, as
    /// a fraction of it.
    pub device_spread_fraction: f64,
    /// Mean conductance of a formed cell before its first pulse, in uS.
    pub formed_us: f64,
    /// Standard deviation of the same, in uS.
    pub formed_sd_us: f64,
    /// Voltage of a SET pulse, in V.
    pub set_v: f64,
    /// Voltage of a RESET pulse, in V.
    pub reset_v: f64,
    /// Length of a pulse, in ns.
    pub pulse_ns: f64,
    /// How cells are formed; `None` where they come formed.
    pub forming: Option<Forming>,
}

/// What one pulse of fixed height does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PulseModel {
    /// The measured ten-bin table.
    TableRaw,
    /// The same as its authors scaled it for their network simulation.
    TableScaled,
    /// Conductance as an exponential function of the number of pulses.
    Exponential {
        /// Pulses from one end of the window to the other.
        full_pulses: f64,
        /// A over that number, for SET.
        set_curvature: f64,
        /// The same for RESET.
        reset_curvature: f64,
        /// Standard deviation of a pulse, as a fraction of the window.
        cycle_noise_fraction: f64,
    },
    /// Steps that shrink towards the end of the window they lead to.
    SoftBounds {
        /// Step of a SET pulse at the lower end, in uS.
        set_step_us: f64,
        /// Step of a RESET pulse at the upper end, in uS.
        reset_step_us: f64,
        /// Standard deviation of a pulse, as a fraction of its step.
        cycle_noise_fraction: f64,
    },
}

/// How pulses follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recipe {
    /// All alike.
    Identical,
    /// The gate voltage rises from pulse to pulse; on overshoot it goes back a
    /// step.
    GateRamped(Gate),
}

/// Ramps of the gate voltage, and what a pulse does under them: the response
/// to it is not published, so that this is a choice. A SET pulse brings a cell
/// up to what the transistor lets through, which rises with the gate voltage
/// in a straight line from one end of what cells can hold to the other; a
/// RESET pulse brings it down likewise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Gate voltage of the first SET pulse, in V.
    pub set_first_v: f64,
    /// Gate voltage of the last one, in V; above the first.
    pub set_last_v: f64,
    /// Gate voltage of the first RESET pulse, in V.
    pub reset_first_v: f64,
    /// Gate voltage of the last one, in V; above the first.
    pub reset_last_v: f64,
    /// What it rises by from pulse to pulse, in V.
    pub step_v: f64,
    /// Standard deviation, from pulse to pulse, of where a pulse brings a
    /// cell, in uS.
    pub cycle_sd_us: f64,
    /// Standard deviation of the same from cell to cell, in uS.
    pub device_sd_us: f64,
}

/// How cells are formed: by pulses of rising voltage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forming {
    /// Voltage of the first pulse, in V.
    pub first_v: f64,
    /// Voltage of the last one, in V; not below the first. A cell that needs
    /// more is never formed.
    pub last_v: f64,
    /// What it rises by from pulse to pulse, in V.
    pub step_v: f64,
    /// Mean voltage at which cells form, in V.
    pub mean_v: f64,
    /// Standard deviation of the same from cell to cell, in V.
    pub sd_v: f64,
}

/// How conductance goes on changing: after a time t it is
/// `G + (mean_us + mean_fraction G) L + (sd_initial_us + sd_us L) N(0, 1)`
/// with `L = ln(1 + t/t0)`; each cell has one draw for all times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// The time t0, in s; above zero.
    pub t0_s: f64,
    /// Mean change for each unit of L, in uS.
    pub mean_us: f64,
    /// Mean change for each unit of L, as a fraction of the conductance.
    pub mean_fraction: f64,
    /// Standard deviation that is there at once, in uS.
    pub sd_initial_us: f64,
    /// Standard deviation for each unit of L, in uS.
    pub sd_us: f64,
}

/// How readings change what is read: after `n` of them a cell has changed by
/// `n (shift_us + sd_us N(0, 1))`, with one draw for all times, as far as its
/// window and its margin let it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReadDisturb {
    /// Mean change by one reading at the read voltage, in uS.
    pub shift_us: f64,
    /// Standard deviation of the same from cell to cell, in uS.
    pub sd_us: f64,
}

impl ReadDisturb {
    /// Whether readings change nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How current depends on voltage; see [`crate::chip::CellCurve`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nonlinearity {
    /// Voltage at which cells are verified, in V.
    pub verify_voltage_v: f64,
    /// The voltage that the sine's argument is counted in, of cells at the
    /// lowest conductance, in V.
    pub scale_low_v: f64,
    /// The same of cells at the highest, in V.
    pub scale_high_v: f64,
}

/// How often cells and lines do not work; each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultRates {
    /// Share of cells that hold the highest level whatever is done.
    pub stuck_high: f64,
    /// Share of cells that hold the lowest level whatever is done; together
    /// with the other no more than 1.
    pub stuck_low: f64,
    /// Share of input lines that drive nothing.
    pub dead_input: f64,
    /// Share of output lines that carry nothing.
    pub dead_output: f64,
}

impl FaultRates {
    /// Whether everything works.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
