//! What self-timed PEs take for real inputs: as long as it takes, wave by wave.
//!
//! A plane without a bit 1 on the lines of a wave is passed over. Another is
//! driven until its currents have settled; then each ADC converts the outputs
//! that are its own one after the other, each until its bits are decided, and
//! the plane is over when the last of them is done. Codes are those of currents
//! without read noise, which hardly changes how long a decision takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::layout::{Layout, numbered, offsets, strides};
use crate::chip::{Chip, ConversionTimes, Scheme, Scratch, TileKernel};
use crate::entity::{LayerId, StepId};
use crate::graph::LoopRef;
use crate::mapping::Positions;
use crate::schedule::{ExecutionPlan, PlanLayer, StepKind};
use crate::target::{SelfTimed, Target};

/// What the waves of one input took.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputEvents {
    /// By step of waves, the time of each row of the layer's positions, in ps.
    pub rows_ps: BTreeMap<StepId, Vec<u64>>,
    /// Planes driven, times the rounds in which their outputs are converted.
    pub rounds: u64,
    /// Planes passed over, counted alike.
    pub rounds_skipped: u64,
    /// Conversions made.
    pub conversions: u64,
    /// What the cells drew, V^2 G t, in pJ.
    pub array_pj: f64,
}

/// The waves of a layer, watched.
#[derive(Debug)]
pub(super) struct Watch {
    drives: Vec<Drive>,
    bits: u8,
    /// Where the code of each position is.
    positions: Vec<u32>,
    positions_per_row: usize,
    timed: SelfTimed,
    n_adcs: usize,
    /// Volts squared of a driven line.
    volts2: f64,
    seen: Mutex<BTreeMap<u64, InputEvents>>,
}

/// Tiles that are driven together.
#[derive(Debug)]
struct Drive {
    step: StepId,
    positions: Positions,
    /// Where the code of each line is, and the conductance of the tiles' cells
    /// on it, in uS.
    lines: Vec<u32>,
    lines_us: Vec<f64>,
    tiles: Vec<(TileKernel, ConversionTimes)>,
    n_outputs: u64,
    n_rounds: u64,
}

impl Watch {
    /// `None` where the chip lacks cells of a tile, or the target has a clock.
    pub(super) fn new(
        plan: &ExecutionPlan,
        (chip, target): (&Chip, &Target),
        id: LayerId,
        layer: &PlanLayer,
        layout: &Layout,
    ) -> Option<Self> {
        let timed = target.readout.self_timed?;
        let nest = &layer.nest;
        let strides = strides(layout.padded());
        let extents: Vec<usize> = nest.positions.iter().filter_map(|e| e.for_batch(1)).collect();
        let mut rows = numbered(LoopRef::Group, &nest.groups);
        rows.extend(numbered(LoopRef::Row, &nest.rows));
        let lines = offsets(&nest.input, &strides, &rows);
        let positions = offsets(&nest.input, &strides, &numbered(LoopRef::Position, &extents));
        let n_rows = extents.iter().copied().find(|&extent| extent > 1).unwrap_or(1);
        let scheme = Scheme { subtract: plan.subtract, conversion: plan.conversion };
        let mut drives = Vec::new();
        for (step, kind) in plan.steps.iter().map(|(step, own)| (step, &own.kind)) {
            let StepKind::Waves { layer, tiles, positions, conversions, .. } = kind else {
                continue;
            };
            if *layer != id {
                continue;
            }
            let first = &plan.tiles[*tiles.first()?].place;
            let n_matrix_rows = nest.n_rows();
            let of_group = |group: u32| {
                first.rows.clone().map(move |row| group as usize * n_matrix_rows + row as usize)
            };
            let own: Vec<u32> =
                first.groups.clone().flat_map(of_group).map(|nth| lines[nth]).collect();
            let mut lines_us = vec![0.0; own.len()];
            let mut kernels = Vec::new();
            for &tile in tiles {
                let (place, adc) = (&plan.tiles[tile].place, &plan.tiles[tile].adc);
                let kernel = TileKernel::new(chip, place, adc, scheme)?;
                kernels.push((kernel, ConversionTimes::new(adc, &timed)));
                for (us, line) in lines_us.iter_mut().zip(place.input_line..) {
                    *us += chip.line_us(place, line);
                }
            }
            drives.push(Drive {
                step,
                positions: *positions,
                lines: own,
                lines_us,
                tiles: kernels,
                n_outputs: conversions.last().map_or(0, |lines| lines.end.into()),
                n_rounds: conversions.len() as u64,
            });
        }
        Some(Self {
            drives,
            bits: layer.coding.bits,
            positions_per_row: (positions.len() / n_rows).max(1),
            positions,
            timed,
            n_adcs: target.readout.adcs_per_pe as usize,
            volts2: target.cell.read_voltage_v * target.cell.read_voltage_v,
            seen: Mutex::default(),
        })
    }

