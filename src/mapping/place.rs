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

use std::collections::{BTreeMap, BTreeSet};

use super::{MappingError, Spot, Unrolling, WeightTile, counted, nest, pe_limit};
use crate::entity::{Entity, LayerId, PeId, Table, WeightTileId};
use crate::graph::LayerGraph;
use crate::target::{Pe, Target};

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

/// What is taken of one PE.
#[derive(Clone, Default)]
struct Taken {
    /// Input lines and output lines of each tile, and its layer.
    areas: Vec<(std::ops::Range<u32>, std::ops::Range<u32>, LayerId)>,
    /// Waves that its tiles are driven with for one input.
    waves: u64,
    cells: u64,
}

struct Board<'a> {
    placer: &'a Placer<'a>,
    pe: Pe,
    limit: u32,
    pes: Vec<Taken>,
    /// The first PE that is not full; those before are never looked at again.
    first_open: usize,
    /// Waves that a tile of each layer is driven with for one input.
    waves: BTreeMap<LayerId, u64>,
    /// Waves of the busiest tile.
    most_waves: u64,
    /// PEs that hold nothing, of each core, where tiles are spread.
    free: Vec<BTreeSet<usize>>,
    /// Waves of each core that has such PEs, with its number.
    cores: BTreeSet<(u64, usize)>,
    core_waves: Vec<u64>,
    /// The core of the last tile, and the inputs that it takes.
    last: Option<(Inputs, usize)>,
    /// Whether the tile that is placed joins it there, and is issued with it.
    joins: bool,
}

/// Tiles of the same layer on a PE, and waves of all that are there.
type Wait = (u64, u64);

/// Layer, replica, first group and first row of a tile.
type Inputs = (LayerId, u32, u32, u32);

impl<'a> Board<'a> {
    fn new(placer: &'a Placer<'a>, limit: u32) -> Self {
        let pe = placer.target.pe;
        Self {
            placer,
            pe,
            limit,
            pes: Vec::new(),
            first_open: 0,
            waves: placer.waves(),
            most_waves: 0,
            free: Vec::new(),
            cores: BTreeSet::new(),
            core_waves: Vec::new(),
            last: None,
            joins: false,
        }
    }

    /// Places fixed tiles first, then free ones from the largest down; `None`
    /// if a free tile finds no room.
    fn place_all(
        &mut self,
        tiles: &[WeightTile],
        spots: &[Option<Spot>],
        strategy: Strategy,
    ) -> Result<Option<Table<WeightTileId, WeightTile>>, MappingError> {
        let mut placed = tiles.to_vec();
        self.most_waves = tiles.iter().map(|tile| self.waves(tile)).max().unwrap_or(0);
        for (tile, spot) in placed.iter_mut().zip(spots) {
            if let Some(spot) = spot {
                self.pin(tile, *spot)?;
            }
        }
        let mut free: Vec<usize> = (0..placed.len()).filter(|&i| spots[i].is_none()).collect();
        // Spreading, those with the most waves choose first and get PEs for
        // themselves; packing, tall ones, which need whole columns of a PE.
        // Ties keep their order.
        free.sort_by_cached_key(|&i| {
            let tile = &placed[i];
            let waves = match strategy {
                Strategy::Spread(_) => self.waves(tile),
                Strategy::Pack(_) | Strategy::Cram(_) => 0,
            };
            (std::cmp::Reverse((waves, tile.n_inputs())), i)
        });
        if let Strategy::Spread(n) = strategy {
            self.pes.resize_with(n as usize, Taken::default);
            self.find_free();
        }
        for index in free {
            let Some((pe, input_line, output_line)) = self.choose(&placed[index], strategy) else {
                return Ok(None);
            };
            let tile = &mut placed[index];
            (tile.pe, tile.input_line, tile.output_line) =
                (PeId::from_index(pe), input_line, output_line);
            self.take(tile);
        }
        Ok(Some(placed.into_iter().collect()))
    }

