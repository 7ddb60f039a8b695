"""Defects that pixel metrics would take for sound, against a literal search in each mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import ndimage

from patchcore_ops.checks.lost_defects import no_marked_defect_is_lost
from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.category import category_metrics

Levels = npt.NDArray[np.uint8]
LABELS = np.array(["cut", "cut", "good", "hole", "hole"])
DEFECTIVE = [0, 1, 3, 4]
PATHS = [f"nut/test/{label}/{at}.png" for at, label in enumerate(LABELS)]
BY_THRESHOLD = MetricsSection(reference_masks=False)


@pytest.fixture
def levels() -> Levels:
    """Draw a white square in every defective image."""
    masks = np.zeros((5, 24, 24), dtype=np.uint8)
    masks[DEFECTIVE, 4:10, 4:10] = 255
    return masks


def judge(
    levels: Levels, settings: MetricsSection | None = None, known: list[bool] | None = None
) -> dict[str, Any]:
    noise = np.random.default_rng(0).normal(size=levels.shape)
    maps = (levels / 255 + noise).astype(np.float32)
    score = maps.max(axis=(1, 2))
    table = pd.DataFrame(
        {"path": PATHS, "label": LABELS, "is_anomaly": LABELS != "good", "score": score}
    )
    settings = settings or MetricsSection()
    return category_metrics(table, maps, levels, np.array(known or [True] * 5), settings)


def test_nothing_is_lost_where_every_region_has_white(levels: Levels) -> None:
    levels[:, 12:14] = levels[:, 4:6] // 2
    result = judge(levels, MetricsSection(mask_threshold=0.6))
    assert result["reference_masks_applied"]
    assert result["lost_defects"] == {"unmarked": [], "without_white": [], "missed_regions": {}}
    assert no_marked_defect_is_lost(result).passed


def test_the_rule_is_set_aside_where_it_would_lose_the_defect_of_an_image(levels: Levels) -> None:
    levels[3] = np.minimum(levels[3], 254)
    result, expected = judge(levels), judge(levels, BY_THRESHOLD)
    assert result["lost_defects"]["without_white"] == [PATHS[3]]
    assert (result["reference_masks_applied"], list(result["notes"])) == (False, ["aupimo"])
    finding = no_marked_defect_is_lost(result)
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.facts["files"] == [PATHS[3]]
    for words in (
        "Of 1 defective image",
        PATHS[3],
        "reference_masks",
        "judged by metrics.",
    ):
        assert words in finding.sentence
    for one in (result, expected):
        del one["lost_defects"], one["reference_masks_applied"]
    assert result == expected
    # A mask of an image that does not count decides nothing.
    ignored = judge(levels, known=[True, True, True, False, True])
    assert ignored["reference_masks_applied"]
    assert ignored["lost_defects"]["without_white"] == []
    # A threshold of white loses no more than the rule.
    of_white = judge(levels, MetricsSection(mask_threshold=1.0))
    assert of_white["reference_masks_applied"]
    assert of_white["lost_defects"]["unmarked"] == [PATHS[3]]


@pytest.mark.parametrize("settings", [MetricsSection(), BY_THRESHOLD], ids=["rule", "threshold"])
def test_masks_that_mark_nothing_are_named(levels: Levels, settings: MetricsSection) -> None:
    levels[0] = np.minimum(levels[0], 127)
    levels[4] = 0
    result = judge(levels, settings)
    assert result["reference_masks_applied"] == settings.reference_masks
    assert result["lost_defects"]["unmarked"] == [PATHS[0], PATHS[4]]
    finding = no_marked_defect_is_lost(result)
    assert not finding.passed
    assert finding.sentence.startswith("Of 2 defective images the mask marks nothing")
    assert PATHS[0] in finding.sentence


@pytest.mark.parametrize("seed", range(3))
def test_regions_without_white_are_counted_by_image(levels: Levels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spots = rng.random((4, 12, 12)) < 0.15
    levels[DEFECTIVE, 12:, 12:] = spots * rng.choice([130, 250, 255], spots.shape)
    expected = {}
    for path, mask in zip(PATHS, levels, strict=True):
        regions, count = ndimage.label(mask >= 127.5, structure=np.ones((3, 3)))
        missed = sum(not (mask[regions == one] == 255).any() for one in range(1, count + 1))
        if missed:
            expected[path] = missed
    assert expected, "the drawing has such regions"
    result = judge(levels)
    assert result["reference_masks_applied"]
    assert result["lost_defects"]["missed_regions"] == expected
    finding = no_marked_defect_is_lost(result)
    assert not finding.passed
    assert finding.facts["regions_without_white_pixel"] == sum(expected.values())
    assert judge(levels, BY_THRESHOLD)["lost_defects"]["missed_regions"] == {}


def test_without_masks_there_is_nothing_to_lose() -> None:
    result = judge(np.zeros((5, 24, 24), dtype=np.uint8), known=[False] * 5)
    assert no_marked_defect_is_lost(result).sentence == "There are no masks."
