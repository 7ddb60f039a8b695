"""Image formation shared by the synthetic categories: noise fields, curves, and a camera model.

Renderers work on supersampled square maps of linear radiance and hand them to `photograph`,
which behaves like a camera: it averages each sensor pixel, blurs, adds noise and encodes sRGB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

FloatMap = NDArray[np.float32]
"""A float32 array; a `[n, n]` map unless a docstring gives another shape."""

RgbImage = NDArray[np.uint8]
"""A uint8 `[H, W, 3]` sRGB image."""

Mask = NDArray[np.bool_]
"""A bool `[H, W]` map, true on the pixels of a defect."""

SUPERSAMPLING = 2
"""Rendered samples per sensor pixel, along each axis."""

_LENS_BLUR = 0.45
"""Point-spread sigma in sensor pixels."""

_BSPLINE_RMS = 0.479
"""Mean squared weight of a cubic B-spline row, which scales interpolated noise to unit variance."""


def pixel_grid(n: int) -> tuple[FloatMap, FloatMap]:
    """Return the coordinate maps `(x, y)`, each `[n, n]`, of pixel centres in [-1, 1]."""
    axis = (np.arange(n, dtype=np.float32) + 0.5) * np.float32(2.0 / n) - 1.0
    x, y = np.meshgrid(axis, axis)
    return x, y


def smoothstep(low: float, high: float, values: FloatMap) -> FloatMap:
    """Ramp smoothly from 0 at `low` to 1 at `high` (falls instead of rises when `low > high`)."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def hex_to_linear(colour: str) -> FloatMap:
    """Convert an sRGB colour such as `"#22406b"` to three linear components in [0, 1]."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def smooth_noise(rng: np.random.Generator, n: int, cells: int | tuple[int, int]) -> FloatMap:
    """Return an `[n, n]` map of band-limited noise, about zero mean and unit variance.

    `cells` is the number of noise cells along (vertical, horizontal), or along both.
    """
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    lattice = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32)
    stretched = _bspline_weights(n, rows) @ lattice
    noise = (_bspline_weights(n, columns) @ stretched.T).T
    return np.ascontiguousarray(noise / np.float32(_BSPLINE_RMS), dtype=np.float32)


def fractal_noise(rng: np.random.Generator, n: int, cells: int, octaves: int) -> FloatMap:
    """Return an `[n, n]` sum of noise octaves of halving amplitude, about unit variance."""
    total = np.zeros((n, n), dtype=np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, n, cells * 2**octave) * np.float32(0.5**octave)
    return total / np.float32(np.sqrt(sum(0.25**octave for octave in range(octaves))))


def ragged_blob(
    rng: np.random.Generator,
    x: FloatMap,
    y: FloatMap,
    *,
    centre: tuple[float, float],
    radius: float,
    raggedness: float,
) -> FloatMap:
    """Return a field that is 1 at `centre`, 0 on a ragged outline and negative outside.

    Lengths are in the units of the coordinate maps `x` and `y`; `raggedness` is the outline's
    standard deviation relative to `radius`. The blob is also stretched at random.
    """
    stretch, angle = rng.uniform(1.0, 1.6), rng.uniform(0.0, np.pi)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    along = (dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))) / np.float32(stretch)
    across = dy * np.float32(np.cos(angle)) - dx * np.float32(np.sin(angle))
    cells = max(4, round(1.6 / radius))
    noise = fractal_noise(rng, x.shape[0], cells, octaves=3) * np.float32(raggedness)
    return 1.0 - np.hypot(along, across) / np.float32(radius) + noise


def random_curve(
    rng: np.random.Generator,
    *,
    start: tuple[float, float],
    heading: float,
    length: float,
    bend: float,
) -> FloatMap:
    """Return `[160, 2]` (x, y) positions of a smooth curve.

    `heading` is the initial direction and `bend` the standard deviation of the accumulated
    turn, both in radians; `length` has the units of `start`.
    """
    turn = np.cumsum(np.repeat(rng.standard_normal(8), 20))
    angles = heading + bend * turn / np.sqrt(160 * 160 / 8)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (length / 160)
    return (np.asarray(start) + np.cumsum(steps, axis=0)).astype(np.float32)


def curve_distance(
    curve: FloatMap, x: FloatMap, y: FloatMap, reach: float
) -> tuple[FloatMap, FloatMap]:
    """Return the distance to a curve and the position along it, for every pixel.

    The distance (units of `x`) is infinite beyond `reach`; the position runs from 0 at the first
    point of `curve` (`[k, 2]`) to 1 at its last and is meaningless beyond `reach`.
    """
    low, high = curve.min(axis=0) - reach, curve.max(axis=0) + reach
    near = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    distance = np.full(x.shape, np.inf, dtype=np.float32)
    position = np.zeros(x.shape, dtype=np.float32)
    nearest, index = cKDTree(curve).query(
        np.stack([x[near], y[near]], axis=1), distance_upper_bound=reach
    )
    distance[near] = nearest
    position[near] = index / (len(curve) - 1)
    return distance, position


def blend(base: FloatMap, colour: FloatMap, alpha: FloatMap) -> FloatMap:
    """Lay `colour` over `base` (each `[3]` or `[n, n, 3]`) with opacity `alpha`, `[n, n]`."""
    return base + (colour - base) * alpha[..., None]


def downsample(values: FloatMap) -> FloatMap:
    """Average the samples of each sensor pixel of a `[n, n]` or `[n, n, 3]` map."""
    # Adding strided views is several times faster than a mean over axes of length two.
    starts = range(SUPERSAMPLING)
    views = [values[y::SUPERSAMPLING, x::SUPERSAMPLING] for y in starts for x in starts]
    return np.asarray(sum(views) / np.float32(len(views)), dtype=np.float32)


def coverage_mask(coverage: FloatMap) -> Mask:
    """Return the sensor pixels of which a defect, by its supersampled opacity, covers over 30 %."""
    return downsample(coverage) > np.float32(0.3)


def photograph(radiance: FloatMap, rng: np.random.Generator, *, noise: float) -> RgbImage:
    """Photograph supersampled linear radiance `[n, n, 3]`, in which 1 saturates the sensor.

    `noise` is the standard deviation of the photon noise at full scale, as a fraction of that.
    """
    sensor = downsample(radiance)
    sensor = gaussian_filter(sensor, sigma=(_LENS_BLUR, _LENS_BLUR, 0.0), truncate=3.0)
    grain = rng.standard_normal(sensor.shape, dtype=np.float32)
    sensor = sensor + grain * np.float32(noise) * np.sqrt(np.maximum(sensor, 0.0) + 0.02)
    return _encode_srgb(sensor)


def _encode_srgb(linear: FloatMap) -> RgbImage:
    clipped = np.clip(linear, 0.0, 1.0)
    gamma = 1.055 * np.power(clipped, 1.0 / 2.4) - 0.055
    encoded = np.where(clipped <= 0.0031308, 12.92 * clipped, gamma)
    return np.asarray(np.rint(encoded * 255.0), dtype=np.uint8)


def _bspline_weights(n: int, cells: int) -> csr_array:
    """Cubic B-spline weights, sparse `[n, cells + 3]`, of the lattice points around each sample.

    Sparse products also run on the calling thread, where BLAS would start threads of its own.
    """
    position = np.linspace(0.0, cells, n)
    cell = np.minimum(position.astype(np.intp), cells - 1)
    t = position - cell
    weights = np.stack(
        [
            (1.0 - t) ** 3 / 6.0,
            2.0 / 3.0 - t**2 + t**3 / 2.0,
            2.0 / 3.0 - (1.0 - t) ** 2 + (1.0 - t) ** 3 / 2.0,
            t**3 / 6.0,
        ],
        axis=1,
    ).astype(np.float32)
    columns = cell[:, None] + np.arange(4)
    row_starts = np.arange(0, 4 * n + 1, 4)
    return csr_array((weights.ravel(), columns.ravel(), row_starts), shape=(n, cells + 3))
