//! The text form of a mapping: `--emit mapping`.

use std::fmt::Write as _;
use std::ops::Range;

use super::Mapping;
use crate::graph::LayerGraph;

fn range_text(range: &Range<u32>) -> String {
    format!("{}..{}", range.start, range.end)
}

/// One line a tile, under the name of its layer.
pub fn mapping_text(mapping: &Mapping, graph: &LayerGraph) -> String {
    let mut text = String::new();
    let passes = match mapping.n_passes {
        1 => String::new(),
        n => format!(" in {n} passes"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "mapping: {} tiles on {} of {} PEs{passes}",
        mapping.tiles.len(),
        mapping.n_pes_used(),
        u64::from(mapping.n_pes) * u64::from(mapping.n_passes),
    );
    for (&layer, replicas) in &mapping.replicas {
        let n_slices = mapping.slices.get(&layer).copied().unwrap_or(1);
        let mut copies =
            if *replicas > 1 { format!(", {replicas} replicas") } else { String::new() };
        if n_slices > 1 {
            let _ = write!(copies, ", {n_slices} slices");
        }
        if let Some(unrolling) = mapping.unrolled.get(&layer) {
            let _ = write!(copies, ", {} positions a wave", unrolling.window_text());
        }
        let _ = writeln!(text, "{layer} `{}`{copies}", graph.layer(layer).name);
        for (id, tile) in mapping.tiles.iter().filter(|(_, tile)| tile.layer == layer) {
            let mut what = String::new();
            if *replicas > 1 {
                let _ = write!(what, "replica {} ", tile.replica);
            }
            if graph.crossbar(layer).is_some_and(|c| c.nest.n_groups() > 1) {
                let _ = write!(what, "groups {} ", range_text(&tile.groups));
            }
            if n_slices > 1 {
                let _ = write!(what, "slice {} ", tile.slice);
            }
            let _ = writeln!(
                text,
                "  {id} {what}rows {} columns {} -> {} inputs {} outputs {}",
                range_text(&tile.rows),
                range_text(&tile.columns),
                tile.pe,
                range_text(&(tile.input_line..tile.input_line + tile.n_inputs())),
                range_text(&(tile.output_line..tile.output_line + tile.n_outputs())),
            );
        }
    }
    text
}
