//! What an evaluation found, in words and for scripts.

use std::time::Duration;

use ohmc::chip::Effects;
use ohmc::runtime::ArrayEnergy;
use serde_json::{Value, json};

use super::chips::time_text;
use super::energy;
use super::made::Made;
use super::output::counted;
use super::prepare::Prepared;
use super::score::{Distance, Recorded, mean_and_sd};
use super::selftimed::SelfTimedRun;

/// What the model in floating point gives.
pub enum Float {
    /// It was not asked.
    NotRun,
    /// Its accuracy in percent.
    Accuracy(f64),
    /// Its outputs.
    Outputs(Recorded),
}

/// What one chip gave.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// Inputs run.
    pub n_inputs: u64,
    /// What the arrays drew, if it was counted.
    pub energy: Option<ArrayEnergy>,
    /// What it took without a clock, where it has none and that was counted.
    pub self_timed: Option<SelfTimedRun>,
    /// In percent.
    pub accuracy: Option<f64>,
    /// From floating point, by output.
    pub from_float: Vec<Distance>,
    /// From the integers, by output.
    pub from_reference: Vec<Distance>,
}

/// What chips gave with some of their effects.
pub struct Ablation {
    /// Which those are, in words.
    pub name: String,
    /// The same as a set.
    pub effects: Effects,
    /// By chip.
    pub trials: Vec<Trial>,
}

impl Ablation {
    /// Mean and standard deviation: of accuracies in percent, or of the first
    /// output's relative errors.
    fn mean_and_sd(&self) -> (f64, f64) {
        let of = |trial: &Trial| {
            let error = || trial.from_float.first().map(Distance::relative);
            trial.accuracy.or_else(error)
        };
        mean_and_sd(&self.trials.iter().filter_map(of).collect::<Vec<_>>())
    }
}

/// What came out.
pub struct Evaluation<'a> {
    /// What was run.
    pub prepared: &'a Prepared,
    /// On which data.
    pub data: String,
    /// Seed of the first chip.
    pub seed: u64,
    /// How long after programming in s, where that was asked.
    pub at_s: Option<f64>,
    /// How often every cell had been read before, where that was asked.
    pub n_reads: Option<u64>,
    /// Outputs that were looked at.
    pub outputs: &'a [usize],
    /// Without a chip.
    pub float: Float,
    /// By chip.
    pub trials: Vec<Trial>,
    /// The same chips with some of their effects.
    pub ablation: Vec<Ablation>,
    /// How long the chips took.
    pub took: Duration,
}

