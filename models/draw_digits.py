"""Draws handwritten-looking digits and writes them in the layout of MNIST, so that tests and examples need no download.

    python draw_digits.py --out digits [--sheet sheet.png]

Nothing here comes from MNIST pixels. Each digit is a few strokes through hand-chosen points, in several ways of
writing it. A drawing moves the points, bends and slants the whole, then pulls a round pen along the strokes with
changing pressure. What follows is what MNIST did to its scans: fit into 20x20, anti-alias, centre by mass in 28x28.

500 test digits (`t10k-*`) and 200 calibration digits (`train-*`), each class equally often, from separate seeds.
"""

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np

import idx

SIZE, BOX = 28, 20
FINE = 3  # fine pixels per pixel and axis; their mean is the anti-aliasing

# Ways of writing each digit. A way is a list of strokes, a stroke a curve through points (x to the right, y down, in
# 0..1). The pen turns sharply only where one stroke ends and the next begins.
WAYS = {
    0: [
        [[(0.60, 0.02), (0.28, 0.08), (0.08, 0.40), (0.12, 0.76), (0.42, 1.00), (0.76, 0.86), (0.92, 0.50), (0.82, 0.14), (0.54, 0.02)]],
        [[(0.72, 0.12), (0.46, 0.00), (0.18, 0.26), (0.08, 0.66), (0.30, 0.98), (0.66, 0.88), (0.88, 0.48), (0.80, 0.14), (0.50, 0.06), (0.34, 0.16)]],
        [[(0.42, 0.04), (0.12, 0.30), (0.10, 0.72), (0.40, 0.98), (0.74, 0.84), (0.90, 0.46), (0.74, 0.10), (0.48, 0.00)]],
    ],
    1: [
        [[(0.52, 0.00), (0.50, 0.50), (0.50, 1.00)]],
        [[(0.62, 0.00), (0.52, 0.48), (0.40, 1.00)]],
        [[(0.32, 0.22), (0.44, 0.12), (0.56, 0.00)], [(0.56, 0.00), (0.54, 0.50), (0.50, 1.00)]],
        [[(0.30, 0.20), (0.52, 0.00)], [(0.52, 0.00), (0.52, 1.00)], [(0.26, 1.00), (0.80, 0.98)]],
    ],
    2: [
        [[(0.12, 0.24), (0.32, 0.03), (0.64, 0.03), (0.80, 0.24), (0.68, 0.52), (0.40, 0.78), (0.08, 0.98)], [(0.08, 0.98), (0.50, 0.95), (0.94, 0.97)]],
        [[(0.16, 0.20), (0.40, 0.02), (0.72, 0.10), (0.76, 0.40), (0.50, 0.76), (0.22, 0.96), (0.08, 0.86), (0.24, 0.76), (0.52, 0.88), (0.78, 0.97), (0.96, 0.86)]],
        [[(0.10, 0.12), (0.40, 0.00), (0.78, 0.08), (0.76, 0.36), (0.44, 0.70), (0.14, 0.96)], [(0.14, 0.96), (0.40, 0.90), (0.66, 0.96), (0.94, 0.92)]],
    ],
    3: [
        [[(0.14, 0.12), (0.44, 0.00), (0.76, 0.14), (0.70, 0.36), (0.40, 0.47)], [(0.40, 0.47), (0.76, 0.56), (0.86, 0.78), (0.56, 0.99), (0.12, 0.90)]],
        [[(0.14, 0.04), (0.46, 0.03), (0.82, 0.04)], [(0.82, 0.04), (0.44, 0.40)], [(0.44, 0.40), (0.80, 0.50), (0.86, 0.76), (0.54, 1.00), (0.10, 0.90)]],
        [[(0.18, 0.10), (0.50, 0.00), (0.78, 0.16), (0.66, 0.38), (0.42, 0.50), (0.36, 0.45), (0.52, 0.44), (0.84, 0.62), (0.78, 0.90), (0.46, 1.00), (0.10, 0.86)]],
    ],
    4: [
        [[(0.20, 0.02), (0.12, 0.32), (0.18, 0.52), (0.52, 0.55), (0.88, 0.48)], [(0.78, 0.02), (0.72, 0.50), (0.68, 1.00)]],
        [[(0.62, 0.00), (0.36, 0.32), (0.06, 0.62)], [(0.06, 0.62), (0.50, 0.62), (0.96, 0.60)], [(0.62, 0.00), (0.62, 0.50), (0.62, 1.00)]],
        [[(0.16, 0.04), (0.10, 0.50)], [(0.10, 0.50), (0.50, 0.51), (0.78, 0.49)], [(0.76, 0.06), (0.76, 0.50), (0.74, 1.00)]],
    ],
    5: [
        [[(0.26, 0.05), (0.20, 0.44)], [(0.20, 0.44), (0.56, 0.36), (0.86, 0.60), (0.74, 0.90), (0.42, 1.00), (0.08, 0.90)], [(0.26, 0.05), (0.56, 0.04), (0.88, 0.02)]],
        [[(0.90, 0.02), (0.64, 0.04), (0.36, 0.06)], [(0.36, 0.06), (0.22, 0.42)], [(0.22, 0.42), (0.54, 0.42), (0.78, 0.62), (0.70, 0.88), (0.38, 1.00), (0.08, 0.94)]],
        [[(0.92, 0.04), (0.60, 0.02), (0.34, 0.14), (0.28, 0.38), (0.60, 0.50), (0.76, 0.72), (0.56, 0.96), (0.10, 0.96)]],
    ],
    6: [
        [[(0.70, 0.02), (0.36, 0.26), (0.12, 0.64), (0.26, 0.95), (0.60, 0.98), (0.80, 0.76), (0.60, 0.56), (0.32, 0.62), (0.16, 0.78)]],
        [[(0.46, 0.00), (0.22, 0.38), (0.14, 0.74), (0.40, 1.00), (0.76, 0.88), (0.76, 0.62), (0.46, 0.54), (0.20, 0.74)]],
        [[(0.82, 0.06), (0.50, 0.08), (0.20, 0.42), (0.16, 0.80), (0.46, 1.00), (0.80, 0.84), (0.70, 0.56), (0.40, 0.54), (0.18, 0.70)]],
    ],
    7: [
        [[(0.08, 0.06), (0.48, 0.06), (0.90, 0.04)], [(0.90, 0.04), (0.62, 0.44), (0.42, 1.00)]],
        [[(0.08, 0.08), (0.48, 0.06), (0.90, 0.03)], [(0.90, 0.03), (0.64, 0.46), (0.46, 1.00)], [(0.34, 0.52), (0.80, 0.48)]],
        [[(0.10, 0.22), (0.14, 0.06)], [(0.14, 0.06), (0.46, 0.08), (0.86, 0.04)], [(0.86, 0.04), (0.72, 0.40), (0.62, 1.00)]],
        [[(0.06, 0.16), (0.30, 0.02), (0.62, 0.08), (0.88, 0.06)], [(0.88, 0.06), (0.58, 0.50), (0.36, 1.00)]],
    ],
    8: [
        [[(0.76, 0.14), (0.46, 0.00), (0.20, 0.16), (0.40, 0.42), (0.76, 0.68), (0.70, 0.94), (0.40, 1.00), (0.16, 0.82), (0.32, 0.58), (0.70, 0.32), (0.80, 0.12), (0.64, 0.03)]],
        [[(0.50, 0.45), (0.24, 0.32), (0.26, 0.08), (0.52, 0.00), (0.78, 0.12), (0.74, 0.34), (0.50, 0.45), (0.18, 0.62), (0.16, 0.88), (0.50, 1.00), (0.84, 0.86), (0.80, 0.62), (0.50, 0.45)]],
        [[(0.66, 0.04), (0.30, 0.06), (0.24, 0.28), (0.56, 0.50), (0.74, 0.78), (0.52, 0.99), (0.24, 0.88), (0.34, 0.62), (0.66, 0.36), (0.76, 0.10), (0.56, 0.01)]],
    ],
    9: [
        [[(0.82, 0.18), (0.54, 0.02), (0.20, 0.14), (0.14, 0.40), (0.44, 0.50), (0.76, 0.32), (0.82, 0.14)], [(0.82, 0.14), (0.78, 0.55), (0.68, 1.00)]],
        [[(0.78, 0.16), (0.50, 0.00), (0.18, 0.18), (0.22, 0.44), (0.52, 0.46), (0.80, 0.18)], [(0.80, 0.18), (0.80, 0.62), (0.58, 0.95), (0.22, 0.95)]],
        [[(0.74, 0.10), (0.38, 0.04), (0.14, 0.30), (0.34, 0.50), (0.66, 0.36), (0.80, 0.06)], [(0.80, 0.06), (0.66, 0.54), (0.46, 1.00)]],
    ],
}


