//! Interprets an execution plan on a chip.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::activity::ArrayEnergy;
use super::crossbar::Crossbar;
use super::digital::{Cut, Value};
use super::layout::Layout;
use super::watch::InputEvents;
use super::{RunError, n_batch};
use crate::chip::Chip;
use crate::entity::{Entity, LayerId, StepId, TensorId};
use crate::frontend::{Model, ModelInput};
use crate::schedule::{self, ExecutionPlan, Step, StepKind};
use crate::target::{Cell, Target};
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

/// What steps hand to each other for one batch. A copy shares the values, so
/// that what has been run need not be run again.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub tensors: BTreeMap<TensorId, Value>,
    pub n_batch: usize,
    /// Number of the first input, which keys its noise.
    pub first_input: u64,
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

    /// Watches, from now on, how long the waves of every input take on a chip
    /// without a clock. `chip` is the one that this was made for.
    #[must_use]
    pub fn watching(mut self, chip: &Chip, target: &Target) -> Self {
        let (plan, chip) = (self.plan, &*chip.effective(self.plan));
        self.crossbars.values_mut().for_each(|crossbar| crossbar.watch(plan, chip, target));
        self
    }

    /// What the waves of every input took, by its number, since this was asked
    /// last.
    pub fn events(&self) -> BTreeMap<u64, InputEvents> {
        let mut all: BTreeMap<u64, InputEvents> = BTreeMap::new();
        for (input, events) in self.crossbars.values().flat_map(Crossbar::seen) {
            all.entry(input).or_default().join(events);
        }
        all
    }

    /// What the arrays have drawn since counting began: V^2 G t of every cell
    /// that a tile drives with a 1 bit, with the conductances of this chip.
    /// Read noise, which has no mean, is left out.
    pub fn array_energy(&self, chip: &Chip, cell: &Cell) -> ArrayEnergy {
        let mut energy = ArrayEnergy::NONE;
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
        let mut flow = self.start(inputs, first_input)?;
        self.advance(&mut flow, 0..self.plan.steps.len(), &BTreeSet::new())?;
        let missing = |tensor| RunError::MissingTensor {
            step: StepId::from_index(self.plan.steps.len()),
            tensor,
        };
        self.plan
            .outputs
            .iter()
            .map(|&t| Ok(flow.tensors.get(&t).ok_or_else(|| missing(t))?.to_array()?))
            .collect()
    }

    /// A batch before its first step.
    ///
    /// # Errors
    ///
    /// The inputs do not fit the model.
    pub(crate) fn start(&self, inputs: &[Tensor], first_input: u64) -> Result<Flow, RunError> {
        let n_batch = n_batch(&self.inputs, inputs)?;
        let mut flow = Flow { tensors: BTreeMap::new(), n_batch, first_input };
        for (&id, input) in self.plan.inputs.iter().zip(inputs) {
            flow.tensors.insert(id, Value::from_array(input)?);
        }
        Ok(flow)
    }

    /// Takes a batch through some steps, by their numbers; tensors that are to
    /// be kept outlive their last reader.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub(crate) fn advance(
        &self,
        flow: &mut Flow,
        steps: Range<usize>,
        kept: &BTreeSet<TensorId>,
    ) -> Result<(), RunError> {
        for (id, step) in self.plan.steps.iter().take(steps.end).skip(steps.start) {
            self.step(id, step, flow, kept)?;
        }
        Ok(())
    }

    /// Tabulates layers anew after cells of theirs have changed. `chip` is the
    /// one that this was made for, with those changes.
    ///
    /// # Errors
    ///
    /// The chip lacks cells of the plan.
    pub(crate) fn retabulate(
        &mut self,
        chip: &Chip,
        layers: &BTreeSet<LayerId>,
    ) -> Result<(), RunError> {
        let (plan, chip) = (self.plan, &*chip.effective(self.plan));
        let mut changed = self.crossbars.values_mut().filter(|own| layers.contains(&own.id()));
        changed.try_for_each(|crossbar| crossbar.retabulate(plan, chip))
    }

    /// Puts other values into the registers that are added to a layer's columns,
    /// `[group][column]`.
    pub(crate) fn set_bias(&mut self, layer: LayerId, bias: &[f64]) {
        for own in self.crossbars.values_mut().filter(|own| own.id() == layer) {
            own.set_bias(bias.iter().map(|&bias| bias as f32));
        }
    }

    /// Puts other values into the registers that a layer's columns are
    /// multiplied with, `[group][column]`.
    pub(crate) fn set_scales(&mut self, layer: LayerId, scales: &[f64]) {
        for own in self.crossbars.values_mut().filter(|own| own.id() == layer) {
            own.set_scales(scales);
        }
    }

    fn step(
        &self,
        id: StepId,
        step: &Step,
        flow: &mut Flow,
        kept: &BTreeSet<TensorId>,
    ) -> Result<(), RunError> {
        let tensor = |tensor: TensorId, flow: &Flow| {
            let value = flow.tensors.get(&tensor).cloned();
            value.ok_or(RunError::MissingTensor { step: id, tensor })
        };
        // What nobody reads later is handed over, so that a digital stage may
        // work in place.
        let forget = |flow: &mut Flow| {
            let last = self.last_reads.get(&id).into_iter().flatten();
            for tensor in last.filter(|tensor| !kept.contains(tensor)) {
                flow.tensors.remove(tensor);
            }
        };
        match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                let values = inputs.iter().map(|&t| tensor(t, flow)).collect::<Result<_, _>>()?;
                forget(flow);
                let results = self.cuts[&id].run(values, flow.n_batch)?;
                flow.tensors.extend(outputs.iter().copied().zip(results));
            }
            // The codes and sums between these steps are only read by the sum
            // of their layer, which therefore works them off, block of
            // positions by block, while they are in the cache.
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
            StepKind::Sum { .. } => {
                let crossbar = &self.crossbars[&id];
                let input = tensor(crossbar.input(), flow)?;
                forget(flow);
                let result = crossbar.run(&input, flow.n_batch, flow.first_input)?;
                flow.tensors.insert(crossbar.output(), result);
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
