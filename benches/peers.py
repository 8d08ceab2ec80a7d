"""Other simulators of memristor arrays on a network of ResNet-20's shapes: milliseconds an image on one thread.

    python3.9 -m venv a && a/bin/pip install aihwkit==0.6.0 torch==1.8.1 torchvision==0.9.1 'numpy<2' 'protobuf<4'
    a/bin/python benches/peers.py
    python3 -m venv b && b/bin/pip install mpimpy==1.0 analogsim==0.1.0
    b/bin/python benches/peers.py --model resnet20_cifar10.onnx --data cifar10/

Every peer that can be imported runs, the others are skipped: no environment holds all. With a model and data `ohmc` has
a turn in every round too, on the chip that `--target` and `--set` say, its read noise off where the peer's is. The
peers' weights and images are random, which costs them the same time. No two of them do the same, so read the table with
this in mind:

- AIHWKit takes an 8-bit input in one go, tile by tile of 128 inputs and 64 signed weights, each output converted. Its
  noise is drawn for each output. 0.6.0 is old: later wheels want a torch whose CUDA libraries are large packages of
  their own, the newest versions are built from source, and neither was tried.
- mPimPy takes inputs bit by bit, 8 planes as `ohmc` does, and weights as a sign and 3 bits in two arrays of 128x128, of
  which it converts each output. It programs the cells anew at every product, and has no noise of reading: `on` is an
  error of writing.
- analogsim takes an 8-bit input in one go, draws read noise once for each product of a whole batch, and converts only
  the sum of all tiles.

Left out: CrossSim and NeuroSim's accuracy model, which were not found on PyPI, and MemTorch, whose package there
(memtorch-cpu 1.1.6) failed to build.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

import ohmc

INPUT_LINES = 128
SIGNED_OUTPUTS = 64  # 128 output lines, two a weight
READ_NOISE = 0.01  # of a conductance, as on `yao2020-macro`
# Name, input and output channels, stride; every unit has two convolutions of 3x3.
UNITS = [(f"unit{i}", *shape) for i, shape in enumerate(
    [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2)]


def random_weights(rng):
    """Matrices [inputs, outputs] by layer, of a size that keeps activations as large as they were."""
    shapes = {"stem": (9 * 3, 16), "head": (64, 10)}
    for name, inputs, outputs, _ in UNITS:
        shapes[f"{name}.a"], shapes[f"{name}.b"] = (9 * inputs, outputs), (9 * outputs, outputs)
    return {name: rng.normal(0, np.sqrt(2 / shape[0]), shape) for name, shape in shapes.items()}


def convolution(product, name, x, stride=1):
    """3x3 over x [image, channel, row, column]; `product(layer, inputs)` multiplies with the layer's matrix."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    n, channels, rows, columns = windows.shape[:4]
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 9 * channels)
    return product(name, patches).reshape(n, rows, columns, -1).transpose(0, 3, 1, 2)


def forward(product, images):
    """Scores [image, class]."""
    x = np.maximum(convolution(product, "stem", images), 0)
    for name, inputs, outputs, stride in UNITS:
        y = np.maximum(convolution(product, f"{name}.a", x, stride), 0)
        y = convolution(product, f"{name}.b", y)
        shortcut = np.pad(x[:, :, ::stride, ::stride], ((0, 0), (0, outputs - inputs), (0, 0), (0, 0)))
        x = np.maximum(y + shortcut, 0)
    return product("head", x.mean(axis=(2, 3)))


def numpy_float(weights, images):
    return forward(lambda name, x: x @ weights[name], images)


def analogsim(weights, images):
    """Float and chips as functions without arguments, by noise."""
    # The package analogsim installs its parts as `analoglib`.
    from analoglib.adc_dac.adc import ADC
    from analoglib.adc_dac.dac import DAC
    from analoglib.core.types import SimulationMode
    from analoglib.crossbar.tiled import TiledCrossbar
    from analoglib.devices.reram import ReRAM

    def chip(noise):
        device = ReRAM(g_min=2e-6, g_max=20e-6, num_states=8, read_noise_sigma=noise)
        tiles = {name: TiledCrossbar.from_matrix(w, (INPUT_LINES, SIGNED_OUTPUTS), device=device)
                 for name, w in weights.items()}

        def product(name, x):
            highest = np.abs(x).max()
            inputs = DAC(8, -1, 1).convert(x / highest)
            currents = tiles[name].vmm(inputs, noise=noise > 0, mode=SimulationMode.HARDWARE)
            range_a = np.abs(currents).max()
            codes = ADC(8, -range_a, range_a).convert(currents)
            return codes * highest * np.abs(weights[name]).max() / device.g_range

        return lambda: forward(product, images)

    return lambda: numpy_float(weights, images), {"off": chip(0), "on": chip(READ_NOISE)}


