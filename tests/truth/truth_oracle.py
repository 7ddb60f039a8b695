"""What figures ought to be, recomputed literally from the images and settings that they claim.

Each image is embedded alone and looked up by its content, so nothing here depends on an order of
files, on what lies on the disk now, or on what was computed before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import timm
import torch

from patchcore_ops.backbones import load_backbone, normalisation_of
from patchcore_ops.config.sections import CoresetSection, ImageSize, MetricsSection
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.dataset import load_image, load_mask
from patchcore_ops.embedding import PatchEmbedder
from patchcore_ops.metrics import category_metrics
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.scoring import anomaly_maps

Floats = npt.NDArray[np.float32]
Settings = Mapping[str, Any]
# The files by SHA-256.
Contents = Mapping[str, bytes]


def _text(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)


class Oracle:
    """Recomputes figures, with random weights; what it has computed once it remembers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.weights = folder / "weights.pth"
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", pretrained=False)
        torch.save(network.state_dict(), self.weights)
        self._remembered: dict[str, Any] = {}
        self._embedder = cache(self._make_embedder)

    def scores(
        self, train: Sequence[str], test: Sequence[str], settings: Settings, contents: Contents
    ) -> tuple[list[float], Floats]:
        """Return the score and the anomaly map of each test image, both given by their SHA-256."""
        bank = self._bank(train, settings, contents)
        scores, maps = [], []
        for digest in test:
            patches, grid = self._embed(digest, settings, contents)
            squared = ((patches[:, None, :].astype(np.float64) - bank[None]) ** 2).sum(axis=2)
            nearest = np.sort(squared, axis=1)[:, : settings["scoring"]["anomaly_scorer_num_nn"]]
            of_patches = nearest.mean(axis=1).astype(np.float32)
            scores.append(float(of_patches.max()))
            maps.append(of_patches.reshape(1, *grid))
        side = settings["dataset"]["imagesize"]
        smoothed = anomaly_maps(np.concatenate(maps), side, settings["scoring"]["smoothing_sigma"])
        return scores, smoothed

    def metrics(
        self, rows: pd.DataFrame, maps: Floats, settings: Settings, contents: Contents
    ) -> dict[str, Any]:
        """Return the metrics of scored images, whose masks are looked up by content."""
        size = ImageSize(**settings["dataset"])
        masks = np.zeros(maps.shape, dtype=np.uint8)
        has_mask = rows["mask_fingerprint"].notna().to_numpy()
        for at in np.flatnonzero(has_mask):
            masks[at] = load_mask(self._file(rows["mask_fingerprint"].iloc[at], contents), size)
        has_truth = has_mask | ~rows["is_anomaly"].to_numpy(dtype=bool)
        return category_metrics(rows, maps, masks, has_truth, MetricsSection(**settings["metrics"]))

    def picture(self, digest: str, settings: Settings, contents: Contents) -> npt.NDArray[np.uint8]:
        """Return an image as the network saw it."""
        key = _text("picture", digest, settings["dataset"])
        if key not in self._remembered:
            size = ImageSize(**settings["dataset"])
            self._remembered[key] = load_image(self._file(digest, contents), size)
        return np.asarray(self._remembered[key])

    def _bank(self, train: Sequence[str], settings: Settings, contents: Contents) -> Floats:
        made_of = [settings[name] for name in ("dataset", "embedding", "coreset")]
        key = _text("bank", train, made_of)
        if key not in self._remembered:
            rows = np.concatenate([self._embed(one, settings, contents)[0] for one in train])
            np.save(self._folder / "rows.npy", rows)
            coreset = CoresetSection(**settings["coreset"])
            picks = select_rows(ArrayFile(self._folder / "rows.npy"), coreset)
            self._remembered[key] = rows[picks]
        return np.asarray(self._remembered[key])

    def _embed(
        self, digest: str, settings: Settings, contents: Contents
    ) -> tuple[Floats, tuple[int, int]]:
        how = json.dumps([settings["dataset"], settings["embedding"]], sort_keys=True)
        if how + digest not in self._remembered:
            embedder, mean, std = self._embedder(how)
            pixels = self.picture(digest, settings, contents)
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
            embeddings, grid = embedder.embed((image - mean) / std)
            self._remembered[how + digest] = embeddings.numpy().copy(), grid
        found: tuple[Floats, tuple[int, int]] = self._remembered[how + digest]
        return found

    def _make_embedder(self, how: str) -> tuple[PatchEmbedder, torch.Tensor, torch.Tensor]:
        dataset, embedding = json.loads(how)
        [member] = embedding["members"]
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        assert member["weights"] == f"sha256 {digest}", "other weights than there are"
        backbone = load_backbone(member["backbone"], self.weights)
        sizes = (f"{name}_embed_dimension" for name in ("pretrain", "target"))
        embedder = PatchEmbedder(
            backbone,
            member["layers"],
            dataset["imagesize"],
            *(embedding[size] for size in sizes),
            embedding["patchsize"],
        )
        return embedder, *normalisation_of(backbone)

    def _file(self, digest: str, contents: Contents) -> Path:
        file = self._folder / f"{digest}.png"
        if not file.is_file():
            file.write_bytes(contents[digest])
        return file
