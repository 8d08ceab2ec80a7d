//! Chips without a clock: what inputs take on them, against sums done by hand.

use ohmc::compiler::CompileOptions;
use ohmc::quantize::{QuantizeOptions, RangeRule};
use ohmc::runtime::{Executor, InputEvents};
use ohmc::tensor::{Tensor, Values};
use ohmc::timing::{SelfTimed, Timing, TimingOptions, self_timed};

use crate::onnx::{Conv, Onnx, batched};
use crate::pipeline::{self, Case};

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(ToString::to_string).collect()
}

/// A product of 6 inputs and 3 outputs, calibrated on inputs up to 1.
fn product(changes: &[&str]) -> Case {
    let model = Onnx::new(3).input("x", &batched(None, &[6])).weights("w", &[6, 3]);
    let model = model.node("MatMul", &["x", "w"], "y", vec![]).output("y");
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = vec![Tensor::new(vec![2, 6], Values::F32([[0.0; 6], [1.0; 6]].concat())).unwrap()];
    let quantize = QuantizeOptions { range: RangeRule::MinMax, ..Default::default() };
    let options = CompileOptions { quantize, ..Default::default() };
    let target = pipeline::target("self-timed-macro", &sets(changes));
    Case::new(model, target, &options, inputs).unwrap()
}

/// What each of a case's inputs takes, and how long.
fn watched(case: &Case) -> (Vec<InputEvents>, Vec<u64>) {
    let (events, timed) = streamed(case, 1);
    (events, timed.latency_ps)
}

/// The same with how far apart they come in a stream.
fn streamed(case: &Case, in_flight: u32) -> (Vec<InputEvents>, SelfTimed) {
    let chip = case.program(0);
    let plan = &case.compiled.plan;
    let executor = Executor::new(plan, &case.model, &chip).unwrap().watching(&chip, &case.target);
    executor.run(&case.inputs, 0).unwrap();
    let events: Vec<InputEvents> = executor.events().into_values().collect();
    assert!(executor.events().is_empty(), "what was asked for is forgotten");
    let rows: Vec<_> = events.iter().map(|events| &events.rows_ps).collect();
    let timed = self_timed(plan, &case.model.graph, &case.target, &rows, in_flight);
    (events, timed)
}

#[test]
fn zeros_are_passed_over_and_ones_take_every_plane() {
    let case = product(&["readout.self_timed.comparator_ns=0"]);
    let (events, times) = watched(&case);
    // A handshake of 1 ns and eight planes passed over in 0.5 ns each.
    assert_eq!(times[0], 5_000);
    assert_eq!((events[0].conversions, events[0].rounds, events[0].array_pj), (0, 0, 0.0));
    // Settled in 10 ns; of 255 codes each takes 7 or 8 decisions of 1 ns.
    assert!((1_000 + 8 * 17_000..=1_000 + 8 * 18_000).contains(&times[1]), "{times:?}");
    assert_eq!((events[1].conversions, events[1].rounds_skipped), (8 * 3, 0));
    assert!(events[1].array_pj > 0.0);
    // One ADC converts the three one after the other.
    let (_, alone) =
        watched(&product(&["readout.self_timed.comparator_ns=0", "readout.adcs_per_pe=1"]));
    assert!((1_000 + 8 * 31_000..=1_000 + 8 * 34_000).contains(&alone[1]), "{alone:?}");
}

#[test]
fn cells_draw_for_as_long_as_a_plane_takes() {
    let draws = |settle: &str| {
        let change = format!("readout.self_timed.settle_ns={settle}");
        let case = product(&[
            "readout.self_timed.decision_ns=0",
            "readout.self_timed.comparator_ns=0",
            &change,
        ]);
        watched(&case).0[1].array_pj
    };
    let (once, twice) = (draws("10"), draws("20"));
    assert!(once > 0.0 && (twice / once - 2.0).abs() < 1e-9, "{once} {twice}");
}

#[test]
fn no_input_is_slower_than_with_a_clock_that_waits_for_the_slowest() {
    let mut model = Onnx::new(8).input("x", &batched(None, &[2, 10, 10]));
    model = Conv::new(2, 20, &[3, 3]).add_to(model, "one", "x").node("Relu", &["one"], "r", vec![]);
    model = Conv::new(20, 6, &[3, 3]).add_to(model, "two", "r");
    let model = pipeline::read(model.output("two").bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 6, 0.0, 1.0, 4);
    let none = sets(&["readout.self_timed.handshake_ns=0"]);
    let target = pipeline::target("self-timed-macro", &none);
    let case = Case::new(model, target, &CompileOptions::default(), inputs).unwrap();
    let (events, times) = watched(&case);
    let options = TimingOptions { in_flight: Some(1) };
    let clocked = Timing::new(&case.compiled.plan, &case.model.graph, &case.target, options);
    assert_eq!(times.len(), 6);
    assert!(times.iter().all(|&ps| ps > 0 && ps < clocked.latency_ps), "{times:?}");
    let counts = case.compiled.plan.counts();
    for events in &events {
        assert_eq!(events.rounds + events.rounds_skipped, counts.driven_cycles);
        assert!(events.conversions <= counts.conversions);
    }
    // The same again: nothing depends on threads or on what ran before.
    assert_eq!(watched(&case).1, times);
    // One at a time, the next input comes when the last is done; several at
    // once come sooner, but no sooner than the slower of the two layers lets
    // them, which is half of an input alone at best.
    let mean_ps = times[1..].iter().sum::<u64>() as f64 / 5.0;
    assert_eq!(streamed(&case, 1).1.interval_ps, Some(mean_ps));
    let stream_ps = streamed(&case, 3).1.interval_ps.unwrap();
    assert!(stream_ps < mean_ps && stream_ps > 0.4 * mean_ps, "{stream_ps} of {mean_ps}");
    assert_eq!(streamed(&case, 6).1.interval_ps, None);
}

#[test]
fn sums_of_planes_are_not_timed_without_a_clock() {
    let text = ohmc::target::builtin("self-timed-macro").unwrap();
    let change = ohmc::target::Override::parse("readout.accumulation.stage=none").unwrap();
    let error = ohmc::Target::from_yaml(text, "self-timed-macro", &[change]).unwrap_err();
    assert_eq!(error.faults.len(), 1);
    assert!(error.faults[0].kind.to_string().contains("readout.accumulation"), "{error:?}");
}
