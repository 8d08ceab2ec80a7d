//! Invariant 2, for the loops of a layer.
//!
//! The graph's verifier says the same of a graph; a plan that was loaded has
//! none yet.

use crate::graph::{AxisIndex, Extent, LoopNest, LoopRef};

/// No array of a plan may have more values than this; a plan file that says
/// otherwise is damaged, and believing it would fill the memory.
const MAX_VALUES: usize = 1 << 34;

/// How far an index map may reach for one input: far beyond any tensor, and
/// small enough that a batch of them can be counted.
const MAX_REACH: usize = 1 << 40;

/// Loops of a layer, of all kinds together: far more than tensors have axes.
const MAX_LOOPS: usize = 64;

/// What is wrong with the loops; extents first, because all else is counted
/// with them.
pub(super) fn nest_faults(nest: &LoopNest) -> Vec<String> {
    let faults = extent_faults(nest);
    if faults.is_empty() { map_faults(nest) } else { faults }
}

fn extent_faults(nest: &LoopNest) -> Vec<String> {
    let n_loops = nest.positions.len() + nest.groups.len() + nest.rows.len() + nest.columns.len();
    if n_loops > MAX_LOOPS {
        return vec![format!("it has {n_loops} loops")];
    }
    let product = |extents: &[usize]| {
        extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|&n| n > 0)
    };
    let positions = nest.positions.iter().try_fold(1usize, |n, extent| match extent {
        Extent::Fixed(e) | Extent::PerInput(e) if *e > 0 => n.checked_mul(*e),
        _ => None,
    });
    let sizes = (product(&nest.groups), product(&nest.rows), product(&nest.columns), positions);
    let (Some(groups), Some(rows), Some(columns), Some(positions)) = sizes else {
        return vec!["its loops have no proper extents".to_string()];
    };
    let cells = groups.checked_mul(rows).and_then(|n| n.checked_mul(columns));
    if positions > u32::MAX as usize || cells.is_none_or(|n| n > MAX_VALUES) {
        return vec!["its loops are too large".to_string()];
    }
    if nest.positions.iter().skip(1).any(|e| matches!(e, Extent::PerInput(_))) {
        return vec!["a loop that is not outermost is per input".to_string()];
    }
    Vec::new()
}

fn map_faults(nest: &LoopNest) -> Vec<String> {
    let mut faults = Vec::new();
    let terms = |map: &[AxisIndex]| -> Vec<LoopRef> {
        map.iter().flat_map(|axis| &axis.terms).map(|term| term.0).collect()
    };
    let (read, written) = (terms(&nest.input), terms(&nest.output));
    let there = |l: &LoopRef| nest.extent(*l, 1).is_some();
    if !read.iter().all(|l| there(l) && !matches!(l, LoopRef::Column(_)))
        || !written.iter().all(|l| there(l) && !matches!(l, LoopRef::Row(_)))
    {
        faults.push("its index maps use loops that are not there".to_string());
    }
    let outer = (0..nest.positions.len()).map(LoopRef::Position);
    let groups = (0..nest.groups.len()).map(LoopRef::Group);
    let columns = (0..nest.columns.len()).map(LoopRef::Column);
    let n_loops = nest.positions.len() + nest.groups.len() + nest.columns.len();
    // As many terms as loops and each loop among them: each exactly once.
    if written.len() != n_loops || !outer.chain(groups).chain(columns).all(|l| written.contains(&l))
    {
        faults.push("its output map does not use every loop once".to_string());
    }
    if nest.output.iter().any(|axis| axis.padding > 0) {
        faults.push("its output map has padding".to_string());
    }
    if !nest.input.iter().chain(&nest.output).all(|axis| reaches(nest, axis)) {
        faults.push(format!("its index maps reach farther than {MAX_REACH} elements"));
    }
    faults
}

/// Whether an axis index stays within [`MAX_REACH`] for one input.
fn reaches(nest: &LoopNest, axis: &AxisIndex) -> bool {
    let reach = axis.terms.iter().try_fold(axis.padding, |sum, &(l, stride)| {
        sum.checked_add(stride.checked_mul(nest.extent(l, 1).unwrap_or(0))?)
    });
    reach.is_some_and(|reach| reach <= MAX_REACH)
}
