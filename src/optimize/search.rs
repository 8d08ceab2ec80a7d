//! The search for replicas, and for windows where these are left open.

use std::collections::{BTreeMap, BTreeSet};

use super::ways::{Change, Pick, Replicable, Way};
use super::{Goal, OptimizeError, Tried, judge};
use crate::entity::{LayerId, PeId};
use crate::graph::LayerGraph;
use crate::mapping::unroll::{self, Costed};
use crate::mapping::{self, Mapping, MappingOptions};
use crate::target::Target;
use crate::timing::Resource;

/// Placements that one search may try: tiles times PEs, of which no more than
/// 128 count while there are free ones. Placing takes about as long for each of
/// these, and all of it some seconds.
const WORK_MAX: u64 = 100_000_000;

/// What setting up one PE of the chip counts among these, with or without tiles.
const WORK_OF_PE: u64 = 32;

/// Steps that find nothing better before a climb ends, and pairs of steps before
/// it ends with these.
const FAILURES_MAX: usize = 9;
const PAIR_FAILURES_MAX: usize = 24;

/// Replicas and windows with what they come to.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// By name, every layer that may have some.
    picks: BTreeMap<String, Pick>,
    /// What the mapper is told: these and what the user fixed.
    pub wanted: MappingOptions,
    pub tried: Tried,
    /// Layers of the busiest resource, which a replica could relieve.
    busiest: Vec<String>,
}

impl Candidate {
    /// Replicas by name of the layer, of those that were left open and have
    /// several.
    pub(super) fn replicas(&self) -> BTreeMap<String, u32> {
        let several = self.picks.iter().filter(|(_, pick)| pick.replicas > 1);
        several.map(|(name, pick)| (name.clone(), pick.replicas)).collect()
    }

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

/// By what one window is preferred to another that keeps the same pace: tiles
/// take cells, and the time of their PEs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scarce {
    Cells,
    Time,
    Both,
}

