//! From tract's typed graph to the layer graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::codes;
use super::convolution::{self, Operands};
use super::names::OnnxNames;
use super::read::explain_tract;
use super::shapes::{BATCH, extent, for_one_input};
use super::{FrontendError, Model, ModelInput, loops, product, reach};
use crate::entity::{Table, TensorId};
use crate::graph::{
    self, CrossbarLayer, DigitalLayer, Extent, Layer, LayerGraph, LayerKind, Obstacle, TensorInfo,
};
use crate::tensor::ElementType;

/// Builds the layer graph of a typed model and verifies it.
pub(super) fn model(
    proto: &pb::ModelProto,
    (typed, shared): (TypedModel, loops::Shared),
    any_batch: bool,
    file: &str,
) -> Result<Model, FrontendError> {
    let builder = Builder { typed: &typed, shared: &shared, batch: typed.sym(BATCH) };
    let (graph, outlets) = builder.graph(proto, file)?;
    let weights = not_finite(&graph);
    if !weights.is_empty() {
        return Err(FrontendError::NotFinite { file: file.to_string(), nodes: weights });
    }
    let faults = graph::verify(&graph);
    if !faults.is_empty() {
        return Err(FrontendError::Verify { file: file.to_string(), faults });
    }
    let inputs = builder.inputs(&graph, file)?;
    let outputs = output_names(proto, graph.outputs().len());
    Ok(Model { graph, inputs, outputs, any_batch, typed: Arc::new(typed), outlets })
}

struct Builder<'a> {
    typed: &'a TypedModel,
    /// Nodes that share their matrix with others.
    shared: &'a loops::Shared,
    batch: Symbol,
}

