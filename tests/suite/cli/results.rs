//! What commands give: a plan stands for its model, and every result is the
//! same however it was asked for.

use ohmc::data::read_npy;
use ohmc::tensor::{Tensor, Values};
use serde_json::Value;

use super::Desk;

const CHIP: &str = "--target yao2020-chip --calibrate digits";

/// A desk with `chip.plan`, compiled for the chip.
fn with_chip_plan() -> Desk {
    let desk = Desk::new();
    let text = desk.prints(&format!("compile mcnn.onnx {CHIP} -o chip.plan"));
    assert!(text.starts_with("mcnn.onnx for yao2020-chip\n"), "{text}");
    desk
}

fn npy(desk: &Desk, name: &str) -> Tensor {
    read_npy(&*desk.read(name), name).unwrap()
}

/// The object without some of its keys, which it must have.
fn without(mut json: Value, keys: &[&str]) -> Value {
    for key in keys {
        assert!(json.as_object_mut().unwrap().shift_remove(*key).is_some(), "no `{key}`");
    }
    json
}

#[test]
fn a_plan_runs_as_its_model_does() {
    let desk = with_chip_plan();
    let run = "--input digits --limit 20 --seed 3 -o";
    let summary = desk.json(&format!("run chip.plan {run} plan.npy"));
    assert_eq!((&summary["images"], &summary["seed"]), (&20.into(), &3.into()));
    assert_eq!(summary["outputs"][0]["file"], "plan.npy");
    desk.prints(&format!("run mcnn.onnx {CHIP} {run} model.npy"));
    let output = npy(&desk, "plan.npy");
    assert_eq!(output.shape, [20, 10]);
    let Values::F32(values) = &output.values else { panic!("{:?}", output.values) };
    assert!(values.iter().any(|&value| value != 0.0), "all zero");
    assert_eq!(output, npy(&desk, "model.npy"));
    // Another chip is another result, so the comparison can fail.
    desk.prints("run chip.plan --input digits --limit 20 --seed 4 -o other.npy");
    assert_ne!(output, npy(&desk, "other.npy"));
}

#[test]
fn a_plan_is_as_accurate_as_its_model() {
    let desk = with_chip_plan();
    let eval = "--data digits --limit 60 --trials 2 --seed 5";
    let of_plan = desk.json(&format!("eval chip.plan {eval}"));
    let of_model = desk.json(&format!("eval mcnn.onnx {CHIP} {eval}"));
    // A plan does not say what it was calibrated on.
    let apart = ["seconds", "peak_memory_bytes", "calibration"];
    assert_eq!(without(of_plan.clone(), &apart), without(of_model, &apart));
    let mean = of_plan["accuracy"]["mean"].as_f64().unwrap();
    assert!((80.0..=100.0).contains(&mean), "{mean} %");
}

#[test]
fn a_plan_is_reported_on_as_its_model_is() {
    let desk = with_chip_plan();
    let of_plan = desk.json("report chip.plan");
    let of_model = desk.json(&format!("report mcnn.onnx {CHIP}"));
    assert_eq!(of_plan["model"], "chip.plan");
    assert_eq!(of_model["calibration"], "200 inputs, training part of digits");
    let apart = ["model", "calibration"];
    assert_eq!(without(of_plan, &apart), without(of_model, &apart));
    let text = desk.prints("report chip.plan");
    for name in ["conv1", "conv2", "fc", "yao2020-chip"] {
        assert!(text.contains(name), "no `{name}` in\n{text}");
    }
}

#[test]
fn a_stored_calibration_gives_the_same_plan() {
    let desk = Desk::new();
    // `good.plan` came from the data, this comes from what was stored then.
    desk.prints("compile mcnn.onnx --target ideal --calibrate stored -o again.plan");
    assert!(desk.read("good.plan") == desk.read("again.plan"));
    // Fewer inputs have other ranges: the comparison can fail.
    let few = "--calibrate digits --calibration-limit 3";
    desk.prints(&format!("compile mcnn.onnx --target ideal {few} -o few.plan"));
    assert!(desk.read("good.plan") != desk.read("few.plan"));
}

#[test]
fn a_target_file_does_as_its_name_does() {
    let desk = Desk::new();
    let printed = desk.prints("targets ideal");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/targets/ideal.yaml");
    assert_eq!(printed, std::fs::read_to_string(shipped).unwrap());
    desk.write("mine.yaml", printed);
    desk.prints("compile mcnn.onnx --target mine.yaml --calibrate stored -o mine.plan");
    assert!(desk.read("good.plan") == desk.read("mine.plan"));
}

#[test]
fn changes_of_a_target_show() {
    let desk = Desk::new();
    let report = |set: &str| {
        desk.json(&format!("report mcnn.onnx --target yao2020-chip --calibrate stored {set}"))
    };
    let (as_it_is, changed) = (report(""), report("--set chip.pes=16 --set pe.inputs=64"));
    assert_eq!((&as_it_is["pes_available"], &as_it_is["pe_inputs"]), (&8.into(), &16.into()));
    assert_eq!((&changed["pes_available"], &changed["pe_inputs"]), (&16.into(), &64.into()));
    // A PE has four times the cells, and the network as many as before.
    assert_eq!(as_it_is["cells_used"], changed["cells_used"]);
    assert!(changed["pes"].as_u64() < as_it_is["pes"].as_u64());
    let printed = desk.prints("targets yao2020-chip --set readout.adc_bits=6");
    assert!(printed.contains("adc_bits: 6\n"), "{printed}");
    assert!(!desk.prints("targets yao2020-chip").contains("adc_bits: 6\n"));
}

