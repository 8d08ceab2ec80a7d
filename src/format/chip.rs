//! The `.chip` file: a plan with the chip that it was programmed into.
//!
//! ```text
//! all entries of a plan
//! chip.json                   which plan, how it was programmed, what it took
//! chip/written_us/pe5.npy     f32 [input line][output line], when last verified
//! chip/relaxed_us/pe5.npy     f32, the same after relaxation
//! chip/pulses/pe5.npy         u32, SET and RESET pulses
//! chip/states/pe5.npy         u8, what became of the cell: 0 unused, 1 written,
//!                             2 given up, 3 stuck high, 4 stuck low, 5 dead,
//!                             6 not formed
//! ```
//!
//! It runs alone. Nothing in it is taken on trust: cells are used where the
//! plan says, conductances are numbers that can be, pulses add up to what the
//! document counts, and the plan is the one that the chip was programmed with.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use serde::{Deserialize, Serialize};

use super::archive::{ArchiveWriter, Kind};
use super::npy::write_array;
use super::plan::{PlanFile, PlanModel};
use super::reader::ArchiveReader;
use super::text::{Exact, Id};
use super::{Flaw, FormatError, json};
use crate::chip::{CellState, PeCells, Programmed, Work};
use crate::entity::PeId;
use crate::frontend::ModelFiles;
use crate::schedule::{ExecutionPlan, PeTargets};

/// No cell conducts that well, in uS; a file that says so is wrong.
const CONDUCTANCE_US_MAX: f32 = 1e9;

/// A compiled model with a chip that holds it.
#[derive(Debug, Clone)]
pub struct ChipFile<M = ModelFiles> {
    /// The model and its plan.
    pub plan: PlanFile<M>,
    /// The chip.
    pub programmed: Programmed,
}

/// What a file turned out to be.
#[derive(Debug, Clone)]
pub struct PlanOrChip {
    /// The model and its plan.
    pub plan: PlanFile,
    /// The chip, if the file has one.
    pub programmed: Option<Programmed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChipForm {
    /// Digest of the plan's entries.
    plan: String,
    seed: u64,
    by_pulses: bool,
    /// Chips that were written over know how often.
    #[serde(default, skip_serializing_if = "is_zero")]
    n_rewritten: u32,
    pes: Vec<PeForm>,
}

/// What writing the cells of a PE took.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeForm {
    pub id: Id<PeId>,
    forming_pulses: u64,
    set_pulses: u64,
    reset_pulses: u64,
    verify_reads: u64,
    energy_pj: Exact<f64>,
    busy_ns: Exact<f64>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl<M: PlanModel> ChipFile<M> {
    /// The file's bytes: the same for the same plan and chip.
    ///
    /// # Errors
    ///
    /// Something that the format cannot hold.
    pub fn write(&self) -> Result<Vec<u8>, FormatError> {
        self.archive()?.finish()
    }

    /// Like [`write`](Self::write), into an empty file.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write), or the file's own.
    pub fn write_into(&self, file: &mut (impl Read + Write + Seek)) -> Result<(), FormatError> {
        self.archive()?.finish_into(file)
    }

    fn archive(&self) -> Result<ArchiveWriter<'_>, FormatError> {
        let kind = Kind::Chip;
        let mut archive = ArchiveWriter::new(kind);
        self.plan.add_entries(&mut archive, kind)?;
        let form = ChipForm::of(&self.programmed, archive.digest()?);
        let text = json::text(&form).map_err(|reason| FormatError::Write { kind, reason })?;
        archive.add(kind.document(), move |writer| writer.write_all(text.as_bytes()));
        let pe = self.programmed.pe;
        let shape = [pe.inputs as usize, pe.outputs as usize];
        for (&id, cells) in &self.programmed.pes {
            archive.add_stored_by(entry("written_us", id), move |writer| {
                write_array(writer, &shape, &cells.written_us)
            });
            archive.add_stored_by(entry("relaxed_us", id), move |writer| {
                write_array(writer, &shape, &cells.relaxed_us)
            });
            archive
                .add(entry("pulses", id), move |writer| write_array(writer, &shape, &cells.pulses));
            archive.add(entry("states", id), move |writer| {
                let codes: Vec<u8> = cells.states.iter().map(|state| state.code()).collect();
                write_array(writer, &shape, &codes)
            });
        }
        Ok(archive)
    }
}

impl PlanOrChip {
    /// Reads a plan, or a chip; `file` is its name for messages.
    ///
    /// # Errors
    ///
    /// It is neither, damaged, of a newer format, or says what cannot be.
    pub fn read_from(reader: impl Read + Seek, file: &str) -> Result<Self, FormatError> {
        let mut archive = ArchiveReader::open_one_of(reader, file, Kind::Plan, &[Kind::Chip])?;
        let plan = PlanFile::read_entries(&mut archive)?;
        let programmed = match archive.kind() {
            Kind::Chip => Some(read_programmed(&plan.plan, &mut archive)?),
            Kind::Plan | Kind::Calibration | Kind::Tuning => None,
        };
        archive.finish()?;
        Ok(Self { plan, programmed })
    }
}

