//! `ohmc train`: chips from nothing, trainings that are ended and go on, and
//! what is said where that cannot be.

use super::Desk;
use super::killed::goes_on_to_the_same_bytes;

const TRAIN: &str = "train mcnn.onnx --random --target yao2020-chip --set pe.transposed_reads=true \
                     --set cell.pulses.model=table-scaled --data digits --batch 20 --least 0.8";

#[test]
fn a_chip_is_trained_from_nothing() {
    let desk = Desk::new();
    // The digits' training part has 200 images, of the same strokes.
    let trained =
        desk.ohmc(&format!("{TRAIN} --epochs 15 --curves c.json -o trained.chip --format json"));
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let json: serde_json::Value = serde_json::from_slice(&trained.stdout).unwrap();
    let of = |which: &str, key: &str| json[which][key].as_f64().unwrap();
    assert!(of("before", "accuracy") < 30.0 && of("after", "accuracy") > 60.0, "{json}");
    assert_eq!(json["layers"].as_array().unwrap().len(), 3);
    assert_eq!(json["backward"], "arrays");
    assert!(json["transposed_waves"].as_u64().unwrap() > 0);
    // The target has no costs, its cells draw what they draw.
    assert!(json["transposed_energy_pj"].is_null());
    let way_back = ["transposed_array_pj", "transposed_time_ns"];
    assert!(way_back.iter().all(|key| json[key].as_f64().unwrap() > 0.0), "{json}");
    assert!(of("programming", "energy_pj") > 0.0 && of("work", "energy_pj") > 0.0);
    let curves: serde_json::Value = serde_json::from_slice(&desk.read("c.json")).unwrap();
    assert_eq!(curves["curve"].as_array().unwrap().len(), 150);
    // It runs alone, as any chip, with the weights that were drawn beside it.
    let eval = desk.json("eval trained.chip --data digits");
    let accuracy = |which: &str| eval["accuracy"][which].as_f64().unwrap();
    assert!(accuracy("mean") > 50.0 && accuracy("float") < 30.0, "{eval}");
}

#[test]
fn a_training_from_nothing_goes_on_to_the_same_bytes() {
    let desk = Desk::new();
    let train = format!("{TRAIN} --epochs 2 --momentum 0.5 --update sign --seed 3");
    let part = goes_on_to_the_same_bytes(&desk, &train);
    let other = desk.ohmc(&part.replace("--seed 3", "--seed 4"));
    assert_eq!(other.status.code(), Some(1));
}

#[test]
fn what_cannot_be_trained() {
    let desk = Desk::new();
    let refused = TRAIN.replace("--set pe.transposed_reads=true ", "");
    desk.refuses("train-without-transposed-reads", &format!("{refused} -o x.chip"));
    desk.refuses("train-a-plan", "train good.plan --data digits -o x.chip");
    desk.refuses("train-over-the-model", "train mcnn.onnx --data digits -o mcnn.onnx");
    desk.refuses("train-room-below-one", "train mcnn.onnx --data digits --room 0.5");
    desk.refuses("train-momentum-of-one", "train mcnn.onnx --data digits --momentum 1");
}
