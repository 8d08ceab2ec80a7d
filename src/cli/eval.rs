//! `ohmc eval`: how accurate a model is on chips.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use ohmc::chip;
use ohmc::data::{DataOptions, DataSet};
use ohmc::diagnostic::Diagnostic;
use ohmc::frontend::Model;
use ohmc::runtime::{Executor, FloatModel, Reference, Runs, for_each_batch};
use ohmc::tensor::Tensor;
use serde_json::{Value, json};

use super::error::CliError;
use super::items::Batch;
use super::options::{Compilation, Format, Preprocessing, Seed, Selection, Threads, are_scores};
use super::output::counted;
use super::prepare::{Prepared, Request};
use super::progress::Progress;
use super::score::{Distance, Recorded, Recording, mean_and_sd, numbers, top_class};
use super::{files, output, render};

/// Measure the accuracy of a model on chips
///
/// The plan is programmed into one chip or several, each with other errors of
/// its cells, and all data run through each. With labels the top-1 accuracy is
/// printed beside that of the model in floating point; without labels each
/// output's relative L2 error against the model in floating point.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Eval {
    /// ONNX model, or a plan that `ohmc compile` wrote.
    #[arg(value_name = "MODEL|PLAN")]
    subject: PathBuf,

    /// Inputs with labels: IDX, CIFAR-10 binary, .npy, .npz, PNG, JPEG, or a
    /// folder, of which the test part is taken.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,

    /// Chips to measure, with the seeds S, S+1, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,

    /// File of class numbers (IDX or .npy), in place of those in the data.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Compare with the integers computed the naive way too, to the bit; needs
    /// a model, not a plan.
    #[arg(long)]
    reference: bool,

    /// Leave out the run in floating point.
    #[arg(long)]
    no_float: bool,

    /// How the result is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    seed: Seed,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    compilation: Compilation,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc eval models/mcnn.onnx --target yao2020-chip --data models/digits
  ohmc eval mcnn.plan --data models/digits --trials 10 --format json
  ohmc eval models/mcnn.onnx --target ideal --data models/digits --reference
  ohmc eval resnet20.onnx --target ideal --data cifar10/ --limit 200 \\
    --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";

impl Eval {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        let prepared = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: Some(&self.data),
            measures: true,
        }
        .prepare()?;
        let reference = match (&prepared.made, self.reference) {
            (Some(made), true) => Some(Reference::new(&prepared.model, &made.quantized)?),
            (None, true) => return Err(CliError::NoReference { file: prepared.file }),
            (_, false) => None,
        };
        let measure = Measure::new(self, &prepared)?;
        let float = measure.float()?;
        let integers = reference.as_ref().map(|r| measure.record(r, "reference")).transpose()?;
        let started = Instant::now();
        let trials = (0..self.trials)
            .map(|nth| measure.trial(nth, &float, integers.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let result =
            Evaluation { eval: self, measure: &measure, float, trials, took: started.elapsed() };
        match self.format {
            Format::Text => output::print(&result.text()),
            Format::Json => output::print_json(&result.json()),
        }
    }
}

/// What is measured, and on what.
struct Measure<'a> {
    eval: &'a Eval,
    prepared: &'a Prepared,
    /// Outputs that are looked at.
    outputs: Vec<usize>,
    /// The output whose scores are compared with labels.
    scores: Option<usize>,
}

/// What the model in floating point gives.
enum Float {
    /// It was not asked.
    NotRun,
    /// Its accuracy in percent.
    Accuracy(f64),
    /// Its outputs.
    Outputs(Recorded),
}

/// What one chip gave.
#[derive(Debug, Clone, Default)]
struct Trial {
    n_inputs: u64,
    /// In percent.
    accuracy: Option<f64>,
    /// From floating point, by output.
    from_float: Vec<Distance>,
    /// From the integers, by output.
    from_reference: Vec<Distance>,
}

impl<'a> Measure<'a> {
    fn new(eval: &'a Eval, prepared: &'a Prepared) -> Result<Self, CliError> {
        let outputs = eval.selection.outputs(&prepared.model)?;
        let mut measure = Self { eval, prepared, outputs, scores: None };
        if measure.open()?.has_labels() {
            measure.scores = measure.output_of_scores();
        }
        if measure.scores.is_none() && eval.no_float && !eval.reference {
            return Err(CliError::NothingToCompare { file: files::name(&eval.data) });
        }
        Ok(measure)
    }

