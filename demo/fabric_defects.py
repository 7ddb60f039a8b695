"""Defects of a printed fabric, expressed as changes to the cloth rather than to its picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from demo.fabric_cloth import Cloth, ink_screens
from demo.imaging import (
    FloatMap,
    curve_distance,
    hex_to_linear,
    ragged_blob,
    random_curve,
    smoothstep,
)


@dataclass(frozen=True)
class ForeignFibre:
    """A fibre lying on the cloth: opacity `[n, n]`, linear colour `[3]`, height `[n, n]`."""

    alpha: FloatMap
    colour: FloatMap
    height: FloatMap


@dataclass(frozen=True)
class FabricFlaw:
    """The changes one defect makes to a cloth; None leaves that property alone."""

    coverage: FloatMap  # `[n, n]` opacity of the defect in [0, 1], from which its mask follows
    warp_gap: FloatMap | None = None  # `[n, n]`, 1 where the warp yarn is missing
    weft_gap: FloatMap | None = None  # `[n, n]`, 1 where the weft yarn is missing
    transmittance: FloatMap | None = None  # `[n, n, 3]` colour filter of a liquid that soaked in
    ink_gain: FloatMap | None = None  # `[n, n]` factor on the amount of ink
    screens: tuple[FloatMap, FloatMap, FloatMap] | None = None  # replacement ink coverages
    fibre: ForeignFibre | None = None  # a fibre on top of the cloth


def draw_fabric_flaw(rng: np.random.Generator, defect: str, cloth: Cloth) -> FabricFlaw:
    """Draw a random instance of a defect, of random severity, somewhere on the cloth.

    Raises ValueError if `defect` is not one of `FABRIC_DEFECTS`.
    """
    if defect not in _DRAW_FLAW:
        raise ValueError(
            f"unknown fabric defect {defect!r}; choose one of {', '.join(FABRIC_DEFECTS)}"
        )
    return _DRAW_FLAW[defect](rng, cloth)


def _stain(rng: np.random.Generator, cloth: Cloth) -> FabricFlaw:
    """Let oil, coffee or ink soak in and dry with a darker rim."""
    blob = ragged_blob(
        rng,
        cloth.x,
        cloth.y,
        centre=_anywhere(rng),
        radius=rng.uniform(0.10, 0.24),
        raggedness=0.20,
    )
    # Liquid wicks further along some yarns than along others.
    warp_wick, weft_wick = rng.normal(0.0, 0.07, (2, 256)).astype(np.float32)
    blob = blob + warp_wick[cloth.warp_index] + weft_wick[cloth.weft_index]
    strength = rng.uniform(0.30, 0.85)
    soaked = smoothstep(-0.04, 0.14, blob)
    rim = soaked * smoothstep(0.42, 0.10, blob)
    density = np.float32(strength) * (0.72 * soaked + 0.45 * rim)
    tint = hex_to_linear(str(rng.choice(["#7a4a1e", "#5d5038", "#3a3a48"])))
    absorbance = -np.log(tint) * np.float32(0.45)
    return FabricFlaw(
        coverage=soaked,
        transmittance=np.exp(-density[..., None] * absorbance),
    )


def _broken_yarn(rng: np.random.Generator, cloth: Cloth) -> FabricFlaw:
    """Remove one to three neighbouring yarns over part of their length."""
    is_warp = rng.random() < 0.5
    across, along = (cloth.u, cloth.v) if is_warp else (cloth.v, cloth.u)
    centre = across.shape[0] // 2 + rng.integers(-across.shape[0] // 3, across.shape[0] // 3, 2)
    first = np.floor(across[centre[0], centre[1]])
    middle = along[centre[0], centre[1]]
    missing = rng.integers(1, 4)
    half_length = rng.uniform(0.06, 0.30) * float(np.ptp(along))
    index = np.floor(across)
    in_yarns = (index >= first) & (index < first + missing)
    frayed_end = np.float32(0.8) * np.sin(across * 5.0)
    gap = in_yarns * smoothstep(0.5, -0.5, np.abs(along - middle) - half_length + frayed_end)
    if is_warp:
        return FabricFlaw(coverage=gap, warp_gap=gap)
    return FabricFlaw(coverage=gap, weft_gap=gap)


def _hole(rng: np.random.Generator, cloth: Cloth) -> FabricFlaw:
    """Tear a hole whose rim frays because every yarn breaks at its own place."""
    blob = ragged_blob(
        rng,
        cloth.x,
        cloth.y,
        centre=_anywhere(rng),
        radius=rng.uniform(0.055, 0.15),
        raggedness=0.10,
    )
    fray = np.float32(rng.uniform(0.2, 0.5))
    warp_break, weft_break = rng.uniform(-1.0, 1.0, (2, 256)).astype(np.float32)
    warp_gap = smoothstep(-0.08, 0.08, blob - fray * warp_break[cloth.warp_index])
    weft_gap = smoothstep(-0.08, 0.08, blob - fray * weft_break[cloth.weft_index])
    return FabricFlaw(coverage=np.maximum(warp_gap, weft_gap), warp_gap=warp_gap, weft_gap=weft_gap)


def _misprint(rng: np.random.Generator, cloth: Cloth) -> FabricFlaw:
    """Starve a patch of ink, or let one printing screen slip within a patch."""
    patch = ragged_blob(
        rng,
        cloth.x,
        cloth.y,
        centre=_anywhere(rng, margin=0.4),
        radius=rng.uniform(0.22, 0.38),
        raggedness=0.12,
    )
    screens = ink_screens(cloth.motif_x, cloth.motif_y, cloth.design.petals)
    total_ink = np.maximum.reduce(screens)
    if rng.random() < 0.5:
        starved = np.float32(rng.uniform(0.5, 0.95)) * smoothstep(-0.1, 0.2, patch)
        return FabricFlaw(
            coverage=smoothstep(0.1, 0.3, starved * total_ink), ink_gain=1.0 - starved
        )
    inside = smoothstep(-0.02, 0.02, patch)
    direction = rng.uniform(0.0, 2.0 * np.pi)
    slip = rng.uniform(0.06, 0.14) * inside
    slipped, _, _ = ink_screens(
        cloth.motif_x + slip * np.float32(np.cos(direction)),
        cloth.motif_y + slip * np.float32(np.sin(direction)),
        cloth.design.petals,
    )
    return FabricFlaw(
        coverage=np.abs(slipped - screens[0]), screens=(slipped, screens[1], screens[2])
    )


def _foreign_fibre(rng: np.random.Generator, cloth: Cloth) -> FabricFlaw:
    """Drop a loose fibre or hair on the cloth."""
    curve = random_curve(
        rng,
        start=_anywhere(rng, margin=0.45),
        heading=rng.uniform(0.0, 2.0 * np.pi),
        length=rng.uniform(0.4, 1.3),
        bend=rng.uniform(1.2, 3.0),
    )
    half_width = rng.uniform(0.007, 0.013)
    distance, position = curve_distance(curve, cloth.x, cloth.y, reach=2.0 * half_width)
    taper = np.minimum(1.0, 0.5 + 8.0 * np.minimum(position, 1.0 - position))
    offset = distance / (np.float32(half_width) * taper)
    alpha = smoothstep(1.15, 0.85, np.minimum(offset, 9.0))
    bulge = np.sqrt(np.maximum(1.0 - np.minimum(offset, 1.0) ** 2, 0.0))
    height = np.where(alpha > 0.0, 0.9 + 0.6 * bulge, -9.0).astype(np.float32)
    colour = hex_to_linear(str(rng.choice(["#1d1b1a", "#efece4", "#3b5f3a", "#a3303c"])))
    with_contact_shadow = smoothstep(1.8, 1.2, np.minimum(offset, 9.0))
    return FabricFlaw(coverage=with_contact_shadow, fibre=ForeignFibre(alpha, colour, height))


def _anywhere(rng: np.random.Generator, margin: float = 0.22) -> tuple[float, float]:
    """Draw a position at least `margin` inside the image, which spans [-1, 1]."""
    x, y = rng.uniform(margin - 1.0, 1.0 - margin, size=2)
    return float(x), float(y)


_DRAW_FLAW: Mapping[str, Callable[[np.random.Generator, Cloth], FabricFlaw]] = {
    "broken_yarn": _broken_yarn,
    "foreign_fibre": _foreign_fibre,
    "hole": _hole,
    "misprint": _misprint,
    "stain": _stain,
}

FABRIC_DEFECTS: tuple[str, ...] = tuple(_DRAW_FLAW)
"""Names of the defects `draw_fabric_flaw` knows."""
