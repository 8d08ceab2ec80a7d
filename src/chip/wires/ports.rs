//! All output lines taken up one after the other, from the far end of the
//! input lines to their drivers.
//!
//! What lies beyond a place on the input lines is known by the currents that
//! voltages `a` there make flow: `Y a` into the input lines, `F' a` out of the
//! output lines. Two things happen to these matrices:
//!
//! ```text
//! an output line joins        Y += C,  F gains a column
//! a resistor r joins line k   s = r / (1 + r Y[k][k]),  y = column k of Y
//!                             Y -= s y y',  F -= s y F[k]
//! ```
//!
//! The second follows from `a[k]` being lower by `r` times its current. After
//! the driver's resistor of every line `F` is the transfer matrix. Off the
//! diagonal `Y` is never positive and `F` never negative, so nothing cancels
//! there, and a resistor of zero changes nothing: no inverse is taken and no
//! case is special.
//!
//! This is the elimination of the nodes of the input lines, one block for
//! each output line: a block tridiagonal Cholesky factorisation whose pivots
//! `1 / r + Y[k][k]` are kept in a form that survives `r = 0`, with all output
//! lines as right-hand sides at once. Lines are taken [`BLOCK`] at a time, so
//! that a row of the matrices is read and written once for as many updates.
//! `Y` is kept above its diagonal, block by block; `F` stands beside it.

use super::line::Line;
use crate::chip::{Instructions, Simd, Task};

/// Input lines whose resistors are added together, and rows updated together.
const BLOCK: usize = 4;

/// Values of a row that are updated together.
const LANES: usize = 8;

/// What lies beyond a place on the input lines.
#[derive(Debug)]
pub(super) struct Ports {
    /// Input lines, and as many that carry nothing as make whole blocks.
    n_inputs: usize,
    /// Values of a row: those of `Y`, those of `F`.
    stride: usize,
    /// Output lines so far.
    n_joined: usize,
    rows: Vec<f64>,
}

impl Ports {
    /// Nothing yet, with room for so many lines.
    pub(super) fn new(n_inputs: usize, n_outputs: usize) -> Self {
        let n_inputs = n_inputs.next_multiple_of(LANES);
        // One more, because rows a power of two apart share their place in a
        // cache.
        let stride = n_inputs + n_outputs.next_multiple_of(LANES) + LANES;
        Self { n_inputs, stride, n_joined: 0, rows: vec![0.0; n_inputs * stride] }
    }

    /// Current out of an output line, counted in the order in which they
    /// joined, for a voltage at an input line.
    pub(super) fn transfer(&self, input: usize, joined: usize) -> f64 {
        self.rows[input * self.stride + self.n_inputs + joined]
    }

    /// An output line joins.
    pub(super) fn add_line(&mut self, line: &Line<'_>) {
        let column = self.n_inputs + self.n_joined;
        self.n_joined += 1;
        let rows = self.rows.chunks_exact_mut(self.stride);
        for (k, (row, &sensed)) in rows.zip(line.sensed()).enumerate() {
            line.add_to(k, row);
            row[column] = sensed;
        }
    }

    /// A resistor joins every input line.
    pub(super) fn add_series(&mut self, resistance: f64) {
        if resistance > 0.0 {
            Instructions::detect().run(Series { ports: self, resistance });
        }
    }

    /// Values of a row in use.
    fn width(&self) -> usize {
        self.n_inputs + self.n_joined.next_multiple_of(LANES)
    }
}

/// A resistor joins every input line. Widest registers, but no fused
/// multiply-adds: values are those of any machine.
pub(super) struct Series<'a> {
    pub ports: &'a mut Ports,
    pub resistance: f64,
}

/// Some rows of `Y` and `F`, whole, one behind the other.
type Rows = [Vec<f64>; BLOCK];

impl Task for Series<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { ports, resistance } = self;
        let mut current: Rows = Default::default();
        let mut pivots: Rows = Default::default();
        for first in (0..ports.n_inputs).step_by(BLOCK) {
            gather(ports, first, &mut current);
            let factors = pivot(first, resistance, &mut current, &mut pivots);
            for row in (0..ports.n_inputs).step_by(BLOCK) {
                if row != first {
                    update(ports, row, &factors, &pivots);
                }
            }
            scatter(ports, first, &current);
        }
    }
}

