//! What has to be timed: layers in the order in which they can be worked on,
//! with what each asks of the PEs and of the digital unit for one input.
//!
//! It is read from a plan, or from a mapping alone, which is how mappings are
//! compared before a plan is made of one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::entity::{LayerId, PeId, StepId, TensorId};
use crate::graph::{AxisReach, Extent, LayerGraph, LayerKind, LoopNest, LoopRef};
use crate::mapping::{Mapping, Positions, WeightTile, length};
use crate::schedule::{ExecutionPlan, StepKind, Work, work};
use crate::target::{Conversion, Subtract, Target};

/// All work of one input.
#[derive(Debug, Clone)]
pub(crate) struct Network<'a> {
    pub graph: &'a LayerGraph,
    pub nodes: Vec<Node>,
}

/// A layer at work.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub layer: LayerId,
    pub inputs: Vec<TensorId>,
    pub outputs: Vec<TensorId>,
    pub work: NodeWork,
}

/// What a layer asks for.
#[derive(Debug, Clone)]
pub(crate) enum NodeWork {
    /// Waves on PEs, their sums added digitally.
    Crossbar(Box<CrossbarWork>),
    /// Operations of the digital unit.
    Digital { n_operations: u64 },
}

#[derive(Debug, Clone)]
pub(crate) struct CrossbarWork {
    /// How it reads and writes, as it is unrolled.
    pub nest: LoopNest,
    pub drives: Vec<Drive>,
    /// Bits of a code.
    pub bits: u8,
    pub n_positions: u64,
    /// Results of a position.
    pub n_columns: u64,
    /// Values of the input tensor, each of which becomes a code once.
    pub n_values: u64,
    /// Bits that are read from the buffer once for all cores that need them;
    /// `None` where every group of tiles fetches its own.
    pub fetched_bits: Option<u64>,
    /// The loop over output positions whose counters are handed on one after
    /// the other, and its extent; `None` for a single position.
    pub rows: Option<(usize, u64)>,
}

/// Tiles of one PE driven together: a step of waves.
#[derive(Debug, Clone)]
pub(crate) struct Drive {
    pub pe: PeId,
    /// The step of waves that it is; a mapping has none yet.
    pub step: Option<StepId>,
    /// The first of those that a core drives with the same inputs: it is issued
    /// for all of them.
    pub is_first_of_core: bool,
    pub positions: Positions,
    pub n_lines: u64,
    pub n_pairs: u64,
    pub n_planes: u64,
    /// Cycles that converting a plane takes.
    pub n_rounds: u64,
    /// Conversions of a plane, or of a sum of planes.
    pub n_conversions: u64,
    /// Where charges of planes are added up: how many sums are converted, of
    /// how many positions.
    pub sums: Option<(u64, u64)>,
}

impl Drive {
    /// Conversions of so many positions.
    pub(super) fn conversions(&self, n_positions: u64) -> u64 {
        let times = match self.sums {
            Some(sums) => part(n_positions, sums),
            None => n_positions.saturating_mul(self.n_planes),
        };
        times.saturating_mul(self.n_conversions)
    }

    /// Time for which lines are driven and sums converted, cycle by cycle.
    pub(super) fn busy_ps(&self, n_positions: u64, cycle_ps: u64) -> u64 {
        let planes = n_positions.saturating_mul(self.n_planes);
        match self.sums {
            None => planes.saturating_mul(self.n_rounds).saturating_mul(cycle_ps),
            Some(sums) => {
                let of_all = n_positions.saturating_mul(self.n_rounds).saturating_mul(cycle_ps);
                planes.saturating_mul(cycle_ps).saturating_add(part(of_all, sums))
            }
        }
    }
}

fn part(whole: u64, (n, of): (u64, u64)) -> u64 {
    (u128::from(whole) * u128::from(n) / u128::from(of.max(1))) as u64
}

