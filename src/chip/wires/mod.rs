//! Wires with resistance, found once for each programmed chip.
//!
//! ```text
//!             output line 0   output line 1         output line M-1
//!
//!   V0 --[driver]--[in]--o--------[in]--o--  ...  --[in]--o          input line 0
//!                        |              |                 |
//!                       G00            G01               G0,M-1
//!                        |              |                 |
//!                        o              o                 o
//!                        |              |                 |
//!                      [out]          [out]             [out]
//!   V1 --[driver]--[in]--|--o-----[in]--|--o--  ...       |          input line 1
//!                        |  |           |  |              |
//!                        | G10          | G11             |
//!                        |  |           |  |              |
//!                        o--+           o--+              o
//!                        |              |                 |
//!                       ...            ...               ...
//!                      [out]          [out]             [out]
//!                        |              |                 |
//!                     [sense]        [sense]           [sense]
//!                        |              |                 |
//!                       0 V            0 V               0 V
//! ```
//!
//! An input line (the reference chip's bit line) is driven at its first cell,
//! an output line is sensed at its last, at virtual ground. From the driver to
//! the first cell and from the last cell to the sense amplifier there is one
//! piece of wire as between cells, as in badcrossbar (Joksas & Mehonic 2020).
//! So the cell at the last output line of input line 0 is the farthest from
//! both ends. Where a line that is not driven is held at 0 V through its driver,
//! and cells are linear, currents are sums over the driven lines as before:
//!
//! ```text
//! current of output line j = sum over driven i of T[i][j]
//! ```
//!
//! The transfer matrix `T` takes the place of the conductances when the kernel
//! is tabulated ([`Chip::effective`]), and reading costs what it costs without
//! wires. It depends on every cell that draws current meanwhile: those of the
//! whole PE, or where the target gates idle output lines off, those of the
//! output lines that are read together. Without any resistance `T` is the
//! conductances, and they are taken as they are.
//!
//! Lines that float or gate their cells while they are not driven, and cells that
//! are no resistors, have no such matrix. The circuit is then solved for each
//! vector of bits (`pe.wires_solved: each-vector`), or the matrix is taken that
//! holds with every line driven (`once`).
//!
//! A reading's noise follows `T` as it follows conductances: a cell that adds
//! less to a current adds as much less to its noise.
//!
//! | file | what |
//! |---|---|
//! | `network` | which lines carry current, and from which side to begin |
//! | `line` | one output line, its nodes eliminated |
//! | `ports` | all lines, one after the other: the elimination and its cost |
//! | `circuits` | cells that are switched on together |
//! | `operating` | voltages of one vector, where currents are no sums over lines |
//! | `ladders` | lines side by side, as `operating` solves them |
//! | `vectors` | circuits that a run solves for each vector |

mod circuits;
mod ladders;
mod line;
mod network;
#[cfg(test)]
mod nonlinear_tests;
mod operating;
mod ports;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;
mod vectors;

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::Chip;
use super::curve::CellCurve;
use crate::schedule::ExecutionPlan;
use crate::target::{Pe, Wires, WiresSolved};
use circuits::{Circuit, circuits};
use network::Network;
use operating::{OperatingPoint, SETTLED};
use vectors::VectorCircuit;
pub use vectors::VectorCircuits;
pub(crate) use vectors::{ReaderMemory, TileReader};

/// From ohm to what is lost for each uS.
const PER_US: f64 = 1e-6;

/// What each input line adds to the current of each output line when it alone
/// is driven, in uS, `[input line][output line]`; all of these cells are
/// switched on.
///
/// ```
/// use ohmc::chip::wires::transfer_us;
/// use ohmc::target::{Pe, Wires};
///
/// // One cell of 100 kohm behind a driver of 25 kohm.
/// let wires = Wires { driver_ohm: 25e3, ..Wires::NONE };
/// let transfer_us = transfer_us(Pe { inputs: 1, outputs: 1 }, &wires, &[10.0]);
/// assert!((transfer_us[0] - 8.0).abs() < 1e-12);
/// ```
///
/// # Panics
///
/// There are not as many conductances as cells.
pub fn transfer_us(pe: Pe, wires: &Wires, conductances_us: &[f64]) -> Vec<f64> {
    let n_outputs = pe.outputs as usize;
    assert_eq!(conductances_us.len(), pe.inputs as usize * n_outputs, "one for each cell");
    let cell = |input: usize, output: usize| conductances_us[input * n_outputs + output];
    let mut transfer = vec![0.0; conductances_us.len()];
    Network::new(pe, wires, 0..n_outputs, cell).solve(|input, output, us| {
        transfer[input * n_outputs + output] = us;
    });
    transfer
}

