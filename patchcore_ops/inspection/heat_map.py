"""Heat maps: an anomaly map in colours, over the image that it belongs to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.model.prediction import Prediction

# Dark blue over green to red, as in most publications on the subject.
_STOPS = np.array(
    [[0, 0, 96], [0, 64, 255], [0, 220, 220], [255, 230, 0], [255, 96, 0], [160, 0, 0]], dtype=float
)
_COLOURS = np.stack(
    [
        np.interp(np.linspace(0, len(_STOPS) - 1, 1024), np.arange(len(_STOPS)), channel)
        for channel in _STOPS.T
    ],
    axis=-1,
).astype(np.uint8)


def heat_map(prediction: Prediction) -> Pixels:
    """Draw a prediction's anomaly map over the crop that the network saw.

    The pixel threshold is in the middle of the scale, between green and yellow, so that colours
    mean the same in all images of a model. A model without one has colours from the median of the
    image's own map to its greatest value.
    """
    return overlay_heat(prediction.pixels, prediction.anomaly_map, *heat_limits(prediction))


def heat_limits(prediction: Prediction) -> tuple[float, float]:
    """Return the values at which the colours of a prediction's heat map begin and end."""
    threshold = prediction.pixel_threshold
    if threshold is not None:
        return 0.5 * threshold, 1.5 * threshold
    values = prediction.anomaly_map
    return float(np.nanmedian(values)), float(np.nanmax(values))


def heat_colours(values: npt.NDArray[np.floating], low: float, high: float) -> Pixels:
    """Colour values from `low` to `high`, clipped; a last axis of 3 is added."""
    share = _share(values, low, high)
    return np.asarray(_COLOURS[np.rint(share * (len(_COLOURS) - 1)).astype(np.intp)])


def overlay_heat(
    image: Pixels, anomaly_map: npt.NDArray[np.floating], low: float, high: float
) -> Pixels:
    """Blend an anomaly map, shape [H, W], over an image, with more opacity where it is higher."""
    share = _share(anomaly_map, low, high).astype(np.float32)
    opacity = (0.25 + 0.45 * share)[..., None]
    blended = image + opacity * (heat_colours(anomaly_map, low, high).astype(np.float32) - image)
    return np.asarray(np.rint(blended).astype(np.uint8))


def _share(values: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.floating]:
    """Return how far values are on the way from `low` to `high`; padding, NaN, is at its start."""
    return np.asarray(np.nan_to_num(np.clip((values - low) / max(high - low, 1e-12), 0, 1)))
