"""The undamaged printed cloth: its design, and one photographed instance of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.imaging import FloatMap, pixel_grid, smooth_noise, smoothstep

_YARNS = 256
"""Length of the yarn tables; more yarns than any image shows."""

_PIXELS_PER_YARN = 5
_MIN_YARNS_ACROSS, _MAX_YARNS_ACROSS = 20, 64


@dataclass(frozen=True)
class FabricDesign:
    """What every metre of one textile has in common."""

    ground: str  # sRGB colour of the undyed yarn
    inks: tuple[str, str, str]  # sRGB colours of the petal, accent and leaf printing screens
    float_length: int  # yarns each yarn passes over before diving: 1 is plain weave, 2 is 2/2 twill
    petals: int  # petals of the printed rosette
    repeats: float  # motif repeats across an image


INDIGO_LINEN = FabricDesign(
    ground="#e3d9c3",
    inks=("#2b4a7d", "#b4472f", "#6f8a5a"),
    float_length=1,
    petals=8,
    repeats=2.7,
)
MADDER_TWILL = FabricDesign(
    ground="#d9c7a3",
    inks=("#8f2f35", "#2f5d62", "#c08a2e"),
    float_length=2,
    petals=6,
    repeats=2.4,
)


@dataclass(frozen=True)
class YarnTable:
    """Properties of the yarns of one direction, each `[256]` and indexed by yarn number."""

    half_width: FloatMap  # half the yarn's thickness, in yarn pitches
    tone: FloatMap  # brightness factor
    twist_phase: FloatMap  # phase of the ply twist, in radians


@dataclass(frozen=True)
class Cloth:
    """One instance of a fabric under the camera; every map is a supersampled `[n, n]`."""

    design: FabricDesign  # the fabric
    x: FloatMap  # horizontal image coordinate in [-1, 1]
    y: FloatMap  # vertical image coordinate in [-1, 1]
    pitch: float  # supersampled pixels per yarn
    u: FloatMap  # coordinate across the warp yarns, in pitches; yarn `i` spans [i, i + 1)
    v: FloatMap  # coordinate across the weft yarns, in pitches
    warp: YarnTable  # the warp yarns' properties
    weft: YarnTable  # the weft yarns' properties
    fuzz: FloatMap  # fibre-level brightness variation, zero mean
    motif_x: FloatMap  # motif coordinate along the weft, in repeats
    motif_y: FloatMap  # motif coordinate along the warp, in repeats
    light: FloatMap  # irradiance factor
    white_balance: FloatMap  # `[3]` colour gains of this exposure

    @property
    def warp_index(self) -> NDArray[np.intp]:
        """Number of the warp yarn at each pixel."""
        return np.floor(self.u).astype(np.intp)

    @property
    def weft_index(self) -> NDArray[np.intp]:
        """Number of the weft yarn at each pixel."""
        return np.floor(self.v).astype(np.intp)


def draw_cloth(rng: np.random.Generator, n: int, design: FabricDesign, pixels: int) -> Cloth:
    """Draw a random instance of a fabric for an `[n, n]` rendering of a `pixels`-wide image."""
    x, y = pixel_grid(n)
    yarns = float(np.clip(pixels / _PIXELS_PER_YARN, _MIN_YARNS_ACROSS, _MAX_YARNS_ACROSS))
    turned_x, turned_y = _rotate_and_shear(x, y, rng)
    u = (turned_x * 0.5 + 0.5) * yarns + 0.22 * smooth_noise(rng, n, 4)
    v = (turned_y * 0.5 + 0.5) * yarns + 0.22 * smooth_noise(rng, n, 4)
    phase_u, phase_v = rng.uniform(20.0, 24.0, size=2)
    u, v = u + np.float32(phase_u), v + np.float32(phase_v)

    # Ink lands on whole yarns: pulling the motif towards yarn centres steps the printed outlines.
    scale = design.repeats / yarns
    shift_x, shift_y = rng.uniform(-0.12, 0.12, size=2)
    motif_x = _towards_yarn_centre(u) * np.float32(scale) + np.float32(shift_x)
    motif_y = _towards_yarn_centre(v) * np.float32(scale) + np.float32(shift_y)

    return Cloth(
        design=design,
        x=x,
        y=y,
        pitch=n / yarns,
        u=u,
        v=v,
        warp=_draw_yarns(rng),
        weft=_draw_yarns(rng),
        fuzz=_fibre_fuzz(rng, n),
        motif_x=motif_x,
        motif_y=motif_y,
        light=_light(rng, x, y),
        white_balance=rng.normal(1.0, 0.012, size=3).astype(np.float32),
    )


def ink_screens(
    motif_x: FloatMap, motif_y: FloatMap, petals: int
) -> tuple[FloatMap, FloatMap, FloatMap]:
    """Return the coverage in [0, 1] of the petal, accent and leaf screens.

    The motif is a rosette in half-drop repeat: ringed by dots, with leaves between the rosettes.
    Coordinates are in repeats, so coverage has period 2 along x and 1 along y.
    """
    column = np.floor(motif_x)
    a = np.asarray(motif_x - column - 0.5, dtype=np.float32)
    half_drop = 0.5 * np.mod(column, 2.0)
    b = np.asarray(np.mod(motif_y + half_drop, 1.0) - 0.5, dtype=np.float32)
    r, theta = np.hypot(a, b), np.arctan2(b, a)
    soft = 0.012

    lobe = np.abs(np.cos(theta * np.float32(petals / 2)))
    outline = np.asarray(0.17 + 0.16 * np.sqrt(lobe), dtype=np.float32)
    flower = smoothstep(soft, -soft, r - outline)
    vein = smoothstep(0.004, 0.016, np.abs(_petal_angle(theta, petals)) * r)
    vein = np.maximum(vein, smoothstep(0.26, 0.275, r))
    petal = flower * vein * smoothstep(0.115, 0.13, r)

    heart = smoothstep(0.095, 0.08, r) * smoothstep(0.028, 0.04, r)
    dot_angle = _petal_angle(theta, 4 * petals) * r
    dot_distance = np.hypot(dot_angle, r - np.float32(0.385))
    dots = smoothstep(0.022, 0.010, dot_distance)
    accent = np.maximum(heart, dots)

    return petal, accent, _leaves(a, b, soft)


def _petal_angle(theta: FloatMap, count: int) -> FloatMap:
    """Signed angle to the nearest of `count` evenly spaced directions."""
    sector = np.float32(2.0 * np.pi / count)
    return np.asarray(theta - np.round(theta / sector) * sector, dtype=np.float32)


def _leaves(a: FloatMap, b: FloatMap, soft: float) -> FloatMap:
    """Four pointed leaves around each meeting point of the half-drop cells."""
    coverage = np.zeros_like(a)
    for centre_y in (-0.5, 0.5, 0.0):
        dx, dy = 0.5 - np.abs(a), np.abs(b - np.float32(centre_y))
        along = (dx + dy) * np.float32(np.sqrt(0.5)) - 0.115
        across = np.abs(dx - dy) * np.float32(np.sqrt(0.5))
        half_width = 0.042 * np.clip(1.0 - (along / 0.085) ** 2, 0.0, 1.0)
        leaf = smoothstep(soft, -soft, across - half_width) * (half_width > 0.004)
        leaf *= smoothstep(0.0, 0.008, across + (along > 0.03))
        coverage = np.maximum(coverage, leaf)
    return coverage


def _rotate_and_shear(
    x: FloatMap, y: FloatMap, rng: np.random.Generator
) -> tuple[FloatMap, FloatMap]:
    angle, shear = np.radians(rng.normal(0.0, 0.8)), np.radians(rng.normal(0.0, 0.4))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    turned_x, turned_y = x * cos + y * sin, y * cos - x * sin
    return turned_x + turned_y * np.float32(np.tan(shear)), turned_y


def _towards_yarn_centre(coordinate: FloatMap) -> FloatMap:
    centre = np.floor(coordinate) + 0.5
    return np.asarray(0.6 * coordinate + 0.4 * centre, dtype=np.float32)


def _draw_yarns(rng: np.random.Generator) -> YarnTable:
    tone = 1.0 + 0.055 * rng.standard_normal(_YARNS)
    slubs = rng.random(_YARNS) < 0.03
    return YarnTable(
        half_width=(0.45 + 0.025 * rng.standard_normal(_YARNS) + 0.04 * slubs).astype(np.float32),
        tone=np.clip(tone, 0.86, 1.14).astype(np.float32),
        twist_phase=rng.uniform(0.0, 2.0 * np.pi, _YARNS).astype(np.float32),
    )


def _fibre_fuzz(rng: np.random.Generator, n: int) -> FloatMap:
    """Fine streaks along both yarn directions plus slow dye variation."""
    streaks = smooth_noise(rng, n, (n // 8, n // 3)) + smooth_noise(rng, n, (n // 3, n // 8))
    return 0.045 * streaks + 0.02 * smooth_noise(rng, n, 6)


def _light(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    """Draw a lamp that is slightly off centre and varies in strength from image to image."""
    slope_x, slope_y = rng.normal([-0.05, -0.07], 0.02)
    falloff = 1.0 - 0.07 * (x * x + y * y)
    strength = rng.normal(1.0, 0.02)
    gradient = 1.0 + np.float32(slope_x) * x + np.float32(slope_y) * y
    return np.asarray(np.float32(strength) * falloff * gradient, dtype=np.float32)