    /// The output that labels are compared with; a warning where that is not
    /// clear.
    fn output_of_scores(&self) -> Option<usize> {
        let model = &self.prepared.model;
        let scores: Vec<usize> =
            self.outputs.iter().copied().filter(|&index| gives_scores(model, index)).collect();
        let data = files::name(&self.eval.data);
        let name = |index: usize| model.outputs.get(index).map_or("", String::as_str);
        let warning = match scores[..] {
            [_] => None,
            [first, ..] => Some(
                Diagnostic::warning(format!("labels are compared with output `{}`", name(first)))
                    .at(data, "labels")
                    .note(format!("{} outputs could be scores of classes", scores.len()))
                    .help("choose one with `--output`"),
            ),
            [] => Some(
                Diagnostic::warning("no output gives scores of classes, labels are left aside")
                    .at(data, "labels")
                    .note("scores are one axis of numbers for each input"),
            ),
        };
        if let Some(warning) = warning {
            render::show_all(&[warning]);
        }
        scores.first().copied()
    }

    fn open(&self) -> Result<DataSet<'static>, CliError> {
        let options = DataOptions {
            labels: self.eval.labels.clone(),
            limit: self.eval.selection.limit,
            preprocess: self.prepared.preprocess.clone(),
            ..DataOptions::default()
        };
        Ok(self.prepared.items.open(&self.eval.data, &options)?)
    }

    /// Runs all data through something, and looks at the outputs.
    fn run(
        &self,
        runs: &dyn Runs,
        what: &str,
        mut look: impl FnMut(&Seen<'_>) -> Result<(), CliError>,
    ) -> Result<u64, CliError> {
        let mut data = self.open()?;
        let progress = Progress::start(what, data.len());
        let mut n_inputs = 0;
        for_each_batch(
            runs,
            || {
                let batch = self.prepared.items.next(&mut data)?;
                Ok(batch.map(|Batch { inputs, n, labels }| (inputs, (n, labels))))
            },
            |(n, labels), outputs| -> Result<(), CliError> {
                look(&Seen { first: n_inputs, n, labels: &labels, outputs: &outputs })?;
                n_inputs += n as u64;
                progress.advance(n as u64);
                Ok(())
            },
        )?;
        Ok(n_inputs)
    }

    /// Counts inputs whose label has the largest score.
    fn n_right(&self, seen: &Seen<'_>) -> Result<u64, CliError> {
        let Some((index, tensor)) = self.scores.and_then(|i| Some((i, seen.outputs.get(i)?)))
        else {
            return Ok(0);
        };
        let n_classes = tensor.values.len() / seen.n.max(1);
        let values = numbers(&tensor.values);
        let mut n_right = 0;
        for (input, (scores, &label)) in
            (seen.first..).zip(values.chunks(n_classes.max(1)).zip(seen.labels))
        {
            if label as usize >= n_classes {
                let file = self.eval.labels.as_ref().unwrap_or(&self.eval.data);
                return Err(CliError::Label {
                    file: files::name(file),
                    input,
                    label,
                    output: self.prepared.model.outputs.get(index).cloned().unwrap_or_default(),
                    n_classes,
                });
            }
            n_right += u64::from(top_class(scores) == Some(label as usize));
        }
        Ok(n_right)
    }

    fn chosen<'t>(&self, outputs: &'t [Tensor]) -> Vec<&'t Tensor> {
        self.outputs.iter().filter_map(|&index| outputs.get(index)).collect()
    }

    fn record(&self, runs: &dyn Runs, what: &str) -> Result<Recorded, CliError> {
        let mut recording = Recording::new().map_err(CliError::Scratch)?;
        self.run(runs, what, |seen| {
            recording.add(&self.chosen(seen.outputs)).map_err(CliError::Scratch)
        })?;
        recording.finish().map_err(CliError::Scratch)
    }

    fn float(&self) -> Result<Float, CliError> {
        if self.eval.no_float {
            return Ok(Float::NotRun);
        }
        let model = FloatModel::new(&self.prepared.model)?;
        if self.scores.is_none() {
            return Ok(Float::Outputs(self.record(&model, "floating point")?));
        }
        let mut n_right = 0;
        let n_inputs = self.run(&model, "floating point", |seen| {
            n_right += self.n_right(seen)?;
            Ok(())
        })?;
        Ok(Float::Accuracy(percent(n_right, n_inputs)))
    }

    /// One chip, programmed with a seed of its own.
    fn trial(
        &self,
        nth: u32,
        float: &Float,
        integers: Option<&Recorded>,
    ) -> Result<Trial, CliError> {
        let seed = self.eval.seed.seed.wrapping_add(u64::from(nth));
        let Prepared { plan, model, target, .. } = self.prepared;
        let chip = chip::program(plan, &target.cell, seed);
        let executor = Executor::new(plan, model, &chip)?;
        let n_outputs = self.outputs.len();
        let compare = |recorded: Option<&Recorded>| {
            recorded.map(|r| r.compare(n_outputs)).transpose().map_err(CliError::Scratch)
        };
        let mut from_float = compare(match float {
            Float::Outputs(recorded) => Some(recorded),
            Float::NotRun | Float::Accuracy(_) => None,
        })?;
        let mut from_reference = compare(integers)?;
        let mut n_right = 0;
        let what = match self.eval.trials {
            1 => "chip".to_string(),
            n => format!("chip {} of {n}", nth + 1),
        };
        let n_inputs = self.run(&executor, &what, |seen| {
            n_right += self.n_right(seen)?;
            let outputs = self.chosen(seen.outputs);
            for comparison in from_float.iter_mut().chain(&mut from_reference) {
                comparison.add(&outputs).map_err(CliError::Scratch)?;
            }
            Ok(())
        })?;
        Ok(Trial {
            n_inputs,
            accuracy: self.scores.map(|_| percent(n_right, n_inputs)),
            from_float: from_float.map_or(Vec::new(), |comparison| comparison.distances),
            from_reference: from_reference.map_or(Vec::new(), |comparison| comparison.distances),
        })
    }
}

