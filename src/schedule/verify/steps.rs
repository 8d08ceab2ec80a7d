//! Invariants 4 to 9: the order, the waves, the times.

use std::collections::{BTreeMap, BTreeSet};

use super::PlanFault;
use crate::entity::{LayerId, PeId, StepId, TensorId, WeightTileId};
use crate::mapping::{Positions, length};
use crate::schedule::plan::{ExecutionPlan, Step, StepKind, planes};

/// No plan counts further; 2^62 cycles of a nanosecond are a century.
const MAX_COUNT: u128 = 1 << 62;

pub(super) fn faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut check = Check { plan, faults: Vec::new(), made: Made::default() };
    check.made.tensors = plan.inputs.iter().map(|&t| (t, None)).collect();
    check.counts();
    let mut driven: BTreeMap<PeId, Vec<(u64, u64, StepId)>> = BTreeMap::new();
    for (id, step) in plan.steps.iter() {
        check.order(id, step);
        match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                inputs.iter().for_each(|&t| check.reads_tensor(id, step, t));
                outputs.iter().for_each(|&t| check.writes(id, t));
            }
            StepKind::Encode { layer } => match plan.layers.get(layer) {
                Some(plan_layer) => {
                    check.reads_tensor(id, step, plan_layer.input);
                    check.made.codes.insert(*layer, id);
                }
                None => check.fault(id, format!("{layer} is not a crossbar layer")),
            },
            StepKind::Waves { tiles, .. } => {
                check.waves(id, step);
                let pe = tiles.first().and_then(|&tile| plan.tiles.get(tile)).map(|t| t.place.pe);
                if let Some(pe) = pe {
                    let end = step.start.saturating_add(step.cycles);
                    driven.entry(pe).or_default().push((step.start, end, id));
                }
            }
            StepKind::Sum { layer, tiles } => check.sum(id, step, *layer, tiles),
        }
    }
    for times in driven.values_mut() {
        times.sort_unstable();
        for pair in times.windows(2) {
            if pair[1].0 < pair[0].1 {
                check.fault(pair[1].2, format!("its PE is still driven by {}", pair[0].2));
            }
        }
    }
    check.passes();
    for &layer in plan.layers.keys() {
        if check.made.sums.get(&layer) != Some(&1) {
            check.faults.push(PlanFault::MissingSum(layer));
        }
    }
    for tensor in &plan.outputs {
        if !check.made.tensors.contains_key(tensor) {
            check.faults.push(PlanFault::MissingOutput(*tensor));
        }
    }
    check.faults
}

/// Runs of positions, and the step that drove each.
type Driven = Vec<(Positions, StepId)>;

/// What steps have made so far.
#[derive(Default)]
struct Made {
    /// The step that wrote a tensor; `None` for inputs of the model.
    tensors: BTreeMap<TensorId, Option<StepId>>,
    /// The step that encoded a layer's input.
    codes: BTreeMap<LayerId, StepId>,
    /// Positions of a layer driven through each tile, and the steps that did.
    waves: BTreeMap<(LayerId, WeightTileId), Driven>,
    /// Sums of each layer.
    sums: BTreeMap<LayerId, u32>,
}

struct Check<'a> {
    plan: &'a ExecutionPlan,
    faults: Vec<PlanFault>,
    made: Made,
}

