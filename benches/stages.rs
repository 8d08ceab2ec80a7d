//! What comes before the first image: each stage from a model to an executor,
//! and plans written and loaded.
//!
//! Everything runs on one thread. Beside each stage stands how often tract
//! could have run one image through the network in f32 in that time. What is
//! compared takes turns, and the minimum of all rounds counts. ResNets and
//! CIFAR-10 are looked for in `../shared`, or in the folder that `OHMC_DATA`
//! names.
//!
//! `cargo bench --bench stages`, and with `-- ResNet-20` only that one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod common;

use std::hint::black_box;
use std::time::Duration;

use ohmc::chip;
use ohmc::compiler::{CompileOptions, compile};
use ohmc::format::PlanFile;
use ohmc::frontend::{self, FrontendOptions, Model};
use ohmc::runtime::{Executor, FloatModel, Runs};

use common::networks::{self, Network};
use common::{Programmed, in_turn, milliseconds_each, pipeline, three_digits};

const TIME: Duration = Duration::from_secs(2);

/// A plan from its bytes, with the model that it was made from, as `ohmc run`
/// loads it.
fn load(bytes: &[u8]) -> (PlanFile, Model) {
    let file = PlanFile::read(bytes, "bench.plan").unwrap();
    let model = frontend::read(&file.model, &file.options, "bench.plan").unwrap();
    file.check_model(&model.canonical_text(), "bench.plan").unwrap();
    (file, model)
}

fn measure(network: &Network, target_name: &str) {
    let Network { model, calibration, .. } = network;
    let target = pipeline::target(target_name, &[]);
    let Programmed { compiled, chip } = Programmed::new(model, calibration, &target);
    let plan = &compiled.plan;
    let file = PlanFile::new(
        network.files.clone(),
        FrontendOptions::default(),
        network.preprocess_form(),
        target.clone(),
        plan.clone(),
        &model.canonical_text(),
    );
    let bytes = file.write().unwrap();
    let float = FloatModel::new(model).unwrap();
    let image = [network.first_images(1)];
    let options = CompileOptions::default();

    let stages = [
        "read the model",
        "compile it, given a calibration",
        "program a chip",
        "make an executor",
        "write a plan",
        "load a plan, and its model",
    ];
    let pool = common::one_thread();
    let [float, seconds @ ..] = in_turn(
        TIME,
        [
            &mut || drop(black_box(pool.install(|| float.run(&image, 0)).unwrap())),
            &mut || {
                let read = || frontend::read(&network.files, &FrontendOptions::default(), "bench");
                black_box(pool.install(read).unwrap());
            },
            &mut || {
                let compile = || compile(model, &target, calibration, &options);
                black_box(pool.install(compile).unwrap());
            },
            &mut || drop(black_box(pool.install(|| chip::program(plan, &target, 0)))),
            &mut || {
                black_box(pool.install(|| Executor::new(plan, model, &chip)).unwrap());
            },
            &mut || drop(black_box(pool.install(|| file.write()).unwrap())),
            &mut || drop(black_box(pool.install(|| load(&bytes)))),
        ],
    );
    let row = |stage: &str, seconds: f64| {
        let cells = [milliseconds_each(seconds, 1), three_digits(seconds / float)];
        let of = [network.name.to_string(), target_name.to_string(), stage.to_string()];
        common::print_row(&[&of[..], &cells].concat());
    };
    row("run one image in float", float);
    for (stage, seconds) in stages.iter().zip::<[f64; 6]>(seconds) {
        row(stage, seconds);
    }
}

fn main() {
    common::print_machine();
    let cases: Vec<(Network, &str)> = [
        (networks::mcnn(1), "yao2020-chip"),
        (networks::resnet20(1), "yao2020-macro"),
        (networks::resnet56(1), "yao2020-macro"),
    ]
    .into_iter()
    .filter_map(|(network, target)| Some((network?, target)))
    .collect();
    common::print_heading(&["network", "target", "stage", "ms", "times an image in float"]);
    for (network, target) in &cases {
        measure(network, target);
    }
}
