//! Cells of a chip that is in use, changed one pulse at a time or written to
//! new targets.
//!
//! What a cell is (its own steps, whether it is stuck) comes from the chip's
//! seed, as when it was programmed. What happens to it now comes from streams
//! keyed by a seed and the number of this round of changes as well, so that
//! changes made after a pause are those that would have been made without it.
//!
//! A pulse given open loop does what the target's table or formula says, which
//! reaches from one reading to the next: nothing relaxes on top. A cell
//! written closed loop is read between pulses and relaxes once it is accepted,
//! as when it was programmed.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::device::Operation;
use super::verify::{Cursor, PeStreams, Tally, Writer};
use crate::chip::noise::mix;
use crate::chip::random::{Purpose, Streams};
use crate::chip::{CellState, PeCells, Programmed, Work};
use crate::entity::PeId;
use crate::schedule::ExecutionPlan;
use crate::target::{Pulses, Target};

/// What is done to a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellChange {
    /// One pulse that raises its conductance, whatever comes of it.
    Set,
    /// One pulse that lowers it.
    Reset,
    /// Pulses and readings until it holds this conductance, in uS, within the
    /// tolerance, or is given up.
    Write(f64),
}

/// Changes by PE: the number of a cell, `[input line][output line]`, and what
/// is done to it. A cell occurs once.
pub type CellChanges = BTreeMap<PeId, Vec<(usize, CellChange)>>;

/// Changes the cells of chips of one target.
#[derive(Debug)]
pub struct Rewriter<'a> {
    target: &'a Target,
    /// `None` where the target does not say what pulses do: a cell then holds
    /// what write-verify leaves on average, and no pulses are counted.
    writer: Option<Writer<'a>>,
}

impl<'a> Rewriter<'a> {
    /// For chips of this target, whose cells are formed.
    pub fn new(target: &'a Target) -> Self {
        let formed = |pulses| Writer::new(target, Pulses { forming: None, ..pulses });
        Self { target, writer: target.cell.pulses.map(formed) }
    }

    /// Whether pulses are followed, and can be given one at a time.
    pub fn has_pulses(&self) -> bool {
        self.writer.is_some()
    }

    /// The conductance at which a SET and a RESET pulse undo each other on
    /// average, in uS: where cells drift to that are given many of both; `None`
    /// without pulses.
    pub fn balance_us(&self) -> Option<f64> {
        /// Places that are looked at.
        const PLACES: u32 = 1000;
        let model = &self.writer.as_ref()?.model;
        let (low, high) =
            (self.target.cell.conductance_min_us, self.target.cell.conductance_max_us);
        let place = |nth: u32| low + (high - low) * f64::from(nth) / f64::from(PLACES);
        let up = |us: f64| model.step(Operation::Set, us).0 + model.step(Operation::Reset, us).0;
        Some((0..=PLACES).map(place).find(|&us| up(us) <= 0.0).unwrap_or(high))
    }

    /// Changes cells of a chip that holds `plan`, and gives what that took; the
    /// PEs' own counts go on too. `round` numbers the changes of one `seed`.
    ///
    /// Cells that are not used, and single pulses where there are none, are
    /// left alone.
    pub fn apply(
        &self,
        programmed: &mut Programmed,
        plan: &ExecutionPlan,
        changes: &CellChanges,
        (seed, round): (u64, u64),
    ) -> Work {
        let event = mix(mix(seed).wrapping_add(round));
        let chip_seed = programmed.seed;
        let pes: Vec<(PeId, &mut PeCells)> = programmed
            .pes
            .iter_mut()
            .filter(|(pe, _)| changes.contains_key(pe))
            .map(|(&pe, cells)| (pe, cells))
            .collect();
        let works: Vec<Work> = pes
            .into_par_iter()
            .map(|(pe, cells)| {
                let streams = PeStreams::of_round(chip_seed, event, pe, plan.on_chip(pe));
                let own = changes.get(&pe).map(Vec::as_slice).unwrap_or_default();
                let work = match &self.writer {
                    Some(writer) => {
                        let mut tally = Tally::default();
                        for &(index, change) in own {
                            writer.change(cells, index, change, &streams, &mut tally);
                        }
                        writer.work(&tally)
                    }
                    None => {
                        for &(index, change) in own {
                            self.settle(cells, index, change, &streams);
                        }
                        Work::default()
                    }
                };
                cells.work.after(&work);
                work
            })
            .collect();
        let mut all = Work::default();
        works.iter().for_each(|work| all.beside(work));
        all
    }

