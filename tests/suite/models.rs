//! Whole models, ours and those of others: on an exact chip every one that
//! runs equals the integer reference, and in floating point it equals what
//! ONNX Runtime gave.
//!
//! Those of others are not in the repository; without them (`OHMC_DATA`) their
//! tests say that they were skipped.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ohmc::compiler::CompileOptions;
use ohmc::data;
use ohmc::data::{DataOptions, Preprocess};
use ohmc::frontend::{self, Axis, FrontendError, FrontendOptions, Model, ModelFiles};
use ohmc::tensor::Tensor;
use zip::ZipArchive;

use crate::pipeline::{self, Case, difference};

/// One array of an `.npz`, if it is there.
fn array(archive: &mut ZipArchive<File>, name: &str) -> Option<Tensor> {
    let entry = archive.by_name(&format!("{name}.npy")).ok()?;
    Some(data::read_npy(entry, name).unwrap())
}

/// `in_0`, `in_1`, ... or `out_0`, ...
fn arrays(archive: &mut ZipArchive<File>, prefix: &str) -> Vec<Tensor> {
    (0..).map_while(|index| array(archive, &format!("{prefix}_{index}"))).collect()
}

fn read_file(path: &Path, inputs: &[Tensor]) -> Result<Model, FrontendError> {
    let onnx = Arc::new(std::fs::read(path).unwrap());
    let files = ModelFiles { onnx, ..Default::default() };
    let name = path.file_name().unwrap().to_string_lossy();
    let model = frontend::read(&files, &FrontendOptions::default(), &name);
    if !matches!(model, Err(FrontendError::OpenShapes { .. })) {
        return model;
    }
    // Open shapes are those of the input that comes with the model.
    let names: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    let shapes = inputs
        .iter()
        .enumerate()
        .map(|(index, tensor)| {
            let name = names["inputs"][index]["name"].as_str().unwrap().to_string();
            (name, tensor.shape.iter().map(|&n| Axis::Fixed(n)).collect())
        })
        .collect();
    frontend::read(&files, &FrontendOptions { shapes }, &name)
}

/// A model of others, the input that comes with it, and what ONNX Runtime
/// gave.
struct Others {
    model: Result<Model, FrontendError>,
    inputs: Vec<Tensor>,
    wanted: Vec<Tensor>,
}

fn read_others(name: &str) -> Option<Others> {
    let Some(path) = pipeline::data(&format!("models/zoo/{name}.onnx")) else {
        println!("skipped: `{name}` is not here, OHMC_DATA does not lead to it");
        return None;
    };
    let mut archive = ZipArchive::new(File::open(path.with_extension("npz")).unwrap()).unwrap();
    let (inputs, wanted) = (arrays(&mut archive, "in"), arrays(&mut archive, "out"));
    Some(Others { model: read_file(&path, &inputs), inputs, wanted })
}

/// A model of others, in floating point and on an exact chip.
fn others(name: &str) {
    let Some(Others { model, inputs, wanted }) = read_others(name) else { return };
    let model = model.unwrap_or_else(|e| panic!("{e}"));
    let options = CompileOptions::default();
    let case = Case::new(model, pipeline::target("ideal", &[]), &options, inputs)
        .unwrap_or_else(|e| panic!("{e}"));
    for (index, (found, wanted)) in case.float().iter().zip(&wanted).enumerate() {
        let error = pipeline::relative_error(found, wanted);
        assert!(error < 1e-3, "output {index}: relative error {error}");
    }
    let outputs = case.run_on(&case.program(0));
    let n_layers = case.compiled.quantized.len();
    println!("`{name}`: {n_layers} layers on arrays");
    assert_eq!(difference(&outputs, &case.reference()), None);
}

