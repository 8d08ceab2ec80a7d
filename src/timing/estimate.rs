//! The closed form: latency and interval from a few numbers a layer.
//!
//! A layer whose rows become ready evenly between the first and the last works
//! them off evenly too: its last row is done when its slowest part has worked
//! through all rows, or one row after its last input came, whichever is later.
//! The interval of a stream is the work of the busiest resource, which a chip
//! with enough inputs in flight reaches.
//!
//! What is left out is that layers which share a resource wait for each other
//! while one input is alone on the chip; the work of the busiest resource is a
//! bound for the latency too, and is taken where it is larger.
//!
//! How far it is from the event simulation is a test: within 1 % for the
//! interval with enough inputs in flight, within 25 % for the latency of the
//! shipped network and of random ones.

use std::collections::BTreeMap;
use std::ops::Range;

use super::clock::Clock;
use super::network::{
    CrossbarWork, Drive, Network, Node, NodeWork, extent, needed, needed_by, output_axis,
};
use super::resource::Resource;
use crate::entity::{PeId, TensorId};
use crate::graph::LayerKind;
use crate::mapping::Positions;

/// Latency and interval in ps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Of one input alone on the chip.
    pub latency_ps: u64,
    /// Between inputs of a stream: the work of the busiest resource for one
    /// input.
    pub interval_ps: u64,
    /// The busiest resource; `None` where nothing takes time.
    pub bottleneck: Option<Resource>,
    /// Work of all PEs for one input.
    pub driven_ps: u64,
    /// Of all cores that issue waves.
    pub issue_ps: u64,
    /// Cycles of all PEs for one input.
    pub pe_cycles: u64,
    /// Conversions for one input.
    pub conversions: u64,
}

/// When a tensor is there: first and last index along an axis, evenly between.
#[derive(Debug, Clone, Copy)]
struct Ready {
    first_ps: u64,
    last_ps: u64,
    /// The axis and its extent.
    axis: Option<(usize, u64)>,
}

impl Ready {
    /// When the indices of a range are there.
    fn at(&self, indices: impl Fn(usize) -> Range<u64>) -> u64 {
        let Some((axis, extent)) = self.axis.filter(|(_, extent)| *extent > 1) else {
            return self.last_ps;
        };
        let last = indices(axis).end.clamp(1, extent) - 1;
        let span = u128::from(self.last_ps - self.first_ps);
        let part = span * u128::from(last) / u128::from(extent - 1);
        self.first_ps + part as u64
    }
}

/// Work by resource: a candidate of a search has tens of thousands of entries, so
/// that they are looked up by kind and number.
#[derive(Default)]
struct Busy {
    by_kind: [Vec<u64>; Resource::N_KINDS],
    /// Resources that may have work.
    touched: Vec<Resource>,
}

impl Busy {
    fn add(&mut self, resource: Resource, ps: u64) {
        if ps == 0 {
            return;
        }
        let own = &mut self.by_kind[resource.kind_index()];
        let nth = resource.number() as usize;
        if own.len() <= nth {
            own.resize(nth + 1, 0);
        }
        if own[nth] == 0 {
            self.touched.push(resource);
        }
        own[nth] += ps;
    }

    fn of(&self, resource: Resource) -> u64 {
        let own = &self.by_kind[resource.kind_index()];
        own.get(resource.number() as usize).copied().unwrap_or(0)
    }

    /// The most work of one of the kind of a resource.
    fn longest(&self, of_kind: Resource) -> u64 {
        let kind = of_kind.kind_index();
        let own = self.touched.iter().filter(|resource| resource.kind_index() == kind);
        own.map(|resource| self.of(*resource)).max().unwrap_or(0)
    }

    /// The work of all of the kind of a resource.
    fn sum(&self, of_kind: Resource) -> u64 {
        self.by_kind[of_kind.kind_index()].iter().copied().fold(0, u64::saturating_add)
    }

    /// The busiest, the first of several.
    fn most(&self) -> Option<(Resource, u64)> {
        let all = self.touched.iter().map(|resource| (*resource, self.of(*resource)));
        all.max_by_key(|&(resource, ps)| (ps, std::cmp::Reverse(resource)))
    }

    /// Adds all of it to another, and is empty after it.
    fn move_to(&mut self, other: &mut Self) {
        for resource in std::mem::take(&mut self.touched) {
            let own = &mut self.by_kind[resource.kind_index()][resource.number() as usize];
            other.add(resource, std::mem::take(own));
        }
    }
}

