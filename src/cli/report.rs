//! `ohmc report`: where everything sits and what it costs.

use std::path::PathBuf;

use clap::Args;
use ohmc::report::Programming;

use super::chips::{Bench, Making, Reading};
use super::error::CliError;
use super::options::{Compilation, Format, Preprocessing, Threads};
use super::output;
use super::prepare::{Prepared, Request};

/// Report what a model takes of a chip
///
/// Layers with their tiles, PEs with what they hold, cycles and conversions of
/// one input, work left to the digital side and, for a target with costs,
/// energy and efficiency beside those of other machines. Of a chip also what
/// programming took, how large errors are, and the currents of each level.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// ONNX model, a plan that `ohmc compile` wrote, or a chip that `ohmc
    /// program` wrote.
    #[arg(value_name = "MODEL|PLAN|CHIP")]
    subject: PathBuf,

    /// How the report is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    compilation: Compilation,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc report mcnn.plan
  ohmc report mcnn.chip --at 30d
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
        let programming = self.programming(&prepared)?;
        let report = prepared.report();
        match self.format {
            Format::Text => {
                let chip = programming.map_or(String::new(), |p| format!("\n{}", p.to_text()));
                output::print(&(report.to_text() + &chip))
            }
            Format::Json => {
                let mut json = report.to_json();
                if let Some(programming) = programming {
                    json["programming"] = programming.to_json();
                }
                output::print_json(&json)
            }
        }
    }

    /// What is to be said of a chip, as it is read when it is wanted.
    fn programming(&self, prepared: &Prepared) -> Result<Option<Programming>, CliError> {
        let Some(programmed) = &prepared.programmed else {
            self.compilation.without_effects()?;
            return match self.reading.given() {
                options if options.is_empty() => Ok(None),
                options => Err(CliError::NoChipRead { options }),
            };
        };
        let making = Making::default();
        let bench = Bench::new(prepared, &self.compilation, &self.reading, &making)?;
        let chip = bench.read(programmed, bench.effects, 0);
        Ok(Some(Programming::new(&prepared.plan, &prepared.target, programmed, &chip)))
    }
}
