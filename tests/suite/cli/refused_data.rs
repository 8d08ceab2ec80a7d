//! What is said of data that a model cannot take.

use std::fs;

use ohmc::data::write_npy;
use ohmc::tensor::Tensor;

use super::Desk;

fn write(desk: &Desk, name: &str, shape: &[usize], values: Vec<f32>) {
    let tensor = Tensor::f32(shape.to_vec(), values).unwrap();
    let mut bytes = Vec::new();
    write_npy(&mut bytes, &tensor).unwrap();
    desk.write(name, bytes);
}

/// An IDX file of bytes, one axis.
fn labels(n: u32, label: u8) -> Vec<u8> {
    let head = [&[0, 0, 8, 1], &n.to_be_bytes()[..]].concat();
    [head, vec![label; n as usize]].concat()
}

#[test]
fn folders_without_data() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    desk.refuses("data-empty-folder", "eval good.plan --data empty");
    desk.refuses("input-empty-folder", "run good.plan --input empty -o x.npy");
    desk.refuses("data-missing", "eval good.plan --data nowhere");
    let compile = "compile mcnn.onnx --target ideal --calibrate empty -o x.plan";
    desk.refuses("calibrate-empty-folder", compile);
}

#[test]
fn inputs_of_another_shape() {
    let desk = Desk::new();
    write(&desk, "small.npy", &[2, 1, 20, 20], vec![0.0; 800]);
    write(&desk, "none.npy", &[0, 1, 28, 28], vec![]);
    desk.refuses("input-of-another-shape", "run good.plan --input small.npy -o x.npy");
    desk.refuses("input-of-no-items", "run good.plan --input none.npy -o x.npy");
    let compile = "compile mcnn.onnx --target ideal --calibrate small.npy -o x.plan";
    desk.refuses("calibrate-of-another-shape", compile);
}

#[test]
fn numbers_that_are_none() {
    let desk = Desk::new();
    for (name, value) in [("nan.npy", f32::NAN), ("infinite.npy", f32::INFINITY)] {
        let mut values = vec![0.25; 2 * 28 * 28];
        values[28 * 28 + 3 * 28 + 5] = value;
        write(&desk, name, &[2, 1, 28, 28], values);
    }
    desk.refuses("input-nan", "run good.plan --input nan.npy -o x.npy");
    desk.refuses("input-infinite", "run good.plan --input infinite.npy -o x.npy");
    let compile = "compile mcnn.onnx --target ideal --calibrate nan.npy -o x.plan";
    desk.refuses("calibrate-nan", compile);
}

#[test]
fn files_that_are_no_data_or_not_all_of_it() {
    let desk = Desk::new();
    desk.write("text.npy", "no array\n");
    write(&desk, "whole.npy", &[2, 1, 28, 28], vec![0.5; 2 * 28 * 28]);
    let whole = desk.read("whole.npy");
    desk.write("cut.npy", &whole[..whole.len() / 2]);
    desk.refuses("input-is-text", "run good.plan --input text.npy -o x.npy");
    desk.refuses("input-is-cut-short", "run good.plan --input cut.npy -o x.npy");
    desk.refuses("input-is-a-model", "run good.plan --input mcnn.onnx -o x.npy");
}

#[test]
fn labels_that_belong_to_something_else() {
    let desk = Desk::new();
    desk.write("three.idx", labels(3, 1));
    desk.write("twelves.idx", labels(500, 12));
    let eval = "eval good.plan --data digits --labels";
    desk.refuses("labels-too-few", &format!("{eval} three.idx"));
    desk.refuses("labels-beyond-the-classes", &format!("{eval} twelves.idx"));
    desk.refuses("labels-missing", &format!("{eval} missing.idx"));
    write(&desk, "plain.npy", &[2, 1, 28, 28], vec![0.5; 2 * 28 * 28]);
    desk.refuses("labels-needed", "eval good.plan --data plain.npy --no-float");
}

#[test]
fn data_that_is_evaluated_and_calibrated_on() {
    let desk = Desk::new();
    let images = "digits/t10k-images-idx3-ubyte.gz";
    let eval = format!("eval mcnn.onnx --target ideal --data {images} --calibrate {images}");
    desk.refuses("calibrate-on-what-is-evaluated", &eval);
}
