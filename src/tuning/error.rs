//! Why a chip cannot be tuned.

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain, nearest};
use crate::runtime::RunError;

/// Why a chip cannot be tuned.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum TuneError {
    /// A run that failed.
    Run(#[from] RunError),
    /// Nothing of the model is on the arrays.
    NoArrays,
    /// A name that no layer on the arrays has.
    UnknownLayer {
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// A layer whose cells other layers drive too.
    SharedCells {
        /// The layer.
        layer: String,
        /// Another one.
        other: String,
    },
    /// No output of the model is a score for each class.
    NoScores,
    /// The scores do not depend on a layer that is to be tuned.
    NotBehind {
        /// The layer.
        layer: String,
    },
    /// A layer behind a tuned one that gradients cannot pass.
    NoRule {
        /// The tuned layer.
        tuned: String,
        /// The layer that has no backward rule.
        layer: String,
        /// What it does.
        op: String,
        /// Why it has none.
        reason: String,
    },
    /// Single pulses, for a target that does not say what they do.
    NoPulses {
        /// The target.
        target: String,
    },
    /// Errors are to be carried back by arrays that are not read that way.
    NoTransposedReads {
        /// The target.
        target: String,
    },
    /// A chip without as many PEs again for a fast array.
    NoRoomForFast {
        /// The target.
        target: String,
        /// PEs that weights and fast array take.
        n_needed: u64,
        /// PEs that there are.
        n_pes: u32,
    },
    /// A fast array that cannot be written.
    FastArray {
        /// Why.
        reason: String,
    },
    /// A label beyond the scores.
    Label {
        /// Which sample, from 0.
        sample: usize,
        /// Its label.
        label: u32,
        /// Scores that there are.
        n_classes: usize,
    },
    /// Too few samples to tune on.
    TooFew {
        /// Samples given.
        n: usize,
        /// Of these held out.
        n_held_out: usize,
    },
    /// Scores or gradients that are no numbers: the rate is too high, or the
    /// model fails.
    NotFinite {
        /// The batch, from 0.
        batch: u64,
        /// What is not finite.
        what: String,
    },
}

impl Explain for TuneError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![match self {
            Self::Run(error) => return error.diagnostics(),
            Self::NoArrays => Diagnostic::error("no layer of the model is on the arrays")
                .help("`ohmc report` says of each layer why it runs digitally"),
            Self::UnknownLayer { name, known } => {
                let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                let diagnostic = Diagnostic::error(format!("no layer on the arrays is `{name}`"))
                    .note(format!("there are {}", names.join(", ")));
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic.help("give `--layer` one of these names"),
                }
            }
            Self::SharedCells { layer, other } => {
                Diagnostic::error(format!("the cells of `{layer}` are driven by `{other}` too"))
                    .note("layers that share a matrix, as the steps of a loop do, are not tuned")
                    .help("choose another layer with `--layer`")
            }
            Self::NoScores => Diagnostic::error("no output of the model is a score for each class")
                .note("softmax and cross-entropy need one axis of numbers for each input")
                .help("`ohmc tune --calibrate` needs neither labels nor scores"),
            Self::NotBehind { layer } => {
                Diagnostic::error(format!("the scores do not depend on layer `{layer}`"))
                    .help("choose another layer with `--layer`")
            }
            Self::NoRule { tuned, layer, op, reason } => Diagnostic::error(format!(
                "layer `{tuned}` cannot be tuned: `{layer}` ({op}) behind it has no backward rule"
            ))
            .note(reason.clone())
            .help("tune layers behind it alone, with `--layer`"),
            Self::NoPulses { target } => {
                Diagnostic::error(format!("`{target}` does not say what a pulse does"))
                    .at(target, "`cell.pulses`")
                    .note("`--update sign` and `--update transfer` give cells one pulse each")
                    .help(
                        "take `--update threshold`, which writes cells to values, or a target \
                         that has `cell.pulses`",
                    )
            }
            Self::NoTransposedReads { target } => {
                Diagnostic::error(format!("arrays of `{target}` are not read the other way round"))
                    .at(target, "`pe.transposed_reads`")
                    .note("errors go back through a layer as codes on its output lines")
                    .help(
                        "`--set pe.transposed_reads=true`, if the chip can do it, or `--backward \
                         digital`, which reads the cells and multiplies beside the chip",
                    )
            }
            Self::NoRoomForFast { target, n_needed, n_pes } => Diagnostic::error(format!(
                "weights and fast array take {n_needed} PEs, `{target}` has {n_pes}"
            ))
            .at(target, "`chip.pes`")
            .note("`--update transfer` gives every PE of the weights another beside it")
            .help("choose a larger target, train fewer layers, or another `--update`"),
            Self::FastArray { reason } => Diagnostic::error("the fast array cannot be written")
                .note(reason.clone())
                .help("raise `cell.verify_tolerance_us` or `cell.pulses.give_up_pulses`"),
            Self::Label { sample, label, n_classes } => Diagnostic::error(format!(
                "sample {sample} has the label {label}, the model has {n_classes} classes"
            ))
            .note("samples are counted among those that are taken, from 0")
            .help("give the labels that belong to this model with `--labels`"),
            Self::TooFew { n, n_held_out } => {
                Diagnostic::error(format!("{n} samples, of which {n_held_out} are held out"))
                    .note("at least one must be left to tune on")
                    .help("give more data, or hold out less with `--hold-out`")
            }
            Self::NotFinite { batch, what } => {
                Diagnostic::error(format!("batch {batch} gives {what} that are not finite"))
                    .help("lower `--rate`, and check the preprocessing")
            }
        }]
    }
}