def curve(points, per_span=24):
    """A centripetal Catmull-Rom curve through points [n, 2]: smooth, and without loops where points lie close."""
    ends = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    pieces = []
    for p0, p1, p2, p3 in zip(ends, ends[1:], ends[2:], ends[3:]):
        t0 = 0.0
        t1 = t0 + np.sqrt(np.linalg.norm(p1 - p0) + 1e-9)
        t2 = t1 + np.sqrt(np.linalg.norm(p2 - p1) + 1e-9)
        t3 = t2 + np.sqrt(np.linalg.norm(p3 - p2) + 1e-9)
        t = np.linspace(t1, t2, per_span)[:, None]
        a1 = ((t1 - t) * p0 + (t - t0) * p1) / (t1 - t0)
        a2 = ((t2 - t) * p1 + (t - t1) * p2) / (t2 - t1)
        a3 = ((t3 - t) * p2 + (t - t2) * p3) / (t3 - t2)
        b1 = ((t2 - t) * a1 + (t - t0) * a2) / (t2 - t0)
        b2 = ((t3 - t) * a2 + (t - t1) * a3) / (t3 - t1)
        pieces.append(((t2 - t) * b1 + (t - t1) * b2) / (t2 - t1))
    return np.concatenate(pieces)


def moved(way, rng):
    """The way's points, each a little elsewhere; an end shared by two strokes stays shared."""
    places = {point: np.array(point) + rng.normal(0, 0.042, 2) for stroke in way for point in stroke}
    return [np.array([places[point] for point in stroke]) for stroke in way]


