//! Reports against numbers worked out by hand, and laws: rows add up to
//! totals, costs follow from their parts.

use super::summary::total;
use super::*;
use crate::chip;
use crate::entity::{LayerId, PeId, Table, TensorId};
use crate::frontend::{self, ModelFiles};
use crate::graph::{
    AxisIndex, CrossbarLayer, DigitalLayer, Extent, Layer, LayerKind, LoopNest, LoopRef, Obstacle,
    TensorInfo,
};
use crate::mapping::{self, Floorplan, MappingOptions};
use crate::quantize::{self, Collector, LayerInput};
use crate::schedule::{self, PlanParts};
use crate::target::{Override, builtin};

fn target(name: &str, overrides: &[&str]) -> Target {
    let overrides: Vec<Override> =
        overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
    Target::from_yaml(builtin(name).unwrap(), name, &overrides).unwrap()
}

/// A plan made from inputs that are all zero: what a report counts does not
/// depend on ranges.
fn plan(graph: &LayerGraph, target: &Target, options: &MappingOptions) -> ExecutionPlan {
    let mut collector = Collector::new("zeros", 1);
    for (_, layer, crossbar) in graph.crossbar_layers() {
        let shape: Vec<usize> = graph.tensors()[layer.inputs[0]]
            .shape
            .iter()
            .map(|extent| extent.for_batch(1).unwrap())
            .collect();
        let zeros = vec![0.0; shape.iter().product()];
        let read =
            LayerInput { layer: &layer.name, nest: &crossbar.nest, shape: &shape, values: &zeros };
        collector.add(&[read], 1);
    }
    let calibration = collector.finish();
    let quantized = quantize::quantize(graph, &calibration, target, &Default::default()).unwrap();
    let mapping = mapping::map(graph, target, options).unwrap();
    let adc =
        chip::settings(graph, &quantized, &mapping, &calibration, (target, &Default::default()))
            .unwrap();
    let parts = PlanParts { graph, quantized: &quantized, mapping: &mapping, adc: &adc };
    let plan = schedule::schedule(parts, target);
    assert_eq!(schedule::verify(&plan), []);
    plan
}

fn report(graph: &LayerGraph, target: &Target, options: &MappingOptions) -> Report {
    let plan = plan(graph, target, options);
    Report::new(&ReportParts {
        model_name: "model.onnx",
        graph,
        plan: &plan,
        target,
        preprocessing: "bytes / 255",
        calibration: "zeros",
        timing: Default::default(),
    })
}

