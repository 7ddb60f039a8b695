"""Exports the network of an ensemble member: from torch into a graph that needs no torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from patchcore_ops.backbones.load import weights_hash
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.embedding.exported_network import GRAPH, ExportedNetwork, NetworkSettings
from patchcore_ops.embedding.openvino_engine import compile_graph
from patchcore_ops.embedding.openvino_library import import_openvino
from patchcore_ops.embedding.torch_engine import ImageEmbedder, load_embedder

# Rounding makes some 1e-6 of the largest value; another network is far beyond this.
MOST_RELATIVE_ERROR = 1e-4
_CPU = torch.device("cpu")


def export_network(
    config: CategoryConfig, member: int, settings: NetworkSettings, folder: Path
) -> None:
    """Export the network of an ensemble member, and compare what it gives with torch.

    Raises WeightsError if the backbone cannot be had, or a layer does not exist, never runs or
    gives no map.
    """
    network = load_embedder(config, member, _CPU)
    if settings.normalisation is not None:
        network.normalise_by(*settings.normalisation)
    embedder = network.embedder
    refusal, error = export_embedder(network, settings.imagesize, folder)
    ExportedNetwork(
        settings=settings,
        weights_sha256=weights_hash(embedder.extractor.backbone),
        grid=embedder.grid,
        first_dimensions=embedder.first_dimensions,
        refusal=refusal,
        relative_error=error,
    ).write(folder)


def export_embedder(
    network: ImageEmbedder, imagesize: int | tuple[int, int], folder: Path
) -> tuple[str, float | None]:
    """Write a network as OpenVINO's intermediate representation, and try that."""
    image = noise_images(imagesize)
    error = None
    try:
        _convert(network, image, folder / GRAPH)
        error = _relative_error(network, image, folder)
        refusal = ""
        if not error <= MOST_RELATIVE_ERROR:
            refusal = f"its embeddings differ from torch's by {error:.1g} of the largest"
    # What tracing or converting a network may raise is of no common kind.
    except Exception as reason:
        refusal = one_line(reason)
    if refusal:
        for file in folder.glob(f"{Path(GRAPH).stem}.*"):
            file.unlink()
    return refusal, error


def noise_images(imagesize: int | tuple[int, int], count: int = 1) -> torch.Tensor:
    """Return images on which an exported network is compared with where it comes from."""
    generator = torch.Generator().manual_seed(0)
    shape = count, *height_and_width(imagesize), 3
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _convert(network: ImageEmbedder, image: torch.Tensor, file: Path) -> None:
    """Trace the network on an image and write it as OpenVINO's intermediate representation."""
    openvino = import_openvino()
    with quiet_tracing(), torch.no_grad():
        program = torch.export.export(network, (image,), strict=False)
        graph = openvino.convert_model(program)
    graph.reshape(list(image.shape))
    openvino.save_model(graph, file, compress_to_fp16=False)


def _relative_error(network: ImageEmbedder, image: torch.Tensor, folder: Path) -> float:
    """Compare the graph's embeddings of an image with torch's, both in float32."""
    with torch.inference_mode():
        expected = network(image).numpy()
    (rows,) = compile_graph(folder, "float32", processors=1, streams=1)([image.numpy()]).values()
    return float(np.abs(rows - expected).max() / np.abs(expected).max())


def one_line(error: Exception) -> str:
    """Shorten what a library says to the line that names the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with the place in its own source, and lists the reasons in the end.
    listed = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return next(iter([*listed, *lines, type(error).__name__]))[:200]


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Keep what the libraries remark about each other while they trace out of the user's log."""
    log = logging.getLogger("torch")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
