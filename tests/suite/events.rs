//! Latency and throughput of small plans, event by event, against times done
//! by hand; and laws that hold for any plan.

use ohmc::compiler::CompileOptions;
use ohmc::mapping::{Floorplan, MappingOptions};
use ohmc::timing::{Resource, Timing, TimingOptions, trace};
use serde_json::Value;

use crate::onnx::{Conv, Onnx, batched, ints};
use crate::pipeline::{self, Case};

/// A cycle of the ideal target.
const CYCLE_PS: u64 = 50_000;

const NS: u64 = 1000;

fn compile(model: Onnx, sets: &[&str], replicas: &[(&str, u32)]) -> Case {
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 1, 0.0, 1.0, 5);
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let replicas = replicas.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    let mapping = MappingOptions { replicas, ..Default::default() };
    let options = CompileOptions { mapping, ..Default::default() };
    Case::new(model, pipeline::target("ideal", &sets), &options, inputs).unwrap()
}

fn time(case: &Case, in_flight: u32) -> Timing {
    let options = TimingOptions { in_flight: Some(in_flight) };
    Timing::new(&case.compiled.plan, &case.model.graph, &case.target, options)
}

/// One convolution of 18 inputs and 4 outputs, 4 rows of 4 positions: a row
/// is 32 planes.
fn single(sets: &[&str]) -> Timing {
    let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "first", "x").output("first");
    time(&compile(model, sets, &[]), 1)
}

/// That, and behind it one of 36 inputs, 2 rows of 2 positions: a row is 16
/// planes.
fn chain(sets: &[&str], replicas: &[(&str, u32)]) -> Case {
    let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "first", "x");
    let model = Conv::new(4, 4, &[3, 3]).add_to(model, "second", "first").output("second");
    compile(model, sets, replicas)
}

fn busy(timing: &Timing, resource: Resource) -> u64 {
    timing.uses.iter().find(|each| each.resource == resource).unwrap().busy_ps
}

fn most(timing: &Timing) -> Resource {
    timing.bottleneck().unwrap().resource
}

#[test]
fn a_layer_begins_when_the_rows_it_needs_are_there() {
    let case = chain(&["chip.pes=2"], &[]);
    let timing = time(&case, 1);
    // Its first row needs rows 0 to 2 of the first layer, done after 96
    // cycles; its second the last, done after 128.
    assert_eq!(timing.latency_ps, (128 + 16) * CYCLE_PS);
    let spans: Vec<_> = timing.layers.iter().map(|l| (l.start_ps, l.end_ps)).collect();
    assert_eq!(spans, [(0, 128 * CYCLE_PS), (96 * CYCLE_PS, 144 * CYCLE_PS)]);
    // The plan's own steps wait for whole layers.
    assert_eq!(case.compiled.plan.counts().latency_cycles, 128 + 32);
    // One after the other without overlap of inputs.
    assert_eq!(timing.interval_ps, 144.0 * CYCLE_PS as f64);
}

#[test]
fn inputs_in_flight_overlap_until_the_busiest_pe_has_no_pause() {
    let case = chain(&["chip.pes=2"], &[]);
    for in_flight in [2, 3, 8] {
        let timing = time(&case, in_flight);
        assert_eq!(timing.interval_ps, 128.0 * CYCLE_PS as f64, "{in_flight} in flight");
        assert_eq!(timing.utilisation(&timing.bottleneck().unwrap()), Some(1.0));
    }
    let chosen = TimingOptions::default();
    let timing = Timing::new(&case.compiled.plan, &case.model.graph, &case.target, chosen);
    assert_eq!((timing.in_flight, timing.interval_ps), (3, 128.0 * CYCLE_PS as f64));
    assert_eq!(timing.estimate.interval_ps, 128 * CYCLE_PS);
}

#[test]
fn layers_that_share_the_lines_of_a_pe_take_turns() {
    let case = chain(&["chip.pes=1"], &[]);
    let timing = time(&case, 1);
    // 96 cycles of the first layer; its last row goes before the second layer,
    // which is ready at the same time, by the order of the plan.
    assert_eq!(timing.latency_ps, 160 * CYCLE_PS);
    assert_eq!(time(&case, 4).interval_ps, 160.0 * CYCLE_PS as f64);
    assert_eq!(timing.uses.len(), 1);
}

