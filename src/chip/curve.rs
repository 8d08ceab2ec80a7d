//! Current against voltage of cells that are no resistors.
//!
//! A memristor's current rises faster than its voltage, the more the less it
//! conducts. The hyperbolic sine of conduction through a filament's gap
//! (Jiang et al. 2016, the Stanford RRAM model: `I ~ sinh(V / V0)`) is taken,
//! set so that a cell that was verified to conduct `G` at `Vv` does:
//!
//! ```text
//! I(V) = G Vv sinh(V / s) / sinh(Vv / s)        s between s_low and s_high with G
//! ```
//!
//! Read at the voltage at which it was verified, and without wires, such a cell
//! is like any other: inputs are bits, and there is one voltage. Read at
//! another, or behind wires that take some of it, it conducts
//! `I(V) / V`, its chord, which is what is found here.

use crate::chip::math::exp;
use crate::target::Cell;

/// Cells of a target, as voltages see them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CellCurve {
    read_v: f64,
    verify_v: f64,
    low_us: f64,
    high_us: f64,
    scale_low_v: f64,
    scale_high_v: f64,
}

impl CellCurve {
    /// `None` for cells that are resistors.
    pub fn new(cell: &Cell) -> Option<Self> {
        let curve = cell.nonlinearity?;
        Some(Self {
            read_v: cell.read_voltage_v,
            verify_v: curve.verify_voltage_v,
            low_us: cell.conductance_min_us,
            high_us: cell.conductance_max_us,
            scale_low_v: curve.scale_low_v,
            scale_high_v: curve.scale_high_v,
        })
    }

    /// Voltage of a driven input line, in V.
    pub fn read_v(&self) -> f64 {
        self.read_v
    }

    /// Current over voltage, in uS, of a cell that was verified to conduct
    /// `us`, with this voltage across it, of either sign.
    pub fn chord_us(&self, us: f64, voltage_v: f64) -> f64 {
        let share = ((us - self.low_us) / (self.high_us - self.low_us)).clamp(0.0, 1.0);
        let scale_v = self.scale_low_v + share * (self.scale_high_v - self.scale_low_v);
        // In this order it is exactly `us` at the voltage of its verification.
        us * (over_itself(voltage_v / scale_v) / over_itself(self.verify_v / scale_v))
    }
}

/// `sinh(x) / x`.
fn over_itself(x: f64) -> f64 {
    // The exponentials cancel where x is small; the series' next term is below
    // 1e-17 there.
    if x.abs() < 0.02 {
        let square = x * x;
        return 1.0 + square / 6.0 * (1.0 + square / 20.0 * (1.0 + square / 42.0));
    }
    (exp(x) - exp(-x)) / (2.0 * x)
}

#[cfg(test)]
mod tests {
    //! The closed forms, and what a cell is at the voltage of its verification.

    use super::*;
    use crate::target::{Nonlinearity, Target, builtin};

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what it is held against")]
    fn cells_are_what_they_were_verified_to_be_and_rise_with_the_voltage() {
        let target = Target::from_yaml(builtin("yao2020-macro").unwrap(), "macro", &[]).unwrap();
        let nonlinearity =
            Nonlinearity { verify_voltage_v: 0.2, scale_low_v: 0.3, scale_high_v: 1.0 };
        let cell = Cell { nonlinearity: Some(nonlinearity), ..target.cell };
        let curve = CellCurve::new(&cell).unwrap();
        assert_eq!(CellCurve::new(&target.cell), None);
        for us in [0.0, 1.0, 2.0, 11.0, 20.0, 21.0] {
            assert_eq!(curve.chord_us(us, 0.2), us);
            let chords = [0.0, 1e-3, 0.1, 0.19, 0.3, 0.6].map(|v| curve.chord_us(us, v));
            assert!(us == 0.0 || chords.is_sorted_by(|a, b| a < b), "{us}: {chords:?}");
            assert_eq!(curve.chord_us(us, -0.3), curve.chord_us(us, 0.3));
        }
        // At the ends of the window by the formula.
        for (us, scale_v) in [(2.0, 0.3f64), (20.0, 1.0)] {
            for v in [0.004, 0.01, 0.05, 0.4f64] {
                let current = us * 0.2 * (v / scale_v).sinh() / (0.2 / scale_v).sinh();
                assert!((curve.chord_us(us, v) * v / current - 1.0).abs() < 1e-12, "{us} {v}");
            }
        }
    }
}
