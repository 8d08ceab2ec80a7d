//! Voltages in a network that is no sum over its input lines.
//!
//! Cells that are no resistors conduct as much as the voltage across them makes
//! them; an input line that floats takes the voltage that its cells give it; one
//! whose bit gates its cells takes them out of the circuit. What one line adds
//! then depends on what the others do, and the network has no transfer matrix.
//! For given inputs voltages are found in turn: all input lines, with voltages of
//! the output lines known, then all output lines, cells as conductive as the
//! voltages across them make them, and again, until nothing changes. Wires are a
//! thousandth of a cell, so it takes a few rounds.
//!
//! That is exact for one vector of bits, and thousands of times as slow as a
//! product. A target says whether a run does it for each vector, or takes the
//! transfer matrix of cells as they are with every input line driven, where
//! wires take most: it errs where few lines are driven, which is where wires
//! matter least.

use super::ladders::Ladders;
use super::network::Network;
use crate::chip::curve::CellCurve;
use crate::target::IdleInputs;

/// Rounds at most. They always come nearer, slowly only where wires take most of
/// the voltage.
const ROUNDS: usize = 100_000;

/// A change of voltages, as a share of the read voltage, that is none but of
/// rounding.
const ROUNDING: f64 = 1e-15;

/// How far voltages may be off, as a share of the read voltage, for those who
/// want all digits.
pub(super) const SETTLED: f64 = 1e-12;

/// Voltages at the nodes of a network; memory that is used again. Of vectors the
/// lines that carry current are taken, from the sense amplifiers on.
#[derive(Debug, Default)]
pub(super) struct OperatingPoint {
    /// Input lines that carry current, by their place in the network.
    lines: Vec<usize>,
    sources: Vec<Option<f64>>,
    /// Of output lines, from virtual ground up to each of these lines.
    from_sense: Vec<f64>,
    /// Cells as they were verified, and as they conduct; `[output][line]`.
    cells: Vec<f64>,
    chords: Vec<f64>,
    /// Voltages at both ends of the cells: where they are found, and turned.
    at_inputs: Vec<f64>,
    at_outputs_turned: Vec<f64>,
    /// `[line][output]`.
    chords_turned: Vec<f64>,
    at_inputs_turned: Vec<f64>,
    at_outputs: Vec<f64>,
    grounds: Vec<Option<f64>>,
    ladders: Ladders,
}

impl OperatingPoint {
    /// Finds the voltages with these input lines driven, by their place in the
    /// network.
    #[inline(always)]
    pub fn find(
        &mut self,
        network: &Network,
        curve: Option<&CellCurve>,
        idle: IdleInputs,
        driven: &[bool],
        settled: f64,
    ) {
        let read_v = curve.map_or(1.0, CellCurve::read_v);
        self.begin(network, idle, driven, read_v);
        let (n_lines, n_outputs) = (self.lines.len(), network.outputs.len());
        let mut before = 0.0;
        for _ in 0..ROUNDS {
            if let Some(curve) = curve {
                let across = self.at_inputs.iter().zip(&self.at_outputs_turned);
                let cells = self.cells.iter().zip(across);
                for (chord, (&us, (input, output))) in self.chords.iter_mut().zip(cells) {
                    *chord = curve.chord_us(us, input - output);
                }
                turn(&self.chords, n_lines, &mut self.chords_turned);
            }
            let of_inputs = self.ladders.solve(
                &self.sources,
                &network.along_inputs,
                (&self.chords, &self.at_outputs_turned),
                &mut self.at_inputs,
            );
            turn(&self.at_inputs, n_lines, &mut self.at_inputs_turned);
            let of_outputs = self.ladders.solve(
                &self.grounds,
                &self.from_sense,
                (&self.chords_turned, &self.at_inputs_turned),
                &mut self.at_outputs,
            );
            turn(&self.at_outputs, n_outputs, &mut self.at_outputs_turned);
            // Changes fall by much the same ratio from round to round, so what all
            // others will come to is known.
            let change = of_inputs.max(of_outputs) / read_v;
            let ratio = change / before;
            if change <= ROUNDING || (ratio < 1.0 && change * ratio <= settled * (1.0 - ratio)) {
                break;
            }
            before = change;
        }
    }

