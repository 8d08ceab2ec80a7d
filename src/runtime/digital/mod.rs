//! The digital side: pieces of the model that tract executes beside the
//! arrays.
//!
//! A [`Cut`] is tensor ids in, tensor ids out: the operators between them are
//! copied out of the typed graph into a tract model of their own, made once
//! and run for every batch. This folder and `frontend` are the only places that
//! know tract; others see a [`Value`].

mod operators;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use tract_onnx::prelude::*;

use crate::entity::TensorId;
use crate::frontend::{BATCH, Model, guarded};
use crate::tensor::{Tensor as Array, Values};

/// Why a piece of the model did not run; tract's words are kept.
#[derive(Debug, Clone, Error)]
pub enum DigitalError {
    /// The piece could not be prepared.
    #[error("the digital stage that makes {outputs} cannot be built: {reason}")]
    Build {
        /// Tensors it would make.
        outputs: String,
        /// tract's words.
        reason: String,
    },
    /// The piece failed on these inputs.
    #[error("the digital stage that makes {outputs} failed: {reason}")]
    Run {
        /// Tensors it makes.
        outputs: String,
        /// tract's words.
        reason: String,
    },
    /// A tensor id that the model does not have.
    #[error("{0} is not a tensor of the model")]
    UnknownTensor(TensorId),
    /// A value has an element type that cannot leave the digital side.
    #[error("a value of type {0} cannot be given out")]
    ElementType(String),
}

/// A tensor on the digital side.
#[derive(Debug, Clone)]
pub struct Value(TValue);

impl Value {
    /// Takes an array in.
    ///
    /// # Errors
    ///
    /// Number of values and shape disagree.
    pub fn from_array(array: &Array) -> Result<Self, DigitalError> {
        let shape = &array.shape;
        let tensor = match &array.values {
            Values::F32(v) => Tensor::from_shape(shape, v),
            Values::F64(v) => Tensor::from_shape(shape, v),
            Values::U8(v) => Tensor::from_shape(shape, v),
            Values::I8(v) => Tensor::from_shape(shape, v),
            Values::I32(v) => Tensor::from_shape(shape, v),
            Values::I64(v) => Tensor::from_shape(shape, v),
            Values::Bool(v) => Tensor::from_shape(shape, v),
        };
        tensor.map(|tensor| Self(tensor.into_tvalue())).map_err(|e| DigitalError::Run {
            outputs: "an input".to_string(),
            reason: e.to_string(),
        })
    }

    /// Takes f32 values in.
    ///
    /// # Errors
    ///
    /// Number of values and shape disagree.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, DigitalError> {
        let tensor = Tensor::from_shape(shape, values);
        tensor.map(|tensor| Self(tensor.into_tvalue())).map_err(|e| DigitalError::Run {
            outputs: "a crossbar layer's result".to_string(),
            reason: e.to_string(),
        })
    }

    /// Takes f32 values in, written where they stay: `fill` is given zeros.
    ///
    /// # Errors
    ///
    /// A shape of more values than memory can hold.
    pub fn f32_filled(
        shape: &[usize],
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Self, DigitalError> {
        let failed = |e: TractError| DigitalError::Run {
            outputs: "a crossbar layer's result".to_string(),
            reason: e.to_string(),
        };
        let mut tensor = Tensor::zero::<f32>(shape).map_err(failed)?;
        {
            let mut view = tensor.try_as_plain_ram_mut().map_err(failed)?;
            fill(view.as_slice_mut::<f32>().map_err(failed)?);
        }
        Ok(Self(tensor.into_tvalue()))
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The values, row-major, if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        self.0.as_plain_ram()?.as_slice::<f32>().ok()
    }

    /// Gives an array out.
    ///
    /// # Errors
    ///
    /// An element type that [`Values`] does not have.
    pub fn to_array(&self) -> Result<Array, DigitalError> {
        let unknown = || DigitalError::ElementType(format!("{:?}", self.0.datum_type()));
        let view = self.0.as_plain_ram().ok_or_else(unknown)?;
        let values = if let Ok(v) = view.as_slice::<f32>() {
            Values::F32(v.to_vec())
        } else if let Ok(v) = view.as_slice::<f64>() {
            Values::F64(v.to_vec())
        } else if let Ok(v) = view.as_slice::<i64>() {
            Values::I64(v.to_vec())
        } else if let Ok(v) = view.as_slice::<i32>() {
            Values::I32(v.to_vec())
        } else if let Ok(v) = view.as_slice::<u8>() {
            Values::U8(v.to_vec())
        } else if let Ok(v) = view.as_slice::<i8>() {
            Values::I8(v.to_vec())
        } else if let Ok(v) = view.as_slice::<bool>() {
            Values::Bool(v.to_vec())
        } else {
            return Err(unknown());
        };
        Array::new(self.shape().to_vec(), values).ok_or_else(unknown)
    }
}

