//! The text form of the layer graph: `--emit graph`.

use std::fmt;

use super::{Extent, Layer, LayerGraph, LayerKind};
use crate::entity::TensorId;

/// `[N, 8, 26, 26]`
pub(crate) fn shape_text(shape: &[Extent]) -> String {
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", extents.join(", "))
}

impl fmt::Display for LayerGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_crossbar = self.crossbar_layers().count();
        writeln!(f, "graph: {} layers, {n_crossbar} on arrays", self.order().len())?;
        for &tensor in &self.inputs {
            writeln!(f, "input {}", self.tensor_text(tensor))?;
        }
        for (id, layer) in self.layers() {
            let shared = match self.matrix_of(id) {
                matrix if matrix == id => String::new(),
                matrix => format!(", cells of {matrix}"),
            };
            writeln!(f, "{id} {}{shared}", self.layer_text(layer))?;
        }
        for &tensor in &self.outputs {
            writeln!(f, "output {}", self.tensor_text(tensor))?;
        }
        Ok(())
    }
}

impl LayerGraph {
    fn tensor_text(&self, tensor: TensorId) -> String {
        let info = &self.tensors[tensor];
        format!("{tensor} `{}` {} {}", info.name, info.element_type, shape_text(&info.shape))
    }

    fn layer_text(&self, layer: &Layer) -> String {
        let names =
            |ids: &[TensorId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let results: Vec<String> = layer
            .outputs
            .iter()
            .map(|&t| format!("{t} {}", shape_text(&self.tensors[t].shape)))
            .collect();
        let flow = format!("({}) -> {}", names(&layer.inputs), results.join(", "));
        match &layer.kind {
            LayerKind::Crossbar(crossbar) => {
                let nest = &crossbar.nest;
                let groups = match nest.n_groups() {
                    1 => String::new(),
                    n => format!("{n} x "),
                };
                let bias = if crossbar.bias.iter().any(|&b| b != 0.0) { " + bias" } else { "" };
                let codes = crossbar.codes.map_or(String::new(), |codes| {
                    let kind = if codes.signed { "i" } else { "u" };
                    format!(
                        ", own codes {kind}{} scale {} zero point {}",
                        codes.bits, codes.scale, codes.zero_point
                    )
                });
                format!(
                    "`{}` crossbar {} {flow}, matrix {groups}{}x{}{bias}, {} positions{codes}",
                    layer.name,
                    crossbar.description,
                    nest.n_rows(),
                    nest.n_columns(),
                    nest.positions_per_input(),
                )
            }
            LayerKind::Digital(digital) => {
                let macs = match digital.macs_per_input {
                    0 => String::new(),
                    n => format!(", {n} macs"),
                };
                let reason = digital.obstacle.as_ref().map_or(String::new(), |o| format!(" ({o})"));
                format!("`{}` digital {} {flow}{macs}{reason}", layer.name, digital.op)
            }
        }
    }
}
