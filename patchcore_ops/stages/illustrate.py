"""Pictures of a category's predictions, from the same arrays as the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from patchcore_ops.arrays import ArrayFile
from patchcore_ops.images import load_image, load_mask
from patchcore_ops.pictures import Picture, prediction_strip, stack_strips
from patchcore_ops.sections import ImageSize
from patchcore_ops.stages.layout import ANOMALY_MAPS, SEGMENTATION_IMAGES, mask_files

_SAMPLED_MAPS = 64


class PredictionPictures:
    """Draws test images beside their ground truth and heat map, on one colour scale.

    Parameters
    ----------
    images : DataFrame
        The manifest's test rows.
    dataset_root : Path
        Where the manifest's paths begin.
    predictions : Path
        Folder of the stage `predict`.
    size : ImageSize
        How the images were resized and cropped.
    """

    def __init__(
        self, images: pd.DataFrame, dataset_root: Path, predictions: Path, size: ImageSize
    ) -> None:
        self._images = images.reset_index(drop=True)
        self._root = dataset_root
        self._masks = mask_files(self._images, dataset_root)
        self._maps = ArrayFile(predictions / ANOMALY_MAPS)
        self._size = size
        sample = np.unique(np.linspace(0, len(images) - 1, _SAMPLED_MAPS).astype(int))
        sampled = np.concatenate([self._maps.read(row, row + 1) for row in sample])
        # The normal background stays dark blue, and a few hot pixels do not pale all others.
        self.low, self.high = (float(limit) for limit in np.quantile(sampled, [0.5, 0.999]))

    def image(self, row: int) -> Picture:
        """Load a test image as the network saw it, shape [H, W, 3]."""
        return load_image(self._root / str(self._images.loc[row, "path"]), self._size)

    def mask(self, row: int) -> npt.NDArray[np.bool_] | None:
        """Load the ground truth of a test image: empty if it is good, None if it is unknown."""
        path = self._masks[row]
        if path is not None:
            return np.asarray(load_mask(path, self._size) >= 128)
        if self._images.loc[row, "is_anomaly"]:
            return None
        return np.zeros((self._size.imagesize, self._size.imagesize), dtype=bool)

    def anomaly_map(self, row: int) -> npt.NDArray[np.float32]:
        """Read the anomaly map of a test image, shape [H, W]."""
        return np.asarray(self._maps.read(row, row + 1)[0])

    def strip(self, row: int) -> Picture:
        """Draw one test image: image, ground truth and heat map side by side."""
        return prediction_strip(
            self.image(row), self.mask(row), self.anomaly_map(row), self.low, self.high
        )

    def stacked(self, rows: Sequence[int], height: int = 160) -> Picture:
        """Draw several test images below each other, each `height` pixels high."""
        return stack_strips([self.strip(row) for row in rows], height)

    def save_all(self, folder: Path) -> None:
        """Save the strip of every test image below `segmentation_images/<label>/`."""
        for row, path in enumerate(self._images["path"]):
            target = folder / SEGMENTATION_IMAGES / Path(path).parent.name
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self.strip(row)).save(target / f"{Path(path).stem}.png")