impl Builder<'_> {
    /// The graph, and the outlet of each of its tensors.
    fn graph(
        &self,
        proto: &pb::ModelProto,
        file: &str,
    ) -> Result<(LayerGraph, Vec<OutletId>), FrontendError> {
        let error = |e: TractError| explain_tract(&e, file);
        let mut tensors = Table::new();
        let mut outlets: Vec<OutletId> = Vec::new();
        let mut ids: BTreeMap<OutletId, TensorId> = BTreeMap::new();
        let mut layers = Vec::new();
        let mut names = Vec::new();
        for node_id in self.typed.eval_order().map_err(error)? {
            let node = self.typed.node(node_id);
            // Constants are no tensors of the graph, unless the model gives
            // them out: crossbar layers hold theirs as weights, digital cuts
            // carry theirs along.
            let given_out = self.typed.outputs.iter().any(|outlet| outlet.node == node_id);
            if node.op_is::<Const>() && !given_out {
                continue;
            }
            for (slot, outlet) in node.outputs.iter().enumerate() {
                let id = tensors.push(self.tensor_info(node, slot, &outlet.fact));
                ids.insert(OutletId::new(node_id, slot), id);
                outlets.push(OutletId::new(node_id, slot));
            }
            if node.op_is::<TypedSource>() {
                continue;
            }
            let kind = self.layer_kind(node).map_err(error)?;
            let crossbar = matches!(kind, LayerKind::Crossbar(_));
            let read = |outlet: &OutletId| ids.get(outlet).copied();
            let outputs = (0..node.outputs.len())
                .filter_map(|slot| read(&OutletId::new(node_id, slot)))
                .collect();
            let flows = |outlet: &&OutletId| !self.typed.node(outlet.node).op_is::<Const>();
            let inputs = node.inputs.iter().filter(flows).filter_map(read).collect();
            names.push((node.name.clone(), node.op.name().into_owned(), crossbar));
            layers.push(Layer { name: String::new(), inputs, outputs, kind });
        }
        for (layer, name) in layers.iter_mut().zip(OnnxNames::new(proto).assign(&names)) {
            layer.name = name;
        }
        let to_ids =
            |wanted: &[OutletId]| wanted.iter().filter_map(|o| ids.get(o).copied()).collect();
        let inputs: Vec<TensorId> = to_ids(&self.typed.inputs);
        let outputs: Vec<TensorId> = to_ids(&self.typed.outputs);
        let (graph, renumbered) = LayerGraph::new(tensors, layers, inputs, outputs);
        let mut by_tensor: Vec<(TensorId, OutletId)> =
            renumbered.into_iter().zip(outlets).collect();
        by_tensor.sort_by_key(|(id, _)| *id);
        Ok((graph, by_tensor.into_iter().map(|(_, outlet)| outlet).collect()))
    }

    fn tensor_info(&self, node: &TypedNode, slot: usize, fact: &TypedFact) -> TensorInfo {
        let suffix = if node.outputs.len() > 1 { format!(".{slot}") } else { String::new() };
        TensorInfo {
            name: format!("{}{suffix}", node.name),
            shape: fact.shape.iter().map(|dim| extent(dim, &self.batch)).collect(),
            element_type: format!("{:?}", fact.datum_type).to_lowercase(),
        }
    }

    /// A crossbar layer where the node multiplies with a constant matrix.
    fn layer_kind(&self, node: &TypedNode) -> TractResult<LayerKind> {
        let obstacle = match self.crossbar(node)? {
            Some(Ok(crossbar)) => return Ok(LayerKind::Crossbar(crossbar)),
            Some(Err(obstacle)) => Some(obstacle),
            None => None,
        };
        let macs_per_input = if obstacle.is_some() { self.macs(self.typed, node)? } else { 0 };
        let op = node.op.name().into_owned();
        let facts = self.typed.node_input_facts(node.id)?;
        let (reach, comparison) = (reach::of(node, &facts), reach::comparison(node, &facts));
        let product = node.op_as::<EinSum>().and_then(product::axes);
        Ok(LayerKind::Digital(DigitalLayer {
            op,
            macs_per_input,
            obstacle,
            reach,
            product,
            comparison,
        }))
    }

    /// Multiply-accumulates of a node for one input, those of every step of a
    /// loop included.
    fn macs(&self, typed: &TypedModel, node: &TypedNode) -> TractResult<u64> {
        let facts = typed.node_input_facts(node.id)?;
        if let Some(scan) = node.op_as::<Scan>() {
            let n_steps =
                scan.iteration_count(&facts).map_or(1, |n| for_one_input(&n, &self.batch));
            let products = scan.body.nodes().iter().filter(|node| loops::is_product(node));
            let of_step =
                products.map(|node| self.macs(&scan.body, node)).sum::<TractResult<u64>>()?;
            return Ok(n_steps.saturating_mul(of_step));
        }
        if let Some(op) = node.op_as::<GruSeq>() {
            let matrix = 3 * op.hidden as u64;
            let width =
                if op.projected { 0 } else { for_one_input(&facts[0].shape[2], &self.batch) };
            let n_steps =
                for_one_input(&(facts[0].shape[0].clone() * &facts[0].shape[1]), &self.batch);
            return Ok(n_steps.saturating_mul(matrix).saturating_mul(width + op.hidden as u64));
        }
        if let Some(deconv) = node.op_as::<Deconv>() {
            // Every value is multiplied with its channel's part of the kernel.
            let n_values = for_one_input(&facts[0].shape.volume(), &self.batch);
            let kernel = for_one_input(&facts[1].shape.volume(), &self.batch);
            let n_channels = deconv.pool_spec.input_channels.max(1) as u64;
            return Ok(n_values.saturating_mul(kernel / n_channels));
        }
        Ok(node
            .op
            .cost(&facts)
            .unwrap_or_default()
            .iter()
            .filter(|(cost, _)| matches!(cost, Cost::FMA(_)))
            .map(|(_, n)| for_one_input(n, &self.batch))
            .sum())
    }

    /// `None` for what multiplies nothing; the reason where it multiplies but
    /// cannot sit on arrays.
    fn crossbar(&self, node: &TypedNode) -> TractResult<Option<Result<CrossbarLayer, Obstacle>>> {
        let facts = self.typed.node_input_facts(node.id)?;
        let output = &self.typed.outlet_fact(OutletId::new(node.id, 0))?.shape;
        let constant = |slot: usize| facts.get(slot).and_then(|fact| fact.konst.as_ref());
        let operands = |data: usize, weights| Operands {
            input: facts[data].shape.dims(),
            output: output.dims(),
            weights,
            batch: &self.batch,
        };
        if let Some(conv) = node.op_as::<Conv>() {
            let Some(kernel) = constant(1) else {
                return Ok(Some(Err(Obstacle::Computed("kernel"))));
            };
            if facts.len() > 2 && constant(2).is_none() {
                return Ok(Some(Err(Obstacle::Computed("bias"))));
            }
            let layer =
                convolution::crossbar(conv, &operands(0, kernel), constant(2).map(|bias| &**bias));
            return Ok(Some(layer.and_then(drivable).map(|layer| self.with_codes(layer, node, 0))));
        }
        if let Some(einsum) = node.op_as::<EinSum>() {
            let (data, weights) = match (facts.len(), constant(0), constant(1)) {
                (2, Some(weights), None) => (1, weights),
                (2, None, Some(weights)) => (0, weights),
                (2, None, None) => {
                    return Ok(Some(Err(Obstacle::TwoActivations)));
                }
                // The same for every input, as the first step of a loop with
                // its state of zeros.
                (2, Some(_), Some(_)) => return Ok(None),
                _ => return Ok(Some(Err(Obstacle::Integers("product")))),
            };
            let layer = product::crossbar(einsum, data, &operands(data, weights));
            let layer = layer.and_then(drivable).map(|layer| self.with_codes(layer, node, data));
            return Ok(Some(layer));
        }
        if node.op_is::<Deconv>() {
            return Ok(Some(Err(match constant(1) {
                Some(_) => Obstacle::NothingSummed,
                None => Obstacle::Computed("kernel"),
            })));
        }
        Ok(loops::obstacle(node, &facts).map(Err))
    }

    fn with_codes(&self, layer: CrossbarLayer, node: &TypedNode, data: usize) -> CrossbarLayer {
        let matrix = self.shared.get(&node.name).cloned();
        let codes = match node.inputs.get(data) {
            // Layers that share cells share their coding, which is calibrated.
            Some(&outlet) if matrix.is_none() => codes::own(self.typed, outlet),
            _ => None,
        };
        CrossbarLayer { codes, matrix, ..layer }
    }

    fn inputs(&self, graph: &LayerGraph, file: &str) -> Result<Vec<ModelInput>, FrontendError> {
        graph
            .inputs()
            .iter()
            .map(|&tensor| {
                let info = &graph.tensors()[tensor];
                let has_batch = matches!(info.shape.first(), Some(Extent::PerInput(_)));
                let element_type =
                    element_type(&info.element_type).ok_or_else(|| FrontendError::InputType {
                        file: file.to_string(),
                        input: info.name.clone(),
                        element_type: info.element_type.clone(),
                    })?;
                let shape = info
                    .shape
                    .iter()
                    .skip(usize::from(has_batch))
                    .filter_map(|extent| extent.for_batch(1))
                    .collect();
                Ok(ModelInput { name: info.name.clone(), shape, has_batch, element_type })
            })
            .collect()
    }
}

