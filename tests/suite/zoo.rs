//! The zoo that `models/build_zoo.py` makes, and that of others: with fine
//! codes every output is what ONNX Runtime gave, and with the target as it
//! comes every value is that of the integer reference.
//!
//! Models of others are not in the repository; without them (`OHMC_DATA`)
//! their tests say that they were skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ohmc::compiler::CompileOptions;
use ohmc::data;
use ohmc::frontend::{self, Axis, FrontendOptions, Model, ModelFiles};
use ohmc::graph::{LayerKind, Obstacle};
use ohmc::quantize::{QuantizeOptions, RangeRule};
use ohmc::tensor::{Tensor, Values};
use zip::ZipArchive;

use crate::pipeline::{self, Case, difference};

/// Inputs of 16 bits, weights of 15 with their sign.
const FINE: [&str; 2] = ["cell.levels=16384", "readout.input_bits=16"];

/// Relative L2 error that users would accept.
const ERROR_MAX: f64 = 0.01;

/// A model with its input and what ONNX Runtime made of it.
struct Specimen {
    model: Model,
    inputs: Vec<Tensor>,
    wanted: Vec<Tensor>,
}

/// `in_0`, `in_1`, ... or `out_0`, ...
fn arrays(path: &Path, prefix: &str) -> Vec<Tensor> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut array = |index: usize| {
        let name = format!("{prefix}_{index}");
        let entry = archive.by_name(&format!("{name}.npy")).ok()?;
        Some(data::read_npy(entry, &name).unwrap())
    };
    (0..).map_while(&mut array).collect()
}

fn read(path: &Path, shapes: &serde_json::Value) -> Specimen {
    let axes = |extents: &serde_json::Value| {
        let extents = extents.as_array().unwrap().iter();
        extents.map(|n| Axis::Fixed(n.as_u64().unwrap() as usize)).collect::<Vec<_>>()
    };
    let given = shapes.as_object().unwrap().iter();
    let shapes = given.map(|(name, extents)| (name.clone(), axes(extents))).collect();
    let onnx = std::fs::read(path).unwrap().into();
    let files = ModelFiles { onnx, ..Default::default() };
    let name = path.file_name().unwrap().to_string_lossy();
    let model = frontend::read(&files, &FrontendOptions { shapes }, &name);
    let model = model.unwrap_or_else(|e| panic!("{e}"));
    let arrays_path = path.with_extension("npz");
    let (inputs, wanted) = (arrays(&arrays_path, "in"), arrays(&arrays_path, "out"));
    Specimen { model, inputs, wanted }
}

/// One of ours.
fn ours(name: &str) -> Specimen {
    let folder = pipeline::repository("models/zoo");
    let table = std::fs::read(folder.join("zoo.json")).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    read(&folder.join(format!("{name}.onnx")), &table[name]["shapes"])
}

/// One of others, of the shape of the input that comes with it.
fn others(name: &str, is_open: bool) -> Option<Specimen> {
    let Some(path) = pipeline::data(&format!("models/zoo/{name}.onnx")) else {
        println!("skipped: `{name}` is not here, OHMC_DATA does not lead to it");
        return None;
    };
    let mut shapes = serde_json::Map::new();
    if is_open {
        let about = std::fs::read(path.with_extension("json")).unwrap();
        let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
        for input in about["inputs"].as_array().unwrap() {
            shapes.insert(input["name"].as_str().unwrap().to_string(), input["shape"].clone());
        }
    }
    Some(read(&path, &shapes.into()))
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match &tensor.values {
        Values::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Values::F64(v) => v.clone(),
        Values::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Values::I8(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Values::I32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Values::I64(v) => v.iter().map(|&v| v as f64).collect(),
        Values::Bool(v) => v.iter().map(|&v| f64::from(u8::from(v))).collect(),
    }
}

/// The L2 norm of the difference beside that of what is wanted.
fn relative_l2(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.values.len(), wanted.values.len());
    let (found, wanted) = (numbers(found), numbers(wanted));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(&wanted).map(|(a, b)| a - b));
    if error == 0.0 { 0.0 } else { error / norm(&mut wanted.iter().copied()) }
}

/// Calibrates on the input that comes with the model.
fn case(specimen: &Specimen, sets: &[&str], range: RangeRule) -> Case {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let quantize = QuantizeOptions { range, ..Default::default() };
    let options = CompileOptions { quantize, ..Default::default() };
    let (model, inputs) = (specimen.model.clone(), specimen.inputs.clone());
    let target = pipeline::target("ideal", &sets);
    Case::new(model, target, &options, inputs).unwrap_or_else(|e| panic!("{e}"))
}

fn check_accuracy(name: &str, specimen: &Specimen) {
    let fine = case(specimen, &FINE, RangeRule::MinMax);
    let outputs = fine.run_on(&fine.program(0));
    assert_eq!(outputs.len(), specimen.wanted.len());
    for (index, (found, wanted)) in outputs.iter().zip(&specimen.wanted).enumerate() {
        let error = relative_l2(found, wanted);
        println!("`{name}` output {index}: relative L2 error {error:.1e}");
        assert!(error <= ERROR_MAX, "output {index}: relative L2 error {error}");
    }
}

