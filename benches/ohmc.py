"""Runs `ohmc eval` as a user does, and reads from its JSON how long the images took."""

import json
import subprocess
from pathlib import Path

BINARY = Path(__file__).resolve().parent.parent / "target" / "release" / "ohmc"
CIFAR10_MEAN = "0.485,0.456,0.406"
CIFAR10_STD = "0.229,0.224,0.225"


def add_options(parser):
    """Options that say what `ohmc` runs, and on which chip."""
    parser.add_argument("--ohmc", default=BINARY, help="the binary (default: %(default)s)")
    parser.add_argument("--target", default="yao2020-macro", help="target of `ohmc` (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE",
                        help="changes the target; repeatable")
    parser.add_argument("--mean", default=CIFAR10_MEAN, help="taken off each channel (default: %(default)s)")
    parser.add_argument("--std", default=CIFAR10_STD, help="divides each channel (default: %(default)s)")


def call(binary, *arguments):
    """What `ohmc` prints."""
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: `{binary} {arguments[0]}` failed\n{done.stderr}")
    return done.stdout


def compile_plan(options, model, data, plan):
    """Compiles once, so that the rounds measured need no calibration."""
    changes = [word for change in options.set for word in ("--set", change)]
    call(options.ohmc, "compile", model, "--target", options.target, *changes, "--calibrate", data,
         "--mean", options.mean, "--std", options.std, "-o", plan)


def images_per_second(options, plan, data, n_images, threads):
    """The rate of one run of a plan, without reading and programming."""
    result = json.loads(call(options.ohmc, "eval", plan, "--data", data, "--no-float", "--format", "json",
                             "--limit", n_images, "--threads", threads))
    return result["images"] / result["seconds"]
