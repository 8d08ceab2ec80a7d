//! Where a crossbar layer's codes and results lie in memory.
//!
//! Codes are kept in a copy of the input tensor with its padding filled in, so
//! that the vector of a position is found by adding two tables of offsets,
//! without a test for every value:
//!
//! ```text
//! address of (position, line) = position_offset[position] + line_offset[line]
//! ```

use std::borrow::Cow;

use crate::graph::{AxisIndex, Extent, LoopNest, LoopRef, unflatten};
use crate::quantize::InputCoding;

/// Address tables of one layer for one input. Inputs of a batch are worked on
/// one after the other, wherever the model has its batch axis
/// ([`Self::inputs_apart`], [`Self::batch_together`]).
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Extents of the input tensor for one input, and of the padded copy.
    shape: Vec<usize>,
    padded: Vec<usize>,
    padding: Vec<usize>,
    /// Values of the padded copy for one input.
    pub n_codes: usize,
    /// Values of the output tensor for one input.
    pub n_results: usize,
    /// Extents of the output tensor.
    output: Vec<Extent>,
    /// Elements of one input between two axes of the batch, of the input and
    /// of the output tensor: their runs.
    input_run: usize,
    output_run: usize,
    /// Start of each position's vector in the padded copy.
    pub position_codes: Vec<u32>,
    /// Offset of each input, `[group][row]`.
    pub line_codes: Vec<u32>,
    /// Start of each position's results in the output tensor.
    pub position_results: Vec<u32>,
    /// Offset of each output, `[group][column]`.
    pub column_results: Vec<u32>,
}

impl Layout {
    /// Lays a layer out; the error says what does not fit.
    pub(super) fn new(
        nest: &LoopNest,
        input: &[Extent],
        output: &[Extent],
    ) -> Result<Self, String> {
        if input.len() != nest.input.len() || output.len() != nest.output.len() {
            return Err(format!(
                "tensors of {} and {} axes, index maps of {} and {}",
                input.len(),
                output.len(),
                nest.input.len(),
                nest.output.len()
            ));
        }
        let fixed = |extents: &[Extent]| -> Result<Vec<usize>, String> {
            extents
                .iter()
                .map(|e| e.for_batch(1).ok_or(format!("an axis of open extent `{e}`")))
                .collect()
        };
        let (shape, output_shape) = (fixed(input)?, fixed(output)?);
        let padded = shape
            .iter()
            .zip(&nest.input)
            .map(|(&extent, axis)| {
                let reach: Option<usize> =
                    axis.terms.iter().try_fold(0usize, |sum, &(l, stride)| {
                        let last = nest.extent(l, 1)?.checked_sub(1)?;
                        sum.checked_add(last.checked_mul(stride)?)
                    });
                let reach = reach.ok_or("an index map without end")?;
                Ok((axis.padding + extent).max(reach + 1))
            })
            .collect::<Result<Vec<usize>, &str>>()?;
        let n_codes = total(&padded)?;
        let n_results = total(&output_shape)?;
        for (axis, &extent) in nest.output.iter().zip(&output_shape) {
            let reach: usize = axis
                .terms
                .iter()
                .map(|&(l, stride)| (nest.extent(l, 1).unwrap_or(1) - 1) * stride)
                .sum();
            if reach >= extent {
                return Err(format!("an output axis of extent {extent} is left"));
            }
        }
        let positions: Vec<usize> =
            nest.positions.iter().filter_map(|extent| extent.for_batch(1)).collect();
        let table = |map: &[AxisIndex], shape: &[usize], loops: Loops<'_>| {
            offsets(map, &strides(shape), loops)
        };
        let position = Loops::Positions(&positions);
        Ok(Self {
            position_codes: table(&nest.input, &padded, position),
            line_codes: table(&nest.input, &padded, Loops::Blocks(&nest.groups, &nest.rows, true)),
            position_results: table(&nest.output, &output_shape, position),
            column_results: table(
                &nest.output,
                &output_shape,
                Loops::Blocks(&nest.groups, &nest.columns, false),
            ),
            padding: nest.input.iter().map(|axis| axis.padding).collect(),
            input_run: run(input, &shape),
            output_run: run(output, &output_shape),
            output: output.to_vec(),
            shape,
            padded,
            n_codes,
            n_results,
        })
    }

    /// Values of the input tensor for one input.
    pub(super) fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Shape of the output tensor for a batch.
    pub(super) fn output_shape(&self, n_batch: usize) -> Vec<usize> {
        self.output.iter().filter_map(|extent| extent.for_batch(n_batch)).collect()
    }

    /// The values of a batch of `n`, input after input.
    pub(super) fn inputs_apart<'a>(&self, values: &'a [f32], n: usize) -> Cow<'a, [f32]> {
        exchange(Cow::Borrowed(values), self.n_values() / self.input_run.max(1), n, self.input_run)
    }

    /// The results of `n` inputs, which come input after input, as the output
    /// tensor has them.
    pub(super) fn batch_together<'a>(&self, results: &'a [f32], n: usize) -> Cow<'a, [f32]> {
        let n_runs = self.n_results / self.output_run.max(1);
        exchange(Cow::Borrowed(results), n, n_runs, self.output_run)
    }

    /// Codes of one input with the padding, which is the code of zero, filled
    /// in; the index of a value that is not finite as error.
    pub(super) fn encode(
        &self,
        values: &[f32],
        coding: &InputCoding,
        codes: &mut [u16],
    ) -> Result<(), usize> {
        // The low bits of two's complement, as many as there are planes.
        let mask = u16::MAX >> (16 - coding.bits.clamp(1, 16));
        let zero = coding.zero_point.clamp(coding.min_code(), coding.max_code());
        codes.fill(zero as u16 & mask);
        let run = self.shape.last().copied().unwrap_or(1);
        let outer = &self.shape[..self.shape.len().saturating_sub(1)];
        let padded = strides(&self.padded);
        for (index, values) in values.chunks_exact(run.max(1)).enumerate() {
            let counters = unflatten(index, outer);
            let start: usize = counters
                .iter()
                .zip(&self.padding)
                .zip(&padded)
                .map(|((counter, padding), stride)| (counter + padding) * stride)
                .sum::<usize>()
                + self.padding.last().copied().unwrap_or(0);
            for (offset, &value) in values.iter().enumerate() {
                if !value.is_finite() {
                    return Err(index * run + offset);
                }
                codes[start + offset] = coding.encode(value) as u16 & mask;
            }
        }
        Ok(())
    }
}

