//! The model of the chip: what the cells hold, and what is read from them.
//!
//! All physics in floating point lives here. Currents are given in uS: a
//! current divided by the read voltage, which is the sum of the conductances
//! of the cells whose input bit is 1.
//!
//! | file | effect |
//! |---|---|
//! | `programming` | what a cell holds after it was written, pulse by pulse or on average |
//! | `faults` | cells and lines that do not work |
//! | `programmed` | what became of every cell, and the chip that it makes at some time |
//! | `effects` | all of these, each to be switched by itself |
//! | `random`, `math` | streams of random numbers for cells, a logarithm that is the same everywhere |
//! | `curve` | cells that are no resistors |
//! | [`wires`] | what output lines see of it through wires with resistance |
//! | `noise` | counter-based streams: what a reading adds |
//! | `kernel` | currents of a tile, plane by plane, conversion by conversion |
//! | `converters` | ADCs that differ from each other, measured and corrected |
//! | `transposed` | arrays read the other way round |
//! | `accumulators` | charges of planes, added up before they are converted |
//! | `decisions` | how long conversions take without a clock |
//! | `adc` | from currents to codes, and over which range |

mod accumulators;
mod adc;
mod converters;
mod curve;
mod decisions;
mod effects;
mod faults;
mod kernel;
mod math;
mod noise;
mod programmed;
mod programming;
mod random;
mod transposed;
pub mod wires;

pub use accumulators::Accumulator;
pub use adc::{AdcError, settings};
pub use converters::{Converter, Measured};
pub use curve::CellCurve;
pub use decisions::ConversionTimes;
pub use effects::{Conditions, Effect, Effects};
pub use faults::{Fault, FaultMap, FaultMapError};
pub use kernel::{
    Bundle, Driven, MAX_LINES, Pattern, PatternMap, Scheme, Scratch, Slot, TileKernel,
    lines_per_bundle,
};
pub(crate) use kernel::{Instructions, Simd, Task};
pub(crate) use math::{exp, ln};
pub use noise::{ReadNoise, normals};
pub use programmed::{CellState, PeCells, Programmed, Work};
pub use programming::{
    CellChange, CellChanges, Forecast, HeldCell, PairGoal, PairOptions, PairWriter, PeBench,
    ProgramError, ProgramOptions, Rewriter, pair_writer, program, write,
};

pub use transposed::{transposed_setting, transposed_tile};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::target::{Pe, Wires};

/// A chip on the bench: the conductance of every cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Chip {
    /// Lines of a PE.
    pub pe: Pe,
    /// Resistance of these lines.
    pub wires: Wires,
    /// How cells depend on voltage; `None` where they are resistors.
    pub curve: Option<CellCurve>,
    /// Circuits that a run solves for each vector of bits, of a chip as its
    /// output lines see it ([`Chip::effective`]); `None` where currents are sums
    /// over input lines.
    pub vectors: Option<Arc<wires::VectorCircuits>>,
    /// Conductances in uS of every PE in use, `[input line][output line]`;
    /// 0 for cells that were never formed.
    pub conductances_us: BTreeMap<PeId, Vec<f32>>,
    /// How far cells are from their targets, as a standard deviation in uS; 0
    /// on an exact chip. What the arithmetic of the kernel is held against.
    pub cell_error_us: f64,
    /// Standard deviation of one reading of one cell, as a fraction of its
    /// conductance.
    pub read_noise_fraction: f64,
    /// The ADCs of every PE in use; none where they are as they should be.
    pub converters: BTreeMap<PeId, Vec<Converter>>,
    /// Where charges of planes are added up, the accumulators of every PE in
    /// use; none where they are as they should be.
    pub accumulators: BTreeMap<PeId, Accumulator>,
    /// Seed of its read noise.
    pub seed: u64,
}

impl Chip {
    /// Conductance of a tile's cells on one input line together, in uS.
    pub(crate) fn line_us(&self, place: &WeightTile, line: u32) -> f64 {
        let n_outputs = self.pe.outputs as usize;
        let start = line as usize * n_outputs + place.output_line as usize;
        let cells = self.conductances_us.get(&place.pe);
        let cells = cells.and_then(|cells| cells.get(start..start + place.n_outputs() as usize));
        cells.unwrap_or_default().iter().map(|&us| f64::from(us)).sum()
    }
}
