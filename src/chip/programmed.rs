//! A chip as programming left it, and what is read from it later.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::effects::{Conditions, Effect};
use super::faults::Fault;
use super::math::ln;
use super::random::{Purpose, Streams};
use super::{Accumulator, CellCurve, Chip, Converter, HeldCell};
use crate::entity::PeId;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::{Cell, Drift, Pe, ReadDisturb, Target, Wires};

/// A chip as programming left it: what every cell holds, what it took to get
/// there, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Programmed {
    /// Lines of a PE.
    pub pe: Pe,
    /// Seed of its cells: of all that distinguishes them, and of their drift.
    pub seed: u64,
    /// Whether every pulse was followed; else cells hold what write-verify
    /// leaves on average, and no pulses are counted.
    pub by_pulses: bool,
    /// How often its cells were written over, each time from what they held.
    pub n_rewritten: u32,
    /// PEs in use.
    pub pes: BTreeMap<PeId, PeCells>,
}

/// The cells of one PE, all `[input line][output line]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PeCells {
    /// Conductance when the last pulse was verified, in uS; 0 where none is
    /// used.
    pub written_us: Vec<f32>,
    /// The same once the cell has relaxed, in uS.
    pub relaxed_us: Vec<f32>,
    /// SET and RESET pulses that it took.
    pub pulses: Vec<u32>,
    /// What became of it.
    pub states: Vec<CellState>,
    /// What all of them took together.
    pub work: Work,
}

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CellState {
    /// It is not used, and was never formed.
    Unused = 0,
    /// It was within the tolerance when last verified.
    Written = 1,
    /// It was not, after as many pulses as are given.
    GivenUp = 2,
    /// It is stuck at the highest level.
    StuckHigh = 3,
    /// It is stuck at the lowest level.
    StuckLow = 4,
    /// One of its lines is broken.
    Dead = 5,
    /// It could not be formed.
    Unformed = 6,
}

impl CellState {
    /// Every state, by its code.
    pub const ALL: [Self; 7] = [
        Self::Unused,
        Self::Written,
        Self::GivenUp,
        Self::StuckHigh,
        Self::StuckLow,
        Self::Dead,
        Self::Unformed,
    ];

    /// The state with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The number that stands for it in files.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether the cell does not work.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::StuckHigh | Self::StuckLow | Self::Dead | Self::Unformed)
    }
}

impl CellState {
    /// What is wrong with a cell of this state.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Unused | Self::Written | Self::GivenUp => None,
            Self::StuckHigh => Some(Fault::StuckHigh),
            Self::StuckLow => Some(Fault::StuckLow),
            Self::Dead => Some(Fault::Dead),
            Self::Unformed => Some(Fault::Unformed),
        }
    }
}

impl From<Fault> for CellState {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::StuckHigh => Self::StuckHigh,
            Fault::StuckLow => Self::StuckLow,
            Fault::Dead => Self::Dead,
            Fault::Unformed => Self::Unformed,
        }
    }
}

/// What programming took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Pulses that formed cells.
    pub forming_pulses: u64,
    /// Pulses that raised conductances.
    pub set_pulses: u64,
    /// Pulses that lowered them.
    pub reset_pulses: u64,
    /// Readings between pulses, the last of each cell included.
    pub verify_reads: u64,
    /// Energy of pulses and readings in the cells, in pJ: V^2 G t, with the
    /// mean conductance before and after a pulse; and of the readings'
    /// conversions, where the target gives their cost.
    pub energy_pj: f64,
    /// Time for which a PE is busy, in ns: its cells one after the other.
    pub busy_ns: f64,
}

impl Work {
    /// Adds what is done at the same time, on another PE.
    pub(crate) fn beside(&mut self, other: &Self) {
        let busy_ns = self.busy_ns.max(other.busy_ns);
        self.after(other);
        self.busy_ns = busy_ns;
    }

    /// The same for so many times as many cells.
    pub(crate) fn times(&self, factor: f64) -> Self {
        let count = |n: u64| (n as f64 * factor).round() as u64;
        Self {
            forming_pulses: count(self.forming_pulses),
            set_pulses: count(self.set_pulses),
            reset_pulses: count(self.reset_pulses),
            verify_reads: count(self.verify_reads),
            energy_pj: self.energy_pj * factor,
            busy_ns: self.busy_ns * factor,
        }
    }

