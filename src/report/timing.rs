//! Time and energy layer by layer, and what the work waits for, as text.

use super::numbers::{count, four, pe_list, percent, plural, short};
use super::table::{Column, Listing, table};
use super::text::named;
use super::{LayerRow, Report};
use crate::entity::PeId;
use crate::timing::{LayerTiming, Resource, Timing, Use};

use Column::{Number, Words};

/// Picoseconds of a microsecond.
pub(super) const PS_PER_US: f64 = 1e6;

/// Picojoules of a nanojoule.
const PJ_PER_NJ: f64 = 1000.0;

/// When each layer works, how well its PEs are used, what it takes of the
/// energy.
pub(super) fn layers(report: &Report) -> String {
    let energy = report.costs.as_ref().map(|costs| costs.energy);
    let cells = |row: &LayerRow| {
        let times = match timing_of(&report.timing, row) {
            Some(timing) => [
                four(us(timing.start_ps)),
                four(us(timing.end_ps)),
                four(us(timing.busiest_ps)),
                percent(timing.utilisation()),
            ],
            None => std::array::from_fn(|_| "-".to_string()),
        };
        let mut cells = vec![row.id.to_string(), short(&row.name), row.n_replicas.to_string()];
        cells.extend(times);
        cells.push(count(row.work.conversions));
        if let Some(energy) = energy {
            let (pj, total_pj) = (energy.of_work(&row.work), energy.total_pj());
            cells.push(four(pj / PJ_PER_NJ));
            cells.push(percent((total_pj > 0.0).then(|| pj / total_pj)));
        }
        cells
    };
    let mut columns = vec![
        Words("layer"),
        Words("name"),
        Number("replicas"),
        Number("from us"),
        Number("to us"),
        Number("busiest PE us"),
        Number("PEs driven"),
        Number("conversions"),
    ];
    if energy.is_some() {
        columns.extend([Number("nJ"), Number("of energy")]);
    }
    let listing = Listing {
        noun: "layers",
        rows: &report.layers,
        columns: &columns,
        cells: &cells,
        size: &|row| timing_of(&report.timing, row).map_or(0, |timing| timing.busiest_ps),
        size_noun: "ps of their busiest PEs",
    };
    match report.layers.as_slice() {
        [] => String::new(),
        _ => format!(
            "Layers on arrays: when they work, one input alone on the chip\n{}",
            listing.text()
        ),
    }
}

pub(super) fn timing_of<'a>(timing: &'a Timing, row: &LayerRow) -> Option<&'a LayerTiming> {
    timing.of_layer(row.id)
}

/// Latency, throughput, and what limits them; `names` are those of the layers
/// that a PE works for.
pub(super) fn timing(timing: &Timing, names: impl Fn(PeId) -> Vec<String>) -> String {
    let rows_at_once = match timing.rows_at_once {
        1 => String::new(),
        n => format!(", {n} rows at a time"),
    };
    let mut rows = vec![
        (
            "latency",
            format!(
                "{} us for one input alone; closed form {} us",
                four(us(timing.latency_ps)),
                four(us(timing.estimate.latency_ps)),
            ),
        ),
        (
            "stream",
            format!(
                "{} in flight: one every {} us, {} inputs/s; closed form {} us",
                plural(timing.in_flight as usize, "input"),
                four(timing.interval_ps / PS_PER_US),
                timing.inputs_per_s().map_or("-".to_string(), four),
                four(us(timing.estimate.interval_ps)),
            ),
        ),
    ];
    if let Some(bottleneck) = timing.bottleneck() {
        rows.push((
            "bottleneck",
            format!(
                "{}: {} us for every input, {} of the stream{}",
                bottleneck.resource,
                four(us(bottleneck.busy_ps)),
                percent(timing.utilisation(&bottleneck)),
                residents(bottleneck.resource, names),
            ),
        ));
    }
    format!(
        "Timing, event by event: rows are handed on as they are ready{rows_at_once}; a part without a\n\
         rate in the target takes no time\n{}{}",
        named(&rows),
        resources(timing),
    )
}

/// The layers that a PE works for.
fn residents(resource: Resource, names: impl Fn(PeId) -> Vec<String>) -> String {
    const NAMES_MAX: usize = 3;
    let (Resource::Pe(pe) | Resource::ShiftAndAdd(pe) | Resource::Link(pe)) = resource else {
        return String::new();
    };
    let mut names: Vec<String> = names(pe).iter().map(|name| short(name)).collect();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    if names.len() > NAMES_MAX {
        let rest = names.len() - NAMES_MAX;
        names.truncate(NAMES_MAX);
        names.push(format!("{rest} more"));
    }
    format!(", for {}", names.join(", "))
}

/// One row for each kind of resource.
fn resources(timing: &Timing) -> String {
    let mut rows = Vec::new();
    for uses in timing.uses.chunk_by(|a, b| a.resource.kind() == b.resource.kind()) {
        let Some(most) = uses.iter().map(|each| each.busy_ps).max() else { continue };
        let Some(first) = uses.first() else { continue };
        let mean = Use {
            busy_ps: uses.iter().map(|each| each.busy_ps).sum::<u64>() / uses.len() as u64,
            ..*first
        };
        let busiest: Vec<PeId> =
            uses.iter().filter(|e| e.busy_ps == most).map(|e| PeId(e.resource.number())).collect();
        let alone = |busy_ps: u64| {
            let latency_ps = timing.latency_ps as f64;
            percent((latency_ps > 0.0).then(|| busy_ps as f64 / latency_ps))
        };
        let which = match first.resource {
            Resource::Buffer | Resource::Digital => String::new(),
            Resource::Adcs(_) => busiest.first().map_or(String::new(), |set| set.0.to_string()),
            _ => pe_list(&busiest),
        };
        rows.push(vec![
            first.resource.kind().to_string(),
            count(uses.len() as u64),
            which,
            four(us(most)),
            alone(most),
            percent(timing.utilisation(&Use { busy_ps: most, ..*first })),
            percent(timing.utilisation(&mean)),
        ]);
    }
    let columns = [
        Words("parts that take time"),
        Number("of them"),
        Words("busiest"),
        Number("us an input"),
        Number("of the time alone"),
        Number("in the stream"),
        Number("mean of all"),
    ];
    if rows.is_empty() { String::new() } else { table(&columns, rows) }
}

pub(super) fn us(ps: u64) -> f64 {
    ps as f64 / PS_PER_US
}
