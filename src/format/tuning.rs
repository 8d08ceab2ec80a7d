//! The state of a training on the chip: what it takes to go on after the last
//! complete batch.
//!
//! ```text
//! tuning.json                 which training it is, how far, what PEs took
//! batches/counts.npy          u64 [batch][samples, right, cells, SET, RESET, readings,
//!                             transposed waves, their conversions and cycles]
//! batches/sums.npy            f64 [batch][loss, pJ, ns; of transposed waves pJ by
//!                             costs, pJ by physics, ns]
//! looks/counts.npy            u64 [look][batches before, samples, right]
//! looks/losses.npy            f64 [look]
//! wanted/layer3.npy           f64, changes not made yet, in levels
//! velocity/layer3.npy         f64, steps wanted so far, in levels; with momentum
//! biases/layer3.npy           f64, what is added to columns; where it is trained
//! bias-velocity/layer3.npy    f64, its steps so far; with momentum
//! fast/...                    the same of a second array, where there is one
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
use crate::tuning::{BatchPoint, FastState, HeldOut, Reads, Registers, Score, TuneState, n_wanted};

const BATCH_COUNTS: &str = "batches/counts.npy";
const BATCH_SUMS: &str = "batches/sums.npy";
const BATCH_N_COUNTS: usize = 9;
const BATCH_N_SUMS: usize = 6;
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
    registers: Vec<RegistersForm>,
    pes: Vec<PeForm>,
    fast: Option<FastForm>,
}

/// What is digital of a layer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistersForm {
    id: Id<LayerId>,
    columns: usize,
    momentum: bool,
}

