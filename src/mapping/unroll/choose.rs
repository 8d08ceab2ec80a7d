//! Which windows are worth their cells.
//!
//! A closed form counts for every window how long arrays are driven and which
//! cells it takes; what is chosen is mapped and executed like any other.

use std::collections::BTreeMap;

use super::{Axis, Inputs, axis};
use crate::entity::LayerId;
use crate::graph::{Extent, LayerGraph, LoopNest};
use crate::mapping::{Floorplan, MappingError, pe_limit};
use crate::target::{Pe, Subtract, Target};

/// Positions along one loop that a window has at most: beyond, it shares little
/// more of its inputs.
const LENGTH_MAX: usize = 32;

/// Positions that a window has at most.
const POSITIONS_MAX: usize = 256;

/// How a layer is to be unrolled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// One output position a wave.
    #[default]
    Im2col,
    /// The window that drives arrays for the fewest cycles, whatever cells it
    /// takes.
    Fewest,
    /// The same as long as the model fits the chip; with replicas to be chosen,
    /// as they are.
    Auto,
    /// So many positions of the innermost loops, outermost first.
    Window(Vec<usize>),
}

/// What driving a layer with one replica takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnrollCost {
    /// Rounds of conversions, for one plane, of all waves of all tiles: cycles
    /// in which an array is driven.
    pub array_cycles: u64,
    /// Cells that the tiles take, those that hold no weight included.
    pub cells: u64,
    /// Waves: output positions, in windows.
    pub waves: u64,
    /// Rounds of conversions of the widest tile.
    pub rounds: u64,
    /// Tiles.
    pub tiles: u64,
}

/// A window and its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costed {
    /// Positions by loop over positions.
    pub window: Vec<usize>,
    /// What it takes.
    pub cost: UnrollCost,
}

/// What a layer takes as it stands.
pub fn cost(nest: &LoopNest, target: &Target) -> UnrollCost {
    let waves = nest.positions_per_input() as u64;
    let n = |n: usize| n as u64;
    of_matrix([n(nest.n_groups()), n(nest.n_rows()), n(nest.n_columns())], waves, target)
}

/// Groups, rows and columns on PEs, as the partitioner cuts them.
fn of_matrix([groups, rows, columns]: [u64; 3], waves: u64, target: &Target) -> UnrollCost {
    let Pe { inputs, .. } = target.pe;
    let (inputs, pairs) = (u64::from(inputs), u64::from(target.pe.pairs().max(1)));
    let per_cycle = u64::from(target.readout.lines_converted_per_cycle().max(1));
    let rounds = |n_pairs: u64| match target.readout.subtract {
        Subtract::BeforeConversion => n_pairs.div_ceil(per_cycle),
        Subtract::AfterConversion => (2 * n_pairs).div_ceil(per_cycle),
    };
    let (slices, blocks) = (rows.div_ceil(inputs), columns.div_ceil(pairs));
    let per_tile = match (slices, blocks) {
        (1, 1) => (inputs / rows.max(1)).min(pairs / columns.max(1)).max(1),
        _ => 1,
    };
    // Tiles full of groups, and one of those that are left.
    let (full, left) = (groups / per_tile, groups % per_tile);
    let rounds_of = |n_groups: u64| match blocks {
        1 => rounds(n_groups * columns),
        _ => (blocks - 1) * rounds(pairs) + rounds(columns - (blocks - 1) * pairs),
    };
    let chunks = [(full, per_tile), (u64::from(left > 0), left)];
    let rounds_in_all: u64 = chunks.iter().map(|&(n, groups)| n * slices * rounds_of(groups)).sum();
    let cells = chunks.iter().map(|&(n, groups)| n * groups * groups * rows * 2 * columns).sum();
    let widest = match blocks {
        1 => rounds(per_tile.min(groups) * columns),
        _ => rounds(pairs),
    };
    UnrollCost {
        array_cycles: waves.saturating_mul(rounds_in_all),
        cells,
        waves,
        rounds: widest,
        tiles: (full + u64::from(left > 0)) * slices * blocks,
    }
}

/// Every window of a layer with its cost, one position a wave first.
pub fn windows(nest: &LoopNest, target: &Target) -> Vec<Costed> {
    let n_loops = nest.positions.len();
    // Loops that can have a window, and how their inputs lie.
    let axes: Vec<Axis> =
        (0..n_loops).filter_map(|position| axis(nest, position, 2).ok()).collect();
    let mut windows = vec![vec![1; n_loops]];
    for axis in &axes {
        let Some(Extent::Fixed(extent)) = nest.positions.get(axis.position) else { continue };
        let longer = |window: &Vec<usize>| -> Vec<Vec<usize>> {
            let before: usize = window.iter().product();
            let most = LENGTH_MAX.min(*extent).min(POSITIONS_MAX / before);
            let with = |length| {
                let mut window = window.clone();
                window[axis.position] = length;
                window
            };
            (1..=most.max(1)).map(with).collect()
        };
        windows = windows.iter().flat_map(longer).collect();
    }
    let costed = |window: Vec<usize>| {
        let cost = of_window(nest, &axes, &window, target);
        Costed { window, cost }
    };
    windows.into_iter().map(costed).collect()
}

