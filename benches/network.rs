//! Whole networks on chips, on one thread and on all, beside the same network
//! in floating point.
//!
//! The networks are compiled with 32 images of calibration and run as
//! `ohmc eval` runs them, with read noise and without; tract runs the same
//! ONNX model in f32 on one thread. What is compared takes turns, and the
//! minimum of all rounds counts. ResNets and CIFAR-10 are looked for in
//! `../shared`, or in the folder that `OHMC_DATA` names.
//!
//! `cargo bench --bench network`, with `-- ResNet-20` only that one, and with
//! `-- scaling` time against images.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod common;

use std::time::Duration;

use ohmc::runtime::{Executor, FloatModel, Runs};

use common::networks::{self, Network, run_all};
use common::{Programmed, in_turn, milliseconds_each, pipeline, three_digits};

const TIME: Duration = Duration::from_secs(4);

fn measure(network: &Network, target_name: &str, noise: &str, sets: &[String]) {
    let target = pipeline::target(target_name, sets);
    let programmed = Programmed::new(&network.model, &network.calibration, &target);
    let plan = &programmed.compiled.plan;
    let executor = Executor::new(plan, &network.model, &programmed.chip).unwrap();
    let float = FloatModel::new(&network.model).unwrap();

    let batches = network.batches(rayon::current_num_threads());
    let pool = common::one_thread();
    let alone = |runs: &dyn Runs| pool.install(|| run_all(runs, &batches));
    let [one, all, float] = in_turn(
        TIME,
        [&mut || alone(&executor), &mut || run_all(&executor, &batches), &mut || alone(&float)],
    );
    let n = network.n_images();
    common::print_row(&[
        network.name.to_string(),
        target_name.to_string(),
        noise.to_string(),
        n.to_string(),
        milliseconds_each(one, n),
        milliseconds_each(all, n),
        three_digits(one / all),
        milliseconds_each(float, n),
        three_digits(one / float),
    ]);
}

fn main() {
    common::print_machine();
    if common::is_scaling() {
        return scaling();
    }
    let cases: Vec<(Network, &[&str])> = [
        (networks::mcnn(128), &["yao2020-chip", "yao2020-macro"][..]),
        (networks::resnet20(8), &["yao2020-macro"]),
        (networks::resnet56(4), &["yao2020-macro"]),
    ]
    .into_iter()
    .filter_map(|(network, targets)| Some((network?, targets)))
    .collect();
    print_heading();
    for (network, targets) in &cases {
        for target in *targets {
            measure(network, target, "off", &[common::NO_READ_NOISE.to_string()]);
            measure(network, target, "on", &[]);
        }
    }
}

/// ResNet-20 on ever more images.
fn scaling() {
    print_heading();
    for network in [1, 2, 4, 16, 64, 256].into_iter().filter_map(networks::resnet20) {
        measure(&network, "yao2020-macro", "off", &[common::NO_READ_NOISE.to_string()]);
    }
}

fn print_heading() {
    common::print_heading(&[
        "network",
        "target",
        "read noise",
        "images",
        "ms an image, one thread",
        "all threads",
        "speed-up",
        "float, one thread",
        "times float",
    ]);
}
