//! The text form of the integers: the second half of `--emit graph`.

use std::fmt::Write as _;

use super::QuantizedLayers;
use crate::graph::LayerGraph;

/// One line a layer: coding of its inputs, levels in use, range of scales.
pub fn layers_text(graph: &LayerGraph, quantized: &QuantizedLayers) -> String {
    let mut text = String::new();
    for (id, layer) in quantized {
        let largest = layer.levels.iter().map(|l| l.unsigned_abs()).max().unwrap_or(0);
        let zeros = layer.levels.iter().filter(|&&l| l == 0).count();
        let (least, most) = layer
            .weight_scales
            .iter()
            .fold((f32::INFINITY, 0f32), |(least, most), &s| (least.min(s), most.max(s)));
        let slices = match layer.slicing.n_slices() {
            1 => String::new(),
            n => format!(" in {n} slices"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{id} `{}` inputs {}, levels -{max}..{max}{slices} (largest {largest}, {zeros} of {} zero), \
             scales {least}..{most}",
            graph.layer(*id).name,
            layer.coding,
            layer.levels.len(),
            max = layer.slicing.max_level(),
        );
    }
    text
}