#[test]
fn stages_are_printed_in_the_order_asked_for() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target yao2020-chip --calibrate stored";
    let emit = |stages: &str| desk.prints(&format!("{compile} {stages}"));
    let (graph, mapping) = (emit("--emit graph"), emit("--emit mapping"));
    let plan = emit("--emit plan -o emitted.plan");
    assert!(graph.contains("Conv") || graph.contains("conv"), "{graph}");
    assert!(mapping.contains("pe0"), "{mapping}");
    assert_eq!(emit("--emit plan --emit graph --emit mapping"), plan.clone() + &graph + &mapping);
    assert!(graph != mapping && mapping != plan);
    // What is emitted takes nothing from the file.
    desk.prints(&format!("{compile} -o silent.plan"));
    assert!(desk.read("emitted.plan") == desk.read("silent.plan"));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let desk = with_chip_plan();
    let with = |threads: u32| {
        let eval = "eval chip.plan --data digits --limit 70 --trials 2";
        let json = desk.json(&format!("{eval} --threads {threads}"));
        desk.prints(&format!(
            "run chip.plan --input digits --limit 70 -o x.npy --threads {threads}"
        ));
        desk.prints(&format!("compile mcnn.onnx {CHIP} -o x.plan --threads {threads}"));
        let json = without(json, &["seconds", "peak_memory_bytes"]).to_string();
        (json, desk.read("x.npy"), desk.read("x.plan"))
    };
    let one = with(1);
    assert!(one.2 == desk.read("chip.plan"));
    assert!(one == with(2) && one == with(7));
}

#[test]
fn the_ideal_target_equals_the_reference() {
    let desk = Desk::new();
    let eval = "eval mcnn.onnx --target ideal --calibrate stored --data digits --limit 40";
    let found = desk.json(&format!("{eval} --reference"));
    let compared = &found["reference"][0];
    assert_eq!((&compared["output"], &compared["values"]), (&"logits".into(), &400.into()));
    assert_eq!(compared["different"].to_string().trim_matches(['[', ']']), "0", "{compared}");
    let text = desk.prints(&format!("{eval} --reference --no-float"));
    assert!(text.contains("all 400 values equal to the reference, to the bit"), "{text}");
}

#[test]
fn an_output_is_replaced_whole() {
    let desk = Desk::new();
    desk.write("x.npy", "something else that is longer than what comes now".repeat(100));
    desk.prints("run good.plan --input digits --limit 2 -o x.npy");
    assert_eq!(npy(&desk, "x.npy").shape, [2, 10]);
}

#[test]
fn targets_and_completions_are_listed() {
    let desk = Desk::new();
    let listed = desk.prints("targets");
    let names: Vec<&str> = listed.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(names, ohmc::target::builtin_names().collect::<Vec<_>>());
    let schema: Value = serde_json::from_str(&desk.prints("targets --schema")).unwrap();
    assert!(schema["properties"]["readout"].is_object());
    let script = desk.prints("completions bash");
    for word in ["compile", "report", "run", "eval", "targets", "--calibrate", "complete -F _ohmc"]
    {
        assert!(script.contains(word), "no `{word}`");
    }
}

#[test]
fn a_plan_keeps_how_sums_are_read() {
    let desk = Desk::new();
    let by_plane = "yao2020-macro --set readout.adc_range=calibrated-by-plane --adc-bits conv2=5";
    let significant = "yao2020-macro --set readout.significant_planes=3";
    for how in ["charge-macro", by_plane, significant] {
        desk.prints(&format!("compile mcnn.onnx --target {how} --calibrate stored -o x.plan"));
        let eval = "--data digits --limit 60 --energy --no-float";
        let of_plan = desk.json(&format!("eval x.plan {eval}"));
        let model = format!("eval mcnn.onnx --target {how} --calibrate stored {eval}");
        let of_model = desk.json(&model);
        assert_eq!(of_plan["accuracy"], of_model["accuracy"], "{how}");
        assert_eq!(of_plan["energy"], of_model["energy"], "{how}");
        assert!(of_plan["energy"]["conversions_per_input"].as_f64().unwrap() > 0.0, "{of_plan}");
    }
}

#[test]
fn a_plan_keeps_slices_bits_and_passes() {
    let desk = Desk::new();
    let chosen = "--slices 2 --slices fc=3 --input-bits conv1=6 --set chip.pes=1 --passes 9";
    let compile = format!("compile mcnn.onnx --target ideal --calibrate stored {chosen} -o x.plan");
    let summary = desk.json(&compile);
    assert!(summary["passes"].as_u64().unwrap() > 1, "{summary}");
    let eval = "--data digits --limit 40";
    let of_plan = desk.json(&format!("eval x.plan {eval}"));
    let model = format!("eval mcnn.onnx --target ideal --calibrate stored {chosen} {eval}");
    let of_model = desk.json(&format!("{model} --reference"));
    assert_eq!(of_model["reference"][0]["different"][0], 0);
    assert_eq!(of_plan["accuracy"], of_model["accuracy"]);
}

#[test]
fn what_fits_is_printed() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate digits --fit error=2%";
    let fit = &desk.json(compile)["fit"];
    assert!(fit["loss"].as_f64().unwrap() <= 0.02, "{fit}");
    assert!(!fit["slices"].as_object().unwrap().is_empty(), "{fit}");
    let text = desk.prints(compile);
    assert!(text.contains("\nfit             error=2%: "), "{text}");
}
