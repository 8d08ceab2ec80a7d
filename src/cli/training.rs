//! Training a chip, whichever command asks for it: what of the data is taken,
//! by which rule, how long, and what is kept of it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use ohmc::chip::{Programmed, Work};
use ohmc::format::{self, ChipFile, OHMC_VERSION};
use ohmc::schedule::ExecutionPlan;
use ohmc::tensor::Values;
use ohmc::timing::TimingOptions;
use ohmc::tuning::{
    Backward, Distillation, Layers, Samples, Session, Transfer, TuneOptions, Tuner, Update,
};
use sha2::{Digest, Sha256};

use super::error::CliError;
use super::options::{Amount, Format, parse_amount, parse_count};
use super::output::{self, Output};
use super::prepare::Prepared;
use super::progress::Progress;
use super::samples::Taking;
use super::tuned::{Forward, Training};
use super::{curves, files};

/// How a chip is trained, and what is kept of it.
#[derive(Debug, Args)]
pub struct TrainingOptions {
    /// Inputs with labels; of a folder the training part is taken.
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,

    /// How wanted changes become pulses.
    #[arg(long, value_name = "RULE", default_value = "threshold")]
    update: Rule,

    /// Change of a pair from which on it is worth a pulse, in microsiemens
    /// [default: 1.5 for `threshold`, else 0].
    #[arg(long, value_name = "US", value_parser = parse_us)]
    least: Option<f64>,

    /// With `--update transfer`: change from which on a cell of the second array
    /// is given a pulse, in microsiemens.
    #[arg(long, value_name = "US", default_value_t = 0.1, value_parser = parse_us)]
    fast_least: f64,

    /// With `--update transfer`: batches after which a line of it is read.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    transfer_every: u64,

    /// With `--update transfer`: share of what is read that is wanted of the
    /// weights.
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = parse_rate)]
    transfer_share: f64,

    /// Forget changes that are not worth a pulse, rather than to add them to
    /// those of later batches.
    #[arg(long)]
    forget: bool,

    /// Do not train biases. They are digital registers behind the columns, and
    /// trained with the weights of their layer, without a pulse. Those of inputs
    /// with a zero point follow what is written to cells all the same.
    #[arg(long)]
    keep_biases: bool,

    /// Step along the gradient [default: 0.3; with `tune --calibrate=distilled`
    /// 0.02, the first change of a gain].
    #[arg(long, value_name = "X", value_parser = parse_rate)]
    rate: Option<f64>,

    /// Share of the last step that is taken once more, kept digitally.
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = parse_momentum)]
    momentum: f64,

    /// Samples of a batch [default: 100; 50 with `tune --calibrate=distilled`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,

    /// How often all samples are gone through [default: 1; 5 with `tune
    /// --calibrate=distilled`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,

    /// Batches in all, in place of `--epochs`.
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = parse_count)]
    batches: Option<u64>,

    /// Samples to take of the data, chosen by the seed, as in `1500` or `10%`
    /// [default: all; 300 with `tune --calibrate`].
    #[arg(long, value_name = "N|P%", value_parser = parse_amount)]
    pub samples: Option<Amount>,

    /// Samples to hold out, and to look at now and then.
    #[arg(long, value_name = "N|P%", default_value = "0", value_parser = parse_amount)]
    hold_out: Amount,

    /// Batches between two looks at what is held out.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = parse_count)]
    look_every: u64,

    /// Stop after so many looks in a row without a lower loss.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    patience: Option<u64>,

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

    /// How the summary is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// `--update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// Pairs are written to what they hold and the change, with readings
    /// between pulses.
    Threshold,
    /// One SET or RESET pulse, whatever comes of it, in phases from batch to
    /// batch.
    Sign,
    /// Single pulses on a second array, whose lines are read in turn; what they
    /// hold is wanted of the weights, and gives them single pulses.
    Transfer,
}

/// What a command decides about a training by itself.
#[derive(Debug)]
pub struct Chosen {
    /// Layers that are trained.
    pub layers: Layers,
    /// What carries errors back.
    pub backward: Backward,
    /// Room of the ranges that errors are converted over.
    pub room: f64,
    /// Share of weights that are lost first.
    pub randomised: f64,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// What making the chip took, if the command made it.
    pub made: Option<Work>,
    /// What tells the chip that is trained from any other.
    pub subject: String,
}

/// Files that are begun before the work.
pub struct Results {
    chip: Option<Output>,
    curves: Option<Output>,
    svg: Option<Output>,
}

fn parse_us(text: &str) -> Result<f64, String> {
    let us = text.trim().parse().ok().filter(|us: &f64| us.is_finite() && *us >= 0.0);
    us.ok_or_else(|| "give microsiemens, 0 or more".to_string())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "give a number above 0".to_string())
}

fn parse_momentum(text: &str) -> Result<f64, String> {
    let share = text.trim().parse().ok().filter(|share: &f64| (0.0..1.0).contains(share));
    share.ok_or_else(|| "give a number from 0 to below 1".to_string())
}

