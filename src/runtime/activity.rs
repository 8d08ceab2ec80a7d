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
use crate::mapping::{Positions, WeightTile};
use crate::schedule::{Effort, ExecutionPlan, PlanLayer, StepKind};
use crate::target::{Cell, Conversion};

/// What the arrays of a chip have done: energy by the physics of their cells,
/// and work that is known of real inputs only.
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
    /// Conversions made.
    pub conversions: u64,
    /// Cycles in which PEs were driven, or converted.
    pub pe_cycles: u64,
}

impl ArrayEnergy {
    /// Nothing done yet.
    pub(super) const NONE: Self = Self {
        n_inputs: 0,
        total_pj: 0.0,
        layers: Vec::new(),
        bits_one: 0,
        bits: 0,
        conversions: 0,
        pe_cycles: 0,
    };

    /// The mean of an input, in pJ.
    pub fn pj_per_input(&self) -> f64 {
        self.total_pj / self.n_inputs.max(1) as f64
    }

    /// The share of bits that were 1, 0 to 1.
    pub fn share_of_ones(&self) -> f64 {
        self.bits_one as f64 / self.bits.max(1) as f64
    }

    /// Conversions of an input, in the mean.
    pub fn conversions_per_input(&self) -> f64 {
        self.conversions as f64 / self.n_inputs.max(1) as f64
    }

    /// PE cycles of an input, in the mean.
    pub fn pe_cycles_per_input(&self) -> f64 {
        self.pe_cycles as f64 / self.n_inputs.max(1) as f64
    }
}

/// Lines that waves drive together: groups and rows of their tiles.
type LineSet = (Range<u32>, Range<u32>);

