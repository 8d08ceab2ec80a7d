//! The text form of a plan: `--emit plan`.

use std::fmt::{Display, Write as _};
use std::ops::Range;

use super::plan::{ExecutionPlan, Plane, StepKind};
use crate::target::Subtract;

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `0..7`, `0..6,-7` with the sign bit, or every plane where they are not in
/// plain order.
fn planes_text(planes: &[Plane]) -> String {
    planes
        .iter()
        .map(|plane| format!("{}{}", if plane.negative { "-" } else { "+" }, plane.bit))
        .collect::<Vec<_>>()
        .join("")
}

fn rounds_text(rounds: &[Range<u32>]) -> String {
    rounds.iter().map(|r| format!("{}..{}", r.start, r.end)).collect::<Vec<_>>().join(" ")
}

/// The head with its counts, layers, tiles with their ADCs, then one line a
/// step: the cycles it takes, what it does, what it waits for.
pub fn plan_text(plan: &ExecutionPlan) -> String {
    let counts = plan.counts();
    let mut text = String::new();
    let passes = match plan.n_passes {
        1 => String::new(),
        n => format!(" in {n} passes"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "plan: {} steps, {} PEs of {} x {}{passes}, {} conversions a cycle, subtraction {} conversion",
        plan.steps.len(),
        plan.n_pes,
        plan.pe.inputs,
        plan.pe.outputs,
        plan.conversions_per_cycle,
        match plan.subtract {
            Subtract::BeforeConversion => "before",
            Subtract::AfterConversion => "after",
        }
    );
    let _ = writeln!(
        text,
        "counts: {} waves, {} planes, {} conversions, {} PE cycles, latency {} cycles, interval {} cycles",
        counts.waves,
        counts.planes,
        counts.conversions,
        counts.pe_cycles,
        counts.latency_cycles,
        counts.interval_cycles
    );
    for (id, layer) in &plan.layers {
        let cells = match layer.matrix {
            matrix if matrix == *id => String::new(),
            matrix => format!(", cells of {matrix}"),
        };
        let window = match &layer.unrolled {
            Some(unrolling) => format!(", {} positions a wave", unrolling.window_text()),
            None => String::new(),
        };
        let slices = match layer.slicing {
            Some(slicing) => format!(", {} slices of base {}", slicing.n_slices(), slicing.base()),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "{id} `{}` {} -> {}, inputs {}{slices}{window}{cells}",
            layer.name, layer.input, layer.output, layer.coding
        );
    }
    for (id, tile) in plan.tiles.iter() {
        let _ = writeln!(
            text,
            "{id} {} {} adc step {} us codes {}..{}",
            tile.place.layer, tile.place.pe, tile.adc.step_us, tile.adc.min_code, tile.adc.max_code
        );
    }
    for (id, step) in plan.steps.iter() {
        let what = match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                format!("digital ({}) -> {}", list(inputs), list(outputs))
            }
            StepKind::Encode { layer } => format!("encode {layer}"),
            StepKind::Waves { layer, tiles, positions, planes, conversions } => format!(
                "waves {layer} on {}: {} positions {positions} planes {} convert {}",
                tiles
                    .first()
                    .and_then(|&tile| plan.tiles.get(tile))
                    .map_or(String::new(), |tile| tile.place.pe.to_string()),
                list(tiles),
                planes_text(planes),
                rounds_text(conversions)
            ),
            StepKind::Sum { layer, tiles } => format!("sum {layer}: {}", list(tiles)),
        };
        let after = if step.after.is_empty() {
            String::new()
        } else {
            format!(" after {}", list(&step.after))
        };
        let _ = writeln!(text, "{id} @{}+{} {what}{after}", step.start, step.cycles);
    }
    text
}
