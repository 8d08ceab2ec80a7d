//! The oracle: naive integer execution of the quantised graph.
//!
//! It shares with the executor only the digital stages. It knows nothing of
//! tiles, planes or conversions: every output is a sum of products of
//! integers, indexed straight from the loop nest.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::digital::{Cut, Value};
use super::{RunError, n_batch};
use crate::entity::{LayerId, StepId, TensorId};
use crate::frontend::Model;
use crate::graph::{CrossbarLayer, LoopRef, unflatten};
use crate::quantize::{QuantizedLayer, QuantizedLayers};
use crate::schedule::{Work, work};
use crate::tensor::Tensor;

/// The quantised graph, ready to be run.
#[derive(Debug)]
pub struct Reference<'a> {
    model: &'a Model,
    quantized: &'a QuantizedLayers,
    work: Vec<(Work, Option<Cut>)>,
}

impl<'a> Reference<'a> {
    /// Prepares the digital stages.
    ///
    /// # Errors
    ///
    /// A stage that tract cannot prepare.
    pub fn new(model: &'a Model, quantized: &'a QuantizedLayers) -> Result<Self, RunError> {
        let work = work(&model.graph)
            .into_iter()
            .map(|item| {
                let cut = match &item {
                    Work::Stage(stage) => Some(Cut::new(model, &stage.inputs, &stage.outputs)?),
                    Work::Crossbar(_) => None,
                };
                Ok((item, cut))
            })
            .collect::<Result<_, RunError>>()?;
        Ok(Self { model, quantized, work })
    }

    /// Runs one batch, as [`super::Executor::run`] does.
    ///
    /// # Errors
    ///
    /// A stage fails on these inputs.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let n_batch = n_batch(&self.model.inputs, inputs)?;
        let mut tensors: BTreeMap<TensorId, Value> = BTreeMap::new();
        for (&id, input) in self.model.graph.inputs().iter().zip(inputs) {
            tensors.insert(id, Value::from_array(input)?);
        }
        let missing = |tensor| RunError::MissingTensor { step: StepId(0), tensor };
        for (item, cut) in &self.work {
            match (item, cut) {
                (Work::Stage(stage), Some(cut)) => {
                    let values = stage
                        .inputs
                        .iter()
                        .map(|t| tensors.get(t).cloned().ok_or_else(|| missing(*t)))
                        .collect::<Result<_, _>>()?;
                    tensors.extend(stage.outputs.iter().copied().zip(cut.run(values, n_batch)?));
                }
                (Work::Crossbar(id), _) => {
                    let (output, value) = self.crossbar(*id, &tensors, n_batch)?;
                    tensors.insert(output, value);
                }
                (Work::Stage(_), None) => {}
            }
        }
        let outputs = self.model.graph.outputs();
        outputs
            .iter()
            .map(|&t| Ok(tensors.get(&t).ok_or_else(|| missing(t))?.to_array()?))
            .collect()
    }

    fn crossbar(
        &self,
        id: LayerId,
        tensors: &BTreeMap<TensorId, Value>,
        n_batch: usize,
    ) -> Result<(TensorId, Value), RunError> {
        let layer = self.model.graph.layer(id);
        let (input, output) = (layer.inputs[0], layer.outputs[0]);
        let wrong = |reason: &str| RunError::LayerInput {
            layer: id,
            name: layer.name.clone(),
            reason: reason.to_string(),
        };
        let value = tensors
            .get(&input)
            .ok_or(RunError::MissingTensor { step: StepId(0), tensor: input })?;
        let crossbar = self.model.graph.crossbar(id).ok_or_else(|| wrong("not on arrays"))?;
        let integers = self.quantized.get(&id).ok_or_else(|| wrong("not quantised"))?;
        let values = value.as_f32().ok_or_else(|| wrong("not f32"))?;
        let shape: Vec<usize> = self.model.graph.tensors()[output]
            .shape
            .iter()
            .filter_map(|extent| extent.for_batch(n_batch))
            .collect();
        let results = product(crossbar, integers, values, value.shape(), &shape, n_batch);
        Ok((output, Value::from_f32(&shape, &results)?))
    }
}

/// One crossbar layer: every output a sum of level times (code - zero point).
fn product(
    crossbar: &CrossbarLayer,
    integers: &QuantizedLayer,
    values: &[f32],
    input_shape: &[usize],
    output_shape: &[usize],
    n_batch: usize,
) -> Vec<f32> {
    let nest = &crossbar.nest;
    let coding = &integers.coding;
    let code = |x: f32| {
        let nearest = f64::from(x / coding.scale).round_ties_even() as i64;
        let (min, max) = (i64::from(coding.min_code()), i64::from(coding.max_code()));
        (nearest + i64::from(coding.zero_point)).clamp(min, max)
    };
    let zero_point = i64::from(coding.zero_point);
    let extents: Vec<usize> =
        nest.positions.iter().filter_map(|extent| extent.for_batch(n_batch)).collect();
    let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
    let n_positions = nest.positions_of_batch(n_batch);
    let results: Vec<Vec<(usize, f32)>> = (0..n_positions)
        .into_par_iter()
        .map(|position| {
            let position = unflatten(position, &extents);
            let mut results = Vec::with_capacity(nest.n_groups() * n_columns);
            for group in 0..nest.n_groups() {
                let groups = unflatten(group, &nest.groups);
                let offsets: Vec<i64> = (0..n_rows)
                    .map(|row| {
                        let rows = unflatten(row, &nest.rows);
                        let offset = nest.input_offset(input_shape, |l| match l {
                            LoopRef::Position(i) => position[i],
                            LoopRef::Group(i) => groups[i],
                            LoopRef::Row(i) => rows[i],
                            LoopRef::Column(_) => 0,
                        });
                        // Padding is a real zero.
                        offset.map_or(zero_point, |offset| code(values[offset])) - zero_point
                    })
                    .collect();
                for column in 0..n_columns {
                    let columns = unflatten(column, &nest.columns);
                    let sum: i64 = (0..n_rows)
                        .map(|row| {
                            let index = (group * n_rows + row) * n_columns + column;
                            i64::from(integers.levels[index]) * offsets[row]
                        })
                        .sum();
                    let scale = f64::from(integers.weight_scales[group * n_columns + column])
                        * f64::from(coding.scale);
                    let bias = f64::from(integers.bias[group * n_columns + column]);
                    let real = sum as f64 * scale + bias;
                    let place = nest.output_offset(output_shape, |l| match l {
                        LoopRef::Position(i) => position[i],
                        LoopRef::Group(i) => groups[i],
                        LoopRef::Column(i) => columns[i],
                        LoopRef::Row(_) => 0,
                    });
                    results.extend(place.map(|place| (place, real as f32)));
                }
            }
            results
        })
        .collect();
    let mut output = vec![0.0; output_shape.iter().product()];
    for (place, value) in results.into_iter().flatten() {
        output[place] = value;
    }
    output
}
