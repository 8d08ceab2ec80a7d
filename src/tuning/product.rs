//! The backward rule of a crossbar layer: from the gradient of its results to
//! those of its weights and of its inputs.
//!
//! The layer computes, at every output position,
//!
//! ```text
//! y[column] = sum over rows of w[row][column] x[row] + bias
//! ```
//!
//! with `x` the value that the code stands for which drove the line. So
//!
//! ```text
//! dL/dw[row][column] = sum over positions of x[row] dL/dy[column]
//! dL/dx[row]         = sum over positions, columns of w[row][column] dL/dy[column]
//! ```
//!
//! where the second is a transposed reading of the same cells. Rounding to
//! codes is passed as if it were not there, clipping lets nothing through.

use super::lanes::{add_outer, weighted_sum};
use crate::entity::LayerId;
use crate::graph::{Extent, LoopNest, LoopRef, unflatten};
use crate::quantize::InputCoding;
use crate::schedule::{ExecutionPlan, StepKind};

/// Marks a row that lies in the padding.
const PADDING: u32 = u32::MAX;

/// Positions whose shares of a matrix's gradient are added at once.
const TERMS: usize = 8;

/// A crossbar layer, ready to be walked backwards.
#[derive(Debug, Clone)]
pub(super) struct Product {
    coding: InputCoding,
    /// Where the value of each row lies in the input tensor of one sample,
    /// `[position][group][row]`.
    rows: Vec<u32>,
    /// The replica that drives each position.
    replicas: Vec<u32>,
    results: Results,
    n_groups: usize,
    n_rows: usize,
    n_columns: usize,
    n_inputs: usize,
}

impl Product {
    /// A layer of a plan, whose tensors have these extents; the error says why
    /// it cannot be walked backwards.
    pub fn new(
        plan: &ExecutionPlan,
        id: LayerId,
        (input, output): (&[Extent], &[Extent]),
    ) -> Result<Self, String> {
        let layer = plan.layers.get(&id).ok_or("the plan does not have it")?;
        let nest = &layer.nest;
        let results = Results::new(nest, output)?;
        let input = of_one(input)?;
        let extents: Vec<usize> = nest.positions.iter().filter_map(|e| e.for_batch(1)).collect();
        let (n_groups, n_rows, n_columns) = (nest.n_groups(), nest.n_rows(), nest.n_columns());
        let n_positions: usize = extents.iter().product();
        let mut rows = Vec::with_capacity(n_positions * n_groups * n_rows);
        for position in (0..n_positions).map(|nth| unflatten(nth, &extents)) {
            for group in (0..n_groups).map(|nth| unflatten(nth, &nest.groups)) {
                for row in (0..n_rows).map(|nth| unflatten(nth, &nest.rows)) {
                    let offset = nest.input_offset(&input, |l| match l {
                        LoopRef::Position(i) => position[i],
                        LoopRef::Group(i) => group[i],
                        LoopRef::Row(i) => row[i],
                        LoopRef::Column(_) => 0,
                    });
                    rows.push(offset.map_or(PADDING, |offset| offset as u32));
                }
            }
        }
        let n_inputs = input.iter().product();
        let coding = layer.coding;
        let replicas = replicas(plan, id, n_positions);
        Ok(Self { coding, rows, replicas, results, n_groups, n_rows, n_columns, n_inputs })
    }

    /// Weights of all replicas, `[replica][group][row][column]`.
    pub fn n_weights(&self) -> usize {
        let n_replicas = self.replicas.iter().max().map_or(1, |&last| last as usize + 1);
        n_replicas * self.of_replica()
    }

    /// Weights of one.
    fn of_replica(&self) -> usize {
        self.n_groups * self.n_rows * self.n_columns
    }

    /// Values of the input tensor of one sample.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// The values that drive the lines for these inputs of one sample.
    fn driven(&self, inputs: &[f32]) -> Vec<f32> {
        let InputCoding { scale, zero_point, .. } = self.coding;
        let value = |&x: &f32| (self.coding.encode(x) - zero_point) as f32 * scale;
        inputs.iter().map(value).collect()
    }

