//! What is digital behind the columns: biases that are trained, gains and
//! offsets that are set, wherever results lie.

use ohmc::chip::Conditions;
use ohmc::compiler::CompileOptions;
use ohmc::frontend::Model;
use ohmc::mapping::UnrollOptions;
use ohmc::mapping::unroll::Choice;
use ohmc::quantize::{InputRule, QuantizeOptions, WeightRule};
use ohmc::runtime::{FloatModel, Runs};
use ohmc::schedule::ExecutionPlan;
use ohmc::tensor::Tensor;
use ohmc::tuning::{
    Backward, Distillation, Distilled, Layers, Matching, Samples, TuneOptions, Tuner, Update,
    calibrate, distil,
};
use rayon::ThreadPoolBuilder;

use super::{Bench, EXACT, network, product};
use crate::onnx::{Conv, Onnx, batched};
use crate::pipeline;

/// How far gradients of biases are from what the loss changes by when these are
/// moved, and how large they are, root mean squares over all layers' columns.
fn bias_errors(bench: &Bench, backward: Backward) -> (f64, f64) {
    const STEP: f32 = 0.02;
    let options = TuneOptions { layers: Layers::All, backward, ..TuneOptions::default() };
    let mut tuner = bench.tuner(bench.programmed.clone(), options.clone());
    tuner.choose_ranges(&bench.samples, &bench.all()).unwrap();
    let (gradients, _) = tuner.gradients(&bench.samples, &bench.all(), 0).unwrap();
    let (mut off, mut size, mut n) = (0.0, 0.0, 0.0);
    for (id, layer) in &bench.plan.layers {
        assert_eq!(gradients.biases[id].len(), layer.bias.len());
        for (column, gradient) in gradients.biases[id].iter().enumerate() {
            let loss = |step: f32| {
                let mut plan = bench.plan.clone();
                plan.layers.get_mut(id).unwrap().bias[column] += step;
                let parts = (&plan, &bench.model, &bench.target);
                let options = TuneOptions { backward: Backward::Digital, ..options.clone() };
                let tuner = Tuner::new(parts, bench.programmed.clone(), options).unwrap();
                tuner.measure(&bench.samples, &bench.all(), 0).unwrap().mean_loss()
            };
            let slope = (loss(STEP) - loss(-STEP)) / f64::from(2.0 * STEP);
            off += (slope - gradient) * (slope - gradient);
            size += gradient * gradient;
            n += 1.0;
        }
    }
    let (off, size) = (f64::sqrt(off / n), f64::sqrt(size / n));
    println!("{backward:?}: {size}, off by {off}, {:.4} of it", off / size);
    (off, size)
}

#[test]
fn gradients_of_biases_are_what_the_loss_changes_by() {
    let bench = Bench::new(network(), "ideal", &EXACT, 24);
    for backward in [Backward::Digital, Backward::Arrays] {
        let (off, size) = bias_errors(&bench, backward);
        assert!(size > 0.0 && off < 0.03 * size, "{backward:?}: {size}, off by {off}");
    }
}

/// Through wires with resistance an array multiplies with what its network
/// makes of its cells, there and back; products with the cells do not know.
#[test]
fn arrays_with_wires_carry_back_what_the_loss_changes_by() {
    let wires = [
        "pe.wire_input_ohm_per_cell=300",
        "pe.wire_output_ohm_per_cell=200",
        "pe.driver_ohm=1000",
        "pe.sense_ohm=500",
    ];
    let bench = Bench::new(network(), "ideal", &[&EXACT[..], &wires].concat(), 24);
    let (arrays, size) = bias_errors(&bench, Backward::Arrays);
    let (beside, _) = bias_errors(&bench, Backward::Digital);
    assert!(arrays < 0.08 * size, "{size}, off by {arrays}");
    assert!(beside > 10.0 * arrays, "{beside} {arrays}");
}

