//! The search for replicas.

use std::collections::{BTreeMap, BTreeSet};

use super::{Goal, OptimizeError, Tried, judge};
use crate::entity::{LayerId, PeId};
use crate::graph::LayerGraph;
use crate::mapping::{self, Mapping, MappingOptions};
use crate::target::Target;
use crate::timing::Resource;

/// Placements that one search may try, tiles times PEs: placing takes about
/// as long for each of these, and all of it some seconds.
const WORK_MAX: u64 = 100_000_000;

/// Steps that find nothing better before a climb ends.
const FAILURES_MAX: usize = 8;

/// Replicas with what they come to.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// By name, every layer that may have some.
    pub replicas: BTreeMap<String, u32>,
    /// What the mapper is told: these and what the user fixed.
    pub wanted: BTreeMap<String, u32>,
    pub tried: Tried,
    /// Layers of the busiest resource, which a replica could relieve.
    busiest: Vec<String>,
}

impl Candidate {
    /// Smaller is better; of two that are alike, the one with fewer PEs.
    pub(super) fn score(&self, goal: Goal) -> (u64, u64, u64, usize) {
        let Tried { estimate, n_pes, energy_pj, .. } = &self.tried;
        // Femtojoules are fine enough to tell candidates apart, and can be
        // compared as integers.
        let energy = (energy_pj.unwrap_or(0.0) * 1000.0).round() as u64;
        let (latency, interval) = (estimate.latency_ps, estimate.interval_ps);
        match goal {
            Goal::Latency => (latency, interval, energy, *n_pes),
            Goal::Throughput => (interval, latency, energy, *n_pes),
            Goal::Energy => (energy, interval, latency, *n_pes),
        }
    }
}

/// A layer that may have replicas.
#[derive(Debug, Clone)]
struct Replicable {
    name: String,
    n_positions: u64,
    /// Time of one position on the PE that takes longest for it.
    position_ps: u64,
    /// Cells of one replica.
    n_cells: u64,
    n_tiles: u64,
}