    /// Pulses of all kinds.
    pub fn n_pulses(&self) -> u64 {
        self.forming_pulses + self.set_pulses + self.reset_pulses
    }

    /// Adds what is done afterwards.
    pub(crate) fn after(&mut self, other: &Self) {
        self.forming_pulses += other.forming_pulses;
        self.set_pulses += other.set_pulses;
        self.reset_pulses += other.reset_pulses;
        self.verify_reads += other.verify_reads;
        self.energy_pj += other.energy_pj;
        self.busy_ns += other.busy_ns;
    }
}

impl PeCells {
    /// Cells that are not used, to be filled in.
    pub(crate) fn unused(n_cells: usize) -> Self {
        Self {
            written_us: vec![0.0; n_cells],
            relaxed_us: vec![0.0; n_cells],
            pulses: vec![0; n_cells],
            states: vec![CellState::Unused; n_cells],
            work: Work::default(),
        }
    }

    /// Fills in a cell as it was left.
    pub(crate) fn set_held(&mut self, index: usize, cell: &HeldCell) {
        self.written_us[index] = cell.written_us as f32;
        self.relaxed_us[index] = cell.us as f32;
        self.pulses[index] = cell.pulses;
        self.states[index] = cell.state;
    }

    /// Fills in a cell that holds what it holds, whatever is done.
    pub(super) fn set_faulty(&mut self, index: usize, fault: Fault, cell: &Cell) {
        let us = stuck_us(fault, cell) as f32;
        (self.written_us[index], self.relaxed_us[index]) = (us, us);
        self.states[index] = fault.into();
    }
}

/// What a cell holds that does not work.
pub(super) fn stuck_us(fault: Fault, cell: &Cell) -> f64 {
    match fault {
        Fault::StuckHigh => cell.conductance_max_us,
        Fault::StuckLow => cell.conductance_min_us,
        Fault::Dead | Fault::Unformed => 0.0,
    }
}

impl Programmed {
    /// What programming took in each pass of the plan, PEs being written at the
    /// same time.
    pub fn passes(&self, plan: &ExecutionPlan) -> Vec<Work> {
        let mut passes: BTreeMap<u32, Work> = BTreeMap::new();
        for (&pe, cells) in &self.pes {
            passes.entry(plan.pass_of(pe)).or_default().beside(&cells.work);
        }
        passes.into_values().collect()
    }

    /// The same of all passes, one after the other.
    pub fn work(&self, plan: &ExecutionPlan) -> Work {
        let mut all = Work::default();
        self.passes(plan).iter().for_each(|pass| all.after(pass));
        all
    }

    /// The chip as it is read under these conditions. `plan` is what it was
    /// programmed with, `target` what it is made of.
    pub fn chip(&self, plan: &ExecutionPlan, target: &Target, conditions: &Conditions) -> Chip {
        self.chip_with((plan, &plan.targets), target, conditions)
    }

    /// The same of a chip that was programmed with other targets than the
    /// plan's.
    pub fn chip_with(
        &self,
        (plan, targets): (&ExecutionPlan, &BTreeMap<PeId, PeTargets>),
        target: &Target,
        conditions: &Conditions,
    ) -> Chip {
        let (cell, effects) = (&target.cell, conditions.effects);
        let has = |effect| effects.has(effect);
        let elapsed = conditions.at_s.filter(|_| has(Effect::Drift));
        let drift = cell.drift.zip(elapsed).map(|(drift, at_s)| Drifting::new(drift, at_s));
        let disturb = cell.read_disturb.filter(|disturb| {
            has(Effect::ReadDisturb) && conditions.n_reads > 0 && !disturb.is_none()
        });
        let disturb = disturb.map(|disturb| Disturbed::new(cell, disturb, conditions.n_reads));
        let state = State {
            cell,
            verify_error: has(Effect::VerifyError),
            relaxation: has(Effect::Relaxation),
            faults: has(Effect::Faults),
            drift,
            disturb,
            seed: self.seed,
        };
        let pes: Vec<(&PeId, &PeCells)> = self.pes.iter().collect();
        let conductances_us = pes
            .into_par_iter()
            .filter_map(|(&id, cells)| {
                let targets = targets.get(&id)?;
                Some((id, state.conductances_us(id, cells, targets)))
            })
            .collect();
        let share = |effect, us: f64| if has(effect) { us } else { 0.0 };
        // A uniform distribution has a standard deviation of its half width
        // over the square root of 3.
        let verify_us = share(Effect::VerifyError, cell.verify_tolerance_us / 3f64.sqrt());
        let relaxation_us = share(Effect::Relaxation, cell.relaxation_sd_us);
        let drift_us = drift.map_or(0.0, |drift| drift.sd_us);
        let disturb_us = disturb.map_or(0.0, |disturb| disturb.sd_us);
        Chip {
            pe: self.pe,
            wires: if has(Effect::Wires) { target.wires } else { Wires::NONE },
            curve: CellCurve::new(cell).filter(|_| has(Effect::Nonlinearity)),
            vectors: None,
            conductances_us,
            cell_error_us: verify_us.hypot(relaxation_us).hypot(drift_us).hypot(disturb_us),
            read_noise_fraction: share(Effect::ReadNoise, cell.read_noise_fraction),
            converters: match has(Effect::Converters) {
                true => Converter::of_chip(plan, target, self.seed),
                false => BTreeMap::new(),
            },
            accumulators: match has(Effect::Accumulation) {
                true => Accumulator::of_chip(plan, target, self.seed),
                false => BTreeMap::new(),
            },
            seed: conditions.seed,
        }
    }
}

