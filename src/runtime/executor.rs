//! Interprets an execution plan on a chip.

use std::collections::BTreeMap;

use super::activity::ArrayEnergy;
use super::crossbar::Crossbar;
use super::digital::{Cut, Value};
use super::layout::Layout;
use super::{RunError, n_batch};
use crate::chip::Chip;
use crate::entity::{Entity, StepId, TensorId};
use crate::frontend::{Model, ModelInput};
use crate::schedule::{self, ExecutionPlan, Step, StepKind};
use crate::target::Cell;
use crate::tensor::Tensor;

/// A plan, a chip, and the digital pieces, ready to run batches.
#[derive(Debug)]
pub struct Executor<'a> {
    plan: &'a ExecutionPlan,
    inputs: Vec<ModelInput>,
    cuts: BTreeMap<StepId, Cut>,
    /// Crossbar layers, by the step that sums them up.
    crossbars: BTreeMap<StepId, Crossbar<'a>>,
    /// Tensors that no later step reads, by step.
    last_reads: BTreeMap<StepId, Vec<TensorId>>,
}

/// What steps hand to each other for one batch.
struct State {
    tensors: BTreeMap<TensorId, Value>,
    n_batch: usize,
    first_input: u64,
}

impl<'a> Executor<'a> {
    /// Prepares a plan for a chip.
    ///
    /// # Errors
    ///
    /// The plan breaks its invariants, which everything here relies on; the
    /// chip lacks cells of the plan, or the model is not the plan's.
    pub fn new(plan: &'a ExecutionPlan, model: &Model, chip: &Chip) -> Result<Self, RunError> {
        let faults = schedule::verify(plan);
        if !faults.is_empty() {
            return Err(RunError::Plan(faults));
        }
        let mut layouts = BTreeMap::new();
        for (&id, layer) in &plan.layers {
            let shape = |t: TensorId| model.graph.tensors().get(t).map(|info| &info.shape[..]);
            let layout = match (shape(layer.input), shape(layer.output)) {
                (Some(input), Some(output)) => Layout::new(&layer.nest, input, output),
                _ => Err("its tensors are not in the model".to_string()),
            };
            let layout = layout.map_err(|reason| RunError::LayerInput {
                layer: id,
                name: layer.name.clone(),
                reason,
            })?;
            layouts.insert(id, layout);
        }
        let chip = &*chip.effective(plan);
        let mut cuts = BTreeMap::new();
        let mut crossbars = BTreeMap::new();
        for (id, step) in plan.steps.iter() {
            match &step.kind {
                StepKind::Digital { inputs, outputs } => {
                    cuts.insert(id, Cut::new(model, inputs, outputs)?);
                }
                StepKind::Sum { layer, tiles } => {
                    // The verifier made sure of one sum for each layer.
                    if let Some(layout) = layouts.remove(layer) {
                        let crossbar = Crossbar::new(plan, chip, layout, *layer, tiles)?;
                        crossbars.insert(id, crossbar);
                    }
                }
                StepKind::Encode { .. } | StepKind::Waves { .. } => {}
            }
        }
        let last_reads = last_reads(plan);
        let inputs = model.inputs.clone();
        Ok(Self { plan, inputs, cuts, crossbars, last_reads })
    }

    /// Counts, from now on, the bits that drive the arrays.
    #[must_use]
    pub fn counting_energy(mut self) -> Self {
        let plan = self.plan;
        self.crossbars.values_mut().for_each(|crossbar| crossbar.count_activity(plan));
        self
    }

    /// What the arrays have drawn since counting began: V^2 G t of every cell
    /// that a tile drives with a 1 bit, with the conductances of this chip.
    /// Read noise, which has no mean, is left out.
    pub fn array_energy(&self, chip: &Chip, cell: &Cell) -> ArrayEnergy {
        let mut energy =
            ArrayEnergy { n_inputs: 0, total_pj: 0.0, layers: vec![], bits_one: 0, bits: 0 };
        for crossbar in self.crossbars.values() {
            if let Some((id, activity)) = crossbar.activity() {
                activity.add_to(&mut energy, self.plan, id, (chip, cell));
            }
        }
        energy
    }

    /// Runs one batch; `inputs` have the shapes that the model says, with a
    /// batch axis in front where it has one. The first of the batch is the
    /// input number `first_input`, which keys its noise.
    ///
    /// # Errors
    ///
    /// The inputs do not fit the model, or values that are not finite reach an
    /// array.
    pub fn run(&self, inputs: &[Tensor], first_input: u64) -> Result<Vec<Tensor>, RunError> {
        let n_batch = n_batch(&self.inputs, inputs)?;
        let mut state = State { tensors: BTreeMap::new(), n_batch, first_input };
        for (&id, input) in self.plan.inputs.iter().zip(inputs) {
            state.tensors.insert(id, Value::from_array(input)?);
        }
        for (id, step) in self.plan.steps.iter() {
            self.step(id, step, &mut state)?;
        }
        let missing = |tensor| RunError::MissingTensor {
            step: StepId::from_index(self.plan.steps.len()),
            tensor,
        };
        self.plan
            .outputs
            .iter()
            .map(|&t| Ok(state.tensors.get(&t).ok_or_else(|| missing(t))?.to_array()?))
            .collect()
    }

    fn step(&self, id: StepId, step: &Step, state: &mut State) -> Result<(), RunError> {
        let tensor = |tensor: TensorId, state: &State| {
            let value = state.tensors.get(&tensor).cloned();
            value.ok_or(RunError::MissingTensor { step: id, tensor })
        };
        // What nobody reads later is handed over, so that a digital stage may
        // work in place.
        let forget = |state: &mut State| {
            for tensor in self.last_reads.get(&id).into_iter().flatten() {
                state.tensors.remove(tensor);
            }
        };
        match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                let values = inputs.iter().map(|&t| tensor(t, state)).collect::<Result<_, _>>()?;
                forget(state);
                let results = self.cuts[&id].run(values, state.n_batch)?;
                state.tensors.extend(outputs.iter().copied().zip(results));
            }
            // The codes and sums between these steps are only read by the sum
            // of their layer, which therefore works them off, block of
            // positions by block, while they are in the cache.
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
            StepKind::Sum { .. } => {
                let crossbar = &self.crossbars[&id];
                let input = tensor(crossbar.input(), state)?;
                forget(state);
                let result = crossbar.run(&input, state.n_batch, state.first_input)?;
                state.tensors.insert(crossbar.output(), result);
            }
        }
        Ok(())
    }
}

/// For every step, the tensors that it is the last to read.
fn last_reads(plan: &ExecutionPlan) -> BTreeMap<StepId, Vec<TensorId>> {
    let mut last: BTreeMap<TensorId, StepId> = BTreeMap::new();
    for (id, step) in plan.steps.iter() {
        match &step.kind {
            StepKind::Digital { inputs, .. } => {
                last.extend(inputs.iter().map(|&tensor| (tensor, id)));
            }
            // A layer's input is read when its sum is worked off.
            StepKind::Sum { layer, .. } => {
                last.extend(plan.layers.get(layer).map(|layer| (layer.input, id)));
            }
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
        }
    }
    let mut by_step: BTreeMap<StepId, Vec<TensorId>> = BTreeMap::new();
    for (tensor, step) in last {
        if !plan.outputs.contains(&tensor) {
            by_step.entry(step).or_default().push(tensor);
        }
    }
    by_step
}
