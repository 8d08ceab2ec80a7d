//! Writing pairs by somebody who knows what pulses do.
//!
//! A weight is the difference of its pair, so a pair is written when that
//! difference is within its tolerance, wherever the two cells stand
//! (`common_mode`); and what a pulse is likely to do is known, so that the one
//! with the fewest to follow is chosen ([`choice`](super::choice)), or the gate
//! voltage that brings a cell nearest to where it shall be (`predicted`).
//! Where the target ramps the gate, the voltage is taken from the whole of the
//! ramp: its step is that of a search, not of a converter.
//!
//! Cells of an input line can be pulsed at the same time (`parallel`): all that
//! want a SET with one pulse, all that want a RESET with the next, and then a
//! reading of the line.

use super::choice::{Choices, Table};
use super::device::{Device, Operation};
use super::verify::{Cursor, PeStreams, Tally, Writer};
use crate::chip::faults::{Fault, Faults, PeFaults};
use crate::chip::programmed::stuck_us;
use crate::chip::random::Stream;
use crate::chip::{CellState, PeCells, Programmed, Work};
use crate::entity::PeId;
use crate::schedule::ExecutionPlan;
use crate::target::{Gate, Recipe, Target};

/// Pulses in a row without any effect after which a cell is taken for stuck.
const STUCK_AFTER: u32 = 12;

/// What is made use of when pairs are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairOptions {
    /// Pulses are chosen by what they are likely to do.
    pub predicted: bool,
    /// A pair may stand anywhere as long as its difference is right, and its
    /// lower cell no higher than its goal says; else each cell goes to a target
    /// of its own.
    pub common_mode: bool,
    /// Cells of an input line are pulsed at the same time.
    pub parallel: bool,
}

/// What a pair is to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairGoal {
    /// Conductances of the positive and of the negative cell, in uS; their
    /// difference alone counts where the common mode is free.
    pub cells_us: [f64; 2],
    /// How far the difference may be off, in uS.
    pub tolerance_us: f64,
    /// Where the lower cell may be at most, in uS, if the common mode is free.
    pub lower_max_us: f64,
}

/// A cell in the hands of who writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldCell {
    /// Conductance, in uS: as it is now, relaxed if it has had the time.
    pub us: f64,
    /// The same when it was last verified.
    pub written_us: f64,
    /// SET and RESET pulses that it took.
    pub pulses: u32,
    /// What became of it.
    pub state: CellState,
    device: Device,
    fault: Option<Fault>,
}

/// Writes the pairs of one chip.
#[derive(Debug)]
pub struct PairWriter<'a> {
    writer: Writer<'a>,
    plan: &'a ExecutionPlan,
    choices: Choices,
    options: PairOptions,
    seed: u64,
    faults: Faults<'a>,
    from: Option<&'a Programmed>,
}

/// The cells of one PE, and what was done to them.
#[derive(Debug)]
pub struct PeBench<'a> {
    streams: PeStreams,
    faults: Option<PeFaults<'a>>,
    from: Option<&'a PeCells>,
    /// Cells are formed once, before the first pass.
    forms: bool,
    tally: Tally,
    parallel_ns: f64,
}

/// Two cells while they are written.
struct Pair<'c> {
    cells: &'c mut [HeldCell; 2],
    goal: PairGoal,
    random: Stream,
    /// Pulses in a row without effect.
    idle: [u32; 2],
    n_pulses: u32,
}

impl<'a> PairWriter<'a> {
    /// For the chip of a seed, as it comes or as it was left by an earlier
    /// plan; `None` where the target does not say what pulses do.
    pub(in crate::chip) fn new(
        (plan, target): (&'a ExecutionPlan, &'a Target),
        options: PairOptions,
        (seed, faults): (u64, Faults<'a>),
        from: Option<&'a Programmed>,
    ) -> Option<Self> {
        let pulses = target.cell.pulses?;
        let writer = Writer::new(target, pulses);
        let choices = Choices::new(writer.model());
        Some(Self { writer, plan, choices, options, seed, faults, from })
    }

    /// The cells of a PE of the plan.
    pub fn bench(&self, pe: PeId) -> PeBench<'a> {
        let on_chip = self.plan.on_chip(pe);
        let works = self.faults.are_none();
        let n_written = self.from.map_or(0, |from| from.n_rewritten + 1);
        PeBench {
            streams: PeStreams::new(self.seed, pe, on_chip).written_before(n_written),
            faults: (!works).then(|| self.faults.of_pe(self.seed, on_chip, self.plan.pe)),
            from: self.from.and_then(|from| from.pes.get(&pe)),
            forms: self.plan.pass_of(pe) == 0,
            tally: Tally::default(),
            parallel_ns: 0.0,
        }
    }