    /// Output lines at ground, and the lines that carry current.
    #[inline(always)]
    fn begin(&mut self, network: &Network, idle: IdleInputs, driven: &[bool], read_v: f64) {
        let (n_inputs, n_outputs) = (network.inputs.len(), network.outputs.len());
        let none_driven = !driven.contains(&true);
        let carries = |&input: &usize| match idle {
            IdleInputs::Grounded => true,
            IdleInputs::Floating => !none_driven,
            IdleInputs::GatedOff => driven[input],
        };
        self.lines.clear();
        self.lines.extend((0..n_inputs).rev().filter(carries));
        self.sources.clear();
        self.sources.extend(self.lines.iter().map(|&input| match (driven[input], idle) {
            (true, _) => Some(read_v),
            (false, IdleInputs::Floating) => None,
            (false, _) => Some(0.0),
        }));
        self.from_sense.clear();
        let mut beyond = n_inputs;
        for &input in &self.lines {
            self.from_sense.push(network.along_outputs[input..beyond].iter().sum());
            beyond = input;
        }
        self.cells.clear();
        for cells in network.cells.chunks_exact(n_inputs.max(1)) {
            self.cells.extend(self.lines.iter().map(|&input| cells[input]));
        }
        self.chords.clone_from(&self.cells);
        self.grounds.clear();
        self.grounds.resize(n_outputs, Some(0.0));
        let n_cells = self.cells.len();
        for values in [&mut self.at_outputs, &mut self.at_outputs_turned] {
            values.clear();
            values.resize(n_cells, 0.0);
        }
        for values in [&mut self.chords_turned, &mut self.at_inputs_turned] {
            values.resize(n_cells, 0.0);
        }
        self.at_inputs.clear();
        for _ in 0..n_outputs {
            self.at_inputs.extend(self.sources.iter().map(|source| source.unwrap_or(0.0)));
        }
        turn(&self.chords, self.lines.len(), &mut self.chords_turned);
    }

    /// Of each output line of the network, its current over the read voltage, in
    /// uS, and the sum of its cells' squares, in uS^2.
    #[inline(always)]
    pub fn read(&self, read_v: f64, currents_us: &mut [f64], squares_us2: &mut [f64]) {
        currents_us.fill(0.0);
        squares_us2.fill(0.0);
        let n_outputs = currents_us.len().max(1);
        let ends = self.at_inputs_turned.chunks_exact(n_outputs);
        let lines = self.chords_turned.chunks_exact(n_outputs).zip(ends);
        for ((chords, inputs), outputs) in lines.zip(self.at_outputs.chunks_exact(n_outputs)) {
            let cells = chords.iter().zip(inputs).zip(outputs);
            let sums = currents_us.iter_mut().zip(squares_us2.iter_mut());
            for ((current, square), ((chord, input), output)) in sums.zip(cells) {
                let us = chord * (input - output) / read_v;
                *current += us;
                *square += us * us;
            }
        }
    }

    /// Cells as they conduct, laid out as those of the network; all its lines
    /// carry current.
    pub fn chords_us(&self) -> Vec<f64> {
        let lines = self.chords.chunks_exact(self.lines.len().max(1));
        lines.flat_map(|chords| chords.iter().rev().copied()).collect()
    }
}

/// Rows of so many values as columns, a square of them at a time.
#[inline(always)]
fn turn(from: &[f64], width: usize, to: &mut [f64]) {
    const SIDE: usize = 8;
    let height = from.len() / width.max(1);
    for top in (0..height).step_by(SIDE) {
        for left in (0..width).step_by(SIDE) {
            for row in top..height.min(top + SIDE) {
                for column in left..width.min(left + SIDE) {
                    to[column * height + row] = from[row * width + column];
                }
            }
        }
    }
}
