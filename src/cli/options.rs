//! Groups of options that several commands take.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ohmc::chip::Effect;
use ohmc::data::{ChannelOrder, Preprocess};
use ohmc::fit::Goal;
use ohmc::frontend::{Axis, FrontendOptions, Model};
use ohmc::optimize::Goal as OptimizeGoal;
use ohmc::quantize::{
    ByLayer, Corrections, InputRule, Precision, QuantizeOptions, RangeRule, WeightRule,
};
use ohmc::target::Override;

use super::error::CliError;

/// Inputs looked at to calibrate, unless said otherwise: enough for the ranges
/// of activations to settle.
const CALIBRATION_LIMIT: u64 = 256;

/// Options that belong to the compilation of a model; a plan has them behind
/// it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Compilation")]
pub struct Compilation {
    /// Chip to compile for: a name that `ohmc targets` lists, or a YAML file.
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,

    /// Change a key of the target, as in `readout.adc_bits=6`; repeatable.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    pub overrides: Vec<Override>,

    /// Shape of an input, as in `image=N,3,32,32`, N being the batch; repeatable.
    #[arg(long = "shape", value_name = "NAME=EXTENTS", value_parser = parse_shape)]
    pub shapes: Vec<(String, Vec<Axis>)>,

    /// What to choose the ranges of codes from: data, of which a folder's
    /// training part is taken, or a stored calibration.
    #[arg(long, value_name = "DATA|STORED")]
    pub calibrate: Option<PathBuf>,

    /// Inputs to calibrate on at most [default: 256].
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub calibration_limit: Option<u64>,

    /// Store the calibration, to be given to `--calibrate` another time.
    #[arg(long, value_name = "FILE")]
    pub save_calibration: Option<PathBuf>,

    /// How weights become levels: by what their errors do to the outputs of
    /// calibration data, which takes minutes for large models; each at its
    /// nearest level with a scale for each output column; or with one scale a
    /// layer [default: per-column].
    #[arg(long, value_name = "RULE")]
    pub weights: Option<Weights>,

    /// Leave out a part of second-order rounding, or an effect of the chip;
    /// repeatable.
    #[arg(long, value_name = "PART")]
    pub without: Vec<Part>,

    /// Range that input codes cover: of least squared error (mse), of a share
    /// of the values (percentile:99.9), or of all (minmax) [default: mse].
    #[arg(long, value_name = "RULE", value_parser = parse_range)]
    pub range: Option<RangeRule>,

    /// Codes of inputs that may be negative: two's complement, or unsigned
    /// with a zero point [default: twos-complement].
    #[arg(long, value_name = "CODING")]
    pub inputs_coding: Option<InputsCoding>,

    /// Pairs of cells that hold a weight between them, as digits of its level:
    /// for all layers, or for one as in `conv1=2`; repeatable [default: 1].
    #[arg(long = "slices", value_name = "[LAYER=]N", value_parser = parse_by_layer)]
    pub slices: Vec<(Option<String>, u8)>,

    /// Bits of input codes, from 1 to 16: for all layers, or for one as in
    /// `conv1=12`; repeatable [default: the target's].
    #[arg(long = "input-bits", value_name = "[LAYER=]BITS", value_parser = parse_by_layer)]
    pub input_bits: Vec<(Option<String>, u8)>,

    /// Choose slices so that little is lost against floating point, with as few
    /// cells as possible: a share of calibration inputs whose top-1 changes
    /// (`accuracy=0.5%`), or the relative error of the outputs (`error=1%`).
    #[arg(long, value_name = "GOAL", value_parser = parse_goal, conflicts_with = "slices")]
    pub fit: Option<Goal>,

    /// Passes allowed for a model larger than the chip, with cells written anew
    /// between them [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub passes: Option<u32>,

    /// Copies of a layer that work at the same time, as in `conv1=3`;
    /// repeatable.
    #[arg(long = "replicas", value_name = "LAYER=N", value_parser = parse_replicas)]
    pub replicas: Vec<(String, u32)>,

    /// Fill the chip with copies of layers, chosen for this; layers that
    /// `--replicas` or a floorplan names stay as they are.
    #[arg(long, value_name = "GOAL")]
    pub optimize: Option<Optimize>,

    /// YAML file that pins layers or slices of them to PEs.
    #[arg(long, value_name = "FILE")]
    pub floorplan: Option<PathBuf>,
}

/// `--weights`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// By what errors do together to the outputs.
    SecondOrder,
    /// A scale for each output column, of least squared error.
    PerColumn,
    /// One scale a layer, nearest level.
    Plain,
}

