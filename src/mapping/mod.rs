//! Where each weight sits.
//!
//! The partitioner cuts every layer's matrix into [`WeightTile`]s that fit a
//! PE, the placer puts each on a PE. Everything here is integers: which cell
//! holds which part of which weight, not what it holds.
//!
//! ```text
//! layer 72 x 12 on PEs of 16 inputs:      one PE, 16 inputs x 128 output lines
//!   rows 0..16   -> wt1                     +--wt1--+--wt6--+------
//!   rows 16..32  -> wt2                     |16x24  |16x20  | free
//!   ...                                     +-------+-------+------
//! ```
//!
//! A weight is a differential pair: the cells of its row on two neighbouring
//! output lines, the even one `positive`, the odd one `negative`. A weight of
//! more levels than a pair has is cut into slices, each a digit of the level on
//! a pair of its own, in a tile of its own.

mod floorplan;
mod partition;
mod passes;
mod place;
mod print;
mod share;
pub mod unroll;
mod verify;

pub use floorplan::{Floorplan, LayerPlan, Spot};
pub use print::mapping_text;
pub use share::{Positions, Sharing};
pub use unroll::{UnrollOptions, Unrolling};
pub use verify::{MappingFault, verify};
pub(crate) use verify::{overlap, shared_weights};

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain, nearest};
use crate::entity::{LayerId, PeId, Table, WeightTileId};
use crate::graph::{LayerGraph, LoopNest};
use crate::target::Target;
use place::Placer;

/// The piece of a layer's matrix that sits in one place of one PE.
///
/// A tile of several groups is block-diagonal: group after group takes its own
/// rows and its own pairs; the cells off the diagonal hold zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTile {
    /// The layer.
    pub layer: LayerId,
    /// Which copy of the layer's matrix, from 0.
    pub replica: u32,
    /// Groups of the layer.
    pub groups: Range<u32>,
    /// Rows of each group's matrix.
    pub rows: Range<u32>,
    /// Columns of each group's matrix.
    pub columns: Range<u32>,
    /// Which digit of the weights, 0 the least significant.
    pub slice: u8,
    /// The PE.
    pub pe: PeId,
    /// Its first input line.
    pub input_line: u32,
    /// Its first output line; even.
    pub output_line: u32,
}

impl WeightTile {
    /// Input lines driven.
    pub fn n_inputs(&self) -> u32 {
        length(&self.groups) * length(&self.rows)
    }

    /// Pairs of output lines.
    pub fn n_pairs(&self) -> u32 {
        length(&self.groups) * length(&self.columns)
    }

    /// Output lines.
    pub fn n_outputs(&self) -> u32 {
        2 * self.n_pairs()
    }

    /// Cells taken, those off the diagonal of a grouped tile included.
    pub fn n_cells(&self) -> u64 {
        u64::from(self.n_inputs()) * u64::from(self.n_outputs())
    }

    /// Cells that hold weights.
    pub fn n_weight_cells(&self) -> u64 {
        let (groups, rows, columns) =
            (length(&self.groups), length(&self.rows), length(&self.columns));
        2 * u64::from(groups) * u64::from(rows) * u64::from(columns)
    }
}

/// The length of a range of lines or indices.
pub(crate) fn length(range: &Range<u32>) -> u32 {
    range.end.saturating_sub(range.start)
}

/// Where every weight of a model sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// All tiles: by layer, replica, groups, rows, columns, slice.
    pub tiles: Table<WeightTileId, WeightTile>,
    /// PEs of the chip, or as many as are used where the target has no limit.
    pub n_pes: u32,
    /// How often all cells are written for one run; at least 1. PEs of later
    /// passes are counted on from those of earlier ones.
    pub n_passes: u32,
    /// Copies of each crossbar layer; at least 1.
    pub replicas: BTreeMap<LayerId, u32>,
    /// How copies divide output positions among them, of layers where that was
    /// chosen; others are dealt theirs.
    pub sharing: BTreeMap<LayerId, Sharing>,
    /// Slices of a weight of each crossbar layer; at least 1.
    pub slices: BTreeMap<LayerId, u8>,
    /// Layers of which one wave makes several output positions, and how.
    pub unrolled: BTreeMap<LayerId, Unrolling>,
}

