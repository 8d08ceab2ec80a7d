//! Groups of options that several commands take.

mod compilation;
mod effect;
mod parse;

pub use compilation::{Compilation, VARIABLE};
pub use effect::EffectName;
pub use parse::{Amount, parse_amount, parse_count, parse_override};

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use ohmc::data::{ChannelOrder, Preprocess};
use ohmc::frontend::Model;
use ohmc::tuning::Backward;

use super::error::CliError;

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

/// `--backward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackwardName {
    /// Products beside the chip, with what its cells are read to hold.
    Digital,
    /// The arrays, which are driven from their output lines and sensed on their
    /// input lines.
    Arrays,
}

impl From<BackwardName> for Backward {
    fn from(name: BackwardName) -> Self {
        match name {
            BackwardName::Digital => Self::Digital,
            BackwardName::Arrays => Self::Arrays,
        }
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

fn parse_factor(text: &str) -> Result<f32, String> {
    let number = |text: &str| text.trim().parse::<f32>().map_err(|error| error.to_string());
    match text.split_once('/') {
        Some((above, below)) => Ok(number(above)? / number(below)?),
        None => number(text),
    }
}

#[cfg(test)]
mod tests {
    //! What is accepted, and what is refused.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn factors_may_be_fractions_and_threads_may_not_be_none() {
        assert_eq!(parse_factor("1/4").unwrap(), 0.25);
        assert!(parse_threads("0").is_err());
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
