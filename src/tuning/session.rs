//! All batches of a training, and when it ends; what it takes to go on later.

use std::collections::BTreeMap;

use super::error::TuneError;
use super::loss::Score;
use super::reads::Reads;
use super::registers::Registers;
use super::samples::{Order, Samples};
use super::transfer::FastState;
use super::tuner::{Trained, Tuned, Tuner};
use crate::chip::{CellState, PeCells, Work};
use crate::entity::{LayerId, PeId};
use crate::schedule::PeTargets;

/// Numbers of inputs from here on are those of held-out samples, whose noise is
/// none that a batch had.
const HELD_OUT_INPUTS: u64 = 1 << 62;

/// What came of one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchPoint {
    /// On its samples, before its pulses.
    pub score: Score,
    /// Cells that were given pulses.
    pub n_cells: u64,
    /// What these took.
    pub work: Work,
    /// What errors took on their way back through arrays.
    pub reads: Reads,
}

/// A look at the held-out samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// Batches before it.
    pub after: u64,
    /// How the chip did.
    pub score: Score,
}

/// All that is needed to go on, with a session of the same chip, samples and
/// options: what of the chip can have changed, and what was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct TuneState {
    /// What came of each batch.
    pub batches: Vec<BatchPoint>,
    /// Looks at the held-out samples.
    pub looks: Vec<HeldOut>,
    /// Cells of the PEs that have tuned ones, and what they are to hold.
    pub pes: BTreeMap<PeId, (PeCells, PeTargets)>,
    /// Changes wanted and not made yet, in levels, by layer.
    pub wanted: BTreeMap<LayerId, Vec<f64>>,
    /// Steps wanted so far, in levels, by layer; none without momentum.
    pub velocity: BTreeMap<LayerId, Vec<f64>>,
    /// What is digital of tuned layers, where it is trained.
    pub registers: BTreeMap<LayerId, Registers>,
    /// The fast array, where changes go over from one.
    pub fast: Option<FastState>,
}

/// Pulses that cells were given since a chip was as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wear {
    /// Cells of the PEs that have tuned ones which are in use.
    pub n_cells: u64,
    /// Pulses of each cell that was given any, ascending.
    pub pulses: Vec<u32>,
}

/// A training under way.
#[derive(Debug)]
pub struct Session<'a> {
    tuner: Tuner<'a>,
    samples: &'a Samples,
    order: Order,
    batches: Vec<BatchPoint>,
    looks: Vec<HeldOut>,
    /// Pulses of cells before.
    pulses: BTreeMap<PeId, Vec<u32>>,
}

impl<'a> Session<'a> {
    /// Begins with the first batch.
    ///
    /// # Errors
    ///
    /// Too few samples; a run that fails.
    pub fn new(mut tuner: Tuner<'a>, samples: &'a Samples) -> Result<Self, TuneError> {
        let options = tuner.options();
        let (n, n_held_out) = (samples.len(), options.n_held_out);
        if n <= n_held_out {
            return Err(TuneError::TooFew { n, n_held_out });
        }
        let order = Order::new(n, n_held_out, options.n_batch, options.seed);
        tuner.fix(samples)?;
        // By the chip as it is now, wherever a training goes on.
        let first = order.clone().batch(0);
        tuner.choose_ranges(samples, &first)?;
        let pes = tuner.pes();
        let own = tuner.programmed().pes.iter().filter(|(pe, _)| pes.contains(pe));
        let pulses = own.map(|(&pe, cells)| (pe, cells.pulses.clone())).collect();
        let mut session =
            Self { tuner, samples, order, batches: Vec::new(), looks: Vec::new(), pulses };
        session.look()?;
        Ok(session)
    }

