//! `ohmc report`: where everything sits and what it costs.

use std::path::{Path, PathBuf};

use clap::Args;
use ohmc::report::{Outline, Programming};
use ohmc::timing::{self, TimingOptions};

use super::chips::{Bench, Making, Reading};
use super::error::CliError;
use super::files;
use super::filling;
use super::made::Made;
use super::options::{Compilation, Format, Preprocessing, Threads};
use super::output::{self, Output};
use super::placed::Placed;
use super::prepare::Prepared;
use super::progress::Progress;
use super::request::Request;

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

    /// Only where weights will sit and when PEs will work: weights and inputs are
    /// not looked at, which takes a fraction of the time and memory.
    #[arg(long, conflicts_with = "trace")]
    quick: bool,

    /// How the report is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Write a timeline of inputs on the chip to this file, in the trace format
    /// of Chrome, which Perfetto opens.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Inputs on the chip at once in a stream [default: as many as keep the
    /// busiest part busy].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: Option<u32>,

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
  ohmc report resnet50.onnx --target pimcomp --optimize throughput --unroll auto --quick
  ohmc report mcnn.plan --trace timeline.json --in-flight 4
  ohmc report models/mcnn.onnx --target yao2020-macro --calibrate models/digits
  ohmc report models/mcnn.onnx --target yao2020-macro --calibrate models/digits \\
    --set costs.adc_pj_per_conversion=1.275 --format json";

impl Report {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        self.check_files()?;
        // Begun first: a place that cannot be written is found before the work.
        let trace = self.trace.as_deref().map(Output::create).transpose()?;
        let request = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: None,
            measures: false,
            adapts: false,
            fresh: None,
            out: None,
        };
        if self.quick {
            return self.outline(request);
        }
        let prepared = request.prepare()?;
        let programming = self.programming(&prepared)?;
        let report = prepared.report(TimingOptions { in_flight: self.in_flight });
        if let Some(trace) = trace {
            let _progress = Progress::start("writing the timeline", None);
            trace.finish_with(timeline(&prepared, report.timing.in_flight).as_bytes())?;
        }
        match self.format {
            Format::Text => {
                let filled = prepared.made.as_ref().map_or(String::new(), Made::filled_text);
                let gap = if filled.is_empty() { "" } else { "\n" };
                let chip = programming.map_or(String::new(), |p| format!("\n{}", p.to_text()));
                output::print(&format!("{}{gap}{filled}{chip}", report.to_text()))
            }
            Format::Json => {
                let mut json = report.to_json();
                if let Some(filled) = prepared.made.as_ref().and_then(Made::filled_json) {
                    json["replication"] = filled;
                }
                if let Some(programming) = programming {
                    json["programming"] = programming.to_json();
                }
                output::print_json(&json)
            }
        }
    }

    /// What can be said without weights.
    fn outline(&self, request: Request<'_>) -> Result<(), CliError> {
        let Placed { file, model, target, mapping, filled } = request.placed()?;
        let options = TimingOptions { in_flight: self.in_flight };
        let outline = Outline::new(&file, (&mapping, &model.graph), &target, options);
        match self.format {
            Format::Text => {
                let filled = filled.as_ref().map_or(String::new(), filling::text);
                let gap = if filled.is_empty() { "" } else { "\n" };
                output::print(&format!("{}{gap}{filled}", outline.to_text()))
            }
            Format::Json => {
                let mut json = outline.to_json();
                if let Some(filled) = &filled {
                    json["replication"] = filling::json(filled);
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
        let chip = bench.read((programmed, None), bench.effects, 0);
        Ok(Some(Programming::new(&prepared.plan, &prepared.target, programmed, &chip)))
    }

    /// The timeline may not take the place of what it is made from.
    fn check_files(&self) -> Result<(), CliError> {
        let made = &self.compilation;
        files::keep_apart(
            &[
                ("--trace", self.trace.as_deref()),
                ("--save-calibration", made.save_calibration.as_deref()),
            ],
            &[
                ("MODEL|PLAN", Some(&self.subject)),
                ("--calibrate", made.calibrate.as_deref()),
                ("--target", made.target.as_deref().map(Path::new)),
                ("--floorplan", made.floorplan.as_deref()),
            ],
        )
    }
}

/// All inputs that are in flight, from the first event to the last.
fn timeline(prepared: &Prepared, in_flight: u32) -> String {
    let Prepared { plan, model, target, file, .. } = prepared;
    timing::trace(plan, &model.graph, target, (in_flight, in_flight), file)
}
