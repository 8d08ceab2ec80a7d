//! The lines that carry current, and the transfer matrix between their ends.

use super::PER_US;
use super::line::Line;
use super::operating::{OperatingPoint, SETTLED};
use super::ports::Ports;
use crate::chip::curve::CellCurve;
use crate::target::{IdleInputs, Pe, Wires};

/// A crossbar of the lines that carry current. Resistances are in 1/uS, so
/// that they multiply with conductances.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    /// Input and output lines, by their number on the PE, from the driver and
    /// towards the sense amplifiers.
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// Of an input line, up to each of its cells: from the driver, then from
    /// the cell before.
    pub(super) along_inputs: Vec<f64>,
    /// Of an output line, from each of its cells on: to the next cell, at last
    /// to virtual ground.
    pub(super) along_outputs: Vec<f64>,
    /// Conductances in uS, `[output line][input line]`.
    pub(super) cells: Vec<f64>,
}

impl Network {
    /// The network of all input lines and these output lines, ascending. A
    /// line without current is left out; what others have of wire beside it
    /// stays.
    pub(super) fn new(
        pe: Pe,
        wires: &Wires,
        outputs: impl Iterator<Item = usize>,
        cell: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let inputs = 0..pe.inputs as usize;
        let outputs: Vec<usize> =
            outputs.filter(|&j| inputs.clone().any(|i| cell(i, j) > 0.0)).collect();
        let inputs: Vec<usize> =
            inputs.filter(|&i| outputs.iter().any(|&j| cell(i, j) > 0.0)).collect();
        let ohm_per_cell = wires.input_ohm_per_cell * PER_US;
        let mut along_inputs = Vec::with_capacity(outputs.len());
        let mut before = None;
        for &output in &outputs {
            along_inputs.push(match before {
                None => wires.driver_ohm * PER_US + ohm_per_cell * (output + 1) as f64,
                Some(before) => ohm_per_cell * (output - before) as f64,
            });
            before = Some(output);
        }
        let ohm_per_cell = wires.output_ohm_per_cell * PER_US;
        let mut along_outputs = Vec::with_capacity(inputs.len());
        let mut next = None;
        for &input in inputs.iter().rev() {
            along_outputs.push(match next {
                None => {
                    wires.sense_ohm * PER_US + ohm_per_cell * (pe.inputs as usize - input) as f64
                }
                Some(next) => ohm_per_cell * (next - input) as f64,
            });
            next = Some(input);
        }
        along_outputs.reverse();
        let column = |&j: &usize| inputs.iter().map(move |&i| (i, j));
        let cells = outputs.iter().flat_map(column).map(|(i, j)| cell(i, j)).collect();
        Self { inputs, outputs, along_inputs, along_outputs, cells }
    }

    /// The same with cells as conductive as they are with every input line
    /// driven.
    pub(super) fn with_all_driven(mut self, curve: &CellCurve) -> Self {
        let driven = vec![true; self.inputs.len()];
        let mut point = OperatingPoint::default();
        point.find(&self, Some(curve), IdleInputs::Grounded, &driven, SETTLED);
        self.cells = point.chords_us();
        self
    }

    /// Gives the transfer matrix, one value after the other: input line, output
    /// line, uS. Where a line carries no current there is nothing to give.
    ///
    /// The work is about `N^3 M / 2 + N^2 M^2 / 2` multiplications for blocks
    /// of `N` and `M` of them one after the other, so the shorter side makes
    /// the blocks. By reciprocity the same network can be entered at the other
    /// end: what a voltage at an input line makes flow out of an output line, a
    /// voltage at the output line makes flow out of the input line.
    pub(super) fn solve(&self, give: impl FnMut(usize, usize, f64)) {
        self.solve_from(self.inputs.len() > self.outputs.len(), give);
    }

    /// As [`solve`](Self::solve); with blocks of output lines if `reversed`.
    pub(super) fn solve_from(&self, reversed: bool, mut give: impl FnMut(usize, usize, f64)) {
        let (n_inputs, n_outputs) = (self.inputs.len(), self.outputs.len());
        if !reversed {
            let ports = eliminate(&self.cells, &self.along_inputs, &self.along_outputs);
            for (i, &input) in self.inputs.iter().enumerate() {
                for (j, &output) in self.outputs.iter().enumerate() {
                    give(input, output, ports.transfer(i, n_outputs - 1 - j));
                }
            }
            return;
        }
        // Sensed ends are driven, driven ends sensed: the lines in reverse.
        let mirrored = |values: &[f64]| values.iter().rev().copied().collect::<Vec<f64>>();
        let (along_inputs, along_outputs) =
            (mirrored(&self.along_outputs), mirrored(&self.along_inputs));
        let column = |i: usize| (0..n_outputs).rev().map(move |j| j * n_inputs + i);
        let cells: Vec<f64> =
            (0..n_inputs).rev().flat_map(column).map(|at| self.cells[at]).collect();
        let ports = eliminate(&cells, &along_inputs, &along_outputs);
        for (i, &input) in self.inputs.iter().enumerate() {
            for (j, &output) in self.outputs.iter().enumerate() {
                // The mirrored output line of `i` is the last but `i`.
                give(input, output, ports.transfer(n_outputs - 1 - j, i));
            }
        }
    }
}

/// Takes output lines up from the far end of the input lines to the drivers.
fn eliminate(cells: &[f64], along_inputs: &[f64], along_outputs: &[f64]) -> Ports {
    let (n_inputs, n_outputs) = (along_outputs.len(), along_inputs.len());
    let mut ports = Ports::new(n_inputs, n_outputs);
    let lines = cells.chunks_exact(n_inputs.max(1)).zip(along_inputs);
    for (cells, &resistance) in lines.rev() {
        ports.add_line(&Line::new(cells, along_outputs));
        ports.add_series(resistance);
    }
    ports
}