    /// The chip and its tuner.
    pub fn tuner(&self) -> &Tuner<'a> {
        &self.tuner
    }

    /// Whether all batches are done, or more would bring nothing.
    pub fn is_done(&self) -> bool {
        let n_done = self.batches.len() as u64;
        n_done >= self.tuner.options().n_batches || self.is_stopped()
    }

    /// Whether the held-out samples say that more would bring nothing.
    pub fn is_stopped(&self) -> bool {
        let Some(patience) = self.tuner.options().patience else { return false };
        let losses = self.looks.iter().map(|look| look.score.mean_loss());
        let best = losses.enumerate().reduce(|best, own| if own.1 < best.1 { own } else { best });
        best.is_some_and(|(nth, _)| (self.looks.len() - 1 - nth) as u64 >= patience.max(1))
    }

    /// Tunes on the next batch.
    ///
    /// # Errors
    ///
    /// A run that fails, labels that are no classes, numbers that are not
    /// finite.
    pub fn step(&mut self) -> Result<(), TuneError> {
        let number = self.batches.len() as u64;
        let chosen = self.order.batch(number);
        let Tuned { score, n_cells, work, reads } =
            self.tuner.tune(self.samples, &chosen, number)?;
        self.batches.push(BatchPoint { score, n_cells, work, reads });
        let every = self.tuner.options().look_every.max(1);
        if (number + 1).is_multiple_of(every) || number + 1 == self.tuner.options().n_batches {
            self.look()?;
        }
        Ok(())
    }

    /// Looks at the held-out samples, if there are any.
    fn look(&mut self) -> Result<(), TuneError> {
        let held_out = self.order.held_out();
        if held_out.is_empty() {
            return Ok(());
        }
        let first = HELD_OUT_INPUTS + self.looks.len() as u64 * held_out.len() as u64;
        let score = self.tuner.measure(self.samples, held_out, first)?;
        self.looks.push(HeldOut { after: self.batches.len() as u64, score });
        Ok(())
    }

    /// How the chip does on the samples that it is tuned on; `time` tells two
    /// looks apart, and keys their noise.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn measure_tuned(&self, time: u64) -> Result<Score, TuneError> {
        let first = HELD_OUT_INPUTS / 2 + time * self.samples.len() as u64;
        self.tuner.measure(self.samples, self.order.tuned(), first)
    }

    /// What came of each batch so far.
    pub fn batches(&self) -> &[BatchPoint] {
        &self.batches
    }

    /// Looks at the held-out samples so far.
    pub fn looks(&self) -> &[HeldOut] {
        &self.looks
    }

    /// Samples of a batch.
    pub fn n_batch(&self) -> usize {
        self.order.n_batch()
    }

    /// Samples that are tuned on.
    pub fn n_tuned(&self) -> usize {
        self.order.tuned().len()
    }

    /// Inputs that have run forward: those of batches, and those held out each
    /// time they were looked at.
    pub fn n_forward(&self) -> u64 {
        let looked: u64 = self.looks.iter().map(|look| look.score.n).sum();
        self.batches.len() as u64 * self.n_batch() as u64 + looked
    }

    /// What all batches took.
    pub fn work(&self) -> Work {
        let mut all = Work::default();
        self.batches.iter().for_each(|batch| all.after(&batch.work));
        all
    }

    /// What errors took on their way back in all batches.
    pub fn reads(&self) -> Reads {
        let mut all = Reads::default();
        self.batches.iter().for_each(|batch| all.add(&batch.reads));
        all
    }

    /// Pulses that cells were given so far.
    pub fn wear(&self) -> Wear {
        let mut wear = Wear::default();
        for (pe, before) in &self.pulses {
            let Some(cells) = self.tuner.programmed().pes.get(pe) else { continue };
            let used = cells.states.iter().filter(|state| **state != CellState::Unused);
            wear.n_cells += used.count() as u64;
            let given =
                cells.pulses.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
            wear.pulses.extend(given.filter(|&n| n > 0));
        }
        wear.pulses.sort_unstable();
        wear
    }

    /// All that is needed to go on from here.
    pub fn state(&self) -> TuneState {
        let pes = self.tuner.pes().into_iter().filter_map(|pe| {
            let cells = self.tuner.programmed().pes.get(&pe)?.clone();
            Some((pe, (cells, self.tuner.targets().get(&pe)?.clone())))
        });
        TuneState {
            batches: self.batches.clone(),
            looks: self.looks.clone(),
            pes: pes.collect(),
            wanted: self.tuner.wanted(),
            velocity: self.tuner.velocity(),
            registers: self.tuner.registers().clone(),
            fast: self.tuner.fast(),
        }
    }

    /// Goes on from there.
    ///
    /// # Errors
    ///
    /// The chip lacks cells of the plan.
    pub fn restore(&mut self, state: TuneState) -> Result<(), TuneError> {
        (self.batches, self.looks) = (state.batches.clone(), state.looks.clone());
        self.tuner.restore(state)?;
        Ok(())
    }

    /// The chip as it ended.
    pub fn finish(self) -> Trained {
        self.tuner.finish()
    }
}
