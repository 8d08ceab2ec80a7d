//! Pairs come within their tolerance, with fewer pulses than plain write-verify
//! takes, whatever their cells do and whatever is made use of.

use super::{plan, target};
use crate::chip::CellState;
use crate::chip::programming::{PairGoal, PairOptions, ProgramOptions, pair_writer};
use crate::entity::PeId;

const FREE: PairOptions = PairOptions { predicted: true, common_mode: true, parallel: false };
const PLAIN: PairOptions = PairOptions { predicted: false, common_mode: false, parallel: false };

/// Pulses of a cell on average, the share of pairs accepted, and the highest
/// lower cell of an accepted pair in uS, over pairs of this difference.
fn written(sets: &[&str], options: PairOptions, level: f64, tolerance_us: f64) -> (f64, f64, f64) {
    limited(sets, options, level, (tolerance_us, f64::INFINITY))
}

/// The same with the lower cell below this.
fn limited(
    sets: &[&str],
    options: PairOptions,
    level: f64,
    (tolerance_us, lower_max_us): (f64, f64),
) -> (f64, f64, f64) {
    const N: usize = 512;
    let target = target(sets);
    let plan = plan(&target, 1, None);
    let writer = pair_writer(&plan, &target, &ProgramOptions::default(), options, None).unwrap();
    let mut bench = writer.bench(PeId(0));
    let difference_us = level * target.cell.step_us();
    let lowest_us = target.cell.conductance_min_us;
    let cells_us = [lowest_us + difference_us.max(0.0), lowest_us + (-difference_us).max(0.0)];
    let goal = PairGoal { cells_us, tolerance_us, lower_max_us };
    let (mut n_pulses, mut n_accepted, mut lower_us) = (0u32, 0, 0f64);
    for nth in 0..N {
        let taken = [0, 1].map(|half| writer.take(&mut bench, 2 * nth + half));
        let mut line = [(2 * nth, taken, goal)];
        writer.write_line(&mut bench, &mut line);
        let [(_, held, _)] = line;
        n_pulses += held[0].pulses + held[1].pulses;
        let written_us = held.map(|cell| cell.written_us);
        if held.iter().all(|cell| cell.state == CellState::Written) {
            n_accepted += 1;
            let off_us = written_us[0] - written_us[1] - difference_us;
            let most_us = match options.common_mode {
                true => tolerance_us,
                // Each cell its share, all in one direction.
                false => tolerance_us * 2f64.sqrt(),
            };
            assert!(off_us.abs() <= most_us + 1e-9, "{level}: off by {off_us}");
            lower_us = lower_us.max(written_us[0].min(written_us[1]));
        }
    }
    let work = writer.work(&bench);
    assert_eq!(work.set_pulses + work.reset_pulses, u64::from(n_pulses));
    assert!(work.verify_reads >= u64::from(n_pulses) && work.energy_pj > 0.0);
    (f64::from(n_pulses) / (2 * N) as f64, n_accepted as f64 / N as f64, lower_us)
}

#[test]
fn a_free_pair_takes_a_third_of_the_pulses_at_equal_error() {
    // A difference within 0.25 x sqrt(2) has the variance of two cells within
    // 0.25 each.
    let tolerance_us = 0.25 * 2f64.sqrt();
    let (mut free, mut plain) = (0.0, 0.0);
    for level in [-7.0, -3.5, -1.0, 0.0, 0.3, 2.0, 4.0, 6.5, 7.0] {
        let (own, accepted, _) = written(&[], FREE, level, tolerance_us);
        assert!(accepted > 0.99, "{level}: {accepted}");
        let (plainly, accepted, _) = written(&[], PLAIN, level, tolerance_us);
        assert!(accepted > 0.99, "{level}: {accepted}");
        assert!(own < 0.5 * plainly, "{level}: {own} of {plainly}");
        (free, plain) = (free + own, plain + plainly);
    }
    assert!(free < plain / 3.0, "{free} of {plain}");
}

/// Whatever the cells do: no part takes more pulses than none of them.
#[test]
fn no_part_costs_pulses() {
    for model in ["table-raw", "table-scaled", "exponential", "soft-bounds"] {
        let sets = [&format!("cell.pulses.model={model}"), "cell.pulses.give_up_pulses=5000"];
        let own = PairOptions { predicted: true, ..PLAIN };
        let moved = PairOptions { common_mode: true, ..PLAIN };
        for level in [0.0, 1.0, 5.0] {
            let (plain, _, _) = written(&sets, PLAIN, level, 0.5);
            for options in [own, moved, FREE] {
                let (pulses, accepted, _) = written(&sets, options, level, 0.5);
                assert!(accepted > 0.95, "{model} {level} {options:?}: {accepted}");
                // Chance, and what the grid of states costs.
                assert!(
                    pulses < 1.1 * plain + 0.5,
                    "{model} {level} {options:?}: {pulses} {plain}"
                );
            }
        }
    }
}

