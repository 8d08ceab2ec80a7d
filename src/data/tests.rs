//! Data sets as a user opens them: every format, adapted to a model, in
//! batches; and what goes wrong with them.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;

use super::testing::{DiskFiles, cifar_record, gzip, idx, png, real_data};
use super::*;
use crate::diagnostic::Explain;
use crate::tensor::ElementType;

fn spec(shape: &[usize]) -> InputSpec {
    InputSpec { name: "x".into(), shape: shape.to_vec(), element_type: ElementType::F32 }
}

fn npy(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_npy(&mut bytes, tensor).unwrap();
    bytes
}

fn bytes_npy(shape: &[usize], values: Vec<u8>) -> Vec<u8> {
    npy(&Tensor::new(shape.to_vec(), Values::U8(values)).unwrap())
}

/// All batches of `n`; a failure ends them.
fn batches(data: &mut DataSet<'_>, n: usize) -> Result<Vec<Batch>, DataError> {
    let mut all = Vec::new();
    while let Some(batch) = data.next_batch(n)? {
        all.push(batch);
    }
    assert!(data.next_batch(n)?.is_none());
    Ok(all)
}

fn labels(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|batch| batch.labels.clone().unwrap()).collect()
}

fn five_digits(packed: bool) -> MemoryFiles {
    let pack = |bytes: Vec<u8>| if packed { gzip(&bytes) } else { bytes };
    let pixels: Vec<u8> = (0..5).flat_map(|digit| [digit * 51; 4]).collect();
    MemoryFiles::new()
        .with("m/t10k-images-idx3-ubyte", pack(idx(&[5, 2, 2], &pixels)))
        .with("m/t10k-labels-idx1-ubyte", pack(idx(&[5], &[0, 1, 2, 3, 4])))
        .with("m/train-images-idx3-ubyte", pack(idx(&[2, 2, 2], &[255; 8])))
        .with("m/train-labels-idx1-ubyte", pack(idx(&[2], &[7, 8])))
}

#[test]
fn a_folder_of_digits_gives_scaled_batches_with_labels() {
    for packed in [false, true] {
        let files = five_digits(packed);
        let options = DataOptions::default();
        let mut data = open(&files, Path::new("m"), &options, &[spec(&[1, 2, 2])]).unwrap();
        assert_eq!((data.len(), data.part()), (Some(5), Some(Part::Evaluation)));
        assert!(data.has_labels() && data.has_own_part());
        let batches = batches(&mut data, 2).unwrap();
        let counts: Vec<_> = batches.iter().map(|batch| (batch.first, batch.n)).collect();
        assert_eq!(counts, [(0, 2), (2, 2), (4, 1)]);
        assert_eq!(labels(&batches), [0, 1, 2, 3, 4]);
        assert_eq!(batches[1].inputs[0].shape, [2, 1, 2, 2]);
        assert_eq!(batches[1].inputs[0].as_f32().unwrap()[3..5], [102.0 / 255.0, 153.0 / 255.0]);
    }
}

#[test]
fn calibration_takes_the_training_part_and_its_first_inputs() {
    let files = five_digits(true);
    let options = DataOptions { part: Part::Calibration, limit: Some(1), ..DataOptions::default() };
    let mut data = open(&files, Path::new("m"), &options, &[spec(&[4])]).unwrap();
    assert_eq!((data.len(), data.has_own_part()), (Some(1), true));
    let batches = batches(&mut data, 64).unwrap();
    assert_eq!(labels(&batches), [7]);
    assert_eq!(batches[0].inputs[0].as_f32().unwrap(), [1.0; 4]);
}

#[test]
fn without_a_training_part_the_caller_is_told() {
    let files = MemoryFiles::new().with("d/test.npy", bytes_npy(&[3, 2], vec![0; 6]));
    let options = DataOptions { part: Part::Calibration, ..DataOptions::default() };
    for path in ["d", "d/test.npy"] {
        let data = open(&files, Path::new(path), &options, &[spec(&[2])]).unwrap();
        assert!(!data.has_own_part(), "{path}");
    }
}

#[test]
fn a_single_file_finds_its_labels_and_the_option_replaces_them() {
    let other = bytes_npy(&[5, 1], vec![9; 5]);
    let files = five_digits(false).with("other.npy", other);
    let path = Path::new("m/t10k-images-idx3-ubyte");
    let read = |labels_from: Option<&str>| {
        let chosen = labels_from.map(PathBuf::from);
        let options = DataOptions { labels: chosen, ..DataOptions::default() };
        let mut data = open(&files, path, &options, &[spec(&[4])]).unwrap();
        labels(&batches(&mut data, 3).unwrap())
    };
    assert_eq!(read(None), [0, 1, 2, 3, 4]);
    assert_eq!(read(Some("other.npy")), [9; 5]);
}