    /// What write-verify leaves on average.
    fn settle(&self, cells: &mut PeCells, index: usize, change: CellChange, streams: &PeStreams) {
        let CellChange::Write(goal_us) = change else { return };
        let cell = &self.target.cell;
        let Some(state) = cells.states.get_mut(index) else { return };
        if *state == CellState::Unused || state.is_fault() {
            return;
        }
        let mut random = streams.relaxation.of(index);
        let written = goal_us + cell.verify_tolerance_us * (2.0 * random.uniform() - 1.0);
        let relaxed = written + cell.relaxation_sd_us * random.normal();
        *state = CellState::Written;
        cells.written_us[index] = written.max(0.0) as f32;
        cells.relaxed_us[index] = relaxed.max(0.0) as f32;
    }
}

impl PeStreams {
    /// Of a round of changes to a chip in use: its devices are those that were
    /// programmed, what happens to them is new.
    fn of_round(chip_seed: u64, event: u64, pe: PeId, on_chip: PeId) -> Self {
        let of = |purpose| Streams::new(mix(chip_seed).wrapping_add(event), purpose, pe);
        Self {
            devices: Streams::new(chip_seed, Purpose::Device, on_chip),
            pulses: of(Purpose::TuningPulses),
            relaxation: of(Purpose::TuningRelaxation),
        }
    }
}

impl Writer<'_> {
    /// Changes one cell.
    fn change(
        &self,
        cells: &mut PeCells,
        index: usize,
        change: CellChange,
        streams: &PeStreams,
        tally: &mut Tally,
    ) {
        let Some(&state) = cells.states.get(index) else { return };
        if state == CellState::Unused {
            return;
        }
        let device = self.model.device(&mut streams.devices.of(index));
        let stuck = state.is_fault();
        let us = f64::from(cells.relaxed_us[index]);
        let mut cursor = Cursor { device, random: streams.pulses.of(index), us, stuck, tally };
        let (n_pulses, relaxed_us, accepted) = match change {
            CellChange::Write(goal_us) => self.rewrite(&mut cursor, goal_us, streams, index),
            CellChange::Set => (1, self.single(&mut cursor, Operation::Set), true),
            CellChange::Reset => (1, self.single(&mut cursor, Operation::Reset), true),
        };
        cells.written_us[index] = cursor.us as f32;
        cells.relaxed_us[index] = relaxed_us as f32;
        cells.pulses[index] = cells.pulses[index].saturating_add(n_pulses);
        if !stuck {
            cells.states[index] = if accepted { CellState::Written } else { CellState::GivenUp };
        }
    }

    /// One pulse, and where it leaves the cell.
    fn single(&self, cursor: &mut Cursor<'_>, operation: Operation) -> f64 {
        let z = cursor.random.normal();
        let after = self.model.pulse(&cursor.device, operation, cursor.us, z);
        cursor.pulse(operation, after);
        cursor.us
    }

    /// As many rounds as the target has: pulses, what the cell relaxed to, and
    /// whether it was accepted.
    fn rewrite(
        &self,
        cursor: &mut Cursor<'_>,
        goal_us: f64,
        streams: &PeStreams,
        index: usize,
    ) -> (u32, f64, bool) {
        let mut relaxation = streams.relaxation.of(index);
        let (mut n_all, mut relaxed_us, mut accepted) = (0u32, cursor.us, false);
        for _ in 0..self.pulses.rounds.max(1) {
            cursor.us = relaxed_us;
            let (n_pulses, within) =
                self.write_once(cursor, goal_us, self.cell.verify_tolerance_us);
            accepted = within;
            if n_pulses == 0 && within {
                break; // It stays as it is, and does not relax once more.
            }
            n_all = n_all.saturating_add(n_pulses);
            let change = self.cell.relaxation_sd_us * relaxation.normal();
            relaxed_us = if cursor.stuck { cursor.us } else { (cursor.us + change).max(0.0) };
        }
        (n_all, relaxed_us, accepted)
    }
}