pub(super) struct Search<'a> {
    graph: &'a LayerGraph,
    target: &'a Target,
    options: &'a MappingOptions,
    goal: Goal,
    n_pes: u32,
    layers: Vec<Replicable>,
    /// Cells of layers whose replicas are fixed.
    n_cells_fixed: u64,
    n_tiles_fixed: u64,
    /// Without replicas.
    pub start: Candidate,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        graph: &'a LayerGraph,
        target: &'a Target,
        options: &'a MappingOptions,
        goal: Goal,
        n_pes: u32,
    ) -> Result<Self, OptimizeError> {
        let mapping = mapping::map(graph, target, options)?;
        let mut layers = Vec::new();
        let (mut n_cells_fixed, mut n_tiles_fixed) = (0, 0);
        for (id, layer, crossbar) in graph.crossbar_layers() {
            if graph.matrix_of(id) != id {
                continue;
            }
            let own = mapping.tiles.values().filter(|tile| tile.layer == id);
            let n_cells: u64 = own.clone().map(|tile| tile.n_cells()).sum();
            let n_tiles = own.clone().count() as u64;
            let is_fixed = options.replicas.contains_key(&layer.name)
                || options.floorplan.layers.contains_key(&layer.name);
            if is_fixed {
                n_cells_fixed += n_cells;
                n_tiles_fixed += n_tiles;
                continue;
            }
            let n_positions = crossbar.nest.positions_per_input() as u64;
            // Loops drive the same cells once a step.
            let n_steps =
                graph.crossbar_layers().filter(|(other, ..)| graph.matrix_of(*other) == id).count();
            let position_ps = n_steps as u64 * slowest_position_ps(&mapping, id, target);
            let name = layer.name.clone();
            layers.push(Replicable { name, n_positions, position_ps, n_cells, n_tiles });
        }
        let replicas = layers.iter().map(|layer| (layer.name.clone(), 1)).collect();
        let tried = judge("none", &mapping, graph, target);
        let busiest = busiest(&mapping, &tried, graph);
        let wanted = options.replicas.clone();
        let start = Candidate { replicas, wanted, tried, busiest };
        Ok(Self {
            graph,
            target,
            options,
            goal,
            n_pes,
            layers,
            n_cells_fixed,
            n_tiles_fixed,
            start,
        })
    }

    /// Places and judges; `None` where it does not fit.
    fn candidate(
        &self,
        method: &'static str,
        replicas: BTreeMap<String, u32>,
        budget: &mut u64,
    ) -> Option<Candidate> {
        let of = |layer: &Replicable| u64::from(replicas.get(&layer.name).copied().unwrap_or(1));
        let n_cells: u64 = self.layers.iter().map(|l| of(l).saturating_mul(l.n_cells)).sum();
        if n_cells + self.n_cells_fixed > u64::from(self.n_pes) * self.target.pe.cells() {
            return None;
        }
        let n_tiles: u64 = self.layers.iter().map(|l| of(l) * l.n_tiles).sum();
        let work = (n_tiles + self.n_tiles_fixed) * u64::from(self.n_pes);
        *budget = budget.checked_sub(work)?;
        let mut wanted = self.options.replicas.clone();
        wanted.extend(replicas.iter().map(|(name, &n)| (name.clone(), n)));
        let options = MappingOptions { replicas: wanted.clone(), ..self.options.clone() };
        let mapping = mapping::map(self.graph, self.target, &options).ok()?;
        let tried = judge(method, &mapping, self.graph, self.target);
        let busiest = busiest(&mapping, &tried, self.graph);
        Some(Candidate { replicas, wanted, tried, busiest })
    }

    /// One replica more where the busiest PE works, as long as it helps.
    pub(super) fn greedy(&self) -> Candidate {
        let mut best = Candidate {
            tried: Tried { method: "greedy", ..self.start.tried.clone() },
            ..self.start.clone()
        };
        let mut budget = WORK_MAX;
        loop {
            let mut better = None;
            for name in best.busiest.clone() {
                let Some(next) = self.one_more(&best, &name, "greedy", &mut budget) else {
                    continue;
                };
                if next.score(self.goal) < best.score(self.goal) {
                    better = Some(next);
                    break;
                }
            }
            match better {
                Some(next) => best = next,
                None => return best,
            }
        }
    }

    /// The fastest pace that fits, then single layers.
    pub(super) fn balanced(&self) -> Candidate {
        let mut best = Candidate {
            tried: Tried { method: "balanced", ..self.start.tried.clone() },
            ..self.start.clone()
        };
        let mut budget = WORK_MAX;
        let slowest = self.layers.iter().map(|l| l.n_positions.saturating_mul(l.position_ps)).max();
        let (mut low, mut high) = (0, slowest.unwrap_or(0));
        // Each pace halves what is left between one that fits and one that
        // does not; a dozen leaves less than a thousandth.
        for _ in 0..14 {
            if high <= low + 1 {
                break;
            }
            // First in great strides: the fastest pace is often a small part.
            let pace = if low == 0 { high / 2 } else { low + (high - low) / 2 };
            match self.candidate("balanced", self.replicas_for(pace), &mut budget) {
                Some(next) => {
                    high = pace;
                    if next.score(self.goal) < best.score(self.goal) {
                        best = next;
                    }
                }
                None => low = pace,
            }
        }
        self.climb(best, &mut budget)
    }

    /// Replicas with which every layer alone keeps a pace.
    fn replicas_for(&self, pace_ps: u64) -> BTreeMap<String, u32> {
        let of = |layer: &Replicable| {
            let positions_each = (pace_ps / layer.position_ps.max(1)).max(1);
            let n = layer.n_positions.div_ceil(positions_each).clamp(1, layer.n_positions.max(1));
            (layer.name.clone(), u32::try_from(n).unwrap_or(u32::MAX))
        };
        self.layers.iter().map(of).collect()
    }

    /// One more or one less for single layers, those of the busiest PE first,
    /// as long as something helps.
    fn climb(&self, mut best: Candidate, budget: &mut u64) -> Candidate {
        loop {
            let mut names = best.busiest.clone();
            let others = self.layers.iter().map(|layer| layer.name.clone());
            names.extend(others.filter(|name| !best.busiest.contains(name)));
            let mut n_failed = 0;
            let mut better = None;
            'layers: for name in &names {
                for step in [1, -1] {
                    let next = self.changed(&best, name, step, "balanced", budget);
                    match next {
                        Some(next) if next.score(self.goal) < best.score(self.goal) => {
                            better = Some(next);
                            break 'layers;
                        }
                        _ => n_failed += 1,
                    }
                }
                if n_failed >= FAILURES_MAX {
                    break;
                }
            }
            match better {
                Some(next) => best = next,
                None => return best,
            }
        }
    }

    fn one_more(
        &self,
        from: &Candidate,
        name: &str,
        method: &'static str,
        budget: &mut u64,
    ) -> Option<Candidate> {
        self.changed(from, name, 1, method, budget)
    }

    fn changed(
        &self,
        from: &Candidate,
        name: &str,
        step: i32,
        method: &'static str,
        budget: &mut u64,
    ) -> Option<Candidate> {
        let layer = self.layers.iter().find(|layer| layer.name == name)?;
        let mut replicas = from.replicas.clone();
        let n = replicas.get_mut(name)?;
        *n = n.checked_add_signed(step).filter(|n| *n > 0 && u64::from(*n) <= layer.n_positions)?;
        self.candidate(method, replicas, budget)
    }
}