    /// Adds what one sample says of the weights to their gradient.
    pub fn add_weights(&self, inputs: &[f32], results: &[f32], weights: &mut [f32]) {
        let driven = self.driven(inputs);
        let n_weights = self.n_rows * self.n_columns;
        let (mut factors, mut lanes, mut of) = (Vec::new(), Vec::new(), 0);
        let mut add = |matrix: usize, factors: &mut Vec<f32>, lanes: &mut Vec<f32>| {
            let own = &mut weights[matrix * n_weights..][..n_weights];
            add_outer(factors, lanes, self.n_rows, own);
            factors.clear();
            lanes.clear();
        };
        self.walk(results, |matrix, rows, results| {
            if matrix != of || lanes.len() >= TERMS * self.n_columns {
                add(of, &mut factors, &mut lanes);
                of = matrix;
            }
            let value = |&at: &u32| if at == PADDING { 0.0 } else { driven[at as usize] };
            factors.extend(rows.iter().map(value));
            lanes.extend_from_slice(results);
        });
        add(of, &mut factors, &mut lanes);
    }

    /// Adds what one sample says of what is added to each column,
    /// `[group][column]`, to its gradient.
    pub fn add_biases(&self, results: &[f32], biases: &mut [f64]) {
        for places in self.results.positions() {
            for (bias, &at) in biases.iter_mut().zip(places).filter(|(_, at)| **at != OUTSIDE) {
                *bias += f64::from(results[at as usize]);
            }
        }
    }

    /// Columns of all groups, each of which has a bias.
    pub fn n_biases(&self) -> usize {
        self.n_groups * self.n_columns
    }

    /// Weights, `[replica][group][row][column]`, as the way back reads them:
    /// `[replica][group][column][row]`.
    pub fn by_column(&self, weights: &[f32]) -> Vec<f32> {
        let (n_rows, n) = (self.n_rows, self.n_columns);
        let matrices = weights.chunks_exact((n_rows * n).max(1));
        let turned = matrices.flat_map(|own| {
            (0..n).flat_map(move |column| (0..n_rows).map(move |row| own[row * n + column]))
        });
        turned.collect()
    }

    /// The gradient of one sample's inputs, by weights that are known,
    /// [`by_column`](Self::by_column).
    pub fn inputs(&self, inputs: &[f32], results: &[f32], by_column: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; inputs.len()];
        let mut sums = vec![0.0; self.n_rows];
        let n_weights = self.n_rows * self.n_columns;
        self.walk(results, |matrix, rows, results| {
            weighted_sum(results, &by_column[matrix * n_weights..][..n_weights], &mut sums);
            for (&at, sum) in rows.iter().zip(&sums) {
                if at != PADDING {
                    gradient[at as usize] += sum;
                }
            }
        });
        self.hold(inputs, &mut gradient);
        gradient
    }

    /// The gradient of one sample's inputs, by what a reading of the arrays says
    /// of each position: from the gradients of its results, `[group][column]`,
    /// to what these make of its inputs, `[group][row]`.
    pub fn inputs_by(
        &self,
        inputs: &[f32],
        results: &[f32],
        mut read: impl FnMut(usize, u32, &[f32], &mut [f32]),
    ) -> Vec<f32> {
        let mut gradient = vec![0.0; inputs.len()];
        let mut errors = vec![0.0; self.n_groups * self.n_columns];
        let mut sums = vec![0.0; self.n_groups * self.n_rows];
        let rows = self.rows.chunks_exact(sums.len().max(1));
        let positions = self.results.positions().zip(&self.replicas).zip(rows);
        for (position, ((places, &replica), rows)) in positions.enumerate() {
            gather(results, places, &mut errors);
            if errors.iter().all(|&error| error == 0.0) {
                continue;
            }
            read(position, replica, &errors, &mut sums);
            for (&at, sum) in rows.iter().zip(&sums) {
                if at != PADDING {
                    gradient[at as usize] += sum;
                }
            }
        }
        self.hold(inputs, &mut gradient);
        gradient
    }

    /// The gradients of results of positions that have any, `[group][column]`
    /// of each, of a sample.
    pub fn errors(&self, results: &[f32]) -> Vec<f32> {
        let mut errors = Vec::new();
        let mut own = vec![0.0; self.n_groups * self.n_columns];
        for places in self.results.positions() {
            gather(results, places, &mut own);
            if own.iter().any(|&y| y != 0.0) {
                errors.extend_from_slice(&own);
            }
        }
        errors
    }

    /// What is clipped lets nothing through.
    fn hold(&self, inputs: &[f32], gradient: &mut [f32]) {
        let InputCoding { scale, zero_point, .. } = self.coding;
        let bound = |code: i32| (code - zero_point) as f32 * scale;
        let held = bound(self.coding.min_code())..=bound(self.coding.max_code());
        for (gradient, input) in gradient.iter_mut().zip(inputs) {
            if !held.contains(input) {
                *gradient = 0.0;
            }
        }
    }

    /// Goes through positions and groups, each with the number of its matrix,
    /// `[replica][group]`, where its rows lie, and the gradient of its results.
    fn walk(&self, results: &[f32], mut visit: impl FnMut(usize, &[u32], &[f32])) {
        let mut own = vec![0.0; self.n_columns];
        let mut rows = self.rows.chunks_exact(self.n_rows);
        for (places, &replica) in self.results.positions().zip(&self.replicas) {
            for (group, places) in places.chunks_exact(self.n_columns).enumerate() {
                let Some(rows) = rows.next() else { return };
                gather(results, places, &mut own);
                if own.iter().any(|&y| y != 0.0) {
                    visit(replica as usize * self.n_groups + group, rows, &own);
                }
            }
        }
    }
}