    /// Takes a cell in hand: formed now, or as it was left.
    pub fn take(&self, bench: &mut PeBench<'_>, index: usize) -> HeldCell {
        let device = self.writer.model().device(&mut bench.streams.device(index));
        let left = bench.from.and_then(|cells| {
            let state = *cells.states.get(index)?;
            (state != CellState::Unused).then_some((state, f64::from(cells.relaxed_us[index])))
        });
        if let Some((state, us)) = left {
            let fault = state.fault();
            return HeldCell { us, written_us: us, pulses: 0, state, device, fault };
        }
        let fault = bench.faults.as_ref().and_then(|faults| faults.of(index));
        let formed = !bench.forms || self.writer.form(&device, &mut bench.tally);
        let fault = fault.or((!formed).then_some(Fault::Unformed));
        let us = fault.map_or(device.formed_us, |fault| stuck_us(fault, self.writer.cell()));
        HeldCell { us, written_us: us, pulses: 0, state: CellState::GivenUp, device, fault }
    }

    /// Writes pairs of one input line, each by the place of its positive cell
    /// in the PE; then they relax.
    pub fn write_line(
        &self,
        bench: &mut PeBench<'_>,
        line: &mut [(usize, [HeldCell; 2], PairGoal)],
    ) {
        let mut most = [0u64; 3];
        for (at, cells, goal) in line {
            let before = bench.tally;
            self.write_pair(bench, *at, cells, *goal);
            let own = bench.tally.since(&before);
            most.iter_mut().zip(own).for_each(|(most, own)| *most = (*most).max(own));
        }
        let [sets, resets, reads] = most.map(|n| n as f64);
        let readout = &self.writer.target().readout;
        let per_cycle = readout.lines_converted_per_cycle().max(1);
        let read_cycles = self.plan.pe.outputs.div_ceil(per_cycle);
        // A pair is read cell by cell above, and both at once here.
        bench.parallel_ns += (sets + resets) * self.writer.pulses().pulse_ns
            + (reads / 2.0).ceil() * f64::from(read_cycles) * readout.cycle_ns;
    }

    /// What all of a PE's writing took.
    pub fn work(&self, bench: &PeBench<'_>) -> Work {
        let work = self.writer.work(&bench.tally);
        if !self.options.parallel {
            return work;
        }
        let forming_ns = work.forming_pulses as f64 * self.writer.pulses().pulse_ns;
        Work { busy_ns: bench.parallel_ns + forming_ns, ..work }
    }

    /// What becomes of a pair that is fresh and free of faults; tried on the
    /// model, no cell is touched.
    pub fn try_out(&self, bench: &PeBench<'_>, index: usize, goal: PairGoal) -> [HeldCell; 2] {
        let mut trial = PeBench {
            streams: bench.streams,
            faults: None,
            from: None,
            forms: false,
            tally: Tally::default(),
            parallel_ns: 0.0,
        };
        let cell = |at: usize| {
            let device = self.writer.model().device(&mut trial.streams.device(at));
            let us = device.formed_us;
            let state = CellState::GivenUp;
            HeldCell { us, written_us: us, pulses: 0, state, device, fault: None }
        };
        let mut cells = [cell(index), cell(index + 1)];
        self.write_pair(&mut trial, index, &mut cells, goal);
        cells
    }

    fn write_pair(
        &self,
        bench: &mut PeBench<'_>,
        at: usize,
        cells: &mut [HeldCell; 2],
        goal: PairGoal,
    ) {
        let mut relaxation = [0, 1].map(|half| bench.streams.relaxation(at + half));
        let random = bench.streams.pulses(at);
        let mut pair = Pair { cells, goal, random, idle: [0; 2], n_pulses: 0 };
        for round in 0..self.writer.pulses().rounds {
            let before = pair.cells.map(|cell| cell.pulses);
            pair.n_pulses = 0;
            let accepted = self.write_once(&mut pair, &mut bench.tally);
            let is_new = round == 0 && bench.from.is_none();
            for (half, cell) in pair.cells.iter_mut().enumerate() {
                cell.written_us = cell.us;
                cell.state = if accepted { CellState::Written } else { CellState::GivenUp };
                // One that was not touched has relaxed already.
                let touched = is_new || cell.pulses > before[half];
                let change = self.writer.cell().relaxation_sd_us * relaxation[half].normal();
                match cell.fault {
                    Some(fault) => cell.state = fault.into(),
                    None if touched => cell.us = (cell.us + change).max(0.0),
                    None => {}
                }
            }
        }
    }

