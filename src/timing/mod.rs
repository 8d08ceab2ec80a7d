//! How long a plan takes on a chip: latency, throughput, and what they wait
//! for.
//!
//! The plan says what each PE does; a target's `rates` say how fast the parts
//! around the PEs are. Here both become events on resources: PEs, ADCs that
//! PEs share, multiplexers, shift-and-add, links, the buffer, the digital
//! unit. Layers work row by row, so that a layer begins before the one in
//! front of it is done where its loop nest allows; several inputs may be on
//! the chip at once.
//!
//! ```text
//! ExecutionPlan or Mapping --network--> layers at work --jobs--> jobs of one input --simulate--> Timing
//!                                                      \--estimate--> closed form
//! ```
//!
//! Times are whole picoseconds, so that nothing depends on the order of sums.
//! Without `rates` only PEs take time: then cycles are the plan's own, and
//! only what may begin when is finer than in the plan, whose steps take a
//! whole layer's positions at a time.

mod agenda;
mod clock;
mod estimate;
mod jobs;
mod network;
mod resource;
mod selftimed;
mod simulate;
mod trace;

pub use estimate::Estimate;
pub use resource::Resource;
pub use selftimed::{SelfTimed, self_timed};

use std::collections::BTreeMap;

use clock::Clock;
use jobs::Jobs;
use network::{Network, NodeWork};
use simulate::{Run, Stream, simulate};

use crate::entity::{LayerId, PeId};
use crate::graph::LayerGraph;
use crate::mapping::Mapping;
use crate::schedule::ExecutionPlan;
use crate::target::Target;

/// What may be chosen about timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimingOptions {
    /// Inputs on the chip at once; as many as keep the busiest resource busy
    /// where it is not given.
    pub in_flight: Option<u32>,
}

/// How long a plan takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Length of a cycle in ps.
    pub cycle_ps: u64,
    /// Rows of a layer that are handed on at a time.
    pub rows_at_once: u64,
    /// From the first to the last event of one input alone on the chip.
    pub latency_ps: u64,
    /// Inputs on the chip at once in the stream.
    pub in_flight: u32,
    /// Time between inputs of the stream, once it flows.
    pub interval_ps: f64,
    /// The closed form of both.
    pub estimate: Estimate,
    /// Every resource that takes time, in order.
    pub uses: Vec<Use>,
    /// Layers on arrays, in order; loops that drive the same cells are one.
    pub layers: Vec<LayerTiming>,
}

/// How long one resource works for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The resource.
    pub resource: Resource,
    /// Its work for one input.
    pub busy_ps: u64,
}

/// When a layer works, with one input alone on the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerTiming {
    /// The layer, first of those with the same matrix.
    pub layer: LayerId,
    /// Begin of its first wave.
    pub start_ps: u64,
    /// End of its last wave.
    pub end_ps: u64,
    /// Time for which its PEs are driven for it, together.
    pub driven_ps: u64,
    /// The same of the PE that is driven longest for it.
    pub busiest_ps: u64,
    /// PEs that are driven for it.
    pub n_pes: usize,
}

impl LayerTiming {
    /// The share of the layer's own time for which its PEs are driven, 0 to 1.
    pub fn utilisation(&self) -> Option<f64> {
        let all = (self.end_ps - self.start_ps) as f64 * self.n_pes as f64;
        (all > 0.0).then(|| self.driven_ps as f64 / all)
    }
}

impl Timing {
    /// Simulates one input alone, then a stream.
    pub fn new(
        plan: &ExecutionPlan,
        graph: &LayerGraph,
        target: &Target,
        options: TimingOptions,
    ) -> Self {
        let network = Network::of_plan(plan, graph, target);
        let timing = Self::of(&network, &Clock::new(plan.cycle_ns, target), options);
        match plan.n_passes {
            1 => timing,
            _ => timing.one_pass_after_the_other(plan),
        }
    }