impl TrainingOptions {
    /// Begins the files of the results, none of which may take the place of
    /// what is read.
    pub fn begin(
        &self,
        out: Option<&Path>,
        subject: (&'static str, &Path),
    ) -> Result<Results, CliError> {
        files::keep_apart(
            &[
                ("-o", out),
                ("--state", self.state.as_deref()),
                ("--curves", self.curves.as_deref()),
                ("--svg", self.svg.as_deref()),
            ],
            &[
                (subject.0, Some(subject.1)),
                ("--data", Some(&self.data)),
                ("--labels", self.labels.as_deref()),
            ],
        )?;
        let begun = |path: Option<&Path>| path.map(Output::create).transpose();
        Ok(Results {
            chip: begun(out)?,
            curves: begun(self.curves.as_deref())?,
            svg: begun(self.svg.as_deref())?,
        })
    }

    /// What of the data is taken.
    pub fn taking<'a>(
        &'a self,
        prepared: &'a Prepared,
        amount: Option<Amount>,
        seed: u64,
    ) -> Taking<'a> {
        let Prepared { items, preprocess, .. } = prepared;
        let (path, labels) = (&self.data, self.labels.as_ref());
        Taking { items, preprocess, path, labels, amount, seed }
    }

    /// Trains a chip, and writes what is to be kept.
    pub fn train(
        &self,
        mut prepared: Prepared,
        programmed: &Programmed,
        results: Results,
        chosen: Chosen,
    ) -> Result<(), CliError> {
        let samples = self.taking(&prepared, self.samples, chosen.seed).read(true)?;
        let Chosen { made, subject, .. } = &chosen;
        let options = self.options(samples.len(), &chosen);
        let started = Instant::now();
        let belongs_to = match self.state {
            Some(_) => identity(&options, &samples, subject),
            None => String::new(),
        };
        let Prepared { plan, model, target, .. } = &prepared;
        let tuner = Tuner::new((plan, model, target), programmed.clone(), options)?;
        let mut session = Session::new(tuner, &samples)?;
        let before = session.measure_tuned(0)?;
        self.go_on(&mut session, plan, &belongs_to)?;
        let progress = Progress::start("training", Some(session.tuner().options().n_batches));
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
            forward: Forward::of(&prepared.report(TimingOptions::default())),
            made: *made,
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
        let programmed = session.finish().into_plan(&mut prepared.plan);
        keep(prepared, programmed, results.chip)?;
        output::print(&summary)
    }

    fn options(&self, n_samples: usize, chosen: &Chosen) -> TuneOptions {
        let update = match self.update {
            Rule::Threshold => Update::Threshold { least_us: self.least.unwrap_or(1.5) },
            Rule::Sign => Update::Sign { above_us: self.least.unwrap_or(0.0) },
            Rule::Transfer => Update::Transfer(Transfer {
                above_us: self.fast_least,
                every: self.transfer_every,
                share: self.transfer_share,
                least_us: self.least.unwrap_or(0.0),
            }),
        };
        let n_held_out = self.hold_out.of(n_samples as u64) as usize;
        let n_batch = self.batch.unwrap_or(100) as usize;
        let per_epoch = (n_samples.saturating_sub(n_held_out) / n_batch).max(1) as u64;
        TuneOptions {
            layers: chosen.layers.clone(),
            backward: chosen.backward,
            room: chosen.room,
            update,
            carry: !self.forget,
            biases: !self.keep_biases,
            rate: self.rate.unwrap_or(0.3),
            momentum: self.momentum,
            n_batch,
            n_batches: self.batches.unwrap_or(u64::from(self.epochs.unwrap_or(1)) * per_epoch),
            n_held_out,
            look_every: self.look_every,
            patience: self.patience,
            randomised: chosen.randomised,
            seed: chosen.seed,
        }
    }

    /// How gains and offsets are taught without labels.
    pub fn distillation(&self, seed: u64) -> Distillation {
        Distillation {
            n_batch: self.batch.unwrap_or(50) as usize,
            epochs: self.epochs.unwrap_or(5).into(),
            rate: self.rate.unwrap_or(0.02),
            seed,
        }
    }

    /// Options about steps that were given.
    pub fn of_steps(&self) -> Vec<&'static str> {
        let all = [
            ("--rate", self.rate.is_some()),
            ("--batch", self.batch.is_some()),
            ("--epochs", self.epochs.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option).collect()
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
}

/// What tells this training from any other: chip, samples, options, and the
/// ohmc that does it.
fn identity(options: &TuneOptions, samples: &Samples, subject: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("ohmc {OHMC_VERSION} {options:?}\n{subject}\n"));
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
    hex(hash)
}

/// The hash of a file's bytes.
pub fn hash_of(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the chip, if it is wanted.
pub fn keep(
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

impl Results {
    /// The chip's.
    pub fn into_chip(self) -> Option<Output> {
        self.chip
    }
}
