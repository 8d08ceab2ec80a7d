//! Vectors whose currents are no sums over lines, against the nodal analysis, and
//! what a tile reads of them.

use proptest::prelude::*;

use super::tests::{nodal_analysis, resistances};
use super::*;
use crate::target::IdleInputs;

const IDLE: [IdleInputs; 3] = [IdleInputs::Grounded, IdleInputs::Floating, IdleInputs::GatedOff];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn currents_of_a_vector_are_those_of_the_nodal_analysis(
        outputs in 1u32..=8,
        wires in resistances(),
        vector in proptest::collection::vec((any::<bool>(), 2.0..20.0, 2.0..20.0), 1..=8),
    ) {
        let pe = Pe { inputs: vector.len() as u32, outputs };
        let driven: Vec<bool> = vector.iter().map(|line| line.0).collect();
        let cell = |(i, j): (usize, u32)| if j % 2 == 0 { vector[i].1 } else { vector[i].2 };
        let places = (0..vector.len()).flat_map(|i| (0..outputs).map(move |j| (i, j)));
        let cells: Vec<f64> = places.map(cell).collect();
        for idle_inputs in IDLE {
            let is_off = |at: usize| !driven[at / outputs as usize];
            let own: Vec<f64> = match idle_inputs {
                IdleInputs::GatedOff => {
                    (0..cells.len()).map(|at| if is_off(at) { 0.0 } else { cells[at] }).collect()
                }
                _ => cells.clone(),
            };
            let float = |on: &bool| idle_inputs == IdleInputs::Floating && !on;
            let floating: Vec<bool> = driven.iter().map(float).collect();
            let matrix = nodal_analysis(pe, &wires, &own, &floating);
            let found =
                currents_us(pe, &Wires { idle_inputs, ..wires }, None, &cells, &driven);
            for (j, &found) in found.iter().enumerate() {
                let lines = matrix.chunks_exact(outputs as usize).zip(&driven);
                let wanted: f64 = lines.filter(|(_, on)| **on).map(|(line, _)| line[j]).sum();
                prop_assert!(
                    (found - wanted).abs() <= 1e-9 * wanted.max(1e-3),
                    "{idle_inputs:?} {j}: {found} and {wanted} uS"
                );
            }
        }
    }
}

/// A grounded idle line leads current away. One that floats gives back what it
/// takes, one that is gated off takes none: both leave the sum of all currents
/// nearly as it is.
#[test]
fn what_idle_lines_do_shows_in_the_currents() {
    let pe = Pe { inputs: 128, outputs: 128 };
    let cells: Vec<f64> =
        (0..128 * 128).map(|nth| 2.0 + (nth * 7_919 % 1_800) as f64 / 100.0).collect();
    let driven: Vec<bool> = (0..128).map(|i| i % 3 == 0).collect();
    let wires = Wires { input_ohm_per_cell: 1.0, output_ohm_per_cell: 1.0, ..Wires::NONE };
    let total = |idle_inputs| -> f64 {
        currents_us(pe, &Wires { idle_inputs, ..wires }, None, &cells, &driven).iter().sum()
    };
    let [grounded, floating, gated_off] = IDLE.map(total);
    assert!(grounded < 0.97 * floating, "{grounded} {floating}");
    assert!((floating / gated_off - 1.0).abs() < 1e-4, "{floating} {gated_off}");
    // As with every line driven, once: what the matrix leaves out of this.
    let matrix = transfer_us(pe, &wires, &cells);
    let lines = matrix.chunks_exact(128).zip(&driven).filter(|(_, on)| **on);
    let once: f64 = lines.map(|(line, _)| line.iter().sum::<f64>()).sum();
    assert!((once / grounded - 1.0).abs() < 1e-9);
}
