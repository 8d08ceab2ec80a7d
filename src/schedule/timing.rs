//! When steps run: as soon as what they need is there and their PE is free.
//!
//! List scheduling in the order of the plan, with PEs as the only resource; a
//! pass starts when the one before it has ended. The time in which cells are
//! written between passes is not one of cycles and not counted here.
//!
//! The digital side works beside the arrays and is not counted in their
//! cycles.

use std::collections::BTreeMap;

use super::plan::{ExecutionPlan, StepKind};
use crate::entity::{Entity, PeId, StepId};

/// Fills in the start of every step, for one input alone on the chip.
pub(super) fn assign(plan: &mut ExecutionPlan) {
    let mut free: BTreeMap<PeId, u64> = BTreeMap::new();
    let mut ends: Vec<u64> = Vec::with_capacity(plan.steps.len());
    // The pass that is on, when it began, and when all of it so far has ended.
    let (mut pass, mut began, mut ended) = (0, 0, 0);
    for index in 0..plan.steps.len() {
        let id = StepId::from_index(index);
        let step = &plan.steps[id];
        let ready = step.after.iter().map(|s| ends[s.index()]).max().unwrap_or(0);
        let pe = match &step.kind {
            StepKind::Waves { tiles, .. } => tiles.first().map(|&t| plan.tiles[t].place.pe),
            _ => None,
        };
        if let Some(next) = plan.pass_of_step(step).filter(|&next| next != pass) {
            (pass, began) = (next, ended);
        }
        let start =
            pe.map_or(ready, |pe| ready.max(began).max(free.get(&pe).copied().unwrap_or(0)));
        let end = start + step.cycles;
        if let Some(pe) = pe {
            free.insert(pe, end);
            ended = ended.max(end);
        }
        ends.push(end);
        plan.steps[id].start = start;
    }
}
