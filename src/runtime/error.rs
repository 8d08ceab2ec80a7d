//! Why a plan could not be run.

use thiserror::Error;

use super::digital::DigitalError;
use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::{LayerId, StepId, TensorId, WeightTileId};
use crate::schedule::PlanFault;

/// Why a run failed.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum RunError {
    /// A digital stage could not be built or failed.
    Digital(#[from] DigitalError),
    /// The plan breaks its own invariants.
    Plan(Vec<PlanFault>),
    /// A step reads a tensor that is not there.
    MissingTensor {
        /// The step.
        step: StepId,
        /// The tensor.
        tensor: TensorId,
    },
    /// A crossbar layer reads a tensor that is not f32, or of another shape
    /// than its loops say.
    LayerInput {
        /// The layer.
        layer: LayerId,
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A step works on something that no step before it made.
    OutOfOrder {
        /// The step.
        step: StepId,
        /// What is missing.
        what: String,
    },
    /// The chip does not have the cells of a tile.
    WrongChip {
        /// The tile.
        tile: WeightTileId,
    },
    /// Numbers that are not finite reach a crossbar layer.
    NotFinite {
        /// The layer.
        name: String,
        /// Index of the input.
        input: u64,
        /// The value.
        value: f32,
    },
    /// A tensor is not what an input of the model takes.
    Input {
        /// The input.
        name: String,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// The number of inputs of the model and of what was given differ.
    InputCount {
        /// Wanted.
        wanted: usize,
        /// Given.
        given: usize,
    },
}

impl Explain for RunError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let damaged = "the plan does not belong to this model or chip: compile again";
        vec![match self {
            Self::Plan(faults) => {
                let complaint = |fault: &PlanFault| {
                    Diagnostic::error(format!("the plan cannot be run: {fault}")).help(damaged)
                };
                return faults.iter().map(complaint).collect();
            }
            Self::Digital(error) => Diagnostic::error(error.to_string())
                .help("the operator runs in tract: check that the shapes of the data fit"),
            Self::MissingTensor { step, tensor } => {
                Diagnostic::error(format!("{step} reads {tensor}, which is not there"))
                    .help(damaged)
            }
            Self::LayerInput { layer, name, reason } => {
                Diagnostic::error(format!("the input of {layer} `{name}` does not fit"))
                    .note(reason.clone())
                    .help(damaged)
            }
            Self::OutOfOrder { step, what } => {
                Diagnostic::error(format!("{step} comes before {what}")).help(damaged)
            }
            Self::WrongChip { tile } => {
                Diagnostic::error(format!("the chip has no cells for {tile}")).help(damaged)
            }
            Self::NotFinite { name, input, value } => {
                Diagnostic::error(format!("layer `{name}` is given {value} by input {input}"))
                    .note("an array cannot be driven with a number that is not finite")
                    .help("check the preprocessing (`--scale`, `--mean`, `--std`) and the model")
            }
            Self::Input { name, reason } => {
                Diagnostic::error(format!("input `{name}` does not fit the model"))
                    .note(reason.clone())
                    .help("check the data, or fix the shape with `--shape`")
            }
            Self::InputCount { wanted, given } => {
                Diagnostic::error(format!("the model takes {wanted} inputs, {given} were given"))
            }
        }]
    }
}
