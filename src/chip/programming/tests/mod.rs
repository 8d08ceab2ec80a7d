//! What write-verify leaves, on plans of a few PEs: the errors that were
//! measured, whatever the level; and what befalls cells that do not work.

use std::collections::BTreeMap;

mod pairs;

use super::*;
use crate::chip::{Effect, Effects, Work};
use crate::entity::Table;
use crate::schedule::ExecutionPlan;
use crate::target::{Cell, Override, builtin};

pub(super) fn target(sets: &[&str]) -> Target {
    let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
    Target::from_yaml(builtin("yao2020-chip").unwrap(), "yao2020-chip", &sets).unwrap()
}

/// A plan with nothing but cells: so many PEs, all cells of which are to hold
/// this level, or every level in turn; one line is not used.
pub(super) fn plan(target: &Target, n_pes: u32, level: Option<f32>) -> ExecutionPlan {
    let levels = (0..target.pe.cells()).map(|index| match level {
        _ if index < u64::from(target.pe.outputs) => f32::NAN,
        Some(level) => level,
        None => (index % 8) as f32,
    });
    let targets = PeTargets { levels: levels.collect() };
    ExecutionPlan {
        pe: target.pe,
        n_pes,
        n_passes: 1,
        subtract: target.readout.subtract,
        conversion: target.readout.conversion,
        conversions_per_cycle: 1,
        cycle_ns: 50.0,
        level_us: target.cell.step_us(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        layers: BTreeMap::new(),
        tiles: Table::default(),
        targets: (0..n_pes).map(|pe| (PeId(pe), targets.clone())).collect(),
        steps: Table::default(),
    }
}

fn pulsed(plan: &ExecutionPlan, target: &Target, seed: u64) -> Programmed {
    let options = ProgramOptions { seed, by_pulses: true, fault_map: None };
    write(plan, target, &options).unwrap()
}

/// State and error after verify of every used cell, in uS.
fn errors(programmed: &Programmed, plan: &ExecutionPlan, cell: &Cell) -> Vec<(CellState, f64)> {
    let mut errors = Vec::new();
    for (pe, cells) in &programmed.pes {
        for (index, &state) in cells.states.iter().enumerate() {
            let level = plan.targets[pe].levels[index];
            assert_eq!(level.is_nan(), state == CellState::Unused);
            if state != CellState::Unused {
                let goal_us = cell.conductance_us(f64::from(level));
                errors.push((state, f64::from(cells.written_us[index]) - goal_us));
            }
        }
    }
    errors
}

fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

/// The measurement of the reference laboratory: uniform in +-0.25 uS, standard
/// deviation 0.142 uS, mean 0, at every level and two-sided at both ends.
#[test]
fn errors_of_the_reference_cell_are_those_measured() {
    let target = target(&[]);
    for level in 0..8 {
        let plan = plan(&target, 10, Some(level as f32));
        let found = errors(&pulsed(&plan, &target, 4), &plan, &target.cell);
        let written: Vec<f64> =
            found.iter().filter(|(s, _)| *s == CellState::Written).map(|(_, e)| *e).collect();
        assert!(written.len() as f64 > 0.995 * found.len() as f64, "level {level}");
        assert!(written.iter().all(|e| e.abs() <= 0.25 + 2e-6));
        let (mean, sd) = mean_and_sd(&written);
        assert!(mean.abs() < 0.02, "level {level}: mean {mean}");
        assert!((sd / 0.142 - 1.0).abs() < 0.1, "level {level}: sd {sd}");
        // As many in each fifth, but for a tenth or so.
        let mut fifths = [0usize; 5];
        for error in &written {
            fifths[(((error + 0.25) / 0.1) as usize).min(4)] += 1;
        }
        let each = written.len() / 5;
        assert!(fifths.iter().all(|&n| n.abs_diff(each) < each / 6), "level {level}: {fifths:?}");
    }
}

#[test]
fn the_ramped_gate_needs_a_tenth_of_the_pulses() {
    let ramp = ["cell.pulses.recipe=gate-ramped", "cell.pulses.give_up_pulses=30"];
    let ramped = target(&[&ramp[..], &["cell.verify_tolerance_us=0.72"]].concat());
    let plan = plan(&ramped, 4, None);
    let programmed = pulsed(&plan, &ramped, 1);
    let found = errors(&programmed, &plan, &ramped.cell);
    let n_written = found.iter().filter(|(state, _)| *state == CellState::Written).count();
    assert!(n_written as f64 > 0.99 * found.len() as f64, "{n_written} of {}", found.len());
    let pulses = |programmed: &Programmed| {
        let work = programmed.work(&plan);
        (work.set_pulses + work.reset_pulses) as f64 / found.len() as f64
    };
    let identical = pulses(&pulsed(&plan, &target(&["cell.verify_tolerance_us=0.25"]), 1));
    assert!(pulses(&programmed) < 20.0, "{}", pulses(&programmed));
    assert!(pulses(&programmed) < identical, "{} {identical}", pulses(&programmed));
}

#[test]
fn every_model_reaches_every_level() {
    for name in ["table-raw", "table-scaled", "exponential", "soft-bounds"] {
        let model = format!("cell.pulses.model={name}");
        let target = target(&[&model, "cell.pulses.give_up_pulses=5000"]);
        let plan = plan(&target, 1, None);
        let found = errors(&pulsed(&plan, &target, 2), &plan, &target.cell);
        let n_written = found.iter().filter(|(state, _)| *state == CellState::Written).count();
        assert!(n_written as f64 > 0.95 * found.len() as f64, "{name}: {n_written}");
    }
}

/// A cell depends on seed, PE and place alone.
#[test]
fn a_chip_is_the_same_for_any_number_of_threads_and_any_neighbours() {
    let target = target(&["cell.faults.stuck_low_rate=0.01"]);
    let whole = plan(&target, 6, None);
    let on = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| pulsed(&whole, &target, 9))
    };
    let one = on(1);
    assert_eq!(one, on(3));
    assert_ne!(one, pulsed(&whole, &target, 10));
    let mut part = whole.clone();
    part.targets.retain(|pe, _| pe.0 % 2 == 1);
    for targets in part.targets.values_mut() {
        targets.levels.to_mut().iter_mut().step_by(2).for_each(|level| *level = f32::NAN);
    }
    for (pe, cells) in &pulsed(&part, &target, 9).pes {
        for index in (1..cells.states.len()).step_by(2) {
            assert_eq!(cells.relaxed_us[index], one.pes[pe].relaxed_us[index]);
            assert_eq!(cells.pulses[index], one.pes[pe].pulses[index]);
        }
    }
}

