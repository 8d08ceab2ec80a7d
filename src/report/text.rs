//! The report as text: sections of tables, each under a line that says what
//! it counts.

use std::fmt::Write as _;

use super::numbers::{count, four, pe_list, percent, plural, share, short};
use super::table::{Column, Listing};
use super::{
    DigitalRow, LayerRow, PeRow, Report, Resident, StageRow, WireLoss, text_costs, timing, writing,
};
use crate::schedule::AnalogStage;
use crate::target::{IdleInputs, IdleOutputs, WiresSolved};

use Column::{Number, Words};

pub(super) fn text(report: &Report) -> String {
    let mut sections = vec![head(report), layers(report), work(report), timing::layers(report)];
    if !report.stages.is_empty() {
        sections.push(stages(report));
    }
    if !report.digital.is_empty() {
        sections.push(digital(report));
    }
    let names = |pe| {
        let row = report.pes.iter().find(|row| row.id == pe);
        row.map_or(Vec::new(), |row| row.residents.iter().map(|r| r.name.clone()).collect())
    };
    let timing = timing::timing(&report.timing, names);
    sections.extend([pes(report), schedule(report), timing]);
    sections.extend(writing::text(report));
    if let Some(costs) = &report.costs {
        sections.push(text_costs::benchmark(report, &costs.benchmark));
        sections.push(text_costs::energy(&costs.energy));
        if !costs.areas.is_empty() {
            sections.push(text_costs::areas(&costs.areas));
        }
    }
    sections.push(text_costs::physics(report));
    sections.join("\n")
}

fn head(report: &Report) -> String {
    let Report { footprint, macs, pe, .. } = report;
    let n_pes = plural(footprint.n_pes_used, "PE");
    let fits = match footprint.n_pes_available {
        Some(n) if footprint.fits() && footprint.n_passes > 1 => format!(
            "in {} passes on {}, with cells written anew for each",
            count(footprint.n_passes),
            plural(n as usize, "PE")
        ),
        Some(n) if footprint.fits() => format!(
            "yes, on {} of {n_pes_available} PEs",
            footprint.n_pes_used,
            n_pes_available = count(n)
        ),
        Some(n) => format!("no, it takes {n_pes}, the target has {}", count(n)),
        None => format!("yes, on {n_pes}: as many as it takes"),
    };
    let fits = match (footprint.n_chips_available, footprint.n_chips_used) {
        (Some(1), _) => fits,
        (Some(n), used) => format!("{fits}; {used} of {} chips", count(n)),
        (None, used) => format!("{fits}; {}", plural(used, "chip")),
    };
    let target = match &report.target_description {
        Some(description) => format!("{}: {description}", report.target),
        None => report.target.clone(),
    };
    let zeros = match footprint.cells_zero() {
        0 => "all hold weights".to_string(),
        n => format!(
            "{} hold weights, {} zeros beside the diagonals of block-diagonal tiles",
            count(footprint.cells_of_weights),
            count(n)
        ),
    };
    let pairs = match footprint.n_slices {
        1 => "a pair of cells each".to_string(),
        n => format!("up to {n} pairs of cells each"),
    };
    let mut rows = vec![
        ("model", report.model.clone()),
        ("target", target),
        ("PEs", format!("of {} inputs x {} output lines", pe.inputs, pe.outputs)),
        ("fits", fits),
        (
            "cells",
            format!(
                "{} of {} used ({}), {zeros}",
                count(footprint.cells_used),
                count(footprint.cells_total),
                percent(share(footprint.cells_used, footprint.cells_total)),
            ),
        ),
        ("weights", format!("{} on arrays, {pairs}", count(footprint.n_weights))),
        (
            "macs",
            format!(
                "{} on arrays, {} digital for one input: {} on arrays",
                count(macs.on_arrays),
                count(macs.digital),
                percent(macs.share_on_arrays()),
            ),
        ),
        ("data", report.preprocessing.clone()),
        ("calibrated", report.calibration.clone()),
    ];
    if let Some(loss) = &report.wires {
        rows.insert(3, ("wires", wires(loss)));
    }
    named(&rows)
}

