//! Which layers' sums are compared before they are converted.
//!
//! A rectifier, a maximum over windows, or both of them, behind a layer can be
//! done with charges instead of codes, as all that they ask is which of two is
//! larger: an output's scale is positive, so its sums are in the order of its
//! results. It takes a layer whose whole sums are in one place: one tile has
//! all its inputs, weights are one slice, and no replica has other positions.
//! Nobody else may read what lies between.

use super::plan::PlanLayer;
use crate::entity::{LayerId, TensorId};
use crate::graph::{AxisReach, Comparison, Extent, LayerGraph, LayerKind};
use crate::mapping::WeightTile;
use crate::target::{AnalogStages, Target};

/// What is done with a layer's sums before they are converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalogStage {
    /// Sums whose results are not above zero are not converted: they are zero.
    pub rectifies: bool,
    /// Of each window only the largest is converted: the axes of the output
    /// tensor that windows have an extent along. None where every sum is.
    pub windows: Vec<WindowAxis>,
}

/// Windows along one axis of a layer's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowAxis {
    /// The axis.
    pub axis: usize,
    /// Indices of a window.
    pub extent: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Indices of the first window that lie in front of the tensor.
    pub padding: usize,
    /// How many windows.
    pub n_windows: usize,
}

impl AnalogStage {
    /// Sums of an output that are converted at most, of so many positions.
    pub fn n_sums(&self, n_positions: u64) -> u64 {
        match self.windows.as_slice() {
            [] => n_positions,
            axes => axes.iter().fold(1, |n, axis| axis.n_windows as u64 * n),
        }
    }
}

impl AnalogStage {
    /// Comparisons of an output, of so many positions.
    pub fn n_compared(&self, n_positions: u64) -> u64 {
        let looked_at = |axes: &[WindowAxis]| {
            let along = |axis: &WindowAxis| axis.n_windows as u64 * axis.extent as u64;
            axes.iter().map(along).fold(1, u64::saturating_mul)
        };
        if self.windows.is_empty() { n_positions } else { looked_at(&self.windows) }
    }
}

/// What keeps a layer's sums from being compared as charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageObstacle {
    /// Several tiles hold its inputs.
    #[error("its sums are of several tiles")]
    SeveralTiles,
    /// Its weights are digits.
    #[error("its weights are several slices")]
    Slices,
    /// Replicas share its positions.
    #[error("replicas share its positions")]
    Replicas,
    /// A wave makes several positions, each in columns of its own.
    #[error("a wave makes several of its positions")]
    Unrolled,
    /// An output of no weights has the scale 0.
    #[error("an output's scale is not above zero")]
    Scales,
    /// Other layers drive the same cells.
    #[error("other layers have its cells")]
    SharedCells,
}

/// The stage of a layer on a target; `None` where nothing is behind it that
/// comparisons could do.
///
/// # Errors
///
/// Something is, and it cannot be done before conversion.
pub fn analog_stage<'a>(
    graph: &LayerGraph,
    mut tiles: impl Iterator<Item = &'a WeightTile>,
    target: &Target,
    (id, layer): (LayerId, &PlanLayer),
) -> Result<Option<AnalogStage>, StageObstacle> {
    let stages = target.readout.accumulation.stages;
    let Some(stage) = behind(graph, layer.output, stages) else { return Ok(None) };
    if graph.crossbar_layers().filter(|(other, ..)| graph.matrix_of(*other) == layer.matrix).count()
        > 1
    {
        return Err(StageObstacle::SharedCells);
    }
    if !layer.column_scales.iter().all(|&scale| scale > 0.0) {
        return Err(StageObstacle::Scales);
    }
    if layer.n_slices() > 1 {
        return Err(StageObstacle::Slices);
    }
    if layer.n_replicas > 1 {
        return Err(StageObstacle::Replicas);
    }
    if layer.unrolled.is_some() {
        return Err(StageObstacle::Unrolled);
    }
    let all_rows = 0..layer.nest.n_rows() as u32;
    match tiles.all(|tile| tile.layer != id || tile.rows == all_rows) {
        true => Ok(Some(stage)),
        false => Err(StageObstacle::SeveralTiles),
    }
}

/// Rectifier and maximum pooling right behind a tensor, in any order.
fn behind(graph: &LayerGraph, tensor: TensorId, stages: AnalogStages) -> Option<AnalogStage> {
    let mut stage = AnalogStage { rectifies: false, windows: Vec::new() };
    if stages == AnalogStages::None {
        return None;
    }
    let mut tensor = tensor;
    while let Some((comparison, reach, output)) = only_reader(graph, tensor) {
        match comparison {
            Comparison::Rectifier if !stage.rectifies => stage.rectifies = true,
            Comparison::MaxPool
                if stage.windows.is_empty() && stages == AnalogStages::ReluAndMaxPool =>
            {
                stage.windows = windows(graph, reach, output)?;
            }
            _ => break,
        }
        tensor = output;
    }
    (stage.rectifies || !stage.windows.is_empty()).then_some(stage)
}

/// The comparison that alone reads a tensor, what it reaches, and what it
/// writes.
fn only_reader(
    graph: &LayerGraph,
    tensor: TensorId,
) -> Option<(Comparison, &[AxisReach], TensorId)> {
    if graph.outputs().contains(&tensor) {
        return None;
    }
    let readers = graph.successors(graph.producer(tensor)?);
    let [reader] = readers[..] else { return None };
    let LayerKind::Digital(digital) = &graph.layer(reader).kind else { return None };
    let &[output] = &graph.layer(reader).outputs[..] else { return None };
    Some((digital.comparison?, &digital.reach, output))
}

/// Axes along which windows have an extent or a distance; `None` where they
/// cannot be counted.
fn windows(graph: &LayerGraph, reach: &[AxisReach], output: TensorId) -> Option<Vec<WindowAxis>> {
    let shape = &graph.tensors().get(output)?.shape;
    let mut axes = Vec::new();
    for (axis, reach) in reach.iter().enumerate() {
        match *reach {
            AxisReach::Same => {}
            AxisReach::All => return None,
            AxisReach::Window { extent, stride, padding } => {
                let Some(Extent::Fixed(n_windows)) = shape.get(axis) else { return None };
                axes.push(WindowAxis { axis, extent, stride, padding, n_windows: *n_windows });
            }
        }
    }
    (!axes.is_empty()).then_some(axes)
}
