"""anomalib's PatchCore, stage by stage, as tasks for a fresh process of its own environment.

Only that environment's packages are imported, and anomalib's own reader and pre-processing are
used. Its torch model is driven as its trainer does: all train batches, then the coreset, then the
test batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

from benchmarks.measuring import Stopwatch

_RESIZE, _IMAGESIZE = 256, 224


def run_anomalib(
    train: list[str],
    test: list[str],
    backbone: str,
    layers: list[str],
    weights: str,
    percentage: float,
    batch_size: int,
    workers: int,
) -> dict[str, Any]:
    """Embed, select and predict.

    `weights` is a .safetensors file with timm's key names. Returns the `seconds` of each stage, the
    `picks`, the `dimension` of its embeddings, and how many of its tensors the weights have filled.
    """
    import torch
    from anomalib.data.utils import read_image
    from anomalib.models import Patchcore
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from safetensors.torch import load_file

    transform = Patchcore.configure_pre_processor(
        (_RESIZE, _RESIZE), center_crop_size=(_IMAGESIZE, _IMAGESIZE)
    ).transform

    def read(file: str) -> Any:
        return transform(read_image(file, as_tensor=True))

    watch = Stopwatch()
    with watch.stage("embed_train"):
        model = PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False, num_neighbors=1)
        extractor = model.feature_extractor.feature_extractor
        wanted = extractor.state_dict()
        state = {key: value for key, value in load_file(weights).items() if key in wanted}
        extractor.load_state_dict(state, strict=False)
        model.train()
        for images in _batches(train, read, batch_size, workers):
            model(images)
    with watch.stage("coreset"):
        model.subsample_embedding(percentage)
    model.eval()
    with watch.stage("predict"), torch.no_grad():
        for images in _batches(test, read, batch_size, workers):
            model(images)
    return {
        "seconds": watch.seconds,
        "picks": len(model.memory_bank),
        "dimension": model.memory_bank.shape[1],
        "filled": f"{len(state)} of {len(wanted)}",
        "versions": {name: metadata.version(name) for name in ("anomalib", "torch", "timm")},
    }


def measure_aupro(maps_file: str, fpr_limit: float) -> dict[str, Any]:
    """Compute anomalib's AUPRO of the `maps` and `masks`, shape [n, H, W], of an .npz file."""
    import numpy as np
    import torch
    from anomalib.metrics.aupro import _AUPRO

    with np.load(maps_file, allow_pickle=False) as content:
        maps, masks = torch.from_numpy(content["maps"]), torch.from_numpy(content["masks"]).int()
    watch = Stopwatch()
    with watch.stage("aupro"):
        metric = _AUPRO(fpr_limit=fpr_limit)
        metric.update(maps, masks)
        value = float(metric.compute())
    return {"seconds": watch.seconds, "aupro": value}


def _batches(
    files: Sequence[str], read: Callable[[str], Any], batch_size: int, workers: int
) -> Iterator[Any]:
    """Read images in batches, with torch's loader as anomalib's data modules do."""
    import torch

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, position: int) -> Any:
            return read(files[position])

    yield from torch.utils.data.DataLoader(Images(), batch_size=batch_size, num_workers=workers)
