//! The way back from the scores to the layers that are tuned.
//!
//! ```text
//! tuned layer --> digital layers --> crossbar layer --> digital layers --> scores
//!       <-- gradient, layer by layer, each by its backward rule --
//! ```
//!
//! The executor hands over what flows between its steps. What flows inside a
//! digital stage is computed once more, layer by layer, where a rule needs it.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::error::TuneError;
use super::product::{Product, of_one};
use super::rules::{Batch, Rule};
use super::transposed::{Driven, Reading, Transposed};
use crate::entity::{LayerId, StepId, TensorId};
use crate::frontend::Model;
use crate::graph::{LayerGraph, LayerKind};
use crate::runtime::digital::Cut;
use crate::runtime::{Flow, RunError};
use crate::schedule::{ExecutionPlan, StepKind};
use crate::tensor::are_scores;

/// Samples whose contributions are added up before those of others: a function
/// of the batch alone, so that sums do not depend on threads.
const SAMPLES_AT_ONCE: usize = 8;

/// The way back.
#[derive(Debug)]
pub(super) struct Way {
    /// The scores before any softmax.
    scores: TensorId,
    n_classes: usize,
    wanted: Wanted,
    /// Layers on the way, those behind others first, scores first.
    links: Vec<Link>,
    /// Digital layers that are computed once more, in order.
    again: Vec<Again>,
    /// Tensors of the executor that are needed.
    pub kept: BTreeSet<TensorId>,
}

/// A layer on the way.
#[derive(Debug)]
struct Link {
    layer: LayerId,
    inputs: Vec<TensorId>,
    output: TensorId,
    /// Inputs from which the gradient goes on.
    goes_on: Vec<bool>,
    /// Whether it is tuned.
    is_tuned: bool,
    rule: LinkRule,
}

/// A digital layer by itself.
#[derive(Debug)]
struct Again {
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    cut: Cut,
}

#[derive(Debug)]
enum LinkRule {
    Product(Box<Product>),
    Digital(Rule),
}

/// What of tuned layers is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Gradients of weights and biases.
    Weights,
    /// Gradients of factors on columns, and of biases.
    Columns,
}

/// Gradients of a batch's mean loss, of each tuned layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gradients {
    /// With respect to the real weights, `[replica][group][row][column]`.
    pub weights: BTreeMap<LayerId, Vec<f64>>,
    /// With respect to what is added to the results, `[group][column]`.
    pub biases: BTreeMap<LayerId, Vec<f64>>,
    /// With respect to a factor on the results, which is 1, `[group][column]`.
    pub(super) factors: BTreeMap<LayerId, Vec<f64>>,
}

impl Gradients {
    /// Adds those of other samples.
    pub(super) fn add(&mut self, other: Self) {
        let own = [&mut self.weights, &mut self.biases, &mut self.factors];
        for (own, other) in own.into_iter().zip([other.weights, other.biases, other.factors]) {
            for (id, other) in other {
                match own.get_mut(&id) {
                    Some(sum) => sum.iter_mut().zip(&other).for_each(|(sum, own)| *sum += own),
                    None => drop(own.insert(id, other)),
                }
            }
        }
    }

    /// Whether all are numbers.
    pub(super) fn are_finite(&self) -> bool {
        let all = self.weights.values().chain(self.biases.values()).chain(self.factors.values());
        all.flatten().all(|g| g.is_finite())
    }
}

/// What carries errors back through a crossbar layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carrier<'a> {
    /// Products beside the chip, with what its cells stand for.
    Digital(&'a BTreeMap<LayerId, Vec<f32>>),
    /// The arrays.
    Arrays(&'a Transposed<'a>),
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Gradients of the tuned layers.
    pub gradients: Gradients,
    /// How the arrays of each layer that it passed were driven.
    pub driven: BTreeMap<LayerId, Driven>,
    /// Errors that were carried through each layer, `[vector][group][column]`,
    /// where they are wanted.
    pub errors: BTreeMap<LayerId, Vec<f32>>,
}

