"""Where in an image the anomalies are: connected parts of the map above a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from patchcore_ops.dataset.crop import Crop

# Pixels that touch at a corner belong together, as with the regions of AUPRO.
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class Region(NamedTuple):
    """A connected part of an anomaly map above the pixel threshold, in the image's own pixels.

    Attributes
    ----------
    box : tuple of int
        (left, top, right, bottom); right and bottom are the first pixels outside.
    area : float
        In pixels of the image.
    peak : float
        The greatest value of the map in it.
    peak_at : tuple of int
        (x, y) of that value.
    """

    box: tuple[int, int, int, int]
    area: float
    peak: float
    peak_at: tuple[int, int]


def regions_above(
    anomaly_map: npt.NDArray[np.float32], threshold: float, crop: Crop
) -> tuple[Region, ...]:
    """Find the connected parts of a map that exceed a threshold, the greatest peak first."""
    labels, _ = ndimage.label(anomaly_map > threshold, _NEIGHBOURS)
    regions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = box
        inside = labels[box] == number
        values = np.where(inside, anomaly_map[box], -np.inf)
        row, column = np.unravel_index(values.argmax(), values.shape)
        regions.append(
            Region(
                crop.box_in_image(columns.start, rows.start, columns.stop, rows.stop),
                round(float(inside.sum()) * crop.pixel_area, 1),
                float(values[row, column]),
                crop.point_in_image(columns.start + column + 0.5, rows.start + row + 0.5),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.peak))
