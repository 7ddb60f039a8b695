"""What a model says of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.model.regions import Region


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of an image.

    Attributes
    ----------
    name : str
        The image's path, or its position among the images.
    score : float
        The anomaly score, as `scores.parquet` has it.
    anomaly_map : ndarray of float32, shape [height, width]
        Of the crop that the network saw; NaN in its padding.
    member_scores : tuple of float
        Each member's own score, not scaled.
    crop : Crop
        Where the map lies in the image.
    pixels : ndarray of uint8, shape [height, width, 3]
        The crop that the network saw, RGB.
    p_value : float, optional
        How likely a normal image has such a score or a greater one. None, as what follows, if the
        model is not calibrated.
    is_anomaly : bool, optional
        Whether the score exceeds the model's image threshold.
    probability : float, optional
        Of a defect. None as well if the model's category has no labelled test images.
    regions : tuple of Region
        Connected parts of the map above `pixel_threshold`, the greatest peak first.
    pixel_threshold : float, optional
        The model's.
    """

    name: str
    score: float
    anomaly_map: npt.NDArray[np.float32]
    member_scores: tuple[float, ...]
    crop: Crop
    pixels: Pixels
    p_value: float | None = None
    is_anomaly: bool | None = None
    probability: float | None = None
    regions: tuple[Region, ...] = ()
    pixel_threshold: float | None = None

    def map_in_image(self) -> npt.NDArray[np.float32]:
        """Return the map at the size of the image that was given.

        Returns
        -------
        ndarray of float32, shape [height, width]
            NaN where the network did not see the image.
        """
        return self.crop.map_in_image(self.anomaly_map)


class Unreadable(NamedTuple):
    """An image that cannot be read or used, and why, in one sentence."""

    name: str
    reason: str