impl<'a> Network<'a> {
    /// The work that a plan's steps are.
    pub(crate) fn of_plan(plan: &ExecutionPlan, graph: &'a LayerGraph, target: &Target) -> Self {
        let mut seen = BTreeSet::new();
        let mut drives: BTreeMap<LayerId, Vec<Drive>> = BTreeMap::new();
        let mut nodes = Vec::new();
        for (id, step) in plan.steps.iter() {
            match &step.kind {
                StepKind::Digital { inputs, outputs } => {
                    nodes.extend(stage(graph, inputs, outputs));
                }
                StepKind::Encode { .. } => {}
                StepKind::Waves { layer, tiles, positions, planes, conversions } => {
                    let places = tiles.iter().filter_map(|&tile| plan.tiles.get(tile));
                    let places: Vec<&WeightTile> = places.map(|tile| &tile.place).collect();
                    let Some(first) = places.first() else { continue };
                    let effort = plan.effort(&step.kind);
                    let key = (*layer, first.replica, first.groups.start, first.rows.start);
                    let core = first.pe.0 / target.rates.pes_per_core.max(1);
                    drives.entry(*layer).or_default().push(Drive {
                        pe: first.pe,
                        step: Some(id),
                        is_first_of_core: seen.insert((key, core)),
                        positions: *positions,
                        n_lines: first.n_inputs().into(),
                        n_pairs: places.iter().map(|place| u64::from(place.n_pairs())).sum(),
                        n_planes: effort.map_or(planes.len() as u64, |effort| effort.planes_each),
                        n_rounds: conversions.len() as u64,
                        n_conversions: conversions.iter().map(|r| u64::from(length(r))).sum(),
                        sums: effort.and_then(|effort| Some((effort.sums?, effort.waves))),
                    });
                }
                StepKind::Sum { layer, .. } => {
                    let bits = plan.layers.get(layer).map_or(1, |layer| layer.coding.bits);
                    let drives = drives.remove(layer).unwrap_or_default();
                    let nest = plan.layers.get(layer).map(|layer| &layer.nest);
                    nodes.extend(nest.map(|nest| crossbar(graph, *layer, nest, drives, bits)));
                }
            }
        }
        Self { graph, nodes }.fetched_by(target)
    }

    /// The work that a mapping would be on a target, codes of all inputs as
    /// wide as the target's.
    pub(crate) fn of_mapping(mapping: &Mapping, graph: &'a LayerGraph, target: &Target) -> Self {
        let mut tiles: BTreeMap<LayerId, Vec<&WeightTile>> = BTreeMap::new();
        for tile in mapping.tiles.values() {
            tiles.entry(tile.layer).or_default().push(tile);
        }
        let bits = target.readout.input_bits;
        let mut nodes = Vec::new();
        for item in work(graph) {
            match item {
                Work::Stage(stage_) => nodes.extend(stage(graph, &stage_.inputs, &stage_.outputs)),
                Work::Crossbar(layer) => {
                    let matrix = graph.matrix_of(layer);
                    let Some(nest) = mapping.nest(graph, layer) else { continue };
                    let n_positions = nest.positions_per_input() as u64;
                    let own = tiles.get(&matrix).map_or(&[][..], |tiles| tiles);
                    let drives = drives_of(own, n_positions, mapping, target);
                    nodes.push(crossbar(graph, layer, nest, drives, bits));
                }
            }
        }
        Self { graph, nodes }.fetched_by(target)
    }

    /// To the memories of cores a value goes once, from the buffer to all cores
    /// whose tiles need it: dealt positions make replicas work on the same rows,
    /// and layers that read the same tensor wait for the same rows. Of such
    /// layers the one that needs most of the tensor is said to fetch it.
    fn fetched_by(mut self, target: &Target) -> Self {
        if target.rates.pes_per_core <= 1 {
            return self;
        }
        let mut fetched = BTreeSet::new();
        let needed_bits = |work: &CrossbarWork| {
            let lines = (work.nest.n_groups() * work.nest.n_rows()) as u64;
            let codes = lines.saturating_mul(work.n_positions).min(work.n_values);
            codes.saturating_mul(work.bits.into())
        };
        let works = self.nodes.iter_mut().filter_map(|node| match &mut node.work {
            NodeWork::Crossbar(work) => Some((node.inputs.first().copied(), work)),
            NodeWork::Digital { .. } => None,
        });
        let mut works: Vec<_> = works.collect();
        works.sort_by_key(|(_, work)| std::cmp::Reverse(needed_bits(work)));
        for (tensor, work) in works {
            let bits = needed_bits(work);
            let values = tensor.map(|tensor| chosen_from(self.graph, tensor));
            work.fetched_bits = Some(if fetched.insert(values) { bits } else { 0 });
        }
        self
    }
}

