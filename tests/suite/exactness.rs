//! Invariant 1 of the design: on an exact chip the runtime equals integer
//! arithmetic bit for bit, for random layers on random geometries.
//!
//! Three oracles: the library's reference, which reads the quantised graph; an
//! integer convolution written out here from the definition in ONNX, so that
//! the reference is checked too; and the float model, which a fine enough
//! quantisation must come close to, so that no wrong reading is shared by all.

use std::collections::BTreeMap;

use ohmc::compiler::CompileOptions;
use ohmc::frontend::Model;
use ohmc::mapping::{MappingOptions, Unrolling};
use ohmc::quantize::{
    ByLayer, InputRule, Precision, QuantizeOptions, RangeRule, Slicing, WeightRule,
};
use ohmc::schedule;
use ohmc::target::Target;
use proptest::prelude::*;

use crate::onnx::{Conv, Onnx, batched, float, int, ints};
use crate::pipeline::{self, Case, difference};

/// What the arrays are like, and how numbers become integers.
#[derive(Debug, Clone)]
pub struct Setting {
    pub input_bits: u8,
    pub levels: u16,
    pub slices: u8,
    pub pe_inputs: u32,
    pub pe_pairs: u32,
    pub adcs: u32,
    pub after_conversion: bool,
    pub weights: WeightRule,
    pub affine: bool,
    pub range: RangeRule,
    pub replicas: u32,
    /// Output positions of a wave along each loop, as far as there are so many.
    pub window: [usize; 3],
    pub seed: u64,
}

pub fn setting() -> impl Strategy<Value = Setting> {
    let bits = prop_oneof![12 => 1u8..=8, 1 => Just(16u8)];
    let levels = prop_oneof![12 => 2u16..=32, 1 => Just(4096u16)];
    let sizes = prop_oneof![
        Just((7, 5)),
        Just((128, 64)),
        Just((16, 64)),
        Just((1, 1)),
        (1u32..=40, 1u32..=20),
    ];
    let range = prop_oneof![
        Just(RangeRule::Mse),
        Just(RangeRule::MinMax),
        Just(RangeRule::Percentile(0.9))
    ];
    let slices = prop_oneof![3 => Just(1u8), 1 => 2u8..=4];
    let numbers = (bits, levels, slices, sizes, 1u32..=70, 1u32..=4, any::<u64>());
    let weights = prop_oneof![
        Just(WeightRule::Plain),
        Just(WeightRule::PerColumn),
        Just(WeightRule::SecondOrder)
    ];
    // A window of 64 positions on PEs of one cell would be some hundred
    // thousand tiles; what can go wrong does so with few.
    let long = (0usize..3, 3usize..=4).prop_map(|(axis, extent)| {
        let mut window = [1; 3];
        window[axis] = extent;
        window
    });
    let window = prop_oneof![2 => Just([1; 3]), 2 => prop::array::uniform3(1usize..=2), 1 => long];
    let choices = (any::<bool>(), weights, any::<bool>(), range, window);
    (numbers, choices).prop_map(|(numbers, choices)| {
        let (input_bits, levels, slices, (pe_inputs, pe_pairs), adcs, replicas, seed) = numbers;
        let (after_conversion, weights, affine, range, window) = choices;
        let is_small = pe_inputs * pe_pairs < 35;
        let window = if is_small { [window[0].min(2), 1, 1] } else { window };
        Setting {
            input_bits,
            levels,
            // As many as 16 bits hold.
            slices: slices.min(Slicing::most(levels as i16 - 1)),
            pe_inputs,
            pe_pairs,
            adcs,
            after_conversion,
            weights,
            affine,
            range,
            replicas,
            window,
            seed,
        }
    })
}

impl Setting {
    /// As many levels and bits as there are: rounding is next to nothing.
    fn finest() -> Self {
        Self {
            input_bits: 16,
            levels: 4096,
            slices: 1,
            pe_inputs: 9,
            pe_pairs: 3,
            adcs: 5,
            after_conversion: false,
            weights: WeightRule::PerColumn,
            affine: true,
            range: RangeRule::MinMax,
            replicas: 1,
            window: [1, 2, 3],
            seed: 0,
        }
    }

