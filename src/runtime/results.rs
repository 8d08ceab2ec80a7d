//! From what tiles give for a block of positions to the values of a layer.

use std::ops::Range;

use super::layout::Layout;
use crate::chip::{Instructions, Simd, Task};

/// Working memory for one block of positions.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Levels times code steps, `[position][column]`; whole numbers on an exact
    /// chip, of which f64 holds every one up to 2^53.
    levels: Vec<f64>,
    /// The values that they stand for.
    reals: Vec<f32>,
}

impl Block {
    /// Nothing added up yet.
    pub(super) fn clear(&mut self, n_positions: usize, n_columns: usize) {
        self.levels.clear();
        self.levels.resize(n_positions * n_columns, 0.0);
    }

    /// Adds a tile's sums of codes, `[position][pair]`, from this position of
    /// the block on and to every so many-th.
    pub(super) fn add(
        &mut self,
        tile: TileSums<'_>,
        (first_position, every): (usize, usize),
        n_columns: usize,
    ) {
        let levels = &mut self.levels[first_position * n_columns..];
        Instructions::detect().run(Add { tile, n_columns, every, levels });
    }

    /// Takes the zero point off, scales, and adds the bias.
    pub(super) fn scale(&mut self, columns: Columns<'_>) {
        let Self { levels, reals } = self;
        reals.resize(levels.len(), 0.0);
        Instructions::detect().run(Scale { columns, levels, reals });
    }

    /// Writes the values of these positions where the output tensor has them.
    pub(super) fn scatter(&self, layout: &Layout, positions: Range<usize>, results: &mut [f32]) {
        let starts = &layout.position_results[positions];
        Instructions::detect().run(Scatter { layout, starts, reals: &self.reals, results });
    }
}

/// What a tile gives for a run of positions.
#[derive(Clone, Copy)]
pub(super) struct TileSums<'a> {
    /// In codes, `[position][pair]`.
    pub sums: &'a [f64],
    pub n_pairs: usize,
    pub levels_per_code: f64,
    /// The layer's column of each run of pairs: first column, pairs.
    pub columns: &'a [(usize, Range<usize>)],
}

struct Add<'a> {
    tile: TileSums<'a>,
    n_columns: usize,
    every: usize,
    levels: &'a mut [f64],
}

impl Task for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let TileSums { sums, n_pairs, levels_per_code, columns } = self.tile;
        let positions = self.levels.chunks_mut(self.n_columns * self.every);
        for (levels, sums) in positions.zip(sums.chunks_exact(n_pairs)) {
            for (first_column, pairs) in columns {
                for (level, &sum) in levels[*first_column..].iter_mut().zip(&sums[pairs.clone()]) {
                    *level += sum * levels_per_code;
                }
            }
        }
    }
}

/// What is digital of each column.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// What the zero point adds, in levels times code steps.
    pub corrections: &'a [f64],
    pub scales: &'a [f64],
    pub bias: &'a [f32],
}

struct Scale<'a> {
    columns: Columns<'a>,
    levels: &'a [f64],
    reals: &'a mut [f32],
}

impl Task for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Columns { corrections, scales, bias } = self.columns;
        let n_columns = corrections.len().max(1);
        let positions =
            self.levels.chunks_exact(n_columns).zip(self.reals.chunks_exact_mut(n_columns));
        for (levels, reals) in positions {
            let columns = corrections.iter().zip(scales).zip(bias);
            for ((real, level), ((correction, scale), &bias)) in
                reals.iter_mut().zip(levels).zip(columns)
            {
                *real = ((level - correction) * scale + f64::from(bias)) as f32;
            }
        }
    }
}

struct Scatter<'a> {
    layout: &'a Layout,
    starts: &'a [u32],
    /// `[position][column]`.
    reals: &'a [f32],
    results: &'a mut [f32],
}

impl Task for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { layout, starts, reals, results } = self;
        let places = &layout.column_results[..];
        let n_columns = places.len();
        let (tiled, rest) = match layout.are_positions_adjacent {
            true => starts.split_at(starts.len() / SIDE * SIDE),
            false => starts.split_at(0),
        };
        for (starts, reals) in tiled.chunks_exact(SIDE).zip(reals.chunks(SIDE * n_columns.max(1))) {
            let start = starts[0] as usize;
            let (eights, others) = places.as_chunks::<SIDE>();
            for (nth, places) in eights.iter().enumerate() {
                let columns = transposed(&reals[SIDE * nth..], n_columns);
                for (&place, column) in places.iter().zip(&columns) {
                    results[start + place as usize..][..SIDE].copy_from_slice(column);
                }
            }
            for (column, &place) in (SIDE * eights.len()..).zip(others) {
                let column = reals[column..].iter().step_by(n_columns);
                let results = &mut results[start + place as usize..][..SIDE];
                results.iter_mut().zip(column).for_each(|(result, real)| *result = *real);
            }
        }
        let reals = &reals[tiled.len() * n_columns..];
        for (&start, reals) in rest.iter().zip(reals.chunks(n_columns.max(1))) {
            for (&place, &real) in places.iter().zip(reals) {
                results[(start + place) as usize] = real;
            }
        }
    }
}

/// Positions and columns that change places at once.
const SIDE: usize = 8;

/// Eight columns of eight positions, position by position, as columns.
#[inline(always)]
fn transposed(reals: &[f32], n_columns: usize) -> [[f32; SIDE]; SIDE] {
    let mut columns = [[0.0; SIDE]; SIDE];
    for position in 0..SIDE {
        let row = &reals[position * n_columns..][..SIDE];
        for (column, &real) in columns.iter_mut().zip(row) {
            column[position] = real;
        }
    }
    columns
}
