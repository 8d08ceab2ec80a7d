//! Loops with a fixed number of steps, written out.
//!
//! Recurrent layers reach us as a loop node with a body; tract has drawn out of
//! it what does not wait for the step before, the product with the input
//! matrix above all. What is left multiplies the state with a constant matrix,
//! step after step. Written out, every step is an ordinary layer; those that
//! are the same node of the body share the cells of the first.
//!
//! ```text
//! loop 3 x body(state) -> step0.body -> step1.body -> step2.body -> concatenated
//!                            |              |             |
//!                            +--- cells of one matrix ----+
//! ```

use std::collections::BTreeMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, ToDim};
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::scan::{InputMapping, Scan, iteration_count};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::gru;
use crate::graph::Obstacle;

/// Steps of a loop that is written out at most: each has stages of its own.
const STEPS_MAX: usize = 1024;

/// What the body's nodes have become: names of nodes that share one constant
/// matrix, each with a name for all of them.
pub(super) type Shared = BTreeMap<String, String>;

/// Writes out the loops of a model whose bodies multiply with constants.
pub(super) fn open(typed: TypedModel) -> TractResult<(TypedModel, Shared)> {
    let opens = |node: &TypedNode| {
        let facts = typed.node_input_facts(node.id).ok()?;
        match node.op_as::<GruSeq>() {
            Some(op) => gru::steps(op, &facts).ok(),
            None => steps(node.op_as::<Scan>()?, &facts).ok(),
        }
    };
    if typed.nodes().iter().all(|node| opens(node).is_none()) {
        return Ok((typed, Shared::new()));
    }
    let model = TypedModel { symbols: typed.symbols.clone(), ..TypedModel::default() };
    let mut writer = Writer { model, shared: Shared::new() };
    let mut copied: BTreeMap<OutletId, OutletId> = BTreeMap::new();
    for &input in &typed.inputs {
        let name = typed.node(input.node).name.clone();
        copied.insert(input, writer.model.add_source(name, typed.outlet_fact(input)?.clone())?);
    }
    for id in typed.eval_order()? {
        let node = typed.node(id);
        if node.op_is::<TypedSource>() {
            continue;
        }
        let inputs: TVec<OutletId> = node.inputs.iter().map(|input| copied[input]).collect();
        let outputs = match (opens(node), node.op_as::<Scan>(), node.op_as::<GruSeq>()) {
            (Some(n_steps), Some(scan), _) => writer.write(&node.name, scan, n_steps, &inputs)?,
            (Some(n_steps), _, Some(op)) => {
                let (scan, inputs) = gru::as_loop(&mut writer.model, &node.name, op, &inputs)?;
                writer.write(&node.name, &scan, n_steps, &inputs)?
            }
            _ => writer.copy(node, &inputs)?,
        };
        for (slot, outlet) in outputs.into_iter().enumerate() {
            copied.insert(OutletId::new(id, slot), outlet);
        }
    }
    let mut model = writer.model;
    let outputs: Vec<OutletId> = typed.outputs.iter().map(|outlet| copied[outlet]).collect();
    model.select_output_outlets(&outputs)?;
    Ok((model, writer.shared))
}

/// Whether a node is a product, of constants or not.
pub(super) fn is_product(node: &TypedNode) -> bool {
    node.op_is::<EinSum>()
        || node.op_is::<Conv>()
        || node.op_is::<Deconv>()
        || node.op_is::<Scan>()
        || node.op_is::<GruSeq>()
}

/// Whether anything in a body is a product.
fn multiplies(body: &TypedModel) -> bool {
    body.nodes().iter().any(is_product)
}

/// Why a loop was not written out; `None` for what is none.
pub(super) fn obstacle(node: &TypedNode, facts: &[&TypedFact]) -> Option<Obstacle> {
    let steps = match (node.op_as::<Scan>(), node.op_as::<GruSeq>()) {
        (Some(scan), _) if multiplies(&scan.body) => steps(scan, facts),
        (_, Some(op)) => gru::steps(op, facts),
        _ => return None,
    };
    Some(steps.err().unwrap_or(Obstacle::TwoActivations))
}

/// The number of steps of a loop that can be written out and is worth it.
fn steps(scan: &Scan, facts: &[&TypedFact]) -> Result<usize, Obstacle> {
    let constant = |body: &TypedModel, node: &TypedNode| {
        let is_constant =
            |outlet: &OutletId| body.outlet_fact(*outlet).is_ok_and(|fact| fact.konst.is_some());
        is_product(node) && node.inputs.iter().any(is_constant)
    };
    if !scan.body.nodes().iter().any(|node| constant(&scan.body, node)) {
        return Err(Obstacle::TwoActivations);
    }
    let Some(n_steps) = iteration_count(&scan.input_mapping, facts) else {
        return Err(Obstacle::Loop("a loop that goes through nothing".to_string()));
    };
    let fixed = fixed(&n_steps)?;
    // What is read and written backwards comes one element at a time.
    let whole = |extent: &TDim, chunk: isize| {
        chunk >= -1 && *extent == (chunk.unsigned_abs() * fixed).to_dim()
    };
    let reads = scan.input_mapping.iter().zip(facts).all(|(mapping, fact)| match mapping {
        InputMapping::Scan(info) => whole(&fact.shape[info.axis], info.chunk),
        InputMapping::Full | InputMapping::State => true,
    });
    let writes = scan.output_mapping.iter().all(|mapping| {
        let Some((_, info)) = mapping.scan else { return true };
        info.chunk >= -1 && mapping.full_dim_hint.as_ref().is_none_or(|dim| whole(dim, info.chunk))
    });
    if scan.skip != 0 || !reads || !writes {
        return Err(Obstacle::Loop("a loop whose steps overlap or are left out".to_string()));
    }
    Ok(fixed)
}

