"""Pictures of a category: train images, and predictions from the same arrays as the scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.images import load_image, load_thumbnail
from patchcore_ops.dataset.masks import load_mask
from patchcore_ops.dataset.recorded_files import Fault, fault_of
from patchcore_ops.metrics.ranking import f1_max, rank
from patchcore_ops.report.charts.svg import score_text
from patchcore_ops.report.pictures import (
    Picture,
    captioned,
    contact_sheet,
    prediction_strip,
    stack_strips,
)
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.stages.layout import ANOMALY_MAPS, SEGMENTATION_IMAGES, mask_files

_SAMPLED_MAPS = 64
_FILE_QUALITY = 90
# Decoding is most of the cost of these pictures: about 20 ms for a PNG of 900 x 900 pixels.
DECODERS = 2
SHEET_IMAGES, _SHEET_COLUMNS, _SHEET_SIDE = 6, 3, 170


def train_contact_sheet(
    manifest: pd.DataFrame, dataset_root: Path, max_pixels: int = ImageSize().max_pixels
) -> Picture:
    """Show evenly spaced train images, as `images_sheet`."""
    paths = manifest.loc[manifest["split"] == "train", "path"].tolist()
    chosen = np.unique(np.linspace(0, len(paths) - 1, SHEET_IMAGES).astype(int))
    return images_sheet([paths[at] for at in chosen], dataset_root, max_pixels)


def images_sheet(paths: Sequence[str], dataset_root: Path, max_pixels: int) -> Picture:
    """Show images, uncropped, in rows of three; a file that cannot be decoded is grey."""

    def tile(path: str) -> Picture:
        try:
            return load_thumbnail(dataset_root / path, _SHEET_SIDE, max_pixels)
        except DatasetError:
            return np.full((_SHEET_SIDE, _SHEET_SIDE, 3), 128, dtype=np.uint8)

    with ThreadPoolExecutor(DECODERS) as executor:
        return contact_sheet(list(executor.map(tile, paths)), _SHEET_COLUMNS, _SHEET_SIDE)


def most_wrong(scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the images that are farthest on the wrong side of the best threshold, worst first.

    `error` is the distance beyond the threshold (0 with one class only), negative on the right
    side.
    """
    threshold = best_threshold(scores)
    sign = np.where(scores["is_anomaly"], -1.0, 1.0)
    error = sign * (scores["score"] - (0.0 if math.isnan(threshold) else threshold)) + 0.0
    return scores.assign(error=error).sort_values("error", ascending=False).head(count)


def best_threshold(scores: pd.DataFrame) -> float:
    """Return the threshold on the image score at the best F1, NaN if undefined."""
    ranking = rank(
        scores["score"].to_numpy(dtype=np.float64), scores["is_anomaly"].to_numpy(dtype=bool)
    )
    return f1_max(ranking)[1]


class PredictionPictures:
    """Draws scored test images, ground truth and heat map on one colour scale.

    Files that have changed since they were scored are not drawn.
    """

    def __init__(
        self,
        images: pd.DataFrame,
        dataset_root: Path,
        predictions: Path,
        size: ImageSize,
        hash_of: HashOf = file_hash,
    ) -> None:
        self._images = images.reset_index(drop=True)
        self._root = dataset_root
        self._hash_of = hash_of
        self._faults: dict[int, Fault | None] = {}
        self._masks = mask_files(self._images, dataset_root)
        self._maps = ArrayFile(predictions / ANOMALY_MAPS)
        self._size = size
        sample = np.unique(np.linspace(0, len(images) - 1, _SAMPLED_MAPS).astype(int))
        sampled = np.concatenate([self._maps.read(row, row + 1) for row in sample])
        # The normal background stays dark blue, and a few hot pixels do not pale all others.
        self.low, self.high = (float(limit) for limit in np.nanquantile(sampled, [0.5, 0.999]))

    def fault(self, row: int) -> Fault | None:
        """Tell whether the file of a test image is gone or has changed since it was scored."""
        if row not in self._faults:
            file = self._root / str(self._images.loc[row, "path"])
            digest = str(self._images.loc[row, "fingerprint"])
            self._faults[row] = fault_of(file, digest, self._hash_of)
        return self._faults[row]

    def image(self, row: int) -> Picture:
        """Load a test image as the network saw it; grey if its file is not the one scored."""
        if self.fault(row) is not None:
            return np.full((*self._size.crop_size, 3), 128, dtype=np.uint8)
        return load_image(self._root / str(self._images.loc[row, "path"]), self._size)

    def mask(self, row: int) -> npt.NDArray[np.bool_] | None:
        """Load the ground truth of a test image: empty if it is good, None if unknown."""
        path = self._masks[row]
        if path is not None:
            if fault_of(path, str(self._images.loc[row, "mask_fingerprint"]), self._hash_of):
                return None
            return np.asarray(load_mask(path, self._size) >= 128)
        if self._images.loc[row, "is_anomaly"]:
            return None
        return np.zeros(self._size.crop_size, dtype=bool)

    def anomaly_map(self, row: int) -> npt.NDArray[np.float32]:
        """Read the anomaly map of a test image, shape [H, W]."""
        return np.asarray(self._maps.read(row, row + 1)[0])

    def strip(self, row: int) -> Picture:
        """Draw one test image: image, ground truth and heat map side by side."""
        return prediction_strip(
            self.image(row), self.mask(row), self.anomaly_map(row), self.low, self.high
        )

    def stacked(self, scores: pd.DataFrame) -> Picture:
        """Draw the test images of some rows of the scores, each with path and score as caption."""
        with ThreadPoolExecutor(DECODERS) as executor:
            strips = list(executor.map(self.strip, scores.index))
        return stack_strips(
            [
                captioned(strip, f"{short_name(path)}   {score_text(score)}")
                for strip, path, score in zip(strips, scores["path"], scores["score"], strict=True)
            ]
        )

    def save_all(self, folder: Path) -> None:
        """Save strips as `segmentation_images/<label>/<stem>.png`; equal stems keep extensions."""
        images = [Path(path) for path in self._images["path"]]
        alike = Counter(image.with_suffix("") for image in images)
        for row, image in enumerate(images):
            target = folder / SEGMENTATION_IMAGES / image.parent.name
            target.mkdir(parents=True, exist_ok=True)
            name = image.stem if alike[image.with_suffix("")] == 1 else image.name
            Image.fromarray(self.strip(row)).save(target / f"{name}.png")


def save_picture(picture: Picture, file: Path) -> None:
    """Save a picture, its format by the suffix; the folder is made if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file, quality=_FILE_QUALITY)


def short_name(path: str) -> str:
    """Return the last folder and the file name of a path: label and image."""
    return "/".join(Path(path).parts[-2:])
