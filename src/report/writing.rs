//! What it takes to write the chip anew for every pass.

use serde_json::{Value, json};

use super::Report;
use super::numbers::{count, four};
use super::table::{Column, table};
use crate::chip::{Forecast, Work};

use Column::Number;

/// What writing a plan in passes takes; nothing of a plan that is written once.
pub(super) fn text(report: &Report) -> Option<String> {
    if report.footprint.n_passes < 2 {
        return None;
    }
    let head = "Writing the cells anew, for every batch of inputs that goes through all passes";
    let Some(forecast) = &report.writing else {
        return Some(format!(
            "{head}\nnot known: the target does not say what pulses do (`cell.pulses`)\n"
        ));
    };
    let Forecast { n_cells, n_followed, passes } = forecast;
    let all = forecast.work();
    let from = match n_cells - n_followed {
        0 => "all cells followed pulse by pulse".to_string(),
        _ => format!("from {} cells followed pulse by pulse", count(*n_followed)),
    };
    let inputs = match report.schedule.interval_us() {
        us if us > 0.0 => format!(
            ": the arrays work as long in {} inputs",
            count((all.busy_ns * 1e-3 / us).ceil() as u64)
        ),
        _ => String::new(),
    };
    Some(format!(
        "{head}\n\
         ({}; cells of a PE one after the other, PEs at the same time)\n{}\n\
         {} cells take {} ms and {} uJ{inputs}\n",
        from,
        by_pass(passes),
        count(*n_cells),
        four(all.busy_ns * 1e-6),
        four(all.energy_pj * 1e-6),
    ))
}

/// The same for scripts.
pub(super) fn json(forecast: &Forecast) -> Value {
    json!({
        "cells": forecast.n_cells,
        "cells_followed": forecast.n_followed,
        "passes": forecast.passes.iter().map(pass_json).collect::<Vec<_>>(),
    })
}

/// Pulses, readings, energy and time of each pass, as a table.
pub(super) fn by_pass(passes: &[Work]) -> String {
    let columns =
        [Number("pass"), Number("pulses"), Number("readings"), Number("uJ"), Number("ms")];
    let rows = passes.iter().enumerate().map(|(pass, work)| {
        vec![
            pass.to_string(),
            count(work.n_pulses()),
            count(work.verify_reads),
            format!("{:.4}", work.energy_pj * 1e-6),
            format!("{:.4}", work.busy_ns * 1e-6),
        ]
    });
    table(&columns, rows)
}

pub(super) fn pass_json(work: &Work) -> Value {
    json!({
        "pulses": work.n_pulses(),
        "verify_reads": work.verify_reads,
        "energy_pj": work.energy_pj,
        "time_ns": work.busy_ns,
    })
}
