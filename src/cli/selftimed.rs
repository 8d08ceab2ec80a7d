//! What a chip without a clock took for some inputs, beside the same chip with
//! one: in words and for scripts.

use ohmc::report::{Costs, Report};
use ohmc::runtime::Executor;
use ohmc::timing::{SelfTimed, TimingOptions, self_timed};
use serde_json::{Value, json};

use super::prepare::Prepared;

/// Time and energy of every input.
#[derive(Debug, Clone, Default)]
pub struct SelfTimedRun {
    latency_ps: Vec<u64>,
    /// By the target's figures; empty without costs.
    energy_pj: Vec<f64>,
    /// By the physics of the cells.
    array_pj: Vec<f64>,
    /// Planes passed over, of all.
    skipped: f64,
    /// Between inputs of a stream, and how many are on the chip at once; `None`
    /// for so few inputs that they never fill it.
    interval_ps: Option<f64>,
    in_flight: u32,
    /// The same chip with a clock.
    clocked_ps: u64,
    clocked_interval_ps: f64,
    clocked_pj: Option<f64>,
}

impl SelfTimedRun {
    /// From what an executor has watched.
    pub fn new(executor: &Executor<'_>, prepared: &Prepared) -> Self {
        let events = executor.events();
        let Prepared { plan, model, target, .. } = prepared;
        let rows: Vec<_> = events.values().map(|events| &events.rows_ps).collect();
        let report: Report = prepared.report(TimingOptions::default());
        let of_cycle = |costs: &Costs| {
            let energy = &costs.energy;
            energy.sample_and_hold_pj_per_cycle
                + energy.drivers_pj_per_cycle
                + energy.array_pj_per_cycle
                + energy.shift_and_add_pj_per_cycle
        };
        let (mut driven, mut skipped) = (0, 0);
        let (mut energy_pj, mut array_pj) = (Vec::new(), Vec::new());
        for events in events.values() {
            driven += events.rounds;
            skipped += events.rounds_skipped;
            array_pj.push(events.array_pj);
            energy_pj.extend(report.costs.as_ref().map(|costs| {
                events.rounds as f64 * of_cycle(costs)
                    + events.conversions as f64 * costs.energy.adc_pj_per_conversion
            }));
        }
        let in_flight = report.timing.in_flight;
        let SelfTimed { latency_ps, interval_ps } =
            self_timed(plan, &model.graph, target, &rows, in_flight);
        Self {
            latency_ps,
            interval_ps,
            in_flight,
            energy_pj,
            array_pj,
            skipped: skipped as f64 / (driven + skipped).max(1) as f64,
            clocked_ps: report.timing.latency_ps,
            clocked_interval_ps: report.timing.interval_ps,
            clocked_pj: report.costs.as_ref().map(|costs| costs.energy.total_pj()),
        }
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        const PS_PER_US: f64 = 1e6;
        const PJ_PER_NJ: f64 = 1e3;
        let us: Vec<f64> = self.latency_ps.iter().map(|&ps| ps as f64 / PS_PER_US).collect();
        let (least, most) = limits(&us);
        let clocked_us = self.clocked_ps as f64 / PS_PER_US;
        let mut text = format!(
            "without clock   {:.2} us an input alone ({least:.2} to {most:.2}), {:.1} % of {clocked_us:.2} us with one; \
             {:.1} % of planes passed over\n",
            mean(&us),
            100.0 * mean(&us) / clocked_us,
            100.0 * self.skipped,
        );
        if let Some(interval_ps) = self.interval_ps {
            text += &format!(
                "                {:.2} us an input in a stream, {} in flight, {:.1} % of {:.2} us with one\n",
                interval_ps / PS_PER_US,
                self.in_flight,
                100.0 * interval_ps / self.clocked_interval_ps,
                self.clocked_interval_ps / PS_PER_US,
            );
        }
        if let Some(clocked_pj) = self.clocked_pj {
            let nj: Vec<f64> = self.energy_pj.iter().map(|pj| pj / PJ_PER_NJ).collect();
            let (least, most) = limits(&nj);
            text += &format!(
                "                {:.2} nJ an input ({least:.2} to {most:.2}), {:.1} % of {:.2} nJ, by the target\n",
                mean(&nj),
                100.0 * mean(&nj) * PJ_PER_NJ / clocked_pj,
                clocked_pj / PJ_PER_NJ,
            );
        }
        let array = mean(&self.array_pj) / PJ_PER_NJ;
        text +=
            &format!("                {array:.3} nJ an input in the arrays by physics, V^2 G t\n");
        text
    }

    /// The same for scripts, input by input.
    pub fn json(&self) -> Value {
        json!({
            "latency_ps": self.latency_ps,
            "interval_ps": self.interval_ps,
            "in_flight": self.in_flight,
            "energy_pj": self.energy_pj,
            "array_physics_pj": self.array_pj,
            "share_of_planes_passed_over": self.skipped,
            "clocked_latency_ps": self.clocked_ps,
            "clocked_interval_ps": self.clocked_interval_ps,
            "clocked_energy_pj": self.clocked_pj,
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn limits(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(0.0, f64::max))
}
