//! Weights lost, to be won back: an experiment of the paper, which set a tenth
//! of all weights to random values and tuned the last layer.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::chip::{CellChange, CellChanges, Programmed, Rewriter, Work};
use crate::entity::{LayerId, PeId};
use crate::quantize::pair_max;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::Cell;

/// The round of changes that this is: none that a batch has.
const ROUND: u64 = u64::MAX;

/// Sets a share of all weights to random levels, each as likely as any other,
/// by writing their pairs closed loop. `targets` take the new levels.
pub(super) fn randomise(
    plan: &ExecutionPlan,
    rewriter: &Rewriter<'_>,
    cell: &Cell,
    programmed: &mut Programmed,
    targets: &mut BTreeMap<PeId, PeTargets>,
    (share, seed): (f64, u64),
) -> Work {
    let top = i64::from(pair_max(cell));
    let n_outputs = plan.pe.outputs as usize;
    let mut changes = CellChanges::new();
    // A weight loses all of its slices, in every replica the same.
    let mut lost: BTreeMap<LayerId, Vec<bool>> = BTreeMap::new();
    for (&id, layer) in plan.layers.iter().filter(|(id, layer)| layer.matrix == **id) {
        let mut random = stream(seed, u64::from(id.0));
        let drawn = layer.levels.iter().map(|_| random.random_bool(share.clamp(0.0, 1.0)));
        lost.insert(id, drawn.collect());
    }
    for tile in plan.tiles.values() {
        let place = &tile.place;
        let (Some(layer), Some(lost)) = (plan.layers.get(&place.layer), lost.get(&place.layer))
        else {
            continue;
        };
        let (n_rows, n_columns) = (layer.nest.n_rows(), layer.nest.n_columns());
        // Levels are drawn for all weights, so that each has its own.
        let stream_of_slice = 1 << 32 | u64::from(place.slice) << 33 | u64::from(place.layer.0);
        let mut random = stream(seed, stream_of_slice);
        let levels: Vec<i64> = lost.iter().map(|_| random.random_range(-top..=top)).collect();
        for group in place.groups.clone() {
            for row in place.rows.clone() {
                for column in place.columns.clone() {
                    let weight = (group as usize * n_rows + row as usize) * n_columns;
                    let weight = weight + column as usize;
                    if !lost[weight] {
                        continue;
                    }
                    let (input, positive, _) = ExecutionPlan::cells(place, group, row, column);
                    let at = input as usize * n_outputs + positive as usize;
                    let level = levels[weight];
                    for (at, level) in [(at, level.max(0)), (at + 1, (-level).max(0))] {
                        let goal_us = cell.conductance_us(level as f64);
                        let list = changes.entry(place.pe).or_default();
                        list.push((at, CellChange::Write(goal_us)));
                        if let Some(targets) = targets.get_mut(&place.pe) {
                            targets.levels.set(at, level as f32);
                        }
                    }
                }
            }
        }
    }
    rewriter.apply(programmed, plan, &changes, (seed, ROUND))
}

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7261_6e64_6f6d);
    random.set_stream(number);
    random
}
