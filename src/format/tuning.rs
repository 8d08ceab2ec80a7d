//! The state of a training on the chip: what it takes to go on after the last
//! complete batch.
//!
//! ```text
//! tuning.json                 which training it is, how far, what PEs took
//! batches/counts.npy          u64 [batch][samples, right, cells, SET, RESET, readings]
//! batches/sums.npy            f64 [batch][loss, pJ, ns]
//! looks/counts.npy            u64 [look][batches before, samples, right]
//! looks/losses.npy            f64 [look]
//! wanted/layer3.npy           f64, changes not made yet, in levels
//! cells/written_us/pe5.npy    as in a `.chip`, of PEs with tuned cells; also
//!                             relaxed_us, pulses, states, and targets in levels
//! ```
//!
//! It is written after every batch, so it holds what can have changed and no
//! more: the chip that the training began with must be at hand.

use std::collections::BTreeMap;
use std::io::Cursor;

use serde::{Deserialize, Serialize};

use super::archive::{ArchiveWriter, Kind};
use super::chip::{PeForm, cell_flaws};
use super::npy::write_array;
use super::reader::ArchiveReader;
use super::text::Id;
use super::{Flaw, FormatError, json};
use crate::chip::{CellState, PeCells, Work};
use crate::entity::{LayerId, PeId};
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::tuning::{BatchPoint, HeldOut, Score, TuneState};

