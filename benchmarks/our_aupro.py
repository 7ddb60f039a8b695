"""AUPRO of smooth random anomaly maps, to compare with another implementation's."""

from __future__ import annotations

from typing import Any

from benchmarks.measuring import Stopwatch


def make_maps(maps_file: str, images: int) -> dict[str, Any]:
    """Make smooth anomaly maps with masks that they partly find; write them as .npz."""
    import numpy as np
    from scipy import ndimage

    generator, side = np.random.default_rng(0), 224
    smooth = (0, 6, 6)
    fields = ndimage.gaussian_filter(generator.standard_normal((images, side, side)), smooth)
    masks = fields > np.quantile(fields, 0.97)
    masks[:: max(images // 4, 1)] = False
    noise = ndimage.gaussian_filter(generator.standard_normal((images, side, side)), smooth)
    maps = (fields + noise).astype(np.float32)
    np.savez(maps_file, maps=maps, masks=masks)
    return {}


def measure_aupro(maps_file: str, fpr_limit: float) -> dict[str, Any]:
    """Compute this project's AUPRO of the maps of a file."""
    import numpy as np

    from patchcore_ops.metrics import aupro

    with np.load(maps_file, allow_pickle=False) as content:
        maps, masks = content["maps"], content["masks"]
    watch = Stopwatch()
    with watch.stage("aupro"):
        value = aupro(maps, masks, fpr_limit)
    return {"seconds": watch.seconds, "aupro": value}
