//! The arrays of a plan, and the plan put together from them.

use std::io::{Read, Seek};
use std::sync::Arc;

use super::document::{PlanForm, TileForm, plain};
use super::layers::LayerForm;
use super::steps::StepForm;
use crate::entity::{Entity, LayerId, PeId, Table, WeightTileId};
use crate::format::archive::{ArchiveWriter, Kind};
use crate::format::npy::write_array;
use crate::format::reader::ArchiveReader;
use crate::format::{Flaw, FormatError};
use crate::graph::LoopNest;
use crate::schedule::{AdcSetting, ExecutionPlan, PeTargets, PlanLayer, PlanTile};

const STEPS: &str = "adc/step_us.npy";
const CODES: &str = "adc/codes.npy";

fn levels(layer: LayerId) -> String {
    format!("levels/{layer}.npy")
}

fn scales(layer: LayerId) -> String {
    format!("scales/{layer}.npy")
}

fn bias(layer: LayerId) -> String {
    format!("bias/{layer}.npy")
}

fn cells(pe: PeId) -> String {
    format!("cells/{pe}.npy")
}

/// Adds all arrays of a plan.
pub(super) fn add<'a>(plan: &'a ExecutionPlan, archive: &mut ArchiveWriter<'a>) {
    for (&id, layer) in &plan.layers {
        let (n_groups, n_rows, n_columns) =
            (layer.nest.n_groups(), layer.nest.n_rows(), layer.nest.n_columns());
        if layer.matrix == id {
            archive.add(levels(id), move |writer| {
                write_array(writer, &[n_groups, n_rows, n_columns], &layer.levels)
            });
        }
        archive.add(scales(id), move |writer| {
            write_array(writer, &[n_groups, n_columns], &layer.column_scales)
        });
        archive
            .add(bias(id), move |writer| write_array(writer, &[n_groups, n_columns], &layer.bias));
    }
    let n_tiles = plan.tiles.len();
    let steps: Vec<f64> = plan.tiles.values().map(|tile| tile.adc.step_us).collect();
    archive.add(STEPS, move |writer| write_array(writer, &[n_tiles], &steps));
    let codes: Vec<i32> =
        plan.tiles.values().flat_map(|tile| [tile.adc.min_code, tile.adc.max_code]).collect();
    archive.add(CODES, move |writer| write_array(writer, &[n_tiles, 2], &codes));
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    for (&pe, targets) in &plan.targets {
        archive.add(cells(pe), move |writer| write_array(writer, &shape, &targets.levels.to_vec()));
    }
}

/// The plan that the document and the arrays beside it say, not verified yet.
pub(super) fn plan<R: Read + Seek>(
    form: &PlanForm,
    archive: &mut ArchiveReader<R>,
) -> Result<ExecutionPlan, FormatError> {
    let flaws = id_flaws(form);
    if !flaws.is_empty() {
        return Err(FormatError::Invalid { file: archive.file().to_string(), flaws });
    }
    let mut plan = form.chip.empty_plan();
    (plan.inputs, plan.outputs) = (plain(&form.inputs), plain(&form.outputs));
    for layer in &form.layers {
        let levels = layer.cells_of.and_then(|matrix| plan.layers.get(&matrix.0));
        let levels = levels.map(|layer| layer.levels.clone());
        plan.layers.insert(layer.id.0, plan_layer(layer, levels, archive)?);
    }
    plan.tiles = tiles(&form.tiles, archive)?;
    plan.steps = form.steps.iter().map(StepForm::step).collect();
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    for pe in plain(&form.cells) {
        let levels: Vec<f32> = archive.read_array(&cells(pe), &shape)?;
        plan.targets.insert(pe, PeTargets { levels: levels.into() });
    }
    Ok(plan)
}

/// Ids of tables are positions, ids of maps ascend.
fn id_flaws(form: &PlanForm) -> Vec<Flaw> {
    fn indices<T: Entity>(ids: impl Iterator<Item = T>) -> Vec<usize> {
        ids.map(Entity::index).collect()
    }
    let ascend = |ids: Vec<usize>| ids.windows(2).all(|pair| pair[0] < pair[1]);
    let count = |ids: Vec<usize>| ids.iter().enumerate().all(|(position, &id)| position == id);
    let in_order = [
        ("layers", ascend(indices(form.layers.iter().map(|layer| layer.id.0)))),
        ("cells", ascend(indices(form.cells.iter().map(|pe| pe.0)))),
        ("tiles", count(indices(form.tiles.iter().map(|tile| tile.id.0)))),
        ("steps", count(indices(form.steps.iter().map(|step| step.id.0)))),
    ];
    let flaw = |what| {
        Flaw::entry(Kind::Plan.document(), format!("the ids of {what} are not in their order"))
    };
    in_order.into_iter().filter(|(_, good)| !good).map(|(what, _)| flaw(what)).collect()
}

