"""A member's network in ONNX: built again in torch, exported, and compared with the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from patchcore_ops.backbones.load import weights_hash
from patchcore_ops.config.recorded_settings import read_settings
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.exported_network import ExportedNetwork
from patchcore_ops.embedding.network_export import MOST_RELATIVE_ERROR, noise_images, one_line
from patchcore_ops.embedding.onnx_export import INPUT, OPSET, OUTPUT, run_onnx, write_onnx
from patchcore_ops.embedding.openvino_engine import compile_graph
from patchcore_ops.embedding.torch_engine import ImageEmbedder, load_embedder
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.export_note import NetworkNote, TensorNote
from patchcore_ops.model.folder import WEIGHTS
from patchcore_ops.model.member_engine import require_library, settings_of
from patchcore_ops.runtime.errors import WeightsError

GRAPH = "network.onnx"
_CPU = torch.device("cpu")
_SHORT = 12


def export_onnx(
    description: ModelDescription,
    number: int,
    model: Path,
    weights: Sequence[Path],
    folder: Path,
) -> NetworkNote:
    """Write the ONNX graph of a member into a folder; see `export_model`."""
    network = _built_again(description, number, model, weights)
    size = description.image_size.crop_size
    try:
        graph = write_onnx(network, size, folder / GRAPH)
    # What the exporter may raise is of no common kind.
    except Exception as reason:
        raise ModelError(
            f"{model}: the network of member {number} cannot be exported to ONNX "
            f"({one_line(reason)}); export the model to openvino"
        ) from None
    images = noise_images(size, 2 if graph.any_batch else 1).numpy()
    expected = _own_embeddings(description, number, model, network, images)
    error = _relative_error(run_onnx(folder / GRAPH, images), expected)
    if not error <= MOST_RELATIVE_ERROR:
        raise ModelError(
            f"{model}: the ONNX graph of member {number} gives other embeddings than the model's "
            f"own network, by {error:.1g} of the largest; export the model to openvino"
        )
    height, width = description.members[number].grid
    rows, dimension = height * width, description.embedding.target_embed_dimension
    first: tuple[int | str, int | str] = (1, rows)
    if graph.any_batch:
        first = "batch", f"{rows}*batch"
    return NetworkNote(
        file=GRAPH,
        input=TensorNote(name=INPUT, dtype="uint8", shape=(first[0], *size, 3)),
        output=TensorNote(name=OUTPUT, dtype="float32", shape=(first[1], dimension)),
        operators=graph.operators,
        opset=OPSET,
        relative_error=error,
    )


def _built_again(
    description: ModelDescription, number: int, model: Path, weights: Sequence[Path]
) -> ImageEmbedder:
    """Build a member's network with the weights that it was made with, and no others."""
    member = description.members[number]
    tried = []
    for file in _sources(description, number, model, weights):
        placed = {} if file is None else {number: file}
        name = "the published weights" if file is None else str(file)
        try:
            network = load_embedder(settings_of(description, placed), number, _CPU)
        except WeightsError as error:
            said = str(error)
            tried.append(said if said.startswith(name) else f"{name}: {said}")
            continue
        if weights_hash(network.embedder.extractor.backbone) == member.weights_sha256:
            return _normalised(network, number, model) if member.network else network
        tried.append(f"{name}: not those of the model")
    raise ModelError(
        f"{model}: member {number} ({member.backbone}) was made with weights of the hash "
        f"{member.weights_sha256[:_SHORT]}…, which are not found"
        + (f" ({'; '.join(tried)})" if tried else "")
        + "; name the file that the configuration named then, by --weights"
    )


def _normalised(network: ImageEmbedder, number: int, model: Path) -> ImageEmbedder:
    """Let a network normalise as the exported one does; that of an imported model has its own."""
    constants = ExportedNetwork.read(model / str(number)).settings.normalisation
    if constants is not None:
        network.normalise_by(*constants)
    return network


def _sources(
    description: ModelDescription, number: int, model: Path, weights: Sequence[Path]
) -> Iterator[Path | None]:
    """Yield where the weights of a member may be; None is where they are published."""
    if f"{number}/{WEIGHTS}" in description.files:
        yield model / str(number) / WEIGHTS
        return
    yield from weights
    recorded = read_settings(model) or {}
    members = recorded.get("embedding", {}).get("members", [])
    if number >= len(members) or members[number]["weights"] is None:
        yield None


def _own_embeddings(
    description: ModelDescription,
    number: int,
    model: Path,
    network: ImageEmbedder,
    images: Pixels,
) -> Embeddings:
    """Embed by the model's own network, in float32, one image after the other."""
    if not description.members[number].network:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images)).numpy())
    place = model / str(number)
    require_library("openvino", place)
    compiled = compile_graph(place, "float32", processors=1, streams=1)
    return np.concatenate([next(iter(compiled([image[None]]).values())) for image in images])


def _relative_error(found: Embeddings, expected: Embeddings) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())
