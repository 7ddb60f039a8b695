"""A procedurally rendered machined flange: a turned steel face under two lamps, from above.

Turning leaves concentric grooves, so highlights stretch across them into the bow-tie shape
that makes machined metal recognisable. Defects change slope, finish or material of the part and
are lit by the same lamps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.imaging import (
    SUPERSAMPLING,
    FloatMap,
    Mask,
    RgbImage,
    blend,
    coverage_mask,
    hex_to_linear,
    photograph,
    smoothstep,
)
from demo.washer_defects import PartFlaw, draw_part_flaw
from demo.washer_part import (
    BOLT_HOLE_RADIUS,
    BORE_RADIUS,
    OUTER_RADIUS,
    Part,
    draw_part,
    groove_floor,
    machined_slope,
    opening,
)

_STEEL = "#d3d1cc"
_TABLE = "#2e3135"
_PARALLAX = 0.055
"""Relative shrinking of the part's lower rims, which are further from the camera."""


@dataclass(frozen=True)
class _Lamp:
    """A lamp at `azimuth` and `elevation` (radians) with a linear colour `[3]`."""

    azimuth: float
    elevation: float
    colour: FloatMap

    def half_vector(self) -> tuple[float, float, float]:
        """Return the unit vector halfway between the lamp and the camera straight above."""
        x = np.cos(self.elevation) * np.cos(self.azimuth)
        y = np.cos(self.elevation) * np.sin(self.azimuth)
        z = np.sin(self.elevation) + 1.0
        length = np.sqrt(x * x + y * y + z * z)
        return float(x / length), float(y / length), float(z / length)


def render_washer(
    rng: np.random.Generator, defect: str | None, size: int = 320
) -> tuple[RgbImage, Mask]:
    """Render one photograph of the flange, with or without a defect.

    A generator in the same state gives the same part, pose, light and sensor noise whatever the
    defect, so a defective image differs from its clean twin at the defect only.

    `defect` is one of `WASHER_DEFECTS`, or None; `size` is width and height in pixels. Returns the
    photograph and the mask of the defect's pixels.
    """
    part_rng, defect_rng, sensor_rng = rng.spawn(3)
    part = draw_part(part_rng, size * SUPERSAMPLING)
    flaw = None if defect is None else draw_part_flaw(defect_rng, defect, part)
    image = photograph(_radiance(part, flaw), sensor_rng, noise=0.016)
    if flaw is None:
        return image, np.zeros((size, size), dtype=np.bool_)
    return image, coverage_mask(flaw.coverage)


def _radiance(part: Part, flaw: PartFlaw | None) -> FloatMap:
    """Linear radiance `[n, n, 3]` of part and table as the lens sees them."""
    undrilled = flaw.undrilled_hole if flaw is not None else None
    lamps = _lamps(part)
    pierced = opening(part, undrilled)
    metal = (part.radius < OUTER_RADIUS) * (1.0 - pierced)
    if flaw is not None and flaw.removed is not None:
        metal = metal * (1.0 - flaw.removed)

    scene = _table(part)
    scene = blend(scene, _bore_walls(part, lamps[0]), pierced * _wall_visibility(part))
    scene = blend(scene, _steel(part, flaw, undrilled, lamps), metal.astype(np.float32))
    if flaw is not None and flaw.deposit is not None:
        deposit = flaw.deposit
        light = _matte_light(deposit.slope_x, deposit.slope_y, lamps)
        scene = blend(scene, deposit.albedo * light, deposit.alpha)
    return np.asarray(_soft_clip(scene * part.exposure), dtype=np.float32)


def _lamps(part: Part) -> tuple[_Lamp, _Lamp]:
    """Place a warm key lamp at the upper left and a weaker, cooler one at the right."""
    key = np.radians(-128.0) + part.lamp_turn
    fill = np.radians(-22.0) + part.lamp_turn
    return (
        _Lamp(key, np.radians(52.0), np.array([1.0, 0.955, 0.88], dtype=np.float32)),
        _Lamp(fill, np.radians(48.0), np.array([0.36, 0.42, 0.50], dtype=np.float32)),
    )


