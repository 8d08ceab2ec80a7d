//! Training on the chip: gradients are those of the loss, pulses go where they
//! say, and the same training is the same chip.

mod arrays;
mod digital;
mod reads;
mod transfer;
mod transformers;

use ohmc::chip::{self, ProgramOptions, Programmed};
use ohmc::compiler::{self, CompileOptions};
use ohmc::diagnostic::Explain;
use ohmc::entity::LayerId;
use ohmc::format::{read_tuning, write_tuning};
use ohmc::frontend::Model;
use ohmc::schedule::ExecutionPlan;
use ohmc::target::Target;
use ohmc::tuning::{Layers, Samples, Session, TuneOptions, TuneState, Tuner, Update};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rayon::ThreadPoolBuilder;

use crate::onnx::{Conv, Onnx, batched, ints};
use crate::pipeline;

/// A chip, and samples with random labels.
struct Bench {
    model: Model,
    target: Target,
    plan: ExecutionPlan,
    programmed: Programmed,
    samples: Samples,
}

/// Cells from 2 to 20 uS that are written as they are meant, and a read-out
/// that rounds next to nothing.
const EXACT: [&str; 5] = [
    "cell.conductance_min_us=2",
    "cell.conductance_max_us=20",
    "readout.input_bits=16",
    "readout.adc_bits=20",
    "readout.adc_range=full-scale",
];

fn named(names: &[&str]) -> Layers {
    Layers::Named(names.iter().map(ToString::to_string).collect())
}

impl Bench {
    fn new(model: Model, target: &str, sets: &[&str], n: usize) -> Self {
        Self::with(model, target, sets, n, &CompileOptions::default())
    }

    fn with(model: Model, target: &str, sets: &[&str], n: usize, options: &CompileOptions) -> Self {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let target = pipeline::target(target, &sets);
        let inputs = pipeline::inputs(&model, n, -1.0, 1.0, 5);
        let calibration = pipeline::calibrate(&model, &inputs, n as u64);
        let plan = compiler::compile(&model, &target, &calibration, options).unwrap().plan;
        let writing = ProgramOptions { seed: 3, by_pulses: true, fault_map: None };
        let programmed = chip::write(&plan, &target, &writing).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let labels = (0..n).map(|_| random.random_range(0..4)).collect();
        let samples = Samples::new(inputs, labels).unwrap();
        Self { model, target, plan, programmed, samples }
    }

    fn tuner(&self, programmed: Programmed, options: TuneOptions) -> Tuner<'_> {
        Tuner::new((&self.plan, &self.model, &self.target), programmed, options).unwrap()
    }

    fn refusal(&self, options: TuneOptions) -> String {
        let error =
            Tuner::new((&self.plan, &self.model, &self.target), self.programmed.clone(), options);
        error.unwrap_err().diagnostics().iter().map(ToString::to_string).collect()
    }

    fn all(&self) -> Vec<usize> {
        (0..self.samples.len()).collect()
    }

    /// Runs a training to its end.
    fn trained(&self, options: TuneOptions) -> Session<'_> {
        let tuner = self.tuner(self.programmed.clone(), options);
        let mut session = Session::new(tuner, &self.samples).unwrap();
        while !session.is_done() {
            session.step().unwrap();
        }
        session
    }

    /// Runs a training to its end, holds it to be the same on any number of
    /// threads, and in two goes with a file between them, and gives its end.
    fn trained_anyhow(&self, options: &TuneOptions) -> TuneState {
        let with_threads = |n: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| self.trained(options.clone()).state())
        };
        let whole = with_threads(1);
        assert_eq!(whole, with_threads(3));
        let session = || {
            let tuner = self.tuner(self.programmed.clone(), options.clone());
            Session::new(tuner, &self.samples).unwrap()
        };
        let mut first = session();
        (0..options.n_batches / 2).for_each(|_| first.step().unwrap());
        let kept = write_tuning(&first.state(), &self.plan, "a").unwrap();
        let state = read_tuning(&kept, "x.state", &self.plan, "a").unwrap();
        assert_eq!(state, first.state());
        let mut second = session();
        second.restore(state).unwrap();
        while !second.is_done() {
            second.step().unwrap();
        }
        assert_eq!(second.state(), whole);
        assert_eq!(second.finish(), self.trained(options.clone()).finish());
        whole
    }

    fn layer(&self, name: &str) -> LayerId {
        *self.plan.layers.iter().find(|(_, layer)| layer.name == name).unwrap().0
    }
}

