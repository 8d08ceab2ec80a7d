//! What the arrays drew on some inputs, in words and for scripts: physics in
//! one line, a target's own figures in another, never added.

use ohmc::report::{Costs, Report};
use ohmc::runtime::ArrayEnergy;
use ohmc::timing::TimingOptions;
use serde_json::{Value, json};

use super::prepare::Prepared;

/// Picojoules of a nanojoule.
const PJ_PER_NJ: f64 = 1000.0;

/// Energy and share of ones of an input, the mean over chips.
fn means(energies: &[&ArrayEnergy]) -> (f64, f64) {
    let n = energies.len().max(1) as f64;
    let pj: f64 = energies.iter().map(|energy| energy.pj_per_input()).sum();
    let ones: f64 = energies.iter().map(|energy| energy.share_of_ones()).sum();
    (pj / n, ones / n)
}

fn costs(prepared: &Prepared) -> Option<Costs> {
    let report: Report = prepared.report(TimingOptions { in_flight: Some(1) });
    report.costs
}

/// Conversions of an input, the mean over chips.
fn conversions(energies: &[&ArrayEnergy]) -> f64 {
    let n = energies.len().max(1) as f64;
    energies.iter().map(|energy| energy.conversions_per_input()).sum::<f64>() / n
}

/// Energy by a target's figures with the conversions and cycles that these
/// inputs took; as planned where nothing depends on them.
fn real_pj(energies: &[&ArrayEnergy], costs: &Costs, prepared: &Prepared) -> f64 {
    let planned = prepared.plan.counts();
    let n = energies.len().max(1) as f64;
    let cycles = energies.iter().map(|energy| energy.pe_cycles_per_input()).sum::<f64>() / n;
    let conversions = conversions(energies);
    if conversions == planned.conversions as f64 && cycles == planned.pe_cycles as f64 {
        return costs.energy.total_pj();
    }
    costs.energy.of_inputs(conversions, cycles, planned.pe_cycles)
}

/// Lines for people.
pub fn text(energies: &[&ArrayEnergy], prepared: &Prepared) -> String {
    let (pj, ones) = means(energies);
    let mut text = format!(
        "array energy    {:.3} nJ an input by physics: V^2 G t over driven cells, {:.1} % of bits 1\n",
        pj / PJ_PER_NJ,
        100.0 * ones,
    );
    text += &format!(
        "conversions     {:.0} an input of {} that the plan counts at most\n",
        conversions(energies),
        prepared.plan.counts().conversions,
    );
    if let Some(costs) = costs(prepared) {
        let array = costs.energy.parts().into_iter().find(|(part, ..)| *part == "array");
        let array_pj = array.map_or(0.0, |(_, times, pj)| times as f64 * pj);
        text += &format!(
            "by the target   {:.3} nJ an input counted with its figures, {:.3} nJ of it for arrays\n",
            real_pj(energies, &costs, prepared) / PJ_PER_NJ,
            array_pj / PJ_PER_NJ,
        );
    }
    text
}

/// The same for scripts, with layers.
pub fn json(energies: &[&ArrayEnergy], prepared: &Prepared) -> Value {
    let (pj, ones) = means(energies);
    let first = energies.first();
    let layers: Vec<Value> = first.map_or(Vec::new(), |energy| {
        let n_inputs = energy.n_inputs.max(1) as f64;
        let layer = |(id, pj): &(ohmc::entity::LayerId, f64)| {
            let name = &prepared.model.graph.layer(*id).name;
            json!({ "id": id.to_string(), "name": name, "pj_per_input": pj / n_inputs })
        };
        energy.layers.iter().map(layer).collect()
    });
    json!({
        "array_physics_pj_per_input": pj,
        "share_of_ones": ones,
        "layers": layers,
        "conversions_per_input": conversions(energies),
        "target_figures_pj_per_input": costs(prepared).map(|c| real_pj(energies, &c, prepared)),
    })
}
