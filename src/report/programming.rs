//! What programming took, how well it did, and the current of each level.

use serde_json::{Value, json};

use super::numbers::count;
use super::plot::cumulative;
use super::table::{Column, table};
use super::writing;
use crate::chip::{CellState, Chip, Programmed, Work};
use crate::schedule::ExecutionPlan;
use crate::target::Target;

use Column::Number;

/// Bars of a histogram of errors.
const N_BARS: usize = 20;

/// Levels that a table shows; of more, some between the ends are left out.
const LEVELS_SHOWN: usize = 36;

/// What a chip's programming came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Programming {
    /// Seed of the chip.
    pub seed: u64,
    /// Whether every pulse was followed.
    pub by_pulses: bool,
    /// Half width of the band in which cells are accepted, in uS.
    pub tolerance_us: f64,
    /// Voltage of a reading, in V.
    pub read_voltage_v: f64,
    /// Cells of each state but the unused, in the order of states.
    pub states: Vec<(CellState, u64)>,
    /// Pulses, readings, energy and time.
    pub work: Work,
    /// The same of each pass of the plan.
    pub passes: Vec<Work>,
    /// Pulses of a cell.
    pub pulses: Spread,
    /// Errors of accepted cells when they were verified, in uS.
    pub verify_error: Errors,
    /// Errors of all cells as they are read, in uS.
    pub error: Errors,
    /// Currents of the cells of each level, in uA.
    pub levels: Vec<LevelCurrents>,
}

/// Order statistics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Half of them are no larger.
    pub median: f64,
    /// Nine of ten are no larger.
    pub p90: f64,
    /// 99 of a hundred are no larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Errors, with their histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// How many.
    pub n: u64,
    /// Mean in uS.
    pub mean_us: f64,
    /// Standard deviation in uS.
    pub sd_us: f64,
    /// The histogram reaches from minus this to plus this, in uS; what lies
    /// beyond is in its first and last bar.
    pub reach_us: f64,
    /// Errors in each bar.
    pub histogram: Vec<u64>,
}

/// Currents of the cells that shall hold one level, in uA.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelCurrents {
    /// The level; fractional targets count with the nearest.
    pub level: u16,
    /// Current of a cell that holds it exactly.
    pub target_ua: f64,
    /// Mean.
    pub mean_ua: f64,
    /// Standard deviation.
    pub sd_ua: f64,
    /// All of them, ascending.
    pub currents_ua: Vec<f32>,
}