#[test]
fn a_looser_tolerance_takes_fewer_pulses() {
    for level in [0.0, 3.0] {
        let pulses = [0.25, 0.5, 1.0, 2.0].map(|us| written(&[], FREE, level, us).0);
        assert!(pulses.is_sorted_by(|tight, loose| tight > loose), "{level}: {pulses:?}");
    }
}

#[test]
fn the_lower_cell_stays_below_its_limit() {
    for us in [1.0, 4.0, 8.0] {
        let (limited, accepted, lower_us) = limited(&[], FREE, 1.0, (0.5, 2.0 + us));
        assert!(accepted > 0.99 && lower_us <= 2.0 + us, "{us}: {accepted} {lower_us}");
        assert!(limited > written(&[], FREE, 1.0, 0.5).0, "{us}");
    }
}

/// Where the gate voltage is chosen, a pulse or two does.
#[test]
fn a_chosen_gate_needs_hardly_any_pulses() {
    let sets = ["cell.pulses.recipe=gate-ramped"];
    for level in [-6.0, 0.0, 2.0] {
        let (pulses, accepted, _) = written(&sets, FREE, level, 0.35);
        assert!(accepted > 0.99 && pulses < 1.6, "{level}: {pulses} {accepted}");
    }
}

/// A cell that does not answer is found out, and its partner does what it can.
#[test]
fn partners_of_stuck_cells_take_over() {
    let sets = ["cell.faults.stuck_high_rate=0.2"];
    let target = target(&sets);
    let plan = plan(&target, 1, None);
    let writer = pair_writer(&plan, &target, &ProgramOptions::default(), FREE, None).unwrap();
    let mut bench = writer.bench(PeId(0));
    let (mut n_stuck, mut n_made_up_for) = (0, 0);
    for nth in 0..512 {
        let taken = [0, 1].map(|half| writer.take(&mut bench, 2 * nth + half));
        let difference_us = 2.0 * target.cell.step_us();
        let cells_us = [2.0 + difference_us, 2.0];
        let goal = PairGoal { cells_us, tolerance_us: 0.5, lower_max_us: f64::INFINITY };
        let mut line = [(2 * nth, taken, goal)];
        writer.write_line(&mut bench, &mut line);
        let [(_, held, _)] = line;
        let stuck = held.map(|cell| cell.state == CellState::StuckHigh);
        if stuck == [true, false] {
            n_stuck += 1;
            let off_us = held[0].written_us - held[1].written_us - difference_us;
            n_made_up_for += usize::from(off_us.abs() <= 0.5);
            assert_eq!(held[0].us, 20.0);
        }
    }
    assert!(n_stuck > 50 && n_made_up_for * 20 > n_stuck * 19, "{n_made_up_for} of {n_stuck}");
}

/// Cells of a line at the same time: no more pulses, and less time.
#[test]
fn lines_in_parallel_take_less_time() {
    let target = target(&[]);
    let plan = plan(&target, 1, None);
    let work = |parallel: bool| {
        let options = PairOptions { parallel, ..FREE };
        let writer =
            pair_writer(&plan, &target, &ProgramOptions::default(), options, None).unwrap();
        let mut bench = writer.bench(PeId(0));
        for line in 1..16 {
            let pair = |at: usize| {
                let taken = [at, at + 1].map(|at| writer.take(&mut bench, at));
                let lower_max_us = f64::INFINITY;
                (at, taken, PairGoal { cells_us: [4.0, 2.0], tolerance_us: 0.5, lower_max_us })
            };
            let mut pairs: Vec<_> = (0..128).step_by(2).map(|x| 128 * line + x).map(pair).collect();
            writer.write_line(&mut bench, &mut pairs);
        }
        writer.work(&bench)
    };
    let (alone, together) = (work(false), work(true));
    assert_eq!(alone.set_pulses, together.set_pulses);
    assert_eq!(alone.energy_pj, together.energy_pj);
    assert!(together.busy_ns < alone.busy_ns, "{} {}", together.busy_ns, alone.busy_ns);
}
