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

import functools
import math
import time

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


def augmented(images, key, strength):
    """Each image rotated, scaled, sheared and shifted a little, by bilinear interpolation."""
    n = len(images)
    angle, grow_x, grow_y, shear, dx, dy = jax.random.uniform(key, (6, n), minval=-1.0, maxval=1.0) * strength
    angle, shear = angle * math.radians(12), shear * 0.12
    sx, sy, dx, dy = 1 + 0.12 * grow_x, 1 + 0.12 * grow_y, 2.0 * dx, 2.0 * dy
    y, x = jnp.meshgrid(jnp.arange(28.0) - 13.5, jnp.arange(28.0) - 13.5, indexing="ij")
    col = lambda v: v[:, None, None]
    cos, sin = col(jnp.cos(angle)), col(jnp.sin(angle))
    u = (cos * x + sin * y) * col(sx) + col(shear) * y + col(dx) + 13.5
    v = (cos * y - sin * x) * col(sy) + col(dy) + 13.5
    # A border of two zeros lets every point outside read zero without a mask.
    flat = jnp.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(n, 32 * 32)
    u, v = jnp.clip(u + 2, 0, 30.99), jnp.clip(v + 2, 0, 30.99)
    u0, v0 = jnp.floor(u), jnp.floor(v)
    fu, fv = u - u0, v - v0
    at = (v0 * 32 + u0).astype(jnp.int32).reshape(n, -1)
    take = lambda offset: jnp.take_along_axis(flat, at + offset, axis=1).reshape(n, 28, 28)
    return (take(0) * (1 - fu) + take(1) * fu) * (1 - fv) + (take(32) * (1 - fu) + take(33) * fu) * fv


def cross_entropy(scores, labels, smoothing):
    target = jax.nn.one_hot(labels, 10) * (1 - smoothing) + smoothing / 10
    return -(target * jax.nn.log_softmax(scores)).sum(axis=1).mean()


def loss(weights, images, labels, key, sigma, smoothing):
    half = len(images) // 2
    key_float, key_levels = jax.random.split(key)
    as_float = logits(disturbed(weights, key_float, sigma), images[:half])
    as_levels = logits(disturbed(straight_through(weights), key_levels, sigma), images[half:])
    return cross_entropy(jnp.concatenate([as_float, as_levels]), labels, smoothing)


@functools.partial(jax.jit, static_argnames=("batch", "n_steps", "sigma", "smoothing", "strength", "rate"))
def epoch(state, images, labels, key, batch, n_steps, sigma, smoothing, strength, rate):
    """One pass over the shuffled images: Adam with a cosine schedule, and a running mean of the weights."""
    key_order, key = jax.random.split(key)
    order = jax.random.permutation(key_order, len(images))
    n_batches = len(images) // batch

    def step(i, state):
        weights, mean, m, v, count = state
        chosen = jax.lax.dynamic_slice_in_dim(order, i * batch, batch)
        key_augment, key_noise = jax.random.split(jax.random.fold_in(key, i))
        x = augmented(images[chosen].astype(jnp.float32) / 255.0, key_augment, strength)
        grads = jax.grad(loss)(weights, x, labels[chosen], key_noise, sigma, smoothing)
        count = count + 1
        warm = jnp.minimum(1.0, count / 200.0)
        lr = rate * warm * 0.5 * (1 + jnp.cos(jnp.pi * count / n_steps))
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        weights = jax.tree.map(lambda w, m, v: w - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), weights, m, v)
        keep = jnp.minimum(EMA_KEEP, count / (count + 10.0))
        mean = jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, mean, weights)
        return weights, mean, m, v, count

    return jax.lax.fori_loop(0, n_batches, step, state)


def train(images, labels, options, held_out=None):
    """The running mean of the weights after the last epoch."""
    key = jax.random.key(options.seed)
    weights = initial_weights(jax.random.fold_in(key, 1_000_000))
    zero = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, weights, zero, zero, jnp.zeros(()))
    n_steps = options.epochs * (len(images) // options.batch)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    started = time.monotonic()
    for number in range(options.epochs):
        state = epoch(
            state, images, labels, jax.random.fold_in(key, number), batch=options.batch, n_steps=n_steps,
            sigma=options.sigma, smoothing=options.smoothing, strength=options.strength, rate=options.rate,
        )
        line = f"epoch {number + 1:3d}/{options.epochs}"
        if held_out is not None and ((number + 1) % 10 == 0 or number + 1 == options.epochs):
            line += "  held-out: " + accuracies(state[1], *held_out)
        jax.block_until_ready(state)
        print(f"{line}  {time.monotonic() - started:6.0f} s", flush=True)
    return {name: np.asarray(w, np.float32) for name, w in state[1].items()}


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
