"""Runs the models of a zoo through `ohmc` and prints a table: how far each
output is from ONNX Runtime's, whether the target as it comes equals the integer
reference, and which share of the multiply-accumulates is on arrays.

    python evaluate_zoo.py zoo --ohmc ../target/release/ohmc

Fine codes: the target `ideal` with inputs of 16 bits and weights of 15 bits with
their sign, calibrated on the input that comes with the model.
"""

import argparse
import json
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import onnx

FINE = ["--set", "cell.levels=16384", "--set", "readout.input_bits=16", "--range", "minmax"]


def shapes(path):
    """`--shape` for models whose axes are open."""
    table = path.parent / "zoo.json"
    if table.exists():
        given = json.loads(table.read_text())[path.stem]["shapes"]
    else:
        open_axes = any(
            not axis.HasField("dim_value")
            for value in onnx.load(path, load_external_data=False).graph.input
            for axis in value.type.tensor_type.shape.dim[1:]
        )
        inputs = json.loads(path.with_suffix(".json").read_text())["inputs"]
        given = {i["name"]: i["shape"] for i in inputs} if open_axes else {}
    return [text for name, extents in given.items()
            for text in ("--shape", f"{name}={','.join(map(str, extents))}")]


def call(ohmc, *arguments):
    return subprocess.run([ohmc, *map(str, arguments)], capture_output=True, text=True, check=False)


def outputs(folder, names):
    """What `ohmc run -o out.npy` wrote, in the order of the model."""
    for name in names:
        own = folder / f"out.{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npy"
        yield np.load(own if own.exists() else folder / "out.npy")


def measure(ohmc, path):
    arrays = np.load(path.with_suffix(".npz"))
    wanted = [arrays[f"out_{i}"] for i in range(sum(k.startswith("out_") for k in arrays.files))]
    names = [output.name for output in onnx.load(path).graph.output]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        data = folder / "in.npz"
        np.savez(data, **{k: arrays[k] for k in arrays.files if k.startswith("in_")})
        model = [path, "--target", "ideal", *shapes(path)]
        ran = call(ohmc, "run", *model, *FINE, "--input", data, "--calibrate", data, "-o", folder / "out.npy")
        if ran.returncode:
            return ran.stderr.strip().splitlines()[0]
        errors = []
        for found, right in zip(outputs(folder, names), wanted):
            found, right = (np.asarray(a, np.float64).ravel() for a in (found, right))
            norm = np.linalg.norm(found - right)
            errors.append(norm / np.linalg.norm(right) if norm else 0.0)
        compared = call(ohmc, "eval", *model, "--data", data, "--reference", "--no-float", "--format", "json")
        if compared.returncode:
            return compared.stderr.strip().splitlines()[0]
        different = sum(sum(row["different"]) for row in json.loads(compared.stdout)["reference"])
        report = json.loads(call(ohmc, "report", *model, "--format", "json").stdout)
    return errors, different, report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("zoo", type=pathlib.Path)
    parser.add_argument("--ohmc", default="ohmc")
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    print("| model | layers on arrays | of macs | digital, and why | outputs | largest error | equals reference |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(given.zoo.glob("*.onnx")):
        if given.only and path.stem not in given.only:
            continue
        result = measure(given.ohmc, path)
        if isinstance(result, str):
            print(f"| `{path.stem}` | {result} | | | | | |", flush=True)
            continue
        errors, different, report = result
        share = report["macs_on_arrays_share"]
        share = "-" if share is None else f"{100 * share:.1f} %"
        why = {row["not_on_arrays_because"] for row in report["digital_layers"]} - {None}
        equal = "yes" if different == 0 else f"{different} values differ"
        print(f"| `{path.stem}` | {len(report['layers'])} | {share} | {'; '.join(sorted(why)) or '-'} "
              f"| {len(errors)} | {max(errors):.1e} | {equal} |", flush=True)


if __name__ == "__main__":
    main()
