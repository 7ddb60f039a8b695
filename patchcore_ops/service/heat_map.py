"""The pictures that a client may ask for, as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from patchcore_ops.inspection.heat_map import heat_colours, heat_limits, heat_map
from patchcore_ops.model import Prediction

# The longer side of a picture; a map has no more detail.
_LONGEST = 640


def picture_of(prediction: Prediction) -> bytes:
    """Draw the heat map over the crop that the network saw."""
    return _png(Image.fromarray(heat_map(prediction)))


def layer_of(prediction: Prediction) -> bytes:
    """Draw the heat map alone, to be laid over the image: transparent what was not inspected."""
    crop = prediction.crop
    across, down = slice(*crop.inside[::2]), slice(*crop.inside[1::2])
    seen = prediction.anomaly_map[down, across]
    picture = Image.fromarray(heat_colours(seen, *heat_limits(prediction)))
    scale = min(_LONGEST / max(crop.width, crop.height), 1.0)
    box = np.array(crop.box_in_image(*crop.inside)) * scale
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    inside = picture.resize((max(right - left, 1), max(bottom - top, 1)), Image.Resampling.BILINEAR)
    size = max(round(crop.width * scale), 1), max(round(crop.height * scale), 1)
    layer = Image.new("RGBA", size)
    layer.paste(inside, (left, top))
    return _png(layer)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
