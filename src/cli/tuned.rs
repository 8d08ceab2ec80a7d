//! What a training on a chip came to, for people and for scripts.

use std::time::Duration;

use ohmc::chip::Work;
use ohmc::report::Report;
use ohmc::target::Target;
use ohmc::tuning::{
    Backward, Corrected, Likeness, Reads, Score, Session, Transfer, TuneOptions, Update, Wear,
};
use serde_json::{Value, json};

/// What an input takes on its way forward.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    /// Its energy by the target's costs, where it gives any, with all the
    /// conversions that the plan counts.
    pub by_costs_pj: Option<f64>,
    /// The energy that its cells draw by their physics if every bit is 1: no
    /// input exceeds it.
    pub in_cells_pj_max: f64,
    /// Time between inputs of a stream.
    pub interval_ns: f64,
}

impl Forward {
    /// By what a plan's report says.
    pub fn of(report: &Report) -> Self {
        Self {
            by_costs_pj: report.costs.as_ref().map(|costs| costs.energy.total_pj()),
            in_cells_pj_max: report.physics.input_pj_max,
            interval_ns: report.timing.interval_ps / 1e3,
        }
    }

    fn text(&self, n: u64) -> String {
        let uj = |pj: f64| format!("{:.3} uJ", pj * n as f64 / 1e6);
        let by_costs = self
            .by_costs_pj
            .map_or(String::new(), |pj| format!("{} by the target's costs, ", uj(pj)));
        let most = uj(self.in_cells_pj_max);
        let us = self.interval_ns * n as f64 / 1e3;
        format!(
            "{n} inputs: {by_costs}at most {most} in cells by their physics, {us:.1} us in a stream"
        )
    }

    fn json(&self, n: u64) -> Value {
        let all = |each: f64| each * n as f64;
        json!({
            "inputs": n,
            "energy_pj": self.by_costs_pj.map(all),
            "array_pj_max": all(self.in_cells_pj_max),
            "time_ns": all(self.interval_ns),
        })
    }
}

/// A training that is done.
pub struct Training<'a> {
    /// CHIP, as the user gave it.
    pub file: &'a str,
    /// The target.
    pub target: &'a Target,
    /// What an input takes on its way forward.
    pub forward: Forward,
    /// What making the chip took, where it was made for this.
    pub made: Option<Work>,
    /// On the samples that it was tuned on, before and after.
    pub before: Score,
    /// See `before`.
    pub after: Score,
    /// What was done.
    pub session: &'a Session<'a>,
    /// How long it took here.
    pub took: Duration,
}

