//! Files come back as they were written, or not at all.
#![allow(clippy::disallowed_methods, reason = "made-up numbers, never compared between machines")]

mod calibrations;
mod chips;
mod damage;
mod hostile;
mod round_trip;

use std::io::{Cursor, Read};
use std::sync::Arc;

use super::{ArchiveWriter, Kind, MANIFEST, PlanFile, PreprocessForm};
use crate::entity::{Entity, Table, TensorId};
use crate::frontend::{Axis, FrontendOptions, ModelFiles};
use crate::graph::{
    AxisIndex, CrossbarLayer, DigitalLayer, Extent, Layer, LayerGraph, LayerKind, LoopNest,
    LoopRef, TensorInfo,
};
use crate::mapping::{MappingOptions, map};
use crate::quantize::{Calibration, Collector, LayerInput, QuantizeOptions, quantize};
use crate::schedule::{AdcSetting, PlanParts, schedule};
use crate::target::{Override, Target, builtin};

use LoopRef::{Column, Group, Position, Row};

/// A convolution, a depthwise convolution and a product, with an activation
/// between the last two.
fn graph() -> LayerGraph {
    let fixed = |extents: &[usize]| {
        [Extent::PerInput(1)].into_iter().chain(extents.iter().map(|&e| Extent::Fixed(e))).collect()
    };
    let tensors: Table<TensorId, TensorInfo> =
        [("x", fixed(&[2, 6, 6])), ("a", fixed(&[3, 6, 6])), ("b", fixed(&[3, 6, 6]))]
            .into_iter()
            .chain([("c", fixed(&[3, 6, 6])), ("y", fixed(&[5]))])
            .map(|(name, shape)| TensorInfo {
                name: name.to_string(),
                shape,
                element_type: "f32".to_string(),
            })
            .collect();
    let tensor = TensorId::from_index;
    let digital = DigitalLayer {
        op: "Relu".into(),
        macs_per_input: 0,
        obstacle: None,
        reach: vec![],
        product: None,
        comparison: None,
    };
    let layers = [
        ("conv", LayerKind::Crossbar(crossbar(convolution(&[], &[2], &[3])))),
        ("depthwise", LayerKind::Crossbar(crossbar(convolution(&[3], &[], &[])))),
        ("relu", LayerKind::Digital(digital)),
        ("product", LayerKind::Crossbar(crossbar(product()))),
    ];
    let layers = layers.into_iter().enumerate().map(|(index, (name, kind))| Layer {
        name: name.to_string(),
        inputs: vec![tensor(index)],
        outputs: vec![tensor(index + 1)],
        kind,
    });
    LayerGraph::new(tensors, layers.collect(), vec![tensor(0)], vec![tensor(4)]).0
}

/// 3x3 over 6x6 with padding.
fn convolution(groups: &[usize], inputs: &[usize], outputs: &[usize]) -> LoopNest {
    let first_row = inputs.len();
    let walk = |position, row| AxisIndex {
        terms: vec![(Position(position), 1), (Row(first_row + row), 1)],
        padding: 1,
    };
    let channel = |other| AxisIndex::walk(if groups.is_empty() { other } else { Group(0) });
    LoopNest {
        positions: vec![Extent::PerInput(1), Extent::Fixed(6), Extent::Fixed(6)],
        groups: groups.to_vec(),
        rows: [inputs, &[3, 3]].concat(),
        columns: outputs.to_vec(),
        input: vec![AxisIndex::walk(Position(0)), channel(Row(0)), walk(1, 0), walk(2, 1)],
        output: vec![
            AxisIndex::walk(Position(0)),
            channel(Column(0)),
            AxisIndex::walk(Position(1)),
            AxisIndex::walk(Position(2)),
        ],
    }
}

fn product() -> LoopNest {
    let loops = [Position(0), Row(0), Row(1), Row(2)];
    LoopNest {
        positions: vec![Extent::PerInput(1)],
        groups: vec![],
        rows: vec![3, 6, 6],
        columns: vec![5],
        input: loops.map(AxisIndex::walk).to_vec(),
        output: [Position(0), Column(0)].map(AxisIndex::walk).to_vec(),
    }
}

