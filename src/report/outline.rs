//! What is known of a model on a chip before its weights are looked at: where
//! they will sit and when PEs will work, in a fraction of the time and memory
//! of a compilation.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::numbers::{count, four, percent, plural, share, short};
use super::table::{Column, Listing};
use super::text::named;
use super::timing::{self, us};
use crate::entity::{LayerId, PeId};
use crate::graph::LayerGraph;
use crate::mapping::{Mapping, Unrolling, pe_limit};
use crate::target::Target;
use crate::timing::{Timing, TimingOptions};

use Column::{Number, Words};

/// A mapping and its timing, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// What the model is called.
    pub model: String,
    /// The target's name.
    pub target: String,
    /// PEs that hold weights.
    pub n_pes_used: usize,
    /// PEs of the chip; `None` where a model gets as many as it takes.
    pub n_pes_available: Option<u32>,
    /// How often the chip is written for one run.
    pub n_passes: u32,
    /// Layers on arrays, in canonical order.
    pub layers: Vec<OutlineRow>,
    /// When they work; `None` for several passes, which a plan has to time.
    pub timing: Option<Timing>,
    /// Names of the layers of each PE, for what the work waits for.
    residents: Vec<(PeId, Vec<String>)>,
}

/// A layer on arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineRow {
    /// Its id in every dump.
    pub id: LayerId,
    /// Name of the ONNX node.
    pub name: String,
    /// Inputs of its matrix, as it is unrolled.
    pub n_inputs: usize,
    /// Outputs of its matrix, as it is unrolled.
    pub n_outputs: usize,
    /// Output positions that one wave makes, by loop: `2x4`; `None` for one.
    pub window: Option<String>,
    /// Copies of the matrix.
    pub n_replicas: u32,
    /// Tiles of all copies.
    pub n_tiles: usize,
    /// PEs that hold them.
    pub n_pes: usize,
    /// Cells that they take.
    pub n_cells: u64,
}

impl Outline {
    /// Times a mapping.
    pub fn new(
        model_name: &str,
        (mapping, graph): (&Mapping, &LayerGraph),
        target: &Target,
        options: TimingOptions,
    ) -> Self {
        let mut residents: Vec<(PeId, LayerId)> =
            mapping.tiles.values().map(|tile| (tile.pe, tile.layer)).collect();
        residents.sort_unstable();
        residents.dedup();
        let name = |layer: LayerId| graph.layer(layer).name.clone();
        let of_pe = |own: &[(PeId, LayerId)]| {
            Some((own.first()?.0, own.iter().map(|&(_, layer)| name(layer)).collect()))
        };
        Self {
            model: model_name.to_string(),
            target: target.name.clone(),
            n_pes_used: mapping.n_pes_used(),
            n_pes_available: pe_limit(target),
            n_passes: mapping.n_passes,
            layers: rows(mapping, graph),
            timing: Timing::of_mapping(mapping, graph, target, options),
            residents: residents.chunk_by(|a, b| a.0 == b.0).filter_map(of_pe).collect(),
        }
    }

    /// As text, for people.
    pub fn to_text(&self) -> String {
        let n_pes = match self.n_pes_available {
            Some(n) if self.n_passes > 1 => {
                format!("in {} passes on {}", self.n_passes, plural(n as usize, "PE"))
            }
            Some(n) => format!("yes, on {} of {} PEs", count(self.n_pes_used as u64), count(n)),
            None => format!("yes, on {}: as many as it takes", plural(self.n_pes_used, "PE")),
        };
        let head = named(&[
            ("model", self.model.clone()),
            ("target", self.target.clone()),
            ("fits", n_pes),
            ("cells", count(self.n_cells())),
        ]);
        let timing = match &self.timing {
            Some(timing) => timing::timing(timing, |pe| self.names_on(pe)),
            None => "several passes are timed when the model is compiled\n".to_string(),
        };
        format!("{head}\n{}\n{timing}", self.layers_text())
    }

    fn n_cells(&self) -> u64 {
        self.layers.iter().map(|row| row.n_cells).fold(0, u64::saturating_add)
    }

    /// Layers of a PE, by name.
    fn names_on(&self, pe: PeId) -> Vec<String> {
        let nth = self.residents.binary_search_by_key(&pe, |(own, _)| *own);
        nth.map_or_else(|_| Vec::new(), |nth| self.residents[nth].1.clone())
    }

