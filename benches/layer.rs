//! Single layers on arrays, beside the same layer in floating point.
//!
//! Each is compiled for `yao2020-macro` and runs on one thread with read noise
//! and without; tract runs the same ONNX model in f32. A cell operation is one
//! multiply-accumulate of one bit-plane. What is compared takes turns, and the
//! minimum of all rounds counts.
//!
//! `cargo bench --bench layer`, and with `-- scaling` time against tiles.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod common;
#[allow(dead_code, reason = "made for the tests, which build more kinds of models")]
#[path = "../tests/suite/onnx.rs"]
mod onnx;

use std::hint::black_box;
use std::time::Duration;

use ohmc::runtime::{Executor, FloatModel, Runs};
use ohmc::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use common::{Programmed, in_turn, milliseconds_each, pipeline, three_digits};
use onnx::{Conv, Onnx, batched, uniform};

const TARGET: &str = "yao2020-macro";
/// Bits of an input of that target; behind a ReLU none of them is a sign.
const PLANES: f64 = 8.0;
const INPUTS: usize = 8;
const TIME: Duration = Duration::from_secs(2);

struct Layer {
    name: String,
    /// Extents of one input.
    shape: Vec<usize>,
    onnx: Onnx,
}

/// A 3x3 convolution that keeps the extents of the picture.
fn convolution(name: &str, conv: Conv, extent: usize) -> Layer {
    let conv = Conv { pads: vec![(1, 1); 2], ..conv };
    let shape = vec![conv.in_channels(), extent, extent];
    let onnx = Onnx::new(1).input("x", &batched(None, &shape));
    Layer { name: name.to_string(), shape, onnx: conv.add_to(onnx, "y", "x").output("y") }
}

/// A matrix product at several positions.
fn product(positions: usize, inputs: usize, outputs: usize) -> Layer {
    let shape = vec![positions, inputs];
    let onnx = Onnx::new(1)
        .input("x", &batched(None, &shape))
        .weights("w", &[inputs, outputs])
        .node("MatMul", &["x", "w"], "y", vec![])
        .output("y");
    let name = format!("product {inputs}x{outputs}, {positions} positions");
    Layer { name, shape, onnx }
}

impl Layer {
    /// Random inputs, half of them zero, as behind a ReLU.
    fn inputs(&self) -> Vec<Tensor> {
        let shape = [&[INPUTS], &self.shape[..]].concat();
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let values = uniform(&mut random, shape.iter().product(), -1.0, 1.0);
        let values = values.into_iter().map(|v| v.max(0.0)).collect();
        vec![Tensor::f32(shape, values).unwrap()]
    }

    fn measure(&self) {
        let model = pipeline::read(self.onnx.bytes()).unwrap();
        let inputs = self.inputs();
        let calibration = pipeline::calibrate(&model, &inputs, INPUTS as u64);
        let programmed = |sets: &[String]| {
            Programmed::new(&model, &calibration, &pipeline::target(TARGET, sets))
        };
        let quiet = programmed(&[common::NO_READ_NOISE.to_string()]);
        let noisy = programmed(&[]);
        let quiet = Executor::new(&quiet.compiled.plan, &model, &quiet.chip).unwrap();
        let noisy = Executor::new(&noisy.compiled.plan, &model, &noisy.chip).unwrap();
        let float = FloatModel::new(&model).unwrap();

        let pool = common::one_thread();
        let run = |runs: &dyn Runs| {
            black_box(pool.install(|| runs.run(black_box(&inputs), 0)).unwrap());
        };
        let [quiet, noisy, float] =
            in_turn(TIME, [&mut || run(&quiet), &mut || run(&noisy), &mut || run(&float)]);

        let n_macs: u64 =
            model.graph.crossbar_layers().map(|(_, _, layer)| layer.nest.macs_per_input()).sum();
        let operations = n_macs as f64 * PLANES * INPUTS as f64;
        for (noise, seconds) in [("off", quiet), ("on", noisy)] {
            common::print_row(&[
                self.name.clone(),
                three_digits(n_macs as f64 / 1e6),
                noise.to_string(),
                milliseconds_each(seconds, INPUTS),
                three_digits(operations / seconds / 1e9),
                milliseconds_each(float, INPUTS),
                three_digits(seconds / float),
            ]);
        }
    }
}

fn main() {
    let square = |channels| Conv::new(channels, channels, &[3, 3]);
    let depthwise = Conv { groups: 64, ..Conv::new(1, 1, &[3, 3]) };
    let usual = || {
        vec![
            convolution("3x3, 16 to 16 channels, 32x32", square(16), 32),
            convolution("3x3, 32 to 32 channels, 16x16", square(32), 16),
            convolution("3x3, 64 to 64 channels, 8x8", square(64), 8),
            product(64, 512, 512),
            convolution("3x3 depthwise, 64 channels, 16x16", depthwise, 16),
        ]
    };
    // A tile takes 128 inputs and 64 weights: 1 to 64 of them.
    let tiles = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 4), (8, 8)];
    let of_tiles = |(rows, columns): (usize, usize)| product(64, 128 * rows, 64 * columns);
    let layers = if common::is_scaling() { tiles.map(of_tiles).into() } else { usual() };
    common::print_machine();
    common::print_heading(&[
        "layer on `yao2020-macro`, one thread",
        "M multiply-accumulates",
        "read noise",
        "ms an input",
        "G cell-op/s",
        "float: ms an input",
        "times float",
    ]);
    for layer in layers.iter().filter(|layer| common::is_wanted(&layer.name)) {
        layer.measure();
    }
}