impl Way {
    /// Finds the way from the scores of a plan's model to these layers.
    pub fn new(
        plan: &ExecutionPlan,
        model: &Model,
        tuned: &BTreeSet<LayerId>,
        wanted: Wanted,
    ) -> Result<Self, TuneError> {
        let graph = &model.graph;
        let scores = scores(model).ok_or(TuneError::NoScores)?;
        let n_classes = n_values(graph, scores).ok_or(TuneError::NoScores)?;
        let name = |id: LayerId| graph.layer(id).name.clone();
        // Tensors that depend on a tuned layer, and those that the scores
        // depend on.
        let mut behind: BTreeSet<TensorId> = BTreeSet::new();
        for (id, layer) in graph.layers() {
            if tuned.contains(&id) || layer.inputs.iter().any(|t| behind.contains(t)) {
                behind.extend(&layer.outputs);
            }
        }
        let mut before = BTreeSet::from([scores]);
        let mut links = Vec::new();
        for (id, layer) in graph.layers().rev() {
            if !layer.outputs.iter().any(|t| before.contains(t) && behind.contains(t)) {
                continue;
            }
            let goes_on: Vec<bool> = layer.inputs.iter().map(|t| behind.contains(t)).collect();
            let on = layer.inputs.iter().zip(&goes_on).filter(|(_, on)| **on);
            before.extend(on.map(|(&tensor, _)| tensor));
            let rule = rule(plan, model, id).map_err(|reason| TuneError::NoRule {
                tuned: tuned.iter().next().map_or(String::new(), |&id| name(id)),
                layer: layer.name.clone(),
                op: match &layer.kind {
                    LayerKind::Crossbar(crossbar) => crossbar.description.clone(),
                    LayerKind::Digital(digital) => digital.op.clone(),
                },
                reason,
            })?;
            links.push(Link {
                layer: id,
                inputs: layer.inputs.clone(),
                output: layer.outputs[0],
                goes_on,
                is_tuned: tuned.contains(&id),
                rule,
            });
        }
        for &id in tuned {
            if !links.iter().any(|link| link.layer == id) {
                return Err(TuneError::NotBehind { layer: name(id) });
            }
        }
        let mut needed = BTreeSet::from([scores]);
        for link in &links {
            match &link.rule {
                LinkRule::Product(_) => needed.extend(link.inputs.first()),
                LinkRule::Digital(_) => needed.extend(&link.inputs),
            }
            if link.is_tuned && wanted == Wanted::Columns {
                needed.insert(link.output);
            }
        }
        let (kept, again) = split(plan, model, needed)?;
        Ok(Self { scores, n_classes, wanted, links, again, kept })
    }

    /// Layers on arrays that the scores depend on.
    pub fn leading(plan: &ExecutionPlan, model: &Model) -> Result<BTreeSet<LayerId>, TuneError> {
        let mut before = BTreeSet::from([scores(model).ok_or(TuneError::NoScores)?]);
        let mut leading = BTreeSet::new();
        for (id, layer) in model.graph.layers().rev() {
            if layer.outputs.iter().any(|tensor| before.contains(tensor)) {
                before.extend(&layer.inputs);
                leading.extend(plan.layers.contains_key(&id).then_some(id));
            }
        }
        if leading.is_empty() { Err(TuneError::NoArrays) } else { Ok(leading) }
    }

    /// The scores before any softmax.
    pub fn scores_tensor(&self) -> TensorId {
        self.scores
    }

    /// Scores of each sample.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The scores of a batch that has been run to its end, `[sample][class]`.
    pub fn scores(&self, flow: &mut Flow) -> Result<Vec<f32>, RunError> {
        self.fill(flow)?;
        Ok(values(flow, self.scores)?.to_vec())
    }

    /// Computes once more what flows inside digital stages.
    fn fill(&self, flow: &mut Flow) -> Result<(), RunError> {
        for Again { inputs, outputs, cut } in &self.again {
            let inputs = inputs.iter().map(|&t| {
                let value = flow.tensors.get(&t).cloned();
                value.ok_or(RunError::MissingTensor { step: StepId(0), tensor: t })
            });
            let results = cut.run(inputs.collect::<Result<_, _>>()?, flow.n_batch)?;
            flow.tensors.extend(outputs.iter().copied().zip(results));
        }
        Ok(())
    }

