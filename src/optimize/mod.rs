//! Filling the chip: how many copies of each layer's matrix make the best use
//! of its PEs.
//!
//! A layer with `r` replicas works on `r` parts of its output positions at the
//! same time. The slowest layer of a pipeline sets the pace of a stream, so
//! replicas go where the positions are; how many fit is for the placer to say.
//! Every candidate is therefore placed, and judged by the closed form of its
//! timing.
//!
//! | method | what it does |
//! |---|---|
//! | none | every layer once |
//! | greedy | one replica more for the layer that the busiest PE works for, as long as it fits and helps |
//! | balanced | for a pace, each layer as many replicas as it needs to keep it; the fastest pace that fits, then layers one by one |
//!
//! None of them looks at numbers of the model; the best of all is taken.

mod search;
mod ways;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain};
use crate::graph::LayerGraph;
use crate::mapping::unroll::{self, Choice, UnrollOptions};
use crate::mapping::{self, Mapping, MappingError, MappingOptions, pe_limit};
use crate::target::Target;
use crate::timing::{Estimate, estimate_mapping};

/// What a chip is filled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// One input is done soonest.
    Latency,
    /// Most inputs a second in a stream.
    Throughput,
    /// Least energy for an input, as far as the target's costs count it.
    Energy,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Energy => "energy",
        })
    }
}

/// Why nothing was chosen.
#[derive(Debug, Clone, Error)]
pub enum OptimizeError {
    /// A chip of as many PEs as needed cannot be filled.
    #[error("the chip of target `{target}` has no end: nothing limits replication")]
    NoBudget {
        /// The target's name.
        target: String,
    },
    /// Energy is wanted of a target without costs.
    #[error("target `{target}` has no costs, so that no energy can be counted")]
    NoCosts {
        /// The target's name.
        target: String,
    },
    /// Not even one replica of each layer fits.
    #[error(transparent)]
    Mapping(#[from] MappingError),
}

impl Explain for OptimizeError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::NoBudget { .. } => vec![
                Diagnostic::error(self.to_string())
                    .help("say how many PEs may be filled, as in `--set chip.pes=64`"),
            ],
            Self::NoCosts { .. } => vec![
                Diagnostic::error(self.to_string())
                    .help("optimize for `latency` or `throughput`, or give the target `costs`"),
            ],
            Self::Mapping(error) => error.diagnostics(),
        }
    }
}

/// A way to choose replicas, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The method.
    pub method: &'static str,
    /// Its closed form.
    pub estimate: Estimate,
    /// PEs that hold weights.
    pub n_pes: usize,
    /// Energy for an input in pJ, where the target has costs.
    pub energy_pj: Option<f64>,
}

/// What was chosen.
#[derive(Debug, Clone)]
pub struct Filled {
    /// For what.
    pub goal: Goal,
    /// The best mapping.
    pub mapping: Mapping,
    /// Replicas by name of the layer, of those that have several.
    pub replicas: BTreeMap<String, u32>,
    /// Output positions that a wave makes, by name of the layer, of those that
    /// are unrolled: `2x4`.
    pub windows: BTreeMap<String, String>,
    /// What each method came to, the first without replicas.
    pub tried: Vec<Tried>,
    /// Which of them is the best.
    pub best: usize,
    /// PEs of the chip.
    pub n_pes: u32,
    /// Time between inputs that no choice of replicas can go below, windows as
    /// they come: the work
    /// of all PEs, dealt evenly to every PE of the chip.
    pub bound_ps: u64,
    /// The same of issuing the waves alone, from all cores alike, where that
    /// takes time.
    pub issue_bound_ps: Option<u64>,
}

impl Filled {
    /// Without replicas, and the best.
    pub fn ends(&self) -> Option<(&Tried, &Tried)> {
        Some((self.tried.first()?, self.tried.get(self.best)?))
    }
}

/// Maps a model so that its replicas fill the chip.
///
/// Replicas that `options` names stay as they are; the others are chosen, and
/// with them the windows of layers that `unroll` leaves to the chip.
///
/// # Errors
///
/// The target has no limit of PEs, or not even one replica of each layer fits.
pub fn fill(
    graph: &LayerGraph,
    target: &Target,
    options: &MappingOptions,
    unroll: &UnrollOptions,
    goal: Goal,
) -> Result<Filled, OptimizeError> {
    let Some(n_pes) = pe_limit(target) else {
        return Err(OptimizeError::NoBudget { target: target.name.clone() });
    };
    if goal == Goal::Energy && target.costs.is_none() {
        return Err(OptimizeError::NoCosts { target: target.name.clone() });
    }
    // Windows left to the chip are chosen with the replicas; others stand.
    let chosen = unroll.without_auto();
    let mut windows = unroll::choose(graph, target, (&chosen, &options.floorplan), |_| true)?;
    windows.extend(options.windows.clone());
    let given = &options.windows;
    let is_open = |name: &str| {
        unroll.of(name, &options.floorplan) == Choice::Auto && !given.contains_key(name)
    };
    let options = &MappingOptions { windows, ..options.clone() };
    let search = search::Search::new(graph, target, options, is_open, (goal, n_pes))?;
    let greedy = search.greedy();
    let balanced = search.balanced(&greedy);
    let mut tried = vec![search.start.clone(), greedy, balanced];
    let key = |candidate: &search::Candidate| candidate.score(goal);
    let mut best = 0;
    for index in 1..tried.len() {
        if key(&tried[index]) < key(&tried[best]) {
            best = index;
        }
    }
    let none = &tried[0].tried.estimate;
    let n_cores = n_pes.div_ceil(target.rates.pes_per_core.max(1)).max(1);
    let issue_bound_ps = none.issue_ps.div_ceil(u64::from(n_cores));
    let bound_ps = none.driven_ps.div_ceil(u64::from(n_pes.max(1))).max(issue_bound_ps);
    let summary = tried.iter().map(|candidate| candidate.tried.clone()).collect();
    let chosen = tried.swap_remove(best);
    let mapping = mapping::map(graph, target, &chosen.wanted)?;
    let replicas = chosen.replicas();
    let windows = mapping.unrolled.iter().map(|(&id, own)| (graph.layer(id).name.clone(), own));
    let windows = windows.map(|(name, own)| (name, own.window_text())).collect();
    let tried = summary;
    Ok(Filled {
        goal,
        mapping,
        replicas,
        windows,
        tried,
        best,
        n_pes,
        bound_ps,
        issue_bound_ps: (issue_bound_ps > 0).then_some(issue_bound_ps),
    })
}

/// Energy of one input in pJ by a target's costs.
fn energy_pj(estimate: &Estimate, n_pes: usize, target: &Target) -> Option<f64> {
    let costs = target.costs.as_ref()?;
    let of_cycle = costs.sample_and_hold_pj_per_cycle
        + costs.drivers_pj_per_cycle
        + costs.array_pj_per_cycle
        + costs.shift_and_add_pj_per_cycle;
    // Milliwatts times picoseconds are femtojoules.
    let idle_pj = costs.idle_mw_per_pe * n_pes as f64 * estimate.interval_ps as f64 / 1000.0;
    Some(
        estimate.conversions as f64 * costs.adc_pj_per_conversion
            + estimate.pe_cycles as f64 * of_cycle
            + idle_pj,
    )
}

fn judge(method: &'static str, mapping: &Mapping, graph: &LayerGraph, target: &Target) -> Tried {
    let estimate = estimate_mapping(mapping, graph, target);
    let n_pes = mapping.n_pes_used();
    let energy_pj = energy_pj(&estimate, n_pes, target);
    Tried { method, estimate, n_pes, energy_pj }
}