fn entry(what: &str, pe: PeId) -> String {
    format!("chip/{what}/{pe}.npy")
}

impl ChipForm {
    fn of(programmed: &Programmed, plan: String) -> Self {
        let pes = programmed.pes.iter().map(|(&id, cells)| PeForm::of(id, &cells.work)).collect();
        let Programmed { seed, by_pulses, n_rewritten, .. } = *programmed;
        Self { plan, seed, by_pulses, n_rewritten, pes }
    }
}

impl PeForm {
    pub fn of(id: PeId, work: &Work) -> Self {
        Self {
            id: Id(id),
            forming_pulses: work.forming_pulses,
            set_pulses: work.set_pulses,
            reset_pulses: work.reset_pulses,
            verify_reads: work.verify_reads,
            energy_pj: Exact(work.energy_pj),
            busy_ns: Exact(work.busy_ns),
        }
    }

    pub fn work(&self) -> Work {
        Work {
            forming_pulses: self.forming_pulses,
            set_pulses: self.set_pulses,
            reset_pulses: self.reset_pulses,
            verify_reads: self.verify_reads,
            energy_pj: self.energy_pj.0,
            busy_ns: self.busy_ns.0,
        }
    }
}

fn read_programmed<R: Read + Seek>(
    plan: &ExecutionPlan,
    archive: &mut ArchiveReader<R>,
) -> Result<Programmed, FormatError> {
    let file = archive.file().to_string();
    let document = Kind::Chip.document();
    let text = archive.read_text(document)?;
    let invalid = |flaws| FormatError::Invalid { file: file.clone(), flaws };
    let form: ChipForm = serde_json::from_str(&text)
        .map_err(|e| invalid(vec![Flaw::entry(document, e.to_string())]))?;
    let found = archive.digest_before(document);
    if form.plan != found {
        return Err(FormatError::OtherPlan { file, programmed: form.plan, found });
    }
    if !form.pes.iter().map(|pe| pe.id.0).eq(plan.targets.keys().copied()) {
        let reason = "its PEs are not those that the plan uses";
        return Err(invalid(vec![Flaw::entry(document, reason)]));
    }
    let shape = [plan.pe.inputs as usize, plan.pe.outputs as usize];
    let mut pes = BTreeMap::new();
    let mut flaws = Vec::new();
    for (pe, (&id, targets)) in form.pes.iter().zip(&plan.targets) {
        let written_us = archive.read_array(&entry("written_us", id), &shape)?;
        let relaxed_us = archive.read_array(&entry("relaxed_us", id), &shape)?;
        let pulses = archive.read_array(&entry("pulses", id), &shape)?;
        let codes: Vec<u8> = archive.read_array(&entry("states", id), &shape)?;
        let states: Option<Vec<_>> = codes.iter().map(|&code| CellState::from_code(code)).collect();
        let Some(states) = states else {
            flaws.push(Flaw::entry(entry("states", id), "a code that means no state"));
            continue;
        };
        let cells = PeCells { written_us, relaxed_us, pulses, states, work: pe.work() };
        flaws.extend(cell_flaws(id, &cells, targets));
        pes.insert(id, cells);
    }
    if !flaws.is_empty() {
        return Err(invalid(flaws));
    }
    let ChipForm { seed, by_pulses, n_rewritten, .. } = form;
    Ok(Programmed { pe: plan.pe, seed, by_pulses, n_rewritten, pes })
}

/// What of a PE's cells cannot be.
pub(super) fn cell_flaws(id: PeId, cells: &PeCells, targets: &PeTargets) -> Vec<Flaw> {
    let sound = |us: &f32| (0.0..=CONDUCTANCE_US_MAX).contains(us);
    let used = targets.levels.iter().map(|level| !level.is_nan());
    let agree = used.eq(cells.states.iter().map(|&state| state != CellState::Unused));
    let idle = |index: usize| {
        cells.states[index] != CellState::Unused
            || (cells.written_us[index] == 0.0
                && cells.relaxed_us[index] == 0.0
                && cells.pulses[index] == 0)
    };
    let n_pulses: u64 = cells.pulses.iter().map(|&n| u64::from(n)).sum();
    let work = &cells.work;
    let told = work.set_pulses.checked_add(work.reset_pulses);
    let good = |x: f64| x.is_finite() && x >= 0.0;
    let conductance = "a conductance that cannot be";
    [
        ("written_us", cells.written_us.iter().all(sound), conductance),
        ("relaxed_us", cells.relaxed_us.iter().all(sound), conductance),
        ("states", agree, "cells are used where the plan has none, or the reverse"),
        ("states", (0..cells.states.len()).all(idle), "a cell that is not used was written"),
        ("pulses", told == Some(n_pulses), "they do not add up to what `chip.json` counts"),
        ("pulses", good(work.energy_pj) && good(work.busy_ns), "no such energy or time can be"),
    ]
    .into_iter()
    .filter(|(_, holds, _)| !holds)
    .map(|(what, _, reason)| Flaw::entry(entry(what, id), reason))
    .collect()
}
