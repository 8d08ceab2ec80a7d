//! Writing fast: as good as plain write-verify, with fewer pulses, each part by
//! itself; and from what an earlier plan left.

use ohmc::adapt::{FastOptions, Written, program_fast};
use ohmc::chip::{
    self, CellState, Conditions, Effects, PairOptions, ProgramOptions, Programmed, Work,
};
use ohmc::compiler::{self, CompileOptions};
use ohmc::frontend::Model;
use ohmc::quantize::Calibration;
use ohmc::runtime::Executor;
use ohmc::schedule::{self, ExecutionPlan};
use ohmc::target::Target;
use ohmc::tensor::Tensor;

use crate::onnx::{Onnx, batched};
use crate::pipeline;

const ALL: FastOptions = FastOptions {
    pairs: PairOptions { predicted: true, common_mode: true, parallel: true },
    common_mode_us: f64::INFINITY,
    sensitivity: true,
    feedback: true,
    n_stages: 8,
};

/// A layer whose inputs have much in common, on two tiles.
struct Bench {
    model: Model,
    target: Target,
    calibration: Calibration,
    plan: ExecutionPlan,
    inputs: Vec<Tensor>,
}

impl Bench {
    fn new(weights: &str, sets: &[&str]) -> Self {
        let quiet =
            ["cell.read_noise_fraction=0", "readout.adc_bits=20", "readout.adc_range=full-scale"];
        let sets: Vec<String> = quiet.iter().chain(sets).map(ToString::to_string).collect();
        let target = pipeline::target("yao2020-macro", &sets);
        let model = Onnx::new(31).input("x", &batched(None, &[200]));
        let model = model.weights(weights, &[200, 40]).node("MatMul", &["x", weights], "y", vec![]);
        let model = pipeline::read(model.output("y").bytes()).unwrap();
        let seen = pipeline::inputs(&model, 400, 0.0, 1.0, 5);
        let calibration = pipeline::calibrate(&model, &seen, 400);
        let options = CompileOptions::default();
        let plan = compiler::compile(&model, &target, &calibration, &options).unwrap().plan;
        let inputs = pipeline::inputs(&model, 100, 0.0, 1.0, 6);
        Self { model, target, calibration, plan, inputs }
    }

    fn fast(&self, options: &FastOptions, from: Option<&Programmed>) -> Written {
        let writing = ProgramOptions { seed: 3, by_pulses: true, fault_map: None };
        program_fast(&self.plan, &self.target, &self.calibration, &writing, (options, from))
            .unwrap()
    }

    fn plain(&self) -> Programmed {
        let writing = ProgramOptions { seed: 3, by_pulses: true, fault_map: None };
        chip::write(&self.plan, &self.target, &writing).unwrap()
    }

    fn outputs(&self, written: &Written, effects: Effects) -> Vec<f32> {
        let plan = ExecutionPlan { targets: written.adapted.targets.clone(), ..self.plan.clone() };
        assert_eq!(schedule::verify(&plan), []);
        let conditions = Conditions { effects, ..Conditions::at_once(0) };
        let chip = written.programmed.chip(&plan, &self.target, &conditions);
        let executor = Executor::new(&plan, &self.model, &chip).unwrap();
        executor.run(&self.inputs, 0).unwrap()[0].as_f32().unwrap().to_vec()
    }

    /// Squared error of the outputs, over that of plain write-verify: how it
    /// varies with the input, and what is the same for all by this weight.
    fn error(&self, written: &Written, offsets_count: f64) -> f64 {
        let adapted = ohmc::adapt::Adapted {
            targets: self.plan.targets.clone(),
            changes: ohmc::adapt::Changes::default(),
        };
        let plain = Written { programmed: self.plain(), adapted };
        let wanted = self.outputs(&plain, Effects::NONE);
        const N_COLUMNS: usize = 40;
        let n = (wanted.len() / N_COLUMNS) as f64;
        let squared = |found: Vec<f32>| -> f64 {
            let column = |column: usize| {
                let errors =
                    || (column..found.len()).step_by(N_COLUMNS).map(|at| found[at] - wanted[at]);
                let mean = errors().map(f64::from).sum::<f64>() / n;
                let square = errors().map(|e| f64::from(e).powi(2)).sum::<f64>() / n;
                square - (1.0 - offsets_count) * mean * mean
            };
            (0..N_COLUMNS).map(column).sum()
        };
        squared(self.outputs(written, Effects::ALL)) / squared(self.outputs(&plain, Effects::ALL))
    }
}

fn n_pulses(work: &Work) -> u64 {
    work.set_pulses + work.reset_pulses
}

