"""Builds networks that have the shape of large published ones, with random weights.

What a compiler does with a model depends on its shape, not on what it knows:
these are for compile time, memory, mappings and schedules. They are not
committed, since they take hundreds of megabytes.

    python models/build_shapes.py resnet50 vit_b gpt2 --out DIR

Shapes: ResNet-18 and ResNet-50 (He et al. 2015, batch norms folded),
SqueezeNet 1.1 (Iandola et al. 2016), MobileNet-v2 (Sandler et al. 2018), VGG-16
(Simonyan and Zisserman 2014), ViT-B/16 (Dosovitskiy et al. 2020), GPT-2 of
124 M parameters (Radford et al. 2019).
"""

import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """A graph that is written down node by node."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weights(self, name, shape, fan_in):
        """Normal weights that keep the variance of what flows through."""
        array = self.random.standard_normal(shape, dtype=np.float32)
        return self.constant(name, array * np.float32(np.sqrt(1.0 / fan_in)))

    def zeros(self, name, shape):
        return self.constant(name, np.zeros(shape, np.float32))

    def ints(self, name, values):
        return self.constant(name, np.asarray(values, np.int64))

    def node(self, op, inputs, name, n_outputs=1, **attributes):
        outputs = [name] if n_outputs == 1 else [f"{name}.{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return name if n_outputs == 1 else outputs

    def linear(self, x, name, n_in, n_out):
        product = self.node("MatMul", [x, self.weights(f"{name}.w", (n_in, n_out), n_in)], name)
        return self.node("Add", [product, self.zeros(f"{name}.b", n_out)], f"{name}.add")

    def norm(self, x, name, width):
        scale = self.constant(f"{name}.scale", np.ones(width, np.float32))
        shift = self.zeros(f"{name}.shift", width)
        return self.node("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=1e-5)

    def save(self, path, inputs, outputs):
        value = lambda v: helper.make_tensor_value_info(*v)
        graph = helper.make_graph(
            self.nodes, path.stem, [value(v) for v in inputs], [value(v) for v in outputs], self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 10
        onnx.save(model, path)
        n_weights = sum(int(np.prod(c.dims)) for c in self.constants)
        print(f"{path}: {n_weights / 1e6:.1f} M parameters, {path.stat().st_size / 1e6:.0f} MB")


def conv(graph, x, name, n_in, n_out, side, stride=1, relu=True, groups=1, pad=None):
    fan_in = n_in // groups * side * side
    size = (n_out, n_in // groups, side, side)
    weights = graph.weights(f"{name}.w", size, fan_in / 2 if relu else fan_in)
    inputs = [x, weights, graph.zeros(f"{name}.b", n_out)]
    pads = [side // 2 if pad is None else pad] * 4
    shape = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": pads, "group": groups}
    x = graph.node("Conv", inputs, name, **shape)
    return graph.node("Relu", [x], f"{name}.relu") if relu else x


IMAGE = ("image", TensorProto.FLOAT, ["N", 3, 224, 224])


def max_pool(graph, x, name, side=3, pad=0):
    return graph.node("MaxPool", [x], name, kernel_shape=[side] * 2, strides=[2, 2], pads=[pad] * 4)


def classify(graph, x, width):
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "mean")], "flatten")
    gemm(graph, x, "logits", width, 1000)


def gemm(graph, x, name, n_in, n_out):
    weights = graph.weights(f"{name}.w", (n_out, n_in), n_in)
    return graph.node("Gemm", [x, weights, graph.zeros(f"{name}.b", n_out)], name, transB=1)


def save_classifier(graph, path):
    graph.save(path, [IMAGE], [("logits", TensorProto.FLOAT, ["N", 1000])])


def resnet18(path):
    graph = Graph(18)
    x = max_pool(graph, conv(graph, "image", "stem", 3, 64, 7, stride=2), "pool", pad=1)
    n_in = 64
    for stage, width in enumerate([64, 128, 256, 512]):
        for block in range(2):
            name = f"stage{stage}.{block}"
            stride = 2 if block == 0 and stage > 0 else 1
            y = conv(graph, x, f"{name}.conv1", n_in, width, 3, stride)
            y = conv(graph, y, f"{name}.conv2", width, width, 3, relu=False)
            if stride == 2:
                x = conv(graph, x, f"{name}.shortcut", n_in, width, 1, stride, relu=False)
            x = graph.node("Relu", [graph.node("Add", [x, y], f"{name}.add")], f"{name}.relu")
            n_in = width
    classify(graph, x, n_in)
    save_classifier(graph, path)


def squeezenet(path):
    graph = Graph(11)
    x = max_pool(graph, conv(graph, "image", "conv1", 3, 64, 3, stride=2, pad=0), "pool1")
    n_in = 64
    for nth, (narrow, wide) in enumerate([(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2, 2):
        y = conv(graph, x, f"fire{nth}.squeeze", n_in, narrow, 1)
        one = conv(graph, y, f"fire{nth}.expand1", narrow, wide, 1)
        three = conv(graph, y, f"fire{nth}.expand3", narrow, wide, 3)
        x = graph.node("Concat", [one, three], f"fire{nth}", axis=1)
        n_in = 2 * wide
        if nth in (3, 5):
            x = max_pool(graph, x, f"pool{nth}")
    x = conv(graph, x, "conv10", n_in, 1000, 1)
    graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "mean")], "logits")
    save_classifier(graph, path)


def mobilenet_v2(path):
    graph = Graph(52)
    x, n_in = conv(graph, "image", "stem", 3, 32, 3, stride=2), 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for stage, (factor, width, n_blocks, first) in enumerate(stages):
        for block in range(n_blocks):
            name, stride = f"stage{stage}.{block}", first if block == 0 else 1
            y, inner = x, factor * n_in
            if factor > 1:
                y = conv(graph, y, f"{name}.expand", n_in, inner, 1)
            y = conv(graph, y, f"{name}.depthwise", inner, inner, 3, stride, groups=inner)
            y = conv(graph, y, f"{name}.project", inner, width, 1, relu=False)
            x = graph.node("Add", [x, y], name) if stride == 1 and n_in == width else y
            n_in = width
    classify(graph, conv(graph, x, "last", n_in, 1280, 1), 1280)
    save_classifier(graph, path)


def vgg16(path):
    graph = Graph(61)
    x, n_in = "image", 3
    for stage, (width, n_layers) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        for layer in range(n_layers):
            x, n_in = conv(graph, x, f"conv{stage}.{layer}", n_in, width, 3), width
        x = max_pool(graph, x, f"pool{stage}", side=2)
    x = graph.node("Flatten", [x], "flatten")
    for nth, (n_in, n_out) in enumerate([(512 * 49, 4096), (4096, 4096)]):
        x = graph.node("Relu", [gemm(graph, x, f"fc{nth}", n_in, n_out)], f"fc{nth}.relu")
    gemm(graph, x, "logits", 4096, 1000)
    save_classifier(graph, path)


def resnet50(path):
    graph = Graph(50)
    x = conv(graph, "image", "stem", 3, 64, 7, stride=2)
    x = graph.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    n_in = 64
    for stage, (width, n_blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(n_blocks):
            name = f"stage{stage}.{block}"
            stride = 2 if block == 0 and stage > 0 else 1
            y = conv(graph, x, f"{name}.reduce", n_in, width, 1)
            y = conv(graph, y, f"{name}.conv", width, width, 3, stride)
            y = conv(graph, y, f"{name}.expand", width, 4 * width, 1, relu=False)
            if block == 0:
                x = conv(graph, x, f"{name}.shortcut", n_in, 4 * width, 1, stride, relu=False)
            x = graph.node("Relu", [graph.node("Add", [x, y], f"{name}.add")], f"{name}.relu")
            n_in = 4 * width
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "mean")], "flatten")
    weights = graph.weights("fc.w", (1000, 2048), 2048)
    graph.node("Gemm", [x, weights, graph.zeros("fc.b", 1000)], "logits", transB=1)
    save_classifier(graph, path)


def attention(graph, x, name, width, n_heads, length, causal):
    """Multi-head attention of one batch axis; projections have constant weights."""
    head = width // n_heads
    shape = graph.ints(f"{name}.heads", [0, length, n_heads, head])

    def heads(part, order):
        y = graph.linear(x, f"{name}.{part}", width, width)
        y = graph.node("Reshape", [y, shape], f"{name}.{part}.split")
        return graph.node("Transpose", [y], f"{name}.{part}.heads", perm=order)

    query, key, value = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    scores = graph.node("MatMul", [query, key], f"{name}.scores")
    root = graph.constant(f"{name}.root", np.float32(1 / np.sqrt(head)))
    scores = graph.node("Mul", [scores, root], f"{name}.scaled")
    if causal:
        mask = np.triu(np.full((length, length), -1e9, np.float32), 1)
        scores = graph.node("Add", [scores, graph.constant(f"{name}.mask", mask)], f"{name}.masked")
    weights = graph.node("Softmax", [scores], f"{name}.softmax", axis=-1)
    mixed = graph.node("MatMul", [weights, value], f"{name}.mixed")
    mixed = graph.node("Transpose", [mixed], f"{name}.together", perm=[0, 2, 1, 3])
    merged = graph.ints(f"{name}.width", [0, length, width])
    mixed = graph.node("Reshape", [mixed, merged], f"{name}.merge")
    return graph.linear(mixed, f"{name}.out", width, width)


def gelu(graph, x, name):
    """x (1 + erf(x / sqrt 2)) / 2."""
    inner = graph.node("Mul", [x, graph.constant(f"{name}.r", np.float32(0.5**0.5))], f"{name}.m")
    erf = graph.node("Erf", [inner], f"{name}.erf")
    one = graph.node("Add", [erf, graph.constant(f"{name}.1", np.float32(1))], f"{name}.p")
    half = graph.node("Mul", [x, graph.constant(f"{name}.h", np.float32(0.5))], f"{name}.half")
    return graph.node("Mul", [half, one], name)


def block(graph, x, name, width, n_heads, length, causal=False):
    """A transformer block with its norms first."""
    y = graph.norm(x, f"{name}.norm1", width)
    y = attention(graph, y, f"{name}.attention", width, n_heads, length, causal)
    x = graph.node("Add", [x, y], f"{name}.add1")
    y = graph.norm(x, f"{name}.norm2", width)
    y = gelu(graph, graph.linear(y, f"{name}.up", width, 4 * width), f"{name}.gelu")
    y = graph.linear(y, f"{name}.down", 4 * width, width)
    return graph.node("Add", [x, y], f"{name}.add2")


def vit_b(path):
    width, side = 768, 14
    graph = Graph(16)
    weights = graph.weights("patch.w", (width, 3, 16, 16), 3 * 16 * 16)
    inputs = ["image", weights, graph.zeros("patch.b", width)]
    x = graph.node("Conv", inputs, "patch", kernel_shape=[16, 16], strides=[16, 16])
    x = graph.node("Reshape", [x, graph.ints("patch.shape", [0, width, side * side])], "patches")
    x = graph.node("Transpose", [x], "tokens", perm=[0, 2, 1])
    # One row for the class in front: the same for every image.
    padding = graph.ints("class.pads", [0, 1, 0, 0, 0, 0])
    x = graph.node("Pad", [x, padding], "with_class")
    places = graph.weights("places", (1, side * side + 1, width), width)
    x = graph.node("Add", [x, places], "embedded")
    for nth in range(12):
        x = block(graph, x, f"block{nth}", width, 12, side * side + 1)
    x = graph.norm(x, "norm", width)
    x = graph.node("Gather", [x, graph.ints("first", 0)], "class", axis=1)
    x = graph.linear(x, "head", width, 1000)
    image = ("image", TensorProto.FLOAT, ["N", 3, 224, 224])
    graph.save(path, [image], [(x, TensorProto.FLOAT, ["N", 1000])])


def gpt2(path, length=128):
    width, n_words = 768, 50257
    graph = Graph(2)
    words = graph.weights("words", (n_words, width), width)
    x = graph.node("Gather", [words, "tokens"], "embedded", axis=0)
    places = graph.weights("places", (1024, width), width)
    ends = [graph.ints("begin", [0]), graph.ints("end", [length]), graph.ints("axis", [0])]
    here = graph.node("Slice", [places, *ends], "here")
    x = graph.node("Add", [x, here], "placed")
    for nth in range(12):
        x = block(graph, x, f"block{nth}", width, 12, length, causal=True)
    x = graph.norm(x, "norm", width)
    # The same matrix as the embedding.
    turned = graph.node("Transpose", [words], "words.turned", perm=[1, 0])
    graph.node("MatMul", [x, turned], "logits")
    tokens = ("tokens", TensorProto.INT64, ["N", length])
    graph.save(path, [tokens], [("logits", TensorProto.FLOAT, ["N", length, n_words])])


def main():
    shapes = {
        "resnet18": resnet18,
        "resnet50": resnet50,
        "squeezenet": squeezenet,
        "mobilenet_v2": mobilenet_v2,
        "vgg16": vgg16,
        "vit_b": vit_b,
        "gpt2": gpt2,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="+", choices=shapes)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.shapes:
        shapes[name](args.out / f"{name}.onnx")


if __name__ == "__main__":
    main()