/// A batch with its outputs.
struct Seen<'a> {
    /// Number of its first input.
    first: u64,
    n: usize,
    labels: &'a [u32],
    outputs: &'a [Tensor],
}

fn percent(n_right: u64, n_inputs: u64) -> f64 {
    100.0 * n_right as f64 / n_inputs as f64
}

/// Whether an output has one axis of numbers for each input.
fn gives_scores(model: &Model, index: usize) -> bool {
    let Some(tensor) = model.graph.outputs().get(index) else { return false };
    let Some(info) = model.graph.tensors().get(*tensor) else { return false };
    // For one input, so that the batch, where there is one, has the extent 1.
    let item: Option<Vec<usize>> = info.shape.iter().map(|extent| extent.for_batch(1)).collect();
    item.is_some_and(|item| are_scores(&item))
}

/// What came out.
struct Evaluation<'a> {
    eval: &'a Eval,
    measure: &'a Measure<'a>,
    float: Float,
    trials: Vec<Trial>,
    took: Duration,
}

impl Evaluation<'_> {
    fn accuracies(&self) -> Vec<f64> {
        self.trials.iter().filter_map(|trial| trial.accuracy).collect()
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
        let names = &self.measure.prepared.model.outputs;
        let outputs = self.measure.outputs.iter().enumerate();
        outputs
            .map(|(nth, &index)| {
                let name = names.get(index).map_or("", String::as_str);
                let distances = self.trials.iter().filter_map(|trial| of(trial).get(nth).copied());
                (name, distances.collect::<Vec<_>>())
            })
            .filter(|(_, distances)| !distances.is_empty())
            .collect()
    }

    fn json(&self) -> Value {
        let prepared = self.measure.prepared;
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
            "trials": self.eval.trials,
            "levels": prepared.n_levels(),
            "accuracy": accuracy,
            "seconds": self.took.as_secs_f64(),
            "peak_memory_bytes": peak_memory_bytes(),
            "accuracies": accuracies,
            "seed": self.eval.seed.seed,
            "target": prepared.target.name,
            "preprocessing": prepared.preprocess.describe(),
            "calibration": calibration,
        });
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

    fn text(&self) -> String {
        let prepared = self.measure.prepared;
        let (n_trials, seed) = (self.eval.trials, self.eval.seed.seed);
        let chips = match n_trials {
            1 => format!("one chip, seed {seed}"),
            n => format!("{n} chips, seeds {seed} to {}", seed.wrapping_add(u64::from(n) - 1)),
        };
        let spread = |sd: f64, digits: usize| match n_trials {
            1 => String::new(),
            _ => format!(" sd {sd:.digits$}"),
        };
        let mut text = format!(
            "{} of {} on {}, {chips}, {} levels a weight\n",
            counted(self.n_inputs(), "input"),
            files::name(&self.eval.data),
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
        text += &format!("preprocessing   {}\n", prepared.preprocess.describe());
        if let Some(made) = &prepared.made {
            text += &format!("calibration     {}\n", made.calibration);
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
