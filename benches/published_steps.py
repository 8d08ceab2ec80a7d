"""The steps of Yao et al. 2020, float to 15 levels to written cells, by their
method: plain quantisation (`--weights plain`), plain write-verify (every pulse,
every cell to the target's tolerance), and relaxation as the one figure that is
fitted.

    python published_steps.py --ohmc ../target/release/ohmc \\
        --resnet resnet56_cifar10.onnx --cifar cifar10/ --mnist mnist/

Relaxation is found by bisection so that ResNet-56 loses, from 15 levels to
written cells, the points that the paper's simulation lost. It is a
calibration. The five-layer network on the reference chip is then a prediction,
with the same cell; where it disagrees, that is the result. Prints two rows of a
table, and what was tried on the way.
"""

import argparse
import json
import pathlib
import subprocess

PAPER = {"resnet": (95.57, 89.64, 79.76), "mcnn": (97.99, 96.92, 95.07)}
EXACT = ["verify_tolerance_us", "relaxation_sd_us", "read_noise_fraction"]
MCNN = pathlib.Path(__file__).parent.parent / "models" / "mcnn.onnx"
RESNET_DATA = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


class Model:
    def __init__(self, ohmc, model, target, data, options, limit):
        self.command = [ohmc, "eval", str(model), "--target", target, "--data", str(data),
                        "--weights", "plain", "--format", "json", *options]
        self.command += ["--limit", str(limit)] if limit else []

    def run(self, *options):
        done = subprocess.run([*self.command, *map(str, options)], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)["accuracy"]

    def exact(self):
        """In float, and with 15 levels in cells without any error."""
        sets = [text for key in EXACT for text in ("--set", f"cell.{key}=0")]
        found = self.run(*sets)
        return found["float"], found["mean"]

    def written(self, relaxation_us, trials):
        """Mean and standard deviation over chips, written pulse by pulse."""
        found = self.run("--set", f"cell.relaxation_sd_us={relaxation_us}", "--pulses", "--trials",
                         trials, "--no-float")
        return found["mean"], found["sd"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ohmc", default="ohmc")
    parser.add_argument("--resnet", required=True)
    parser.add_argument("--cifar", required=True)
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--limit", type=int, default=2000, help="images of each data set")
    parser.add_argument("--trials", type=int, default=5, help="chips of each point")
    parser.add_argument("--steps", type=int, default=5, help="bisections")
    parser.add_argument("--low", type=float, default=0.2, help="uS")
    parser.add_argument("--high", type=float, default=0.8, help="uS")
    given = parser.parse_args()
    resnet = Model(given.ohmc, given.resnet, "yao2020-macro", given.cifar, RESNET_DATA, given.limit)
    mcnn = Model(given.ohmc, MCNN, "yao2020-chip", given.mnist, [], None)

    exact = resnet.exact()
    wanted = PAPER["resnet"][1] - PAPER["resnet"][2]
    low, high = given.low, given.high
    for _ in range(given.steps):
        relaxation = (low + high) / 2
        mean, sd = resnet.written(relaxation, given.trials)
        print(f"relaxation {relaxation:.4f} uS: {mean:.2f} % ({sd:.2f}), "
              f"lost {exact[1] - mean:.2f} of {wanted:.2f} points", flush=True)
        low, high = (relaxation, high) if exact[1] - mean < wanted else (low, relaxation)

    print(f"\nrelaxation {relaxation:.4f} uS, fitted to ResNet-56's written step\n")
    print("| | float | 15 levels | written | lost by levels | lost by writing |")
    print("|---|---|---|---|---|---|")
    rows = [("ResNet-56", resnet, "resnet"), ("mCNN, predicted", mcnn, "mcnn")]
    for name, model, key in rows:
        floating, levels = exact if model is resnet else model.exact()
        written, sd = (mean, sd) if model is resnet else model.written(relaxation, 10)
        paper = PAPER[key]
        print(f"| {name} | {floating:.2f} % | {levels:.2f} % | {written:.2f} % ({sd:.2f}) | "
              f"{floating - levels:.2f} | {levels - written:.2f} |")
        print(f"| the paper's | {paper[0]} % | {paper[1]} % | {paper[2]} % | "
              f"{paper[0] - paper[1]:.2f} | {paper[1] - paper[2]:.2f} |")


if __name__ == "__main__":
    main()
