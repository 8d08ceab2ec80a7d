"""IDX files as MNIST uses them: gzipped, big-endian, unsigned bytes."""

import gzip
import struct
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 0x08

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def read(path):
    """The array in one gzipped IDX file, with the shape that its header gives."""
    raw = gzip.decompress(Path(path).read_bytes())
    zero, kind, rank = struct.unpack(">HBB", raw[:4])
    if zero != 0 or kind != UNSIGNED_BYTE:
        raise SystemExit(f"error: `{path}` is no IDX file of unsigned bytes (starts with {raw[:4].hex()})")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if values.size != np.prod(shape):
        raise SystemExit(f"error: `{path}` holds {values.size} bytes, its header says {shape}")
    return values.reshape(shape)


def write(path, values):
    """Writes unsigned bytes; no time and no name in the gzip header, so equal arrays give equal bytes."""
    header = struct.pack(">HBB", 0, UNSIGNED_BYTE, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    Path(path).write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes(), 9, mtime=0))


def read_part(folder, part):
    """Images [n, 28, 28] as bytes and labels [n] of one part (`train` or `test`) of a folder laid out like MNIST."""
    images, labels = (read(Path(folder) / name) for name in FILES[part])
    if len(images) != len(labels):
        raise SystemExit(f"error: `{folder}` has {len(images)} {part} images and {len(labels)} labels")
    return images, labels.astype(np.int32)
