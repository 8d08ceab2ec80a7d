//! Lines side by side, each with known voltages at the other ends of its cells.
//!
//! ```text
//!   source --[r0]--o--[r1]--o--[r2]--o
//!                  |        |        |
//!                 cell     cell     cell
//!                  |        |        |
//!                far v    far v    far v
//! ```
//!
//! Such a line is a ladder, solved by a walk there and back: from its end to its
//! source, what each node sees of itself and of what lies beyond; and back, with
//! the voltage before each node known, its own. All lines have the same
//! resistances, so that a step is taken for all of them at once.

/// Working memory of ladders.
#[derive(Debug, Default)]
pub(super) struct Ladders {
    /// What a resistor passes on of the voltage before it, `[step][line]`.
    passed: Vec<f64>,
    /// Voltage that the current from beyond adds at a node, laid out alike.
    pushed: Vec<f64>,
    /// What a line's first node sees: a conductance, and the current that is
    /// pushed into it.
    seen_us: Vec<f64>,
    seen_ua: Vec<f64>,
}

impl Ladders {
    /// Finds the voltages, `[step][line]`, and gives the largest change of one.
    /// Resistances in 1/uS lead up to each node; cells in uS lead from it to
    /// `far`, both `[step][line]`. A line without a source floats; it has a
    /// cell that conducts.
    #[inline(always)]
    pub fn solve(
        &mut self,
        sources: &[Option<f64>],
        resistances: &[f64],
        (cells, far): (&[f64], &[f64]),
        voltages: &mut [f64],
    ) -> f64 {
        let n_lines = sources.len();
        for values in [&mut self.seen_us, &mut self.seen_ua] {
            values.clear();
            values.resize(n_lines, 0.0);
        }
        for values in [&mut self.passed, &mut self.pushed] {
            values.resize(n_lines * resistances.len(), 0.0);
        }
        for (step, &resistance) in resistances.iter().enumerate().rev() {
            let own = step * n_lines..(step + 1) * n_lines;
            let beyond = self.seen_us.iter_mut().zip(&mut self.seen_ua);
            let cells = cells[own.clone()].iter().zip(&far[own.clone()]);
            let nodes = self.passed[own.clone()].iter_mut().zip(&mut self.pushed[own]);
            for (((us, ua), (cell, far)), (passed, pushed)) in beyond.zip(cells).zip(nodes) {
                *us += cell;
                *ua += cell * far;
                *passed = 1.0 / (1.0 + resistance * *us);
                *pushed = resistance * *ua * *passed;
                if step > 0 {
                    // As the node before sees it, through the resistor between.
                    *us *= *passed;
                    *ua *= *passed;
                }
            }
        }
        let mut change = 0f64;
        let mut set = |voltage: &mut f64, found: f64| {
            change = change.max((found - *voltage).abs());
            *voltage = found;
        };
        let seen = self.seen_us.iter().zip(&self.seen_ua);
        let nodes = self.passed.iter().zip(&self.pushed);
        for (((voltage, source), (us, ua)), (passed, pushed)) in
            voltages.iter_mut().zip(sources).zip(seen).zip(nodes)
        {
            set(voltage, source.map_or(ua / us, |source| source * passed + pushed));
        }
        for step in 1..resistances.len() {
            let own = step * n_lines..(step + 1) * n_lines;
            let (before, voltages) = voltages[..own.end].split_at_mut(own.start);
            let before = &before[own.start - n_lines..];
            let nodes = self.passed[own.clone()].iter().zip(&self.pushed[own]);
            for ((voltage, before), (passed, pushed)) in voltages.iter_mut().zip(before).zip(nodes)
            {
                set(voltage, before * passed + pushed);
            }
        }
        change
    }
}
