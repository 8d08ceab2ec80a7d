//! `ohmc report`: where everything sits and what it costs.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::options::{Compilation, Format, Preprocessing, Threads};
use super::output;
use super::prepare::Request;

/// Report what a model takes of a chip
///
/// Layers with their tiles, PEs with what they hold, cycles and conversions of
/// one input, work left to the digital side and, for a target with costs,
/// energy and efficiency beside those of other machines.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// ONNX model, or a plan that `ohmc compile` wrote.
    #[arg(value_name = "MODEL|PLAN")]
    subject: PathBuf,

    /// How the report is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    compilation: Compilation,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc report mcnn.plan
  ohmc report models/mcnn.onnx --target yao2020-macro --calibrate models/digits
  ohmc report models/mcnn.onnx --target yao2020-macro --calibrate models/digits \\
    --set costs.adc_pj_per_conversion=1.275 --format json";

impl Report {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        let prepared = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: None,
            measures: false,
            out: None,
        }
        .prepare()?;
        let report = prepared.report();
        match self.format {
            Format::Text => output::print(&report.to_text()),
            Format::Json => output::print_json(&report.to_json()),
        }
    }
}
