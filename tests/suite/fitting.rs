//! Precision that is chosen: the bound holds, cells are saved, and a bound out
//! of reach is said to be.

use ohmc::compiler::CompileOptions;
use ohmc::data::{DataOptions, Part};
use ohmc::fit::{FitError, Fitted, Goal, fit};
use ohmc::quantize::Calibration;
use ohmc::runtime::{FloatModel, Reference, Runs};
use ohmc::target::Target;
use ohmc::tensor::Tensor;

use crate::pipeline;

fn digits() -> (Tensor, Calibration) {
    let part = DataOptions { part: Part::Calibration, ..Default::default() };
    let model = pipeline::mcnn();
    let (images, _) = pipeline::images(&model, &pipeline::repository("models/digits"), part, 64);
    let calibration = pipeline::calibrate(&model, std::slice::from_ref(&images), 64);
    (images, calibration)
}

fn fitted(target: &Target, goal: Goal) -> Result<Fitted, FitError> {
    let (_, calibration) = digits();
    fit(&pipeline::mcnn(), target, &calibration, &CompileOptions::default(), goal)
}

/// Cells that hold digits of weights.
fn n_cells(fitted: &Fitted) -> u64 {
    fitted.compiled.mapping.tiles.values().map(|tile| tile.n_weight_cells()).sum()
}

/// Relative L2 error of the integers against floating point.
fn error(fitted: &Fitted) -> f64 {
    let (model, (images, _)) = (pipeline::mcnn(), digits());
    let images = [images];
    let found = Reference::new(&model, &fitted.compiled.quantized).unwrap().run(&images).unwrap();
    let wanted = FloatModel::new(&model).unwrap().run(&images, 0).unwrap();
    let (found, wanted) = (found[0].as_f32().unwrap(), wanted[0].as_f32().unwrap());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let off: f64 = found.iter().zip(wanted).map(|(f, w)| square(f - w)).sum();
    (off / wanted.iter().map(|&w| square(w)).sum::<f64>()).sqrt()
}

#[test]
fn the_bound_holds_and_a_wider_one_takes_fewer_cells() {
    let ideal = pipeline::target("ideal", &[]);
    let mut before = u64::MAX;
    for bound in [0.01, 0.04, 0.2, 1.0] {
        let fitted = fitted(&ideal, Goal::Error(bound)).unwrap();
        // The integers are what runs on an exact chip.
        let error = error(&fitted);
        assert!(error <= bound, "{error} beyond {bound}");
        assert!((error - fitted.summary.loss).abs() < 1e-6, "{error} but {:?}", fitted.summary);
        assert!(n_cells(&fitted) <= before, "{bound}");
        before = n_cells(&fitted);
    }
    // Without a bound no weight needs more than its pair.
    assert_eq!(before, 2 * 2856);
}

#[test]
fn accuracy_is_a_share_of_inputs() {
    let ideal = pipeline::target("ideal", &["cell.levels=2".to_string()]);
    let coarse = fitted(&ideal, Goal::Accuracy(1.0)).unwrap().summary;
    assert!(coarse.slices.is_empty() && coarse.loss > 0.02, "{coarse:?}");
    let fine = fitted(&ideal, Goal::Accuracy(0.02)).unwrap().summary;
    assert!(!fine.slices.is_empty() && fine.loss <= 0.02, "{fine:?}");
}

#[test]
fn a_bound_out_of_reach_says_what_was_reached() {
    let noisy = ["cell.relaxation_sd_us=3".to_string()];
    match fitted(&pipeline::target("yao2020-macro", &noisy), Goal::Error(0.001)) {
        Err(FitError::OutOfReach { least, .. }) => assert!(least > 0.001),
        Err(other) => panic!("{other}"),
        Ok(fitted) => panic!("{}", fitted.summary),
    }
}

#[test]
fn slices_stop_where_the_chip_is_full() {
    // Room for the whole network once, and little more.
    let small = ["pe.inputs=16".to_string(), "chip.pes=4".to_string()];
    let fitted = fitted(&pipeline::target("ideal", &small), Goal::Error(0.5)).unwrap();
    assert!(fitted.compiled.mapping.n_pes_used() <= 4);
    let full = fit(
        &pipeline::mcnn(),
        &pipeline::target("ideal", &["pe.inputs=16".to_string(), "chip.pes=1".to_string()]),
        &digits().1,
        &CompileOptions::default(),
        Goal::Error(0.5),
    );
    assert!(matches!(full, Err(FitError::Compile(_))));
}
