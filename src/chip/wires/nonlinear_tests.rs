//! Cells that are no resistors: against the transfer matrix where they are,
//! against an equation with one unknown, and how far off the matrix is that a
//! run takes.

use super::*;
use crate::target::{Cell, Nonlinearity, Target, builtin};

const SCALE_V: f64 = 0.3;

fn curve(scale_low_v: f64, scale_high_v: f64) -> CellCurve {
    let target = Target::from_yaml(builtin("yao2020-macro").unwrap(), "macro", &[]).unwrap();
    let nonlinearity = Nonlinearity { verify_voltage_v: 0.2, scale_low_v, scale_high_v };
    CellCurve::new(&Cell { nonlinearity: Some(nonlinearity), ..target.cell }).unwrap()
}

fn wires(ohm: f64) -> Wires {
    Wires {
        input_ohm_per_cell: ohm,
        output_ohm_per_cell: ohm,
        driver_ohm: 20.0 * ohm,
        sense_ohm: 7.0 * ohm,
        ..Wires::NONE
    }
}

/// Cells between 2 and 20 uS, bits of every second line or so.
fn problem(pe: Pe) -> (Vec<f64>, Vec<bool>) {
    let n_cells = (pe.inputs * pe.outputs) as usize;
    let mixed = |nth: usize| (nth * 7_919 + nth / 3 * 104_729) % 1_000;
    let cells = (0..n_cells).map(|nth| 2.0 + 18.0 * mixed(nth) as f64 / 1_000.0).collect();
    let driven = (0..pe.inputs as usize).map(|nth| mixed(nth + 5) % 2 == 0).collect();
    (cells, driven)
}

/// Sums over driven lines of a transfer matrix.
fn products(pe: Pe, transfer_us: &[f64], driven: &[bool]) -> Vec<f64> {
    let n_outputs = pe.outputs as usize;
    let lines = || transfer_us.chunks_exact(n_outputs).zip(driven).filter(|(_, on)| **on);
    (0..n_outputs).map(|j| lines().map(|(line, _)| line[j]).sum()).collect()
}

fn farthest(found: &[f64], wanted: &[f64]) -> f64 {
    let largest = wanted.iter().fold(0.0, |a: f64, b| a.max(*b));
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max)
}

#[test]
fn resistors_have_the_currents_of_their_transfer_matrix() {
    for pe in [Pe { inputs: 24, outputs: 17 }, Pe { inputs: 128, outputs: 128 }] {
        let (cells, driven) = problem(pe);
        for ohm in [0.0, 1.0, 20.0] {
            let found = currents_us(pe, &wires(ohm), Some(&curve(1e6, 1e6)), &cells, &driven);
            let wanted = products(pe, &transfer_us(pe, &wires(ohm), &cells), &driven);
            let off = farthest(&found, &wanted);
            assert!(off < 1e-9, "{pe:?} {ohm} ohm: {off}");
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what it is held against")]
fn one_cell_behind_a_driver() {
    let pe = Pe { inputs: 1, outputs: 1 };
    let sine = |v: f64| 10.0 * 0.2 * (v / SCALE_V).sinh() / (0.2 / SCALE_V).sinh();
    for driver_ohm in [1e2, 1e4, 1e5] {
        let wires = Wires { driver_ohm, ..Wires::NONE };
        let cells = curve(SCALE_V, SCALE_V);
        let found = 0.2 * currents_us(pe, &wires, Some(&cells), &[10.0], &[true])[0];
        // The voltage that the cell has, by bisection.
        let (mut low, mut high) = (0.0, 0.2);
        for _ in 0..100 {
            let v = (low + high) / 2.0;
            if v + driver_ohm * 1e-6 * sine(v) < 0.2 { low = v } else { high = v }
        }
        assert!((found / sine(low) - 1.0).abs() < 1e-9, "{driver_ohm} ohm: {found} {}", sine(low));
    }
}

#[test]
fn the_matrix_of_a_run_is_exact_with_all_lines_driven_and_near_otherwise() {
    let pe = Pe { inputs: 128, outputs: 128 };
    let (cells, driven) = problem(pe);
    let curve = curve(SCALE_V, 1.0);
    let wires = wires(1.0);
    let cell = |input: usize, output: usize| cells[input * 128 + output];
    let mut transfer = vec![0.0; cells.len()];
    let network = Network::new(pe, &wires, 0..128, cell).with_all_driven(&curve);
    network.solve(|input, output, us| transfer[input * 128 + output] = us);
    let off = |driven: &[bool]| {
        let wanted = currents_us(pe, &wires, Some(&curve), &cells, driven);
        farthest(&products(pe, &transfer, driven), &wanted)
    };
    assert!(off(&[true; 128]) < 1e-9);
    let one: Vec<bool> = (0..128).map(|nth| nth == 127).collect();
    let (half, one) = (off(&driven), off(&one));
    // By the cells of resistors: what the matrix leaves is little beside that.
    let resistors = products(pe, &transfer_us(pe, &wires, &cells), &driven);
    let ignored = farthest(&resistors, &currents_us(pe, &wires, Some(&curve), &cells, &driven));
    assert!(half < ignored / 2.0 && half < 2e-3, "half {half}, as resistors {ignored}");
    assert!(one < 2e-2, "one line {one}");
}
