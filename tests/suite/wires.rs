//! Wires with resistance: the currents that others compute, and what the whole
//! pipeline makes of them.

mod transposed;

use std::collections::BTreeMap;

use ohmc::Chip;
use ohmc::chip::wires::transfer_us;
use ohmc::compiler::CompileOptions;
use ohmc::schedule::ExecutionPlan;
use ohmc::target::{Pe, Wires};
use ohmc::tensor::Tensor;
use rayon::ThreadPoolBuilder;
use serde_json::Value;

use crate::onnx::{Conv, Onnx, batched, int};
use crate::pipeline::{self, Case, difference, relative_error};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Five crossbars that `wires/draw_crossbars.py` drew, with the currents that
/// badcrossbar found.
#[test]
fn currents_are_those_of_badcrossbar() {
    let text = std::fs::read(pipeline::repository("tests/suite/wires/crossbars.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let read_voltage_v = number(&document["read_voltage_v"]);
    let crossbars = document["crossbars"].as_array().unwrap();
    assert_eq!(crossbars.len(), 5);
    for crossbar in crossbars {
        let pe = Pe {
            inputs: number(&crossbar["inputs"]) as u32,
            outputs: number(&crossbar["outputs"]) as u32,
        };
        let wires = Wires {
            input_ohm_per_cell: number(&crossbar["input_ohm_per_cell"]),
            output_ohm_per_cell: number(&crossbar["output_ohm_per_cell"]),
            ..Wires::NONE
        };
        let transfer = transfer_us(pe, &wires, &numbers(&crossbar["cells_us"]));
        let mut currents_ua = vec![0.0; pe.outputs as usize];
        let lines = transfer.chunks_exact(pe.outputs as usize);
        for (line, driven) in lines.zip(numbers(&crossbar["driven"])) {
            for (current, us) in currents_ua.iter_mut().zip(line) {
                *current += driven * read_voltage_v * us;
            }
        }
        for (found, wanted) in currents_ua.iter().zip(numbers(&crossbar["currents_ua"])) {
            assert!((found / wanted - 1.0).abs() < 1e-9, "{pe:?}: {found} and {wanted} uA");
        }
    }
}

/// Two layers on PEs of 32 lines, so that both are cut and share PEs; cells
/// from 2 to 20 uS without errors, a read-out that rounds next to nothing.
fn case(sets: &[&str]) -> Case {
    let fine = [
        "cell.conductance_min_us=2",
        "cell.conductance_max_us=20",
        "readout.adc_bits=20",
        "readout.adc_range=full-scale",
        "pe.inputs=32",
        "pe.outputs=32",
    ];
    let sets: Vec<String> = fine.iter().chain(sets).map(ToString::to_string).collect();
    let mut conv = Conv::new(2, 4, &[3, 3]);
    conv.pads = vec![(1, 1); 2];
    let model = Onnx::new(11).input("x", &batched(None, &[2, 6, 6]));
    let model = conv.add_to(model, "conv", "x").node("Relu", &["conv"], "relu", vec![]);
    let model = model.node("Flatten", &["relu"], "flat", vec![int("axis", 1)]);
    let model = model.weights("w", &[144, 10]).node("MatMul", &["flat", "w"], "fc", vec![]);
    let model = pipeline::read(model.output("fc").bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 8, 0.0, 1.0, 12);
    let target = pipeline::target("ideal", &sets);
    Case::new(model, target, &CompileOptions::default(), inputs).unwrap()
}

/// Wires of this many ohm a cell.
fn wired(ohm: f64, more: &[&str]) -> Case {
    let (input, output) =
        (format!("pe.wire_input_ohm_per_cell={ohm}"), format!("pe.wire_output_ohm_per_cell={ohm}"));
    let sets: Vec<&str> =
        [input.as_str(), output.as_str()].into_iter().chain(more.iter().copied()).collect();
    case(&sets)
}

fn outputs(case: &Case) -> Vec<Tensor> {
    case.run_on(&case.program(0))
}

#[test]
fn without_resistance_bytes_are_what_they_are_without_the_keys() {
    let plain = case(&[]);
    let zero = wired(0.0, &["pe.driver_ohm=0", "pe.sense_ohm=0", "pe.idle_outputs=gated-off"]);
    assert_eq!(plain.compiled.plan, zero.compiled.plan);
    assert_eq!(difference(&outputs(&plain), &outputs(&zero)), None);
    let chip = zero.program(0);
    let effective = chip.effective(&zero.compiled.plan);
    assert!(std::ptr::eq(&*effective, &chip), "nothing is copied");
}

#[test]
fn less_resistance_is_a_smaller_error() {
    for key in ["wire_input_ohm_per_cell", "wire_output_ohm_per_cell", "driver_ohm", "sense_ohm"] {
        let wanted = outputs(&case(&[])).remove(0);
        let error = |ohm: &f64| {
            let case = case(&[&format!("pe.{key}={ohm}")]);
            relative_error(&outputs(&case)[0], &wanted)
        };
        let errors: Vec<f32> = [0.0, 1.0, 10.0, 100.0].iter().map(error).collect();
        assert_eq!(errors[0], 0.0, "{key}");
        assert!(errors.is_sorted_by(|less, more| 3.0 * less < *more), "{key}: {errors:?}");
    }
}

/// The cells that an output line's currents come from, in full, with those on
/// other lines left out that are gated off.
fn cells_on(chip: &Chip, plan: &ExecutionPlan, tile: usize, gated: bool) -> Vec<f64> {
    let tiles: Vec<_> = plan.tiles.values().map(|tile| &tile.place).collect();
    let place = tiles[tile];
    // Read together: the same input lines for the same rows.
    let together = |other: &&&ohmc::mapping::WeightTile| {
        (other.pe, other.layer, other.replica, other.input_line, other.rows.start)
            == (place.pe, place.layer, place.replica, place.input_line, place.rows.start)
            && other.groups == place.groups
    };
    let on: Vec<_> = tiles
        .iter()
        .filter(together)
        .map(|tile| tile.output_line..tile.output_line + tile.n_outputs())
        .collect();
    let n_outputs = plan.pe.outputs;
    let cells = &chip.conductances_us[&place.pe];
    let is_on = |at: &usize| on.iter().any(|lines| lines.contains(&(*at as u32 % n_outputs)));
    let cell = |at: usize| if !gated || is_on(&at) { f64::from(cells[at]) } else { 0.0 };
    (0..cells.len()).map(cell).collect()
}

#[test]
fn tiles_are_read_through_the_cells_that_are_switched_on_with_them() {
    let mut seen = BTreeMap::new();
    for gated in [false, true] {
        let idle = if gated { "pe.idle_outputs=gated-off" } else { "pe.idle_outputs=connected" };
        // One PE fewer than tiles, so that two share one.
        let case = wired(5.0, &[idle, "pe.driver_ohm=20", "pe.sense_ohm=30", "chip.pes=5"]);
        let (plan, chip) = (&case.compiled.plan, case.program(0));
        let effective = chip.effective(plan);
        for (nth, tile) in plan.tiles.values().enumerate() {
            let place = &tile.place;
            let cells = cells_on(&chip, plan, nth, gated);
            let transfer = transfer_us(plan.pe, &case.target.wires, &cells);
            for line in place.input_line..place.input_line + place.n_inputs() {
                let start = (line * plan.pe.outputs + place.output_line) as usize;
                let own = start..start + place.n_outputs() as usize;
                let found = &effective.conductances_us[&place.pe][own.clone()];
                let wanted: Vec<f32> = transfer[own].iter().map(|&us| us as f32).collect();
                assert_eq!(found, wanted, "tile {nth}, line {line}");
            }
        }
        seen.insert(gated, effective.into_owned().conductances_us);
    }
    assert_ne!(seen[&false], seen[&true], "cells of other tiles take some of the current");
}

/// With every input line at full scale and currents converted finely, outputs
/// follow from the transfer matrix: read the chip that the wires make of it.
#[test]
fn a_run_reads_the_effective_chip() {
    let case = wired(5.0, &[]);
    let chip = case.program(0);
    let effective = chip.effective(&case.compiled.plan).into_owned();
    let effective = Chip { wires: Wires::NONE, ..effective };
    let (wired, plain) = (case.run_on(&chip), case.run_on(&effective));
    assert_eq!(difference(&wired, &plain), None);
    assert!(difference(&wired, &case.run_on(&Chip { wires: Wires::NONE, ..chip })).is_some());
}

/// Inputs are bits, so cells that are no resistors are none the less what they
/// were verified to be, unless they are read at another voltage or through
/// wires.
#[test]
fn cells_that_are_no_resistors() {
    let curve = ["cell.nonlinearity.scale_low_v=0.3", "cell.nonlinearity.scale_high_v=0.6"];
    let plain = case(&[]);
    let nonlinear = case(&curve);
    assert_eq!(difference(&outputs(&plain), &outputs(&nonlinear)), None);
    let verified = |v: &str| {
        let at = format!("cell.nonlinearity.verify_voltage_v={v}");
        let case = case(&[curve[0], curve[1], at.as_str()]);
        let chip = case.program(0);
        let plan = &case.compiled.plan;
        let cells: Vec<f32> = chip.conductances_us.values().flatten().copied().collect();
        let read: Vec<f32> =
            chip.effective(plan).conductances_us.values().flatten().copied().collect();
        (cells, read)
    };
    // Read at 0.2 V: those verified at less conduct more, by what the formula
    // says of the lowest level, 2 uS.
    let over = |v: f64| (v / 0.3).sinh() / v;
    for (v, at) in [("0.1", 0.1), ("0.3", 0.3)] {
        let (cells, read) = verified(v);
        let lowest = cells.iter().position(|&us| us == 2.0).unwrap();
        let wanted = 2.0 * over(0.2) / over(at);
        assert!((f64::from(read[lowest]) / wanted - 1.0).abs() < 1e-6, "{v}: {}", read[lowest]);
        let more = cells.iter().zip(&read).all(|(a, b)| (a < b) == (at < 0.2) || *a == 0.0);
        assert!(more, "{v}");
    }
    // Wires leave cells less voltage, and nonlinear cells then conduct less.
    let current = |sets: &[&str]| -> f64 {
        let case = wired(30.0, sets);
        let chip = case.program(0);
        let effective = chip.effective(&case.compiled.plan);
        effective.conductances_us.values().flatten().map(|&us| f64::from(us)).sum()
    };
    let (resistors, others) = (current(&[]), current(&curve));
    assert!(others < 0.999 * resistors, "{others} and {resistors} uS");
}

#[test]
fn converters_are_set_by_what_comes_through_the_wires() {
    let steps = |ohm: f64| -> Vec<f64> {
        let sets = ["readout.adc_range=calibrated", "readout.adc_bits=8"];
        let case = wired(ohm, &sets);
        case.compiled.plan.tiles.values().map(|tile| tile.adc.step_us).collect()
    };
    let (plain, wired) = (steps(0.0), steps(30.0));
    let sum = |steps: &[f64]| steps.iter().sum::<f64>();
    assert!(sum(&wired) < 0.97 * sum(&plain), "{wired:?} and {plain:?}");
}

#[test]
fn wires_are_the_same_for_any_number_of_threads() {
    let case = wired(3.0, &["pe.idle_outputs=gated-off"]);
    let chip = case.program(0);
    let with = |n: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| chip.effective(&case.compiled.plan).into_owned())
    };
    let one = with(1);
    assert!([2, 5].into_iter().all(|n| with(n) == one));
}

