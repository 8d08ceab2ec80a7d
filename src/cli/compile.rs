//! `ohmc compile`: a model becomes a plan.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ohmc::report::Summary;
use ohmc::{mapping, quantize, refine, schedule};
use serde_json::{Value, json};

use super::error::CliError;
use super::files;
use super::made::Made;
use super::options::{Compilation, Format, Preprocessing, Threads};
use super::output::{self, Output, counted};
use super::prepare::Prepared;
use super::progress::Progress;
use super::request::Request;

/// Compile a model for a chip
///
/// The model is split into layers for arrays and digital work beside them, its
/// weights become levels of cells, each cell gets its place, each step its
/// time. `-o` writes all that into one file, the plan, which `ohmc report`,
/// `ohmc run` and `ohmc eval` take in place of the model.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Compile {
    /// ONNX model.
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Write the plan to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Print a stage's result in its text form; repeatable.
    #[arg(long, value_name = "STAGE")]
    emit: Vec<Stage>,

    /// How the summary is printed.
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
  Compile for the eight-PE chip, ranges chosen on the training part of a folder:
    ohmc compile models/mcnn.onnx --target yao2020-chip --calibrate models/digits -o mcnn.plan

  See where each weight sits, on a chip with twice the PEs:
    ohmc compile models/mcnn.onnx --target yao2020-chip --set chip.pes=16 --emit mapping

  A model whose batch and image size are open, trained on normalised colours:
    ohmc compile net.onnx --target ideal --shape image=N,3,32,32 \\
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --calibrate cifar10/ -o net.plan

  Fill a chip of 64 PEs with copies of layers, for the most inputs a second:
    ohmc compile models/mcnn.onnx --target yao2020-macro --set chip.pes=64 --optimize throughput

  Three copies of a layer, and places chosen by hand:
    ohmc compile models/mcnn.onnx --target yao2020-macro --replicas conv1=3 --floorplan places.yaml";

/// `--emit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Layers, and the integers chosen for those on arrays.
    Graph,
    /// Where each weight sits.
    Mapping,
    /// Steps with their times.
    Plan,
}

impl Compile {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        self.compilation.without_effects()?;
        // Begun first: a place that cannot be written is found before the work.
        let output = self.out.as_deref().map(Output::create).transpose()?;
        let prepared = Request {
            file: &self.model,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: None,
            measures: false,
            adapts: false,
            fresh: None,
            out: self.out.as_deref(),
        }
        .compile_only()?;
        let text = self.text(&prepared);
        match output {
            Some(output) => write(prepared, output)?,
            None if self.emit.is_empty() => output::remark(
                "nothing was written: `-o FILE` keeps the plan, `--emit` prints its stages",
            ),
            None => {}
        }
        // Printed last: whoever stops reading still has the plan.
        output::print(&text)
    }

    /// The stages that are wanted, or else the summary.
    fn text(&self, prepared: &Prepared) -> String {
        let stages = self.emit.iter().map(|stage| stage.text(prepared));
        match (self.emit.is_empty(), self.format) {
            (false, _) => stages.collect(),
            (true, Format::Text) => summary_text(prepared),
            (true, Format::Json) => {
                let plan = self.out.as_deref().map(files::name);
                format!("{:#}\n", summary_json(prepared, plan))
            }
        }
    }
}

fn write(prepared: Prepared, output: Output) -> Result<(), CliError> {
    let _progress = Progress::start("writing the plan", None);
    let plan = prepared.into_plan_file();
    output.finish_by(|file| plan.write_into(file))
}

/// A few lines; `ohmc report` says more.
fn summary_text(prepared: &Prepared) -> String {
    let summary = Summary::new(&prepared.model.graph, &prepared.plan, &prepared.target);
    let Summary { footprint, macs, n_layers, counts } = &summary;
    let n_pes = match footprint.n_pes_available {
        Some(available) if footprint.n_passes > 1 => {
            format!("{} passes on {available} PEs", footprint.n_passes)
        }
        Some(available) => format!("{} of {available} PEs", footprint.n_pes_used),
        None => format!("{} PEs, as many as needed", footprint.n_pes_used),
    };
    let us = |cycles: u64| cycles as f64 * prepared.plan.cycle_ns / 1000.0;
    format!(
        "{} for {}\n\
         arrays          {}, {}, {n_pes}, {} of {} cells\n\
         multiplications {} on arrays, {} digital\n\
         one input       {} cycles, {:.1} us; a stream of inputs {} cycles each, {:.1} us\n\
         preprocessing   {}\n\
         calibration     {}\n\
         {}",
        prepared.file,
        prepared.target.name,
        counted(*n_layers as u64, "layer"),
        counted(prepared.plan.tiles.len() as u64, "tile"),
        footprint.cells_used,
        footprint.cells_total,
        macs.on_arrays,
        macs.digital,
        counts.latency_cycles,
        us(counts.latency_cycles),
        counts.interval_cycles,
        us(counts.interval_cycles),
        prepared.preprocess.describe(),
        prepared.calibration(),
        prepared.made.as_ref().map_or(String::new(), Made::choices_text),
    ) + &prepared.made.as_ref().map_or(String::new(), Made::filled_text)
}

fn summary_json(prepared: &Prepared, plan: Option<String>) -> Value {
    let summary = Summary::new(&prepared.model.graph, &prepared.plan, &prepared.target);
    let Summary { footprint, macs, n_layers, counts } = &summary;
    json!({
        "model": prepared.file,
        "target": prepared.target.name,
        "plan": plan,
        "layers_on_arrays": n_layers,
        "tiles": prepared.plan.tiles.len(),
        "pes_used": footprint.n_pes_used,
        "pes": footprint.n_pes_available,
        "passes": footprint.n_passes,
        "cells_used": footprint.cells_used,
        "cells_total": footprint.cells_total,
        "macs_on_arrays": macs.on_arrays,
        "macs_digital": macs.digital,
        "latency_cycles": counts.latency_cycles,
        "interval_cycles": counts.interval_cycles,
        "preprocessing": prepared.preprocess.describe(),
        "calibration": prepared.calibration(),
        "rounding": prepared.made.as_ref().and_then(Made::rounding_json),
        "fit": prepared.made.as_ref().and_then(Made::fit_json),
        "replication": prepared.made.as_ref().and_then(Made::filled_json),
    })
}

impl Stage {
    fn text(self, prepared: &Prepared) -> String {
        let graph = &prepared.model.graph;
        match (self, &prepared.made) {
            (Self::Graph, Some(made)) => {
                let integers = quantize::layers_text(graph, &made.quantized);
                format!("{graph}{integers}{}", refine::gains_text(&made.gains))
            }
            (Self::Mapping, Some(made)) => mapping::mapping_text(&made.mapping, graph),
            (Self::Plan, _) => schedule::plan_text(&prepared.plan),
            (_, None) => String::new(),
        }
    }
}
