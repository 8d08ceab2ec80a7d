//! What makes a chip differ from its plan, each to be switched by itself; and
//! under which of them, and when, it is read.

use std::fmt;

/// One thing that makes a chip differ from its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Cells stop anywhere within the tolerance, or are given up.
    VerifyError,
    /// They change at once after they were written.
    Relaxation,
    /// They go on changing with time.
    Drift,
    /// Readings change what is read.
    ReadDisturb,
    /// Every reading is another.
    ReadNoise,
    /// Some cells and lines do not work.
    Faults,
    /// Cells are no resistors.
    Nonlinearity,
    /// Lines have resistance.
    Wires,
    /// ADCs differ from what they should be.
    Converters,
    /// Charges of planes do not add up as they should.
    Accumulation,
}

impl Effect {
    /// All of them, in the order in which they come about.
    pub const ALL: [Self; 10] = [
        Self::VerifyError,
        Self::Relaxation,
        Self::Drift,
        Self::ReadDisturb,
        Self::ReadNoise,
        Self::Faults,
        Self::Nonlinearity,
        Self::Wires,
        Self::Converters,
        Self::Accumulation,
    ];

    /// Its name on the command line: `read-noise`.
    pub fn name(self) -> &'static str {
        match self {
            Self::VerifyError => "verify-error",
            Self::Relaxation => "relaxation",
            Self::Drift => "drift",
            Self::ReadDisturb => "read-disturb",
            Self::ReadNoise => "read-noise",
            Self::Faults => "faults",
            Self::Nonlinearity => "nonlinearity",
            Self::Wires => "wires",
            Self::Converters => "converters",
            Self::Accumulation => "accumulation",
        }
    }

    /// What it does, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::VerifyError => "Cells stop anywhere within the tolerance, or are given up",
            Self::Relaxation => "Cells change at once after they were written",
            Self::Drift => "Cells go on changing; with `--at`",
            Self::ReadDisturb => "Readings change what is read; with `--reads`",
            Self::ReadNoise => "Every reading is another",
            Self::Faults => "Cells and lines do not work",
            Self::Nonlinearity => "Cells conduct more at higher voltages",
            Self::Wires => "Lines have resistance",
            Self::Converters => "ADCs differ from what they should be",
            Self::Accumulation => "Charges of planes do not add up as they should",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of effects.
///
/// ```
/// use ohmc::chip::{Effect, Effects};
///
/// let quiet = Effects::ALL.without(Effect::ReadNoise);
/// assert!(quiet.has(Effect::Drift) && !quiet.has(Effect::ReadNoise));
/// assert_eq!(Effects::NONE.with(Effect::Faults), Effects::only([Effect::Faults]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects(u16);

impl Effects {
    /// No effect: cells are at their targets, and read as they are.
    pub const NONE: Self = Self(0);

    /// All that the target and the chip have.
    pub const ALL: Self = Self(u16::MAX);

    /// These and no others.
    pub fn only(effects: impl IntoIterator<Item = Effect>) -> Self {
        effects.into_iter().fold(Self::NONE, Self::with)
    }

    /// With this one too.
    #[must_use]
    pub fn with(self, effect: Effect) -> Self {
        Self(self.0 | 1 << effect as u8)
    }

    /// Without this one.
    #[must_use]
    pub fn without(self, effect: Effect) -> Self {
        Self(self.0 & !(1 << effect as u8))
    }

    /// Whether it is among them.
    pub fn has(self, effect: Effect) -> bool {
        self.0 & 1 << effect as u8 != 0
    }
}

/// Under which conditions a programmed chip is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Which effects are there.
    pub effects: Effects,
    /// How long after programming, in seconds; `None` right away, before any
    /// drift.
    pub at_s: Option<f64>,
    /// How often every cell has been read before.
    pub n_reads: u64,
    /// Seed of the read noise.
    pub seed: u64,
}

impl Conditions {
    /// All effects, right after programming and never read, with read noise of this seed.
    pub fn at_once(seed: u64) -> Self {
        Self { effects: Effects::ALL, at_s: None, n_reads: 0, seed }
    }
}