/// They go down without a pulse, alone if no change of a cell is worth one, and
/// stay where they are if that is asked for.
#[test]
fn biases_are_trained_without_pulses() {
    let bench = Bench::new(product(), "yao2020-chip", &["cell.read_noise_fraction=0"], 40);
    let with = |biases: bool| {
        let session = bench.trained(TuneOptions {
            update: Update::Threshold { least_us: 1e9 },
            layers: Layers::All,
            biases,
            rate: 0.5,
            n_batch: 40,
            n_batches: 20,
            ..TuneOptions::default()
        });
        let losses: Vec<f64> = session.batches().iter().map(|b| b.score.mean_loss()).collect();
        assert_eq!(session.work().set_pulses + session.work().reset_pulses, 0);
        let mut plan = bench.plan.clone();
        assert_eq!(session.finish().into_plan(&mut plan), bench.programmed);
        (losses, plan)
    };
    let (trained, plan) = with(true);
    assert!(trained.is_sorted_by(|before, after| after < before), "{trained:?}");
    assert!(trained[19] < 0.99 * trained[0], "{trained:?}");
    for (id, layer) in &plan.layers {
        assert_ne!(layer.bias, bench.plan.layers[id].bias, "`{}`", layer.name);
    }
    let (kept, plan) = with(false);
    assert!((kept[19] - kept[0]).abs() < 1e-6 * kept[0], "{kept:?}");
    assert_eq!(plan.layers, bench.plan.layers);
}

