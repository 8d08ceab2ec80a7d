//! Cells that are switched on together.

use std::collections::BTreeMap;

use crate::entity::{PeId, WeightTileId};
use crate::mapping::WeightTile;
use crate::schedule::{ExecutionPlan, StepKind};
use crate::target::IdleOutputs;

/// Cells of a PE that draw current at the same time: those of all its input
/// lines on these output lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circuit<'a> {
    pub pe: PeId,
    /// Ascending, each once.
    pub outputs: Vec<usize>,
    /// Tiles that are read.
    pub tiles: Vec<&'a WeightTile>,
}

/// The circuits of a plan; every tile that is driven is read in one of them.
pub(super) fn circuits(plan: &ExecutionPlan, idle: IdleOutputs) -> Vec<Circuit<'_>> {
    match idle {
        IdleOutputs::Connected => whole_pes(plan),
        IdleOutputs::GatedOff => driven_together(plan),
    }
}

/// All output lines of each PE.
fn whole_pes(plan: &ExecutionPlan) -> Vec<Circuit<'_>> {
    let mut tiles: BTreeMap<PeId, Vec<&WeightTile>> = BTreeMap::new();
    for tile in plan.tiles.values() {
        tiles.entry(tile.place.pe).or_default().push(&tile.place);
    }
    let outputs: Vec<usize> = (0..plan.pe.outputs as usize).collect();
    tiles.into_iter().map(|(pe, tiles)| Circuit { pe, outputs: outputs.clone(), tiles }).collect()
}

/// The output lines of the tiles that a step drives together. Layers that
/// share their cells drive the same tiles together.
fn driven_together(plan: &ExecutionPlan) -> Vec<Circuit<'_>> {
    let mut groups: Vec<&[WeightTileId]> = Vec::new();
    for step in plan.steps.values() {
        if let StepKind::Waves { tiles, .. } = &step.kind {
            groups.push(tiles);
        }
    }
    groups.sort_unstable();
    groups.dedup();
    let circuit = |ids: &[WeightTileId]| {
        let tiles: Vec<&WeightTile> =
            ids.iter().filter_map(|&id| plan.tiles.get(id)).map(|tile| &tile.place).collect();
        let lines = |place: &&WeightTile| {
            let first = place.output_line as usize;
            first..first + place.n_outputs() as usize
        };
        let mut outputs: Vec<usize> = tiles.iter().flat_map(lines).collect();
        outputs.sort_unstable();
        outputs.dedup();
        Some(Circuit { pe: tiles.first()?.pe, outputs, tiles })
    };
    groups.into_iter().filter_map(circuit).collect()
}
