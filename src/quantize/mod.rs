//! From real weights and activations to integers.
//!
//! Every crossbar layer gets signed weight *levels* with a scale per output
//! column, and a *coding* of its inputs: a scale, a zero point, and unsigned
//! or two's complement integers of the target's input bits. What is computed
//! from here on is
//!
//! ```text
//! code   = clamp(round(x / scale) + zero_point)
//! sum    = sum over rows of level x (code - zero_point)        (integers)
//! output = sum x column_scale + bias,   column_scale = weight_scale x scale
//! ```
//!
//! A model that is quantised already says its codes itself; these are kept
//! where the target's input bits hold them, whatever the data looked like.
//!
//! Ranges come from a [`Calibration`], which can be stored: everything here is
//! a pure function of it, of the weights and of the target, in plain IEEE
//! arithmetic, so a stored calibration gives the same integers everywhere.
//!
//! This is each weight and each layer for itself. [`crate::refine`] looks at
//! what the errors do together.

mod calibration;
mod histogram;
mod inputs;
mod print;
mod weights;

pub use calibration::{Calibration, Collector, LayerStatistics, SAMPLE_ROWS};
pub use histogram::Histogram;
pub use inputs::{InputCoding, InputRule, RangeRule};
pub use print::layers_text;
pub(crate) use weights::nearest;
pub use weights::{Corrections, WeightRule};

use std::collections::BTreeMap;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::LayerId;
use crate::graph::LayerGraph;
use crate::target::Target;

/// The integers of one crossbar layer.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// Weight levels, `[group][row][column]`, each in `-max_level..=max_level`.
    pub levels: Vec<i16>,
    /// The largest level that a pair holds.
    pub max_level: i16,
    /// The real value of one level, `[group][column]`.
    pub weight_scales: Vec<f32>,
    /// How inputs become codes.
    pub coding: InputCoding,
    /// Added to every real output, `[group][column]`.
    pub bias: Vec<f32>,
}

/// The integers of all crossbar layers.
pub type QuantizedLayers = BTreeMap<LayerId, QuantizedLayer>;

/// What may be chosen about quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QuantizeOptions {
    /// How weights become levels.
    pub weights: WeightRule,
    /// How the range of an input is found.
    pub range: RangeRule,
    /// How codes are laid over a range that has negative values.
    pub inputs: InputRule,
    /// What second-order rounding does beside rounding.
    pub corrections: Corrections,
}

/// Why a layer could not be quantised.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum QuantizeError {
    /// A stored calibration does not know a layer, or saw another shape.
    Calibration {
        /// The layer's name.
        layer: String,
        /// What is wrong.
        reason: String,
    },
}

impl Explain for QuantizeError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Calibration { layer, reason } => vec![
                Diagnostic::error(format!("the calibration does not fit layer `{layer}`"))
                    .note(reason.clone())
                    .help("calibrate again with `--calibrate DATA`"),
            ],
        }
    }
}

/// Quantises every crossbar layer for the target.
///
/// # Errors
///
/// The calibration lacks a layer of the graph.
pub fn quantize(
    graph: &LayerGraph,
    calibration: &Calibration,
    target: &Target,
    options: &QuantizeOptions,
) -> Result<QuantizedLayers, QuantizeError> {
    let max_level = i16::try_from(target.cell.max_level()).unwrap_or(i16::MAX);
    graph
        .crossbar_layers()
        .map(|(id, _, crossbar)| {
            // Layers that share their cells share what was seen, too.
            let statistics = calibration.layer(graph.layer(graph.matrix_of(id)), crossbar)?;
            let (levels, weight_scales) = weights::levels(crossbar, max_level, options.weights);
            let cell_error = match options.weights {
                WeightRule::SecondOrder if options.corrections.cells => {
                    let square = |&level: &i16| f64::from(level) * f64::from(level);
                    let squares: f64 = levels.iter().map(square).sum();
                    target.cell.pair_variance() * levels.len() as f64 / squares.max(1.0)
                }
                _ => 0.0,
            };
            let bits = target.readout.input_bits;
            let coding = match inputs::own(crossbar.codes, bits) {
                Some(coding) => coding,
                None => inputs::choose(statistics, bits, options, cell_error),
            };
            let bias = crossbar.bias.clone();
            Ok((id, QuantizedLayer { levels, max_level, weight_scales, coding, bias }))
        })
        .collect()
}
