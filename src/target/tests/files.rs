//! The shipped targets, defaults, overrides, and the way back to YAML.

use proptest::prelude::*;

use super::*;

fn shipped(name: &str, given: &[&str]) -> Target {
    Target::from_yaml(builtin(name).unwrap(), name, &sets(given)).unwrap()
}

#[test]
fn every_built_in_target_goes_by_its_own_name() {
    let names: Vec<&str> = builtin_names().collect();
    assert_eq!(
        names,
        [
            "charge-macro",
            "hermes",
            "ideal",
            "isaac",
            "pimcomp",
            "self-timed-macro",
            "yao2020-chip",
            "yao2020-macro"
        ]
    );
    for name in names {
        let target = shipped(name, &[]);
        assert_eq!(target.name, name);
        assert!(target.description().is_some());
    }
    assert_eq!(builtin("no-such-chip"), None);
}

#[test]
fn ideal_levels_are_whole_microsiemens_for_any_number_of_levels() {
    for levels in 2..=32_u16 {
        let target = shipped("ideal", &[&format!("cell.levels={levels}")]);
        assert_eq!(target.cell.max_level(), levels - 1);
        for level in 0..levels {
            let level = f64::from(level);
            assert_eq!(target.cell.conductance_us(level), level);
        }
    }
}

#[test]
fn ideal_loses_nothing() {
    let Target { cell, readout, chip, .. } = shipped("ideal", &[]);
    assert_eq!((cell.conductance_min_us, cell.conductance_max_us), (0.0, 7.0));
    assert_eq!(cell.verify_tolerance_us, 0.0);
    assert_eq!(cell.relaxation_sd_us, 0.0);
    assert_eq!(cell.read_noise_fraction, 0.0);
    assert_eq!(readout.adc_bits, AdcBits::AsNeeded);
    assert_eq!(readout.adc_range, AdcRange::OneLevel);
    assert_eq!(chip.pes, PeCount::AsNeeded);
}

#[test]
fn ideal_and_the_macro_can_read_every_pair_in_a_cycle() {
    for name in ["ideal", "yao2020-macro"] {
        let target = shipped(name, &[]);
        assert_eq!(target.readout.subtract, Subtract::BeforeConversion);
        assert!(target.readout.lines_converted_per_cycle() >= target.pe.pairs());
    }
}

#[test]
fn the_chip_has_the_size_of_the_published_one() {
    let target = shipped("yao2020-chip", &[]);
    assert_eq!(target.pe, Pe { inputs: 16, outputs: 128 });
    assert_eq!((target.pe.pairs(), target.pe.cells()), (64, 2048));
    assert_eq!(target.chip.pes, PeCount::Count(8));
    assert!((target.cell.step_us() - 18.0 / 7.0).abs() < 1e-12);
    assert_eq!(target.readout.subtract, Subtract::AfterConversion);
    // An 8-bit product takes the reported 400 ns for all lines of a PE.
    assert!(target.readout.lines_converted_per_cycle() >= target.pe.outputs);
    assert_eq!(benchmark::product_ns(&target), 400.0);
}

#[test]
fn physical_effects_are_absent_where_the_file_does_not_name_them() {
    let target = load(PLAIN, &[]).unwrap();
    assert_eq!(target.cell.verify_tolerance_us, 0.0);
    assert_eq!(target.cell.relaxation_sd_us, 0.0);
    assert_eq!(target.cell.read_noise_fraction, 0.0);
    assert_eq!(target.wires, Wires::NONE);
    assert!(target.wires.are_ideal());
    assert_eq!(target.costs, None);
}

/// Where no figure is published none is assumed.
#[test]
fn wires_of_the_built_in_targets_are_ideal_until_they_are_set() {
    for name in builtin_names() {
        assert_eq!(shipped(name, &[]).wires, Wires::NONE);
    }
    let set = ["pe.wire_input_ohm_per_cell=0.23", "pe.idle_outputs=gated-off"];
    let wires = shipped("yao2020-macro", &set).wires;
    let idle_outputs = IdleOutputs::GatedOff;
    assert_eq!(wires, Wires { input_ohm_per_cell: 0.23, idle_outputs, ..Wires::NONE });
    assert!(!wires.are_ideal());
}

#[test]
fn conductance_goes_on_outside_the_window() {
    let cell = load(PLAIN, &["cell.levels=10"]).unwrap().cell;
    assert_eq!(cell.step_us(), 2.0);
    assert_eq!(cell.conductance_us(0.0), 2.0);
    assert_eq!(cell.conductance_us(2.5), 7.0);
    assert_eq!(cell.conductance_us(-0.5), 1.0);
    assert_eq!(cell.conductance_us(10.0), 22.0);
}

#[test]
fn an_override_takes_the_place_of_the_file_and_the_last_one_counts() {
    let target =
        load(PLAIN, &["readout.adc_bits=6", "chip.pes=as-needed", "readout.adc_bits = 10"]);
    let target = target.unwrap();
    assert_eq!(target.readout.adc_bits, AdcBits::Bits(10));
    assert_eq!(target.chip.pes, PeCount::AsNeeded);
}

