//! `ohmc train`: a model is trained on the arrays of a chip, from its own
//! weights or from nothing.

use std::path::PathBuf;

use clap::Args;
use ohmc::chip::{ProgramOptions, write};
use ohmc::tuning::{Backward, Layers};

use super::error::CliError;
use super::options::{BackwardName, Compilation, Preprocessing, Seed, Threads};
use super::progress::Progress;
use super::request::{Fresh, Request};
use super::training::{Chosen, TrainingOptions, hash_of};

/// How far ranges reach beyond those of weights that were drawn, and of weights
/// that somebody trained.
const ROOM_RANDOM: f32 = 2.0;
const ROOM_GIVEN: f32 = 1.0;

/// Train a model on the arrays of a chip
///
/// The model is compiled and programmed into a chip, pulse by pulse where the
/// target says what pulses do; then inputs run forward on its arrays, errors
/// run back through the same arrays, read from their output lines to their
/// input lines, and every layer's cells are given pulses. With `--random` it
/// begins with weights that are drawn, and the model's own are not looked at;
/// without, with those. What is digital: softmax and cross-entropy, operators
/// that are no products, biases, sums over a batch, and changes until they are
/// worth a pulse.
///
/// With `--state` the training is kept after every batch: when it was ended,
/// the same command goes on, to the same chip.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Train {
    /// An ONNX model.
    #[arg(value_name = "MODEL")]
    subject: PathBuf,

    /// Write the trained chip to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Begin with weights that are drawn by the seed: normal, with a variance of
    /// 2 over what is summed up, and without biases.
    #[arg(long)]
    random: bool,

    /// How far weights, codes and conversions may grow beyond what they begin
    /// with, as a factor [default: 2 with `--random`, else 1].
    #[arg(long, value_name = "X", value_parser = parse_room)]
    room: Option<f32>,

    /// Train this layer alone; repeatable [default: all on arrays].
    #[arg(long = "layer", value_name = "NAME")]
    layers: Vec<String>,

    /// What carries errors back through layers on arrays.
    #[arg(long, value_name = "HOW", default_value = "arrays")]
    backward: BackwardName,

    #[command(flatten)]
    training: TrainingOptions,

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
  ohmc train models/mcnn.onnx --random --target yao2020-chip --set pe.transposed_reads=true \\
    --set cell.pulses.model=table-scaled --data MNIST --epochs 5 --momentum 0.9 -o trained.chip
  ohmc train models/mcnn.onnx --target yao2020-chip --backward digital --data MNIST \\
    --state training.state --curves curves.json --svg curves.svg -o trained.chip";

fn parse_room(text: &str) -> Result<f32, String> {
    let room = text.trim().parse().ok().filter(|room: &f32| (1.0..=1000.0).contains(room));
    room.ok_or_else(|| "give a factor from 1 to 1000".to_string())
}

impl Train {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        self.compilation.without_effects()?;
        let results = self.training.begin(self.out.as_deref(), ("MODEL", &self.subject))?;
        let seed = self.seed.seed;
        let usual = if self.random { ROOM_RANDOM } else { ROOM_GIVEN };
        let room = self.room.unwrap_or(usual);
        let prepared = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: Some(&self.training.data),
            measures: false,
            adapts: false,
            fresh: Some(Fresh { random: self.random.then_some(seed), room }),
            out: self.out.as_deref(),
        }
        .compile_only()?;
        let writing = ProgramOptions { seed, by_pulses: true, fault_map: None };
        let progress = Progress::start("programming", None);
        let programmed = write(&prepared.plan, &prepared.target, &writing)?;
        drop(progress);
        let chosen = Chosen {
            layers: match &self.layers[..] {
                [] => Layers::All,
                names => Layers::Named(names.to_vec()),
            },
            backward: Backward::from(self.backward),
            room: f64::from(room),
            randomised: 0.0,
            seed,
            made: prepared.target.cell.pulses.map(|_| programmed.work(&prepared.plan)),
            subject: self.identity(&prepared),
        };
        self.training.train(prepared, &programmed, results, chosen)
    }

    /// What tells the chip that is trained from any other: the plan is made of
    /// the model, the target and the calibration, the chip of the plan.
    fn identity(&self, prepared: &super::prepare::Prepared) -> String {
        let plan = format!("{:?}\n{:?}", prepared.plan, prepared.target);
        format!("{} {}", prepared.source.sha256(), hash_of(plan.as_bytes()))
    }
}
