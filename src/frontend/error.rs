//! What can be wrong with a model.

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain};
use crate::graph::GraphFault;

/// Why a model could not be read. Every variant carries the file's name.
#[derive(Debug, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum FrontendError {
    /// The bytes are not an ONNX protobuf, or end too early.
    NotOnnx {
        /// File.
        file: String,
        /// Its size in bytes.
        n_bytes: usize,
        /// What the decoder said.
        reason: String,
    },
    /// Operators that tract does not know.
    UnknownOperators {
        /// File.
        file: String,
        /// Node and operator, in the order of the model.
        nodes: Vec<(String, String)>,
    },
    /// Axes whose extent is open and that are not the batch.
    OpenShapes {
        /// File.
        file: String,
        /// Input and its shape as the model gives it.
        inputs: Vec<(String, String)>,
    },
    /// `--shape` names an input that the model does not have, or gives it a
    /// wrong number of axes.
    WrongShape {
        /// File.
        file: String,
        /// What is wrong.
        what: String,
        /// The model's inputs with their shapes.
        inputs: Vec<(String, String)>,
    },
    /// An external weight file is missing or points outside.
    External {
        /// File.
        file: String,
        /// The tensor whose data it holds.
        tensor: String,
        /// Location as the model gives it.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nodes that do not hang together.
    Wiring {
        /// File.
        file: String,
        /// What is wrong.
        what: String,
        /// The node, if it is that of one.
        node: Option<String>,
    },
    /// An input without a value.
    EmptyInput {
        /// File.
        file: String,
        /// The input.
        input: String,
        /// Its shape as the model gives it.
        shape: String,
    },
    /// A constant whose data does not fit its shape.
    Constant {
        /// File.
        file: String,
        /// The constant.
        name: String,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// tract could not make sense of the model.
    Tract {
        /// File.
        file: String,
        /// The node it failed at, where it said so.
        node: Option<String>,
        /// Its own words, outermost first.
        reasons: Vec<String>,
    },
    /// An input has an element type that no data format delivers.
    InputType {
        /// File.
        file: String,
        /// The input.
        input: String,
        /// Its type.
        element_type: String,
    },
    /// Weights that are NaN or infinite.
    NotFinite {
        /// File.
        file: String,
        /// Node, how many bad values, the place of the first in the matrix
        /// (group, row, column; a bias has no row) and its value.
        nodes: Vec<(String, usize, String, f32)>,
    },
    /// Weights are to be drawn, and the model has none that could be.
    NothingToDraw {
        /// File.
        file: String,
    },
    /// The graph that was built breaks its own invariants.
    Verify {
        /// File.
        file: String,
        /// The broken invariants.
        faults: Vec<GraphFault>,
    },
}

impl Explain for FrontendError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::NotOnnx { file, n_bytes, reason } => vec![
                Diagnostic::error(format!("`{file}` is not an ONNX model"))
                    .at(file, "")
                    .note(format!("{n_bytes} bytes; {reason}"))
                    .help("export the model again, and check that the copy is complete"),
            ],
            Self::UnknownOperators { file, nodes } => nodes
                .iter()
                .map(|(node, op)| {
                    Diagnostic::error(format!("operator `{op}` is not known"))
                        .at(file, format!("node `{node}` ({op})"))
                        .help("export with a lower opset, or replace the operator by standard ones")
                })
                .collect(),
            Self::OpenShapes { file, inputs } => inputs
                .iter()
                .map(|(input, shape)| {
                    Diagnostic::error(format!("the shape of input `{input}` is not fixed"))
                        .at(file, format!("input `{input}` {shape}"))
                        .note("only the first axis, the batch, may stay open")
                        .help(format!("fix it with `--shape {input}=N,...`, N being the batch"))
                })
                .collect(),
            Self::WrongShape { file, what, inputs } => {
                let mut diagnostic = Diagnostic::error(what.clone());
                for (input, shape) in inputs {
                    diagnostic = diagnostic.at(file, format!("input `{input}` {shape}"));
                }
                vec![diagnostic.help("name an input of the model and give all its axes")]
            }
            Self::External { file, tensor, location, reason } => vec![
                Diagnostic::error(format!("external weight file `{location}`: {reason}"))
                    .at(file, format!("tensor `{tensor}`"))
                    .help("put the file where the model expects it, beside the `.onnx`"),
            ],
            Self::Wiring { file, what, node } => {
                let place = node.as_ref().map_or(String::new(), |node| format!("node `{node}`"));
                vec![
                    Diagnostic::error("the nodes of the model do not hang together")
                        .at(file, place)
                        .note(what.clone())
                        .help("export the model again, or check it with `onnx.checker`"),
                ]
            }
            Self::EmptyInput { file, input, shape } => vec![
                Diagnostic::error(format!("input `{input}` has an axis of extent 0"))
                    .at(file, format!("input `{input}` {shape}"))
                    .help("export the model with an input that has values"),
            ],
            Self::Constant { file, name, reason } => vec![
                Diagnostic::error(format!("the data of constant `{name}` does not fit its shape"))
                    .at(file, format!("tensor `{name}`"))
                    .note(reason.clone())
                    .help("the file is damaged: export the model again"),
            ],
            Self::Tract { file, node, reasons } => {
                let headline = match node {
                    Some(node) => format!("node `{node}` cannot be compiled"),
                    None => "the model cannot be compiled".to_string(),
                };
                let place = node.as_ref().map_or(String::new(), |node| format!("node `{node}`"));
                let mut diagnostic = Diagnostic::error(headline).at(file, place);
                for reason in reasons {
                    diagnostic = diagnostic.note(reason.clone());
                }
                vec![diagnostic.help(
                    "fix open shapes with `--shape`, or export the model with constants folded",
                )]
            }
            Self::InputType { file, input, element_type } => vec![
                Diagnostic::error(format!("input `{input}` has the type {element_type}"))
                    .at(file, format!("input `{input}`"))
                    .help("f32, f64, u8, i8, i32, i64 and bool can be fed"),
            ],
            Self::NotFinite { file, nodes } => nodes
                .iter()
                .map(|(node, n, place, value)| {
                    Diagnostic::error(format!("layer `{node}` has weights that are not finite"))
                        .at(file, format!("node `{node}`"))
                        .note(format!("{n} of its values, the first {value} at {place}"))
                        .help("a cell cannot hold them: train or export the model again")
                })
                .collect(),
            Self::NothingToDraw { file } => vec![
                Diagnostic::error(format!("`{file}` has no weights that could be drawn"))
                    .at(file, "")
                    .note("those of Conv, ConvTranspose, Gemm and MatMul in 32 bits are")
                    .help("leave `--random` out, to train from the weights that it has"),
            ],
            Self::Verify { file, faults } => faults
                .iter()
                .map(|fault| {
                    Diagnostic::error(format!("ohmc built a wrong graph: {fault}"))
                        .at(file, "")
                        .help("this is a bug in ohmc; please report it with the model")
                })
                .collect(),
        }
    }
}