/// A second array that gradients go to first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FastForm {
    layers: Vec<LayerForm>,
    pes: Vec<PeForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerForm {
    id: Id<LayerId>,
    weights: usize,
    momentum: bool,
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
    let layers = |wanted: &BTreeMap<LayerId, Vec<f64>>, velocity: &BTreeMap<LayerId, Vec<f64>>| {
        let layer = |(&id, wanted): (&LayerId, &Vec<f64>)| LayerForm {
            id: Id(id),
            weights: wanted.len(),
            momentum: velocity.contains_key(&id),
        };
        wanted.iter().map(layer).collect()
    };
    let pe = |(&id, cells): (&PeId, &PeCells)| PeForm::of(id, &cells.work);
    let fast = state.fast.as_ref().map(|fast| FastForm {
        layers: layers(&fast.wanted, &fast.velocity),
        pes: fast.pes.iter().map(pe).collect(),
    });
    let registers = |(&id, own): (&LayerId, &Registers)| RegistersForm {
        id: Id(id),
        columns: own.bias.len(),
        momentum: !own.velocity.is_empty(),
    };
    let form = TuningForm {
        belongs_to: belongs_to.to_string(),
        batches: state.batches.len(),
        looks: state.looks.len(),
        layers: layers(&state.wanted, &state.velocity),
        registers: state.registers.iter().map(registers).collect(),
        pes: state.pes.iter().map(|(&id, (cells, _))| PeForm::of(id, &cells.work)).collect(),
        fast,
    };
    let text = json::text(&form).map_err(|reason| FormatError::Write { kind, reason })?;
    let mut archive = ArchiveWriter::new(kind);
    archive.add(kind.document(), move |writer| writer.write_all(text.as_bytes()));
    archive.add(BATCH_COUNTS, move |writer| {
        let counts = |batch: &BatchPoint| {
            let BatchPoint { score, n_cells, work, reads } = batch;
            let Work { set_pulses, reset_pulses, verify_reads, .. } = *work;
            let (n, n_right) = (score.n, score.n_right);
            let Reads { waves, conversions, pe_cycles, .. } = *reads;
            let pulses = [set_pulses, reset_pulses, verify_reads];
            [&[n, n_right, *n_cells], &pulses[..], &[waves, conversions, pe_cycles]].concat()
        };
        let counts: Vec<u64> = state.batches.iter().flat_map(counts).collect();
        write_array(writer, &[state.batches.len(), BATCH_N_COUNTS], &counts)
    });
    archive.add(BATCH_SUMS, move |writer| {
        let sums = |BatchPoint { score, work, reads, .. }: &BatchPoint| {
            let of_reads = [reads.energy_pj, reads.array_pj, reads.busy_ns];
            [&[score.loss, work.energy_pj, work.busy_ns], &of_reads[..]].concat()
        };
        let sums: Vec<f64> = state.batches.iter().flat_map(sums).collect();
        write_array(writer, &[state.batches.len(), BATCH_N_SUMS], &sums)
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
    for (id, velocity) in &state.velocity {
        archive.add_stored_by(format!("velocity/{id}.npy"), move |writer| {
            write_array(writer, &[velocity.len()], velocity)
        });
    }
    for (id, own) in &state.registers {
        for (what, values) in [("biases", &own.bias), ("bias-velocity", &own.velocity)] {
            if !values.is_empty() {
                archive.add_stored_by(format!("{what}/{id}.npy"), move |writer| {
                    write_array(writer, &[values.len()], values)
                });
            }
        }
    }
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    for (&id, (cells, targets)) in &state.pes {
        archive.add_stored_by(entry("cells/targets", id), move |writer| {
            write_array(writer, &shape, &targets.levels.to_vec())
        });
        add_cells(&mut archive, "cells", (id, cells), shape);
    }
    if let Some(fast) = &state.fast {
        for (what, values) in [("wanted", &fast.wanted), ("velocity", &fast.velocity)] {
            for (id, values) in values {
                archive.add_stored_by(format!("fast/{what}/{id}.npy"), move |writer| {
                    write_array(writer, &[values.len()], values)
                });
            }
        }
        for (&id, cells) in &fast.pes {
            add_cells(&mut archive, "fast/cells", (id, cells), shape);
        }
    }
    archive.finish()
}

/// Adds what the cells of a PE hold.
fn add_cells<'a>(
    archive: &mut ArchiveWriter<'a>,
    folder: &str,
    (id, cells): (PeId, &'a PeCells),
    shape: [usize; 2],
) {
    let entry = |what: &str| entry(&format!("{folder}/{what}"), id);
    for (what, values) in [("written_us", &cells.written_us), ("relaxed_us", &cells.relaxed_us)] {
        archive.add_stored_by(entry(what), move |w| write_array(w, &shape, values));
    }
    archive.add(entry("pulses"), move |w| write_array(w, &shape, &cells.pulses));
    archive.add(entry("states"), move |writer| {
        let codes: Vec<u8> = cells.states.iter().map(|state| state.code()).collect();
        write_array(writer, &shape, &codes)
    });
}

fn entry(what: &str, pe: PeId) -> String {
    format!("{what}/{pe}.npy")
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
    let counts: Vec<u64> = archive.read_array(BATCH_COUNTS, &[form.batches, BATCH_N_COUNTS])?;
    let sums: Vec<f64> = archive.read_array(BATCH_SUMS, &[form.batches, BATCH_N_SUMS])?;
    let batches = counts.chunks_exact(BATCH_N_COUNTS).zip(sums.chunks_exact(BATCH_N_SUMS)).map(
        |(counts, sums)| {
            let work = Work {
                forming_pulses: 0,
                set_pulses: counts[3],
                reset_pulses: counts[4],
                verify_reads: counts[5],
                energy_pj: sums[1],
                busy_ns: sums[2],
            };
            let score = Score { n: counts[0], n_right: counts[1], loss: sums[0] };
            BatchPoint {
                score,
                n_cells: counts[2],
                work,
                reads: Reads {
                    waves: counts[6],
                    conversions: counts[7],
                    pe_cycles: counts[8],
                    energy_pj: sums[3],
                    array_pj: sums[4],
                    busy_ns: sums[5],
                },
            }
        },
    );
    let batches = batches.collect();
    let counts: Vec<u64> = archive.read_array(LOOK_COUNTS, &[form.looks, 3])?;
    let losses: Vec<f64> = archive.read_array(LOOK_LOSSES, &[form.looks])?;
    let looks = counts.chunks_exact(3).zip(&losses).map(|(counts, &loss)| HeldOut {
        after: counts[0],
        score: Score { n: counts[1], n_right: counts[2], loss },
    });
    let looks = looks.collect();
    let mut flaws = Vec::new();
    let (mut wanted, mut velocity) = (BTreeMap::new(), BTreeMap::new());
    for LayerForm { id, weights, momentum } in &form.layers {
        let there = plan.layers.get(&id.0).is_some_and(|layer| n_wanted(layer) == *weights);
        let mut read = |what: &str| -> Result<Vec<f64>, FormatError> {
            let entry = format!("{what}/{}.npy", id.0);
            let own = archive.read_array(&entry, &[*weights])?;
            if !there || own.iter().any(|change: &f64| !change.is_finite()) {
                flaws.push(Flaw::entry(entry, "no changes of this plan"));
            }
            Ok(own)
        };
        wanted.insert(id.0, read("wanted")?);
        if *momentum {
            velocity.insert(id.0, read("velocity")?);
        }
    }
    let mut registers = BTreeMap::new();
    for RegistersForm { id, columns, momentum } in &form.registers {
        let there = plan.layers.get(&id.0).is_some_and(|layer| layer.bias.len() == *columns);
        let mut read = |what: &str| -> Result<Vec<f64>, FormatError> {
            let entry = format!("{what}/{}.npy", id.0);
            let own = archive.read_array(&entry, &[*columns])?;
            if !there || own.iter().any(|bias: &f64| !bias.is_finite()) {
                flaws.push(Flaw::entry(entry, "no biases of this plan"));
            }
            Ok(own)
        };
        let bias = read("biases")?;
        let velocity = if *momentum { read("bias-velocity")? } else { Vec::new() };
        registers.insert(id.0, Registers { bias, velocity });
    }
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    let mut pes = BTreeMap::new();
    for pe in &form.pes {
        let id = pe.id.0;
        let levels: Vec<f32> = archive.read_array(&entry("cells/targets", id), &shape)?;
        let targets = PeTargets { levels: levels.into() };
        let Some(cells) = read_cells(&mut archive, "cells", pe, shape, &mut flaws)? else {
            continue;
        };
        flaws.extend(cell_flaws(id, &cells, &targets));
        let is_level = |level: &f32| level.is_nan() || (level.is_finite() && *level >= 0.0);
        let of_plan = plan.targets.get(&id).is_some_and(|own| {
            own.levels.iter().zip(targets.levels.iter()).all(|(a, b)| a.is_nan() == b.is_nan())
        });
        if !of_plan || !targets.levels.iter().all(is_level) {
            flaws.push(Flaw::entry(entry("cells/targets", id), "no targets of this plan"));
        }
        pes.insert(id, (cells, targets));
    }
    let fast = match &form.fast {
        None => None,
        Some(form) => Some(read_fast(&mut archive, form, plan, shape, &mut flaws)?),
    };
    if !flaws.is_empty() {
        return Err(invalid(flaws));
    }
    archive.finish()?;
    Ok(TuneState { batches, looks, pes, wanted, velocity, registers, fast })
}

/// Reads a fast array.
fn read_fast(
    archive: &mut ArchiveReader<Cursor<&[u8]>>,
    form: &FastForm,
    plan: &ExecutionPlan,
    shape: [usize; 2],
    flaws: &mut Vec<Flaw>,
) -> Result<FastState, FormatError> {
    let mut fast = FastState::default();
    for LayerForm { id, weights, momentum } in &form.layers {
        let there = plan.layers.get(&id.0).is_some_and(|layer| n_wanted(layer) == *weights);
        let mut read = |what: &str| -> Result<Vec<f64>, FormatError> {
            let entry = format!("fast/{what}/{}.npy", id.0);
            let own = archive.read_array(&entry, &[*weights])?;
            if !there || own.iter().any(|change: &f64| !change.is_finite()) {
                flaws.push(Flaw::entry(entry, "no changes of this plan"));
            }
            Ok(own)
        };
        fast.wanted.insert(id.0, read("wanted")?);
        if *momentum {
            fast.velocity.insert(id.0, read("velocity")?);
        }
    }
    for pe in &form.pes {
        if let Some(cells) = read_cells(archive, "fast/cells", pe, shape, flaws)? {
            let held = cells.relaxed_us.iter().chain(&cells.written_us);
            if !held.into_iter().all(|us| us.is_finite() && *us >= 0.0) {
                let what = entry("fast/cells/relaxed_us", pe.id.0);
                flaws.push(Flaw::entry(what, "conductances that no cell has"));
            }
            fast.pes.insert(pe.id.0, cells);
        }
    }
    Ok(fast)
}

/// Reads what the cells of a PE hold; `None` where a code means no state, which
/// is a flaw.
fn read_cells(
    archive: &mut ArchiveReader<Cursor<&[u8]>>,
    folder: &str,
    pe: &PeForm,
    shape: [usize; 2],
    flaws: &mut Vec<Flaw>,
) -> Result<Option<PeCells>, FormatError> {
    let entry = |what: &str| entry(&format!("{folder}/{what}"), pe.id.0);
    let codes: Vec<u8> = archive.read_array(&entry("states"), &shape)?;
    let states: Option<Vec<_>> = codes.iter().map(|&code| CellState::from_code(code)).collect();
    let Some(states) = states else {
        flaws.push(Flaw::entry(entry("states"), "a code that means no state"));
        return Ok(None);
    };
    Ok(Some(PeCells {
        written_us: archive.read_array(&entry("written_us"), &shape)?,
        relaxed_us: archive.read_array(&entry("relaxed_us"), &shape)?,
        pulses: archive.read_array(&entry("pulses"), &shape)?,
        states,
        work: pe.work(),
    }))
}
