//! Every mistake, and the message that a user reads about it.

use super::*;

/// The whole message, line by line.
fn assert_said(text: &str, given: &[&str], expected: &[&str]) {
    assert_eq!(said(text, given).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn no_target_at_all() {
    for nothing in ["", "# nothing\n"] {
        assert_said(
            nothing,
            &["cell.levels=3"],
            &[
                "error: the target is empty",
                "  --> prototype.yaml",
                "  = help: `ohmc targets ideal` prints a complete target to start from",
            ],
        );
    }
    for other in ["- a\n- b\n", "just words"] {
        assert_said(
            other,
            &[],
            &[
                "error: the target is not a mapping of keys to values",
                "  --> prototype.yaml:1:1",
                "  = help: `ohmc targets ideal` prints a complete target to start from",
            ],
        );
    }
}

#[test]
fn broken_yaml() {
    assert_said(
        &plain_with(&[("  levels", "\tlevels")]),
        &[],
        &[
            "error: the target is not valid YAML: while scanning a plain scalar, found a tab",
            "  --> prototype.yaml:3:9: `cell.kind`",
            "  = help: indent with spaces",
        ],
    );
    let unclosed = said(&plain_with(&[("kind: linear", "kind: [linear")]), &[]);
    assert!(unclosed.starts_with("error: the target is not valid YAML: "), "{unclosed}");
    assert!(unclosed.contains("\n  --> prototype.yaml:4:9: "), "{unclosed}");
}

#[test]
fn yaml_that_targets_do_not_use() {
    assert_said(
        &plain_with(&[("inputs: 16", "inputs: &n 16"), ("outputs: 128", "outputs: *n")]),
        &[],
        &[
            "error: anchors and aliases are not used in targets",
            "  --> prototype.yaml:9:11: `pe.inputs`",
            "  = help: write the figure where it is used",
            "error: anchors and aliases are not used in targets",
            "  --> prototype.yaml:10:12: `pe.outputs`",
            "  = help: write the figure where it is used",
        ],
    );
    assert_said(
        &plain_with(&[("inputs: 16", "inputs: !!int 16")]),
        &[],
        &[
            "error: tags are not used in targets",
            "  --> prototype.yaml:9:11: `pe.inputs`",
            "  = help: write the value alone, in quotes where it is text",
        ],
    );
    assert_said(
        &plain_with(&[("inputs: 16", "inputs: 16\n  [a, b]: 16")]),
        &[],
        &["error: a key of a target is a word", "  --> prototype.yaml:10:3: `pe`"],
    );
    assert_said(
        &format!("{PLAIN}---\n{PLAIN}"),
        &[],
        &[
            "error: the target's text holds more than one YAML document",
            "  --> prototype.yaml:22:1",
            "  = help: put each target in a file of its own",
        ],
    );
    assert_said(
        &format!("{PLAIN}x: {}{}\n", "[".repeat(13), "]".repeat(13)),
        &[],
        &[
            "error: the target is nested too deeply",
            "  --> prototype.yaml:22:15: `x.0.0.0.0.0.0.0.0.0.0.0`",
            "  = note: 12 levels are read at most",
        ],
    );
}

#[test]
fn keys_that_are_repeated_unknown_or_missing() {
    assert_said(
        &plain_with(&[("levels: 8", "levels: 8\n  levels: 9")]),
        &[],
        &[
            "error: key `levels` is given twice",
            "  --> prototype.yaml:5:3: `cell.levels`",
            "  = note: it stands on line 4 already",
        ],
    );
    assert_said(
        &plain_with(&[("levels: 8", "level: 8")]),
        &[],
        &[
            "error: missing key `cell.levels`",
            "  --> prototype.yaml:2:1: `cell`",
            "  = note: Levels of one cell; 8 means 0..7, so that a pair holds -7..+7",
            "error: unknown key `cell.level`",
            "  --> prototype.yaml:4:3: `cell.level`",
            "  = help: did you mean `cell.levels`?",
        ],
    );
    assert_said(
        &format!("{PLAIN}levels: 3\nzzz: 3\n"),
        &[],
        &[
            "error: unknown key `levels`",
            "  --> prototype.yaml:22:1: `levels`",
            "  = help: did you mean `cell.levels`?",
            "error: unknown key `zzz`",
            "  --> prototype.yaml:23:1: `zzz`",
            "  = help: keys that may stand here: `name`, `description`, `cell`, `pe`, `readout`, \
             `chip`, `costs` and `rates`",
        ],
    );
}

#[test]
fn a_missing_unit_is_an_unknown_key() {
    let text = said(&plain_with(&[("cycle_ns: 50", "cycle: 50")]), &[]);
    assert!(text.contains("error: missing key `readout.cycle_ns`"), "{text}");
    assert!(text.contains("error: unknown key `readout.cycle`"), "{text}");
    assert!(text.contains("help: did you mean `readout.cycle_ns`?"), "{text}");
}

#[test]
fn values_of_the_wrong_type_or_outside_their_limits_all_at_once() {
    let text = plain_with(&[
        ("name: plain", "name: 12"),
        ("kind: linear", "kind: 3"),
        ("levels: 8", "levels:"),
        ("conductance_max_us: 20", "conductance_max_us: as-level"),
        ("read_voltage_v: 0.2", "read_voltage_v: .nan"),
        ("inputs: 16", "inputs: {a: 1}"),
        ("outputs: 128", "outputs: 127"),
        ("input_bits: 8", "input_bits: \"8\""),
        ("cycle_ns: 50", "cycle_ns: fast"),
        ("adc_bits: 8", "adc_bits: 99"),
        ("full-scale", "calibrate"),
        ("adcs_per_pe: 8", "adcs_per_pe: -1"),
        ("conversions_per_cycle: 1", "conversions_per_cycle: 1.5"),
        ("pes: 8", "pes: [8]"),
    ]);
    assert_said(
        &text,
        &[],
        &[
            "error: `name` must be text of 1 to 64 characters, found the number `12`",
            "  --> prototype.yaml:1:7: `name`",
            "error: `cell.kind` must be `linear`, found the number `3`",
            "  --> prototype.yaml:3:9: `cell.kind`",
            "error: `cell.levels` must be a whole number from 2 to 16384, found nothing",
            "  --> prototype.yaml:4:9: `cell.levels`",
            "error: `cell.conductance_max_us` must be a number from 0 to 1e6, or `as-levels`, \
             found `as-level`",
            "  --> prototype.yaml:6:23: `cell.conductance_max_us`",
            "  = help: did you mean `as-levels`?",
            "error: `cell.read_voltage_v` must be a number from 0.000001 to 100, found `.nan`",
            "  --> prototype.yaml:7:19: `cell.read_voltage_v`",
            "error: `pe.inputs` must be a whole number from 1 to 16384, found a mapping",
            "  --> prototype.yaml:9:11: `pe.inputs`",
            "error: `pe.outputs` must be an even number from 2 to 16384, found `127`",
            "  --> prototype.yaml:10:12: `pe.outputs`",
            "error: `readout.input_bits` must be a whole number from 1 to 16, found the text `8`",
            "  --> prototype.yaml:13:15: `readout.input_bits`",
            "error: `readout.cycle_ns` must be a number from 0.001 to 1e9, found `fast`",
            "  --> prototype.yaml:14:13: `readout.cycle_ns`",
            "error: `readout.adc_bits` must be a whole number from 1 to 22, or `as-needed`, \
             found `99`",
            "  --> prototype.yaml:15:13: `readout.adc_bits`",
            "error: `readout.adc_range` must be `full-scale`, `calibrated`, \
             `calibrated-by-plane` or `one-level`, found `calibrate`",
            "  --> prototype.yaml:16:14: `readout.adc_range`",
            "  = help: did you mean `calibrated`?",
            "error: `readout.adcs_per_pe` must be a whole number from 1 to 16384, found `-1`",
            "  --> prototype.yaml:17:16: `readout.adcs_per_pe`",
            "error: `readout.conversions_per_cycle` must be a whole number from 1 to 16384, \
             found `1.5`",
            "  --> prototype.yaml:18:26: `readout.conversions_per_cycle`",
            "error: `chip.pes` must be a whole number from 1 to 1e6, or `as-needed`, found a list",
            "  --> prototype.yaml:21:8: `chip.pes`",
        ],
    );
}

#[test]
fn numbers_that_yaml_would_take_for_something_else() {
    for word in [".inf", "-.inf", ".nan", "1e999", "0x10", "1_000", "yes", "null", "''"] {
        let text = said(PLAIN, &[&format!("readout.cycle_ns={word}")]);
        assert!(text.starts_with("error: `readout.cycle_ns` must be a number"), "{word}: {text}");
    }
}

#[test]
fn keys_that_contradict_each_other() {
    assert_said(
        &plain_with(&[("conductance_min_us: 2", "conductance_min_us: 20")]),
        &[],
        &[
            "error: the conductance window is empty: 20 uS to 20 uS",
            "  --> prototype.yaml:6:23: `cell.conductance_max_us`",
            "  --> prototype.yaml:5:23: `cell.conductance_min_us`",
            "  = help: give a `cell.conductance_max_us` above `cell.conductance_min_us`, both in \
             microsiemens",
        ],
    );
    assert_said(
        &plain_with(&[("conductance_max_us: 20", "conductance_max_us: 2.000001")]),
        &[],
        &[
            "error: 8 levels from 2 uS to 2.000001 uS lie less than 1e-6 uS apart",
            "  --> prototype.yaml:6:23: `cell.conductance_max_us`",
            "  --> prototype.yaml:5:23: `cell.conductance_min_us`",
            "  --> prototype.yaml:4:11: `cell.levels`",
            "  = help: check the unit: conductances are in microsiemens",
        ],
    );
    assert_said(
        &plain_with(&[("adc_bits: 8", "adc_bits: as-needed")]),
        &[],
        &[
            "error: `readout.adc_bits: as-needed` does not go with \
             `readout.adc_range: full-scale`",
            "  --> prototype.yaml:15:13: `readout.adc_bits`",
            "  --> prototype.yaml:16:14: `readout.adc_range`",
            "  = note: a code is exact only where it is one level",
            "  = help: set `readout.adc_range: one-level`, or give the number of bits",
        ],
    );
    assert_said(
        &plain_with(&[("adc_bits: 8", "adc_bits: 1")]),
        &["readout.subtract=before-conversion"],
        &[
            "error: an ADC of 1 bit reads nothing of a subtracted pair",
            "  --> prototype.yaml:15:13: `readout.adc_bits`",
            "  --> --set readout.subtract",
            "  = note: signed codes go from -(2^(bits-1)-1) to +(2^(bits-1)-1)",
            "  = help: give `readout.adc_bits` 2 or more, or set \
             `readout.subtract: after-conversion`",
        ],
    );
    assert_eq!(said(PLAIN, &["readout.adc_bits=1"]), "");
    let ideal = builtin("ideal").unwrap();
    assert_said(
        ideal,
        &["pe.inputs=513", "cell.levels=4096"],
        &[
            "error: `readout.adc_bits: as-needed` would need 23 bits, 22 are the most",
            "  --> prototype.yaml:38:13: `readout.adc_bits`",
            "  --> --set pe.inputs",
            "  --> --set cell.levels",
            "  = note: 513 inputs add up currents of 4096 levels each",
            "  = help: take fewer `pe.inputs` or `cell.levels`, or give the number of bits",
        ],
    );
    assert_eq!(said(ideal, &["pe.inputs=512", "cell.levels=4096"]), "");
    assert_said(
        &plain_with(&[("name: plain", "name: \"a\\nb\"")]),
        &[],
        &[
            "error: `name` has control characters or line separators, found `a\\nb`",
            "  --> prototype.yaml:1:7: `name`",
        ],
    );
    assert_said(
        &plain_with(&[("name: plain", "name: plain\ndescription: \"a\u{2028}b\"")]),
        &[],
        &[
            "error: `description` has control characters or line separators, found `a\\u{2028}b`",
            "  --> prototype.yaml:2:14: `description`",
        ],
    );
}

#[test]
fn costs_without_energy() {
    let text = builtin("yao2020-macro").unwrap();
    let parts = ["sample_and_hold", "drivers", "array", "shift_and_add"];
    let mut given = vec!["costs.adc_pj_per_conversion=0".to_owned()];
    given.extend(parts.iter().map(|part| format!("costs.{part}_pj_per_cycle=0")));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    assert_said(
        text,
        &given,
        &[
            "error: the energies in `costs` are all zero",
            "  --> prototype.yaml:105:1: `costs`",
            "  = help: give the energies, or leave `costs` out where they are not known",
        ],
    );
    assert_eq!(said(text, &given[1..]), "");
}

#[test]
fn several_chips_of_no_size() {
    for given in [["chip.pes=as-needed", "chip.count=1"], ["chip.pes=8", "chip.count=as-needed"]] {
        assert_eq!(said(PLAIN, &given), "");
    }
    for count in ["chip.count=4", "chip.count=as-needed"] {
        assert_said(
            PLAIN,
            &["chip.pes=as-needed", count],
            &[
                "error: `chip.count` counts chips of no size: `chip.pes` is `as-needed`",
                "  --> --set chip.count",
                "  --> --set chip.pes",
                "  = note: a chip that grows with the network leaves nothing for a second one",
                "  = help: give `chip.pes` as a number, or leave `chip.count` out",
            ],
        );
    }
}

#[test]
fn wires_of_arrays_too_large_to_analyse() {
    let text = plain_with(&[("inputs: 16", "inputs: 16384")]);
    assert_eq!(said(&text, &[]), "");
    assert_said(
        &text,
        &["pe.wire_output_ohm_per_cell=0.5"],
        &[
            "error: wires with resistance go with at most 1048576 cells, 16384 x 128 are more",
            "  --> --set pe.wire_output_ohm_per_cell",
            "  --> prototype.yaml:9:11: `pe.inputs`",
            "  --> prototype.yaml:10:12: `pe.outputs`",
            "  = note: the time of the nodal analysis grows with the square of the cells",
            "  = help: take a smaller PE, or leave out the resistance of its wires",
        ],
    );
}

#[test]
fn laws_are_checked_beside_other_mistakes_and_not_on_top_of_them() {
    let text = plain_with(&[
        ("levels: 8", "levls: 8"),
        ("conductance_max_us: 20", "conductance_max_us: 1"),
        ("adc_bits: 8", "adc_bits: as-needed"),
    ]);
    let error = load(&text, &[]).unwrap_err();
    let kinds: Vec<&FaultKind> = error.faults.iter().map(|fault| &fault.kind).collect();
    assert!(
        matches!(
            kinds.as_slice(),
            [
                FaultKind::MissingKey { .. },
                FaultKind::UnknownKey { .. },
                FaultKind::EmptyWindow { .. },
                FaultKind::BitsAsNeeded { .. },
            ]
        ),
        "{kinds:?}"
    );
    // Below every limit is one mistake, not an empty window too.
    let error = load(PLAIN, &["cell.conductance_max_us=-1"]).unwrap_err();
    assert_eq!(error.faults.len(), 1);
}

#[test]
fn mistakes_on_the_command_line_are_shown_there() {
    assert_said(
        PLAIN,
        &[
            "readout.adc_bits=99",
            "cell.levls=3",
            "adc_range=calibrated",
            "readout.cycle_ns.x=3",
            "cell.conductance_min_us=30",
        ],
        &[
            "error: the conductance window is empty: 30 uS to 20 uS",
            "  --> prototype.yaml:6:23: `cell.conductance_max_us`",
            "  --> --set cell.conductance_min_us",
            "  = help: give a `cell.conductance_max_us` above `cell.conductance_min_us`, both in \
             microsiemens",
            "error: unknown key `adc_range`",
            "  --> --set adc_range",
            "  = help: did you mean `readout.adc_range`?",
            "error: unknown key `cell.levls`",
            "  --> --set cell.levls",
            "  = help: did you mean `cell.levels`?",
            "error: `readout.adc_bits` must be a whole number from 1 to 22, or `as-needed`, \
             found `99`",
            "  --> --set readout.adc_bits",
            "error: `--set readout.cycle_ns.x` leads nowhere: `readout.cycle_ns` has no `x`",
            "  --> --set readout.cycle_ns.x",
        ],
    );
    assert_said(
        PLAIN,
        &["cell=3", "name="],
        &[
            "error: `cell` must be a mapping of keys to values, found `3`",
            "  --> --set cell",
            "error: `name` must be text of 1 to 64 characters, found nothing",
            "  --> --set name",
        ],
    );
    assert_said(
        builtin("yao2020-macro").unwrap(),
        &["costs.compare.7.power_w=1", "costs.compare.1.power=1"],
        &[
            "error: unknown key `costs.compare.1.power`",
            "  --> --set costs.compare.1.power",
            "  = help: did you mean `costs.compare.1.power_w`?",
            "error: `--set costs.compare.7.power_w` leads nowhere: `costs.compare` has no `7`",
            "  --> --set costs.compare.7.power_w",
        ],
    );
}

#[test]
fn a_set_that_is_no_path_and_value() {
    for given in ["readout.adc_bits", "=8", ".adc_bits=8", "readout..adc_bits=8", ""] {
        let error = Override::parse(given).unwrap_err();
        assert_eq!(error.given, given);
        assert_eq!(
            error.diagnostics()[0].to_string(),
            format!(
                "error: `--set {given}` is not of the form PATH=VALUE\n  \
                 = help: give a key of the target and its value, as in `--set readout.adc_bits=8`"
            )
        );
    }
    let with_equals = Override::parse("name=a=b").unwrap();
    assert_eq!((with_equals.path.as_str(), with_equals.value.as_str()), ("name", "a=b"));
}

#[test]
fn ramps_rise_rates_are_shares_and_a_ramped_gate_has_one() {
    let text = builtin("yao2020-chip").unwrap();
    let turned = said(text, &["cell.pulses.gate.reset_last_v=2"]);
    assert!(turned.contains("it goes from 3 V to 2 V"), "{turned}");
    let turned = said(text, &["cell.pulses.forming.first_v=6"]);
    assert!(turned.contains("`cell.pulses.forming.last_v` is no end of a ramp"), "{turned}");
    let none = said(text, &["cell.pulses.gate=null", "cell.pulses.recipe=gate-ramped"]);
    assert!(none.contains("needs `cell.pulses.gate`"), "{none}");
    for rate in ["stuck_high_rate", "stuck_low_rate", "dead_input_rate", "dead_output_rate"] {
        for wrong in ["-0.1", "1.1", ".nan", "lots"] {
            let text = said(text, &[&format!("cell.faults.{rate}={wrong}")]);
            assert!(text.contains(&format!("`cell.faults.{rate}` must be a number")), "{text}");
        }
    }
    let both = ["cell.faults.stuck_high_rate=0.75", "cell.faults.stuck_low_rate=0.5"];
    assert!(said(text, &both).contains("1.25 of all cells would be stuck"));
    let flat = said(text, &["cell.pulses.set_curvature=0"]);
    assert!(flat.contains("`cell.pulses.set_curvature` must not be 0"), "{flat}");
}