impl Check<'_> {
    fn fault(&mut self, step: StepId, what: String) {
        self.faults.push(PlanFault::Step { step, what });
    }

    /// What is counted from a plan is a sum over its steps; here it is bounded
    /// once, so that it can be added up plainly everywhere else.
    fn counts(&mut self) {
        let mut total = 0u128;
        for (id, step) in self.plan.steps.iter() {
            total += u128::from(step.cycles);
            if let StepKind::Waves { positions, planes, conversions, .. } = &step.kind {
                let driven = u128::from(positions.n()) * planes.len() as u128;
                let converted: u128 = conversions.iter().map(|r| u128::from(length(r))).sum();
                let sums = self.plan.effort(&step.kind).and_then(|effort| effort.sums);
                total += driven.max(sums.unwrap_or(0).into()) * converted.max(1);
            }
            let end = u128::from(step.start) + u128::from(step.cycles);
            if end > MAX_COUNT {
                self.fault(id, format!("it ends in cycle {end}"));
            }
        }
        if total > MAX_COUNT {
            let what = format!("its steps take {total} cycles and conversions");
            self.faults.push(PlanFault::Chip(what));
        }
    }

    /// Cells that a pass has overwritten are not driven.
    fn passes(&mut self) {
        let plan = self.plan;
        // The pass that is on, the end of those before, and of all.
        let (mut pass, mut began, mut ended) = (0, 0, 0);
        for (id, step) in plan.steps.iter() {
            let Some(own) = plan.pass_of_step(step) else { continue };
            if own < pass {
                self.fault(id, format!("it drives cells of pass {own} after pass {pass}"));
            } else if own > pass {
                (pass, began) = (own, ended);
            }
            if step.start < began {
                let start = step.start;
                self.fault(id, format!("it starts at {start}, the pass before ends at {began}"));
            }
            ended = ended.max(step.start.saturating_add(step.cycles));
        }
    }

    fn order(&mut self, id: StepId, step: &Step) {
        for &before in &step.after {
            if before >= id {
                self.fault(id, format!("it waits for {before}, which does not stand before it"));
                continue;
            }
            let end = self.plan.steps[before].start.saturating_add(self.plan.steps[before].cycles);
            if step.start < end {
                let start = step.start;
                self.fault(id, format!("it starts at {start}, {before} ends at {end}"));
            }
        }
    }

    /// Every maker must be waited for: the runtime may run steps at once that
    /// do not wait for each other.
    fn waits_for(&mut self, id: StepId, step: &Step, maker: StepId, what: &str) {
        if !step.after.contains(&maker) {
            self.fault(id, format!("it uses {what} of {maker} without waiting for it"));
        }
    }

    fn reads_tensor(&mut self, id: StepId, step: &Step, tensor: TensorId) {
        match self.made.tensors.get(&tensor) {
            None => self.fault(id, format!("it reads {tensor}, which is not made before it")),
            Some(Some(maker)) => {
                let maker = *maker;
                self.waits_for(id, step, maker, &format!("{tensor}"));
            }
            Some(None) => {}
        }
    }

    fn writes(&mut self, id: StepId, tensor: TensorId) {
        if self.made.tensors.insert(tensor, Some(id)).is_some() {
            self.fault(id, format!("it makes {tensor} a second time"));
        }
    }

    fn waves(&mut self, id: StepId, step: &Step) {
        let StepKind::Waves { layer, tiles, positions, planes: driven, conversions } = &step.kind
        else {
            return;
        };
        let Some(plan_layer) = self.plan.layers.get(layer) else {
            return self.fault(id, format!("{layer} is not a crossbar layer"));
        };
        match self.made.codes.get(layer) {
            Some(&encode) => self.waits_for(id, step, encode, "codes"),
            None => self.fault(id, format!("{layer} is not encoded before it")),
        }
        let n_positions = plan_layer.nest.positions_per_input();
        let outside = positions.start >= positions.end || positions.end as usize > n_positions;
        if outside || positions.every == 0 {
            return self.fault(id, format!("it drives positions {positions} of {n_positions}"));
        }
        if *driven != planes(&plan_layer.coding) {
            let what = format!("its planes are not those of the coding {}", plan_layer.coding);
            return self.fault(id, what);
        }
        let Some(n_conversions) = self.tiles_together(id, plan_layer.matrix, tiles) else { return };
        let limit = self.plan.conversions_per_cycle;
        let mut next = 0;
        for round in conversions {
            if round.start != next || round.end <= round.start || length(round) > limit {
                let (start, end) = (round.start, round.end);
                self.fault(
                    id,
                    format!("a cycle converts {start}..{end} after {next}, at most {limit}"),
                );
            }
            next = round.end;
        }
        if next != n_conversions {
            self.fault(id, format!("it converts {next} outputs of {n_conversions}"));
        }
        let cycles = self.plan.effort(&step.kind).map_or(0, |effort| effort.cycles());
        if step.cycles != cycles {
            self.fault(id, format!("it takes {} cycles, its waves {cycles}", step.cycles));
        }
        for &tile in tiles {
            self.made.waves.entry((*layer, tile)).or_default().push((*positions, id));
        }
    }

    /// Conversions of tiles of a matrix that can be driven together; `None` if
    /// they cannot.
    fn tiles_together(
        &mut self,
        id: StepId,
        matrix: LayerId,
        tiles: &[WeightTileId],
    ) -> Option<u32> {
        let plan = self.plan;
        let places: Option<Vec<_>> =
            tiles.iter().map(|&tile| plan.tiles.get(tile).map(|t| &t.place)).collect();
        let Some([first, rest @ ..]) = places.as_deref() else {
            self.fault(id, "it drives no tiles, or tiles that are not there".to_string());
            return None;
        };
        let distinct: BTreeSet<_> = tiles.iter().collect();
        let together = first.layer == matrix
            && distinct.len() == tiles.len()
            && rest.iter().all(|place| {
                (place.layer, place.replica, place.pe, place.input_line)
                    == (matrix, first.replica, first.pe, first.input_line)
                    && (&place.groups, &place.rows) == (&first.groups, &first.rows)
            });
        if !together {
            self.fault(id, "its tiles cannot be driven together".to_string());
            return None;
        }
        Some(tiles.iter().map(|&tile| plan.n_conversions(tile)).sum())
    }

    fn sum(&mut self, id: StepId, step: &Step, layer: LayerId, tiles: &[WeightTileId]) {
        let plan = self.plan;
        let Some(plan_layer) = plan.layers.get(&layer) else {
            return self.fault(id, format!("{layer} is not a crossbar layer"));
        };
        let given: BTreeSet<_> = tiles.iter().copied().collect();
        let matrix = plan_layer.matrix;
        let own: BTreeSet<_> =
            plan.tiles.iter().filter(|(_, t)| t.place.layer == matrix).map(|(id, _)| id).collect();
        if given.len() != tiles.len() || given != own {
            self.fault(id, format!("it does not add each tile of {layer} once"));
        }
        // Each replica takes its own positions; tiles of one replica take the
        // same.
        let mut by_replica: BTreeMap<u32, Vec<Positions>> = BTreeMap::new();
        for tile in own {
            let waves = self.made.waves.get(&(layer, tile)).cloned().unwrap_or_default();
            for (_, maker) in &waves {
                self.waits_for(id, step, *maker, "sums");
            }
            let mut shares: Vec<Positions> = waves.into_iter().map(|(share, _)| share).collect();
            shares.sort_unstable();
            let replica = plan.tiles[tile].place.replica;
            let known = by_replica.entry(replica).or_insert_with(|| shares.clone());
            if *known != shares {
                self.fault(
                    id,
                    format!("{tile} was not driven through the positions of its replica"),
                );
            }
        }
        let shares: Vec<Positions> = by_replica.into_values().flatten().collect();
        if !make_each_once(shares, plan_layer.nest.positions_per_input()) {
            self.fault(id, format!("the positions of {layer} were not each driven once"));
        }
        *self.made.sums.entry(layer).or_default() += 1;
        self.writes(id, plan_layer.output);
    }
}

/// Whether shares are all of so many positions, each once: runs that follow
/// each other, or every n-th position of n shares.
fn make_each_once(mut shares: Vec<Positions>, n_positions: usize) -> bool {
    shares.sort_unstable();
    let is_all = |end: u32| end as usize == n_positions;
    if shares.iter().all(|share| share.every == 1) {
        let mut next = 0;
        let follows = |share: &Positions| std::mem::replace(&mut next, share.end) == share.start;
        return shares.iter().all(follows) && is_all(next);
    }
    let is_dealt = |(first, share): (u32, &Positions)| {
        share.start == first && share.every as usize == shares.len() && is_all(share.end)
    };
    (0..).zip(&shares).all(is_dealt)
}
