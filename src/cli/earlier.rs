//! The chip of an earlier plan, to be written over: `--from`.

use std::io::BufReader;
use std::path::Path;

use ohmc::chip::Programmed;
use ohmc::format::PlanOrChip;
use ohmc::target::Target;

use super::error::CliError;
use super::files;
use super::prepare::Prepared;

/// Reads it, and checks that the plan can be written into it.
pub fn read(path: &Path, prepared: &Prepared) -> Result<Programmed, CliError> {
    let file = files::name(path);
    let cannot = |source| CliError::Read { file: file.clone(), what: "the chip", source };
    let reader = BufReader::new(files::open(path).map_err(cannot)?);
    let PlanOrChip { plan: stored, programmed } = PlanOrChip::read_from(reader, &file)?;
    let because = "`--from` starts from what cells hold, so they must have been written";
    let Some(programmed) = programmed else { return Err(CliError::NotChip { file, because }) };
    let (old, new) = (&stored.target, &prepared.target);
    if new.cell.pulses.is_none() {
        return Err(CliError::NoPulses { target: new.name.clone(), option: "--from" });
    }
    let mut differences = differences(old, new);
    let (n_old, n_new) = (stored.plan.n_passes, prepared.plan.n_passes);
    if n_old != 1 || n_new != 1 {
        differences.push(format!(
            "it was written in {n_old} passes, the plan has {n_new}: what cells hold is told of \
             one pass"
        ));
    }
    match differences.is_empty() {
        true => Ok(programmed),
        false => Err(CliError::OtherChip { file, differences }),
    }
}

/// What makes cells of one target no cells of another.
fn differences(old: &Target, new: &Target) -> Vec<String> {
    let pe = |target: &Target| format!("PEs of {} x {} cells", target.pe.inputs, target.pe.outputs);
    let window = |target: &Target| {
        let cell = &target.cell;
        format!("cells of {} to {} uS", cell.conductance_min_us, cell.conductance_max_us)
    };
    let model = |target: &Target| match &target.cell.pulses {
        Some(pulses) => format!("cells of the model {:?}", pulses.model),
        None => "cells without pulses".to_string(),
    };
    [(pe(old), pe(new)), (window(old), window(new)), (model(old), model(new))]
        .into_iter()
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("it has {old}, the plan is for {new}"))
        .collect()
}