/// Pulses of all cells are those of the PE, and more than one reading a pulse
/// is the one that accepts.
#[test]
fn pulses_readings_energy_and_time_add_up() {
    let target = target(&["cell.pulses.forming=null"]);
    let plan = plan(&target, 2, None);
    for cells in pulsed(&plan, &target, 0).pes.values() {
        let work = &cells.work;
        let n_pulses: u64 = cells.pulses.iter().map(|&n| u64::from(n)).sum();
        let n_used = cells.states.iter().filter(|&&s| s != CellState::Unused).count() as u64;
        assert_eq!(work.set_pulses + work.reset_pulses, n_pulses);
        assert_eq!(work.verify_reads, n_pulses + n_used);
        assert_eq!(work.forming_pulses, 0);
        assert_eq!(work.busy_ns, 50.0 * (n_pulses + work.verify_reads) as f64);
        // A pulse through 1 to 21 uS takes 0.16 to 4.2 pJ, a reading little.
        let pj = work.energy_pj / n_pulses as f64;
        assert!((0.2..4.3).contains(&pj), "{pj} pJ a pulse");
    }
}

#[test]
fn rounds_bring_relaxed_cells_back() {
    let mut before = f64::INFINITY;
    for rounds in [1, 2, 4] {
        let target = target(&[&format!("cell.pulses.rounds={rounds}")]);
        let plan = plan(&target, 4, None);
        let programmed = pulsed(&plan, &target, 3);
        let chip = programmed.chip(&plan, &target, &Conditions::at_once(0));
        let mut errors = Vec::new();
        for (pe, conductances) in &chip.conductances_us {
            for (&us, &level) in conductances.iter().zip(plan.targets[pe].levels.iter()) {
                if !level.is_nan() {
                    errors.push(f64::from(us) - target.cell.conductance_us(f64::from(level)));
                }
            }
        }
        let (_, sd) = mean_and_sd(&errors);
        assert!(sd < 0.9 * before, "{rounds} rounds: {sd} after {before}");
        before = sd;
    }
}

