//! Chips: programmed, kept, read again, and what is said where that cannot be.

use serde_json::Value;

use super::Desk;

/// A desk with `chip.plan`, the mCNN for the reference chip.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.prints("compile mcnn.onnx --target yao2020-chip --calibrate stored -o chip.plan");
    desk
}

/// The same, and `mcnn.chip`, programmed with seed 7.
fn desk_with_chip() -> Desk {
    let desk = desk();
    desk.prints("program chip.plan --seed 7 -o mcnn.chip");
    desk
}

#[test]
fn a_chip_is_a_function_of_plan_and_seed() {
    let desk = desk();
    for (threads, name) in [(1, "one.chip"), (3, "three.chip")] {
        desk.prints(&format!("program chip.plan --seed 7 --threads {threads} -o {name}"));
    }
    assert!(desk.read("one.chip") == desk.read("three.chip"));
    desk.prints("program chip.plan --seed 8 -o other.chip");
    assert!(desk.read("one.chip") != desk.read("other.chip"));
}

/// Programmed on the way or before: the same chip, read alike.
#[test]
fn a_chip_takes_the_place_of_its_plan() {
    let desk = desk_with_chip();
    let accuracy = |json: &Value| json["accuracies"][0].as_f64().unwrap();
    let kept = desk.json("eval mcnn.chip --data digits --no-float --seed 7");
    let made = desk.json("eval chip.plan --data digits --no-float --seed 7 --pulses");
    assert_eq!(accuracy(&kept), accuracy(&made));
    assert_eq!(kept["chip_seed"], 7);
    assert!(accuracy(&kept) > 85.0, "{kept}");
    desk.prints("run mcnn.chip --input digits --seed 7 -o kept.npy");
    desk.prints("run chip.plan --input digits --seed 7 --pulses -o made.npy");
    assert!(desk.read("kept.npy") == desk.read("made.npy"));
    // Another reading of the same chip is another, unless nothing is noisy.
    desk.prints("run mcnn.chip --input digits --seed 8 -o other.npy");
    assert!(desk.read("kept.npy") != desk.read("other.npy"));
    for seed in [7, 8] {
        desk.prints(&format!(
            "run mcnn.chip --input digits --seed {seed} --without read-noise -o quiet{seed}.npy"
        ));
    }
    assert!(desk.read("quiet7.npy") == desk.read("quiet8.npy"));
}

