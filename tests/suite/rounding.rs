//! Second-order rounding of whole models: outputs come closer to floating
//! point, what is reported as gained is what is measured, and nothing depends
//! on threads.

use ohmc::compiler::{self, CompileError, CompileOptions, Compiled};
use ohmc::data::{DataOptions, Part};
use ohmc::quantize::{Calibration, Corrections, QuantizeOptions, WeightRule};
use ohmc::refine::RefineError;
use ohmc::runtime::{FloatModel, Reference, Runs};
use ohmc::schedule::plan_text;
use ohmc::target::Target;
use ohmc::tensor::Tensor;
use rayon::ThreadPoolBuilder;

use crate::onnx::{Conv, Onnx, batched};
use crate::pipeline::{self, Case};

/// The macro of the paper with cells that hold what they should.
fn exact() -> Target {
    let cells = ["verify_tolerance_us", "relaxation_sd_us", "read_noise_fraction"];
    pipeline::target("yao2020-macro", &cells.map(|key| format!("cell.{key}=0")))
}

fn options(weights: WeightRule, corrections: Corrections) -> CompileOptions {
    let quantize = QuantizeOptions { weights, corrections, ..Default::default() };
    CompileOptions { quantize, ..Default::default() }
}

/// What the shipped digits for training look like to the shipped network.
fn calibration() -> Calibration {
    let part = DataOptions { part: Part::Calibration, ..Default::default() };
    let model = pipeline::mcnn();
    let (images, _) = pipeline::images(&model, &pipeline::repository("models/digits"), part, 128);
    pipeline::calibrate(&model, &[images], 128)
}

fn compile(calibration: &Calibration, target: &Target, options: &CompileOptions) -> Compiled {
    compiler::compile(&pipeline::mcnn(), target, calibration, options).unwrap()
}

/// Sum of squared differences.
fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    let pairs = found.as_f32().unwrap().iter().zip(wanted.as_f32().unwrap());
    pairs.map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

/// Distance from floating point on digits that were not calibrated on.
fn error(compiled: &Compiled) -> f64 {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, 64);
    let images = [images];
    let found = Reference::new(&model, &compiled.quantized).unwrap().run(&images).unwrap();
    let wanted = FloatModel::new(&model).unwrap().run(&images, 0).unwrap();
    distance(&found[0], &wanted[0])
}

#[test]
fn the_networks_outputs_come_closer_on_images_not_seen() {
    let (calibration, target) = (calibration(), exact());
    let nearest = options(WeightRule::PerColumn, Corrections::default());
    let nearest = error(&compile(&calibration, &target, &nearest));
    let all = options(WeightRule::SecondOrder, Corrections::default());
    let all = error(&compile(&calibration, &target, &all));
    assert!(all < 0.5 * nearest, "{all} and {nearest}");
}

#[test]
fn every_part_that_is_on_gains_and_one_that_is_off_does_not() {
    let (calibration, target) = (calibration(), exact());
    let none = Corrections { compensation: false, scales: false, bias: false, cells: false };
    let compiled = compile(&calibration, &target, &options(WeightRule::SecondOrder, none));
    assert_eq!(compiled.gains.len(), compiled.quantized.len());
    for gain in &compiled.gains {
        assert!(gain.rounding < gain.nearest, "{gain:?}");
        assert_eq!([gain.compensation, gain.scales, gain.bias], [gain.rounding; 3], "{gain:?}");
    }
    let all = options(WeightRule::SecondOrder, Corrections::default());
    for gain in compile(&calibration, &target, &all).gains {
        // Scales and biases of least squares cannot make the sample's error
        // larger, but for rounding to f32.
        assert!(gain.bias <= gain.scales * (1.0 + 1e-6), "{gain:?}");
        assert!(gain.bias < gain.nearest, "{gain:?}");
    }
}

#[test]
fn what_is_said_to_be_gained_is_what_the_integers_give() {
    // Every way in which a layer reads its tensor.
    let plain = Conv::new(3, 5, &[3, 3]);
    let padded = Conv { pads: vec![(1, 2); 2], bias: true, ..Conv::new(3, 5, &[3, 3]) };
    let strided = Conv { strides: vec![2, 1], dilations: vec![1, 2], ..Conv::new(4, 6, &[3, 2]) };
    let grouped = Conv { groups: 3, bias: true, ..Conv::new(2, 4, &[3, 3]) };
    for conv in [plain, padded, strided, grouped] {
        let n = 6;
        let shape = [conv.in_channels(), 9, 8];
        let onnx = Onnx::new(5).input("x", &batched(None, &shape));
        let onnx = conv.add_to(onnx, "y", "x").output("y");
        let model = pipeline::read(onnx.bytes()).unwrap();
        let inputs = pipeline::inputs(&model, n, -0.2, 1.0, 3);
        let options = options(WeightRule::SecondOrder, Corrections::default());
        let case = Case::new(model, pipeline::target("ideal", &[]), &options, inputs).unwrap();
        let measured = distance(&case.reference()[0], &case.float()[0]);
        let [gain] = &case.compiled.gains[..] else { panic!("{:?}", case.compiled.gains) };
        assert!((measured - gain.bias).abs() < 1e-3 * gain.bias, "{measured} and {gain:?}");
        assert!(gain.bias < gain.nearest, "{gain:?}");
    }
}

#[test]
fn integers_are_the_same_for_any_number_of_threads() {
    let calibration = calibration();
    let options = options(WeightRule::SecondOrder, Corrections::default());
    let on = |n_threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| compile(&calibration, &pipeline::target("yao2020-macro", &[]), &options))
    };
    let one = on(1);
    for n_threads in [2, 5] {
        let again = on(n_threads);
        assert_eq!(again.quantized, one.quantized, "{n_threads} threads");
        assert_eq!(again.gains, one.gains, "{n_threads} threads");
        assert_eq!(plan_text(&again.plan), plan_text(&one.plan), "{n_threads} threads");
    }
}

#[test]
fn a_calibration_without_inputs_is_refused() {
    let calibration = Calibration { batches: Vec::new(), ..calibration() };
    let options = options(WeightRule::SecondOrder, Corrections::default());
    let refused = compiler::compile(&pipeline::mcnn(), &exact(), &calibration, &options);
    assert!(matches!(refused, Err(CompileError::Refine(RefineError::NoInputs))));
}
