//! Groups digital layers into stages.
//!
//! Layers that hang together and wait for the same depth of crossbar layers
//! become one stage: few hand-overs, and no stage waits for an array whose
//! result it does not need through its own layers.
//!
//! ```text
//! conv1 -> relu -> pool -> conv2 -> add -> relu -> ...
//!          \-- stage 1 --/          \-- stage 2 --/
//! ```

use std::collections::BTreeMap;

use crate::entity::{Entity, LayerId, TensorId};
use crate::graph::{LayerGraph, LayerKind};

/// A stage: digital layers run as one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Tensors it reads from outside.
    pub inputs: Vec<TensorId>,
    /// Tensors that others, or the model's user, read from it.
    pub outputs: Vec<TensorId>,
}

/// What is executed, in an order in which it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// A digital stage.
    Stage(Stage),
    /// A crossbar layer.
    Crossbar(LayerId),
}

/// Stages and crossbar layers in executable order.
pub(crate) fn work(graph: &LayerGraph) -> Vec<Work> {
    let depth = graph.depths();
    let component = components(graph, &depth);
    // A component is executed at its depth, before the crossbar layers of that
    // depth; components of one depth do not read from each other.
    let mut members: BTreeMap<(usize, usize), Vec<LayerId>> = BTreeMap::new();
    let mut crossbars: BTreeMap<usize, Vec<LayerId>> = BTreeMap::new();
    for (id, layer) in graph.layers() {
        match layer.kind {
            LayerKind::Digital(_) => {
                members.entry((depth[id.index()], component[id.index()])).or_default().push(id);
            }
            LayerKind::Crossbar(_) => crossbars.entry(depth[id.index()]).or_default().push(id),
        }
    }
    let mut work = Vec::new();
    let n_depths = depth.iter().max().map_or(0, |d| d + 1);
    for d in 0..n_depths {
        for (_, layers) in members.range((d, 0)..(d + 1, 0)) {
            work.push(Work::Stage(stage(graph, layers)));
        }
        work.extend(crossbars.remove(&d).unwrap_or_default().into_iter().map(Work::Crossbar));
    }
    work
}

/// A number for each digital layer, the same for those of one depth that are
/// connected through digital layers of that depth: the smallest id among them.
fn components(graph: &LayerGraph, depth: &[usize]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..depth.len()).collect();
    fn root(parent: &mut [usize], mut node: usize) -> usize {
        while parent[node] != node {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        node
    }
    let digital = |id: LayerId| matches!(graph.layer(id).kind, LayerKind::Digital(_));
    for id in graph.order().filter(|&id| digital(id)) {
        for p in graph.predecessors(id).into_iter().filter(|&p| digital(p)) {
            if depth[p.index()] == depth[id.index()] {
                let (a, b) = (root(&mut parent, p.index()), root(&mut parent, id.index()));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    (0..depth.len()).map(|node| root(&mut parent, node)).collect()
}

fn stage(graph: &LayerGraph, layers: &[LayerId]) -> Stage {
    let inside = |tensor: TensorId| graph.producer(tensor).is_some_and(|p| layers.contains(&p));
    let mut inputs: Vec<TensorId> = layers
        .iter()
        .flat_map(|&id| graph.layer(id).inputs.iter().copied())
        .filter(|&tensor| !inside(tensor))
        .collect();
    inputs.sort_unstable();
    inputs.dedup();
    let read_outside = |tensor: TensorId| {
        graph.outputs().contains(&tensor)
            || graph.producer(tensor).is_some_and(|producer| {
                graph.successors(producer).into_iter().any(|reader| {
                    !layers.contains(&reader) && graph.layer(reader).inputs.contains(&tensor)
                })
            })
    };
    let mut outputs: Vec<TensorId> = layers
        .iter()
        .flat_map(|&id| graph.layer(id).outputs.iter().copied())
        .filter(|&tensor| read_outside(tensor))
        .collect();
    outputs.sort_unstable();
    Stage { inputs, outputs }
}
