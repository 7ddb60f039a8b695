"""Members that are scaled by units, against loops over images, rows and columns."""

from __future__ import annotations

import numpy as np
import pytest

from patchcore_ops.config.sections import ScoringSection
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.scoring.ensemble import (
    UNSCALED,
    MemberScales,
    combined_patch_scores,
    score_images,
    unit_of,
)


def of_members() -> list[np.ndarray]:
    draw = np.random.default_rng(3)
    return [draw.gamma(2.0, scale, (2, 3, 5)).astype(np.float32) for scale in (1.0, 40.0, 0.01)]


def test_patch_scores_are_divided_by_their_unit_and_averaged() -> None:
    members, units = of_members(), [2.0, 80.0, 0.02]
    found = combined_patch_scores(members, units)
    assert found.dtype == np.float32
    for place in np.ndindex(2, 3, 5):
        total = 0.0
        for scores, unit in zip(members, units, strict=True):
            total += float(scores[place]) / unit
        assert found[place] == pytest.approx(total / 3, rel=1e-6)


@pytest.mark.parametrize("image_score", ["max", "smoothed_max", "top_share"])
def test_with_units_an_ensemble_is_scored_as_one_member(image_score: str) -> None:
    members, units = of_members(), [2.0, 80.0, 0.02]
    scoring = ScoringSection.model_validate({"image_score": image_score, "ensemble": "min_max"})
    insides = np.array([[0, 4, 40, 20], [0, 0, 40, 24]])
    found = score_images(members, MemberScales.by_units(units), scoring, (24, 40), insides)
    combined = combined_patch_scores(members, units)
    expected = score_images([combined], UNSCALED, scoring, (24, 40), insides)
    np.testing.assert_array_equal(found.scores, expected.scores)
    [maps], [expected_maps] = found.maps, expected.maps
    np.testing.assert_array_equal(maps, expected_maps)
    for scores, own in zip(members, found.of_members, strict=True):
        alone = score_images([scores], UNSCALED, scoring, (24, 40), insides)
        np.testing.assert_array_equal(own, alone.scores)


def test_a_unit_is_the_mean_without_patches_that_say_nothing() -> None:
    scores = np.array([[[1, 2], [np.nan, 9]], [[4, 100], [5, 100]]], dtype=np.float32)
    assert unit_of(scores, 8) == pytest.approx((1 + 2 + 9 + 4 + 100 + 5 + 100) / 7)
    # Of the second image, only the left half is no padding.
    insides = np.array([[0, 0, 8, 8], [0, 0, 4, 8]])
    assert unit_of(scores, 8, insides) == pytest.approx((1 + 2 + 9 + 4 + 5) / 5)
    assert np.isnan(unit_of(np.full((1, 2, 2), np.nan, dtype=np.float32), 8))


def test_other_grids_are_refused_also_where_numpy_would_add_them() -> None:
    members = [np.ones((2, 4, 4), np.float32), np.ones((2, 1, 4), np.float32)]
    with pytest.raises(ConfigError, match=r"scoring\.ensemble: .* differ \(4 x 4, 1 x 4\)"):
        combined_patch_scores(members, [1.0, 1.0])
