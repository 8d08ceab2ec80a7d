//! A target's peak figures, as benchmark tables of arrays give them.
//!
//! All figures are those of one PE with every ADC busy in every cycle, which
//! is how Yao et al. (Nature 577, 641-646, 2020) reach 11,014 GOPS/W for the
//! 128x128 macro. What a plan takes is another matter: it counts what it
//! converts.
//!
//! Operations count every cell as one multiplication and one addition, as that
//! table does; [`peak_signed_gops`] counts the pair that holds a signed weight
//! once.

use super::{Costs, Target};

/// Peak throughput of one PE, in GOPS: two operations for each cell in the
/// time of one product of all input bits.
pub fn peak_gops(target: &Target) -> f64 {
    // Exact: a PE has at most 2^28 cells.
    let operations = 2.0 * f64::from(target.pe.inputs) * f64::from(target.pe.outputs);
    // Operations a nanosecond are giga-operations a second.
    operations / product_ns(target)
}

/// Peak throughput of one PE, in GOPS, counting signed weights: two operations
/// for each pair of cells.
pub fn peak_signed_gops(target: &Target) -> f64 {
    let operations = 2.0 * f64::from(target.pe.inputs) * f64::from(target.pe.pairs());
    operations / product_ns(target)
}

/// Time of one product of all input bits, in ns, where every line is converted
/// within the cycle.
pub fn product_ns(target: &Target) -> f64 {
    f64::from(target.readout.input_bits) * target.readout.cycle_ns
}

/// Energy of one cycle of one PE, in pJ, with every ADC busy; `None` for a
/// target without costs.
pub fn energy_pj_per_cycle(target: &Target) -> Option<f64> {
    target.costs.as_ref().map(|costs| cycle_pj(target, costs))
}

/// The share of a cycle's energy that ADCs take, 0 to 1; `None` for a target
/// without costs.
pub fn adc_share(target: &Target) -> Option<f64> {
    let costs = target.costs.as_ref()?;
    let adc_pj =
        f64::from(target.readout.lines_converted_per_cycle()) * costs.adc_pj_per_conversion;
    Some(adc_pj / cycle_pj(target, costs))
}

/// Power of one PE at its peak, in mW; `None` for a target without costs.
pub fn power_mw(target: &Target) -> Option<f64> {
    // Picojoules a nanosecond are milliwatts.
    energy_pj_per_cycle(target).map(|pj| pj / target.readout.cycle_ns)
}

/// Efficiency at the peak, in GOPS/W; `None` for a target without costs.
pub fn gops_per_w(target: &Target) -> Option<f64> {
    const MW_PER_W: f64 = 1000.0;
    power_mw(target).map(|mw| peak_gops(target) * MW_PER_W / mw)
}

/// Peak throughput for each area, in GOPS/mm2; `None` for a target without
/// costs.
pub fn gops_per_mm2(target: &Target) -> Option<f64> {
    target.costs.as_ref().map(|costs| peak_gops(target) / costs.area_mm2_per_pe)
}

fn cycle_pj(target: &Target, costs: &Costs) -> f64 {
    let conversions = f64::from(target.readout.lines_converted_per_cycle());
    conversions * costs.adc_pj_per_conversion
        + costs.sample_and_hold_pj_per_cycle
        + costs.drivers_pj_per_cycle
        + costs.array_pj_per_cycle
        + costs.shift_and_add_pj_per_cycle
}

#[cfg(test)]
mod tests {
    //! The published digits of the benchmark table, and that they follow from
    //! the parts.

    use super::*;
    use crate::target::{Override, builtin};

    fn macro_with(overrides: &[&str]) -> Target {
        let overrides: Vec<Override> =
            overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
        Target::from_yaml(builtin("yao2020-macro").unwrap(), "yao2020-macro", &overrides).unwrap()
    }

    #[test]
    fn the_macro_reaches_the_published_figures() {
        let target = macro_with(&[]);
        assert_eq!(format!("{:.2}", peak_gops(&target)), "81.92");
        assert_eq!(format!("{:.2}", peak_signed_gops(&target)), "40.96");
        assert_eq!(format!("{:.1}", energy_pj_per_cycle(&target).unwrap()), "371.9");
        assert_eq!(format!("{:.3}", power_mw(&target).unwrap()), "7.438");
        assert_eq!(format!("{:.0}", gops_per_w(&target).unwrap()), "11014");
        assert_eq!(format!("{:.0}", gops_per_mm2(&target).unwrap()), "1164");
        // ADCs take 87.8 % of it, and an 8-bit product 2.975 nJ.
        assert_eq!(format!("{:.1}", 100.0 * adc_share(&target).unwrap()), "87.8");
        let cycle_pj = energy_pj_per_cycle(&target).unwrap();
        assert_eq!(format!("{:.3}", cycle_pj * 8.0 / 1000.0), "2.975");
    }

    #[test]
    fn halving_the_energy_of_a_conversion_takes_half_of_the_adcs_share() {
        let table = macro_with(&[]);
        let halved = macro_with(&["costs.adc_pj_per_conversion=1.275"]);
        let saved_pj = energy_pj_per_cycle(&table).unwrap() - energy_pj_per_cycle(&halved).unwrap();
        assert!((saved_pj - 326.4 / 2.0).abs() < 1e-9);
        assert!((power_mw(&halved).unwrap() - (371.9 - 163.2) / 50.0).abs() < 1e-9);
        assert!((gops_per_w(&halved).unwrap() - 81.92 / (208.7 / 50.0 / 1000.0)).abs() < 1e-6);
        assert_eq!(peak_gops(&halved), peak_gops(&table));
        assert_eq!(gops_per_mm2(&halved), gops_per_mm2(&table));
    }

    #[test]
    fn fewer_input_bits_are_faster_at_the_same_power() {
        let halved = macro_with(&["readout.input_bits=4"]);
        assert!((peak_gops(&halved) - 2.0 * 81.92).abs() < 1e-9);
        assert_eq!(power_mw(&halved), power_mw(&macro_with(&[])));
    }

    #[test]
    fn a_target_without_costs_has_a_peak_and_no_efficiency() {
        let text = builtin("yao2020-chip").unwrap();
        let target = Target::from_yaml(text, "yao2020-chip", &[]).unwrap();
        assert!((peak_gops(&target) - 2.0 * 2048.0 / 400.0).abs() < 1e-9);
        assert_eq!(power_mw(&target), None);
        assert_eq!(gops_per_w(&target), None);
        assert_eq!(gops_per_mm2(&target), None);
    }
}