pub(super) struct Search<'a> {
    graph: &'a LayerGraph,
    target: &'a Target,
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
    /// `is_open` says of which layers the window is to be chosen too.
    pub(super) fn new(
        graph: &'a LayerGraph,
        target: &'a Target,
        options: &MappingOptions,
        is_open: impl Fn(&str) -> bool,
        (goal, n_pes): (Goal, u32),
    ) -> Result<Self, OptimizeError> {
        let mapping = mapping::map(graph, target, options)?;
        let cycle_ps = (target.readout.cycle_ns * 1000.0).round() as u64;
        let plane_ps = u64::from(target.readout.input_bits).saturating_mul(cycle_ps.max(1));
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
            let nest = mapping.nest(graph, id).unwrap_or(&crossbar.nest);
            // Loops drive the same cells once a step.
            let n_steps =
                graph.crossbar_layers().filter(|(other, ..)| graph.matrix_of(*other) == id).count();
            let n_slices = u64::from(mapping.slices.get(&id).copied().unwrap_or(1));
            let work_ps = |nest, n_slices: u64| {
                let cycles = unroll::cost(nest, target).array_cycles;
                cycles.saturating_mul(n_slices * n_steps as u64).saturating_mul(plane_ps)
            };
            let as_it_comes = Way {
                window: options.windows.get(&layer.name).cloned(),
                n_waves: nest.positions_per_input() as u64,
                wave_ps: n_steps as u64 * slowest_position_ps(&mapping, id, target),
                work_ps: work_ps(nest, n_slices),
                n_cells,
                n_tiles,
            };
            let mut ways = vec![as_it_comes];
            if is_open(&layer.name) && !unroll::is_shared(graph, id) {
                let front = unroll::front(nest, target);
                ways.extend(front.into_iter().skip(1).map(|Costed { window, cost }| Way {
                    window: Some(window),
                    n_waves: cost.waves,
                    wave_ps: cost.rounds.saturating_mul(plane_ps),
                    work_ps: cost.array_cycles.saturating_mul(n_slices * plane_ps),
                    n_cells: cost.cells * n_slices,
                    n_tiles: cost.tiles * n_slices,
                }));
            }
            layers.push(Replicable { name: layer.name.clone(), ways });
        }
        let one = Pick { way: 0, replicas: 1 };
        let picks = layers.iter().map(|layer| (layer.name.clone(), one)).collect();
        let tried = judge("none", &mapping, graph, target);
        let busiest = busiest(&mapping, &tried, graph, target);
        let start = Candidate { picks, wanted: options.clone(), tried, busiest };
        Ok(Self { graph, target, goal, n_pes, layers, n_cells_fixed, n_tiles_fixed, start })
    }

    /// Places and judges; `None` where it does not fit.
    fn candidate(
        &self,
        method: &'static str,
        picks: BTreeMap<String, Pick>,
        budget: &mut u64,
    ) -> Option<Candidate> {
        let mut wanted = self.start.wanted.clone();
        let (mut n_cells, mut n_tiles) = (self.n_cells_fixed, self.n_tiles_fixed);
        for layer in &self.layers {
            let Pick { way, replicas } = *picks.get(&layer.name)?;
            let way = layer.ways.get(way)?;
            n_cells += u64::from(replicas).saturating_mul(way.n_cells);
            n_tiles += u64::from(replicas).saturating_mul(way.n_tiles);
            wanted.replicas.insert(layer.name.clone(), replicas);
            if let Some(window) = &way.window {
                wanted.windows.insert(layer.name.clone(), window.clone());
            }
        }
        if n_cells > u64::from(self.n_pes) * self.target.pe.cells() {
            return None;
        }
        // Free PEs are found at once, so that a large chip takes no longer; for
        // tiles that have to share one, all are looked at.
        let n_pes = u64::from(self.n_pes);
        let work = n_tiles.min(n_pes).saturating_mul(n_pes.min(128));
        let work = work.saturating_add(n_tiles.saturating_sub(n_pes).saturating_mul(n_pes));
        let work = work.saturating_add(n_pes.saturating_mul(WORK_OF_PE));
        *budget = budget.checked_sub(work)?;
        let mapping = mapping::map(self.graph, self.target, &wanted).ok()?;
        let tried = judge(method, &mapping, self.graph, self.target);
        let busiest = busiest(&mapping, &tried, self.graph, self.target);
        Some(Candidate { picks, wanted, tried, busiest })
    }

    fn started(&self, method: &'static str) -> Candidate {
        Candidate { tried: Tried { method, ..self.start.tried.clone() }, ..self.start.clone() }
    }

    /// One replica more, or the next window, where the busiest PE works, as long
    /// as it helps.
    pub(super) fn greedy(&self) -> Candidate {
        let mut best = self.started("greedy");
        let mut budget = WORK_MAX;
        loop {
            let mut better = None;
            for name in best.busiest.clone() {
                let Some(next) =
                    self.changed(&best, &[(&name, Change::More)], "greedy", &mut budget)
                else {
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

    /// The fastest pace that fits, then single layers. For one input alone what
    /// `greedy` found is another place to begin at: the pace of a stream may have
    /// many replicas share PEs, which help one input little.
    pub(super) fn balanced(&self, greedy: &Candidate) -> Candidate {
        let started = self.started("balanced");
        let mut budget = WORK_MAX;
        let several = self.layers.iter().any(|layer| layer.ways.len() > 1);
        let scarce: &[Scarce] = match several {
            true => &[Scarce::Cells, Scarce::Time, Scarce::Both],
            false => &[Scarce::Cells],
        };
        let paces = scarce.iter().map(|&scarce| self.paced(scarce, &started, &mut budget));
        let best = paces.min_by_key(|candidate| candidate.score(self.goal));
        let best = self.climb(best.unwrap_or(started), &mut budget);
        if self.goal != Goal::Latency {
            return best;
        }
        let tried = Tried { method: "balanced", ..greedy.tried.clone() };
        let other = self.climb(Candidate { tried, ..greedy.clone() }, &mut budget);
        if other.score(self.goal) < best.score(self.goal) { other } else { best }
    }

    /// The fastest pace that fits.
    fn paced(&self, scarce: Scarce, started: &Candidate, budget: &mut u64) -> Candidate {
        let mut best = started.clone();
        let slowest = self.layers.iter().map(|layer| layer.ways[0].time_ps(1)).max();
        let (mut low, mut high) = (0, slowest.unwrap_or(0));
        // Each pace halves what is left between one that fits and one that
        // does not; a dozen leaves less than a thousandth.
        for _ in 0..14 {
            if high <= low + 1 {
                break;
            }
            // First in great strides: the fastest pace is often a small part.
            let pace = if low == 0 { high / 2 } else { low + (high - low) / 2 };
            match self.candidate("balanced", self.picks_for(pace, scarce), budget) {
                Some(next) => {
                    high = pace;
                    if next.score(self.goal) < best.score(self.goal) {
                        best = next;
                    }
                }
                None => low = pace,
            }
        }
        best
    }

    /// What keeps every layer alone at a pace with the least of what is scarce.
    fn picks_for(&self, pace_ps: u64, scarce: Scarce) -> BTreeMap<String, Pick> {
        // Of a PE for as long as the pace, and of its cells.
        let of_pe = |cells: u64, work_ps: u64| {
            let cells = u128::from(cells) * u128::from(pace_ps.max(1));
            let work = u128::from(work_ps) * u128::from(self.target.pe.cells());
            match scarce {
                Scarce::Cells => (cells, 0),
                Scarce::Time => (work, cells),
                Scarce::Both => (work + cells, 0),
            }
        };
        let of = |layer: &Replicable| {
            let picks = layer.ways.iter().enumerate().map(|(way, own)| {
                let replicas = own.replicas_for(pace_ps);
                let late = own.time_ps(replicas) > pace_ps.max(own.wave_ps);
                let cells = u64::from(replicas) * own.n_cells;
                ((late, of_pe(cells, own.work_ps)), Pick { way, replicas })
            });
            let pick = picks.min_by_key(|(cost, _)| *cost).map(|(_, pick)| pick);
            (layer.name.clone(), pick.unwrap_or(Pick { way: 0, replicas: 1 }))
        };
        self.layers.iter().map(of).collect()
    }

    /// One more or one less for single layers, those of the busiest PE first,
    /// as long as something helps.
    ///
    /// For one input alone layers hide behind each other, so that a replica may
    /// help only where another layer has one more too, or one less to make room:
    /// pairs of layers are tried where single ones are of no use.
    fn climb(&self, mut best: Candidate, budget: &mut u64) -> Candidate {
        loop {
            let mut names = best.busiest.clone();
            let others = self.layers.iter().map(|layer| layer.name.clone());
            names.extend(others.filter(|name| !best.busiest.contains(name)));
            let single = names.iter().flat_map(|name| {
                let changes = [Change::More, Change::Fewer, Change::Leaner].into_iter();
                // A layer as it comes has no other window.
                let changes = changes.filter(|c| *c != Change::Leaner || self.has_windows(name));
                changes.map(move |change| vec![(&**name, change)])
            });
            let mut better = self.first_better(&best, single, FAILURES_MAX, budget);
            if better.is_none() && self.goal == Goal::Latency {
                let pairs = names.iter().flat_map(|name| {
                    let others = names.iter().filter(move |other| *other != name);
                    let changes = [Change::Fewer, Change::More].into_iter();
                    others.flat_map(move |other| {
                        let other = changes.clone().map(move |change| (&**other, change));
                        other.map(move |other| vec![(&**name, Change::More), other])
                    })
                });
                better = self.first_better(&best, pairs, PAIR_FAILURES_MAX, budget);
            }
            match better {
                Some(next) => best = next,
                None => return best,
            }
        }
    }

    /// What the first of these changes that helps makes of a candidate, if one
    /// of so many does.
    fn first_better<'n>(
        &self,
        best: &Candidate,
        changes: impl Iterator<Item = Vec<(&'n str, Change)>>,
        n_most: usize,
        budget: &mut u64,
    ) -> Option<Candidate> {
        let mut tried = changes.take(n_most);
        tried.find_map(|changes| {
            let next = self.changed(best, &changes, "balanced", budget)?;
            (next.score(self.goal) < best.score(self.goal)).then_some(next)
        })
    }

    fn has_windows(&self, name: &str) -> bool {
        self.layers.iter().any(|layer| layer.name == name && layer.ways.len() > 1)
    }

    fn changed(
        &self,
        from: &Candidate,
        changes: &[(&str, Change)],
        method: &'static str,
        budget: &mut u64,
    ) -> Option<Candidate> {
        let mut picks = from.picks.clone();
        for (name, change) in changes {
            let layer = self.layers.iter().find(|layer| layer.name == *name)?;
            let now = picks.get_mut(*name)?;
            *now = change.of(layer, *now)?;
        }
        self.candidate(method, picks, budget)
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
fn busiest(mapping: &Mapping, tried: &Tried, graph: &LayerGraph, target: &Target) -> Vec<String> {
    let core = |pe: PeId| pe.0 / target.rates.pes_per_core.max(1);
    let on = |pe: PeId| match tried.estimate.bottleneck {
        Some(Resource::Pe(own) | Resource::ShiftAndAdd(own)) => own == pe,
        Some(Resource::Link(own)) => core(own) == core(pe),
        Some(Resource::Issue(own)) => own == core(pe),
        _ => false,
    };
    let layers: BTreeSet<LayerId> =
        mapping.tiles.values().filter(|tile| on(tile.pe)).map(|tile| tile.layer).collect();
    let mut layers: Vec<LayerId> = layers.into_iter().collect();
    // Those with the most positions of a replica gain the most.
    layers.sort_by_key(|&id| {
        let positions = mapping.nest(graph, id).map_or(0, |n| n.positions_per_input() as u64);
        let n = u64::from(mapping.replicas.get(&id).copied().unwrap_or(1).max(1));
        (std::cmp::Reverse(positions / n), id)
    });
    layers.into_iter().map(|id| graph.layer(id).name.clone()).collect()
}