/// Two inputs of 10 x 10, four classes: convolutions, pools of both kinds, a
/// residual addition, a concatenation, an element by element function, a
/// reshape, a softmax at the end.
fn network() -> Model {
    let mut same = Conv::new(3, 3, &[3, 3]);
    same.pads = vec![(1, 1); 2];
    let mut wide = Conv::new(6, 4, &[3, 3]);
    wide.strides = vec![2, 2];
    wide.bias = true;
    let mut model = Onnx::new(4).input("x", &batched(None, &[2, 10, 10]));
    model = Conv::new(2, 3, &[3, 3]).add_to(model, "c1", "x");
    model = model.node("Relu", &["c1"], "r1", vec![]);
    let halves = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    model = model.node("MaxPool", &["r1"], "p1", halves);
    model = same.add_to(model, "c2", "p1");
    model = model.node("Add", &["c2", "p1"], "sum", vec![]).node("Tanh", &["sum"], "t", vec![]);
    model = model.node("Concat", &["t", "p1"], "both", vec![crate::onnx::int("axis", 1)]);
    model = wide.add_to(model, "c3", "both");
    let shape = vec![ints("kernel_shape", &[1, 1])];
    model = model.node("AveragePool", &["c3"], "p3", shape);
    model = model.node("GlobalAveragePool", &["p3"], "g", vec![]);
    model = model.integers("flat", &[2], &[0, -1]).node("Reshape", &["g", "flat"], "v", vec![]);
    model = model.weights("w", &[4, 4]).node("MatMul", &["v", "w"], "fc", vec![]);
    model = model.node("Softmax", &["fc"], "y", vec![crate::onnx::int("axis", 1)]).output("y");
    pipeline::read(model.bytes()).unwrap()
}

/// Twelve inputs, four classes, one product.
fn product() -> Model {
    let model = Onnx::new(9).input("x", &batched(None, &[12])).weights("w", &[12, 4]);
    pipeline::read(model.node("MatMul", &["x", "w"], "fc", vec![]).output("fc").bytes()).unwrap()
}

/// How far gradients are from what the loss changes by when cells are moved by
/// so many uS, and how large they are, both as the root mean square over cells,
/// by layer; one of `every` cells is.
fn gradient_errors(bench: &Bench, every: u32, step_us: f32) -> Vec<(String, f64, f64)> {
    let options = TuneOptions { layers: Layers::All, ..TuneOptions::default() };
    let tuner = bench.tuner(bench.programmed.clone(), options.clone());
    let (gradients, score) = tuner.gradients(&bench.samples, &bench.all(), 0).unwrap();
    let gradients = gradients.weights;
    assert_eq!((score.n, gradients.len()), (bench.samples.len() as u64, bench.plan.layers.len()));
    let mut errors = Vec::new();
    for (id, layer) in &bench.plan.layers {
        let (gradient, n_columns) = (&gradients[id], layer.nest.n_columns());
        let (mut off, mut size, mut n) = (0.0, 0.0, 0.0);
        for tile in bench.plan.tiles.values().filter(|tile| tile.place.layer == *id) {
            let place = &tile.place;
            for (row, column) in place.rows.clone().flat_map(|r| {
                let some = place.columns.clone().filter(move |c| (r * 5 + c) % every == 0);
                some.map(move |c| (r, c))
            }) {
                let (input, positive, _) = ExecutionPlan::cells(place, 0, row, column);
                let at = (input * bench.plan.pe.outputs + positive) as usize;
                let loss = |step: f32| {
                    let mut moved = bench.programmed.clone();
                    moved.pes.get_mut(&place.pe).unwrap().relaxed_us[at] += step;
                    let tuner = bench.tuner(moved, options.clone());
                    tuner.measure(&bench.samples, &bench.all(), 0).unwrap().mean_loss()
                };
                let slope = (loss(step_us) - loss(-step_us)) / f64::from(2.0 * step_us);
                let scale = layer.column_scales[column as usize] / f64::from(layer.coding.scale);
                let wanted = gradient[row as usize * n_columns + column as usize] * scale
                    / bench.plan.level_us;
                off += (slope - wanted) * (slope - wanted);
                size += wanted * wanted;
                n += 1.0;
            }
        }
        assert!(size > 0.0, "`{}`", layer.name);
        let (off, size) = ((off / n).sqrt(), (size / n).sqrt());
        println!("`{}`: {size}, off by {off}, {:.4} of it", layer.name, off / size);
        errors.push((layer.name.clone(), off, size));
    }
    errors
}

