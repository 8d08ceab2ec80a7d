//! Voltages in a network whose cells are no resistors.
//!
//! The network has no transfer matrix then: what one line adds depends on what
//! the others do. For given inputs voltages are found line by line: with the
//! voltages at the other ends of its cells known, a line is a ladder, and a
//! ladder is solved by a walk there and back. All input lines, all output lines,
//! cells as conductive as the voltages across them make them, and again, until
//! nothing changes: wires are a thousandth of a cell, so it takes a few rounds.
//!
//! That is exact for one vector of bits, and thousands of times as slow as a
//! product. So a run takes the transfer matrix of cells as they are with every
//! input line driven, where wires take most: it errs where few lines are
//! driven, which is where wires matter least.

use super::network::Network;
use crate::chip::curve::CellCurve;

/// Rounds at most, and the change of voltages that ends them, as a share of the
/// read voltage.
const ROUNDS: usize = 500;
const SETTLED: f64 = 1e-12;

/// A network with voltages at all nodes.
pub(super) struct OperatingPoint {
    /// Chords in uS, laid out as the cells of the network.
    pub chords_us: Vec<f64>,
    /// Currents that flow out of the output lines, in uA.
    pub currents_ua: Vec<f64>,
}

impl OperatingPoint {
    /// With these input lines driven, by their place in the network.
    pub fn new(network: &Network, curve: &CellCurve, driven: &[bool]) -> Self {
        let (n_inputs, n_outputs) = (network.inputs.len(), network.outputs.len());
        let read_v = curve.read_v();
        let source = |input: usize| if driven[input] { read_v } else { 0.0 };
        // `[output][input]`, as the cells.
        let mut at_inputs: Vec<f64> =
            (0..n_outputs).flat_map(|_| (0..n_inputs).map(source)).collect();
        let mut at_outputs = vec![0.0; n_inputs * n_outputs];
        let mut chords_us = network.cells.clone();
        let towards_sense: Vec<usize> = (0..n_inputs).rev().collect();
        let from_sense: Vec<f64> =
            towards_sense.iter().map(|&input| network.along_outputs[input]).collect();
        let (mut along_input, mut along_output) = (Ladder::new(n_outputs), Ladder::new(n_inputs));
        for _ in 0..ROUNDS {
            for (at, chord) in chords_us.iter_mut().enumerate() {
                *chord = curve.chord_us(network.cells[at], at_inputs[at] - at_outputs[at]);
            }
            let mut change = 0f64;
            for input in 0..n_inputs {
                let at = |output: usize| output * n_inputs + input;
                let cells =
                    (0..n_outputs).map(|output| (chords_us[at(output)], at_outputs[at(output)]));
                along_input.solve(source(input), &network.along_inputs, cells);
                for (output, &voltage) in along_input.voltages.iter().enumerate() {
                    change = change.max((voltage - at_inputs[at(output)]).abs());
                    at_inputs[at(output)] = voltage;
                }
            }
            for output in 0..n_outputs {
                let at = |nth: usize| output * n_inputs + towards_sense[nth];
                let cells = (0..n_inputs).map(|nth| (chords_us[at(nth)], at_inputs[at(nth)]));
                along_output.solve(0.0, &from_sense, cells);
                for (nth, &voltage) in along_output.voltages.iter().enumerate() {
                    change = change.max((voltage - at_outputs[at(nth)]).abs());
                    at_outputs[at(nth)] = voltage;
                }
            }
            if change <= SETTLED * read_v {
                break;
            }
        }
        let currents_ua = (0..n_outputs)
            .map(|output| {
                let own = output * n_inputs..(output + 1) * n_inputs;
                own.map(|at| chords_us[at] * (at_inputs[at] - at_outputs[at])).sum()
            })
            .collect();
        Self { chords_us, currents_ua }
    }
}

/// A line from a source on: resistors along it, and at each node a cell that
/// leads to a known voltage.
struct Ladder {
    /// What a node sees of itself and of what lies beyond: a conductance, and
    /// the current that is pushed into it.
    seen: Vec<(f64, f64)>,
    voltages: Vec<f64>,
}

impl Ladder {
    fn new(n_nodes: usize) -> Self {
        Self { seen: vec![(0.0, 0.0); n_nodes], voltages: vec![0.0; n_nodes] }
    }

    /// From resistances up to each node, and cells as conductance and voltage
    /// at their other end.
    fn solve(
        &mut self,
        source: f64,
        resistances: &[f64],
        cells: impl DoubleEndedIterator<Item = (f64, f64)> + ExactSizeIterator,
    ) {
        let (mut conductance, mut current) = (0.0, 0.0);
        for ((seen, (cell, voltage)), &resistance) in
            self.seen.iter_mut().zip(cells).zip(resistances).rev()
        {
            conductance += cell;
            current += cell * voltage;
            *seen = (conductance, current);
            // As the node before sees it, through the resistor between them.
            let passed = 1.0 / (1.0 + resistance * conductance);
            conductance *= passed;
            current *= passed;
        }
        let mut before = source;
        let nodes = self.voltages.iter_mut().zip(&self.seen).zip(resistances);
        for ((voltage, &(conductance, current)), &resistance) in nodes {
            before = (before + resistance * current) / (1.0 + resistance * conductance);
            *voltage = before;
        }
    }
}