    /// Looks at the waves of one input, whose codes come as their low and high
    /// eight bits.
    pub(super) fn see(&self, input: u64, octets: &[Vec<u8>]) {
        let code = |place: u32| {
            let octet =
                |codes: &Vec<u8>| u16::from(codes.get(place as usize).copied().unwrap_or(0));
            octets.iter().rev().fold(0, |code, codes| code << 8 | octet(codes))
        };
        let mut events = InputEvents::default();
        let mut scratch = Scratch::default();
        // Of each plane, when each ADC is done with what it has converted.
        let mut adcs_ps = vec![0u64; usize::from(self.bits) * self.n_adcs];
        for drive in &self.drives {
            let n_rows = self.positions.len().div_ceil(self.positions_per_row);
            let mut rows_ps = vec![0; n_rows];
            let mut codes = vec![0; drive.lines.len()];
            for position in drive.positions.iter() {
                for (own, line) in codes.iter_mut().zip(&drive.lines) {
                    *own = code(self.positions[position] + line);
                }
                let driven = codes.iter().fold(0, |all, code| all | code);
                if driven != 0 {
                    adcs_ps.fill(0);
                    self.convert(drive, &codes, &mut scratch, &mut adcs_ps);
                }
                rows_ps[position / self.positions_per_row] +=
                    self.wave(drive, &codes, driven, &adcs_ps, &mut events);
            }
            events.rows_ps.insert(drive.step, rows_ps);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(input, events);
    }

    /// When ADCs are done, plane by plane.
    fn convert(&self, drive: &Drive, codes: &[u16], scratch: &mut Scratch, adcs_ps: &mut [u64]) {
        let mut first = 0;
        for (kernel, times) in &drive.tiles {
            kernel.currents(codes, self.bits, scratch, |bit, currents| {
                let own = &mut adcs_ps[bit * self.n_adcs..(bit + 1) * self.n_adcs];
                for (output, &us) in (first..).zip(currents) {
                    own[output % self.n_adcs] += times.of(us);
                }
            });
            first += kernel.n_values();
        }
    }

    /// The time of a wave; counts what it does.
    fn wave(
        &self,
        drive: &Drive,
        codes: &[u16],
        driven: u16,
        adcs_ps: &[u64],
        events: &mut InputEvents,
    ) -> u64 {
        let ps = |ns: f64| (ns * 1000.0).round() as u64;
        let mut wave_ps = ps(self.timed.handshake_ns);
        for bit in 0..usize::from(self.bits) {
            if driven >> bit & 1 == 0 {
                wave_ps += ps(self.timed.skip_ns);
                events.rounds_skipped += drive.n_rounds;
                continue;
            }
            let own = &adcs_ps[bit * self.n_adcs..(bit + 1) * self.n_adcs];
            let converting_ps = own.iter().copied().max().unwrap_or(0);
            let plane_ps = ps(self.timed.settle_ns) + converting_ps;
            let lines =
                codes.iter().zip(&drive.lines_us).filter(|(code, _)| **code >> bit & 1 == 1);
            let us: f64 = lines.map(|(_, us)| us).sum();
            // Microwatts times picoseconds are attojoules.
            events.array_pj += self.volts2 * us * plane_ps as f64 * 1e-6;
            events.rounds += drive.n_rounds;
            events.conversions += drive.n_outputs;
            wave_ps += plane_ps;
        }
        wave_ps
    }

    /// What was seen of every input, by its number; it is forgotten here.
    pub(super) fn take(&self) -> BTreeMap<u64, InputEvents> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InputEvents {
    /// Adds what another layer took for the same input.
    pub(super) fn join(&mut self, other: Self) {
        self.rows_ps.extend(other.rows_ps);
        self.rounds += other.rounds;
        self.rounds_skipped += other.rounds_skipped;
        self.conversions += other.conversions;
        self.array_pj += other.array_pj;
    }
}