/// How far cells have drifted.
#[derive(Debug, Clone, Copy)]
struct Drifting {
    mean_us: f64,
    mean_fraction: f64,
    sd_us: f64,
}

impl Drifting {
    fn new(drift: Drift, at_s: f64) -> Self {
        let units = ln(1.0 + at_s / drift.t0_s);
        Self {
            mean_us: drift.mean_us * units,
            mean_fraction: drift.mean_fraction * units,
            sd_us: drift.sd_initial_us + drift.sd_us * units,
        }
    }
}

/// How far cells have changed by being read, and how far they can at all.
#[derive(Debug, Clone, Copy)]
struct Disturbed {
    shift_us: f64,
    sd_us: f64,
    low_us: f64,
    high_us: f64,
}

impl Disturbed {
    fn new(cell: &Cell, disturb: ReadDisturb, n_reads: u64) -> Self {
        let n_reads = n_reads as f64;
        let margin_us = cell.pulses.map_or(0.0, |pulses| pulses.margin_us);
        Self {
            shift_us: n_reads * disturb.shift_us,
            sd_us: n_reads * disturb.sd_us,
            low_us: (cell.conductance_min_us - margin_us).max(0.0),
            high_us: cell.conductance_max_us + margin_us,
        }
    }

    /// What a cell is changed to from here; one that drifted beyond what
    /// readings could do stays there.
    fn of(&self, us: f64, z: f64) -> f64 {
        (us + self.shift_us + self.sd_us * z).clamp(self.low_us.min(us), self.high_us.max(us))
    }
}

/// What of all that happened to cells counts.
struct State<'a> {
    cell: &'a Cell,
    verify_error: bool,
    relaxation: bool,
    faults: bool,
    drift: Option<Drifting>,
    disturb: Option<Disturbed>,
    seed: u64,
}

impl State<'_> {
    fn conductances_us(&self, id: PeId, cells: &PeCells, targets: &PeTargets) -> Vec<f32> {
        let streams = Streams::new(self.seed, Purpose::Drift, id);
        let reads = Streams::new(self.seed, Purpose::ReadDisturb, id);
        let conductance = |index: usize| {
            let state = cells.states[index];
            let (written, relaxed) = (cells.written_us[index], cells.relaxed_us[index]);
            if state == CellState::Unused {
                return 0.0;
            }
            if state.is_fault() && self.faults {
                return relaxed;
            }
            let goal = || self.cell.conductance_us(f64::from(targets.levels[index]));
            let us = match (self.verify_error && !state.is_fault(), self.relaxation) {
                (true, true) => f64::from(relaxed),
                (true, false) => f64::from(written),
                (false, true) => goal() + f64::from(relaxed) - f64::from(written),
                (false, false) => goal(),
            };
            let us = match &self.drift {
                Some(drift) => {
                    let own = drift.sd_us * streams.of(index).normal();
                    us + drift.mean_us + drift.mean_fraction * us + own
                }
                None => us,
            };
            let us = match &self.disturb {
                Some(disturb) => disturb.of(us, reads.of(index).normal()),
                None => us,
            };
            us.max(0.0) as f32
        };
        (0..cells.states.len()).map(conductance).collect()
    }
}