    /// Carries the gradient of a batch's scores back to the tuned layers;
    /// `watch` keeps the errors of layers that it passes.
    pub fn backward(
        &self,
        flow: &mut Flow,
        scores: Vec<f32>,
        carrier: Carrier<'_>,
        watch: bool,
    ) -> Result<Carried, RunError> {
        self.fill(flow)?;
        let mut carried = Carried::default();
        let mut flowing: BTreeMap<TensorId, Vec<f32>> = BTreeMap::from([(self.scores, scores)]);
        for link in &self.links {
            let Some(gradient) = flowing.remove(&link.output) else { continue };
            let results = match &link.rule {
                LinkRule::Product(product) => {
                    let inputs = values(flow, link.inputs[0])?;
                    if link.is_tuned {
                        let Gradients { weights, biases, factors } = &mut carried.gradients;
                        match self.wanted {
                            Wanted::Weights => {
                                let own = of_weights(product, inputs, &gradient, flow.n_batch);
                                weights.insert(link.layer, own);
                            }
                            Wanted::Columns => {
                                let results = values(flow, link.output)?;
                                let each = results.iter().zip(&gradient).map(|(y, g)| y * g);
                                let each: Vec<f32> = each.collect();
                                let own = of_biases(product, &each, flow.n_batch);
                                factors.insert(link.layer, own);
                            }
                        }
                        biases.insert(link.layer, of_biases(product, &gradient, flow.n_batch));
                    }
                    if watch && link.goes_on[0] {
                        carried.errors.insert(link.layer, product.errors(&gradient));
                    }
                    match carrier {
                        _ if !link.goes_on[0] => None,
                        Carrier::Digital(weights) => {
                            let own = weights.get(&link.layer);
                            own.map(|own| vec![of_inputs(product, inputs, &gradient, own)])
                        }
                        Carrier::Arrays(arrays) => {
                            let read = (arrays, link.layer, flow.first_input);
                            let (own, driven) = by_arrays(product, inputs, &gradient, read);
                            carried.driven.insert(link.layer, driven);
                            Some(vec![own])
                        }
                    }
                }
                LinkRule::Digital(rule) => {
                    let inputs =
                        link.inputs.iter().map(|&t| Ok((shape(flow, t)?, values(flow, t)?)));
                    let inputs = inputs.collect::<Result<Vec<_>, RunError>>()?;
                    let batch = Batch { inputs, gradient: &gradient, n: flow.n_batch };
                    let failed = |reason| RunError::LayerInput {
                        layer: link.layer,
                        name: link.layer.to_string(),
                        reason,
                    };
                    Some(rule.backward(&batch).map_err(failed)?)
                }
            };
            for ((tensor, goes_on), own) in
                link.inputs.iter().zip(&link.goes_on).zip(results.into_iter().flatten())
            {
                if !goes_on {
                    continue;
                }
                match flowing.get_mut(tensor) {
                    Some(sum) => sum.iter_mut().zip(&own).for_each(|(sum, own)| *sum += own),
                    None => drop(flowing.insert(*tensor, own)),
                }
            }
        }
        Ok(carried)
    }

    /// Crossbar layers whose weights the gradient passes on its way.
    pub fn passed(&self) -> BTreeSet<LayerId> {
        let passed = self.links.iter().filter(|link| {
            matches!(link.rule, LinkRule::Product(_)) && link.goes_on.first() == Some(&true)
        });
        passed.map(|link| link.layer).collect()
    }
}

fn of_weights(product: &Product, inputs: &[f32], gradient: &[f32], n: usize) -> Vec<f64> {
    let n_results = gradient.len() / n.max(1);
    let parts: Vec<Vec<f32>> = inputs
        .par_chunks(SAMPLES_AT_ONCE * product.n_inputs().max(1))
        .zip(gradient.par_chunks(SAMPLES_AT_ONCE * n_results.max(1)))
        .map(|(inputs, gradient)| {
            let mut part = vec![0.0; product.n_weights()];
            let samples = inputs.chunks(product.n_inputs().max(1));
            for (inputs, gradient) in samples.zip(gradient.chunks(n_results.max(1))) {
                product.add_weights(inputs, gradient, &mut part);
            }
            part
        })
        .collect();
    let mut sum = vec![0f64; product.n_weights()];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
    }
    sum
}

fn of_biases(product: &Product, gradient: &[f32], n: usize) -> Vec<f64> {
    let n_results = gradient.len() / n.max(1);
    let mut sum = vec![0f64; product.n_biases()];
    gradient.chunks(n_results.max(1)).for_each(|sample| product.add_biases(sample, &mut sum));
    sum
}

fn of_inputs(product: &Product, inputs: &[f32], gradient: &[f32], weights: &[f32]) -> Vec<f32> {
    let n_inputs = product.n_inputs().max(1);
    let n_results = gradient.len() / (inputs.len() / n_inputs).max(1);
    let weights = product.by_column(weights);
    let samples: Vec<Vec<f32>> = inputs
        .par_chunks(n_inputs)
        .zip(gradient.par_chunks(n_results.max(1)))
        .map(|(inputs, gradient)| product.inputs(inputs, gradient, &weights))
        .collect();
    samples.concat()
}

