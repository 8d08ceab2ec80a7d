//! Rows about layers: those on arrays one by one, digital ones by operator.

use std::collections::BTreeMap;

use super::work::Work;
use crate::entity::{LayerId, PeId};
use crate::graph::{LayerGraph, LayerKind};
use crate::quantize::InputCoding;
use crate::schedule::ExecutionPlan;

/// A crossbar layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRow {
    /// Its id in every dump.
    pub id: LayerId,
    /// Name of the ONNX node.
    pub name: String,
    /// What it was: `conv 3x3 stride 2`, `product`.
    pub description: String,
    /// Blocks on the diagonal of its matrix.
    pub n_groups: usize,
    /// Inputs of one block.
    pub n_rows: usize,
    /// Outputs of one block.
    pub n_columns: usize,
    /// Weights of one copy.
    pub n_weights: u64,
    /// Output positions of one input.
    pub n_positions: usize,
    /// Multiply-accumulates for one input, padding included.
    pub macs: u64,
    /// Copies of the matrix.
    pub n_replicas: u32,
    /// Tiles of all copies.
    pub n_tiles: usize,
    /// PEs that hold them, in order.
    pub pes: Vec<PeId>,
    /// Cells taken by tiles of all copies.
    pub cells: u64,
    /// Those of them that hold weights.
    pub cells_of_weights: u64,
    /// How inputs become codes.
    pub coding: InputCoding,
    /// What one input takes.
    pub work: Work,
}

/// Digital layers of one operator, and of one reason for not being on arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigitalRow {
    /// Name of the operator.
    pub op: String,
    /// Why these layers, which multiply, are not on arrays; empty for others.
    pub reason: String,
    /// The layers, in canonical order, with the names of their ONNX nodes.
    pub layers: Vec<(LayerId, String)>,
    /// Multiply-accumulates for one input, as far as they are known.
    pub macs: u64,
}

pub(super) fn crossbar_rows(
    graph: &LayerGraph,
    plan: &ExecutionPlan,
    work: &BTreeMap<LayerId, Work>,
) -> Vec<LayerRow> {
    let row = |(&id, layer): (&LayerId, &crate::schedule::PlanLayer)| {
        let tiles: Vec<_> =
            plan.tiles.values().map(|tile| &tile.place).filter(|tile| tile.layer == id).collect();
        let mut pes: Vec<PeId> = tiles.iter().map(|tile| tile.pe).collect();
        pes.sort_unstable();
        pes.dedup();
        let nest = &layer.nest;
        LayerRow {
            id,
            name: layer.name.clone(),
            description: graph.crossbar(id).map(|c| c.description.clone()).unwrap_or_default(),
            n_groups: nest.n_groups(),
            n_rows: nest.n_rows(),
            n_columns: nest.n_columns(),
            n_weights: layer.levels.len() as u64,
            n_positions: nest.positions_per_input(),
            macs: nest.macs_per_input(),
            n_replicas: layer.n_replicas,
            n_tiles: tiles.len(),
            pes,
            cells: tiles.iter().map(|tile| tile.n_cells()).sum(),
            cells_of_weights: tiles.iter().map(|tile| tile.n_weight_cells()).sum(),
            coding: layer.coding,
            work: work.get(&id).copied().unwrap_or_default(),
        }
    };
    plan.layers.iter().map(row).collect()
}

pub(super) fn digital_rows(graph: &LayerGraph) -> Vec<DigitalRow> {
    let mut rows: BTreeMap<(&str, &str), DigitalRow> = BTreeMap::new();
    for (id, layer) in graph.layers() {
        let LayerKind::Digital(digital) = &layer.kind else { continue };
        let row = rows.entry((&digital.op, &digital.reason)).or_insert_with(|| DigitalRow {
            op: digital.op.clone(),
            reason: digital.reason.clone(),
            layers: Vec::new(),
            macs: 0,
        });
        row.layers.push((id, layer.name.clone()));
        row.macs = row.macs.saturating_add(digital.macs_per_input);
    }
    rows.into_values().collect()
}
