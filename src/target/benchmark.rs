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

use super::{Conversion, Costs, Subtract, Target};

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

/// Time of one product of all input bits, in ns: where planes are converted one
/// by one, every line within its cycle; where they are added up, the cycles in
/// which all lines are converted follow.
pub fn product_ns(target: &Target) -> f64 {
    let readout = &target.readout;
    let planes = f64::from(readout.input_bits);
    match readout.conversion {
        Conversion::Accumulated => (planes + rounds(target)) * readout.cycle_ns,
        Conversion::EveryPlane | Conversion::Significant(_) => planes * readout.cycle_ns,
    }
}

/// Outputs of a PE that are converted.
fn outputs(target: &Target) -> u32 {
    match target.readout.subtract {
        Subtract::BeforeConversion => target.pe.pairs(),
        Subtract::AfterConversion => target.pe.outputs,
    }
}

/// Cycles in which all of them are.
fn rounds(target: &Target) -> f64 {
    outputs(target).div_ceil(target.readout.lines_converted_per_cycle().max(1)).into()
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
    Some(adc_cycle_pj(target, costs) / cycle_pj(target, costs))
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

/// Energy of conversions in the mean cycle.
fn adc_cycle_pj(target: &Target, costs: &Costs) -> f64 {
    let conversions = match target.readout.conversion {
        Conversion::Accumulated => {
            f64::from(outputs(target)) / (f64::from(target.readout.input_bits) + rounds(target))
        }
        Conversion::EveryPlane | Conversion::Significant(_) => {
            f64::from(target.readout.lines_converted_per_cycle())
        }
    };
    conversions * costs.adc_pj_per_conversion
}

/// Energy of the mean cycle: where planes are added up, some drive lines and
/// others convert.
fn cycle_pj(target: &Target, costs: &Costs) -> f64 {
    let (driven, converting) = match target.readout.conversion {
        Conversion::Accumulated => {
            let (planes, rounds) = (f64::from(target.readout.input_bits), rounds(target));
            (planes / (planes + rounds), rounds / (planes + rounds))
        }
        Conversion::EveryPlane | Conversion::Significant(_) => (1.0, 1.0),
    };
    adc_cycle_pj(target, costs)
        + driven * costs.sample_and_hold_pj_per_cycle
        + driven * costs.drivers_pj_per_cycle
        + driven * costs.array_pj_per_cycle
        + converting * costs.shift_and_add_pj_per_cycle
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

    /// A published chip of so many PEs, by its target's parts: operations of its
    /// weights in TOPS, power in W, area in mm2.
    fn chip(name: &str, of: impl Fn(&Target) -> f64) -> (f64, f64, f64) {
        chip_with(name, &[], of)
    }

    fn chip_with(name: &str, changes: &[&str], of: impl Fn(&Target) -> f64) -> (f64, f64, f64) {
        let changes: Vec<Override> = changes.iter().map(|c| Override::parse(c).unwrap()).collect();
        let target = Target::from_yaml(builtin(name).unwrap(), name, &changes).unwrap();
        let n_pes = f64::from(target.chip.n_pes().unwrap());
        let area = target.costs.as_ref().unwrap().area_mm2_per_pe;
        (n_pes * of(&target) / 1e3, n_pes * power_mw(&target).unwrap() / 1e3, n_pes * area)
    }

    #[test]
    fn isaac_is_what_its_parts_add_up_to() {
        // A weight of 16 bits is 8 cells of 2.
        let (tops, power_w, area_mm2) = chip("isaac", |target| peak_gops(target) / 8.0);
        assert!((tops / 41.3 - 1.0).abs() < 0.001, "{tops} TOPS");
        assert!((power_w / 65.8 - 1.0).abs() < 0.001, "{power_w} W");
        assert!((tops / power_w / 0.63 - 1.0).abs() < 0.005);
        assert!((tops / area_mm2 / 0.48 - 1.0).abs() < 0.01);
    }

    /// How far what follows from the core of the 64-core chip is from what its
    /// paper measured: throughput and efficiency, as factors.
    fn phase_change_chip(changes: &[&str], published: (f64, f64)) -> [f64; 2] {
        let (tops, power_w, _) = chip_with("hermes", changes, peak_signed_gops);
        let (published_tops, published_tops_per_w) = published;
        [tops / published_tops, tops / power_w / published_tops_per_w]
    }

    #[test]
    fn the_phase_change_chip_follows_from_its_core() {
        let [tops, tops_per_w] = phase_change_chip(&[], (63.1, 9.76));
        assert!((1.0..1.04).contains(&tops), "{tops}");
        assert!((1.0..1.08).contains(&tops_per_w), "{tops_per_w}");
        // Four phases take four times as long, and four times the energy.
        let four = ["readout.cycle_ns=56.889", "costs.shift_and_add_pj_per_cycle=49932"];
        let [tops, tops_per_w] = phase_change_chip(&four, (16.1, 2.48));
        assert!((1.0..1.02).contains(&tops), "{tops}");
        assert!((1.0..1.06).contains(&tops_per_w), "{tops_per_w}");
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