#[test]
fn overrides_can_add_a_section_and_reach_into_lists() {
    let costs = "costs: {adc_pj_per_conversion: 1, sample_and_hold_pj_per_cycle: 1, \
                 drivers_pj_per_cycle: 1, array_pj_per_cycle: 1, shift_and_add_pj_per_cycle: 1, \
                 area_mm2_per_pe: 1, compare: [{name: a, gops: 1, power_w: 1, gops_per_w: 1}]}\n";
    let target = load(&format!("{PLAIN}{costs}"), &["costs.compare.0.power_w=7"]).unwrap();
    assert_eq!(target.costs.unwrap().compare[0].power_w, 7.0);

    let parts = [
        "costs.adc_pj_per_conversion=1",
        "costs.sample_and_hold_pj_per_cycle=2",
        "costs.drivers_pj_per_cycle=3",
        "costs.array_pj_per_cycle=4",
        "costs.shift_and_add_pj_per_cycle=5",
        "costs.area_mm2_per_pe=6",
    ];
    for text in [PLAIN.to_owned(), format!("{PLAIN}costs:\n")] {
        let target = load(&text, &parts).unwrap();
        assert_eq!(target.costs.unwrap().shift_and_add_pj_per_cycle, 5.0);
    }
    let without = shipped("yao2020-macro", &["costs=null"]);
    assert_eq!(without.costs, None);
}

#[test]
fn a_file_written_on_another_system_reads_the_same() {
    let target = load(PLAIN, &[]).unwrap();
    assert_eq!(load(&format!("\u{feff}{PLAIN}"), &[]), Ok(target.clone()));
    assert_eq!(load(&PLAIN.replace('\n', "\r\n"), &[]), Ok(target.clone()));
    assert_eq!(load(&format!("%YAML 1.2\n---\n{PLAIN}...\n"), &[]), Ok(target.clone()));
    let quoted = plain_with(&[("full-scale", "\"full-scale\""), ("levels: 8", "levels: 8.0")]);
    assert_eq!(load(&quoted, &[]), Ok(target));
}

#[test]
fn shipped_targets_survive_the_way_to_canonical_yaml_and_back() {
    for name in builtin_names() {
        let target = shipped(name, &["cell.levels=5", "readout.cycle_ns=33.3"]);
        let canonical = target.to_yaml();
        let again = Target::from_yaml(&canonical, name, &[]).unwrap();
        assert_eq!(again, target);
        assert_eq!(again.to_yaml(), canonical);
    }
}

#[test]
fn canonical_yaml_says_everything() {
    let canonical = load(PLAIN, &["cell.read_noise_fraction=1e-7"]).unwrap().to_yaml();
    assert!(canonical.contains("  verify_tolerance_us: 0.0\n"));
    assert!(canonical.contains("  read_noise_fraction: 1e-7\n"));
    assert!(!canonical.contains("costs"));
}

#[test]
fn the_json_schema_tells_an_editor_keys_limits_and_meanings() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    assert_eq!(schema.pointer("/properties/cell/properties/levels/minimum"), Some(&2.into()));
    let meaning = schema.pointer("/properties/readout/properties/cycle_ns/description");
    assert!(meaning.unwrap().as_str().unwrap().contains("nanoseconds"));
    assert!(jsonschema::validator_for(&schema).is_ok());
}

/// As YAML writes any text on one line; JSON's way is one of its ways.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

proptest! {
    /// Every figure comes back to the last bit, every text to the last space.
    #[test]
    fn any_figures_survive_the_way_to_canonical_yaml_and_back(
        min_us in 0.0..1e3_f64,
        window_us in 1e-2..1e5_f64,
        noise in 0.0..1.0_f64,
        cycle_ns in 1e-3..1e9_f64,
        levels in 2..=4096_u16,
        name in "[ -~]{1,64}|[\\PC--[\\u2028\\u2029]]{1,16}",
        description in "[ -~\\n\\t]{1,64}|[\\PC--[\\u2028\\u2029]]{1,16}",
    ) {
        let text = plain_with(&[
            ("conductance_min_us: 2", &format!("conductance_min_us: {min_us:e}")),
            ("conductance_max_us: 20", &format!("conductance_max_us: {}", min_us + window_us)),
            ("levels: 8", &format!("levels: {levels}\n  read_noise_fraction: {noise}")),
            ("cycle_ns: 50", &format!("cycle_ns: {cycle_ns}")),
            ("name: plain", &format!("name: {}\ndescription: {}", quoted(&name), quoted(&description))),
        ]);
        let target = load(&text, &[]).unwrap();
        prop_assert_eq!(target.cell.conductance_min_us, min_us);
        prop_assert_eq!(target.cell.conductance_max_us, min_us + window_us);
        prop_assert_eq!(target.readout.cycle_ns, cycle_ns);
        prop_assert_eq!(&target.name, &name);
        prop_assert_eq!(target.description(), Some(&*description));
        prop_assert_eq!(load(&target.to_yaml(), &[]), Ok(target));
    }
}