/// `--without`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Weights that make up for the errors of layers before.
    Compensation,
    /// Scales fitted once levels are known.
    Scales,
    /// Biases that take off the mean error.
    Bias,
    /// Scales chosen with the errors of cells in mind.
    Cells,
    /// Of a chip: cells stop anywhere within the tolerance, or are given up.
    VerifyError,
    /// Of a chip: cells change at once after they were written.
    Relaxation,
    /// Of a chip: cells go on changing; with `--at`.
    Drift,
    /// Of a chip: every reading is another.
    ReadNoise,
    /// Of a chip: cells and lines that do not work.
    Faults,
    /// Of a chip: lines have resistance.
    Wires,
}

impl Part {
    /// The effect of a chip that it is, if it is one.
    fn effect(self) -> Option<Effect> {
        match self {
            Self::Compensation | Self::Scales | Self::Bias | Self::Cells => None,
            Self::VerifyError => Some(Effect::VerifyError),
            Self::Relaxation => Some(Effect::Relaxation),
            Self::Drift => Some(Effect::Drift),
            Self::ReadNoise => Some(Effect::ReadNoise),
            Self::Faults => Some(Effect::Faults),
            Self::Wires => Some(Effect::Wires),
        }
    }
}

/// `--optimize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Optimize {
    /// One input is done soonest.
    Latency,
    /// Most inputs a second in a stream.
    Throughput,
    /// Least energy for an input, by the target's costs.
    Energy,
}

impl From<Optimize> for OptimizeGoal {
    fn from(optimize: Optimize) -> Self {
        match optimize {
            Optimize::Latency => Self::Latency,
            Optimize::Throughput => Self::Throughput,
            Optimize::Energy => Self::Energy,
        }
    }
}

/// `--inputs-coding`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum InputsCoding {
    /// The top bit-plane counts negative.
    TwosComplement,
    /// Unsigned with a zero point.
    Affine,
}

impl Compilation {
    /// The options that were given, as they are written.
    pub fn given(&self) -> Vec<&'static str> {
        [
            ("--target", self.target.is_some()),
            ("--set", !self.overrides.is_empty()),
            ("--shape", !self.shapes.is_empty()),
            ("--calibrate", self.calibrate.is_some()),
            ("--calibration-limit", self.calibration_limit.is_some()),
            ("--save-calibration", self.save_calibration.is_some()),
            ("--weights", self.weights.is_some()),
            ("--without", self.without.iter().any(|part| part.effect().is_none())),
            ("--range", self.range.is_some()),
            ("--inputs-coding", self.inputs_coding.is_some()),
            ("--slices", !self.slices.is_empty()),
            ("--input-bits", !self.input_bits.is_empty()),
            ("--fit", self.fit.is_some()),
            ("--passes", self.passes.is_some()),
            ("--replicas", !self.replicas.is_empty()),
            ("--optimize", self.optimize.is_some()),
            ("--floorplan", self.floorplan.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Effects of the chip that are left out.
    pub fn effects_left_out(&self) -> impl Iterator<Item = Effect> {
        self.without.iter().filter_map(|part| part.effect())
    }

    /// Refuses effects of a chip, for commands that read none.
    pub fn without_effects(&self) -> Result<(), CliError> {
        match self.effects_left_out().next() {
            Some(_) => Err(CliError::NoChipRead { options: vec!["--without"] }),
            None => Ok(()),
        }
    }

    /// Inputs to calibrate on at most.
    pub fn calibration_limit(&self) -> u64 {
        self.calibration_limit.unwrap_or(CALIBRATION_LIMIT)
    }

    /// What is fixed about the model; of two shapes for one input the last
    /// counts.
    pub fn frontend(&self) -> FrontendOptions {
        FrontendOptions { shapes: self.shapes.iter().cloned().collect() }
    }

    /// What is chosen about quantisation.
    pub fn quantize(&self) -> QuantizeOptions {
        let weights = match self.weights {
            Some(Weights::SecondOrder) => WeightRule::SecondOrder,
            Some(Weights::PerColumn) => WeightRule::PerColumn,
            Some(Weights::Plain) => WeightRule::Plain,
            None => WeightRule::default(),
        };
        let inputs = match self.inputs_coding {
            Some(InputsCoding::TwosComplement) => InputRule::TwosComplement,
            Some(InputsCoding::Affine) => InputRule::Affine,
            None => InputRule::default(),
        };
        let has = |part| !self.without.contains(&part);
        let corrections = Corrections {
            compensation: has(Part::Compensation),
            scales: has(Part::Scales),
            bias: has(Part::Bias),
            cells: has(Part::Cells),
        };
        let range = self.range.unwrap_or_default();
        let (slices, input_bits) = (by_layer(&self.slices), by_layer(&self.input_bits));
        let precision = Precision { slices, input_bits };
        QuantizeOptions { weights, range, inputs, corrections, precision }
    }
}

/// Of two numbers for a layer, the last counts.
fn by_layer(given: &[(Option<String>, u8)]) -> ByLayer {
    let mut by_layer = ByLayer::default();
    for (layer, number) in given {
        match layer {
            Some(name) => drop(by_layer.named.insert(name.clone(), *number)),
            None => by_layer.all = Some(*number),
        }
    }
    by_layer
}

/// What is done to numbers before a floating-point input gets them; kept in
/// the plan.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Preprocessing: (x * scale - mean) / std")]
pub struct Preprocessing {
    /// Factor for every number, as in `1/127.5`; without it bytes are divided
    /// by 255 and other numbers left alone.
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = parse_factor)]
    pub scale: Option<f32>,

