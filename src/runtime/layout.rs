//! Where a crossbar layer's codes and results lie in memory.
//!
//! Codes are written to a copy of the input tensor with its padding filled in,
//! and from there turned into the patterns that drive bundles of lines. The
//! patterns of a position are found by adding two offsets, without a test for
//! every value:
//!
//! ```text
//! pattern of (position, bundle) = position_patterns[position] + bundle.offset
//! ```

use std::borrow::Cow;

use super::bundles::{Bundler, Step};
use crate::chip::PatternMap;
use crate::graph::{AxisIndex, Extent, LoopNest, LoopRef, unflatten};

/// Address tables of one layer for one input. Inputs of a batch are worked on
/// one after the other, wherever the model has its batch axis
/// ([`Self::inputs_apart`], [`Self::batch_together`]).
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Extents of the input tensor for one input, and of the padded copy.
    shape: Vec<usize>,
    padded: Vec<usize>,
    /// Where each run along the last axis begins in the padded copy.
    pub run_codes: Vec<u32>,
    /// Values of the output tensor for one input.
    pub n_results: usize,
    /// Where windows reach past its border: values of a tensor that holds those
    /// too, and where each of its runs lies.
    pub overhang: Option<Overhang>,
    /// Extents of the output tensor.
    output: Vec<Extent>,
    /// Elements of one input between two axes of the batch, of the input and
    /// of the output tensor: their runs.
    input_run: usize,
    output_run: usize,
    /// Start of each position's patterns.
    pub position_patterns: Vec<u32>,
    /// Start of each position's results in the output tensor.
    pub position_results: Vec<u32>,
    /// Whether each position's results are right behind those of the one
    /// before.
    pub are_positions_adjacent: bool,
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
        total(&padded)?;
        let n_results = total(&output_shape)?;
        let made: Vec<usize> = nest
            .output
            .iter()
            .zip(&output_shape)
            .map(|(axis, &extent)| {
                let last = |&(l, stride)| (nest.extent(l, 1).unwrap_or(1) - 1) * stride;
                extent.max(axis.terms.iter().map(last).sum::<usize>() + 1)
            })
            .collect();
        let overhang = match made == output_shape {
            true => None,
            false => Some(Overhang::new(nest, &made, &output_shape)?),
        };
        let positions: Vec<usize> =
            nest.positions.iter().filter_map(|extent| extent.for_batch(1)).collect();
        let positions = numbered(LoopRef::Position, &positions);
        let mut columns = numbered(LoopRef::Group, &nest.groups);
        columns.extend(numbered(LoopRef::Column, &nest.columns));
        let (walk, results) = (strides(&walked(nest, &padded)), strides(&made));
        let position_results = offsets(&nest.output, &results, &positions);
        Ok(Self {
            position_patterns: offsets(&nest.input, &walk, &positions),
            are_positions_adjacent: position_results.windows(2).all(|two| two[1] == two[0] + 1),
            position_results,
            column_results: offsets(&nest.output, &results, &columns),
            run_codes: run_codes(nest, &shape, &padded),
            input_run: run(input, &shape),
            output_run: run(output, &output_shape),
            output: output.to_vec(),
            shape,
            padded,
            n_results,
            overhang,
        })
    }

    /// Values of the padded copy for one input.
    pub(super) fn n_codes(&self) -> usize {
        self.padded.iter().product()
    }

    /// Extents of the padded copy.
    pub(super) fn padded(&self) -> &[usize] {
        &self.padded
    }

    /// Values of a run along the last axis of the input tensor.
    pub(super) fn run_length(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
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

    /// Whether the results of `n` inputs lie one after the other in the output
    /// tensor.
    pub(super) fn is_batch_outermost(&self, n: usize) -> bool {
        n <= 1 || self.n_results <= self.output_run
    }

    /// The results of `n` inputs, which come input after input, as the output
    /// tensor has them.
    pub(super) fn batch_together<'a>(&self, results: &'a [f32], n: usize) -> Cow<'a, [f32]> {
        let n_runs = self.n_results / self.output_run.max(1);
        exchange(Cow::Borrowed(results), n, n_runs, self.output_run)
    }

    /// Collects the patterns of the layer's tiles.
    pub(super) fn bundler(&self, nest: &LoopNest) -> Bundler {
        let (codes, addresses) = (strides(&self.padded), strides(&walked(nest, &self.padded)));
        let is_walked: Vec<bool> = nest.input.iter().map(is_walked).collect();
        let groups = (0..nest.groups.len()).map(LoopRef::Group);
        let rows = (0..nest.rows.len()).map(LoopRef::Row);
        let steps = groups.chain(rows).map(|own| {
            let mut step = Step { codes: 0, walked_codes: 0, addresses: 0 };
            for (axis, index) in nest.input.iter().enumerate() {
                for (_, factor) in index.terms.iter().filter(|(term, _)| *term == own) {
                    step.codes += factor * codes[axis];
                    if is_walked[axis] {
                        step.walked_codes += factor * codes[axis];
                        step.addresses += factor * addresses[axis];
                    }
                }
            }
            step
        });
        let steps = steps.collect();
        // Neighbours along the last axis that is walked, runs along the others.
        let last = is_walked.iter().rposition(|&walked| walked);
        let (run_length, stride) = last.map_or((1, 1), |axis| (self.padded[axis], codes[axis]));
        let mut runs = vec![0u32];
        for axis in (0..last.unwrap_or(0)).filter(|&axis| is_walked[axis]) {
            let (extent, step) = (self.padded[axis] as u32, codes[axis] as u32);
            let along = |&start: &u32| (0..extent).map(move |index| start + index * step);
            runs = runs.iter().flat_map(along).collect();
        }
        let map = PatternMap { slots: Vec::new(), runs, run_length, stride };
        Bundler::new(steps, self.position_patterns.len(), map)
    }
}

