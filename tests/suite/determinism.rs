//! Invariant 2 of the design: the same bytes for any number of threads and any
//! cut of the data, others for another seed.

use ohmc::chip::Chip;
use ohmc::compiler::{self, CompileOptions};
use ohmc::quantize::Calibration;
use ohmc::runtime::{Executor, Inputs, RunError, for_each_batch};
use ohmc::schedule::plan_text;
use ohmc::tensor::Tensor;
use rayon::ThreadPoolBuilder;

use crate::pipeline::{self, Case, difference, rows};

const N_IMAGES: usize = 40;

/// The network of the paper on its chip: cells, noise and ADCs.
fn case() -> Case {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, N_IMAGES);
    let target = pipeline::target("yao2020-chip", &[]);
    Case::new(model, target, &CompileOptions::default(), vec![images]).unwrap()
}

/// All images in batches of the given sizes, again and again.
fn run(case: &Case, chip: &Chip, sizes: &[usize]) -> Vec<Tensor> {
    let executor = Executor::new(&case.compiled.plan, &case.model, chip).unwrap();
    let mut sizes = sizes.iter().cycle();
    let mut start = 0;
    let mut outputs = Vec::new();
    let next = || {
        let n = (N_IMAGES - start).min(*sizes.next().unwrap());
        let batch = (n > 0).then(|| {
            let tensors = vec![rows(&case.inputs[0], start..start + n)];
            (Inputs { first: start as u64, tensors }, start)
        });
        start += n;
        Ok::<_, RunError>(batch)
    };
    let mut expected = 0;
    for_each_batch(&executor, next, |first, batch| {
        // In order, whichever was finished first.
        assert_eq!(first, expected);
        expected += batch[0].shape[0];
        outputs.extend(batch);
        Ok(())
    })
    .unwrap();
    let values = outputs.iter().flat_map(|tensor| tensor.as_f32().unwrap()).copied().collect();
    vec![Tensor::f32(vec![N_IMAGES, 10], values).unwrap()]
}

fn with_threads<T: Send>(n: usize, work: impl FnOnce() -> T + Send) -> T {
    ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(work)
}

#[test]
fn outputs_are_the_same_for_any_number_of_threads() {
    let case = case();
    let chip = case.program(7);
    let first = with_threads(1, || run(&case, &chip, &[8]));
    for n_threads in [2, 7] {
        let again = with_threads(n_threads, || run(&case, &chip, &[8]));
        assert_eq!(difference(&first, &again), None, "{n_threads} threads");
    }
}

#[test]
fn noise_belongs_to_an_input_wherever_batches_are_cut() {
    let case = case();
    let chip = case.program(7);
    let whole = run(&case, &chip, &[N_IMAGES]);
    for sizes in [&[1][..], &[3, 37], &[7], &[5, 1, 9]] {
        assert_eq!(difference(&whole, &run(&case, &chip, sizes)), None, "{sizes:?}");
    }
}

#[test]
fn the_same_image_has_other_noise_as_another_input() {
    let case = case();
    let chip = case.program(7);
    let executor = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap();
    let image = [rows(&case.inputs[0], 0..1)];
    let at = |number: u64| executor.run(&image, number).unwrap();
    assert_eq!(difference(&at(3), &at(3)), None);
    assert!(difference(&at(3), &at(4)).is_some());
}

#[test]
fn another_seed_is_another_chip() {
    let case = case();
    let (first, second) = (case.program(1), case.program(2));
    assert_ne!(first.conductances_us, second.conductances_us);
    assert!(difference(&case.run_on(&first), &case.run_on(&second)).is_some());
    // Its noise alone is that of the seed too.
    let mut other_noise = first.clone();
    other_noise.seed = 2;
    assert!(difference(&case.run_on(&first), &case.run_on(&other_noise)).is_some());
    assert_eq!(difference(&case.run_on(&first), &case.run_on(&case.program(1))), None);
}

#[test]
fn a_plan_is_the_same_however_often_and_with_how_many_threads_it_is_made() {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, N_IMAGES);
    let images = [images];
    for name in ["ideal", "yao2020-chip", "yao2020-macro"] {
        let target = pipeline::target(name, &[]);
        let make = || {
            let calibration: Calibration = pipeline::calibrate(&model, &images, N_IMAGES as u64);
            let options = CompileOptions::default();
            let compiled =
                compiler::compile(&pipeline::mcnn(), &target, &calibration, &options).unwrap();
            (calibration, compiled)
        };
        let (calibration, first) = with_threads(1, make);
        for n_threads in [1, 2, 7] {
            let (again, second) = with_threads(n_threads, make);
            assert_eq!(calibration, again, "{name} {n_threads} threads");
            assert_eq!(first.quantized, second.quantized, "{name} {n_threads} threads");
            assert_eq!(first.mapping, second.mapping, "{name} {n_threads} threads");
            assert_eq!(first.plan, second.plan, "{name} {n_threads} threads");
            assert_eq!(plan_text(&first.plan), plan_text(&second.plan));
        }
    }
}

#[test]
fn the_seed_of_exact_cells_is_of_no_consequence() {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, 4);
    let target = pipeline::target("ideal", &[]);
    let case = Case::new(model, target, &CompileOptions::default(), vec![images]).unwrap();
    assert_eq!(difference(&case.run_on(&case.program(1)), &case.run_on(&case.program(2))), None);
}