/// On an exact chip the loss changes with a cell as the gradient says, whatever
/// lies between the cell and the loss.
#[test]
fn gradients_are_what_the_loss_changes_by() {
    let bench = Bench::new(network(), "ideal", &EXACT, 24);
    for (layer, off, size) in gradient_errors(&bench, 3, 0.1) {
        // Activations are rounded to codes on their way, and a step of a cell
        // crosses a corner of a rectifier now and then.
        assert!(off < 0.05 * size, "`{layer}`: {size}, off by {off}");
    }
}

/// The chip goes where stochastic gradient descent in floating point goes, the
/// closer the finer what is written.
#[test]
fn fine_pulses_do_what_gradient_descent_does() {
    let fine = |tolerance: &str, step: &str| {
        let pulses = [
            "cell.verify_tolerance_us=".to_string() + tolerance,
            "cell.relaxation_sd_us=0".to_string(),
            "cell.read_noise_fraction=0".to_string(),
            "cell.pulses.model=soft-bounds".to_string(),
            format!("cell.pulses.set_step_us={step}"),
            format!("cell.pulses.reset_step_us={step}"),
            "cell.pulses.cycle_noise_fraction=0".to_string(),
            "cell.pulses.give_up_pulses=100000".to_string(),
            "readout.input_bits=14".to_string(),
            "readout.adc_bits=20".to_string(),
            "readout.adc_range=full-scale".to_string(),
        ];
        let sets: Vec<&str> = pulses.iter().map(String::as_str).collect();
        Bench::new(product(), "yao2020-chip", &sets, 64)
    };
    // Without a margin for the last changes that are still wanted, the finest
    // change that is worth a pulse is that of the tolerance.
    let options = |least_us, n_batches| TuneOptions {
        update: Update::Threshold { least_us },
        rate: 0.5,
        n_batch: 64,
        n_batches,
        ..TuneOptions::default()
    };
    let bench = fine("0.002", "0.01");
    let id = bench.layer("fc");
    let layer = &bench.plan.layers[&id];
    let scales: Vec<f64> =
        layer.column_scales.iter().map(|s| s / f64::from(layer.coding.scale)).collect();
    let square = scales.iter().map(|s| s * s).sum::<f64>() / scales.len() as f64;
    // By hand, from the same start, in double precision.
    let mut weights: Vec<f64> =
        (0..48).map(|w| f64::from(layer.levels[w]) * scales[w % 4]).collect();
    let x: Vec<f64> =
        bench.samples.inputs()[0].as_f32().unwrap().iter().map(|&v| f64::from(v)).collect();
    let (mut losses, mut biases) = (Vec::new(), vec![vec![0.0; 4]]);
    for _ in 0..61 {
        let (mut gradient, mut loss) = (vec![0.0; 48], 0.0);
        let mut of_biases = [0.0; 4];
        for (x, &label) in x.chunks(12).zip(bench.samples.labels()) {
            let sum = |c: usize| (0..12).map(|r| x[r] * weights[4 * r + c]).sum::<f64>();
            let y: Vec<f64> = (0..4).map(|c| sum(c) + biases[losses.len()][c]).collect();
            let sum: f64 = y.iter().map(|y| y.exp()).sum();
            loss += (sum.ln() - y[label as usize]) / 64.0;
            for c in 0..4 {
                let wrong = y[c].exp() / sum - f64::from(u8::from(c == label as usize));
                (0..12).for_each(|r| gradient[4 * r + c] += x[r] * wrong / 64.0);
                of_biases[c] += wrong / 64.0;
            }
        }
        for (w, gradient) in gradient.iter().enumerate() {
            weights[w] -= 0.5 * gradient * scales[w % 4] * scales[w % 4] / square;
        }
        let next = biases[losses.len()].iter().zip(of_biases).map(|(bias, own)| bias - 0.5 * own);
        biases.push(next.collect());
        losses.push(loss);
    }
    let (start, end) = (losses[0], losses[60]);
    assert!(end < 0.7 * start, "{start} {end}");
    let distance = |bench: &Bench, least_us: f64| {
        let session = bench.trained(options(least_us, 60));
        let found = session.measure_tuned(0).unwrap().mean_loss();
        (found - end).abs() / (start - end)
    };
    let (finest, coarse) = (distance(&bench, 0.002), distance(&fine("0.25", "0.2"), 1.5));
    assert!(finest < 0.01, "{finest} of the way off");
    assert!(finest < coarse && coarse < 0.5, "{finest} {coarse}");
    // So do the biases, as long as no cell has come to the end of its window.
    let own = bench.trained(options(0.002, 8)).state().registers[&id].bias.clone();
    let largest = biases[8].iter().fold(0.0, |largest: f64, bias| largest.max(bias.abs()));
    let off = own.iter().zip(&biases[8]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest > 0.02 && off < 0.02 * largest, "{own:?}, by hand {:?}", biases[8]);
}