/// Elements of one input that lie together in a batch: everything from the
/// batch axis on, whose extent is that of one input here.
fn run(extents: &[Extent], shape: &[usize]) -> usize {
    let batch = extents.iter().position(|extent| matches!(extent, Extent::PerInput(_)));
    shape[batch.unwrap_or(0)..].iter().product()
}

/// `[outer][middle][run]` as `[middle][outer][run]`.
fn exchange(values: Cow<'_, [f32]>, outer: usize, middle: usize, run: usize) -> Cow<'_, [f32]> {
    if outer <= 1 || middle <= 1 {
        return values;
    }
    let runs = |m: usize| (0..outer).map(move |o| (o * middle + m) * run);
    let starts = (0..middle).flat_map(runs);
    Cow::Owned(starts.flat_map(|start| &values[start..start + run]).copied().collect())
}

/// Elements between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn total(shape: &[usize]) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent))
        .filter(|&n| u32::try_from(n).is_ok())
        .ok_or_else(|| "a tensor of more than 2^32 values".to_string())
}

/// Which loops a table of offsets runs over.
#[derive(Clone, Copy)]
enum Loops<'a> {
    /// Position loops.
    Positions(&'a [usize]),
    /// Groups outside, then rows (`true`) or columns.
    Blocks(&'a [usize], &'a [usize], bool),
}

/// Offsets for all counters of some loops, the others at zero.
fn offsets(map: &[AxisIndex], strides: &[usize], loops: Loops<'_>) -> Vec<u32> {
    let all: Vec<(LoopRef, usize)> = match loops {
        Loops::Positions(extents) => {
            extents.iter().enumerate().map(|(i, &e)| (LoopRef::Position(i), e)).collect()
        }
        Loops::Blocks(groups, inner, rows) => {
            let inner = inner
                .iter()
                .enumerate()
                .map(|(i, &e)| (if rows { LoopRef::Row(i) } else { LoopRef::Column(i) }, e));
            let groups = groups.iter().enumerate().map(|(i, &e)| (LoopRef::Group(i), e));
            groups.chain(inner).collect()
        }
    };
    let mut table = vec![0u32];
    for (loop_ref, extent) in all {
        let step: usize = map
            .iter()
            .zip(strides)
            .flat_map(|(axis, stride)| axis.terms.iter().map(move |term| (term, stride)))
            .filter(|((l, _), _)| *l == loop_ref)
            .map(|((_, factor), stride)| factor * stride)
            .sum();
        // Offsets stay below the tensor's size, which fits 32 bits.
        table = table
            .iter()
            .flat_map(|&start| (0..extent).map(move |counter| start + (counter * step) as u32))
            .collect();
    }
    table
}