impl Training<'_> {
    /// What it is about.
    pub fn title(&self) -> String {
        format!("{} on {}: {}", self.file, self.target.name, self.layers())
    }

    fn layers(&self) -> String {
        let names: Vec<String> =
            self.session.tuner().layers().iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { session, before, after, .. } = self;
        let options = session.tuner().options();
        let (work, wear) = (session.work(), session.wear());
        let n_batches = session.batches().len() as u64;
        let n_seen = n_batches * session.n_batch() as u64;
        let epochs = n_seen as f64 / session.n_tuned().max(1) as f64;
        let mut text = format!("{} on {}\n\n", self.file, self.target.name);
        let mut line = |name: &str, value: String| {
            text += &format!("{name:<15} {value}\n");
        };
        line("tuned", self.layers());
        let stopped = if session.is_stopped() { ", stopped by what is held out" } else { "" };
        line(
            "batches",
            format!("{n_batches} of {}, {epochs:.2} epochs{stopped}", session.n_batch()),
        );
        line("samples", format!("{}, {} held out", session.n_tuned(), options.n_held_out));
        if options.randomised > 0.0 {
            line("randomised", format!("{:.1} % of all weights", 100.0 * options.randomised));
        }
        line("rule", rule(options));
        let biases = match options.biases {
            true => "trained digitally, without a pulse",
            false => "not trained",
        };
        line("biases", biases.to_string());
        line("forward", self.forward.text(session.n_forward()));
        if options.backward == Backward::Arrays {
            let Reads { waves, conversions, energy_pj, array_pj, busy_ns, .. } = session.reads();
            let by_costs = match self.target.costs {
                Some(_) => format!("{:.3} nJ by the target's costs, ", energy_pj / 1e3),
                None => String::new(),
            };
            line("errors", format!("by {waves} transposed waves, {conversions} conversions"));
            line(
                "of them",
                format!(
                    "{by_costs}{:.3} nJ in cells by their physics, {:.1} us, PEs at the same time",
                    array_pj / 1e3,
                    busy_ns / 1e3
                ),
            );
        }
        let both = |a: &Score, b: &Score| {
            format!(
                "{:.2} % -> {:.2} %, loss {:.4} -> {:.4}",
                a.accuracy(),
                b.accuracy(),
                a.mean_loss(),
                b.mean_loss()
            )
        };
        line("samples right", both(before, after));
        if let [first, .., last] = session.looks() {
            line("held out right", both(&first.score, &last.score));
        }
        if let Some(made) = &self.made {
            line(
                "made by",
                format!(
                    "{} pulses, {:.3} nJ, {:.1} us",
                    made.forming_pulses + made.set_pulses + made.reset_pulses,
                    made.energy_pj / 1e3,
                    made.busy_ns / 1e3
                ),
            );
        }
        let n_changes: u64 = session.batches().iter().map(|batch| batch.n_cells).sum();
        line(
            "pulses",
            format!(
                "{} SET, {} RESET, {} readings for {n_changes} changes of cells",
                work.set_pulses, work.reset_pulses, work.verify_reads
            ),
        );
        let (energy_nj, time_us) = (work.energy_pj / 1e3, work.busy_ns / 1e3);
        line("of them", format!("{energy_nj:.3} nJ, {time_us:.1} us, PEs at the same time"));
        line("wear", worn(&wear));
        line("took", format!("{:.2} s", self.took.as_secs_f64()));
        text
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let Self { session, .. } = self;
        let options = session.tuner().options();
        let wear = session.wear();
        json!({
            "target": self.target.name,
            "layers": session.tuner().layers(),
            "seed": options.seed,
            "batches": session.batches().len(),
            "batch": session.n_batch(),
            "samples": session.n_tuned(),
            "held_out_samples": options.n_held_out,
            "rate": options.rate,
            "momentum": options.momentum,
            "update": rule(options),
            "biases_trained": options.biases,
            "backward": match options.backward {
                Backward::Digital => "digital",
                Backward::Arrays => "arrays",
            },
            "forward": self.forward.json(session.n_forward()),
            "transposed_waves": session.reads().waves,
            "transposed_conversions": session.reads().conversions,
            "transposed_energy_pj": self.target.costs.as_ref().map(|_| session.reads().energy_pj),
            "transposed_array_pj": session.reads().array_pj,
            "transposed_time_ns": session.reads().busy_ns,
            "programming": self.made.as_ref().map(work),
            "randomised": options.randomised,
            "stopped": session.is_stopped(),
            "before": score(&self.before),
            "after": score(&self.after),
            "held_out": session.looks().iter().map(|look| {
                let mut json = score(&look.score);
                json["after_batches"] = look.after.into();
                json
            }).collect::<Vec<_>>(),
            "work": work(&session.work()),
            "changed_cells": session.batches().iter().map(|batch| batch.n_cells).sum::<u64>(),
            "wear": {
                "cells": wear.n_cells,
                "cells_pulsed": wear.pulses.len(),
                "pulses_mean": mean(&wear.pulses),
                "pulses_median": at(&wear.pulses, 0.5),
                "pulses_p99": at(&wear.pulses, 0.99),
                "pulses_max": at(&wear.pulses, 1.0),
            },
            "seconds": self.took.as_secs_f64(),
        })
    }

    /// Every batch, and every look at what is held out.
    pub fn curves(&self) -> Value {
        let batches = self.session.batches().iter().map(|batch| {
            let mut json = score(&batch.score);
            json["cells"] = batch.n_cells.into();
            json["work"] = work(&batch.work);
            json
        });
        let mut json = self.json();
        json["curve"] = batches.collect();
        json
    }
}