/// Noisy, faulty, in slices, several layers, in one go or in two, on any number
/// of threads.
#[test]
fn the_same_training_is_the_same_chip() {
    let sets = ["cell.faults.stuck_high_rate=0.02", "chip.pes=64"];
    let bench = Bench::new(network(), "yao2020-chip", &sets, 40);
    for update in [Update::Threshold { least_us: 0.5 }, Update::Sign { above_us: 0.2 }] {
        let options = TuneOptions {
            layers: named(&["c3", "fc"]),
            update,
            n_batch: 16,
            n_batches: 7,
            n_held_out: 6,
            look_every: 3,
            randomised: 0.1,
            seed: 11,
            ..TuneOptions::default()
        };
        let whole = bench.trained_anyhow(&options);
        assert!(whole.batches.iter().map(|batch| batch.n_cells).sum::<u64>() > 20);
        assert_eq!(whole.looks.len(), 4);
        let other = bench.trained(TuneOptions { seed: 12, ..options });
        assert_ne!(other.state().pes, whole.pes);
        // Another training's state is told from this one's.
        let kept = write_tuning(&whole, &bench.plan, "a").unwrap();
        let error = read_tuning(&kept, "x.state", &bench.plan, "b").unwrap_err();
        assert!(error.to_string().contains("another training"), "{error}");
    }
}

/// Pulses go to cells of the tuned layer, and every one is counted.
#[test]
fn only_tuned_layers_change_and_pulses_are_counted() {
    let bench = Bench::new(network(), "yao2020-chip", &["chip.pes=64"], 40);
    let options = TuneOptions {
        update: Update::Threshold { least_us: 0.5 },
        rate: 1.0,
        n_batch: 20,
        n_batches: 6,
        ..TuneOptions::default()
    };
    let session = bench.trained(options);
    assert_eq!(session.tuner().layers(), ["fc"]);
    let (work, wear) = (session.work(), session.wear());
    let given: u64 = wear.pulses.iter().map(|&n| u64::from(n)).sum();
    assert_eq!(given, work.set_pulses + work.reset_pulses);
    assert!(given > 0 && work.energy_pj > 0.0 && work.verify_reads > given);
    let id = bench.layer("fc");
    let own: Vec<_> = bench
        .plan
        .tiles
        .values()
        .filter(|tile| tile.place.layer == id)
        .map(|tile| (tile.place.pe, tile.place.input_line, tile.place.output_line))
        .collect();
    let after = session.finish().programmed;
    for (pe, cells) in &after.pes {
        for (at, us) in cells.relaxed_us.iter().enumerate() {
            let before = bench.programmed.pes[pe].relaxed_us[at];
            let line = (at as u32 / bench.plan.pe.outputs, at as u32 % bench.plan.pe.outputs);
            let is_own = own.iter().any(|&(own, input, output)| {
                own == *pe
                    && (input..input + 4).contains(&line.0)
                    && (output..output + 8).contains(&line.1)
            });
            assert!(is_own || before == *us, "{pe} {at}");
        }
    }
}

