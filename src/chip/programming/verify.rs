//! Write-verify: a pulse, a reading, another pulse, until a cell is within its
//! tolerance or given up.
//!
//! A reading between pulses is taken as exact: what the programmer of a real
//! chip averages is not published, and noise of a single reading would widen
//! the error beyond the measured one. Cells of a PE are written one after the
//! other, PEs at the same time.

use super::device::{Device, DeviceModel, Operation};
use crate::chip::faults::Fault;
use crate::chip::programmed::stuck_us;
use crate::chip::random::{Purpose, Stream, Streams};
use crate::chip::{CellState, PeCells, Work};
use crate::entity::PeId;
use crate::target::{Cell, Forming, Gate, Pulses, Recipe, Target};

/// How the cells of a target are written.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    target: &'a Target,
    pub cell: &'a Cell,
    pub pulses: Pulses,
    pub model: DeviceModel,
}

/// The streams of a PE's cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeStreams {
    pub devices: Streams,
    pub pulses: Streams,
    pub relaxation: Streams,
}

impl PeStreams {
    /// Of a PE of the plan, which is this one of the chip: a cell is the same
    /// device in every pass, what happens to it is not.
    pub fn new(seed: u64, pe: PeId, on_chip: PeId) -> Self {
        let of = |purpose| Streams::new(seed, purpose, pe);
        Self {
            devices: Streams::new(seed, Purpose::Device, on_chip),
            pulses: of(Purpose::Pulses),
            relaxation: of(Purpose::Relaxation),
        }
    }
}

impl PeStreams {
    /// The same for cells that have been written so often before: the same
    /// devices, but what happens to them now is new.
    pub fn written_before(self, n_times: u32) -> Self {
        let again = |streams: Streams| streams.again(n_times);
        Self { pulses: again(self.pulses), relaxation: again(self.relaxation), ..self }
    }

    /// What distinguishes a cell.
    pub fn device(&self, index: usize) -> Stream {
        self.devices.of(index)
    }

    /// What its pulses do.
    pub fn pulses(&self, index: usize) -> Stream {
        self.pulses.of(index)
    }

    /// How it relaxes.
    pub fn relaxation(&self, index: usize) -> Stream {
        self.relaxation.of(index)
    }
}

/// What was done to a cell, or to all of a PE.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    forming_pulses: u64,
    /// V^2 G of the pulses that formed, in V^2 uS.
    forming_v2_us: f64,
    /// Pulses of SET and RESET, and their mean conductances added up.
    pulses: [u64; 2],
    pulses_us: [f64; 2],
    reads: u64,
    reads_us: f64,
}

impl Tally {
    /// Counts a reading.
    #[inline]
    pub fn read(&mut self, us: f64) {
        self.reads += 1;
        self.reads_us += us;
    }

    /// Counts a pulse, by the conductance before and after.
    #[inline]
    pub fn pulse(&mut self, operation: Operation, before_us: f64, after_us: f64) {
        let nth = operation as usize;
        self.pulses[nth] += 1;
        self.pulses_us[nth] += (before_us + after_us) / 2.0;
    }

    /// Pulses of SET and RESET and readings since then.
    pub fn since(&self, before: &Self) -> [u64; 3] {
        let [set, reset] = [0, 1].map(|nth| self.pulses[nth] - before.pulses[nth]);
        [set, reset, self.reads - before.reads]
    }
}

/// A cell after it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub written_us: f64,
    pub relaxed_us: f64,
    pub pulses: u32,
    pub state: CellState,
}

/// A cell that is being written.
pub(super) struct Cursor<'t> {
    pub device: Device,
    pub random: Stream,
    pub us: f64,
    /// It does not change, whatever is done.
    pub stuck: bool,
    pub tally: &'t mut Tally,
}

impl<'a> Writer<'a> {
    pub fn new(target: &'a Target, pulses: Pulses) -> Self {
        let cell = &target.cell;
        Self { target, cell, pulses, model: DeviceModel::new(cell, &pulses) }
    }

