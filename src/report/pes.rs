//! Rows about PEs: what each holds, how many of its lines, how long it works.

use std::collections::BTreeMap;
use std::ops::Range;

use super::work::Work;
use crate::entity::{LayerId, PeId};
use crate::mapping::WeightTile;
use crate::schedule::ExecutionPlan;

/// A PE that holds weights.
#[derive(Debug, Clone, PartialEq)]
pub struct PeRow {
    /// Its id in every dump.
    pub id: PeId,
    /// Tiles in it.
    pub n_tiles: usize,
    /// Input lines that some tile takes.
    pub n_input_lines: u32,
    /// Output lines that some tile takes.
    pub n_output_lines: u32,
    /// Cells taken by tiles.
    pub cells: u64,
    /// What one input takes of it.
    pub work: Work,
    /// Layers in it, in canonical order.
    pub residents: Vec<Resident>,
}

/// What a PE holds of one copy of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// The layer.
    pub layer: LayerId,
    /// Name of the ONNX node.
    pub name: String,
    /// Which copy, from 0; `None` where there is one.
    pub replica: Option<u32>,
    /// Its tiles here.
    pub n_tiles: usize,
    /// Output lines that they take.
    pub n_output_lines: u32,
}

pub(super) fn rows(plan: &ExecutionPlan, work: &BTreeMap<PeId, Work>) -> Vec<PeRow> {
    let mut held: BTreeMap<PeId, Vec<&WeightTile>> = BTreeMap::new();
    for tile in plan.tiles.values() {
        held.entry(tile.place.pe).or_default().push(&tile.place);
    }
    let row = |(id, tiles): (PeId, Vec<&WeightTile>)| PeRow {
        id,
        n_tiles: tiles.len(),
        n_input_lines: covered(tiles.iter().map(|t| input_lines(t))),
        n_output_lines: covered(tiles.iter().map(|t| output_lines(t))),
        cells: tiles.iter().map(|tile| tile.n_cells()).sum(),
        work: work.get(&id).copied().unwrap_or_default(),
        residents: residents(plan, &tiles),
    };
    held.into_iter().map(row).collect()
}

fn residents(plan: &ExecutionPlan, tiles: &[&WeightTile]) -> Vec<Resident> {
    let mut held: BTreeMap<(LayerId, u32), Vec<&WeightTile>> = BTreeMap::new();
    for &tile in tiles {
        held.entry((tile.layer, tile.replica)).or_default().push(tile);
    }
    let resident = |((layer, replica), tiles): ((LayerId, u32), Vec<&WeightTile>)| {
        let plan_layer = plan.layers.get(&layer);
        Resident {
            layer,
            name: plan_layer.map(|layer| layer.name.clone()).unwrap_or_default(),
            replica: plan_layer.is_some_and(|layer| layer.n_replicas > 1).then_some(replica),
            n_tiles: tiles.len(),
            n_output_lines: covered(tiles.iter().map(|t| output_lines(t))),
        }
    };
    held.into_iter().map(resident).collect()
}

fn input_lines(tile: &WeightTile) -> Range<u32> {
    tile.input_line..tile.input_line + tile.n_inputs()
}

fn output_lines(tile: &WeightTile) -> Range<u32> {
    tile.output_line..tile.output_line + tile.n_outputs()
}

/// Lines that at least one of the ranges covers: tiles above each other share
/// output lines, tiles beside each other share input lines.
fn covered(ranges: impl Iterator<Item = Range<u32>>) -> u32 {
    let mut ranges: Vec<Range<u32>> = ranges.collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut n_lines, mut end) = (0, 0);
    for range in ranges {
        n_lines += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    n_lines
}