    /// PE, first input line and first output line for a free tile.
    fn choose(&mut self, tile: &WeightTile, strategy: Strategy) -> Option<(usize, u32, u32)> {
        match strategy {
            Strategy::Spread(_) => {
                // Nothing waits less than on a PE that holds nothing.
                if let Some(&(_, core)) = self.cores.first() {
                    // Tiles that take the same inputs belong to one core, which
                    // then issues and fetches them once.
                    let inputs = (tile.layer, tile.replica, tile.groups.start, tile.rows.start);
                    let beside = self.last.filter(|last| last.0 == inputs).map(|last| last.1);
                    let beside = beside.filter(|&core| !self.free[core].is_empty());
                    self.joins = beside.is_some();
                    let core = beside.unwrap_or(core);
                    self.last = Some((inputs, core));
                    return self.free[core].first().map(|&pe| (pe, 0, 0));
                }
                // Whether there is room is looked at only where waiting is less than
                // at the best place so far.
                let mut best: Option<(Wait, (usize, u32, u32))> = None;
                for (index, pe) in self.pes.iter().enumerate() {
                    let same = pe.areas.iter().filter(|a| a.2 == tile.layer).count() as u64;
                    let wait = (same, pe.waves);
                    if best.as_ref().is_none_or(|(least, _)| wait < *least)
                        && let Some((input_line, output_line)) = self.room(index, tile, None, None)
                    {
                        best = Some((wait, (index, input_line, output_line)));
                    }
                }
                best.map(|(_, place)| place)
            }
            Strategy::Pack(limit) => self
                .with_room(tile, false)
                .or_else(|| self.open(limit))
                .or_else(|| self.with_room(tile, true)),
            Strategy::Cram(limit) => self.with_room(tile, true).or_else(|| self.open(limit)),
        }
    }

    /// Which PEs hold nothing yet.
    fn find_free(&mut self) {
        let per_core = self.pes_per_core();
        let n_cores = self.pes.len().div_ceil(per_core);
        self.free = vec![BTreeSet::new(); n_cores];
        self.core_waves = vec![0; n_cores];
        for (index, pe) in self.pes.iter().enumerate() {
            self.core_waves[index / per_core] += pe.waves;
            if pe.areas.is_empty() {
                self.free[index / per_core].insert(index);
            }
        }
        let waves = self.core_waves.iter().enumerate();
        let open = waves.filter(|(core, _)| !self.free[*core].is_empty());
        self.cores = open.map(|(core, waves)| (*waves, core)).collect();
    }

    /// PEs that share a core's issue; without cores the chip is one, and its
    /// PEs are filled in their order.
    fn pes_per_core(&self) -> usize {
        match self.placer.target.rates.pes_per_core {
            0 | 1 => self.pes.len().max(1),
            n => n as usize,
        }
    }

    /// Notes waves of a PE that is no longer free.
    fn work_on(&mut self, pe: usize, waves: u64) {
        let core = pe / self.pes_per_core();
        let Some(free) = self.free.get_mut(core) else { return };
        free.remove(&pe);
        let is_open = !free.is_empty();
        self.cores.remove(&(self.core_waves[core], core));
        self.core_waves[core] += waves;
        if is_open {
            self.cores.insert((self.core_waves[core], core));
        }
    }

    /// The first PE with room; unless it may be `shared` at any price, the first
    /// where sharing costs nothing.
    fn with_room(&mut self, tile: &WeightTile, shared: bool) -> Option<(usize, u32, u32)> {
        while self.pes.get(self.first_open).is_some_and(|pe| pe.cells == self.pe.cells()) {
            self.first_open += 1;
        }
        let may = |pe: &usize| shared || self.shares_freely(*pe, tile);
        (self.first_open..self.pes.len())
            .filter(may)
            .find_map(|pe| self.room(pe, tile, None, None).map(|(i, o)| (pe, i, o)))
    }

    /// A PE that holds nothing yet, if there is one more.
    fn open(&mut self, limit: u32) -> Option<(usize, u32, u32)> {
        (self.pes.len() < limit as usize).then(|| {
            self.pes.push(Taken::default());
            (self.pes.len() - 1, 0, 0)
        })
    }