/// `1 ohm a cell on input lines; an input line of cells all at maximum loses
/// 14.5 % at its end; idle output lines stay connected`
fn wires(loss: &WireLoss) -> String {
    let WireLoss { wires, input_line_drop, is_nonlinear } = loss;
    let parts = [
        (wires.input_ohm_per_cell, "ohm a cell on input lines"),
        (wires.output_ohm_per_cell, "ohm a cell on output lines"),
        (wires.driver_ohm, "ohm in drivers"),
        (wires.sense_ohm, "ohm before sense amplifiers"),
    ];
    let given = parts.iter().filter(|(ohm, _)| *ohm > 0.0);
    let given: Vec<String> = given.map(|(ohm, what)| format!("{} {what}", four(*ohm))).collect();
    let idle = match wires.idle_outputs {
        IdleOutputs::Connected => "stay connected",
        IdleOutputs::GatedOff => "are gated off",
    };
    let idle_inputs = match wires.idle_inputs {
        IdleInputs::Grounded => "",
        IdleInputs::Floating => "; idle input lines float",
        IdleInputs::GatedOff => "; idle input lines gate their cells off",
    };
    let cells = if *is_nonlinear { "; cells are no resistors" } else { "" };
    let solved = match wires.solved {
        WiresSolved::EachVector => "; solved by iteration for each vector of bits",
        WiresSolved::Once if *is_nonlinear || wires.idle_inputs != IdleInputs::Grounded => {
            "; solved once, with every input line driven"
        }
        WiresSolved::Once => "",
    };
    format!(
        "{}; an input line of cells all at maximum loses {} at its end; idle output lines {idle}{idle_inputs}{cells}{solved}",
        given.join(", "),
        percent(Some(*input_line_drop)),
    )
}

/// Lines of a name and what is to be said about it.
pub(super) fn named(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, what) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:width$}  {what}");
    }
    text
}

/// Where each layer sits.
fn layers(report: &Report) -> String {
    let used = report.footprint.cells_used;
    let cells = |layer: &LayerRow| {
        let groups = match layer.n_groups {
            1 => String::new(),
            n => format!("{n} x "),
        };
        vec![
            layer.id.to_string(),
            short(&layer.name),
            layer.description.clone(),
            format!("{groups}{} x {}", layer.n_rows, layer.n_columns),
            layer.n_replicas.to_string(),
            count(layer.n_tiles as u64),
            pe_list(&layer.pes),
            count(layer.cells),
            percent(share(layer.cells, used)),
        ]
    };
    let listing = Listing {
        noun: "layers",
        rows: &report.layers,
        columns: &[
            Words("layer"),
            Words("name"),
            Words("what"),
            Number("inputs x outputs"),
            Number("replicas"),
            Number("tiles"),
            Words("PEs"),
            Number("cells"),
            Number("of used"),
        ],
        cells: &cells,
        size: &|layer| layer.cells,
        size_noun: "cells",
    };
    match report.layers.as_slice() {
        [] => "No layer is on arrays: nothing in this model multiplies by a constant matrix\n"
            .to_string(),
        _ => format!("Layers on arrays: where they sit\n{}", listing.text()),
    }
}

/// What each layer takes.
fn work(report: &Report) -> String {
    let cells = |layer: &LayerRow| {
        let work = &layer.work;
        vec![
            layer.id.to_string(),
            short(&layer.name),
            layer.coding.to_string(),
            count(layer.macs),
            count(work.waves),
            count(work.planes),
            count(work.conversions),
            count(work.pe_cycles),
            format!("{}..{}", count(work.start_cycle), count(work.end_cycle)),
        ]
    };
    let listing = Listing {
        noun: "layers",
        rows: &report.layers,
        columns: &[
            Words("layer"),
            Words("name"),
            Words("input codes"),
            Number("macs"),
            Number("waves"),
            Number("planes"),
            Number("conversions"),
            Number("PE cycles"),
            Number("in cycles"),
        ],
        cells: &cells,
        size: &|layer| layer.work.pe_cycles,
        size_noun: "PE cycles",
    };
    match report.layers.as_slice() {
        [] => String::new(),
        _ => format!("Layers on arrays: what one input takes\n{}", listing.text()),
    }
}

/// What is done with sums before they are converted, and what is not.
fn stages(report: &Report) -> String {
    let columns = [Words("layer"), Words("name"), Words("before conversion"), Words("because")];
    let cells = |row: &StageRow| {
        let (done, because) = match &row.stage {
            Ok(stage) => (stage_text(stage), String::new()),
            Err(obstacle) => ("-".to_string(), obstacle.to_string()),
        };
        vec![row.id.to_string(), short(&row.name), done, because]
    };
    let listing = Listing {
        noun: "layers",
        rows: &report.stages,
        columns: &columns,
        cells: &cells,
        size: &|_| 1,
        size_noun: "layers",
    };
    format!("Rectifiers and maxima behind layers: what sums are compared for\n{}", listing.text())
}

/// `rectified, the largest of 3x3`
pub(super) fn stage_text(stage: &AnalogStage) -> String {
    let extents: Vec<String> = stage.windows.iter().map(|axis| axis.extent.to_string()).collect();
    let largest = (!extents.is_empty()).then(|| format!("the largest of {}", extents.join("x")));
    let rectified = stage.rectifies.then(|| "rectified".to_string());
    rectified.into_iter().chain(largest).collect::<Vec<_>>().join(", ")
}

