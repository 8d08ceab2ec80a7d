//! Invariants 1 to 3: layers, tiles, cells.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::PlanFault;
use super::nests::nest_faults;
use crate::entity::{LayerId, PeId, WeightTileId};
use crate::graph::LoopRef;
use crate::mapping::{WeightTile, length, overlap, shared_weights};
use crate::schedule::plan::{ExecutionPlan, PlanLayer, PlanTile};
use crate::schedule::stage::WindowAxis;
use crate::schedule::targets::PeTargets;
use crate::target::{Conversion, Subtract};

/// Lines on one side of a PE, as targets limit them.
const MAX_LINES: u32 = 16_384;

/// The most that a range is halved for a plane.
const HALVINGS_MAX: u8 = 15;

/// Largest window, distance of windows, and number of them along an axis; and
/// axes, so that their product stays below 2^62.
const WINDOW_MAX: usize = 1 << 20;
const WINDOW_AXES_MAX: usize = 3;

/// Bits of a code without its sign, as targets limit them: the kernel converts
/// no wider ones.
const ADC_BITS_MAX: u32 = 22;

pub(super) fn faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = chip_faults(plan);
    for (&layer, plan_layer) in &plan.layers {
        let what = layer_faults(plan_layer);
        faults.extend(what.into_iter().map(|what| PlanFault::Layer { layer, what }));
    }
    if faults.is_empty() {
        faults.extend(matrix_faults(plan));
    }
    if !faults.is_empty() {
        return faults;
    }
    for (&layer, plan_layer) in &plan.layers {
        if let Some(what) = stage_fault(plan, (layer, plan_layer)) {
            faults.push(PlanFault::Layer { layer, what: what.to_string() });
        }
    }
    for (tile, plan_tile) in plan.tiles.iter() {
        let what = tile_faults(plan, &plan_tile.place);
        faults.extend(what.into_iter().map(|what| PlanFault::Tile { tile, what }));
        let adc = &plan_tile.adc;
        let widest = adc.max_code.unsigned_abs().max(adc.min_code.unsigned_abs());
        if !(adc.step_us.is_finite() && adc.step_us > 0.0 && adc.min_code < adc.max_code)
            || widest >= 1 << ADC_BITS_MAX
        {
            let what = format!(
                "its ADC has the step {} and codes {}..{}",
                adc.step_us, adc.min_code, adc.max_code
            );
            faults.push(PlanFault::Tile { tile, what });
        }
        let most = adc.halvings.iter().copied().max().unwrap_or(0);
        if most > HALVINGS_MAX || (most > 0 && plan.conversion == Conversion::Accumulated) {
            let what = format!("its ADC's range is halved {most} times for a plane");
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

/// What is wrong with a stage that compares sums: it needs whole ones, and
/// windows over axes that positions walk.
fn stage_fault(plan: &ExecutionPlan, (id, layer): (LayerId, &PlanLayer)) -> Option<&'static str> {
    let stage = layer.stage.as_ref()?;
    if plan.conversion != Conversion::Accumulated || plan.subtract != Subtract::BeforeConversion {
        return Some("it compares sums that are not there");
    }
    let whole = 0..layer.nest.n_rows() as u32;
    let mut own = plan.tiles.values().filter(|tile| tile.place.layer == id);
    let shared = plan.layers.values().filter(|other| other.matrix == layer.matrix).count() > 1;
    if shared || layer.n_slices() > 1 || layer.n_replicas > 1 {
        return Some("it compares sums that others have a part in");
    }
    if layer.unrolled.is_some() {
        return Some("it compares sums of several positions a wave");
    }
    if !own.all(|tile| tile.place.rows == whole) {
        return Some("it compares sums of several tiles");
    }
    if !layer.column_scales.iter().all(|&scale| scale > 0.0) {
        return Some("it compares sums whose results are in another order");
    }
    let walked = |axis: usize| {
        let terms = layer.nest.output.get(axis).map(|index| &index.terms);
        terms.is_some_and(|terms| {
            !terms.is_empty() && terms.iter().all(|(l, _)| matches!(l, LoopRef::Position(_)))
        })
    };
    let counted = |window: &WindowAxis| {
        let limits = [window.extent, window.stride, window.n_windows];
        limits.iter().all(|n| (1..=WINDOW_MAX).contains(n)) && window.padding < window.extent
    };
    let distinct: BTreeSet<usize> = stage.windows.iter().map(|window| window.axis).collect();
    let sound = stage.windows.iter().all(|window| walked(window.axis) && counted(window));
    (!sound || distinct.len() != stage.windows.len() || distinct.len() > WINDOW_AXES_MAX)
        .then_some("its windows cannot be")
}

/// What all PEs have in common; their arrays are made from it, so it is looked
/// at first.
fn chip_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    let (inputs, outputs) = (plan.pe.inputs, plan.pe.outputs);
    let lines = 1..=MAX_LINES;
    if !lines.contains(&inputs) || !lines.contains(&outputs) || !outputs.is_multiple_of(2) {
        faults.push(PlanFault::Chip(format!("its PEs have {inputs} inputs and {outputs} outputs")));
    }
    if plan.n_passes == 0 || plan.n_pes.checked_mul(plan.n_passes).is_none() {
        let (n_pes, n_passes) = (plan.n_pes, plan.n_passes);
        faults.push(PlanFault::Chip(format!("it has {n_passes} passes of {n_pes} PEs")));
    }
    for (what, value, unit) in [("cycle", plan.cycle_ns, "ns"), ("level", plan.level_us, "uS")] {
        if !(value.is_finite() && value > 0.0) {
            faults.push(PlanFault::Chip(format!("its {what} is {value} {unit}")));
        }
    }
    faults
}

