//! Backward rules of what transformers are made of, held against the loss.

use ohmc::frontend::Model;
use ohmc::tuning::{Backward, Layers, TuneOptions, Update};

use super::{Bench, EXACT, gradient_errors};
use crate::onnx::{Onnx, batched, float, int, ints};
use crate::pipeline;

/// A block of attention of two heads over five tokens, with the operators that
/// exporters write: layer norm taken apart and whole, GELU by Erf and by Tanh,
/// masks, slices, gathers, means, a token by itself.
fn transformer(whole: bool) -> Model {
    let mut m = Onnx::new(12).input("x", &batched(None, &[5, 8]));
    let linear = |m: Onnx, name: &str, x: &str, shape: [usize; 2]| {
        let (w, b) = (format!("{name}.w"), format!("{name}.b"));
        let m = m.weights(&w, &shape).weights(&b, &[shape[1]]);
        let product = format!("{name}.product");
        let m = m.named_node(name, "MatMul", &[x, &w], &[&product], vec![]);
        m.node("Add", &[&product, &b], &format!("{name}.out"), vec![])
    };
    let norm = |m: Onnx, name: &str, x: &str| {
        let (scale, shift) = (format!("{name}.scale"), format!("{name}.shift"));
        let own = |what: &str| format!("{name}.{what}");
        let m = m.weights(&scale, &[8]).weights(&shift, &[8]);
        if whole {
            let how = vec![int("axis", -1), float("epsilon", 1e-5)];
            return m.node("LayerNormalization", &[x, &scale, &shift], name, how);
        }
        let m = m.constant(&own("eps"), &[1], &[1e-5]);
        let mean = || vec![ints("axes", &[2]), int("keepdims", 1)];
        let m = m.node("ReduceMean", &[x], &own("mean"), mean());
        let m = m.node("Sub", &[x, &own("mean")], &own("off"), vec![]);
        let m = m.node("Mul", &[&own("off"), &own("off")], &own("square"), vec![]);
        let m = m.node("ReduceMean", &[&own("square")], &own("var"), mean());
        let m = m.node("Add", &[&own("var"), &own("eps")], &own("sum"), vec![]);
        let m = m.node("Sqrt", &[&own("sum")], &own("sd"), vec![]);
        let m = m.node("Div", &[&own("off"), &own("sd")], &own("unit"), vec![]);
        let m = m.node("Mul", &[&own("unit"), &scale], &own("scaled"), vec![]);
        m.node("Add", &[&own("scaled"), &shift], name, vec![])
    };
    m = norm(m, "n1", "x");
    m = m.integers("split", &[4], &[0, 5, 2, 4]).integers("joined", &[3], &[0, 5, 8]);
    for (what, perm) in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])] {
        m = linear(m, what, "n1", [8, 8]);
        let (out, parts) = (format!("{what}.out"), format!("{what}.parts"));
        m = m.node("Reshape", &[&out, "split"], &parts, vec![]);
        m = m.node("Transpose", &[&parts], &format!("{what}.heads"), vec![ints("perm", &perm)]);
    }
    m = m.constant("root", &[1], &[2.0]).node("MatMul", &["q.heads", "k.heads"], "s", vec![]);
    m = m.node("Div", &["s", "root"], "scaled", vec![]);
    m = m.node("Softmax", &["scaled"], "shares", vec![int("axis", -1)]);
    m = m.node("MatMul", &["shares", "v.heads"], "mixed", vec![]);
    m = m.node("Transpose", &["mixed"], "back", vec![ints("perm", &[0, 2, 1, 3])]);
    m = m.node("Reshape", &["back", "joined"], "join", vec![]);
    m = linear(m, "p", "join", [8, 8]).node("Add", &["x", "p.out"], "r1", vec![]);
    m = linear(norm(m, "n2", "r1"), "up", "n2", [8, 12]);
    m = m.constant("half", &[1], &[0.5]).constant("one", &[1], &[1.0]);
    m = m.constant("root2", &[1], &[std::f32::consts::SQRT_2]);
    m = m.node("Div", &["up.out", "root2"], "e", vec![]).node("Erf", &["e"], "erf", vec![]);
    m = m.node("Add", &["erf", "one"], "above", vec![]);
    m = m.node("Mul", &["up.out", "above"], "both", vec![]);
    m = m.node("Mul", &["both", "half"], "gelu", vec![]);
    m = linear(m, "down", "gelu", [12, 8]).node("Add", &["r1", "down.out"], "r2", vec![]);
    m = norm(m, "n3", "r2").integers("zero", &[], &[0]);
    // The first token, and the mean of the others.
    m = m.node("Gather", &["n3", "zero"], "first", vec![int("axis", 1)]);
    m = m.integers("from", &[1], &[1]).integers("to", &[1], &[5]).integers("along", &[1], &[1]);
    m = m.node("Slice", &["n3", "from", "to", "along"], "others", vec![]);
    let mean = vec![ints("axes", &[1]), int("keepdims", 0)];
    m = m.node("ReduceMean", &["others"], "mean", mean);
    m = m.node("Concat", &["first", "mean"], "features", vec![int("axis", 1)]);
    m = linear(m, "head", "features", [16, 4]);
    pipeline::read(m.output("head.out").bytes()).unwrap()
}

