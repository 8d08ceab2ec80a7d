//! The work of one input, told apart by layer and by PE.
//!
//! [`ExecutionPlan::counts`] says how much it is in all; the sums here add up
//! to the same.

use std::collections::BTreeMap;

use crate::entity::{LayerId, PeId};
use crate::mapping::length;
use crate::schedule::{ExecutionPlan, StepKind};

/// Work on the arrays for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Output positions driven through groups of tiles.
    pub waves: u64,
    /// Bit-planes driven.
    pub planes: u64,
    /// Conversions made.
    pub conversions: u64,
    /// Cycles in which a PE is driven, summed over PEs.
    pub pe_cycles: u64,
    /// The first cycle in which a PE is driven, for one input alone.
    pub start_cycle: u64,
    /// The cycle after the last.
    pub end_cycle: u64,
}

impl Work {
    fn add(&mut self, other: Self) {
        let first = self.pe_cycles == 0;
        self.waves += other.waves;
        self.planes += other.planes;
        self.conversions += other.conversions;
        self.pe_cycles += other.pe_cycles;
        self.start_cycle =
            if first { other.start_cycle } else { self.start_cycle.min(other.start_cycle) };
        self.end_cycle = self.end_cycle.max(other.end_cycle);
    }
}

/// Work by layer, and by PE.
pub(super) fn tally(plan: &ExecutionPlan) -> (BTreeMap<LayerId, Work>, BTreeMap<PeId, Work>) {
    let mut by_layer: BTreeMap<LayerId, Work> = BTreeMap::new();
    let mut by_pe: BTreeMap<PeId, Work> = BTreeMap::new();
    for step in plan.steps.values() {
        let StepKind::Waves { layer, tiles, positions, planes, conversions } = &step.kind else {
            continue;
        };
        let waves = u64::from(length(positions));
        let planes = waves * planes.len() as u64;
        let converted: u64 = conversions.iter().map(|lines| u64::from(length(lines))).sum();
        let work = Work {
            waves,
            planes,
            conversions: planes * converted,
            pe_cycles: step.cycles,
            start_cycle: step.start,
            end_cycle: step.start + step.cycles,
        };
        // What drives the same cells is one row.
        let matrix = plan.layers.get(layer).map_or(*layer, |layer| layer.matrix);
        by_layer.entry(matrix).or_default().add(work);
        // Tiles driven together are on one PE: invariant 6 of the plan.
        if let Some(tile) = tiles.first().and_then(|&tile| plan.tiles.get(tile)) {
            by_pe.entry(tile.place.pe).or_default().add(work);
        }
    }
    (by_layer, by_pe)
}
