//! Timelines, energies, filled chips and explorations as a user gets them.

use serde_json::Value;

use super::Desk;

#[test]
fn a_report_tells_time_and_writes_a_timeline() {
    let desk = Desk::new();
    let report = desk.json("report good.plan --in-flight 3 --trace timeline.json");
    let timing = &report["timing"];
    assert_eq!(timing["in_flight"], 3);
    let (latency, interval) = (&timing["latency_us"], &timing["interval_us"]);
    assert!(latency.as_f64().unwrap() >= interval.as_f64().unwrap(), "{timing}");
    // conv1: 676 positions of 8 planes of 50 ns.
    assert_eq!(interval.as_f64().unwrap(), 270.4);
    assert!(timing["bottleneck"].as_str().unwrap().starts_with("pe"));
    let timeline: Value = serde_json::from_slice(&desk.read("timeline.json")).unwrap();
    let inputs = timeline["traceEvents"].as_array().unwrap().iter();
    let last = inputs.filter_map(|event| event["args"]["input"].as_u64()).max();
    assert_eq!(last, Some(2));
    // It may not take the place of the plan.
    let output = desk.ohmc("report good.plan --trace good.plan");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_quick_report_maps_and_times_as_the_whole_one_does() {
    let desk = Desk::new();
    let model = "report mcnn.onnx --target ideal --set chip.pes=12 --set rates.buffer_gb_per_s=1";
    for options in ["", "--optimize throughput --unroll auto", "--replicas conv1=3 --slices fc=2"] {
        let whole = desk.json(&format!("{model} {options} --calibrate stored"));
        let quick = desk.json(&format!("{model} {options} --quick"));
        for key in ["latency_us", "interval_us", "in_flight", "bottleneck"] {
            assert_eq!(quick["timing"][key], whole["timing"][key], "{options} {key}");
        }
        assert_eq!(quick["replication"], whole["replication"], "{options}");
        let layers = |report: &Value, keys: [&str; 3]| -> Vec<[Value; 3]> {
            let rows = report["layers"].as_array().unwrap().iter();
            rows.map(|row| keys.map(|key| row[key].clone())).collect()
        };
        let keys = ["name", "replicas", "tiles"];
        assert_eq!(layers(&quick, keys), layers(&whole, keys), "{options}");
    }
    let text = desk.prints(&format!("{model} --quick"));
    assert!(text.contains("yes, on ") && text.contains(" of 12 PEs"), "{text}");
    desk.refuses("quick-with-weights", "report mcnn.onnx --target ideal --quick --weights plain");
}

#[test]
fn energy_is_counted_when_it_is_asked_for() {
    let desk = Desk::new();
    let eval = "eval good.plan --data digits --limit 20 --no-float";
    assert_eq!(desk.json(eval)["energy"], Value::Null);
    let energy = &desk.json(&format!("{eval} --energy"))["energy"];
    let pj = energy["array_physics_pj_per_input"].as_f64().unwrap();
    let at_most = desk.json("report good.plan")["physics"]["array_pj_per_input_max"].clone();
    assert!(pj > 0.0 && pj < at_most.as_f64().unwrap(), "{pj} of {at_most}");
    let layers = energy["layers"].as_array().unwrap();
    let sum: f64 = layers.iter().map(|layer| layer["pj_per_input"].as_f64().unwrap()).sum();
    assert!((sum / pj - 1.0).abs() < 1e-9);
    // The ideal target has no figures of its own to be mixed up with.
    assert_eq!(energy["target_figures_pj_per_input"], Value::Null);
    let run = desk.json("run good.plan --input digits --limit 20 --energy");
    assert_eq!(run["energy"]["array_physics_pj_per_input"], energy["array_physics_pj_per_input"]);
}

#[test]
fn a_filled_chip_is_faster_and_says_why_no_faster() {
    let desk = Desk::new();
    let common = "mcnn.onnx --target yao2020-macro --calibrate stored --set chip.pes=16";
    let plain = desk.json(&format!("compile {common}"));
    let filled = desk.json(&format!("compile {common} --optimize throughput"));
    let interval = |json: &Value| json["interval_cycles"].as_u64().unwrap();
    assert!(interval(&filled) * 4 < interval(&plain), "{filled}");
    let replication = &filled["replication"];
    let bound = replication["bound_interval_us"].as_f64().unwrap();
    assert!(bound <= interval(&filled) as f64 * 0.05 + 1e-9);
    assert!(replication["replicas"]["conv1"].as_u64().unwrap() > 4);
}

#[test]
fn ways_to_compile_stand_in_one_table() {
    let desk = Desk::new();
    let explored = desk.json(
        "explore mcnn.onnx --target yao2020-chip --calibrate stored --data digits --limit 100 \
         --vary weights=plain,per-column --vary without=relaxation,read-noise",
    );
    let points = explored["points"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    for point in points {
        let rule = point["at"]["weights"].as_str().unwrap();
        let effect = point["at"]["without"].as_str().unwrap();
        let eval = desk.json(&format!(
            "eval mcnn.onnx --target yao2020-chip --calibrate stored --data digits --limit 100 \
             --weights {rule} --without {effect}"
        ));
        let (accuracy, float) = (&eval["accuracy"]["mean"], &eval["accuracy"]["float"]);
        assert_eq!(&point["accuracy"], accuracy, "{rule} without {effect}");
        let loss = float.as_f64().unwrap() - accuracy.as_f64().unwrap();
        assert!((point["loss"].as_f64().unwrap() - loss).abs() < 1e-9);
    }
    let unknown = desk.ohmc("explore mcnn.onnx --target ideal --vary weights=plian");
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn an_exploration_goes_on_where_it_was() {
    let desk = Desk::new();
    let explore = "explore mcnn.onnx --target yao2020-macro --calibrate stored --data digits \
                   --limit 30 --vary readout.adc_bits=4..6 --vary pe.inputs=64,128";
    let whole = desk.json(&format!("{explore} -o points.jsonl --csv table.csv --svg picture.svg"));
    let points = whole["points"].as_array().unwrap();
    assert_eq!(points.len(), 6);
    assert!(points.iter().all(|point| point["accuracy"].as_f64().unwrap() > 5.0));
    assert_eq!(String::from_utf8(desk.read("table.csv")).unwrap().lines().count(), 7);
    assert!(String::from_utf8(desk.read("picture.svg")).unwrap().matches("<circle").count() == 6);
    // Killed in the middle of a line.
    let lines = String::from_utf8(desk.read("points.jsonl")).unwrap();
    let kept: Vec<&str> = lines.lines().collect();
    desk.write("points.jsonl", format!("{}\n{}\n{}", kept[0], kept[1], &kept[2][..20]));
    assert_eq!(desk.json(&format!("{explore} -o points.jsonl")), whole);
    let again = String::from_utf8(desk.read("points.jsonl")).unwrap();
    assert_eq!(again.lines().take(2).collect::<Vec<_>>(), kept[..2]);
    assert_eq!(again.lines().count(), 6);
    // One thread finds the same.
    assert_eq!(desk.json(&format!("{explore} --threads 1")), whole);
    let other = desk.ohmc(&format!("{explore} --seed 1 -o points.jsonl"));
    assert_eq!(other.status.code(), Some(2));
}

#[test]
fn a_point_is_what_eval_measures() {
    let desk = Desk::new();
    // Wires and read noise are of the chip, not of the plan.
    let common = "mcnn.onnx --target yao2020-macro --calibrate stored --data digits --limit 60";
    let ohms = ["0", "300"];
    let explored = desk.json(&format!(
        "explore {common} --trials 2 --vary pe.wire_input_ohm_per_cell={}",
        ohms.join(",")
    ));
    let mut seen = Vec::new();
    for (point, ohm) in explored["points"].as_array().unwrap().iter().zip(ohms) {
        let set = format!("--set pe.wire_input_ohm_per_cell={ohm}");
        let eval = desk.json(&format!("eval {common} --trials 2 --no-float {set}"));
        assert_eq!(point["accuracy"], eval["accuracy"]["mean"], "{ohm} ohm");
        seen.push(eval["accuracy"]["mean"].clone());
    }
    assert_ne!(seen[0], seen[1], "so much resistance is felt");
}

#[test]
fn a_point_that_does_not_compile_is_a_result() {
    let desk = Desk::new();
    let explore = "explore mcnn.onnx --target yao2020-chip --calibrate stored --vary chip.pes=1,8";
    let points = &desk.json(explore)["points"];
    assert!(points[0]["error"].as_str().unwrap().contains("PEs"), "{points}");
    assert_eq!(points[1]["error"], Value::Null);
    assert!(points[1]["latency_us"].as_f64().unwrap() > 0.0);
}
