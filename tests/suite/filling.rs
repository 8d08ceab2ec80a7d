//! Replicas that ohmc chooses, against every choice there is on small chips,
//! and against none.

use ohmc::compiler::{self, CompileOptions};
use ohmc::mapping::unroll::Choice;
use ohmc::mapping::{self, MappingOptions, UnrollOptions};
use ohmc::optimize::{Filled, Goal, OptimizeError, fill};
use ohmc::target::Target;
use ohmc::timing::{Timing, TimingOptions, estimate_mapping, estimate_plan};
use ohmc::{LayerGraph, Model};

use crate::onnx::{Conv, Onnx, batched, ints};
use crate::pipeline;

fn three_layers(size: usize) -> Model {
    let model = Onnx::new(3).input("x", &batched(None, &[2, size, size]));
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "a", "x");
    let windows = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let model = model.node("MaxPool", &["a"], "pool", windows);
    let model = Conv::new(4, 8, &[3, 3]).add_to(model, "b", "pool");
    let model = Conv::new(8, 4, &[2, 2]).add_to(model, "c", "b").output("c");
    pipeline::read(model.bytes()).unwrap()
}

fn chip(sets: &[&str]) -> Target {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    pipeline::target("ideal", &sets)
}

fn filled(graph: &LayerGraph, target: &Target, goal: Goal) -> Filled {
    fill(graph, target, &MappingOptions::default(), &UnrollOptions::default(), goal).unwrap()
}

/// The least latency or interval of all replicas up to `most` each.
fn exhaustive(graph: &LayerGraph, target: &Target, goal: Goal, most: u32) -> u64 {
    let mut best = u64::MAX;
    for a in 1..=most {
        for b in 1..=most {
            for c in 1..=most {
                let copies = [("a", a), ("b", b), ("c", c)];
                let replicas = copies.iter().map(|(name, n)| (name.to_string(), *n)).collect();
                let options = MappingOptions { replicas, ..Default::default() };
                let Ok(mapping) = mapping::map(graph, target, &options) else { continue };
                let estimate = estimate_mapping(&mapping, graph, target);
                best = best.min(match goal {
                    Goal::Latency => estimate.latency_ps,
                    _ => estimate.interval_ps,
                });
            }
        }
    }
    best
}

#[test]
fn what_is_chosen_is_near_the_best_of_all_choices_and_never_worse_than_none() {
    for size in [12, 16] {
        let model = three_layers(size);
        for pes in [3, 4, 6, 9, 12] {
            // Lines so short that a replica takes most of a PE.
            let sets = [format!("chip.pes={pes}"), "pe.inputs=40".into(), "pe.outputs=16".into()];
            let target = pipeline::target("ideal", &sets);
            for goal in [Goal::Throughput, Goal::Latency] {
                let filled = filled(&model.graph, &target, goal);
                let (none, best) = filled.ends().unwrap();
                let of = |estimate: &ohmc::timing::Estimate| match goal {
                    Goal::Latency => estimate.latency_ps,
                    _ => estimate.interval_ps,
                };
                let (none, best) = (of(&none.estimate), of(&best.estimate));
                let optimum = exhaustive(&model.graph, &target, goal, 8);
                let ratio = best as f64 / optimum as f64;
                println!("{size} {pes} PEs {goal}: none {none}, chosen {best}, optimum {optimum}");
                assert!(best <= none);
                assert!(ratio <= 1.15, "{size}, {pes} PEs, {goal}: {ratio:.3} of the optimum");
                assert!(goal == Goal::Latency || best >= filled.bound_ps);
            }
        }
    }
}