    pub fn target(&self) -> Target {
        let subtract = if self.after_conversion { "after-conversion" } else { "before-conversion" };
        pipeline::target(
            "ideal",
            &[
                format!("cell.levels={}", self.levels),
                format!("pe.inputs={}", self.pe_inputs),
                format!("pe.outputs={}", 2 * self.pe_pairs),
                format!("readout.input_bits={}", self.input_bits),
                format!("readout.adcs_per_pe={}", self.adcs),
                format!("readout.subtract={subtract}"),
            ],
        )
    }

    /// Windows of every layer, where they can be and as far as positions go.
    pub fn windows(&self, model: &Model) -> BTreeMap<String, Vec<usize>> {
        let graph = &model.graph;
        let layers = graph.crossbar_layers().map(|(id, layer, crossbar)| {
            let nest = &crossbar.nest;
            let n = nest.positions.len();
            let mut window = vec![1; n];
            for position in 0..n {
                let mut wider = window.clone();
                let length = self.window[(n - 1 - position).min(2)];
                wider[position] = length.min(nest.positions[position].for_batch(1).unwrap());
                let alone =
                    graph.layers().filter(|(other, _)| graph.matrix_of(*other) == id).count();
                if alone == 1 && Unrolling::new(nest, &wider).is_ok() {
                    window = wider;
                }
            }
            (layer.name.clone(), window)
        });
        layers.collect()
    }

    /// Every layer is replicated as far as it has positions.
    pub fn options(&self, model: &Model) -> CompileOptions {
        let inputs = if self.affine { InputRule::Affine } else { InputRule::TwosComplement };
        let windows = self.windows(model);
        let replicas = model
            .graph
            .crossbar_layers()
            .map(|(_, layer, crossbar)| {
                let window = &windows[&layer.name];
                let extents = crossbar.nest.positions.iter().map(|e| e.for_batch(1).unwrap());
                let waves = extents.zip(window).map(|(extent, length)| extent.div_ceil(*length));
                (layer.name.clone(), self.replicas.min(waves.product::<usize>() as u32))
            })
            .collect();
        CompileOptions {
            quantize: QuantizeOptions {
                weights: self.weights,
                range: self.range,
                inputs,
                precision: Precision {
                    slices: ByLayer { all: Some(self.slices), ..Default::default() },
                    ..Default::default()
                },
                ..Default::default()
            },
            mapping: MappingOptions { replicas, windows, ..Default::default() },
            ..Default::default()
        }
    }
}

/// What comes in: how many inputs, whether the batch is open, which values.
#[derive(Debug, Clone)]
pub struct Feed {
    pub n: usize,
    pub open: bool,
    pub low: f32,
    pub high: f32,
}

pub fn feed() -> impl Strategy<Value = Feed> {
    let range =
        prop_oneof![Just((0.0, 1.0)), Just((-1.0, 1.0)), Just((-0.3, 2.5)), Just((-4.0, -1.0))];
    (1usize..=5, any::<bool>(), range).prop_map(|(n, open, (low, high))| Feed {
        n,
        open,
        low,
        high,
    })
}

impl Feed {
    pub fn batch(&self) -> Option<usize> {
        (!self.open).then_some(self.n)
    }
}

/// Compiles for an exact chip and compares with the reference.
fn check(onnx: &Onnx, setting: &Setting, feed: &Feed) -> Case {
    let model = pipeline::read(onnx.bytes()).unwrap();
    assert_eq!(model.any_batch, feed.open);
    let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
    let options = setting.options(&model);
    let case = Case::new(model, setting.target(), &options, inputs).unwrap();
    assert_eq!(schedule::verify(&case.compiled.plan), []);
    // The seed is of no consequence to exact cells.
    let outputs = case.run_on(&case.program(setting.seed));
    assert_eq!(difference(&outputs, &case.reference()), None);
    case
}