#[test]
fn gradients_of_transformers_are_what_the_loss_changes_by() {
    for whole in [true, false] {
        let bench = Bench::new(transformer(whole), "ideal", &EXACT, 16);
        // The head comes in two, one for either half of the features.
        assert_eq!(bench.plan.layers.len(), 8);
        hold(&gradient_errors(&bench, 7, 1.0));
    }
}

/// The vision transformer of our zoo: patches, a class token, one block.
#[test]
fn every_layer_of_the_zoos_vision_transformer_can_be_trained() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/vit.onnx");
    let model = pipeline::read(std::fs::read(path).unwrap()).unwrap();
    let bench = Bench::new(model, "ideal", &EXACT, 12);
    let errors = gradient_errors(&bench, 211, 1.0);
    assert_eq!(errors.len(), bench.plan.layers.len());
    hold(&errors);
}

/// Gradients are right to a few percent; those of queries and keys, which
/// change little where attention is still spread evenly, to what rounding in
/// all layers leaves of a difference of losses.
fn hold(errors: &[(String, f64, f64)]) {
    let largest = errors.iter().map(|(_, _, size)| *size).fold(0.0, f64::max);
    for (layer, off, size) in errors {
        let allowed = 0.03 * size + 0.002 * largest;
        assert!(*off < allowed, "`{layer}`: {size}, off by {off}, the largest is {largest}");
    }
}

/// All of its layers, by arrays that err and single pulses.
#[test]
fn a_transformer_is_trained_on_the_arrays() {
    let sets = ["pe.transposed_reads=true", "cell.pulses.model=table-scaled", "chip.pes=64"];
    let bench = Bench::new(transformer(true), "yao2020-chip", &sets, 60);
    for update in [Update::Threshold { least_us: 0.8 }, Update::Sign { above_us: 0.4 }] {
        let options = TuneOptions {
            layers: Layers::All,
            backward: Backward::Arrays,
            update,
            rate: 0.02,
            momentum: 0.5,
            n_batch: 30,
            n_batches: 80,
            ..TuneOptions::default()
        };
        let session = bench.trained(options);
        let [before, after] = [0, 1].map(|end| {
            let batches = session.batches();
            let some = if end == 0 { &batches[..8] } else { &batches[72..] };
            some.iter().map(|batch| batch.score.mean_loss()).sum::<f64>() / 8.0
        });
        println!("{update:?}: {before} -> {after}");
        assert!(after < 0.9 * before, "{update:?}: {before} -> {after}");
    }
}
