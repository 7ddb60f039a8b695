"""The network of an ensemble member as an ONNX graph, for programs that know nothing of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
import onnx_ir.passes.common
import torch
from onnx.reference import ReferenceEvaluator

from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.network_export import noise_images, quiet_tracing
from patchcore_ops.embedding.torch_engine import ImageEmbedder

INPUT, OUTPUT = "images", "embeddings"
# The oldest that torch's exporter writes without converting, so that most programs read it.
OPSET: Final = 18


class OnnxGraph(NamedTuple):
    """What was written: whether it takes any number of images at once, and its operators."""

    any_batch: bool
    operators: tuple[str, ...]


def write_onnx(network: ImageEmbedder, imagesize: int | tuple[int, int], file: Path) -> OnnxGraph:
    """Write a network as an ONNX graph.

    It takes any number of images at once, or one where the network cannot be traced for more.
    Weights beyond 2 GB, which no ONNX file can hold, lie beside it in `<file>.data`.
    """
    program, any_batch = _traced(network, imagesize)
    with quiet_tracing(), torch.no_grad():
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: "batch"}} if any_batch else None,
            verbose=False,
        )
    if written is None:
        raise RuntimeError("torch gives no graph")
    # Each node tells where in the sources of this machine it comes from.
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(written.model)
    written.save(file)
    graph = onnx.load(file, load_external_data=False).graph
    return OnnxGraph(any_batch, tuple(sorted({node.op_type for node in graph.node})))


def _traced(
    network: ImageEmbedder, imagesize: int | tuple[int, int]
) -> tuple[torch.export.ExportedProgram, bool]:
    """Trace a network for any number of images; if that cannot be, for one."""
    # Of one image, tracing would not tell the number of images from the other ones in shapes.
    several = noise_images(imagesize, 2)
    batch = torch.export.Dim("batch", min=1)
    with quiet_tracing(), torch.no_grad():
        try:
            return torch.export.export(
                network, (several,), dynamic_shapes=({0: batch},), strict=False
            ), True
        # What tracing a network may raise is of no common kind.
        except Exception:
            return torch.export.export(network, (several[:1],), strict=False), False


def run_onnx(file: Path, images: Pixels) -> Embeddings:
    """Run a graph as ONNX defines it: slowly, by the package that holds the definition."""
    (rows,) = ReferenceEvaluator(str(file)).run(None, {INPUT: images})
    return np.asarray(rows)