pub fn conv(rank: usize) -> impl Strategy<Value = (Conv, Vec<usize>)> {
    let sizes = prop_oneof![
        3 => (Just(1usize), 1usize..=4, 1usize..=6),
        1 => (2usize..=5, 1usize..=3, 1usize..=3),
        1 => (2usize..=6, Just(1usize), 1usize..=2), // depthwise
    ];
    let widest = [9, 7, 4][rank - 1];
    let axis = (1usize..=3, 1usize..=3, 1usize..=2, 0usize..=2, 0usize..=2, 1usize..=widest);
    (sizes, any::<bool>(), prop::collection::vec(axis, rank))
        .prop_map(|((groups, channels, outputs), bias, axes)| {
            let conv = Conv {
                groups,
                channels,
                outputs,
                kernel: axes.iter().map(|a| a.0).collect(),
                strides: axes.iter().map(|a| a.1).collect(),
                dilations: axes.iter().map(|a| a.2).collect(),
                pads: axes.iter().map(|a| (a.3, a.4)).collect(),
                bias,
            };
            (conv, axes.iter().map(|a| a.5).collect())
        })
        .prop_filter("the kernel fits", |(conv, spatial): &(Conv, Vec<usize>)| {
            conv.result(spatial).is_some()
        })
}

pub fn conv_model(conv: &Conv, spatial: &[usize], feed: &Feed, seed: u64) -> Onnx {
    let shape = [&[conv.in_channels()], spatial].concat();
    let model = Onnx::new(seed).input("x", &batched(feed.batch(), &shape));
    conv.add_to(model, "conv", "x").output("conv")
}

/// A convolution by its definition in ONNX, in integers, from the levels that
/// the library chose.
fn integer_convolution(
    case: &Case,
    onnx: &Onnx,
    conv: &Conv,
    spatial: &[usize],
    n: usize,
) -> Vec<f32> {
    let bias = match conv.bias {
        true => onnx.values("conv.b"),
        false => vec![0.0; conv.out_channels()],
    };
    let layer = case.compiled.quantized.values().next().unwrap();
    // tract makes a product and a sum of a 1x1 convolution; the sum is then
    // digital, in f32.
    let crossbar = case.model.graph.crossbar_layers().next().unwrap().2;
    let own_bias = crossbar.bias.iter().any(|&b| b != 0.0);
    if case.compiled.gains.is_empty() {
        assert_eq!(layer.bias, crossbar.bias);
    }
    let coding = &layer.coding;
    let code = |x: f32| -> i64 {
        let code =
            f64::from(x / coding.scale).round_ties_even() as i64 + i64::from(coding.zero_point);
        let (low, high) = match coding.signed {
            true => (-(1i64 << (coding.bits - 1)), (1i64 << (coding.bits - 1)) - 1),
            false => (0, (1i64 << coding.bits) - 1),
        };
        code.clamp(low, high) - i64::from(coding.zero_point)
    };
    let values = case.inputs[0].as_f32().unwrap();
    let result = conv.result(spatial).unwrap();
    let n_taps: usize = conv.kernel.iter().product();
    let n_rows = conv.channels * n_taps;
    let n_pixels: usize = spatial.iter().product();
    // The levels are those of the ONNX weights, [out][channel][tap], each the
    // nearest unless they were chosen together.
    let is_nearest = case.compiled.gains.is_empty();
    let top = f32::from(layer.slicing.max_level());
    for (index, &weight) in onnx.values("conv.w").iter().enumerate() {
        let (out, row) = (index / n_rows, index % n_rows);
        let (group, column) = (out / conv.outputs, out % conv.outputs);
        let level = layer.levels[(group * n_rows + row) * conv.outputs + column];
        let nearest = (weight / layer.weight_scales[out]).round_ties_even().clamp(-top, top);
        assert!(!is_nearest || f32::from(level) == nearest, "weight {index}");
        assert!(f32::from(level).abs() <= top, "weight {index}");
    }
    let unflatten = |mut flat: usize, extents: &[usize]| {
        let mut counters = vec![0; extents.len()];
        for axis in (0..extents.len()).rev() {
            counters[axis] = flat % extents[axis];
            flat /= extents[axis];
        }
        counters
    };
    let mut outputs = Vec::new();
    for image in 0..n {
        for (out, &bias) in bias.iter().enumerate() {
            let (group, column) = (out / conv.outputs, out % conv.outputs);
            for position in 0..result.iter().product() {
                let position = unflatten(position, &result);
                let mut sum = 0i64;
                for channel in 0..conv.channels {
                    for tap in 0..n_taps {
                        let taps = unflatten(tap, &conv.kernel);
                        // The pixel under this tap, none where it is padding.
                        let pixel = (0..spatial.len()).try_fold(0, |pixel, axis| {
                            let at = position[axis] * conv.strides[axis]
                                + taps[axis] * conv.dilations[axis];
                            let at = at.checked_sub(conv.pads[axis].0)?;
                            (at < spatial[axis]).then_some(pixel * spatial[axis] + at)
                        });
                        let Some(pixel) = pixel else { continue };
                        let in_channel = group * conv.channels + channel;
                        let x =
                            values[(image * conv.in_channels() + in_channel) * n_pixels + pixel];
                        let row = channel * n_taps + tap;
                        let level = layer.levels[(group * n_rows + row) * conv.outputs + column];
                        sum += i64::from(level) * code(x);
                    }
                }
                let scale = f64::from(layer.weight_scales[out]) * f64::from(coding.scale);
                let real = sum as f64 * scale;
                let own = (real + f64::from(layer.bias[out])) as f32;
                outputs.push(if own_bias { own } else { own + bias });
            }
        }
    }
    outputs
}