#[test]
fn a_tolerance_that_no_pulse_hits_is_found_before_the_pulses() {
    let fine = target(&["cell.verify_tolerance_us=0.00001"]);
    let plan = plan(&fine, 4, None);
    let options = ProgramOptions { seed: 0, by_pulses: true, fault_map: None };
    let error = write(&plan, &fine, &options).unwrap_err();
    let ProgramError::TooFine { n_tried, n_accepted, give_up_pulses, .. } = error else {
        panic!("{error}");
    };
    assert!(n_tried > 200 && n_accepted < n_tried / 10 && give_up_pulses == 500);
}

/// Rates are met, dead lines are whole lines, and stuck cells hold what they
/// hold, pulses or not.
#[test]
fn stuck_cells_and_dead_lines_are_counted() {
    let target = target(&[
        "cell.faults.stuck_high_rate=0.02",
        "cell.faults.stuck_low_rate=0.05",
        "cell.faults.dead_output_rate=0.03",
        "cell.pulses.give_up_pulses=40",
        "cell.pulses.margin_us=2",
    ]);
    let plan = plan(&target, 20, Some(3.0));
    for by_pulses in [true, false] {
        let options = ProgramOptions { seed: 6, by_pulses, fault_map: None };
        let programmed = write(&plan, &target, &options).unwrap();
        let mut n = BTreeMap::<u8, usize>::new();
        let mut n_dead_lines = 0;
        for cells in programmed.pes.values() {
            for (index, &state) in cells.states.iter().enumerate() {
                *n.entry(state.code()).or_default() += 1;
                let held = match state {
                    CellState::StuckHigh => 20.0,
                    CellState::StuckLow => 2.0,
                    CellState::Dead => 0.0,
                    _ => continue,
                };
                assert_eq!((cells.written_us[index], cells.relaxed_us[index]), (held, held));
                assert!(cells.pulses[index] == if by_pulses { 40 } else { 0 });
            }
            let dead = |output: &usize| {
                cells.states[128 + output..].iter().step_by(128).all(|&s| s == CellState::Dead)
            };
            n_dead_lines += (0..128).filter(dead).count();
        }
        let n_cells = 20.0 * 15.0 * 128.0;
        let share = |state: CellState| n.get(&state.code()).copied().unwrap_or(0) as f64 / n_cells;
        assert!((share(CellState::StuckHigh) - 0.02 * 0.97).abs() < 0.004);
        assert!((share(CellState::StuckLow) - 0.05 * 0.97).abs() < 0.006);
        assert_eq!(share(CellState::Dead) * n_cells, (15 * n_dead_lines) as f64);
        assert!((n_dead_lines as f64 / (20.0 * 128.0) - 0.03).abs() < 0.012);
    }
}

