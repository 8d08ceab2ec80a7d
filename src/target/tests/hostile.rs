//! Texts that are no targets, by accident or design: they are refused with a
//! message, quickly, and never bring the program down.

use proptest::prelude::*;

use super::*;
use crate::target::document::TEXT_BYTES_MAX;

/// Reads `text`, and makes every message that follows from it.
fn survives(text: &str, given: &[&str]) -> bool {
    match load(text, given) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.faults.is_empty());
            let complaints = error.diagnostics();
            assert!(!complaints.is_empty());
            for complaint in complaints {
                assert!(!complaint.message.contains('\n'), "{}", complaint.message);
            }
            false
        }
    }
}

#[test]
fn a_text_longer_than_any_target_is_not_parsed() {
    let long = format!("{PLAIN}# {}\n", "x".repeat(10 << 20));
    assert_eq!(
        said(&long, &[]),
        format!(
            "error: the target's text has {} bytes, more than a target can have\n  \
             --> prototype.yaml\n  = note: 65536 bytes are read at most",
            long.len()
        )
    );
}

#[test]
fn deep_nesting_does_not_reach_the_stack() {
    for opening in ["[", "{a: ", "- ", "? ", "- ? "] {
        let deep = opening.repeat(TEXT_BYTES_MAX / opening.len());
        assert!(!survives(&deep, &[]));
        assert!(!survives(&format!("{PLAIN}costs: {deep}"), &[]));
    }
    let path = vec!["a"; 50_000].join(".");
    assert!(!survives(PLAIN, &[&format!("{path}=1")]));
}

#[test]
fn an_alias_bomb_is_refused_at_its_first_anchor() {
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for i in 1..30 {
        bomb.push_str(&format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1));
    }
    assert!(said(&bomb, &[]).contains("anchors and aliases are not used in targets"));
}

#[test]
fn a_thousand_mistakes_are_summed_up() {
    let mut text = String::from(PLAIN);
    for i in 0..2000 {
        text.push_str(&format!("k{i}: {i}\n"));
    }
    let error = load(&text, &[]).unwrap_err();
    assert_eq!(error.faults.len(), 2000);
    assert_eq!(error.diagnostics().len(), 51);
    assert!(said(&text, &[]).contains("error: 1950 more faults in `prototype.yaml`"));
}

/// Pieces that mean something in YAML, to be put where they do not belong.
const PIECES: [&str; 24] = [
    ":", "- ", "\n", "\t", " ", "[", "]", "{", "}", "&a ", "*a", "!!int ", "? ", "|", ">", "'",
    "\"", "#", "---", "...", "%", ".nan", "1e999", "\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn any_yaml_like_text_gets_an_answer(pieces in prop::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        survives(&text, &[]);
    }

    #[test]
    fn any_damage_to_a_target_gets_an_answer(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0..6_usize), 1..5),
        value in "\\PC{0,12}",
        path in "[a-z_.0-9]{1,20}",
    ) {
        let mut text: Vec<char> = builtin("yao2020-macro").unwrap().chars().collect();
        for (place, piece, removed) in damage {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, PIECES[piece].chars());
        }
        let text: String = text.into_iter().collect();
        survives(&text, &[]);
        if let Ok(change) = Override::parse(&format!("{path}={value}")) {
            let _ = Target::from_yaml(&text, "damaged", &[change]);
        }
    }

    /// No value of any key makes a target that is not sound.
    #[test]
    fn any_value_of_any_key_is_sound_or_refused(key in 0..16_usize, value in any::<f64>(), whole in any::<bool>()) {
        const KEYS: [&str; 16] = [
            "cell.levels", "cell.conductance_min_us", "cell.conductance_max_us",
            "cell.read_voltage_v", "cell.verify_tolerance_us", "cell.relaxation_sd_us",
            "cell.read_noise_fraction", "pe.inputs", "pe.outputs", "readout.input_bits",
            "readout.cycle_ns", "readout.adc_bits", "readout.adcs_per_pe",
            "readout.conversions_per_cycle", "chip.pes", "costs.area_mm2_per_pe",
        ];
        let value = if whole { value.trunc() % 100_000.0 } else { value };
        let text = builtin("yao2020-macro").unwrap();
        let change = sets(&[&format!("{}={value}", KEYS[key])]);
        if let Ok(target) = Target::from_yaml(text, "changed", &change) {
            let step_us = target.cell.step_us();
            prop_assert!(step_us.is_finite() && step_us > 0.0);
            prop_assert!(target.pe.pairs() * 2 == target.pe.outputs && target.pe.cells() > 0);
            prop_assert!(target.readout.lines_converted_per_cycle() > 0);
            for figure in [benchmark::gops_per_w(&target), benchmark::gops_per_mm2(&target)] {
                prop_assert!(figure.is_some_and(|figure| figure.is_finite() && figure > 0.0));
            }
        }
    }
}
