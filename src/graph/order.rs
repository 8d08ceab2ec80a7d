//! The canonical order of layers.
//!
//! petgraph's own topological order depends on how the graph was built and
//! does not visit a diamond `a, {b, c}, d` in the order of its names; ids must
//! be the same in every dump, so the order is made here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Layer;
use crate::entity::{Entity, TensorId};

/// Sorts layers so that producers stand before consumers, and, among those
/// that are ready, the one whose inputs were ready first, then the smaller
/// name.
///
/// The first rule keeps the reading order of the model: depth first follows
/// from it for chains, and branches alternate.
pub(super) fn canonical(layers: Vec<Layer>) -> Vec<Layer> {
    let writer: BTreeMap<TensorId, usize> = layers
        .iter()
        .enumerate()
        .flat_map(|(index, layer)| layer.outputs.iter().map(move |&tensor| (tensor, index)))
        .collect();
    let mut waiting: Vec<usize> = Vec::with_capacity(layers.len());
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
    for (index, layer) in layers.iter().enumerate() {
        let mut writers: Vec<usize> =
            layer.inputs.iter().filter_map(|tensor| writer.get(tensor).copied()).collect();
        writers.sort_unstable();
        writers.dedup();
        waiting.push(writers.len());
        for w in writers {
            readers[w].push(index);
        }
    }
    let key = |round: usize, index: usize| Reverse((round, layers[index].name.clone(), index));
    let mut ready: BinaryHeap<_> =
        (0..layers.len()).filter(|&i| waiting[i] == 0).map(|i| key(0, i)).collect();
    let mut order = Vec::with_capacity(layers.len());
    while let Some(Reverse((_, _, index))) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(key(order.len(), reader));
            }
        }
    }
    // A cycle cannot be built from tensors that exist before they are read;
    // whatever is left over keeps its place so that the verifier can name it.
    let mut placed = vec![false; layers.len()];
    order.iter().for_each(|&i| placed[i] = true);
    order.extend((0..layers.len()).filter(|&i| !placed[i]));
    let mut slots: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| slots[index].take()).collect()
}

/// New ids for `n_tensors` tensors: inputs of the model first, then outputs of
/// layers as they stand, then tensors that nobody writes.
pub(super) fn renumber(n_tensors: usize, inputs: &[TensorId], layers: &[Layer]) -> Vec<TensorId> {
    let mut new_ids: Vec<Option<TensorId>> = vec![None; n_tensors];
    let mut next = 0;
    let all = (0..n_tensors).map(TensorId::from_index);
    let written = layers.iter().flat_map(|layer| layer.outputs.iter().copied());
    for tensor in inputs.iter().copied().chain(written).chain(all) {
        if let Some(slot @ None) = new_ids.get_mut(tensor.index()) {
            *slot = Some(TensorId::from_index(next));
            next += 1;
        }
    }
    new_ids.into_iter().flatten().collect()
}
