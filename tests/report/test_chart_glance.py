"""Drawings of less than a kilobyte: small enough to be shown in place, and true to the data."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_assets.step.presentation import SHOWN_IN_PLACE, glance
from patchcore_ops.report.charts.glance import glance_coverage, glance_curves, glance_scores

SVG = "{http://www.w3.org/2000/svg}"
# Longer than any that the assets use.
TITLE = "Scores of good images (upwards) and of defective ones (downwards)"


def parts(drawing: str | None, tag: str) -> list[ET.Element]:
    assert drawing is not None
    return list(ET.fromstring(drawing).iter(SVG + tag))


def bars(path: str) -> list[tuple[int, int]]:
    """Follow the outline of bars; return each one's width and height, zero heights included."""
    found, height = [], 0
    for command, amount in re.findall(r"([hv])(-?\d+)", path):
        if command == "v":
            height += int(amount)
        else:
            found.append((int(amount), height))
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 3000), scale=st.floats(1e-3, 1e6))
def test_scores_fit_in_place_whatever_they_are(seed: int, images: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    is_anomaly = rng.random(images) < rng.random()
    score = scale * rng.standard_t(2, images)
    drawing = glance_scores(score, is_anomaly, float(np.median(score)))
    shown = glance(TITLE, drawing).value
    assert isinstance(shown, str)
    assert len(shown) < SHOWN_IN_PLACE


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), points=st.integers(2, 300))
def test_curves_fit_in_place_whatever_they_are(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    curves = {
        name: {"x": np.sort(rng.random(points)), "y": np.sort(rng.random(points))}
        for name in ("roc", "pro")
    }
    result = {"curves": curves, "instance_auroc": 0.987654, "aupro": 0.876543}
    shown = glance("ROC and PRO curves", glance_curves(result)).value
    assert isinstance(shown, str)
    assert len(shown) < SHOWN_IN_PLACE


def test_bars_are_as_high_as_the_counts() -> None:
    score = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    is_anomaly = np.array([0, 0, 1, 1, 1, 1], dtype=bool)
    good, defective = parts(glance_scores(score, is_anomaly, 0.5), "path")[:2]
    assert [height for _, height in bars(good.attrib["d"]) if height] == [-17]
    assert [height for _, height in bars(defective.attrib["d"]) if height] == [34]
    assert bars(good.attrib["d"])[0] == (8, -17)
    texts = [text.text for text in parts(glance_scores(score, is_anomaly, 0.5), "text")]
    assert texts == ["good", "defective", "−0.02000", "1.020", "0.5000"]


def test_a_threshold_beyond_the_scores_is_left_out() -> None:
    score, is_anomaly = np.array([1.0, 2.0]), np.array([False, True])
    assert len(parts(glance_scores(score, is_anomaly, 9.0), "text")) == 4
    assert len(parts(glance_scores(score, is_anomaly, math.nan), "text")) == 4


def test_curves_start_and_end_where_they_do() -> None:
    x = np.linspace(0, 0.3, 500)
    result = {"curves": {"pro": {"x": x, "y": np.sqrt(x / 0.3)}}, "aupro": 0.75}
    _, curve = parts(glance_curves(result), "path")
    start, _, steps = curve.attrib["d"].removeprefix("M").partition("l")
    assert start == "0 98"
    moves = np.array([int(number) for number in re.findall(r"-?\d+", steps)]).reshape(-1, 2)
    np.testing.assert_array_equal(moves.sum(axis=0), [130, -94])
    assert [text.text for text in parts(glance_curves(result), "text")] == ["PRO", "0.7500"]


def test_coverage_names_its_ends() -> None:
    picks = [2**power for power in range(15)]
    drawing = glance_coverage(picks, [9.0 / (1 + power) for power in range(15)])
    assert [text.text for text in parts(drawing, "text")] == [
        "radius 9.000",
        "0.6000",
        "1 pick",
        "16384 picks",
    ]
    assert glance_coverage([1], [0.0]).startswith("<svg")
    shown = glance("Coverage radius by picks", drawing).value
    assert isinstance(shown, str)
    assert len(shown) < SHOWN_IN_PLACE


@pytest.mark.parametrize(
    "drawing",
    [glance_scores(np.array([np.nan]), np.array([True]), 0.0), glance_curves({"curves": None})],
)
def test_nothing_to_draw_is_null(drawing: str | None) -> None:
    assert drawing is None
    assert glance("Nothing", drawing).value is None


def test_the_address_holds_nothing_that_markdown_would_end_it_at() -> None:
    shown = glance("Two", glance_coverage([1, 2], [2.0, 1.0])).value
    assert isinstance(shown, str)
    address = shown.removeprefix("![Two](<").removesuffix(">)")
    assert not set('<>\n#"') & set(address)