/// Reads a block of rows, those parts of `Y` that stand above the diagonal in
/// other rows too.
#[inline(always)]
fn gather(ports: &Ports, first: usize, rows: &mut Rows) {
    let (stride, width) = (ports.stride, ports.width());
    for (nth, row) in rows.iter_mut().enumerate() {
        row.clear();
        row.extend((0..first).map(|other| ports.rows[other * stride + first + nth]));
        let start = (first + nth) * stride;
        // The block on the diagonal is read above it, too.
        row.extend((first..first + nth).map(|other| ports.rows[other * stride + first + nth]));
        row.extend_from_slice(&ports.rows[start + first + nth..start + width]);
    }
}

/// Writes a block of rows back; `Y` where it stands above the diagonal.
#[inline(always)]
fn scatter(ports: &mut Ports, first: usize, rows: &Rows) {
    let (stride, width) = (ports.stride, ports.width());
    for (nth, row) in rows.iter().enumerate() {
        for (other, &value) in row[..first].iter().enumerate() {
            ports.rows[other * stride + first + nth] = value;
        }
        let start = (first + nth) * stride;
        ports.rows[start + first..start + width].copy_from_slice(&row[first..]);
    }
}

/// Adds the resistors of a block to its own rows. Leaves the rows as they then
/// are, and as each was when its resistor came, with the factor `s` of it.
#[inline(always)]
fn pivot(first: usize, resistance: f64, rows: &mut Rows, pivots: &mut Rows) -> [f64; BLOCK] {
    let mut factors = [0.0; BLOCK];
    for nth in 0..BLOCK {
        pivots[nth].clone_from(&rows[nth]);
        let pivot = &pivots[nth];
        let left = 1.0 / (1.0 + resistance * pivot[first + nth]);
        factors[nth] = resistance * left;
        for (other, row) in rows.iter_mut().enumerate() {
            if other == nth {
                row.iter_mut().for_each(|value| *value *= left);
                continue;
            }
            let factor = factors[nth] * pivot[first + other];
            row.iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
            // As in the row of this resistor, which it is the mirror image of.
            row[first + nth] = pivot[first + other] * left;
        }
    }
    factors
}

/// Adds the resistors of another block to a block of rows.
#[inline(always)]
fn update(ports: &mut Ports, first: usize, factors: &[f64; BLOCK], pivots: &Rows) {
    let (stride, width) = (ports.stride, ports.width());
    let factors: [[f64; BLOCK]; BLOCK] = std::array::from_fn(|row| {
        std::array::from_fn(|nth| factors[nth] * pivots[nth][first + row])
    });
    // What lies before the diagonal is nobody's, but whole lanes are quicker.
    let start = first - first % LANES;
    let rows = &mut ports.rows[first * stride..(first + BLOCK) * stride];
    let (row0, rows) = rows.split_at_mut(stride);
    let (row1, rows) = rows.split_at_mut(stride);
    let (row2, row3) = rows.split_at_mut(stride);
    let rows = [row0, row1, row2, row3].map(|row| row[start..width].as_chunks_mut::<LANES>().0);
    let [row0, row1, row2, row3] = rows;
    let pivots: [&[[f64; LANES]]; BLOCK] =
        std::array::from_fn(|nth| pivots[nth][start..width].as_chunks().0);
    for at in 0..row0.len() {
        let pivots = [pivots[0][at], pivots[1][at], pivots[2][at], pivots[3][at]];
        subtract(&mut row0[at], &factors[0], &pivots);
        subtract(&mut row1[at], &factors[1], &pivots);
        subtract(&mut row2[at], &factors[2], &pivots);
        subtract(&mut row3[at], &factors[3], &pivots);
    }
}

/// Takes every factor times its values off, in order. Counted, because
/// iterators are not compiled into their callers in every build.
#[inline(always)]
fn subtract(from: &mut [f64; LANES], factors: &[f64; BLOCK], values: &[[f64; LANES]; BLOCK]) {
    let ([f0, f1, f2, f3], [v0, v1, v2, v3]) = (factors, values);
    for lane in 0..LANES {
        let left = from[lane] - f0 * v0[lane] - f1 * v1[lane];
        from[lane] = left - f2 * v2[lane] - f3 * v3[lane];
    }
}
