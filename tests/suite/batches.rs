//! What a batch is: inputs with and without a batch axis, of any number, and
//! tensors that are not what the model takes.

use ohmc::compiler::{CompileOptions, Compiled};
use ohmc::diagnostic::Explain;
use ohmc::runtime::{Executor, FloatModel, Reference, RunError, Runs};
use ohmc::tensor::{Tensor, Values};

use crate::onnx::{Conv, Dim, N, Onnx, batched, int, ints};
use crate::pipeline::{self, Case, difference};

/// The first input has no batch axis: a table that all inputs share.
fn shared_table() -> Onnx {
    let mut model = Onnx::new(1)
        .input("table", &[Dim::Fixed(3), Dim::Fixed(4)])
        .input("x", &[N, Dim::Fixed(6)])
        .weights("w", &[4, 5])
        .weights("v", &[6, 5]);
    model = model.node("MatMul", &["table", "w"], "rows", vec![]);
    model = model.node("MatMul", &["x", "v"], "columns", vec![]);
    model = model.integers("axes", &[1], &[1]);
    model = model.node("Unsqueeze", &["columns", "axes"], "tall", vec![]);
    model.node("Add", &["rows", "tall"], "y", vec![]).output("y").output("rows")
}

fn case(onnx: &Onnx, n: usize) -> Case {
    let model = pipeline::read(onnx.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, n, -1.0, 1.0, 3);
    Case::new(model, pipeline::target("ideal", &[]), &CompileOptions::default(), inputs).unwrap()
}

#[test]
fn the_batch_is_that_of_the_inputs_that_have_one() {
    for n in [1, 2, 3, 5] {
        let case = case(&shared_table(), n);
        assert_eq!(
            case.model.inputs.iter().map(|i| i.has_batch).collect::<Vec<_>>(),
            [false, true]
        );
        let outputs = case.run_on(&case.program(0));
        assert_eq!(outputs[0].shape, [n, 3, 5]);
        assert_eq!(outputs[1].shape, [3, 5]);
        assert_eq!(difference(&outputs, &case.reference()), None);
    }
}

#[test]
fn a_batch_axis_behind_others_is_taken_apart() {
    let mut model = Onnx::new(2).input("x", &batched(None, &[5, 6])).weights("w", &[6, 4]);
    // Sequences first, as recurrent networks have them, then last.
    model = model.node("Transpose", &["x"], "first", vec![ints("perm", &[1, 0, 2])]);
    model = model.node("Relu", &["first"], "relu", vec![]);
    model = model.node("MatMul", &["relu", "w"], "y", vec![]);
    model = model.node("Relu", &["y"], "z", vec![]).weights("v", &[3, 5]);
    model = model.node("Transpose", &["z"], "zt", vec![ints("perm", &[2, 0, 1])]);
    model = model.node("Softmax", &["zt"], "s", vec![int("axis", 0)]);
    model = model.node("MatMul", &["v", "s"], "u", vec![]).output("y").output("u");
    for n in [1, 2, 5] {
        let case = case(&model, n);
        assert!(case.model.any_batch);
        let outputs = case.run_on(&case.program(0));
        assert_eq!(outputs[0].shape, [5, n, 4]);
        assert_eq!(outputs[1].shape, [4, 3, n]);
        assert_eq!(difference(&outputs, &case.reference()), None);
    }
}

fn cut(tensors: &[Tensor], range: std::ops::Range<usize>) -> Vec<Tensor> {
    tensors.iter().map(|tensor| pipeline::rows(tensor, range.clone())).collect()
}

#[test]
fn an_input_gives_the_same_alone_and_in_company() {
    let mut conv = Conv::new(2, 3, &[3, 3]);
    conv.pads = vec![(1, 1); 2];
    let model = Onnx::new(5).input("x", &batched(None, &[2, 5, 5]));
    let model = conv.add_to(model, "conv", "x").node("Relu", &["conv"], "relu", vec![]);
    let model = model.node("Flatten", &["relu"], "flat", vec![int("axis", 1)]);
    let model = model.weights("w", &[75, 4]).node("MatMul", &["flat", "w"], "y", vec![]);
    let case = case(&model.output("y"), 6);
    let chip = case.program(0);
    let executor = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap();
    let whole = executor.run(&case.inputs, 0).unwrap();
    for range in [0..1, 1..3, 3..6, 0..6] {
        let part = executor.run(&cut(&case.inputs, range.clone()), range.start as u64).unwrap();
        assert_eq!(difference(&part, &cut(&whole, range)), None);
    }
}

#[test]
fn tensors_that_the_model_does_not_take_are_refused_by_name() {
    let case = case(&shared_table(), 2);
    let Compiled { plan, quantized, .. } = &case.compiled;
    let chip = case.program(0);
    let executor = Executor::new(plan, &case.model, &chip).unwrap();
    let reference = Reference::new(&case.model, quantized).unwrap();
    let float = FloatModel::new(&case.model).unwrap();
    let f32s =
        |shape: &[usize]| Tensor::f32(shape.to_vec(), vec![0.5; shape.iter().product()]).unwrap();
    let table = || f32s(&[3, 4]);
    let bad = [
        (vec![table()], "the model takes 2 inputs, 1 were given"),
        (vec![table(), f32s(&[2, 6]), f32s(&[1])], "the model takes 2 inputs, 3 were given"),
        (vec![f32s(&[4, 3]), f32s(&[2, 6])], "it takes [3, 4], [4, 3] is given"),
        (vec![f32s(&[1, 3, 4]), f32s(&[2, 6])], "it takes [3, 4], [1, 3, 4] is given"),
        (vec![table(), f32s(&[2, 3, 2])], "it takes [N, 6], [2, 3, 2] is given"),
        (vec![table(), f32s(&[12])], "it takes [N, 6], [12] is given"),
        (vec![table(), f32s(&[0, 6])], "it is given 0 inputs"),
        (vec![table(), f32s(&[])], "it takes [N, 6], [] is given"),
        (
            vec![table(), Tensor::new(vec![2, 6], Values::I64(vec![1; 12])).unwrap()],
            "it takes f32, i64 is given",
        ),
    ];
    for (inputs, wanted) in bad {
        for runs in [&executor as &dyn Runs, &reference, &float] {
            let error: RunError = runs.run(&inputs, 0).unwrap_err();
            let text = error.diagnostics()[0].to_string();
            assert!(text.contains(wanted), "{text}\nwanted: {wanted}");
        }
    }
}

#[test]
fn numbers_that_are_not_finite_never_reach_an_array() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let case = case(&shared_table(), 3);
        let chip = case.program(0);
        let executor = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap();
        let mut inputs = case.inputs.clone();
        let Values::F32(values) = &mut inputs[1].values else { panic!() };
        values[2 * 6 + 1] = bad;
        // The third input of a batch that starts at 40.
        let error = executor.run(&inputs, 40).unwrap_err();
        assert!(
            matches!(&error, RunError::NotFinite { name, input: 42, .. } if name == "columns"),
            "{error}"
        );
    }
}
