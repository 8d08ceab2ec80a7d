//! Invariants 1 to 3: layers, tiles, cells.

use std::collections::BTreeMap;
use std::ops::Range;

use super::PlanFault;
use crate::entity::{LayerId, PeId, WeightTileId};
use crate::graph::{Extent, LoopRef};
use crate::mapping::{WeightTile, length, overlap, shared_weights};
use crate::schedule::plan::{ExecutionPlan, PlanLayer};

/// No array of a plan may have more values than this; a plan file that says
/// otherwise is damaged, and believing it would fill the memory.
const MAX_VALUES: usize = 1 << 34;

pub(super) fn faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    for (&layer, plan_layer) in &plan.layers {
        let what = layer_faults(plan_layer);
        faults.extend(what.into_iter().map(|what| PlanFault::Layer { layer, what }));
    }
    if !faults.is_empty() {
        return faults;
    }
    for (tile, plan_tile) in plan.tiles.iter() {
        let what = tile_faults(plan, &plan_tile.place);
        faults.extend(what.into_iter().map(|what| PlanFault::Tile { tile, what }));
        let adc = &plan_tile.adc;
        let bits = plan.layers.get(&plan_tile.place.layer).map_or(0, |l| l.coding.bits);
        let widest = adc.max_code.unsigned_abs().max(adc.min_code.unsigned_abs());
        if !(adc.step_us.is_finite() && adc.step_us > 0.0 && adc.min_code < adc.max_code)
            || u64::from(widest).leading_zeros() < u32::from(bits) + 2
        {
            let what = format!(
                "its ADC has the step {} and codes {}..{}",
                adc.step_us, adc.min_code, adc.max_code
            );
            faults.push(PlanFault::Tile { tile, what });
        }
    }
    if !faults.is_empty() {
        return faults;
    }
    faults.extend(overlap_faults(plan));
    faults.extend(conservation_faults(plan));
    faults.extend(cell_faults(plan));
    faults
}

fn layer_faults(layer: &PlanLayer) -> Vec<String> {
    let mut faults = Vec::new();
    let nest = &layer.nest;
    let product = |extents: &[usize]| {
        extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|&n| n > 0)
    };
    let positions = nest.positions.iter().try_fold(1usize, |n, extent| match extent {
        Extent::Fixed(e) | Extent::PerInput(e) if *e > 0 => n.checked_mul(*e),
        _ => None,
    });
    let sizes = (product(&nest.groups), product(&nest.rows), product(&nest.columns), positions);
    let (Some(groups), Some(rows), Some(columns), Some(positions)) = sizes else {
        return vec!["its loops have no proper extents".to_string()];
    };
    let cells = groups.checked_mul(rows).and_then(|n| n.checked_mul(columns));
    if positions > u32::MAX as usize || cells.is_none_or(|n| n > MAX_VALUES) {
        return vec!["its loops are too large".to_string()];
    }
    let late = nest.positions.iter().skip(1).any(|e| matches!(e, Extent::PerInput(_)));
    let known = |l: &LoopRef| nest.extent(*l, 1).is_some();
    let terms = nest.input.iter().chain(&nest.output).flat_map(|axis| &axis.terms);
    if late || !terms.into_iter().all(|(l, _)| known(l)) {
        faults.push("its index maps use loops that are not there".to_string());
    }
    for (what, found, wanted) in [
        ("levels", layer.levels.len(), cells.unwrap_or(0)),
        ("column scales", layer.column_scales.len(), groups * columns),
        ("level sums", layer.level_sums.len(), groups * columns),
        ("biases", layer.bias.len(), groups * columns),
    ] {
        if found != wanted {
            faults.push(format!("it has {found} {what}, its loops say {wanted}"));
        }
    }
    let coding = &layer.coding;
    let usable = coding.scale.is_finite() && coding.scale > 0.0;
    if !(1..=16).contains(&coding.bits) || !usable {
        faults.push(format!("its inputs have {} bits and the scale {}", coding.bits, coding.scale));
    }
    if !layer.column_scales.iter().all(|s| s.is_finite())
        || !layer.bias.iter().all(|b| b.is_finite())
    {
        faults.push("its scales or biases are not finite".to_string());
    }
    if layer.n_replicas == 0 || layer.n_replicas as usize > positions {
        faults.push(format!("it has {} replicas for {positions} positions", layer.n_replicas));
    }
    faults
}

