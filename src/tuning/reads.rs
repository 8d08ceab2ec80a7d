//! What readings on the way back take: conversions and cycles, energy by the
//! target's costs and by the physics of the cells, as for readings forward.
//!
//! A vector drives the lines of a tile plane by plane, each for the cycles that
//! its conversions take:
//!
//! ```text
//! conversions    planes x values converted
//! cycles         planes x cycles that these take with the PE's ADCs
//! energy         conversions x ADC + cycles x (sample-and-hold, drivers, array, shift-and-add)
//! array's own    V^2 x conductance on the line x time, for each bit 1
//! ```
//!
//! Where lines are not subtracted before conversion, positive ones are driven
//! first, then negative ones, and each for its part of the cycles.
//!
//! Where charges of planes are added up, a plane drives its lines for a cycle,
//! and conversions of the sums follow:
//!
//! ```text
//! conversions    values converted
//! cycles         planes + cycles that these take
//! energy         conversions x ADC + planes x (sample-and-hold, drivers, array) + the rest x shift-and-add
//! ```

use super::transposed::Driven;
use crate::target::{Conversion, Subtract, Target};

/// What readings took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reads {
    /// Vectors driven into a tile.
    pub waves: u64,
    /// Conversions of them.
    pub conversions: u64,
    /// Cycles in which lines of a PE are driven and converted.
    pub pe_cycles: u64,
    /// Energy of all that by the target's costs, in pJ; 0 without such.
    pub energy_pj: f64,
    /// What cells drew by their physics, in pJ; in none of the others.
    pub array_pj: f64,
    /// Time in ns: PEs work at the same time, batches one after the other.
    pub busy_ns: f64,
}

impl Reads {
    /// Adds what came after.
    pub fn add(&mut self, other: &Self) {
        self.waves += other.waves;
        self.conversions += other.conversions;
        self.pe_cycles += other.pe_cycles;
        self.energy_pj += other.energy_pj;
        self.array_pj += other.array_pj;
        self.busy_ns += other.busy_ns;
    }

    /// Adds a number of waves, all of which take this, on one PE.
    pub(super) fn add_waves(&mut self, n: u64, each: &Wave) {
        self.waves += n;
        self.conversions += n * each.conversions;
        self.pe_cycles += n * each.cycles;
        self.energy_pj += n as f64 * each.energy_pj;
    }

    /// Adds what cells drew while they carried errors back.
    pub(super) fn add_drawn(&mut self, driven: &Driven) {
        self.array_pj += driven.array_pj;
    }
}

/// What a vector into a tile takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Wave {
    /// Conversions.
    pub conversions: u64,
    /// Cycles.
    pub cycles: u64,
    /// Energy by the target's costs in pJ.
    pub energy_pj: f64,
    /// What a microsiemens on a line with a bit 1 draws in one plane, in pJ.
    pub pj_per_us: f64,
}

impl Wave {
    /// That of so many values, which are converted in each of so many planes;
    /// with `phases`, positive lines and negative ones after each other.
    pub fn new(
        target: &Target,
        n_values: usize,
        n_planes: usize,
        phases: usize,
        adc_bits: u8,
    ) -> Self {
        let rounds = n_rounds(target, n_values, phases);
        let cycles = (n_planes * rounds * phases) as u64;
        let work = Work {
            conversions: (n_planes * n_values) as u64,
            cycles,
            driving: cycles,
            adding: cycles,
            driving_per_plane: rounds,
        };
        work.wave(target, adc_bits)
    }

    /// That of a tile that is driven from its output lines.
    pub fn transposed(target: &Target, n_values: usize, n_planes: usize, adc_bits: u8) -> Self {
        let phases = match target.readout.subtract {
            Subtract::BeforeConversion => 1,
            Subtract::AfterConversion => 2,
        };
        match target.readout.conversion {
            Conversion::Accumulated => Self::summed(target, n_values, n_planes, phases, adc_bits),
            _ => Self::new(target, n_values, n_planes, phases, adc_bits),
        }
    }

    /// That of so many values, of which the sums of so many planes are converted.
    fn summed(
        target: &Target,
        n_values: usize,
        n_planes: usize,
        phases: usize,
        adc_bits: u8,
    ) -> Self {
        let driving = (phases * n_planes) as u64;
        let adding = (phases * n_rounds(target, n_values, phases)) as u64;
        let work = Work {
            conversions: n_values as u64,
            cycles: driving + adding,
            driving,
            adding,
            driving_per_plane: 1,
        };
        work.wave(target, adc_bits)
    }
}

/// What parts of a PE do for a vector.
struct Work {
    conversions: u64,
    /// Cycles from the first plane to the last sum.
    cycles: u64,
    /// Cycles in which lines are driven.
    driving: u64,
    /// Cycles in which what was converted is added up.
    adding: u64,
    /// Cycles for which a plane is on its lines, and cells draw.
    driving_per_plane: usize,
}

impl Work {
    fn wave(&self, target: &Target, adc_bits: u8) -> Wave {
        let energy_pj = target.costs.as_ref().map_or(0.0, |costs| {
            let driving_pj = costs.sample_and_hold_pj_per_cycle
                + costs.drivers_pj_per_cycle
                + costs.array_pj_per_cycle;
            self.conversions as f64 * costs.conversion_pj(adc_bits)
                + self.driving as f64 * driving_pj
                + self.adding as f64 * costs.shift_and_add_pj_per_cycle
        });
        let volts2 = target.cell.read_voltage_v * target.cell.read_voltage_v;
        let plane_ns = target.readout.cycle_ns * self.driving_per_plane as f64;
        // Microwatts times nanoseconds are femtojoules.
        let pj_per_us = volts2 * plane_ns / 1000.0;
        Wave { conversions: self.conversions, cycles: self.cycles, energy_pj, pj_per_us }
    }
}

/// Cycles in which so many values are converted, those of one phase.
fn n_rounds(target: &Target, n_values: usize, phases: usize) -> usize {
    let at_once = target.readout.lines_converted_per_cycle().max(1) as usize;
    (n_values / phases.max(1)).div_ceil(at_once)
}
