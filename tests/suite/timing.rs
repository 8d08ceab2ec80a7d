//! Cycles and conversions of small plans, against counts done by hand.

use ohmc::compiler::CompileOptions;
use ohmc::mapping::MappingOptions;
use ohmc::schedule::{ExecutionPlan, StepKind};

use crate::onnx::{Conv, Onnx, batched};
use crate::pipeline::{self, Case};

/// Two convolutions of 18 inputs and 4 outputs that read the same tensor: 16
/// positions of 8 planes each.
fn branches(sets: &[&str], replicas: &[(&str, u32)]) -> ExecutionPlan {
    let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "left", "x");
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "right", "x");
    let model = model.node("Add", &["left", "right"], "both", vec![]).output("both");
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 1, 0.0, 1.0, 5);
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let replicas = replicas.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    let mapping = MappingOptions { replicas, ..Default::default() };
    let options = CompileOptions { mapping, ..Default::default() };
    let case = Case::new(model, pipeline::target("ideal", &sets), &options, inputs).unwrap();
    case.compiled.plan
}

/// Start and length of the waves, in the order of steps.
fn waves(plan: &ExecutionPlan) -> Vec<(u64, u64)> {
    let steps = plan.steps.values().filter(|step| matches!(step.kind, StepKind::Waves { .. }));
    steps.map(|step| (step.start, step.cycles)).collect()
}

#[test]
fn layers_that_do_not_wait_for_each_other_run_at_once() {
    let plan = branches(&["chip.pes=2"], &[]);
    assert_eq!(waves(&plan), [(0, 16 * 8), (0, 16 * 8)]);
    let counts = plan.counts();
    assert_eq!((counts.latency_cycles, counts.interval_cycles), (128, 128));
    assert_eq!((counts.waves, counts.planes, counts.pe_cycles), (32, 256, 256));
    assert_eq!(counts.conversions, 256 * 4);
}

#[test]
fn tiles_of_one_pe_take_turns() {
    let plan = branches(&["chip.pes=1"], &[]);
    assert_eq!(waves(&plan), [(0, 128), (128, 128)]);
    let counts = plan.counts();
    assert_eq!((counts.latency_cycles, counts.interval_cycles), (256, 256));
}

#[test]
fn replicas_share_the_positions() {
    let plan = branches(&["chip.pes=5"], &[("left", 3)]);
    // 16 positions: 6, 5 and 5.
    assert_eq!(waves(&plan), [(0, 48), (0, 40), (0, 40), (0, 128)]);
    assert_eq!(plan.counts().waves, 32);
}

#[test]
fn a_plane_waits_for_its_conversions() {
    // Four pairs at three conversions a cycle: two cycles a plane.
    let adcs = ["chip.pes=2", "readout.adcs_per_pe=1", "readout.conversions_per_cycle=3"];
    let plan = branches(&adcs, &[]);
    assert_eq!(waves(&plan), [(0, 256), (0, 256)]);
    // Each line on its own: eight conversions, three cycles.
    let lines = [&adcs[..], &["readout.subtract=after-conversion"]].concat();
    let plan = branches(&lines, &[]);
    assert_eq!(waves(&plan), [(0, 384), (0, 384)]);
    assert_eq!(plan.counts().conversions, 256 * 8);
}
