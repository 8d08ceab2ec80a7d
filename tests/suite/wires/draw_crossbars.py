"""Currents of random crossbars by badcrossbar, for `tests/suite/wires.rs`.

badcrossbar (Joksas & Mehonic, SoftwareX 12, 100617, 2020) solves the nodes of a
crossbar with a general sparse solver. Its word lines are our input lines, its
bit lines our output lines; both are driven and sensed at the same ends.

    pip install badcrossbar==1.1.0
    python draw_crossbars.py > crossbars.json

Its plots need cairo, its currents do not: without cairo, install with
`pip install --no-deps badcrossbar==1.1.0 numpy scipy sigfig pathvalidate`.
"""

import contextlib
import json
import logging
import sys
import warnings

warnings.simplefilter("ignore")
with contextlib.redirect_stdout(sys.stderr):
    import badcrossbar
    import numpy as np
logging.disable()
warnings.simplefilter("ignore")

# Input lines, output lines, ohm from cell to cell on either.
SHAPES = [
    (1, 1, 40.0, 25.0),
    (3, 5, 1.0, 1.0),
    (8, 3, 0.7, 120.0),
    (7, 10, 1500.0, 300.0),
    (12, 10, 2.5, 1.25),
]
READ_VOLTAGE_V = 0.2

random = np.random.default_rng(2020)
crossbars = []
for inputs, outputs, input_ohm, output_ohm in SHAPES:
    cells_us = random.uniform(2.0, 20.0, (inputs, outputs))
    driven = random.integers(0, 2, inputs)
    driven[0] = 1
    solution = badcrossbar.compute(
        READ_VOLTAGE_V * driven[:, np.newaxis],
        1e6 / cells_us,
        r_i_word_line=input_ohm,
        r_i_bit_line=output_ohm,
        node_voltages=False,
        all_currents=False,
    )
    crossbars.append(
        {
            "inputs": inputs,
            "outputs": outputs,
            "input_ohm_per_cell": input_ohm,
            "output_ohm_per_cell": output_ohm,
            "driven": driven.tolist(),
            "cells_us": [float(f"{us:.17g}") for us in cells_us.flat],
            "currents_ua": [float(f"{1e6 * a:.17g}") for a in np.ravel(solution.currents.output)],
        }
    )
# A number list on one line each, so that a change is seen.
texts = []
for crossbar in crossbars:
    lines = [f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in crossbar.items()]
    texts.append("  {\n" + ",\n".join(lines) + "\n  }")
print("{")
print(' "made_by": "badcrossbar 1.1.0",')
print(f' "read_voltage_v": {READ_VOLTAGE_V},')
print(' "crossbars": [\n' + ",\n".join(texts) + "\n ]")
print("}")
