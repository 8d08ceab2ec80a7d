//! How a model is compiled: options that a plan has behind it.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, Command, FromArgMatches, ValueEnum};
use ohmc::adapt::{AdaptOptions, FastOptions};
use ohmc::chip::{Effect, PairOptions};
use ohmc::fit::Goal;
use ohmc::frontend::{Axis, FrontendOptions};
use ohmc::mapping::UnrollOptions;
use ohmc::mapping::unroll::Choice;
use ohmc::optimize::Goal as OptimizeGoal;
use ohmc::quantize::{
    ByLayer, Corrections, InputRule, Precision, QuantizeOptions, RangeRule, WeightRule,
};
use ohmc::target::Override;

use super::effect::EffectName;
use super::parse::{
    parse_by_layer, parse_count, parse_goal, parse_override, parse_range, parse_replicas,
    parse_shape, parse_unroll,
};
use crate::cli::error::CliError;

/// Inputs looked at to calibrate, unless said otherwise: enough for the ranges
/// of activations to settle.
const CALIBRATION_LIMIT: u64 = 256;

/// Options that say how a model is compiled once it is read and calibrated:
/// those that an exploration may vary.
pub const VARIABLE: [&str; 10] = [
    "adc-bits",
    "fit",
    "input-bits",
    "inputs-coding",
    "optimize",
    "range",
    "slices",
    "unroll",
    "weights",
    "without",
];

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

    /// Leave out a part of second-order rounding, a part of what `--adapt` or
    /// `--fast` does, or an effect of the chip; repeatable.
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

    /// Bits of ADCs, from 1 (2 where pairs are subtracted before) to 22: for all
    /// layers, or for one as in `conv1=6`; repeatable [default: the target's].
    #[arg(long = "adc-bits", value_name = "[LAYER=]BITS", value_parser = parse_by_layer)]
    pub adc_bits: Vec<(Option<String>, u8)>,

    /// Choose slices so that little is lost against floating point, with as few
    /// cells as possible: a share of calibration inputs whose top-1 changes
    /// (`accuracy=0.5%`), or the relative error of the outputs (`error=1%`).
    #[arg(long, value_name = "GOAL", value_parser = parse_goal, conflicts_with = "slices")]
    pub fit: Option<Goal>,

    /// Passes allowed for a model larger than the chip, with cells written anew
    /// between them [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub passes: Option<u32>,

    /// Output positions that a wave makes: one (im2col); those of the window that
    /// drives arrays for the fewest cycles, whatever cells its copies of the
    /// kernel take (window); the same as long as the model fits the chip, or with
    /// `--optimize`, as replicas leave room (auto); or so many along each of the
    /// innermost loops, as in `conv1=2x4`. For all layers or for one; repeatable
    /// [default: im2col].
    #[arg(long = "unroll", value_name = "[LAYER=]HOW", value_parser = parse_unroll)]
    pub unroll: Vec<(Option<String>, Choice)>,

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of second-order rounding: weights that make up for layers before.
    Compensation,
    /// Of it: scales fitted once levels are known.
    Scales,
    /// Of it: biases that take off the mean error.
    Bias,
    /// Of it: scales and codes chosen with the errors of cells in mind.
    Cells,
    /// Of `--adapt`: cells that take over from the other of their pair.
    Partners,
    /// Of `--adapt` and `--fast`: cells that take over from other pairs of their
    /// column.
    Feedback,
    /// Of `--fast`: pulses chosen by what they are likely to do.
    PulseChoice,
    /// Of it: pairs that stand anywhere.
    CommonMode,
    /// Of it: tolerances by what lines drive.
    Sensitivity,
    /// Of it: cells of a line pulsed at the same time.
    Parallel,
    /// Of a chip.
    Effect(Effect),
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        const OWN: [Part; 10] = [
            Part::Compensation,
            Part::Scales,
            Part::Bias,
            Part::Cells,
            Part::Partners,
            Part::Feedback,
            Part::PulseChoice,
            Part::CommonMode,
            Part::Sensitivity,
            Part::Parallel,
        ];
        static ALL: LazyLock<Vec<Part>> =
            LazyLock::new(|| OWN.into_iter().chain(Effect::ALL.map(Part::Effect)).collect());
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, meaning) = match self {
            Self::Compensation => ("compensation", "Weights that make up for layers before"),
            Self::Scales => ("scales", "Scales fitted once levels are known"),
            Self::Bias => ("bias", "Biases that take off the mean error"),
            Self::Cells => ("cells", "Scales and codes chosen with the errors of cells in mind"),
            Self::Partners => ("partners", "Cells that take over from the other of their pair"),
            Self::Feedback => ("feedback", "Cells that take over from others of their column"),
            Self::PulseChoice => ("pulse-choice", "Pulses chosen by what they are likely to do"),
            Self::CommonMode => {
                ("common-mode", "Pairs written to a difference, wherever they stand")
            }
            Self::Sensitivity => ("sensitivity", "Tolerances by what an input line drives"),
            Self::Parallel => ("parallel", "Cells of an input line pulsed at the same time"),
            Self::Effect(effect) => return EffectName(*effect).to_possible_value(),
        };
        Some(PossibleValue::new(name).help(meaning))
    }
}