#[test]
fn cifar_and_images_end_where_the_model_looks() {
    let files = MemoryFiles::new()
        .with("c/test_batch.bin", [cifar_record(5), cifar_record(6)].concat())
        .with("i/5/a.png", png(2, 1, &[5, 15, 25, 5, 15, 25]));
    let raw = Preprocess { scale: Some(1.0), ..Preprocess::default() };
    let options = DataOptions { preprocess: raw, ..DataOptions::default() };
    for (path, shape) in [("c", [32, 32, 3]), ("i", [1, 2, 3])] {
        let mut data = open(&files, Path::new(path), &options, &[spec(&shape)]).unwrap();
        let batch = data.next_batch(1).unwrap().unwrap();
        assert_eq!(batch.labels, Some(vec![5]));
        assert_eq!(batch.inputs[0].as_f32().unwrap()[..6], [5., 15., 25., 5., 15., 25.]);
    }
}

#[test]
fn labels_must_be_as_many_as_inputs_whenever_that_is_known() {
    let options = |labels: &str| DataOptions { labels: Some(labels.into()), ..Default::default() };
    let files = five_digits(false)
        .with("four.npy", bytes_npy(&[4], vec![0; 4]))
        .with("c.bin.gz", gzip(&[cifar_record(1), cifar_record(2), cifar_record(3)].concat()))
        .with("two.npy", bytes_npy(&[2], vec![0; 2]));
    let path = Path::new("m/t10k-images-idx3-ubyte");
    let error = open(&files, path, &options("four.npy"), &[spec(&[4])]).err().unwrap();
    assert!(matches!(error, DataError::LabelCount { n_inputs: 5, n_labels: 4, .. }), "{error}");
    // Packed records are counted as they come.
    for (labels, n_labels) in [("two.npy", 2), ("four.npy", 4)] {
        let image = [spec(&[3, 32, 32])];
        let mut data = open(&files, Path::new("c.bin.gz"), &options(labels), &image).unwrap();
        assert_eq!(data.len(), None);
        let Err(DataError::LabelCount { n_inputs, n_labels: found, .. }) = batches(&mut data, 2)
        else {
            unreachable!("{labels}")
        };
        assert_eq!((n_inputs, found), (3, n_labels));
    }
}