impl Mapping {
    /// PEs that hold at least one tile.
    pub fn n_pes_used(&self) -> usize {
        let mut used: Vec<PeId> = self.tiles.values().map(|tile| tile.pe).collect();
        used.sort_unstable();
        used.dedup();
        used.len()
    }

    /// The loops of a crossbar layer as its matrix lies on arrays.
    pub fn nest<'a>(&'a self, graph: &'a LayerGraph, layer: LayerId) -> Option<&'a LoopNest> {
        nest(&self.unrolled, graph, layer)
    }

    /// The output positions that one copy of a layer's matrix makes for a layer
    /// that drives it, of so many.
    pub fn positions(&self, matrix: LayerId, replica: u32, n_positions: u32) -> Positions {
        let n_replicas = self.replicas.get(&matrix).copied().unwrap_or(1);
        let sharing = self.sharing.get(&matrix).copied().unwrap_or_default();
        sharing.of(n_positions, n_replicas, replica)
    }

    /// Tiles of one replica of a layer, in order.
    pub fn tiles_of(
        &self,
        layer: LayerId,
        replica: u32,
    ) -> impl Iterator<Item = (WeightTileId, &WeightTile)> {
        self.tiles.iter().filter(move |(_, t)| t.layer == layer && t.replica == replica)
    }
}

/// The loops of a crossbar layer as it is unrolled, or as it is.
fn nest<'a>(
    unrolled: &'a BTreeMap<LayerId, Unrolling>,
    graph: &'a LayerGraph,
    layer: LayerId,
) -> Option<&'a LoopNest> {
    match unrolled.get(&layer) {
        Some(unrolling) => Some(&unrolling.nest),
        None => Some(&graph.crossbar(layer)?.nest),
    }
}

/// What may be chosen about the mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MappingOptions {
    /// Copies by name of the layer; layers not named have one. They work on
    /// different output positions at the same time.
    pub replicas: BTreeMap<String, u32>,
    /// Places chosen by hand.
    pub floorplan: Floorplan,
    /// Pairs that hold a weight between them, by name of the layer; layers not
    /// named have one.
    pub slices: BTreeMap<String, u8>,
    /// Output positions that one wave makes, by loop over positions, by name of
    /// the layer; layers not named, and not in the floorplan, make one.
    pub windows: BTreeMap<String, Vec<usize>>,
    /// Passes allowed at most, with cells written anew between them; 0 is 1.
    pub n_passes: u32,
}