/// A layer; one that drives the cells of a layer before it has its `shared`
/// levels.
fn plan_layer<R: Read + Seek>(
    form: &LayerForm,
    shared: Option<Arc<Vec<i16>>>,
    archive: &mut ArchiveReader<R>,
) -> Result<PlanLayer, FormatError> {
    let (id, nest) = (form.id.0, form.nest());
    let Some([n_groups, n_rows, n_columns]) = matrix(&nest) else {
        let flaw = Flaw::entry(levels(id), "a matrix of its extents cannot be");
        return Err(FormatError::Invalid { file: archive.file().to_string(), flaws: vec![flaw] });
    };
    let slicing = form.slicing().map_err(|what| {
        let flaw = Flaw::entry(Kind::Plan.document(), format!("{id}: {what}"));
        FormatError::Invalid { file: archive.file().to_string(), flaws: vec![flaw] }
    })?;
    let unrolled = form.unrolled().map_err(|what| {
        let flaw = Flaw::entry(Kind::Plan.document(), format!("{id}: {what}"));
        FormatError::Invalid { file: archive.file().to_string(), flaws: vec![flaw] }
    })?;
    let n_levels = n_groups.checked_mul(n_rows).and_then(|n| n.checked_mul(n_columns));
    let levels = match shared.filter(|levels| Some(levels.len()) == n_levels) {
        Some(levels) => levels,
        None => Arc::new(archive.read_array(&levels(id), &[n_groups, n_rows, n_columns])?),
    };
    let columns = [n_groups, n_columns];
    Ok(PlanLayer {
        name: form.name.clone(),
        input: form.input.0,
        output: form.output.0,
        coding: form.coding(),
        slicing,
        n_replicas: form.n_replicas,
        unrolled,
        matrix: form.cells_of.map_or(id, |matrix| matrix.0),
        level_sums: level_sums(&levels, n_rows, n_columns),
        levels,
        column_scales: archive.read_array(&scales(id), &columns)?,
        bias: archive.read_array(&bias(id), &columns)?,
        stage: form.stage(),
        nest,
    })
}

/// Groups, rows, columns; `None` where they cannot be counted.
fn matrix(nest: &LoopNest) -> Option<[usize; 3]> {
    let product =
        |extents: &[usize]| extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    Some([product(&nest.groups)?, product(&nest.rows)?, product(&nest.columns)?])
}

/// Sum of every column, `[group][column]`; levels are `[group][row][column]`.
fn level_sums(levels: &[i16], n_rows: usize, n_columns: usize) -> Vec<i64> {
    // Either may be 0 in a file; then there are no levels.
    let (n_rows, n_columns) = (n_rows.max(1), n_columns.max(1));
    let mut sums = Vec::with_capacity(levels.len() / n_rows);
    for group in levels.chunks(n_rows.saturating_mul(n_columns)) {
        let start = sums.len();
        sums.resize(start + n_columns.min(group.len()), 0i64);
        for row in group.chunks(n_columns) {
            for (sum, &level) in sums[start..].iter_mut().zip(row) {
                *sum += i64::from(level);
            }
        }
    }
    sums
}

fn tiles<R: Read + Seek>(
    forms: &[TileForm],
    archive: &mut ArchiveReader<R>,
) -> Result<Table<WeightTileId, PlanTile>, FormatError> {
    let steps: Vec<f64> = archive.read_array(STEPS, &[forms.len()])?;
    let codes: Vec<i32> = archive.read_array(CODES, &[forms.len(), 2])?;
    let settings = steps
        .iter()
        .zip(codes.chunks_exact(2))
        .map(|(&step_us, codes)| AdcSetting::new(step_us, codes[0], codes[1]));
    let tile = |(form, adc): (&TileForm, AdcSetting)| PlanTile {
        place: form.place(),
        adc: AdcSetting { halvings: form.halvings(), ..adc },
    };
    Ok(forms.iter().zip(settings).map(tile).collect())
}