/// A layer with a window.
fn of_window(nest: &LoopNest, axes: &[Axis], window: &[usize], target: &Target) -> UnrollCost {
    let mut rows = nest.rows.clone();
    let mut apart = 1;
    for axis in axes {
        let length = window[axis.position];
        match axis.inputs {
            _ if length == 1 => {}
            Inputs::Apart { .. } => apart *= length,
            Inputs::Shared { row, extent, stride, dilation, step } => {
                rows[row] = ((length - 1) * stride + (extent - 1) * dilation) / step + 1;
            }
        }
    }
    let positions = nest.positions.iter().zip(window);
    let waves =
        positions.map(|(extent, length)| extent.for_batch(1).unwrap_or(1).div_ceil(*length));
    let n_rows = apart * rows.iter().product::<usize>();
    let n_columns = nest.n_columns() * window.iter().product::<usize>();
    let n = |n: usize| n as u64;
    let waves = waves.map(n).product();
    of_matrix([n(nest.n_groups()), n(n_rows), n(n_columns)], waves, target)
}

/// The window with the fewest array cycles, of those the one with the fewest
/// cells.
pub fn best(nest: &LoopNest, target: &Target) -> Option<Costed> {
    windows(nest, target)
        .into_iter()
        .min_by_key(|costed| (costed.cost.array_cycles, costed.cost.cells))
}

/// Windows of which none is better than another in everything: cells, time of
/// one replica, time of all tiles together. By cells, the layer by itself first.
pub(crate) fn front(nest: &LoopNest, target: &Target) -> Vec<Costed> {
    let mut all = windows(nest, target);
    let key = |cost: &UnrollCost| (cost.cells, cost.waves * cost.rounds, cost.array_cycles);
    all.sort_by_key(|costed| key(&costed.cost));
    let mut front: Vec<Costed> = Vec::new();
    for costed in all {
        let (_, time, work) = key(&costed.cost);
        let is_better = |other: &Costed| {
            let (_, other_time, other_work) = key(&other.cost);
            other_time <= time && other_work <= work
        };
        if !front.iter().any(is_better) {
            front.push(costed);
        }
    }
    front
}

/// Of these, windows of ever fewer array cycles.
fn by_work(nest: &LoopNest, target: &Target) -> Vec<Costed> {
    let mut least = u64::MAX;
    let fewer = |costed: &Costed| {
        let is_fewer = costed.cost.array_cycles < least;
        least = least.min(costed.cost.array_cycles);
        is_fewer
    };
    front(nest, target).into_iter().filter(fewer).collect()
}

/// What is said of how layers are unrolled: for all, and by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnrollOptions {
    /// Of layers not named.
    pub all: Choice,
    /// By name of the layer.
    pub named: BTreeMap<String, Choice>,
}

impl UnrollOptions {
    /// How a layer is to be unrolled: what a floorplan pins stays as it says,
    /// unless the layer is named.
    pub fn of(&self, name: &str, floorplan: &Floorplan) -> Choice {
        match (self.named.get(name), floorplan.layers.get(name)) {
            (Some(choice), _) => choice.clone(),
            (None, Some(plan)) => match &plan.window {
                Some(window) => Choice::Window(window.clone()),
                None => Choice::Im2col,
            },
            (None, None) => self.all.clone(),
        }
    }
}

impl UnrollOptions {
    /// The same with one position a wave where the chip was to decide.
    pub(crate) fn without_auto(&self) -> Self {
        let given = |choice: &Choice| match choice {
            Choice::Auto => Choice::Im2col,
            choice => choice.clone(),
        };
        let named = self.named.iter().map(|(name, choice)| (name.clone(), given(choice)));
        Self { all: given(&self.all), named: named.collect() }
    }
}

/// A layer whose window is to be chosen as the chip allows.
struct Open {
    name: String,
    front: Vec<Costed>,
    chosen: usize,
}

