//! `ohmc eval`: how accurate a model is on chips.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use ohmc::chip::{Chip, Effect, Effects};
use ohmc::data::{DataOptions, DataSet};
use ohmc::diagnostic::Diagnostic;
use ohmc::runtime::{Executor, FloatModel, Reference, Runs, for_each_batch};
use ohmc::tensor::Tensor;

use super::chips::{Bench, Making, Reading};
use super::error::CliError;
use super::evaluation::{Ablation, Evaluation, Float, Trial};
use super::items::Batch;
use super::options::{Compilation, Format, Preprocessing, Seed, Selection, Threads};
use super::prepare::Prepared;
use super::progress::Progress;
use super::request::Request;
use super::score::{self, Recorded, Recording};
use super::selftimed::SelfTimedRun;
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
    /// ONNX model, a plan that `ohmc compile` wrote, or a chip that `ohmc
    /// program` wrote.
    #[arg(value_name = "MODEL|PLAN|CHIP")]
    subject: PathBuf,

    /// Inputs with labels: IDX, CIFAR-10 binary, .npy, .npz, PNG, JPEG, or a
    /// folder, of which the test part is taken.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,

    /// Chips to measure, with the seeds S, S+1, ...; of one that is programmed
    /// already, repetitions of its readings.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,

    /// File of class numbers (IDX or .npy), in place of those in the data.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Compare with the integers computed the naive way too, to the bit; needs
    /// a model, not a plan.
    #[arg(long)]
    reference: bool,

    /// Measure with each effect of the chip alone and with each left out, too.
    #[arg(long)]
    ablate: bool,
    /// Count the energy that the arrays draw by the physics of their cells:
    /// V^2 G t over the cells that are driven, with the bits of these inputs
    /// and the conductances of these chips; of a chip without a clock, the time
    /// and energy of each input too.
    #[arg(long)]
    energy: bool,

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
    reading: Reading,

    #[command(flatten)]
    making: Making,

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
  ohmc eval mcnn.chip --data models/digits --at 2h --ablate
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
            adapts: self.making.knowing.looks_at_inputs(),
            fresh: None,
            out: None,
        }
        .prepare()?;
        let reference = match (&prepared.made, self.reference) {
            (Some(made), true) => Some(Reference::new(&prepared.model, &made.quantized)?),
            (None, true) => return Err(CliError::NoReference { file: prepared.file }),
            (_, false) => None,
        };
        let bench = Bench::new(&prepared, &self.compilation, &self.reading, &self.making)?;
        let measure = Measure::new(self, &prepared)?;
        let float = measure.float()?;
        let integers = reference.as_ref().map(|r| measure.record(r, "reference")).transpose()?;
        let started = Instant::now();
        let compared = Compared { float: &float, integers: integers.as_ref() };
        let trials = (0..self.trials)
            .map(|nth| measure.trial(&bench.chip(self.chip_seed(nth))?, nth, compared))
            .collect::<Result<Vec<_>, _>>()?;
        let ablation = match self.ablate {
            true => self.ablation(&bench, &measure, compared)?,
            false => Vec::new(),
        };
        let result = Evaluation {
            prepared: &prepared,
            data: files::name(&self.data),
            seed: self.seed.seed,
            at_s: self.reading.at,
            n_reads: self.reading.reads,
            outputs: &measure.outputs,
            float,
            trials,
            ablation,
            took: started.elapsed(),
        };
        match self.format {
            Format::Text => output::print(&result.text()),
            Format::Json => output::print_json(&result.json()),
        }
    }

    fn chip_seed(&self, nth: u32) -> u64 {
        self.seed.seed.wrapping_add(u64::from(nth))
    }

    /// The same chips with no effect, with each alone, and with each left out.
    fn ablation(
        &self,
        bench: &Bench<'_>,
        measure: &Measure<'_>,
        compared: Compared<'_>,
    ) -> Result<Vec<Ablation>, CliError> {
        let mut rows: Vec<Ablation> = Vec::new();
        for nth in 0..self.trials {
            let seed = self.chip_seed(nth);
            let made;
            let (programmed, adapted) = match &measure.prepared.programmed {
                Some(programmed) => (programmed, None),
                None => {
                    made = bench.program(seed)?;
                    (&made.programmed, made.adapted.as_ref())
                }
            };
            // Which effects there are may differ from chip to chip, where
            // faults are rare; the first one's are looked at in all.
            if rows.is_empty() {
                rows = ablated(bench, &bench.present(programmed));
            }
            for row in &mut rows {
                let chip = bench.read((programmed, adapted), row.effects, seed);
                row.trials.push(measure.trial(&chip, nth, compared)?);
            }
        }
        Ok(rows)
    }
}

/// The rows of an ablation, yet to be measured.
fn ablated(bench: &Bench<'_>, present: &[Effect]) -> Vec<Ablation> {
    let row = |name: String, effects| Ablation { name, effects, trials: Vec::new() };
    let alone = present.iter().map(|&e| row(format!("only {e}"), Effects::only([e])));
    let without = present.iter().map(|&e| row(format!("without {e}"), bench.effects.without(e)));
    std::iter::once(row("no effect".to_string(), Effects::NONE))
        .chain(alone)
        .chain(without)
        .collect()
}

/// What the outputs of a chip are compared with.
#[derive(Clone, Copy)]
struct Compared<'a> {
    float: &'a Float,
    integers: Option<&'a Recorded>,
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
            self.outputs.iter().copied().filter(|&index| model.gives_scores(index)).collect();
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
        score::n_right(tensor, seen.n, seen.labels).map_err(|wrong| CliError::Label {
            file: files::name(self.eval.labels.as_ref().unwrap_or(&self.eval.data)),
            input: seen.first + wrong.nth as u64,
            label: wrong.label,
            output: self.prepared.model.outputs.get(index).cloned().unwrap_or_default(),
            n_classes: wrong.n_classes,
        })
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

    /// One chip.
    fn trial(&self, chip: &Chip, nth: u32, compared: Compared<'_>) -> Result<Trial, CliError> {
        let Prepared { plan, model, target, .. } = self.prepared;
        let executor = Executor::new(plan, model, chip)?;
        let executor = if self.eval.energy { executor.counting_energy() } else { executor };
        let is_watched = self.eval.energy && target.readout.self_timed.is_some();
        let executor = if is_watched { executor.watching(chip, target) } else { executor };
        let n_outputs = self.outputs.len();
        let compare = |recorded: Option<&Recorded>| {
            recorded.map(|r| r.compare(n_outputs)).transpose().map_err(CliError::Scratch)
        };
        let mut from_float = compare(match compared.float {
            Float::Outputs(recorded) => Some(recorded),
            Float::NotRun | Float::Accuracy(_) => None,
        })?;
        let mut from_reference = compare(compared.integers)?;
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
            energy: self.eval.energy.then(|| executor.array_energy(chip, &target.cell)),
            self_timed: is_watched.then(|| SelfTimedRun::new(&executor, self.prepared)),
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
