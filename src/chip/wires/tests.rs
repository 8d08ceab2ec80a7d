//! The transfer matrix against closed forms, against a nodal analysis done the
//! long way, and against itself entered from the other side.

use proptest::prelude::*;

use super::ports::Ports;
use super::*;

const MACRO: Pe = Pe { inputs: 128, outputs: 128 };

/// Numbers from 0 to 1 that look random.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// Cells between 2 and 20 uS; a share of them, and of whole lines, has none.
fn cells(pe: Pe, seed: u64) -> Vec<f64> {
    let mut next = noise(seed);
    let mut line = |n: u32| (0..n).map(|_| next() < 0.15).collect::<Vec<bool>>();
    let (inputs, outputs) = (line(pe.inputs), line(pe.outputs));
    let mut cell = |input: usize, output: usize| {
        let us = 2.0 + 18.0 * next();
        if inputs[input] || outputs[output] || next() < 0.2 { 0.0 } else { us }
    };
    let places =
        (0..pe.inputs as usize).flat_map(|i| (0..pe.outputs as usize).map(move |j| (i, j)));
    places.map(|(i, j)| cell(i, j)).collect()
}

/// Every node of every line, every branch between them: Kirchhoff's matrix in
/// S, and Gauss's elimination. Without any zero resistance; lines that float
/// have no driver.
pub(super) fn nodal_analysis(
    pe: Pe,
    wires: &Wires,
    cells_us: &[f64],
    floating: &[bool],
) -> Vec<f64> {
    let (n, m) = (pe.inputs as usize, pe.outputs as usize);
    let n_nodes = 2 * n * m;
    let above = |i: usize, j: usize| i * m + j;
    let below = |i: usize, j: usize| n * m + i * m + j;
    let mut matrix = vec![vec![0.0; n_nodes + n]; n_nodes];
    let mut branch = |a: usize, b: Option<usize>, siemens: f64| {
        matrix[a][a] += siemens;
        if let Some(b) = b {
            matrix[b][b] += siemens;
            matrix[a][b] -= siemens;
            matrix[b][a] -= siemens;
        }
    };
    let driver_s = 1.0 / (wires.driver_ohm + wires.input_ohm_per_cell);
    let driver_s = |i: usize| if floating.get(i) == Some(&true) { 0.0 } else { driver_s };
    let sense_s = 1.0 / (wires.sense_ohm + wires.output_ohm_per_cell);
    for i in 0..n {
        for j in 0..m {
            branch(above(i, j), Some(below(i, j)), cells_us[i * m + j] * 1e-6);
            if j == 0 {
                branch(above(i, j), None, driver_s(i));
            } else {
                branch(above(i, j), Some(above(i, j - 1)), 1.0 / wires.input_ohm_per_cell);
            }
            if i + 1 == n {
                branch(below(i, j), None, sense_s);
            } else {
                branch(below(i, j), Some(below(i + 1, j)), 1.0 / wires.output_ohm_per_cell);
            }
        }
    }
    // One right-hand side for each input line at 1 V.
    for i in 0..n {
        matrix[above(i, 0)][n_nodes + i] = driver_s(i);
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
    let volt = |node: usize, i: usize| matrix[node][n_nodes + i] / matrix[node][node];
    let place = |at: usize| volt(below(n - 1, at % m), at / m) * sense_s * 1e6;
    (0..n * m).map(place).collect()
}

/// Both to a part in 10^9 of what the line carries at most.
fn assert_close(found: &[f64], wanted: &[f64], pe: Pe, tolerance: f64) {
    let m = pe.outputs as usize;
    for j in 0..m {
        let largest = wanted.iter().skip(j).step_by(m).fold(0.0, |a: f64, b| a.max(*b));
        for i in 0..pe.inputs as usize {
            let (found, wanted) = (found[i * m + j], wanted[i * m + j]);
            let error = (found - wanted).abs();
            assert!(error <= tolerance * largest, "line {i} to {j}: {found} and {wanted} uS");
        }
    }
}

pub(super) fn resistances() -> impl Strategy<Value = Wires> {
    let ohm = || (1.0..10.0, 0usize..5).prop_map(|(x, e)| x * [1.0, 10.0, 1e2, 1e3, 1e4][e]);
    (ohm(), ohm(), ohm(), ohm()).prop_map(
        |(input_ohm_per_cell, output_ohm_per_cell, driver_ohm, sense_ohm)| Wires {
            input_ohm_per_cell,
            output_ohm_per_cell,
            driver_ohm,
            sense_ohm,
            ..Wires::NONE
        },
    )
}

/// Resistances of which any may be zero.
fn some_resistances() -> impl Strategy<Value = Wires> {
    (resistances(), any::<[bool; 4]>()).prop_map(|(wires, kept)| Wires {
        input_ohm_per_cell: if kept[0] { wires.input_ohm_per_cell } else { 0.0 },
        output_ohm_per_cell: if kept[1] { wires.output_ohm_per_cell } else { 0.0 },
        driver_ohm: if kept[2] { wires.driver_ohm } else { 0.0 },
        sense_ohm: if kept[3] { wires.sense_ohm } else { 0.0 },
        ..wires
    })
}

/// Solved with blocks of input lines, and with blocks of output lines.
fn both_ways(pe: Pe, wires: &Wires, cells_us: &[f64]) -> [Vec<f64>; 2] {
    let n_outputs = pe.outputs as usize;
    [false, true].map(|reversed| {
        let cell = |i: usize, j: usize| cells_us[i * n_outputs + j];
        let mut transfer = vec![0.0; cells_us.len()];
        Network::new(pe, wires, 0..n_outputs, cell)
            .solve_from(reversed, |i, j, us| transfer[i * n_outputs + j] = us);
        transfer
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn currents_are_those_of_the_nodal_analysis(
        inputs in 1u32..=9, outputs in 1u32..=9, wires in resistances(), seed in any::<u64>(),
    ) {
        let pe = Pe { inputs, outputs };
        let cells = cells(pe, seed);
        let wanted = nodal_analysis(pe, &wires, &cells, &[]);
        for found in both_ways(pe, &wires, &cells) {
            assert_close(&found, &wanted, pe, 1e-9);
        }
    }

    #[test]
    fn a_crossbar_can_be_entered_from_either_end(
        inputs in 1u32..=40, outputs in 1u32..=40, wires in some_resistances(), seed in any::<u64>(),
    ) {
        let pe = Pe { inputs, outputs };
        let cells = cells(pe, seed);
        let [one, other] = both_ways(pe, &wires, &cells);
        assert_close(&one, &other, pe, 1e-12);
    }

    /// Rayleigh: more of any resistance, no more current in all.
    #[test]
    fn more_resistance_lets_less_through(
        inputs in 1u32..=20, outputs in 1u32..=20, wires in some_resistances(), which in 0usize..4,
        more in 1.0..100.0, seed in any::<u64>(),
    ) {
        let pe = Pe { inputs, outputs };
        let cells = cells(pe, seed);
        let mut worse = wires;
        let ohm = [
            &mut worse.input_ohm_per_cell,
            &mut worse.output_ohm_per_cell,
            &mut worse.driver_ohm,
            &mut worse.sense_ohm,
        ];
        *ohm.into_iter().nth(which).unwrap() += more;
        let total = |wires: &Wires| transfer_us(pe, wires, &cells).iter().sum::<f64>();
        prop_assert!(total(&worse) <= total(&wires) * (1.0 + 1e-14));
    }
}

#[test]
fn without_resistance_the_conductances_are_taken_as_they_are() {
    let pe = Pe { inputs: 13, outputs: 21 };
    let cells = cells(pe, 3);
    assert_eq!(transfer_us(pe, &Wires::NONE, &cells), cells);
    for found in both_ways(pe, &Wires::NONE, &cells) {
        assert_eq!(found, cells);
    }
    // What is next to nothing is next to that.
    let little = Wires { input_ohm_per_cell: 1e-9, output_ohm_per_cell: 1e-9, ..Wires::NONE };
    assert_close(&transfer_us(pe, &little, &cells), &cells, pe, 1e-9);
}

/// The ladder of `n` equal rungs behind equal pieces of wire: what a rung sees
/// of the voltage is `cosh((n - 1/2 - rung) t) / cosh((n + 1/2) t)`, where
/// `2 cosh t = 2 + r G`.
fn ladder(n: u32, wire_ohm: f64, rung_us: f64) -> impl Fn(u32) -> f64 {
    let t = (1.0 + wire_ohm * rung_us * 1e-6 / 2.0).acosh();
    let half = f64::from(n) + 0.5;
    move |rung| ((half - 1.0 - f64::from(rung)) * t).cosh() / (half * t).cosh()
}

#[test]
fn one_input_line_is_a_ladder() {
    for (outputs, wire_ohm, cell_us) in [(128, 1.0, 20.0), (128, 0.23, 20.0), (7, 900.0, 11.0)] {
        let pe = Pe { inputs: 1, outputs };
        // Output lines of one cell each lie in series with it.
        let (output_ohm, sense_ohm) = (300.0, 40.0);
        let wires = Wires {
            input_ohm_per_cell: wire_ohm,
            output_ohm_per_cell: output_ohm,
            sense_ohm,
            ..Wires::NONE
        };
        let rung_us = 1.0 / (1.0 / cell_us + (output_ohm + sense_ohm) * 1e-6);
        let share = ladder(outputs, wire_ohm, rung_us);
        let wanted: Vec<f64> = (0..outputs).map(|rung| rung_us * share(rung)).collect();
        let found = transfer_us(pe, &wires, &vec![cell_us; outputs as usize]);
        // The inverse hyperbolic cosine loses half of the digits near 1.
        assert_close(&found, &wanted, pe, 1e-9);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found / wanted - 1.0).abs() < 1e-9, "{found} and {wanted}");
        }
    }
}