/// The loss falls by tuning a chip with all its effects, with both rules.
#[test]
fn tuning_lowers_the_loss_and_early_stopping_stops() {
    let bench = Bench::new(product(), "yao2020-chip", &[], 200);
    for (update, rate) in
        [(Update::Threshold { least_us: 1.5 }, 0.5), (Update::Sign { above_us: 1.5 }, 0.5)]
    {
        let options =
            TuneOptions { update, rate, n_batch: 50, n_batches: 80, ..TuneOptions::default() };
        let tuner = bench.tuner(bench.programmed.clone(), options.clone());
        let before = tuner.measure(&bench.samples, &bench.all(), 0).unwrap();
        let after = bench.trained(options).measure_tuned(0).unwrap();
        assert!(after.mean_loss() < 0.9 * before.mean_loss(), "{update:?} {before:?} {after:?}");
    }
    // Random labels: nothing that is learned helps what is held out.
    let options = TuneOptions {
        rate: 2.0,
        n_batch: 20,
        n_batches: 500,
        n_held_out: 100,
        look_every: 5,
        patience: Some(3),
        ..TuneOptions::default()
    };
    let session = bench.trained(options);
    assert!(session.is_stopped() && session.batches().len() < 500);
}

/// What cannot be tuned is said, with names.
#[test]
fn what_cannot_be_tuned_is_refused_by_name() {
    let bench = Bench::new(network(), "ideal", &EXACT, 8);
    let text = bench.refusal(TuneOptions { layers: named(&["fcc"]), ..Default::default() });
    assert!(
        text.contains("no layer on the arrays is `fcc`") && text.contains("did you mean"),
        "{text}"
    );
    let sign = TuneOptions { update: Update::Sign { above_us: 0.0 }, ..Default::default() };
    let text = bench.refusal(sign);
    assert!(text.contains("does not say what a pulse does"), "{text}");
    // A product of two activations behind the layer.
    let model = Onnx::new(2).input("x", &batched(None, &[4, 4])).weights("w", &[4, 4]);
    let model = model.node("MatMul", &["x", "w"], "a", vec![]);
    let model = model.node("MatMul", &["a", "a"], "b", vec![]);
    let model = model.integers("flat", &[2], &[0, -1]).node("Reshape", &["b", "flat"], "y", vec![]);
    let model = pipeline::read(model.output("y").bytes()).unwrap();
    let bench = Bench::new(model, "ideal", &EXACT, 8);
    let text = bench.refusal(TuneOptions::default());
    assert!(text.contains("layer `a` cannot be tuned: `b`"), "{text}");
    // No scores.
    let model = Onnx::new(2).input("x", &batched(None, &[2, 5, 5]));
    let model = Conv::new(2, 2, &[3, 3]).add_to(model, "y", "x").output("y");
    let bench = Bench::new(pipeline::read(model.bytes()).unwrap(), "ideal", &EXACT, 8);
    let text = bench.refusal(TuneOptions::default());
    assert!(text.contains("a score for each class"), "{text}");
}

/// Where nothing is noisy, layers before the tuned ones are run once for all
/// samples: it shows in nothing but time.
#[test]
fn fixed_layers_are_run_once_and_give_the_same() {
    let sets = ["chip.pes=64", "cell.read_noise_fraction=0"];
    let bench = Bench::new(network(), "yao2020-chip", &sets, 40);
    let options = TuneOptions { n_batch: 20, n_batches: 0, ..TuneOptions::default() };
    let session = bench.trained(options.clone());
    let kept = session.measure_tuned(0).unwrap();
    let tuner = bench.tuner(bench.programmed.clone(), options);
    assert_eq!(tuner.measure(&bench.samples, &bench.all(), 0).unwrap(), kept);
}
