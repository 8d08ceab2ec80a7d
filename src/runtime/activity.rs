//! Counts the bits that drive input lines, for the energy that arrays draw.
//!
//! A line at a 0 bit draws nothing; at a 1 bit it draws V^2 times the
//! conductance of every cell of the tile on it, for as long as the plane is
//! converted. So bits are counted line by line, and conductances added once.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{Layout, numbered, offsets, strides};
use crate::chip::Chip;
use crate::entity::LayerId;
use crate::graph::LoopRef;
use crate::mapping::WeightTile;
use crate::schedule::{ExecutionPlan, PlanLayer, StepKind};
use crate::target::Cell;

/// Energy that the arrays of a chip have drawn, by the physics of their cells.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayEnergy {
    /// Inputs that were run.
    pub n_inputs: u64,
    /// Of all of them, in pJ.
    pub total_pj: f64,
    /// By crossbar layer, in pJ.
    pub layers: Vec<(LayerId, f64)>,
    /// Bits that were 1, counted once for each tile that they drive.
    pub bits_one: u64,
    /// Bits in all.
    pub bits: u64,
}

impl ArrayEnergy {
    /// The mean of an input, in pJ.
    pub fn pj_per_input(&self) -> f64 {
        self.total_pj / self.n_inputs.max(1) as f64
    }

    /// The share of bits that were 1, 0 to 1.
    pub fn share_of_ones(&self) -> f64 {
        self.bits_one as f64 / self.bits.max(1) as f64
    }
}

/// Bits of one layer's codes that were 1, by line.
#[derive(Debug)]
pub(super) struct Activity {
    /// Where the code of each line is, `[group][row]`, and of each position.
    lines: Vec<u32>,
    positions: Vec<u32>,
    /// Positions of each replica.
    shares: Vec<Range<usize>>,
    /// `[share][line]`, over all inputs.
    ones: Vec<AtomicU64>,
    n_inputs: AtomicU64,
}

impl Activity {
    /// Nothing counted yet.
    pub(super) fn new(
        plan: &ExecutionPlan,
        id: LayerId,
        layer: &PlanLayer,
        layout: &Layout,
    ) -> Self {
        let nest = &layer.nest;
        let strides = strides(layout.padded());
        let extents: Vec<usize> = nest.positions.iter().filter_map(|e| e.for_batch(1)).collect();
        let mut rows = numbered(LoopRef::Group, &nest.groups);
        rows.extend(numbered(LoopRef::Row, &nest.rows));
        let lines = offsets(&nest.input, &strides, &rows);
        let positions = offsets(&nest.input, &strides, &numbered(LoopRef::Position, &extents));
        let mut shares: Vec<Range<usize>> = waves_of(plan, id)
            .map(|waves| waves.positions.start as usize..waves.positions.end as usize)
            .collect();
        shares.sort_unstable_by_key(|share| (share.start, share.end));
        shares.dedup();
        let ones = (0..shares.len() * lines.len()).map(|_| AtomicU64::new(0)).collect();
        Self { lines, positions, shares, ones, n_inputs: AtomicU64::new(0) }
    }

    /// Counts one input, whose codes come as their low and high eight bits.
    pub(super) fn count(&self, octets: &[Vec<u8>]) {
        let n_lines = self.lines.len();
        for (share, counters) in self.shares.iter().zip(self.ones.chunks(n_lines.max(1))) {
            let positions = self.positions.get(share.clone()).unwrap_or_default();
            for (&line, counter) in self.lines.iter().zip(counters) {
                let mut ones = 0;
                for codes in octets {
                    let code = |&position: &u32| codes.get((position + line) as usize);
                    ones += positions
                        .iter()
                        .filter_map(code)
                        .map(|c| u64::from(c.count_ones()))
                        .sum::<u64>();
                }
                counter.fetch_add(ones, Ordering::Relaxed);
            }
        }
        self.n_inputs.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what the layer has drawn to a chip's energy.
    pub(super) fn add_to(
        &self,
        energy: &mut ArrayEnergy,
        plan: &ExecutionPlan,
        id: LayerId,
        (chip, cell): (&Chip, &Cell),
    ) {
        let n_inputs = self.n_inputs.load(Ordering::Relaxed);
        let n_rows = plan.layers.get(&id).map_or(1, |layer| layer.nest.n_rows());
        let mut layer_pj = 0.0;
        for waves in waves_of(plan, id) {
            let range = waves.positions.start as usize..waves.positions.end as usize;
            let Some(share) = self.shares.iter().position(|share| *share == range) else {
                continue;
            };
            let volts2 = cell.read_voltage_v * cell.read_voltage_v;
            // Microwatts times nanoseconds are femtojoules.
            let pj_per_us = volts2 * plan.cycle_ns * waves.n_rounds as f64 / 1000.0;
            for place in waves.places {
                let groups = place.groups.clone();
                let rows = groups.flat_map(|g| place.rows.clone().map(move |row| (g, row)));
                for (line, (group, row)) in (place.input_line..).zip(rows) {
                    let nth = group as usize * n_rows + row as usize;
                    let at = share * self.lines.len() + nth;
                    let ones = self.ones.get(at).map_or(0, |ones| ones.load(Ordering::Relaxed));
                    layer_pj += ones as f64 * line_us(chip, place, line) * pj_per_us;
                    energy.bits_one += ones;
                    energy.bits += n_inputs * (range.len() * waves.n_planes) as u64;
                }
            }
        }
        energy.n_inputs = energy.n_inputs.max(n_inputs);
        energy.total_pj += layer_pj;
        energy.layers.push((id, layer_pj));
    }
}

/// A step of waves.
struct Waves<'a> {
    places: Vec<&'a WeightTile>,
    positions: &'a Range<u32>,
    n_planes: usize,
    n_rounds: usize,
}

fn waves_of(plan: &ExecutionPlan, id: LayerId) -> impl Iterator<Item = Waves<'_>> {
    plan.steps.values().filter_map(move |step| match &step.kind {
        StepKind::Waves { layer, tiles, positions, planes, conversions } if *layer == id => {
            let places = tiles.iter().filter_map(|&tile| plan.tiles.get(tile));
            Some(Waves {
                places: places.map(|tile| &tile.place).collect(),
                positions,
                n_planes: planes.len(),
                n_rounds: conversions.len(),
            })
        }
        _ => None,
    })
}

/// Conductance of a tile's cells on one input line together, as they are.
fn line_us(chip: &Chip, place: &WeightTile, line: u32) -> f64 {
    let n_outputs = chip.pe.outputs as usize;
    let start = line as usize * n_outputs + place.output_line as usize;
    let cells = chip.conductances_us.get(&place.pe);
    let cells = cells.and_then(|cells| cells.get(start..start + place.n_outputs() as usize));
    cells.unwrap_or_default().iter().map(|&us| f64::from(us)).sum()
}
