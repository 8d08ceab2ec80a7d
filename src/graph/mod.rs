//! The layer graph: what a model computes, split into crossbar layers (a
//! constant matrix times an activation) and digital layers (all else).
//!
//! The front-end makes it, every later stage reads it, nobody changes it.
//! What is computed (layers, tensors) is stored here; the order in which
//! things are looked at is [`LayerGraph::order`], which is canonical: it
//! depends on the graph alone, not on how it was built.

mod nest;
mod order;
mod print;
mod verify;

pub use nest::{AxisIndex, Extent, LoopNest, LoopRef, unflatten};
pub use verify::{GraphFault, verify};

use petgraph::graph::{DiGraph, NodeIndex};

use crate::entity::{Entity, LayerId, Table, TensorId};

/// What flows between layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name of the node that makes it, with the output's number if it has
    /// several.
    pub name: String,
    /// Extent of every axis.
    pub shape: Vec<Extent>,
    /// Element type as ONNX users write it: `f32`, `i64`.
    pub element_type: String,
}

/// A node of the graph.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Name of the ONNX node.
    pub name: String,
    /// Tensors read, in order.
    pub inputs: Vec<TensorId>,
    /// Tensors written, in order.
    pub outputs: Vec<TensorId>,
    /// On the arrays or beside them.
    pub kind: LayerKind,
}

/// Where a layer runs.
#[derive(Debug, Clone)]
pub enum LayerKind {
    /// A constant matrix times an activation.
    Crossbar(CrossbarLayer),
    /// Anything else, executed digitally.
    Digital(DigitalLayer),
}

/// A layer executed by tract beside the arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigitalLayer {
    /// Name of the operator.
    pub op: String,
    /// Multiply-accumulates for one input, as far as they are known.
    pub macs_per_input: u64,
    /// Why a layer that multiplies is not on the arrays; empty for others.
    pub reason: String,
}

/// A layer whose matrix sits on the arrays.
#[derive(Debug, Clone)]
pub struct CrossbarLayer {
    /// What it was, for people: `conv 3x3 stride 2 padding 1`, `product`.
    pub description: String,
    /// How it reads and writes.
    pub nest: LoopNest,
    /// The matrix, `[group][row][column]` row-major.
    pub weights: Vec<f32>,
    /// Added to every output digitally, `[group][column]`.
    pub bias: Vec<f32>,
}

/// The graph. Layer ids count in canonical order.
#[derive(Debug, Clone)]
pub struct LayerGraph {
    graph: DiGraph<Layer, TensorId>,
    tensors: Table<TensorId, TensorInfo>,
    producers: Vec<Option<LayerId>>,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
}

impl LayerGraph {
    /// Builds the graph from its parts; gives it with the new id of every old
    /// tensor id.
    ///
    /// Layers may come in any order. Both layers and tensors are numbered anew
    /// in canonical order (inputs of the model first, then outputs of layers),
    /// so that ids do not depend on the order in which a front-end met them.
    pub fn new(
        tensors: Table<TensorId, TensorInfo>,
        layers: Vec<Layer>,
        inputs: Vec<TensorId>,
        outputs: Vec<TensorId>,
    ) -> (Self, Vec<TensorId>) {
        let mut layers = order::canonical(layers);
        let renumbered = order::renumber(tensors.len(), &inputs, &layers);
        let new_id = |t: &mut TensorId| {
            if let Some(&id) = renumbered.get(t.index()) {
                *t = id;
            }
        };
        for layer in &mut layers {
            layer.inputs.iter_mut().chain(&mut layer.outputs).for_each(new_id);
        }
        let (mut inputs, mut outputs) = (inputs, outputs);
        inputs.iter_mut().chain(&mut outputs).for_each(new_id);
        let mut numbered: Vec<(TensorId, &TensorInfo)> =
            renumbered.iter().copied().zip(tensors.values()).collect();
        numbered.sort_by_key(|(id, _)| *id);
        let tensors = numbered.into_iter().map(|(_, info)| info.clone()).collect();
        (Self::connect(tensors, layers, inputs, outputs), renumbered)
    }

