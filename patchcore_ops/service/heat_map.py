"""An anomaly map as a picture that lies exactly over the image."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.calibration import Calibration
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.report.pictures import heat_colours

# The longer side of a picture; a map has no more detail.
_LONGEST = 640
# Where the colours begin and end, in pixel thresholds; the threshold itself is yellow.
_LOW, _HIGH = 0.4, 1.4


def heat_map_png(
    anomaly_map: npt.NDArray[np.float32], crop: Crop, calibration: Calibration | None
) -> bytes:
    """Draw an anomaly map as a PNG of the image's shape, transparent where it was not inspected.

    Colours are relative to the pixel threshold, which is yellow; without one, to the map itself.
    """
    threshold = None if calibration is None else calibration.pixel_threshold
    if threshold is not None and threshold > 0:
        low, high = _LOW * threshold, _HIGH * threshold
    else:
        low, high = float(anomaly_map.min()), float(anomaly_map.max())
    colours = heat_colours(anomaly_map, low, high)
    opaque = np.full((*anomaly_map.shape, 1), 255, dtype=np.uint8)
    picture = Image.fromarray(np.concatenate([colours, opaque], axis=-1))
    scale = min(_LONGEST / max(crop.width, crop.height), 1.0)
    size = max(round(crop.width * scale), 1), max(round(crop.height * scale), 1)
    left, top, right, bottom = (
        round(edge * scale) for edge in crop.box_in_image(0, 0, crop.side, crop.side)
    )
    inside = picture.resize((max(right - left, 1), max(bottom - top, 1)), Image.Resampling.BILINEAR)
    whole = Image.new("RGBA", size)
    whole.paste(inside, (left, top))
    stream = io.BytesIO()
    whole.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
