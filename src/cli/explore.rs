//! `ohmc explore`: one model on many variants of a target, compiled in many
//! ways.

use std::path::{Path, PathBuf};

use clap::Args;
use ohmc::chip::Effects;
use ohmc::data::DataOptions;
use ohmc::format;
use ohmc::report::{Report, ReportParts};
use ohmc::runtime::{Executor, FloatModel, Runs, for_each_batch};
use ohmc::target::{Override, Target};
use ohmc::timing::TimingOptions;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::chips;
use super::error::CliError;
use super::files;
use super::items::Batch;
use super::options::{
    Compilation, Format, Preprocessing, Seed, Selection, Threads, VARIABLE, parse_override,
};
use super::output::{self, Output};
use super::picture;
use super::points::{Found, Point, Points};
use super::progress::Progress;
use super::ready::Ready;
use super::request::{self, Request};
use super::score::{self, mean_and_sd};

/// More points than anybody looks at.
const POINTS_MAX: usize = 10_000;

/// Measure a model on many variants of a target, or compiled in many ways
///
/// Every combination of the values that `--vary` gives is a point: the model
/// is compiled for it, timed, and, with data, run. Points are worked on in
/// parallel. With `-o` each is kept as soon as it is there, so that an
/// exploration that was ended goes on where it was.
///
/// Beside keys of the target `--vary` takes the options weights, slices,
/// input-bits, inputs-coding, range, fit, optimize and without.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Explore {
    /// ONNX model.
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// A key of the target, or an option, and the values it takes, as in
    /// `readout.adc_bits=4..8` or `weights=plain,second-order`; repeatable.
    #[arg(long, value_name = "PATH=VALUES", required = true, value_parser = parse_vary)]
    vary: Vec<Vary>,

    /// Labelled inputs to measure the accuracy on; of a folder the test part.
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,

    /// Chips to measure at each point, with the seeds S, S+1, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,

    /// Keep points in this file, a line of JSON each; points that it has are
    /// not worked on again.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the table of all points to this file, comma-separated.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Draw the points, those that no other beats joined by a line, to this
    /// SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// How the table is printed.
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
  ohmc explore models/mcnn.onnx --target yao2020-macro --data models/digits \\
    --vary readout.adc_bits=4..8 --vary pe.inputs=64,128,256 -o points.jsonl --svg pareto.svg
  ohmc explore resnet20.onnx --target yao2020-macro --data cifar10 --trials 5 \\
    --vary weights=plain,per-column,second-order
  ohmc explore resnet56.onnx --target yao2020-macro --vary chip.pes=128,256,512 \\
    --optimize throughput --csv table.csv";

/// `--vary`: a key or an option, and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vary {
    path: String,
    values: Vec<String>,
}

fn parse_vary(text: &str) -> Result<Vary, String> {
    let wrong = || {
        "give a key of the target and its values, as in `readout.adc_bits=4..8` or `pe.inputs=64,128`"
            .to_string()
    };
    let (path, values) = text.split_once('=').ok_or_else(wrong)?;
    let path = path.trim();
    if !VARIABLE.contains(&path) {
        parse_override(&format!("{path}=0")).map_err(|_| wrong())?;
    }
    let values: Vec<String> = match values.split_once("..") {
        Some((from, to)) => {
            let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
            let (from, to) = (number(from)?, number(to)?);
            // The first check keeps the second from overflowing.
            if from > to || to.saturating_sub(from) >= POINTS_MAX as i64 {
                return Err(format!(
                    "`{from}..{to}` is no range from a smaller to a larger number"
                ));
            }
            (from..=to).map(|n| n.to_string()).collect()
        }
        None => values.split(',').map(|value| value.trim().to_string()).collect(),
    };
    if values.iter().any(String::is_empty) {
        return Err(wrong());
    }
    if VARIABLE.contains(&path) {
        for value in &values {
            let refused = Compilation::default().with(path, value).err();
            refused.map_or(Ok(()), |error| Err(reason(&error)))?;
        }
    }
    Ok(Vary { path: path.into(), values })
}

/// What clap says of an option, without how the command is used.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("For more information"));
    let words: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    words.join(" ").trim_start_matches("error: ").to_string()
}

/// What a point is compiled for, and how.
struct Variant {
    target: Target,
    compilation: Compilation,
}