#[test]
fn one_output_line_is_a_ladder_seen_from_its_sensed_end() {
    for (inputs, wire_ohm, cell_us) in [(128, 1.0, 20.0), (16, 250.0, 5.0)] {
        let pe = Pe { inputs, outputs: 1 };
        let wires = Wires {
            input_ohm_per_cell: 70.0,
            output_ohm_per_cell: wire_ohm,
            driver_ohm: 500.0,
            ..Wires::NONE
        };
        let rung_us = 1.0 / (1.0 / cell_us + 570.0 * 1e-6);
        let share = ladder(inputs, wire_ohm, rung_us);
        let found = transfer_us(pe, &wires, &vec![cell_us; inputs as usize]);
        for (input, found) in (0..inputs).zip(found) {
            let wanted = rung_us * share(inputs - 1 - input);
            assert!((found / wanted - 1.0).abs() < 1e-9, "{input}: {found} and {wanted}");
        }
    }
}

/// The figure that targets are judged by is that of the solver.
#[test]
fn the_last_cell_of_an_input_line_loses_what_is_said() {
    let text = crate::target::builtin("yao2020-macro").unwrap();
    let cell = crate::target::Target::from_yaml(text, "macro", &[]).unwrap().cell;
    for (input_ohm_per_cell, driver_ohm) in [(0.23, 0.0), (1.0, 0.0), (1.0, 200.0)] {
        let wires = Wires { input_ohm_per_cell, driver_ohm, ..Wires::NONE };
        let found = transfer_us(Pe { inputs: 1, ..MACRO }, &wires, &[20.0; 128]);
        let drop = 1.0 - found[127] / 20.0;
        assert!((drop - wires.input_line_drop(MACRO, &cell)).abs() < 1e-12, "{drop}");
    }
}