    /// The same of a mapping that no plan has been made of: codes of all inputs
    /// are as wide as the target's. Of several passes, `None`: when one begins
    /// is for a plan to say.
    pub fn of_mapping(
        mapping: &Mapping,
        graph: &LayerGraph,
        target: &Target,
        options: TimingOptions,
    ) -> Option<Self> {
        let network = Network::of_mapping(mapping, graph, target);
        let clock = Clock::new(target.readout.cycle_ns, target);
        (mapping.n_passes == 1).then(|| Self::of(&network, &clock, options))
    }

    /// Cells that are written anew are driven when all before them are done, one
    /// input at a time; the time of writing is not in it.
    fn one_pass_after_the_other(self, plan: &ExecutionPlan) -> Self {
        let latency_ps = self.latency_ps.max(plan.end_cycle().saturating_mul(self.cycle_ps));
        Self { latency_ps, in_flight: 1, interval_ps: latency_ps as f64, ..self }
    }

    fn of(network: &Network<'_>, clock: &Clock, options: TimingOptions) -> Self {
        let jobs = Jobs::new(network, clock);
        let estimate = estimate::estimate(network, clock);
        let n_nodes = network.nodes.len();
        let one = Stream { n_inputs: 1, in_flight: 1, trace: false };
        let alone = simulate(&jobs, n_nodes, one);
        let latency_ps = alone.ends_ps.first().copied().unwrap_or(0);
        let uses = uses(&jobs, &alone);
        let most_ps = uses.iter().map(|each| each.busy_ps).max().unwrap_or(0);
        let stream = |in_flight: u32| match in_flight {
            1 => latency_ps as f64,
            // Ends are not evenly spaced, so that a short look may see them too
            // close together; no stream is faster than its busiest part.
            n => interval_ps(&jobs, n_nodes, n).max(most_ps as f64),
        };
        let (in_flight, interval_ps) = match options.in_flight {
            Some(n) => (n.max(1), stream(n.max(1))),
            None => enough_in_flight((latency_ps, most_ps), jobs.jobs.len(), stream),
        };
        Self {
            cycle_ps: clock.cycle_ps,
            rows_at_once: jobs.rows_at_once,
            latency_ps,
            in_flight,
            interval_ps,
            estimate,
            layers: layers(network, clock, &alone),
            uses,
        }
    }

    /// Inputs a second of the stream; `None` where nothing takes time.
    pub fn inputs_per_s(&self) -> Option<f64> {
        const PS_PER_S: f64 = 1e12;
        (self.interval_ps > 0.0).then(|| PS_PER_S / self.interval_ps)
    }

    /// When a layer works.
    pub fn of_layer(&self, layer: LayerId) -> Option<&LayerTiming> {
        self.layers.iter().find(|timing| timing.layer == layer)
    }

    /// The resource with the most work, the first of several.
    pub fn bottleneck(&self) -> Option<Use> {
        let most = self.uses.iter().map(|each| each.busy_ps).max()?;
        self.uses.iter().find(|each| each.busy_ps == most).copied()
    }

    /// The share of time for which a resource works in the stream, 0 to 1.
    pub fn utilisation(&self, of: &Use) -> Option<f64> {
        (self.interval_ps > 0.0).then(|| of.busy_ps as f64 / self.interval_ps)
    }
}

/// The closed form for a plan.
pub fn estimate_plan(plan: &ExecutionPlan, graph: &LayerGraph, target: &Target) -> Estimate {
    let network = Network::of_plan(plan, graph, target);
    estimate::estimate(&network, &Clock::new(plan.cycle_ns, target))
}

/// The closed form for a mapping, before a plan is made of it.
pub fn estimate_mapping(mapping: &Mapping, graph: &LayerGraph, target: &Target) -> Estimate {
    let network = Network::of_mapping(mapping, graph, target);
    estimate::estimate(&network, &Clock::new(target.readout.cycle_ns, target))
}

/// The timeline of `n_inputs` inputs, `in_flight` at once, as the text of a
/// file that Chrome's trace viewer and Perfetto open.
pub fn trace(
    plan: &ExecutionPlan,
    graph: &LayerGraph,
    target: &Target,
    (n_inputs, in_flight): (u32, u32),
    title: &str,
) -> String {
    let network = Network::of_plan(plan, graph, target);
    let jobs = Jobs::new(&network, &Clock::new(plan.cycle_ns, target));
    let stream = Stream { n_inputs, in_flight, trace: true };
    let run = simulate(&jobs, network.nodes.len(), stream);
    trace::json(&network, &jobs, &run.events, title)
}

