//! The resistance of a PE's lines.

use super::{Cell, Pe};

/// Resistances of the lines of a PE, and which of them carry current together.
/// How they are connected is drawn in [`crate::chip::wires`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wires {
    /// Of an input line, from one cell to the next, in ohm.
    pub input_ohm_per_cell: f64,
    /// Of an output line, from one cell to the next, in ohm.
    pub output_ohm_per_cell: f64,
    /// Of what drives an input line, in ohm.
    pub driver_ohm: f64,
    /// Of an output line's way to virtual ground, in ohm.
    pub sense_ohm: f64,
    /// What becomes of output lines while others are read.
    pub idle_outputs: IdleOutputs,
    /// What becomes of input lines while others are driven.
    pub idle_inputs: IdleInputs,
    /// How often currents are found by solving the circuit.
    pub solved: WiresSolved,
}

/// What becomes of input lines while others are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleInputs {
    /// Their drivers hold them at 0 V.
    Grounded,
    /// Their drivers let go: a line takes the voltage that its cells give it.
    Floating,
    /// Bits drive the gates of a line's cells: those of an idle line are
    /// switched off.
    GatedOff,
}

/// How often a circuit with resistance is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WiresSolved {
    /// For each programmed chip: a transfer matrix, exact where cells are
    /// resistors and idle input lines are grounded, and with every line driven.
    Once,
    /// For each vector of bits, by iteration: exact, and slow.
    EachVector,
}

/// What becomes of output lines while others are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleOutputs {
    /// They stay at virtual ground: every cell of the PE draws current.
    Connected,
    /// Their cells are switched off: only lines that are read together draw
    /// current.
    GatedOff,
}

impl Wires {
    /// Wires without any resistance.
    pub const NONE: Self = Self {
        input_ohm_per_cell: 0.0,
        output_ohm_per_cell: 0.0,
        driver_ohm: 0.0,
        sense_ohm: 0.0,
        idle_outputs: IdleOutputs::Connected,
        idle_inputs: IdleInputs::Grounded,
        solved: WiresSolved::Once,
    };

    /// Whether a cell sees the whole voltage, whatever others do.
    pub fn are_ideal(&self) -> bool {
        let Self { input_ohm_per_cell, output_ohm_per_cell, driver_ohm, sense_ohm, .. } = *self;
        [input_ohm_per_cell, output_ohm_per_cell, driver_ohm, sense_ohm] == [0.0; 4]
    }

    /// The share of the read voltage that is lost at the last cell of an input
    /// line, all its cells at maximum conductance: the usual figure of how
    /// much wires matter. Output lines are taken as ideal.
    pub fn input_line_drop(&self, pe: Pe, cell: &Cell) -> f64 {
        // From the last cell to the driver: the conductance seen, and the
        // share of a voltage there that reaches the last cell.
        let conductance_s = cell.conductance_max_us * 1e-6;
        let (mut seen_s, mut share) = (conductance_s, 1.0);
        for nth in (0..pe.outputs).rev() {
            let driver_ohm = if nth == 0 { self.driver_ohm } else { 0.0 };
            let passed = 1.0 / (1.0 + (self.input_ohm_per_cell + driver_ohm) * seen_s);
            share *= passed;
            seen_s = seen_s * passed + conductance_s;
        }
        1.0 - share
    }
}

#[cfg(test)]
mod tests {
    //! The figures that are quoted for the reference chip.

    use super::*;
    use crate::target::{Target, builtin};

    #[test]
    fn a_line_loses_what_is_quoted_for_it() {
        let target = Target::from_yaml(builtin("yao2020-macro").unwrap(), "macro", &[]).unwrap();
        // Cells, ohm a cell, percent lost and half of its last digit.
        let quoted = [
            (128, 0.23, 3.7, 0.05),
            (128, 1.0, 14.5, 0.05),
            (16, 0.23, 0.06, 0.005),
            (16, 1.0, 0.27, 0.005),
        ];
        for (outputs, input_ohm_per_cell, wanted, half_digit) in quoted {
            let wires = Wires { input_ohm_per_cell, ..Wires::NONE };
            let found = 100.0 * wires.input_line_drop(Pe { inputs: 1, outputs }, &target.cell);
            let case = format!("{outputs} cells, {input_ohm_per_cell} ohm: {found} %");
            assert!((found - wanted).abs() <= half_digit, "{case}");
        }
    }
}