/// With 16 bits and 4,096 levels hardly anything is rounded: errors are small
/// beside the largest number anywhere. Beside the outputs they need not be,
/// where these are small differences of large numbers.
fn close_to_float(onnx: &Onnx, feed: &Feed) {
    let case = check(onnx, &Setting::finest(), feed);
    let largest_read = pipeline::calibrate(&case.model, &case.inputs, 1)
        .layers
        .values()
        .map(|layer| layer.inputs.max().max(-layer.inputs.min()))
        .fold(0f32, f32::max);
    let outputs = case.run_on(&case.program(1));
    for (found, wanted) in outputs.iter().zip(&case.float()) {
        let (largest, error) = pipeline::largest_and_error(found, wanted);
        let largest = largest.max(largest_read);
        assert!(error <= 2e-3 * largest, "an error of {error} beside {largest}");
    }
}

/// A product with a constant matrix, in one of the forms that ONNX has.
#[derive(Debug, Clone)]
enum Product {
    /// `alpha A B + beta C`, either operand transposed; C of any rank that
    /// broadcasts.
    Gemm { trans_a: bool, trans_b: bool, alpha: f32, beta: Option<f32>, c_rows: bool },
    /// `[.., rows] x [rows, columns]`.
    MatMul { batch_axes: Vec<usize> },
    /// `[.., m, rows] x [groups, rows, columns]`: a matrix of its own for each
    /// index of the axis before.
    Batched { m: usize, groups: usize },
    /// `[columns, rows] x [.., rows, m]`: the constant stands in front.
    Left { m: usize },
    /// Subscripts that leave the result transposed.
    Einsum { m: usize },
}

fn product() -> impl Strategy<Value = Product> {
    let choices = (any::<bool>(), any::<bool>(), any::<bool>());
    let beta = prop_oneof![Just(None), Just(Some(1.0)), Just(Some(-0.5))];
    prop_oneof![
        (choices, prop_oneof![Just(1.0f32), Just(0.25)], beta).prop_map(|(flags, alpha, beta)| {
            let (trans_a, trans_b, c_rows) = flags;
            Product::Gemm { trans_a, trans_b, alpha, beta, c_rows }
        }),
        prop::collection::vec(1usize..=4, 0..=2)
            .prop_map(|batch_axes| Product::MatMul { batch_axes }),
        (1usize..=4, 1usize..=4).prop_map(|(m, groups)| Product::Batched { m, groups }),
        (1usize..=5).prop_map(|m| Product::Left { m }),
        (1usize..=5).prop_map(|m| Product::Einsum { m }),
    ]
}

