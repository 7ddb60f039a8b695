"""The undamaged machined flange: its dimensions, and one instance of it under the camera.

Lengths are in half image widths: the image spans [-1, 1]. The part lies flat and faces the
camera, so a surface is described by its slope `(dz/dx, dz/dy)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.imaging import FloatMap, pixel_grid, smooth_noise, smoothstep

OUTER_RADIUS = 0.84
BORE_RADIUS = 0.27
BOLT_CIRCLE_RADIUS = 0.635
BOLT_HOLE_RADIUS = 0.085
BOLT_HOLES = 6

_OUTER_CHAMFER = 0.036
_BORE_CHAMFER = 0.034
_HOLE_CHAMFER = 0.022
_GROOVE = (0.425, 0.465)
_GROOVE_WALL = 0.012
_CHAMFER_SLOPE = 0.9

_RINGS = 2048
_RINGS_PER_UNIT = 1000.0
_TOOL_FEED_RINGS = 17.0


@dataclass(frozen=True)
class Part:
    """One flange under the camera; maps are supersampled `[n, n]` unless stated otherwise."""

    x: FloatMap  # horizontal coordinate from the part's axis
    y: FloatMap  # vertical coordinate from the part's axis, pointing down
    radius: FloatMap  # distance from the part's axis
    hole_number: NDArray[np.intp]  # number of the bolt hole in whose sector each pixel lies
    hole_x: FloatMap  # horizontal coordinate from that bolt hole's axis
    hole_y: FloatMap  # vertical coordinate from that bolt hole's axis
    hole_distance: FloatMap  # distance from that bolt hole's axis
    hole_centres: FloatMap  # `[6, 2]` positions of the bolt holes' axes
    tool_marks: FloatMap  # radial slope of the turned grooves, about unit variance
    tool_wander: FloatMap  # slow and fast drift of the grooves' direction, about unit variance
    lay: FloatMap  # slow variation of the surface finish, zero mean
    grit: FloatMap  # fine texture of the table and of rough surfaces, zero mean
    lamp_turn: float  # rotation of the lamps about the optical axis, in radians
    exposure: FloatMap  # `[3]` colour gains of this exposure


def draw_part(rng: np.random.Generator, n: int) -> Part:
    """Draw a flange with a small pose jitter and its own tool marks, for an `[n, n]` rendering."""
    x, y = pixel_grid(n)
    offset_x, offset_y = rng.normal(0.0, 0.008, size=2)
    x, y = x - np.float32(offset_x), y - np.float32(offset_y)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)

    rotation = float(np.radians(rng.normal(9.0, 1.2)))
    sector = 2.0 * np.pi / BOLT_HOLES
    hole_angles = rotation + sector * np.arange(BOLT_HOLES)
    directions = np.stack([np.cos(hole_angles), np.sin(hole_angles)], axis=1)
    hole_centres = (BOLT_CIRCLE_RADIUS * directions).astype(np.float32)
    hole_number = np.rint((angle - rotation) / sector).astype(np.intp) % BOLT_HOLES
    hole_x, hole_y = x - hole_centres[hole_number, 0], y - hole_centres[hole_number, 1]

    # The tool advances while the part turns, so the grooves form a spiral.
    turns = angle / np.float32(2.0 * np.pi)
    ring = radius * np.float32(_RINGS_PER_UNIT) + turns * np.float32(_TOOL_FEED_RINGS)
    ring_number = np.clip(ring, 0, _RINGS - 1).astype(np.intp)
    return Part(
        x=x,
        y=y,
        radius=radius,
        hole_number=hole_number,
        hole_x=hole_x,
        hole_y=hole_y,
        hole_distance=np.hypot(hole_x, hole_y),
        hole_centres=hole_centres,
        tool_marks=_draw_tool_marks(rng)[ring_number],
        tool_wander=_draw_tool_marks(rng)[ring_number],
        lay=smooth_noise(rng, n, 10),
        grit=smooth_noise(rng, n, n // 3),
        lamp_turn=float(np.radians(rng.normal(0.0, 2.5))),
        exposure=(rng.normal(1.0, 0.02) * rng.normal(1.0, 0.008, size=3)).astype(np.float32),
    )


def machined_slope(part: Part, undrilled_hole: int | None) -> tuple[FloatMap, FloatMap]:
    """Slope of the part's ideal surface: chamfers, seal groove and tool marks."""
    radius = part.radius
    radial = _CHAMFER_SLOPE * (
        _band(radius, BORE_RADIUS - 0.02, BORE_RADIUS + _BORE_CHAMFER)
        - _band(radius, OUTER_RADIUS - _OUTER_CHAMFER, OUTER_RADIUS + 0.02)
        - _band(radius, _GROOVE[0], _GROOVE[0] + _GROOVE_WALL)
        + _band(radius, _GROOVE[1] - _GROOVE_WALL, _GROOVE[1])
    )
    around_hole = _CHAMFER_SLOPE * smoothstep(
        BOLT_HOLE_RADIUS + _HOLE_CHAMFER,
        BOLT_HOLE_RADIUS + _HOLE_CHAMFER - 0.008,
        part.hole_distance,
    )
    if undrilled_hole is not None:
        around_hole = around_hole * (part.hole_number != undrilled_hole)
    marks = 0.05 * part.tool_marks * (1.0 - around_hole)
    radial_unit, hole_unit = np.maximum(radius, 1e-3), np.maximum(part.hole_distance, 1e-3)
    slope_x = (radial + marks) * part.x / radial_unit + around_hole * part.hole_x / hole_unit
    slope_y = (radial + marks) * part.y / radial_unit + around_hole * part.hole_y / hole_unit
    return np.asarray(slope_x, dtype=np.float32), np.asarray(slope_y, dtype=np.float32)


def groove_floor(part: Part) -> FloatMap:
    """Return 1 on the floor and walls of the seal groove, 0 elsewhere."""
    return _band(part.radius, *_GROOVE)


def opening(part: Part, undrilled_hole: int | None) -> FloatMap:
    """Return 1 where the part is pierced by its bore or a bolt hole, 0 elsewhere."""
    drilled = part.hole_distance < BOLT_HOLE_RADIUS
    if undrilled_hole is not None:
        drilled &= part.hole_number != undrilled_hole
    return np.asarray(drilled | (part.radius < BORE_RADIUS), dtype=np.float32)


def _band(values: FloatMap, low: float, high: float, soft: float = 0.004) -> FloatMap:
    return smoothstep(low - soft, low + soft, values) * smoothstep(high + soft, high - soft, values)


def _draw_tool_marks(rng: np.random.Generator) -> FloatMap:
    """Draw a `[2048]` radial profile: the tool's regular feed plus chatter at many scales."""
    ring = np.arange(_RINGS)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    marks = 0.6 * np.sin(2.0 * np.pi * ring / _TOOL_FEED_RINGS + phase)
    for spacing, weight in ((5, 0.5), (14, 0.6), (50, 0.5)):
        knots = rng.standard_normal(_RINGS // spacing + 2)
        marks += weight * np.interp(ring / spacing, np.arange(knots.size), knots)
    return np.asarray(marks, dtype=np.float32)