impl Part {
    fn is_of_rounding(self) -> bool {
        matches!(self, Self::Compensation | Self::Scales | Self::Bias | Self::Cells)
    }

    /// The effect of a chip that it is, if it is one.
    fn effect(self) -> Option<Effect> {
        match self {
            Self::Effect(effect) => Some(effect),
            _ => None,
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
            ("--without", self.without.iter().any(|part| part.is_of_rounding())),
            ("--range", self.range.is_some()),
            ("--inputs-coding", self.inputs_coding.is_some()),
            ("--slices", !self.slices.is_empty()),
            ("--input-bits", !self.input_bits.is_empty()),
            ("--adc-bits", !self.adc_bits.is_empty()),
            ("--fit", self.fit.is_some()),
            ("--passes", self.passes.is_some()),
            ("--unroll", !self.unroll.is_empty()),
            ("--replicas", !self.replicas.is_empty()),
            ("--optimize", self.optimize.is_some()),
            ("--floorplan", self.floorplan.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Of the options that were given, those that say what is done with
    /// weights and inputs.
    pub fn of_numbers(&self) -> Vec<&'static str> {
        const OF_PLACES: [&str; 9] = [
            "--target",
            "--set",
            "--shape",
            "--slices",
            "--passes",
            "--unroll",
            "--replicas",
            "--optimize",
            "--floorplan",
        ];
        self.given().into_iter().filter(|option| !OF_PLACES.contains(option)).collect()
    }

    /// The same with one option given otherwise, by its name without hyphens;
    /// the error is what the command line would be told.
    pub fn with(&self, option: &str, value: &str) -> Result<Self, clap::Error> {
        let command = Self::augment_args_for_update(Command::new("ohmc").no_binary_name(true));
        let given = command.try_get_matches_from([format!("--{option}={value}")])?;
        let mut changed = self.clone();
        changed.update_from_arg_matches(&given)?;
        Ok(changed)
    }

    /// How layers are unrolled; of two choices for a layer, the last counts.
    pub fn unroll(&self) -> UnrollOptions {
        let mut options = UnrollOptions::default();
        for (layer, choice) in &self.unroll {
            match layer {
                Some(name) => drop(options.named.insert(name.clone(), choice.clone())),
                None => options.all = choice.clone(),
            }
        }
        options
    }

    /// Whether inputs of the calibration are run again while compiling.
    pub fn reruns_inputs(&self) -> bool {
        self.weights == Some(Weights::SecondOrder) || self.fit.is_some()
    }

    /// Effects of the chip that are left out.
    pub fn effects_left_out(&self) -> impl Iterator<Item = Effect> {
        self.without.iter().filter_map(|part| part.effect())
    }

    /// What is done about flaws that are known.
    pub fn adapt(&self) -> AdaptOptions {
        let has = |part| !self.without.contains(&part);
        AdaptOptions { partners: has(Part::Partners), feedback: has(Part::Feedback) }
    }

    /// How pairs are written fast, in so many stages of input lines, the lower
    /// cell at most this far above the lowest level.
    pub fn fast(&self, n_stages: u32, common_mode_us: f64) -> FastOptions {
        let has = |part| !self.without.contains(&part);
        let pairs = PairOptions {
            predicted: has(Part::PulseChoice),
            common_mode: has(Part::CommonMode),
            parallel: has(Part::Parallel),
        };
        let (sensitivity, feedback) = (has(Part::Sensitivity), has(Part::Feedback));
        FastOptions { pairs, common_mode_us, sensitivity, feedback, n_stages }
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

    /// Bits of ADCs by layer.
    pub fn adc_bits(&self) -> ByLayer {
        by_layer(&self.adc_bits)
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
