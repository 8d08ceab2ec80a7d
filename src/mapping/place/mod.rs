//! Puts tiles on PEs.
//!
//! Tiles of one PE share its lines, so they are driven one after the other.
//! On a chip of a given size the placer therefore spreads: each tile goes
//! where it would wait least. If that leaves holes too small for what comes
//! later, and on chips without a limit, it packs: the first PE with room where
//! sharing costs nothing. That is one without another tile of the same layer,
//! so that a layer never waits for itself, and with no more waves altogether
//! than the busiest tile has alone, so that a stream of inputs is not slowed.
//! What does not fit so either is crammed: the first PE with room.

mod board;
mod free;
mod room;

use std::collections::BTreeMap;

use super::{MappingError, Spot, Unrolling, WeightTile, nest, pe_limit};
use crate::entity::{LayerId, Table, WeightTileId};
use crate::graph::LayerGraph;
use crate::target::Target;
use board::Board;

/// Which PE a free tile should get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Where it waits least, on so many PEs.
    Spread(u32),
    /// The first with room where sharing costs nothing, opening new ones up to
    /// the limit; when there are no more, the first with room.
    Pack(u32),
    /// The first with room, opening new ones up to the limit.
    Cram(u32),
}

/// Tiles with their places, and the PEs of the chip.
pub(super) type Placed = (Table<WeightTileId, WeightTile>, u32);

/// What tiles are placed by.
pub(super) struct Placer<'a> {
    pub graph: &'a LayerGraph,
    pub target: &'a Target,
    pub replicas: &'a BTreeMap<LayerId, u32>,
    pub unrolled: &'a BTreeMap<LayerId, Unrolling>,
}

impl Placer<'_> {
    /// Tiles with their places, and the PEs of the chip; `None` if they do not
    /// fit it.
    pub(super) fn on_chip(
        &self,
        tiles: &[WeightTile],
        spots: &[Option<Spot>],
    ) -> Result<Option<Placed>, MappingError> {
        let limit = pe_limit(self.target);
        let strategies = match limit {
            Some(n) => vec![Strategy::Spread(n), Strategy::Pack(n), Strategy::Cram(n)],
            None => vec![Strategy::Pack(u32::MAX)],
        };
        for strategy in strategies {
            let mut board = self.board(limit);
            if let Some(tiles) = board.place_all(tiles, spots, strategy)? {
                let n_pes = limit.unwrap_or(board.pes.len() as u32);
                return Ok(Some((tiles, n_pes)));
            }
        }
        Ok(None)
    }

    /// Whether tiles fit the chip at all.
    pub(super) fn crammed(
        &self,
        tiles: &[WeightTile],
        spots: &[Option<Spot>],
    ) -> Result<bool, MappingError> {
        let limit = pe_limit(self.target);
        let strategy = Strategy::Cram(limit.unwrap_or(u32::MAX));
        Ok(self.board(limit).place_all(tiles, spots, strategy)?.is_some())
    }

    /// How many of these tiles have no more cells than the chip.
    pub(super) fn n_that_have_cells<'t>(
        &self,
        tiles: impl Iterator<Item = &'t WeightTile>,
    ) -> usize {
        let n_pes = u64::from(pe_limit(self.target).unwrap_or(u32::MAX));
        let mut left = n_pes.saturating_mul(self.target.pe.cells());
        tiles
            .take_while(|tile| {
                let fits = tile.n_cells() <= left;
                left = left.saturating_sub(tile.n_cells());
                fits
            })
            .count()
    }

    /// That tiles do not fit, with what they need; `passes` are those needed and
    /// allowed.
    pub(super) fn too_large(
        &self,
        tiles: &[WeightTile],
        spots: &[Option<Spot>],
        passes: Option<(u32, u32)>,
    ) -> MappingError {
        // Cramming without a limit says what it would take, and on a chip of as
        // many PEs it does fit.
        let mut board = self.board(None);
        if let Err(error) = board.place_all(tiles, spots, Strategy::Cram(u32::MAX)) {
            return error;
        }
        MappingError::TooLarge {
            target: self.target.name.clone(),
            needed: board.pes.len() as u32,
            available: pe_limit(self.target).unwrap_or(0),
            passes,
            layers: sizes(self.graph, tiles),
        }
    }

    /// Waves that a tile of each layer is driven with for one input.
    fn waves(&self) -> BTreeMap<LayerId, u64> {
        let waves = |(&layer, &replicas): (&LayerId, &u32)| {
            let nest = nest(self.unrolled, self.graph, layer);
            let positions = nest.map_or(0, |nest| nest.positions_per_input() as u64);
            (layer, positions.div_ceil(u64::from(replicas.max(1))))
        };
        self.replicas.iter().map(waves).collect()
    }

    fn board(&self, limit: Option<u32>) -> Board<'_> {
        Board::new(self, limit.unwrap_or(u32::MAX))
    }
}

/// Name, tiles and cells of every layer.
fn sizes(graph: &LayerGraph, tiles: &[WeightTile]) -> Vec<(String, usize, u64)> {
    let mut sizes: BTreeMap<LayerId, (usize, u64)> = BTreeMap::new();
    for tile in tiles {
        let (n, cells) = sizes.entry(tile.layer).or_default();
        *n += 1;
        *cells += tile.n_cells();
    }
    sizes.into_iter().map(|(id, (n, cells))| (graph.layer(id).name.clone(), n, cells)).collect()
}
