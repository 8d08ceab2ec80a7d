//! Errors carried back by the arrays: what they say is what products beside the
//! chip say, and trainings with them are held to the same laws.

use std::collections::BTreeMap;

use ohmc::compiler::CompileOptions;
use ohmc::frontend::Model;
use ohmc::mapping::MappingOptions;
use ohmc::quantize::{ByLayer, Precision, QuantizeOptions};
use ohmc::tuning::{Backward, Layers, TuneOptions, Update};

use super::{Bench, EXACT, network};
use crate::onnx::{Conv, Onnx, batched, int};
use crate::pipeline;

/// Groups that share tiles, strides, padding, and two layers behind.
fn grouped() -> Model {
    let mut depthwise = Conv::new(1, 2, &[3, 3]);
    depthwise.groups = 4;
    depthwise.pads = vec![(1, 1); 2];
    depthwise.strides = vec![2, 2];
    let mut model = Onnx::new(6).input("x", &batched(None, &[3, 8, 8]));
    model = Conv::new(3, 4, &[3, 3]).add_to(model, "a", "x").node("Relu", &["a"], "ra", vec![]);
    model = depthwise.add_to(model, "b", "ra").node("Relu", &["b"], "rb", vec![]);
    model = model.node("Flatten", &["rb"], "f", vec![int("axis", 1)]);
    model = model.weights("w", &[72, 4]).node("MatMul", &["f", "w"], "fc", vec![]);
    pipeline::read(model.output("fc").bytes()).unwrap()
}

fn all(backward: Backward) -> TuneOptions {
    TuneOptions { layers: Layers::All, backward, ..TuneOptions::default() }
}

/// How far the gradients of the arrays are from those beside the chip, by
/// layer.
fn distances(bench: &Bench) -> BTreeMap<String, f64> {
    let gradients = |backward| {
        let mut tuner = bench.tuner(bench.programmed.clone(), all(backward));
        tuner.choose_ranges(&bench.samples, &bench.all()).unwrap();
        tuner.gradients(&bench.samples, &bench.all(), 0).unwrap().0.weights
    };
    let (arrays, beside) = (gradients(Backward::Arrays), gradients(Backward::Digital));
    assert_eq!(arrays.len(), bench.plan.layers.len());
    let mut distances = BTreeMap::new();
    for (id, beside) in &beside {
        let arrays = &arrays[id];
        assert_eq!(arrays.len(), beside.len());
        let size: f64 = beside.iter().map(|g| g * g).sum();
        let off: f64 = arrays.iter().zip(beside).map(|(a, b)| (a - b) * (a - b)).sum();
        assert!(size > 0.0);
        distances.insert(bench.plan.layers[id].name.clone(), (off / size).sqrt());
    }
    distances
}

/// With codes and conversions that round next to nothing, whether lines are
/// subtracted before them or after, planes are converted or their charges, with
/// groups in one tile, digits of weights on several pairs, copies of a layer, and
/// resistance in the wires.
#[test]
fn arrays_carry_back_what_products_do() {
    let sliced = CompileOptions {
        quantize: QuantizeOptions {
            precision: Precision {
                slices: ByLayer { all: Some(2), ..Default::default() },
                ..Default::default()
            },
            ..Default::default()
        },
        ..Default::default()
    };
    let copied = CompileOptions {
        mapping: MappingOptions {
            replicas: ["c1", "c2"].map(|name| (name.to_string(), 3)).into(),
            ..Default::default()
        },
        ..Default::default()
    };
    let after = "readout.subtract=after-conversion";
    let charges = "readout.accumulation.stage=none";
    let cases: [(&str, Model, &[&str], CompileOptions); 7] = [
        ("subtracted before", network(), &[], CompileOptions::default()),
        ("subtracted after", network(), &[after, "pe.inputs=16"], CompileOptions::default()),
        ("groups", grouped(), &["pe.inputs=20", "pe.outputs=16"], CompileOptions::default()),
        ("slices", network(), &[], sliced),
        ("copies", network(), &[after], copied),
        ("charges", network(), &[charges], CompileOptions::default()),
        ("charges after", grouped(), &[charges, after], CompileOptions::default()),
    ];
    for (what, model, sets, options) in cases {
        let bench = Bench::with(model, "ideal", &[&EXACT[..], sets].concat(), 16, &options);
        for (layer, distance) in distances(&bench) {
            println!("{what}, `{layer}`: {distance:.5}");
            assert!(distance < 2e-3, "{what}, `{layer}`: {distance}");
        }
    }
}