#[test]
fn a_report_says_what_programming_took_and_what_is_read() {
    let desk = desk_with_chip();
    let json = desk.json("report mcnn.chip");
    let programming = &json["programming"];
    let number = |key: &str| programming[key].as_f64().unwrap();
    assert_eq!(programming["cells"], json["cells_used"]);
    assert!(number("yield") > 0.99 && number("energy_pj") > 0.0 && number("time_ns") > 0.0);
    let reads = number("set_pulses") + number("reset_pulses") + number("cells");
    assert!((number("verify_reads") - reads).abs() < 1.0);
    let sd_us = programming["verify_error"]["sd_us"].as_f64().unwrap();
    assert!((sd_us / 0.142 - 1.0).abs() < 0.1, "{sd_us}");
    let levels = programming["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 8);
    for level in levels {
        // 2 to 20 uS at 0.2 V.
        let target_ua = 0.4 + 3.6 / 7.0 * level["level"].as_f64().unwrap();
        assert!((level["target_ua"].as_f64().unwrap() - target_ua).abs() < 1e-9);
        assert!((level["mean_ua"].as_f64().unwrap() - target_ua).abs() < 0.05, "{level}");
    }
    let text = desk.prints("report mcnn.chip");
    for part in ["pulse by pulse, seed 7", "Current of a cell at 0.2 V", " 100 % |", "50 % |"] {
        assert!(text.contains(part), "`{part}`\n{text}");
    }
    // Older cells hold less.
    let later = desk.json("report mcnn.chip --at 30d");
    let error = |json: &Value| json["programming"]["error"]["mean_us"].as_f64().unwrap();
    assert!(error(&later) < error(&json) - 0.5, "{} {}", error(&later), error(&json));
}

#[test]
fn effects_are_measured_one_by_one() {
    let desk = desk_with_chip();
    let json = desk.json("eval mcnn.chip --data digits --limit 100 --no-float --at 1h --ablate");
    let rows = json["ablation"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["effects"].as_str().unwrap()).collect();
    let effects = ["verify-error", "relaxation", "drift", "read-noise"];
    let wanted: Vec<String> = std::iter::once("no effect".to_string())
        .chain(effects.iter().map(|e| format!("only {e}")))
        .chain(effects.iter().map(|e| format!("without {e}")))
        .collect();
    assert_eq!(names, wanted);
    let accuracy = |json: &Value| json["accuracy"]["mean"].as_f64().unwrap();
    let only = desk.json(
        "eval mcnn.chip --data digits --limit 100 --no-float --at 1h --only relaxation,drift",
    );
    let without = desk.json(
        "eval mcnn.chip --data digits --limit 100 --no-float --at 1h --without verify-error \
         --without read-noise",
    );
    assert_eq!(accuracy(&only), accuracy(&without));
    assert!(accuracy(&rows[0]) > 90.0);
    let text = desk.prints("eval chip.plan --data digits --limit 20 --ablate");
    assert!(text.contains("only verify-error") && !text.contains("faults"), "{text}");
}

#[test]
fn faults_are_mapped_or_drawn() {
    let desk = desk();
    let mut codes = vec![0u8; 8 * 16 * 128];
    codes.iter_mut().step_by(50).for_each(|code| *code = 1);
    let mut npy = Vec::new();
    ohmc::format::write_array(&mut npy, &[8, 16, 128], &codes).unwrap();
    desk.write("map.npy", &npy);
    let json = desk.json("program chip.plan --fault-map map.npy -o x.chip");
    let stuck = json["cells_by_state"]["stuck_high"].as_u64().unwrap();
    let cells = json["cells"].as_u64().unwrap();
    assert!(stuck.abs_diff(cells / 50) < cells / 100, "{stuck} of {cells}");
    let text = desk.prints("eval x.chip --data digits --limit 50 --ablate");
    assert!(text.contains("without faults"), "{text}");
}

#[test]
fn each_pass_is_written_and_its_work_told() {
    let desk = desk();
    let compile = "compile mcnn.onnx --target yao2020-chip --calibrate stored -o x.plan";
    desk.prints(&format!("{compile} --set chip.pes=1 --passes 9"));
    let json = desk.json("program x.plan -o x.chip");
    let passes = json["passes"].as_array().unwrap();
    assert_eq!(passes.len(), 4);
    let sum = |key: &str| passes.iter().map(|pass| pass[key].as_f64().unwrap()).sum::<f64>();
    let (time, energy) = (json["time_ns"].as_f64().unwrap(), json["energy_pj"].as_f64().unwrap());
    assert!((sum("time_ns") / time - 1.0).abs() < 1e-9, "one after the other: {json}");
    assert!((sum("energy_pj") / energy - 1.0).abs() < 1e-9);
    let text = desk.prints("report x.chip");
    assert!(text.contains("Each time that the chip is written"), "{text}");
    desk.prints("eval x.chip --data digits --limit 20");
    // Told before anything is written, too: of so few cells each is followed,
    // as on the chip of seed 0. Only that one was formed first.
    let forecast = &desk.json("report x.plan")["writing"];
    assert_eq!(forecast["cells"], json["cells"]);
    assert_eq!(forecast["passes"].as_array().unwrap()[1..], passes[1..]);
    let formed = json["forming_pulses"].as_u64().unwrap();
    let first = |pass: &Value| pass["pulses"].as_u64().unwrap();
    assert!(formed > 0 && first(&forecast["passes"][0]) <= first(&passes[0]) - formed);
    let text = desk.prints("report x.plan");
    assert!(text.contains("for every batch of inputs that goes through all passes"), "{text}");
}

#[test]
fn what_cannot_be_programmed() {
    let desk = desk();
    let program = |case: &str, rest: &str| {
        desk.refuses(case, &format!("program chip.plan -o x.chip {rest}"));
    };
    program("program-tolerance-too-fine", "--tolerance 0.00001");
    program("program-tolerance-negative", "--tolerance=-1");
    program("program-gives-up-at-once", "--give-up 0");
    program("program-without-effect", "--without relaxation");
    let mut npy = Vec::new();
    ohmc::format::write_array(&mut npy, &[8, 128, 16], &vec![0u8; 8 * 16 * 128]).unwrap();
    desk.write("turned.npy", &npy);
    program("fault-map-of-another-shape", "--fault-map turned.npy");
    let mut npy = Vec::new();
    ohmc::format::write_array(&mut npy, &[8, 16, 128], &vec![5u8; 8 * 16 * 128]).unwrap();
    desk.write("fives.npy", &npy);
    program("fault-map-of-unknown-codes", "--fault-map fives.npy");
    program("fault-map-is-missing", "--fault-map missing.npy");
    desk.refuses("program-rounds-without-pulses", "program good.plan -o x.chip --rounds 2");
    desk.refuses("program-out-is-the-plan", "program chip.plan -o chip.plan");
    let eval = "program mcnn.onnx --target yao2020-chip --calibrate stored -o x.chip --set";
    desk.refuses("faults-rate-above-one", &format!("{eval} cell.faults.stuck_low_rate=1.5"));
    desk.refuses(
        "faults-more-than-all",
        &format!("{eval} cell.faults.stuck_low_rate=0.6 --set cell.faults.stuck_high_rate=0.7"),
    );
    desk.refuses("window-turned-round", &format!("{eval} cell.conductance_max_us=1"));
    desk.refuses("ramp-turned-round", &format!("{eval} cell.pulses.gate.set_last_v=0.5"));
}

#[test]
fn chips_that_are_refused() {
    let desk = desk_with_chip();
    let chip = desk.read("mcnn.chip");
    let mut flipped = chip.clone();
    let middle = chip.len() * 3 / 4;
    flipped[middle] ^= 1;
    desk.write("flipped.chip", flipped);
    desk.write("cut.chip", &chip[..chip.len() / 2]);
    for name in ["flipped.chip", "cut.chip"] {
        let output = desk.ohmc(&format!("run {name} --input digits -o x.npy"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("`{name}` is damaged")), "{stderr}");
    }
    desk.refuses("chip-programmed-again", "program mcnn.chip -o x.chip");
    desk.refuses("chip-with-pulses", "eval mcnn.chip --data digits --pulses");
    desk.refuses("plan-at-a-time", "report chip.plan --at 1h");
    desk.refuses("plan-without-drift", "eval good.plan --data digits --at 1h");
    desk.refuses("plan-with-effect-left-out", "compile mcnn.onnx --target ideal --without drift");
    desk.refuses("time-without-unit", "eval mcnn.chip --data digits --at 5");
}

#[test]
fn known_faults_cost_less_than_unknown_ones() {
    let desk = Desk::new();
    let faulty = "mcnn.onnx --target yao2020-chip --calibrate stored \
                  --set cell.faults.stuck_high_rate=0.03 --set cell.faults.stuck_low_rate=0.03";
    let accuracy = |how: &str| {
        let eval = format!("eval {faulty} --data digits --limit 300 --no-float --trials 2 {how}");
        desk.json(&eval)["accuracy"]["mean"].as_f64().unwrap()
    };
    let (unaware, partners, stages) =
        (accuracy(""), accuracy("--adapt --without feedback"), accuracy("--adapt=4"));
    assert!(unaware < partners && partners <= stages, "{unaware} {partners} {stages}");
    let programmed = desk.json(&format!("program {faulty} --adapt=4 -o aware.chip"));
    let adapted = &programmed["adapted"];
    let error = |key: &str| adapted[key].as_f64().unwrap();
    assert!(error("squared_error_after") < 0.5 * error("squared_error_before"), "{adapted}");
    assert!(adapted["cells_of_no_use"].as_u64().unwrap() > 100, "{adapted}");
    // What was made up for is in the file.
    let read = desk.json("eval aware.chip --data digits --limit 300 --no-float");
    let eval = format!("eval {faulty} --data digits --limit 300 --no-float --pulses --adapt=4");
    assert_eq!(read["accuracy"]["mean"], desk.json(&eval)["accuracy"]["mean"]);
    let again = desk.ohmc("eval aware.chip --data digits --adapt");
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn converters_cost_less_once_they_are_measured() {
    let desk = Desk::new();
    let accuracy = |how: &str| {
        let json = desk.json(&format!(
            "eval mcnn.onnx --target yao2020-macro --calibrate stored --data digits --limit 300 \
             --no-float {how}"
        ));
        json["accuracy"]["mean"].as_f64().unwrap()
    };
    let errors = "--set readout.adc_errors.gain_sd_fraction=0.1 \
                  --set readout.adc_errors.offset_sd_codes=8 \
                  --set readout.adc_errors.noise_sd_codes=0.5";
    let (clean, left) = (accuracy(""), accuracy(errors));
    let measured = accuracy(&format!("{errors} --set readout.adc_errors.calibration_readings=64"));
    assert!(left < clean - 3.0, "{left} of {clean}");
    assert!(measured > clean - 1.5, "{measured} of {clean}");
    assert_eq!(accuracy(&format!("{errors} --without converters")), clean);
    // Nonlinear ones, in the table of effects.
    let bowed = desk.json(
        "eval mcnn.onnx --target yao2020-chip --calibrate stored --data digits --limit 50 \
         --set readout.adc_errors.bow_sd_codes=1 --ablate --only converters",
    );
    let rows = bowed["ablation"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["effects"].as_str().unwrap()).collect();
    assert_eq!(names, ["no effect", "only converters", "without converters"]);
}
