"""An exported network run by OpenVINO: no torch, one image a stream."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.exported_network import GRAPH, ExportedNetwork
from patchcore_ops.embedding.openvino_library import import_openvino

# Each stream holds the feature maps of an image.
_MOST_STREAMS = 16
# The first calls ever, made by two threads at once, may wait for each other for ever: the binding
# fills static variables, for which one of them holds the interpreter's lock and the other C++'s.
_FIRST_CALL = threading.Lock()
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """Embeds by OpenVINO on the CPU; see `Engine`.

    An image is computed by one stream from beginning to end, so its embeddings do not depend on the
    images beside it. As many images as there are streams are in memory at once, and each stream
    has the same share of the threads however many there are: fewer streams need less memory and
    more time, and give the same numbers.
    """

    images_per_call = 1

    def __init__(self, folder: Path, processors: int, images_at_once: int = _MOST_STREAMS) -> None:
        described = ExportedNetwork.read(folder)
        self.network = described.settings.identity
        self.weights_sha256 = described.weights_sha256
        self.grid = described.grid
        self.first_dimensions = described.first_dimensions
        self.name = f"openvino {import_openvino().__version__}"
        streams = min(processors, _MOST_STREAMS)
        self.calls_at_once = min(streams, images_at_once)
        threads = processors * self.calls_at_once // streams
        compiled = compile_graph(folder, described.settings.precision, threads, self.calls_at_once)
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.calls_at_once):
            self._requests.put(compiled.create_infer_request())
        size = height_and_width(described.settings.imagesize)
        with _FIRST_CALL:
            self.embed(np.zeros((1, *size, 3), dtype=np.uint8))

    def embed(self, images: Pixels) -> Embeddings:
        """Embed images one after the other; see `Engine.embed`."""
        request = self._requests.get()
        try:
            rows = [self._embed_one(request, image) for image in images]
            return rows[0] if len(rows) == 1 else np.concatenate(rows)
        finally:
            self._requests.put(request)

    def _embed_one(self, request: Any, image: Pixels) -> Embeddings:
        (rows,) = request.infer([image[None]], share_inputs=True).values()
        return np.asarray(rows, dtype=np.float32)


def gives_equal_numbers(processors: int, others: int) -> bool:
    """Tell whether it makes no difference to the numbers on how many processors one computes."""
    return processors == others or max(processors, others) <= _MOST_STREAMS


def compile_graph(folder: Path, precision: str, processors: int, streams: int) -> Any:
    """Compile an exported graph for the CPU."""
    core = import_openvino().Core()
    # A mapped file would be needed as long as the network is.
    core.set_property({"ENABLE_MMAP": False})
    return core.compile_model(
        core.read_model(folder / GRAPH),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": processors,
            "NUM_STREAMS": streams,
            # Others use this machine too: the decoders, to begin with.
            "ENABLE_CPU_PINNING": False,
        },
    )