    fn layers_text(&self) -> String {
        let all = self.n_cells();
        let of_layer = |row: &OutlineRow| {
            let timing = self.timing.as_ref().and_then(|timing| timing.of_layer(row.id));
            let time = |ps: Option<u64>| ps.map_or("-".to_string(), |ps| four(us(ps)));
            vec![
                row.id.to_string(),
                short(&row.name),
                format!("{} x {}", row.n_inputs, row.n_outputs),
                row.window.clone().unwrap_or_else(|| "1".to_string()),
                count(row.n_replicas),
                count(row.n_tiles as u64),
                count(row.n_pes as u64),
                percent(share(row.n_cells, all)),
                time(timing.map(|timing| timing.start_ps)),
                time(timing.map(|timing| timing.end_ps)),
                time(timing.map(|timing| timing.busiest_ps)),
            ]
        };
        let listing = Listing {
            noun: "layers",
            rows: &self.layers,
            columns: &[
                Words("layer"),
                Words("name"),
                Number("inputs x outputs"),
                Number("positions a wave"),
                Number("replicas"),
                Number("tiles"),
                Number("PEs"),
                Number("of cells"),
                Number("from us"),
                Number("to us"),
                Number("busiest PE us"),
            ],
            cells: &of_layer,
            size: &|row| row.n_cells,
            size_noun: "cells",
        };
        format!("Layers on arrays, one input alone on the chip\n{}", listing.text())
    }

    /// As JSON, for scripts.
    pub fn to_json(&self) -> Value {
        let layer = |row: &OutlineRow| {
            let timing = self.timing.as_ref().and_then(|timing| timing.of_layer(row.id));
            json!({
                "id": row.id.to_string(),
                "name": row.name,
                "inputs": row.n_inputs,
                "outputs": row.n_outputs,
                "positions_a_wave": row.window,
                "replicas": row.n_replicas,
                "tiles": row.n_tiles,
                "pes": row.n_pes,
                "cells": row.n_cells,
                "start_us": timing.map(|timing| us(timing.start_ps)),
                "end_us": timing.map(|timing| us(timing.end_ps)),
                "busiest_pe_us": timing.map(|timing| us(timing.busiest_ps)),
            })
        };
        let timing = self.timing.as_ref().map(|timing| {
            let bottleneck = timing.bottleneck();
            json!({
                "latency_us": us(timing.latency_ps),
                "interval_us": timing.interval_ps / timing::PS_PER_US,
                "inputs_per_s": timing.inputs_per_s(),
                "in_flight": timing.in_flight,
                "rows_at_once": timing.rows_at_once,
                "closed_form_latency_us": us(timing.estimate.latency_ps),
                "closed_form_interval_us": us(timing.estimate.interval_ps),
                "bottleneck": bottleneck.map(|own| own.resource.to_string()),
                "bottleneck_us": bottleneck.map(|own| us(own.busy_ps)),
            })
        });
        json!({
            "model": self.model,
            "target": self.target,
            "pes_used": self.n_pes_used,
            "pes_available": self.n_pes_available,
            "passes": self.n_passes,
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "timing": timing,
        })
    }
}

fn rows(mapping: &Mapping, graph: &LayerGraph) -> Vec<OutlineRow> {
    let row = |(&id, &n_replicas): (&LayerId, &u32)| {
        let tiles = || mapping.tiles.values().filter(move |tile| tile.layer == id);
        let nest = mapping.nest(graph, id);
        OutlineRow {
            id,
            name: graph.layer(id).name.clone(),
            n_inputs: nest.map_or(0, |nest| nest.n_groups() * nest.n_rows()),
            n_outputs: nest.map_or(0, |nest| nest.n_groups() * nest.n_columns()),
            window: mapping.unrolled.get(&id).map(Unrolling::window_text),
            n_replicas,
            n_tiles: tiles().count(),
            n_pes: tiles().map(|tile| tile.pe).collect::<BTreeSet<_>>().len(),
            n_cells: tiles().map(|tile| tile.n_cells()).sum(),
        }
    };
    mapping.replicas.iter().map(row).collect()
}