    /// One round; whether the pair is within its tolerance.
    fn write_once(&self, pair: &mut Pair<'_>, tally: &mut Tally) -> bool {
        let identical = matches!(self.writer.pulses().recipe, Recipe::Identical);
        let [positive_us, negative_us] = pair.goal.cells_us;
        match (self.options.common_mode, identical && self.options.predicted) {
            (true, true) => self.play(pair, positive_us - negative_us, tally),
            (true, false) => self.move_one(pair, positive_us - negative_us, tally),
            (false, _) => {
                // Each takes half of what the difference may be off.
                let tolerance_us = pair.goal.tolerance_us / 2f64.sqrt();
                let first = self.write_cell(pair, 0, (positive_us, tolerance_us), tally);
                self.write_cell(pair, 1, (negative_us, tolerance_us), tally) && first
            }
        }
    }

    /// Both cells, whichever promises most.
    fn play(&self, pair: &mut Pair<'_>, difference_us: f64, tally: &mut Tally) -> bool {
        let PairGoal { tolerance_us, lower_max_us, .. } = pair.goal;
        let table = self.choices.of_pair(difference_us, tolerance_us, lower_max_us);
        let give_up = self.writer.pulses().give_up_pulses.saturating_mul(2);
        tally.read(pair.cells[0].us);
        let mut last = 1;
        loop {
            let held_us = pair.held_us();
            tally.read(held_us[last]);
            let is_off = (held_us[0] - held_us[1] - difference_us).abs() > tolerance_us;
            let stuck = pair.idle.map(|idle| idle >= STUCK_AFTER);
            let too_high = held_us[0].min(held_us[1]) > lower_max_us;
            if !is_off && (!too_high || stuck != [false; 2]) {
                return true;
            }
            if pair.n_pulses >= give_up || stuck == [true; 2] {
                return false;
            }
            let goals = [held_us[1] + difference_us, held_us[0] - difference_us];
            let (half, operation) = match stuck {
                [true, _] => (1, towards(goals[1], held_us[1])),
                [_, true] => (0, towards(goals[0], held_us[0])),
                _ => {
                    let choice = self.choices.best(&table, held_us);
                    (choice.half, choice.operation)
                }
            };
            self.pulse(pair, half, operation, None, tally);
            last = half;
        }
    }

    /// One cell stays where it is, the other goes where the difference is
    /// right.
    fn move_one(&self, pair: &mut Pair<'_>, difference_us: f64, tally: &mut Tally) -> bool {
        let PairGoal { tolerance_us, lower_max_us, .. } = pair.goal;
        let cell = self.writer.cell();
        let held_us = pair.held_us();
        // Those that can move alone, the higher one first: it is to move down,
        // which leaves less current.
        let goals = [held_us[1] + difference_us, held_us[0] - difference_us];
        let order = if held_us[0] >= held_us[1] { [0, 1] } else { [1, 0] };
        let reaches = |&half: &usize| {
            (cell.conductance_min_us..=cell.conductance_max_us).contains(&goals[half])
                && goals[half].min(held_us[1 - half]) <= lower_max_us
        };
        if let Some(mover) = order.into_iter().find(reaches) {
            tally.read(held_us[1 - mover]);
            if self.write_cell(pair, mover, (goals[mover], tolerance_us), tally) {
                return true;
            }
        }
        // Neither, or it would not: first the lower to where it was planned,
        // roughly, then the other by what it came to.
        let lower = usize::from(difference_us > 0.0);
        let goal_us = pair.goal.cells_us[lower];
        let slack_us = if lower_max_us.is_finite() {
            (lower_max_us - goal_us).max(tolerance_us)
        } else {
            tolerance_us.max(self.writer.pulses().margin_us)
        };
        self.write_cell(pair, lower, (goal_us, slack_us), tally);
        let us = pair.cells[lower].us;
        let goal_us = if lower == 1 { us + difference_us } else { us - difference_us };
        self.write_cell(pair, 1 - lower, (goal_us, tolerance_us), tally)
    }