fn rule(options: &TuneOptions) -> String {
    let kept = if options.carry { "smaller ones kept" } else { "smaller ones forgotten" };
    let rule = match options.update {
        Update::Threshold { least_us } => {
            format!("changes of at least {least_us} uS written closed loop, {kept}")
        }
        Update::Sign { above_us } => {
            format!("one pulse for changes above {above_us} uS, {kept}")
        }
        Update::Transfer(Transfer { above_us, every, share, least_us }) => format!(
            "one pulse on a second array for changes above {above_us} uS, {kept}; every {every} \
             batches a line of it is read, and {share} of it gives the weights a pulse above \
             {least_us} uS"
        ),
    };
    match options.momentum {
        0.0 => rule,
        momentum => format!("{rule}, momentum {momentum}"),
    }
}

fn score(score: &Score) -> Value {
    json!({ "samples": score.n, "accuracy": score.accuracy(), "loss": score.mean_loss() })
}

fn work(work: &Work) -> Value {
    json!({
        "set_pulses": work.set_pulses,
        "reset_pulses": work.reset_pulses,
        "verify_reads": work.verify_reads,
        "energy_pj": work.energy_pj,
        "time_ns": work.busy_ns,
    })
}

fn worn(wear: &Wear) -> String {
    if wear.pulses.is_empty() {
        return "no cell was pulsed".to_string();
    }
    format!(
        "{} of {} cells pulsed, {:.1} times on average, at most {}",
        wear.pulses.len(),
        wear.n_cells,
        mean(&wear.pulses),
        at(&wear.pulses, 1.0)
    )
}

fn mean(values: &[u32]) -> f64 {
    values.iter().map(|&n| f64::from(n)).sum::<f64>() / values.len().max(1) as f64
}

/// The value that this share of ascending ones is not above; 0 of none.
fn at(values: &[u32], share: f64) -> u32 {
    let nth = (values.len() as f64 * share).ceil() as usize;
    values.get(nth.max(1) - 1).copied().unwrap_or(0)
}

/// Columns that were put right.
pub struct Calibrated<'a> {
    /// CHIP, as the user gave it.
    pub file: &'a str,
    /// The target's name.
    pub target: &'a str,
    /// Inputs that were looked at.
    pub n_samples: u64,
    /// What came of each layer.
    pub layers: Vec<Corrected>,
    /// Where scores taught: how like the model's they were over each epoch, and
    /// at the end.
    pub scores: Vec<Likeness>,
    /// How long it took here.
    pub took: Duration,
}

impl Calibrated<'_> {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} on {}: gains and offsets from {} inputs without labels\n\n",
            self.file, self.target, self.n_samples
        );
        let width = self.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max(5);
        text += &format!("{:<width$}  error before   after  gains\n", "layer");
        for layer in &self.layers {
            let [least, mean, most] = layer.gains;
            text += &format!(
                "{:<width$}  {:>10.2} %  {:>5.2} %  {least:.3} to {most:.3}, mean {mean:.3}\n",
                layer.name,
                100.0 * layer.error_before,
                100.0 * layer.error_after,
            );
        }
        if let [first, .., last] = &self.scores[..] {
            let both =
                |of: fn(&Likeness) -> f64| format!("{:.2} % -> {:.2} %", of(first), of(last));
            text += &format!(
                "\nscores taught gains and offsets of all layers in {} epochs: error {}, the model's \
                 class first {}\n",
                self.scores.len() - 1,
                both(|like| 100.0 * like.relative_error()),
                both(Likeness::agreement),
            );
        }
        text + &format!("\ntook {:.2} s\n", self.took.as_secs_f64())
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let layer = |layer: &Corrected| {
            json!({
                "layer": layer.name,
                "error_before": layer.error_before,
                "error_after": layer.error_after,
                "gain_least": layer.gains[0],
                "gain_mean": layer.gains[1],
                "gain_most": layer.gains[2],
            })
        };
        let scores = |like: &Likeness| {
            json!({
                "error": like.relative_error(),
                "agreement_percent": like.agreement(),
            })
        };
        json!({
            "target": self.target,
            "samples": self.n_samples,
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "scores": self.scores.iter().map(scores).collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
        })
    }
}