/// Estimates a network.
pub(crate) fn estimate(network: &Network<'_>, clock: &Clock) -> Estimate {
    let mut ready: BTreeMap<TensorId, Ready> = BTreeMap::new();
    let mut busy = Busy::default();
    let mut own = Busy::default();
    let mut latency_ps = 0;
    for node in &network.nodes {
        let done = match &node.work {
            NodeWork::Crossbar(work) => crossbar(clock, node, work, &ready, (&mut own, &mut busy)),
            NodeWork::Digital { n_operations } => {
                let own_ps = clock.digital_ps(*n_operations).unwrap_or(0);
                busy.add(Resource::Digital, own_ps);
                digital(network, node, own_ps, &ready)
            }
        };
        latency_ps = latency_ps.max(done.last_ps);
        ready.extend(node.outputs.iter().map(|&tensor| (tensor, done)));
    }
    let most = busy.most();
    let interval_ps = most.map_or(0, |(_, ps)| ps);
    let bottleneck = most.map(|(resource, _)| resource);
    let drives = network.nodes.iter().flat_map(|node| match &node.work {
        NodeWork::Crossbar(work) => &work.drives[..],
        NodeWork::Digital { .. } => &[],
    });
    Estimate {
        latency_ps: latency_ps.max(interval_ps),
        interval_ps,
        bottleneck,
        driven_ps: busy.sum(Resource::Pe(PeId(0))),
        issue_ps: busy.sum(Resource::Issue(0)),
        pe_cycles: drives.clone().map(|d| d.busy_ps(d.positions.n().into(), 1)).sum(),
        conversions: drives.map(|d| d.conversions(d.positions.n().into())).sum(),
    }
}

/// When all inputs of a node have what it needs of them.
fn inputs_at(
    node: &Node,
    ready: &BTreeMap<TensorId, Ready>,
    indices: impl Fn(usize) -> Range<u64>,
) -> u64 {
    let known = node.inputs.iter().filter_map(|tensor| ready.get(tensor));
    known.map(|ready| ready.at(&indices)).max().unwrap_or(0)
}

fn crossbar(
    clock: &Clock,
    node: &Node,
    work: &CrossbarWork,
    ready: &BTreeMap<TensorId, Ready>,
    (own, busy): (&mut Busy, &mut Busy),
) -> Ready {
    let nest = &work.nest;
    let n_rows = work.rows.map_or(1, |(_, extent)| extent).max(1);
    let per_row = (work.n_positions / n_rows).max(1);
    let needs = |row: u64| {
        move |axis: usize| needed(nest, work.rows.map(|(rows, _)| rows), axis, &(row..row + 1))
    };
    for drive in &work.drives {
        let n_positions = drive.positions.n().into();
        times(clock, drive, work, n_positions, |resource, ps| own.add(resource, ps));
    }
    let digital_ps = clock.digital_ps(work.n_values).unwrap_or(0)
        + clock.digital_ps(Clock::sum_operations(work, work.n_positions)).unwrap_or(0);
    let results = work.n_positions * work.n_columns * u64::from(work.bits);
    own.add(Resource::Digital, digital_ps);
    let buffered = results.saturating_add(work.fetched_bits.unwrap_or(0));
    own.add(Resource::Buffer, clock.buffer_ps(buffered).unwrap_or(0));
    // A row passes its stages one after the other; the slowest sets the pace.
    let stages = [
        (own.longest(Resource::Pe(PeId(0))).max(own.longest(Resource::Adcs(0))), Of::Replicas),
        (own.longest(Resource::Issue(0)), Of::Replicas),
        (own.longest(Resource::ShiftAndAdd(PeId(0))), Of::Replicas),
        (own.longest(Resource::Link(PeId(0))), Of::Replicas),
        (own.longest(Resource::ChipLink(0)), Of::All),
        (own.longest(Resource::Buffer), Of::All),
        (own.longest(Resource::Digital), Of::All),
    ];
    let mut shares: Vec<Positions> = work.drives.iter().map(|drive| drive.positions).collect();
    // Tiles of a replica stand together.
    shares.dedup();
    shares.sort_unstable();
    shares.dedup();
    // Replicas have fewer rows each, which take as long; or a part of every
    // row, but no less than a position.
    let is_dealt = shares.iter().any(|share| share.every > 1);
    let most = shares.iter().map(|share| share.n()).max().unwrap_or(1);
    let (rows_each, rows_of_all) = match is_dealt {
        true => (n_rows.min(most.into()), n_rows),
        false => {
            let rows_each = n_rows.div_ceil(shares.len().max(1) as u64);
            (rows_each, rows_each)
        }
    };
    let turns = stages.map(|(_, of)| match of {
        Of::Replicas => rows_each.max(1),
        Of::All => rows_of_all.max(1),
    });
    let times = || stages.iter().map(|(ps, _)| ps).zip(turns);
    let row_ps: u64 = times().map(|(ps, turns)| ps / turns).sum();
    let others_ps = times().map(|(ps, turns)| ps - ps / turns).max().unwrap_or(0);
    let begins =
        |share: &Positions| inputs_at(node, ready, needs(u64::from(share.start) / per_row));
    let first_ps = shares.iter().map(begins).min().unwrap_or(0) + row_ps;
    let worked_off = shares.iter().map(begins).max().unwrap_or(0) + others_ps + row_ps;
    let after_last = inputs_at(node, ready, needs(n_rows - 1)) + row_ps;
    own.move_to(busy);
    let axis = work.rows.and_then(|(rows, n)| {
        let (axis, length) = output_axis(nest, rows)?;
        Some((axis, n * length))
    });
    let last_ps = worked_off.max(after_last).max(first_ps);
    Ready { first_ps, last_ps, axis }
}