/// A number of steps that is fixed and not too large.
pub(super) fn fixed(n_steps: &TDim) -> Result<usize, Obstacle> {
    match n_steps.to_usize() {
        Ok(n) if (1..=STEPS_MAX).contains(&n) => Ok(n),
        Ok(n) => {
            let what = format!("a loop of {n} steps, at most {STEPS_MAX} are written out");
            Err(Obstacle::Loop(what))
        }
        Err(_) => Err(Obstacle::Loop(format!("a loop of {n_steps} steps, whose number is open"))),
    }
}

struct Writer {
    model: TypedModel,
    shared: Shared,
}

impl Writer {
    /// A node as it is.
    fn copy(&mut self, node: &TypedNode, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
        let id = self.model.add_node(node.name.clone(), node.op.clone(), facts)?;
        for (slot, &input) in inputs.iter().enumerate() {
            self.model.add_edge(input, InletId::new(id, slot))?;
        }
        Ok((0..node.outputs.len()).map(|slot| OutletId::new(id, slot)).collect())
    }

    /// A loop, step by step; gives its outputs.
    fn write(
        &mut self,
        name: &str,
        scan: &Scan,
        n_steps: usize,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let constants = self.constants(name, &scan.body)?;
        let mut states: Vec<OutletId> = scan
            .input_mapping
            .iter()
            .zip(inputs)
            .filter(|(mapping, _)| mapping.is_state())
            .map(|(_, &input)| input)
            .collect();
        let mut parts: Vec<Vec<OutletId>> = vec![Vec::new(); scan.output_mapping.len()];
        for step in 0..n_steps {
            let prefix = format!("{name}.step{step}");
            let mut given = std::mem::take(&mut states).into_iter();
            let mut copied = constants.clone();
            for ((mapping, &outer), &inner) in
                scan.input_mapping.iter().zip(inputs).zip(&scan.body.inputs)
            {
                let outlet = match mapping {
                    InputMapping::Full => outer,
                    InputMapping::State => given.next().unwrap_or(outer),
                    InputMapping::Scan(info) => {
                        let at = if info.chunk < 0 { n_steps - 1 - step } else { step };
                        let each = info.chunk.unsigned_abs();
                        let slice = Slice::new(info.axis, at * each, (at + 1) * each);
                        let source = &scan.body.node(inner.node).name;
                        self.wire(format!("{prefix}.{source}"), slice, &[outer])?[0]
                    }
                };
                copied.insert(inner, outlet);
            }
            self.body(name, step, &scan.body, &mut copied)?;
            for ((index, mapping), inner) in
                scan.output_mapping.iter().enumerate().zip(&scan.body.outputs)
            {
                parts[index].push(copied[inner]);
                if mapping.state {
                    states.push(copied[inner]);
                }
            }
        }
        let n_outputs = scan
            .output_mapping
            .iter()
            .map(|mapping| {
                usize::from(mapping.scan.is_some()) + usize::from(mapping.last_value_slot.is_some())
            })
            .sum();
        let mut outputs: TVec<OutletId> = tvec![OutletId::new(0, 0); n_outputs];
        for (mapping, mut parts) in scan.output_mapping.iter().zip(parts) {
            if let (Some(slot), Some(&last)) = (mapping.last_value_slot, parts.last()) {
                outputs[slot] = last;
            }
            if let Some((slot, info)) = mapping.scan {
                if info.chunk < 0 {
                    parts.reverse();
                }
                let concat = TypedConcat { axis: info.axis };
                outputs[slot] = match parts[..] {
                    [one] => one,
                    _ => self.wire(format!("{name}.all{slot}"), concat, &parts)?[0],
                };
            }
        }
        Ok(outputs)
    }

    /// The constants of a body, which all steps share.
    fn constants(
        &mut self,
        name: &str,
        body: &TypedModel,
    ) -> TractResult<BTreeMap<OutletId, OutletId>> {
        let mut constants = BTreeMap::new();
        for node in body.nodes() {
            if let Some(constant) = node.op_as::<Const>() {
                let name = format!("{name}.{}", node.name);
                let copy = self.model.add_const(name, constant.val().clone())?;
                constants.insert(node.id.into(), copy);
            }
        }
        Ok(constants)
    }

    /// The nodes of one step.
    fn body(
        &mut self,
        name: &str,
        step: usize,
        body: &TypedModel,
        copied: &mut BTreeMap<OutletId, OutletId>,
    ) -> TractResult<()> {
        for id in body.eval_order()? {
            let node = body.node(id);
            if node.op_is::<TypedSource>() || node.op_is::<Const>() {
                continue;
            }
            let inputs: TVec<OutletId> = node.inputs.iter().map(|input| copied[input]).collect();
            let own = format!("{name}.step{step}.{}", node.name);
            if is_product(node) {
                self.shared.insert(own.clone(), format!("{name}.{}", node.name));
            }
            for (slot, outlet) in self.wire(own, node.op.clone(), &inputs)?.into_iter().enumerate()
            {
                copied.insert(OutletId::new(id, slot), outlet);
            }
        }
        Ok(())
    }

    /// A node, or the constants that it comes to: a first step may start from
    /// a state that is constant.
    fn wire(
        &mut self,
        name: String,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let outputs = self.model.wire_node(name.clone(), op, inputs)?;
        outputs
            .into_iter()
            .map(|outlet| match self.model.outlet_fact(outlet)?.konst.clone() {
                Some(constant) => self.model.add_const(format!("{name}.{}", outlet.slot), constant),
                None => Ok(outlet),
            })
            .collect()
    }
}