    /// What they are written on.
    pub fn target(&self) -> &'a Target {
        self.target
    }

    /// What they are.
    pub fn cell(&self) -> &'a Cell {
        self.cell
    }

    /// How they are pulsed.
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// What pulses do.
    pub fn model(&self) -> &DeviceModel {
        &self.model
    }

    /// Forms a cell and writes it in as many rounds as the target has. Where
    /// it has a fault nothing that is done to it has an effect, and the
    /// programmer, who does not know, gives up in the end.
    pub fn write(
        &self,
        goal_us: f64,
        (streams, index): (&PeStreams, usize),
        fault: Option<Fault>,
        tally: &mut Tally,
    ) -> Written {
        let device = self.model.device(&mut streams.devices.of(index));
        let formed = self.form(&device, tally);
        let tolerance_us = self.cell.verify_tolerance_us;
        let fault = fault.or((!formed).then_some(Fault::Unformed));
        let us = fault.map_or(device.formed_us, |fault| stuck_us(fault, self.cell));
        let random = streams.pulses.of(index);
        let mut cursor = Cursor { device, random, us, stuck: fault.is_some(), tally };
        let mut relaxation = streams.relaxation.of(index);
        let mut written =
            Written { written_us: us, relaxed_us: us, pulses: 0, state: CellState::GivenUp };
        for round in 0..self.pulses.rounds {
            cursor.us = written.relaxed_us;
            if round > 0
                && written.state == CellState::Written
                && cursor.verify(goal_us, tolerance_us)
            {
                break; // It stays as it is, and does not relax once more.
            }
            let (n_pulses, accepted) = self.write_once(&mut cursor, goal_us, tolerance_us);
            written.pulses += n_pulses;
            written.written_us = cursor.us;
            let change = self.cell.relaxation_sd_us * relaxation.normal();
            written.relaxed_us = if cursor.stuck { us } else { (cursor.us + change).max(0.0) };
            written.state = if accepted { CellState::Written } else { CellState::GivenUp };
        }
        if let Some(fault) = fault {
            written.state = fault.into();
        }
        written
    }

    /// Whether the cell forms; pulses of rising voltage up to that at which it
    /// does.
    pub fn form(&self, device: &Device, tally: &mut Tally) -> bool {
        let Some(Forming { first_v, last_v, step_v, mean_v, sd_v }) = self.pulses.forming else {
            return true;
        };
        let needed_v = mean_v + sd_v * device.forming;
        let n_steps = ((last_v - first_v) / step_v + 1e-9).floor();
        let needed = ((needed_v - first_v) / step_v).ceil().max(0.0);
        let formed = needed <= n_steps;
        let last = needed.min(n_steps);
        tally.forming_pulses += last as u64 + 1;
        if formed {
            // Before the last pulse hardly any current flows.
            let v = first_v + last * step_v;
            tally.forming_v2_us += v * v * device.formed_us;
        }
        formed
    }

    /// One round: pulses used, and whether the cell is within the tolerance.
    pub fn write_once(
        &self,
        cursor: &mut Cursor<'_>,
        goal_us: f64,
        tolerance_us: f64,
    ) -> (u32, bool) {
        match &self.pulses.recipe {
            Recipe::Identical => self.identical(cursor, goal_us, tolerance_us),
            Recipe::GateRamped(gate) => self.ramped(gate, cursor, goal_us, tolerance_us),
        }
    }

    /// All pulses alike; one that overshoots is followed by one that goes the
    /// other way.
    fn identical(&self, cursor: &mut Cursor<'_>, goal_us: f64, tolerance_us: f64) -> (u32, bool) {
        let mut n_pulses = 0;
        loop {
            if cursor.verify(goal_us, tolerance_us) {
                return (n_pulses, true);
            }
            if n_pulses == self.pulses.give_up_pulses {
                return (n_pulses, false);
            }
            let operation = towards(goal_us, cursor.us);
            let z = cursor.random.normal();
            let after = self.model.pulse(&cursor.device, operation, cursor.us, z);
            cursor.pulse(operation, after);
            n_pulses += 1;
        }
    }

    /// The gate voltage rises from pulse to pulse; when one overshoots, the
    /// next that goes its way starts a step below it.
    fn ramped(
        &self,
        gate: &Gate,
        cursor: &mut Cursor<'_>,
        goal_us: f64,
        tolerance_us: f64,
    ) -> (u32, bool) {
        let firsts = [gate.set_first_v, gate.reset_first_v];
        let lasts = [gate.set_last_v, gate.reset_last_v];
        let mut next = [0u32; 2];
        let mut before: Option<Operation> = None;
        let mut n_pulses = 0;
        loop {
            if cursor.verify(goal_us, tolerance_us) {
                return (n_pulses, true);
            }
            if n_pulses == self.pulses.give_up_pulses {
                return (n_pulses, false);
            }
            let operation = towards(goal_us, cursor.us);
            if let Some(before) = before.filter(|&before| before != operation) {
                // It stands one above the pulse that overshot.
                next[before as usize] = next[before as usize].saturating_sub(2);
            }
            let nth = operation as usize;
            let gate_v = (firsts[nth] + gate.step_v * f64::from(next[nth])).min(lasts[nth]);
            let z = cursor.random.normal();
            let after = self.model.gated(&cursor.device, operation, (gate, gate_v), cursor.us, z);
            cursor.pulse(operation, after);
            next[nth] = next[nth].saturating_add(1);
            before = Some(operation);
            n_pulses += 1;
        }
    }

    /// Time and energy of what was done.
    pub fn work(&self, tally: &Tally) -> Work {
        let Pulses { set_v, reset_v, pulse_ns, .. } = self.pulses;
        let readout = &self.target.readout;
        let read_v = self.cell.read_voltage_v;
        let n_pulses = tally.pulses[0] + tally.pulses[1] + tally.forming_pulses;
        // V^2 uS ns are femtojoules.
        let pulses_fj = pulse_ns
            * (tally.forming_v2_us
                + set_v * set_v * tally.pulses_us[0]
                + reset_v * reset_v * tally.pulses_us[1]);
        let reads_fj = readout.cycle_ns * read_v * read_v * tally.reads_us;
        let conversion_pj = self.target.costs.as_ref().map_or(0.0, |c| c.adc_pj_per_conversion);
        Work {
            forming_pulses: tally.forming_pulses,
            set_pulses: tally.pulses[0],
            reset_pulses: tally.pulses[1],
            verify_reads: tally.reads,
            energy_pj: (pulses_fj + reads_fj) / 1000.0 + conversion_pj * tally.reads as f64,
            busy_ns: n_pulses as f64 * pulse_ns + tally.reads as f64 * readout.cycle_ns,
        }
    }
}

impl Cursor<'_> {
    /// Reads the cell: whether it is within the tolerance.
    #[inline]
    fn verify(&mut self, goal_us: f64, tolerance_us: f64) -> bool {
        self.tally.read(self.us);
        (self.us - goal_us).abs() <= tolerance_us
    }

    /// Takes the cell where a pulse brings it.
    #[inline]
    pub fn pulse(&mut self, operation: Operation, after_us: f64) {
        let after_us = if self.stuck { self.us } else { after_us };
        self.tally.pulse(operation, self.us, after_us);
        self.us = after_us;
    }
}

fn towards(goal_us: f64, us: f64) -> Operation {
    if us < goal_us { Operation::Set } else { Operation::Reset }
}

impl PeCells {
    /// Fills in a cell that was written.
    pub(super) fn set(&mut self, index: usize, written: &Written) {
        self.written_us[index] = written.written_us as f32;
        self.relaxed_us[index] = written.relaxed_us as f32;
        self.pulses[index] = written.pulses;
        self.states[index] = written.state;
    }
}
