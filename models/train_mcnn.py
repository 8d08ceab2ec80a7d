"""Trains the five-layer network of Yao et al., Nature 577, 641 (2020), on MNIST and writes it as ONNX.

    python train_mcnn.py --mnist DIR --out mcnn.onnx
    python train_mcnn.py --mnist DIR --holdout 10000     # choose settings; nothing is written

28x28 grey -> conv 3x3x1x8 -> pool 3/3 -> conv 3x3x8x12 -> pool 2/2 -> 192 -> 10, pools rounding up, and no
bias anywhere: a memristor array multiplies, and 2,856 weights are all that the paper writes into one.

The weights end up in cells with 15 levels and an error that no rounding knows. Each batch is therefore cut
into two halves: one is trained with the float weights, one with their 15-level rounding (straight-through
gradient), and both with a fresh Gaussian error on every weight. The float model and the rounded one come
out good together, and neither leans on a single weight.

The settings were fixed before any test image was looked at; README.md has what `--holdout` says about others.
This script never reads the test images.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from onnx import helper, numpy_helper

import training

LEVELS = 7  # a pair of 8-level cells holds -7..+7
EMA_KEEP = 0.999
LAYERS = {"conv1": (8, 1, 3, 3), "conv2": (12, 8, 3, 3), "fc": (10, 192)}


def initial_weights(key):
    """He initialisation; shapes as ONNX stores them, output channel first."""
    weights = {}
    for name, shape in LAYERS.items():
        key, sub = jax.random.split(key)
        weights[name] = jax.random.normal(sub, shape) * math.sqrt(2.0 / math.prod(shape[1:]))
    return weights


def convolve(x, weight):
    """3x3 convolution of x [C, H, W, N]; with the batch last, all work is one wide product and runs on vectors."""
    h, w = x.shape[1] - 2, x.shape[2] - 2
    shifted = jnp.stack([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=1)
    return (weight.reshape(len(weight), -1) @ shifted.reshape(9 * len(x), -1)).reshape(-1, h, w, x.shape[3])


def pool(x, size):
    """Max over size x size, rounding up: the border is padded with zeros, which never win after a ReLU."""
    c, h, _, n = x.shape
    out = -(-h // size)
    pad = out * size - h
    x = jnp.pad(x, ((0, 0), (0, pad), (0, pad), (0, 0)))
    return x.reshape(c, out, size, out, size, n).max(axis=(2, 4))


def logits(weights, images):
    """Scores [N, 10] for images [N, 28, 28] in 0..1."""
    x = images.transpose(1, 2, 0)[None]
    x = pool(jax.nn.relu(convolve(x, weights["conv1"])), 3)
    x = pool(jax.nn.relu(convolve(x, weights["conv2"])), 2)
    return (weights["fc"] @ x.reshape(-1, len(images))).T


def rounded(weight):
    """15 levels per output column, with the scale of 16 candidates that has the least squared error."""
    rows = weight.reshape(len(weight), -1)
    scales = jnp.abs(rows).max(axis=1)[:, None] / LEVELS * jnp.linspace(0.55, 1.05, 16)
    levels = jnp.clip(jnp.round(rows[:, None] / scales[..., None]), -LEVELS, LEVELS)
    error = ((rows[:, None] - levels * scales[..., None]) ** 2).sum(axis=2)
    best = error.argmin(axis=1)
    index = jnp.arange(len(rows))
    return (levels[index, best] * scales[index, best][:, None]).reshape(weight.shape)


def disturbed(weights, key, sigma):
    """A Gaussian error on each weight, in parts of the largest weight of its output column."""
    keys = dict(zip(sorted(weights), jax.random.split(key, len(weights))))

    def disturb(name, w):
        largest = jnp.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True)
        return w + jax.lax.stop_gradient(sigma * largest) * jax.random.normal(keys[name], w.shape)

    return {name: disturb(name, w) for name, w in weights.items()}


def straight_through(weights):
    return {name: w + jax.lax.stop_gradient(rounded(w) - w) for name, w in weights.items()}


def loss(weights, images, labels, key, sigma, smoothing):
    half = len(images) // 2
    key_float, key_levels = jax.random.split(key)
    as_float = logits(disturbed(weights, key_float, sigma), images[:half])
    as_levels = logits(disturbed(straight_through(weights), key_levels, sigma), images[half:])
    return training.cross_entropy(jnp.concatenate([as_float, as_levels]), labels, smoothing)


def train(images, labels, options, held_out=None):
    """The running mean of the weights after the last epoch."""

    def of_batch(weights, x, y, key):
        return loss(weights, x, y, key, options.sigma, options.smoothing)

    def said(weights, number):
        return accuracies(weights, *held_out) if number % 10 == 0 or number == options.epochs else None

    return training.train(images, labels, options, initial_weights, of_batch, EMA_KEEP, held_out and said)


@jax.jit
def n_correct(weights, images, labels):
    return (logits(weights, images).argmax(axis=1) == labels).sum()


def accuracies(weights, images, labels):
    """Float, 15-level and 15-level with cell error (mean of ten), in per cent."""
    images = jnp.asarray(images, jnp.float32) / 255.0
    percent = lambda w: 100.0 * float(n_correct(w, images, labels)) / len(labels)
    levels = {name: rounded(w) for name, w in weights.items()}
    # 0.33 uS on both cells of a pair, in levels of 2.571 uS, in parts of seven levels.
    cell_sigma = 0.33 * math.sqrt(2) / 2.571 / LEVELS
    noisy = [percent(disturbed(levels, jax.random.key(s), cell_sigma)) for s in range(10)]
    return f"float {percent(weights):.2f}  15 levels {percent(levels):.2f}  cells {np.mean(noisy):.2f}"


def onnx_model(weights):
    """The network with the node names that dumps and tests refer to; the batch axis is symbolic."""
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight"], ["conv1_out"], "conv1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv1_out"], ["relu1_out"], "relu1"),
        helper.make_node("MaxPool", ["relu1_out"], ["pool1_out"], "pool1", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1),
        helper.make_node("Conv", ["pool1_out", "conv2.weight"], ["conv2_out"], "conv2", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv2_out"], ["relu2_out"], "relu2"),
        helper.make_node("MaxPool", ["relu2_out"], ["pool2_out"], "pool2", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("Flatten", ["pool2_out"], ["flatten_out"], "flatten", axis=1),
        helper.make_node("Gemm", ["flatten_out", "fc.weight"], ["logits"], "fc", transB=1),
    ]
    constants = [numpy_helper.from_array(weights[name], f"{name}.weight") for name in LAYERS]
    return training.classifier("mcnn", nodes, constants, opset=13, ir_version=7, producer="train_mcnn.py")


if __name__ == "__main__":
    training.main(
        __doc__, "mcnn.onnx", train, onnx_model, epochs=50, rate=4e-3, sigma=0.035, strength=0.7,
        more=lambda parser: parser.add_argument("--smoothing", type=float, default=0.0, help="of the labels"),
    )