macro_rules! others {
    ($($name:ident)*) => {
        $(#[test] fn $name() { others(stringify!($name)); })*
    };
}

others! {
    autoencoder1d
    basic_pitch_nmp
    burn_mnist
    dtln_1
    fastestdet
    fsanet_1x1
    go1_policy
    gtcrn_simple
    mlperf_tiny_ic_resnet8
    mlperf_tiny_kws_dscnn
    mlperf_tiny_vww
    mnist_8
    nnsplit_en
    tinyvit_demo
    tract_bidi_lstm
    tract_keras_tf2
    transformer_deepquant
    yolox_nano
    yunet_n_320
}

/// What tract cannot type is an error that names a node. Which of the nodes it
/// cannot type it meets first is not the same in every run.
fn refused(name: &str, nodes: &[&str]) {
    let Some(Others { model, .. }) = read_others(name) else { return };
    let error = model.err().unwrap();
    let named =
        matches!(&error, FrontendError::Tract { node: Some(n), .. } if nodes.contains(&n.as_str()));
    assert!(named, "{error}");
}

#[test]
fn magika_v2_1_is_refused_at_a_batch_norm_that_is_not_constant() {
    let nodes = ["model/layer_normalization_1/FusedBatchNormV3", "model/dense/Tensordot"];
    refused("magika_v2_1", &nodes);
}

#[test]
fn silero_vad_16k_op15_is_refused_at_branches_of_different_ranks() {
    refused("silero_vad_16k_op15", &["/model/decoder/If"]);
}

#[test]
fn resnet20_is_exact() {
    let Some(path) = pipeline::data("models/resnet20_cifar10.onnx") else {
        return println!("skipped: ResNet-20 is not here, OHMC_DATA does not lead to it");
    };
    let Some(images) = pipeline::data("data/cifar10") else {
        return println!("skipped: CIFAR-10 is not here, OHMC_DATA does not lead to it");
    };
    let model = pipeline::read(std::fs::read(path).unwrap()).unwrap();
    let preprocess = Preprocess {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        ..Default::default()
    };
    let options = DataOptions { preprocess, ..Default::default() };
    let (images, _) = pipeline::images(&model, &images, options, 2);
    let options = CompileOptions::default();
    let case = Case::new(model, pipeline::target("ideal", &[]), &options, vec![images]).unwrap();
    assert_eq!(case.compiled.quantized.len(), 20);
    assert_eq!(difference(&case.run_on(&case.program(0)), &case.reference()), None);
}

/// Share of labels that are the largest output.
fn accuracy(outputs: &[Tensor], labels: &[u32]) -> f64 {
    let n_classes = outputs[0].shape[1];
    let logits = outputs[0].as_f32().unwrap();
    let right = logits.chunks(n_classes).zip(labels).filter(|(logits, label)| {
        let best = (0..n_classes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best == Some(**label as usize)
    });
    right.count() as f64 / labels.len() as f64
}

fn mcnn_on(target: &str, sets: &[&str]) -> (Case, Vec<u32>) {
    let model = pipeline::mcnn();
    let (images, labels) = pipeline::digits(&model, 300);
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let target = pipeline::target(target, &sets);
    (Case::new(model, target, &CompileOptions::default(), vec![images]).unwrap(), labels)
}

#[test]
fn mcnn_on_ideal_equals_the_reference_on_every_logit() {
    let (case, labels) = mcnn_on("ideal", &[]);
    let outputs = case.run_on(&case.program(0));
    assert_eq!(difference(&outputs, &case.reference()), None);
    assert!(accuracy(&outputs, &labels) > 0.94);
}

/// Real cells cost little on the network of the paper, and something.
#[test]
fn mcnn_on_the_chips_of_the_paper_stays_near_float() {
    for target in ["yao2020-chip", "yao2020-macro"] {
        let (case, labels) = mcnn_on(target, &[]);
        let float = accuracy(&case.float(), &labels);
        let outputs = case.run_on(&case.program(1));
        let found = accuracy(&outputs, &labels);
        assert!(found > float - 0.02, "{target}: {found}, float {float}");
        assert!(difference(&outputs, &case.reference()).is_some());
    }
}

/// What sets a chip of the paper apart from an exact one is its cells and its
/// ADC, and nothing else.
#[test]
fn mcnn_on_a_chip_without_errors_and_a_fine_adc_is_the_reference() {
    let exact = [
        "cell.verify_tolerance_us=0",
        "cell.relaxation_sd_us=0",
        "cell.read_noise_fraction=0",
        "readout.adc_bits=20",
        "readout.adc_range=full-scale",
    ];
    for target in ["yao2020-chip", "yao2020-macro"] {
        let (case, _) = mcnn_on(target, &exact);
        let outputs = case.run_on(&case.program(0));
        let error = pipeline::relative_error(&outputs[0], &case.reference()[0]);
        assert!(error < 0.02, "{target}: relative error {error}");
    }
}
