//! Targets that know the chip: what is gained where cells are stuck, and where
//! lines that are written were measured.

use ohmc::adapt::{AdaptOptions, Adapted, FixedCells, Written, adapt, program};
use ohmc::chip::{self, Chip, Conditions, ProgramOptions};
use ohmc::compiler::{self, CompileOptions};
use ohmc::frontend::Model;
use ohmc::quantize::Calibration;
use ohmc::runtime::Executor;
use ohmc::schedule::{self, ExecutionPlan};
use ohmc::target::Target;
use ohmc::tensor::Tensor;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::onnx::{Conv, Onnx, batched};
use crate::pipeline;

/// A model of one layer, compiled for cells from 2 to 20 uS and a read-out that
/// rounds next to nothing.
struct Bench {
    model: Model,
    target: Target,
    calibration: Calibration,
    plan: ExecutionPlan,
    /// Other inputs than those it was calibrated on.
    inputs: Vec<Tensor>,
}

impl Bench {
    fn new(model: Model, sets: &[&str]) -> Self {
        let fine = [
            "cell.conductance_min_us=2",
            "cell.conductance_max_us=20",
            "readout.adc_bits=20",
            "readout.adc_range=full-scale",
        ];
        let sets: Vec<String> = fine.iter().chain(sets).map(ToString::to_string).collect();
        let target = pipeline::target("ideal", &sets);
        let seen = pipeline::inputs(&model, 200, 0.0, 1.0, 5);
        let calibration = pipeline::calibrate(&model, &seen, 200);
        let options = CompileOptions::default();
        let plan = compiler::compile(&model, &target, &calibration, &options).unwrap().plan;
        let inputs = pipeline::inputs(&model, 64, 0.0, 1.0, 6);
        Self { model, target, calibration, plan, inputs }
    }

    /// 200 inputs in two tiles, 40 outputs.
    fn product(sets: &[&str]) -> Self {
        let model = Onnx::new(21).input("x", &batched(None, &[200]));
        let model = model.weights("w", &[200, 40]).node("MatMul", &["x", "w"], "y", vec![]);
        Self::new(pipeline::read(model.output("y").bytes()).unwrap(), sets)
    }

    /// Four groups, block-diagonal.
    fn grouped(sets: &[&str]) -> Self {
        let mut conv = Conv::new(4, 4, &[3, 3]);
        conv.groups = 4;
        let model = Onnx::new(22).input("x", &batched(None, &[16, 6, 6]));
        let model = conv.add_to(model, "y", "x").output("y");
        Self::new(pipeline::read(model.bytes()).unwrap(), sets)
    }

    fn outputs(&self, plan: &ExecutionPlan, chip: &Chip) -> Vec<f32> {
        let executor = Executor::new(plan, &self.model, chip).unwrap();
        executor.run(&self.inputs, 0).unwrap()[0].as_f32().unwrap().to_vec()
    }

    /// One cell of a hundred is stuck, half of them high, half low.
    fn program_stuck(&self, plan: &ExecutionPlan) -> Chip {
        let mut chip = chip::program(plan, &self.target, 3);
        let mut random = ChaCha8Rng::seed_from_u64(99);
        for (pe, cells) in &mut chip.conductances_us {
            for (us, level) in cells.iter_mut().zip(plan.targets[pe].levels.iter()) {
                let (is_stuck, is_high) = (random.random_bool(0.01), random.random_bool(0.5));
                if is_stuck && !level.is_nan() {
                    *us = if is_high { 20.0 } else { 2.0 };
                }
            }
        }
        chip
    }

    fn adapted(&self, fixed: &FixedCells, options: AdaptOptions) -> (ExecutionPlan, Adapted) {
        let adapted = adapt(&self.plan, &self.target.cell, fixed, &self.calibration, options);
        let plan = ExecutionPlan { targets: adapted.targets.clone(), ..self.plan.clone() };
        assert_eq!(schedule::verify(&plan), []);
        (plan, adapted)
    }
}

/// Cells that hold more than half a microsiemens more or less.
fn n_differing(a: &Chip, b: &Chip) -> u64 {
    let cells =
        |chip: &Chip| chip.conductances_us.values().flatten().copied().collect::<Vec<f32>>();
    cells(a).iter().zip(cells(b)).filter(|(a, b)| (**a - b).abs() > 0.5).count() as u64
}