/// The tensor whose values these are: layers that only leave out rows and
/// columns, as strided products do first, store nothing of their own.
fn chosen_from(graph: &LayerGraph, mut tensor: TensorId) -> TensorId {
    while let Some(id) = graph.producer(tensor)
        && let LayerKind::Digital(digital) = &graph.layer(id).kind
        && digital.op == "Downsample"
        && let [own] = graph.layer(id).inputs[..]
    {
        tensor = own;
    }
    tensor
}

/// Tiles that share lines and inputs are driven together, as the schedule does
/// it; replicas share the positions.
fn drives_of(
    tiles: &[&WeightTile],
    n_positions: u64,
    mapping: &Mapping,
    target: &Target,
) -> Vec<Drive> {
    let mut groups: BTreeMap<(u32, PeId, u32, u32, u32), Drive> = BTreeMap::new();
    let n_positions = u32::try_from(n_positions).unwrap_or(u32::MAX);
    for tile in tiles {
        let key = (tile.replica, tile.pe, tile.input_line, tile.groups.start, tile.rows.start);
        let drive = groups.entry(key).or_insert_with(|| Drive {
            pe: tile.pe,
            step: None,
            is_first_of_core: false,
            positions: mapping.positions(tile.layer, tile.replica, n_positions),
            n_lines: tile.n_inputs().into(),
            n_pairs: 0,
            n_planes: match target.readout.conversion {
                Conversion::Significant(most) => target.readout.input_bits.min(most).into(),
                _ => target.readout.input_bits.into(),
            },
            n_rounds: 0,
            n_conversions: 0,
            sums: (target.readout.conversion == Conversion::Accumulated).then_some((1, 1)),
        });
        drive.n_pairs += u64::from(tile.n_pairs());
    }
    let per_cycle = u64::from(target.readout.lines_converted_per_cycle().max(1));
    let mut seen = BTreeSet::new();
    for (&(replica, pe, _, first_group, first_row), drive) in &mut groups {
        let core = pe.0 / target.rates.pes_per_core.max(1);
        drive.is_first_of_core = seen.insert((replica, first_group, first_row, core));
        drive.n_conversions = match target.readout.subtract {
            Subtract::BeforeConversion => drive.n_pairs,
            Subtract::AfterConversion => 2 * drive.n_pairs,
        };
        drive.n_rounds = drive.n_conversions.div_ceil(per_cycle);
    }
    groups.into_values().collect()
}

fn crossbar(
    graph: &LayerGraph,
    layer: LayerId,
    nest: &LoopNest,
    drives: Vec<Drive>,
    bits: u8,
) -> Node {
    let (inputs, outputs) = (graph.layer(layer).inputs.clone(), graph.layer(layer).outputs.clone());
    let work = CrossbarWork {
        drives,
        bits,
        n_positions: nest.positions_per_input() as u64,
        n_columns: (nest.n_groups() * nest.n_columns()) as u64,
        n_values: inputs.iter().map(|&tensor| n_elements(graph, tensor)).sum(),
        fetched_bits: None,
        rows: rows_of(nest),
        nest: nest.clone(),
    };
    Node { layer, inputs, outputs, work: NodeWork::Crossbar(Box::new(work)) }
}

/// The outermost loop over positions that turns more than once for one input.
fn rows_of(nest: &LoopNest) -> Option<(usize, u64)> {
    let extents = nest.positions.iter().map(|extent| extent.for_batch(1).unwrap_or(1) as u64);
    extents.enumerate().find(|(_, extent)| *extent > 1)
}

/// The layers of a digital stage, producers first.
fn stage(graph: &LayerGraph, inputs: &[TensorId], outputs: &[TensorId]) -> Vec<Node> {
    let mut found = Vec::new();
    let mut open: Vec<TensorId> = outputs.to_vec();
    while let Some(tensor) = open.pop() {
        let producer = graph.producer(tensor).filter(|_| !inputs.contains(&tensor));
        let Some(layer) = producer.filter(|layer| !found.contains(layer)) else { continue };
        if matches!(graph.layer(layer).kind, LayerKind::Digital(_)) {
            found.push(layer);
            open.extend(&graph.layer(layer).inputs);
        }
    }
    // Ids count in an order in which layers can be executed.
    found.sort_unstable();
    found.into_iter().map(|layer| digital(graph, layer)).collect()
}

