//! A network larger than its chip, in several passes.
//!
//! The cells of the whole chip are written, the layers of one pass are driven,
//! the cells are written anew for the next pass:
//!
//! ```text
//! pass 0: conv1 conv2 conv3 | pass 1: conv4 conv5 | pass 2: conv5 (rest) fc
//! ```
//!
//! Layers come in the order in which they are executed, so that no pass is
//! needed twice. A layer that no chip holds alone is spread over passes; its
//! partial sums wait digitally. PEs of pass `p` are counted on from those of
//! the passes before: on a chip of 8, `pe12` is PE 4 in pass 1.

use std::collections::BTreeMap;

use super::place::Placer;
use super::{MappingError, Spot, WeightTile};
use crate::entity::{Entity, LayerId, PeId, Table, WeightTileId};
use crate::graph::LayerGraph;

/// Tiles on a chip of so many PEs, in at most so many passes, and the passes
/// that it takes.
///
/// # Errors
///
/// More passes are needed, a floorplan cannot be followed, or a layer's cells
/// are driven again after their pass.
pub(super) fn place(
    placer: &Placer<'_>,
    tiles: &[WeightTile],
    spots: &[Option<Spot>],
    n_pes: u32,
    most: u32,
) -> Result<(Table<WeightTileId, WeightTile>, u32), MappingError> {
    let order = execution_order(placer.graph);
    let mut rest: Vec<usize> = (0..tiles.len()).collect();
    rest.sort_by_key(|&index| (order.get(&tiles[index].layer), index));
    let mut placed = tiles.to_vec();
    let mut n_passes = 0;
    let mut rest = &rest[..];
    while !rest.is_empty() {
        let length = prefix(placer, tiles, spots, rest)?;
        let (now, later) = rest.split_at(length);
        let own: Vec<WeightTile> = now.iter().map(|&index| tiles[index].clone()).collect();
        let own_spots: Vec<Option<Spot>> = now.iter().map(|&index| spots[index]).collect();
        let Some((own, _)) = placer.on_chip(&own, &own_spots)? else { break };
        for (&index, tile) in now.iter().zip(own.values()) {
            let pe = PeId(n_passes * n_pes + tile.pe.0);
            placed[index] = WeightTile { pe, ..tile.clone() };
        }
        rest = later;
        n_passes += 1;
    }
    if n_passes > most || !rest.is_empty() {
        return Err(placer.too_large(tiles, spots, Some((n_passes, most))));
    }
    match driven_again(placer.graph, &order, &placed, n_pes) {
        Some(layer) => Err(MappingError::Overwritten { layer }),
        None => Ok((placed.into_iter().collect(), n_passes)),
    }
}

/// How many of the tiles that are left go into one pass: whole layers, or as
/// much of the first as fits.
fn prefix(
    placer: &Placer<'_>,
    tiles: &[WeightTile],
    spots: &[Option<Spot>],
    rest: &[usize],
) -> Result<usize, MappingError> {
    let fits = |length: usize| {
        let own: Vec<WeightTile> = rest[..length].iter().map(|&i| tiles[i].clone()).collect();
        let spots: Vec<Option<Spot>> = rest[..length].iter().map(|&i| spots[i]).collect();
        placer.crammed(&own, &spots)
    };
    let mut length = placer.n_that_have_cells(rest.iter().map(|&index| &tiles[index]));
    let layer = |nth: usize| tiles[rest[nth]].layer;
    let first_layer = (0..rest.len()).take_while(|&nth| layer(nth) == layer(0)).count();
    while length > 0 {
        // Back to where a layer ends, unless it is the first one.
        if length < rest.len() && length > first_layer {
            let cut = layer(length);
            while length > 0 && layer(length - 1) == cut {
                length -= 1;
            }
        }
        if fits(length)? {
            return Ok(length);
        }
        length -= 1;
    }
    // A tile fits a PE, so one always goes in.
    Ok(1)
}

/// Place of each crossbar layer in the order of execution.
fn execution_order(graph: &LayerGraph) -> BTreeMap<LayerId, usize> {
    let depths = graph.depths();
    let mut layers: Vec<(usize, LayerId)> =
        graph.crossbar_layers().map(|(id, ..)| (depths[id.index()], id)).collect();
    layers.sort_unstable();
    layers.into_iter().zip(0..).map(|((_, id), place)| (id, place)).collect()
}

/// A layer whose cells another pass has overwritten by the time it is driven:
/// one that shares them with a layer that comes earlier.
fn driven_again(
    graph: &LayerGraph,
    order: &BTreeMap<LayerId, usize>,
    tiles: &[WeightTile],
    n_pes: u32,
) -> Option<String> {
    let mut passes: BTreeMap<LayerId, (u32, u32)> = BTreeMap::new();
    for tile in tiles {
        let pass = tile.pe.0 / n_pes.max(1);
        let (first, last) = passes.entry(tile.layer).or_insert((pass, pass));
        (*first, *last) = ((*first).min(pass), (*last).max(pass));
    }
    let mut by_place: Vec<(usize, LayerId)> =
        order.iter().map(|(&id, &place)| (place, id)).collect();
    by_place.sort_unstable();
    let mut now = 0;
    by_place.into_iter().find_map(|(_, id)| {
        let &(first, last) = passes.get(&graph.matrix_of(id))?;
        if first < now {
            return Some(graph.layer(id).name.clone());
        }
        now = last;
        None
    })
}