    /// Taken off after scaling: one number, or one a channel.
    #[arg(long, value_name = "X,...", allow_hyphen_values = true, value_delimiter = ',')]
    pub mean: Vec<f32>,

    /// Divides last: one number, or one a channel.
    #[arg(long, value_name = "X,...", allow_hyphen_values = true, value_delimiter = ',')]
    pub std: Vec<f32>,

    /// Order in which the model takes colours [default: rgb].
    #[arg(long, value_name = "ORDER")]
    pub channel_order: Option<Order>,
}

/// `--channel-order`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Order {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl From<Order> for ChannelOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Rgb => Self::Rgb,
            Order::Bgr => Self::Bgr,
        }
    }
}

impl Preprocessing {
    /// As given, the rest by default.
    pub fn chosen(&self) -> Preprocess {
        Preprocess {
            scale: self.scale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            channel_order: self.channel_order.map_or(ChannelOrder::default(), Into::into),
        }
    }

    /// What a plan says, with which all that is given again must agree.
    pub fn agreed(&self, plan: &Preprocess, file: &str) -> Result<(), CliError> {
        let order = self.channel_order.map(ChannelOrder::from);
        let differs = [
            ("--scale", self.scale.is_some_and(|scale| Some(scale) != plan.scale)),
            ("--mean", !self.mean.is_empty() && self.mean != plan.mean),
            ("--std", !self.std.is_empty() && self.std != plan.std),
            ("--channel-order", order.is_some_and(|order| order != plan.channel_order)),
        ];
        let options: Vec<_> =
            differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
        if options.is_empty() {
            return Ok(());
        }
        Err(CliError::OtherPreprocessing {
            file: file.to_string(),
            options,
            planned: plan.describe(),
        })
    }
}

/// Which inputs are run, and which output counts.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct Selection {
    /// Only the first N inputs.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub limit: Option<u64>,

    /// One of several outputs of the model.
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

impl Selection {
    /// The outputs that are wanted, by their number in the model.
    pub fn outputs(&self, model: &Model) -> Result<Vec<usize>, CliError> {
        let Some(name) = &self.output else { return Ok((0..model.outputs.len()).collect()) };
        match model.outputs.iter().position(|known| known == name) {
            Some(index) => Ok(vec![index]),
            None => {
                Err(CliError::UnknownOutput { name: name.clone(), known: model.outputs.clone() })
            }
        }
    }
}

/// Whether one item of this shape can be the scores of classes: a single axis
/// that has more than one place.
pub fn are_scores(item: &[usize]) -> bool {
    item.iter().filter(|&&extent| extent != 1).count() == 1 && !item.contains(&0)
}

/// What the chip's randomness comes from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chip")]
pub struct Seed {
    /// Seed of the chip: of its cells' errors and of its noise.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// How many threads work.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Work")]
pub struct Threads {
    /// Threads to use [default: one a core]; results do not depend on them.
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,
}

/// More threads than any machine has cores, and few enough to be had.
const THREADS_MAX: usize = 1024;

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let wrong = || format!("give a number from 1 to {THREADS_MAX}");
    text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= THREADS_MAX).ok_or_else(wrong)
}

impl Threads {
    /// Sets the number of threads, once and before any work.
    pub fn set(&self) -> Result<(), CliError> {
        let n_threads = self.threads.map_or(0, NonZeroUsize::get);
        rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .build_global()
            .map_err(|error| CliError::Threads { n_threads, reason: error.to_string() })
    }
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

fn parse_count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|&n| n > 0);
    count.ok_or_else(|| "give a whole number from 1 up".to_string())
}

/// `--set`, for commands that have it apart from [`Compilation`].
pub fn parse_override(text: &str) -> Result<Override, String> {
    Override::parse(text).map_err(|_| {
        "give a key of the target and its value, as in `readout.adc_bits=8`".to_string()
    })
}

fn parse_factor(text: &str) -> Result<f32, String> {
    let number = |text: &str| text.trim().parse::<f32>().map_err(|error| error.to_string());
    match text.split_once('/') {
        Some((above, below)) => Ok(number(above)? / number(below)?),
        None => number(text),
    }
}