/// An operation for each element that is written, or looked at in a window;
/// two for each multiply-accumulate.
fn digital(graph: &LayerGraph, id: LayerId) -> Node {
    let layer = graph.layer(id);
    let written: u64 = layer.outputs.iter().map(|&tensor| n_elements(graph, tensor)).sum();
    let read: u64 = layer.inputs.iter().map(|&tensor| n_elements(graph, tensor)).sum();
    let n_operations = match &layer.kind {
        LayerKind::Digital(digital) => {
            let window: u64 = digital.reach.iter().map(|reach| window(*reach)).product();
            let by_place = !digital.reach.is_empty() && !digital.reach.contains(&AxisReach::All);
            let elements = if by_place { written * window } else { written.max(read) };
            elements.max(digital.macs_per_input.saturating_mul(2))
        }
        LayerKind::Crossbar(_) => 0,
    };
    Node {
        layer: id,
        inputs: layer.inputs.clone(),
        outputs: layer.outputs.clone(),
        work: NodeWork::Digital { n_operations },
    }
}

fn window(reach: AxisReach) -> u64 {
    match reach {
        AxisReach::Same | AxisReach::All => 1,
        AxisReach::Window { extent, .. } => extent as u64,
    }
}

/// Elements of a tensor for one input; open extents count once.
fn n_elements(graph: &LayerGraph, tensor: TensorId) -> u64 {
    let extents = graph.tensors().get(tensor).map_or(&[][..], |info| &info.shape);
    extents.iter().map(|e| e.for_batch(1).unwrap_or(1) as u64).fold(1, u64::saturating_mul)
}

/// Extent of a tensor's axis for one input.
pub(super) fn extent(graph: &LayerGraph, tensor: TensorId, axis: usize) -> Option<u64> {
    let extent: &Extent = graph.tensors().get(tensor)?.shape.get(axis)?;
    extent.for_batch(1).map(|n| n as u64)
}

/// The axis of a crossbar layer's output that its rows walk, if each row is a
/// run of its indices, and how many: one, or those of a window.
pub(super) fn output_axis(nest: &LoopNest, rows: usize) -> Option<(usize, u64)> {
    let own = LoopRef::Position(rows);
    let walks = |axis: &crate::graph::AxisIndex| axis.terms.iter().any(|(l, _)| *l == own);
    let axis = nest.output.iter().position(walks)?;
    let length = match nest.output[axis].terms[..] {
        [(_, 1)] => 1,
        [(first, length), (LoopRef::Column(column), 1)]
            if first == own && nest.columns.get(column) == Some(&length) =>
        {
            length
        }
        _ => return None,
    };
    (nest.output[axis].padding == 0).then_some((axis, length as u64))
}

/// Indices along an axis of the input that rows of output positions need.
pub(super) fn needed(
    nest: &LoopNest,
    rows: Option<usize>,
    axis: usize,
    counters: &Range<u64>,
) -> Range<u64> {
    let Some(index) = nest.input.get(axis) else { return 0..u64::MAX };
    let (mut first, mut last) = (0, 0);
    for &(own, stride) in &index.terms {
        let stride = stride as u64;
        if rows.is_some_and(|rows| own == LoopRef::Position(rows)) {
            first += counters.start * stride;
            last += counters.end.saturating_sub(1) * stride;
        } else {
            last += (nest.extent(own, 1).unwrap_or(1) as u64).saturating_sub(1) * stride;
        }
    }
    let padding = index.padding as u64;
    first.saturating_sub(padding)..(last + 1).saturating_sub(padding)
}

/// Indices along an axis of the input that indices of a digital layer's
/// output need.
pub(super) fn needed_by(reach: AxisReach, indices: &Range<u64>) -> Range<u64> {
    match reach {
        AxisReach::Same => indices.clone(),
        AxisReach::All => 0..u64::MAX,
        AxisReach::Window { extent, stride, padding } => {
            let (extent, stride, padding) = (extent as u64, stride as u64, padding as u64);
            let last = indices.end.saturating_sub(1) * stride + extent;
            (indices.start * stride).saturating_sub(padding)..last.saturating_sub(padding)
        }
    }
}
