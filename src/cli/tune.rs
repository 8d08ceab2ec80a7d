//! `ohmc tune`: a chip is put right where it is.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ohmc::chip::{Conditions, Programmed};
use ohmc::diagnostic::Diagnostic;
use ohmc::tuning::{self, Backward, Distilled, Layers, Likeness, Matching};

use super::error::CliError;
use super::files;
use super::options::{
    Amount, BackwardName, Compilation, Format, Preprocessing, Threads, parse_amount,
};
use super::output;
use super::prepare::Prepared;
use super::progress::Progress;
use super::render;
use super::request::Request;
use super::training::{Chosen, Results, TrainingOptions, hash_of, keep};
use super::tuned::Calibrated;

/// Inputs that `--calibrate` looks at, unless said otherwise.
const CALIBRATION_SAMPLES: u64 = 300;

/// Train a programmed chip with what its cells really do
///
/// Inputs run forward on the chip with all its effects; softmax, cross-entropy
/// and the gradients of the layers that are tuned are computed beside it; what
/// they ask for is given to its cells as pulses. The last layer is tuned
/// unless `--layer` names others or `--all-layers` takes all of them; all else
/// stays as it was written.
///
/// With `--state` the training is kept after every batch: when it was ended,
/// the same command goes on, to the same chip. With `--calibrate` nothing is
/// trained with labels or by pulses: gains and offsets of columns, which are
/// digital, are set by what the model in floating point makes of the same
/// inputs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tune {
    /// A chip that `ohmc program`, `ohmc tune` or `ohmc train` wrote.
    #[arg(value_name = "CHIP")]
    subject: PathBuf,

    /// Write the tuned chip to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Set gains and offsets of columns without labels, and give no cell a
    /// pulse: by mean and deviation, by least squares, or taught by the scores.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "moments",
          conflicts_with_all = ["layers", "all_layers", "update", "least", "forget", "keep_biases",
                                "momentum", "fast_least", "transfer_every", "transfer_share",
                                "backward", "batches", "hold_out",
                                "look_every", "patience", "randomise", "state", "curves", "svg",
                                "labels"])]
    calibrate: Option<How>,

    /// Tune this layer; repeatable [default: the last one on arrays].
    #[arg(long = "layer", value_name = "NAME")]
    layers: Vec<String>,

    /// Tune every layer on arrays.
    #[arg(long, conflicts_with = "layers")]
    all_layers: bool,

    /// What carries errors back through layers on arrays.
    #[arg(long, value_name = "HOW", default_value = "digital")]
    backward: BackwardName,

    /// Set this share of all weights of the chip to random levels first: an
    /// experiment, to see what can be won back.
    #[arg(long, value_name = "P%", value_parser = parse_share)]
    randomise: Option<f64>,

    /// Seed of the training: of pulses, readings and the order of samples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    training: TrainingOptions,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc tune mcnn.chip --data MNIST -o tuned.chip
  ohmc tune mcnn.chip --data MNIST --batches 300 --hold-out 5% --patience 5 \\
    --state training.state --curves curves.json --svg curves.svg -o tuned.chip
  ohmc tune mcnn.chip --data MNIST --layer conv2 --layer fc --update sign --least 2 -o tuned.chip
  ohmc tune resnet.chip --data cifar10 --samples 1500 --epochs 10 -o tuned.chip
  ohmc tune resnet.chip --data cifar10 --calibrate -o repaired.chip
  ohmc tune resnet.chip --data cifar10 --calibrate=distilled --samples 1000 -o repaired.chip";

/// `--calibrate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Mean and standard deviation of each column become those of the model in
    /// floating point.
    Moments,
    /// Each result comes as near to the model's as can be.
    LeastSquares,
    /// Moments first; then the gains and offsets of all layers go down the
    /// gradient of how far the scores are from the model's.
    Distilled,
}

/// Steps that are too long lead away from the model.
fn warn_if_astray(epochs: &[Likeness]) {
    let [first, .., last] = epochs else { return };
    let (first, last) = (first.relative_error(), last.relative_error());
    if last > first {
        let percent = |error: f64| format!("{:.3e} %", 100.0 * error);
        render::show_all(&[Diagnostic::warning(
            "the scores are further from the model's than before",
        )
        .note(format!("relative error {} at first, {} now", percent(first), percent(last)))
        .help("give a lower `--rate`, or more `--samples`; `--calibrate` alone takes no steps")]);
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match parse_amount(text) {
        Ok(Amount::Share(share)) => Ok(share),
        _ => Err("give a share from 0 to 100 percent, as in `10%`".to_string()),
    }
}

impl Tune {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        let results = self.training.begin(self.out.as_deref(), ("CHIP", &self.subject))?;
        let (prepared, programmed) = Request {
            file: &self.subject,
            compilation: &Compilation::default(),
            preprocessing: &self.preprocessing,
            data: Some(&self.training.data),
            measures: true,
            adapts: false,
            fresh: None,
            out: self.out.as_deref(),
        }
        .chip()?;
        if let Some(how) = self.calibrate {
            return self.repair(prepared, programmed, how, results);
        }
        let chosen = Chosen {
            layers: match &self.layers[..] {
                _ if self.all_layers => Layers::All,
                [] => Layers::Last,
                names => Layers::Named(names.to_vec()),
            },
            backward: Backward::from(self.backward),
            room: 1.0,
            randomised: self.randomise.unwrap_or(0.0),
            seed: self.seed,
            made: None,
            subject: hash_of(&files::read(&self.subject, "the chip")?),
        };
        self.training.train(prepared, &programmed, results, chosen)
    }

    fn repair(
        &self,
        mut prepared: Prepared,
        programmed: Programmed,
        how: How,
        results: Results,
    ) -> Result<(), CliError> {
        let options = self.training.of_steps();
        if how != How::Distilled && !options.is_empty() {
            return Err(CliError::NotDistilled { options });
        }
        let amount = self.training.samples.unwrap_or(Amount::Count(CALIBRATION_SAMPLES));
        let samples = self.training.taking(&prepared, Some(amount), self.seed).read(false)?;
        let started = Instant::now();
        let Prepared { plan, model, target, .. } = &mut prepared;
        let chip = programmed.chip(plan, target, &Conditions::at_once(self.seed));
        let matching = match how {
            How::Moments => Some(Matching::Moments),
            How::LeastSquares => Some(Matching::LeastSquares),
            How::Distilled => None,
        };
        let (layers, scores) = match matching {
            Some(matching) => {
                let _progress = Progress::start("calibrating", None);
                (tuning::calibrate(plan, model, &chip, &samples, matching)?, Vec::new())
            }
            None => {
                let how = self.training.distillation(self.seed);
                let progress = Progress::start("distilling", Some(how.n_steps(&samples)));
                let done = || progress.advance(1);
                let Distilled { corrected, mut epochs, after } =
                    tuning::distil(plan, model, &chip, &samples, how, done)?;
                epochs.push(after);
                warn_if_astray(&epochs);
                (corrected, epochs)
            }
        };
        let result = Calibrated {
            file: &prepared.file,
            target: &prepared.target.name,
            n_samples: samples.len() as u64,
            layers,
            scores,
            took: started.elapsed(),
        };
        let summary = match self.training.format {
            Format::Text => result.text(),
            Format::Json => format!("{:#}\n", result.json()),
        };
        keep(prepared, programmed, results.into_chip())?;
        output::print(&summary)
    }
}
