//! Whole networks with images to run and a calibration: what belongs here
//! reads files, and measures nothing.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use ohmc::data::{DataOptions, Part, Preprocess};
use ohmc::format::PreprocessForm;
use ohmc::frontend::{self, FrontendOptions, Model, ModelFiles};
use ohmc::quantize::Calibration;
use ohmc::runtime::{Inputs, RunError, Runs, batch_size, for_each_batch};
use ohmc::tensor::Tensor;

use super::{is_wanted, pipeline};

/// Images of the training part that ranges are chosen from: enough for codes
/// of the right size, few enough to be ready soon.
const CALIBRATION_IMAGES: usize = 32;

/// A network, ready to be compiled and run.
pub struct Network {
    pub name: &'static str,
    pub files: ModelFiles,
    pub model: Model,
    pub calibration: Calibration,
    pub preprocess: Preprocess,
    /// `[image, channel, row, column]`
    pub images: Tensor,
}

impl Network {
    fn new(
        name: &'static str,
        onnx: &Path,
        data: &Path,
        preprocess: Preprocess,
        n_images: usize,
    ) -> Self {
        let onnx = Arc::new(std::fs::read(onnx).unwrap());
        let files = ModelFiles { onnx, ..Default::default() };
        let model = frontend::read(&files, &FrontendOptions::default(), name).unwrap();
        let images = |part, n| {
            let options =
                DataOptions { part, preprocess: preprocess.clone(), ..Default::default() };
            pipeline::images(&model, data, options, n).0
        };
        let seen = images(Part::Calibration, CALIBRATION_IMAGES);
        let calibration = pipeline::calibrate(&model, &[seen], CALIBRATION_IMAGES as u64);
        let images = images(Part::Evaluation, n_images);
        Self { name, files, model, calibration, preprocess, images }
    }

    pub fn n_images(&self) -> usize {
        self.images.shape[0]
    }

    /// Some of the images, from the first on.
    pub fn first_images(&self, n: usize) -> Tensor {
        pipeline::rows(&self.images, 0..n.min(self.n_images()))
    }

    /// All images, in batches as `ohmc eval` cuts them; smaller ones where
    /// there are too few images to give each of `n_threads` two batches.
    pub fn batches(&self, n_threads: usize) -> Vec<Inputs> {
        let n = self.n_images();
        let size = batch_size(&self.model).min(n / (2 * n_threads)).max(1);
        let batch = |first: usize| Inputs {
            first: first as u64,
            tensors: vec![pipeline::rows(&self.images, first..n.min(first + size))],
        };
        (0..n).step_by(size).map(batch).collect()
    }

    /// How images are prepared, as a plan keeps it.
    pub fn preprocess_form(&self) -> PreprocessForm {
        let Preprocess { scale, mean, std, .. } = self.preprocess.clone();
        PreprocessForm { scale, mean, std, bgr: false }
    }
}

/// The network that comes with ohmc, with the digits that do.
pub fn mcnn(n_images: usize) -> Option<Network> {
    let (onnx, data) =
        (pipeline::repository("models/mcnn.onnx"), pipeline::repository("models/digits"));
    let network = || Network::new("mCNN", &onnx, &data, Preprocess::default(), n_images);
    is_wanted("mCNN").then(network)
}

/// ResNet-20, which is not in the repository; says so where it is not found.
pub fn resnet20(n_images: usize) -> Option<Network> {
    resnet("ResNet-20", "models/resnet20_cifar10.onnx", n_images)
}

/// ResNet-56, which is not in the repository; says so where it is not found.
pub fn resnet56(n_images: usize) -> Option<Network> {
    resnet("ResNet-56", "models/resnet56_cifar10.onnx", n_images)
}

fn resnet(name: &'static str, onnx: &str, n_images: usize) -> Option<Network> {
    if !is_wanted(name) {
        return None;
    }
    let Some(onnx) = pipeline::data(onnx) else {
        println!("skipped: {name} is not here, OHMC_DATA does not lead to it\n");
        return None;
    };
    let Some(images) = pipeline::data("data/cifar10") else {
        println!("skipped: {name}, as CIFAR-10 is not here, OHMC_DATA does not lead to it\n");
        return None;
    };
    let preprocess = Preprocess {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        ..Default::default()
    };
    Some(Network::new(name, &onnx, &images, preprocess, n_images))
}

/// Runs all batches, on all threads of the pool that this is called in.
pub fn run_all(runs: &dyn Runs, batches: &[Inputs]) {
    let mut rest = batches.iter();
    let next = || Ok(rest.next().map(|batch| (batch.clone(), ())));
    for_each_batch(runs, next, |(), outputs| {
        black_box(outputs);
        Ok::<(), RunError>(())
    })
    .unwrap();
}