/// Why a model does not fit.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum MappingError {
    /// More PEs are needed than there are.
    TooLarge {
        /// The target's name.
        target: String,
        /// PEs that the model would take.
        needed: u32,
        /// PEs of the target.
        available: u32,
        /// Passes needed and allowed, where several are.
        passes: Option<(u32, u32)>,
        /// PEs by layer: name, tiles, cells.
        layers: Vec<(String, usize, u64)>,
    },
    /// A name that no crossbar layer has, in `--replicas` or a floorplan.
    UnknownLayer {
        /// Where it was named.
        place: String,
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// A floorplan entry that cannot be done.
    Floorplan {
        /// The layer.
        layer: String,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// `--replicas` with zero copies, or more than there are positions.
    Replicas {
        /// The layer.
        layer: String,
        /// Copies wanted.
        wanted: u32,
        /// Output positions of the layer.
        positions: usize,
    },
    /// A layer that cannot be unrolled so.
    Window {
        /// The layer.
        layer: String,
        /// Positions by loop.
        window: Vec<usize>,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// A layer drives cells that an earlier one drove in an earlier pass.
    Overwritten {
        /// The layer.
        layer: String,
    },
    /// The mapping breaks its own invariants.
    Verify(Vec<MappingFault>),
}

/// More names than this are listed elsewhere.
const KNOWN_SHOWN: usize = 8;

/// `1 tile`, `2 tiles`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl Explain for MappingError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::TooLarge { target, needed, available, passes, layers } => {
                let mut by_cells = layers.clone();
                by_cells.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
                let largest: Vec<String> = by_cells
                    .iter()
                    .take(3)
                    .map(|(name, tiles, cells)| {
                        format!("`{name}` {}, {cells} cells", counted(*tiles, "tile"))
                    })
                    .collect();
                let needs =
                    format!("the model needs {needed} PEs, target `{target}` has {available}");
                let diagnostic = match passes {
                    Some((needed, allowed)) => Diagnostic::error(needs).note(format!(
                        "{needed} passes with cells written anew between them would do, \
                         `--passes {allowed}` allows {allowed}"
                    )),
                    None => Diagnostic::error(needs),
                };
                vec![diagnostic.note(format!("the largest layers: {}", largest.join("; "))).help(
                    "allow cells to be written anew with `--passes N`, take more chips with \
                             `--set chip.count=N`, choose a larger target, or `--set chip.pes=as-needed` to see the whole mapping",
                )]
            }
            Self::UnknownLayer { place, name, known } => {
                let diagnostic = Diagnostic::error(format!(
                    "{place} names the layer `{name}`, which the model does not have on arrays"
                ));
                let diagnostic = match known.len() {
                    1..=KNOWN_SHOWN => {
                        let known: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
                        diagnostic.note(format!("it has {}", known.join(", ")))
                    }
                    _ => diagnostic,
                };
                vec![match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic
                        .help("`ohmc compile MODEL --target T --emit graph` lists the layers"),
                }]
            }
            Self::Floorplan { layer, reason } => vec![
                Diagnostic::error(format!("the floorplan of layer `{layer}` cannot be done"))
                    .note(reason.clone())
                    .help("leave out what need not be fixed: the placer fills in the rest"),
            ],
            Self::Replicas { layer, wanted, positions } => vec![
                Diagnostic::error(format!("layer `{layer}` cannot have {wanted} replicas"))
                    .note(format!(
                        "it has {} to share among them",
                        counted(*positions, "output position")
                    ))
                    .help(match positions {
                        0 | 1 => "such a layer has one replica".to_string(),
                        _ => format!("choose from 1 to {positions}"),
                    }),
            ],
            Self::Window { layer, window, reason } => vec![
                Diagnostic::error(format!(
                    "layer `{layer}` cannot make {} output positions in a wave",
                    unroll::window_text(window)
                ))
                .note(reason.clone())
                .help("leave the window to ohmc with `--unroll auto`"),
            ],
            Self::Overwritten { layer } => vec![
                Diagnostic::error(format!(
                    "layer `{layer}` drives cells that are overwritten by then"
                ))
                .note(
                    "it shares them with an earlier layer, as the steps of a recurrent layer do, \
                     and other layers between the two are in a later pass",
                )
                .help("choose a target that holds the model in one pass"),
            ],
            Self::Verify(faults) => faults
                .iter()
                .map(|fault| {
                    Diagnostic::error(format!("ohmc made a wrong mapping: {fault}"))
                        .help("this is a bug in ohmc; please report it with the model")
                })
                .collect(),
        }
    }
}

/// Maps a graph whose layers are unrolled as they are told to be, or as the
/// chip allows.
///
/// # Errors
///
/// The model does not fit the target, or options name what is not there.
pub fn map_unrolled(
    graph: &LayerGraph,
    target: &Target,
    options: &MappingOptions,
    unroll: &UnrollOptions,
) -> Result<Mapping, MappingError> {
    let with = |windows: &BTreeMap<String, Vec<usize>>| {
        // Those that were given stand.
        let mut windows = windows.clone();
        windows.extend(options.windows.clone());
        map(graph, target, &MappingOptions { windows, ..options.clone() })
    };
    let fits = |windows: &BTreeMap<String, Vec<usize>>| with(windows).is_ok();
    with(&unroll::choose(graph, target, (unroll, &options.floorplan), fits)?)
}