#[test]
fn a_map_takes_the_place_of_rates() {
    let target = target(&["cell.faults.stuck_high_rate=0.5"]);
    let plan = plan(&target, 2, Some(3.0));
    let mut codes = vec![0; 2 * 2048];
    (codes[2048 + 200], codes[300], codes[301]) = (1, 2, 3);
    let map = FaultMap::new(2, target.pe, codes.clone()).unwrap();
    let options = ProgramOptions { seed: 0, by_pulses: false, fault_map: Some(&map) };
    let programmed = write(&plan, &target, &options).unwrap();
    let state = |pe: u32, index: usize| programmed.pes[&PeId(pe)].states[index];
    assert_eq!(state(1, 200), CellState::StuckHigh);
    assert_eq!((state(0, 300), state(0, 301)), (CellState::StuckLow, CellState::Dead));
    let n_faults = programmed.pes.values().flat_map(|pe| &pe.states).filter(|s| s.is_fault());
    assert_eq!(n_faults.count(), 3);
    assert!(FaultMap::new(3, target.pe, codes.clone()).is_err());
    codes[7] = 4;
    assert!(FaultMap::new(2, target.pe, codes).unwrap_err().to_string().contains("output 7"));
}

/// Mean conductance falls with time where the target says so, each cell's own
/// part grows in one direction, and time 0 is the chip as programmed.
#[test]
fn drift_is_monotone_in_time() {
    let target = target(&[]);
    let plan = plan(&target, 4, Some(4.0));
    let programmed = pulsed(&plan, &target, 2);
    let at = |at_s: Option<f64>| {
        let conditions = Conditions { at_s, ..Conditions::at_once(0) };
        let chip = programmed.chip(&plan, &target, &conditions);
        let used = |pe: &Vec<f32>| pe.iter().copied().filter(|&us| us > 0.0).collect::<Vec<_>>();
        chip.conductances_us.values().flat_map(used).map(f64::from).collect::<Vec<f64>>()
    };
    let start = at(None);
    assert_eq!(start, at(Some(0.0)));
    let mut before = (start.clone(), mean_and_sd(&start));
    for at_s in [1.0, 60.0, 3600.0, 86_400.0, 2.6e6] {
        let now = at(Some(at_s));
        let (mean, sd) = mean_and_sd(&now);
        assert!(mean < before.1.0 && sd > before.1.1, "{at_s} s: {mean} {sd}");
        // -0.089 ln(1 + t) uS.
        let wanted = mean_and_sd(&start).0 - 0.089 * crate::chip::math::ln(1.0 + at_s);
        assert!((mean - wanted).abs() < 0.03, "{at_s} s: {mean} {wanted}");
        let one_way = start.iter().zip(&before.0).zip(&now).filter(|((start, before), now)| {
            (*before - *start) * (**now - *before) >= 0.0 || (*before - *start).abs() < 1e-5
        });
        assert_eq!(one_way.count(), start.len(), "{at_s} s");
        before = (now, (mean, sd));
    }
}

/// A cell changes in proportion to its readings, as far as it can, and not at
/// all where it is not read or readings change nothing.
#[test]
fn readings_change_cells_in_proportion() {
    let after = |sets: &[&str], n_reads: u64| {
        let target = target(sets);
        let plan = plan(&target, 4, Some(4.0));
        let programmed = pulsed(&plan, &target, 2);
        let conditions = Conditions { n_reads, ..Conditions::at_once(0) };
        let chip = programmed.chip(&plan, &target, &conditions);
        let used = |pe: &Vec<f32>| pe.iter().copied().filter(|&us| us > 0.0).collect::<Vec<_>>();
        chip.conductances_us.values().flat_map(used).map(f64::from).collect::<Vec<f64>>()
    };
    let disturbed = ["cell.read_disturb.shift_us=1e-6", "cell.read_disturb.sd_us=5e-7"];
    let start = after(&disturbed, 0);
    assert_eq!(start, after(&[], 1_000_000));
    let mut before = start.clone();
    for n_reads in [100_000, 1_000_000, 2_000_000] {
        let now = after(&disturbed, n_reads);
        let steps: Vec<f64> = now.iter().zip(&start).map(|(now, start)| now - start).collect();
        let (mean, sd) = mean_and_sd(&steps);
        let wanted = n_reads as f64 * 1e-6;
        assert!((mean / wanted - 1.0).abs() < 0.02, "{n_reads}: {mean}");
        assert!((sd / wanted - 0.5).abs() < 0.02, "{n_reads}: {sd}");
        // Each goes its own way, and goes on.
        let one_way = start
            .iter()
            .zip(&before)
            .zip(&now)
            .filter(|((start, before), now)| (*before - *start) * (**now - *before) >= -1e-9);
        assert_eq!(one_way.count(), start.len(), "{n_reads}");
        before = now;
    }
    assert!(after(&disturbed, 1_000_000_000_000).iter().all(|us| (1.0..=21.0).contains(us)));
}