/// The windows of all layers that have one, by name.
///
/// Those left to the chip (`Auto`) are widened one step at a time, first where a
/// cell more saves the most array cycles, as long as the cells of the chip last.
/// How many of these steps really fit is for the placer to say, which `fits`
/// asks.
///
/// # Errors
///
/// A name that no layer has, or a window that cannot be.
pub fn choose(
    graph: &LayerGraph,
    target: &Target,
    (options, floorplan): (&UnrollOptions, &Floorplan),
    fits: impl Fn(&BTreeMap<String, Vec<usize>>) -> bool,
) -> Result<BTreeMap<String, Vec<usize>>, MappingError> {
    check_names(graph, options)?;
    let mut windows = BTreeMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut cells = 0;
    for (id, layer, crossbar) in graph.crossbar_layers() {
        if graph.matrix_of(id) != id {
            continue;
        }
        let (nest, name) = (&crossbar.nest, layer.name.clone());
        let shared = is_shared(graph, id);
        match options.of(&name, floorplan) {
            Choice::Window(given) => {
                let window = aligned(nest, &given).map_err(|reason| {
                    let layer = name.clone();
                    MappingError::Window { layer, window: given.clone(), reason }
                })?;
                windows.insert(name, window);
            }
            Choice::Fewest if !shared => {
                windows.extend(best(nest, target).map(|costed| (name, costed.window)));
            }
            Choice::Auto if !shared => {
                let front = by_work(nest, target);
                cells += front.first().map_or(0, |costed| costed.cost.cells);
                open.push(Open { name, front, chosen: 0 });
            }
            _ => cells += cost(nest, target).cells,
        }
    }
    let capacity = pe_limit(target)
        .map_or(u64::MAX, |n_pes| u64::from(n_pes).saturating_mul(target.pe.cells()));
    let steps = steps(&mut open, cells, capacity);
    let with = |n: usize| {
        let mut windows = windows.clone();
        let first = open.iter().map(|layer| (layer.name.clone(), layer.front[0].window.clone()));
        windows.extend(first);
        let taken = steps[..n].iter();
        windows.extend(taken.map(|&(layer, step)| {
            (open[layer].name.clone(), open[layer].front[step].window.clone())
        }));
        windows.retain(|_, window| window.iter().any(|length| *length > 1));
        windows
    };
    // The most steps that are known to fit, and the fewest that are not to.
    let (mut low, mut high) = (0, steps.len() + 1);
    let mut n = steps.len();
    while high > low + 1 {
        match n == 0 || pe_limit(target).is_none() || fits(&with(n)) {
            true => low = n,
            false => high = n,
        }
        n = low + (high - low) / 2;
    }
    Ok(with(low))
}

/// Steps from one window to the next wider one, the most saved for a cell
/// first, as long as cells last: layer, place in its front.
fn steps(open: &mut [Open], mut cells: u64, capacity: u64) -> Vec<(usize, usize)> {
    let mut steps = Vec::new();
    loop {
        let mut best: Option<(f64, usize, usize, u64)> = None;
        for (index, layer) in open.iter().enumerate() {
            let now = layer.front[layer.chosen].cost;
            for (step, wider) in layer.front.iter().enumerate().skip(layer.chosen + 1) {
                let more = wider.cost.cells - now.cells;
                let saved = now.array_cycles - wider.cost.array_cycles;
                let worth = saved as f64 / more.max(1) as f64;
                if cells.saturating_add(more) <= capacity && best.is_none_or(|b| worth > b.0) {
                    best = Some((worth, index, step, more));
                }
            }
        }
        let Some((_, index, step, more)) = best else { return steps };
        open[index].chosen = step;
        cells += more;
        steps.push((index, step));
    }
}

/// A window of the innermost loops as one of all.
pub(in crate::mapping) fn aligned(nest: &LoopNest, given: &[usize]) -> Result<Vec<usize>, String> {
    let n_loops = nest.positions.len();
    let Some(n_outer) = n_loops.checked_sub(given.len()) else {
        return Err(format!("it has {n_loops} loops over positions, the window {}", given.len()));
    };
    Ok(vec![1; n_outer].into_iter().chain(given.iter().copied()).collect())
}

/// Whether other layers drive the same cells, as the steps of a loop do.
pub(crate) fn is_shared(graph: &LayerGraph, id: LayerId) -> bool {
    graph.crossbar_layers().any(|(other, ..)| other != id && graph.matrix_of(other) == id)
}