def _steel(
    part: Part, flaw: PartFlaw | None, undrilled: int | None, lamps: tuple[_Lamp, ...]
) -> FloatMap:
    """Radiance `[n, n, 3]` of the machined surface, as if it filled the image."""
    slope_x, slope_y = machined_slope(part, undrilled)
    roughness = np.zeros_like(slope_x)
    if flaw is not None and flaw.slope_x is not None and flaw.slope_y is not None:
        slope_x, slope_y = slope_x + flaw.slope_x, slope_y + flaw.slope_y
    if flaw is not None and flaw.roughness is not None:
        roughness = flaw.roughness

    steepness = np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    normal_z = np.asarray(1.0 / steepness, dtype=np.float32)
    normal_x, normal_y = -slope_x * normal_z, -slope_y * normal_z
    radius = np.maximum(part.radius, 1e-3)
    lay_x, lay_y = -part.y / radius, part.x / radius

    light = 0.10 * _matte_light(slope_x, slope_y, lamps)
    light = light + _room_reflection(normal_x, normal_y, normal_z, lamps[0])[..., None]
    for lamp in lamps:
        half_x, half_y, half_z = lamp.half_vector()
        along = half_x * lay_x + half_y * lay_y
        along = along + 0.026 * part.tool_wander + 0.012 * part.lay
        across_normal = half_x * normal_x + half_y * normal_y + half_z * normal_z
        tilt = np.maximum(1.0 - across_normal * across_normal - along * along, 0.0)
        grooves = np.exp(-((along / 0.105) ** 2) - tilt / 0.11)
        scattered = 0.16 * np.exp(14.0 * (across_normal - 1.0))
        highlight = 1.10 * grooves * (1.0 - roughness) + scattered * (0.3 + 1.6 * roughness)
        light = light + highlight[..., None] * lamp.colour
    finish = 1.0 + 0.045 * part.tool_marks + 0.02 * part.lay - 0.25 * groove_floor(part)
    shaded = hex_to_linear(_STEEL) * light * (finish * (1.0 - 0.35 * roughness))[..., None]
    return np.asarray(shaded, dtype=np.float32)


def _room_reflection(
    normal_x: FloatMap, normal_y: FloatMap, normal_z: FloatMap, key: _Lamp
) -> FloatMap:
    """Mirror image of a dim room with a window behind the key lamp."""
    reflected_x, reflected_y = 2.0 * normal_z * normal_x, 2.0 * normal_z * normal_y
    towards_key = reflected_x * np.float32(np.cos(key.azimuth)) + reflected_y * np.float32(
        np.sin(key.azimuth)
    )
    window = smoothstep(0.25, 0.95, towards_key)
    return np.asarray(0.10 + 0.06 * towards_key + 0.75 * window, dtype=np.float32)


def _matte_light(slope_x: FloatMap, slope_y: FloatMap, lamps: tuple[_Lamp, ...]) -> FloatMap:
    """Diffuse irradiance `[n, n, 3]` of a surface with the given slope."""
    steepness = np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    light = np.full((*slope_x.shape, 3), 0.25, dtype=np.float32)
    for lamp in lamps:
        lamp_x = np.float32(np.cos(lamp.elevation) * np.cos(lamp.azimuth))
        lamp_y = np.float32(np.cos(lamp.elevation) * np.sin(lamp.azimuth))
        facing = np.float32(np.sin(lamp.elevation)) - lamp_x * slope_x - lamp_y * slope_y
        light += (np.maximum(facing, 0.0) / steepness)[..., None] * lamp.colour
    return light


def _table(part: Part) -> FloatMap:
    """Render the matte table: grainy, vignetted, and in the part's shadow beside and below it."""
    shadow_distance = np.hypot(part.x - 0.045, part.y - 0.06)
    shadow = 0.75 * smoothstep(OUTER_RADIUS + 0.10, OUTER_RADIUS - 0.05, shadow_distance)
    brightness = (1.0 + 0.10 * part.grit) * (1.0 - 0.14 * (part.x + part.y)) * (1.0 - shadow)
    return np.asarray(hex_to_linear(_TABLE) * brightness[..., None], dtype=np.float32)


def _wall_visibility(part: Part) -> FloatMap:
    """Return 1 where the camera sees an inner wall rather than through the part.

    A lower rim is the upper one shrunk towards the image centre; the wall spans the difference.
    """
    shrink = np.float32(1.0 - _PARALLAX)
    in_bore = part.radius < BORE_RADIUS
    below_bore = part.radius < BORE_RADIUS * shrink
    centre = part.hole_centres[part.hole_number] * shrink
    below_hole = (
        np.hypot(part.x - centre[..., 0], part.y - centre[..., 1]) < BOLT_HOLE_RADIUS * shrink
    )
    return np.where(in_bore, ~below_bore, ~below_hole).astype(np.float32)


def _bore_walls(part: Part, key: _Lamp) -> FloatMap:
    """Radiance `[n, n, 3]` of the bore's and holes' inner walls, lit opposite the key lamp."""
    in_bore = part.radius < BORE_RADIUS
    inward_x = -np.where(in_bore, part.x / BORE_RADIUS, part.hole_x / BOLT_HOLE_RADIUS)
    inward_y = -np.where(in_bore, part.y / BORE_RADIUS, part.hole_y / BOLT_HOLE_RADIUS)
    facing = inward_x * np.float32(np.cos(key.azimuth)) + inward_y * np.float32(np.sin(key.azimuth))
    brightness = 0.035 + 0.30 * np.clip(facing, 0.0, 1.0) ** 2
    return np.asarray(hex_to_linear(_STEEL) * brightness[..., None], dtype=np.float32)


def _soft_clip(radiance: FloatMap) -> FloatMap:
    """Roll highlights off towards full scale as a camera's tone curve does."""
    return np.asarray(1.0 - np.exp(-1.55 * radiance), dtype=np.float32)