    /// One cell to a conductance.
    fn write_cell(
        &self,
        pair: &mut Pair<'_>,
        half: usize,
        (goal_us, tolerance_us): (f64, f64),
        tally: &mut Tally,
    ) -> bool {
        if !self.options.predicted {
            let cell = &mut pair.cells[half];
            let stuck = cell.fault.is_some();
            let mut cursor = Cursor {
                device: cell.device,
                random: pair.random.clone(),
                us: cell.us,
                stuck,
                tally,
            };
            let (n_pulses, accepted) = self.writer.write_once(&mut cursor, goal_us, tolerance_us);
            (cell.us, pair.random) = (cursor.us, cursor.random);
            cell.pulses += n_pulses;
            return accepted;
        }
        let mut aim = match &self.writer.pulses().recipe {
            Recipe::Identical => Aim::Chosen(self.choices.of_cell(goal_us, tolerance_us)),
            Recipe::GateRamped(gate) => Aim::Gated(*gate, [Offset::new(gate); 2]),
        };
        pair.idle[half] = 0;
        for _ in 0..=self.writer.pulses().give_up_pulses {
            let us = pair.cells[half].us;
            tally.read(us);
            if (us - goal_us).abs() <= tolerance_us {
                return true;
            }
            if pair.idle[half] >= STUCK_AFTER {
                return false;
            }
            match &mut aim {
                Aim::Chosen(table) => {
                    let choice = self.choices.best(table, [us, 0.0]);
                    self.pulse(pair, half, choice.operation, None, tally);
                }
                Aim::Gated(gate, offsets) => {
                    let operation = towards(goal_us, us);
                    let offset = &mut offsets[operation as usize];
                    let (gate_v, aimed_us) =
                        self.writer.model().gate_for(operation, gate, goal_us - offset.mean_us);
                    self.pulse(pair, half, operation, Some((gate, gate_v)), tally);
                    let after_us = pair.cells[half].us;
                    if after_us != us {
                        offset.learn(after_us - aimed_us);
                    }
                }
            }
        }
        false
    }

    fn pulse(
        &self,
        pair: &mut Pair<'_>,
        half: usize,
        operation: Operation,
        gate: Option<(&Gate, f64)>,
        tally: &mut Tally,
    ) {
        let z = pair.random.normal();
        let cell = &mut pair.cells[half];
        let model = self.writer.model();
        let after_us = match (cell.fault, gate) {
            (Some(_), _) => cell.us,
            (None, None) => model.pulse(&cell.device, operation, cell.us, z),
            (None, Some(gate)) => model.gated(&cell.device, operation, gate, cell.us, z),
        };
        tally.pulse(operation, cell.us, after_us);
        pair.idle[half] = if after_us == cell.us { pair.idle[half] + 1 } else { 0 };
        cell.us = after_us;
        cell.pulses += 1;
        pair.n_pulses += 1;
    }
}

impl Pair<'_> {
    fn held_us(&self) -> [f64; 2] {
        self.cells.map(|cell| cell.us)
    }
}

/// How one cell is brought to its goal.
enum Aim {
    Chosen(Table),
    Gated(Gate, [Offset; 2]),
}

/// What was learned of where a cell's pulses land, beside where the mean cell's
/// do: a Gaussian belief, narrowed by every landing.
#[derive(Debug, Clone, Copy)]
struct Offset {
    mean_us: f64,
    variance: f64,
    noise: f64,
}

impl Offset {
    fn new(gate: &Gate) -> Self {
        let square = |sd_us: f64| sd_us * sd_us;
        Self { mean_us: 0.0, variance: square(gate.device_sd_us), noise: square(gate.cycle_sd_us) }
    }

    fn learn(&mut self, landed_us: f64) {
        let all = self.variance + self.noise;
        if all > 0.0 {
            let share = self.variance / all;
            self.mean_us += share * (landed_us - self.mean_us);
            self.variance *= 1.0 - share;
        }
    }
}

fn towards(goal_us: f64, us: f64) -> Operation {
    if us < goal_us { Operation::Set } else { Operation::Reset }
}