/// What runs beside the arrays.
fn digital(report: &Report) -> String {
    let some_multiply = report.digital.iter().any(|row| row.obstacle.is_some());
    let mut columns = vec![Words("operator"), Number("layers"), Number("macs")];
    if some_multiply {
        columns.extend([Words("which"), Words("not on arrays because"), Words("to move it takes")]);
    }
    let cells = |row: &DigitalRow| {
        // A reason is for looking up in the graph, other operators need none.
        let obstacle = row.obstacle.as_ref();
        let which = obstacle.map_or(String::new(), |_| names(row));
        vec![
            row.op.clone(),
            count(row.layers.len() as u64),
            count(row.macs),
            which,
            obstacle.map_or(String::new(), ToString::to_string),
            obstacle.map_or(String::new(), |obstacle| obstacle.needs().to_string()),
        ]
    };
    let listing = Listing {
        noun: "operators",
        rows: &report.digital,
        columns: &columns,
        cells: &cells,
        size: &|row| row.macs,
        size_noun: "macs",
    };
    format!("Digital layers: beside the arrays\n{}", listing.text())
}

/// The first layers of a row by id and name, and how many more there are.
fn names(row: &DigitalRow) -> String {
    const NAMES_MAX: usize = 3;
    let first = row.layers.iter().take(NAMES_MAX);
    let mut names: Vec<String> =
        first.map(|(id, name)| format!("{id} `{}`", short(name))).collect();
    if row.layers.len() > NAMES_MAX {
        names.push(format!("{} more", row.layers.len() - NAMES_MAX));
    }
    names.join(", ")
}

fn pes(report: &Report) -> String {
    let pe = report.pe;
    let cells = |row: &PeRow| {
        vec![
            row.id.to_string(),
            count(row.n_tiles as u64),
            format!("{} of {}", row.n_input_lines, pe.inputs),
            format!("{} of {}", row.n_output_lines, pe.outputs),
            count(row.cells),
            percent(share(row.cells, pe.cells())),
            count(row.work.pe_cycles),
            residents(&row.residents),
        ]
    };
    let listing = Listing {
        noun: "PEs",
        rows: &report.pes,
        columns: &[
            Words("PE"),
            Number("tiles"),
            Number("input lines"),
            Number("output lines"),
            Number("cells"),
            Number("of it"),
            Number("busy cycles"),
            Words("holds, by output lines"),
        ],
        cells: &cells,
        size: &|row| row.work.pe_cycles,
        size_noun: "busy cycles",
    };
    match report.pes.as_slice() {
        [] => "No PE is used\n".to_string(),
        _ => format!("PEs in use\n{}", listing.text()),
    }
}

/// `conv1 16 lines, conv2 96 lines`
fn residents(residents: &[Resident]) -> String {
    const RESIDENTS_MAX: usize = 4;
    let mut texts: Vec<String> = residents
        .iter()
        .take(RESIDENTS_MAX)
        .map(|resident| {
            let copy = resident.replica.map(|n| format!(" replica {n}")).unwrap_or_default();
            format!("{}{copy} {} lines", short(&resident.name), resident.n_output_lines)
        })
        .collect();
    if residents.len() > RESIDENTS_MAX {
        texts.push(format!("{} more", residents.len() - RESIDENTS_MAX));
    }
    texts.join(", ")
}

fn schedule(report: &Report) -> String {
    let schedule = &report.schedule;
    let counts = &schedule.counts;
    let stream = match schedule.inputs_per_s() {
        Some(rate) => format!(
            "an input every {} cycles = {} us: {} inputs/s",
            count(counts.interval_cycles),
            four(schedule.interval_us()),
            four(rate),
        ),
        None => "-".to_string(),
    };
    let rows = [
        (
            "work",
            format!(
                "{} waves, {} planes, {} conversions, {} PE cycles",
                count(counts.waves),
                count(counts.planes),
                count(counts.conversions),
                count(counts.pe_cycles),
            ),
        ),
        (
            "latency",
            format!(
                "{} cycles of {} ns = {} us",
                count(counts.latency_cycles),
                four(schedule.cycle_ns),
                four(schedule.latency_us()),
            ),
        ),
        ("stream", stream),
        (
            "PEs busy",
            format!(
                "{} of the time with one input alone, {} in a stream (mean of PEs in use)",
                percent(schedule.utilisation_alone()),
                percent(schedule.utilisation_in_stream()),
            ),
        ),
    ];
    format!(
        "Schedule as the plan has it: each layer waits for whole ones, digital work is not timed\n{}",
        named(&rows)
    )
}