/// A tensor of results that is larger than the layer's output: the last windows
/// of a row make positions past its border, which go nowhere.
#[derive(Debug, Clone)]
pub(super) struct Overhang {
    /// Values of the larger tensor for one input.
    pub n_made: usize,
    /// Values of a run along the last axis of the output.
    run: usize,
    /// Where each run of the output begins in the larger tensor.
    starts: Vec<u32>,
}

impl Overhang {
    /// Only a window's loops, which come with a loop of columns, may leave the
    /// output; the error names an axis that others leave.
    fn new(nest: &LoopNest, made: &[usize], output: &[usize]) -> Result<Self, String> {
        for ((axis, &made), &extent) in nest.output.iter().zip(made).zip(output) {
            let is_window = |(term, stride): &(LoopRef, usize)| match term {
                LoopRef::Column(_) => {
                    nest.extent(*term, 1).is_some_and(|n| made - extent < n * stride)
                }
                _ => false,
            };
            if made > extent && !axis.terms.iter().any(is_window) {
                return Err(format!("an output axis of extent {extent} is left"));
            }
        }
        total(made)?;
        let (outer, run) = match output.split_last() {
            Some((&run, outer)) => (outer, run),
            None => (output, 1),
        };
        let strides = strides(made);
        let start = |index| {
            let counters = unflatten(index, outer);
            counters.iter().zip(&strides).map(|(counter, stride)| counter * stride).sum::<usize>()
        };
        let starts = (0..outer.iter().product()).map(|index| start(index) as u32).collect();
        Ok(Self { n_made: made.iter().product(), run, starts })
    }

    /// Copies what lies inside the output.
    pub(super) fn crop(&self, made: &[f32], results: &mut [f32]) {
        for (&start, results) in self.starts.iter().zip(results.chunks_exact_mut(self.run.max(1))) {
            results.copy_from_slice(&made[start as usize..start as usize + self.run]);
        }
    }
}

/// Where each run along the last axis of a tensor begins in its padded copy.
pub(crate) fn run_codes(nest: &LoopNest, shape: &[usize], padded: &[usize]) -> Vec<u32> {
    let outer = &shape[..shape.len().saturating_sub(1)];
    let strides = strides(padded);
    let starts = (0..outer.iter().product()).map(|index| {
        let mut counters = unflatten(index, outer);
        counters.push(0);
        let places = counters.iter().zip(&nest.input).zip(&strides);
        places.map(|((counter, axis), stride)| (counter + axis.padding) * stride).sum::<usize>()
            as u32
    });
    starts.collect()
}

/// Whether output positions walk an axis.
fn is_walked(axis: &AxisIndex) -> bool {
    axis.terms.iter().any(|(term, _)| matches!(term, LoopRef::Position(_)))
}

/// Extents of the addresses that output positions walk: 1 along other axes.
fn walked(nest: &LoopNest, padded: &[usize]) -> Vec<usize> {
    let extent = |(axis, &extent): (&AxisIndex, &usize)| if is_walked(axis) { extent } else { 1 };
    nest.input.iter().zip(padded).map(extent).collect()
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
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
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

/// Loops of one kind with their extents, outermost first.
pub(crate) fn numbered(kind: fn(usize) -> LoopRef, extents: &[usize]) -> Vec<(LoopRef, usize)> {
    extents.iter().enumerate().map(|(index, &extent)| (kind(index), extent)).collect()
}

/// Offsets for all counters of some loops, outermost first, the others at zero.
pub(crate) fn offsets(
    map: &[AxisIndex],
    strides: &[usize],
    loops: &[(LoopRef, usize)],
) -> Vec<u32> {
    let mut table = vec![0u32];
    for &(loop_ref, extent) in loops {
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
