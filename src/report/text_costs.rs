//! Costs in the report's text: the peak of a PE, energy and area of this plan by
//! the target's figures, and energy by the physics of the cells.

use super::numbers::{count, four, percent, plural};
use super::table::{Column, table};
use super::{Benchmark, Energy, Report};

use Column::{Number, Words};

/// The benchmark table: the target at its peak beside other machines.
pub(super) fn benchmark(report: &Report, peak: &Benchmark) -> String {
    let target = &report.target;
    let columns = [
        Words("machine"),
        Number("peak GOPS"),
        Number("power"),
        Number("GOPS/W"),
        Number("GOPS/mm2"),
    ];
    let power = format!("{} mW", four(peak.power_mw));
    // Half as many operations in the same time, energy and area.
    let signed = peak.peak_signed_gops / peak.peak_gops;
    let mut rows = vec![
        vec![
            format!("{target}, one PE"),
            four(peak.peak_gops),
            power.clone(),
            four(peak.gops_per_w),
            four(peak.gops_per_mm2),
        ],
        vec![
            format!("{target}, one PE, per signed weight"),
            four(peak.peak_signed_gops),
            power,
            four(peak.gops_per_w * signed),
            four(peak.gops_per_mm2 * signed),
        ],
    ];
    rows.extend(peak.compare.iter().map(|machine| {
        vec![
            machine.name.clone(),
            four(machine.gops),
            format!("{} W", four(machine.power_w)),
            four(machine.gops_per_w),
            "-".to_string(),
        ]
    }));
    format!(
        "Peak of one PE, every ADC busy in every cycle: a figure of the target, not of this plan\n\
         ({} pJ a cycle, {} ns for a product of all input bits; an operation is a multiplication or\n\
         an addition of a cell, in the second row of a pair of cells)\n\
         Of the energy ADCs take {}, the array {} pJ as quoted; by the physics of its cells, V^2 G t,\n\
         it takes {} pJ with all at the lowest conductance, {} pJ at the highest: not in this table\n{}",
        four(peak.energy_pj_per_cycle),
        four(peak.product_ns),
        percent(Some(peak.adc_share)),
        four(peak.array_pj_per_cycle),
        four(report.physics.cycle_pj_min),
        four(report.physics.cycle_pj_max),
        table(&columns, rows),
    )
}

/// What this plan takes.
pub(super) fn energy(energy: &Energy) -> String {
    const PJ_PER_NJ: f64 = 1000.0;
    let total_pj = energy.total_pj();
    let columns =
        [Words("part"), Number("times"), Number("pJ each"), Number("nJ"), Number("share")];
    let mut rows: Vec<Vec<String>> = energy
        .parts()
        .iter()
        .map(|&(part, times, pj)| {
            let part_pj = times as f64 * pj;
            let share = (total_pj > 0.0).then(|| part_pj / total_pj);
            vec![
                part.to_string(),
                count(times),
                four(pj),
                four(part_pj / PJ_PER_NJ),
                percent(share),
            ]
        })
        .collect();
    let total = four(total_pj / PJ_PER_NJ);
    rows.push(vec!["one input".to_string(), String::new(), String::new(), total, String::new()]);
    format!(
        "Energy of one input, counted from this plan: its conversions and its PE cycles\n\
         (left out: the digital side, programming, PEs standing idle; the array's figure is the\n\
         target's, not the physics of its cells)\n{}\
         Area of {}: {} mm2\n",
        table(&columns, rows),
        plural(energy.n_pes, "PE"),
        four(energy.area_mm2),
    )
}

/// Whose area it is.
pub(super) fn areas(areas: &[(String, f64)]) -> String {
    let all: f64 = areas.iter().map(|(_, mm2)| mm2).sum();
    let row = |(part, mm2): &(String, f64)| {
        let share = (all > 0.0).then(|| mm2 / all);
        vec![part.clone(), four(*mm2), percent(share)]
    };
    let columns = [Words("part"), Number("mm2"), Number("share")];
    let rows: Vec<Vec<String>> = areas.iter().map(row).collect();
    format!("Area of the PEs in use, by part\n{}", table(&columns, rows))
}

/// What the cells draw, whatever a target's figures say.
pub(super) fn physics(report: &Report) -> String {
    const PJ_PER_NJ: f64 = 1000.0;
    format!(
        "Energy of the arrays by the physics of their cells, V^2 G t: at most {} nJ for one input, if\n\
         every bit of it were 1 (`--energy` of `ohmc eval` counts the bits and conductances that occur;\n\
         in none of the figures above)\n",
        four(report.physics.input_pj_max / PJ_PER_NJ),
    )
}
