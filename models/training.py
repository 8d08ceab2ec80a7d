"""What the scripts that train models on MNIST share: their options, held-out images, the frame of the file."""

import argparse
import math

import onnx
from onnx import TensorProto, helper

import idx


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
