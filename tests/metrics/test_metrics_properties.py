"""The metrics against their definitions, and what must not change them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.category import METRICS, aupro, category_metrics
from patchcore_ops.metrics.ranking import auroc, average_precision, f1_max, rank

Scores = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

quick = settings(deadline=None, max_examples=100)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], Flags]:
    """Draw levels, few enough to tie, with labels; perhaps of one class only."""
    count = draw(st.integers(1, 30))
    levels = draw(
        st.lists(st.integers(0, draw(st.integers(0, 20))), min_size=count, max_size=count)
    )
    flags = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return np.array(levels), np.array(flags)


# Strictly increasing over 21 levels in float32, each of them very differently shaped.
TRANSFORMS = [
    np.arange(21, dtype=np.float32),
    np.arange(21, dtype=np.float32) * 1e30,
    np.exp(np.arange(21, dtype=np.float32)),
    np.arange(21, dtype=np.float32) * 1e-30 - 1e-29,
    -1 / (1 + np.arange(21, dtype=np.float32)),
]


def literal_auroc(scores: Scores, positive: Flags) -> float:
    """Return the chance that a positive is above a negative; a tie is half of it."""
    pairs = list(itertools.product(scores[positive].tolist(), scores[~positive].tolist()))
    won = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
    return sum(won) / len(won) if won else math.nan


def literal_average_precision(scores: Scores, positive: Flags) -> float:
    """Sum, over the thresholds, the recall that each adds times the precision there."""
    area, recall_before = 0.0, 0.0
    if not positive.any():
        return math.nan
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= np.float32(threshold)
        recall = (found & positive).sum() / positive.sum()
        area += (recall - recall_before) * (found & positive).sum() / found.sum()
        recall_before = recall
    return float(area)


def literal_f1(scores: Scores, positive: Flags) -> float:
    if not positive.any():
        return math.nan
    return max(
        float(2 * (found & positive).sum() / (found.sum() + positive.sum()))
        for found in (scores >= np.float32(threshold) for threshold in scores.tolist())
    )


def equal(got: float, expected: float) -> bool:
    return (math.isnan(got) and math.isnan(expected)) or got == pytest.approx(expected, abs=1e-12)


@quick
@given(sample=labelled())
def test_image_metrics_are_their_definitions(sample: tuple[npt.NDArray[np.int64], Flags]) -> None:
    levels, positive = sample
    scores = levels.astype(np.float32)
    ranking = rank(scores, positive)
    assert equal(auroc(ranking), literal_auroc(scores, positive))
    assert equal(average_precision(ranking), literal_average_precision(scores, positive))
    assert equal(f1_max(ranking)[0], literal_f1(scores, positive))


@quick
@given(sample=labelled(), transform=st.sampled_from(TRANSFORMS), seed=st.integers(0, 99))
def test_neither_order_nor_scale_of_the_scores_counts(
    sample: tuple[npt.NDArray[np.int64], Flags], transform: Scores, seed: int
) -> None:
    levels, positive = sample
    order = np.random.default_rng(seed).permutation(len(levels))
    plain = rank(levels.astype(np.float32), positive)
    other = rank(transform[levels][order], positive[order])
    assert equal(auroc(other), auroc(plain))
    assert equal(average_precision(other), average_precision(plain))
    assert equal(f1_max(other)[0], f1_max(plain)[0])
    for value in (auroc(plain), average_precision(plain), f1_max(plain)[0]):
        assert math.isnan(value) or 0 <= value <= 1
    if plain.has_both_classes:
        reversed_ = rank(-levels.astype(np.float32), positive)
        assert auroc(reversed_) == pytest.approx(1 - auroc(plain), abs=1e-12)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], Flags]:
    """Draw anomaly maps of few levels, and masks with some components or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    maps = rng.integers(0, draw(st.integers(1, 21)), size=shape)
    return maps, rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.4, 1.0]))


def literal_aupro(maps: Scores, masks: Flags, limit: float) -> float:
    components = []
    for image, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            component = np.zeros_like(masks)
            component[image] = labels == label
            components.append(component)
    if not components or masks.all():
        return math.nan
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        found = maps >= np.float32(threshold)
        overlap = np.mean([(found & each).sum() / each.sum() for each in components])
        curve.append((float((found & ~masks).sum() / (~masks).sum()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < limit:
            end = min(x1, limit)
            y_end = y1 if end == x1 else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@quick
@given(drawn=pictures(), limit=st.sampled_from([0.05, 0.3, 1.0]))
def test_aupro_is_its_definition(drawn: tuple[npt.NDArray[np.int64], Flags], limit: float) -> None:
    levels, masks = drawn
    maps = levels.astype(np.float32)
    got = aupro(maps, masks, limit)
    assert equal(got, literal_aupro(maps, masks, limit)) or got == pytest.approx(
        literal_aupro(maps, masks, limit), abs=1e-9
    )
    assert math.isnan(got) or 0 <= got <= 1 + 1e-12


@quick
@given(drawn=pictures(), transform=st.sampled_from(TRANSFORMS), seed=st.integers(0, 99))
def test_neither_order_nor_scale_of_the_maps_counts(
    drawn: tuple[npt.NDArray[np.int64], Flags], transform: Scores, seed: int
) -> None:
    levels, masks = drawn
    order = np.random.default_rng(seed).permutation(len(levels))
    plain = aupro(levels.astype(np.float32), masks)
    others = [
        aupro(transform[levels], masks),
        aupro(levels.astype(np.float32)[order], masks[order]),
        aupro(levels.astype(np.float32)[:, ::-1], masks[:, ::-1]),
        aupro(levels.astype(np.float32).transpose(0, 2, 1), masks.transpose(0, 2, 1)),
    ]
    assert all(math.isnan(plain) if math.isnan(one) else abs(one - plain) < 1e-9 for one in others)


@settings(deadline=None, max_examples=60)
@given(drawn=pictures(), data=st.data())
def test_whatever_is_undefined_is_nan_with_a_reason(
    drawn: tuple[npt.NDArray[np.int64], Flags], data: st.DataObject
) -> None:
    levels, masks = drawn
    images = len(levels)
    broken = masks.any(axis=(1, 2)) | np.array(
        data.draw(st.lists(st.booleans(), min_size=images, max_size=images))
    )
    has_truth = ~broken | np.array(
        data.draw(st.lists(st.booleans(), min_size=images, max_size=images))
    )
    white = data.draw(st.sampled_from([255, 200]))
    result = category_metrics(
        pd.DataFrame(
            {
                "path": [f"{image}.png" for image in range(images)],
                "label": np.where(broken, "cut", "good"),
                "is_anomaly": broken,
                "score": levels.max(axis=(1, 2)).astype(np.float32),
            }
        ),
        levels.astype(np.float32),
        (masks * white).astype(np.uint8),
        has_truth,
        MetricsSection(),
    )
    undefined = {name for name in METRICS if math.isnan(result[name])}
    assert set(result["notes"]) == undefined
    assert all(result["notes"].values())
    for name in set(METRICS) - undefined:
        assert name.endswith("threshold") or 0 <= result[name] <= 1 + 1e-12
    if broken.all() or not broken.any():
        assert "instance_auroc" in undefined
