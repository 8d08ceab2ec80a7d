//! Models that are wrong, odd or damaged: each is read, or refused with one
//! clear complaint that a user can act on, and never ends in a panic.

use std::collections::BTreeMap;
use std::sync::Arc;

use ohmc::compiler::CompileOptions;
use ohmc::diagnostic::Explain;
use ohmc::frontend::{self, Axis, FrontendError, FrontendOptions, Model, ModelFiles};
use ohmc::graph::{LayerKind, Obstacle};
use ohmc::tensor::Tensor;
use proptest::prelude::*;
use tract_onnx::pb;

use crate::exactness::config;
use crate::onnx::{Conv, Dim, N, Onnx, batched, int, ints, value_info};
use crate::pipeline::{self, Case, difference};

fn said(error: &FrontendError) -> String {
    let diagnostics: Vec<String> = error.diagnostics().iter().map(ToString::to_string).collect();
    diagnostics.join("\n")
}

/// Holds what a user reads against `snapshots/errors/<case>.snap`.
fn snapshot(case: &str, error: &FrontendError) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(pipeline::repository("snapshots/errors"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(case, said(error)));
}

fn refused(case: &str, onnx: &Onnx) {
    refused_bytes(case, onnx.bytes());
}

fn refused_bytes(case: &str, bytes: Vec<u8>) {
    match pipeline::read(bytes) {
        Ok(model) => panic!("{case} was read:\n{}", model.canonical_text()),
        Err(error) => snapshot(case, &error),
    }
}

/// `x [batch, 6] -> fc -> y`
fn small() -> Onnx {
    let model = Onnx::new(1).input("x", &batched(None, &[6])).weights("w", &[6, 4]);
    model.node("MatMul", &["x", "w"], "fc", vec![]).output("fc")
}

fn run(model: Model) -> Case {
    let inputs = pipeline::inputs(&model, 2, -1.0, 1.0, 1);
    let case = Case::new(model, pipeline::target("ideal", &[]), &CompileOptions::default(), inputs);
    let case = case.unwrap_or_else(|e| panic!("{e}"));
    let outputs = case.run_on(&case.program(0));
    assert_eq!(difference(&outputs, &case.reference()), None);
    case
}

fn layer_names(model: &Model) -> Vec<&str> {
    model.graph.crossbar_layers().map(|(_, layer, _)| layer.name.as_str()).collect()
}