/// Each effect alone does what it says, and with none cells are at their
/// targets.
#[test]
fn effects_are_switched_one_by_one() {
    let target = target(&["cell.faults.stuck_high_rate=0.1"]);
    let plan = plan(&target, 2, Some(2.0));
    let programmed = pulsed(&plan, &target, 2);
    let goal = target.cell.conductance_us(2.0);
    let spread = |effects: Effects| {
        let conditions = Conditions { effects, at_s: Some(3600.0), n_reads: 0, seed: 0 };
        let chip = programmed.chip(&plan, &target, &conditions);
        let used = chip.conductances_us.values().flatten().filter(|&&us| us > 0.0);
        let errors: Vec<f64> = used.map(|&us| f64::from(us) - goal).collect();
        (mean_and_sd(&errors), chip.read_noise_fraction)
    };
    let ((mean, sd), noise) = spread(Effects::NONE);
    assert!(mean.abs() < 1e-6 && sd < 1e-6 && noise == 0.0, "{mean} {sd}");
    let ((_, sd), _) = spread(Effects::only([Effect::VerifyError]));
    assert!((sd / 0.144 - 1.0).abs() < 0.1, "{sd}");
    let ((_, sd), _) = spread(Effects::only([Effect::Relaxation]));
    assert!((sd / 0.3 - 1.0).abs() < 0.1, "{sd}");
    let ((mean, _), _) = spread(Effects::only([Effect::Drift]));
    assert!((mean + 0.729).abs() < 0.02, "{mean}");
    let ((_, sd), noise) = spread(Effects::only([Effect::ReadNoise]));
    assert!(sd < 1e-6 && noise == 0.01, "{sd} {noise}");
    let ((mean, _), _) = spread(Effects::only([Effect::Faults]));
    assert!((mean / (0.1 * (20.0 - goal)) - 1.0).abs() < 0.15, "{mean}");
}

/// The same cell of the chip is stuck in every pass, and all passes take their
/// time.
#[test]
fn passes_write_the_same_cells_one_after_the_other() {
    let target = target(&["cell.faults.stuck_high_rate=0.02", "cell.faults.dead_input_rate=0.1"]);
    let plan = ExecutionPlan { n_pes: 1, n_passes: 2, ..plan(&target, 2, None) };
    for by_pulses in [false, true] {
        let options = ProgramOptions { seed: 4, by_pulses, fault_map: None };
        let programmed = write(&plan, &target, &options).unwrap();
        let faulty = |pe: u32| -> Vec<bool> {
            programmed.pes[&PeId(pe)].states.iter().map(|state| state.is_fault()).collect()
        };
        assert_eq!(faulty(0), faulty(1));
        assert!(faulty(0).contains(&true));
        // What happens to a cell that works is not the same.
        assert_ne!(programmed.pes[&PeId(0)].written_us, programmed.pes[&PeId(1)].written_us);
        let passes = programmed.passes(&plan);
        assert_eq!(passes.len(), 2);
        let time = |work: &Work| work.busy_ns;
        assert_eq!(time(&programmed.work(&plan)), passes.iter().map(time).sum::<f64>());
        let as_one = ExecutionPlan { n_pes: 2, n_passes: 1, ..plan.clone() };
        assert_eq!(time(&programmed.work(&as_one)), passes.iter().map(time).fold(0.0, f64::max));
    }
}
