//! When steps run: as soon as what they need is there and their PE is free.
//!
//! List scheduling in the order of the plan, with PEs as the only resource.
//! The digital side works beside the arrays and is not counted in their
//! cycles.

use std::collections::BTreeMap;

use super::plan::{ExecutionPlan, StepKind};
use crate::entity::{Entity, PeId, StepId};

/// Fills in the start of every step, for one input alone on the chip.
pub(super) fn assign(plan: &mut ExecutionPlan) {
    let mut free: BTreeMap<PeId, u64> = BTreeMap::new();
    let mut ends: Vec<u64> = Vec::with_capacity(plan.steps.len());
    for index in 0..plan.steps.len() {
        let id = StepId::from_index(index);
        let step = &plan.steps[id];
        let ready = step.after.iter().map(|s| ends[s.index()]).max().unwrap_or(0);
        let pe = match &step.kind {
            StepKind::Waves { tiles, .. } => tiles.first().map(|&t| plan.tiles[t].place.pe),
            _ => None,
        };
        let start = pe.map_or(ready, |pe| ready.max(free.get(&pe).copied().unwrap_or(0)));
        let end = start + step.cycles;
        if let Some(pe) = pe {
            free.insert(pe, end);
        }
        ends.push(end);
        plan.steps[id].start = start;
    }
}