/// Where inputs have a zero point, they follow what is written: inputs that are
/// 0 give the biases, whatever has become of the weights.
#[test]
fn inputs_of_nothing_add_nothing_after_a_training() {
    let quantize = QuantizeOptions { inputs: InputRule::Affine, ..Default::default() };
    let options = CompileOptions { quantize, ..Default::default() };
    let bench = Bench::with(product(), "ideal", &EXACT, 40, &options);
    let id = bench.layer("fc");
    assert!(bench.plan.layers[&id].coding.zero_point > 1000);
    let options = TuneOptions {
        update: Update::Threshold { least_us: 0.1 },
        biases: false,
        rate: 0.5,
        n_batch: 40,
        n_batches: 30,
        ..TuneOptions::default()
    };
    // In one go or in two.
    assert!(bench.trained_anyhow(&options).registers.contains_key(&id));
    let session = bench.trained(options);
    assert!(session.batches().iter().map(|batch| batch.n_cells).sum::<u64>() > 50);
    let before = &bench.plan.layers[&id].bias;
    let mut plan = bench.plan.clone();
    let programmed = session.finish().into_plan(&mut plan);
    let chip = programmed.chip(&plan, &bench.target, &Conditions::at_once(0));
    let executor = ohmc::Executor::new(&plan, &bench.model, &chip).unwrap();
    let nothing = Tensor::f32(vec![1, 12], vec![0.0; 12]).unwrap();
    let outputs = executor.run(&[nothing], 0).unwrap();
    let largest = |left: &[f32], right: &[f32]| {
        left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let off = largest(outputs[0].as_f32().unwrap(), before);
    let followed = largest(&plan.layers[&id].bias, before);
    assert!(followed > 0.1 && off < 0.01 * followed, "off by {off}, {followed} made up for");
}

/// Columns whose gains and offsets are off are put right without labels.
#[test]
fn gains_and_offsets_are_found_without_labels() {
    let bench = Bench::new(network(), "ideal", &EXACT, 64);
    let mut wrong = bench.plan.clone();
    for layer in wrong.layers.values_mut() {
        for (column, scale) in layer.column_scales.iter_mut().enumerate() {
            *scale *= 1.0 + 0.2 * column as f64;
            layer.bias[column] += 0.3;
        }
    }
    let chip = bench.programmed.chip(&bench.plan, &bench.target, &Conditions::at_once(0));
    let outputs = |plan: &ExecutionPlan| -> Vec<f32> {
        let executor = ohmc::Executor::new(plan, &bench.model, &chip).unwrap();
        executor.run(bench.samples.inputs(), 0).unwrap()[0].as_f32().unwrap().to_vec()
    };
    let float = FloatModel::new(&bench.model).unwrap().run(bench.samples.inputs(), 0).unwrap();
    let far = |found: &[f32]| -> f32 {
        let wanted: &Tensor = &float[0];
        found.iter().zip(wanted.as_f32().unwrap()).map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let (good, bad) = (far(&outputs(&bench.plan)), far(&outputs(&wrong)));
    assert!(bad > 4.0 * good, "{bad} {good}");
    for matching in [Matching::Moments, Matching::LeastSquares] {
        let mut repaired = wrong.clone();
        let layers =
            calibrate(&mut repaired, &bench.model, &chip, &bench.samples, matching).unwrap();
        assert_eq!(layers.len(), 4);
        for layer in &layers {
            assert!(layer.error_after < 0.5 * layer.error_before, "{layer:?}");
        }
        let found = far(&outputs(&repaired));
        assert!(found < 1.5 * good, "{matching:?}: {found}, {bad} before, {good} at best");
    }
}

/// Seven convolutions one after the other and a product: errors add up.
fn chain() -> Model {
    let mut model = Onnx::new(11).input("x", &batched(None, &[2, 8, 8]));
    let mut last = "x".to_string();
    for nth in 0..7 {
        let (conv, relu) = (format!("c{nth}"), format!("r{nth}"));
        let mut same = Conv::new(if nth == 0 { 2 } else { 8 }, 8, &[3, 3]);
        same.pads = vec![(1, 1); 2];
        model = same.add_to(model, &conv, &last);
        model = model.node("Relu", &[&conv], &relu, vec![]);
        last = relu;
    }
    model = model.node("GlobalAveragePool", &[&last], "g", vec![]);
    model = model.integers("flat", &[2], &[0, -1]).node("Reshape", &["g", "flat"], "v", vec![]);
    model = model.weights("w", &[8, 4]).node("MatMul", &["v", "w"], "fc", vec![]);
    pipeline::read(model.output("fc").bytes()).unwrap()
}

/// Where layers of three levels follow one another, scores teach more than the
/// moments of each, also on inputs that nothing was taught on.
#[test]
fn scores_teach_gains_and_offsets() {
    let coarse = ["cell.levels=3", "cell.verify_tolerance_us=1", "cell.read_noise_fraction=0"];
    let quantize = QuantizeOptions { weights: WeightRule::Plain, ..Default::default() };
    let options = CompileOptions { quantize, ..Default::default() };
    let bench = Bench::with(chain(), "yao2020-macro", &coarse, 200, &options);
    let chip = bench.programmed.chip(&bench.plan, &bench.target, &Conditions::at_once(0));
    let parts = |from: usize, to: usize| -> Vec<Tensor> {
        bench.samples.inputs().iter().map(|tensor| pipeline::rows(tensor, from..to)).collect()
    };
    let taught = Samples::new(parts(0, 100), Vec::new()).unwrap();
    let far = |plan: &ExecutionPlan| -> f64 {
        let inputs = parts(100, 200);
        let executor = ohmc::Executor::new(plan, &bench.model, &chip).unwrap();
        let found = executor.run(&inputs, 1 << 32).unwrap();
        let wanted = FloatModel::new(&bench.model).unwrap().run(&inputs, 0).unwrap();
        let pairs = found[0].as_f32().unwrap().iter().zip(wanted[0].as_f32().unwrap());
        pairs.map(|(a, b)| f64::from((a - b) * (a - b))).sum()
    };
    let how = Distillation { n_batch: 20, epochs: 20, rate: 0.02, seed: 1 };
    let with_threads = |n: usize| -> (ExecutionPlan, Distilled) {
        let pool = ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        let mut plan = bench.plan.clone();
        let mut n_steps = 0;
        let done = || n_steps += 1;
        let distilled =
            pool.install(|| distil(&mut plan, &bench.model, &chip, &taught, how, done)).unwrap();
        assert_eq!(n_steps, how.n_steps(&taught));
        (plan, distilled)
    };
    let (plan, Distilled { corrected, epochs, after }) = with_threads(1);
    assert_eq!((corrected.len(), epochs.len(), after.n), (8, 20, 100));
    let mut calibrated = bench.plan.clone();
    calibrate(&mut calibrated, &bench.model, &chip, &taught, Matching::Moments).unwrap();
    let (by_moments, by_scores) = (far(&calibrated), far(&plan));
    assert!(after.relative_error() < 0.8 * epochs[0].relative_error(), "{epochs:?} {after:?}");
    assert!(by_scores < 0.9 * by_moments, "{by_scores} {by_moments}");
    // Registers alone have changed, the same on any number of threads.
    let (again, _) = with_threads(3);
    assert_eq!(plan.layers, again.layers);
    assert_eq!(plan.targets, bench.plan.targets);
}

/// Waves that make several positions reach past the border of the image where
/// these are no multiple of them: what is past it goes nowhere, there and back.
#[test]
fn results_past_the_border_go_nowhere() {
    let window = |lengths: [usize; 2]| Choice::Window(lengths.to_vec());
    let windows = [("c1", window([3, 3])), ("c2", window([1, 3]))];
    let unroll = UnrollOptions {
        named: windows.map(|(name, choice)| (name.to_string(), choice)).into(),
        ..Default::default()
    };
    let options = CompileOptions { unroll, ..Default::default() };
    let plain = Bench::new(network(), "ideal", &EXACT, 24);
    let bench = Bench::with(network(), "ideal", &EXACT, 24, &options);
    // Outputs of 8 x 8 and 4 x 4 by windows of 3 x 3 and 1 x 3.
    let of = |bench: &Bench, backward| {
        let options = TuneOptions { layers: Layers::All, backward, ..TuneOptions::default() };
        let mut tuner = bench.tuner(bench.programmed.clone(), options);
        tuner.choose_ranges(&bench.samples, &bench.all()).unwrap();
        tuner.gradients(&bench.samples, &bench.all(), 0).unwrap().0.biases
    };
    for backward in [Backward::Digital, Backward::Arrays] {
        let (plain, own) = (of(&plain, backward), of(&bench, backward));
        for ((id, plain), own) in plain.iter().zip(own.values()) {
            // Copies of a column in a window share what one column has.
            let layer = &bench.plan.layers[id];
            let n_copies = layer.unrolled.as_ref().map_or(1, |u| u.window.iter().product());
            assert_eq!(own.len(), n_copies * plain.len(), "`{}`", layer.name);
            let all = |of: &[f64]| of.iter().sum::<f64>();
            let size = plain.iter().map(|g| g.abs()).sum::<f64>();
            let off = (all(plain) - all(own)).abs();
            assert!(off < 5e-3 * size, "{backward:?}, `{}`: {plain:?} {own:?}", layer.name);
        }
    }
    let (off, size) = bias_errors(&bench, Backward::Digital);
    assert!(off < 0.03 * size, "{size}, off by {off}");
    let chip = bench.programmed.chip(&bench.plan, &bench.target, &Conditions::at_once(0));
    let mut wrong = bench.plan.clone();
    for layer in wrong.layers.values_mut() {
        layer.column_scales.iter_mut().step_by(2).for_each(|scale| *scale *= 1.3);
    }
    let matching = Matching::LeastSquares;
    let layers = calibrate(&mut wrong, &bench.model, &chip, &bench.samples, matching).unwrap();
    assert_eq!(layers.len(), 4);
    for layer in &layers {
        assert!(layer.error_after < 0.5 * layer.error_before, "{layer:?}");
    }
}
