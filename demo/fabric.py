"""A procedurally rendered printed textile: interlaced yarns, a block-printed motif, a camera.

The cloth is modelled yarn by yarn: every pixel knows which warp and which weft yarn cross
there, the higher of the two is visible, and light falls on the resulting relief. Defects act on
that model (a yarn ends, ink is displaced, a stain soaks in), so they keep the cloth's texture.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from demo.fabric_cloth import (
    INDIGO_LINEN,
    Cloth,
    FabricDesign,
    YarnTable,
    draw_cloth,
    ink_screens,
)
from demo.fabric_defects import FabricFlaw, draw_fabric_flaw
from demo.imaging import (
    SUPERSAMPLING,
    FloatMap,
    Mask,
    RgbImage,
    blend,
    coverage_mask,
    hex_to_linear,
    photograph,
)

_CRIMP = 0.30
"""Amplitude of a yarn's path over and under its neighbours, in pitches."""

_THINNEST_YARN = 0.12
"""Half-width in pitches below which a thinning yarn has ended."""

_BACKING_HEIGHT = -0.75
_BACKING_COLOUR = "#24211f"


def render_fabric(
    rng: np.random.Generator,
    defect: str | None,
    size: int = 320,
    design: FabricDesign = INDIGO_LINEN,
) -> tuple[RgbImage, Mask]:
    """Render one photograph of the fabric, with or without a defect.

    A generator in the same state gives the same cloth, light and sensor noise whatever the
    defect, so a defective image differs from its clean twin at the defect only.

    `defect` is one of `FABRIC_DEFECTS`, or None; `size` is width and height in pixels. Returns the
    photograph and the mask of the defect's pixels.
    """
    cloth_rng, defect_rng, sensor_rng = rng.spawn(3)
    cloth = draw_cloth(cloth_rng, size * SUPERSAMPLING, design, size)
    flaw = None if defect is None else draw_fabric_flaw(defect_rng, defect, cloth)
    image = photograph(_radiance(cloth, flaw), sensor_rng, noise=0.018)
    if flaw is None:
        return image, np.zeros((size, size), dtype=np.bool_)
    return image, coverage_mask(flaw.coverage)


def _radiance(cloth: Cloth, flaw: FabricFlaw | None) -> FloatMap:
    """Linear radiance `[n, n, 3]` of the cloth as the lens sees it."""
    height, warp_on_top, bare = _weave(cloth, flaw)
    colour = _print(cloth, flaw, height, warp_on_top)
    if flaw is not None and flaw.transmittance is not None:
        colour = colour * flaw.transmittance
    colour = np.where(bare[..., None], hex_to_linear(_BACKING_COLOUR), colour)
    if flaw is not None and flaw.fibre is not None:
        colour = blend(colour, flaw.fibre.colour, flaw.fibre.alpha)
        height = np.maximum(height, flaw.fibre.height)
    shading = _relief_shading(height, cloth.pitch) * cloth.light
    return np.asarray(colour * shading[..., None] * cloth.white_balance, dtype=np.float32)


def _weave(cloth: Cloth, flaw: FabricFlaw | None) -> tuple[FloatMap, Mask, Mask]:
    """Return the relief in pitches, where the warp is on top, and where no yarn is left."""
    warp_gap = flaw.warp_gap if flaw is not None else None
    weft_gap = flaw.weft_gap if flaw is not None else None
    floats = cloth.design.float_length
    warp = _yarn_height(cloth.warp, cloth.u, cloth.v, floats=floats, crimp=+_CRIMP, gap=warp_gap)
    weft = _yarn_height(cloth.weft, cloth.v, cloth.u, floats=floats, crimp=-_CRIMP, gap=weft_gap)
    top = np.maximum(warp, weft)
    return np.maximum(top, _BACKING_HEIGHT), warp > weft, top < _BACKING_HEIGHT


def _yarn_height(
    yarns: YarnTable,
    across: FloatMap,
    along: FloatMap,
    *,
    floats: int,
    crimp: float,
    gap: FloatMap | None,
) -> FloatMap:
    """Surface height of one set of yarns; far below the backing between and beyond them."""
    index = np.floor(across)
    half_width = yarns.half_width[index.astype(np.intp)]
    if gap is not None:
        half_width = half_width * (1.0 - gap)
    offset = (across - index - 0.5) / np.maximum(half_width, 1e-3)
    path = np.cos(np.float32(np.pi / floats) * (along - 0.5 + index) - np.pi / 4 * (floats - 1))
    section = 0.55 * np.sqrt(np.maximum(1.0 - offset * offset, 0.0)) * half_width / 0.45
    height = np.float32(crimp) * path + section
    present = (np.abs(offset) < 1.0) & (half_width > _THINNEST_YARN)
    return np.asarray(np.where(present, height, -9.0), dtype=np.float32)


def _print(cloth: Cloth, flaw: FabricFlaw | None, height: FloatMap, warp_on_top: Mask) -> FloatMap:
    """Colour `[n, n, 3]` of the dyed yarns before shading."""
    design = cloth.design
    tone = _yarn_tone(cloth, warp_on_top)
    colour = hex_to_linear(design.ground) * tone[..., None]
    # The squeegee reaches the crowns of the weave better than its valleys.
    take_up = np.clip(0.80 + 0.35 * height, 0.45, 0.96)
    if flaw is not None and flaw.ink_gain is not None:
        take_up = take_up * flaw.ink_gain
    screens = list(ink_screens(cloth.motif_x, cloth.motif_y, design.petals))
    if flaw is not None and flaw.screens is not None:
        screens = list(flaw.screens)
    for ink, screen in zip(design.inks, screens, strict=True):
        colour = blend(colour, hex_to_linear(ink) * tone[..., None], screen * take_up)
    return np.asarray(colour, dtype=np.float32)


def _yarn_tone(cloth: Cloth, warp_on_top: Mask) -> FloatMap:
    """Brightness of the visible yarn: its own tone, its ply twist and its fibres."""
    warp_index, weft_index = cloth.warp_index, cloth.weft_index
    tone = np.where(warp_on_top, cloth.warp.tone[warp_index], cloth.weft.tone[weft_index])
    phase = np.where(
        warp_on_top, cloth.warp.twist_phase[warp_index], cloth.weft.twist_phase[weft_index]
    )
    # Both directions are spun the same way, so the twist leans alike on warp and weft.
    twist = np.sin(np.float32(2.0 * np.pi) * (1.35 * cloth.v + 1.35 * cloth.u) + phase)
    return np.asarray(tone * (1.0 + cloth.fuzz + 0.05 * twist), dtype=np.float32)


def _relief_shading(height: FloatMap, pitch: float) -> FloatMap:
    """Diffuse light from the upper left on the relief, with occlusion of its valleys."""
    slope_y, slope_x = np.gradient(gaussian_filter(height, 0.09 * pitch, truncate=2.0))
    slope_x, slope_y = slope_x * pitch * 0.55, slope_y * pitch * 0.55
    facing = (0.42 * slope_x + 0.50 * slope_y + 0.76) / np.sqrt(
        1.0 + slope_x * slope_x + slope_y * slope_y
    )
    surroundings = uniform_filter(height, max(3, round(2.0 * pitch)))
    openness = 1.0 + 0.55 * (height - surroundings) - 0.35 * np.clip(-surroundings, 0.0, 1.0)
    return np.asarray(
        (0.36 + 0.80 * np.maximum(facing, 0.0)) * np.clip(openness, 0.12, 1.25), dtype=np.float32
    )