def bent(points, rng):
    """A smooth elastic distortion: three long waves of random direction and phase."""
    shift = np.zeros_like(points)
    for _ in range(3):
        wave = rng.normal(0, 3.2, 2)
        shift += np.sin(points @ wave + rng.uniform(0, 2 * np.pi))[:, None] * rng.normal(0, 0.040, 2)
    return points + shift


def slanted(points, rng):
    """Width, slant and rotation of a hand."""
    x, y = (points - 0.5).T
    x = x * rng.uniform(0.58, 0.95)
    x = x - y * rng.normal(0.13, 0.20)
    angle = rng.normal(0, np.radians(8))
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1)


def pen(lengths, rng):
    """The pen's radius in pixels at each point: a thickness, a slow change of pressure, and lighter stroke ends."""
    thickness = np.clip(rng.normal(1.28, 0.30), 0.75, 2.1)
    swing, lift = rng.uniform(0.03, 0.18), rng.uniform(0.0, 0.35)
    radii = []
    for n in lengths:
        t = np.linspace(0, 1, n)
        pressure = 1 + swing * np.sin(2 * np.pi * (rng.uniform(0.4, 1.3) * t + rng.uniform()))
        ends = 1 - lift * np.maximum(np.exp(-t / 0.06) * rng.uniform(), np.exp(-(1 - t) / 0.08))
        radii.append(thickness * pressure * ends)
    return np.concatenate(radii)