/// Fewer bits are a coarser gradient, and still the same direction.
#[test]
fn coarser_conversions_err_more() {
    let with = |bits: &str| {
        let sets = [&EXACT[..4], &["readout.adc_range=calibrated", bits]].concat();
        let bench = Bench::new(network(), "ideal", &sets, 16);
        distances(&bench)["c1"]
    };
    let distances = ["readout.adc_bits=6", "readout.adc_bits=8", "readout.adc_bits=12"].map(with);
    println!("{distances:?}");
    assert!(distances[0] > distances[1] && distances[1] > distances[2], "{distances:?}");
    assert!(distances[1] < 0.2, "{distances:?}");
}

/// What accumulators of the input lines do wrong is in the gradient, and the more
/// the worse they are.
#[test]
fn accumulators_of_input_lines_err_too() {
    let with = |mismatch: &str| {
        let charges = ["readout.accumulation.stage=none", mismatch];
        let bench = Bench::new(network(), "ideal", &[&EXACT[..], &charges].concat(), 16);
        distances(&bench)["c1"]
    };
    let key = "readout.accumulation.mismatch_sd_fraction";
    let distances = [0.0, 0.01, 0.1].map(|sd| with(&format!("{key}={sd}")));
    println!("{distances:?}");
    assert!(distances[0] < 2e-3 && distances[1] > 2.0 * distances[0], "{distances:?}");
    assert!(distances[2] > 2.0 * distances[1] && distances[2] < 0.5, "{distances:?}");
}

/// The way to less loss is the one that digital products take.
#[test]
fn arrays_descend_as_far_as_products_do() {
    let pulses = [
        "cell.verify_tolerance_us=0.002",
        "cell.relaxation_sd_us=0",
        "cell.read_noise_fraction=0",
        "cell.pulses.model=soft-bounds",
        "cell.pulses.set_step_us=0.01",
        "cell.pulses.reset_step_us=0.01",
        "cell.pulses.cycle_noise_fraction=0",
        "cell.pulses.give_up_pulses=100000",
        "readout.input_bits=14",
        "readout.adc_bits=20",
        "readout.adc_range=full-scale",
        "chip.pes=64",
        "pe.transposed_reads=true",
    ];
    let bench = Bench::new(network(), "yao2020-chip", &pulses, 48);
    let options = |backward, momentum| TuneOptions {
        update: Update::Threshold { least_us: 0.01 },
        rate: 0.002,
        momentum,
        n_batch: 48,
        n_batches: 12,
        ..all(backward)
    };
    let start = bench.tuner(bench.programmed.clone(), all(Backward::Digital));
    let start = start.measure(&bench.samples, &bench.all(), 0).unwrap().mean_loss();
    let end = |options| bench.trained(options).measure_tuned(0).unwrap().mean_loss();
    let beside = end(options(Backward::Digital, 0.0));
    let arrays = end(options(Backward::Arrays, 0.0));
    let faster = end(options(Backward::Arrays, 0.8));
    println!("{start} -> {beside} beside, {arrays} by arrays, {faster} with momentum");
    assert!(beside < 0.97 * start, "{start} {beside}");
    assert!((arrays - beside).abs() < 0.05 * (start - beside), "{start} {beside} {arrays}");
    assert!(faster < arrays, "{start} {arrays} {faster}");
}

/// Noisy, with copies, momentum and single pulses, in one go or in two, on any
/// number of threads.
#[test]
fn the_same_training_by_arrays_is_the_same_chip() {
    let sets = ["chip.pes=64", "pe.transposed_reads=true", "cell.pulses.model=table-scaled"];
    let copied = CompileOptions {
        mapping: MappingOptions { replicas: [("c1".to_string(), 2)].into(), ..Default::default() },
        room: Some(1.5),
        ..Default::default()
    };
    let bench = Bench::with(network(), "yao2020-chip", &sets, 40, &copied);
    let options = TuneOptions {
        update: Update::Sign { above_us: 0.1 },
        momentum: 0.7,
        room: 1.5,
        n_batch: 16,
        n_batches: 6,
        seed: 4,
        ..all(Backward::Arrays)
    };
    let whole = bench.trained_anyhow(&options);
    assert!(whole.batches.iter().all(|batch| batch.n_cells > 0 && batch.reads.waves > 0));
    // Copies go their own ways.
    let id = bench.layer("c1");
    let wanted = &whole.wanted[&id];
    assert_ne!(wanted[..wanted.len() / 2], wanted[wanted.len() / 2..]);
}

#[test]
fn arrays_that_are_not_read_that_way_are_refused() {
    let bench = Bench::new(network(), "yao2020-chip", &["chip.pes=64"], 8);
    let text = bench.refusal(all(Backward::Arrays));
    for part in ["`pe.transposed_reads`", "--set pe.transposed_reads=true", "--backward digital"] {
        assert!(text.contains(part), "{text}");
    }
}