#[test]
fn files_that_are_no_models() {
    refused_bytes("empty-file", Vec::new());
    refused_bytes("text-file", b"# not a model\nlayers:\n  - conv1\n".to_vec());
    refused_bytes("png-file", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c".to_vec());
    refused("no-outputs", &Onnx::new(1).input("x", &[N]));
    let mut without_graph = Onnx::new(1);
    without_graph.proto.graph = None;
    refused("no-graph", &without_graph);
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let whole = std::fs::read(pipeline::repository("models/mcnn.onnx")).unwrap();
    let lengths =
        (0..200).chain((200..whole.len()).step_by(37)).chain(whole.len() - 60..whole.len());
    for length in lengths {
        // Past the graph there is nothing that a model needs.
        if let Err(error) = pipeline::read(whole[..length].to_vec()) {
            assert!(said(&error).contains("help"), "{length}: {error}");
        } else {
            assert!(length > whole.len() - 40, "{length} of {} bytes", whole.len());
        }
    }
    refused_bytes("truncated-file", whole[..whole.len() / 2].to_vec());
}

#[test]
fn operators_that_are_not_known_are_all_named_with_their_nodes() {
    let model = small().node("FancyAttention", &["fc"], "attention1", vec![]);
    let mut model = model.node("Relu", &["attention1"], "relu", vec![]);
    model = model.node("Swoosh", &["relu"], "", vec![]);
    let node = model.graph().node.last_mut().unwrap();
    (node.domain, node.output) = ("com.example".to_string(), vec!["z".to_string()]);
    refused("unknown-operators", &model);
}

#[test]
fn shapes_that_are_not_fixed() {
    let open = [N, Dim::Fixed(3), Dim::Named("height"), Dim::Named("width")];
    let model = Onnx::new(1).input("image", &open).input("mask", &[N, Dim::Named("length")]);
    let model = Conv::new(3, 2, &[3, 3]).add_to(model, "conv", "image");
    let model = model.node("Relu", &["mask"], "relu", vec![]).output("conv").output("relu");
    refused("open-shapes", &model);
    let fixed = |height: usize| {
        let mut shapes = BTreeMap::new();
        shapes.insert(
            "image".to_string(),
            vec![Axis::Batch, Axis::Fixed(3), Axis::Fixed(height), Axis::Fixed(9)],
        );
        shapes.insert("mask".to_string(), vec![Axis::Batch, Axis::Fixed(5)]);
        let files = ModelFiles { onnx: Arc::new(model.bytes()), ..Default::default() };
        frontend::read(&files, &FrontendOptions { shapes }, "case.onnx")
    };
    let model = fixed(8).unwrap();
    assert_eq!(model.inputs[0].shape, [3, 8, 9]);
    assert!(model.any_batch);
    run(model);
    // Smaller than the kernel: nothing is left to compute, and nothing panics.
    if let Err(error) = fixed(2) {
        assert!(said(&error).contains("conv"), "{error}");
    }
}

fn read_with_shape(onnx: &Onnx, name: &str, axes: &[Axis]) -> Result<Model, FrontendError> {
    let files = ModelFiles { onnx: Arc::new(onnx.bytes()), ..Default::default() };
    let shapes = BTreeMap::from([(name.to_string(), axes.to_vec())]);
    frontend::read(&files, &FrontendOptions { shapes }, "case.onnx")
}

#[test]
fn shapes_given_by_hand_that_do_not_fit() {
    use Axis::{Batch, Fixed};
    let refused = |case: &str, name: &str, axes: &[Axis]| {
        snapshot(case, &read_with_shape(&small(), name, axes).unwrap_err());
    };
    refused("shape-of-unknown-input", "X", &[Batch, Fixed(6)]);
    refused("shape-of-wrong-rank", "x", &[Batch, Fixed(2), Fixed(3)]);
    refused("shape-against-the-model", "x", &[Batch, Fixed(7)]);
    refused("shape-of-extent-zero", "x", &[Batch, Fixed(0)]);
    refused("shape-with-batch-behind", "x", &[Fixed(1), Batch]);
    let fixed = read_with_shape(&small(), "x", &[Fixed(3), Fixed(6)]).unwrap();
    assert!(!fixed.any_batch && !fixed.inputs[0].has_batch);
    assert_eq!(fixed.inputs[0].shape, [3, 6]);
    run(fixed);
}

#[test]
fn weights_that_are_not_finite_are_named_with_their_layers() {
    let mut model = Onnx::new(1).input("x", &batched(None, &[2, 4, 4]));
    model = Conv::new(2, 3, &[3, 3]).add_to(model, "conv1", "x");
    let mut biased = Conv::new(3, 2, &[2, 2]);
    biased.bias = true;
    model = biased.add_to(model, "conv2", "conv1").output("conv2");
    for (name, at, value) in
        [("conv1.w", 7, f32::NAN), ("conv1.w", 9, f32::INFINITY), ("conv2.b", 1, f32::NEG_INFINITY)]
    {
        let graph = model.graph();
        let constant = graph.initializer.iter_mut().find(|t| t.name == name).unwrap();
        constant.raw_data[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
    }
    refused("weights-not-finite", &model);
}

/// Moves the data of `w` to a file, as given by these entries.
fn external(entries: &[(&str, &str)]) -> (Onnx, Vec<u8>) {
    let mut model = small();
    let tensor = &mut model.graph().initializer[0];
    let content = std::mem::take(&mut tensor.raw_data);
    tensor.data_location = Some(1);
    tensor.external_data = entries
        .iter()
        .map(|(key, value)| pb::StringStringEntryProto {
            key: key.to_string(),
            value: value.to_string(),
        })
        .collect();
    (model, content)
}

fn read_with_files(onnx: &Onnx, files: &[(&str, Vec<u8>)]) -> Result<Model, FrontendError> {
    let external =
        files.iter().map(|(name, bytes)| (name.to_string(), Arc::new(bytes.clone()))).collect();
    let files = ModelFiles { onnx: Arc::new(onnx.bytes()), external };
    frontend::read(&files, &FrontendOptions::default(), "case.onnx")
}

#[test]
fn external_weights_are_the_same_as_internal_ones() {
    let entries = [("location", "data/w.bin"), ("offset", "32"), ("length", "96")];
    let (model, content) = external(&entries);
    assert_eq!(frontend::external_locations(&model.bytes(), "case.onnx").unwrap(), ["data/w.bin"]);
    let file = [vec![9; 32], content.clone(), vec![9; 5]].concat();
    let found = run(read_with_files(&model, &[("data/w.bin", file)]).unwrap());
    let wanted = run(pipeline::read(small().bytes()).unwrap());
    assert_eq!(found.model.canonical_text(), wanted.model.canonical_text());
    assert_eq!(found.compiled.quantized, wanted.compiled.quantized);
    assert_eq!(difference(&found.float(), &wanted.float()), None);
    // Without offset and length it is the whole file.
    let (model, _) = external(&[("location", "./w.bin")]);
    let found = run(read_with_files(&model, &[("./w.bin", content)]).unwrap());
    assert_eq!(found.compiled.quantized, wanted.compiled.quantized);
}

#[test]
fn external_weights_that_are_not_there_or_not_enough() {
    let (missing, content) = external(&[("location", "w.bin")]);
    snapshot("external-missing", &read_with_files(&missing, &[]).unwrap_err());
    let short = vec![("w.bin", content[..50].to_vec())];
    snapshot("external-not-a-whole-value", &read_with_files(&missing, &short).unwrap_err());
    let short = vec![("w.bin", content[..48].to_vec())];
    snapshot("external-too-few-values", &read_with_files(&missing, &short).unwrap_err());
    let (cut, content) = external(&[("location", "w.bin"), ("offset", "64"), ("length", "96")]);
    snapshot("external-too-short", &read_with_files(&cut, &[("w.bin", content)]).unwrap_err());
    let huge = u64::MAX.to_string();
    let (huge, content) = external(&[("location", "w.bin"), ("offset", &huge), ("length", &huge)]);
    snapshot(
        "external-beyond-all-files",
        &read_with_files(&huge, &[("w.bin", content)]).unwrap_err(),
    );
    let (odd, content) = external(&[("location", "w.bin"), ("offset", "twelve")]);
    snapshot(
        "external-offset-no-number",
        &read_with_files(&odd, &[("w.bin", content)]).unwrap_err(),
    );
    for (case, location) in [
        ("external-outside", "../w.bin"),
        ("external-absolute", "/etc/passwd"),
        ("external-not-named", ""),
    ] {
        let (model, content) = external(&[("location", location)]);
        let error = frontend::external_locations(&model.bytes(), "case.onnx").unwrap_err();
        snapshot(case, &error);
        // Having the file does not make it right.
        let error = read_with_files(&model, &[(location, content)]).unwrap_err();
        assert!(matches!(error, FrontendError::External { .. }));
    }
}

#[test]
fn constants_whose_data_does_not_fit_their_shape() {
    let damaged = |case: &str, dims: &[i64]| {
        let mut model = small();
        model.graph().initializer[0].dims = dims.to_vec();
        refused(case, &model);
    };
    damaged("constant-too-long", &[5, 4]);
    damaged("constant-too-short", &[1 << 20, 1 << 19]);
    damaged("constant-negative", &[-6, -4]);
    damaged("constant-beyond-memory", &[i64::MAX, i64::MAX]);
    let mut model = small();
    model.graph().initializer[0].raw_data.pop();
    refused("constant-cut", &model);
    // Other element types than ONNX has.
    let mut model = small();
    model.graph().initializer[0].data_type = 99;
    refused("constant-of-unknown-type", &model);
}

#[test]
fn a_model_without_any_crossbar_layer_compiles_and_runs() {
    let model = Onnx::new(1).input("x", &batched(None, &[6]));
    let model = model.node("Relu", &["x"], "relu", vec![]);
    let model = model.node("Softmax", &["relu"], "y", vec![int("axis", 1)]).output("y");
    let case = run(pipeline::read(model.bytes()).unwrap());
    assert_eq!(case.compiled.quantized.len(), 0);
    assert_eq!(case.compiled.plan.targets.len(), 0);
    assert_eq!(difference(&case.run_on(&case.program(0)), &case.float()), None);
}

#[test]
fn axes_of_extent_zero() {
    let empty = |shape: &[usize]| {
        let model = Onnx::new(1).input("x", &batched(None, shape)).weights("w", &[6, 4]);
        model.node("MatMul", &["x", "w"], "fc", vec![]).output("fc")
    };
    refused("input-of-extent-zero", &empty(&[0, 6]));
    // Weights without a value: no matrix, but no panic.
    let model = Onnx::new(1).input("x", &batched(None, &[6])).weights("w", &[6, 0]);
    let model = model.node("MatMul", &["x", "w"], "fc", vec![]).output("fc");
    if let Ok(model) = pipeline::read(model.bytes()) {
        assert!(layer_names(&model).is_empty());
    }
    // An empty slice of the input.
    let model = Onnx::new(1).input("x", &batched(None, &[4, 6])).weights("w", &[6, 4]);
    let model = model.integers("starts", &[1], &[2]).integers("ends", &[1], &[2]);
    let model = model.integers("axes", &[1], &[1]);
    let model = model.node("Slice", &["x", "starts", "ends", "axes"], "none", vec![]);
    let model = model.node("MatMul", &["none", "w"], "fc", vec![]).output("fc");
    if let Ok(model) = pipeline::read(model.bytes()) {
        assert!(layer_names(&model).is_empty());
        run(model);
    }
}

#[test]
fn an_output_that_is_an_input_comes_out_as_it_went_in() {
    let case = run(pipeline::read(small().output("x").bytes()).unwrap());
    let outputs = case.run_on(&case.program(0));
    assert_eq!(outputs[1], case.inputs[0]);
    // And alone.
    let model = Onnx::new(1).input("x", &batched(None, &[6])).output("x");
    let case = run(pipeline::read(model.bytes()).unwrap());
    assert_eq!(case.run_on(&case.program(0)), case.inputs);
}

#[test]
fn an_output_that_is_a_constant_comes_out_as_it_is() {
    let model = small().constant("k", &[2], &[1.0, 2.0]).output("k").output("w");
    let case = run(pipeline::read(model.bytes()).unwrap());
    assert_eq!(layer_names(&case.model), ["fc"]);
    let outputs = case.run_on(&case.program(0));
    assert_eq!(outputs[1], Tensor::f32(vec![2], vec![1.0, 2.0]).unwrap());
    assert_eq!(outputs[2], Tensor::f32(vec![6, 4], model.values("w")).unwrap());
}

#[test]
fn layers_may_share_a_constant_and_a_tensor() {
    let mut model = Onnx::new(4).input("x", &batched(None, &[6])).weights("w", &[6, 6]);
    model = model.node("MatMul", &["x", "w"], "first", vec![]);
    model = model.node("Relu", &["first"], "relu", vec![]);
    model = model.node("MatMul", &["relu", "w"], "second", vec![]);
    model = model.node("MatMul", &["x", "w"], "third", vec![]);
    // The same tensor on both sides of an operator, and twice as an output.
    model = model.node("Add", &["second", "second"], "twice", vec![]);
    model = model.node("Concat", &["twice", "twice", "third"], "y", vec![int("axis", 1)]);
    let case = run(pipeline::read(model.output("y").output("second").bytes()).unwrap());
    let names = layer_names(&case.model);
    assert!(names.contains(&"second"), "{names:?}");
    let outputs = case.run_on(&case.program(0));
    let (y, second) = (outputs[0].as_f32().unwrap(), outputs[1].as_f32().unwrap());
    for input in 0..2 {
        for i in 0..6 {
            let doubled = 2.0 * second[6 * input + i];
            assert_eq!((y[18 * input + i], y[18 * input + 6 + i]), (doubled, doubled));
        }
    }
}

#[test]
fn one_output_given_twice() {
    let case = run(pipeline::read(small().output("fc").bytes()).unwrap());
    let outputs = case.run_on(&case.program(0));
    assert_eq!(outputs.len(), 2);
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn names_of_nodes_are_kept() {
    let mut model = Onnx::new(1).input("x", &batched(None, &[2, 6, 6]));
    let mut conv = Conv::new(2, 3, &[3, 3]);
    (conv.bias, conv.pads) = (true, vec![(1, 1); 2]);
    model = conv.add_to(model, "features/conv.0", "x");
    model = model.node("Relu", &["features/conv.0"], "relu", vec![]);
    model = Conv::new(3, 4, &[1, 1]).add_to(model, "pointwise", "relu");
    model = model.node("Flatten", &["pointwise"], "flat", vec![int("axis", 1)]);
    model = model.weights("w", &[144, 5]).weights("c", &[5]);
    model = model.named_node("fc", "Gemm", &["flat", "w", "c"], &["logits"], vec![]);
    let model = pipeline::read(model.output("logits").bytes()).unwrap();
    assert_eq!(layer_names(&model), ["features/conv.0", "pointwise", "fc"]);
    assert_eq!(model.outputs, ["logits"]);
    assert_eq!(model.inputs[0].name, "x");
}

#[test]
fn names_that_are_empty_or_given_twice_become_different_ones() {
    for name in ["", "layer"] {
        let mut model = Onnx::new(1).input("x", &batched(None, &[6]));
        model = model.weights("w", &[6, 6]).weights("v", &[6, 6]);
        model = model.named_node(name, "MatMul", &["x", "w"], &["a"], vec![]);
        model = model.named_node(name, "Relu", &["a"], &["b"], vec![]);
        model = model.named_node(name, "MatMul", &["b", "v"], &["c"], vec![]);
        let case = run(pipeline::read(model.output("c").bytes()).unwrap());
        let mut names = layer_names(&case.model);
        assert_eq!(names.len(), 2);
        names.dedup();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.iter().all(|name| !name.is_empty()));
    }
}

#[test]
fn graphs_that_cannot_be() {
    let model = Onnx::new(1).input("x", &[N, Dim::Fixed(6)]);
    let nothing = model.node("Relu", &["nowhere"], "y", vec![]).output("y");
    refused("reads-nothing", &nothing);
    let model = Onnx::new(1).input("x", &[N, Dim::Fixed(6)]);
    let cycle = model.node("Relu", &["b"], "a", vec![]).node("Relu", &["a"], "b", vec![]);
    refused("cycle", &cycle.output("b"));
    refused("output-of-nothing", &small().output("nowhere"));
    // Shapes that contradict each other.
    let model = Onnx::new(1).input("x", &batched(None, &[6])).weights("w", &[7, 4]);
    refused("shapes-disagree", &model.node("MatMul", &["x", "w"], "fc", vec![]).output("fc"));
}

#[test]
fn inputs_of_types_that_no_data_has() {
    let mut model = Onnx::new(1);
    model.graph().input.push(value_info("x", 10, &[N, Dim::Fixed(6)]));
    let model = model.node("Relu", &["x"], "y", vec![]).output("y");
    refused("input-of-half-floats", &model);
}

/// What multiplies and is not on the arrays says why.
#[test]
fn products_that_are_no_crossbar_layers_stay_digital_and_say_why() {
    let model = Onnx::new(1).input("x", &batched(None, &[4, 4]));
    let model = model.node("MatMul", &["x", "x"], "square", vec![]);
    let mut double = model.weights("w", &[4, 4]);
    let kernel = double.graph().initializer.pop().unwrap();
    let kernel_of_x = double.node("Reshape", &["x", "shape"], "kernel", vec![]);
    let mut model = kernel_of_x.integers("shape", &[4], &[-1, 1, 2, 2]);
    model.graph().initializer.push(kernel);
    let model = model.node("MatMul", &["square", "w"], "fc", vec![]).output("fc");
    let case = run(pipeline::read(model.bytes()).unwrap());
    assert_eq!(layer_names(&case.model), ["fc"]);
    let reasons: Vec<Obstacle> = case
        .model
        .graph
        .layers()
        .filter_map(|(_, layer)| match &layer.kind {
            LayerKind::Digital(digital) => digital.obstacle.clone(),
            LayerKind::Crossbar(_) => None,
        })
        .collect();
    assert!(reasons.contains(&Obstacle::TwoActivations), "{reasons:?}");
}

/// A batch that is no longer one, in the middle of a model.
#[test]
fn extents_that_are_no_multiple_of_the_batch_stay_digital() {
    let model = Onnx::new(1).input("x", &batched(None, &[6])).weights("more", &[3, 6]);
    let model = model.node("Concat", &["x", "more"], "longer", vec![int("axis", 0)]);
    let model = model.weights("w", &[6, 4]).node("MatMul", &["longer", "w"], "fc", vec![]);
    let model = model.node("ReduceSum", &["fc"], "y", vec![int("keepdims", 1)]).output("y");
    match pipeline::read(model.bytes()) {
        Ok(model) => {
            run(model);
        }
        Err(error) => assert!(!said(&error).contains("bug in ohmc"), "{error}"),
    }
}

/// Reads, and if that succeeds compiles and runs what is small enough.
fn never_panics(bytes: Vec<u8>) -> Result<(), String> {
    let tried = std::panic::catch_unwind(|| {
        let model = match pipeline::read(bytes.clone()) {
            Ok(model) => model,
            Err(error) => {
                let said = said(&error);
                assert!(said.starts_with("error: ") && !said.contains("bug in ohmc"), "{said}");
                return;
            }
        };
        let extents = |t: &ohmc::graph::TensorInfo| -> usize {
            t.shape.iter().map(|e| e.for_batch(1).unwrap_or(1)).fold(1, usize::saturating_mul)
        };
        if model.graph.tensors().values().map(extents).sum::<usize>() > 1 << 20 {
            return;
        }
        let inputs: Vec<Tensor> = pipeline::inputs(&model, 1, 0.0, 1.0, 1);
        let mut calibrator = ohmc::Calibrator::new(&model, "case", 1).unwrap();
        if calibrator.add(&inputs, 1).is_err() {
            return;
        }
        let options = CompileOptions::default();
        let target = pipeline::target("ideal", &[]);
        let compiled = ohmc::compile(&model, &target, &calibrator.finish(), &options).unwrap();
        let chip = ohmc::chip::program(&compiled.plan, &target, 0);
        let executor = ohmc::Executor::new(&compiled.plan, &model, &chip).unwrap();
        let reference = ohmc::Reference::new(&model, &compiled.quantized).unwrap();
        match (executor.run(&inputs, 0), reference.run(&inputs)) {
            (Ok(found), Ok(wanted)) => assert_eq!(difference(&found, &wanted), None),
            (Err(_), _) => {}
            (Ok(_), Err(error)) => panic!("only the reference fails: {error}"),
        }
    });
    tried.map_err(|payload| {
        let said = payload.downcast_ref::<String>().cloned();
        said.unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap_or(&"?").to_string())
    })
}

/// A model with little data: damage hits its structure.
fn all_structure() -> Vec<u8> {
    let mut conv = Conv::new(1, 2, &[3, 3]);
    (conv.bias, conv.pads) = (true, vec![(1, 1); 2]);
    let mut model = Onnx::new(3).input("x", &batched(None, &[1, 6, 6]));
    model = conv.add_to(model, "conv", "x").node("Relu", &["conv"], "relu", vec![]);
    let pool = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    model = model.node("MaxPool", &["relu"], "pool", pool);
    model = model.integers("shape", &[2], &[-1, 18]);
    model = model.node("Reshape", &["pool", "shape"], "flat", vec![]);
    model = model.weights("w", &[18, 2]).weights("c", &[2]);
    model = model.node("Gemm", &["flat", "w", "c"], "fc", vec![]);
    model.node("Softmax", &["fc"], "y", vec![int("axis", 1)]).output("y").bytes()
}

fn damage(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, value) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    // Small numbers are tags, lengths and extents; they do the most harm.
    let value = prop_oneof![any::<u8>(), 0u8..=16];
    prop::collection::vec((any::<prop::sample::Index>(), value), 1..6)
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn damage_to_a_model_never_ends_in_a_panic(edits in edits()) {
        if let Err(said) = never_panics(damage(all_structure(), &edits)) {
            return Err(TestCaseError::fail(said));
        }
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn damage_to_the_network_of_the_paper_never_ends_in_a_panic(edits in edits()) {
        let whole = std::fs::read(pipeline::repository("models/mcnn.onnx")).unwrap();
        if let Err(said) = never_panics(damage(whole, &edits)) {
            return Err(TestCaseError::fail(said));
        }
    }
}