def inked(points, radii):
    """Grey 0..1 [28, 28] of discs at the points (in pixels): coverage on a finer grid, averaged."""
    grid = (np.arange(SIZE * FINE) + 0.5) / FINE - 0.5
    fine = np.zeros((SIZE * FINE, SIZE * FINE))
    dx2, dy2 = (grid[None, :] - points[:, :1]) ** 2, (grid[None, :] - points[:, 1:]) ** 2
    for first in range(0, len(points), 32):
        part = slice(first, first + 32)
        distance = np.sqrt(dy2[part, :, None] + dx2[part, None, :])
        edge = (radii[part, None, None] - distance) * FINE + 0.5
        fine = np.maximum(fine, np.clip(edge, 0, 1).max(axis=0))
    return fine.reshape(SIZE, FINE, SIZE, FINE).mean(axis=(1, 3))


def blurred(image, sigma):
    """A Gaussian blur of three taps each way, as a scanner's lens adds."""
    taps = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        image = sum(weight * np.roll(image, offset, axis) for weight, offset in zip(taps, range(-2, 3)))
    return image


def drawn(digit, rng):
    """One digit as bytes [28, 28]."""
    ways = WAYS[digit]
    strokes = [curve(stroke) for stroke in moved(ways[rng.integers(len(ways))], rng)]
    lengths = [len(stroke) for stroke in strokes]
    points = slanted(bent(np.concatenate(strokes), rng), rng)
    radii = pen(lengths, rng)

    # The ink, not the pen's path, fills the box; the longer side decides, so the shape keeps its proportions.
    inner = BOX - 2 * radii.mean()
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - (low + high) / 2) * (inner / (high - low).max()) + (SIZE - 1) / 2

    ink = inked(points, radii)
    rows, columns = np.indices(ink.shape)
    mass = np.array([(columns * ink).sum(), (rows * ink).sum()]) / ink.sum()
    ink = blurred(inked(points + (SIZE - 1) / 2 - mass, radii), rng.uniform(0.35, 0.62))

    # Paper and ink are uneven where there is ink; the empty page is black, as in MNIST.
    grey = np.clip(ink * rng.uniform(1.0, 1.25), 0, 1)
    grey = grey * (1 + rng.normal(0, 0.05, grey.shape))
    grey = np.where(grey > 0.02, grey, 0)
    return np.clip(np.round(grey * 255), 0, 255).astype(np.uint8)


def drawn_set(n, seed):
    """n images and labels, each class equally often, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 10)
    return np.stack([drawn(int(label), rng) for label in labels]), labels.astype(np.uint8)


def write_sheet(path, images, per_row=25):
    """A PNG of all images in a grid, for looking at."""
    n_rows = -(-len(images) // per_row)
    padded = np.concatenate([images, np.zeros((n_rows * per_row - len(images), SIZE, SIZE), np.uint8)])
    sheet = padded.reshape(n_rows, per_row, SIZE, SIZE).transpose(0, 2, 1, 3).reshape(n_rows * SIZE, per_row * SIZE)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b"".join(b"\0" + row.tobytes() for row in sheet)
    header = struct.pack(">IIBBBBB", sheet.shape[1], sheet.shape[0], 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="digits", help="folder for the four files")
    parser.add_argument("--sheet", help="also write the test digits as one PNG")
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args()

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for part, n, stream in (("test", 500, 0), ("train", 200, 1)):
        images, labels = drawn_set(n, [options.seed, stream])
        images_name, labels_name = idx.FILES[part]
        idx.write(out / images_name, images)
        idx.write(out / labels_name, labels)
        print(f"wrote {n} digits to {out / images_name}")
        if part == "test" and options.sheet:
            write_sheet(options.sheet, images)


if __name__ == "__main__":
    main()
