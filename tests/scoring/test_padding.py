"""What lies outside of a padded image counts neither in scores nor in maps nor in metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from patchcore_ops.config.sections import ImageSize, MetricsSection, ScoringSection
from patchcore_ops.dataset.crop import insides_of
from patchcore_ops.metrics.category import category_metrics
from patchcore_ops.metrics.region_overlap import aupro
from patchcore_ops.scoring.maps import ensemble_maps, extent, image_scores, map_extents
from patchcore_ops.scoring.padding import cells_inside

SIZE = ImageSize(fit="pad", imagesize=32)
# A tall image, a wide one, and one without padding.
SIZES = pd.DataFrame({"width": [30, 80, 20], "height": [60, 44, 20]})
RULES = [
    ScoringSection(image_score="max"),
    ScoringSection(image_score="smoothed_max", image_smoothing_sigma=2.0),
    ScoringSection(image_score="top_share", image_top_share=0.2),
]


def scores(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 3.0, (3, 8, 8)).astype(np.float32)


def test_insides_are_those_of_the_crops() -> None:
    found = insides_of(SIZES, SIZE)
    assert found is not None
    assert found.tolist() == [[8, 0, 24, 32], [0, 8, 32, 25], [0, 0, 32, 32]]
    assert insides_of(SIZES, ImageSize()) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.image_score)
def test_patches_of_the_padding_change_nothing(rule: ScoringSection) -> None:
    insides = insides_of(SIZES, SIZE)
    assert insides is not None
    patches, other = scores(), 1000 * scores(1)
    for image, inside in enumerate(cells_inside((8, 8), (32, 32), insides)):
        other[image][inside] = patches[image][inside]
    for one in (patches, other):
        np.testing.assert_array_equal(
            image_scores(one, rule, 32, insides), image_scores(patches, rule, 32, insides)
        )
    (maps,) = ensemble_maps([patches], 32, 2.0, [], insides)
    (maps_of_other,) = ensemble_maps([other], 32, 2.0, [], insides)
    np.testing.assert_array_equal(maps, maps_of_other)
    for one, (left, top, right, bottom) in zip(maps, insides, strict=True):
        is_seen = np.zeros((32, 32), dtype=bool)
        is_seen[top:bottom, left:right] = True
        np.testing.assert_array_equal(np.isfinite(one), is_seen)
    assert map_extents([patches], 32, 2.0, insides) == [(np.nanmin(maps), np.nanmax(maps))]
    assert extent(maps) == (np.nanmin(maps), np.nanmax(maps))


def test_an_image_that_is_padded_to_a_line_keeps_a_row_of_cells() -> None:
    (inside,) = cells_inside((8, 8), (32, 32), np.array([[0, 15, 32, 16]]))
    assert inside == (slice(4, 5), slice(0, 8))


def test_pixel_metrics_are_those_of_the_pixels_inside() -> None:
    rng = np.random.default_rng(2)
    maps = rng.random((4, 20, 30)).astype(np.float32)
    masks = np.zeros((4, 20, 30), dtype=np.uint8)
    masks[2, 4:9, 8:14] = masks[3, 10:12, 12:20] = 255
    maps[masks > 0] += 0.3
    padded = maps.copy()
    padded[:, :, :5] = padded[:, :, 25:] = np.nan
    table = pd.DataFrame(
        {
            "path": list("abcd"),
            "label": ["good", "good", "cut", "cut"],
            "is_anomaly": [False, False, True, True],
            "score": [0.1, 0.3, 0.2, 0.4],
        }
    )
    truth = np.ones(4, dtype=bool)
    found = category_metrics(table, padded, masks, truth, MetricsSection())
    cut = category_metrics(
        table, maps[:, :, 5:25].copy(), masks[:, :, 5:25].copy(), truth, MetricsSection()
    )
    assert found == cut
    assert aupro(padded, masks) == cut["aupro"]