#[test]
fn replicas_work_on_their_parts_at_the_same_time() {
    let case = chain(&["chip.pes=3"], &[("first", 2)]);
    let timing = time(&case, 1);
    // Each makes two of the four positions of a row, so a row is done every 16
    // cycles, and the first three, which the second layer waits for, after 48.
    assert_eq!(timing.latency_ps, (64 + 16) * CYCLE_PS);
    assert_eq!(timing.layers[1].start_ps, 48 * CYCLE_PS);
    assert_eq!(time(&case, 4).interval_ps, 64.0 * CYCLE_PS as f64);
    // A floorplan may give each a part of the image. Rows 0 and 2 are then done
    // after 32 cycles, 1 and 3 after 64; then both rows of the second layer.
    let plan = "layers: { first: { replicas: 2, share: runs } }";
    let mapping =
        MappingOptions { floorplan: Floorplan::from_yaml(plan).unwrap(), ..Default::default() };
    let options = CompileOptions { mapping, ..Default::default() };
    let runs = Case::new(case.model, case.target, &options, case.inputs).unwrap();
    assert_eq!(time(&runs, 1).latency_ps, (64 + 32) * CYCLE_PS);
    assert_eq!(time(&runs, 4).interval_ps, 64.0 * CYCLE_PS as f64);
}

#[test]
fn layers_that_read_the_same_tensor_fetch_it_once_for_all_cores() {
    let both = |second: &[(&str, u32)]| {
        let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
        let model = Conv::new(2, 4, &[3, 3]).add_to(model, "first", "x");
        let model = Conv::new(2, 4, &[1, 1]).add_to(model, "second", "x");
        let model = model.output("first").output("second");
        let sets = ["chip.pes=8", "rates.pes_per_core=2", "rates.buffer_gb_per_s=1"];
        busy(&time(&compile(model, &sets, second), 1), Resource::Buffer)
    };
    // 72 values in; 64 and 144 results out; the same with replicas on all cores.
    assert_eq!(both(&[]), (72 + 64 + 144) * NS);
    assert_eq!(both(&[("first", 3), ("second", 3)]), (72 + 64 + 144) * NS);
}

#[test]
fn a_window_hands_on_as_many_rows_as_it_makes() {
    let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
    let model = Conv::new(2, 4, &[3, 3]).add_to(model, "first", "x");
    let model = Conv::new(4, 4, &[3, 3]).add_to(model, "second", "first").output("second");
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 1, 0.0, 1.0, 5);
    let windows = [("first".to_string(), vec![1, 2, 2])].into();
    let mapping = MappingOptions { windows, ..Default::default() };
    let options = CompileOptions { mapping, ..Default::default() };
    let target = pipeline::target("ideal", &["chip.pes=2".to_string()]);
    let case = Case::new(model, target, &options, inputs).unwrap();
    // Two rows of two waves, each row two of the output; both are needed.
    assert_eq!(time(&case, 1).latency_ps, (32 + 32) * CYCLE_PS);
    assert_eq!(time(&case, 4).interval_ps, 32.0 * CYCLE_PS as f64);
}

#[test]
fn cores_issue_one_wave_at_a_time_and_fetch_codes_once() {
    let core = ["chip.pes=1", "rates.pes_per_core=2"];
    let timing = single(&[&core[..], &["rates.issue_ns_per_wave=100"]].concat());
    assert_eq!(busy(&timing, Resource::Issue(0)), 16 * 100 * NS);
    // The waves of the first row are issued, then no PE waits for any.
    assert_eq!(timing.latency_ps, 4 * 100 * NS + 4 * 32 * CYCLE_PS);
    // A byte a ns: 72 values in, 64 results out; 18 codes of 16 positions where
    // every wave fetches its own.
    let buffer = ["rates.buffer_gb_per_s=1"];
    let timing = single(&[&core[..], &buffer].concat());
    assert_eq!(busy(&timing, Resource::Buffer), (72 + 64) * NS);
    let timing = single(&[&core[..1], &buffer].concat());
    assert_eq!(busy(&timing, Resource::Buffer), (16 * 18 + 64) * NS);
}

#[test]
fn pes_that_share_adcs_take_turns() {
    let own = chain(&["chip.pes=2", "rates.pes_per_adc_set=1"], &[]);
    assert_eq!(time(&own, 4).interval_ps, 128.0 * CYCLE_PS as f64);
    let shared = chain(&["chip.pes=2", "rates.pes_per_adc_set=2"], &[]);
    let timing = time(&shared, 4);
    assert_eq!(timing.interval_ps, 160.0 * CYCLE_PS as f64);
    assert_eq!(most(&timing), Resource::Adcs(0));
    assert_eq!(timing.latency_ps, 160 * CYCLE_PS);
}

