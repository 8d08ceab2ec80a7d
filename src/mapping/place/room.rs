//! What is taken of one PE, and whether there is room for one tile more.
//!
//! A tile that fits anywhere can be pushed up and to the left until it meets
//! the edge or another tile, so that only rows below tiles have to be tried,
//! and in each only the leftmost gap. Tiles are never taken away: where there
//! was no room for a shape, there never is again, on which the searches of
//! [`super::board`] build.

use std::ops::Range;

use crate::entity::LayerId;
use crate::mapping::WeightTile;
use crate::target::Pe;

/// Input lines and output lines of a tile.
pub(super) type Shape = (u32, u32);

/// The shape of a tile.
pub(super) fn shape(tile: &WeightTile) -> Shape {
    (tile.n_inputs(), tile.n_outputs())
}

/// A tile's place on its PE.
#[derive(Clone)]
struct Area {
    inputs: Range<u32>,
    outputs: Range<u32>,
    layer: LayerId,
}

/// What is taken of one PE.
#[derive(Clone, Default)]
pub(super) struct Taken {
    /// By first output line.
    areas: Vec<Area>,
    /// Waves that its tiles are driven with for one input.
    pub waves: u64,
    pub cells: u64,
}

impl Taken {
    pub(super) fn n_tiles(&self) -> usize {
        self.areas.len()
    }

    /// Tiles of a layer.
    pub(super) fn n_of(&self, layer: LayerId) -> u64 {
        self.areas.iter().filter(|area| area.layer == layer).count() as u64
    }

    /// Adds a tile, in its place, that is driven with so many waves.
    pub(super) fn take(&mut self, tile: &WeightTile, waves: u64) {
        let (height, width) = shape(tile);
        let at = self.areas.partition_point(|area| area.outputs.start <= tile.output_line);
        let area = Area {
            inputs: tile.input_line..tile.input_line + height,
            outputs: tile.output_line..tile.output_line + width,
            layer: tile.layer,
        };
        self.areas.insert(at, area);
        self.waves += waves;
        self.cells += tile.n_cells();
    }

    /// Whether as many cells are free as a shape has.
    pub(super) fn has_cells(&self, pe: Pe, (height, width): Shape) -> bool {
        self.cells + u64::from(height) * u64::from(width) <= pe.cells()
    }

    /// The topmost place for a shape, of those the leftmost, on lines that may
    /// be given.
    pub(super) fn room(
        &self,
        pe: Pe,
        shape: Shape,
        (input_line, output_line): (Option<u32>, Option<u32>),
    ) -> Option<(u32, u32)> {
        if !self.has_cells(pe, shape) {
            return None;
        }
        let (height, width) = shape;
        let mut top = input_line.unwrap_or(0);
        while top.saturating_add(height) <= pe.inputs {
            let left = match output_line {
                Some(line) => Some(line).filter(|&line| self.is_free(shape, (top, line))),
                None => Some(self.gap(shape, top)),
            };
            if let Some(left) = left.filter(|left| left.saturating_add(width) <= pe.outputs) {
                return Some((top, left));
            }
            let ends = self.areas.iter().map(|area| area.inputs.end).filter(|&end| end > top);
            match ends.min() {
                Some(next) if input_line.is_none() => top = next,
                _ => return None,
            }
        }
        None
    }

    /// Where the leftmost gap begins that takes a shape, from an input line on;
    /// the last has no end.
    fn gap(&self, (height, width): Shape, top: u32) -> u32 {
        let mut left = 0u32;
        for area in &self.areas {
            if meet(&area.inputs, top, height) {
                if area.outputs.start >= left.saturating_add(width) {
                    return left;
                }
                left = left.max(area.outputs.end);
            }
        }
        left
    }

    fn is_free(&self, (height, width): Shape, (top, left): (u32, u32)) -> bool {
        !self
            .areas
            .iter()
            .any(|area| meet(&area.inputs, top, height) && meet(&area.outputs, left, width))
    }
}

/// Whether a run of lines meets a range of them.
fn meet(range: &Range<u32>, start: u32, n: u32) -> bool {
    range.start < start.saturating_add(n) && start < range.end
}

#[cfg(test)]
mod tests {
    //! Places are those that trying every pair of lines beside tiles finds.

    use proptest::prelude::*;

    use super::*;
    use crate::entity::PeId;

    const PE: Pe = Pe { inputs: 16, outputs: 24 };

    fn tile(layer: u32, (height, pairs): (u32, u32), (top, left): (u32, u32)) -> WeightTile {
        WeightTile {
            layer: LayerId(layer),
            replica: 0,
            groups: 0..1,
            rows: 0..height,
            columns: 0..pairs,
            slice: 0,
            pe: PeId(0),
            input_line: top,
            output_line: left,
        }
    }

    /// The first place in the order of lines, looking at every one.
    fn tried(
        taken: &Taken,
        (height, width): Shape,
        (top, left): (Option<u32>, Option<u32>),
    ) -> Option<(u32, u32)> {
        let tops = (0..=PE.inputs - height).filter(|&line| top.is_none_or(|top| top == line));
        let mut places = tops.flat_map(|top| (0..=PE.outputs - width).map(move |left| (top, left)));
        places.find(|&place| {
            left.is_none_or(|left| left == place.1) && taken.is_free((height, width), place)
        })
    }

    proptest! {
        #[test]
        fn the_first_place_is_found(
            shapes in proptest::collection::vec((1u32..9, 1u32..7), 1..24),
            fixed: (bool, bool), line in (0u32..16, 0u32..12),
        ) {
            let mut taken = Taken::default();
            for (layer, (height, pairs)) in (0..).zip(shapes) {
                let shape = (height, 2 * pairs);
                let given = (fixed.0.then_some(line.0), fixed.1.then_some(2 * line.1));
                for given in [(None, None), given] {
                    prop_assert_eq!(taken.room(PE, shape, given), tried(&taken, shape, given));
                }
                if let Some(place) = taken.room(PE, shape, (None, None)) {
                    taken.take(&tile(layer, (height, pairs), place), 1);
                }
            }
        }
    }
}