/// Time of one position of a layer on the PE that takes longest for it, with
/// one replica.
fn slowest_position_ps(mapping: &Mapping, layer: LayerId, target: &Target) -> u64 {
    // Tiles above each other are driven one after the other, those of one
    // height together.
    let mut by_pe: BTreeMap<PeId, BTreeMap<(u32, u32), u64>> = BTreeMap::new();
    for tile in mapping.tiles.values().filter(|tile| tile.layer == layer && tile.replica == 0) {
        let lines = match target.readout.subtract {
            crate::target::Subtract::BeforeConversion => tile.n_pairs(),
            crate::target::Subtract::AfterConversion => tile.n_outputs(),
        };
        *by_pe
            .entry(tile.pe)
            .or_default()
            .entry((tile.input_line, tile.rows.start))
            .or_default() += u64::from(lines);
    }
    let per_cycle = u64::from(target.readout.lines_converted_per_cycle().max(1));
    let cycles = by_pe.values().map(|drives| {
        drives.values().map(|lines| lines.div_ceil(per_cycle)).sum::<u64>()
            * u64::from(target.readout.input_bits)
    });
    let cycle_ps = (target.readout.cycle_ns * 1000.0).round() as u64;
    cycles.max().unwrap_or(1).saturating_mul(cycle_ps.max(1))
}

/// Names of the layers that the busiest resource works for.
fn busiest(mapping: &Mapping, tried: &Tried, graph: &LayerGraph) -> Vec<String> {
    let on = |pe: PeId| match tried.estimate.bottleneck {
        Some(Resource::Pe(own) | Resource::Link(own) | Resource::ShiftAndAdd(own)) => own == pe,
        _ => false,
    };
    let layers: BTreeSet<LayerId> =
        mapping.tiles.values().filter(|tile| on(tile.pe)).map(|tile| tile.layer).collect();
    let mut layers: Vec<LayerId> = layers.into_iter().collect();
    // Those with the most positions of a replica gain the most.
    layers.sort_by_key(|&id| {
        let positions = graph.crossbar(id).map_or(0, |c| c.nest.positions_per_input() as u64);
        let n = u64::from(mapping.replicas.get(&id).copied().unwrap_or(1).max(1));
        (std::cmp::Reverse(positions / n), id)
    });
    layers.into_iter().map(|id| graph.layer(id).name.clone()).collect()
}