#[test]
fn several_inputs_come_from_an_archive() {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let arrays = [
        ("a", bytes_npy(&[2, 1], vec![1, 2])),
        ("in_1", npy(&Tensor::f32(vec![2, 2], vec![1., 2., 3., 4.]).unwrap())),
        ("labels", bytes_npy(&[2], vec![3, 4])),
    ];
    for (name, bytes) in &arrays {
        let stored = zip::write::SimpleFileOptions::default();
        archive.start_file(format!("{name}.npy"), stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    let files = MemoryFiles::new().with("x.npz", archive.finish().unwrap().into_inner());
    let named = |name: &str, shape: &[usize]| InputSpec { name: name.into(), ..spec(shape) };
    let specs = [named("a", &[1]), named("b", &[2])];
    let options = DataOptions::default();
    let mut data = open(&files, Path::new("x.npz"), &options, &specs).unwrap();
    let batches = batches(&mut data, 9).unwrap();
    assert_eq!(batches[0].inputs[0].as_f32().unwrap(), [1.0 / 255.0, 2.0 / 255.0]);
    assert_eq!(batches[0].inputs[1].as_f32().unwrap(), [1., 2., 3., 4.]);
    assert_eq!(labels(&batches), [3, 4]);

    let error = open(&five_digits(false), Path::new("m"), &options, &specs).err().unwrap();
    assert!(matches!(error, DataError::OneTensor { n_inputs: 2, .. }), "{error}");
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let files = MemoryFiles::new()
        .with("text.txt", *b"hello")
        .with("nothing", *b"")
        .with("none.npy", bytes_npy(&[0, 2], vec![]))
        .with("nan.npy", npy(&Tensor::f32(vec![2, 2], vec![0., 0., 0., f32::NAN]).unwrap()))
        .with("long.npy", [bytes_npy(&[2, 2], vec![0; 4]), vec![0]].concat())
        .with("short.npy", bytes_npy(&[3, 2], vec![0; 6])[..130].to_vec());
    let outcome = |path: &str, options: &DataOptions| {
        open(&files, Path::new(path), options, &[spec(&[2])])
            .and_then(|mut data| batches(&mut data, 1).map(|_| ()))
            .unwrap_err()
            .diagnostics()[0]
            .to_string()
    };
    let plain = DataOptions::default();
    for (path, expected) in [
        ("gone.npy", "cannot open `gone.npy`: there is no `gone.npy`"),
        ("text.txt", "found `first bytes [68, 65, 6c, 6c, 6f]`"),
        ("nothing", "`nothing` holds no inputs"),
        ("none.npy", "`none.npy` holds no inputs"),
        ("nan.npy", "input 1 of `nan.npy` holds NaN at [1] of `x`"),
        ("long.npy", "`long.npy` is too long: 132 bytes expected, 133 found"),
        ("short.npy", "`short.npy` is cut short: 134 bytes expected, 130 found"),
    ] {
        let found = outcome(path, &plain);
        assert!(found.contains(expected), "{found}");
    }
    let zero = Preprocess { std: vec![0.0], ..Preprocess::default() };
    let options = DataOptions { preprocess: zero, ..DataOptions::default() };
    assert!(outcome("none.npy", &options).contains("standard deviation of channel 0 is 0"));
}

#[test]
fn preprocessing_that_nothing_uses_is_an_error() {
    let files = MemoryFiles::new().with("x.npy", bytes_npy(&[1, 2], vec![0; 2]));
    let preprocess = Preprocess { mean: vec![0.5], ..Preprocess::default() };
    let options = DataOptions { preprocess, ..DataOptions::default() };
    let integers = InputSpec { element_type: ElementType::I64, ..spec(&[2]) };
    let error = open(&files, Path::new("x.npy"), &options, &[integers]).err().unwrap();
    assert!(error.to_string().contains("`x` takes i64"), "{error}");
}

#[test]
fn after_an_error_there_are_no_more_batches() {
    let nan = npy(&Tensor::f32(vec![3, 1], vec![f32::NAN, 0., 0.]).unwrap());
    let files = MemoryFiles::new().with("nan.npy", nan);
    let options = DataOptions::default();
    let mut data = open(&files, Path::new("nan.npy"), &options, &[spec(&[1])]).unwrap();
    assert!(data.next_batch(1).is_err());
    assert_eq!(data.next_batch(1).unwrap(), None);
}

#[test]
fn a_data_set_may_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<DataSet<'static>>();
}

#[test]
fn real_mnist_reads_to_its_end() {
    let Some(folder) = real_data("data/mnist") else { return };
    for (part, n) in [(Part::Evaluation, 10_000), (Part::Calibration, 60_000)] {
        let options = DataOptions { part, ..DataOptions::default() };
        let mut data = open(&DiskFiles, &folder, &options, &[spec(&[1, 28, 28])]).unwrap();
        assert_eq!((data.len(), data.part()), (Some(n), Some(part)));
        let mut seen = [0u64; 10];
        let mut sum = 0.0;
        while let Some(batch) = data.next_batch(1000).unwrap() {
            batch.labels.unwrap().iter().for_each(|&label| seen[label as usize] += 1);
            sum += batch.inputs[0].as_f32().unwrap().iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        assert_eq!(seen.iter().sum::<u64>(), n);
        assert!(seen.iter().all(|&count| count > n / 20), "{seen:?}");
        // The mean grey of the training part, which trainings subtract, is
        // 0.1307; the test part's is 0.1325.
        let mean = sum / (n * 784) as f64;
        assert!((mean - 0.1316).abs() < 0.0015, "{mean}");
    }
}

#[test]
fn real_cifar_has_balanced_classes_and_its_known_mean() {
    let Some(folder) = real_data("data/cifar10") else { return };
    let options = DataOptions::default();
    let mut data = open(&DiskFiles, &folder, &options, &[spec(&[32, 32, 3])]).unwrap();
    assert_eq!(data.part(), Some(Part::Evaluation));
    let mut seen = [0u64; 10];
    let mut sums = [0.0; 3];
    while let Some(batch) = data.next_batch(512).unwrap() {
        batch.labels.unwrap().iter().for_each(|&label| seen[label as usize] += 1);
        let pixels = batch.inputs[0].as_f32().unwrap().chunks(3);
        pixels.for_each(|pixel| sums.iter_mut().zip(pixel).for_each(|(s, &x)| *s += f64::from(x)));
    }
    assert_eq!(seen, [1000; 10]);
    // Red is the brightest plane and blue the darkest: 0.494, 0.485, 0.450.
    for (sum, mean) in sums.iter().zip([0.494, 0.485, 0.450]) {
        assert!((sum / (10_000.0 * 1024.0) - mean).abs() < 0.002, "{sums:?}");
    }
}