/// The product `y` of `x` with random weights of `rows` x `columns`.
fn product_model(product: &Product, rows: usize, columns: usize, feed: &Feed, seed: u64) -> Onnx {
    let model = Onnx::new(seed);
    let shaped = |shape: &[usize]| batched(feed.batch(), shape);
    let model = match product {
        Product::Gemm { trans_a, trans_b, alpha, beta, c_rows } => {
            let shape = if *trans_b { [columns, rows] } else { [rows, columns] };
            let mut model = model.input("x", &shaped(&[rows])).weights("w", &shape);
            let mut inputs = vec!["x", "w"];
            if *trans_a {
                // The batch is in front again before the product takes it off.
                model = model.node("Transpose", &["x"], "xt", vec![ints("perm", &[1, 0])]);
                inputs[0] = "xt";
            }
            if beta.is_some() {
                let shape = if *c_rows { vec![1, columns] } else { vec![columns] };
                model = model.weights("c", &shape);
                inputs.push("c");
            }
            let attributes = vec![
                float("alpha", *alpha),
                float("beta", beta.unwrap_or(1.0)),
                int("transA", i64::from(*trans_a)),
                int("transB", i64::from(*trans_b)),
            ];
            model.node("Gemm", &inputs, "y", attributes)
        }
        Product::MatMul { batch_axes } => {
            let shape = [&batch_axes[..], &[rows]].concat();
            let model = model.input("x", &shaped(&shape)).weights("w", &[rows, columns]);
            model.node("MatMul", &["x", "w"], "y", vec![])
        }
        Product::Batched { m, groups } => {
            let model = model.input("x", &shaped(&[*groups, *m, rows]));
            let model = model.weights("w", &[*groups, rows, columns]);
            model.node("MatMul", &["x", "w"], "y", vec![])
        }
        Product::Left { m } => {
            let model = model.input("x", &shaped(&[rows, *m])).weights("w", &[columns, rows]);
            model.node("MatMul", &["w", "x"], "y", vec![])
        }
        Product::Einsum { m } => {
            let model = model.input("x", &shaped(&[*m, rows])).weights("w", &[rows, columns]);
            let mut equation = int("equation", 0);
            (equation.r#type, equation.s) = (3, b"bmr,rc->bcm".to_vec());
            model.node("Einsum", &["x", "w"], "y", vec![equation])
        }
    };
    model.output("y")
}

/// Layers one after another and beside each other, with all that is digital
/// between them.
fn network(conv: &Conv, spatial: &[usize], feed: &Feed, seed: u64) -> Onnx {
    let shape = [&[conv.in_channels()], spatial].concat();
    let c = conv.out_channels();
    let mut second = Conv::new(c, c, &[3, 3]);
    second.pads = vec![(1, 1); 2];
    second.bias = true;
    let pointwise = Conv::new(2 * c, 3, &[1, 1]);
    let mut model = Onnx::new(seed).input("x", &batched(feed.batch(), &shape));
    model = conv.add_to(model, "first", "x").node("Relu", &["first"], "relu1", vec![]);
    // A diamond: both branches from one tensor, added and joined again.
    model = second.add_to(model, "left", "relu1");
    model = second.add_to(model, "right", "relu1");
    model = model.node("Sigmoid", &["right"], "sigmoid", vec![]);
    model = model.node("Add", &["left", "sigmoid"], "sum", vec![]);
    model = model.node("Concat", &["sum", "relu1"], "both", vec![int("axis", 1)]);
    model = pointwise.add_to(model, "pointwise", "both");
    let pool = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    model = model.node("MaxPool", &["pointwise"], "pool", pool);
    model = model.node("GlobalAveragePool", &["pool"], "mean", vec![]);
    model = model.node("Flatten", &["mean"], "flat", vec![int("axis", 1)]);
    model = model.weights("fc.w", &[5, 3]).weights("fc.b", &[5]);
    model = model.node("Gemm", &["flat", "fc.w", "fc.b"], "fc", vec![int("transB", 1)]);
    model = model.node("Softmax", &["fc"], "softmax", vec![int("axis", 1)]);
    model.output("softmax").output("sum").output("fc")
}

/// Channels last outside, as exporters from TensorFlow leave them.
fn channels_last(conv: &Conv, spatial: &[usize], feed: &Feed, seed: u64) -> Onnx {
    let shape = [spatial, &[conv.in_channels()]].concat();
    let to_first = vec![ints("perm", &[0, 3, 1, 2])];
    let to_last = vec![ints("perm", &[0, 2, 3, 1])];
    let mut model = Onnx::new(seed).input("x", &batched(feed.batch(), &shape));
    model = model.node("Transpose", &["x"], "xt", to_first.clone());
    model = conv.add_to(model, "conv", "xt");
    model = model.node("Transpose", &["conv"], "ct", to_last.clone());
    model = model.node("Relu", &["ct"], "relu", vec![]);
    model =
        model.weights("w", &[conv.out_channels(), 4]).node("MatMul", &["relu", "w"], "mm", vec![]);
    model = model.node("Transpose", &["mm"], "mt", to_first);
    let mut last = Conv::new(4, 2, &[2, 2]);
    last.pads = vec![(1, 0); 2];
    model = last.add_to(model, "last", "mt");
    model.node("Transpose", &["last"], "y", to_last).output("y")
}

pub fn config(cases: u32) -> ProptestConfig {
    // `PROPTEST_CASES=2560` makes it ten times as many, its default being 256.
    let default = ProptestConfig::default();
    let cases = (cases * default.cases).div_ceil(256);
    // A case that failed becomes a test of its own, not a line in a file.
    ProptestConfig { cases, failure_persistence: None, ..default }
}

/// One convolution against all three oracles.
fn check_convolution(conv: &Conv, spatial: &[usize], setting: &Setting, feed: &Feed) {
    let onnx = conv_model(conv, spatial, feed, setting.seed);
    let case = check(&onnx, setting, feed);
    let wanted = integer_convolution(&case, &onnx, conv, spatial, feed.n);
    assert_eq!(case.reference()[0].as_f32().unwrap(), &wanted[..]);
    close_to_float(&onnx, feed);
}

/// tract multiplies by a lone number elementwise; there is no matrix then.
fn has_matrix(conv: &Conv) -> bool {
    conv.channels * conv.kernel.iter().product::<usize>() * conv.outputs > 1
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn convolutions_in_one_dimension((conv, spatial) in conv(1), setting in setting(), feed in feed()) {
        prop_assume!(has_matrix(&conv));
        check_convolution(&conv, &spatial, &setting, &feed);
    }

    #[test]
    fn convolutions_in_two_dimensions((conv, spatial) in conv(2), setting in setting(), feed in feed()) {
        prop_assume!(has_matrix(&conv));
        check_convolution(&conv, &spatial, &setting, &feed);
    }

    #[test]
    fn convolutions_in_three_dimensions((conv, spatial) in conv(3), setting in setting(), feed in feed()) {
        prop_assume!(has_matrix(&conv));
        check_convolution(&conv, &spatial, &setting, &feed);
    }

    #[test]
    fn products(
        product in product(), rows in 1usize..=40, columns in 2usize..=17,
        setting in setting(), feed in feed(),
    ) {
        let onnx = product_model(&product, rows, columns, &feed, setting.seed);
        check(&onnx, &setting, &feed);
        close_to_float(&onnx, &feed);
    }

    #[test]
    fn networks((conv, spatial) in conv(2), setting in setting(), feed in feed()) {
        let onnx = network(&conv, &spatial, &feed, setting.seed);
        check(&onnx, &setting, &feed);
        close_to_float(&onnx, &feed);
    }

    #[test]
    fn layouts_with_channels_last((conv, spatial) in conv(2), setting in setting(), feed in feed()) {
        let onnx = channels_last(&conv, &spatial, &feed, setting.seed);
        check(&onnx, &setting, &feed);
        close_to_float(&onnx, &feed);
    }
}
