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
use ohmc::frontend::{self, Axis, FrontendOptions, Model, ModelFiles};
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

fn read_file(path: &Path, inputs: &[Tensor]) -> Model {
    let onnx = Arc::new(std::fs::read(path).unwrap());
    let files = ModelFiles { onnx, ..Default::default() };
    let name = path.file_name().unwrap().to_string_lossy();
    if let Ok(model) = frontend::read(&files, &FrontendOptions::default(), &name) {
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
    frontend::read(&files, &FrontendOptions { shapes }, &name).unwrap_or_else(|e| panic!("{e}"))
}

/// A model of others on the input that comes with it.
fn others(name: &str) {
    let Some(path) = pipeline::data(&format!("models/zoo/{name}.onnx")) else {
        println!("skipped: `{name}` is not here, OHMC_DATA does not lead to it");
        return;
    };
    let mut archive = ZipArchive::new(File::open(path.with_extension("npz")).unwrap()).unwrap();
    let (inputs, wanted) = (arrays(&mut archive, "in"), arrays(&mut archive, "out"));
    let model = read_file(&path, &inputs);
    let started = std::time::Instant::now();
    let options = CompileOptions::default();
    let case = Case::new(model, pipeline::target("ideal", &[]), &options, inputs)
        .unwrap_or_else(|e| panic!("{e}"));
    println!("compiled {:?}", started.elapsed());
    for (index, (found, wanted)) in case.float().iter().zip(&wanted).enumerate() {
        assert_eq!(found.shape, wanted.shape, "output {index}");
        let (found, wanted) = (found.as_f32().unwrap(), wanted.as_f32().unwrap());
        let largest = wanted.iter().fold(0f32, |max, v| max.max(v.abs()));
        let error = found.iter().zip(wanted).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(error <= 1e-3 * largest, "output {index} is off by {error} of {largest}");
    }
    let outputs = case.run_on(&case.program(0));
    println!("run {:?}", started.elapsed());
    let n_layers = case.compiled.quantized.len();
    println!("`{name}`: {n_layers} layers on arrays");
    assert_eq!(difference(&outputs, &case.reference()), None);
    println!("reference {:?}", started.elapsed());
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
    magika_v2_1
    mlperf_tiny_ic_resnet8
    mlperf_tiny_kws_dscnn
    mlperf_tiny_vww
    mnist_8
    nnsplit_en
    silero_vad_16k_op15
    tinyvit_demo
    tract_bidi_lstm
    tract_keras_tf2
    transformer_deepquant
    yolox_nano
    yunet_n_320
}
