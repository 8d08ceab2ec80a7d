//! Times of real inputs on a chip without a clock.
//!
//! The jobs are those of the clocked chip: a row begins when its inputs are
//! there, and hands over when it is done, which is a handshake here. Only how
//! long waves take is known of each input alone.

use std::collections::BTreeMap;

use super::clock::Clock;
use super::jobs::Jobs;
use super::network::Network;
use super::simulate::{Stream, simulate};
use crate::entity::StepId;
use crate::graph::LayerGraph;
use crate::schedule::ExecutionPlan;
use crate::target::Target;

/// How long each input takes alone on the chip, in ps: of each, the time of
/// every row of waves, by step.
pub fn self_timed<'a>(
    plan: &ExecutionPlan,
    graph: &LayerGraph,
    target: &Target,
    inputs: impl Iterator<Item = &'a BTreeMap<StepId, Vec<u64>>>,
) -> Vec<u64> {
    let network = Network::of_plan(plan, graph, target);
    let mut jobs = Jobs::new(&network, &Clock::new(plan.cycle_ns, target));
    let waves = jobs.waves.clone();
    let one = Stream { n_inputs: 1, in_flight: 1, trace: false };
    let latency = |rows_ps: &BTreeMap<StepId, Vec<u64>>| {
        for (job, step, rows) in &waves {
            let own = rows_ps.get(step).map_or(&[][..], |own| own);
            let rows = rows.start.min(own.len())..rows.end.min(own.len());
            jobs.jobs[*job as usize].duration_ps = own[rows].iter().sum();
        }
        simulate(&jobs, network.nodes.len(), one).ends_ps.first().copied().unwrap_or(0)
    };
    inputs.map(latency).collect()
}