    /// Puts a tile where the user wants it.
    fn pin(&mut self, tile: &mut WeightTile, spot: Spot) -> Result<(), MappingError> {
        let wrong = |reason: String| MappingError::Floorplan {
            layer: self.placer.graph.layer(tile.layer).name.clone(),
            reason,
        };
        if spot.pe >= self.limit {
            return Err(wrong(format!(
                "it names pe{}, the target has {} PEs",
                spot.pe, self.limit
            )));
        }
        if spot.output_line.is_some_and(|line| line % 2 != 0) {
            return Err(wrong("a pair starts on an even output line".to_string()));
        }
        // A floorplan may name any PE of a chip without limit, but not one so
        // far out that the tables up to it would fill the memory.
        if spot.pe > 1 << 20 {
            return Err(wrong(format!("it names pe{}", spot.pe)));
        }
        let pe = spot.pe as usize;
        if self.pes.len() <= pe {
            self.pes.resize_with(pe + 1, Taken::default);
        }
        let Some((input_line, output_line)) =
            self.room(pe, tile, spot.input_line, spot.output_line)
        else {
            return Err(wrong(format!(
                "pe{pe} has no room there for {} inputs x {} output lines; it has {} x {}, and \
                 {} already",
                tile.n_inputs(),
                tile.n_outputs(),
                self.pe.inputs,
                self.pe.outputs,
                counted(self.pes[pe].areas.len(), "tile")
            )));
        };
        (tile.pe, tile.input_line, tile.output_line) = (PeId(spot.pe), input_line, output_line);
        self.take(tile);
        Ok(())
    }

    /// Whether a tile can join a PE without slowing a layer or a stream.
    fn shares_freely(&self, pe: usize, tile: &WeightTile) -> bool {
        let taken = &self.pes[pe];
        taken.areas.iter().all(|area| area.2 != tile.layer)
            && taken.waves + self.waves(tile) <= self.most_waves
    }

    /// Waves that a tile is driven with for one input.
    fn waves(&self, tile: &WeightTile) -> u64 {
        self.waves.get(&tile.layer).copied().unwrap_or(0)
    }

    fn take(&mut self, tile: &WeightTile) {
        let waves = self.waves(tile);
        let pe = &mut self.pes[tile.pe.index()];
        pe.areas.push((
            tile.input_line..tile.input_line + tile.n_inputs(),
            tile.output_line..tile.output_line + tile.n_outputs(),
            tile.layer,
        ));
        pe.waves += waves;
        pe.cells += tile.n_cells();
        self.work_on(tile.pe.index(), if self.joins { 0 } else { waves });
    }

    /// The first place on a PE where the tile fits: at the left or beside a
    /// tile, at the top or below one.
    fn room(
        &self,
        pe: usize,
        tile: &WeightTile,
        input_line: Option<u32>,
        output_line: Option<u32>,
    ) -> Option<(u32, u32)> {
        let taken = &self.pes[pe];
        if taken.cells + tile.n_cells() > self.pe.cells() {
            return None;
        }
        let starts = |fixed: Option<u32>, ends: Vec<u32>| -> Vec<u32> {
            let mut starts = fixed.map_or_else(|| [vec![0], ends].concat(), |line| vec![line]);
            starts.sort_unstable();
            starts.dedup();
            starts
        };
        let inputs = starts(input_line, taken.areas.iter().map(|a| a.0.end).collect());
        let outputs = starts(output_line, taken.areas.iter().map(|a| a.1.end).collect());
        let (height, width) = (tile.n_inputs(), tile.n_outputs());
        for &top in inputs.iter().filter(|&&top| top.saturating_add(height) <= self.pe.inputs) {
            for &left in
                outputs.iter().filter(|&&left| left.saturating_add(width) <= self.pe.outputs)
            {
                let free = taken.areas.iter().all(|(rows, columns, _)| {
                    rows.end <= top
                        || top + height <= rows.start
                        || columns.end <= left
                        || left + width <= columns.start
                });
                if free {
                    return Some((top, left));
                }
            }
        }
        None
    }
}
