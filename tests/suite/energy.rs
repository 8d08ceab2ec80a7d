//! The energy that arrays draw, against sums done by hand: cells that are
//! driven with a 1, and no others.

use ohmc::compiler::CompileOptions;
use ohmc::runtime::{ArrayEnergy, Executor};
use ohmc::tensor::{Tensor, Values};

use crate::onnx::{Onnx, batched};
use crate::pipeline::{self, Case};

/// A product of 6 inputs and 3 outputs, calibrated on inputs up to 1.
fn product(target: &str, sets: &[&str]) -> Case {
    let model = Onnx::new(3).input("x", &batched(None, &[6])).weights("w", &[6, 3]);
    let model = model.node("MatMul", &["x", "w"], "y", vec![]).output("y");
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = vec![Tensor::new(vec![2, 6], Values::F32([[0.0; 6], [1.0; 6]].concat())).unwrap()];
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let options = CompileOptions {
        quantize: ohmc::quantize::QuantizeOptions {
            range: ohmc::quantize::RangeRule::MinMax,
            ..Default::default()
        },
        ..Default::default()
    };
    Case::new(model, pipeline::target(target, &sets), &options, inputs).unwrap()
}

fn drawn(case: &Case, values: &[f32]) -> ArrayEnergy {
    let chip = case.program(7);
    let executor = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap();
    let executor = executor.counting_energy();
    let n = values.len() / 6;
    let inputs = [Tensor::new(vec![n, 6], Values::F32(values.to_vec())).unwrap()];
    executor.run(&inputs, 0).unwrap();
    executor.array_energy(&chip, &case.target.cell)
}

/// Conductance of all used cells in uS.
fn all_us(case: &Case) -> f64 {
    let chip = case.program(7);
    let cells = chip.conductances_us.values().flatten();
    cells.map(|&us| f64::from(us)).sum()
}

#[test]
fn zeros_draw_nothing_and_ones_draw_every_cell_in_every_plane() {
    let case = product("ideal", &[]);
    assert_eq!(drawn(&case, &[0.0; 6]).total_pj, 0.0);
    let energy = drawn(&case, &[1.0; 6]);
    // The largest input is the code 255: eight planes of 50 ns at 0.2 V.
    let expected_pj = all_us(&case) * 0.2 * 0.2 * 50.0 * 8.0 / 1000.0;
    assert!((energy.total_pj / expected_pj - 1.0).abs() < 1e-12, "{energy:?} {expected_pj}");
    assert_eq!((energy.bits_one, energy.bits, energy.n_inputs), (48, 48, 1));
    // On an exact chip that is what the plan's targets promise at most.
    let report = ohmc::Report::new(&ohmc::report::ReportParts {
        model_name: "",
        graph: &case.model.graph,
        plan: &case.compiled.plan,
        target: &case.target,
        preprocessing: "",
        calibration: "",
        timing: Default::default(),
    });
    assert!((report.physics.input_pj_max / expected_pj - 1.0).abs() < 1e-12);
}

#[test]
fn lines_are_told_apart_and_inputs_add_up() {
    let case = product("yao2020-chip", &[]);
    let one = |line: usize| {
        let mut values = [0.0; 6];
        values[line] = 1.0;
        drawn(&case, &values).total_pj
    };
    let each: f64 = (0..6).map(one).sum();
    let all = drawn(&case, &[1.0; 6]);
    assert!((each / all.total_pj - 1.0).abs() < 1e-12);
    let both = drawn(&case, &[[1.0; 6], [0.0; 6]].concat());
    assert_eq!((both.n_inputs, both.total_pj), (2, all.total_pj));
    assert!((both.share_of_ones() - 0.5).abs() < 1e-12);
    // Cells of this chip are not at their targets, and its energy is its own.
    assert!((all.total_pj / (all_us(&case) * 0.016) - 1.0).abs() < 1e-12);
}

#[test]
fn lines_held_for_several_rounds_draw_as_much_longer() {
    let once = drawn(&product("ideal", &[]), &[0.3; 6]);
    let sets = ["readout.adcs_per_pe=1", "readout.conversions_per_cycle=1"];
    let thrice = drawn(&product("ideal", &sets), &[0.3; 6]);
    assert!((thrice.total_pj / once.total_pj - 3.0).abs() < 1e-12);
}