    /// Makes the edges: from the writer of every tensor to its readers.
    fn connect(
        tensors: Table<TensorId, TensorInfo>,
        layers: Vec<Layer>,
        inputs: Vec<TensorId>,
        outputs: Vec<TensorId>,
    ) -> Self {
        let mut producers: Vec<Option<LayerId>> = vec![None; tensors.len()];
        let mut reads = Vec::new();
        let mut graph = DiGraph::with_capacity(layers.len(), layers.len());
        for (index, layer) in layers.into_iter().enumerate() {
            for tensor in &layer.outputs {
                if let Some(slot) = producers.get_mut(tensor.index()) {
                    *slot = Some(LayerId::from_index(index));
                }
            }
            reads.extend(layer.inputs.iter().map(|&tensor| (index, tensor)));
            graph.add_node(layer);
        }
        for (reader, tensor) in reads {
            if let Some(Some(producer)) = producers.get(tensor.index()) {
                graph.add_edge(NodeIndex::new(producer.index()), NodeIndex::new(reader), tensor);
            }
        }
        Self { graph, tensors, producers, inputs, outputs }
    }

    /// Layers in canonical order: producers first, ties in the order of names.
    pub fn order(&self) -> impl DoubleEndedIterator<Item = LayerId> + ExactSizeIterator + use<> {
        (0..self.graph.node_count()).map(LayerId::from_index)
    }

    /// Ids and layers in canonical order.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = (LayerId, &Layer)> {
        self.order().map(|id| (id, self.layer(id)))
    }

    /// The layer with this id; ids come from this graph.
    pub fn layer(&self, id: LayerId) -> &Layer {
        &self.graph[NodeIndex::new(id.index())]
    }

    /// Crossbar layers in canonical order.
    pub fn crossbar_layers(
        &self,
    ) -> impl DoubleEndedIterator<Item = (LayerId, &Layer, &CrossbarLayer)> {
        self.layers().filter_map(|(id, layer)| match &layer.kind {
            LayerKind::Crossbar(crossbar) => Some((id, layer, crossbar)),
            LayerKind::Digital(_) => None,
        })
    }

    /// The crossbar layer with this id, if it is one.
    pub fn crossbar(&self, id: LayerId) -> Option<&CrossbarLayer> {
        match &self.graph.node_weight(NodeIndex::new(id.index()))?.kind {
            LayerKind::Crossbar(crossbar) => Some(crossbar),
            LayerKind::Digital(_) => None,
        }
    }

    /// Layers that read what `id` writes, in canonical order, each once.
    pub fn successors(&self, id: LayerId) -> Vec<LayerId> {
        self.neighbors(id, petgraph::Direction::Outgoing)
    }

    /// Layers that write what `id` reads, in canonical order, each once.
    pub fn predecessors(&self, id: LayerId) -> Vec<LayerId> {
        self.neighbors(id, petgraph::Direction::Incoming)
    }

    fn neighbors(&self, id: LayerId, direction: petgraph::Direction) -> Vec<LayerId> {
        let mut found: Vec<LayerId> = self
            .graph
            .neighbors_directed(NodeIndex::new(id.index()), direction)
            .map(|node| LayerId::from_index(node.index()))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All tensors.
    pub fn tensors(&self) -> &Table<TensorId, TensorInfo> {
        &self.tensors
    }

    /// The layer that writes a tensor; `None` for inputs of the model.
    pub fn producer(&self, tensor: TensorId) -> Option<LayerId> {
        self.producers.get(tensor.index()).copied().flatten()
    }

    /// The model's inputs.
    pub fn inputs(&self) -> &[TensorId] {
        &self.inputs
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[TensorId] {
        &self.outputs
    }
}
