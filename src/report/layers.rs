//! Rows about layers: those on arrays one by one, digital ones by operator.

use std::collections::BTreeMap;

use super::work::Work;
use crate::entity::{LayerId, PeId};
use crate::graph::{LayerGraph, LayerKind, Obstacle};
use crate::mapping::Unrolling;
use crate::quantize::InputCoding;
use crate::schedule::{AnalogStage, ExecutionPlan, StageObstacle, analog_stage};
use crate::target::Target;

/// A crossbar layer, or all that drive the same cells.
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
    /// Inputs of one block, as it is unrolled.
    pub n_rows: usize,
    /// Outputs of one block, as it is unrolled.
    pub n_columns: usize,
    /// Weights of the model.
    pub n_weights: u64,
    /// Output positions that one wave makes, by loop: `2x4`; `None` for one.
    pub window: Option<String>,
    /// Output positions of one input, in each step of a loop.
    pub n_positions: usize,
    /// Times that one input drives it: steps of a loop, 1 outside.
    pub n_steps: usize,
    /// Multiply-accumulates for one input in all steps, padding included.
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

/// What is behind a layer that comparisons of its sums could do, and whether
/// they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRow {
    /// The layer.
    pub id: LayerId,
    /// Name of the ONNX node.
    pub name: String,
    /// What is done before conversion, or why it is not.
    pub stage: Result<AnalogStage, StageObstacle>,
}

pub(super) fn stage_rows(
    graph: &LayerGraph,
    plan: &ExecutionPlan,
    target: &Target,
) -> Vec<StageRow> {
    let row = |(&id, layer): (&LayerId, &crate::schedule::PlanLayer)| {
        let places = plan.tiles.values().map(|tile| &tile.place);
        let stage = match &layer.stage {
            Some(stage) => Ok(stage.clone()),
            None => Err(analog_stage(graph, places, target, (id, layer)).err()?),
        };
        Some(StageRow { id, name: layer.name.clone(), stage })
    };
    plan.layers.iter().filter_map(row).collect()
}

/// Digital layers of one operator, and of one reason for not being on arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigitalRow {
    /// Name of the operator.
    pub op: String,
    /// Why these layers, which multiply, are not on arrays; `None` for others.
    pub obstacle: Option<Obstacle>,
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
    let mut steps: BTreeMap<LayerId, usize> = BTreeMap::new();
    for layer in plan.layers.values() {
        *steps.entry(layer.matrix).or_default() += 1;
    }
    let row = |(&id, layer): (&LayerId, &crate::schedule::PlanLayer)| {
        let n_steps = steps.get(&id).copied().unwrap_or(1);
        let tiles: Vec<_> =
            plan.tiles.values().map(|tile| &tile.place).filter(|tile| tile.layer == id).collect();
        let mut pes: Vec<PeId> = tiles.iter().map(|tile| tile.pe).collect();
        pes.sort_unstable();
        pes.dedup();
        let (nest, unrolled) = (&layer.nest, layer.unrolled.as_ref());
        let kernel = unrolled.map_or(nest, |unrolling| &unrolling.kernel);
        let n_weights = (kernel.n_groups() * kernel.n_rows() * kernel.n_columns()) as u64;
        let cells_of_weights = match unrolled {
            None => tiles.iter().map(|tile| tile.n_weight_cells()).sum(),
            // Off the kernels, a window has cells that hold none.
            Some(unrolling) => {
                let copies = unrolling.n_positions() as u64 * u64::from(layer.n_replicas);
                2 * n_weights * copies * u64::from(layer.n_slices())
            }
        };
        LayerRow {
            id,
            name: layer.name.clone(),
            description: description(graph, id, n_steps, unrolled),
            n_groups: nest.n_groups(),
            n_rows: nest.n_rows(),
            n_columns: nest.n_columns(),
            n_weights,
            window: unrolled.map(Unrolling::window_text),
            n_positions: kernel.positions_per_input(),
            n_steps,
            macs: kernel.macs_per_input().saturating_mul(n_steps as u64),
            n_replicas: layer.n_replicas,
            n_tiles: tiles.len(),
            pes,
            cells: tiles.iter().map(|tile| tile.n_cells()).sum(),
            cells_of_weights,
            coding: layer.coding,
            work: work.get(&id).copied().unwrap_or_default(),
        }
    };
    plan.layers.iter().filter(|(id, layer)| layer.matrix == **id).map(row).collect()
}

/// `product`, `product, 48 steps`, `conv 3x3, 2x4 a wave`
fn description(
    graph: &LayerGraph,
    id: LayerId,
    n_steps: usize,
    unrolled: Option<&Unrolling>,
) -> String {
    let what = graph.crossbar(id).map(|c| c.description.clone()).unwrap_or_default();
    let what = if n_steps == 1 { what } else { format!("{what}, {n_steps} steps") };
    match unrolled {
        Some(unrolling) => format!("{what}, {} a wave", unrolling.window_text()),
        None => what,
    }
}

pub(super) fn digital_rows(graph: &LayerGraph) -> Vec<DigitalRow> {
    let mut rows: BTreeMap<(&str, &Option<Obstacle>), DigitalRow> = BTreeMap::new();
    for (id, layer) in graph.layers() {
        let LayerKind::Digital(digital) = &layer.kind else { continue };
        let row = rows.entry((&digital.op, &digital.obstacle)).or_insert_with(|| DigitalRow {
            op: digital.op.clone(),
            obstacle: digital.obstacle.clone(),
            layers: Vec::new(),
            macs: 0,
        });
        row.layers.push((id, layer.name.clone()));
        row.macs = row.macs.saturating_add(digital.macs_per_input);
    }
    rows.into_values().collect()
}