/// A layer whose output positions can be counted for any batch, or why they
/// cannot.
fn drivable(layer: CrossbarLayer) -> Result<CrossbarLayer, Obstacle> {
    let nest = &layer.nest;
    let fixed = nest.groups.iter().chain(&nest.rows).chain(&nest.columns);
    if fixed.chain(nest.positions.iter().filter_map(at_least)).any(|&extent| extent == 0) {
        return Err(Obstacle::Shape("it has an axis of extent 0".to_string()));
    }
    if let Some(Extent::Other(extent)) = nest.positions.iter().find(|e| at_least(e).is_none()) {
        let what = format!("an axis has the extent {extent}, which is no multiple of the batch");
        return Err(Obstacle::OpenAxis(what));
    }
    if nest.positions.iter().skip(1).any(|extent| matches!(extent, Extent::PerInput(_))) {
        return Err(Obstacle::OpenAxis("several axes grow with the batch".to_string()));
    }
    Ok(layer)
}

/// An extent for one input, if it can be said.
fn at_least(extent: &Extent) -> Option<&usize> {
    match extent {
        Extent::Fixed(n) | Extent::PerInput(n) => Some(n),
        Extent::Other(_) => None,
    }
}

fn element_type(name: &str) -> Option<ElementType> {
    Some(match name {
        "f32" => ElementType::F32,
        "f64" => ElementType::F64,
        "u8" => ElementType::U8,
        "i8" => ElementType::I8,
        "i32" => ElementType::I32,
        "i64" => ElementType::I64,
        "bool" => ElementType::Bool,
        _ => return None,
    })
}

fn output_names(proto: &pb::ModelProto, n: usize) -> Vec<String> {
    let named = proto.graph.iter().flat_map(|graph| &graph.output).map(|o| o.name.clone());
    let numbered = (0..).map(|index| format!("output{index}"));
    named
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(numbered)
        .map(|(a, b)| a.unwrap_or(b))
        .take(n)
        .collect()
}

/// Crossbar layers with bad weights: name, how many, the first one's place and
/// value.
fn not_finite(graph: &LayerGraph) -> Vec<(String, usize, String, f32)> {
    let mut bad = Vec::new();
    for (_, layer, crossbar) in graph.crossbar_layers() {
        let is_bad = |value: &&f32| !value.is_finite();
        let values = crossbar.weights.in_any_order().iter().chain(&crossbar.bias);
        if values.fold(true, |all, value| all & value.is_finite()) {
            continue;
        }
        let n = crossbar.weights.iter().chain(&crossbar.bias).filter(is_bad).count();
        let (rows, columns) = (crossbar.nest.n_rows(), crossbar.nest.n_columns());
        let weight = crossbar.weights.iter().position(|v| !v.is_finite()).map(|i| {
            let place =
                format!("[{}, {}, {}]", i / (rows * columns), i / columns % rows, i % columns);
            (place, crossbar.weights[i])
        });
        let bias = crossbar
            .bias
            .iter()
            .position(|v| !v.is_finite())
            .map(|i| (format!("bias [{}, {}]", i / columns, i % columns), crossbar.bias[i]));
        if let Some((place, value)) = weight.or(bias) {
            bad.push((layer.name.clone(), n, place, value));
        }
    }
    bad
}
