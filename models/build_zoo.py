"""Builds the zoo: one small model of each family that users bring, with an
input and what ONNX Runtime makes of it.

    python build_zoo.py --out zoo

Weights are drawn from seeded generators, so nothing was trained and every run
gives the same bytes. `NAME.npz` holds the inputs as `in_0`, `in_1`, ... and ONNX
Runtime's outputs, its optimisations off, as `out_0`, ...; `zoo.json` says what
each model is and, where axes are open that are no batch, their extents.
"""

import argparse
import json
import pathlib
import zlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FLOAT, INT64, INT32, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.UINT8,
)


class Net:
    """A model in the making: tensors are named by strings."""

    def __init__(self, name):
        self.name = name
        # The name's checksum, so that models do not depend on each other.
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []
        self.shapes, self.data = {}, []
        self.count = 0

    # Interface.

    def input(self, name, shape, data, kind=FLOAT):
        """`shape` may hold names of open axes; `data` is what is run."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        self.data.append(data)
        if any(isinstance(extent, str) for extent in shape[1:]):
            self.shapes[name] = list(data.shape)
        return name

    def output(self, tensor, name, kind=FLOAT):
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, kind, None))

    # Constants.

    def constant(self, values, name=None):
        self.count += 1
        name = name or f"constant{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def floats(self, *values):
        return self.constant(np.array(values, np.float32))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def draw(self, shape, n_summed=None):
        """Weights that keep the spread of what they multiply."""
        n_summed = n_summed or int(np.prod(shape[1:]))
        return (self.rng.standard_normal(shape) * np.sqrt(1.5 / n_summed)).astype(np.float32)

    def bias(self, n, spread=0.1):
        return self.constant((self.rng.standard_normal(n) * spread).astype(np.float32))

    # Nodes.

    def op(self, kind, *inputs, name=None, n_outputs=1, **attributes):
        self.count += 1
        name = name or f"{kind.lower()}{self.count}"
        outputs = [name] + [f"{name}.{i}" for i in range(1, n_outputs)]
        node = helper.make_node(kind, list(inputs), outputs, name=name, **attributes)
        self.nodes.append(node)
        return outputs[0] if n_outputs == 1 else outputs

    def conv(self, x, channels, outputs, kernel, stride=1, groups=1, dilation=1, name=None):
        kernel = list(kernel)
        pads = [dilation * (k - 1) // 2 for k in kernel]
        weights = self.constant(self.draw([outputs, channels // groups] + kernel))
        return self.op(
            "Conv", x, weights, self.bias(outputs), name=name, kernel_shape=kernel,
            strides=[stride] * len(kernel), dilations=[dilation] * len(kernel),
            pads=pads + pads, group=groups,
        )

    def batch_norm(self, x, channels):
        scale, shift = self.rng.uniform(0.8, 1.2, channels), self.rng.normal(0, 0.1, channels)
        mean, var = self.rng.normal(0, 0.1, channels), self.rng.uniform(0.8, 1.2, channels)
        parts = [self.constant(v.astype(np.float32)) for v in (scale, shift, mean, var)]
        return self.op("BatchNormalization", x, *parts)

    def gemm(self, x, n_in, n_out, name=None):
        weights = self.constant(self.draw([n_out, n_in]))
        return self.op("Gemm", x, weights, self.bias(n_out), transB=1, name=name)

    def linear(self, x, n_in, n_out, name=None):
        """A product over the last axis, as transformers have it."""
        product = self.op("MatMul", x, self.constant(self.draw([n_in, n_out], n_in)), name=name)
        return self.op("Add", product, self.bias(n_out))

    def layer_norm(self, x, n):
        scale = self.constant(self.rng.uniform(0.8, 1.2, n).astype(np.float32))
        return self.op("LayerNormalization", x, scale, self.bias(n), axis=-1, epsilon=1e-5)

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.floats(np.sqrt(2.0))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.floats(1.0))), self.floats(0.5))

    def attention(self, x, batch, length, width, heads, mask=None, name=""):
        """Self-attention; `batch` and `length` may be -1 or 0, as Reshape reads them."""
        each = width // heads
        split = self.ints(batch, length, heads, each)

        def head(what, perm):
            y = self.linear(x, width, width, name=f"{name}{what}")
            return self.op("Transpose", self.op("Reshape", y, split), perm=perm)

        query, value = head("query", [0, 2, 1, 3]), head("value", [0, 2, 1, 3])
        key = head("key", [0, 2, 3, 1])
        scores = self.op("MatMul", query, key, name=f"{name}scores")
        scores = self.op("Div", scores, self.floats(np.sqrt(each)))
        if mask:
            scores = self.op("Add", scores, mask)
        weights = self.op("Softmax", scores, axis=-1)
        mixed = self.op("MatMul", weights, value, name=f"{name}mixed")
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, self.ints(batch, length, width))
        return self.linear(mixed, width, width, name=f"{name}project")

    def feed_forward(self, x, width, wide, name=""):
        return self.linear(self.gelu(self.linear(x, width, wide, name=f"{name}up")), wide, width, name=f"{name}down")

    # Result.

    def model(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="build_zoo", ir_version=8)
        # Shapes of outputs as inference finds them, as exporters write them.
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        for output, known in zip(model.graph.output, inferred.graph.output):
            output.CopyFrom(known)
            output.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(model)
        return model


def normal(net, *shape):
    return net.rng.standard_normal(shape).astype(np.float32)


def residual_cnn(net):
    """a residual network: batch norms, a block with and one without a projection"""
    x = net.input("image", ["batch", 3, 12, 12], normal(net, 2, 3, 12, 12))
    x = net.op("Relu", net.batch_norm(net.conv(x, 3, 8, (3, 3), name="stem"), 8))
    y = net.op("Relu", net.batch_norm(net.conv(x, 8, 8, (3, 3), name="block1.conv1"), 8))
    y = net.batch_norm(net.conv(y, 8, 8, (3, 3), name="block1.conv2"), 8)
    x = net.op("Relu", net.op("Add", x, y))
    y = net.op("Relu", net.batch_norm(net.conv(x, 8, 16, (3, 3), stride=2, name="block2.conv1"), 16))
    y = net.batch_norm(net.conv(y, 16, 16, (3, 3), name="block2.conv2"), 16)
    x = net.conv(x, 8, 16, (1, 1), stride=2, name="block2.project")
    x = net.op("Relu", net.op("Add", x, y))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.output(net.gemm(x, 16, 10, name="fc"), "logits")


def mobilenet(net):
    """inverted residuals: depthwise convolutions, ReLU6, a squeeze-and-excitation"""
    x = net.input("image", ["batch", 3, 16, 16], normal(net, 2, 3, 16, 16))

    def relu6(x):
        return net.op("Clip", x, net.constant(np.float32(0)), net.constant(np.float32(6)))

    x = relu6(net.conv(x, 3, 8, (3, 3), stride=2, name="stem"))
    y = relu6(net.conv(x, 8, 24, (1, 1), name="expand1"))
    y = relu6(net.conv(y, 24, 24, (3, 3), groups=24, name="depthwise1"))
    gate = net.op("GlobalAveragePool", y)
    gate = net.op("Relu", net.conv(gate, 24, 6, (1, 1), name="squeeze"))
    gate = net.op("HardSigmoid", net.conv(gate, 6, 24, (1, 1), name="excite"))
    y = net.conv(net.op("Mul", y, gate), 24, 8, (1, 1), name="reduce1")
    x = net.op("Add", x, y)
    y = relu6(net.conv(x, 8, 32, (1, 1), name="expand2"))
    y = relu6(net.conv(y, 32, 32, (5, 5), stride=2, groups=32, name="depthwise2"))
    y = net.op("HardSwish", net.conv(y, 32, 16, (1, 1), name="reduce2"))
    x = net.op("Flatten", net.op("GlobalAveragePool", y))
    net.output(net.gemm(x, 16, 10, name="fc"), "logits")


def detector(net):
    """a detection head: two scales, a top-down path, four outputs"""
    x = net.input("image", [1, 3, 32, 32], normal(net, 1, 3, 32, 32))
    x = net.op("Relu", net.conv(x, 3, 8, (3, 3), stride=2, name="stem"))
    fine = net.op("Relu", net.conv(x, 8, 16, (3, 3), stride=2, name="fine"))
    pooled = net.op("MaxPool", fine, kernel_shape=[2, 2], strides=[2, 2])
    coarse = net.op("Relu", net.conv(pooled, 16, 16, (3, 3), name="coarse"))
    up = net.op("Resize", coarse, "", net.floats(1, 1, 2, 2), mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    fine = net.op("Concat", fine, up, axis=1)
    fine = net.op("LeakyRelu", net.conv(fine, 32, 16, (1, 1), name="merge"), alpha=0.1)
    for scale, features, extent in (("fine", fine, 8), ("coarse", coarse, 4)):
        for what, n in (("class", 3), ("box", 4)):
            y = net.conv(features, 16, n, (3, 3), name=f"{scale}.{what}")
            y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 3, 1]), net.ints(1, extent * extent, n))
            y = net.op("Sigmoid", y) if what == "class" else net.op("Exp", y)
            net.output(y, f"{scale}_{what}")


def encoder_decoder(net):
    """transposed convolutions: 2x2, 3x3 with output padding, grouped; skips"""
    x = net.input("image", ["batch", 2, 16, 16], normal(net, 2, 2, 16, 16))

    def up(x, channels, outputs, kernel, groups=1, name=None, **attributes):
        weights = net.draw([channels, outputs // groups, kernel, kernel], channels * 2)
        return net.op("ConvTranspose", x, net.constant(weights), net.bias(outputs), name=name,
                      kernel_shape=[kernel, kernel], group=groups, **attributes)

    one = net.op("Relu", net.conv(x, 2, 8, (3, 3), name="down1"))
    two = net.op("Relu", net.conv(one, 8, 16, (3, 3), stride=2, name="down2"))
    x = net.op("Relu", net.conv(two, 16, 16, (3, 3), stride=2, name="down3"))
    x = net.op("Relu", up(x, 16, 16, 2, strides=[2, 2], name="up1"))
    x = net.op("Concat", x, two, axis=1)
    x = net.op("Relu", up(x, 32, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1],
                          output_padding=[1, 1], name="up2"))
    x = net.op("Relu", up(net.op("Add", x, one), 8, 8, 3, groups=2, pads=[1, 1, 1, 1], name="up3"))
    net.output(net.op("Tanh", net.conv(x, 8, 1, (1, 1), name="head")), "mask")


def bert(net):
    """an encoder: tokens, types, attention mask; two outputs"""
    length, width, heads, words = 10, 24, 3, 40
    tokens = net.rng.integers(0, words, (2, length))
    mask = np.ones((2, length), np.int64)
    mask[1, 7:] = 0
    ids = net.input("input_ids", ["batch", length], tokens, INT64)
    mask = net.input("attention_mask", ["batch", length], mask, INT64)
    kinds = net.input("token_type_ids", ["batch", length], (tokens % 2).astype(np.int64), INT64)
    x = net.op("Gather", net.constant(normal(net, words, width), "word_embeddings"), ids)
    x = net.op("Add", x, net.op("Gather", net.constant(normal(net, 2, width)), kinds))
    x = net.op("Add", x, net.constant(normal(net, 1, length, width)))
    x = net.layer_norm(x, width)
    hidden = net.op("Sub", net.floats(1.0), net.op("Cast", mask, to=FLOAT))
    hidden = net.op("Mul", net.op("Unsqueeze", hidden, net.ints(1, 2)), net.floats(-10000.0))
    for layer in range(2):
        name = f"layer{layer}."
        y = net.attention(x, -1, length, width, heads, hidden, name)
        x = net.layer_norm(net.op("Add", x, y), width)
        x = net.layer_norm(net.op("Add", x, net.feed_forward(x, width, 48, name)), width)
    net.output(x, "last_hidden_state")
    first = net.op("Gather", x, net.constant(np.int64(0)), axis=1)
    net.output(net.op("Tanh", net.gemm(first, width, width, name="pooler")), "pooler_output")


def vit(net):
    """a vision transformer: patches, a class token, pre-norm blocks"""
    width, n_patches = 24, 16
    x = net.input("image", ["batch", 3, 16, 16], normal(net, 2, 3, 16, 16))
    patches = net.constant(net.draw([width, 3, 4, 4]))
    x = net.op("Conv", x, patches, net.bias(width), kernel_shape=[4, 4], strides=[4, 4], name="patches")
    x = net.op("Transpose", net.op("Reshape", x, net.ints(-1, width, n_patches)), perm=[0, 2, 1])
    # The class token once for each image.
    shape = net.op("Concat", net.op("Slice", net.op("Shape", x), net.ints(0), net.ints(1)),
                   net.ints(1, width), axis=0)
    token = net.op("Expand", net.constant(normal(net, 1, 1, width)), shape)
    x = net.op("Concat", token, x, axis=1)
    x = net.op("Add", x, net.constant(normal(net, 1, n_patches + 1, width)))
    y = net.attention(net.layer_norm(x, width), -1, n_patches + 1, width, 4)
    x = net.op("Add", x, y)
    x = net.op("Add", x, net.feed_forward(net.layer_norm(x, width), width, 48))
    x = net.op("Gather", net.layer_norm(x, width), net.constant(np.int64(0)), axis=1)
    net.output(net.gemm(x, width, 10, name="head"), "logits")


def gpt(net):
    """a decoder: embedding, causal mask, its head tied to the embedding"""
    length, width, words = 12, 24, 50
    ids = net.input("input_ids", ["batch", length], net.rng.integers(0, words, (2, length)), INT64)
    table = normal(net, words, width) * np.float32(0.5)
    x = net.op("Gather", net.constant(table, "wte"), ids)
    x = net.op("Add", x, net.constant(normal(net, 1, length, width)))
    causal = np.triu(np.full((length, length), -1e4, np.float32), 1)[None, None]
    for layer in range(2):
        name = f"h{layer}."
        y = net.attention(net.layer_norm(x, width), -1, length, width, 2, net.constant(causal), name)
        x = net.op("Add", x, y)
        x = net.op("Add", x, net.feed_forward(net.layer_norm(x, width), width, 48, name))
    tied = net.op("Transpose", "wte", perm=[1, 0])
    net.output(net.op("MatMul", net.layer_norm(x, width), tied, name="lm_head"), "logits")


def recurrent_weights(net, gates, directions, n_in, hidden):
    matrix = net.constant(net.draw([directions, gates * hidden, n_in], n_in), "W")
    recurrent = net.constant(net.draw([directions, gates * hidden, hidden], hidden), "R")
    return matrix, recurrent, net.constant(normal(net, directions, 2 * gates * hidden) * np.float32(0.1), "B")


def lstm(net):
    """an LSTM in both directions, then one forward with a state given"""
    length, width, hidden = 9, 12, 10
    x = net.input("frames", [length, 1, width], normal(net, length, 1, width))
    state = net.input("state", [1, 1, hidden], normal(net, 1, 1, hidden))
    w, r, b = recurrent_weights(net, 4, 2, width, hidden)
    y = net.op("LSTM", x, w, r, b, hidden_size=hidden, direction="bidirectional", name="both")
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3]), net.ints(length, 1, 2 * hidden))
    w = net.constant(net.draw([1, 4 * hidden, 2 * hidden], 2 * hidden))
    r = net.constant(net.draw([1, 4 * hidden, hidden], hidden))
    y, last, cell = net.op("LSTM", y, w, r, "", "", state, state, hidden_size=hidden,
                           n_outputs=3, name="forward")
    y = net.op("Squeeze", y, net.ints(1, 2))
    net.output(net.op("Softmax", net.linear(y, hidden, 5, name="classify"), axis=-1), "classes")
    net.output(last, "last")
    net.output(cell, "cell")


def gru(net):
    """a GRU of each kind of reset, the batch axis open"""
    length, width, hidden = 8, 10, 12
    x = net.input("frames", ["batch", length, width], normal(net, 1, length, width))
    y = net.op("Transpose", x, perm=[1, 0, 2])
    w, r, b = recurrent_weights(net, 3, 1, width, hidden)
    y = net.op("GRU", y, w, r, b, hidden_size=hidden, linear_before_reset=1, n_outputs=2, name="after")[0]
    y = net.op("Squeeze", y, net.ints(1))
    w = net.constant(net.draw([1, 3 * hidden, hidden], hidden))
    r = net.constant(net.draw([1, 3 * hidden, hidden], hidden))
    last = net.op("GRU", y, w, r, hidden_size=hidden, linear_before_reset=0, n_outputs=2, name="before")[1]
    net.output(net.gemm(net.op("Squeeze", last, net.ints(0)), hidden, 4, name="fc"), "scores")


def conv1d(net):
    """a net over time: dilated, depthwise and strided convolutions of one axis"""
    x = net.input("signal", ["batch", 1, 64], normal(net, 2, 1, 64))
    x = net.op("Relu", net.conv(x, 1, 12, (5,), stride=2, name="stem"))
    for dilation in (1, 2, 4):
        y = net.op("Elu", net.conv(x, 12, 12, (3,), dilation=dilation, groups=12, name=f"time{dilation}"))
        x = net.op("Add", x, net.op("Tanh", net.conv(y, 12, 12, (1,), name=f"mix{dilation}")))
    x = net.op("AveragePool", x, kernel_shape=[4], strides=[4])
    net.output(net.gemm(net.op("Flatten", x), 96, 6, name="fc"), "scores")


def recommender(net):
    """embedding look-ups and numbers, several inputs of different types"""
    user = net.input("user", ["batch"], np.array([3, 11, 0]), INT64)
    items = net.input("items", ["batch", 4], net.rng.integers(0, 30, (3, 4)).astype(np.int32), INT32)
    numbers = net.input("numbers", ["batch", 6], normal(net, 3, 6))
    who = net.op("Gather", net.constant(normal(net, 20, 8), "users"), user)
    bought = net.op("Gather", net.constant(normal(net, 30, 8), "items_table"), items)
    bought = net.op("ReduceMean", bought, axes=[1], keepdims=0)
    dense = net.op("Relu", net.gemm(numbers, 6, 8, name="bottom"))
    cross = net.op("ReduceSum", net.op("Mul", who, bought), net.ints(1), keepdims=1)
    x = net.op("Concat", who, bought, dense, cross, axis=1)
    x = net.op("Relu", net.gemm(x, 25, 16, name="top1"))
    net.output(net.op("Sigmoid", net.gemm(x, 16, 1, name="top2")), "click")
    net.output(who, "user_vector")


def bytes_in(net):
    """a picture of bytes and a condition of integers; a class number out"""
    picture = net.rng.integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    x = net.input("picture", ["batch", 12, 12, 3], picture, UINT8)
    condition = net.input("condition", ["batch", 4], net.rng.integers(-5, 5, (2, 4)).astype(np.int32), INT32)
    x = net.op("Div", net.op("Cast", x, to=FLOAT), net.floats(255.0))
    x = net.op("Transpose", net.op("Sub", x, net.floats(0.5)), perm=[0, 3, 1, 2])
    x = net.op("Relu", net.conv(x, 3, 8, (3, 3), stride=2, name="conv"))
    x = net.op("Flatten", net.op("GlobalMaxPool", x))
    y = net.gemm(net.op("Cast", condition, to=FLOAT), 4, 8, name="condition_fc")
    logits = net.gemm(net.op("Concat", x, y, axis=1), 16, 7, name="fc")
    net.output(logits, "logits")
    net.output(net.op("ArgMax", logits, axis=1, keepdims=0), "class", INT64)


def step(low, high):
    """Scale and zero point of bytes that cover a range."""
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(round(-low / scale))


def levels(weights, axis):
    """Signed bytes and a scale for each output, symmetric."""
    others = tuple(a for a in range(weights.ndim) if a != axis)
    scale = (np.abs(weights).max(others) / 127).astype(np.float32)
    shape = [-1 if a == axis else 1 for a in range(weights.ndim)]
    return np.round(weights / scale.reshape(shape)).astype(np.int8), scale


def qdq_cnn(net):
    """QuantizeLinear and DequantizeLinear around everything, weights by channel"""
    x = net.input("image", ["batch", 3, 12, 12], normal(net, 2, 3, 12, 12))

    def around(x, low, high):
        scale, zero = (net.constant(v) for v in step(low, high))
        return net.op("DequantizeLinear", net.op("QuantizeLinear", x, scale, zero), scale, zero)

    def weights(values, axis):
        codes, scale = levels(values, axis)
        zero = net.constant(np.zeros(len(scale), np.int8))
        return net.op("DequantizeLinear", net.constant(codes), net.constant(scale), zero, axis=axis)

    x = around(x, -4, 4)
    for name, channels, outputs, stride, high in (("conv1", 3, 8, 1, 5), ("conv2", 8, 16, 2, 5)):
        kernel = weights(net.draw([outputs, channels, 3, 3]), 0)
        x = net.op("Conv", x, kernel, net.bias(outputs), name=name, kernel_shape=[3, 3],
                   strides=[stride, stride], pads=[1, 1, 1, 1])
        x = around(net.op("Relu", x), 0, high)
    x = around(net.op("GlobalAveragePool", x), 0, 2)
    x = net.op("Flatten", x)
    x = net.op("Gemm", x, weights(net.draw([10, 16]), 0), net.bias(10), transB=1, name="fc")
    net.output(around(x, -3, 3), "logits")


def integer_ops(net):
    """QLinearConv and QLinearMatMul: what a static quantiser leaves"""
    x = net.input("image", ["batch", 3, 10, 10], normal(net, 2, 3, 10, 10))
    scale, zero = step(-4, 4)
    scale, zero = net.constant(scale), net.constant(zero)
    x = net.op("QuantizeLinear", x, scale, zero)
    for name, channels, outputs, high in (("conv1", 3, 8, 5), ("conv2", 8, 12, 5)):
        codes, by_output = levels(net.draw([outputs, channels, 3, 3]), 0)
        result = step(0, high)
        result_scale, result_zero = net.constant(result[0]), net.constant(result[1])
        parts = [net.constant(codes), net.constant(by_output), net.constant(np.zeros(outputs, np.int8))]
        x = net.op("QLinearConv", x, scale, zero, *parts, result_scale, result_zero, name=name,
                   kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        scale, zero = result_scale, result_zero
    x = net.op("Flatten", x)
    codes, by_output = levels(net.draw([108, 10], 108), 1)
    codes = np.round(codes * (by_output / by_output.max())).astype(np.int8)
    result = step(-4, 4)
    result_scale, result_zero = net.constant(result[0]), net.constant(result[1])
    x = net.op("QLinearMatMul", x, scale, zero, net.constant(codes), net.constant(by_output.max()),
               net.constant(np.int8(0)), result_scale, result_zero, name="fc")
    net.output(net.op("DequantizeLinear", x, result_scale, result_zero), "logits")


def dynamic_quantized(net):
    """DynamicQuantizeLinear, MatMulInteger and ConvInteger: what a dynamic quantiser leaves"""
    x = net.input("signal", ["batch", 3, 24], normal(net, 1, 3, 24))

    def dynamic(x):
        return net.op("DynamicQuantizeLinear", x, n_outputs=3)

    def back(sums, scale, weight_scale, name):
        factor = net.op("Mul", scale, net.constant(np.float32(weight_scale)))
        return net.op("Mul", net.op("Cast", sums, to=FLOAT), factor, name=name)

    def whole(values):
        scale = np.float32(np.abs(values).max() / 127)
        return net.constant(np.round(values / scale).astype(np.int8)), scale

    codes, scale, zero = dynamic(x)
    kernel, kernel_scale = whole(net.draw([8, 3, 3]))
    x = net.op("ConvInteger", codes, kernel, zero, name="conv", kernel_shape=[3], strides=[2], pads=[1, 1])
    x = net.op("Relu", net.op("Add", back(x, scale, kernel_scale, "conv.back"),
                              net.constant((normal(net, 1, 8, 1) * np.float32(0.1)))))
    x = net.op("Flatten", x)
    for name, n_in, n_out in (("fc1", 96, 24), ("fc2", 24, 6)):
        codes, scale, zero = dynamic(x)
        matrix, matrix_scale = whole(net.draw([n_in, n_out], n_in))
        x = net.op("MatMulInteger", codes, matrix, zero, name=name)
        x = net.op("Add", back(x, scale, matrix_scale, f"{name}.back"), net.bias(n_out))
        if name == "fc1":
            x = net.op("Relu", x)
    net.output(x, "scores")


def open_sequence(net):
    """a sequence of any length: its axis is open until `--shape` fixes it"""
    width, words = 16, 30
    ids = net.input("tokens", ["batch", "length"], net.rng.integers(0, words, (1, 11)), INT64)
    x = net.op("Gather", net.constant(normal(net, words, width), "embedding"), ids)
    y = net.op("Transpose", x, perm=[0, 2, 1])
    y = net.op("Relu", net.conv(y, width, width, (3,), name="conv"))
    x = net.op("Add", x, net.op("Transpose", y, perm=[0, 2, 1]))
    y = net.attention(net.layer_norm(x, width), 0, -1, width, 2)
    x = net.op("Add", x, y)
    net.output(net.op("LogSoftmax", net.linear(x, width, 5, name="tag"), axis=-1), "tags")
    net.output(net.op("ReduceMax", x, axes=[1], keepdims=0), "summary")


def mlp(net):
    """Gemm in all its forms on a batch"""
    x = net.input("x", ["batch", 20], normal(net, 5, 20))
    x = net.op("Softplus", net.gemm(x, 20, 32, name="fc1"))
    weights = net.constant(net.draw([32, 24], 32))
    x = net.op("Gemm", x, weights, net.bias(24), alpha=0.5, beta=2.0, name="fc2")
    x = net.op("PRelu", x, net.constant(np.full(24, 0.2, np.float32)))
    x = net.op("MatMul", x, net.constant(net.draw([24, 8], 24)), name="fc3")
    net.output(x, "y")


def conv3d(net):
    """a convolution over volumes"""
    x = net.input("volume", ["batch", 1, 6, 8, 8], normal(net, 1, 1, 6, 8, 8))
    x = net.op("Relu", net.conv(x, 1, 6, (3, 3, 3), stride=2, name="conv1"))
    x = net.op("Relu", net.conv(x, 6, 8, (1, 3, 3), name="conv2"))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.output(net.gemm(x, 8, 3, name="fc"), "scores")


def loop_body(net):
    """an ONNX Scan: a recurrent cell written out by hand"""
    length, width, hidden = 7, 8, 6
    frames = net.input("frames", [length, width], normal(net, length, width))
    w, r = net.draw([width, hidden], width), net.draw([hidden, hidden], hidden)
    nodes = [
        helper.make_node("MatMul", ["frame", "cell.w"], ["cell.in"], name="cell.in"),
        helper.make_node("MatMul", ["before", "cell.r"], ["cell.again"], name="cell.again"),
        helper.make_node("Add", ["cell.in", "cell.again"], ["cell.sum"], name="cell.sum"),
        helper.make_node("Tanh", ["cell.sum"], ["after"], name="cell.tanh"),
        helper.make_node("Identity", ["after"], ["seen"], name="cell.seen"),
    ]
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        nodes, "cell",
        [info("before", FLOAT, [1, hidden]), info("frame", FLOAT, [width])],
        [info("after", FLOAT, [1, hidden]), info("seen", FLOAT, [1, hidden])],
        [numpy_helper.from_array(w, "cell.w"), numpy_helper.from_array(r, "cell.r")],
    )
    start = net.constant(np.zeros((1, hidden), np.float32))
    last, seen = net.op("Scan", start, frames, body=body, num_scan_inputs=1, n_outputs=2, name="scan")
    net.output(net.op("Squeeze", seen, net.ints(1)), "states")
    net.output(net.gemm(last, hidden, 3, name="fc"), "scores")


FAMILIES = [
    residual_cnn, mobilenet, detector, encoder_decoder, bert, vit, gpt, lstm, gru, conv1d, conv3d,
    recommender, bytes_in, qdq_cnn, integer_ops, dynamic_quantized, open_sequence, mlp, loop_body,
]


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("zoo"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    table = {}
    for family in FAMILIES:
        net = Net(family.__name__)
        family(net)
        model = net.model()
        names = [i.name for i in net.inputs]
        outputs = run(model, dict(zip(names, net.data)))
        arrays = {f"in_{i}": data for i, data in enumerate(net.data)}
        arrays |= {f"out_{i}": data for i, data in enumerate(outputs)}
        path = out / f"{net.name}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        np.savez(out / f"{net.name}.npz", **arrays)
        table[net.name] = {"what": family.__doc__, "shapes": net.shapes}
        sizes = ", ".join(f"{o.shape} sd {np.std(o):.3f}" for o in outputs)
        print(f"{net.name}: {path.stat().st_size} bytes, outputs {sizes}")
    (out / "zoo.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
