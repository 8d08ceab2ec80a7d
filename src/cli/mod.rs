//! The command line: the only part of ohmc that opens files, prints, and
//! listens to signals.
//!
//! A file a command, and what they share:
//!
//! | file | what |
//! |---|---|
//! | `options` | groups of options that several commands take |
//! | `request` | MODEL, PLAN or CHIP, and the options about it |
//! | `prepare` | from such a request to something that can run |
//! | `ready` | from MODEL and options to what can be compiled |
//! | `placed` | from MODEL to where its weights will sit, without looking at them |
//! | `made` | what a compilation leaves beside its plan, told |
//! | `chips` | from a plan to chips, and how they are read |
//! | `calibrate` | which inputs a model is calibrated on |
//! | `items` | how a data set is cut into batches for a model |
//! | `samples` | inputs to learn from, in memory |
//! | `score`, `evaluation` | accuracies and differences of outputs, and how they are told |
//! | `energy` | what arrays drew, told |
//! | `filling` | how replicas were chosen, told |
//! | `files`, `output` | reading; writing whole files or none |
//! | `error`, `render`, `crash` | what goes wrong, how it is said, bugs of ohmc |
//! | `axes` | frames, ticks and axes of pictures |
//! | `points`, `picture` | what was found at each point of an exploration: kept, tabled, drawn |
//! | `training` | a chip trained, whichever command asks for it |
//! | `tuned`, `curves` | what a training came to, told and drawn |
//! | `progress` | bars, for work that takes longer than a second |
//!
//! Results go to standard output, everything else to standard error. Exit
//! codes: 0 done, 1 something is wrong with what was given, 2 the command
//! itself is wrong, 101 a bug of ohmc, 130 interrupted.

mod axes;
mod calibrate;
mod chips;
mod compile;
mod completions;
mod crash;
mod curves;
mod earlier;
mod energy;
mod error;
mod eval;
mod evaluation;
mod explore;
mod files;
mod filling;
mod interrupt;
mod items;
mod made;
mod options;
mod output;
mod picture;
mod placed;
mod plain;
mod points;
mod prepare;
mod program;
mod progress;
mod ready;
mod render;
mod report;
mod request;
mod run;
mod samples;
mod score;
mod selftimed;
mod source;
mod targets;
mod train;
mod training;
mod tune;
mod tuned;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;

/// Compiles ONNX models to memristor arrays and runs them on a model of the
/// chip.
///
/// A model is compiled for a target, a description of a chip: every weight
/// gets its place in an array, every step its time. The plan that comes out is
/// executed on a model of the chip, with the errors that real cells have.
#[derive(Debug, Parser)]
#[command(name = "ohmc", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ohmc eval models/mcnn.onnx --target yao2020-chip --data models/digits
  ohmc compile models/mcnn.onnx --target yao2020-chip --calibrate models/digits -o mcnn.plan
  ohmc program mcnn.plan -o mcnn.chip
  ohmc report mcnn.chip
  ohmc tune mcnn.chip --data MNIST -o tuned.chip
  ohmc train models/mcnn.onnx --target ideal --random --data MNIST -o trained.chip
  ohmc targets yao2020-chip > my-chip.yaml

`ohmc COMMAND --help` tells more about each command.";

#[derive(Debug, Subcommand)]
enum Command {
    Compile(compile::Compile),
    Program(program::Program),
    Report(report::Report),
    Run(run::Run),
    Eval(eval::Eval),
    Explore(explore::Explore),
    Tune(tune::Tune),
    Train(train::Train),
    Targets(targets::Targets),
    Completions(completions::Completions),
}

/// Runs the command that the arguments say.
pub fn main() -> ExitCode {
    // clap prints help and usage errors by itself: exit codes 0 and 2.
    let cli = Cli::parse();
    interrupt::install();
    let done = crash::guard(|| cli.command.execute()).unwrap_or_else(Err);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our results has seen enough of them.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            render::show(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

impl Command {
    fn execute(&self) -> Result<(), CliError> {
        match self {
            Self::Compile(command) => command.execute(),
            Self::Program(command) => command.execute(),
            Self::Report(command) => command.execute(),
            Self::Run(command) => command.execute(),
            Self::Eval(command) => command.execute(),
            Self::Explore(command) => command.execute(),
            Self::Tune(command) => command.execute(),
            Self::Train(command) => command.execute(),
            Self::Targets(command) => command.execute(),
            Self::Completions(command) => command.execute(),
        }
    }
}

#[cfg(test)]
mod tests {
    //! The declaration of the command line holds together.

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_no_fault_with_the_declaration() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("Examples:\n"), "{}", command.get_name());
        }
    }
}
