//! Costs in the report's JSON.

use serde::Serialize;

use super::Costs;

#[derive(Serialize)]
pub(super) struct CostsForm<'a> {
    peak_gops: f64,
    peak_gops_per_signed_weight: f64,
    power_mw: f64,
    gops_per_w: f64,
    gops_per_mm2: f64,
    peak_energy_pj_per_cycle: f64,
    peak_adc_share: f64,
    product_ns: f64,
    compare: Vec<MachineForm<'a>>,
    energy_per_input: EnergyForm,
    /// Left out for a target that does not tell parts apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    areas: Vec<AreaForm<'a>>,
}

#[derive(Serialize)]
struct MachineForm<'a> {
    name: &'a str,
    gops: f64,
    power_w: f64,
    gops_per_w: f64,
}

#[derive(Serialize)]
struct AreaForm<'a> {
    part: &'a str,
    mm2: f64,
}

#[derive(Serialize)]
struct EnergyForm {
    counts: &'static str,
    leaves_out: &'static str,
    total_pj: f64,
    area_mm2: f64,
    parts: Vec<PartForm>,
}

#[derive(Serialize)]
struct PartForm {
    part: &'static str,
    times: u64,
    pj_each: f64,
    pj: f64,
}

impl<'a> CostsForm<'a> {
    pub(super) fn new(costs: &'a Costs) -> Self {
        let Costs { benchmark: peak, energy, areas } = costs;
        let compare = peak.compare.iter().map(|machine| MachineForm {
            name: &machine.name,
            gops: machine.gops,
            power_w: machine.power_w,
            gops_per_w: machine.gops_per_w,
        });
        let parts = energy.parts().into_iter().map(|(part, times, pj_each)| PartForm {
            part,
            times,
            pj_each,
            pj: times as f64 * pj_each,
        });
        Self {
            peak_gops: peak.peak_gops,
            peak_gops_per_signed_weight: peak.peak_signed_gops,
            power_mw: peak.power_mw,
            gops_per_w: peak.gops_per_w,
            gops_per_mm2: peak.gops_per_mm2,
            peak_energy_pj_per_cycle: peak.energy_pj_per_cycle,
            peak_adc_share: peak.adc_share,
            product_ns: peak.product_ns,
            compare: compare.collect(),
            energy_per_input: EnergyForm {
                counts: "conversions and PE cycles of this plan",
                leaves_out: "digital side, programming, idle PEs",
                total_pj: energy.total_pj(),
                area_mm2: energy.area_mm2,
                parts: parts.collect(),
            },
            areas: areas.iter().map(|(part, mm2)| AreaForm { part, mm2: *mm2 }).collect(),
        }
    }
}
