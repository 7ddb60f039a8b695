"""From neighbour distances to scores and anomaly maps, for one member or an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from patchcore_ops.config.sections import Distance, ScoringSection
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.runtime.block_threads import block_threads, blocks
from patchcore_ops.scoring.padding import Insides, blank_padding, cells_inside, continued

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]
Sides = int | tuple[int, int]
_IMAGES_PER_BLOCK = 32
_IMAGES_PER_THREAD = 4


def patch_scores(
    distances: Floats, images: int, grid: tuple[int, int], distance: Distance = "squared"
) -> Floats:
    """Score patches by the mean distance to their nearest neighbours, as float32 [images, h, w].

    `distances` [images * h * w, neighbours] are squared; of these the mean is taken, or, with the
    `distance` "root", of their roots.

    Examples
    --------
    >>> patch_scores(np.array([[1.0, 3.0], [0.0, 0.0]], dtype=np.float32), 1, (1, 2))
    array([[[2., 0.]]], dtype=float32)
    """
    if distance == "root":
        # A product may have rounded the distance of an equal row to below zero.
        distances = np.sqrt(np.maximum(distances, 0))
    return np.asarray(distances.mean(axis=1)).reshape(images, *grid)


def image_scores(
    scores: Floats,
    scoring: ScoringSection | None = None,
    imagesize: Sides = 224,
    insides: Insides | None = None,
) -> Floats:
    """Score images by their patch scores, as `image_score` says: [n, h, w] -> [n].

    `imagesize` is that of a map, in pixels. The padding outside of `insides` does not count.

    Examples
    --------
    >>> image_scores(np.array([[[0.5, 2.0]]], dtype=np.float32))
    array([2.], dtype=float32)
    """
    rule = ScoringSection() if scoring is None else scoring
    if rule.image_score == "smoothed_max":
        of_blocks = [
            peaks(maps) for maps in _blocks(scores, imagesize, rule.image_smoothing_sigma, insides)
        ]
        return np.concatenate(of_blocks) if of_blocks else np.empty(0, dtype=np.float32)
    if insides is not None:
        size = height_and_width(imagesize)
        cells = cells_inside(scores.shape[1:], size, insides)
        own = [one[inside][None] for one, inside in zip(scores, cells, strict=True)]
        return np.array([image_scores(one, rule)[0] for one in own], dtype=scores.dtype)
    if rule.image_score == "top_share":
        patches = scores.reshape(len(scores), -1)
        count = max(round(patches.shape[1] * rule.image_top_share), 1)
        top = np.partition(patches, -count, axis=1)[:, -count:]
        return np.asarray(top.mean(axis=1))
    return np.asarray(scores.max(axis=(1, 2)))


def anomaly_maps(patch_scores: Floats, imagesize: Sides, smoothing_sigma: float = 4.0) -> Floats:
    """Resize patch scores to the image, bilinearly, and smooth them by a Gaussian.

    Both are linear along either axis, so that a map is one matrix times the scores times another.

    Parameters
    ----------
    patch_scores : ndarray of float32, shape [n, h, w]
    imagesize : int or (int, int)
        Of a map, in pixels: one side of a square, or height and width.
    smoothing_sigma : float
        Standard deviation of the Gaussian, in pixels; 0 for none.

    Returns
    -------
    ndarray of float32, shape [n, H, W]

    Examples
    --------
    >>> anomaly_maps(np.array([[[0.0, 4.0]]], dtype=np.float32), 4, smoothing_sigma=0)[0, 0]
    array([0., 1., 3., 4.], dtype=float32)
    """
    images, *grid = patch_scores.shape
    size = height_and_width(imagesize)
    rows, columns = (
        _enlarging(patches, pixels, smoothing_sigma)
        for patches, pixels in zip(grid, size, strict=True)
    )
    maps = np.empty((images, *size), dtype=np.float32)

    def compute(block: slice) -> None:
        maps[block] = rows @ patch_scores[block].astype(np.float64) @ columns.T

    with block_threads(maps) as for_each:
        for_each(compute, blocks(images, _IMAGES_PER_THREAD))
    return maps


@lru_cache(maxsize=8)
def _enlarging(patches: int, pixels: int, sigma: float) -> npt.NDArray[np.float64]:
    """Make the matrix that enlarges an axis and smooths along it, shape [pixels, patches]."""
    # Where the pixels' centres lie among the patches'; beyond the outermost these go on.
    centres = (np.arange(pixels) + 0.5) * patches / pixels - 0.5
    enlarging = np.stack(
        [np.interp(centres, np.arange(patches), unit) for unit in np.eye(patches)], axis=1
    )
    if sigma > 0:
        enlarging = gaussian_filter1d(enlarging, sigma, axis=0)
    return enlarging


def peaks(maps: Floats) -> Floats:
    """Return the greatest value of each map, shape [n, H, W]; NaN does not count."""
    return np.asarray(np.fmax.reduce(maps, axis=(1, 2)))


def extent(values: Floats) -> Range:
    """Return the least and the greatest of a member's values; NaN does not count."""
    return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))


def combine(members: Sequence[Floats], ranges: Sequence[Range]) -> Floats:
    """Combine the image scores, or the anomaly maps, of the members of an ensemble.

    One member's values stay as they are. Of several, each member's range becomes [0, 1], and they
    are averaged; a member whose range is empty contributes 0.

    Examples
    --------
    >>> scores = [np.array([1.0, 3.0], dtype=np.float32), np.array([0.0, 8.0], dtype=np.float32)]
    >>> combine(scores, [(1.0, 3.0), (0.0, 16.0)])
    array([0.  , 0.75], dtype=float32)
    """
    if len(members) == 1:
        return members[0]
    scaled = [_scale(values, *limits) for values, limits in zip(members, ranges, strict=True)]
    return np.asarray(np.mean(scaled, axis=0, dtype=np.float32))


def map_extents(
    members: Sequence[Floats],
    imagesize: Sides,
    smoothing_sigma: float,
    insides: Insides | None = None,
) -> list[Range]:
    """Return the range of each member's anomaly maps over all images, from its patch scores."""
    ranges = []
    for scores in members:
        of_blocks = [extent(maps) for maps in _blocks(scores, imagesize, smoothing_sigma, insides)]
        ranges.append((min(low for low, _ in of_blocks), max(high for _, high in of_blocks)))
    return ranges


def ensemble_maps(
    members: Sequence[Floats],
    imagesize: Sides,
    smoothing_sigma: float,
    ranges: Sequence[Range],
    insides: Insides | None = None,
) -> Iterator[Floats]:
    """Make the anomaly maps of an ensemble from patch scores, a block of images at a time.

    Outside of `insides` they are NaN.
    """
    of_members = (_blocks(scores, imagesize, smoothing_sigma, insides) for scores in members)
    for maps in zip(*of_members, strict=True):
        yield combine(maps, ranges)


def _blocks(
    scores: Floats, imagesize: Sides, smoothing_sigma: float, insides: Insides | None
) -> Iterator[Floats]:
    for start in range(0, len(scores), _IMAGES_PER_BLOCK):
        block = slice(start, start + _IMAGES_PER_BLOCK)
        if insides is None:
            yield anomaly_maps(scores[block], imagesize, smoothing_sigma)
        else:
            own = continued(scores[block], height_and_width(imagesize), insides[block])
            yield blank_padding(anomaly_maps(own, imagesize, smoothing_sigma), insides[block])


def _scale(values: Floats, low: float, high: float) -> Floats:
    if high == low:
        return np.where(np.isnan(values), values, np.float32(0))
    return ((values - low) / (high - low)).astype(np.float32)
