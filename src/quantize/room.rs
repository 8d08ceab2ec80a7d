//! Room for weights and activations that are going to change.
//!
//! A layer that is trained on the chip leaves the range that it began in. With
//! room `r`, codes and levels reach `r` times as far as what is known of them,
//! in steps `r` times as wide.

use std::sync::Arc;

use super::{QuantizedLayers, weights};
use crate::graph::LayerGraph;

/// Lays levels and codes over ranges that are so many times as wide. Codes that
/// a model gives itself stay.
pub fn widen(graph: &LayerGraph, quantized: &mut QuantizedLayers, room: f32) {
    for (id, _, crossbar) in graph.crossbar_layers() {
        let Some(layer) = quantized.get_mut(&id) else { continue };
        layer.weight_scales.iter_mut().for_each(|scale| *scale *= room);
        if crossbar.codes.is_none() {
            layer.coding.scale *= room;
        }
        let (n_rows, n_columns) = (crossbar.nest.n_rows(), crossbar.nest.n_columns());
        let max_level = layer.slicing.max_level();
        let level = |(nth, &weight): (usize, &f32)| {
            let column = nth / (n_rows * n_columns) * n_columns + nth % n_columns;
            weights::nearest(weight, layer.weight_scales[column], max_level)
        };
        layer.levels = Arc::new(crossbar.weights.iter().enumerate().map(level).collect());
    }
}