fn layer_faults(layer: &PlanLayer) -> Vec<String> {
    let nest = &layer.nest;
    let mut faults = nest_faults(nest);
    if !faults.is_empty() {
        return faults;
    }
    // The extents are proper, so these products do not overflow.
    let (groups, rows, columns) = (nest.n_groups(), nest.n_rows(), nest.n_columns());
    let positions = nest.positions_per_input();
    for (what, found, wanted) in [
        ("levels", layer.levels.len(), groups * rows * columns),
        ("column scales", layer.column_scales.len(), groups * columns),
        ("level sums", layer.level_sums.len(), groups * columns),
        ("biases", layer.bias.len(), groups * columns),
    ] {
        if found != wanted {
            faults.push(format!("it has {found} {what}, its loops say {wanted}"));
        }
    }
    if faults.is_empty() {
        faults.extend(level_faults(layer, rows, columns));
    }
    let coding = &layer.coding;
    let scaled = coding.scale.is_finite() && coding.scale > 0.0;
    if !scaled || !(1..=16).contains(&coding.bits) {
        faults.push(format!("its inputs have {} bits and the scale {}", coding.bits, coding.scale));
    } else if !(coding.min_code()..=coding.max_code()).contains(&coding.zero_point) {
        faults.push(format!("its zero point {} is none of its codes", coding.zero_point));
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

fn level_faults(layer: &PlanLayer, n_rows: usize, n_columns: usize) -> Option<String> {
    if layer.levels.contains(&i16::MIN) {
        return Some(format!("it has the level {}, which has no opposite", i16::MIN));
    }
    let top = layer.slicing.map(|slicing| slicing.max_level());
    let beyond = top.and_then(|top| layer.levels.iter().find(|level| level.abs() > top));
    if let Some(level) = beyond {
        return Some(format!("its slices do not hold the level {level}"));
    }
    let mut sums = vec![0i64; layer.level_sums.len()];
    for (row, levels) in layer.levels.chunks_exact(n_columns).enumerate() {
        let group = row / n_rows * n_columns;
        for (sum, &level) in sums[group..].iter_mut().zip(levels) {
            *sum += i64::from(level);
        }
    }
    let wrong = sums.iter().zip(&layer.level_sums).position(|(found, said)| found != said)?;
    Some(format!(
        "the levels of group {} column {} add up to {}, not {}",
        wrong / n_columns,
        wrong % n_columns,
        sums[wrong],
        layer.level_sums[wrong]
    ))
}

/// Layers that drive cells of another.
fn matrix_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    for (&layer, plan_layer) in &plan.layers {
        let matrix = plan_layer.matrix;
        if matrix == layer {
            continue;
        }
        let sizes = |layer: &PlanLayer| {
            let nest = &layer.nest;
            let extents = (nest.n_groups(), nest.n_rows(), nest.n_columns());
            (extents, layer.n_replicas, layer.slicing)
        };
        let same = plan.layers.get(&matrix).is_some_and(|first| {
            first.matrix == matrix
                && sizes(first) == sizes(plan_layer)
                && first.levels == plan_layer.levels
        });
        if !same {
            let what = format!("it drives the cells of {matrix}, whose matrix is another");
            faults.push(PlanFault::Layer { layer, what });
        }
    }
    faults
}

fn tile_faults(plan: &ExecutionPlan, place: &WeightTile) -> Vec<String> {
    let Some(layer) = plan.layers.get(&place.layer) else {
        return vec![format!("{} is not a crossbar layer of the plan", place.layer)];
    };
    if layer.matrix != place.layer {
        return vec![format!("it is of {}, which drives the cells of another", place.layer)];
    }
    let nest = &layer.nest;
    let within = |range: &Range<u32>, n: usize| range.start < range.end && range.end as usize <= n;
    let mut faults = Vec::new();
    if !within(&place.groups, nest.n_groups())
        || !within(&place.rows, nest.n_rows())
        || !within(&place.columns, nest.n_columns())
        || place.replica >= layer.n_replicas
        || place.slice >= layer.n_slices()
    {
        return vec![format!("it is not a piece of the matrix of {}", place.layer)];
    }
    let fits = |start: u32, lengths: [&Range<u32>; 2], factor: u64, lines: u32| {
        let n = lengths.iter().map(|r| u64::from(length(r))).product::<u64>() * factor;
        u64::from(start) + n <= u64::from(lines)
    };
    if u64::from(place.pe.0) >= u64::from(plan.n_pes) * u64::from(plan.n_passes)
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
    for PlanTile { place, .. } in plan.tiles.values() {
        matrices.entry((place.layer, place.replica)).or_default().push(place);
    }
    let mut faults = Vec::new();
    for (&layer, plan_layer) in &plan.layers {
        if plan_layer.matrix != layer {
            continue;
        }
        // A plan file may claim billions of replicas: those that are there are
        // walked, those that are not are only counted.
        let there = matrices.range((layer, 0)..=(layer, u32::MAX));
        let n_there = there.clone().count();
        if n_there != plan_layer.n_replicas as usize {
            let what = format!("{n_there} of its {} replicas have tiles", plan_layer.n_replicas);
            faults.push(PlanFault::Layer { layer, what });
        }
        for (&(_, replica), tiles) in there {
            let what = (0..plan_layer.n_slices()).filter_map(|slice| {
                let of_slice = |tile: &&&WeightTile| tile.slice == slice;
                let tiles: Vec<_> = tiles.iter().filter(of_slice).copied().collect();
                replica_fault(plan_layer, replica, slice, &tiles)
            });
            faults.extend(what.map(|what| PlanFault::Layer { layer, what }));
        }
    }
    faults
}

fn replica_fault(
    layer: &PlanLayer,
    replica: u32,
    slice: u8,
    tiles: &[&WeightTile],
) -> Option<String> {
    let what = match layer.slicing {
        Some(_) => format!("slice {slice} of replica {replica}"),
        None => format!("replica {replica}"),
    };
    let wanted = layer.levels.len() as u64;
    let found: u64 = tiles.iter().map(|tile| tile.n_weight_cells() / 2).sum();
    if found != wanted {
        return Some(format!("{what} has {found} weights in tiles, its matrix has {wanted}"));
    }
    let twice = shared_weights(tiles);
    (twice != 0).then(|| format!("{what} has {twice} weights in two tiles"))
}

fn cell_faults(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut by_pe: BTreeMap<PeId, Vec<&WeightTile>> = BTreeMap::new();
    for tile in plan.tiles.values() {
        by_pe.entry(tile.place.pe).or_default().push(&tile.place);
    }
    let pes: BTreeSet<PeId> = by_pe.keys().chain(plan.targets.keys()).copied().collect();
    let fault = |pe| {
        let what = match (by_pe.get(&pe), plan.targets.get(&pe)) {
            (Some(tiles), Some(targets)) => pe_fault(plan, tiles, targets)?,
            (None, _) => "no tile uses it".to_string(),
            (_, None) => "it has no targets".to_string(),
        };
        Some(PlanFault::Pe { pe, what })
    };
    pes.into_iter().filter_map(fault).collect()
}

fn pe_fault(plan: &ExecutionPlan, tiles: &[&WeightTile], targets: &PeTargets) -> Option<String> {
    let (n_inputs, n_outputs) = (plan.pe.inputs as usize, plan.pe.outputs as usize);
    if targets.levels.len() != n_inputs * n_outputs {
        return Some(format!(
            "it has {} cell targets for {} cells",
            targets.levels.len(),
            n_inputs * n_outputs
        ));
    }
    let mut used = vec![false; n_inputs * n_outputs];
    for tile in tiles {
        for line in 0..tile.n_inputs() as usize {
            let start = (tile.input_line as usize + line) * n_outputs + tile.output_line as usize;
            used[start..start + tile.n_outputs() as usize].fill(true);
        }
    }
    let cell = targets.levels.iter().zip(&used).position(|(level, &used)| {
        if used { !(level.is_finite() && *level > -1.0) } else { !level.is_nan() }
    })?;
    Some(format!(
        "input line {} output line {} has the target {}",
        cell / n_outputs,
        cell % n_outputs,
        targets.levels[cell]
    ))
}
