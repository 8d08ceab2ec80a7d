//! What can go wrong on the command line, with what the library says of its
//! own part.

mod words;

use std::io;

use ohmc::chip::ProgramError;
use ohmc::compiler::CompileError;
use ohmc::data::DataError;
use ohmc::diagnostic::{Diagnostic, Explain};
use ohmc::fit::FitError;
use ohmc::format::FormatError;
use ohmc::frontend::FrontendError;
use ohmc::runtime::RunError;
use ohmc::target::TargetError;
use ohmc::tuning::TuneError;
use thiserror::Error;

use super::crash::Crash;
use words::places;

/// Why a command failed.
#[derive(Debug, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum CliError {
    /// A model that cannot be read.
    Frontend(#[from] Box<FrontendError>),
    /// A target that is wrong.
    Target(#[from] TargetError),
    /// A plan or a stored calibration.
    Format(#[from] Box<FormatError>),
    /// Data.
    Data(#[from] Box<DataError>),
    /// A run that failed.
    Run(#[from] RunError),
    /// A chip that cannot be programmed.
    Program(#[from] ProgramError),
    /// A chip that cannot be tuned.
    Tune(#[from] TuneError),
    /// A model that does not compile for a target.
    Compile {
        /// Why.
        error: Box<CompileError>,
        /// File of the model.
        model: String,
        /// The target, as the user called it.
        target: String,
        /// The floorplan, if one was given.
        floorplan: Option<String>,
    },
    /// No precision that keeps what is lost within a bound.
    Fit {
        /// Why.
        error: Box<FitError>,
        /// File of the model.
        model: String,
    },
    /// A file that cannot be read.
    Read {
        /// File.
        file: String,
        /// What it was to be.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no text.
    NotText {
        /// File.
        file: String,
        /// What it was to be.
        what: &'static str,
        /// Bytes of text before the first that is not.
        position: usize,
    },
    /// A file that cannot be written.
    Write {
        /// File.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output that cannot be written.
    Print(io::Error),
    /// Nowhere to put results that do not stay in memory.
    Scratch(io::Error),
    /// A name that no target has, and that no file has.
    UnknownTarget {
        /// The name.
        name: String,
    },
    /// A model without `--target`.
    NoTarget {
        /// The model.
        file: String,
    },
    /// Options that make no sense for a plan.
    BelongsToModel {
        /// The plan.
        file: String,
        /// The options.
        options: Vec<&'static str>,
    },
    /// Options about weights or inputs, where neither is looked at.
    NotQuick {
        /// The options.
        options: Vec<&'static str>,
    },
    /// Options about steps down a gradient, where none is made.
    NotDistilled {
        /// The options.
        options: Vec<&'static str>,
    },
    /// The reference is wanted, of a plan.
    NoReference {
        /// The plan.
        file: String,
    },
    /// A plan where a model is needed.
    IsPlan {
        /// The plan.
        file: String,
    },
    /// A chip where a plan or a model is needed.
    IsChip {
        /// The chip.
        file: String,
    },
    /// A plan or a model where a chip is needed.
    NotChip {
        /// The file.
        file: String,
        /// What needs a chip, and why.
        because: &'static str,
    },
    /// Data without labels, to be learned from.
    NoLabels {
        /// The data.
        file: String,
    },
    /// Data of which none is taken.
    NoSamples {
        /// The data.
        file: String,
    },
    /// A chip to be written over with a plan that is for other cells.
    OtherChip {
        /// The chip.
        file: String,
        /// What is not the same.
        differences: Vec<String>,
    },
    /// Options that make a chip, for one that is made already.
    Programmed {
        /// The chip.
        file: String,
        /// The options.
        options: Vec<&'static str>,
    },
    /// Options about the reading of a chip, where none is read.
    NoChipRead {
        /// The options.
        options: Vec<&'static str>,
    },
    /// A time, for a target whose cells do not drift.
    NoDrift {
        /// The target.
        target: String,
    },
    /// Readings, for a target whose cells they do not change.
    NoDisturb {
        /// The target.
        target: String,
    },
    /// Pulses, for a target that does not say what they do.
    NoPulses {
        /// The target.
        target: String,
        /// The option.
        option: &'static str,
    },
    /// A map of faults that is none.
    FaultMap {
        /// File.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Preprocessing given again, and other than the plan's.
    OtherPreprocessing {
        /// The plan.
        file: String,
        /// The options that differ.
        options: Vec<&'static str>,
        /// What the plan says.
        planned: String,
    },
    /// A floorplan that is not of its form.
    Floorplan {
        /// File.
        file: String,
        /// What the YAML reader says.
        reason: String,
    },
    /// The evaluated data was given to calibrate on, and has no part for that.
    CalibratesOnEvaluated {
        /// The data.
        file: String,
    },
    /// The model fails on inputs that ohmc made up.
    Synthetic(RunError),
    /// An output that the model does not have.
    UnknownOutput {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A label beyond the classes of the model.
    Label {
        /// The data.
        file: String,
        /// Which input, from 0.
        input: u64,
        /// Its label.
        label: u32,
        /// The output with the scores.
        output: String,
        /// How many there are.
        n_classes: usize,
    },
    /// More points than can be explored.
    TooManyPoints {
        /// How many combinations there are.
        n_points: usize,
        /// How many there may be.
        most: usize,
    },
    /// Data without labels, or a model without scores, where an accuracy is
    /// wanted.
    NothingToScore {
        /// The data.
        file: String,
    },
    /// A file that points are to be kept in, and that has something else.
    NotPoints {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// What the JSON reader says.
        reason: String,
    },
    /// A file with points of another exploration.
    OtherPoints {
        /// The file.
        file: String,
    },
    /// Nothing to measure against.
    NothingToCompare {
        /// The data.
        file: String,
    },
    /// Two results that would be written to one file.
    SameFile {
        /// The file.
        file: String,
        /// What names it.
        options: [&'static str; 2],
    },
    /// The system gives no threads.
    Threads {
        /// How many were asked for, 0 for one a core.
        n_threads: usize,
        /// What the system says.
        reason: String,
    },
    /// A bug.
    Crash(Box<Crash>),
}

impl From<FrontendError> for CliError {
    fn from(error: FrontendError) -> Self {
        Self::Frontend(Box::new(error))
    }
}

impl From<FormatError> for CliError {
    fn from(error: FormatError) -> Self {
        Self::Format(Box::new(error))
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl CliError {
    /// Whether whoever reads standard output has stopped reading.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Print(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the process says of it at its end.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoTarget { .. }
            | Self::BelongsToModel { .. }
            | Self::NotQuick { .. }
            | Self::NotDistilled { .. }
            | Self::NoReference { .. }
            | Self::Programmed { .. }
            | Self::NoChipRead { .. }
            | Self::NoDrift { .. }
            | Self::NoDisturb { .. }
            | Self::NoPulses { .. }
            | Self::NothingToCompare { .. }
            | Self::TooManyPoints { .. }
            | Self::OtherPoints { .. }
            | Self::SameFile { .. } => 2,
            Self::Crash(_) => 101,
            _ => 1,
        }
    }
}

impl Explain for CliError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Frontend(error) => error.diagnostics(),
            Self::Target(error) => error.diagnostics(),
            Self::Format(error) => error.diagnostics(),
            Self::Data(error) => error.diagnostics(),
            Self::Run(error) => error.diagnostics(),
            Self::Program(error) => error.diagnostics(),
            Self::Tune(error) => error.diagnostics(),
            Self::Compile { error, model, target, floorplan } => {
                let places = places(error, model, target, floorplan.as_deref());
                let placed = |diagnostic: Diagnostic| {
                    places.iter().fold(diagnostic, |d, (file, what)| d.at(file, what))
                };
                error.diagnostics().into_iter().map(placed).collect()
            }
            Self::Fit { error, model } => {
                error.diagnostics().into_iter().map(|d| d.at(model, "")).collect()
            }
            Self::Synthetic(error) => error
                .diagnostics()
                .into_iter()
                .map(|diagnostic| {
                    diagnostic
                        .note("this happened on synthetic inputs, made up to calibrate on")
                        .help("give real inputs with `--calibrate DATA`")
                })
                .collect(),
            _ => vec![self.diagnostic()],
        }
    }
}

#[cfg(test)]
mod tests {
    //! What the process says at its end.

    use super::*;

    #[test]
    fn exit_codes_tell_usage_input_and_bugs_apart() {
        let usage = CliError::NoTarget { file: "x.onnx".to_string() };
        let input = CliError::UnknownTarget { name: "x".to_string() };
        let crash = Crash { message: "m".to_string(), place: String::new(), backtrace: None };
        assert_eq!(usage.exit_code(), 2);
        assert_eq!(input.exit_code(), 1);
        assert_eq!(CliError::Crash(Box::new(crash)).exit_code(), 101);
    }
}