#[test]
fn multiplexers_add_a_switch_for_each_round() {
    // Four pairs, three conversions a cycle: two rounds, each with a switch.
    let sets = ["readout.adcs_per_pe=1", "readout.conversions_per_cycle=3"];
    assert_eq!(single(&sets).latency_ps, 4 * 32 * 2 * CYCLE_PS);
    let switched = [&sets[..], &["rates.multiplexer_ns_per_switch=10"]].concat();
    let timing = single(&switched);
    assert_eq!(timing.latency_ps, 4 * 32 * 2 * (CYCLE_PS + 10 * NS));
    let pe = timing.layers.len() as u32 - 1;
    let of = Resource::Multiplexers(ohmc::entity::PeId(pe));
    assert_eq!(busy(&timing, of), 4 * 32 * 2 * 10 * NS);
    // Where a plane is one round, nothing is switched.
    let one = single(&["rates.multiplexer_ns_per_switch=10"]);
    assert_eq!(one.latency_ps, 4 * 32 * CYCLE_PS);
}

#[test]
fn shift_and_add_that_is_slower_than_the_adcs_sets_the_pace() {
    // A row is 32 planes of 4 conversions: 64 cycles at 2 a cycle.
    let timing = single(&["rates.shift_and_add_per_cycle=2"]);
    assert_eq!(timing.latency_ps, (32 + 4 * 64) * CYCLE_PS);
    assert!(matches!(most(&timing), Resource::ShiftAndAdd(_)));
}

/// Two chips of one PE each: the second layer is on the second chip.
#[test]
fn other_chips_are_reached_by_their_links() {
    let chips = ["chip.pes=1", "chip.count=2"];
    let near = time(&chain(&chips, &[]), 4);
    // As on one chip of two PEs: a link without limit takes no time.
    assert_eq!(near.interval_ps, 128.0 * CYCLE_PS as f64);
    let rates = ["rates.chip_link_gb_per_s=0.01"];
    let case = chain(&[&chips[..], &rates].concat(), &[]);
    let far = time(&case, 4);
    // Four positions, each of 36 codes in and 4 sums of 4 bytes out, at 100 ns
    // a byte.
    let link = Resource::ChipLink(1);
    assert_eq!(far.uses.iter().filter(|u| matches!(u.resource, Resource::ChipLink(_))).count(), 1);
    assert_eq!(busy(&far, link), 4 * (36 + 16) * 100 * NS);
    assert_eq!(most(&far), link);
    assert_eq!(far.interval_ps, (4 * (36 + 16) * 100 * NS) as f64);
    assert_eq!(far.estimate.interval_ps, 4 * (36 + 16) * 100 * NS);
    // On one chip of two PEs there is no such link.
    let one = time(&chain(&[&["chip.pes=2"][..], &rates].concat(), &[]), 4);
    assert!(one.uses.iter().all(|u| !matches!(u.resource, Resource::ChipLink(_))));
}

#[test]
fn links_carry_codes_in_and_sums_out() {
    // A row: 4 positions x 18 bytes in, 4 x 4 sums of 4 bytes out, a byte a
    // nanosecond.
    let timing = single(&["rates.link_gb_per_s=1"]);
    assert_eq!(timing.latency_ps, 72 * NS + 4 * 32 * CYCLE_PS + 64 * NS);
    let link = timing.uses.iter().find(|each| matches!(each.resource, Resource::Link(_)));
    assert_eq!(link.unwrap().busy_ps, 4 * (72 + 64) * NS);
    let narrow = single(&["rates.link_gb_per_s=1", "rates.sum_bits=16"]);
    assert_eq!(narrow.latency_ps, 72 * NS + 4 * 32 * CYCLE_PS + 32 * NS);
}

#[test]
fn the_buffer_is_read_for_every_position_and_written_once() {
    let timing = single(&["rates.buffer_gb_per_s=1"]);
    assert_eq!(timing.latency_ps, 72 * NS + 4 * 32 * CYCLE_PS + 16 * NS);
    assert_eq!(busy(&timing, Resource::Buffer), 4 * (72 + 16) * NS);
}

#[test]
fn partial_sums_are_work_of_the_digital_unit() {
    // 72 values become codes, 18 a row; a row's 4 positions have 4 results,
    // one addition, a factor and a bias each.
    let whole = single(&["rates.digital_gops=1"]);
    assert_eq!(whole.latency_ps, 18 * NS + 4 * 32 * CYCLE_PS + 4 * (4 + 8) * NS);
    // 18 inputs on 16 lines: two tiles, each with a partial sum.
    let cut = single(&["rates.digital_gops=1", "pe.inputs=16", "chip.pes=2"]);
    assert_eq!(cut.latency_ps, 18 * NS + 4 * 32 * CYCLE_PS + 4 * (8 + 8) * NS);
    assert_eq!(busy(&cut, Resource::Digital), (72 + 16 * 16) * NS);
}

