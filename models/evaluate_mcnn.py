"""Top-1 accuracy of mcnn.onnx as float, with 15-level weights, and with the error that memristor cells add.

    python evaluate_mcnn.py mcnn.onnx --data DIR     # a folder laid out like MNIST: MNIST itself, or digits/

`float` is ONNX Runtime on the file as it is. `15 levels` rounds each output column to -7..+7 times the scale of
least squared error, ONNX Runtime again. `cells` adds what an array adds, in numpy: 8-bit inputs of every layer, one
Gaussian error for each cell, fresh read noise at every output. It knows no ADC and no wires: it asks whether the
weights are robust, and is no model of a chip.
"""

import argparse

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import idx

LEVELS = 7  # a pair of 8-level cells holds -7..+7
LEVEL_US = 18 / 7  # a window of 2-20 uS in seven steps
LOWEST_US = 2.0
CELL_ERROR_US = 0.33  # write-verify within 0.72 uS, and relaxation
READ_NOISE = 0.01  # of a cell's conductance
INPUT_CODES = 255
LAYERS = ("conv1", "conv2", "fc")


def weights_of(model):
    """The constant matrices as [outputs, inputs], by layer."""
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {name: found[f"{name}.weight"].reshape(len(found[f"{name}.weight"]), -1) for name in LAYERS}


def rounded(weight):
    """Integer levels [outputs, inputs] and a scale [outputs, 1], of least squared error for each output."""
    candidates = np.linspace(0.5, 1.1, 241)[None, :] * np.abs(weight).max(axis=1)[:, None] / LEVELS
    levels = np.clip(np.round(weight[:, None, :] / candidates[:, :, None]), -LEVELS, LEVELS)
    error = ((levels * candidates[:, :, None] - weight[:, None, :]) ** 2).sum(axis=2)
    best = error.argmin(axis=1)
    rows = np.arange(len(weight))
    return levels[rows, best], candidates[rows, best][:, None]


def with_weights(model, weights):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        shape = tuple(tensor.dims)
        tensor.CopyFrom(numpy_helper.from_array(
            weights[tensor.name.split(".")[0]].reshape(shape).astype(np.float32), tensor.name))
    return copy


def runtime_accuracy(model, images, labels):
    """ONNX Runtime's top-1 in per cent; one thread, so that the sums are the same on every run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = (images.astype(np.float32) / 255)[:, None]
    scores = [session.run(["logits"], {"image": inputs[i : i + 1000]})[0] for i in range(0, len(inputs), 1000)]
    return 100 * np.mean(np.concatenate(scores).argmax(axis=1) == labels)


def patches(x):
    """3x3 neighbourhoods of x [N, C, H, W] as [N, H-2, W-2, 9 C], in the order of ONNX convolution weights."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), x.shape[2] - 2, x.shape[3] - 2, -1)


def pooled(x, size):
    """ReLU, then the maximum of size x size, rounding up: x [N, H, W, C] -> [N, C, out, out]."""
    n, h, _, c = x.shape
    out = -(-h // size)
    pad = out * size - h
    x = np.pad(np.maximum(x, 0), ((0, 0), (0, pad), (0, pad), (0, 0)))
    return x.reshape(n, out, size, out, size, c).max(axis=(2, 4)).transpose(0, 3, 1, 2)


def forward(product, images):
    """Scores [N, 10]; `product(layer, inputs)` multiplies inputs [..., n] with the layer's matrix."""
    x = (images.astype(np.float32) / 255)[:, None]
    x = pooled(product("conv1", patches(x)), 3)
    x = pooled(product("conv2", patches(x)), 2)
    return product("fc", x.reshape(len(x), -1))


def input_ranges(weights, images):
    """The largest input of each layer on calibration images."""
    ranges = {}

    def product(name, x):
        ranges[name] = float(x.max())
        return x @ weights[name].T

    forward(product, images)
    return ranges


def cell_accuracy(weights, ranges, images, labels, seed):
    """Top-1 in per cent of one draw of all cells."""
    rng = np.random.default_rng(seed)
    programmed = {}
    for name, weight in weights.items():
        levels, scale = rounded(weight)
        error = rng.normal(0, np.sqrt(2) * CELL_ERROR_US / LEVEL_US, levels.shape)
        # One cell of a pair holds the level, the other the lowest conductance; both are read with noise.
        lowest = LOWEST_US / LEVEL_US
        variance = READ_NOISE**2 * ((np.abs(levels) + lowest) ** 2 + lowest**2)
        programmed[name] = [a.T.astype(np.float32) for a in ((levels + error) * scale, variance * scale**2)]

    def product(name, x):
        matrix, variance = programmed[name]
        step = ranges[name] / INPUT_CODES
        x = np.clip(np.round(x / step), 0, INPUT_CODES).astype(np.float32) * np.float32(step)
        noise = rng.standard_normal(x.shape[:-1] + (matrix.shape[1],), np.float32)
        return x @ matrix + np.sqrt(x**2 @ variance) * noise

    n_correct = 0
    for i in range(0, len(images), 1000):
        n_correct += (forward(product, images[i : i + 1000]).argmax(axis=1) == labels[i : i + 1000]).sum()
    return 100 * n_correct / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder laid out like MNIST; its training part calibrates")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()

    model = onnx.load(options.model)
    weights = weights_of(model)
    images, labels = idx.read_part(options.data, "test")
    ranges = input_ranges(weights, idx.read_part(options.data, "train")[0][:1000])
    levels = {name: np.multiply(*rounded(weight)) for name, weight in weights.items()}
    cells = [cell_accuracy(weights, ranges, images, labels, seed) for seed in range(options.draws)]

    print(f"images     {len(labels)}")
    print(f"weights    {sum(w.size for w in weights.values())}")
    print(f"float      {runtime_accuracy(model, images, labels):.2f} %")
    print(f"15 levels  {runtime_accuracy(with_weights(model, levels), images, labels):.2f} %")
    print(f"cells      {np.mean(cells):.2f} % (sd {np.std(cells, ddof=1):.2f}, {options.draws} draws, "
          f"{min(cells):.2f}-{max(cells):.2f})")


if __name__ == "__main__":
    main()