impl Explore {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        self.check_files()?;
        let csv = self.csv.as_deref().map(Output::create).transpose()?;
        let svg = self.svg.as_deref().map(Output::create).transpose()?;
        let name = self.compilation.target.as_deref();
        let name = name.ok_or_else(|| CliError::NoTarget { file: files::name(&self.model) })?;
        let text = request::target_text(name)?;
        let points = self.points()?;
        // Every target first: a key that is none is found before the work.
        let variants = points
            .iter()
            .map(|point| self.variant(point, name, &text))
            .collect::<Result<Vec<_>, _>>()?;
        let store = self.compilation.save_calibration.as_deref().map(Output::create).transpose()?;
        let compilations = || variants.iter().map(|variant| &variant.compilation);
        let request = Request {
            file: &self.model,
            // They are read and calibrated alike, but some need more of it.
            compilation: compilations()
                .find(|compilation| compilation.reruns_inputs())
                .unwrap_or(&self.compilation),
            preprocessing: &self.preprocessing,
            data: self.data.as_deref(),
            measures: true,
            adapts: false,
            fresh: None,
            out: None,
        };
        let ready = request.ready()?;
        if let Some(store) = store {
            store.finish_with(&format::write_calibration(&ready.calibration)?)?;
        }
        let scores = self.scores(&ready)?;
        let kept = Points::open(self.out.as_deref(), &self.fingerprint(&ready, &text)?, &points)?;
        let progress = Progress::start("exploring", Some(points.len() as u64));
        progress.advance(kept.n_found() as u64);
        let float = match scores {
            Some(output) if kept.n_found() < points.len() => {
                Some(self.accuracy(&ready, &FloatModel::new(&ready.model)?, output)?)
            }
            _ => None,
        };
        points.par_iter().zip(&variants).try_for_each(|(point, variant)| {
            if kept.has(point) {
                return Ok(());
            }
            let found = self.measure(&ready, variant, scores.zip(float))?;
            progress.advance(1);
            kept.add(point, found)
        })?;
        drop(progress);
        let table = kept.table();
        if let Some(csv) = csv {
            csv.finish_with(table.csv().as_bytes())?;
        }
        if let Some(svg) = svg {
            let title = format!("{} on {name}", ready.file);
            svg.finish_with(picture::svg(&table, &title).as_bytes())?;
        }
        match self.format {
            Format::Text => output::print(&table.text()),
            Format::Json => output::print_json(&table.json()),
        }
    }

    fn check_files(&self) -> Result<(), CliError> {
        let made = &self.compilation;
        files::keep_apart(
            &[
                ("-o", self.out.as_deref()),
                ("--csv", self.csv.as_deref()),
                ("--svg", self.svg.as_deref()),
                ("--save-calibration", made.save_calibration.as_deref()),
            ],
            &[
                ("MODEL", Some(&self.model)),
                ("--data", self.data.as_deref()),
                ("--calibrate", made.calibrate.as_deref()),
                ("--target", made.target.as_deref().map(Path::new)),
                ("--floorplan", made.floorplan.as_deref()),
            ],
        )
    }

    /// All combinations, the last key turning fastest.
    fn points(&self) -> Result<Vec<Point>, CliError> {
        let n_points =
            self.vary.iter().map(|vary| vary.values.len()).fold(1, usize::saturating_mul);
        if n_points > POINTS_MAX {
            return Err(CliError::TooManyPoints { n_points, most: POINTS_MAX });
        }
        let mut points: Vec<Point> = vec![Vec::new()];
        for vary in &self.vary {
            let with = |point: &Point| {
                let point = point.clone();
                vary.values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.push((vary.path.clone(), value.clone()));
                    point
                })
            };
            points = points.iter().flat_map(with).collect();
        }
        Ok(points)
    }

    /// What `--set` and the other options say, then the point.
    fn variant(&self, point: &Point, name: &str, text: &str) -> Result<Variant, CliError> {
        let mut compilation = self.compilation.clone();
        for (path, value) in point {
            // The option's parser has seen both already.
            match VARIABLE.contains(&path.as_str()) {
                true => compilation = compilation.with(path, value).unwrap_or(compilation),
                false => {
                    compilation.overrides.extend(Override::parse(&format!("{path}={value}")).ok());
                }
            }
        }
        let target = Target::from_yaml(text, name, &compilation.overrides)?;
        Ok(Variant { target, compilation })
    }

    /// What makes points of two runs comparable: everything but the points.
    fn fingerprint(&self, ready: &Ready, target: &str) -> Result<String, CliError> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.compilation).as_bytes());
        hash.update(ready.source.sha256());
        hash.update(target.as_bytes());
        let chosen = format!(
            "{:?} {:?} {} {:?} {}",
            self.data,
            self.selection,
            self.trials,
            self.seed,
            format::OHMC_VERSION
        );
        hash.update(chosen.as_bytes());
        hash.update(ready.preprocess.describe().as_bytes());
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The output that labels are compared with; `None` without data.
    fn scores(&self, ready: &Ready) -> Result<Option<usize>, CliError> {
        let Some(data) = &self.data else { return Ok(None) };
        let labelled = ready.items.open(data, &self.data_options(ready))?.has_labels();
        let outputs = self.selection.outputs(&ready.model)?;
        match outputs.into_iter().find(|&index| ready.model.gives_scores(index)) {
            Some(index) if labelled => Ok(Some(index)),
            _ => Err(CliError::NothingToScore { file: files::name(data) }),
        }
    }

    fn data_options(&self, ready: &Ready) -> DataOptions {
        DataOptions {
            limit: self.selection.limit,
            preprocess: ready.preprocess.clone(),
            ..DataOptions::default()
        }
    }

    /// One point: a model that does not compile for it is a result too. With
    /// data, `scores` is the output that labels are compared with, and its
    /// accuracy in floating point.
    fn measure(
        &self,
        ready: &Ready,
        variant: &Variant,
        scores: Option<(usize, f64)>,
    ) -> Result<Found, CliError> {
        let Variant { target, compilation } = variant;
        let plan = match ready.compile(target, compilation) {
            Ok((compiled, _)) => compiled.plan,
            Err(error @ (CliError::Compile { .. } | CliError::Fit { .. })) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().to_string();
                return Ok(Found { error: Some(first), ..Found::default() });
            }
            Err(error) => return Err(error),
        };
        let effects = compilation.effects_left_out().fold(Effects::ALL, Effects::without);
        let report = Report::new(&ReportParts {
            model_name: &ready.file,
            graph: &ready.model.graph,
            plan: &plan,
            target,
            preprocessing: "",
            calibration: "",
            timing: TimingOptions::default(),
        });
        let (mut accuracy, mut accuracy_sd, mut loss) = (None, None, None);
        if let Some((output, float)) = scores {
            let trial = |nth: u32| {
                let seed = self.seed.seed.wrapping_add(nth.into());
                let chip = chips::chip(&plan, target, effects, seed)?;
                self.accuracy(ready, &Executor::new(&plan, &ready.model, &chip)?, output)
            };
            let accuracies = (0..self.trials).map(trial).collect::<Result<Vec<f64>, _>>()?;
            let (mean, sd) = mean_and_sd(&accuracies);
            (accuracy, accuracy_sd, loss) = (Some(mean), Some(sd), Some(float - mean));
        }
        let timing = &report.timing;
        const PS_PER_US: f64 = 1e6;
        Ok(Found {
            accuracy,
            accuracy_sd,
            loss,
            latency_us: Some(timing.latency_ps as f64 / PS_PER_US),
            interval_us: Some(timing.interval_ps / PS_PER_US),
            energy_nj: report.costs.as_ref().map(|costs| costs.energy.total_pj() / 1000.0),
            area_mm2: report.costs.as_ref().map(|costs| costs.energy.area_mm2),
            areas: report.costs.iter().flat_map(|costs| costs.areas.iter().cloned()).collect(),
            pes: Some(report.footprint.n_pes_used as u64),
            bottleneck: timing.bottleneck().map(|each| each.resource.to_string()),
            error: None,
        })
    }

    /// Top-1 accuracy in percent, of a chip or in floating point.
    fn accuracy(&self, ready: &Ready, runs: &dyn Runs, output: usize) -> Result<f64, CliError> {
        let Some(path) = &self.data else { return Ok(0.0) };
        let mut data = ready.items.open(path, &self.data_options(ready))?;
        let (mut n_right, mut n_inputs) = (0u64, 0u64);
        for_each_batch(
            runs,
            || {
                let batch = ready.items.next(&mut data)?;
                Ok(batch.map(|Batch { inputs, n, labels }| (inputs, (n, labels))))
            },
            |(n, labels), outputs| -> Result<(), CliError> {
                let Some(scores) = outputs.get(output) else { return Ok(()) };
                let right = score::n_right(scores, n, &labels);
                n_right += right.map_err(|wrong| CliError::Label {
                    file: files::name(path),
                    input: n_inputs + wrong.nth as u64,
                    label: wrong.label,
                    output: ready.model.outputs.get(output).cloned().unwrap_or_default(),
                    n_classes: wrong.n_classes,
                })?;
                n_inputs += n as u64;
                Ok(())
            },
        )?;
        Ok(100.0 * n_right as f64 / n_inputs.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    //! What `--vary` takes.

    use super::*;

    #[test]
    fn values_are_listed_or_a_range() {
        let values = |text: &str| parse_vary(text).map(|vary| vary.values);
        assert_eq!(values("readout.adc_bits=4..6").unwrap(), ["4", "5", "6"]);
        assert_eq!(values("pe.inputs=64, 128").unwrap(), ["64", "128"]);
        assert_eq!(values("cell.relaxation_sd_us=0.1,0.2").unwrap(), ["0.1", "0.2"]);
        for wrong in ["pe.inputs", "pe.inputs=", "pe.inputs=1,,2", "=1", "a=6..4", "a=x..4"] {
            assert!(parse_vary(wrong).is_err(), "{wrong}");
        }
        assert_eq!(values("weights=plain,second-order").unwrap(), ["plain", "second-order"]);
        assert_eq!(values("slices=1..3").unwrap(), ["1", "2", "3"]);
        let wrong = values("weights=plain,secondorder").unwrap_err();
        assert!(wrong.contains("'secondorder'") && wrong.contains("second-order"), "{wrong}");
    }
}