/// Whose a part of the chip is: of some replicas, or of all.
#[derive(Clone, Copy)]
enum Of {
    Replicas,
    All,
}

/// What so many positions of a group of tiles take of each resource.
fn times(
    clock: &Clock,
    drive: &Drive,
    work: &CrossbarWork,
    n_positions: u64,
    mut take: impl FnMut(Resource, u64),
) {
    let codes = Clock::code_bits(drive, work.bits, n_positions);
    let sums = clock.sum_bits(drive, n_positions);
    let driven = clock.drive_ps(drive, n_positions);
    let link = clock.link_ps(codes).unwrap_or(0) + clock.link_ps(sums).unwrap_or(0);
    let set = clock.rates.pes_per_adc_set;
    take(Resource::Pe(drive.pe), driven);
    let added = clock.shift_and_add_ps(drive, n_positions).unwrap_or(0);
    take(Resource::ShiftAndAdd(drive.pe), added);
    take(clock.link_of(drive.pe), link);
    let fetched = clock.fetched_bits(drive, work, n_positions);
    take(Resource::Buffer, clock.buffer_ps(fetched).unwrap_or(0));
    for (resource, ps) in [clock.chip_link(drive.pe, codes + sums), clock.issue(drive, n_positions)]
        .into_iter()
        .flatten()
    {
        take(resource, ps);
    }
    if set > 1 {
        take(Resource::Adcs(drive.pe.0 / set), driven);
    }
}

fn digital(
    network: &Network<'_>,
    node: &Node,
    own_ps: u64,
    ready: &BTreeMap<TensorId, Ready>,
) -> Ready {
    let all = |_: usize| 0..u64::MAX;
    let barrier_ps = inputs_at(node, ready, all) + own_ps;
    let barrier = Ready { first_ps: barrier_ps, last_ps: barrier_ps, axis: None };
    let LayerKind::Digital(layer) = &network.graph.layer(node.layer).kind else { return barrier };
    let axis = node.inputs.iter().find_map(|tensor| ready.get(tensor)?.axis);
    let Some((axis, _)) = axis else { return barrier };
    let reach = layer.reach.get(axis).filter(|reach| **reach != crate::graph::AxisReach::All);
    let output = node.outputs.first().and_then(|&t| extent(network.graph, t, axis));
    let (Some(&reach), Some(n)) = (reach, output.filter(|n| *n > 1)) else { return barrier };
    let needs = |index: u64| move |_: usize| needed_by(reach, &(index..index + 1));
    let (row_ps, rest_ps) = (own_ps / n, own_ps - own_ps / n);
    let first_ps = inputs_at(node, ready, needs(0)) + row_ps;
    let last_ps = (first_ps + rest_ps).max(inputs_at(node, ready, needs(n - 1)) + row_ps);
    Ready { first_ps, last_ps, axis: Some((axis, n)) }
}
