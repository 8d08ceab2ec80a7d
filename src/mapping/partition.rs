//! Cuts a layer's matrix into pieces that fit a PE.
//!
//! ```text
//! one group, 300 x 100 on 128 inputs x 64 pairs     64 groups of 9 x 1
//!   +--64--+-36-+                                     +9x1
//!   | 128  |    |   row slices give partial sums,       +9x1      14 groups fit
//!   +------+----+   column blocks stand side by side      +9x1    126 x 14:
//!   | 128  |    |                                           ...   block-diagonal
//!   +------+----+
//!   |  44  |    |
//!   +------+----+
//! ```

use std::ops::Range;

use super::{LayerPlan, WeightTile, length};
use crate::entity::{LayerId, PeId};
use crate::graph::LoopNest;
use crate::target::Pe;

/// A piece of a matrix without a place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub groups: Range<u32>,
    pub rows: Range<u32>,
    pub columns: Range<u32>,
}

impl Piece {
    /// The tile of this piece for one replica of a layer and one slice of its
    /// weights, not placed yet.
    pub(super) fn of(&self, layer: LayerId, replica: u32, slice: u8) -> WeightTile {
        WeightTile {
            layer,
            replica,
            groups: self.groups.clone(),
            rows: self.rows.clone(),
            columns: self.columns.clone(),
            slice,
            pe: PeId(0),
            input_line: 0,
            output_line: 0,
        }
    }
}

/// All pieces of one copy of a layer: by groups, rows, columns. The error says
/// why a cut by hand cannot be done.
pub(super) fn cut(nest: &LoopNest, pe: Pe, plan: Option<&LayerPlan>) -> Result<Vec<Piece>, String> {
    // Loops are limited far below 2^32 by the size of any model file.
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (n_groups, n_rows, n_columns) =
        (as_u32(nest.n_groups()), as_u32(nest.n_rows()), as_u32(nest.n_columns()));
    let by_hand = plan.and_then(|plan| plan.slice_inputs.as_deref());
    let row_slices = match by_hand {
        Some(lengths) => by_lengths(n_rows, lengths, pe)?,
        None => by_limit(n_rows, pe.inputs),
    };
    let column_blocks = by_limit(n_columns, pe.pairs());
    let whole = row_slices.len() == 1 && column_blocks.len() == 1;
    let per_tile = if whole { (pe.inputs / n_rows).min(pe.pairs() / n_columns).max(1) } else { 1 };
    let mut pieces = Vec::new();
    for groups in by_limit(n_groups, per_tile) {
        for rows in &row_slices {
            for columns in &column_blocks {
                let (groups, rows, columns) = (groups.clone(), rows.clone(), columns.clone());
                pieces.push(Piece { groups, rows, columns });
            }
        }
    }
    Ok(pieces)
}

/// Runs of `limit`, the last one shorter: full runs leave one small remainder,
/// which packs well.
fn by_limit(n: u32, limit: u32) -> Vec<Range<u32>> {
    (0..n.div_ceil(limit)).map(|i| i * limit..n.min((i + 1) * limit)).collect()
}

/// Runs as given by hand; a single length repeats.
fn by_lengths(n: u32, lengths: &[u32], pe: Pe) -> Result<Vec<Range<u32>>, String> {
    if let Some(bad) = lengths.iter().find(|&&l| l == 0 || l > pe.inputs) {
        return Err(format!("a slice of {bad} inputs, a PE has {} input lines", pe.inputs));
    }
    let lengths: Vec<u32> = match lengths {
        [] => return Err("`slice_inputs` is empty".to_string()),
        [one] => by_limit(n, *one).iter().map(length).collect(),
        many => many.to_vec(),
    };
    let total: u64 = lengths.iter().map(|&l| u64::from(l)).sum();
    if total != u64::from(n) {
        return Err(format!("its slices have {total} inputs together, the layer has {n}"));
    }
    let mut start = 0;
    let mut runs = Vec::new();
    for length in lengths {
        runs.push(start..start + length);
        start += length;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    //! Pieces cover the matrix exactly once and fit the PE, whatever the sizes.

    use super::*;
    use crate::graph::{AxisIndex, Extent};
    use proptest::prelude::*;

    fn nest(groups: usize, rows: usize, columns: usize) -> LoopNest {
        LoopNest {
            positions: vec![Extent::PerInput(1)],
            groups: vec![groups],
            rows: vec![rows],
            columns: vec![columns],
            input: Vec::<AxisIndex>::new(),
            output: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn every_weight_is_in_exactly_one_piece(
            groups in 1usize..20, rows in 1usize..40, columns in 1usize..30,
            inputs in 1u32..20, pairs in 1u32..10,
        ) {
            let pe = Pe { inputs, outputs: 2 * pairs };
            let pieces = cut(&nest(groups, rows, columns), pe, None).unwrap();
            let mut seen = vec![0; groups * rows * columns];
            for piece in &pieces {
                let tile = piece.of(LayerId(0), 0, 0);
                prop_assert!(tile.n_inputs() <= inputs && tile.n_pairs() <= pairs);
                for g in piece.groups.clone() {
                    for r in piece.rows.clone() {
                        for c in piece.columns.clone() {
                            seen[(g as usize * rows + r as usize) * columns + c as usize] += 1;
                        }
                    }
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn the_published_second_layer_is_cut_by_channel() {
        let plan = LayerPlan { slice_inputs: Some(vec![9]), ..LayerPlan::default() };
        let pe = Pe { inputs: 16, outputs: 128 };
        let pieces = cut(&nest(1, 72, 12), pe, Some(&plan)).unwrap();
        assert_eq!(pieces.len(), 8);
        assert!(pieces.iter().all(|p| length(&p.rows) == 9 && length(&p.columns) == 12));
    }

    #[test]
    fn slices_that_do_not_add_up_are_refused() {
        let plan = LayerPlan { slice_inputs: Some(vec![9, 9]), ..LayerPlan::default() };
        let pe = Pe { inputs: 16, outputs: 128 };
        let reason = cut(&nest(1, 72, 12), pe, Some(&plan)).unwrap_err();
        assert!(reason.contains("18 inputs together, the layer has 72"), "{reason}");
    }
}
