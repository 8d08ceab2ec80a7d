//! Checks a [`Mapping`].
//!
//! # Invariants
//!
//! 1. Every tile is of a crossbar layer, has at least one row, column and
//!    group, and none outside the layer's matrix.
//! 2. Every tile lies inside its PE, starts on an even output line, and its PE
//!    is one of the chip's, in one of the passes.
//! 3. No cell belongs to two tiles.
//! 4. Each slice of each weight of each replica of each crossbar layer, as it is
//!    unrolled, is in exactly one tile.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Mapping, WeightTile, length, pe_limit};
use crate::entity::{LayerId, PeId, WeightTileId};
use crate::graph::{LayerGraph, LoopNest};
use crate::target::{Pe, Target};

/// A broken invariant, by its number in the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MappingFault {
    /// Invariant 1.
    #[error("{tile} is not a piece of the matrix of {layer}")]
    NotOfLayer {
        /// The tile.
        tile: WeightTileId,
        /// Its layer.
        layer: LayerId,
    },
    /// Invariant 2.
    #[error("{tile} does not lie inside {pe}")]
    OutsidePe {
        /// The tile.
        tile: WeightTileId,
        /// Its PE.
        pe: PeId,
    },
    /// Invariant 3.
    #[error("{first} and {second} share cells of {pe}")]
    Overlap {
        /// One tile.
        first: WeightTileId,
        /// The other.
        second: WeightTileId,
        /// Their PE.
        pe: PeId,
    },
    /// Invariant 4.
    #[error(
        "slice {slice} of replica {replica} of {layer} has {found} weights in tiles ({twice} of \
         them twice), its matrix {wanted}"
    )]
    NotConserved {
        /// The layer.
        layer: LayerId,
        /// The replica.
        replica: u32,
        /// The slice.
        slice: u8,
        /// Weights in tiles.
        found: u64,
        /// Weights in more than one tile.
        twice: u64,
        /// Weights of the matrix.
        wanted: u64,
    },
}

/// All broken invariants; none for a good mapping.
pub fn verify(mapping: &Mapping, graph: &LayerGraph, target: &Target) -> Vec<MappingFault> {
    let mut faults = Vec::new();
    let limit = pe_limit(target).unwrap_or(mapping.n_pes).min(mapping.n_pes);
    let n_pes = limit.saturating_mul(mapping.n_passes);
    faults.extend(area_faults(mapping.tiles.iter(), target.pe, n_pes));
    let mut matrices: BTreeMap<(LayerId, u32, u8), Vec<&WeightTile>> = BTreeMap::new();
    for (&layer, &replicas) in &mapping.replicas {
        let n_slices = mapping.slices.get(&layer).copied().unwrap_or(1);
        for replica in 0..replicas {
            matrices.extend((0..n_slices).map(|slice| ((layer, replica, slice), Vec::new())));
        }
    }
    for (id, tile) in mapping.tiles.iter() {
        let inside = mapping.nest(graph, tile.layer).is_some_and(|nest| {
            let within = |range: &std::ops::Range<u32>, n: usize| {
                range.start < range.end && range.end as usize <= n
            };
            within(&tile.groups, nest.n_groups())
                && within(&tile.rows, nest.n_rows())
                && within(&tile.columns, nest.n_columns())
        });
        match matrices.get_mut(&(tile.layer, tile.replica, tile.slice)) {
            Some(tiles) if inside => tiles.push(tile),
            _ => faults.push(MappingFault::NotOfLayer { tile: id, layer: tile.layer }),
        }
    }
    for ((layer, replica, slice), tiles) in matrices {
        let wanted = mapping.nest(graph, layer).map_or(0, n_weights);
        let found: u64 = tiles.iter().map(|tile| tile.n_weight_cells() / 2).sum();
        let twice = shared_weights(&tiles);
        if found != wanted || twice != 0 {
            faults.push(MappingFault::NotConserved { layer, replica, slice, found, twice, wanted });
        }
    }
    faults
}

fn n_weights(nest: &LoopNest) -> u64 {
    nest.n_groups() as u64 * nest.n_rows() as u64 * nest.n_columns() as u64
}

/// Invariants 2 and 3, for tiles of PEs of one geometry.
fn area_faults<'a>(
    tiles: impl Iterator<Item = (WeightTileId, &'a WeightTile)>,
    pe: Pe,
    n_pes: u32,
) -> Vec<MappingFault> {
    let mut faults = Vec::new();
    let mut by_pe: BTreeMap<PeId, Vec<(WeightTileId, &WeightTile)>> = BTreeMap::new();
    for (id, tile) in tiles {
        let fits = |start: u32, n: u64, lines: u32| u64::from(start) + n <= u64::from(lines);
        let inside = tile.pe.0 < n_pes
            && tile.output_line % 2 == 0
            && fits(tile.input_line, u64::from(tile.n_inputs()), pe.inputs)
            && fits(tile.output_line, u64::from(tile.n_outputs()), pe.outputs);
        if !inside {
            faults.push(MappingFault::OutsidePe { tile: id, pe: tile.pe });
            continue;
        }
        let others = by_pe.entry(tile.pe).or_default();
        for (other, second) in others.iter() {
            if overlap(tile, second) {
                faults.push(MappingFault::Overlap { first: *other, second: id, pe: tile.pe });
            }
        }
        others.push((id, tile));
    }
    faults
}

/// Whether two tiles of one PE have a cell in common.
pub(crate) fn overlap(a: &WeightTile, b: &WeightTile) -> bool {
    let meet = |a: u32, a_len: u32, b: u32, b_len: u32| a < b + b_len && b < a + a_len;
    meet(a.input_line, a.n_inputs(), b.input_line, b.n_inputs())
        && meet(a.output_line, a.n_outputs(), b.output_line, b.n_outputs())
}

/// Weights that two tiles of one slice of a matrix have in common, counted per pair of
/// tiles.
pub(crate) fn shared_weights(tiles: &[&WeightTile]) -> u64 {
    // Sorted by group and row, a tile can only meet those that start before it
    // ends: of its own first group those of its rows, then those of groups to
    // come.
    let mut sorted = tiles.to_vec();
    sorted.sort_by_key(|tile| (tile.groups.start, tile.rows.start, tile.columns.start));
    let common = |a: &std::ops::Range<u32>, b: &std::ops::Range<u32>| {
        u64::from(length(&(a.start.max(b.start)..a.end.min(b.end))))
    };
    let mut shared = 0;
    for (index, a) in sorted.iter().enumerate() {
        let rest = &sorted[index + 1..];
        let n_own = rest.partition_point(|b| b.groups.start == a.groups.start);
        let (own, later) = rest.split_at(n_own);
        let own = own.iter().take_while(|b| b.rows.start < a.rows.end);
        for b in own.chain(later.iter().take_while(|b| b.groups.start < a.groups.end)) {
            shared += common(&a.groups, &b.groups)
                * common(&a.rows, &b.rows)
                * common(&a.columns, &b.columns);
        }
    }
    shared
}
