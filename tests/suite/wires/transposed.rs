//! Arrays that are read the other way round through wires: against the network
//! entered from its output lines, solved the long way.

use std::collections::BTreeSet;

use ohmc::compiler::CompileOptions;
use ohmc::target::{Pe, Wires};

use crate::onnx::{Onnx, batched};
use crate::pipeline::{self, Case};

/// What a volt on the terminal of each output line alone sends into the
/// terminal of each input line, in uS, `[output line][input line]`: a node at
/// either end of every cell, Kirchhoff's matrix, Gauss's elimination.
fn entered_from_outputs(pe: Pe, wires: &Wires, cells_us: &[f32]) -> Vec<f64> {
    let (n, m) = (pe.inputs as usize, pe.outputs as usize);
    let n_nodes = 2 * n * m;
    let (above, below) = (|i: usize, j: usize| i * m + j, |i: usize, j: usize| (n + i) * m + j);
    let input_s = 1.0 / (wires.driver_ohm + wires.input_ohm_per_cell);
    let output_s = 1.0 / (wires.sense_ohm + wires.output_ohm_per_cell);
    let mut matrix = vec![vec![0.0; n_nodes + m]; n_nodes];
    let mut branch = |a: usize, b: Option<usize>, siemens: f64| {
        matrix[a][a] += siemens;
        if let Some(b) = b {
            matrix[b][b] += siemens;
            matrix[a][b] -= siemens;
            matrix[b][a] -= siemens;
        }
    };
    for (i, j) in (0..n).flat_map(|i| (0..m).map(move |j| (i, j))) {
        branch(above(i, j), Some(below(i, j)), f64::from(cells_us[i * m + j]) * 1e-6);
        match j {
            0 => branch(above(i, j), None, input_s),
            _ => branch(above(i, j), Some(above(i, j - 1)), 1.0 / wires.input_ohm_per_cell),
        }
        match i + 1 == n {
            true => branch(below(i, j), None, output_s),
            false => branch(below(i, j), Some(below(i + 1, j)), 1.0 / wires.output_ohm_per_cell),
        }
    }
    // One right-hand side for each output line at 1 V, all else at 0 V.
    for j in 0..m {
        matrix[below(n - 1, j)][n_nodes + j] = output_s;
    }
    for pivot in 0..n_nodes {
        let row = matrix[pivot].clone();
        for (other, values) in matrix.iter_mut().enumerate() {
            let factor = values[pivot] / row[pivot];
            if other != pivot && factor != 0.0 {
                values.iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
            }
        }
    }
    let volt = |node: usize, j: usize| matrix[node][n_nodes + j] / matrix[node][node];
    let current = |at: usize| volt(above(at % n, 0), at / n) * input_s * 1e6;
    (0..n * m).map(current).collect()
}

#[test]
fn a_transposed_chip_is_the_network_entered_from_its_outputs() {
    let sets = [
        "pe.inputs=9",
        "pe.outputs=8",
        "cell.conductance_min_us=2",
        "cell.conductance_max_us=20",
        "pe.wire_input_ohm_per_cell=300",
        "pe.wire_output_ohm_per_cell=700",
        "pe.driver_ohm=1500",
        "pe.sense_ohm=400",
    ];
    let model = Onnx::new(5).input("x", &batched(None, &[12])).weights("w", &[12, 6]);
    let model = model.node("MatMul", &["x", "w"], "y", vec![]).output("y");
    let model = pipeline::read(model.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 4, 0.0, 1.0, 12);
    let target = pipeline::target("ideal", &sets.map(ToString::to_string));
    let case = Case::new(model, target, &CompileOptions::default(), inputs).unwrap();
    let (plan, chip) = (&case.compiled.plan, case.program(0));
    let pes: BTreeSet<_> = plan.targets.keys().copied().collect();
    let turned = chip.transposed(plan, &case.target, &pes);
    let (n, m) = (plan.pe.inputs as usize, plan.pe.outputs as usize);
    assert_eq!(turned.pe, Pe { inputs: m as u32 / 2, outputs: 2 * n as u32 });
    for pe in &pes {
        let cells = &chip.conductances_us[pe];
        let wanted = entered_from_outputs(plan.pe, &case.target.wires, cells);
        let largest = wanted.iter().fold(0.0, |largest: f64, us| largest.max(*us));
        let mut lost: f64 = 0.0;
        for (output, input) in (0..m).flat_map(|j| (0..n).map(move |i| (j, i))) {
            // A pair is a line that is driven, and an input line a pair.
            let at = output / 2 * 2 * n + 2 * input + output % 2;
            let found = f64::from(turned.conductances_us[pe][at]);
            let wanted = wanted[output * n + input];
            assert!((found - wanted).abs() < 1e-6 * largest, "{pe}, {output} to {input}: {found}");
            lost = lost.max(f64::from(cells[input * m + output]) - wanted);
        }
        assert!(lost > 0.05 * largest, "wires that take nothing: {lost} of {largest}");
    }
}