impl Evaluation<'_> {
    fn accuracies(&self) -> Vec<f64> {
        self.trials.iter().filter_map(|trial| trial.accuracy).collect()
    }

    /// What was drawn on each chip, if it was counted.
    fn energies(&self) -> Option<Vec<&ArrayEnergy>> {
        let energies: Vec<_> = self.trials.iter().filter_map(|t| t.energy.as_ref()).collect();
        (!energies.is_empty()).then_some(energies)
    }

    fn n_inputs(&self) -> u64 {
        self.trials.first().map_or(0, |trial| trial.n_inputs)
    }

    fn float_accuracy(&self) -> Option<f64> {
        match self.float {
            Float::Accuracy(percent) => Some(percent),
            Float::NotRun | Float::Outputs(_) => None,
        }
    }

    /// Name of each output that is looked at, with its distances by trial.
    fn distances<'t>(
        &'t self,
        of: impl Fn(&'t Trial) -> &'t [Distance],
    ) -> Vec<(&'t str, Vec<Distance>)> {
        let names = &self.prepared.model.outputs;
        let outputs = self.outputs.iter().enumerate();
        outputs
            .map(|(nth, &index)| {
                let name = names.get(index).map_or("", String::as_str);
                let distances = self.trials.iter().filter_map(|trial| of(trial).get(nth).copied());
                (name, distances.collect::<Vec<_>>())
            })
            .filter(|(_, distances)| !distances.is_empty())
            .collect()
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let prepared = self.prepared;
        let accuracies = self.accuracies();
        let accuracy = (!accuracies.is_empty()).then(|| {
            let (mean, sd) = mean_and_sd(&accuracies);
            json!({ "mean": mean, "sd": sd, "float": self.float_accuracy() })
        });
        let calibration = prepared.made.as_ref().map(
            |made| json!({ "source": made.calibration.name, "inputs": made.calibration.n_inputs }),
        );
        let mut json = json!({
            "images": self.n_inputs(),
            "trials": self.trials.len(),
            "levels": prepared.n_levels(),
            "accuracy": accuracy,
            "seconds": self.took.as_secs_f64(),
            "peak_memory_bytes": peak_memory_bytes(),
            "accuracies": accuracies,
            "seed": self.seed,
            "target": prepared.target.name,
            "preprocessing": prepared.preprocess.describe(),
            "calibration": calibration,
        });
        if let Some(fit) = prepared.made.as_ref().and_then(Made::fit_json) {
            json["fit"] = fit;
        }
        if let Some(rounding) = prepared.made.as_ref().and_then(Made::rounding_json) {
            json["rounding"] = rounding;
        }
        if let Some(programmed) = &prepared.programmed {
            json["chip_seed"] = json!(programmed.seed);
        }
        if let Some(at_s) = self.at_s {
            json["at_s"] = json!(at_s);
        }
        if let Some(n_reads) = self.n_reads {
            json["reads"] = json!(n_reads);
        }
        if !self.ablation.is_empty() {
            let measure = if accuracies.is_empty() { "relative_error" } else { "accuracy" };
            json["ablation"] = self
                .ablation
                .iter()
                .map(|row| {
                    let (mean, sd) = row.mean_and_sd();
                    json!({ "effects": row.name, measure: { "mean": mean, "sd": sd } })
                })
                .collect();
        }
        if let Some(run) = self.trials.iter().find_map(|trial| trial.self_timed.as_ref()) {
            json["self_timed"] = run.json();
        }
        if let Some(energy) = self.energies().map(|energies| energy::json(&energies, prepared)) {
            json["energy"] = energy;
        }
        let from_float = self.distances(|trial| &trial.from_float);
        if !from_float.is_empty() {
            json["relative_error"] = from_float
                .iter()
                .map(|(name, distances)| {
                    let errors: Vec<f64> = distances.iter().map(Distance::relative).collect();
                    let (mean, sd) = mean_and_sd(&errors);
                    json!({ "output": name, "mean": mean, "sd": sd, "errors": errors })
                })
                .collect();
        }
        let from_reference = self.distances(|trial| &trial.from_reference);
        if !from_reference.is_empty() {
            json["reference"] = from_reference
                .iter()
                .map(|(name, distances)| {
                    let different: Vec<u64> = distances.iter().map(|d| d.n_different).collect();
                    let n_values = distances.first().map_or(0, |distance| distance.n_values);
                    json!({ "output": name, "values": n_values, "different": different })
                })
                .collect();
        }
        json
    }

    fn ablation_text(&self) -> String {
        let is_accuracy = !self.accuracies().is_empty();
        let n_trials = self.trials.len();
        let line = |row: &Ablation| {
            let (mean, sd) = row.mean_and_sd();
            let spread = |text: String| if n_trials > 1 { text } else { String::new() };
            match is_accuracy {
                true => {
                    let sd = spread(format!(" sd {sd:.2}"));
                    format!("  {:<22}{mean:.2} %{sd}\n", row.name)
                }
                false => {
                    let sd = spread(format!(" sd {sd:.6}"));
                    format!("  {:<22}relative L2 error {mean:.3e}{sd}\n", row.name)
                }
            }
        };
        match self.ablation.is_empty() {
            true => String::new(),
            false => format!(
                "effects of the chip\n{}",
                self.ablation.iter().map(line).collect::<String>()
            ),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let prepared = self.prepared;
        let (n_trials, seed) = (self.trials.len(), self.seed);
        let last = seed.wrapping_add((n_trials as u64).saturating_sub(1));
        let chips = match (&prepared.programmed, n_trials) {
            (None, 1) => format!("one chip, seed {seed}"),
            (None, n) => format!("{n} chips, seeds {seed} to {last}"),
            (Some(chip), 1) => format!("the chip of seed {}, read with seed {seed}", chip.seed),
            (Some(chip), n) => {
                format!("the chip of seed {}, {n} readings, seeds {seed} to {last}", chip.seed)
            }
        };
        let old = self.at_s.map_or(String::new(), |s| format!(", {} old", time_text(s)));
        let read = self
            .n_reads
            .map_or(String::new(), |n| format!(", each cell read {} before", counted(n, "time")));
        let after = old + &read;
        let spread = |sd: f64, digits: usize| match n_trials {
            1 => String::new(),
            _ => format!(" sd {sd:.digits$}"),
        };
        let mut text = format!(
            "{} of {} on {}, {chips}{after}, {} levels a weight\n",
            counted(self.n_inputs(), "input"),
            self.data,
            prepared.target.name,
            prepared.n_levels(),
        );
        let accuracies = self.accuracies();
        if !accuracies.is_empty() {
            let (mean, sd) = mean_and_sd(&accuracies);
            text += &format!("accuracy        {mean:.2} %{}\n", spread(sd, 2));
            if let Some(float) = self.float_accuracy() {
                text += &format!("floating point  {float:.2} %, {:+.2} points\n", mean - float);
            }
        }
        for (name, distances) in self.distances(|trial| &trial.from_float) {
            let errors: Vec<f64> = distances.iter().map(Distance::relative).collect();
            let (mean, sd) = mean_and_sd(&errors);
            text += &format!(
                "output `{name}`: relative L2 error {mean:.3e}{} against floating point\n",
                spread(sd, 6)
            );
        }
        for (name, distances) in self.distances(|trial| &trial.from_reference) {
            let n_different: u64 = distances.iter().map(|d| d.n_different).sum();
            let n_values: u64 = distances.iter().map(|d| d.n_values).sum();
            text += &match n_different {
                0 => format!(
                    "output `{name}`: all {n_values} values equal to the reference, to the bit\n"
                ),
                n => {
                    format!("output `{name}`: {n} of {n_values} values differ from the reference\n")
                }
            };
        }
        text += &self.ablation_text();
        text += &self
            .trials
            .iter()
            .find_map(|trial| trial.self_timed.as_ref())
            .map_or(String::new(), SelfTimedRun::text);
        text += &self.energies().map_or(String::new(), |found| energy::text(&found, prepared));
        text += &format!("preprocessing   {}\n", prepared.preprocess.describe());
        if let Some(made) = &prepared.made {
            text += &format!("calibration     {}\n", made.calibration);
            text += &made.choices_text();
        }
        let memory = peak_memory_bytes().map_or(String::new(), |bytes| {
            format!(", {:.0} MB of memory at most", bytes as f64 / 1e6)
        });
        text += &format!("time            {:.2} s{memory}\n", self.took.as_secs_f64());
        text
    }
}

/// The most memory that this process had, where the system tells.
#[cfg(unix)]
fn peak_memory_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let size = u64::try_from(usage.max_rss()).ok()?;
    // Kilobytes, but on Apple's systems bytes.
    Some(if cfg!(target_vendor = "apple") { size } else { size * 1024 })
}

/// The most memory that this process had, where the system tells.
#[cfg(not(unix))]
fn peak_memory_bytes() -> Option<u64> {
    None
}