#[test]
fn pooling_hands_on_rows_and_what_needs_everything_waits() {
    let front = || {
        let model = Onnx::new(3).input("x", &batched(None, &[2, 6, 6]));
        Conv::new(2, 4, &[3, 3]).add_to(model, "first", "x")
    };
    let windows = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let pooled = front().node("MaxPool", &["first"], "pool", windows());
    let pooled = Conv::new(4, 4, &[1, 1]).add_to(pooled, "last", "pool").output("last");
    // Row 0 of the pool after 64 cycles, row 1 after 128; 16 planes each.
    assert_eq!(time(&compile(pooled, &["chip.pes=2"], &[]), 1).latency_ps, 144 * CYCLE_PS);
    let mixed = front().node("Transpose", &["first"], "turned", vec![ints("perm", &[0, 1, 3, 2])]);
    let mixed = mixed.node("MaxPool", &["turned"], "pool", windows());
    let mixed = Conv::new(4, 4, &[1, 1]).add_to(mixed, "last", "pool").output("last");
    assert_eq!(time(&compile(mixed, &["chip.pes=2"], &[]), 1).latency_ps, 160 * CYCLE_PS);
}

/// Chains of convolutions of several widths, with and without pooling,
/// replicas, and parts around the arrays.
fn varied() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for (nth, (channels, size, pes)) in
        [(4, 12, 3), (6, 16, 4), (8, 20, 6), (3, 28, 12)].into_iter().enumerate()
    {
        for replicas in [1u32, 2, 3] {
            for rates in [&[][..], &["rates.digital_gops=2", "rates.link_gb_per_s=4"]] {
                let model = Onnx::new(nth as u64).input("x", &batched(None, &[2, size, size]));
                let model = Conv::new(2, channels, &[3, 3]).add_to(model, "a", "x");
                let model = model.node("Relu", &["a"], "relu", vec![]);
                let windows = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
                let model = model.node("MaxPool", &["relu"], "pool", windows);
                let model = Conv::new(channels, 2 * channels, &[3, 3]).add_to(model, "b", "pool");
                let model = Conv::new(2 * channels, 4, &[2, 2]).add_to(model, "c", "b");
                let pes = format!("chip.pes={}", pes * replicas);
                let sets = [&[pes.as_str(), "pe.inputs=32"], rates].concat();
                let copies = [("a", replicas), ("b", replicas.min(2))];
                let name = format!("{channels} channels, {sets:?}, {replicas} replicas");
                cases.push((name, compile(model.output("c"), &sets, &copies)));
            }
        }
    }
    cases
}

#[test]
fn the_closed_form_is_near_the_events() {
    let (mut worst_latency, mut worst_interval) = (0f64, 0f64);
    for (name, case) in varied() {
        let options = TimingOptions { in_flight: Some(8) };
        let Case { compiled, model, target, .. } = &case;
        let timing = Timing::new(&compiled.plan, &model.graph, target, options);
        let off = |estimate: u64, events: f64| (estimate as f64 - events).abs() / events;
        let latency = off(timing.estimate.latency_ps, timing.latency_ps as f64);
        let interval = off(timing.estimate.interval_ps, timing.interval_ps);
        println!("latency {latency:.3} interval {interval:.3} {name}");
        worst_latency = worst_latency.max(latency);
        worst_interval = worst_interval.max(interval);
        // No resource can do more than all of the time.
        let most = timing.bottleneck().unwrap();
        assert!(timing.utilisation(&most).unwrap() <= 1.0 + 1e-9, "{name}");
        assert!(timing.latency_ps >= most.busy_ps, "{name}");
    }
    println!("latency {worst_latency:.3}, interval {worst_interval:.3}");
    assert!(worst_latency < 0.25 && worst_interval < 0.01);
}

#[test]
fn a_trace_has_every_event_and_no_resource_does_two_things_at_once() {
    let case = chain(&["chip.pes=2", "rates.link_gb_per_s=1"], &[]);
    let Case { compiled, model, target, .. } = &case;
    let text = trace(&compiled.plan, &model.graph, target, (3, 2), "a \"plan\"");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["otherData"]["plan"], "a \"plan\"");
    let events = json["traceEvents"].as_array().unwrap();
    let mut spans: Vec<(u64, u64, f64, f64)> = events
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| {
            let (pid, tid) = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
            let (ts, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
            (pid, tid, ts, ts + dur)
        })
        .collect();
    // Rows of both layers, each sent, driven, sent back, for three inputs.
    assert_eq!(spans.len(), 3 * 3 * (4 + 2));
    spans.sort_by(|a, b| (a.0, a.1, a.2).partial_cmp(&(b.0, b.1, b.2)).unwrap());
    for pair in spans.windows(2) {
        let same = (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
        assert!(!same || pair[0].3 <= pair[1].2 + 1e-9, "{pair:?}");
    }
    let names = events.iter().filter(|event| event["ph"] == "M").count();
    // Two kinds of parts, two of each.
    assert_eq!(names, 2 + 4);
}