fn check_names(graph: &LayerGraph, options: &UnrollOptions) -> Result<(), MappingError> {
    let with_cells = graph.crossbar_layers().filter(|(id, ..)| graph.matrix_of(*id) == *id);
    let known: Vec<String> = with_cells.map(|(_, layer, _)| layer.name.clone()).collect();
    match options.named.keys().find(|name| !known.contains(name)) {
        Some(name) => {
            let (place, name) = ("`--unroll`".to_string(), name.clone());
            Err(MappingError::UnknownLayer { place, name, known })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    //! The closed form counts what the partitioner cuts, and reaches what is
    //! published.

    use super::super::tests::Conv;
    use super::super::{LoopNest, Unrolling};
    use super::*;
    use crate::mapping::{length, partition};
    use crate::target::{Override, builtin};
    use proptest::prelude::*;

    /// Arrays of so many inputs and signed outputs, all of them converted in a
    /// cycle: the published tables count logical columns.
    fn square(n: u32) -> Target {
        let changes = [("pe.inputs", n), ("pe.outputs", 2 * n), ("readout.adcs_per_pe", n)];
        let changes: Vec<Override> = changes
            .iter()
            .map(|(key, value)| Override::parse(&format!("{key}={value}")).unwrap())
            .collect();
        Target::from_yaml(builtin("ideal").unwrap(), "ideal", &changes).unwrap()
    }

    fn conv(size: usize, kernel: usize, channels: [usize; 2]) -> LoopNest {
        let conv = Conv {
            size: [size; 2],
            kernel: [kernel; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: [0; 2],
            groups: 1,
            channels,
        };
        conv.nest()
    }

    /// ResNet-18's distinct convolutions as VW-SDK (Rhe et al., DATE 2022)
    /// counts them: no padding, stride 1.
    fn resnet18() -> [LoopNest; 5] {
        [
            conv(112, 7, [3, 64]),
            conv(56, 3, [64, 64]),
            conv(28, 3, [128, 128]),
            conv(14, 3, [256, 256]),
            conv(7, 3, [512, 512]),
        ]
    }

    /// Array cycles of the published table: plain, variable windows.
    const PUBLISHED: [(u32, [u64; 5], [u64; 5]); 3] = [
        (128, [22472, 14580, 6084, 5184, 3600], [11236, 10206, 6084, 5184, 3600]),
        (256, [11236, 8748, 3380, 1296, 900], [2809, 2916, 2366, 1296, 900]),
        (512, [11236, 5832, 2028, 720, 225], [1431, 1458, 676, 504, 225]),
    ];

    #[test]
    fn the_published_cycles_of_resnet18_are_reached() {
        for (n, plain, variable) in PUBLISHED {
            let target = square(n);
            let found = resnet18().map(|nest| cost(&nest, &target).array_cycles);
            assert_eq!(found, plain, "plain at {n}");
            let found = resnet18().map(|nest| best(&nest, &target).unwrap().cost.array_cycles);
            let reached = found.iter().zip(&variable).all(|(own, published)| own <= published);
            assert!(reached, "windows at {n}: {found:?}, published {variable:?}");
        }
    }

    /// What cutting a nest for a target comes to, tile by tile.
    fn counted(nest: &LoopNest, target: &Target) -> UnrollCost {
        let waves = nest.positions_per_input() as u64;
        let pieces = partition::cut(nest, target.pe, None).unwrap();
        let tiles = pieces.iter().map(|piece| piece.of(LayerId(0), 0, 0));
        let per_cycle = target.readout.lines_converted_per_cycle();
        let rounds: Vec<u64> =
            tiles.clone().map(|tile| u64::from(tile.n_pairs().div_ceil(per_cycle))).collect();
        UnrollCost {
            array_cycles: waves * rounds.iter().sum::<u64>(),
            cells: tiles.clone().map(|tile| tile.n_cells()).sum(),
            waves,
            rounds: rounds.iter().copied().max().unwrap(),
            tiles: tiles.inspect(|tile| assert!(length(&tile.rows) > 0)).count() as u64,
        }
    }

    proptest! {
        #[test]
        fn the_closed_form_is_what_the_partitioner_cuts(
            kernel in 1usize..4, groups in 1usize..6, inputs in 1usize..5, outputs in 1usize..5,
            stride in 1usize..3, lines in 4u32..40, per_cycle in 1u32..12,
        ) {
            let conv = Conv {
                size: [6, 5],
                kernel: [kernel; 2],
                stride: [stride; 2],
                dilation: [1; 2],
                padding: [0; 2],
                groups,
                channels: [inputs, outputs],
            };
            let (nest, mut target) = (conv.nest(), square(lines));
            target.readout.adcs_per_pe = 1;
            target.readout.conversions_per_cycle = per_cycle;
            for Costed { window, cost } in windows(&nest, &target) {
                let unrolling = Unrolling::new(&nest, &window).unwrap();
                prop_assert_eq!(counted(&unrolling.nest, &target), cost, "{:?}", window);
            }
        }
    }

    #[test]
    fn a_front_has_nothing_that_another_is_better_than() {
        let (nest, target) = (conv(28, 3, [8, 12]), square(64));
        let front = by_work(&nest, &target);
        assert_eq!(front[0].window, [1, 1, 1]);
        for two in front.windows(2) {
            assert!(two[0].cost.cells < two[1].cost.cells);
            assert!(two[0].cost.array_cycles > two[1].cost.array_cycles);
        }
        let fewest = best(&nest, &target).unwrap().cost;
        assert_eq!(front.last().unwrap().cost.array_cycles, fewest.array_cycles);
    }
}
