//! What is said of targets, floorplans and options that are wrong, alone or
//! for this model.

use std::fs;

use super::Desk;

/// A shipped target with one piece of its text replaced.
fn changed_target(name: &str, from: &str, to: &str) -> String {
    let path = format!("{}/targets/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1)
}

#[test]
fn targets_that_are_unknown_or_wrong() {
    let desk = Desk::new();
    desk.write("more.yaml", changed_target("ideal", "\npe:\n", "\npe:\n  rows: 128\n"));
    desk.write("key.yaml", changed_target("ideal", "\n  inputs: 128", "\n  input: 128"));
    desk.write("negative.yaml", changed_target("ideal", "\n  inputs: 128", "\n  inputs: -128"));
    desk.write("yaml.yaml", "name: [broken\n");
    desk.write("bytes.yaml", b"name: \xff\xfe\n");
    let compile = |case, target| {
        desk.refuses(case, &format!("compile mcnn.onnx --target {target} -o x.plan"));
    };
    compile("target-unknown", "yao2020-chp");
    compile("target-missing", "missing.yaml");
    compile("target-unknown-key", "more.yaml");
    let misspelt = "compile mcnn.onnx --target key.yaml -o x.plan";
    desk.refuses_times(2, "target-misspelt-key", misspelt);
    compile("target-negative-size", "negative.yaml");
    compile("target-no-yaml", "yaml.yaml");
    compile("target-no-text", "bytes.yaml");
    desk.refuses("target-not-given", "compile mcnn.onnx -o x.plan");
    desk.refuses("targets-unknown", "targets idea");
}

#[test]
fn changes_of_a_target_that_are_wrong() {
    let desk = Desk::new();
    let compile = |case, set| {
        desk.refuses(case, &format!("compile mcnn.onnx --target ideal --set {set} -o x.plan"));
    };
    compile("set-unknown-path", "readout.adc_bit=6");
    compile("set-wrong-value", "cell.levels=many");
    compile("set-out-of-range", "cell.levels=1");
    compile("set-no-value", "cell.levels");
}

#[test]
fn chips_that_are_too_small() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target yao2020-chip --calibrate stored -o x.plan";
    desk.refuses("chip-too-small", &format!("{compile} --set chip.pes=1"));
    desk.refuses("chip-too-small-for-replicas", &format!("{compile} --replicas fc=40"));
}

#[test]
fn replicas_of_what_is_not_there() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o x.plan --replicas";
    desk.refuses("replicas-none", &format!("{compile} conv1=0"));
    desk.refuses("replicas-of-unknown-layer", &format!("{compile} conv9=2"));
    desk.refuses("replicas-without-number", &format!("{compile} conv1"));
}

#[test]
fn precisions_that_cannot_be() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o x.plan";
    desk.refuses("slices-too-many", &format!("{compile} --slices 5"));
    desk.refuses("slices-of-unknown-layer", &format!("{compile} --slices cnv1=2"));
    desk.refuses("slices-without-number", &format!("{compile} --slices conv1="));
    desk.refuses("input-bits-too-many", &format!("{compile} --input-bits 17"));
    desk.refuses("fit-without-percent", &format!("{compile} --fit accuracy=1"));
    desk.refuses("fit-with-slices", &format!("{compile} --fit error=1% --slices 2"));
    desk.refuses("fit-out-of-reach", &format!("{compile} --fit error=0%"));
}

#[test]
fn passes_that_are_too_few() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target yao2020-chip --calibrate stored -o x.plan";
    desk.refuses("passes-too-few", &format!("{compile} --set chip.pes=1 --passes 2"));
    desk.refuses("passes-none", &format!("{compile} --passes 0"));
}

#[test]
fn floorplans_that_do_not_fit() {
    let desk = Desk::new();
    let published = String::from_utf8(desk.read("floorplan.yaml")).unwrap();
    let with = |from, to| {
        assert!(published.contains(from));
        desk.write("wrong.yaml", published.replacen(from, to, 1));
    };
    let compile = "compile mcnn.onnx --target yao2020-chip --calibrate stored -o x.plan";
    let refuses = |case| desk.refuses(case, &format!("{compile} --floorplan wrong.yaml"));
    with("conv2:", "conv3:");
    refuses("floorplan-unknown-layer");
    with("spots: [1]", "spots: [99]");
    refuses("floorplan-no-such-pe");
    // conv1 on top of what fills pe5.
    with("spots: [1]", "spots: [5]");
    refuses("floorplan-pe-is-full");
    with("spots: [1]", "spots: [1, 3]");
    refuses("floorplan-too-many-spots");
    with("slice_inputs: 9", "slice_inputs: 17");
    refuses("floorplan-slice-too-large");
    with("spots: [1]", "spot: [1]");
    refuses("floorplan-unknown-key");
    desk.refuses("floorplan-missing", &format!("{compile} --floorplan missing.yaml"));
}

#[test]
fn options_that_do_not_go_with_a_plan() {
    let desk = Desk::new();
    let eval = "eval good.plan --data digits";
    desk.refuses("plan-with-target", &format!("{eval} --target ideal"));
    desk.refuses(
        "plan-with-set-and-calibrate",
        &format!("{eval} --set cell.levels=4 --calibrate digits"),
    );
    desk.refuses("plan-with-reference", &format!("{eval} --reference"));
    desk.refuses("plan-with-other-mean", &format!("{eval} --mean 0.5"));
}

#[test]
fn options_that_the_model_has_nothing_for() {
    let desk = Desk::new();
    desk.refuses("output-unknown", "eval good.plan --data digits --output logit");
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o x.plan";
    desk.refuses("shape-unknown-input", &format!("{compile} --shape imag=N,1,28,28"));
    desk.refuses("shape-does-not-fit", &format!("{compile} --shape image=N,2,28,28"));
    desk.refuses("std-zero", &format!("{compile} --std 0"));
}

#[test]
fn commands_that_are_wrong() {
    let desk = Desk::new();
    desk.refuses("command-unknown", "compil mcnn.onnx");
    desk.refuses("option-unknown", "compile mcnn.onnx --targte ideal");
    desk.refuses("threads-none", "compile mcnn.onnx --target ideal --threads 0");
    desk.refuses("trials-none", "eval good.plan --data digits --trials 0");
    desk.refuses("limit-none", "run good.plan --input digits --limit 0");
    desk.refuses("emit-unknown", "compile mcnn.onnx --target ideal --emit plans");
}

#[test]
fn ways_to_convert_that_contradict_each_other() {
    let desk = Desk::new();
    let refuses = |case: &str, how: &str| {
        let command = format!("compile mcnn.onnx --target {how} --calibrate stored -o x.plan");
        desk.refuses(case, &command);
    };
    refuses("planes-of-a-sum", "charge-macro --set readout.significant_planes=4");
    refuses("range-by-plane-of-a-sum", "charge-macro --set readout.adc_range=calibrated-by-plane");
    refuses("stage-of-a-line", "charge-macro --set readout.subtract=after-conversion");
    refuses("adc-bits-of-unknown-layer", "charge-macro --adc-bits conv9=6");
    refuses("adc-bits-too-many", "charge-macro --adc-bits 30");
    refuses("adc-bits-as-needed", "ideal --adc-bits 6");
}