/// Resistors behind grounded lines have the same currents, solved once or for
/// each vector; lines that float, gate their cells, or cells that are no
/// resistors have others, near those of every line driven.
#[test]
fn circuits_are_solved_for_each_vector_where_it_matters() {
    let error = |sets: &[&str], beside: &[&str]| {
        let sets = [&["pe.driver_ohm=50"], sets].concat();
        let beside = [&["pe.driver_ohm=50"], beside].concat();
        let wanted = outputs(&wired(5.0, &beside)).remove(0);
        relative_error(&outputs(&wired(5.0, &sets))[0], &wanted)
    };
    let each = "pe.wires_solved=each-vector";
    assert!(error(&[each], &[]) < 1e-4);
    let curve = ["cell.nonlinearity.scale_low_v=0.2", "cell.nonlinearity.scale_high_v=0.3"];
    for other in [&["pe.idle_inputs=floating"][..], &["pe.idle_inputs=gated-off"][..], &curve] {
        let once = [other, &["pe.wires_solved=once"]].concat();
        let each = [other, &[each]].concat();
        let off = error(&once, &each);
        assert!((1e-4..0.1).contains(&off), "{other:?}: {off}");
    }
}

#[test]
fn circuits_of_vectors_are_the_same_for_any_number_of_threads() {
    let case = wired(3.0, &["pe.idle_inputs=floating"]);
    let with = |n: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| outputs(&case))
    };
    let one = with(1);
    assert!([2, 5].into_iter().all(|n| difference(&with(n), &one).is_none()));
}