const BATCH_COUNTS: &str = "batches/counts.npy";
const BATCH_SUMS: &str = "batches/sums.npy";
const LOOK_COUNTS: &str = "looks/counts.npy";
const LOOK_LOSSES: &str = "looks/losses.npy";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningForm {
    /// What the training was begun with, as its owner sums it up.
    belongs_to: String,
    batches: usize,
    looks: usize,
    layers: Vec<LayerForm>,
    pes: Vec<PeForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerForm {
    id: Id<LayerId>,
    weights: usize,
}

/// The file's bytes: the same for the same state. `belongs_to` tells one
/// training from another.
///
/// # Errors
///
/// Something that the format cannot hold.
pub fn write_tuning(
    state: &TuneState,
    plan: &ExecutionPlan,
    belongs_to: &str,
) -> Result<Vec<u8>, FormatError> {
    let kind = Kind::Tuning;
    let layer =
        |(&id, wanted): (&LayerId, &Vec<f64>)| LayerForm { id: Id(id), weights: wanted.len() };
    let form = TuningForm {
        belongs_to: belongs_to.to_string(),
        batches: state.batches.len(),
        looks: state.looks.len(),
        layers: state.wanted.iter().map(layer).collect(),
        pes: state.pes.iter().map(|(&id, (cells, _))| PeForm::of(id, &cells.work)).collect(),
    };
    let text = json::text(&form).map_err(|reason| FormatError::Write { kind, reason })?;
    let mut archive = ArchiveWriter::new(kind);
    archive.add(kind.document(), move |writer| writer.write_all(text.as_bytes()));
    archive.add(BATCH_COUNTS, move |writer| {
        let counts = |batch: &BatchPoint| {
            let BatchPoint { score, n_cells, work } = batch;
            let Work { set_pulses, reset_pulses, verify_reads, .. } = *work;
            [score.n, score.n_right, *n_cells, set_pulses, reset_pulses, verify_reads]
        };
        let counts: Vec<u64> = state.batches.iter().flat_map(counts).collect();
        write_array(writer, &[state.batches.len(), 6], &counts)
    });
    archive.add(BATCH_SUMS, move |writer| {
        let sums =
            |batch: &BatchPoint| [batch.score.loss, batch.work.energy_pj, batch.work.busy_ns];
        let sums: Vec<f64> = state.batches.iter().flat_map(sums).collect();
        write_array(writer, &[state.batches.len(), 3], &sums)
    });
    archive.add(LOOK_COUNTS, move |writer| {
        let counts = |look: &HeldOut| [look.after, look.score.n, look.score.n_right];
        let counts: Vec<u64> = state.looks.iter().flat_map(counts).collect();
        write_array(writer, &[state.looks.len(), 3], &counts)
    });
    archive.add(LOOK_LOSSES, move |writer| {
        let losses: Vec<f64> = state.looks.iter().map(|look| look.score.loss).collect();
        write_array(writer, &[state.looks.len()], &losses)
    });
    for (id, wanted) in &state.wanted {
        archive.add_stored_by(format!("wanted/{id}.npy"), move |writer| {
            write_array(writer, &[wanted.len()], wanted)
        });
    }
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    for (&id, (cells, targets)) in &state.pes {
        for (what, values) in [("written_us", &cells.written_us), ("relaxed_us", &cells.relaxed_us)]
        {
            archive.add_stored_by(entry(what, id), move |w| write_array(w, &shape, values));
        }
        archive.add_stored_by(entry("targets", id), move |writer| {
            write_array(writer, &shape, &targets.levels.to_vec())
        });
        archive.add(entry("pulses", id), move |w| write_array(w, &shape, &cells.pulses));
        archive.add(entry("states", id), move |writer| {
            let codes: Vec<u8> = cells.states.iter().map(|state| state.code()).collect();
            write_array(writer, &shape, &codes)
        });
    }
    archive.finish()
}

fn entry(what: &str, pe: PeId) -> String {
    format!("cells/{what}/{pe}.npy")
}

/// Reads a state; `file` is its name for messages, `plan` that of the chip that
/// is tuned.
///
/// # Errors
///
/// It is none, damaged, of a newer format, of another training, or says what
/// cannot be.
pub fn read_tuning(
    bytes: &[u8],
    file: &str,
    plan: &ExecutionPlan,
    belongs_to: &str,
) -> Result<TuneState, FormatError> {
    let kind = Kind::Tuning;
    let mut archive = ArchiveReader::open(Cursor::new(bytes), file, kind)?;
    let document = kind.document();
    let invalid = |flaws| FormatError::Invalid { file: file.to_string(), flaws };
    let text = archive.read_text(document)?;
    let form: TuningForm = serde_json::from_str(&text)
        .map_err(|e| invalid(vec![Flaw::entry(document, e.to_string())]))?;
    if form.belongs_to != belongs_to {
        return Err(FormatError::OtherTuning { file: file.to_string() });
    }
    let counts: Vec<u64> = archive.read_array(BATCH_COUNTS, &[form.batches, 6])?;
    let sums: Vec<f64> = archive.read_array(BATCH_SUMS, &[form.batches, 3])?;
    let batches = counts.chunks_exact(6).zip(sums.chunks_exact(3)).map(|(counts, sums)| {
        let work = Work {
            forming_pulses: 0,
            set_pulses: counts[3],
            reset_pulses: counts[4],
            verify_reads: counts[5],
            energy_pj: sums[1],
            busy_ns: sums[2],
        };
        let score = Score { n: counts[0], n_right: counts[1], loss: sums[0] };
        BatchPoint { score, n_cells: counts[2], work }
    });
    let batches = batches.collect();
    let counts: Vec<u64> = archive.read_array(LOOK_COUNTS, &[form.looks, 3])?;
    let losses: Vec<f64> = archive.read_array(LOOK_LOSSES, &[form.looks])?;
    let looks = counts.chunks_exact(3).zip(&losses).map(|(counts, &loss)| HeldOut {
        after: counts[0],
        score: Score { n: counts[1], n_right: counts[2], loss },
    });
    let looks = looks.collect();
    let mut flaws = Vec::new();
    let mut wanted = BTreeMap::new();
    for LayerForm { id, weights } in &form.layers {
        let own = archive.read_array(&format!("wanted/{}.npy", id.0), &[*weights])?;
        let there = plan.layers.get(&id.0).is_some_and(|layer| layer.levels.len() == *weights);
        if !there || own.iter().any(|change: &f64| !change.is_finite()) {
            flaws.push(Flaw::entry(format!("wanted/{}.npy", id.0), "no changes of this plan"));
        }
        wanted.insert(id.0, own);
    }
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    let mut pes = BTreeMap::new();
    for pe in &form.pes {
        let id = pe.id.0;
        let levels: Vec<f32> = archive.read_array(&entry("targets", id), &shape)?;
        let targets = PeTargets { levels: levels.into() };
        let codes: Vec<u8> = archive.read_array(&entry("states", id), &shape)?;
        let states: Option<Vec<_>> = codes.iter().map(|&code| CellState::from_code(code)).collect();
        let Some(states) = states else {
            flaws.push(Flaw::entry(entry("states", id), "a code that means no state"));
            continue;
        };
        let cells = PeCells {
            written_us: archive.read_array(&entry("written_us", id), &shape)?,
            relaxed_us: archive.read_array(&entry("relaxed_us", id), &shape)?,
            pulses: archive.read_array(&entry("pulses", id), &shape)?,
            states,
            work: pe.work(),
        };
        flaws.extend(cell_flaws(id, &cells, &targets));
        let is_level = |level: &f32| level.is_nan() || (level.is_finite() && *level >= 0.0);
        let of_plan = plan.targets.get(&id).is_some_and(|own| {
            own.levels.iter().zip(targets.levels.iter()).all(|(a, b)| a.is_nan() == b.is_nan())
        });
        if !of_plan || !targets.levels.iter().all(is_level) {
            flaws.push(Flaw::entry(entry("targets", id), "no targets of this plan"));
        }
        pes.insert(id, (cells, targets));
    }
    if !flaws.is_empty() {
        return Err(invalid(flaws));
    }
    archive.finish()?;
    Ok(TuneState { batches, looks, pes, wanted })
}