/// Currents of all output lines over the read voltage, in uS, with these input
/// lines driven, the others as the wires say: iterated until voltages stay.
/// Conductances in uS, `[input line][output line]`, are those that were
/// verified; cells are resistors without a `curve`.
///
/// # Panics
///
/// There are not as many conductances as cells, or not as many bits as input
/// lines.
pub fn currents_us(
    pe: Pe,
    wires: &Wires,
    curve: Option<&CellCurve>,
    conductances_us: &[f64],
    driven: &[bool],
) -> Vec<f64> {
    let n_outputs = pe.outputs as usize;
    assert_eq!(conductances_us.len(), pe.inputs as usize * n_outputs, "one for each cell");
    assert_eq!(driven.len(), pe.inputs as usize, "one for each input line");
    let cell = |input: usize, output: usize| conductances_us[input * n_outputs + output];
    let network = Network::new(pe, wires, 0..n_outputs, cell);
    let driven: Vec<bool> = network.inputs.iter().map(|&input| driven[input]).collect();
    let mut point = OperatingPoint::default();
    point.find(&network, curve, wires.idle_inputs, &driven, SETTLED);
    let mut read = vec![0.0; network.outputs.len()];
    let mut squares = read.clone();
    point.read(curve.map_or(1.0, CellCurve::read_v), &mut read, &mut squares);
    let mut currents = vec![0.0; n_outputs];
    network.outputs.iter().zip(read).for_each(|(&j, us)| currents[j] = us);
    currents
}

impl Chip {
    /// The chip as its output lines see it through its wires: conductances are
    /// those of the transfer matrix. The chip itself where wires are ideal and
    /// cells resistors.
    ///
    /// Cells that are no resistors conduct as they do at the read voltage; behind
    /// wires, as they do with every input line driven. Where the target has
    /// circuits solved for each vector, they come with it.
    ///
    /// It is as the cells are now: to be asked again when they change.
    pub fn effective(&self, plan: &ExecutionPlan) -> Cow<'_, Self> {
        if self.pe != plan.pe {
            return Cow::Borrowed(self);
        }
        if self.wires.are_ideal() {
            return match &self.curve {
                Some(curve) => Cow::Owned(self.at_read_voltage(curve)),
                None => Cow::Borrowed(self),
            };
        }
        let circuits = circuits(plan, self.wires.idle_outputs);
        let solved: Vec<_> = circuits.par_iter().map(|circuit| self.solve(circuit)).collect();
        let mut effective = self.clone();
        if self.wires.solved == WiresSolved::EachVector {
            effective.vectors = Some(Arc::new(self.vector_circuits(&circuits)));
        }
        for (circuit, transfer) in circuits.iter().zip(solved) {
            let cells = effective.conductances_us.get_mut(&circuit.pe);
            let (Some(cells), Some(transfer)) = (cells, transfer) else { continue };
            for place in &circuit.tiles {
                for line in place.input_line..place.input_line + place.n_inputs() {
                    let start =
                        line as usize * self.pe.outputs as usize + place.output_line as usize;
                    let own = start..start + place.n_outputs() as usize;
                    cells[own.clone()].copy_from_slice(&transfer[own]);
                }
            }
        }
        Cow::Owned(effective)
    }

    /// Circuits to be solved for each vector, for those that the chip has.
    fn vector_circuits(&self, circuits: &[Circuit<'_>]) -> VectorCircuits {
        let mut vectors = VectorCircuits::default();
        for circuit in circuits {
            let Some(network) = self.network(circuit) else { continue };
            let own = VectorCircuit { network, curve: self.curve, idle: self.wires.idle_inputs };
            vectors.add(circuit.pe, own, circuit.tiles.iter().copied());
        }
        vectors
    }

    /// The circuit of a tile that has its PE to itself.
    #[cfg(test)]
    pub(crate) fn with_own_circuit(&self, place: &crate::mapping::WeightTile) -> Self {
        let outputs = (0..self.pe.outputs as usize).collect();
        let circuit = Circuit { pe: place.pe, outputs, tiles: vec![place] };
        Self { vectors: Some(Arc::new(self.vector_circuits(&[circuit]))), ..self.clone() }
    }

    /// Cells as they conduct with all of the read voltage across them.
    fn at_read_voltage(&self, curve: &CellCurve) -> Self {
        let mut effective = self.clone();
        for cells in effective.conductances_us.values_mut() {
            cells.par_iter_mut().for_each(|us| {
                *us = curve.chord_us(f64::from(*us), curve.read_v()) as f32;
            });
        }
        effective
    }

    /// The transfer matrix of a circuit, laid out as its PE; `None` if the chip
    /// lacks cells of it.
    fn solve(&self, circuit: &Circuit<'_>) -> Option<Vec<f32>> {
        let n_outputs = self.pe.outputs as usize;
        let mut transfer = vec![0.0; self.pe.cells() as usize];
        let mut network = self.network(circuit)?;
        if let Some(curve) = &self.curve {
            network = network.with_all_driven(curve);
        }
        network.solve(|input, output, us| {
            transfer[input * n_outputs + output] = us as f32;
        });
        Some(transfer)
    }

    /// The lines of a circuit and what lies between them; `None` if the chip
    /// lacks cells of it.
    fn network(&self, circuit: &Circuit<'_>) -> Option<Network> {
        let n_outputs = self.pe.outputs as usize;
        let cells = self.conductances_us.get(&circuit.pe)?;
        let is_inside = cells.len() as u64 == self.pe.cells()
            && circuit.tiles.iter().all(|place| {
                u64::from(place.input_line) + u64::from(place.n_inputs()) <= self.pe.inputs.into()
                    && u64::from(place.output_line) + u64::from(place.n_outputs())
                        <= self.pe.outputs.into()
            });
        let cell = |input: usize, output: usize| f64::from(cells[input * n_outputs + output]);
        let outputs = circuit.outputs.iter().copied();
        is_inside.then(|| Network::new(self.pe, &self.wires, outputs, cell))
    }
}
