//! Checks a [`LayerGraph`].
//!
//! # Invariants
//!
//! 1. Ids of tensors are in range, and every tensor that a layer reads, or the
//!    model gives out, is an input of the model or written by a layer that
//!    stands before its readers; no tensor has two writers.
//! 2. Names of layers are unique and not empty.
//! 3. A crossbar layer reads one tensor and writes one tensor.
//! 4. Its loops have extents above zero, and only the outermost position loop
//!    may be per input.
//! 5. Its input map has one index per axis of the tensor read and uses
//!    positions, groups and rows only; its output map has one per axis of the
//!    tensor written, uses positions, groups and columns only, has no padding,
//!    and stays inside the tensor.
//! 6. Every row loop is used by the input map; every position, group and
//!    column loop by the output map, so that no output is written twice.
//! 7. Weights and bias have as many values as the loops say, all finite.
//! 8. Crossbar layers that share a matrix have the same, for as many
//!    positions.

use thiserror::Error;

use super::{AxisIndex, CrossbarLayer, Layer, LayerGraph, LayerKind, LoopNest, LoopRef};
use crate::entity::{Entity, LayerId, TensorId};

/// A broken invariant, by its number in the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GraphFault {
    /// Invariant 1.
    #[error("{layer} `{name}` reads {tensor}, which nothing before it writes")]
    ReadBeforeWrite {
        /// The reader.
        layer: LayerId,
        /// Its name.
        name: String,
        /// What it reads.
        tensor: TensorId,
    },
    /// Invariant 1.
    #[error("{tensor} is written twice, the second time by {layer}")]
    TwoWriters {
        /// The second writer.
        layer: LayerId,
        /// What it writes.
        tensor: TensorId,
    },
    /// Invariant 1.
    #[error("the model gives out {0}, which nothing writes")]
    MissingOutput(TensorId),
    /// Invariant 2.
    #[error("{layer} has the name `{name}`, which is empty or taken")]
    Name {
        /// The layer.
        layer: LayerId,
        /// Its name.
        name: String,
    },
    /// Invariants 3 to 7.
    #[error("{layer} `{name}`: {what}")]
    Crossbar {
        /// The layer.
        layer: LayerId,
        /// Its name.
        name: String,
        /// What is wrong, with the numbers.
        what: String,
    },
}

