//! Time and energy: of the plan, and of one PE at its peak.

use std::collections::{BTreeMap, BTreeSet};

use super::Work;
use super::numbers::share;
use crate::entity::{LayerId, PeId};
use crate::schedule::{Counts, ExecutionPlan};
use crate::target::{Machine, Target, benchmark};

/// What one input takes, and how fast inputs can follow each other. Digital
/// work runs beside the arrays and takes none of their cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Work counted from the plan.
    pub counts: Counts,
    /// Length of a cycle in ns.
    pub cycle_ns: f64,
    /// PEs that hold weights.
    pub n_pes_used: usize,
}

impl Schedule {
    /// Time from the first to the last cycle of one input alone, in us.
    pub fn latency_us(&self) -> f64 {
        self.us(self.counts.latency_cycles)
    }

    /// Time between inputs of a stream, in us.
    pub fn interval_us(&self) -> f64 {
        self.us(self.counts.interval_cycles)
    }

    /// Inputs a second of a stream, PEs of different layers working on
    /// different inputs; `None` for a plan that drives no PE.
    pub fn inputs_per_s(&self) -> Option<f64> {
        const US_PER_S: f64 = 1e6;
        (self.counts.interval_cycles > 0).then(|| US_PER_S / self.interval_us())
    }

    /// The share of time for which a PE in use is driven, on average, with one
    /// input alone on the chip; 0 to 1.
    pub fn utilisation_alone(&self) -> Option<f64> {
        self.utilisation(self.counts.latency_cycles)
    }

    /// The same in a stream.
    pub fn utilisation_in_stream(&self) -> Option<f64> {
        self.utilisation(self.counts.interval_cycles)
    }

    fn utilisation(&self, cycles: u64) -> Option<f64> {
        share(self.counts.pe_cycles, cycles.saturating_mul(self.n_pes_used as u64))
    }

    fn us(&self, cycles: u64) -> f64 {
        const NS_PER_US: f64 = 1000.0;
        cycles as f64 * self.cycle_ns / NS_PER_US
    }
}

/// What a target's costs come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// One PE at its peak, whatever the model.
    pub benchmark: Benchmark,
    /// One input of this plan.
    pub energy: Energy,
    /// Area of the PEs in use by part, in mm2; empty where a target does not
    /// tell parts apart. What is left of all is the last.
    pub areas: Vec<(String, f64)>,
}

impl Costs {
    pub(super) fn new(
        plan: &ExecutionPlan,
        target: &Target,
        by_layer: &BTreeMap<LayerId, Work>,
    ) -> Option<Self> {
        let energy = Energy::new(plan, target, by_layer)?;
        let areas = areas(target, &energy);
        Some(Self { benchmark: Benchmark::new(target)?, energy, areas })
    }
}

/// Area of all PEs in use, part by part.
fn areas(target: &Target, energy: &Energy) -> Vec<(String, f64)> {
    let Some(costs) = target.costs.as_ref().filter(|costs| !costs.areas.is_empty()) else {
        return Vec::new();
    };
    let n_pes = energy.n_pes as f64;
    let part = |(name, mm2): &(String, f64)| (name.clone(), mm2 * n_pes);
    let mut areas: Vec<(String, f64)> = costs.areas.iter().map(part).collect();
    let told: f64 = areas.iter().map(|(_, mm2)| mm2).sum();
    areas.push(("the rest".to_string(), (energy.area_mm2 - told).max(0.0)));
    areas
}

/// The figures of a benchmark table: one PE with every ADC busy in every
/// cycle. No plan is in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// Peak throughput in GOPS, a multiplication and an addition for each cell.
    pub peak_gops: f64,
    /// The same for each pair of cells, which is what holds a signed weight.
    pub peak_signed_gops: f64,
    /// Power in mW.
    pub power_mw: f64,
    /// Efficiency in GOPS/W, operations of cells.
    pub gops_per_w: f64,
    /// Density in GOPS/mm2, operations of cells.
    pub gops_per_mm2: f64,
    /// Energy of a cycle in pJ.
    pub energy_pj_per_cycle: f64,
    /// The share of it that ADCs take, 0 to 1.
    pub adc_share: f64,
    /// The array's part of it in pJ, as the target quotes it.
    pub array_pj_per_cycle: f64,
    /// Time of a product of all input bits in ns.
    pub product_ns: f64,
    /// Machines to compare with, as published.
    pub compare: Vec<Machine>,
}

impl Benchmark {
    /// The peak figures of a target; `None` without costs.
    pub fn new(target: &Target) -> Option<Self> {
        Some(Self {
            peak_gops: benchmark::peak_gops(target),
            peak_signed_gops: benchmark::peak_signed_gops(target),
            power_mw: benchmark::power_mw(target)?,
            gops_per_w: benchmark::gops_per_w(target)?,
            gops_per_mm2: benchmark::gops_per_mm2(target)?,
            energy_pj_per_cycle: benchmark::energy_pj_per_cycle(target)?,
            adc_share: benchmark::adc_share(target)?,
            array_pj_per_cycle: target.costs.as_ref()?.array_pj_per_cycle,
            product_ns: benchmark::product_ns(target),
            compare: target.costs.as_ref()?.compare.clone(),
        })
    }
}