/// The replica of a layer that drives each of its positions.
fn replicas(plan: &ExecutionPlan, id: LayerId, n_positions: usize) -> Vec<u32> {
    let mut replicas = vec![0; n_positions];
    for step in plan.steps.values() {
        let StepKind::Waves { layer, tiles, positions, .. } = &step.kind else { continue };
        let own = tiles.first().and_then(|&tile| plan.tiles.get(tile));
        if let Some(tile) = own.filter(|_| *layer == id) {
            for position in positions.iter() {
                if let Some(own) = replicas.get_mut(position) {
                    *own = tile.place.replica;
                }
            }
        }
    }
    replicas
}

/// Marks a result past the border of the output, which goes nowhere: where a
/// wave makes several positions, those of the last windows of a row.
pub(super) const OUTSIDE: u32 = u32::MAX;

/// The gradients of one position's results, from where these lie.
fn gather(results: &[f32], places: &[u32], own: &mut [f32]) {
    for (own, &at) in own.iter_mut().zip(places) {
        *own = if at == OUTSIDE { 0.0 } else { results[at as usize] };
    }
}

/// Where a crossbar layer's results lie in the output tensor of one sample.
#[derive(Debug, Clone)]
pub(super) struct Results {
    /// `[position][group][column]`.
    places: Vec<u32>,
    n_columns: usize,
}

impl Results {
    /// Those of a layer whose output tensor has these extents.
    pub fn new(nest: &LoopNest, output: &[Extent]) -> Result<Self, String> {
        let output = of_one(output)?;
        let extents: Vec<usize> = nest.positions.iter().filter_map(|e| e.for_batch(1)).collect();
        let groups = (0..nest.n_groups()).map(|nth| unflatten(nth, &nest.groups));
        let columns: Vec<(Vec<usize>, Vec<usize>)> = groups
            .flat_map(|group| {
                let own = (0..nest.n_columns()).map(|nth| unflatten(nth, &nest.columns));
                own.map(move |column| (group.clone(), column))
            })
            .collect();
        let n_columns = columns.len();
        let mut places = Vec::with_capacity(extents.iter().product::<usize>() * n_columns);
        for position in (0..extents.iter().product()).map(|nth| unflatten(nth, &extents)) {
            for (group, column) in &columns {
                let place = nest.output_offset(&output, |l| match l {
                    LoopRef::Position(i) => position[i],
                    LoopRef::Group(i) => group[i],
                    LoopRef::Column(i) => column[i],
                    LoopRef::Row(_) => 0,
                });
                places.push(place.map_or(OUTSIDE, |at| at as u32));
            }
        }
        Ok(Self { places, n_columns })
    }

    /// Columns of all groups.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Places of each position's results, `[group][column]`.
    pub fn positions(&self) -> impl Iterator<Item = &[u32]> {
        self.places.chunks_exact(self.n_columns.max(1))
    }
}

/// Extents of a tensor for one sample; samples of a batch must lie one after
/// the other.
pub(super) fn of_one(extents: &[Extent]) -> Result<Vec<usize>, String> {
    let inner = |extent: &Extent| matches!(extent, Extent::PerInput(_));
    if extents.iter().skip(1).any(inner) && extents.first() != Some(&Extent::Fixed(1)) {
        return Err("the batch is not its first axis".to_string());
    }
    let of_one = |extent: &Extent| extent.for_batch(1);
    let extents: Option<Vec<usize>> = extents.iter().map(of_one).collect();
    extents.ok_or_else(|| "an axis of open extent".to_string())
}
