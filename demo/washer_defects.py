"""Defects of a machined part, expressed as changes to its surface rather than to its picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from demo.imaging import (
    FloatMap,
    blend,
    curve_distance,
    fractal_noise,
    hex_to_linear,
    ragged_blob,
    random_curve,
    smoothstep,
)
from demo.washer_part import (
    BOLT_HOLE_RADIUS,
    BOLT_HOLES,
    BORE_RADIUS,
    OUTER_RADIUS,
    Part,
    opening,
)


@dataclass(frozen=True)
class Deposit:
    """Matte material on top of the part."""

    alpha: FloatMap  # `[n, n]` opacity
    albedo: FloatMap  # `[n, n, 3]` linear colour
    slope_x: FloatMap  # `[n, n]` slope of its surface along x
    slope_y: FloatMap  # `[n, n]` slope of its surface along y


@dataclass(frozen=True)
class PartFlaw:
    """The changes one defect makes to a part; None leaves that property alone."""

    coverage: FloatMap  # `[n, n]` opacity of the defect in [0, 1], from which its mask follows
    slope_x: FloatMap | None = None  # `[n, n]` slope along x added to the surface
    slope_y: FloatMap | None = None  # `[n, n]` slope along y added to the surface
    roughness: FloatMap | None = None  # `[n, n]`, 1 where the turned finish is destroyed
    removed: FloatMap | None = None  # `[n, n]`, 1 where material is missing
    undrilled_hole: int | None = None  # number of a bolt hole that was never drilled
    deposit: Deposit | None = None  # material on top


def draw_part_flaw(rng: np.random.Generator, defect: str, part: Part) -> PartFlaw:
    """Draw a random instance of a defect, of random severity, somewhere on the part.

    Raises ValueError if `defect` is not one of `WASHER_DEFECTS`.
    """
    if defect not in _DRAW_FLAW:
        raise ValueError(
            f"unknown washer defect {defect!r}; choose one of {', '.join(WASHER_DEFECTS)}"
        )
    return _DRAW_FLAW[defect](rng, part)


def _scratch(rng: np.random.Generator, part: Part) -> PartFlaw:
    """Plough a fine groove across the turned finish."""
    start, outward = _on_face(rng, part, BORE_RADIUS + 0.12, OUTER_RADIUS - 0.12)
    curve = random_curve(
        rng,
        start=start,
        heading=outward + np.pi * rng.integers(2) + rng.normal(np.pi / 3, 0.5),
        length=rng.uniform(0.18, 0.55),
        bend=rng.uniform(0.05, 0.5),
    )
    half_width = rng.uniform(0.007, 0.014)
    distance, position = curve_distance(curve, part.x, part.y, reach=3.0 * half_width)
    taper = np.minimum(1.0, 0.25 + 4.0 * np.minimum(position, 1.0 - position))
    offset = np.minimum(distance / (np.float32(half_width) * taper), 9.0)
    coverage = smoothstep(1.25, 0.75, offset) * _metal(part)
    depth = rng.uniform(0.5, 1.2)
    slope_x, slope_y = _slope_of(-depth * half_width * smoothstep(1.3, 0.2, offset))
    return PartFlaw(
        coverage=coverage,
        slope_x=slope_x,
        slope_y=slope_y,
        roughness=np.float32(rng.uniform(0.6, 1.0)) * coverage,
    )


def _dent(rng: np.random.Generator, part: Part) -> PartFlaw:
    """Dent the face: a smooth bowl with a slightly raised rim."""
    radius = rng.uniform(0.045, 0.11)
    centre, _ = _on_face(rng, part, BORE_RADIUS + 0.25, OUTER_RADIUS - 0.09)
    blob = ragged_blob(rng, part.x, part.y, centre=centre, radius=radius, raggedness=0.05)
    raised_rim = 0.15 * np.exp(-((blob / 0.18) ** 2))
    depth = rng.uniform(0.25, 0.6) * radius
    slope_x, slope_y = _slope_of(np.float32(depth) * (raised_rim - smoothstep(0.0, 0.9, blob)))
    coverage = smoothstep(-0.35, -0.10, blob) * _metal(part)
    return PartFlaw(
        coverage=coverage,
        slope_x=slope_x,
        slope_y=slope_y,
        roughness=np.float32(rng.uniform(0.1, 0.6)) * smoothstep(0.1, 0.6, blob),
    )


def _chipped_edge(rng: np.random.Generator, part: Part) -> PartFlaw:
    """Break a piece out of the outer edge, leaving a rough fracture beside the gap."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    radius = rng.uniform(0.05, 0.12)
    centre = (float(OUTER_RADIUS * np.cos(angle)), float(OUTER_RADIUS * np.sin(angle)))
    blob = ragged_blob(rng, part.x, part.y, centre=centre, radius=radius, raggedness=0.20)
    broken = smoothstep(0.0, 0.06, blob)
    relief = fractal_noise(rng, blob.shape[0], 60, octaves=3)
    slope_x, slope_y = _slope_of(0.010 * relief * broken - 0.7 * radius * np.clip(blob, 0.0, 1.0))
    return PartFlaw(
        coverage=broken * (part.radius < OUTER_RADIUS),
        slope_x=slope_x,
        slope_y=slope_y,
        roughness=broken,
        removed=smoothstep(0.30, 0.36, blob + 0.05 * relief),
    )