/// Bits of one layer's codes that were 1, by line.
#[derive(Debug)]
pub(super) struct Activity {
    /// Where the code of each line is, `[group][row]`, and of each position.
    lines: Vec<u32>,
    positions: Vec<u32>,
    n_rows: usize,
    /// Positions of each replica.
    shares: Vec<Positions>,
    /// Lines that are driven together.
    sets: Vec<LineSet>,
    /// Planes that are looked at from the highest driven one on; `None` for
    /// all, whatever is driven.
    n_significant: Option<u8>,
    /// `[share][line]`, over all inputs.
    ones: Vec<AtomicU64>,
    /// Planes looked at, `[share][set]`, over all inputs.
    planes: Vec<AtomicU64>,
    /// Sums converted of those that were compared before.
    converted: AtomicU64,
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
        let mut shares: Vec<Positions> = waves_of(plan, id).map(|waves| waves.positions).collect();
        shares.sort_unstable();
        shares.dedup();
        let mut sets: Vec<LineSet> =
            waves_of(plan, id).filter_map(|waves| waves.places.first().map(set)).collect();
        sets.sort_unstable_by_key(|(groups, rows)| (groups.start, rows.start, rows.end));
        sets.dedup();
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self {
            ones: zeros(shares.len() * lines.len()),
            planes: zeros(shares.len() * sets.len()),
            n_rows: nest.n_rows(),
            lines,
            positions,
            shares,
            sets,
            n_significant: match plan.conversion {
                Conversion::Significant(n_planes) => Some(n_planes),
                Conversion::EveryPlane | Conversion::Accumulated => None,
            },
            converted: AtomicU64::new(0),
            n_inputs: AtomicU64::new(0),
        }
    }

    /// Counts one input, whose codes come as their low and high eight bits.
    pub(super) fn count(&self, octets: &[Vec<u8>]) {
        for share in 0..self.shares.len() {
            match self.n_significant {
                None => self.count_all(share, octets),
                Some(n_planes) => self.count_significant(share, n_planes, octets),
            }
        }
        self.n_inputs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts sums that were converted after they had been compared.
    pub(super) fn count_converted(&self, n_sums: u64) {
        self.converted.fetch_add(n_sums, Ordering::Relaxed);
    }

    /// Every bit that is 1.
    fn count_all(&self, share: usize, octets: &[Vec<u8>]) {
        let positions: Vec<u32> = self.positions_of(share).collect();
        for (line, counter) in self.lines.iter().zip(self.counters(share)) {
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

    /// Those in the highest planes of each wave.
    fn count_significant(&self, share: usize, n_planes: u8, octets: &[Vec<u8>]) {
        let counters = self.counters(share);
        let code = |place: u32| {
            let octet =
                |codes: &Vec<u8>| u32::from(codes.get(place as usize).copied().unwrap_or(0));
            octets.iter().rev().fold(0, |code, codes| code << 8 | octet(codes))
        };
        for (nth, set) in self.sets.iter().enumerate() {
            let mut n_looked_at = 0;
            let lines: Vec<usize> = self.lines_of(set).collect();
            let mut ones = vec![0u64; lines.len()];
            for position in self.positions_of(share) {
                let driven =
                    lines.iter().fold(0, |all, &line| all | code(position + self.lines[line]));
                let highest = u32::BITS - driven.leading_zeros();
                let least = highest.saturating_sub(n_planes.into());
                n_looked_at += u64::from(highest - least);
                for (ones, &line) in ones.iter_mut().zip(&lines) {
                    *ones += u64::from((code(position + self.lines[line]) >> least).count_ones());
                }
            }
            for (ones, line) in ones.into_iter().zip(lines) {
                counters[line].fetch_add(ones, Ordering::Relaxed);
            }
            self.planes[share * self.sets.len() + nth].fetch_add(n_looked_at, Ordering::Relaxed);
        }
    }

    /// Where the codes of a share's positions are.
    fn positions_of(&self, share: usize) -> impl Iterator<Item = u32> {
        self.shares[share].iter().filter_map(|position| self.positions.get(position).copied())
    }

    fn counters(&self, share: usize) -> &[AtomicU64] {
        let n_lines = self.lines.len();
        &self.ones[share * n_lines..(share + 1) * n_lines]
    }

    /// Numbers of a set's lines.
    fn lines_of(&self, (groups, rows): &LineSet) -> impl Iterator<Item = usize> {
        let (n_rows, rows) = (self.n_rows, rows.clone());
        let of_group =
            move |group: u32| rows.clone().map(move |row| group as usize * n_rows + row as usize);
        groups.clone().flat_map(of_group)
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
        let compares = plan.layers.get(&id).is_some_and(|layer| layer.stage.is_some());
        let mut layer_pj = 0.0;
        for waves in waves_of(plan, id) {
            let share = self.shares.iter().position(|share| *share == waves.positions);
            let own_set = waves.places.first().map(set);
            let nth_set = self.sets.iter().position(|set| Some(set) == own_set.as_ref());
            let (Some(share), Some(nth_set)) = (share, nth_set) else { continue };
            let Effort { outputs, rounds, .. } = waves.effort;
            if self.n_significant.is_some() {
                let planes = &self.planes[share * self.sets.len() + nth_set];
                let planes = planes.load(Ordering::Relaxed);
                energy.conversions += planes * outputs;
                energy.pe_cycles += planes * rounds;
            } else {
                let conversions = if compares { 0 } else { waves.effort.conversions() };
                energy.conversions += n_inputs * conversions;
                energy.pe_cycles += n_inputs * waves.effort.cycles();
            }
            let volts2 = cell.read_voltage_v * cell.read_voltage_v;
            // Microwatts times nanoseconds are femtojoules.
            let pj_per_us = volts2 * plan.cycle_ns * waves.effort.rounds_driven() as f64 / 1000.0;
            for place in waves.places {
                for (line, nth) in (place.input_line..).zip(self.lines_of(&set(&place))) {
                    let at = share * self.lines.len() + nth;
                    let ones = self.ones.get(at).map_or(0, |ones| ones.load(Ordering::Relaxed));
                    layer_pj += ones as f64 * chip.line_us(place, line) * pj_per_us;
                    energy.bits_one += ones;
                    energy.bits += n_inputs * waves.effort.planes();
                }
            }
        }
        energy.conversions += self.converted.load(Ordering::Relaxed);
        energy.n_inputs = energy.n_inputs.max(n_inputs);
        energy.total_pj += layer_pj;
        energy.layers.push((id, layer_pj));
    }
}

/// A step of waves.
struct Waves<'a> {
    places: Vec<&'a WeightTile>,
    positions: Positions,
    effort: Effort,
}

fn waves_of(plan: &ExecutionPlan, id: LayerId) -> impl Iterator<Item = Waves<'_>> {
    plan.steps.values().filter_map(move |step| match &step.kind {
        StepKind::Waves { layer, tiles, positions, .. } if *layer == id => {
            let places = tiles.iter().filter_map(|&tile| plan.tiles.get(tile));
            Some(Waves {
                places: places.map(|tile| &tile.place).collect(),
                positions: *positions,
                effort: plan.effort(&step.kind)?,
            })
        }
        _ => None,
    })
}

fn set(place: &&WeightTile) -> LineSet {
    (place.groups.clone(), place.rows.clone())
}