impl Programming {
    /// Sums up a chip: as it was programmed, and as it is read.
    pub fn new(
        plan: &ExecutionPlan,
        target: &Target,
        programmed: &Programmed,
        chip: &Chip,
    ) -> Self {
        let cell = &target.cell;
        let n_levels = usize::from(cell.levels);
        let mut counts = [0u64; CellState::ALL.len()];
        let (mut pulses, mut verified, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut currents: Vec<Vec<f32>> = vec![Vec::new(); n_levels];
        for (id, cells) in &programmed.pes {
            let (Some(targets), Some(held)) = (plan.targets.get(id), chip.conductances_us.get(id))
            else {
                continue;
            };
            for (index, &state) in cells.states.iter().enumerate() {
                if state == CellState::Unused {
                    continue;
                }
                counts[usize::from(state.code())] += 1;
                pulses.push(cells.pulses[index]);
                let level = f64::from(targets.levels[index]);
                let goal_us = cell.conductance_us(level);
                let error = |us: f32| (f64::from(us) - goal_us) as f32;
                if state == CellState::Written {
                    verified.push(error(cells.written_us[index]));
                }
                errors.push(error(held[index]));
                let nearest = (level.round_ties_even().max(0.0) as usize).min(n_levels - 1);
                currents[nearest].push(held[index] * cell.read_voltage_v as f32);
            }
        }
        let states = CellState::ALL.into_iter().zip(counts);
        Self {
            seed: programmed.seed,
            by_pulses: programmed.by_pulses,
            tolerance_us: cell.verify_tolerance_us,
            read_voltage_v: cell.read_voltage_v,
            states: states.filter(|(state, _)| *state != CellState::Unused).collect(),
            work: programmed.work(plan),
            passes: programmed.passes(plan),
            pulses: Spread::of(pulses),
            verify_error: Errors::of(&verified, cell.verify_tolerance_us),
            error: Errors::of(&errors, 4.0 * chip.cell_error_us),
            levels: (0u16..)
                .zip(currents)
                .filter(|(_, currents)| !currents.is_empty())
                .map(|(level, currents)| {
                    let target_us = cell.conductance_us(f64::from(level));
                    LevelCurrents::of(level, target_us * cell.read_voltage_v, currents)
                })
                .collect(),
        }
    }

    /// Cells that are used.
    pub fn n_cells(&self) -> u64 {
        self.states.iter().map(|(_, n)| n).sum()
    }

    /// Cells in this state.
    pub fn count(&self, state: CellState) -> u64 {
        self.states.iter().find(|(known, _)| *known == state).map_or(0, |(_, n)| *n)
    }

    /// The share of used cells that work and hold their level, 0 to 1.
    pub fn yield_share(&self) -> f64 {
        self.count(CellState::Written) as f64 / self.n_cells().max(1) as f64
    }

    /// For people: what was done, how large errors are, and what is read.
    pub fn to_text(&self) -> String {
        [self.summary(), self.errors_text(), self.levels_text()].concat()
    }

    fn summary(&self) -> String {
        let Work { forming_pulses, set_pulses, reset_pulses, verify_reads, .. } = self.work;
        let how = if self.by_pulses { "pulse by pulse" } else { "as write-verify leaves cells" };
        let states: Vec<String> = self
            .states
            .iter()
            .filter(|(state, n)| *n > 0 && *state != CellState::Written)
            .map(|(state, n)| format!("{} {}", count(*n), state_name(*state)))
            .collect();
        let others = if states.is_empty() { "none lost".to_string() } else { states.join(", ") };
        let mut text = format!(
            "Programming, {how}, seed {}\n\
             cells     {} used, {} within +-{} uS ({:.3} %), {others}\n",
            self.seed,
            count(self.n_cells()),
            count(self.count(CellState::Written)),
            self.tolerance_us,
            100.0 * self.yield_share(),
        );
        if !self.by_pulses {
            text += "pulses    not counted: every pulse is followed by `ohmc program` for a target \
                     with `cell.pulses`\n";
            return text;
        }
        let Spread { mean, median, p90, p99, max } = self.pulses;
        text += &format!(
            "pulses    {} SET, {} RESET, {} forming; {} readings\n\
             a cell    {mean:.1} pulses, median {median}, 90 % within {p90}, 99 % within {p99}, \
             at most {max}\n\
             energy    {:.4} uJ in pulses and readings, {:.1} pJ a cell\n\
             time      {:.4} ms, cells of a PE one after the other, PEs at the same time\n",
            count(set_pulses),
            count(reset_pulses),
            count(forming_pulses),
            count(verify_reads),
            self.work.energy_pj * 1e-6,
            self.work.energy_pj / self.n_cells().max(1) as f64,
            self.work.busy_ns * 1e-6,
        );
        text + &self.passes_text()
    }

    /// What each pass takes that the chip is written for; nothing of a single
    /// one.
    fn passes_text(&self) -> String {
        if self.passes.len() < 2 {
            return String::new();
        }
        format!("\nEach time that the chip is written\n{}", writing::by_pass(&self.passes))
    }

    fn errors_text(&self) -> String {
        let verified = self.verify_error.text("of accepted cells when verified");
        verified + &self.error.text("of all cells as they are read")
    }

    fn levels_text(&self) -> String {
        let stride = self.levels.len().div_ceil(LEVELS_SHOWN).max(1);
        let shown: Vec<&LevelCurrents> = self.levels.iter().step_by(stride).collect();
        let columns = [
            Number("level"),
            Number("target uA"),
            Number("cells"),
            Number("mean uA"),
            Number("sd uA"),
            Number("1 %"),
            Number("50 %"),
            Number("99 %"),
        ];
        let rows = shown.iter().map(|level| {
            let ua = |ua: f64| format!("{ua:.4}");
            vec![
                level.level.to_string(),
                ua(level.target_ua),
                count(level.currents_ua.len() as u64),
                ua(level.mean_ua),
                ua(level.sd_ua),
                ua(level.quantile(0.01)),
                ua(level.quantile(0.5)),
                ua(level.quantile(0.99)),
            ]
        });
        let curves: Vec<(u16, &[f32])> =
            shown.iter().map(|level| (level.level, &level.currents_ua[..])).collect();
        format!(
            "\nCurrent of a cell at {} V, by level\n{}\n\
             Share of cells below a current, by level\n{}",
            self.read_voltage_v,
            table(&columns, rows),
            cumulative(&curves),
        )
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let states: serde_json::Map<String, Value> =
            self.states.iter().map(|(state, n)| (state_key(*state), json!(n))).collect();
        let Spread { mean, median, p90, p99, max } = self.pulses;
        json!({
            "seed": self.seed,
            "by_pulses": self.by_pulses,
            "tolerance_us": self.tolerance_us,
            "cells": self.n_cells(),
            "cells_by_state": states,
            "yield": self.yield_share(),
            "forming_pulses": self.work.forming_pulses,
            "set_pulses": self.work.set_pulses,
            "reset_pulses": self.work.reset_pulses,
            "verify_reads": self.work.verify_reads,
            "pulses_per_cell":
                { "mean": mean, "median": median, "p90": p90, "p99": p99, "max": max },
            "energy_pj": self.work.energy_pj,
            "time_ns": self.work.busy_ns,
            "passes": self.passes.iter().map(writing::pass_json).collect::<Vec<_>>(),
            "verify_error": self.verify_error.json(),
            "error": self.error.json(),
            "read_voltage_v": self.read_voltage_v,
            "levels": self.levels.iter().map(LevelCurrents::json).collect::<Vec<_>>(),
        })
    }
}

fn state_name(state: CellState) -> &'static str {
    match state {
        CellState::Unused => "unused",
        CellState::Written => "written",
        CellState::GivenUp => "given up",
        CellState::StuckHigh => "stuck high",
        CellState::StuckLow => "stuck low",
        CellState::Dead => "on dead lines",
        CellState::Unformed => "not formed",
    }
}