def _blocked_hole(rng: np.random.Generator, part: Part) -> PartFlaw:
    """Leave a bolt hole undrilled, or fill part of it with swarf and coolant residue."""
    hole = int(rng.integers(BOLT_HOLES))
    here = part.hole_number == hole
    if rng.random() < 0.4:
        rim = smoothstep(BOLT_HOLE_RADIUS + 0.024, BOLT_HOLE_RADIUS + 0.016, part.hole_distance)
        return PartFlaw(coverage=rim * here, undrilled_hole=hole)
    side = rng.uniform(0.0, 2.0 * np.pi)
    fill = rng.uniform(-0.3, 1.6)
    noise = fractal_noise(rng, part.x.shape[0], 40, octaves=4)
    level = part.hole_x * np.float32(np.cos(side)) + part.hole_y * np.float32(np.sin(side))
    filled = smoothstep(-0.05, 0.05, fill - level / BOLT_HOLE_RADIUS + 0.25 * noise)
    inside = smoothstep(1.04, 0.96, part.hole_distance / BOLT_HOLE_RADIUS + 0.03 * noise)
    alpha = np.asarray(filled * inside * here, dtype=np.float32)
    slope_x, slope_y = _slope_of(0.03 * noise)
    colour = hex_to_linear(str(rng.choice(["#6b6258", "#57534f", "#7d6a4c"])))
    albedo = colour * (1.0 + 0.3 * noise)[..., None]
    return PartFlaw(
        coverage=alpha, deposit=Deposit(alpha, np.maximum(albedo, 0.01), slope_x, slope_y)
    )


def _rust(rng: np.random.Generator, part: Part) -> PartFlaw:
    """Corrode a patch: pitted brown scale that breaks up into specks at its edge."""
    centre, _ = _on_face(rng, part, BORE_RADIUS + 0.08, OUTER_RADIUS - 0.06)
    blob = ragged_blob(
        rng, part.x, part.y, centre=centre, radius=rng.uniform(0.07, 0.19), raggedness=0.25
    )
    scale = fractal_noise(rng, blob.shape[0], 40, octaves=4)
    opacity = np.float32(rng.uniform(0.45, 0.95))
    spread = smoothstep(-0.15, 0.35, blob + 0.35 * scale * (blob > -0.8))
    alpha = np.asarray(opacity * spread * _metal(part), dtype=np.float32)
    dark, bright = hex_to_linear("#2a1b14"), hex_to_linear("#714524")
    albedo = blend(dark, bright, smoothstep(-0.8, 1.6, scale))
    slope_x, slope_y = _slope_of(0.012 * scale)
    return PartFlaw(
        coverage=spread * _metal(part), deposit=Deposit(alpha, albedo, slope_x, slope_y)
    )


def _metal(part: Part) -> FloatMap:
    """Return 1 on the part's material and 0 in its openings and beyond its edge."""
    return (part.radius < OUTER_RADIUS) * (1.0 - opening(part, undrilled_hole=None))


def _slope_of(height: FloatMap) -> tuple[FloatMap, FloatMap]:
    """Slope `(dz/dx, dz/dy)` of a `[n, n]` relief whose heights are in half image widths."""
    slope_y, slope_x = np.gradient(height, 2.0 / height.shape[0])
    return np.asarray(slope_x, dtype=np.float32), np.asarray(slope_y, dtype=np.float32)


def _on_face(
    rng: np.random.Generator, part: Part, low: float, high: float
) -> tuple[tuple[float, float], float]:
    """Draw a position between two radii and two bolt holes, and its direction from the axis."""
    hole_x, hole_y = part.hole_centres[rng.integers(BOLT_HOLES)]
    sector = 2.0 * np.pi / BOLT_HOLES
    angle = np.arctan2(hole_y, hole_x) + sector * rng.uniform(0.3, 0.7)
    radius = rng.uniform(low, high)
    return (float(radius * np.cos(angle)), float(radius * np.sin(angle))), float(angle)


_DRAW_FLAW: Mapping[str, Callable[[np.random.Generator, Part], PartFlaw]] = {
    "blocked_hole": _blocked_hole,
    "chipped_edge": _chipped_edge,
    "dent": _dent,
    "rust": _rust,
    "scratch": _scratch,
}

WASHER_DEFECTS: tuple[str, ...] = tuple(_DRAW_FLAW)
"""Names of the defects `draw_part_flaw` knows."""