fn crossbar(nest: LoopNest) -> CrossbarLayer {
    let n_columns = nest.n_groups() * nest.n_columns();
    let n_weights = n_columns * nest.n_rows();
    // Spread between -1/3 and 1/3 without order.
    let wave = |n: usize, step: f32| {
        (0..n).map(|i| ((i as f32 * step) % 2.0 - 1.0) / 3.0).collect::<Vec<f32>>()
    };
    CrossbarLayer {
        description: "a layer".to_string(),
        weights: wave(n_weights, 0.7).into(),
        bias: wave(n_columns, 1.3),
        nest,
        codes: None,
        matrix: None,
    }
}

fn calibration(graph: &LayerGraph) -> Calibration {
    let mut collector = Collector::new("a made-up set", 4);
    collector.count(2);
    for (_, layer, crossbar) in graph.crossbar_layers() {
        let shape: Vec<usize> = graph.tensors()[layer.inputs[0]]
            .shape
            .iter()
            .filter_map(|extent| extent.for_batch(2))
            .collect();
        let n_values: usize = shape.iter().product();
        let values: Vec<f32> = (0..n_values).map(|i| (i as f32 * 0.37) % 4.0 - 2.0).collect();
        let read =
            LayerInput { layer: &layer.name, nest: &crossbar.nest, shape: &shape, values: &values };
        collector.add(&[read], 2);
    }
    collector.finish()
}

/// A plan file with everything that one can have. PEs are small, so that rows
/// are sliced and several PEs used.
fn sample() -> PlanFile {
    sample_of(MappingOptions::default())
}

/// The same with a layer of which a wave makes several positions.
fn unrolled_sample() -> PlanFile {
    let windows = [("conv".to_string(), vec![1, 2, 3])].into();
    sample_of(MappingOptions { windows, ..MappingOptions::default() })
}

fn sample_of(mut options: MappingOptions) -> PlanFile {
    let small = ["pe.inputs=32", "pe.outputs=16", "readout.adcs_per_pe=3"];
    let overrides = small.map(|text| Override::parse(text).unwrap());
    let target = Target::from_yaml(builtin("ideal").unwrap(), "ideal", &overrides).unwrap();
    let graph = graph();
    assert!(crate::graph::verify(&graph).is_empty());
    let rules = QuantizeOptions::default();
    let quantized = quantize(&graph, &calibration(&graph), &target, &rules).unwrap();
    options.replicas.insert("conv".to_string(), 2);
    let mapping = map(&graph, &target, &options).unwrap();
    let adc: Vec<AdcSetting> = (0..mapping.tiles.len())
        .map(|i| AdcSetting::new(1.0 / (3.0 + i as f64), -1023, 1023))
        .collect();
    let parts = PlanParts { graph: &graph, quantized: &quantized, mapping: &mapping, adc: &adc };
    let plan = schedule(parts, &target);
    assert_eq!(crate::schedule::verify(&plan), vec![]);
    let mut model = ModelFiles {
        onnx: Arc::new((0..2000u32).map(|i| (i * i) as u8).collect()),
        ..Default::default()
    };
    for (location, length) in [("weights.bin", 300), ("more/weights 2.bin", 0)] {
        model.external.insert(location.to_string(), Arc::new(vec![7; length]));
    }
    let mut options = FrontendOptions::default();
    let shape = [Axis::Batch].into_iter().chain([2, 6, 6].map(Axis::Fixed)).collect();
    options.shapes.insert("x".to_string(), shape);
    let preprocess = PreprocessForm {
        scale: Some(1.0 / 255.0),
        mean: vec![0.485, 0.456],
        std: vec![0.229, 0.1],
        bgr: true,
    };
    PlanFile::new(model, options, preprocess, target, plan, &graph.to_string())
}

/// Names and contents of all entries but the manifest.
fn entries(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut entry = zip.by_index(index).unwrap();
            let name = entry.name().unwrap().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        })
        .filter(|(name, _)| name != MANIFEST)
        .collect()
}

/// An archive with right checksums, whatever its entries say.
fn signed(kind: Kind, entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ArchiveWriter::new(kind);
    for (name, content) in entries {
        archive.add(name, move |writer| writer.write_all(content));
    }
    archive.finish().unwrap()
}

/// Text of the first complaint.
fn complaint<T: std::fmt::Debug>(result: Result<T, super::FormatError>) -> String {
    result.unwrap_err().to_string()
}
