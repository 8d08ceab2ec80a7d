//! `ohmc tune`: chips before and after, trainings that are ended and go on, and
//! what is said where that cannot be.

use super::Desk;
use super::killed::goes_on_to_the_same_bytes;

/// A desk with `mcnn.chip`, programmed with seed 7 by the plain rule.
fn desk() -> Desk {
    let desk = Desk::new();
    let options = "--target yao2020-chip --calibrate stored --weights plain --seed 7";
    desk.prints(&format!("program mcnn.onnx {options} -o mcnn.chip"));
    desk
}

const TUNE: &str = "tune mcnn.chip --data digits --batch 50 --rate 1";

#[test]
fn a_tuned_chip_takes_the_place_of_the_other() {
    let desk = desk();
    // The digits have no training part; that is a warning, and a test may.
    let tuned = desk.ohmc(&format!(
        "{TUNE} --batches 40 --hold-out 10% --curves c.json --svg c.svg -o tuned.chip --format json"
    ));
    assert!(tuned.status.success(), "{}", String::from_utf8_lossy(&tuned.stderr));
    let json: serde_json::Value = serde_json::from_slice(&tuned.stdout).unwrap();
    let loss = |which: &str| json[which]["loss"].as_f64().unwrap();
    assert!(loss("after") < 0.9 * loss("before"), "{json}");
    assert_eq!(json["layers"][0], "fc");
    let given = json["wear"]["pulses_mean"].as_f64().unwrap()
        * json["wear"]["cells_pulsed"].as_f64().unwrap();
    let work = &json["work"];
    let pulses = work["set_pulses"].as_f64().unwrap() + work["reset_pulses"].as_f64().unwrap();
    assert!(pulses > 0.0 && (given - pulses).abs() < 1e-6 * pulses, "{json}");
    let curves: serde_json::Value = serde_json::from_slice(&desk.read("c.json")).unwrap();
    assert_eq!(curves["curve"].as_array().unwrap().len(), 40);
    assert_eq!(curves["held_out"].as_array().unwrap().len(), 3);
    assert!(String::from_utf8(desk.read("c.svg")).unwrap().ends_with("</svg>\n"));
    // It is a chip like any other.
    let report = desk.json("report tuned.chip");
    let of = |json: &serde_json::Value, key: &str| json["programming"][key].as_f64().unwrap();
    let before = desk.json("report mcnn.chip");
    let all = |json: &serde_json::Value| of(json, "set_pulses") + of(json, "reset_pulses");
    assert_eq!(all(&report), all(&before) + pulses);
    // Inputs of its batches, and those held out at three looks, as the report
    // says of each.
    let forward = &json["forward"];
    let n_held_out = json["held_out_samples"].as_u64().unwrap();
    assert_eq!(forward["inputs"], 40 * 50 + 3 * n_held_out);
    let each = |key: &str| forward[key].as_f64().unwrap() / forward["inputs"].as_f64().unwrap();
    let near = |found: f64, wanted: &serde_json::Value| {
        let wanted = wanted.as_f64().unwrap();
        assert!((found - wanted).abs() < 1e-6 * wanted, "{found} {wanted}");
    };
    // The target gives no costs.
    assert!(forward["energy_pj"].is_null() && before["energy_per_input"].is_null());
    near(each("array_pj_max"), &before["physics"]["array_pj_per_input_max"]);
    near(each("time_ns") / 1e3, &before["timing"]["interval_us"]);
    desk.prints("run tuned.chip --input digits -o y.npy");
    let accuracy = |chip: &str| {
        desk.json(&format!("eval {chip} --data digits --no-float"))["accuracy"]["mean"]
            .as_f64()
            .unwrap()
    };
    assert!(accuracy("tuned.chip") > accuracy("mcnn.chip"));
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_bytes() {
    let desk = desk();
    let tune = format!("{TUNE} --batches 30 --hold-out 30");
    let part = goes_on_to_the_same_bytes(&desk, &tune);
    // Once more: nothing is left to do, and the chip is the same.
    assert!(desk.ohmc(&part).status.success());
    assert!(desk.read("part.chip") == desk.read("whole.chip"));
    // The state of this training is of use to no other, and damage is seen.
    let other = desk.ohmc(&format!("{part} --seed 9"));
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8_lossy(&other.stderr).to_string();
    assert!(said.contains("`part.state` is the state of another training"), "{said}");
    let mut damaged = desk.read("part.state");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    desk.write("part.state", damaged);
    let refused = desk.ohmc(&part);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).to_string();
    assert!(said.contains("`part.state` is damaged"), "{said}");
}