/// A piece of the model, ready to run on batches of any size that the model
/// allows.
#[derive(Debug, Clone)]
pub struct Cut {
    plan: Arc<TypedRunnableModel>,
    outputs: String,
    /// Whether it takes the batch's extent as one more input.
    takes_batch: bool,
}

impl Cut {
    /// Cuts out what computes `outputs` from `inputs`.
    ///
    /// # Errors
    ///
    /// An id that is not of this model; a piece that also needs other tensors
    /// than `inputs`, named; or an operator that tract cannot prepare.
    pub fn new(
        model: &Model,
        inputs: &[TensorId],
        outputs: &[TensorId],
    ) -> Result<Self, DigitalError> {
        let names: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        let batch = model.typed.sym(BATCH);
        let outlet = |&t: &TensorId| model.outlet(t).ok_or(DigitalError::UnknownTensor(t));
        let from: Vec<OutletId> = inputs.iter().map(outlet).collect::<Result<_, _>>()?;
        let to: Vec<OutletId> = outputs.iter().map(outlet).collect::<Result<_, _>>()?;
        let build = |e: TractError| DigitalError::Build {
            outputs: names.clone(),
            reason: format!("{e:#}"),
        };
        // What makes a shape out of the batch's extent must learn it, though
        // none of its tensors may have the axis.
        let knows = |outlet: &OutletId| {
            let fact = model.typed.outlet_fact(*outlet);
            fact.is_ok_and(|fact| fact.shape.iter().any(|dim| *dim == batch.clone().into()))
        };
        let takes_batch = model.any_batch && !from.iter().any(knows);
        let made = guarded(|| {
            let mut piece = extract(&model.typed, &from, &to)?;
            if takes_batch {
                piece.add_source("batch.extent", u8::fact([TDim::from(batch.clone())]))?;
            }
            piece.into_optimized()?.into_runnable()
        });
        let panicked = |reason| DigitalError::Build { outputs: names.clone(), reason };
        let plan = made.map_err(panicked)?.map_err(build)?;
        Ok(Self { plan, outputs: names, takes_batch })
    }

    /// Runs the piece on one batch of `n_batch` inputs.
    ///
    /// # Errors
    ///
    /// tract refuses the inputs, for example because their shapes disagree.
    pub fn run(&self, inputs: Vec<Value>, n_batch: usize) -> Result<Vec<Value>, DigitalError> {
        let failed = |reason| DigitalError::Run { outputs: self.outputs.clone(), reason };
        let mut inputs: TVec<TValue> = inputs.into_iter().map(|value| value.0).collect();
        if self.takes_batch {
            let extent = Tensor::zero::<u8>(&[n_batch]).map_err(|e| failed(format!("{e:#}")))?;
            inputs.push(extent.into_tvalue());
        }
        let outputs = guarded(|| self.plan.run(inputs)).map_err(failed)?;
        let outputs = outputs.map_err(|e| failed(format!("{e:#}")))?;
        Ok(outputs.into_iter().map(Value).collect())
    }
}

/// A model of its own with the operators between `from` and `to`.
fn extract(typed: &TypedModel, from: &[OutletId], to: &[OutletId]) -> TractResult<TypedModel> {
    let mut piece = TypedModel { symbols: typed.symbols.clone(), ..TypedModel::default() };
    let mut copied: BTreeMap<OutletId, OutletId> = BTreeMap::new();
    for &outlet in from {
        let fact = typed.outlet_fact(outlet)?.without_value();
        let name = format!("{}.{}.in", typed.node(outlet.node).name, outlet.slot);
        copied.insert(outlet, piece.add_source(name, fact)?);
    }
    // What is needed, found backwards from the outputs.
    let mut needed = vec![false; typed.nodes().len()];
    let mut stack: Vec<OutletId> = to.to_vec();
    while let Some(outlet) = stack.pop() {
        if !copied.contains_key(&outlet) && !std::mem::replace(&mut needed[outlet.node], true) {
            stack.extend(typed.node(outlet.node).inputs.iter().copied());
        }
    }
    for id in typed.eval_order()? {
        if !needed[id] {
            continue;
        }
        let node = typed.node(id);
        if typed.inputs.iter().any(|input| input.node == id) {
            tract_onnx::tract_core::internal::bail!(
                "it also needs the model's input `{}`",
                node.name
            );
        }
        let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
        let (op, inputs) = operators::quicker(typed, node)
            .unwrap_or_else(|| (node.op.clone(), node.inputs.to_vec()));
        let copy = piece.add_node(node.name.clone(), op, facts)?;
        for (slot, input) in inputs.iter().enumerate() {
            piece.add_edge(copied[input], InletId::new(copy, slot))?;
        }
        for slot in 0..node.outputs.len() {
            copied.entry(OutletId::new(id, slot)).or_insert(OutletId::new(copy, slot));
        }
    }
    let outputs: Vec<OutletId> = to.iter().map(|outlet| copied[outlet]).collect();
    piece.select_output_outlets(&outputs)?;
    Ok(piece)
}
