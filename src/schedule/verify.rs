//! Checks an [`ExecutionPlan`], one made here or one that was loaded.
//!
//! # Invariants
//!
//! 1. Tiles are of layers of the plan, lie inside their PE, share no cell, and
//!    hold each slice of each weight of each replica exactly once. A layer that drives the
//!    cells of another has the same matrix and no tiles.
//! 2. Loops have extents above zero, index maps use the loops that they may
//!    use and reach no farther than 2^40 elements. Arrays have the sizes that
//!    loops and PEs say; slices hold the levels, level sums are theirs; zero points are
//!    codes; scales, biases and ADC steps are finite, steps above zero, code
//!    ranges not empty, and codes have at most 22 bits without their sign.
//! 3. Cells of tiles have targets, from 0 to the highest level of the layer's
//!    width; cells of no tile have none.
//! 4. A step waits only for steps that stand before it, and starts when they
//!    have ended.
//! 5. A step reads only what was made before it by steps that it waits for,
//!    directly or not: tensors, codes, sums.
//! 6. Waves drive tiles of one matrix, one replica and one PE that share their
//!    input lines; planes are those of the coding, each once, the least
//!    significant first; the conversions of a plane cover each output once,
//!    in cycles of at most as many as the PE's ADCs make.
//! 7. Waves take positions x planes x conversion cycles, no PE is driven by
//!    two steps at once, and all counts of the plan stay below 2^62.
//! 8. A sum adds all tiles of its matrix, each once, after waves have driven
//!    each output position of one input through one replica exactly once.
//! 9. Every crossbar layer has one sum; every output of the model is made.
//! 10. Waves of a pass stand before those of later passes, and end before any of
//!     these starts.
//! 11. Sums are compared before conversion where planes are added up and pairs
//!     subtracted before, each whole sum is in one tile, scales are above zero, and
//!     windows lie over axes that positions walk. Ranges are halved for a plane at
//!     most 15 times, and not where planes are added up.
//!
//! Plans come from files, and a file can say anything: whatever the numbers
//! are, checking them neither panics nor takes memory that the plan itself
//! does not.

mod nests;
mod steps;
mod tables;

use thiserror::Error;

use super::plan::ExecutionPlan;
use crate::entity::{LayerId, PeId, StepId, TensorId, WeightTileId};

/// A broken invariant, by its number in the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanFault {
    /// Invariants 2 and 7, for what all PEs and steps have in common.
    #[error("the plan: {0}")]
    Chip(String),
    /// Invariants 1 to 3, for a tile.
    #[error("{tile}: {what}")]
    Tile {
        /// The tile.
        tile: WeightTileId,
        /// What is wrong.
        what: String,
    },
    /// Invariants 1 and 2, for a layer.
    #[error("{layer}: {what}")]
    Layer {
        /// The layer.
        layer: LayerId,
        /// What is wrong.
        what: String,
    },
    /// Invariants 2 and 3, for the cells of a PE.
    #[error("{pe}: {what}")]
    Pe {
        /// The PE.
        pe: PeId,
        /// What is wrong.
        what: String,
    },
    /// Invariants 4 to 8.
    #[error("{step}: {what}")]
    Step {
        /// The step.
        step: StepId,
        /// What is wrong.
        what: String,
    },
    /// Invariant 9.
    #[error("no step makes the output {0}")]
    MissingOutput(TensorId),
    /// Invariant 9.
    #[error("{0} has no sum, or several")]
    MissingSum(LayerId),
}

/// All broken invariants; none for a good plan.
///
/// Where tables are broken, steps that would index them are not looked at.
pub fn verify(plan: &ExecutionPlan) -> Vec<PlanFault> {
    let mut faults = tables::faults(plan);
    if faults.is_empty() {
        faults = steps::faults(plan);
    }
    faults
}
