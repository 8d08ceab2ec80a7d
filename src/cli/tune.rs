//! `ohmc tune`: a chip is put right where it is.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ohmc::chip::{Conditions, Programmed};
use ohmc::format::{self, ChipFile, OHMC_VERSION};
use ohmc::schedule::ExecutionPlan;
use ohmc::tensor::Values;
use ohmc::tuning::{self, Matching, Samples, Session, TuneOptions, Tuner, Update};
use sha2::{Digest, Sha256};

use super::error::CliError;
use super::options::{
    Amount, Compilation, Format, Preprocessing, Threads, parse_amount, parse_count,
};
use super::output::{self, Output};
use super::prepare::{Prepared, Request};
use super::progress::Progress;
use super::samples::Taking;
use super::tuned::{Calibrated, Training};
use super::{curves, files};

/// Inputs that `--calibrate` looks at, unless said otherwise.
const CALIBRATION_SAMPLES: u64 = 300;

/// Train a programmed chip with what its cells really do
///
/// Inputs run forward on the chip with all its effects; softmax, cross-entropy
/// and the gradients of the layers that are tuned are computed beside it; what
/// they ask for is given to its cells as pulses. The last layer is tuned
/// unless `--layer` names others; all else stays as it was written.
///
/// With `--state` the training is kept after every batch: when it was ended,
/// the same command goes on, to the same chip. With `--calibrate` nothing is
/// trained: gains and offsets of columns, which are digital, are set by what
/// the model in floating point makes of the same inputs, without labels.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tune {
    /// A chip that `ohmc program` or `ohmc tune` wrote.
    #[arg(value_name = "CHIP")]
    subject: PathBuf,

    /// Inputs with labels; of a folder the training part is taken.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,

    /// Write the tuned chip to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Set gains and offsets of columns without labels, and train nothing: by
    /// mean and deviation, or by least squares.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "moments",
          conflicts_with_all = ["layers", "update", "least", "forget", "rate", "batch", "epochs",
                                "batches", "hold_out", "look_every", "patience", "randomise",
                                "state", "curves", "svg", "labels"])]
    calibrate: Option<How>,

    /// Tune this layer; repeatable [default: the last one on arrays].
    #[arg(long = "layer", value_name = "NAME")]
    layers: Vec<String>,

    /// How wanted changes become pulses.
    #[arg(long, value_name = "RULE", default_value = "threshold")]
    update: Rule,

    /// Change of a pair from which on it is worth a pulse, in microsiemens
    /// [default: 1.5 for `threshold`, 0 for `sign`].
    #[arg(long, value_name = "US", value_parser = parse_us)]
    least: Option<f64>,

    /// Forget changes that are not worth a pulse, rather than to add them to
    /// those of later batches.
    #[arg(long)]
    forget: bool,

    /// Step along the gradient.
    #[arg(long, value_name = "X", default_value_t = 0.3, value_parser = parse_rate)]
    rate: f64,

    /// Samples of a batch.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// How often all samples are gone through.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,

    /// Batches in all, in place of `--epochs`.
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = parse_count)]
    batches: Option<u64>,

    /// Samples to take of the data, chosen by the seed, as in `1500` or `10%`
    /// [default: all; 300 with --calibrate].
    #[arg(long, value_name = "N|P%", value_parser = parse_amount)]
    samples: Option<Amount>,

    /// Samples to hold out, and to look at now and then.
    #[arg(long, value_name = "N|P%", default_value = "0", value_parser = parse_amount)]
    hold_out: Amount,

    /// Batches between two looks at what is held out.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = parse_count)]
    look_every: u64,

    /// Stop after so many looks in a row without a lower loss.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    patience: Option<u64>,

    /// Set this share of all weights of the chip to random levels first: an
    /// experiment, to see what can be won back.
    #[arg(long, value_name = "P%", value_parser = parse_share)]
    randomise: Option<f64>,

    /// File of class numbers (IDX or .npy), in place of those in the data.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Keep the training in this file, and go on from there if it is there.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Batches after which it is kept.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    keep_every: u64,

    /// Write loss, accuracy, pulses and energy of each batch to this file, as
    /// JSON.
    #[arg(long, value_name = "FILE")]
    curves: Option<PathBuf>,

    /// Draw loss and accuracy to this SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Seed of the training: of pulses, readings and the order of samples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// How the summary is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

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
  ohmc tune resnet.chip --data cifar10 --calibrate -o repaired.chip";

