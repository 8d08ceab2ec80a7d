//! Chooses how many pairs of cells hold each weight, so that what the model
//! loses stays within a bound.
//!
//! A weight in more slices ([`crate::quantize::Slicing`]) has more levels and takes more cells.
//! Where slices help most for their cells is estimated layer by layer, from the
//! weights and what was seen of the inputs:
//!
//! ```text
//! noise of a layer = sum over rows E[x^2] x error of its weights^2 / the same of the weights themselves
//! ```
//!
//! Noises of layers add up, near enough, so layers get slices in the order of
//! noise taken away for each cell. How many of these steps are needed is then
//! found by trying, with the whole pipeline and a chip of the target: halving
//! first, then taking slices away again where the bound allows it.
//!
//! No labels are needed: a loss is a difference from the model in floating
//! point on the calibration's inputs. The accuracy on them can fall by no more
//! than the share whose top-1 changes.
//!
//! | file | |
//! |---|---|
//! | `noise` | the order of steps, estimated |
//! | `search` | how many of them are needed, by trying |
//! | `loss` | what is lost with a choice |

mod loss;
mod noise;
mod search;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::compiler::{CompileError, CompileOptions, Compiled};
use crate::diagnostic::{Diagnostic, Explain};
use crate::frontend::Model;
use crate::quantize::Calibration;
use crate::runtime::RunError;
use crate::target::Target;

/// What may be lost, as a share: 0.005 is half a percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Share of inputs whose largest score is another than in floating point.
    Accuracy(f64),
    /// Relative L2 error of the outputs, all taken together.
    Error(f64),
}

impl Goal {
    fn bound(self) -> f64 {
        let (Self::Accuracy(bound) | Self::Error(bound)) = self;
        bound
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accuracy(share) => write!(f, "accuracy={}%", 100.0 * share),
            Self::Error(share) => write!(f, "error={}%", 100.0 * share),
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The model with it.
    pub compiled: Compiled,
    /// How it came about.
    pub summary: Summary,
}

/// How a choice came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was wanted.
    pub goal: Goal,
    /// What is lost now, as a share.
    pub loss: f64,
    /// Layers in more than one slice.
    pub slices: BTreeMap<String, u8>,
    /// Layers on arrays.
    pub n_layers: usize,
    /// Bits of input codes, where the target's were not enough.
    pub input_bits: Option<u8>,
    /// Inputs that were run.
    pub n_inputs: usize,
    /// Compilations that were tried.
    pub n_tried: u32,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { goal, loss, slices, n_layers, n_inputs, n_tried, .. } = self;
        let what = match goal {
            Goal::Accuracy(_) => format!("top-1 changed for {:.2} %", 100.0 * loss),
            Goal::Error(_) => format!("outputs off by {:.2} %", 100.0 * loss),
        };
        write!(f, "{goal}: {} of {n_layers} layers in several slices", slices.len())?;
        if let Some(bits) = self.input_bits {
            write!(f, ", inputs of {bits} bits")?;
        }
        write!(f, "; {what} of {n_inputs} calibration inputs, {n_tried} compilations tried")
    }
}

/// Why nothing was chosen.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum FitError {
    /// A choice could not be compiled.
    Compile(#[from] CompileError),
    /// The model failed on an input.
    Run(#[from] RunError),
    /// The calibration kept no inputs.
    NoInputs,
    /// No output of the model is scores of classes.
    NoScores {
        /// Its outputs.
        outputs: Vec<String>,
    },
    /// Not even the finest weights and inputs are enough.
    OutOfReach {
        /// What was wanted.
        goal: Goal,
        /// The least loss that was seen, as a share.
        least: f64,
        /// The most slices that were tried.
        n_slices: u8,
        /// The most bits of inputs that were tried.
        input_bits: u8,
    },
}

impl Explain for FitError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Compile(error) => error.diagnostics(),
            Self::Run(error) => error.diagnostics(),
            Self::NoInputs => vec![
                Diagnostic::error("the calibration has no inputs to fit a precision by")
                    .help("calibrate again with `--calibrate DATA`"),
            ],
            Self::NoScores { outputs } => vec![
                Diagnostic::error("no output of the model is scores of classes")
                    .note(format!("its outputs are `{}`", outputs.join("`, `")))
                    .help("bound the error of all outputs instead, as in `--fit error=1%`"),
            ],
            Self::OutOfReach { goal, least, n_slices, input_bits } => vec![
                Diagnostic::error(format!("no precision of weights and inputs reaches `{goal}`"))
                    .note(format!(
                        "up to {n_slices} slices for every weight, as far as the chip has room, and \
                         inputs of {input_bits} bits still lose {:.2} %",
                        100.0 * least
                    ))
                    .help(
                        "what is left comes from ADCs and cells: try `--set \
                         readout.adc_bits=10`, `--weights second-order`, or a wider bound",
                    ),
            ],
        }
    }
}

/// Finds slices for every layer that keep the loss within a bound, with as few
/// cells as it can.
///
/// # Errors
///
/// The calibration kept no inputs, the model cannot be judged so or does not
/// compile, or the bound is out of reach.
pub fn fit(
    model: &Model,
    target: &Target,
    calibration: &Calibration,
    options: &CompileOptions,
    goal: Goal,
) -> Result<Fitted, FitError> {
    let wanted = loss::Wanted::new(model, calibration, goal)?;
    search::Search { model, target, calibration, options, goal, wanted, n_tried: 0 }.run()
}
