//! What of a plan is tuned, and what stays: which layers, and the steps and
//! tensors that have nothing to do with their cells.

use std::collections::BTreeSet;

use super::Layers;
use super::error::TuneError;
use crate::entity::{Entity, LayerId, StepId, TensorId};
use crate::schedule::{ExecutionPlan, StepKind};

/// The layers that are chosen.
pub(super) fn layers(
    plan: &ExecutionPlan,
    chosen: &Layers,
) -> Result<BTreeSet<LayerId>, TuneError> {
    let last = plan.steps.values().rev().find_map(|step| match &step.kind {
        StepKind::Sum { layer, .. } => Some(*layer),
        _ => None,
    });
    let last = last.ok_or(TuneError::NoArrays)?;
    let find = |name: &String| {
        let found = plan.layers.iter().find(|(_, layer)| layer.name == *name);
        found.map(|(&id, _)| id).ok_or_else(|| TuneError::UnknownLayer {
            name: name.clone(),
            known: plan.layers.values().map(|layer| layer.name.clone()).collect(),
        })
    };
    let chosen: BTreeSet<LayerId> = match chosen {
        Layers::Last => BTreeSet::from([last]),
        Layers::All => plan.layers.keys().copied().collect(),
        Layers::Named(names) => names.iter().map(find).collect::<Result<_, _>>()?,
    };
    for id in &chosen {
        let name = |id: &LayerId| plan.layers.get(id).map_or(String::new(), |l| l.name.clone());
        let matrix = plan.layers.get(id).map_or(*id, |layer| layer.matrix);
        let other =
            plan.layers.iter().find(|(other, layer)| *other != id && layer.matrix == matrix);
        if let Some((other, _)) = other {
            return Err(TuneError::SharedCells { layer: name(id), other: name(other) });
        }
    }
    Ok(chosen)
}

/// The first step that has to do with these layers' cells.
pub(super) fn first_step(plan: &ExecutionPlan, tuned: &BTreeSet<LayerId>) -> usize {
    let sums = plan.steps.iter().filter_map(|(id, step)| match &step.kind {
        StepKind::Sum { layer, .. } if tuned.contains(layer) => Some(id),
        _ => None,
    });
    sums.map(StepId::index).next().unwrap_or(0)
}

/// Tensors made before a step that are read from it on, or kept.
pub(super) fn boundary(
    plan: &ExecutionPlan,
    first_step: usize,
    kept: &BTreeSet<TensorId>,
) -> BTreeSet<TensorId> {
    let mut made: BTreeSet<TensorId> = plan.inputs.iter().copied().collect();
    let mut read: BTreeSet<TensorId> = kept.iter().chain(&plan.outputs).copied().collect();
    for (id, step) in plan.steps.iter() {
        match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                if id.index() >= first_step {
                    read.extend(inputs);
                } else {
                    made.extend(outputs);
                }
            }
            StepKind::Sum { layer, .. } => {
                let Some(layer) = plan.layers.get(layer) else { continue };
                if id.index() >= first_step {
                    read.insert(layer.input);
                } else {
                    made.insert(layer.output);
                }
            }
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
        }
    }
    made.intersection(&read).copied().collect()
}