/// `--update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// Pairs are written to what they hold and the change, with readings
    /// between pulses.
    Threshold,
    /// One SET or RESET pulse, whatever comes of it, in phases from batch to
    /// batch.
    Sign,
}

/// `--calibrate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Mean and standard deviation of each column become those of the model in
    /// floating point.
    Moments,
    /// Each result comes as near to the model's as can be.
    LeastSquares,
}

fn parse_us(text: &str) -> Result<f64, String> {
    let us = text.trim().parse().ok().filter(|us: &f64| us.is_finite() && *us >= 0.0);
    us.ok_or_else(|| "give microsiemens, 0 or more".to_string())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "give a number above 0".to_string())
}

fn parse_share(text: &str) -> Result<f64, String> {
    match parse_amount(text) {
        Ok(Amount::Share(share)) => Ok(share),
        _ => Err("give a share from 0 to 100 percent, as in `10%`".to_string()),
    }
}

/// Files that are begun before the work.
struct Results {
    chip: Option<Output>,
    curves: Option<Output>,
    svg: Option<Output>,
}

impl Tune {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        self.check_files()?;
        let begun = |path: &Option<PathBuf>| path.as_deref().map(Output::create).transpose();
        let results = Results {
            chip: begun(&self.out)?,
            curves: begun(&self.curves)?,
            svg: begun(&self.svg)?,
        };
        let (prepared, programmed) = Request {
            file: &self.subject,
            compilation: &Compilation::default(),
            preprocessing: &self.preprocessing,
            data: Some(&self.data),
            measures: true,
            adapts: false,
            out: self.out.as_deref(),
        }
        .chip()?;
        match self.calibrate {
            Some(how) => self.repair(prepared, programmed, how, results),
            None => self.train(prepared, &programmed, results),
        }
    }

    fn taking<'a>(&'a self, prepared: &'a Prepared, amount: Option<Amount>) -> Taking<'a> {
        let Prepared { items, preprocess, .. } = prepared;
        let (path, labels) = (&self.data, self.labels.as_ref());
        Taking { items, preprocess, path, labels, amount, seed: self.seed }
    }

    fn check_files(&self) -> Result<(), CliError> {
        files::keep_apart(
            &[
                ("-o", self.out.as_deref()),
                ("--state", self.state.as_deref()),
                ("--curves", self.curves.as_deref()),
                ("--svg", self.svg.as_deref()),
            ],
            &[
                ("CHIP", Some(&self.subject)),
                ("--data", Some(&self.data)),
                ("--labels", self.labels.as_deref()),
            ],
        )
    }

    fn repair(
        &self,
        mut prepared: Prepared,
        programmed: Programmed,
        how: How,
        results: Results,
    ) -> Result<(), CliError> {
        let amount = self.samples.unwrap_or(Amount::Count(CALIBRATION_SAMPLES));
        let samples = self.taking(&prepared, Some(amount)).read(false)?;
        let started = Instant::now();
        let Prepared { plan, model, target, .. } = &mut prepared;
        let chip = programmed.chip(plan, target, &Conditions::at_once(self.seed));
        let matching = match how {
            How::Moments => Matching::Moments,
            How::LeastSquares => Matching::LeastSquares,
        };
        let progress = Progress::start("calibrating", None);
        let layers = tuning::calibrate(plan, model, &chip, &samples, matching)?;
        drop(progress);
        let result = Calibrated {
            file: &prepared.file,
            target: &prepared.target.name,
            n_samples: samples.len() as u64,
            layers,
            took: started.elapsed(),
        };
        let summary = match self.format {
            Format::Text => result.text(),
            Format::Json => format!("{:#}\n", result.json()),
        };
        keep(prepared, programmed, results.chip)?;
        output::print(&summary)
    }

    fn train(
        &self,
        mut prepared: Prepared,
        programmed: &Programmed,
        results: Results,
    ) -> Result<(), CliError> {
        let samples = self.taking(&prepared, self.samples).read(true)?;
        let options = self.options(samples.len());
        let started = Instant::now();
        let belongs_to = match self.state {
            Some(_) => self.identity(&options, &samples)?,
            None => String::new(),
        };
        let Prepared { plan, model, target, .. } = &prepared;
        let tuner = Tuner::new((plan, model, target), programmed.clone(), options)?;
        let mut session = Session::new(tuner, &samples)?;
        let before = session.measure_tuned(0)?;
        self.go_on(&mut session, plan, &belongs_to)?;
        let progress = Progress::start("tuning", Some(session.tuner().options().n_batches));
        progress.advance(session.batches().len() as u64);
        while !session.is_done() {
            session.step()?;
            let n_done = session.batches().len() as u64;
            if n_done.is_multiple_of(self.keep_every) || session.is_done() {
                self.keep_state(&session, plan, &belongs_to)?;
            }
            progress.advance(1);
        }
        drop(progress);
        let after = session.measure_tuned(1)?;
        let result = Training {
            file: &prepared.file,
            target,
            before,
            after,
            session: &session,
            took: started.elapsed(),
        };
        let summary = match self.format {
            Format::Text => result.text(),
            Format::Json => format!("{:#}\n", result.json()),
        };
        if let Some(file) = results.curves {
            file.finish_with(format!("{:#}\n", result.curves()).as_bytes())?;
        }
        if let Some(file) = results.svg {
            file.finish_with(curves::svg(&result.title(), &session).as_bytes())?;
        }
        let (programmed, targets) = session.finish();
        prepared.plan.targets = targets;
        keep(prepared, programmed, results.chip)?;
        output::print(&summary)
    }

    fn options(&self, n_samples: usize) -> TuneOptions {
        let update = match self.update {
            Rule::Threshold => Update::Threshold { least_us: self.least.unwrap_or(1.5) },
            Rule::Sign => Update::Sign { above_us: self.least.unwrap_or(0.0) },
        };
        let n_held_out = self.hold_out.of(n_samples as u64) as usize;
        let n_batch = self.batch as usize;
        let per_epoch = (n_samples.saturating_sub(n_held_out) / n_batch).max(1) as u64;
        TuneOptions {
            layers: self.layers.clone(),
            update,
            carry: !self.forget,
            rate: self.rate,
            n_batch,
            n_batches: self.batches.unwrap_or(u64::from(self.epochs) * per_epoch),
            n_held_out,
            look_every: self.look_every,
            patience: self.patience,
            randomised: self.randomise.unwrap_or(0.0),
            seed: self.seed,
        }
    }

    /// Goes on where the training was kept, if it was.
    fn go_on(
        &self,
        session: &mut Session<'_>,
        plan: &ExecutionPlan,
        belongs_to: &str,
    ) -> Result<(), CliError> {
        let Some(path) = self.state.as_deref().filter(|path| path.exists()) else { return Ok(()) };
        let bytes = files::read(path, "the state of a training")?;
        let state = format::read_tuning(&bytes, &files::name(path), plan, belongs_to)?;
        let n_done = state.batches.len() as u64;
        session.restore(state)?;
        output::remark(&format!(
            "going on after {} of `{}`",
            if n_done == 1 { "1 batch".to_string() } else { format!("{n_done} batches") },
            files::name(path)
        ));
        Ok(())
    }

    fn keep_state(
        &self,
        session: &Session<'_>,
        plan: &ExecutionPlan,
        belongs_to: &str,
    ) -> Result<(), CliError> {
        let Some(path) = &self.state else { return Ok(()) };
        let bytes = format::write_tuning(&session.state(), plan, belongs_to)?;
        Output::create(path)?.finish_with(&bytes)
    }

    /// What tells this training from any other: chip, samples, options, and the
    /// ohmc that does it.
    fn identity(&self, options: &TuneOptions, samples: &Samples) -> Result<String, CliError> {
        let mut hash = Sha256::new();
        hash.update(format!("ohmc {OHMC_VERSION} {options:?}\n"));
        hash.update(files::read(&self.subject, "the chip")?);
        for tensor in samples.inputs() {
            hash.update(format!("{:?}\n", tensor.shape));
            match &tensor.values {
                Values::F32(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
                Values::F64(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
                Values::U8(v) => hash.update(v),
                Values::I8(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
                Values::I32(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
                Values::I64(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
                Values::Bool(v) => v.iter().for_each(|x| hash.update([u8::from(*x)])),
            }
        }
        samples.labels().iter().for_each(|label| hash.update(label.to_le_bytes()));
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Writes the chip, if it is wanted.
fn keep(
    prepared: Prepared,
    programmed: Programmed,
    output: Option<Output>,
) -> Result<(), CliError> {
    let Some(output) = output else {
        output::remark("nothing was written: `-o FILE` keeps the chip");
        return Ok(());
    };
    let _progress = Progress::start("writing the chip", None);
    let plan = prepared.into_plan_file();
    let chip = ChipFile { plan, programmed };
    output.finish_by(|file| chip.write_into(file))
}
