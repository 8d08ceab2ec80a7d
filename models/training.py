"""What the scripts that train models on MNIST share: augmentation, Adam, options, held-out images, the file's frame."""

import argparse
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper

import idx


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


@functools.partial(jax.jit, static_argnames=("loss", "batch", "n_steps", "strength", "rate", "most_kept"))
def epoch(state, images, labels, key, loss, batch, n_steps, strength, rate, most_kept):
    """One pass over the shuffled images: Adam with a cosine schedule, and a running mean of the weights."""
    key_order, key = jax.random.split(key)
    order = jax.random.permutation(key_order, len(images))

    def step(i, state):
        weights, mean, m, v, count = state
        chosen = jax.lax.dynamic_slice_in_dim(order, i * batch, batch)
        key_augment, key_noise = jax.random.split(jax.random.fold_in(key, i))
        x = augmented(images[chosen].astype(jnp.float32) / 255.0, key_augment, strength)
        grads = jax.grad(loss)(weights, x, labels[chosen], key_noise)
        count = count + 1
        warm = jnp.minimum(1.0, count / 200.0)
        lr = rate * warm * 0.5 * (1 + jnp.cos(jnp.pi * count / n_steps))
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        weights = jax.tree.map(lambda w, m, v: w - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), weights, m, v)
        keep = jnp.minimum(most_kept, count / (count + 10.0))
        mean = jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, mean, weights)
        return weights, mean, m, v, count

    return jax.lax.fori_loop(0, len(images) // batch, step, state)


def train(images, labels, options, initial_weights, loss, most_kept, said=None):
    """The running mean of the weights after the last epoch.

    `loss(weights, x, y, key)` is that of a batch, `most_kept` the share that the mean keeps of itself in a step, and
    `said(weights, number)` what is printed of held-out images after an epoch, or None.
    """
    key = jax.random.key(options.seed)
    weights = initial_weights(jax.random.fold_in(key, 1_000_000))
    zero = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, weights, zero, zero, jnp.zeros(()))
    n_steps = options.epochs * (len(images) // options.batch)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    started = time.monotonic()
    for number in range(options.epochs):
        state = epoch(
            state, images, labels, jax.random.fold_in(key, number), loss=loss, batch=options.batch, n_steps=n_steps,
            strength=options.strength, rate=options.rate, most_kept=most_kept,
        )
        line = f"epoch {number + 1:3d}/{options.epochs}"
        if said is not None and (text := said(state[1], number + 1)) is not None:
            line += f"  held-out: {text}"
        jax.block_until_ready(state)
        print(f"{line}  {time.monotonic() - started:6.0f} s", flush=True)
    return {name: np.asarray(w, np.float32) for name, w in state[1].items()}


def classifier(name, nodes, constants, opset, ir_version, producer):
    """A checked model from images of 28 x 28 to ten logits; the batch axis is symbolic."""
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name=producer)
    onnx.checker.check_model(model, full_check=True)
    return model


def main(document, out, train, onnx_model, epochs, rate, sigma, strength, more=lambda parser: None):
    """Trains by the options of the command line and writes the model, or reports on images that were held out."""
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    parser.add_argument("--mnist", required=True, help="folder with the four gzipped MNIST files")
    parser.add_argument("--out", default=out)
    parser.add_argument("--holdout", type=int, default=0, help="train without the last N images and report on them")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--sigma", type=float, default=sigma, help="weight error in training, in parts of the column's largest")
    parser.add_argument("--strength", type=float, default=strength, help="of the augmentation")
    parser.add_argument("--seed", type=int, default=0)
    more(parser)
    options = parser.parse_args()

    images, labels = idx.read_part(options.mnist, "train")
    if options.holdout:
        kept = len(images) - options.holdout
        train(images[:kept], labels[:kept], options, (images[kept:], labels[kept:]))
        return
    model = onnx_model(train(images, labels, options))
    onnx.save(model, options.out)
    sizes = [math.prod(values.dims) for values in model.graph.initializer if values.name.endswith(".weight")]
    print(f"wrote {options.out}: {sum(sizes)} weights on arrays")