fn check(name: &str, specimen: &Specimen) {
    check_accuracy(name, specimen);
    let plain = case(specimen, &[], RangeRule::default());
    assert_eq!(difference(&plain.run_on(&plain.program(0)), &plain.reference()), None);
}

macro_rules! ours {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name), &ours(stringify!($name))); })*

        #[test]
        fn every_model_of_the_zoo_has_a_test() {
            let tested = [$(stringify!($name)),*];
            let folder = pipeline::repository("models/zoo");
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "onnx") {
                    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                    assert!(tested.contains(&name.as_str()), "`{name}` has no test");
                }
            }
        }
    };
}

ours! {
    bert
    bytes_in
    conv1d
    conv3d
    detector
    dynamic_quantized
    encoder_decoder
    gpt
    gru
    integer_ops
    loop_body
    lstm
    mlp
    mobilenet
    open_sequence
    qdq_cnn
    recommender
    residual_cnn
    vit
}

/// Equality with the reference is that of `models`; here only the error.
macro_rules! others {
    ($($name:ident $is_open:literal)*) => {
        mod others {
            $(#[test] fn $name() {
                let specimen = super::others(stringify!($name), $is_open);
                if let Some(specimen) = specimen {
                    super::check_accuracy(stringify!($name), &specimen);
                }
            })*
        }
    };
}

others! {
    autoencoder1d false
    basic_pitch_nmp true
    burn_mnist false
    dtln_1 false
    fastestdet false
    fsanet_1x1 false
    go1_policy false
    gtcrn_simple false
    mlperf_tiny_ic_resnet8 false
    mlperf_tiny_kws_dscnn false
    mlperf_tiny_vww false
    mnist_8 false
    nnsplit_en true
    tinyvit_demo false
    tract_bidi_lstm true
    tract_keras_tf2 false
    transformer_deepquant false
    yolox_nano false
    yunet_n_320 false
}

/// Obstacles of digital layers that multiply.
fn obstacles(model: &Model) -> Vec<Obstacle> {
    let layers = model.graph.layers().filter_map(|(_, layer)| match &layer.kind {
        LayerKind::Digital(digital) => digital.obstacle.clone(),
        LayerKind::Crossbar(_) => None,
    });
    layers.collect()
}

/// All constant matrices are on arrays: what stays multiplies activations.
#[test]
fn nothing_constant_stays_digital() {
    for name in ["encoder_decoder", "lstm", "gru", "loop_body", "integer_ops", "dynamic_quantized"]
    {
        assert_eq!(obstacles(&ours(name).model), [], "{name}");
    }
    for name in ["bert", "gpt", "vit", "open_sequence"] {
        let found = obstacles(&ours(name).model);
        assert!(!found.is_empty(), "{name}");
        assert!(found.iter().all(|o| *o == Obstacle::TwoActivations), "{name}: {found:?}");
    }
}

/// The steps of a loop drive the same cells, and together do all its work.
#[test]
fn steps_of_a_loop_share_their_cells() {
    let specimen = ours("gru");
    let case = case(&specimen, &[], RangeRule::default());
    let graph = &case.model.graph;
    let steps: Vec<_> = graph.layers().filter(|(id, _)| graph.matrix_of(*id) != *id).collect();
    // Two layers of 8 steps, with their recurrent matrices in one part and in
    // three; a first step whose state is zero multiplies nothing.
    let mut others = BTreeMap::new();
    for (id, _) in &steps {
        *others.entry(graph.matrix_of(*id)).or_insert(0) += 1;
    }
    let mut others: Vec<i32> = others.into_values().collect();
    others.sort_unstable();
    assert_eq!(others, [6, 6, 6, 7]);
    for (id, layer) in steps {
        let matrix = graph.matrix_of(id);
        let plan = &case.compiled.plan;
        assert_eq!(plan.layers[&id].matrix, matrix, "{}", layer.name);
        assert!(plan.tiles.values().all(|tile| tile.place.layer != id));
        assert_eq!(plan.layers[&id].coding, plan.layers[&matrix].coding);
    }
}

/// Codes of a quantised model are those of the model, not of the calibration.
#[test]
fn quantised_models_keep_their_own_scales() {
    for (name, n_own) in [("qdq_cnn", 3), ("integer_ops", 3), ("dynamic_quantized", 2)] {
        let specimen = ours(name);
        let case = case(&specimen, &[], RangeRule::default());
        let mut n = 0;
        for (id, _, crossbar) in case.model.graph.crossbar_layers() {
            let Some(codes) = crossbar.codes else { continue };
            let coding = case.compiled.quantized[&id].coding;
            assert_eq!((coding.scale, coding.zero_point), (codes.scale, codes.zero_point));
            assert_eq!((coding.bits, coding.signed), (codes.bits, codes.signed));
            n += 1;
        }
        assert_eq!(n, n_own, "{name}");
    }
}
