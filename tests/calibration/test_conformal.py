"""Thresholds and p-values keep what conformal prediction promises."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcore_ops.calibration import (
    Calibration,
    Probability,
    conformal_threshold,
    guaranteed_rate,
    p_values,
)


@pytest.mark.parametrize(("images", "rate"), [(4, 0.2), (4, 0.5), (5, 0.35), (6, 0.15)])
def test_of_exchangeable_images_no_more_than_the_rate_exceed_the_threshold(
    images: int, rate: float
) -> None:
    # Exchangeable: the new image is equally likely to be any of the n + 1 ranks.
    ranks = range(images + 1)
    exceeding = Fraction(
        sum(
            new > conformal_threshold([rank for rank in ranks if rank != new], rate)
            for new in ranks
        ),
        images + 1,
    )
    assert float(exceeding) == pytest.approx(guaranteed_rate(images, rate))
    if images + 1 >= 1 / rate:
        assert exceeding <= rate


def test_too_few_images_give_their_greatest_score_and_say_what_it_guarantees() -> None:
    assert conformal_threshold([3.0, 1.0, 2.0], 0.01) == 3.0
    assert guaranteed_rate(3, 0.01) == 0.25


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
    st.lists(st.integers(-1, 10), min_size=1, max_size=5),
)
def test_p_values_count_normal_scores_that_are_not_smaller(
    normal: list[int], scores: list[int]
) -> None:
    expected = [
        (1 + sum(other >= score for other in normal)) / (len(normal) + 1) for score in scores
    ]
    np.testing.assert_array_equal(p_values(scores, normal), expected)


@given(
    st.lists(st.floats(0, 100, width=32), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5]),
    st.floats(-1, 101, width=32),
)
def test_verdict_and_p_value_agree(normal: list[float], rate: float, score: float) -> None:
    made = Calibration.over(normal, normal, rate)
    p_value = made.p_value(score)
    assert p_value is not None
    assert made.guaranteed_rate is not None
    assert made.is_anomaly(score) == (p_value <= made.guaranteed_rate + 1e-12)


def test_ranks_are_not_moved_by_the_rounding_of_a_product() -> None:
    for images, hundredths in itertools.product((9, 19, 99, 199, 999), (1, 5, 10, 20)):
        rate = Fraction(hundredths, 100)
        exact = min(-((-(images + 1) * (1 - rate)) // 1), images)
        scores = np.arange(1, images + 1)
        assert conformal_threshold(scores, float(rate)) == exact


def test_without_normal_scores_there_is_no_verdict() -> None:
    made = Calibration.over([], [], 0.01)
    assert made.is_anomaly(1.0) is None
    assert made.p_value(1.0) is None


def test_probability_stays_beyond_its_scores() -> None:
    probability = Probability(scores=(1.0, 3.0), probabilities=(0.2, 0.8))
    np.testing.assert_allclose(probability.of([0.0, 1.0, 2.0, 9.0]), [0.2, 0.2, 0.5, 0.8])