/// Where no change of a cell is worth a pulse, biases change alone, and the chip
/// that is kept has them; or they stay.
#[test]
fn biases_are_kept_with_the_chip() {
    let desk = desk();
    let tune = format!("{TUNE} --batches 4 --least 1000 --format json");
    let bytes = |chip: &str| {
        desk.prints(&format!("run {chip} --input digits -o y.npy"));
        desk.read("y.npy")
    };
    let summary = |arguments: &str| -> serde_json::Value {
        let done = desk.ohmc(&format!("{tune} {arguments}"));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let tuned = summary("-o tuned.chip");
    assert_eq!((&tuned["biases_trained"], &tuned["changed_cells"]), (&true.into(), &0.into()));
    let kept = summary("--keep-biases -o kept.chip");
    assert_eq!((&kept["biases_trained"], &kept["changed_cells"]), (&false.into(), &0.into()));
    assert!(bytes("tuned.chip") != bytes("mcnn.chip"));
    assert!(bytes("kept.chip") == bytes("mcnn.chip"));
    // Those of all layers, whichever way they are named.
    summary("--all-layers -o all.chip");
    summary("--layer conv1 --layer conv2 --layer fc -o named.chip");
    assert!(desk.read("all.chip") == desk.read("named.chip"));
    assert!(desk.read("all.chip") != desk.read("tuned.chip"));
}

#[test]
fn calibration_needs_no_labels() {
    let desk = desk();
    desk.prints("run mcnn.chip --input digits -o before.npy");
    let tuned = desk.ohmc("tune mcnn.chip --data digits --calibrate --samples 100 -o put.chip");
    assert!(tuned.status.success(), "{}", String::from_utf8_lossy(&tuned.stderr));
    let text = String::from_utf8(tuned.stdout).unwrap();
    assert!(text.contains("100 inputs without labels"), "{text}");
    for layer in ["conv1", "conv2", "fc"] {
        assert!(text.contains(layer), "{text}");
    }
    desk.prints("eval put.chip --data digits --no-float");
    let distil = "tune mcnn.chip --data digits --calibrate=distilled --samples 100 --epochs 2";
    let json = desk.json(&format!("{distil} -o taught.chip"));
    let scores = json["scores"].as_array().unwrap();
    assert_eq!((scores.len(), json["samples"].as_u64()), (3, Some(100)));
    let error = |nth: usize| scores[nth]["error"].as_f64().unwrap();
    assert!(error(2) < error(0), "{scores:?}");
    desk.prints(&format!("{distil} --threads 1 -o again.chip"));
    assert!(desk.read("taught.chip") == desk.read("again.chip"));
    assert!(desk.read("taught.chip") != desk.read("put.chip"));
    let astray = desk.ohmc(&format!("{distil} --rate 1e9 -o astray.chip"));
    let said = String::from_utf8_lossy(&astray.stderr).to_string();
    assert!(said.contains("further from the model's than before"), "{said}");
}

#[test]
fn what_cannot_be_tuned() {
    let desk = desk();
    desk.refuses("tune-a-plan", "tune good.plan --data digits -o x.chip");
    desk.refuses("tune-a-model", "tune mcnn.onnx --data digits -o x.chip");
    desk.refuses("tune-over-the-chip", "tune mcnn.chip --data digits -o mcnn.chip");
    desk.refuses("tune-share-above-all", "tune mcnn.chip --data digits --randomise 110%");
    desk.refuses("tune-calibrate-with-rate", "tune mcnn.chip --data digits --calibrate --rate 1");
    let image = vec![0f32; 2 * 28 * 28];
    let mut npy = Vec::new();
    ohmc::format::write_array(&mut npy, &[2, 1, 28, 28], &image).unwrap();
    desk.write("bare.npy", &npy);
    desk.refuses("tune-without-labels", "tune mcnn.chip --data bare.npy -o x.chip");
    let mut npy = Vec::new();
    ohmc::format::write_array(&mut npy, &[2], &[3i64, 12]).unwrap();
    desk.write("labels.npy", &npy);
    let labelled = "tune mcnn.chip --data bare.npy --labels labels.npy";
    desk.refuses("tune-label-beyond-classes", &format!("{labelled} -o x.chip"));
    desk.refuses("tune-unknown-layer", &format!("{labelled} --layer fc1 -o x.chip"));
    desk.refuses("tune-all-held-out", &format!("{labelled} --hold-out 100% -o x.chip"));
}
