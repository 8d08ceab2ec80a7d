//! The text form of every stage, for the shipped network on the shipped
//! targets, as `snapshots/STAGE/CASE.snap`: a change in any of them is to be
//! looked at. Whether what they say is right is for other tests.
//!
//! A calibration from data would make the texts depend on the last bit of
//! somebody's floating point. So ranges come from made-up activations here:
//! multiples of a power of two, which every machine adds up alike.

use std::sync::Arc;

use ohmc::compiler::{self, CompileOptions, Compiled};
use ohmc::frontend::{self, Model, ModelFiles};
use ohmc::mapping::{self, Floorplan, MappingOptions};
use ohmc::quantize::{self, Calibration, Collector, LayerInput};
use ohmc::report::{Report, ReportParts};
use ohmc::schedule;
use ohmc::target::{Target, builtin};

fn repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn mcnn() -> Model {
    let onnx = std::fs::read(repository("models/mcnn.onnx")).unwrap();
    let files = ModelFiles { onnx: Arc::new(onnx), ..Default::default() };
    frontend::read(&files, &Default::default(), "mcnn.onnx").unwrap()
}

fn target(name: &str) -> Target {
    Target::from_yaml(builtin(name).unwrap(), name, &[]).unwrap()
}

fn published_floorplan() -> Floorplan {
    let text = std::fs::read_to_string(repository("models/mcnn-yao2020.floorplan.yaml")).unwrap();
    Floorplan::from_yaml(&text).unwrap()
}

/// Activations as a network has them after a rectifier: three quarters zeros,
/// small values more often than large ones, from 0 to nearly 4. A function of
/// the index in integers.
fn activation(index: usize) -> f32 {
    // Multiplication by an odd number shuffles the high bits.
    let shuffled = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let (which, byte) = (shuffled & 3, (shuffled >> 8) & 0xFF);
    // 16 bits of a square, divided by a power of two: exact.
    if which == 0 { (byte * byte) as f32 / 16_384.0 } else { 0.0 }
}

fn calibration(model: &Model) -> Calibration {
    const N_INPUTS: usize = 4;
    let mut collector = Collector::new("made-up activations", N_INPUTS as u64);
    for (_, layer, crossbar) in model.graph.crossbar_layers() {
        let shape: Vec<usize> = model.graph.tensors()[layer.inputs[0]]
            .shape
            .iter()
            .map(|extent| extent.for_batch(N_INPUTS).unwrap())
            .collect();
        let values: Vec<f32> = (0..shape.iter().product()).map(activation).collect();
        let read =
            LayerInput { layer: &layer.name, nest: &crossbar.nest, shape: &shape, values: &values };
        collector.add(&[read], N_INPUTS);
    }
    collector.count(N_INPUTS as u64);
    collector.finish()
}

/// Compares with `snapshots/STAGE/CASE.snap`.
fn check(stage: &str, case: &str, text: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(repository(&format!("snapshots/{stage}")));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(case, text));
}

/// Compares every stage's text form of one compilation.
fn check_stages(case: &str, target_name: &str, mapping_options: MappingOptions) {
    let (model, target) = (mcnn(), target(target_name));
    let options = CompileOptions { mapping: mapping_options, ..Default::default() };
    let calibration = calibration(&model);
    let Compiled { quantized, mapping, plan, .. } =
        compiler::compile(&model, &target, &calibration, &options).unwrap();
    let graph = &model.graph;
    check("graph", case, format!("{graph}{}", quantize::layers_text(graph, &quantized)));
    check("mapping", case, mapping::mapping_text(&mapping, graph));
    check("plan", case, schedule::plan_text(&plan));
    let report = Report::new(&ReportParts {
        model_name: "mcnn.onnx",
        graph,
        plan: &plan,
        target: &target,
        preprocessing: "bytes / 255, other numbers as they are",
        calibration: &format!("{} inputs, {}", calibration.n_inputs, calibration.source),
        timing: Default::default(),
    });
    check("report", case, report.to_text());
    if target.costs.is_some() {
        // One is enough: this has every key.
        let json = serde_json::to_string_pretty(&report.to_json()).unwrap();
        check("report", &format!("{case}.json"), json);
    }
}

#[test]
fn mcnn_on_ideal() {
    check_stages("mcnn-ideal", "ideal", MappingOptions::default());
}

#[test]
fn mcnn_on_yao2020_chip() {
    check_stages("mcnn-yao2020-chip", "yao2020-chip", MappingOptions::default());
}

#[test]
fn mcnn_on_yao2020_macro() {
    check_stages("mcnn-yao2020-macro", "yao2020-macro", MappingOptions::default());
}

#[test]
fn mcnn_in_its_published_places() {
    let options = MappingOptions { floorplan: published_floorplan(), ..Default::default() };
    check_stages("mcnn-yao2020-chip-floorplan", "yao2020-chip", options);
}
