"""What figures ought to be, recomputed literally from the images and settings that they claim.

Each image is embedded alone and looked up by its content, so nothing here depends on an order of
files, on what lies on the disk now, or on what was computed before.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
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


class Oracle:
    """Recomputes figures; what it has embedded or selected once it remembers.

    Parameters
    ----------
    weights : Path
        Of the only backbone.
    """

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._files = Path(tempfile.mkdtemp(prefix="oracle-"))
        self._embedded: dict[tuple[str, str], tuple[Floats, tuple[int, int]]] = {}
        self._pictures: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}
        self._banks: dict[tuple[Any, ...], Floats] = {}
        self._embedder = cache(self._make_embedder)

    def scores(
        self,
        train: Sequence[str],
        test: Sequence[str],
        settings: Mapping[str, Any],
        contents: Mapping[str, bytes],
    ) -> tuple[list[float], Floats]:
        """Return the score and the anomaly map of each test image.

        Parameters
        ----------
        train, test : sequence of str
            SHA-256 of the images.
        settings : mapping
            As an artefact records them.
        contents : mapping of str to bytes
            The files by SHA-256.
        """
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
        self,
        rows: pd.DataFrame,
        maps: Floats,
        settings: Mapping[str, Any],
        contents: Mapping[str, bytes],
    ) -> dict[str, Any]:
        """Return the metrics of scored images, whose masks are looked up by content."""
        size = ImageSize(**settings["dataset"])
        masks = np.zeros(maps.shape, dtype=np.uint8)
        has_mask = rows["mask_fingerprint"].notna().to_numpy()
        for at in np.flatnonzero(has_mask):
            masks[at] = load_mask(self._file(rows["mask_fingerprint"].iloc[at], contents), size)
        return category_metrics(
            rows,
            maps,
            masks,
            has_mask | ~rows["is_anomaly"].to_numpy(dtype=bool),
            MetricsSection(**settings["metrics"]),
        )

    def picture(
        self, digest: str, settings: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> npt.NDArray[np.uint8]:
        """Return an image as the network saw it."""
        key = digest, str(settings["dataset"])
        if key not in self._pictures:
            file = self._file(digest, contents)
            self._pictures[key] = load_image(file, ImageSize(**settings["dataset"]))
        return self._pictures[key]

    def _bank(
        self, train: Sequence[str], settings: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> Floats:
        chosen = (json.dumps(settings[name], sort_keys=True) for name in ("embedding", "coreset"))
        key = (*train, str(settings["dataset"]), *chosen)
        if key not in self._banks:
            rows = np.concatenate([self._embed(one, settings, contents)[0] for one in train])
            file = self._files / "rows.npy"
            np.save(file, rows)
            picks = select_rows(ArrayFile(file), CoresetSection(**settings["coreset"]))
            self._banks[key] = rows[picks]
        return self._banks[key]

    def _embed(
        self, digest: str, settings: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> tuple[Floats, tuple[int, int]]:
        how = json.dumps([settings["dataset"], settings["embedding"]], sort_keys=True)
        if (digest, how) not in self._embedded:
            embedder, mean, std = self._embedder(how)
            pixels = self.picture(digest, settings, contents)
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
            embeddings, grid = embedder.embed((image - mean) / std)
            self._embedded[digest, how] = embeddings.numpy().copy(), grid
        return self._embedded[digest, how]

    def _make_embedder(self, how: str) -> tuple[PatchEmbedder, torch.Tensor, torch.Tensor]:
        dataset, embedding = json.loads(how)
        [member] = embedding["members"]
        digest = hashlib.sha256(self._weights.read_bytes()).hexdigest()
        assert member["weights"] == f"sha256 {digest}", "other weights than there are"
        backbone = load_backbone(member["backbone"], self._weights)
        mean, std = normalisation_of(backbone)
        embedder = PatchEmbedder(
            backbone,
            member["layers"],
            dataset["imagesize"],
            embedding["pretrain_embed_dimension"],
            embedding["target_embed_dimension"],
            embedding["patchsize"],
        )
        return embedder, mean, std

    def _file(self, digest: str, contents: Mapping[str, bytes]) -> Path:
        file = self._files / f"{digest}.png"
        if not file.is_file():
            file.write_bytes(contents[digest])
        return file