#[test]
fn outputs_are_as_good_with_a_fifth_of_the_pulses() {
    let bench = Bench::new("w", &[]);
    let written = bench.fast(&ALL, None);
    let work = written.programmed.work(&bench.plan);
    let plain = bench.plain().work(&bench.plan);
    assert!(5 * n_pulses(&work) < n_pulses(&plain), "{work:?} {plain:?}");
    assert!(work.energy_pj < plain.energy_pj && work.busy_ns < plain.busy_ns);
    // What was expected, and what came of it on other inputs.
    let changes = written.adapted.changes;
    let expected = changes.error_after / changes.error_before;
    // On its own inputs the calibration makes up for a little more than on others.
    assert!((0.7..1.2).contains(&expected), "{expected}");
    let found = bench.error(&written, 0.25);
    assert!((0.7..1.3).contains(&found), "{found}");
}

/// Each part left out by itself costs pulses and leaves the error as it is.
#[test]
fn every_part_saves_pulses() {
    let bench = Bench::new("w", &[]);
    let pulses = |options: &FastOptions| {
        let written = bench.fast(options, None);
        let changes = written.adapted.changes;
        let expected = changes.error_after / changes.error_before;
        assert!((0.7..1.2).contains(&expected), "{options:?}: {expected}");
        n_pulses(&written.programmed.work(&bench.plan))
    };
    let all = pulses(&ALL);
    let without = [
        FastOptions { sensitivity: false, ..ALL },
        FastOptions { feedback: false, ..ALL },
        FastOptions { pairs: PairOptions { predicted: false, ..ALL.pairs }, ..ALL },
        FastOptions { pairs: PairOptions { common_mode: false, ..ALL.pairs }, ..ALL },
    ];
    for options in without {
        assert!(pulses(&options) >= all, "{options:?}");
    }
    let plain = n_pulses(&bench.plain().work(&bench.plan));
    let own = pulses(&FastOptions::PLAIN);
    assert!((own as f64 / plain as f64 - 1.0).abs() < 0.05, "{own} {plain}");
}

/// With none of the chip's effects a chip that was written fast is the plan,
/// but for what was made up for.
#[test]
fn without_effects_pairs_hold_their_weights() {
    let bench = Bench::new("w", &[]);
    let alone = FastOptions { feedback: false, ..ALL };
    let written = bench.fast(&alone, None);
    for (pe, targets) in &written.adapted.targets {
        let (own, planned) = (targets.levels.to_vec(), bench.plan.targets[pe].levels.to_vec());
        for (own, planned) in own.chunks_exact(2).zip(planned.chunks_exact(2)) {
            if !planned[0].is_nan() {
                let off = (own[0] - own[1]) - (planned[0] - planned[1]);
                assert!(off.abs() < 1e-4, "{own:?} {planned:?}");
            }
        }
    }
}

#[test]
fn a_chip_is_the_same_for_any_number_of_threads() {
    let bench = Bench::new("w", &["cell.faults.stuck_high_rate=0.02"]);
    let on = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| bench.fast(&ALL, None))
    };
    let (one, three) = (on(1), on(3));
    assert_eq!(one.programmed, three.programmed);
    assert_eq!(one.adapted, three.adapted);
}

/// Stuck cells are not known before, and are made up for all the same.
#[test]
fn stuck_cells_are_made_up_for() {
    let bench = Bench::new("w", &["cell.faults.stuck_high_rate=0.01"]);
    let plain = bench.plain();
    let written = bench.fast(&ALL, None);
    for (pe, cells) in &written.programmed.pes {
        for (own, other) in cells.states.iter().zip(&plain.pes[pe].states) {
            assert_eq!(own.is_fault(), other.is_fault(), "{own:?} {other:?}");
        }
    }
    let found = bench.error(&written, 1.0);
    assert!(found < 0.25, "{found}");
}

/// Written over with the same plan only what relaxed too far is touched; with
/// another plan, far less than a new chip takes.
#[test]
fn a_chip_is_written_over_from_what_it_holds() {
    let bench = Bench::new("w", &[]);
    let first = bench.fast(&ALL, None).programmed;
    let again = bench.fast(&ALL, Some(&first));
    assert_eq!(again.programmed.n_rewritten, 1);
    let work = |written: &Written| written.programmed.work(&bench.plan);
    assert_eq!(work(&again).forming_pulses, 0);
    let new = n_pulses(&first.work(&bench.plan));
    assert!(2 * n_pulses(&work(&again)) < new, "{} {new}", n_pulses(&work(&again)));
    // Cells that took no pulse hold what they held.
    for (pe, cells) in &again.programmed.pes {
        for (index, &pulses) in cells.pulses.iter().enumerate() {
            if pulses == 0 && cells.states[index] != CellState::Unused {
                assert_eq!(cells.relaxed_us[index], first.pes[pe].relaxed_us[index]);
            }
        }
    }
    // Another plan, plainly and fast.
    let other = Bench::new("v", &[]);
    let plain = other.fast(&FastOptions::PLAIN, Some(&first));
    let fast = other.fast(&ALL, Some(&first));
    assert!(5 * n_pulses(&work(&fast)) < n_pulses(&work(&plain)));
    let found = other.error(&fast, 0.25);
    assert!(found < 1.3, "{found}");
}
