"""Defects that pixel metrics would take for sound, against a literal search in each mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import ndimage

from patchcore_ops.checks.lost_defects import no_marked_defect_is_lost
from patchcore_ops.checks.published import published_figures_are_reached
from patchcore_ops.config.sections import CategoryConfig, MetricsSection
from patchcore_ops.metrics.category import JUDGED_BY_REFERENCE_MASKS, METRICS, category_metrics
from patchcore_ops.metrics.published import published_baseline

Levels = npt.NDArray[np.uint8]
LABELS = ("cut", "cut", "good", "hole", "hole")
PATHS = [f"nut/test/{label}/{at}.png" for at, label in enumerate(LABELS)]
BY_THRESHOLD = MetricsSection(reference_masks=False)


@pytest.fixture
def levels() -> Levels:
    """Draw a white square in every defective image."""
    masks = np.zeros((5, 24, 24), dtype=np.uint8)
    masks[[0, 1, 3, 4], 4:10, 4:10] = 255
    return masks


def judge(
    levels: Levels, settings: MetricsSection, known: list[bool] | None = None
) -> dict[str, Any]:
    noise = np.random.default_rng(0).normal(size=levels.shape)
    maps = (levels / 255 + noise).astype(np.float32)
    table = pd.DataFrame(
        {
            "path": PATHS,
            "label": LABELS,
            "is_anomaly": np.array(LABELS) != "good",
            "score": maps.max(axis=(1, 2)),
        }
    )
    return category_metrics(table, maps, levels, np.array(known or [True] * 5), settings)


def without_counts(result: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in result.items()
        if key not in ("lost_defects", "reference_masks_applied")
    }


def test_nothing_is_lost_where_every_region_has_white(levels: Levels) -> None:
    levels[:, 12:14] = levels[:, 4:6] // 2
    result = judge(levels, MetricsSection(mask_threshold=0.6))
    assert result["reference_masks_applied"]
    assert result["lost_defects"] == {"unmarked": [], "without_white": [], "missed_regions": {}}
    finding = no_marked_defect_is_lost(result)
    assert finding.passed
    assert finding.sentence.startswith("Something of every marked defect counts")


def test_the_rule_is_set_aside_where_it_would_lose_the_defect_of_an_image(levels: Levels) -> None:
    levels[3] = np.minimum(levels[3], 254)
    result = judge(levels, MetricsSection())
    assert not result["reference_masks_applied"]
    assert result["lost_defects"]["without_white"] == [PATHS[3]]
    assert without_counts(result) == without_counts(judge(levels, BY_THRESHOLD))
    assert result["notes"] == {}
    finding = no_marked_defect_is_lost(result)
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.sentence.startswith(
        "Of 1 defective image the mask has no fully white pixel after resize and crop "
        f"({PATHS[3]}), so that metrics.reference_masks would count the whole defect as sound: "
        "full_pixel_auroc and anomaly_pixel_auroc are judged by metrics.mask_threshold here"
    )
    assert finding.facts["files"] == [PATHS[3]]


def test_a_mask_of_an_image_that_does_not_count_decides_nothing(levels: Levels) -> None:
    levels[3] = np.minimum(levels[3], 254)
    result = judge(levels, MetricsSection(), known=[True, True, True, False, True])
    assert result["reference_masks_applied"]
    assert result["lost_defects"]["without_white"] == []


def test_a_threshold_of_white_loses_no_more_than_the_rule(levels: Levels) -> None:
    levels[3] = np.minimum(levels[3], 254)
    result = judge(levels, MetricsSection(mask_threshold=1.0))
    assert result["reference_masks_applied"]
    assert result["lost_defects"]["unmarked"] == [PATHS[3]]


@pytest.mark.parametrize("settings", [MetricsSection(), BY_THRESHOLD], ids=["rule", "threshold"])
def test_masks_that_mark_nothing_are_named(levels: Levels, settings: MetricsSection) -> None:
    levels[0] = np.minimum(levels[0], 127)
    levels[4] = 0
    result = judge(levels, settings)
    assert result["reference_masks_applied"] == settings.reference_masks
    assert result["lost_defects"]["unmarked"] == [PATHS[0], PATHS[4]]
    finding = no_marked_defect_is_lost(result)
    assert not finding.passed
    assert finding.sentence.startswith(
        "Of 2 defective images the mask marks nothing from metrics.mask_threshold on after resize "
        f"and crop (such as {PATHS[0]}), so that it counts as sound in every pixel metric"
    )


@pytest.mark.parametrize("seed", range(6))
def test_regions_without_white_are_counted_by_image(levels: Levels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spots = rng.random((5, 12, 12)) < 0.15
    levels[[0, 1, 3, 4], 12:, 12:] = (spots * rng.choice([130, 250, 255], spots.shape))[
        [0, 1, 3, 4]
    ]
    expected = {}
    for path, mask in zip(PATHS, levels, strict=True):
        regions, count = ndimage.label(mask >= 127.5, structure=np.ones((3, 3)))
        missed = sum(not (mask[regions == one] == 255).any() for one in range(1, count + 1))
        if missed:
            expected[path] = missed
    result = judge(levels, MetricsSection())
    assert result["reference_masks_applied"]
    assert result["lost_defects"]["missed_regions"] == expected
    assert expected, "the drawing has such regions"
    finding = no_marked_defect_is_lost(result)
    assert not finding.passed
    assert finding.facts["regions_without_white_pixel"] == sum(expected.values())
    assert f"{sum(expected.values())} marked region" in finding.sentence
    assert judge(levels, BY_THRESHOLD)["lost_defects"]["missed_regions"] == {}


def test_without_masks_there_is_nothing_to_lose() -> None:
    result = judge(np.zeros((5, 24, 24), dtype=np.uint8), MetricsSection(), [False] * 5)
    assert no_marked_defect_is_lost(result).sentence == "There are no masks."


def test_what_is_judged_by_another_rule_is_not_compared_with_published_figures() -> None:
    published = published_baseline().set_index("category").loc["bottle"]
    metrics = dict.fromkeys(METRICS, 0.1) | {
        name: float(value)
        for name, value in published.items()
        if name not in JUDGED_BY_REFERENCE_MASKS
    }
    for applied in (True, False):
        metrics["reference_masks_applied"] = applied
        finding = published_figures_are_reached("bottle", metrics, CategoryConfig())
        assert finding.passed != applied
