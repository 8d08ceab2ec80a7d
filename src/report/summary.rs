//! What is told of a plan in a few lines, without looking at times and energy
//! event by event.

use std::collections::BTreeSet;

use super::layers::{self, DigitalRow, LayerRow};
use super::pes::{self, PeRow};
use super::{numbers, work};
use crate::graph::LayerGraph;
use crate::mapping::pe_limit;
use crate::schedule::{Counts, ExecutionPlan, PlanLayer};
use crate::target::{ChipCount, Target};

/// The size of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How much of the chip is taken.
    pub footprint: Footprint,
    /// Multiply-accumulates for one input, by where they are done.
    pub macs: Macs,
    /// Layers on arrays.
    pub n_layers: usize,
    /// Cycles and conversions of one input.
    pub counts: Counts,
}

impl Summary {
    /// Counts what a plan takes.
    pub fn new(graph: &LayerGraph, plan: &ExecutionPlan, target: &Target) -> Self {
        let (by_layer, by_pe) = work::tally(plan, target);
        let layers = layers::crossbar_rows(graph, plan, &by_layer);
        Self {
            footprint: Footprint::new(plan, target, &layers, &pes::rows(plan, &by_pe)),
            macs: Macs::new(&layers, &layers::digital_rows(graph)),
            n_layers: layers.len(),
            counts: plan.counts(),
        }
    }
}

/// How much of the chip is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// PEs that hold weights.
    pub n_pes_used: usize,
    /// PEs of the chip; `None` where a model gets as many as it takes.
    pub n_pes_available: Option<u32>,
    /// Chips that have such PEs.
    pub n_chips_used: usize,
    /// Chips of the target; `None` where a model gets as many as it takes.
    pub n_chips_available: Option<u32>,
    /// How often the chip is written for one run; PEs and cells of all passes
    /// are counted.
    pub n_passes: u32,
    /// Pairs that hold the most sliced weight.
    pub n_slices: u8,
    /// Cells of the chip; of the PEs in use where their number is not fixed.
    pub cells_total: u64,
    /// Cells taken by tiles.
    pub cells_used: u64,
    /// Cells that hold weights. The others that are used lie off the diagonal
    /// of block-diagonal tiles and hold zero.
    pub cells_of_weights: u64,
    /// Weights on the arrays, each replicated one counted once.
    pub n_weights: u64,
}

impl Footprint {
    pub(super) fn new(
        plan: &ExecutionPlan,
        target: &Target,
        layers: &[LayerRow],
        pes: &[PeRow],
    ) -> Self {
        let n_pes_used = pes.len();
        let n_pes_available = pe_limit(target);
        let n_pes =
            n_pes_available.map_or(n_pes_used as u64, |n| u64::from(n) * u64::from(plan.n_passes));
        let chips = plan.targets.keys().map(|&pe| target.chip.chip_of(plan.on_chip(pe).0));
        Self {
            n_pes_used,
            n_pes_available,
            n_chips_used: chips.collect::<BTreeSet<_>>().len(),
            n_chips_available: match target.chip.chips {
                ChipCount::Count(n) => Some(n),
                ChipCount::AsNeeded => None,
            },
            n_passes: plan.n_passes,
            n_slices: plan.layers.values().map(PlanLayer::n_slices).max().unwrap_or(1),
            cells_total: n_pes.saturating_mul(plan.pe.cells()),
            cells_used: total(layers, |layer| layer.cells),
            cells_of_weights: total(layers, |layer| layer.cells_of_weights),
            n_weights: total(layers, |layer| layer.n_weights),
        }
    }

    /// Whether the model fits the chip.
    pub fn fits(&self) -> bool {
        let n_passes = u64::from(self.n_passes);
        self.n_pes_available
            .is_none_or(|available| self.n_pes_used as u64 <= u64::from(available) * n_passes)
    }

    /// Cells that are used and hold no weight.
    pub fn cells_zero(&self) -> u64 {
        self.cells_used.saturating_sub(self.cells_of_weights)
    }
}

/// Multiply-accumulates for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macs {
    /// Of crossbar layers, padding included.
    pub on_arrays: u64,
    /// Of digital layers, as far as they are known.
    pub digital: u64,
}

impl Macs {
    pub(super) fn new(layers: &[LayerRow], digital: &[DigitalRow]) -> Self {
        Self {
            on_arrays: total(layers, |layer| layer.macs),
            digital: total(digital, |row| row.macs),
        }
    }

    /// The share done on arrays, 0 to 1; `None` for a model without any.
    pub fn share_on_arrays(&self) -> Option<f64> {
        numbers::share(self.on_arrays, self.on_arrays.saturating_add(self.digital))
    }
}

/// A sum over rows; saturating, because counts of a stranger's model may be
/// anything.
pub(super) fn total<R>(rows: &[R], count: impl Fn(&R) -> u64) -> u64 {
    rows.iter().map(count).fold(0, u64::saturating_add)
}
