//! Times of real inputs on a chip without a clock.
//!
//! The jobs are those of the clocked chip: a row begins when its inputs are
//! there, and hands over when it is done, which is a handshake here. Only how
//! long waves take is known of each input alone. In a stream a layer that is
//! done early with one input goes on with the next, so that long and short
//! inputs even out.

use std::collections::BTreeMap;

use super::clock::Clock;
use super::jobs::Jobs;
use super::network::Network;
use super::simulate::{Stream, simulate_each};
use crate::entity::StepId;
use crate::graph::LayerGraph;
use crate::schedule::ExecutionPlan;
use crate::target::Target;

/// How long inputs take on a chip without a clock.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTimed {
    /// Each input alone on the chip.
    pub latency_ps: Vec<u64>,
    /// Between inputs when all come one after the other, those that filled the
    /// chip left out; `None` where there are no others.
    pub interval_ps: Option<f64>,
}

/// Jobs of inputs are simulated for a stream at most; so many first inputs are
/// taken.
const SIMULATED_MAX: usize = 1 << 23;

/// Times inputs, of each of which the time of every row of waves is given, by
/// step; in the stream `in_flight` are on the chip at once.
pub fn self_timed(
    plan: &ExecutionPlan,
    graph: &LayerGraph,
    target: &Target,
    inputs: &[&BTreeMap<StepId, Vec<u64>>],
    in_flight: u32,
) -> SelfTimed {
    let network = Network::of_plan(plan, graph, target);
    let jobs = Jobs::new(&network, &Clock::new(plan.cycle_ns, target));
    let n_nodes = network.nodes.len();
    // Of each job, which of the jobs that drive tiles it is.
    let mut nth_waves: Vec<Option<u32>> = vec![None; jobs.jobs.len()];
    for (nth, &(job, ..)) in (0..).zip(&jobs.waves) {
        nth_waves[job as usize] = Some(nth);
    }
    let waves_ps = |rows_ps: &BTreeMap<StepId, Vec<u64>>| -> Vec<u64> {
        let job_ps = |(_, step, rows): &(u32, StepId, std::ops::Range<usize>)| {
            let own = rows_ps.get(step).map_or(&[][..], |own| own);
            own[rows.start.min(own.len())..rows.end.min(own.len())].iter().sum()
        };
        jobs.waves.iter().map(job_ps).collect()
    };
    let run = |own: &[Vec<u64>], stream: Stream| {
        simulate_each(&jobs, n_nodes, stream, |input, job| match nth_waves[job as usize] {
            Some(nth) => own[input as usize][nth as usize],
            None => jobs.duration_ps(job),
        })
    };
    let one = Stream { n_inputs: 1, in_flight: 1, trace: false };
    let latency_ps = inputs
        .iter()
        .map(|rows_ps| run(&[waves_ps(rows_ps)], one).ends_ps.first().copied().unwrap_or(0));
    let latency_ps = latency_ps.collect();
    let n_affordable = SIMULATED_MAX / jobs.jobs.len().max(1);
    let n = inputs.len().min(n_affordable);
    let in_flight = in_flight.max(1);
    let interval_ps = (n > in_flight as usize).then(|| {
        let own: Vec<Vec<u64>> = inputs[..n].iter().map(|rows_ps| waves_ps(rows_ps)).collect();
        let stream = Stream { n_inputs: n as u32, in_flight, trace: false };
        let run = run(&own, stream);
        let mut ends_ps = run.ends_ps;
        ends_ps.sort_unstable();
        let filled_ps = ends_ps[in_flight as usize - 1];
        let last_ps = ends_ps.last().copied().unwrap_or(0);
        let between_ps = last_ps.saturating_sub(filled_ps) as f64 / (n - in_flight as usize) as f64;
        // No stream is faster than its busiest part.
        let most_ps = run.busy_ps.iter().copied().max().unwrap_or(0) as f64 / n as f64;
        between_ps.max(most_ps)
    });
    SelfTimed { latency_ps, interval_ps }
}
