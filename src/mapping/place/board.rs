//! The PEs of a chip while tiles are put on them.
//!
//! Tiles of a layer come one after the other, and what can be said against a
//! PE stays true: a shape that found no room there never will, waves and tiles
//! of the same layer only become more. So no tile starts its search anew. It
//! goes on where the last of its layer and shape ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::free::FreePes;
use super::room::{Shape, Taken, shape};
use super::{Placer, Strategy};
use crate::entity::{Entity, LayerId, PeId, Table, WeightTileId};
use crate::mapping::{MappingError, Spot, WeightTile, counted};
use crate::target::Pe;

/// PE, first input line and first output line.
type Place = (usize, u32, u32);

/// Tiles of the same layer on a PE, and waves of all that are there.
type Wait = (u64, u64);

/// PEs where a shape may find room by how long a tile of the layer would wait
/// there, or less long than it would.
type Queue = BinaryHeap<Reverse<(Wait, usize)>>;

pub(super) struct Board<'a> {
    placer: &'a Placer<'a>,
    pe: Pe,
    limit: u32,
    pub pes: Vec<Taken>,
    /// Waves that a tile of each layer is driven with for one input.
    waves: BTreeMap<LayerId, u64>,
    /// Waves of the busiest tile.
    most_waves: u64,
    free: FreePes,
    /// The layer of the last tile, and what is known for its shapes.
    layer: Option<LayerId>,
    queues: BTreeMap<Shape, Queue>,
    /// The first PE that a tile of the layer could join freely, by shape.
    free_from: BTreeMap<Shape, usize>,
    /// The first PE that may have room, by shape.
    room_from: BTreeMap<Shape, usize>,
}

impl<'a> Board<'a> {
    pub(super) fn new(placer: &'a Placer<'a>, limit: u32) -> Self {
        Self {
            placer,
            pe: placer.target.pe,
            limit,
            pes: Vec::new(),
            waves: placer.waves(),
            most_waves: 0,
            free: FreePes::default(),
            layer: None,
            queues: BTreeMap::new(),
            free_from: BTreeMap::new(),
            room_from: BTreeMap::new(),
        }
    }

    /// Places fixed tiles first, then free ones from the largest down; `None`
    /// if a free tile finds no room.
    pub(super) fn place_all(
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
            (Reverse((waves, tile.n_inputs())), i)
        });
        if let Strategy::Spread(n) = strategy {
            self.pes.resize_with(n as usize, Taken::default);
            self.free = FreePes::new(&self.pes, self.pes_per_core());
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

    /// Where a free tile goes.
    fn choose(&mut self, tile: &WeightTile, strategy: Strategy) -> Option<Place> {
        if self.layer != Some(tile.layer) {
            self.layer = Some(tile.layer);
            self.queues.clear();
            self.free_from.clear();
        }
        match strategy {
            Strategy::Spread(_) => {
                // Nothing waits less than on a PE that holds nothing.
                let inputs = (tile.layer, tile.replica, tile.groups.start, tile.rows.start);
                match self.free.take(inputs, self.waves(tile)) {
                    Some(pe) => Some((pe, 0, 0)),
                    None => self.least_waiting(tile),
                }
            }
            Strategy::Pack(limit) => self
                .freely_shared(tile)
                .or_else(|| self.open(limit))
                .or_else(|| self.with_room(tile)),
            Strategy::Cram(limit) => self.with_room(tile).or_else(|| self.open(limit)),
        }
    }

    /// PEs that share a core's issue; without cores the chip is one, and its
    /// PEs are filled in their order.
    fn pes_per_core(&self) -> usize {
        match self.placer.target.rates.pes_per_core {
            0 | 1 => self.pes.len().max(1),
            n => n as usize,
        }
    }

    /// Of all PEs with room the one where a tile waits least, the first of
    /// several.
    fn least_waiting(&mut self, tile: &WeightTile) -> Option<Place> {
        let shape = shape(tile);
        let Self { pes, pe, queues, .. } = self;
        let wait = |taken: &Taken| (taken.n_of(tile.layer), taken.waves);
        let queue = queues.entry(shape).or_insert_with(|| {
            let may = pes.iter().enumerate().filter(|(_, taken)| taken.has_cells(*pe, shape));
            may.map(|(index, taken)| Reverse((wait(taken), index))).collect()
        });
        // Waits only grow, so that the first whose wait is still what it was is
        // the least; a tile that is put there makes it grow.
        while let Some(mut first) = queue.peek_mut() {
            let Reverse((known, index)) = *first;
            let now = wait(&pes[index]);
            if now != known {
                *first = Reverse((now, index));
                continue;
            }
            match pes[index].room(*pe, shape, (None, None)) {
                Some((input_line, output_line)) => return Some((index, input_line, output_line)),
                None => std::collections::binary_heap::PeekMut::pop(first),
            };
        }
        None
    }

    /// The first PE with room where sharing costs nothing.
    fn freely_shared(&mut self, tile: &WeightTile) -> Option<Place> {
        let (shape, waves) = (shape(tile), self.waves(tile));
        let start = self.free_from.get(&shape).copied().unwrap_or(0);
        let most_waves = self.most_waves;
        // A tile slows neither a layer nor a stream.
        let may = |taken: &Taken| taken.waves + waves <= most_waves && taken.n_of(tile.layer) == 0;
        let found = self.first_from(start, shape, may);
        self.free_from.insert(shape, found.map_or(self.pes.len(), |place| place.0));
        found
    }

    /// The first PE with room.
    fn with_room(&mut self, tile: &WeightTile) -> Option<Place> {
        let shape = shape(tile);
        let start = self.room_from.get(&shape).copied().unwrap_or(0);
        let found = self.first_from(start, shape, |_| true);
        self.room_from.insert(shape, found.map_or(self.pes.len(), |place| place.0));
        found
    }

    fn first_from(
        &self,
        start: usize,
        shape: Shape,
        may: impl Fn(&Taken) -> bool,
    ) -> Option<Place> {
        let pes = self.pes.iter().enumerate().skip(start).filter(|(_, taken)| may(taken));
        let mut places = pes.filter_map(|(pe, taken)| {
            let (input_line, output_line) = taken.room(self.pe, shape, (None, None))?;
            Some((pe, input_line, output_line))
        });
        places.next()
    }

    /// A PE that holds nothing yet, if there is one more.
    fn open(&mut self, limit: u32) -> Option<Place> {
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
        let given = (spot.input_line, spot.output_line);
        let Some((input_line, output_line)) = self.pes[pe].room(self.pe, shape(tile), given) else {
            return Err(wrong(format!(
                "pe{pe} has no room there for {} inputs x {} output lines; it has {} x {}, and \
                 {} already",
                tile.n_inputs(),
                tile.n_outputs(),
                self.pe.inputs,
                self.pe.outputs,
                counted(self.pes[pe].n_tiles(), "tile")
            )));
        };
        (tile.pe, tile.input_line, tile.output_line) = (PeId(spot.pe), input_line, output_line);
        self.take(tile);
        Ok(())
    }

    /// Waves that a tile is driven with for one input.
    fn waves(&self, tile: &WeightTile) -> u64 {
        self.waves.get(&tile.layer).copied().unwrap_or(0)
    }

    fn take(&mut self, tile: &WeightTile) {
        let waves = self.waves(tile);
        self.pes[tile.pe.index()].take(tile, waves);
    }
}