fn model_file(name: &str) -> String {
    format!("{}/models/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn mcnn() -> LayerGraph {
    let onnx = std::fs::read(model_file("mcnn.onnx")).unwrap();
    let files = ModelFiles { onnx: onnx.into(), ..Default::default() };
    frontend::read(&files, &Default::default(), "mcnn.onnx").unwrap().graph
}

fn published() -> MappingOptions {
    let text = std::fs::read_to_string(model_file("mcnn-yao2020.floorplan.yaml")).unwrap();
    MappingOptions { floorplan: Floorplan::from_yaml(&text).unwrap(), ..Default::default() }
}

/// Conversions and PE cycles of conv1, conv2, fc.
fn work_of(report: &Report) -> Vec<(u64, u64)> {
    report.layers.iter().map(|layer| (layer.work.conversions, layer.work.pe_cycles)).collect()
}

#[test]
fn the_mcnn_on_exact_arrays() {
    let report = report(&mcnn(), &target("ideal", &[]), &MappingOptions::default());
    // 26x26 positions x 9 x 8, 7x7 x 72 x 12, 192 x 10.
    let macs: Vec<u64> = report.layers.iter().map(|layer| layer.macs).collect();
    assert_eq!(macs, [676 * 72, 49 * 864, 1920]);
    assert_eq!(report.macs, Macs { on_arrays: 92_928, digital: 0 });
    // A pair is one conversion; 8 planes; 192 inputs are two tiles of 128.
    assert_eq!(
        work_of(&report),
        [(676 * 8 * 8, 676 * 8), (49 * 8 * 12, 49 * 8), (2 * 8 * 10, 2 * 8)]
    );
    let footprint = report.footprint;
    assert_eq!((footprint.cells_used, footprint.cells_of_weights), (5712, 5712));
    assert_eq!((footprint.n_weights, footprint.n_pes_available), (2856, None));
    assert_eq!(footprint.cells_total, footprint.n_pes_used as u64 * 128 * 128);
    assert!(footprint.fits());
    // The two tiles of the last layer are driven at the same time.
    assert_eq!(report.schedule.counts.latency_cycles, 5408 + 392 + 8);
    assert!((report.schedule.latency_us() - 5808.0 * 0.05).abs() < 1e-9);
    assert_eq!(report.costs, None);
}

#[test]
fn the_mcnn_on_the_published_chip() {
    let report = report(&mcnn(), &target("yao2020-chip", &[]), &MappingOptions::default());
    // Every line is a conversion; slices of 16 inputs: 5 of conv2, 12 of fc.
    assert_eq!(
        work_of(&report),
        [(676 * 8 * 16, 676 * 8), (49 * 8 * 24 * 5, 49 * 8 * 5), (8 * 20 * 12, 8 * 12)]
    );
    assert_eq!(report.footprint.cells_used, 5712);
    assert_eq!((report.footprint.cells_total, report.footprint.n_pes_available), (16_384, Some(8)));
    let tiles: Vec<usize> = report.layers.iter().map(|layer| layer.n_tiles).collect();
    assert_eq!(tiles, [1, 5, 12]);
}

#[test]
fn wires_are_reported_where_they_have_resistance() {
    let with = |overrides: &[&str]| {
        report(&mcnn(), &target("yao2020-macro", overrides), &MappingOptions::default())
    };
    let ideal = with(&[]);
    assert_eq!(ideal.wires, None);
    assert!(ideal.to_json()["wires"].is_null() && !ideal.to_text().contains("wires"));
    let set = ["pe.wire_input_ohm_per_cell=1", "pe.sense_ohm=50", "pe.idle_outputs=gated-off"];
    let report = with(&set);
    let line = "wires       1 ohm a cell on input lines, 50 ohm before sense amplifiers; an input \
                line of cells all at maximum loses 14.5 % at its end; idle output lines are gated off";
    assert!(report.to_text().contains(line), "{}", report.to_text());
    let json = &report.to_json()["wires"];
    assert_eq!((&json["sense_ohm"], &json["idle_outputs"]), (&50.0.into(), &"gated-off".into()));
}

#[test]
fn the_published_floorplan_has_the_published_line_counts() {
    let report = report(&mcnn(), &target("yao2020-chip", &[]), &published());
    let held: Vec<(PeId, Vec<(&str, u32)>)> = report
        .pes
        .iter()
        .map(|pe| {
            let lines = pe.residents.iter().map(|r| (r.name.as_str(), r.n_output_lines));
            (pe.id, lines.collect())
        })
        .collect();
    assert_eq!(
        held,
        [
            (PeId(1), vec![("conv1", 16), ("conv2", 96)]),
            (PeId(3), vec![("conv2", 96)]),
            (PeId(5), vec![("fc", 120)]),
            (PeId(7), vec![("fc", 120)]),
        ]
    );
    // No lines are shared within a PE, so what is stacked adds up.
    let lines: Vec<u32> = report.pes.iter().map(|pe| pe.n_output_lines).collect();
    assert_eq!(lines, [112, 96, 120, 120]);
    assert!(report.to_text().contains("conv1 16 lines, conv2 96 lines"));
    // conv2 is 8 slices of one channel, half of them on each of two PEs.
    assert_eq!(work_of(&report)[1], (49 * 8 * 24 * 8, 49 * 8 * 8));
    assert_eq!(report.schedule.counts.latency_cycles, 5408 + 4 * 392 + 6 * 8);
    assert_eq!(report.schedule.counts.interval_cycles, 5408 + 4 * 392);
    let rate = report.schedule.inputs_per_s().unwrap();
    assert!((rate - 1e9 / (6976.0 * 50.0)).abs() < 1e-6);
}

#[test]
fn peak_and_energy_of_the_macro_are_kept_apart() {
    let macro_report = |overrides: &[&str]| {
        report(&mcnn(), &target("yao2020-macro", overrides), &MappingOptions::default())
    };
    let table = macro_report(&[]).costs.unwrap();
    assert_eq!(four_digits(&table.benchmark), ["81.92", "40.96", "7.438", "11,014", "1,164"]);
    // 48,128 conversions; 5,816 PE cycles of 19.2 + 1.72 + 0.91 + 23.67 pJ.
    assert!((table.energy.total_pj() - (48_128.0 * 2.55 + 5816.0 * 45.5)).abs() < 1e-6);
    // Half the energy of a conversion: the peak saves 64 conversions' worth a
    // cycle, the plan half of what its own conversions took.
    let halved = macro_report(&["costs.adc_pj_per_conversion=1.275"]).costs.unwrap();
    assert_eq!(format!("{:.1}", halved.benchmark.energy_pj_per_cycle), "208.7");
    let saved = table.energy.total_pj() - halved.energy.total_pj();
    assert!((saved - 48_128.0 * 1.275).abs() < 1e-6);
    // Without conversions in the plan, the peak is what it was.
    let bare = graph_without_arrays();
    let bare = report(&bare, &target("yao2020-macro", &[]), &MappingOptions::default());
    let bare = bare.costs.unwrap();
    assert_eq!((bare.benchmark, bare.energy.total_pj()), (table.benchmark, 0.0));
}

fn four_digits(peak: &Benchmark) -> [String; 5] {
    [peak.peak_gops, peak.peak_signed_gops, peak.power_mw, peak.gops_per_w, peak.gops_per_mm2]
        .map(numbers::four)
}

#[test]
fn rows_add_up_to_totals() {
    for name in ["ideal", "yao2020-chip", "yao2020-macro"] {
        let replicas = [("conv1".to_string(), 3), ("conv2".to_string(), 2)].into();
        let options = MappingOptions { replicas, ..Default::default() };
        let target = target(name, &["chip.pes=as-needed"]);
        let report = report(&mcnn(), &target, &options);
        let counts = report.schedule.counts;
        let layers = |count: fn(&Work) -> u64| total(&report.layers, |row| count(&row.work));
        let pes = |count: fn(&Work) -> u64| total(&report.pes, |row| count(&row.work));
        for (count, expected) in [
            ((|w: &Work| w.waves) as fn(&Work) -> u64, counts.waves),
            (|w| w.planes, counts.planes),
            (|w| w.conversions, counts.conversions),
            (|w| w.pe_cycles, counts.pe_cycles),
        ] {
            assert_eq!((layers(count), pes(count)), (expected, expected), "{name}");
        }
        // Three copies of conv1 and two of conv2, each as large as one.
        let cells = 2 * (3 * 72 + 2 * 864 + 1920);
        assert_eq!((report.footprint.cells_used, report.footprint.n_weights), (cells, 2856));
        assert_eq!(total(&report.pes, |pe| pe.cells), cells);
        let last = report.layers.iter().map(|row| row.work.end_cycle).max();
        assert_eq!(last, Some(counts.latency_cycles));
        let busiest = report.pes.iter().map(|row| row.work.pe_cycles).max();
        assert_eq!(busiest, Some(counts.interval_cycles));
    }
}

/// A layer of four groups of 9 inputs and one output over 5 positions, a
/// digital product, and two digital layers that multiply nothing.
fn grouped_graph() -> LayerGraph {
    let nest = LoopNest {
        positions: vec![Extent::PerInput(1), Extent::Fixed(5)],
        groups: vec![4],
        rows: vec![9],
        columns: vec![1],
        input: vec![
            AxisIndex::walk(LoopRef::Position(0)),
            AxisIndex::walk(LoopRef::Position(1)),
            AxisIndex { terms: vec![(LoopRef::Group(0), 9), (LoopRef::Row(0), 1)], padding: 0 },
        ],
        output: vec![
            AxisIndex::walk(LoopRef::Position(0)),
            AxisIndex::walk(LoopRef::Position(1)),
            AxisIndex { terms: vec![(LoopRef::Group(0), 1), (LoopRef::Column(0), 1)], padding: 0 },
        ],
    };
    let grouped = LayerKind::Crossbar(CrossbarLayer {
        description: "conv 9 groups 4".to_string(),
        nest,
        weights: vec![0.5; 36].into(),
        bias: vec![0.0; 4],
        codes: None,
        matrix: None,
    });
    let product = digital("EinSum", 100, Some(Obstacle::TwoActivations));
    let kinds = [grouped, product, digital("Relu", 0, None), digital("Relu", 0, None)];
    chain(&[&[5, 36], &[5, 4], &[5, 5], &[5, 5], &[5, 5]], &kinds)
}

fn graph_without_arrays() -> LayerGraph {
    chain(&[&[5], &[5]], &[digital("Relu", 0, None)])
}

fn digital(op: &str, macs_per_input: u64, obstacle: Option<Obstacle>) -> LayerKind {
    let op = op.to_string();
    LayerKind::Digital(DigitalLayer {
        op,
        macs_per_input,
        obstacle,
        reach: vec![],
        product: None,
        comparison: None,
    })
}

/// Layers one after the other, over tensors of these shapes and a batch axis.
fn chain(shapes: &[&[usize]], kinds: &[LayerKind]) -> LayerGraph {
    let tensor = |shape: &&[usize]| TensorInfo {
        name: "tensor".to_string(),
        shape: std::iter::once(Extent::PerInput(1))
            .chain(shape.iter().map(|&n| Extent::Fixed(n)))
            .collect(),
        element_type: "f32".to_string(),
    };
    let tensors: Table<TensorId, TensorInfo> = shapes.iter().map(tensor).collect();
    let layers = kinds.iter().zip(0u32..).map(|(kind, at)| Layer {
        name: format!("node{at}"),
        inputs: vec![TensorId(at)],
        outputs: vec![TensorId(at + 1)],
        kind: kind.clone(),
    });
    let last = TensorId(kinds.len() as u32);
    LayerGraph::new(tensors, layers.collect(), vec![TensorId(0)], vec![last]).0
}

#[test]
fn zeros_of_block_diagonal_tiles_are_told_apart_from_weights() {
    let report = report(&grouped_graph(), &target("ideal", &[]), &MappingOptions::default());
    // One tile of 36 inputs x 8 lines holds 4 blocks of 9 x 2.
    let footprint = report.footprint;
    assert_eq!((footprint.cells_used, footprint.cells_of_weights), (288, 72));
    assert_eq!((footprint.cells_zero(), footprint.n_weights), (216, 36));
    assert!(report.to_text().contains("72 hold weights, 216 zeros"));
    assert!(report.to_text().contains(" 4 x 9 x 1 "));
}

#[test]
fn digital_layers_are_counted_by_operator_and_say_why_they_multiply_there() {
    let report = report(&grouped_graph(), &target("ideal", &[]), &MappingOptions::default());
    assert_eq!(report.macs, Macs { on_arrays: 180, digital: 100 });
    let rows: Vec<_> =
        report.digital.iter().map(|r| (r.op.as_str(), r.layers.len(), r.macs)).collect();
    assert_eq!(rows, [("EinSum", 1, 100), ("Relu", 2, 0)]);
    let text = report.to_text();
    let row = text.lines().find(|line| line.contains("EinSum")).unwrap();
    assert!(row.contains("layer1 `node1`") && row.contains("activation times activation"), "{row}");
    assert!(text.contains("64.3 % on arrays"), "{text}");
}

#[test]
fn a_model_without_arrays_has_a_report() {
    let graph = graph_without_arrays();
    let report = report(&graph, &target("yao2020-chip", &[]), &MappingOptions::default());
    assert_eq!((report.footprint.n_pes_used, report.schedule.inputs_per_s()), (0, None));
    assert!(report.to_text().contains("No layer is on arrays"));
    let json = report.to_json();
    assert_eq!(
        (&json["pes"], &json["macs_on_arrays_share"]),
        (&0.into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_long_table_is_cut_to_its_largest_rows_and_its_hash_knows_the_others() {
    let mut report = report(&mcnn(), &target("ideal", &[]), &MappingOptions::default());
    let row = report.layers[0].clone();
    report.layers = (0..41)
        .map(|n| LayerRow { id: LayerId(n), cells: u64::from(n) + 1, ..row.clone() })
        .collect();
    let text = report.to_text();
    // Layers 21 to 40 are the largest; 1 + 2 + ... + 21 cells remain.
    let where_they_sit = text.split("what one input takes").next().unwrap();
    assert!(where_they_sit.contains("| layer40 ") && where_they_sit.contains("| layer21 "));
    assert!(!where_they_sit.contains("| layer20 "));
    assert!(where_they_sit.contains("and 21 more layers with 231 cells together"), "{text}");
    assert_eq!(report.to_json()["layers"].as_array().map(Vec::len), Some(41));
    // A row that is not shown changes the hash, and nothing else does.
    let hash =
        |text: &str| text.lines().find(|line| line.starts_with("SHA-256")).map(str::to_string);
    report.layers[0].name.push('x');
    assert_ne!(hash(&report.to_text()), hash(&text));
    report.layers[0].name.pop();
    assert_eq!(report.to_text(), text);
    report.layers.pop();
    assert_eq!(hash(&report.to_text()), None);
}

#[test]
fn scripts_find_their_keys() {
    let graph = mcnn();
    let with_costs = report(&graph, &target("yao2020-macro", &[]), &MappingOptions::default());
    let json = with_costs.to_json();
    assert_eq!(json["layers"][1]["name"], "conv2");
    assert_eq!(json["layers"][1]["inputs"]["bits"], 8);
    assert_eq!(json["cells_used"], 5712);
    assert_eq!(json["cells_total"], with_costs.footprint.cells_total);
    assert_eq!((&json["macs_on_arrays"], &json["macs_digital"]), (&92_928.into(), &0.into()));
    assert_eq!(json["pes"], with_costs.pes.len());
    assert_eq!(json["pe_table"].as_array().map(Vec::len), Some(with_costs.pes.len()));
    for (key, digits) in [
        ("peak_gops", "81.92"),
        ("power_mw", "7.438"),
        ("gops_per_w", "11,014"),
        ("gops_per_mm2", "1,164"),
    ] {
        assert_eq!(numbers::four(json[key].as_f64().unwrap()), digits, "{key}");
    }
    let without = report(&graph, &target("ideal", &[]), &MappingOptions::default()).to_json();
    assert_eq!(without.get("peak_gops"), None);
    assert_eq!(without.get("energy_per_input"), None);
}
