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
mod cells;
mod histogram;
mod inputs;
mod precision;
mod print;
mod room;
mod slices;
mod weights;

pub use calibration::{Calibration, Collector, LayerInput, LayerStatistics, SAMPLE_ROWS};
pub(crate) use cells::CellErrors;
pub use histogram::Histogram;
pub use inputs::{InputCoding, InputRule, RangeRule};
pub use precision::{ByLayer, Precision};
pub use print::layers_text;
pub use room::widen;
pub use slices::{Slicing, pair_max};
pub(crate) use weights::nearest;
pub use weights::{Corrections, WeightRule};

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain, nearest as nearest_name};
use crate::entity::LayerId;
use crate::graph::LayerGraph;
use crate::target::Target;

/// The integers of one crossbar layer.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// Weight levels, `[group][row][column]`, each at most
    /// [`Slicing::max_level`] in magnitude.
    pub levels: Arc<Vec<i16>>,
    /// How pairs hold them.
    pub slicing: Slicing,
    /// The real value of one level, `[group][column]`.
    pub weight_scales: Vec<f32>,
    /// How inputs become codes.
    pub coding: InputCoding,
    /// Added to every real output, `[group][column]`.
    pub bias: Vec<f32>,
}

/// Slices of a weight, by name of the layer.
pub fn slices(graph: &LayerGraph, quantized: &QuantizedLayers) -> BTreeMap<String, u8> {
    let named = |(&id, layer): (&LayerId, &QuantizedLayer)| {
        (graph.layer(id).name.clone(), layer.slicing.n_slices())
    };
    quantized.iter().map(named).collect()
}

/// The integers of all crossbar layers.
pub type QuantizedLayers = BTreeMap<LayerId, QuantizedLayer>;

/// What may be chosen about quantisation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QuantizeOptions {
    /// How weights become levels.
    pub weights: WeightRule,
    /// How the range of an input is found.
    pub range: RangeRule,
    /// How codes are laid over a range that has negative values.
    pub inputs: InputRule,
    /// What second-order rounding does beside rounding.
    pub corrections: Corrections,
    /// Bits of inputs and weights.
    pub precision: Precision,
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
    /// A name that no crossbar layer has, in `--slices` or `--input-bits`.
    UnknownLayer {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// More weight slices than levels of 16 bits can be cut into, or none.
    Slices {
        /// Slices wanted.
        n_slices: u8,
        /// Signed levels of one pair.
        n_levels: u32,
        /// The most that can be.
        most: u8,
    },
    /// Inputs of no bits, or too many.
    InputBits {
        /// Bits wanted.
        bits: u8,
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
            Self::UnknownLayer { option, name, known } => {
                let diagnostic = Diagnostic::error(format!(
                    "`{option}` names the layer `{name}`, which the model does not have on arrays"
                ));
                vec![match nearest_name(name, known.iter().map(String::as_str)) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic
                        .help("`ohmc compile MODEL --target T --emit graph` lists the layers"),
                }]
            }
            Self::Slices { n_slices, n_levels, most } => vec![
                Diagnostic::error(format!("a weight cannot be cut into {n_slices} slices"))
                    .note(format!(
                        "a pair of the target holds {n_levels} levels, and all slices together \
                         at most 65,535"
                    ))
                    .help(format!("choose from 1 to {most} slices")),
            ],
            Self::InputBits { bits } => vec![
                Diagnostic::error(format!("inputs cannot have {bits} bits"))
                    .help("choose from 1 to 16 bits"),
            ],
        }
    }
}

/// Quantises every crossbar layer for the target.
///
/// # Errors
///
/// The calibration lacks a layer of the graph, or a precision cannot be.
pub fn quantize(
    graph: &LayerGraph,
    calibration: &Calibration,
    target: &Target,
    options: &QuantizeOptions,
) -> Result<QuantizedLayers, QuantizeError> {
    options.precision.check(graph)?;
    let pair_max = pair_max(&target.cell);
    graph
        .crossbar_layers()
        .map(|(id, layer, crossbar)| {
            // Layers that share their cells share what was seen, too.
            let matrix = graph.layer(graph.matrix_of(id));
            let statistics = calibration.layer(matrix, crossbar)?;
            let n_slices = options.precision.slices.of(&matrix.name).unwrap_or(1);
            let wrong = || QuantizeError::Slices {
                n_slices,
                n_levels: 2 * u32::from(target.cell.max_level()) + 1,
                most: Slicing::most(pair_max),
            };
            let slicing = Slicing::new(n_slices, pair_max).ok_or_else(wrong)?;
            let (levels, weight_scales) =
                weights::levels(crossbar, slicing.max_level(), options.weights);
            let cells = match options.weights {
                WeightRule::SecondOrder if options.corrections.cells => {
                    CellErrors::new(&target.cell, &slicing, &levels).relative_to(&levels)
                }
                _ => CellErrors::default(),
            };
            let wanted = options.precision.input_bits.of(&layer.name);
            let bits = wanted.unwrap_or(target.readout.input_bits);
            let coding = match inputs::own(crossbar.codes, bits) {
                Some(coding) => coding,
                None => inputs::choose(statistics, bits, options, cells),
            };
            let bias = crossbar.bias.clone();
            let levels = Arc::new(levels);
            Ok((id, QuantizedLayer { levels, slicing, weight_scales, coding, bias }))
        })
        .collect()
}