#[test]
fn the_closed_form_of_a_mapping_is_that_of_its_plan() {
    let model = three_layers(16);
    let inputs = pipeline::inputs(&model, 1, 0.0, 1.0, 5);
    let calibration = pipeline::calibrate(&model, &inputs, 1);
    let target = chip(&["chip.pes=7", "pe.inputs=24", "pe.outputs=16", "rates.link_gb_per_s=2"]);
    let options = CompileOptions { optimize: Some(Goal::Throughput), ..CompileOptions::default() };
    let compiled = compiler::compile(&model, &target, &calibration, &options).unwrap();
    let of_mapping = estimate_mapping(&compiled.mapping, &model.graph, &target);
    let of_plan = estimate_plan(&compiled.plan, &model.graph, &target);
    assert_eq!(of_mapping, of_plan);
    let filled = compiled.filled.unwrap();
    assert_eq!(filled.tried[filled.best].estimate, of_plan);
    // The events reach what was promised.
    let timing =
        Timing::new(&compiled.plan, &model.graph, &target, TimingOptions { in_flight: Some(12) });
    assert!((timing.interval_ps / of_plan.interval_ps as f64 - 1.0).abs() < 0.01);
}

#[test]
fn windows_chosen_with_replicas_are_never_worse_and_the_plan_keeps_what_was_promised() {
    let model = three_layers(16);
    let inputs = pipeline::inputs(&model, 1, 0.0, 1.0, 5);
    let calibration = pipeline::calibrate(&model, &inputs, 1);
    let auto = UnrollOptions { all: Choice::Auto, ..Default::default() };
    let mut gained = false;
    for pes in [4, 8, 16] {
        let sets = [format!("chip.pes={pes}"), "pe.inputs=40".into(), "pe.outputs=64".into()];
        let target = pipeline::target("ideal", &sets);
        let without = filled(&model.graph, &target, Goal::Throughput);
        let optimize = Some(Goal::Throughput);
        let options = CompileOptions { optimize, unroll: auto.clone(), ..Default::default() };
        let compiled = compiler::compile(&model, &target, &calibration, &options).unwrap();
        let with = compiled.filled.unwrap();
        let interval = |filled: &Filled| filled.ends().unwrap().1.estimate.interval_ps;
        println!(
            "{pes} PEs: {} without, {} with {:?}",
            interval(&without),
            interval(&with),
            with.windows
        );
        assert!(interval(&with) <= interval(&without));
        gained |= interval(&with) < interval(&without) && !with.windows.is_empty();
        assert_eq!(
            estimate_plan(&compiled.plan, &model.graph, &target).interval_ps,
            interval(&with)
        );
    }
    assert!(gained, "no chip was helped by a window");
}

#[test]
fn replicas_named_by_hand_stay() {
    let model = three_layers(12);
    let target = chip(&["chip.pes=9", "pe.inputs=40", "pe.outputs=16"]);
    let replicas = [("a".to_string(), 1)].into_iter().collect();
    let options = MappingOptions { replicas, ..Default::default() };
    let filled =
        fill(&model.graph, &target, &options, &UnrollOptions::default(), Goal::Throughput).unwrap();
    assert!(!filled.replicas.contains_key("a"));
    let (none, best) = filled.ends().unwrap();
    assert_eq!(none.estimate.interval_ps, best.estimate.interval_ps, "the first layer is slowest");
}

#[test]
fn a_chip_without_end_and_energy_without_costs_are_refused() {
    let model = three_layers(12);
    let refused = |sets: &[&str], goal| {
        let (options, unroll) = (MappingOptions::default(), UnrollOptions::default());
        fill(&model.graph, &chip(sets), &options, &unroll, goal).unwrap_err()
    };
    assert!(matches!(refused(&[], Goal::Latency), OptimizeError::NoBudget { .. }));
    let without = refused(&["chip.pes=9"], Goal::Energy);
    assert!(matches!(without, OptimizeError::NoCosts { .. }));
}

#[test]
fn least_energy_wants_no_replicas_unless_pes_cost_by_the_hour() {
    let model = three_layers(16);
    let target = |idle: &str| {
        let sets = [idle.to_string(), "chip.pes=24".to_string(), "pe.inputs=40".to_string()];
        pipeline::target("yao2020-macro", &sets)
    };
    let thrifty = filled(&model.graph, &target("costs.idle_mw_per_pe=0"), Goal::Energy);
    let (none, best) = thrifty.ends().unwrap();
    assert!(best.energy_pj <= none.energy_pj);
    let idle = filled(&model.graph, &target("costs.idle_mw_per_pe=5"), Goal::Energy);
    let (none, best) = idle.ends().unwrap();
    assert!(best.energy_pj <= none.energy_pj);
}