/// All broken invariants, in the order of layers; none for a good graph.
pub fn verify(graph: &LayerGraph) -> Vec<GraphFault> {
    let mut faults = Vec::new();
    let mut written = vec![false; graph.tensors().len()];
    for tensor in graph.inputs() {
        if let Some(slot) = written.get_mut(tensor.index()) {
            *slot = true;
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for (id, layer) in graph.layers() {
        if layer.name.is_empty() || !names.insert(layer.name.as_str()) {
            faults.push(GraphFault::Name { layer: id, name: layer.name.clone() });
        }
        for &tensor in &layer.inputs {
            if written.get(tensor.index()) != Some(&true) {
                let name = layer.name.clone();
                faults.push(GraphFault::ReadBeforeWrite { layer: id, name, tensor });
            }
        }
        for &tensor in &layer.outputs {
            match written.get_mut(tensor.index()) {
                Some(slot) if !*slot => *slot = true,
                _ => faults.push(GraphFault::TwoWriters { layer: id, tensor }),
            }
        }
        if let LayerKind::Crossbar(crossbar) = &layer.kind {
            let shared = matrix_fault(graph, id, crossbar);
            for what in crossbar_faults(graph, layer, crossbar).into_iter().chain(shared) {
                faults.push(GraphFault::Crossbar { layer: id, name: layer.name.clone(), what });
            }
        }
    }
    for &tensor in graph.outputs() {
        if written.get(tensor.index()) != Some(&true) {
            faults.push(GraphFault::MissingOutput(tensor));
        }
    }
    faults
}

/// Layers that share cells must have the same matrix.
fn matrix_fault(graph: &LayerGraph, id: LayerId, crossbar: &CrossbarLayer) -> Option<String> {
    let matrix = graph.matrix_of(id);
    let first = graph.crossbar(matrix)?;
    let sizes = |c: &CrossbarLayer| (c.nest.n_groups(), c.nest.n_rows(), c.nest.n_columns());
    let same = sizes(first) == sizes(crossbar)
        && first.nest.positions_per_input() == crossbar.nest.positions_per_input()
        && first.weights == crossbar.weights;
    (!same).then(|| format!("it shares the cells of {matrix}, which has another matrix"))
}

fn crossbar_faults(graph: &LayerGraph, layer: &Layer, crossbar: &CrossbarLayer) -> Vec<String> {
    let mut faults = Vec::new();
    let nest = &crossbar.nest;
    let (&[input], &[output]) = (&layer.inputs[..], &layer.outputs[..]) else {
        return vec![format!(
            "reads {} tensors and writes {}, must be one each",
            layer.inputs.len(),
            layer.outputs.len()
        )];
    };
    faults.extend(extent_faults(nest));
    let rank = |tensor: TensorId| graph.tensors().get(tensor).map_or(0, |t| t.shape.len());
    if nest.input.len() != rank(input) || nest.output.len() != rank(output) {
        faults.push(format!(
            "index maps have {} and {} axes, the tensors {} and {}",
            nest.input.len(),
            nest.output.len(),
            rank(input),
            rank(output)
        ));
        return faults;
    }
    faults.extend(map_faults(nest));
    for (axis, (index, extent)) in
        nest.output.iter().zip(&graph.tensors()[output].shape).enumerate()
    {
        let reach: Option<usize> = index.terms.iter().try_fold(0usize, |sum, &(l, stride)| {
            let extent = nest.extent(l, 1)?;
            sum.checked_add(stride.checked_mul(extent.saturating_sub(1))?)
        });
        let inside = matches!((reach, extent.for_batch(1)), (Some(r), Some(e)) if r < e);
        if !inside {
            faults.push(format!("the output map leaves axis {axis} of extent {extent}"));
        }
    }
    let (cells, columns) =
        (nest.n_groups() * nest.n_rows() * nest.n_columns(), nest.n_groups() * nest.n_columns());
    if crossbar.weights.len() != cells || crossbar.bias.len() != columns {
        faults.push(format!(
            "{} weights and {} biases, the loops say {cells} and {columns}",
            crossbar.weights.len(),
            crossbar.bias.len()
        ));
    }
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    if !finite(crossbar.weights.in_any_order()) || !finite(&crossbar.bias) {
        faults.push("weights or biases are not finite".to_string());
    }
    faults
}

fn extent_faults(nest: &LoopNest) -> Vec<String> {
    let mut faults = Vec::new();
    let fixed = [&nest.groups, &nest.rows, &nest.columns];
    if fixed.into_iter().flatten().any(|&n| n == 0) {
        faults.push("a loop has extent zero".to_string());
    }
    for (index, extent) in nest.positions.iter().enumerate() {
        match extent {
            super::Extent::Fixed(0) | super::Extent::PerInput(0) => {
                faults.push("a loop has extent zero".to_string());
            }
            super::Extent::PerInput(_) if index > 0 => {
                faults.push(format!("position loop {index} is per input and not outermost"));
            }
            super::Extent::Other(formula) => {
                faults.push(format!("position loop {index} has the extent `{formula}`"));
            }
            _ => {}
        }
    }
    faults
}

fn map_faults(nest: &LoopNest) -> Vec<String> {
    let mut faults = Vec::new();
    let uses = |map: &[AxisIndex], l: LoopRef| {
        map.iter().flat_map(|a| &a.terms).filter(|(term, _)| *term == l).count()
    };
    for l in nest.input.iter().flat_map(|a| &a.terms).map(|t| t.0) {
        if matches!(l, LoopRef::Column(_)) || nest.extent(l, 1).is_none() {
            faults.push(format!("the input map uses {l:?}"));
        }
    }
    for l in nest.output.iter().flat_map(|a| &a.terms).map(|t| t.0) {
        if matches!(l, LoopRef::Row(_)) || nest.extent(l, 1).is_none() {
            faults.push(format!("the output map uses {l:?}"));
        }
    }
    if nest.output.iter().any(|a| a.padding > 0) {
        faults.push("the output map has padding".to_string());
    }
    for row in (0..nest.rows.len()).map(LoopRef::Row) {
        if uses(&nest.input, row) == 0 {
            faults.push(format!("the input map does not use {row:?}"));
        }
    }
    let written = (0..nest.positions.len())
        .map(LoopRef::Position)
        .chain((0..nest.groups.len()).map(LoopRef::Group))
        .chain((0..nest.columns.len()).map(LoopRef::Column));
    for l in written {
        if uses(&nest.output, l) != 1 {
            faults.push(format!("the output map uses {l:?} {} times", uses(&nest.output, l)));
        }
    }
    faults
}