fn by_arrays(
    product: &Product,
    inputs: &[f32],
    gradient: &[f32],
    (arrays, layer, first_input): (&Transposed<'_>, LayerId, u64),
) -> (Vec<f32>, Driven) {
    let n_inputs = product.n_inputs().max(1);
    let n_results = gradient.len() / (inputs.len() / n_inputs).max(1);
    let samples: Vec<(Vec<f32>, Driven)> = inputs
        .par_chunks(n_inputs)
        .zip(gradient.par_chunks(n_results.max(1)))
        .enumerate()
        .map(|(nth, (inputs, gradient))| {
            let number = first_input + nth as u64;
            let mut reading = Reading::default();
            let own = product.inputs_by(inputs, gradient, |position, replica, errors, sums| {
                arrays.read(layer, (number, position, replica), errors, &mut reading, sums);
            });
            (own, reading.took)
        })
        .collect();
    let (mut all, mut driven) = (Vec::with_capacity(inputs.len()), Driven::default());
    for (own, took) in samples {
        all.extend(own);
        driven.add(&took);
    }
    (all, driven)
}

fn rule(plan: &ExecutionPlan, model: &Model, id: LayerId) -> Result<LinkRule, String> {
    let graph = &model.graph;
    let layer = graph.layer(id);
    let shape = |tensor: TensorId| graph.tensors().get(tensor).map(|info| &info.shape[..]);
    match &layer.kind {
        LayerKind::Crossbar(_) => {
            let own = plan.layers.get(&id).ok_or("the plan does not have it")?;
            let (Some(input), Some(output)) = (shape(own.input), shape(own.output)) else {
                return Err("its tensors are not in the model".to_string());
            };
            Ok(LinkRule::Product(Box::new(Product::new(plan, id, (input, output))?)))
        }
        LayerKind::Digital(_) => {
            let cut = Cut::new(model, &layer.inputs, &layer.outputs).map_err(|e| e.to_string())?;
            Ok(LinkRule::Digital(Rule::find(model, id, &cut)?))
        }
    }
}

/// Which of these tensors steps hand over, and which digital layers make the
/// others from such, in order.
fn split(
    plan: &ExecutionPlan,
    model: &Model,
    mut needed: BTreeSet<TensorId>,
) -> Result<(BTreeSet<TensorId>, Vec<Again>), RunError> {
    let mut handed: BTreeSet<TensorId> = plan.inputs.iter().copied().collect();
    for step in plan.steps.values() {
        match &step.kind {
            StepKind::Digital { outputs, .. } => handed.extend(outputs),
            StepKind::Sum { layer, .. } => handed.extend(plan.layers.get(layer).map(|l| l.output)),
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
        }
    }
    let mut again = Vec::new();
    for (_, layer) in model.graph.layers().rev() {
        let makes = |tensor: &TensorId| needed.contains(tensor) && !handed.contains(tensor);
        if layer.outputs.iter().any(makes) {
            needed.extend(&layer.inputs);
            let (inputs, outputs) = (layer.inputs.clone(), layer.outputs.clone());
            let cut = Cut::new(model, &inputs, &outputs)?;
            again.push(Again { inputs, outputs, cut });
        }
    }
    again.reverse();
    Ok((needed.intersection(&handed).copied().collect(), again))
}

/// The model's first output that is scores; what comes before a softmax at the
/// end.
fn scores(model: &Model) -> Option<TensorId> {
    let graph = &model.graph;
    let nth = (0..model.outputs.len()).find(|&nth| model.gives_scores(nth))?;
    let mut tensor = *graph.outputs().get(nth)?;
    while let Some(id) = graph.producer(tensor) {
        let layer = graph.layer(id);
        let LayerKind::Digital(digital) = &layer.kind else { break };
        if !digital.op.contains("Softmax") {
            break;
        }
        tensor = *layer.inputs.first()?;
    }
    let info = graph.tensors().get(tensor)?;
    are_scores(&of_one(&info.shape).ok()?).then_some(tensor)
}

fn n_values(graph: &LayerGraph, tensor: TensorId) -> Option<usize> {
    let info = graph.tensors().get(tensor)?;
    Some(of_one(&info.shape).ok()?.iter().product())
}

fn values(flow: &Flow, tensor: TensorId) -> Result<&[f32], RunError> {
    let value = flow.tensors.get(&tensor).and_then(|value| value.as_f32());
    value.ok_or(RunError::MissingTensor { step: StepId(0), tensor })
}

fn shape(flow: &Flow, tensor: TensorId) -> Result<&[usize], RunError> {
    let value = flow.tensors.get(&tensor);
    let missing = RunError::MissingTensor { step: StepId(0), tensor };
    value.map(|value| value.shape()).ok_or(missing)
}
