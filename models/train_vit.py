"""Trains a small vision transformer on MNIST and writes it as ONNX.

    python train_vit.py --mnist DIR --out vit.onnx
    python train_vit.py --mnist DIR --holdout 10000      # choose settings; nothing is written

28x28 grey -> 16 patches of 7x7, 32 wide each, with learned places -> two blocks (layer norm, attention of four
heads; layer norm, 32 -> 64 -> 32 with GELU) -> layer norm -> mean over patches -> 10. Everything that multiplies
with weights goes on arrays: 14 layers, 18,272 weights.

It is here to be trained further on a chip, so it is trained as any such model is: in float, with a fresh Gaussian
error on every weight in each batch, which keeps it from leaning on single weights. This script never reads the
test images.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from onnx import helper, numpy_helper

import training

WIDTH, HEADS, WIDE, BLOCKS, PATCH = 32, 4, 64, 2, 7
SIDE = 28 // PATCH
N_PATCHES = SIDE * SIDE
EMA_KEEP = 0.998


def initial_weights(key):
    """Products [inputs, outputs], variance 1 over what is summed up; norms and places."""
    weights = {}

    def product(name, n_in, n_out):
        nonlocal key
        key, sub = jax.random.split(key)
        weights[f"{name}.weight"] = jax.random.normal(sub, (n_in, n_out)) / math.sqrt(n_in)
        weights[f"{name}.bias"] = jnp.zeros(n_out)

    def norm(name):
        weights[f"{name}.scale"], weights[f"{name}.shift"] = jnp.ones(WIDTH), jnp.zeros(WIDTH)

    product("patches", PATCH * PATCH, WIDTH)
    key, sub = jax.random.split(key)
    weights["places"] = 0.1 * jax.random.normal(sub, (N_PATCHES, WIDTH))
    for block in range(BLOCKS):
        norm(f"{block}.before")
        for what in ("query", "key", "value", "project"):
            product(f"{block}.{what}", WIDTH, WIDTH)
        norm(f"{block}.between")
        product(f"{block}.up", WIDTH, WIDE)
        product(f"{block}.down", WIDE, WIDTH)
    norm("last")
    product("head", WIDTH, 10)
    return weights


def logits(w, images):
    """Scores [N, 10] for images [N, 28, 28] in 0..1."""
    linear = lambda name, x: x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(name, x):
        x = x - x.mean(axis=-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * w[f"{name}.scale"] + w[f"{name}.shift"]

    n = len(images)
    x = images.reshape(n, SIDE, PATCH, SIDE, PATCH).transpose(0, 1, 3, 2, 4).reshape(n, N_PATCHES, PATCH * PATCH)
    x = linear("patches", x) + w["places"]
    for block in range(BLOCKS):
        y = norm(f"{block}.before", x)
        split = lambda what: linear(f"{block}.{what}", y).reshape(n, N_PATCHES, HEADS, -1).transpose(0, 2, 1, 3)
        q, k, v = split("query"), split("key"), split("value")
        mixed = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(WIDTH // HEADS)) @ v
        x = x + linear(f"{block}.project", mixed.transpose(0, 2, 1, 3).reshape(n, N_PATCHES, WIDTH))
        y = linear(f"{block}.up", norm(f"{block}.between", x))
        x = x + linear(f"{block}.down", jax.nn.gelu(y, approximate=False))
    return linear("head", norm("last", x).mean(axis=1))


def disturbed(weights, key, sigma):
    """A Gaussian error on each weight of a product, in parts of the largest of its output column."""
    keys = dict(zip(sorted(weights), jax.random.split(key, len(weights))))

    def disturb(name, w):
        if not name.endswith(".weight"):
            return w
        largest = jax.lax.stop_gradient(jnp.abs(w).max(axis=0, keepdims=True))
        return w + sigma * largest * jax.random.normal(keys[name], w.shape)

    return {name: disturb(name, w) for name, w in weights.items()}


@jax.jit
def n_correct(weights, images, labels):
    return (logits(weights, images).argmax(axis=1) == labels).sum()


def train(images, labels, options, held_out=None):
    """The running mean of the weights after the last epoch."""

    def loss(weights, x, y, key):
        return training.cross_entropy(logits(disturbed(weights, key, options.sigma), x), y, 0.0)

    def said(weights, number):
        right = int(n_correct(weights, jnp.asarray(held_out[0], jnp.float32) / 255.0, held_out[1]))
        return f"{100.0 * right / len(held_out[1]):.2f}"

    return training.train(images, labels, options, initial_weights, loss, EMA_KEEP, held_out and said)


class Graph:
    """An ONNX graph as exporters write transformers: products and additions apart, GELU with Erf."""

    def __init__(self, weights):
        self.nodes, self.constants = [], []
        self.weights = weights

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind, *inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def own(self, name):
        return self.constant(name, self.weights[name])

    def linear(self, name, x):
        product = self.op("MatMul", x, self.own(f"{name}.weight"), name=name)
        return self.op("Add", product, self.own(f"{name}.bias"), name=f"{name}.add")

    def norm(self, name, x):
        scale, shift = self.own(f"{name}.scale"), self.own(f"{name}.shift")
        return self.op("LayerNormalization", x, scale, shift, name=name, axis=-1, epsilon=1e-5)

    def gelu(self, name, x):
        half, one = self.constant(f"{name}.half", np.float32(0.5)), self.constant(f"{name}.one", np.float32(1))
        root = self.constant(f"{name}.root", np.float32(math.sqrt(2)))
        erf = self.op("Erf", self.op("Div", x, root, name=f"{name}.div"), name=f"{name}.erf")
        both = self.op("Mul", x, self.op("Add", erf, one, name=f"{name}.above"), name=f"{name}.mul")
        return self.op("Mul", both, half, name=name)


def onnx_model(weights):
    """The network with the node names that dumps and tests refer to; the batch axis is symbolic."""
    g = Graph(weights)
    # As a convolution has them: [outputs, channels, rows, columns].
    kernel = weights["patches.weight"].T.reshape(WIDTH, 1, PATCH, PATCH)
    kernel, bias = g.constant("patches.weight", kernel), g.own("patches.bias")
    x = g.op("Conv", "image", kernel, bias, name="patches", kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
    x = g.op("Reshape", x, g.constant("flat", np.int64([0, WIDTH, N_PATCHES])), name="flatten")
    x = g.op("Transpose", x, name="rows", perm=[0, 2, 1])
    x = g.op("Add", x, g.constant("places", weights["places"][None]), name="placed")
    split = g.constant("split", np.int64([0, N_PATCHES, HEADS, WIDTH // HEADS]))
    joined = g.constant("joined", np.int64([0, N_PATCHES, WIDTH]))
    root = g.constant("root", np.float32(math.sqrt(WIDTH // HEADS)))
    for b in range(BLOCKS):
        y = g.norm(f"{b}.before", x)

        def heads(what, perm):
            own = g.op("Reshape", g.linear(f"{b}.{what}", y), split, name=f"{b}.{what}.split")
            return g.op("Transpose", own, name=f"{b}.{what}.heads", perm=perm)

        q, k, v = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scores = g.op("Div", g.op("MatMul", q, k, name=f"{b}.scores"), root, name=f"{b}.scaled")
        shares = g.op("Softmax", scores, name=f"{b}.shares", axis=-1)
        mixed = g.op("Transpose", g.op("MatMul", shares, v, name=f"{b}.mixed"), name=f"{b}.back", perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", mixed, joined, name=f"{b}.join")
        x = g.op("Add", x, g.linear(f"{b}.project", mixed), name=f"{b}.attended")
        y = g.gelu(f"{b}.gelu", g.linear(f"{b}.up", g.norm(f"{b}.between", x)))
        x = g.op("Add", x, g.linear(f"{b}.down", y), name=f"{b}.fed")
    x = g.op("ReduceMean", g.norm("last", x), name="mean", axes=[1], keepdims=0)
    g.op("Gemm", x, g.own("head.weight"), g.own("head.bias"), name="head")
    g.nodes[-1].output[0] = "logits"
    return training.classifier("vit", g.nodes, g.constants, opset=17, ir_version=8, producer="train_vit.py")


if __name__ == "__main__":
    training.main(__doc__, "vit.onnx", train, onnx_model, epochs=8, rate=3e-3, sigma=0.03, strength=0.5)