fn squared(found: &[f32], wanted: &[f32]) -> f64 {
    found.iter().zip(wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

const NEITHER: AdaptOptions = AdaptOptions { partners: false, feedback: false };
const PARTNERS: AdaptOptions = AdaptOptions { partners: true, feedback: false };
const FEEDBACK: AdaptOptions = AdaptOptions { partners: false, feedback: true };
const BOTH: AdaptOptions = AdaptOptions { partners: true, feedback: true };

#[test]
fn stuck_cells_that_are_known_cost_a_quarter_at_most() {
    for bench in [Bench::product(&[]), Bench::grouped(&[])] {
        let exact = chip::program(&bench.plan, &bench.target, 3);
        let wanted = bench.outputs(&bench.plan, &exact);
        let unaware = bench.program_stuck(&bench.plan);
        let fixed = FixedCells::off_target(&bench.plan, &unaware, &bench.target.cell, 0.5);
        let n_stuck = n_differing(&exact, &unaware);
        assert!(n_stuck > 20, "{n_stuck}");
        let lost = squared(&bench.outputs(&bench.plan, &unaware), &wanted);
        let share = |options| {
            let (plan, adapted) = bench.adapted(&fixed, options);
            let found = bench.outputs(&plan, &bench.program_stuck(&plan));
            let changes = adapted.changes;
            assert_eq!(changes.fixed, n_stuck, "{changes:?}");
            assert_eq!(changes.partners > 0, options.partners, "{changes:?}");
            assert_eq!(changes.feedback > 0, options.feedback, "{changes:?}");
            squared(&found, &wanted) / lost
        };
        let (neither, partners) = (share(NEITHER), share(PARTNERS));
        let (feedback, both) = (share(FEEDBACK), share(BOTH));
        let shares = format!("partners {partners:.3}, feedback {feedback:.3}, both {both:.3}");
        println!("of the squared error are left: {shares}");
        assert_eq!(neither, 1.0);
        assert!(partners < 0.6 && feedback < 0.6, "{shares}");
        assert!(both <= 0.25 && both < partners && both < feedback, "{shares}");
    }
}

#[test]
fn without_known_flaws_targets_stay_to_the_bit() {
    let bench = Bench::product(&[]);
    let exact = chip::program(&bench.plan, &bench.target, 3);
    let none = FixedCells::off_target(&bench.plan, &exact, &bench.target.cell, 0.5);
    for fixed in [none, FixedCells::default()] {
        let (plan, adapted) = bench.adapted(&fixed, BOTH);
        assert_eq!(plan, bench.plan);
        assert_eq!(adapted.changes, Default::default());
    }
}

/// Half of the lines are written and measured; the other half makes up for
/// what went wrong.
#[test]
fn lines_written_later_make_up_for_those_before() {
    let sets = ["cell.verify_tolerance_us=0.25", "cell.relaxation_sd_us=0.3"];
    let bench = Bench::product(&sets);
    let exact = bench.target.exact();
    let wanted = bench.outputs(&bench.plan, &chip::program(&bench.plan, &exact, 3));
    let (mut unaware, mut aware) = (0.0, 0.0);
    for seed in 0..3 {
        let chip = chip::program(&bench.plan, &bench.target, seed);
        let half = bench.plan.pe.inputs / 2;
        let fixed = FixedCells::written(&bench.plan, &chip, |line| line < half);
        let (plan, adapted) = bench.adapted(&fixed, BOTH);
        // What is written stays; the rest is written with errors as before.
        assert!(adapted.changes.feedback > 0);
        let again = chip::program(&plan, &bench.target, seed);
        let mut mixed = again.clone();
        for (pe, cells) in &mut mixed.conductances_us {
            let n = (half * bench.plan.pe.outputs) as usize;
            cells[..n].copy_from_slice(&chip.conductances_us[pe][..n]);
        }
        unaware += squared(&bench.outputs(&bench.plan, &chip), &wanted);
        aware += squared(&bench.outputs(&plan, &mixed), &wanted);
    }
    println!("{:.3} of the squared error are left", aware / unaware);
    assert!(aware < 0.8 * unaware, "{}", aware / unaware);
}

/// Stage by stage, each writing lines that make up for those before.
#[test]
fn stages_leave_less_and_less() {
    let left = |faults: &[&str], n_stages: u32, options| {
        let cells = ["cell.verify_tolerance_us=0.25", "cell.relaxation_sd_us=0.3"];
        let bench = Bench::product(&[&cells, faults].concat());
        let exact = bench.target.exact();
        let wanted = bench.outputs(&bench.plan, &chip::program(&bench.plan, &exact, 3));
        let (mut squares, mut told) = (0.0, 0.0);
        for seed in 0..3 {
            let writing = ProgramOptions { seed, ..ProgramOptions::default() };
            let (how, Bench { target, calibration, .. }) = ((options, n_stages), &bench);
            let written = program(&bench.plan, target, calibration, &writing, how).unwrap();
            let Written { programmed, adapted: Adapted { targets, changes } } = written;
            let plan = ExecutionPlan { targets, ..bench.plan.clone() };
            let levels = |plan: &ExecutionPlan| -> Vec<u32> {
                plan.targets.values().flat_map(|t| t.levels.iter()).map(|l| l.to_bits()).collect()
            };
            let own = levels(&plan);
            let changed = own.iter().zip(levels(&bench.plan)).filter(|(a, b)| *a != b).count();
            assert_eq!(changes.partners + changes.feedback, changed as u64);
            assert_eq!(schedule::verify(&plan), []);
            let chip = programmed.chip(&plan, target, &Conditions::at_once(seed));
            squares += squared(&bench.outputs(&plan, &chip), &wanted);
            told += changes.error_after / changes.error_before / 3.0;
        }
        (squares, told)
    };
    // Inputs from 0 to 1: a quarter of the error is what no other line shares.
    for (faults, n_stages, most) in [
        (&[][..], 2, 0.75),
        (&[], 8, 0.5),
        (&["cell.faults.stuck_high_rate=0.005", "cell.faults.stuck_low_rate=0.005"], 1, 0.5),
    ] {
        let (unaware, nothing) = left(faults, n_stages, NEITHER);
        let (squares, told) = left(faults, n_stages, BOTH);
        let share = squares / unaware;
        println!("{faults:?}, {n_stages} stages: {share:.3} of the squared error, told {told:.3}");
        assert_eq!(nothing, 1.0);
        assert!(share < most, "{share}");
        // What is told is of the inputs that it was calibrated on.
        assert!((0.5..1.1).contains(&(told / share)), "{told} and {share}");
    }
}
