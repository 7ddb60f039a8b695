"""The checks of metrics: against what is published, and against the materialisation before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from patchcore_ops.checks.published import published_figures_are_reached
from patchcore_ops.checks.regression import Judged, keep_for_comparison, metrics_did_not_drop
from patchcore_ops.config.load import section_hash
from patchcore_ops.config.sections import CategoryConfig, ChecksSection, ImageSize
from patchcore_ops.stages.layout import IMAGES, SCORES

BOTTLE = {
    "instance_auroc": 1.0,
    "full_pixel_auroc": 0.9848,
    "anomaly_pixel_auroc": 0.9796,
    "aupro": 0.9714,
    "reference_masks_applied": True,
}
GOOD, DEFECTIVE = 20, 60


def config(**sections: dict[str, Any]) -> CategoryConfig:
    return CategoryConfig.model_validate(sections)


@pytest.mark.parametrize(
    ("drop", "checks", "passed", "is_error"),
    [
        (0.0, {}, True, None),
        (0.009, {}, True, None),
        (0.02, {}, False, False),
        (0.02, {"published": "fail"}, False, True),
        (0.02, {"published": "ignore"}, True, None),
        (0.02, {"published_tolerance": 0.03}, True, None),
        (-0.02, {}, True, None),
    ],
)
def test_published_figures(
    drop: float, checks: dict[str, Any], passed: bool, is_error: bool | None
) -> None:
    metrics = {**BOTTLE, "aupro": BOTTLE["aupro"] - drop}
    finding = published_figures_are_reached("bottle", metrics, config(checks=checks))
    assert finding.passed == passed
    if is_error is not None:
        assert finding.is_error == is_error
        assert finding.sentence.startswith("aupro is 0.9514, 0.0200 below the published 0.9714")


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"coreset": {"percentage": 0.01}}, "coreset.percentage"),
        ({"dataset": {"resize": 366, "imagesize": 320}}, "dataset.resize, dataset.imagesize"),
        ({"dataset": {"fit": "pad"}}, "dataset.fit"),
        ({"embedding": {"patchsize": 5}}, "embedding.patchsize"),
        ({"embedding": {"members": [{"backbone": "resnet50"}]}}, "embedding.members"),
        ({"embedding": {"members": [{"weights": "/own.pth"}]}}, "embedding.members"),
        ({"scoring": {"anomaly_scorer_num_nn": 3}}, "scoring.anomaly_scorer_num_nn"),
        ({"index": {"factory": "HNSW32"}}, "index.factory"),
        ({"metrics": {"reference_masks": False}}, "metrics.reference_masks"),
    ],
)
def test_another_configuration_is_not_compared(sections: dict[str, Any], key: str) -> None:
    bad = dict.fromkeys(BOTTLE, 0.5)
    finding = published_figures_are_reached("bottle", bad, config(**sections))
    assert finding.passed
    assert finding.sentence.startswith("Not applicable")
    assert f"({key})" in finding.sentence


@pytest.mark.parametrize(
    "sections",
    [
        {"coreset": {"seed": 7}},
        {"embedding": {"members": [{"backbone": "wideresnet50"}]}},
        {"checks": {"regression": "warn"}},
        {"calibration": {"images": 50, "false_positive_rate": 0.05}},
    ],
)
def test_the_same_by_another_name_is_compared(sections: dict[str, Any]) -> None:
    bad = dict.fromkeys(BOTTLE, 0.5)
    assert not published_figures_are_reached("bottle", bad, config(**sections)).passed


def test_what_was_judged_by_another_rule_or_never_published_is_not_compared() -> None:
    metrics = {**BOTTLE, "full_pixel_auroc": 0.1, "anomaly_pixel_auroc": 0.1}
    for applied in (True, False):
        metrics["reference_masks_applied"] = applied
        assert published_figures_are_reached("bottle", metrics, config()).passed != applied
    finding = published_figures_are_reached("valve", dict.fromkeys(BOTTLE, 0.5), config())
    assert finding.passed
    assert "nothing is published about 'valve'" in finding.sentence


def judged(separation: float, noise_seed: int = 0, noise: float = 0.0, **metrics: float) -> Judged:
    """Make scores in which defective images lie so far above good ones, plus noise."""
    generator = np.random.default_rng(1)
    is_anomaly = np.arange(GOOD + DEFECTIVE) >= GOOD
    score = generator.normal(size=len(is_anomaly)) + separation * is_anomaly
    score += noise * np.random.default_rng(noise_seed).normal(size=len(score))
    names = [f"c/test/{at}.png" for at in range(len(score))]
    images = pd.DataFrame(
        {
            "path": names,
            "fingerprint": [f"content of {name}" for name in names],
            "mask_fingerprint": [None] * GOOD + [f"mask {at}" for at in range(DEFECTIVE)],
            "is_anomaly": is_anomaly,
            "score": score,
            "judged_by": section_hash(CategoryConfig().metrics),
        }
    )
    return Judged({**BOTTLE, **metrics}, images)


def test_the_first_materialisation_passes() -> None:
    finding = metrics_did_not_drop(None, judged(2.0), ChecksSection())
    assert finding.passed
    assert "first" in finding.sentence
    assert 0 < finding.facts["instance_auroc_low"] < finding.facts["instance_auroc_high"] <= 1  # type: ignore[operator]


@pytest.mark.parametrize("before", [2.0, 0.8])
def test_equal_and_better_results_pass(before: float) -> None:
    finding = metrics_did_not_drop(judged(before), judged(2.0), ChecksSection())
    assert finding.passed
    assert finding.sentence == "No metric has dropped, on the same 80 test images."


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_no_regression(seed: int) -> None:
    checks = ChecksSection(regression_tolerance=0)
    before, now = judged(1.5, 2 * seed + 1, 0.5), judged(1.5, 2 * seed + 2, 0.5)
    table = metrics_did_not_drop(before, now, checks).facts["compared"]
    [low, high] = table[["low", "high"]].iloc[0]  # type: ignore[call-overload, union-attr]
    assert low < high
    assert metrics_did_not_drop(before, now, checks).passed == (high >= 0)


def test_a_drop_within_noise_passes_where_the_tolerance_alone_would_not() -> None:
    """One hard image falls behind: AUROC drops by more than the tolerance, on a single image."""
    before = judged(6.0)
    now = judged(6.0)
    now.images.loc[GOOD, "score"] = -100.0
    finding = metrics_did_not_drop(before, now, ChecksSection())
    [row] = finding.facts["compared"].query("metric == 'instance_auroc'").to_dict("records")  # type: ignore[union-attr]
    assert row["change"] < -0.01
    assert row["high"] == pytest.approx(0, abs=1e-6)
    assert finding.passed


@pytest.mark.parametrize(
    ("verdict", "passed", "is_error"),
    [("fail", False, True), ("warn", False, False), ("ignore", True, False)],
)
def test_a_real_drop_is_judged_as_configured(verdict: str, passed: bool, is_error: bool) -> None:
    checks = ChecksSection.model_validate({"regression": verdict})
    finding = metrics_did_not_drop(judged(3.0), judged(0.8), checks)
    assert (finding.passed, finding.is_error) == (passed, is_error)
    assert finding.sentence.startswith("instance_auroc has dropped by 0.")
    assert "(95% interval 0." in finding.sentence


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (0.95, "aupro has dropped by 0.0214 to 0.9500"),
        (math.nan, "aupro was 0.9714 and is now undefined"),
    ],
)
def test_pixel_metrics_are_compared_by_the_tolerance(now: float, said: str) -> None:
    finding = metrics_did_not_drop(judged(3.0), judged(3.0, aupro=now), ChecksSection())
    assert not finding.passed
    assert finding.sentence.startswith(said)
    assert metrics_did_not_drop(judged(3.0), judged(3.0, aupro=0.965), ChecksSection()).passed


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fingerprint", "another image", "on the 79 test images scored both times"),
        (
            "mask_fingerprint",
            "another mask",
            "pixel metrics cannot be compared: masks have changed",
        ),
        (
            "judged_by",
            "other settings",
            "the section metrics, or how images are resized and cut, has changed",
        ),
    ],
)
def test_only_what_is_comparable_is_compared(column: str, value: str, said: str) -> None:
    now = judged(3.0, aupro=0.1)
    now.images.loc[GOOD + 1, column] = value
    finding = metrics_did_not_drop(judged(3.0), now, ChecksSection())
    assert finding.passed
    assert said in finding.sentence
    assert finding.facts["compared"]["metric"].tolist() == ["instance_auroc"]  # type: ignore[call-overload, index]


def test_pixel_metrics_of_other_pixels_are_not_compared(tmp_path: Path) -> None:
    images = judged(3.0).images.assign(mask_path=None)
    images[["path", "is_anomaly", "score"]].to_parquet(tmp_path / SCORES, index=False)
    images.drop(columns=["score", "judged_by"]).to_parquet(tmp_path / IMAGES, index=False)

    def kept(fit: Literal["crop", "stretch"], **metrics: float) -> Judged:
        settings = CategoryConfig(dataset=ImageSize(fit=fit))
        return keep_for_comparison({**BOTTLE, **metrics}, tmp_path, settings, tmp_path)

    worse = {"aupro": 0.1}
    assert not metrics_did_not_drop(kept("crop"), kept("crop", **worse), ChecksSection()).passed
    finding = metrics_did_not_drop(kept("crop"), kept("stretch", **worse), ChecksSection())
    assert finding.passed
    assert "how images are resized and cut, has changed" in finding.sentence


def test_pixel_metrics_by_different_rules_are_not_compared() -> None:
    set_aside = {"lost_defects": {"without_white": ["c/test/20.png"]}}
    for before, now in (({}, set_aside), (set_aside, {"lost_defects": {"without_white": []}})):
        finding = metrics_did_not_drop(
            judged(3.0, **before), judged(3.0, aupro=0.1, **now), ChecksSection()
        )
        assert finding.passed
        assert "metrics.reference_masks was set aside in one of them only" in finding.sentence
    assert not metrics_did_not_drop(
        judged(3.0, **set_aside), judged(3.0, aupro=0.1, **set_aside), ChecksSection()
    ).passed


def test_pixel_metrics_of_another_release_are_not_compared() -> None:
    before, now = judged(3.0), judged(3.0, aupro=0.1)
    assert not metrics_did_not_drop(before, now, ChecksSection(), is_same_code=True).passed
    finding = metrics_did_not_drop(before, now, ChecksSection(), is_same_code=False)
    assert finding.passed
    assert "pixel metrics cannot be compared: another release measured them" in finding.sentence
    worse = metrics_did_not_drop(before, judged(0.8), ChecksSection(), is_same_code=False)
    assert worse.sentence.startswith("instance_auroc has dropped by")


def test_another_test_set_cannot_be_compared() -> None:
    now = judged(0.5, aupro=0.1)
    now.images["fingerprint"] = "x" + now.images["fingerprint"]
    finding = metrics_did_not_drop(judged(3.0), now, ChecksSection())
    assert finding.passed
    assert finding.sentence.startswith("Nothing could be compared, on the 0 test images scored")
    assert finding.facts["is_paired"] is False
