"""ONNX Runtime's float images per second beside those of `ohmc eval` on a chip.

    cargo build --release
    pip install -r benches/requirements.txt
    python benches/onnx_runtime.py resnet20_cifar10.onnx cifar10/ --threads 1 2 --images 64
    python benches/onnx_runtime.py models/mcnn.onnx models/digits --target yao2020-chip --mean 0 --std 1

Data are CIFAR-10 in binary form or a folder laid out like MNIST, of which the test part is run. `ohmc` runs a plan
that is compiled once, ONNX Runtime the model as it is, in the best of several batch sizes. The two take turns in every
round; the table has medians over the rounds. (A script called onnxruntime.py would import itself.)
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import ohmc

sys.path.append(str(Path(__file__).resolve().parent.parent / "models"))
import idx

CIFAR10_RECORD = 1 + 3 * 32 * 32  # a label, then the picture


def read_images(folder, n_images):
    """The first images of the test part as bytes [n, channel, row, column]."""
    cifar = sorted(Path(folder).glob("test*.bin*"))
    if not cifar:
        return idx.read_part(folder, "test")[0][:n_images, None]
    raw = cifar[0].read_bytes()
    raw = gzip.decompress(raw) if cifar[0].suffix == ".gz" else raw
    records = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR10_RECORD)
    return records[:n_images, 1:].reshape(-1, 3, 32, 32)


def prepared(images, mean, std):
    """Floats as the model was trained on, `mean` and `std` one number or one a channel, split by commas."""
    mean, std = (np.array([float(x) for x in numbers.split(",")], np.float32)[:, None, None] for numbers in (mean, std))
    return (images.astype(np.float32) / 255 - mean) / std


def session_of(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def best_rate(session, inputs, batch_sizes):
    """Images per second and batch size, of the batch size that is fastest."""
    name = session.get_inputs()[0].name
    rates = []
    for size in sorted({min(size, len(inputs)) for size in batch_sizes}):
        batches = [inputs[i : i + size] for i in range(0, len(inputs), size)]
        session.run(None, {name: batches[0]})  # the first run of a shape prepares memory
        start = time.perf_counter()
        for batch in batches:
            session.run(None, {name: batch})
        rates.append((len(inputs) / (time.perf_counter() - start), size))
    return max(rates)


def measure(options, plan, inputs, threads):
    """One line of the table."""
    session = session_of(options.model, threads)
    best_rate(session, inputs, options.batches)  # the first seconds of a session are slower
    float_rates, chip_rates = [], []
    for _ in range(options.rounds):
        float_rates.append(best_rate(session, inputs, options.batches))
        chip_rates.append(ohmc.images_per_second(options, plan, options.data, len(inputs), threads))
    ratios = [rate / chip for (rate, _), chip in zip(float_rates, chip_rates)]
    sizes = [size for _, size in float_rates]
    return [threads, len(inputs), f"{statistics.median(rate for rate, _ in float_rates):.1f}",
            max(set(sizes), key=sizes.count), f"{statistics.median(chip_rates):.1f}",
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="ONNX model of one input and an open batch")
    parser.add_argument("data", help="CIFAR-10 in binary form, or a folder laid out like MNIST")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64], help="batch sizes of ONNX Runtime")
    ohmc.add_options(parser)
    options = parser.parse_args()

    inputs = prepared(read_images(options.data, options.images), options.mean, options.std)
    print(f"{Path(options.model).name} on {' '.join([options.target, *options.set])}, "
          f"ONNX Runtime {onnxruntime.__version__}, medians of {options.rounds} rounds\n")
    print("| threads | images | ONNX Runtime, float: images/s | in batches of "
          "| ohmc: images/s | times slower (range) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "bench.plan"
        ohmc.compile_plan(options, options.model, options.data, plan)
        for threads in options.threads:
            print(f"| {' | '.join(map(str, measure(options, plan, inputs, threads)))} |")


if __name__ == "__main__":
    main()