/// Inputs that keep the busiest resource busy, and how far apart they come: as
/// many as pass it while one is on its way, and one more; twice as many as long
/// as that brings them more than a hundredth closer, since inputs that wait for
/// each other are longer on their way. Less where simulating so many would take
/// long.
fn enough_in_flight(
    (latency_ps, most_ps): (u64, u64),
    n_jobs: usize,
    stream: impl Fn(u32) -> f64,
) -> (u32, f64) {
    const IN_FLIGHT_MAX: u64 = 64;
    const SIMULATED_MAX: u64 = 1 << 23;
    const CLOSER: f64 = 0.99;
    let wanted = latency_ps.div_ceil(most_ps.max(1)) + 1;
    let affordable = (SIMULATED_MAX / (2 * n_jobs as u64 + 1)).clamp(1, IN_FLIGHT_MAX) as u32;
    let first = wanted.min(affordable.into()) as u32;
    let mut best = (first, stream(first));
    while best.1 * CLOSER > most_ps as f64 && 2 * best.0 <= affordable {
        let twice = (2 * best.0, stream(2 * best.0));
        if twice.1 > best.1 * CLOSER {
            break;
        }
        best = twice;
    }
    best
}

/// Time between the ends of inputs, those that filled the chip left out.
fn interval_ps(jobs: &Jobs, n_nodes: usize, in_flight: u32) -> f64 {
    let n_inputs = in_flight.saturating_mul(2).saturating_add(2);
    let run = simulate(jobs, n_nodes, Stream { n_inputs, in_flight, trace: false });
    let first = run.ends_ps[in_flight as usize - 1];
    let last = run.ends_ps[n_inputs as usize - 1];
    last.saturating_sub(first) as f64 / f64::from(n_inputs - in_flight)
}

/// The work of each resource for one input, in the order of resources.
fn uses(jobs: &Jobs, alone: &Run) -> Vec<Use> {
    let timed = jobs.resources.iter().zip(&alone.busy_ps);
    let mut uses: Vec<Use> = timed.map(|(&resource, &busy_ps)| Use { resource, busy_ps }).collect();
    let switching = jobs.switching.iter();
    uses.extend(
        switching.map(|(&pe, &busy_ps)| Use { resource: Resource::Multiplexers(pe), busy_ps }),
    );
    uses.sort_by_key(|each| each.resource);
    uses
}

fn layers(network: &Network<'_>, clock: &Clock, alone: &Run) -> Vec<LayerTiming> {
    let mut layers: BTreeMap<LayerId, (LayerTiming, BTreeMap<PeId, u64>)> = BTreeMap::new();
    for (node, span) in network.nodes.iter().zip(&alone.spans_ps) {
        let NodeWork::Crossbar(work) = &node.work else { continue };
        let layer = network.graph.matrix_of(node.layer);
        let (start_ps, end_ps) = span.unwrap_or_default();
        let none = LayerTiming { layer, start_ps, end_ps, driven_ps: 0, busiest_ps: 0, n_pes: 0 };
        let (timing, pes) = layers.entry(layer).or_insert_with(|| (none, BTreeMap::new()));
        timing.start_ps = timing.start_ps.min(start_ps);
        timing.end_ps = timing.end_ps.max(end_ps);
        for drive in &work.drives {
            let n_positions = drive.positions.n().into();
            *pes.entry(drive.pe).or_default() += clock.drive_ps(drive, n_positions);
        }
    }
    let sum = |(mut timing, pes): (LayerTiming, BTreeMap<PeId, u64>)| {
        timing.driven_ps = pes.values().sum();
        timing.busiest_ps = pes.values().copied().max().unwrap_or(0);
        timing.n_pes = pes.len();
        timing
    };
    layers.into_values().map(sum).collect()
}