fn state_key(state: CellState) -> String {
    match state {
        CellState::Dead => "dead".to_string(),
        _ => state_name(state).replace(' ', "_"),
    }
}

impl Spread {
    fn of(mut values: Vec<u32>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_unstable();
        let sum: u64 = values.iter().map(|&n| u64::from(n)).sum();
        let at = |share: f64| f64::from(values[nth(values.len(), share)]);
        Self {
            mean: sum as f64 / values.len() as f64,
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// Place of a quantile among so many values in ascending order; there is at
/// least one.
fn nth(n: usize, share: f64) -> usize {
    ((n as f64 * share).ceil() as usize).clamp(1, n) - 1
}

/// Mean and standard deviation; zeros of nothing.
fn moments(values: &[f32]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let square = |v: &f32| (f64::from(*v) - mean) * (f64::from(*v) - mean);
    (mean, (values.iter().map(square).sum::<f64>() / n).sqrt())
}

impl Errors {
    fn of(errors: &[f32], reach_us: f64) -> Self {
        let (mean_us, sd_us) = moments(errors);
        let mut histogram = vec![0; N_BARS];
        if reach_us > 0.0 {
            for &error in errors {
                let place = (f64::from(error) + reach_us) / (2.0 * reach_us) * N_BARS as f64;
                histogram[(place.max(0.0) as usize).min(N_BARS - 1)] += 1;
            }
        }
        Self { n: errors.len() as u64, mean_us, sd_us, reach_us, histogram }
    }

    fn text(&self, which: &str) -> String {
        const WIDTH: u64 = 40;
        let mut text =
            format!("\nError {which}: mean {:+.4} uS, sd {:.4} uS\n", self.mean_us, self.sd_us);
        let most = self.histogram.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return text;
        }
        let width_us = 2.0 * self.reach_us / N_BARS as f64;
        for (nth, &n) in self.histogram.iter().enumerate() {
            let from_us = nth as f64 * width_us - self.reach_us;
            let bar = "#".repeat((n * WIDTH).div_ceil(most) as usize);
            text += format!("{from_us:+8.3}  {:>9}  {bar}", count(n)).trim_end();
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "cells": self.n,
            "mean_us": self.mean_us,
            "sd_us": self.sd_us,
            "histogram_from_us": -self.reach_us,
            "histogram_to_us": self.reach_us,
            "histogram": self.histogram,
        })
    }
}

impl LevelCurrents {
    fn of(level: u16, target_ua: f64, mut currents_ua: Vec<f32>) -> Self {
        currents_ua.sort_unstable_by(f32::total_cmp);
        let (mean_ua, sd_ua) = moments(&currents_ua);
        Self { level, target_ua, mean_ua, sd_ua, currents_ua }
    }

    /// The current that this share of cells is not above.
    pub fn quantile(&self, share: f64) -> f64 {
        let n = self.currents_ua.len();
        if n == 0 { 0.0 } else { f64::from(self.currents_ua[nth(n, share)]) }
    }

    fn json(&self) -> Value {
        let percents = [1u32, 5, 10, 25, 50, 75, 90, 95, 99];
        let quantiles: serde_json::Map<String, Value> = percents
            .iter()
            .map(|&p| (p.to_string(), json!(self.quantile(f64::from(p) / 100.0))))
            .collect();
        json!({
            "level": self.level,
            "cells": self.currents_ua.len(),
            "target_ua": self.target_ua,
            "mean_ua": self.mean_ua,
            "sd_ua": self.sd_ua,
            "quantiles_ua": quantiles,
        })
    }
}

#[cfg(test)]
mod tests {
    //! Quantiles and histograms of known values.

    use super::*;

    #[test]
    fn quantiles_are_values_that_occur() {
        let spread = Spread::of((1..=100).rev().collect());
        assert_eq!((spread.mean, spread.median, spread.p90), (50.5, 50.0, 90.0));
        assert_eq!((spread.p99, spread.max), (99.0, 100.0));
        assert_eq!(Spread::of(vec![7]).median, 7.0);
        let level = LevelCurrents::of(1, 0.0, vec![3.0, 1.0, 2.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|share| level.quantile(share)), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn every_error_is_in_one_bar() {
        let errors: Vec<f32> = (0..1000).map(|n| n as f32 * 0.002 - 1.0).collect();
        let found = Errors::of(&errors, 0.5);
        assert_eq!(found.histogram.iter().sum::<u64>(), 1000);
        assert!(found.histogram[0] > 250 && found.histogram[N_BARS - 1] > 250);
        assert!(found.histogram[1..N_BARS - 1].iter().all(|&n| n.abs_diff(25) <= 1));
    }
}