fn parse_shape(text: &str) -> Result<(String, Vec<Axis>), String> {
    let wrong = || "give an input and its extents, as in `image=N,3,32,32`".to_string();
    let (name, extents) = text.rsplit_once('=').ok_or_else(wrong)?;
    let axis = |text: &str| match text.trim() {
        "N" | "n" => Ok(Axis::Batch),
        "0" => Err("an extent of 0 leaves no values".to_string()),
        extent => extent.parse().map(Axis::Fixed).map_err(|_| wrong()),
    };
    let axes = match extents.trim() {
        // A scalar.
        "" => Vec::new(),
        extents => extents.split(',').map(axis).collect::<Result<_, _>>()?,
    };
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_string(), axes)) }
}

fn parse_replicas(text: &str) -> Result<(String, u32), String> {
    let wrong = || "give a layer and its copies, at least 1, as in `conv1=3`".to_string();
    let (name, copies) = text.rsplit_once('=').ok_or_else(wrong)?;
    let copies = copies.trim().parse().ok().filter(|&n: &u32| n > 0).ok_or_else(wrong)?;
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_string(), copies)) }
}

fn parse_goal(text: &str) -> Result<Goal, String> {
    let wrong =
        || "give what may be lost in percent, as in `accuracy=0.5%` or `error=1%`".to_string();
    let (what, share) = text.split_once('=').ok_or_else(wrong)?;
    let percent = share.trim().strip_suffix('%').ok_or_else(wrong)?;
    let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    match what.trim() {
        "accuracy" => Ok(Goal::Accuracy(percent / 100.0)),
        "error" => Ok(Goal::Error(percent / 100.0)),
        _ => Err(wrong()),
    }
}

fn parse_by_layer(text: &str) -> Result<(Option<String>, u8), String> {
    let wrong = || "give a number, or a layer and its number, as in `conv1=2`".to_string();
    let (name, number) = match text.rsplit_once('=') {
        Some((name, number)) => (Some(name), number),
        None => (None, text),
    };
    let number = number.trim().parse().ok().filter(|&n: &u8| n > 0).ok_or_else(wrong)?;
    match name {
        Some("") => Err(wrong()),
        _ => Ok((name.map(String::from), number)),
    }
}

fn parse_range(text: &str) -> Result<RangeRule, String> {
    match text.split_once(':') {
        None if text == "mse" => Ok(RangeRule::Mse),
        None if text == "minmax" => Ok(RangeRule::MinMax),
        Some(("percentile", percent)) => {
            let percent: f64 = percent.trim().parse().unwrap_or(f64::NAN);
            if percent > 0.0 && percent <= 100.0 {
                Ok(RangeRule::Percentile(percent / 100.0))
            } else {
                Err("a percentile is above 0 and at most 100".to_string())
            }
        }
        _ => Err("give `mse`, `minmax` or `percentile:P`, P in percent".to_string()),
    }
}

#[cfg(test)]
mod tests {
    //! What is accepted, and what is refused.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn shapes_have_a_name_and_extents() {
        let axes = vec![Axis::Batch, Axis::Fixed(3)];
        assert_eq!(parse_shape("a=b=N, 3").unwrap(), ("a=b".to_string(), axes));
        assert_eq!(parse_shape("x=").unwrap(), ("x".to_string(), Vec::new()));
        for wrong in ["x", "=1", "x=1,,2", "x=-1", "x=0", "x=a"] {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_have_a_name_and_a_share() {
        assert_eq!(parse_range("percentile:99.9").unwrap(), RangeRule::Percentile(99.9 / 100.0));
        for wrong in ["percentile", "percentile:0", "percentile:101", "percentile:x", "mse:1", ""] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn factors_may_be_fractions_and_copies_may_not_be_none() {
        assert_eq!(parse_factor("1/4").unwrap(), 0.25);
        assert_eq!(parse_replicas("a=b=3").unwrap(), ("a=b".to_string(), 3));
        assert!(parse_replicas("a=0").is_err() && parse_threads("0").is_err());
    }

    #[test]
    fn a_plan_agrees_with_what_is_given_again_or_not() {
        let plan = Preprocess { mean: vec![0.5], ..Preprocess::default() };
        let given = Preprocessing { mean: vec![0.5], ..Preprocessing::default() };
        assert!(given.agreed(&plan, "x.plan").is_ok());
        assert!(Preprocessing::default().agreed(&plan, "x.plan").is_ok());
        let given = Preprocessing { std: vec![0.5], ..given };
        let Err(CliError::OtherPreprocessing { options, .. }) = given.agreed(&plan, "x.plan")
        else {
            panic!("accepted");
        };
        assert_eq!(options, ["--std"]);
    }
}
