//! The JSON that scripts read: the keys they rely on, and what each holds.

use serde_json::Value;

use super::Desk;

/// The number under a path of keys.
#[track_caller]
fn number(json: &Value, pointer: &str) -> f64 {
    let found = json.pointer(pointer).unwrap_or_else(|| panic!("no `{pointer}` in {json:#}"));
    found.as_f64().unwrap_or_else(|| panic!("`{pointer}` is {found}"))
}

#[test]
fn an_evaluation_has_the_keys_that_scripts_rely_on() {
    let desk = Desk::new();
    let json = desk.json("eval good.plan --data digits --limit 50 --trials 3");
    assert_eq!(number(&json, "/images"), 50.0);
    assert_eq!(number(&json, "/trials"), 3.0);
    // -7 to 7.
    assert_eq!(number(&json, "/levels"), 15.0);
    let (mean, float) = (number(&json, "/accuracy/mean"), number(&json, "/accuracy/float"));
    assert!((90.0..=100.0).contains(&mean) && (90.0..=100.0).contains(&float), "{json:#}");
    // Ideal chips are alike.
    assert_eq!(number(&json, "/accuracy/sd"), 0.0);
    assert!(number(&json, "/seconds") > 0.0);
    if cfg!(unix) {
        // The executable alone has more.
        assert!(number(&json, "/peak_memory_bytes") > 1e6);
    }
    // What is not measured is null, not left out.
    let json = desk.json("eval good.plan --data digits --limit 5 --no-float");
    assert_eq!(json.pointer("/accuracy/float"), Some(&Value::Null));
}

#[test]
fn without_labels_outputs_are_compared_with_floating_point() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("bare")).unwrap();
    std::fs::copy(
        desk.path("digits/t10k-images-idx3-ubyte.gz"),
        desk.path("bare/t10k-images-idx3-ubyte.gz"),
    )
    .unwrap();
    let json = desk.json("eval good.plan --data bare/t10k-images-idx3-ubyte.gz --limit 20");
    let error = &json["relative_error"][0];
    assert_eq!(error["output"], "logits");
    assert!((1e-6..0.5).contains(&number(error, "/mean")), "{json:#}");
}

#[test]
fn a_report_has_the_keys_that_scripts_rely_on() {
    let desk = Desk::new();
    let report =
        |target: &str| desk.json(&format!("report mcnn.onnx --target {target} --calibrate stored"));
    let json = report("yao2020-macro");
    let names: Vec<&Value> =
        json["layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert_eq!(names, ["conv1", "conv2", "fc"]);
    // Two cells for each of 2,856 weights; 128 x 128 in a PE.
    assert_eq!(number(&json, "/cells_used"), 2.0 * 2856.0);
    assert_eq!(number(&json, "/cells_total"), number(&json, "/pes") * 128.0 * 128.0);
    // 26x26 positions of 9x8, 7x7 of 72x12, and 192x10.
    assert_eq!(number(&json, "/macs_on_arrays"), 48_672.0 + 42_336.0 + 1920.0);
    assert_eq!(number(&json, "/macs_digital"), 0.0);
    let costs = ["/peak_gops", "/power_mw", "/gops_per_w", "/gops_per_mm2"];
    for key in costs {
        assert!(number(&json, key) > 0.0, "{key}");
    }
    let watts = number(&json, "/power_mw") / 1000.0;
    let per_watt = number(&json, "/peak_gops") / watts;
    assert!((per_watt / number(&json, "/gops_per_w") - 1.0).abs() < 1e-3, "{json:#}");
    // Nothing is made up for a target that does not know its costs.
    let json = report("ideal");
    for key in costs {
        assert!(json.pointer(key).is_none_or(Value::is_null), "{key}");
    }
}

#[test]
fn a_compilation_says_in_json_what_it_says_in_words() {
    let desk = Desk::new();
    let json = desk.json("compile mcnn.onnx --target ideal --calibrate stored -o x.plan");
    assert_eq!((&json["plan"], &json["target"]), (&"x.plan".into(), &"ideal".into()));
    assert_eq!(number(&json, "/layers_on_arrays"), 3.0);
    assert_eq!(number(&json, "/cells_used"), 2.0 * 2856.0);
    assert!(number(&json, "/latency_cycles") >= number(&json, "/interval_cycles"));
}