/// Energy of one input, counted from a plan with the target's costs, in pJ.
///
/// Left out are the digital side, programming, and PEs that stand idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Energy {
    /// Conversions.
    pub conversions: u64,
    /// PE cycles in which lines are driven: each costs the three parts that
    /// follow.
    pub driven_cycles: u64,
    /// PE cycles in which ADCs convert: each costs shift-and-add.
    pub converting_cycles: u64,
    /// Comparisons of sums before conversion.
    pub comparisons: u64,
    /// Energy of one conversion, the mean of ADCs of all bits.
    pub adc_pj_per_conversion: f64,
    /// The same of an ADC of the target's bits.
    adc_pj: f64,
    /// Sample-and-hold, of one PE cycle.
    pub sample_and_hold_pj_per_cycle: f64,
    /// Drivers and multiplexers, of one PE cycle.
    pub drivers_pj_per_cycle: f64,
    /// The array, of one PE cycle: the target's figure, not the physics of
    /// its cells.
    pub array_pj_per_cycle: f64,
    /// Shift-and-add and the rest, of one PE cycle.
    pub shift_and_add_pj_per_cycle: f64,
    /// Energy of a comparison.
    pub comparison_pj: f64,
    /// PEs in use.
    pub n_pes: usize,
    /// Their area in mm2.
    pub area_mm2: f64,
}

impl Energy {
    fn new(
        plan: &ExecutionPlan,
        target: &Target,
        by_layer: &BTreeMap<LayerId, Work>,
    ) -> Option<Self> {
        let costs = target.costs.as_ref()?;
        let counts = plan.counts();
        // A PE that is written anew for another pass is the same silicon.
        let on_chip: BTreeSet<PeId> = plan.targets.keys().map(|&pe| plan.on_chip(pe)).collect();
        let n_pes = on_chip.len();
        let adc_weight: f64 = by_layer.values().map(|work| work.adc_weight).sum();
        Some(Self {
            n_pes,
            area_mm2: n_pes as f64 * costs.area_mm2_per_pe,
            conversions: counts.conversions,
            driven_cycles: counts.driven_cycles,
            converting_cycles: counts.converting_cycles,
            comparisons: counts.comparisons,
            adc_pj_per_conversion: match (adc_weight, counts.conversions) {
                (weight, n) if weight == n as f64 => costs.adc_pj_per_conversion,
                (weight, n) => costs.adc_pj_per_conversion * weight / n.max(1) as f64,
            },
            adc_pj: costs.adc_pj_per_conversion,
            comparison_pj: costs.comparison_pj,
            sample_and_hold_pj_per_cycle: costs.sample_and_hold_pj_per_cycle,
            drivers_pj_per_cycle: costs.drivers_pj_per_cycle,
            array_pj_per_cycle: costs.array_pj_per_cycle,
            shift_and_add_pj_per_cycle: costs.shift_and_add_pj_per_cycle,
        })
    }

    /// Name, how often, and energy each time in pJ, of every part.
    pub fn parts(&self) -> Vec<(&'static str, u64, f64)> {
        let (driven, converting) = (self.driven_cycles, self.converting_cycles);
        let mut parts = vec![
            ("conversions", self.conversions, self.adc_pj_per_conversion),
            ("sample-and-hold", driven, self.sample_and_hold_pj_per_cycle),
            ("drivers and multiplexers", driven, self.drivers_pj_per_cycle),
            ("array", driven, self.array_pj_per_cycle),
            ("shift-and-add and the rest", converting, self.shift_and_add_pj_per_cycle),
        ];
        if self.comparisons > 0 {
            parts.push(("comparisons", self.comparisons, self.comparison_pj));
        }
        parts
    }

    /// The part of it that a share of the work takes, in pJ.
    pub fn of_work(&self, work: &Work) -> f64 {
        let adc_pj_per_conversion = match work.conversions {
            n if work.adc_weight == n as f64 => self.adc_pj,
            n => self.adc_pj * work.adc_weight / n.max(1) as f64,
        };
        Self {
            conversions: work.conversions,
            driven_cycles: work.driven_cycles,
            converting_cycles: work.converting_cycles,
            comparisons: work.comparisons,
            adc_pj_per_conversion,
            ..*self
        }
        .total_pj()
    }

    /// The same with as much of it as real inputs took, in pJ: conversions and
    /// cycles of an input, in the mean.
    pub fn of_inputs(&self, conversions: f64, pe_cycles: f64, planned_cycles: u64) -> f64 {
        let share = pe_cycles / planned_cycles.max(1) as f64;
        let of = |(part, times, pj): (&'static str, u64, f64)| match part {
            "conversions" => conversions * pj,
            "comparisons" => times as f64 * pj,
            _ => times as f64 * share * pj,
        };
        self.parts().into_iter().map(of).sum()
    }

    /// All of it, in pJ.
    pub fn total_pj(&self) -> f64 {
        self.parts().iter().map(|&(_, count, pj)| count as f64 * pj).sum()
    }
}
