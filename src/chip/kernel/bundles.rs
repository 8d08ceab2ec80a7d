//! Which lines of a tile share a table: more lines a table are fewer steps, and
//! larger tables.

use super::narrow;
use super::pattern::MAX_LINES;

/// Lines that share a table, and where their patterns lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Input lines of the tile, at most [`MAX_LINES`]; `None` for a bit that is
    /// no line of this tile.
    pub lines: Vec<Option<u32>>,
    /// Place of the pattern, from the start of a position.
    pub offset: u32,
}

/// A bundle as the kernel has it.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub lines: Vec<Option<u32>>,
    pub offset: u32,
    /// Rows of the table before this group's.
    pub first_row: u32,
}

impl Group {
    pub fn n_patterns(&self) -> usize {
        1 << self.lines.len()
    }
}

/// How many lines shall share a table, at most.
///
/// Tables of more lines are added up in fewer steps, but double in size with
/// each line: worth it while a chunk of a tile stays in a core's own cache, and
/// where enough positions are driven to pay for the making.
pub fn lines_per_bundle(
    n_inputs: usize,
    n_values: usize,
    noisy: bool,
    n_positions: usize,
) -> usize {
    /// What a core's second cache holds beside all else.
    const MAX_BYTES: usize = 256 << 10;
    let most = match n_positions {
        0..256 => 4,
        256..1024 => 5,
        _ => MAX_LINES,
    };
    let width = n_values.next_power_of_two().clamp(8, narrow::MAX_LANES);
    let row_bytes = size_of::<i16>() * width * if noisy { 2 } else { 1 };
    let fits = |lines: &usize| n_inputs.div_ceil(*lines) * (row_bytes << lines) <= MAX_BYTES;
    (4..=most).rev().find(fits).unwrap_or(4)
}

/// Lines bundled in order, patterns one after the other.
pub(super) fn in_order(n_lines: usize, most: usize) -> Vec<Bundle> {
    let lines: Vec<Option<u32>> = (0..n_lines as u32).map(Some).collect();
    // As equal as can be: ten lines are two fives, not a six and a four.
    let size = n_lines.div_ceil(n_lines.div_ceil(most).max(1)).max(1);
    let bundle = |(lines, offset): (&[Option<u32>], u32)| Bundle { lines: lines.to_vec(), offset };
    lines.chunks(size).zip(0..).map(bundle).collect()
}

/// Bundles with their place in the table; `None` if one is too large or has a
/// line that is not there.
pub(super) fn groups(bundles: Vec<Bundle>, n_inputs: usize) -> Option<Vec<Group>> {
    let mut first_row = 0;
    let mut groups = Vec::with_capacity(bundles.len());
    for Bundle { lines, offset } in bundles {
        let is_there = |line: &u32| (*line as usize) < n_inputs;
        if lines.len() > MAX_LINES || !lines.iter().flatten().all(is_there) {
            return None;
        }
        let group = Group { lines, offset, first_row };
        first_row += group.n_patterns() as u32;
        groups.push(group);
    }
    Some(groups)
}