/// Partitions, replicates and places a graph.
///
/// # Errors
///
/// The model does not fit the target, or options name what is not there.
pub fn map(
    graph: &LayerGraph,
    target: &Target,
    options: &MappingOptions,
) -> Result<Mapping, MappingError> {
    check_names(graph, options)?;
    let unrolled = unrolled(graph, options)?;
    let (mut replicas, mut n_slices) = (BTreeMap::new(), BTreeMap::new());
    let mut sharing = BTreeMap::new();
    let mut pieces = Vec::new();
    for (id, layer, crossbar) in graph.crossbar_layers() {
        if graph.matrix_of(id) != id {
            continue; // Its cells are those of another layer.
        }
        let plan = options.floorplan.layers.get(&layer.name);
        let wanted = options
            .replicas
            .get(&layer.name)
            .copied()
            .or(plan.and_then(|plan| plan.replicas))
            .unwrap_or(1);
        let nest = unrolled.get(&id).map_or(&crossbar.nest, |unrolling| &unrolling.nest);
        let positions = nest.positions_per_input();
        if wanted == 0 || wanted as usize > positions {
            let layer = layer.name.clone();
            return Err(MappingError::Replicas { layer, wanted, positions });
        }
        replicas.insert(id, wanted);
        sharing.extend(plan.and_then(|plan| plan.share).map(|share| (id, share)));
        let own = options.slices.get(&layer.name).copied().unwrap_or(1);
        n_slices.insert(id, own);
        let cut = partition::cut(nest, target.pe, plan)
            .map_err(|reason| MappingError::Floorplan { layer: layer.name.clone(), reason })?;
        for replica in 0..wanted {
            for piece in &cut {
                pieces.extend((0..own).map(|slice| piece.of(id, replica, slice)));
            }
        }
    }
    let spots = floorplan::spots(graph, &pieces, &options.floorplan)?;
    let placer = Placer { graph, target, replicas: &replicas, unrolled: &unrolled };
    let (tiles, n_pes, n_passes) = match (placer.on_chip(&pieces, &spots)?, pe_limit(target)) {
        (Some((tiles, n_pes)), _) => (tiles, n_pes, 1),
        (None, Some(n_pes)) if options.n_passes > 1 => {
            let (tiles, n_passes) =
                passes::place(&placer, &pieces, &spots, n_pes, options.n_passes)?;
            (tiles, n_pes, n_passes)
        }
        (None, _) => return Err(placer.too_large(&pieces, &spots, None)),
    };
    let mapping = Mapping { tiles, n_pes, n_passes, replicas, sharing, slices: n_slices, unrolled };
    let faults = verify(&mapping, graph, target);
    if faults.is_empty() { Ok(mapping) } else { Err(MappingError::Verify(faults)) }
}

/// How every layer with a window is unrolled; layers that drive the same cells
/// have the same window.
fn unrolled(
    graph: &LayerGraph,
    options: &MappingOptions,
) -> Result<BTreeMap<LayerId, Unrolling>, MappingError> {
    let mut unrolled: BTreeMap<LayerId, Unrolling> = BTreeMap::new();
    for (id, _, crossbar) in graph.crossbar_layers() {
        let matrix = graph.matrix_of(id);
        let layer = graph.layer(matrix).name.clone();
        let planned = options.floorplan.layers.get(&layer).and_then(|plan| plan.window.as_ref());
        let window = match (options.windows.get(&layer), planned) {
            (Some(window), _) => window.clone(),
            (None, Some(window)) => unroll::aligned(&crossbar.nest, window).map_err(|reason| {
                let (layer, window) = (layer.clone(), window.clone());
                MappingError::Window { layer, window, reason }
            })?,
            (None, None) => continue,
        };
        if window.iter().all(|length| *length == 1) {
            continue;
        }
        let wrong = |reason| MappingError::Window { layer, window: window.clone(), reason };
        let own = Unrolling::new(&crossbar.nest, &window).map_err(wrong.clone())?;
        let extents = |nest: &LoopNest| (nest.n_groups(), nest.n_rows(), nest.n_columns());
        if unrolled.get(&matrix).is_some_and(|first| extents(&first.nest) != extents(&own.nest)) {
            return Err(wrong("layers that drive the same cells walk them otherwise".to_string()));
        }
        unrolled.insert(id, own);
    }
    Ok(unrolled)
}

fn check_names(graph: &LayerGraph, options: &MappingOptions) -> Result<(), MappingError> {
    let with_cells = graph.crossbar_layers().filter(|(id, ..)| graph.matrix_of(*id) == *id);
    let known: Vec<String> = with_cells.map(|(_, layer, _)| layer.name.clone()).collect();
    let in_replicas = options.replicas.keys().map(|name| ("`--replicas`", name));
    let in_floorplan = options.floorplan.layers.keys().map(|name| ("the floorplan", name));
    for (place, name) in in_replicas.chain(in_floorplan) {
        if !known.contains(name) {
            let (place, name) = (place.to_string(), name.clone());
            return Err(MappingError::UnknownLayer { place, name, known });
        }
    }
    Ok(())
}

/// PEs that the target has, if it has a limit.
pub(crate) fn pe_limit(target: &Target) -> Option<u32> {
    target.chip.n_pes()
}