fn tile_faults(plan: &ExecutionPlan, place: &WeightTile) -> Vec<String> {
    let Some(layer) = plan.layers.get(&place.layer) else {
        return vec![format!("{} is not a crossbar layer of the plan", place.layer)];
    };
    let nest = &layer.nest;
    let within = |range: &Range<u32>, n: usize| range.start < range.end && range.end as usize <= n;
    let mut faults = Vec::new();
    if !within(&place.groups, nest.n_groups())
        || !within(&place.rows, nest.n_rows())
        || !within(&place.columns, nest.n_columns())
        || place.replica >= layer.n_replicas
    {
        return vec![format!("it is not a piece of the matrix of {}", place.layer)];
    }
    let fits = |start: u32, lengths: [&Range<u32>; 2], factor: u64, lines: u32| {
        let n = lengths.iter().map(|r| u64::from(length(r))).product::<u64>() * factor;
        u64::from(start) + n <= u64::from(lines)
    };
    if place.pe.0 >= plan.n_pes
        || !place.output_line.is_multiple_of(2)
        || !fits(place.input_line, [&place.groups, &place.rows], 1, plan.pe.inputs)
        || !fits(place.output_line, [&place.groups, &place.columns], 2, plan.pe.outputs)
    {
        faults.push(format!("it does not lie inside {}", place.pe));
    }
    faults
}

fn overlap_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    let mut by_pe: BTreeMap<PeId, Vec<(WeightTileId, &WeightTile)>> = BTreeMap::new();
    for (id, tile) in plan.tiles.iter() {
        let others = by_pe.entry(tile.place.pe).or_default();
        for (other, place) in others.iter() {
            if overlap(&tile.place, place) {
                let what = format!("it shares cells with {other}");
                faults.push(PlanFault::Tile { tile: id, what });
            }
        }
        others.push((id, &tile.place));
    }
    faults
}

fn conservation_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut matrices: BTreeMap<(LayerId, u32), Vec<&WeightTile>> = BTreeMap::new();
    for (&layer, plan_layer) in &plan.layers {
        for replica in 0..plan_layer.n_replicas {
            matrices.insert((layer, replica), Vec::new());
        }
    }
    for tile in plan.tiles.values() {
        if let Some(tiles) = matrices.get_mut(&(tile.place.layer, tile.place.replica)) {
            tiles.push(&tile.place);
        }
    }
    let mut faults = Vec::new();
    for ((layer, replica), tiles) in matrices {
        let wanted = plan.layers[&layer].levels.len() as u64;
        let found: u64 = tiles.iter().map(|tile| tile.n_weight_cells() / 2).sum();
        let twice = shared_weights(&tiles);
        if found != wanted || twice != 0 {
            let what = format!(
                "replica {replica} has {found} weights in tiles, {twice} of them twice; its \
                 matrix has {wanted}"
            );
            faults.push(PlanFault::Layer { layer, what });
        }
    }
    faults
}

fn cell_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let (n_inputs, n_outputs) = (plan.pe.inputs as usize, plan.pe.outputs as usize);
    let mut faults = Vec::new();
    let mut used: BTreeMap<PeId, Vec<bool>> = BTreeMap::new();
    for tile in plan.tiles.values() {
        let cells = used.entry(tile.place.pe).or_insert_with(|| vec![false; n_inputs * n_outputs]);
        for line in 0..tile.place.n_inputs() as usize {
            let start = (tile.place.input_line as usize + line) * n_outputs
                + tile.place.output_line as usize;
            cells[start..start + tile.place.n_outputs() as usize].fill(true);
        }
    }
    for (&pe, targets) in &plan.targets {
        let Some(cells) = used.remove(&pe) else {
            faults.push(PlanFault::Pe { pe, what: "no tile uses it".to_string() });
            continue;
        };
        if targets.levels.len() != cells.len() {
            let what =
                format!("it has {} cell targets for {} cells", targets.levels.len(), cells.len());
            faults.push(PlanFault::Pe { pe, what });
            continue;
        }
        let bad = targets.levels.iter().zip(&cells).position(|(level, &used)| {
            if used { !(level.is_finite() && *level >= 0.0) } else { !level.is_nan() }
        });
        if let Some(cell) = bad {
            let what = format!(
                "input line {} output line {} has the target {}",
                cell / n_outputs,
                cell % n_outputs,
                targets.levels[cell]
            );
            faults.push(PlanFault::Pe { pe, what });
        }
    }
    let missing = used.into_keys();
    faults.extend(missing.map(|pe| PlanFault::Pe { pe, what: "it has no targets".to_string() }));
    faults
}
