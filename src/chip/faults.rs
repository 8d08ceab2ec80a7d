//! Cells and lines that do not work: by rates, each chip with others, or as
//! measured on one chip.

use thiserror::Error;

use super::random::{Purpose, Streams};
use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::PeId;
use crate::target::{FaultRates, Pe};

/// Why a cell does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It holds the highest level.
    StuckHigh,
    /// It holds the lowest level.
    StuckLow,
    /// Its input line or its output line is broken: it carries no current.
    Dead,
    /// It never turned conducting, and carries no current.
    Unformed,
}

/// Faults measured on a chip: one code a cell, `[pe][input line][output
/// line]`; 0 works, 1 is stuck high, 2 stuck low, 3 dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultMap {
    pe: Pe,
    codes: Vec<u8>,
}

/// A map of faults that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultMapError {
    /// Another number of cells than the chip has.
    #[error("a fault map of {found} cells, the chip has {wanted}")]
    Size {
        /// Cells of the map.
        found: usize,
        /// Cells of the chip.
        wanted: usize,
    },
    /// A code that means nothing.
    #[error(
        "the fault map has the code {code} for the cell of {pe}, input {input}, output {output}"
    )]
    Code {
        /// The code.
        code: u8,
        /// The PE.
        pe: PeId,
        /// Input line.
        input: usize,
        /// Output line.
        output: usize,
    },
}

impl Explain for FaultMapError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![
            Diagnostic::error(self.to_string())
                .help("codes are 0 works, 1 stuck high, 2 stuck low, 3 dead"),
        ]
    }
}

impl FaultMap {
    /// The faults of a chip with so many PEs.
    ///
    /// # Errors
    ///
    /// Another number of codes than there are cells, or a code above 3.
    pub fn new(n_pes: u32, pe: Pe, codes: Vec<u8>) -> Result<Self, FaultMapError> {
        let cells = pe.cells() as usize;
        let wanted = cells.saturating_mul(n_pes as usize);
        if codes.len() != wanted {
            return Err(FaultMapError::Size { found: codes.len(), wanted });
        }
        if let Some(index) = codes.iter().position(|&code| code > 3) {
            let (within, outputs) = (index % cells, pe.outputs as usize);
            return Err(FaultMapError::Code {
                code: codes[index],
                pe: PeId((index / cells) as u32),
                input: within / outputs,
                output: within % outputs,
            });
        }
        Ok(Self { pe, codes })
    }
}

/// Where faults come from: a map in place of rates, where there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults<'a> {
    pub rates: FaultRates,
    pub map: Option<&'a FaultMap>,
}

impl<'a> Faults<'a> {
    /// Whether everything works.
    pub fn are_none(&self) -> bool {
        self.map.is_none() && self.rates.is_none()
    }

    /// Those of a PE of the chip with this seed, the same in every pass.
    pub fn of_pe(&self, seed: u64, id: PeId, pe: Pe) -> PeFaults<'a> {
        let cells = pe.cells() as usize;
        let start = id.0 as usize * cells;
        let mapped = self.map.filter(|map| map.pe == pe);
        let mapped = mapped.and_then(|map| map.codes.get(start..start + cells));
        let rates = match mapped {
            Some(_) => FaultRates::default(),
            None => self.rates,
        };
        let lines = |n: u32, purpose, rate: f64| -> Vec<bool> {
            let streams = Streams::new(seed, purpose, id);
            (0..n as usize).map(|line| rate > 0.0 && streams.of(line).uniform() < rate).collect()
        };
        PeFaults {
            rates,
            mapped,
            cells: Streams::new(seed, Purpose::StuckCell, id),
            dead_inputs: lines(pe.inputs, Purpose::InputLine, rates.dead_input),
            dead_outputs: lines(pe.outputs, Purpose::OutputLine, rates.dead_output),
        }
    }
}

/// The faults of one PE.
#[derive(Debug)]
pub(super) struct PeFaults<'a> {
    rates: FaultRates,
    mapped: Option<&'a [u8]>,
    cells: Streams,
    dead_inputs: Vec<bool>,
    dead_outputs: Vec<bool>,
}

impl PeFaults<'_> {
    /// What is wrong with the cell of this number, `[input line][output
    /// line]`.
    pub fn of(&self, index: usize) -> Option<Fault> {
        if let Some(codes) = self.mapped {
            return match codes[index] {
                1 => Some(Fault::StuckHigh),
                2 => Some(Fault::StuckLow),
                3 => Some(Fault::Dead),
                _ => None,
            };
        }
        let n_outputs = self.dead_outputs.len();
        if self.dead_inputs[index / n_outputs] || self.dead_outputs[index % n_outputs] {
            return Some(Fault::Dead);
        }
        let FaultRates { stuck_high, stuck_low, .. } = self.rates;
        if stuck_high + stuck_low == 0.0 {
            return None;
        }
        match self.cells.of(index).uniform() {
            x if x < stuck_high => Some(Fault::StuckHigh),
            x if x < stuck_high + stuck_low => Some(Fault::StuckLow),
            _ => None,
        }
    }
}
