//! One output line: its nodes eliminated, so that only its cells' ends at the
//! input lines and its sensed end are left.
//!
//! ```text
//!  a0          a1                  a(n-1)      voltages at the input lines
//!  |           |                   |
//!  G0          G1                  G(n-1)
//!  |           |                   |
//!  o--[r0]-----o--[r1]--  ...  ----o--[r(n-1)]-- 0 V
//! ```
//!
//! Currents into the cells are `C a` with `C = G - G X G`, where `X[k][l]` is
//! the voltage at node `k` for a current into node `l`: the inverse of a
//! tridiagonal matrix. Seen from a node, the line is a conductance on its far
//! side and a resistance on its sensed side, each found by a walk along the
//! line; a voltage at a node reaches the node beyond it divided by
//! `1 + r (conductance seen there)`. Only sums, products and quotients of
//! positive numbers occur, so every value is precise to the last bits, and
//! resistances may be zero.

/// An output line as its ends see it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    cells: &'a [f64],
    /// `C[k][k]`.
    own: Vec<f64>,
    /// `X[l][l] G[l]`: the share of a cell's voltage that lifts its node.
    lifts: Vec<f64>,
    /// The share of a node's voltage that reaches the node beyond.
    passes: Vec<f64>,
    /// What a voltage at each input line makes flow out of the sensed end.
    sensed: Vec<f64>,
}

impl<'a> Line<'a> {
    /// From conductances in uS and resistances in 1/uS, cell by cell towards
    /// the sensed end.
    pub(super) fn new(cells: &'a [f64], resistances: &[f64]) -> Self {
        let n = cells.len();
        // Seen from each node: what lies beyond, and that with its own cell.
        let (mut beyond, mut seen) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut passes = Vec::with_capacity(n);
        let mut carried = 0.0;
        for (&cell, &resistance) in cells.iter().zip(resistances) {
            let all = carried + cell;
            let pass = 1.0 / (1.0 + resistance * all);
            beyond.push(carried);
            seen.push(all);
            passes.push(pass);
            carried = all * pass;
        }
        let (mut own, mut lifts, mut sensed) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        // From each node towards the sensed end.
        let (mut resistance, mut reaching) = (0.0, 1.0);
        for k in (0..n).rev() {
            resistance += resistances[k];
            reaching *= passes[k];
            let share = 1.0 / (1.0 + resistance * seen[k]);
            own[k] = cells[k] * (1.0 + resistance * beyond[k]) * share;
            lifts[k] = cells[k] * resistance * share;
            sensed[k] = cells[k] * reaching;
            resistance /= 1.0 + resistance * cells[k];
        }
        Self { cells, own, lifts, passes, sensed }
    }

    /// Adds `C[k][l]` to a row, from `l = k` on.
    pub(super) fn add_to(&self, k: usize, row: &mut [f64]) {
        row[k] += self.own[k];
        // A voltage at `k` draws current through `l`'s cell out of the line.
        let mut cell = -self.cells[k];
        let later = self.passes[k..].iter().zip(&self.lifts[k + 1..]);
        for (value, (pass, lift)) in row[k + 1..].iter_mut().zip(later) {
            cell *= pass;
            *value += cell * lift;
        }
    }

    /// What a voltage at each input line makes flow out of the sensed end.
    pub(super) fn sensed(&self) -> &[f64] {
        &self.sensed
    }
}