/// A piece of wire is no fewer pieces for the lines that carry no current.
#[test]
fn lines_left_out_keep_their_wire() {
    let pe = Pe { inputs: 6, outputs: 9 };
    let mut cells = cells(pe, 11);
    for input in 0..6 {
        for output in 0..9 {
            let is_on = [1, 4, 5].contains(&input) && [2, 3, 7].contains(&output);
            cells[input * 9 + output] = if is_on { 5.0 + (input + output) as f64 } else { 0.0 };
        }
    }
    let wires = Wires {
        input_ohm_per_cell: 30.0,
        output_ohm_per_cell: 20.0,
        driver_ohm: 7.0,
        sense_ohm: 9.0,
        ..Wires::NONE
    };
    let wanted = nodal_analysis(pe, &wires, &cells, &[]);
    for found in both_ways(pe, &wires, &cells) {
        assert_close(&found, &wanted, pe, 1e-10);
    }
}

#[test]
fn every_instruction_set_gives_the_same_currents() {
    let cells = cells(Pe { inputs: 21, outputs: 19 }, 5);
    let along = vec![2e-5; 21];
    let run = |instructions: crate::chip::Instructions| {
        let mut ports = Ports::new(21, 19);
        for line in cells.chunks_exact(21) {
            ports.add_line(&line::Line::new(line, &along));
            instructions.run(ports::Series { ports: &mut ports, resistance: 3e-5 });
        }
        let place = |at: usize| ports.transfer(at / 19, at % 19).to_bits();
        (0..21 * 19).map(place).collect::<Vec<u64>>()
    };
    let plain = run(crate::chip::Instructions::Plain);
    for instructions in crate::chip::Instructions::available() {
        assert_eq!(run(instructions), plain, "{instructions:?}");
    }
}
