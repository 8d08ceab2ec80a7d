//! The work of one input, told apart by layer and by PE.
//!
//! [`ExecutionPlan::counts`] says how much it is in all; the sums here add up
//! to the same.

use std::collections::BTreeMap;

use crate::entity::{LayerId, PeId, WeightTileId};
use crate::schedule::{ExecutionPlan, StepKind};
use crate::target::Target;

/// Work on the arrays for one input.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Output positions driven through groups of tiles.
    pub waves: u64,
    /// Bit-planes driven.
    pub planes: u64,
    /// Conversions made.
    pub conversions: u64,
    /// Cycles in which a PE is driven or converted, summed over PEs.
    pub pe_cycles: u64,
    /// Those in which lines are driven, and in which ADCs convert.
    pub driven_cycles: u64,
    /// See [`Self::driven_cycles`].
    pub converting_cycles: u64,
    /// Sums compared before conversion.
    pub comparisons: u64,
    /// Conversions, each as often as its energy is that of the target's.
    pub adc_weight: f64,
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
        self.driven_cycles += other.driven_cycles;
        self.converting_cycles += other.converting_cycles;
        self.comparisons += other.comparisons;
        self.adc_weight += other.adc_weight;
        self.start_cycle =
            if first { other.start_cycle } else { self.start_cycle.min(other.start_cycle) };
        self.end_cycle = self.end_cycle.max(other.end_cycle);
    }
}

/// Conversions of tiles that are driven together, those of ADCs of other bits
/// than the target's as often as their energy is that of these.
fn adc_weight(
    plan: &ExecutionPlan,
    tiles: &[WeightTileId],
    conversions: u64,
    target: &Target,
) -> f64 {
    let Some(costs) = &target.costs else { return conversions as f64 };
    let (mut own, mut all, mut alike) = (0.0, 0.0, true);
    for &tile in tiles {
        let n = f64::from(plan.n_conversions(tile));
        let pj = costs.conversion_pj(plan.tiles[tile].adc.bits());
        alike &= pj == costs.adc_pj_per_conversion;
        own += n * pj;
        all += n * costs.adc_pj_per_conversion;
    }
    if alike || all == 0.0 { conversions as f64 } else { conversions as f64 * own / all }
}

/// Work by layer, and by PE.
pub(super) fn tally(
    plan: &ExecutionPlan,
    target: &Target,
) -> (BTreeMap<LayerId, Work>, BTreeMap<PeId, Work>) {
    let mut by_layer: BTreeMap<LayerId, Work> = BTreeMap::new();
    let mut by_pe: BTreeMap<PeId, Work> = BTreeMap::new();
    for step in plan.steps.values() {
        let StepKind::Waves { layer, tiles, .. } = &step.kind else { continue };
        let Some(effort) = plan.effort(&step.kind) else { continue };
        let work = Work {
            waves: effort.waves,
            planes: effort.planes(),
            conversions: effort.conversions(),
            pe_cycles: step.cycles,
            driven_cycles: effort.driven_cycles(),
            converting_cycles: effort.converting_cycles(),
            comparisons: effort.comparisons(),
            adc_weight: adc_weight(plan, tiles, effort.conversions(), target),
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
