//! The layer graph: what a model computes, split into crossbar layers (a
//! constant matrix times an activation) and digital layers (all else).
//!
//! The front-end makes it, every later stage reads it, nobody changes it.
//! What is computed (layers, tensors) is stored here; the order in which
//! things are looked at is [`LayerGraph::order`], which is canonical: it
//! depends on the graph alone, not on how it was built.

mod nest;
mod obstacle;
mod order;
mod print;
mod verify;
mod weights;

pub use nest::{AxisIndex, Extent, LoopNest, LoopRef, unflatten};
pub use obstacle::Obstacle;
pub use verify::{GraphFault, verify};
pub use weights::Weights;

use std::collections::BTreeMap;

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
    /// Multiply-accumulates of products for one input, as far as they are
    /// known; sums and factors of single values are not counted.
    pub macs_per_input: u64,
    /// Why a layer that multiplies is not on the arrays; `None` for others.
    pub obstacle: Option<Obstacle>,
    /// What a result needs, one per axis of the output, which are those of
    /// every input; empty where it may need everything.
    pub reach: Vec<AxisReach>,
    /// How a product of its two inputs runs over their axes; `None` for what is
    /// no such product.
    pub product: Option<ProductAxes>,
    /// What it is, if a comparison of currents can do it.
    pub comparison: Option<Comparison>,
}

/// The loops of a product of two tensors: it sums, over loops that the result
/// has no axis for, products of a value of either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductAxes {
    /// For each loop the axis that it walks of the first input, of the second,
    /// of the result; `None` where it walks none.
    pub loops: Vec<[Option<usize>; 3]>,
}

/// A digital layer that comparisons of currents can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// What is below zero becomes zero.
    Rectifier,
    /// The largest of each window, which leaves no index out.
    MaxPool,
}

/// Which indices along one axis of its inputs a result of a digital layer
/// needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisReach {
    /// Its own.
    Same,
    /// A window, as pooling takes it.
    Window {
        /// From the first to the last index that is looked at.
        extent: usize,
        /// Indices between neighbouring windows.
        stride: usize,
        /// Indices in front of the tensor in the first window.
        padding: usize,
    },
    /// Every one, as a mean over the axis does.
    All,
}

/// Codes in which a model gives a layer's input, by its own quantisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnCodes {
    /// Width of a code.
    pub bits: u8,
    /// Two's complement.
    pub signed: bool,
    /// The real value of one code step.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: i32,
}

/// A layer whose matrix sits on the arrays.
#[derive(Debug, Clone)]
pub struct CrossbarLayer {
    /// What it was, for people: `conv 3x3 stride 2 padding 1`, `product`.
    pub description: String,
    /// How it reads and writes.
    pub nest: LoopNest,
    /// The matrix, `[group][row][column]` row-major.
    pub weights: Weights,
    /// Added to every output digitally, `[group][column]`.
    pub bias: Vec<f32>,
    /// The codes that its input comes in, for a model that is quantised
    /// already.
    pub codes: Option<OwnCodes>,
    /// A name for its matrix where several layers multiply with the same one,
    /// as the steps of a loop do: they share the cells of the first of them.
    pub matrix: Option<String>,
}

/// The graph. Layer ids count in canonical order.
#[derive(Debug, Clone)]
pub struct LayerGraph {
    graph: DiGraph<Layer, TensorId>,
    tensors: Table<TensorId, TensorInfo>,
    producers: Vec<Option<LayerId>>,
    /// Whose matrix each layer multiplies with: its own, unless it shares one.
    matrices: Vec<LayerId>,
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
        let matrices = matrices(&layers);
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
        Self { graph, tensors, producers, matrices, inputs, outputs }
    }

    /// The layer whose cells a crossbar layer drives: itself, or the first of
    /// those that share its matrix.
    pub fn matrix_of(&self, id: LayerId) -> LayerId {
        self.matrices.get(id.index()).copied().unwrap_or(id)
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

    /// Crossbar layers on the longest way to each layer, itself not counted, in
    /// canonical order.
    pub(crate) fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.order().len()];
        for id in self.order() {
            let before = self.predecessors(id).into_iter().map(|p| {
                let own = usize::from(matches!(self.layer(p).kind, LayerKind::Crossbar(_)));
                depths[p.index()] + own
            });
            depths[id.index()] = before.max().unwrap_or(0);
        }
        depths
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

/// Whose matrix each layer multiplies with.
fn matrices<'a>(layers: &'a [Layer]) -> Vec<LayerId> {
    let mut first: BTreeMap<&'a str, LayerId> = BTreeMap::new();
    let matrix = |(index, layer): (usize, &'a Layer)| {
        let own = LayerId::from_index(index);
        let Layer { kind: LayerKind::Crossbar(crossbar), .. } = layer else { return own };
        match &crossbar.matrix {
            Some(name) => *first.entry(name).or_insert(own),
            None => own,
        }
    };
    layers.iter().enumerate().map(matrix).collect()
}
