"""Defects among the train images stand out, and normal ones rarely do."""

from __future__ import annotations

import numpy as np
import pandas as pd

from patchcore_ops.calibration import suspects
from patchcore_ops.checks.calibration import suspicious_train_images


def test_scores_far_above_the_median_are_listed_the_greatest_first() -> None:
    scores = np.random.default_rng(0).normal(10.0, 1.0, 200)
    scores[[7, 90]] = 30.0, 40.0
    found = suspects(scores)
    assert found[:2].tolist() == [90, 7]
    logarithms = np.log(scores)
    middle = np.median(logarithms)
    deviation = 1.4826 * np.median([one - middle for one in logarithms if one >= middle])
    assert set(found.tolist()) == {
        at for at, value in enumerate(logarithms) if value > middle + 3.5 * deviation
    }
    np.testing.assert_array_equal(suspects(scores**2), found)


def test_a_long_upper_half_is_not_suspicious() -> None:
    scores = np.random.default_rng(1).exponential(1.0, 300) + 10.0
    assert suspects(scores).size <= 3
    assert suspects([*scores, 30.0]).tolist() == [300, *suspects(scores)]


def test_scaled_scores_of_an_ensemble_may_be_negative() -> None:
    assert suspects([-0.1, 0.0, 0.1, 0.05, 9.0]).tolist() == [4]


def test_equal_scores_and_none_have_no_suspects() -> None:
    assert suspects([2.0] * 9).size == 0
    assert suspects([]).size == 0


def test_the_check_names_them() -> None:
    normal = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "score": [1.0, 1.0, 9.0]})
    finding = suspicious_train_images(normal)
    assert not finding.passed
    assert not finding.is_error
    assert finding.sentence.startswith("1 train image has a score far above the others (c.png)")
    assert suspicious_train_images(normal.head(2)).passed