def mpimpy(weights, images):
    """Float and chips as functions without arguments, by noise."""
    from mpimpy import bitslicedpe

    def whole_arrays(matrix):
        rows, columns = (-n % INPUT_LINES for n in matrix.shape)
        return np.pad(matrix, ((0, rows), (0, columns)))

    def chip(noise):
        arrays = bitslicedpe(HGS=20e-6, LGS=2e-6, g_level=8, var=noise, rdac=2, radc=256, vread=0.2,
                             array_size=(INPUT_LINES, INPUT_LINES))

        def product(name, x):
            # Padded here: its own padding takes one extent for the other.
            wide = np.pad(x, ((0, 0), (0, -x.shape[1] % INPUT_LINES)))
            result = arrays.MapReduceDot(wide, whole_arrays(weights[name]), xblk=[1] * 8, mblk=[1, 3])
            return result[:, : weights[name].shape[1]]

        # Image by image: it multiplies with a diagonal matrix of all rows of a batch.
        return lambda: np.concatenate([forward(product, image[None]) for image in images])

    return lambda: numpy_float(weights, images), {"off": chip(0), "on": chip(READ_NOISE)}


def aihwkit(weights, images):
    """Float and chips as functions without arguments, by noise."""
    import torch
    from aihwkit.nn.conversion import convert_to_analog_mapped
    from aihwkit.simulator.configs import InferenceRPUConfig
    from aihwkit.simulator.configs.utils import WeightNoiseType

    torch.set_num_threads(1)
    pad = torch.nn.functional.pad

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.head = torch.nn.Linear(64, 10, bias=False)
            for name, inputs, outputs, stride in UNITS:
                first = torch.nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
                second = torch.nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
                self.add_module(name, torch.nn.ModuleDict({"a": first, "b": second}))
            for name, weight in self.named_parameters():
                # AIHWKit reads a weight's memory in order, whatever its strides are.
                matrix = np.ascontiguousarray(weights[name.removesuffix(".weight")].T)
                weight.data = torch.tensor(matrix, dtype=torch.float32).reshape(weight.shape)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            for name, inputs, outputs, stride in UNITS:
                unit = getattr(self, name)
                y = unit["b"](torch.relu(unit["a"](x)))
                x = torch.relu(y + pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, outputs - inputs)))
            return self.head(x.mean(dim=(2, 3)))

    x = torch.tensor(images, dtype=torch.float32)

    def runs(network):
        def run():
            with torch.no_grad():
                return network(x).numpy()
        return run

    def chip(noise):
        config = InferenceRPUConfig()
        config.mapping.max_input_size, config.mapping.max_output_size = INPUT_LINES, SIGNED_OUTPUTS
        config.mapping.weight_scaling_omega = 1.0  # the largest weight takes the largest conductance
        config.forward.inp_res = config.forward.out_res = 1 / (2**8 - 2)
        config.forward.out_noise = 0.0
        if noise:
            config.forward.w_noise_type, config.forward.w_noise = WeightNoiseType.ADDITIVE_CONSTANT, noise
        return runs(convert_to_analog_mapped(Network(), config).eval())

    return runs(Network().eval()), {"off": chip(0), "on": chip(READ_NOISE)}


# What runs the peer, bit-planes of an input, and images at most: mPimPy takes seconds for one.
PEERS = {"aihwkit": (aihwkit, 1, 1000), "mpimpy": (mpimpy, 8, 2), "analogsim": (analogsim, 1, 1000)}


def timed(run, n_images):
    """A function that runs and returns the milliseconds an image."""
    def milliseconds():
        start = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - start) / n_images
    return milliseconds


def in_turn(rounds, runs):
    """The least that each of `runs` returns in several rounds, in each of which all have a turn."""
    return np.min([[run() for run in runs] for _ in range(rounds)], axis=0)


def our_turns(options, folder):
    """By noise, a list of the one function that runs `ohmc` and returns the milliseconds an image."""
    def turn(noise, changes):
        plan = folder / f"{noise}.plan"
        given = argparse.Namespace(**{**vars(options), "set": options.set + changes})
        ohmc.compile_plan(given, options.model, options.data, plan)
        return lambda: 1000 / ohmc.images_per_second(options, plan, options.data, options.images, 1)

    return {"off": [turn("off", ["cell.read_noise_fraction=0"])], "on": [turn("on", [])]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="ResNet-20 for `ohmc`; without it `ohmc` has no turn")
    parser.add_argument("--data", help="CIFAR-10 for `ohmc`")
    ohmc.add_options(parser)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    weights, all_images = random_weights(rng), rng.normal(0, 1, (options.images, 3, 32, 32))

    with tempfile.TemporaryDirectory() as folder:
        ours = our_turns(options, Path(folder)) if options.model else {"off": [], "on": []}
        print("| peer | planes | noise | images | ms an image | times its float | times `ohmc` "
              "| L2 error against float |")
        print("|---|---|---|---|---|---|---|---|")
        for name, (peer, planes, most) in PEERS.items():
            if importlib.util.find_spec(name) is None:
                print(f"| {name} | skipped: not installed here | | | | | | |")
                continue
            images = all_images[:most]
            in_float, chips = peer(weights, images)
            wanted = numpy_float(weights, images)
            for noise, chip in chips.items():
                error = np.linalg.norm(chip() - wanted) / np.linalg.norm(wanted)
                runs = [timed(chip, len(images)), timed(in_float, len(images)), *ours[noise]]
                taken = in_turn(options.rounds, runs)
                beside = f"{taken[0] / taken[2]:.2f}" if ours[noise] else ""
                print(f"| {name} | {planes} | {noise} | {len(images)} | {taken[0]:.1f} "
                      f"| {taken[0] / taken[1]:.1f} | {beside} | {error:.2f} |", flush=True)


if __name__ == "__main__":
    main()
